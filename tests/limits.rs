//! Devices that bind less than a model's largest weights.

use sardonyx::bench::{Subject, Which, prepare};
use sardonyx::gpu::{GpuDevice, LimitsOption, Measured, Selection, test_device};
use sardonyx::plan::Precision;
use sardonyx::{ErrorKind, Session, Tensor};

/// 256 KiB to a binding, and such features as change how weights lie.
const LIMITS: [&str; 2] = [
    r#"{"limits": {"max_storage_buffer_binding_size": 262144}}"#,
    r#"{"features": ["SHADER_INT64"], "limits": {"max_storage_buffer_binding_size": 262144}}"#,
];

/// A mebibyte of weights takes several dispatches, each of some columns; the laboratory holds their result to
/// the CPU's.
#[test]
fn weights_beyond_a_binding_are_taken_by_columns() {
    if test_device().is_none() {
        return;
    }
    for (limits, (precision, parts)) in
        LIMITS.iter().flat_map(|&limits| [(Precision::F32, 5), (Precision::F16, 3)].map(|all| (limits, all)))
    {
        // SwiftShader has no 64-bit integers to ask for.
        let int64 = test_device().is_some_and(|device| device.capabilities().shader_int64);
        if limits.contains("SHADER_INT64") && !int64 {
            eprintln!("left out: the adapter has no SHADER_INT64");
            continue;
        }
        let open =
            || GpuDevice::open(&Selection::Gpu, &LimitsOption::from_json(limits).unwrap()).unwrap().unwrap();
        for device in [open(), open().as_hardware()] {
            for rows in [1, 3, 12] {
                let subject = Subject { family: "matmul", sizes: vec![rows, 62, 4100], from: "" };
                let ready = prepare(&device, precision, &subject, Which::Rule, 7).unwrap();
                let dispatched =
                    ready[0].result(&Measured { fma_gflops: 1.0, copy_gb_per_s: 1.0 }).dispatched;
                assert_eq!(dispatched.len(), parts, "{precision:?} {limits}: {dispatched:?}");
            }
        }
    }
}

/// A driver's wrong limits, as far as they can be asked of a right one: named with the adapter, and what to
/// try.
#[test]
fn a_limit_that_no_kernel_can_keep_is_an_error() {
    if test_device().is_none() {
        return;
    }
    for limit in [
        "max_compute_invocations_per_workgroup",
        "max_compute_workgroup_size_x",
        "max_compute_workgroup_storage_size",
        "max_compute_workgroups_per_dimension",
        "max_storage_buffers_per_shader_stage",
        "max_storage_buffer_binding_size",
        "max_uniform_buffer_binding_size",
        "max_bind_groups",
    ] {
        let limits = LimitsOption::from_json(&format!(r#"{{"limits": {{"{limit}": 0}}}}"#)).unwrap();
        let error = GpuDevice::open(&Selection::Gpu, &limits).unwrap_err();
        let adapter = test_device().unwrap().info().name.clone();
        assert!(
            error.kind() == ErrorKind::Device && error.message().starts_with(&format!("'{adapter}' (")),
            "{limit}: {error}"
        );
        assert!(
            error.message().contains(&format!("its {limit} is 0; at least"))
                && error.to_string().contains("use the CPU"),
            "{limit}: {error}"
        );
    }
}

/// An adapter of fewer invocations and less workgroup memory than WebGPU promises: kernels that take more are
/// left to the CPU.
#[test]
fn a_small_adapter_gives_what_the_cpu_gives() {
    if test_device().is_none() {
        return;
    }
    let limits = r#"{"limits": {"max_compute_invocations_per_workgroup": 64, "max_compute_workgroup_storage_size": 1024}}"#;
    let device =
        GpuDevice::open(&Selection::Gpu, &LimitsOption::from_json(limits).unwrap()).unwrap().unwrap();
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/models/digits/digits.onnx");
    let input =
        Tensor::new([1, 1, 8, 8], (0..64).map(|i| (i % 17) as f32 / 16.0).collect::<Vec<_>>()).unwrap();
    let run = |device| {
        let session = Session::builder().device(device).load(model).unwrap();
        let name = session.inputs()[0].name.clone();
        session.run(&[(&name, input.clone())]).unwrap()[0].1.to_f64s().unwrap()
    };
    let expected = run(None);
    for device in [device.clone(), device.as_hardware()] {
        let got = run(Some(device));
        assert!(expected.iter().zip(&got).all(|(a, b)| (a - b).abs() <= 1e-4), "{expected:?} {got:?}");
    }
}
