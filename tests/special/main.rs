//! One table of special values: zeros, subnormals, the edges of every conversion, infinities and NaN through
//! every operator that computes.
//!
//! The CPU is held to IEEE 754 and ONNX's text, written out in `ieee.rs` and beside each table with nothing
//! of the library's; each device to the same values, in float32, declared float16, and float32 narrowed to
//! float16, packed and native, by the kernels of software adapters and of hardware. WGSL lets subnormal
//! operands and results be taken for 0, and so does this; the sign of a zero result is held where a value is
//! only moved. docs/numerics.md has a row for each thing that WGSL leaves open.

mod casts;
mod elementwise;
mod fused;
mod ieee;
mod rows;
mod tally;
mod values;

use sardonyx::gpu::{GpuDevice, LimitsOption, Selection, test_device};
use sardonyx::graph::{Declared, Graph, Node};
use sardonyx::onnx::{Model, ModelInfo};
use sardonyx::ops::Operator;
use sardonyx::plan::Precision;
use sardonyx::{Session, Tensor};
use std::sync::Arc;

/// Where a table is tried.
#[derive(Clone)]
pub struct Place {
    pub name: &'static str,
    pub device: Option<GpuDevice>,
}

/// The CPU, and the adapter as it is, with packed float16, as hardware, and under WebGPU's limits as
/// hardware.
fn places() -> Vec<Place> {
    let mut list = vec![Place { name: "CPU", device: None }];
    if let Some(device) = test_device() {
        let webgpu = GpuDevice::open(&Selection::Gpu, &LimitsOption::WebGpu).unwrap().unwrap();
        list.push(Place { name: "packed float16", device: Some(device.with_packed_f16()) });
        list.push(Place { name: "hardware's kernels", device: Some(device.as_hardware()) });
        list.push(Place { name: "WebGPU's limits", device: Some(webgpu.as_hardware()) });
        list.push(Place { name: "the adapter", device: Some(device) });
    }
    list
}

/// Runs one operator; `None` where it has no kernel on the place's device.
fn run(
    op: Arc<dyn Operator>,
    name: &str,
    inputs: &[Tensor],
    place: &Place,
    precision: Precision,
    outputs: usize,
) -> Option<Vec<Tensor>> {
    let mut graph = Graph::default();
    let mut given = vec![];
    for (k, tensor) in inputs.iter().enumerate() {
        let id = graph.add_value(format!("x{k}"), Some(Declared { dtype: tensor.dtype(), dims: None }), None);
        graph.inputs.push(id);
        given.push((format!("x{k}"), tensor.clone()));
    }
    let ids: Vec<_> = (0..outputs).map(|k| graph.add_value(format!("y{k}"), None, None)).collect();
    graph.outputs = ids.clone();
    let inputs = graph.inputs.iter().copied().map(Some).collect();
    graph.nodes.push(Node {
        name: "node".into(),
        op_type: name.into(),
        op,
        inputs,
        outputs: ids.into_iter().map(Some).collect(),
        fused: vec![],
    });
    let model = Model { graph, info: ModelInfo::default() };
    let session = Session::builder()
        .device(place.device.clone())
        .precision(precision)
        .without_rewrites()
        .build(model)
        .unwrap();
    let named: Vec<(&str, Tensor)> =
        given.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
    let values = session.bind(&named).unwrap();
    let prepared = session.prepare(&values).unwrap_or_else(|error| panic!("{name}: {error}"));
    if place.device.is_some() && !prepared.fallbacks().is_empty() {
        return None;
    }
    let results = session
        .run_prepared(&prepared, &values)
        .unwrap_or_else(|error| panic!("{name} on {}: {error}", place.name));
    Some(results.into_iter().map(|result| result.1).collect())
}

/// An operator from its ONNX form.
fn parsed(
    name: &str,
    attributes: &[(&str, sardonyx::ops::Attribute)],
    inputs: usize,
    outputs: usize,
) -> Arc<dyn Operator> {
    use sardonyx::ops::{Input, NodeView, operators};
    let def = operators()
        .find(|def| def.name == name && def.domain.is_empty())
        .unwrap_or_else(|| panic!("no operator {name}"));
    let attributes = attributes.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
    let inputs = (0..inputs).map(|k| Input::Named(format!("x{k}"))).collect();
    (def.parse)(&mut NodeView::new("node", name, 24, attributes, inputs, outputs))
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}
