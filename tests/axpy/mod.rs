//! A plan written by hand, of one kernel: no operator and no planner takes part.
#![allow(dead_code, reason = "each test binary uses some of it")]

use sardonyx::base::Fact;
use sardonyx::gpu::{Constants, Execution, GpuDevice};
use sardonyx::graph::{Graph, ValueId};
use sardonyx::kernels::{Access, Dispatch, Packing, Shader};
use sardonyx::ops::Operator;
use sardonyx::plan::{
    Allocation, BufferId, Constant, ElementFormat, Layout, Plan, PlannedBuffer, Precision, Step, StepKind,
};
use sardonyx::tensor::{DType, Tensor};
use sardonyx::{Error, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// result = a · scale + b, four elements at a time.
pub const AXPY: &str = "
struct Params { count: u32, scale: f32 }
@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> result: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> p: Params;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x < p.count { result[id.x] = a[id.x] * p.scale + b[id.x]; }
}";

pub const X: ValueId = ValueId(0);
pub const W: ValueId = ValueId(1);
pub const Y: ValueId = ValueId(2);
pub const Z: ValueId = ValueId(3);

pub fn buffer(label: &str, value: Option<ValueId>, shape: &[usize], allocation: Allocation) -> PlannedBuffer {
    PlannedBuffer {
        value,
        label: label.into(),
        fact: Fact::new(DType::F32, shape),
        layout: Layout::Dense,
        storage: ElementFormat::F32,
        allocation,
        part: None,
    }
}

pub fn step(kind: StepKind, reads: Vec<BufferId>, writes: Vec<BufferId>) -> Step {
    Step { kind, node: None, label: "step".into(), op_type: "Axpy".into(), reads, writes }
}

/// The plan of [`axpy_plan`] while it is made.
struct Maker<'a> {
    source: &'a str,
    alignment: usize,
    vectors: u32,
    params: Vec<u8>,
}

impl Maker<'_> {
    fn axpy(&mut self, [a, b, result]: [u32; 3], scale: f32) -> Step {
        let block = [self.vectors.to_le_bytes(), scale.to_le_bytes()].concat();
        self.params.resize(self.params.len().next_multiple_of(self.alignment), 0);
        let params_offset = self.params.len() as u32;
        self.params.extend(&block);
        let [a, b, result] = [a, b, result].map(BufferId);
        let dispatch = Dispatch {
            kernel: "axpy",
            shader: Arc::new(Shader::text(self.source)),
            bindings: vec![(a, Access::Read), (b, Access::Read), (result, Access::Write)],
            params: block,
            params_offset,
            grid: [self.vectors.div_ceil(64), 1, 1],
            status: false,
        };
        step(StepKind::Gpu { dispatches: vec![dispatch] }, vec![a, b], vec![result])
    }
}

/// y = x · 2 + w, z = y · 3 + x, then 2z in x's buffer; reads 2z (as Y) and z back. Places: 0 x, 1 w, 2 y, 3
/// z, 4 2z.
pub fn axpy_plan(device: &GpuDevice, source: &str, shape: &[usize]) -> Plan {
    let count: usize = shape.iter().product();
    let tensor = Tensor::new(shape, (0..count).map(|i| i as f32 * 0.5).collect()).unwrap();
    let mut graph = Graph::default();
    for name in ["x", "w", "y", "z"] {
        graph.add_value(name, None, None);
    }
    graph.inputs = vec![X];
    graph.outputs = vec![Y, Z];
    let buffers = vec![
        buffer("x", Some(X), shape, Allocation::Slot(0)),
        buffer("w", Some(W), shape, Allocation::Constant(0)),
        buffer("y", None, shape, Allocation::Slot(1)),
        buffer("z", Some(Z), shape, Allocation::Slot(2)),
        buffer("2z", Some(Y), shape, Allocation::Slot(0)),
    ];
    let alignment = device.capabilities().uniform_alignment as usize;
    let mut maker = Maker { source, alignment, vectors: count.div_ceil(4) as u32, params: vec![] };
    let steps = vec![
        step(StepKind::Upload { value: X, to: BufferId(0) }, vec![], vec![BufferId(0)]),
        maker.axpy([0, 1, 2], 2.0),
        maker.axpy([2, 0, 3], 3.0),
        maker.axpy([3, 3, 4], 1.0),
        step(
            StepKind::Download { from: BufferId(4), value: Y, layout: Layout::Dense },
            vec![BufferId(4)],
            vec![],
        ),
        step(
            StepKind::Download { from: BufferId(3), value: Z, layout: Layout::Dense },
            vec![BufferId(3)],
            vec![],
        ),
    ];
    let bytes = buffers[0].bytes();
    let packing =
        Packing { name: "as is", args: vec![], shape: shape.to_vec(), pack: |tensor, _| Ok(tensor.clone()) };
    Plan {
        graph,
        buffers,
        steps,
        inputs: vec![],
        outputs: vec![],
        externals: vec![],
        // The first slot is larger than its tenants, as a shared one may be.
        slots: vec![bytes + 4096, bytes, bytes],
        constants: vec![Constant {
            label: "w".into(),
            tensor,
            packing,
            layout: Layout::Dense,
            storage: ElementFormat::F32,
            bytes,
        }],
        params: maker.params,
        facts: vec![None; 4],
        placements: vec![],
        by_value: vec![],
        precision: Precision::F32,
        chosen: vec![],
        reports: vec![],
    }
}

pub fn execution(device: &GpuDevice, plan: Plan) -> Result<Execution> {
    Execution::new(device, &Arc::new(plan), &Constants::new())
}

pub fn no_cpu(_: &dyn Operator, _: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
    Err(Error::internal("no CPU step was planned"))
}

/// The input of a shape, its elements, and what z must be.
pub fn input(shape: &[usize]) -> (HashMap<ValueId, Tensor>, Vec<f32>, Vec<f32>) {
    let x: Vec<f32> = (0..shape.iter().product::<usize>()).map(|i| i as f32 - 3.0).collect();
    let z = x.iter().enumerate().map(|(i, x)| (x * 2.0 + i as f32 * 0.5) * 3.0 + x).collect();
    (HashMap::from([(X, Tensor::new(shape, x.clone()).unwrap())]), x, z)
}
