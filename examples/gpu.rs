//! A model on the best GPU, a software one included, with what the plan decided: `cargo run --example gpu`.

use sardonyx::device::adapters;
use sardonyx::{Device, Result, Session, Tensor, onnx};

fn main() -> Result<()> {
    for adapter in adapters() {
        println!("gpu:{}  {} ({}, {})", adapter.index, adapter.name, adapter.backend, adapter.driver);
    }
    let session = Session::builder().device(Device::gpu()?).load("models/tiny/conv_odd/model.onnx")?;

    // Inputs go by name; this one was recorded with the model.
    let (_, input) = onnx::read_pb("models/tiny/conv_odd/test_data_set_0/input_0.pb".as_ref())?;
    let ports = session.inputs();
    let values = session.bind(&[(ports[0].name.as_str(), input)])?;

    // The plan is made once for these shapes, and kept by the session.
    let prepared = session.prepare(&values)?;
    if let Some(plan) = &prepared.plan {
        print!("{}", plan.summary());
    }
    for (node, op, reason) in prepared.fallbacks() {
        println!("on the CPU: {node} ({op}): {reason}");
    }

    let outputs: Vec<(String, Tensor)> = session.run_prepared(&prepared, &values)?;
    for (name, tensor) in outputs {
        println!("{name}: {} {:?} {:?}", tensor.dtype(), tensor.shape(), tensor.as_slice::<f32>()?);
    }
    Ok(())
}
