//! What a device measures: the bandwidth of a copy and the rate of float32 multiply-adds.

use super::bindings::Bindings;
use super::constants::Constants;
use super::device::GpuDevice;
use super::execution::{Execution, no_step};
use super::native::Stopwatch;
use super::time_limits::Task;
use crate::base::{Access, BufferId, ElementFormat, Fact, Layout, Precision};
use crate::error::{Error, Result};
use crate::kernels::{Dispatch, Shader};
use crate::plan::{Allocation, Plan, PlannedBuffer, Step, StepKind};
use crate::tensor::DType;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Measured {
    /// Bytes read and written by a copy, in 10⁹ a second.
    pub copy_gb_per_s: f64,
    /// Operations of float32 multiply-adds, each two, in 10⁹ a second.
    pub fma_gflops: f64,
}

/// How long one measurement goes on.
const DURATION: Duration = Duration::from_millis(200);

/// [`measure`](super::measure), without blocking.
pub async fn measure_async(device: &GpuDevice) -> Result<Measured> {
    // Larger than a cache, and small enough for every device.
    let floats: u32 = if device.capabilities().software { 4 << 20 } else { 16 << 20 };
    let vectors = floats / 4;
    let groups = vectors.div_ceil(256);
    let row = groups.min(32_768);
    // As kernels read: a software adapter counts words, whatever their width.
    let word = if device.capabilities().dialect().wide {
        "alias Word = vec2<u64>;\n"
    } else {
        "alias Word = vec4<f32>;\n"
    };
    let source = [word, include_str!("../../shaders/measure_copy.wgsl")].concat();
    let copy = plan("measure_copy", &source, floats, [vectors, row], [row, groups.div_ceil(row), 1]);
    let (invocations, rounds) = if device.capabilities().software { (16_384, 16) } else { (1 << 18, 256) };
    let flops = plan(
        "measure_flops",
        include_str!("../../shaders/measure_flops.wgsl"),
        invocations * 4,
        [invocations, rounds],
        [invocations / 64, 1, 1],
    );
    Ok(Measured {
        copy_gb_per_s: 2.0 * 4.0 * floats as f64 / best(device, copy).await? / 1e9,
        fma_gflops: 256.0 * invocations as f64 * rounds as f64 / best(device, flops).await? / 1e9,
    })
}

/// Seconds that the plan's dispatch takes: the least over repeated runs of many.
async fn best(device: &GpuDevice, plan: Plan) -> Result<f64> {
    let repeat = plan.steps.len() as f64;
    let mut execution = Execution::new_async(device, &Arc::new(plan), &Constants::new()).await?;
    let (nothing, what) = (HashMap::new(), || "a measurement".to_string());
    let mut run = async || {
        let start = Stopwatch::start();
        execution.run_async(&Bindings::of(&nothing), &no_step).await?;
        let submission = device.scope(what, || device.queue().submit([])).await?;
        device.wait(submission, Task::Run, what).await?;
        Ok::<_, Error>(start.elapsed().as_secs_f64() / repeat)
    };
    run().await?;
    let start = Stopwatch::start();
    let mut least = f64::INFINITY;
    while start.elapsed() < DURATION {
        least = least.min(run().await?);
    }
    if least.is_finite() && least > 0.0 { Ok(least) } else { Err(Error::device("nothing could be measured")) }
}

/// A plan of one kernel from one place of `floats` to another, eight times over.
fn plan(kernel: &'static str, source: &str, floats: u32, params: [u32; 2], grid: [u32; 3]) -> Plan {
    let buffer = |slot| PlannedBuffer {
        value: None,
        label: kernel.to_string(),
        fact: Fact::new(DType::F32, [floats as usize]),
        layout: Layout::Dense,
        storage: ElementFormat::F32,
        allocation: Allocation::Slot(slot),
        part: None,
    };
    let (from, to) = (BufferId(0), BufferId(1));
    let dispatch = Dispatch {
        kernel,
        shader: Arc::new(Shader::text(source)),
        bindings: vec![(from, Access::Read), (to, Access::Write)],
        params: bytemuck::cast_slice(&params).to_vec(),
        params_offset: 0,
        grid,
        status: false,
    };
    let step = Step {
        node: None,
        label: kernel.to_string(),
        op_type: String::new(),
        reads: vec![from],
        writes: vec![to],
        kind: StepKind::Gpu { dispatches: vec![dispatch.clone()] },
    };
    Plan {
        graph: Default::default(),
        buffers: vec![buffer(0), buffer(1)],
        steps: vec![step; 8],
        inputs: vec![],
        outputs: vec![],
        slots: vec![floats as u64 * 4; 2],
        externals: vec![],
        constants: vec![],
        params: dispatch.params,
        facts: vec![],
        placements: vec![],
        by_value: vec![],
        precision: Precision::F32,
        chosen: vec![],
        reports: vec![],
    }
}
