//! The GPU module on a real adapter, with a plan written by hand: no operator and no planner takes part.

mod axpy;

use axpy::*;
use sardonyx::base::{EvalPrecision, Fact, Infer, Operands};
use sardonyx::gpu::{self, Constants, Execution, GpuDevice, LimitsOption, POISON, Selection};
use sardonyx::ops::Operator;
use sardonyx::plan::{Allocation, BufferId, Capabilities, Layout, Plan, StepKind};
use sardonyx::tensor::Tensor;
use sardonyx::{Error, ErrorKind, Result};
use std::collections::HashMap;
use std::sync::Arc;

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytemuck::pod_collect_to_vec(bytes)
}

fn doubled(values: &[f32]) -> Vec<f32> {
    values.iter().map(|value| value * 2.0).collect()
}

#[test]
fn a_plan_runs_and_runs_again() {
    let Some(device) = gpu::test_device() else { return };
    for shape in [vec![5], vec![3, 100], vec![0, 4], vec![]] {
        let constants = Constants::new();
        let plan = Arc::new(axpy_plan(&device, AXPY, &shape));
        let mut first = Execution::new(&device, &plan, &constants).unwrap();
        first.warm().unwrap();
        let (inputs, _, z) = input(&shape);
        for _ in 0..2 {
            let outputs = first.run(&inputs, &no_cpu).unwrap();
            assert_eq!(outputs[&Z].as_slice::<f32>().unwrap(), z, "{shape:?}");
            assert_eq!(outputs[&Z].shape(), shape);
            assert_eq!(outputs[&Y].as_slice::<f32>().unwrap(), doubled(&z));
        }
        // A second execution shares the weights; with the last one they go.
        let held = constants.bytes();
        let second = Execution::new(&device, &plan, &constants).unwrap();
        assert_eq!((constants.bytes(), held), (plan.constant_bytes(), plan.constant_bytes()));
        drop((first, second));
        assert_eq!(constants.bytes(), 0);
    }
}

#[test]
fn a_probe_sees_each_step_before_its_buffer_is_reused() {
    let Some(device) = gpu::test_device() else { return };
    let mut execution = execution(&device, axpy_plan(&device, AXPY, &[6])).unwrap();
    let (inputs, x, z) = input(&[6]);
    let mut seen = vec![];
    let mut look = |index, written: &[(BufferId, Vec<u8>)]| {
        seen.push((
            index,
            written.iter().map(|(id, bytes)| (id.0, floats(bytes)[..6].to_vec())).collect::<Vec<_>>(),
        ));
        Ok(())
    };
    let outputs = execution.run_probed(&inputs, &no_cpu, &mut look).unwrap();
    let y = x.iter().enumerate().map(|(i, x)| x * 2.0 + i as f32 * 0.5).collect();
    let wanted = [
        (0, vec![(0, x)]),
        (1, vec![(2, y)]),
        (2, vec![(3, z.clone())]),
        (3, vec![(4, doubled(&z))]),
        (4, vec![]),
        (5, vec![]),
    ];
    assert_eq!(seen, wanted);
    assert_eq!(outputs[&Y].as_slice::<f32>().unwrap(), doubled(&z));
    let stopped = execution.run_probed(&inputs, &no_cpu, &mut |_, _| Err(Error::input("enough")));
    assert_eq!(stopped.unwrap_err().message(), "enough");
}

#[test]
fn one_step_runs_by_itself() {
    let Some(device) = gpu::test_device() else { return };
    let mut execution = execution(&device, axpy_plan(&device, AXPY, &[6])).unwrap();
    let bytes = |value: f32| bytemuck::cast_slice(&[value; 8]).to_vec();
    // The last one is a constant: it stays what it is.
    let feed = [(BufferId(2), bytes(1.0)), (BufferId(0), bytes(0.5)), (BufferId(1), bytes(9.0))];
    let written = execution.run_step(2, &feed).unwrap();
    assert_eq!(written.len(), 1);
    assert_eq!((written[0].0, floats(&written[0].1)), (BufferId(3), vec![3.5; 8]));
    let (inputs, _, z) = input(&[6]);
    assert_eq!(execution.run(&inputs, &no_cpu).unwrap()[&Z].as_slice::<f32>().unwrap(), z);
    assert!(execution.run_step(0, &feed).is_err(), "an upload is no step to run");
    assert!(execution.run_step(99, &feed).is_err());
    assert!(execution.run_step(2, &[(BufferId(0), vec![0; 4096])]).is_err(), "too many bytes");
    assert!(execution.run_step(2, &[(BufferId(77), vec![0; 4])]).is_err(), "no such place");
}

#[test]
fn a_store_left_out_is_seen() {
    let Some(device) = gpu::test_device() else { return };
    let source = AXPY.replace("id.x < p.count", "id.x + 1u < p.count");
    let mut execution = execution(&device, axpy_plan(&device, &source, &[8])).unwrap();
    let written = execution.run_step(1, &[(BufferId(0), vec![0; 32])]).unwrap();
    let words: Vec<u32> = bytemuck::pod_collect_to_vec(&written[0].1);
    assert_eq!(words[4..], [POISON; 4]);
    assert_eq!(floats(&written[0].1)[..4], [0.0, 0.5, 1.0, 1.5]);
}

#[test]
fn steps_are_timed_where_the_adapter_can() {
    let Some(device) = gpu::test_device() else { return };
    let mut execution = execution(&device, axpy_plan(&device, AXPY, &[1000])).unwrap();
    let (inputs, _, z) = input(&[1000]);
    match execution.run_timed(&inputs, &no_cpu) {
        Ok((outputs, times)) => {
            assert_eq!(outputs[&Z].as_slice::<f32>().unwrap(), z);
            assert_eq!(times.iter().map(|time| time.0).collect::<Vec<_>>(), [1, 2, 3]);
            assert!(
                times.iter().any(|time| time.1 > 0) && times.iter().all(|time| time.1 < 10_000_000_000),
                "{times:?}"
            );
        }
        Err(error) => assert!(!device.has_timestamps() && error.kind() == ErrorKind::Unsupported, "{error}"),
    }
}

/// What a CPU step runs: adds one.
#[derive(Debug)]
struct AddOne;
impl Operator for AddOne {
    fn infer(&self, _: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        Err(Error::internal("not asked").into())
    }
    fn eval(&self, inputs: Operands<'_, Tensor>, _: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        Ok(vec![Tensor::new(x.shape(), x.as_slice::<f32>()?.iter().map(|x| x + 1.0).collect())?])
    }
}

#[test]
fn a_cpu_step_goes_between() {
    let Some(device) = gpu::test_device() else { return };
    let mut plan = axpy_plan(&device, AXPY, &[6]);
    // z is read back, one is added on the CPU, the sum takes z's place and is doubled from there.
    let cpu = StepKind::Cpu {
        op: Arc::new(AddOne),
        inputs: vec![Some(Z), None],
        outputs: vec![Some(W)],
        reason: "a test".into(),
    };
    let between = [
        step(
            StepKind::Download { from: BufferId(3), value: Z, layout: Layout::Dense },
            vec![BufferId(3)],
            vec![],
        ),
        step(cpu, vec![], vec![]),
        step(StepKind::Upload { value: W, to: BufferId(3) }, vec![], vec![BufferId(3)]),
    ];
    plan.steps.splice(3..3, between);
    plan.steps.pop();
    let mut execution = execution(&device, plan).unwrap();
    let (inputs, _, z) = input(&[6]);
    let eval = |op: &dyn Operator, inputs: &[Option<&Tensor>]| {
        op.eval(Operands::new(inputs), EvalPrecision::Declared)
    };
    let outputs = execution.run(&inputs, &eval).unwrap();
    assert_eq!(outputs[&Y].as_slice::<f32>().unwrap(), z.iter().map(|z| (z + 1.0) * 2.0).collect::<Vec<_>>());
    let error = execution.run(&inputs, &no_cpu).unwrap_err();
    assert!(error.message().contains("no CPU step"), "{error}");
    let error = execution.run(&inputs, &|_, _| Ok(vec![])).unwrap_err();
    assert!(error.message().contains("0 results for 1 outputs"), "{error}");
}

#[test]
fn an_upload_waits_for_the_dispatches_before_it() {
    let Some(device) = gpu::test_device() else { return };
    let mut plan = axpy_plan(&device, AXPY, &[6]);
    // x's buffer gets a constant as soon as y has been computed from x; z reads it there.
    plan.graph.values[1].constant = Some(Tensor::new([6], vec![100f32; 6]).unwrap());
    plan.steps.insert(2, step(StepKind::Upload { value: W, to: BufferId(0) }, vec![], vec![BufferId(0)]));
    let (inputs, x, _) = input(&[6]);
    let outputs = execution(&device, plan).unwrap().run(&inputs, &no_cpu).unwrap();
    let z: Vec<f32> = x.iter().enumerate().map(|(i, x)| (x * 2.0 + i as f32 * 0.5) * 3.0 + 100.0).collect();
    assert_eq!(outputs[&Z].as_slice::<f32>().unwrap(), z);
}

#[test]
fn bad_inputs_are_errors() {
    let Some(device) = gpu::test_device() else { return };
    let mut execution = execution(&device, axpy_plan(&device, AXPY, &[6])).unwrap();
    let missing = execution.run(&HashMap::new(), &no_cpu).unwrap_err();
    assert_eq!(
        (missing.kind(), missing.to_string().as_str()),
        (ErrorKind::Input, "'x': the input is missing")
    );
    let wrong = execution.run(&input(&[7]).0, &no_cpu).unwrap_err();
    assert!(wrong.kind() == ErrorKind::Input && wrong.to_string().contains("[7]"), "{wrong}");
    let strings = HashMap::from([(X, Tensor::strings([6], vec![String::new(); 6]).unwrap())]);
    assert!(execution.run(&strings, &no_cpu).is_err());
    assert!(execution.run(&input(&[6]).0, &no_cpu).is_ok(), "an error leaves the execution usable");
}

#[test]
fn bad_plans_are_errors() {
    let Some(device) = gpu::test_device() else { return };
    let refused = |plan: Plan| execution(&device, plan).err().expect("refused");
    for source in [
        "fn main( {",
        "@compute @workgroup_size(1) fn other() {}",
        "@compute @workgroup_size(99999) fn main() {}",
    ] {
        let error = refused(axpy_plan(&device, source, &[6]));
        assert!(
            error.kind() == ErrorKind::Internal && error.message().contains("the kernel 'axpy'"),
            "{error}"
        );
    }
    let mut large = axpy_plan(&device, AXPY, &[6]);
    large.slots[1] = 1 << 62;
    assert_eq!(refused(large).kind(), ErrorKind::Memory);
    let mut small = axpy_plan(&device, AXPY, &[1024]);
    small.slots[1] = 16;
    assert!(refused(small).message().contains("no buffer that holds it"));
    let mut both = axpy_plan(&device, AXPY, &[6]);
    both.buffers[3].allocation = Allocation::Slot(0);
    let ran = execution(&device, both).unwrap().run(&input(&[6]).0, &no_cpu);
    assert_eq!(ran.expect_err("one buffer is read and written in one dispatch").kind(), ErrorKind::Internal);
    let mut grid = axpy_plan(&device, AXPY, &[6]);
    if let StepKind::Gpu { dispatches } = &mut grid.steps[1].kind {
        dispatches[0].grid = [1 << 30, 1, 1];
    }
    let ran = execution(&device, grid).unwrap().run(&input(&[6]).0, &no_cpu);
    assert_eq!(ran.unwrap_err().kind(), ErrorKind::Internal);
    assert!(device.check().is_ok(), "none of it outlives its call");
}

#[test]
fn the_memory_budget_holds() {
    let Some(device) = gpu::test_device() else { return };
    let error = execution(&device.with_memory_budget(1000), axpy_plan(&device, AXPY, &[1024])).err().unwrap();
    assert!(
        error.kind() == ErrorKind::Memory && error.message().contains("memory budget of 1000"),
        "{error}"
    );
}

#[test]
fn a_lost_device_is_named_and_can_be_replaced() {
    if gpu::test_device().is_none() {
        return;
    }
    let open = || GpuDevice::open(&Selection::Gpu, &LimitsOption::Adapter).unwrap().unwrap();
    let device = open();
    let plan = Arc::new(axpy_plan(&device, AXPY, &[6]));
    let mut execution = Execution::new(&device, &plan, &Constants::new()).unwrap();
    let (inputs, _, z) = input(&[6]);
    execution.run(&inputs, &no_cpu).unwrap();
    device.destroy();
    let errors = [
        execution.run(&inputs, &no_cpu).unwrap_err(),
        execution.run_step(1, &[]).unwrap_err(),
        execution.warm().unwrap_err(),
        Execution::new(&device, &plan, &Constants::new()).err().unwrap(),
    ];
    for error in errors {
        assert!(
            error.kind() == ErrorKind::Device
                && error.message().starts_with(&format!("the device '{}' (", device.info().name)),
            "{error}"
        );
        assert!(
            error.message().contains(") was lost: ") && error.to_string().contains("; make a new session"),
            "{error}"
        );
        assert!(error.to_string().ends_with("use the CPU, or another backend or driver"), "{error}");
    }
    let device = open();
    let mut execution = Execution::new(&device, &plan, &Constants::new()).unwrap();
    assert_eq!(execution.run(&inputs, &no_cpu).unwrap()[&Z].as_slice::<f32>().unwrap(), z);
}

#[test]
fn a_device_lost_in_the_middle_of_a_run_is_an_error() {
    if gpu::test_device().is_none() {
        return;
    }
    let device = GpuDevice::open(&Selection::Gpu, &LimitsOption::Adapter).unwrap().unwrap();
    let mut execution = execution(&device, axpy_plan(&device, AXPY, &[6])).unwrap();
    let result = execution.run_probed(&input(&[6]).0, &no_cpu, &mut |index, _| {
        if index == 1 {
            device.destroy();
        }
        Ok(())
    });
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Device);
}

#[test]
fn webgpu_limits_are_what_webgpu_promises() {
    if gpu::test_device().is_none() {
        return;
    }
    let device = GpuDevice::open(&Selection::Gpu, &LimitsOption::WebGpu).unwrap().unwrap();
    // What the driver's compiler does is no matter of limits.
    let own = device.capabilities();
    let wanted = Capabilities {
        software: own.software,
        translates_late: own.translates_late,
        unrolls: own.unrolls,
        ..Capabilities::webgpu()
    };
    assert_eq!(*device.capabilities(), wanted);
    let mut execution = execution(&device, axpy_plan(&device, AXPY, &[6])).unwrap();
    let (inputs, _, z) = input(&[6]);
    assert_eq!(execution.run(&inputs, &no_cpu).unwrap()[&Z].as_slice::<f32>().unwrap(), z);
    let limits = LimitsOption::from_json(r#"{"limits": {"max_buffer_size": 1000000000000000000}}"#).unwrap();
    assert_eq!(GpuDevice::open(&Selection::Gpu, &limits).unwrap_err().kind(), ErrorKind::Device);
}

/// One source has a pipeline with checks and one without, and both make the same.
#[test]
fn checks_are_an_option() {
    let Some(device) = gpu::test_device() else { return };
    assert_eq!(device.checks(), cfg!(debug_assertions));
    let source = format!("{AXPY}\n// with checks and without\n");
    for checks in [true, false, true] {
        let device = device.with_checks(checks);
        assert_eq!(device.checks(), checks);
        let mut execution = execution(&device, axpy_plan(&device, &source, &[6])).unwrap();
        let (inputs, _, z) = input(&[6]);
        assert_eq!(execution.run(&inputs, &no_cpu).unwrap()[&Z].as_slice::<f32>().unwrap(), z);
    }
}

#[test]
fn packed_f16_is_an_option() {
    let Some(device) = gpu::test_device() else { return };
    assert!(!device.with_packed_f16().capabilities().shader_f16);
}

#[test]
fn threads_share_a_device() {
    let Some(device) = gpu::test_device() else { return };
    let plan = Arc::new(axpy_plan(&device, AXPY, &[1000]));
    let constants = Constants::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut execution = Execution::new(&device, &plan, &constants).unwrap();
                let (inputs, _, z) = input(&[1000]);
                for _ in 0..20 {
                    assert_eq!(execution.run(&inputs, &no_cpu).unwrap()[&Z].as_slice::<f32>().unwrap(), z);
                }
            });
        }
    });
}

#[test]
fn a_device_is_measured_quickly() {
    let Some(device) = gpu::test_device() else { return };
    let start = std::time::Instant::now();
    let measured = gpu::measure(&device).unwrap();
    eprintln!("{measured:?} in {:?}", start.elapsed());
    assert!(measured.copy_gb_per_s > 0.01 && measured.fma_gflops > 0.01, "{measured:?}");
}
