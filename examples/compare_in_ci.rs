//! Does the GPU still give what the CPU gives? Exit code 0 if so, 1 with the first node that went wrong, 2
//! where it can't be told: `cargo run --example compare_in_ci -- MODEL`. The verb `compare` does the same
//! from a shell.

use sardonyx::compare::{Options, Reference, Verdict, compare};
use sardonyx::{Device, Result, Session, Tensor};
use std::process::ExitCode;

fn check(model: &str) -> Result<bool> {
    let session = Session::builder().device(Device::gpu()?).load(model)?;

    // One picture of ramps for a model with fixed sizes; a real job compares over recorded inputs.
    let ports = session.inputs();
    let ramp = |port: &sardonyx::session::InputOutputInfo| {
        let size =
            |dim: &sardonyx::graph::Dim| if let sardonyx::graph::Dim::Known(size) = dim { *size } else { 1 };
        let shape: Vec<usize> = port.dims.iter().flatten().map(size).collect();
        let count = shape.iter().product::<usize>();
        Tensor::new(shape, (0..count).map(|k| (k % 17) as f32 / 17.0).collect())
    };
    let named = ports.iter().map(|port| Ok((port.name.as_str(), ramp(port)?))).collect::<Result<Vec<_>>>()?;
    let values = session.bind(&named)?;

    let report = compare(
        &session,
        &values,
        &Options { reference: Reference::CpuF64, per_node: true, tolerance: None },
    )?;
    for row in &report.outputs {
        println!(
            "{}: off by at most {:.2e} of {:.2e} allowed",
            row.name, row.measure.max_abs, row.measure.tolerance.value
        );
    }
    if let Some(first) = &report.first_different {
        println!("first different: node '{}' ({}), output '{}'", first.node, first.op, first.output);
    }
    Ok(report.verdict == Verdict::Same)
}

fn main() -> ExitCode {
    let model = std::env::args().nth(1).unwrap_or_else(|| "models/digits/digits.onnx".to_string());
    match check(&model) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}
