//! Drivers that take too long. A binary of its own: what is given up goes on working, and keeps software
//! adapters' threads from others.

mod axpy;

use axpy::*;
use sardonyx::ErrorKind;
use sardonyx::gpu::{self, Constants, Execution, GpuDevice, LimitsOption, Selection, TimeLimits};
use sardonyx::tensor::Tensor;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Some seconds of work on `x`: what each turn of the loop makes, the next one needs.
const LONG: &str = "for (var i = 0u; i < 600000000u; i++) { x = x * 1664525u + (i ^ (x >> 7u)); }";

/// [`AXPY`] with work on a number before its own, which needs what comes of it.
fn slow(work: &str) -> String {
    let line = "if id.x < p.count { result[id.x] = a[id.x] * p.scale + b[id.x]; }";
    assert!(AXPY.contains(line), "{AXPY}");
    let begin = "if id.x >= p.count { return; }\n    var x = bitcast<u32>(a[id.x].x);";
    AXPY.replace(
        line,
        &format!("{begin}\n    {work}\n    result[id.x] = a[id.x] * p.scale + b[id.x] * f32(x);"),
    )
}

fn open() -> GpuDevice {
    GpuDevice::open(&Selection::Gpu, &LimitsOption::Adapter).unwrap().unwrap()
}

/// The digits' probabilities on a device: what a process can still do.
fn digits(device: Option<GpuDevice>) -> Vec<f64> {
    let session = sardonyx::Session::builder()
        .device(device)
        .load(concat!(env!("CARGO_MANIFEST_DIR"), "/models/digits/digits.onnx"))
        .unwrap();
    let name = session.inputs()[0].name.clone();
    session.run(&[(&name, Tensor::new([1, 1, 8, 8], vec![0.5f32; 64]).unwrap())]).unwrap()[0]
        .1
        .to_f64s()
        .unwrap()
}

#[test]
fn a_run_that_takes_too_long_is_an_error_and_the_process_goes_on() {
    if gpu::test_device().is_none() {
        return;
    }
    let device = open();
    let adapter = format!("the device '{}' (vulkan", device.info().name);
    let limited =
        device.with_time_limits(TimeLimits { run: Duration::from_secs(1), ..TimeLimits::default() });
    let mut plan = axpy_plan(&device, &slow(LONG), &[6]);
    // Named as a node of a model would be.
    (plan.steps[1].node, plan.steps[1].label, plan.steps[1].op_type) =
        (Some(0), "slow node".into(), "Conv".into());
    let plan = Arc::new(plan);
    let mut execution = Execution::new(&limited, &plan, &Constants::new()).unwrap();
    let start = Instant::now();
    let error = execution.run(&input(&[6]).0, &no_cpu).unwrap_err();
    assert!(
        start.elapsed() >= Duration::from_secs(1) && start.elapsed() < Duration::from_secs(20),
        "{:?}: {error}",
        start.elapsed()
    );
    let text = error.to_string();
    assert!(
        error.kind() == ErrorKind::Timeout && (!cfg!(target_os = "linux") || text.starts_with(&adapter)),
        "{text}"
    );
    let what = "is given up: it didn't finish 3 dispatches, from kernel 'axpy' of node 'slow node' (Conv) to kernel 'axpy' within 1s;";
    assert!(text.contains(what), "{text}");
    assert!(
        text.contains("use the CPU")
            && text.contains("another backend or driver")
            && text.contains("SARDONYX_RUN_TIMEOUT"),
        "{text}"
    );
    // The device is lost for every other clone, which nothing waits for.
    let start = Instant::now();
    let again = [
        execution.run(&input(&[6]).0, &no_cpu).unwrap_err(),
        Execution::new(&device, &plan, &Constants::new()).err().unwrap(),
    ];
    for error in again {
        assert!(
            error.kind() == ErrorKind::Device
                && error.message().contains("was lost: it didn't finish 3 dispatches"),
            "{error}"
        );
    }
    drop((execution, limited, device));
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let expected = digits(None);
    let got = digits(Some(open()));
    assert!(expected.iter().zip(&got).all(|(a, b)| (a - b).abs() <= 1e-4), "{expected:?} {got:?}");
}

#[test]
fn a_kernel_that_takes_too_long_to_compile_is_named() {
    if gpu::test_device().is_none() {
        return;
    }
    let device = open().with_time_limits(TimeLimits { compile: Duration::ZERO, ..TimeLimits::default() });
    let error = execution(&device, axpy_plan(&device, AXPY, &[6])).err().unwrap();
    let text = error.to_string();
    assert!(error.kind() == ErrorKind::Timeout && text.contains(&device.info().name), "{text}");
    assert!(
        text.contains("is given up: it didn't compile the kernel 'axpy' within 0ns; use the CPU"),
        "{text}"
    );
    assert!(
        text.contains("another backend or driver") && text.contains("SARDONYX_COMPILE_TIMEOUT"),
        "{text}"
    );
    assert!(device.check().unwrap_err().message().contains("was lost: it didn't compile the kernel 'axpy'"));
    assert_eq!(digits(None).len(), digits(Some(open())).len());
}

/// Several threads' runs take their turns: none is overdue for what the others take.
#[test]
fn time_spent_on_others_does_not_count() {
    if gpu::test_device().is_none() {
        return;
    }
    // Less than a hundredth of the work.
    let source = slow(&LONG.replace("600000000u", "5000000u"));
    let device = open();
    let plan = Arc::new(axpy_plan(&device, &source, &[6]));
    let alone = {
        let mut execution = Execution::new(&device, &plan, &Constants::new()).unwrap();
        let start = Instant::now();
        execution.run(&input(&[6]).0, &no_cpu).unwrap();
        start.elapsed()
    };
    let limited = device.with_time_limits(TimeLimits {
        run: alone * 2 + Duration::from_millis(500),
        ..TimeLimits::default()
    });
    std::thread::scope(|scope| {
        let run = || {
            Execution::new(&limited, &plan, &Constants::new())
                .unwrap()
                .run(&input(&[6]).0, &no_cpu)
                .map(|_| ())
        };
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(run)).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
    });
}

/// A kernel that the driver's own compiler is long at: at the pipeline's making or, as Mesa's software
/// adapter, at the first dispatch.
#[test]
fn a_driver_that_compiles_for_too_long_is_left_behind() {
    if gpu::test_device().is_none() {
        return;
    }
    // Drivers keep what they compiled: each run has a text of its own.
    let salt =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u32 >> 1;
    let lines: String = (0..6000u32)
        .map(|i| format!("x = x * {}u + (x >> {}u);\n", salt ^ i.wrapping_mul(2_654_435_761), i % 31))
        .collect();
    let device =
        open().with_time_limits(TimeLimits { compile: Duration::from_millis(300), ..TimeLimits::default() });
    let error = execution(&device, axpy_plan(&device, &slow(&lines), &[6]))
        .err()
        .map(|error| error.to_string())
        .unwrap_or_default();
    assert!(
        error.contains("is given up: it didn't compile the kernel 'axpy' within 300ms")
            || !device.capabilities().software,
        "{error}"
    );
    assert_eq!(digits(None).len(), 10);
}
