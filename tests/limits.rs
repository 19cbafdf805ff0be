//! Devices that bind less than a model's largest weights.

use sardonyx::bench::{Subject, Which, prepare};
use sardonyx::gpu::{Device, LimitsOption, Measured, Selection, test_device};
use sardonyx::plan::Precision;

/// 256 KiB to a binding, and such features as change how weights lie.
const LIMITS: [&str; 2] =
    [r#"{"limits": {"max_storage_buffer_binding_size": 262144}}"#, r#"{"features": ["SHADER_INT64"], "limits": {"max_storage_buffer_binding_size": 262144}}"#];

/// A mebibyte of weights takes several dispatches, each of some columns; the laboratory holds their result to the CPU's.
#[test]
fn weights_beyond_a_binding_are_taken_by_columns() {
    if test_device().is_none() {
        return;
    }
    for (limits, (precision, parts)) in LIMITS.iter().flat_map(|&limits| [(Precision::F32, 5), (Precision::F16, 3)].map(|all| (limits, all))) {
        let open = || Device::open(&Selection::Gpu, &LimitsOption::from_json(limits).unwrap()).unwrap().unwrap();
        for device in [open(), open().with_hardware_form()] {
            for rows in [1, 3, 12] {
                let subject = Subject { family: "matmul", sizes: vec![rows, 62, 4100], from: "" };
                let ready = prepare(&device, precision, &subject, Which::Rule, 7).unwrap();
                let dispatched = ready[0].result(&Measured { fma_gflops: 1.0, copy_gb_per_s: 1.0 }).dispatched;
                assert_eq!(dispatched.len(), parts, "{precision:?} {limits}: {dispatched:?}");
            }
        }
    }
}
