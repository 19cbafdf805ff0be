//! Indices outside their axes are an error wherever a model runs (ONNX says so of each of these operators),
//! and of that run alone.

use sardonyx::error::ErrorKind;
use sardonyx::gpu::test_device;
use sardonyx::onnx::{Model, ModelInfo};
use sardonyx::ops::{Attribute, Input, NodeView, find};
use sardonyx::plan::Precision;
use sardonyx::{Session, Tensor, graph};
use std::thread;

/// One node: operator, attributes, inputs, which of them holds the indices, the size of the axis, which axis.
struct Node {
    op: &'static str,
    attributes: Vec<(String, Attribute)>,
    inputs: Vec<Tensor>,
    indices: usize,
    size: i64,
    axis: usize,
}

fn floats(shape: &[usize]) -> Tensor {
    Tensor::new(shape, (0..shape.iter().product::<usize>()).map(|k| k as f32 * 0.25).collect()).unwrap()
}

/// Indices that all lie inside, of which `last` takes the last one's place.
fn indices(shape: &[usize], last: i64, narrow: bool) -> Tensor {
    let count: usize = shape.iter().product();
    let list: Vec<i64> = (0..count).map(|k| if k + 1 == count { last } else { (k % 2) as i64 }).collect();
    if narrow {
        Tensor::new(shape, list.into_iter().map(|x| x as i32).collect()).unwrap()
    } else {
        Tensor::new(shape, list).unwrap()
    }
}

fn nodes(last: i64, narrow: bool) -> Vec<Node> {
    let int = |name: &str, value| (name.to_string(), Attribute::Int(value));
    let node = |op, attributes, inputs, size, axis| Node { op, attributes, inputs, indices: 1, size, axis };
    let mut list = vec![
        node("Gather", vec![int("axis", 1)], vec![floats(&[3, 5, 2]), indices(&[4], last, narrow)], 5, 1),
        node("GatherElements", vec![], vec![floats(&[5, 3]), indices(&[2, 3], last, narrow)], 5, 0),
        node(
            "ScatterElements",
            vec![],
            vec![floats(&[5, 3]), indices(&[2, 3], last, narrow), floats(&[2, 3])],
            5,
            0,
        ),
    ];
    for reduction in ["add", "mul", "min", "max"] {
        let attribute = ("reduction".to_string(), Attribute::String(reduction.into()));
        let inputs = vec![floats(&[5, 3]), indices(&[2, 3], last, narrow), floats(&[2, 3])];
        list.push(node("ScatterElements", vec![attribute.clone()], inputs, 5, 0));
        if !narrow {
            list.push(node(
                "ScatterND",
                vec![attribute],
                vec![floats(&[2, 5, 3]), indices(&[2, 2], last, false), floats(&[2, 3])],
                5,
                1,
            ));
        }
    }
    if !narrow {
        list.push(node("GatherND", vec![], vec![floats(&[2, 5, 3]), indices(&[3, 2], last, false)], 5, 1));
        list.push(node(
            "GatherND",
            vec![int("batch_dims", 1)],
            vec![floats(&[2, 5, 3]), indices(&[2, 2, 1], last, false)],
            5,
            1,
        ));
        list.push(node(
            "ScatterND",
            vec![],
            vec![floats(&[2, 5, 3]), indices(&[2, 2], last, false), floats(&[2, 3])],
            5,
            1,
        ));
        let inputs =
            vec![floats(&[1, 2, 3, 8]), floats(&[5, 4]), floats(&[5, 4]), indices(&[1, 3], last, false)];
        list.push(Node { op: "RotaryEmbedding", attributes: vec![], inputs, indices: 3, size: 5, axis: 0 });
    }
    list
}

/// A graph of the node; its indices are a constant where `known`.
fn model(node: &Node, known: bool) -> Model {
    let names: Vec<String> = (0..node.inputs.len())
        .map(|k| if k == node.indices { "places".to_string() } else { format!("x{k}") })
        .collect();
    let inputs = names.iter().map(|name| Input::Named(name.clone())).collect();
    let def = find("", node.op).unwrap();
    let op = (def.parse)(&mut NodeView::new(
        "look",
        node.op,
        24,
        node.attributes.iter().cloned().collect(),
        inputs,
        1,
    ))
    .unwrap();
    let mut graph = graph::Graph::default();
    let mut ids = vec![];
    for (k, (name, tensor)) in names.iter().zip(&node.inputs).enumerate() {
        let constant = (known && k == node.indices).then(|| tensor.clone());
        let id = graph.add_value(
            name,
            Some(graph::Declared { dtype: tensor.dtype(), dims: None }),
            constant.clone(),
        );
        if constant.is_none() {
            graph.inputs.push(id);
        }
        ids.push(Some(id));
    }
    let output = graph.add_value("y", None, None);
    graph.outputs = vec![output];
    graph.nodes.push(graph::Node {
        name: "look".into(),
        op_type: node.op.into(),
        op,
        inputs: ids,
        outputs: vec![Some(output)],
        fused: vec![],
    });
    Model { graph, info: ModelInfo::default() }
}

fn given(node: &Node, known: bool) -> Vec<(String, Tensor)> {
    let names = node.inputs.iter().enumerate().filter(|(k, _)| !known || *k != node.indices);
    names
        .map(|(k, tensor)| {
            (if k == node.indices { "places".to_string() } else { format!("x{k}") }, tensor.clone())
        })
        .collect()
}

fn run(session: &Session, node: &Node, known: bool) -> sardonyx::error::Result<Vec<(String, Tensor)>> {
    let inputs = given(node, known);
    session.run(&inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect::<Vec<_>>())
}

#[test]
fn an_index_outside_is_an_error_on_every_device() {
    for device in [None, test_device()] {
        for precision in [Precision::F32, Precision::F16] {
            for known in [false, true] {
                for (last, narrow) in [
                    (5, false),
                    (-6, false),
                    (5, true),
                    (-6, true),
                    ((1 << 32) + 1, false),
                    (-(1 << 32), false),
                    (i64::MIN, false),
                    (i64::MAX, false),
                ] {
                    for (bad, good) in nodes(last, narrow).iter().zip(nodes(-5, narrow)) {
                        let at = format!("{} {last} {narrow} known {known} on {}", bad.op, device.is_some());
                        let builder =
                            || Session::builder().device(device.clone()).precision(precision).strict(true);
                        let session = builder().build(model(bad, known)).unwrap();
                        let error = run(&session, bad, known).map(|_| ()).expect_err(&at);
                        let text = error.to_string();
                        let (size, axis) = (bad.size, bad.axis);
                        let want = format!(
                            "node 'look' ({}): 'places': index {last} lies outside axis {axis} of the data, which has {size} elements",
                            bad.op
                        );
                        assert!(
                            text.starts_with(&want) && text.ends_with("give indices from -5 to 4"),
                            "{at}: {text}"
                        );
                        assert_eq!(error.kind(), ErrorKind::Input, "{at}");
                        // The same session goes on.
                        if !known {
                            let expected = run(
                                &Session::builder().precision(precision).build(model(&good, false)).unwrap(),
                                &good,
                                false,
                            )
                            .unwrap();
                            let got =
                                run(&session, &good, false).unwrap_or_else(|error| panic!("{at}: {error}"));
                            if precision == Precision::F32 && bad.op != "RotaryEmbedding" {
                                assert_eq!(got, expected, "{at}");
                            }
                        }
                    }
                }
            }
        }
    }
}

/// What moves no elements has its indices checked all the same.
#[test]
fn indices_into_nothing_are_held_to_their_axis() {
    for device in [None, test_device()] {
        for node in [
            Node {
                op: "Gather",
                attributes: vec![],
                inputs: vec![floats(&[3, 0]), indices(&[2], 3, false)],
                indices: 1,
                size: 3,
                axis: 0,
            },
            Node {
                op: "ScatterND",
                attributes: vec![],
                inputs: vec![floats(&[3, 0]), indices(&[2, 1], 3, false), floats(&[2, 0])],
                indices: 1,
                size: 3,
                axis: 0,
            },
        ] {
            let session =
                Session::builder().device(device.clone()).strict(true).build(model(&node, false)).unwrap();
            let error = run(&session, &node, false).expect_err(node.op).to_string();
            assert!(
                error.contains("'places': index 3 lies outside axis 0 of the data, which has 3 elements"),
                "{error}"
            );
        }
    }
}

/// Labels that are no classes, sequences longer than time, entries beyond a cache: errors on every device.
#[test]
fn what_leads_outside_is_an_error_too() {
    let cases = |op: &'static str, inputs: Vec<Tensor>, indices: usize| Node {
        op,
        attributes: vec![],
        inputs,
        indices,
        size: 0,
        axis: 0,
    };
    for device in [None, test_device()] {
        for number in [-3, 7, 1 << 40, i64::MIN] {
            for node in [
                cases("NegativeLogLikelihoodLoss", vec![floats(&[3, 5]), indices(&[3], number, false)], 1),
                cases(
                    "SoftmaxCrossEntropyLoss",
                    vec![floats(&[3, 5, 1]), indices(&[3, 1], number, false)],
                    1,
                ),
                cases("ReverseSequence", vec![floats(&[5, 3]), indices(&[3], number, false)], 1),
                cases(
                    "TensorScatter",
                    vec![floats(&[3, 5, 2]), floats(&[3, 2, 2]), indices(&[3], number, false)],
                    2,
                ),
            ] {
                let at = format!("{} {number} on {}", node.op, device.is_some());
                let session = Session::builder()
                    .device(device.clone())
                    .strict(true)
                    .build(model(&node, false))
                    .unwrap();
                let error = run(&session, &node, false).map(|_| ()).expect_err(&at);
                assert_eq!(error.kind(), ErrorKind::Input, "{at}: {error}");
                assert!(
                    error.to_string().starts_with(&format!("node 'look' ({})", node.op)),
                    "{at}: {error}"
                );
            }
        }
    }
}

#[test]
fn of_two_threads_only_the_one_with_the_bad_index_errs() {
    for device in [None, test_device()] {
        let (bad, good) = (&nodes(7, false)[0], &nodes(2, false)[0]);
        let session = &Session::builder().device(device).build(model(good, false)).unwrap();
        let expected = &run(session, good, false).unwrap();
        thread::scope(|scope| {
            scope.spawn(move || {
                (0..40).for_each(|k| assert!(run(session, bad, false).is_err(), "bad run {k}"))
            });
            scope.spawn(move || {
                (0..40)
                    .for_each(|k| assert_eq!(&run(session, good, false).unwrap(), expected, "good run {k}"))
            });
        });
    }
}
