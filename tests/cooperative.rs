//! Products and convolutions by cooperative matrices, on a device that has them: lavapipe has from Mesa 26 on
//! (`.ci/cooperative.sh`).

use sardonyx::bench::{Subject, Which, prepare};
use sardonyx::gpu::{GpuDevice, Measured, test_device};
use sardonyx::kernels::gemm_cooperative::variants_for;
use sardonyx::plan::{ElementFormat, Precision};

/// Peaks that nothing is compared with.
const ONES: Measured = Measured { fma_gflops: 1.0, copy_gb_per_s: 1.0 };

/// A device that multiplies cooperative matrices, planned for as hardware is. Where there is none this says
/// so and is `None`.
///
/// # Panics
/// With `SARDONYX_REQUIRE_COOPERATIVE=1` where there is none: a test that must not be skipped fails.
fn device() -> Option<GpuDevice> {
    let found = test_device().filter(|device| device.capabilities().cooperative.is_some());
    let required = std::env::var("SARDONYX_REQUIRE_COOPERATIVE").is_ok_and(|value| value == "1");
    assert!(found.is_some() || !required, "no cooperative matrices, and SARDONYX_REQUIRE_COOPERATIVE=1");
    if found.is_none() {
        eprintln!("skipped: no adapter with cooperative matrices");
    }
    found.map(|device| device.as_hardware())
}

/// Every tile at sizes within one, at its edges, and beyond several: the laboratory holds each result to the
/// CPU's, in float64.
#[test]
fn every_tile_agrees_with_the_cpu() {
    let Some(device) = device() else { return };
    let subjects: [(&str, &[usize]); 9] = [
        ("matmul", &[9, 12, 20]),
        ("matmul", &[16, 16, 32]),
        ("matmul", &[33, 47, 70]),
        ("matmul", &[129, 129, 131]),
        ("matmul", &[300, 64, 260]),
        ("matmul_batch", &[6, 40, 24, 36]),
        ("conv", &[13, 9, 11, 21, 3, 1]),
        ("conv", &[32, 15, 14, 130, 3, 2]),
        ("conv", &[48, 12, 12, 40, 1, 1]),
    ];
    let tiles = variants_for(device.capabilities(), ElementFormat::F16, [512, 512], 64, 1);
    assert!(!tiles.is_empty());
    for (family, sizes) in subjects {
        let subject = Subject { family, sizes: sizes.to_vec(), from: "" };
        for &tile in &tiles {
            let ready = prepare(&device, Precision::F16, &subject, Which::One(tile), 3).unwrap();
            let row = ready[0].result(&ONES);
            assert!(row.dispatched.contains(&"gemm_cooperative"), "{family} {sizes:?}: {:?}", row.dispatched);
            assert_eq!(row.variant, Some(tile.to_string()), "{family} {sizes:?}");
        }
    }
}

/// They multiply float16 alone.
#[test]
fn float32_is_left_to_the_other_kernels() {
    let Some(device) = device() else { return };
    let subject = Subject { family: "matmul", sizes: vec![64, 64, 64], from: "" };
    for (device, precision) in [(device.clone(), Precision::F32), (device.with_packed_f16(), Precision::F16)]
    {
        let ready = prepare(&device, precision, &subject, Which::Rule, 3).unwrap();
        assert_eq!(ready[0].result(&ONES).dispatched, ["gemm"], "{precision:?}");
    }
}
