//! Numbers that only a run knows and that say where elements are read: the lengths of a recurrent network's
//! sequences, the images of regions. A device takes them as the CPU does, and one out of range is an error.

use sardonyx::error::ErrorKind;
use sardonyx::gpu::test_device;
use sardonyx::onnx::{Model, ModelInfo};
use sardonyx::ops::{Attribute, Input, NodeView, find};
use sardonyx::{Session, Tensor, graph};

fn floats(shape: &[usize]) -> Tensor {
    let count = shape.iter().product::<usize>();
    Tensor::new(shape, (0..count).map(|k| (k as f32 * 0.7).sin()).collect()).unwrap()
}

/// A graph of one node, all of whose inputs a run gives.
fn model(op_type: &str, attributes: &[(&str, Attribute)], inputs: &[Tensor], outputs: usize) -> Model {
    let names: Vec<Input> = (0..inputs.len()).map(|k| Input::Named(format!("x{k}"))).collect();
    let attributes = attributes.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
    let mut view = NodeView::new("node", op_type, 22, attributes, names, outputs);
    let op = (find("", op_type).unwrap().parse)(&mut view).unwrap();
    let mut graph = graph::Graph::default();
    let mut ids = vec![];
    for (k, tensor) in inputs.iter().enumerate() {
        let declared = graph::Declared { dtype: tensor.dtype(), dims: None };
        let id = graph.add_value(format!("x{k}"), Some(declared), None);
        graph.inputs.push(id);
        ids.push(Some(id));
    }
    graph.outputs = (0..outputs).map(|k| graph.add_value(format!("y{k}"), None, None)).collect();
    let made = graph.outputs.iter().copied().map(Some).collect();
    let (name, op_type) = ("node".into(), op_type.into());
    graph.nodes.push(graph::Node { name, op_type, op, inputs: ids, outputs: made, fused: vec![] });
    Model { graph, info: ModelInfo::default() }
}

/// Runs a model on the CPU and on a device, and expects the same of both: results, or an error that says
/// `wrong`.
fn both(model: impl Fn() -> Model, inputs: &[Tensor], wrong: Option<&str>) {
    let given: Vec<(String, Tensor)> =
        inputs.iter().enumerate().map(|(k, tensor)| (format!("x{k}"), tensor.clone())).collect();
    let given: Vec<(&str, Tensor)> =
        given.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
    let mut expected: Option<Vec<(String, Tensor)>> = None;
    for device in [None, test_device()] {
        let session = Session::builder().device(device).strict(true).build(model()).unwrap();
        let made = session.run(&given);
        if let Some(number) = wrong {
            let error = made.map(drop).expect_err(number);
            assert_eq!(error.kind(), ErrorKind::Input, "{error}");
            assert!(error.to_string().contains(number), "{error}");
            continue;
        }
        let made = made.unwrap_or_else(|error| panic!("{error}"));
        for ((name, got), (_, want)) in made.iter().zip(expected.iter().flatten()) {
            let (got, want) = (got.to_f64s().unwrap(), want.to_f64s().unwrap());
            let near = got.iter().zip(&want).all(|(x, y)| (x - y).abs() < 1e-5);
            assert!(near && got.len() == want.len(), "{name}: {got:?} instead of {want:?}");
        }
        expected = Some(made);
    }
}

#[test]
fn lengths_of_sequences() {
    let (hidden, bidirectional) = (Attribute::Int(3), Attribute::String("bidirectional".into()));
    let attributes = [("hidden_size", hidden), ("direction", bidirectional)];
    for (op_type, gates, outputs) in [("RNN", 1, 2), ("GRU", 3, 2), ("LSTM", 4, 3)] {
        let inputs = |lengths: [i32; 3]| {
            let weights = [floats(&[2, gates * 3, 2]), floats(&[2, gates * 3, 3]), floats(&[2, gates * 6])];
            let [w, r, b] = weights;
            vec![floats(&[4, 3, 2]), w, r, b, Tensor::new([3], lengths.to_vec()).unwrap()]
        };
        let made = |lengths: [i32; 3]| model(op_type, &attributes, &inputs(lengths), outputs);
        for lengths in [[4, 1, 2], [0, 4, 3]] {
            both(|| made(lengths), &inputs(lengths), None);
        }
        both(|| made([4, 5, 1]), &inputs([4, 5, 1]), Some("5"));
        both(|| made([4, -1, 1]), &inputs([4, -1, 1]), Some("-1"));
    }
}

#[test]
fn images_of_regions() {
    let attributes = [("output_height", Attribute::Int(2)), ("output_width", Attribute::Int(2))];
    let inputs = |images: [i64; 2]| {
        let regions = vec![0.0f32, 0.5, 2.0, 3.0, 1.0, 1.0, 3.5, 2.5];
        let regions = Tensor::new([2, 4], regions).unwrap();
        vec![floats(&[2, 3, 4, 5]), regions, Tensor::int64s(images)]
    };
    let made = |images: [i64; 2]| model("RoiAlign", &attributes, &inputs(images), 1);
    both(|| made([1, 0]), &inputs([1, 0]), None);
    both(|| made([1, 2]), &inputs([1, 2]), Some("2"));
    both(|| made([-1, 0]), &inputs([-1, 0]), Some("-1"));
}
