//! A rewrite may not change an answer: every model at hand gives on the CPU, with all rewrites, what it gives
//! as read.

#[path = "support/shared.rs"]
mod shared;

use sardonyx::plan::{Capabilities, Inference, Placement, PlanRequest, Precision, infer, plan};
use sardonyx::{Session, Tensor, cpu, passes};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Folders of models with recorded inputs: this project's own, and the shared ones where they are.
fn cases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = ["conv_odd", "mlp", "branches", "cpu_step", "joined", "heads", "contrib", "quantized", "nbits"];
    let mut list: Vec<PathBuf> = own.iter().map(|name| root.join("models/tiny").join(name)).collect();
    list.extend(
        ["mnist_ort", "squeezenet_fp32", "ultraface_rfb320", "ppocr_cls"]
            .iter()
            .filter_map(|name| shared::folder(&format!("models/{name}"))),
    );
    list
}

fn inputs(session: &Session, folder: &Path) -> Vec<(String, Tensor)> {
    let read = |(k, port): (usize, sardonyx::session::InputOutputInfo)| {
        (port.name, shared::recorded(folder, "input", k).unwrap())
    };
    session.inputs().into_iter().enumerate().map(read).collect()
}

#[test]
fn before_and_after_agree() {
    for folder in cases() {
        let path = folder.join("model.onnx");
        let Ok(session) = Session::builder().load(&path) else {
            eprintln!("skipped: {} has an unknown operator", path.display());
            continue;
        };
        let given = inputs(&session, &folder);
        let named: Vec<(&str, Tensor)> =
            given.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
        let values = session.bind(&named).unwrap();
        let before =
            cpu::run(session.original(), &values, sardonyx::base::EvalPrecision::Declared, &mut |_, _| {})
                .unwrap();
        let known: HashMap<_, _> =
            values.iter().map(|(&id, tensor)| (id, sardonyx::base::Fact::of(tensor))).collect();
        // Shapes alone: an input's elements are not for the rewrites to know.
        let shapes: HashMap<_, _> = known
            .into_iter()
            .map(|(id, fact)| (id, sardonyx::base::Fact::new(fact.dtype, fact.shape)))
            .collect();
        let mut graph = session.planned().clone();
        let Inference::Complete(facts) = infer(&graph, &shapes).unwrap() else {
            panic!("{} needs elements", path.display())
        };
        passes::with_shapes(&mut graph, &facts).unwrap();
        graph.verify().unwrap();
        let after =
            cpu::run(&graph, &values, sardonyx::base::EvalPrecision::Declared, &mut |_, _| {}).unwrap();
        // The program of a session on the CPU has a rewrite of its own, packed weights, and memory that it
        // uses again.
        let prepared = session.prepare(&values).unwrap();
        session.run_prepared(&prepared, &values).unwrap();
        let ran: Vec<Tensor> =
            session.run_prepared(&prepared, &values).unwrap().into_iter().map(|(_, tensor)| tensor).collect();
        for (x, y) in before.iter().zip(&after).chain(before.iter().zip(&ran)) {
            assert_eq!((x.shape(), x.dtype()), (y.shape(), y.dtype()));
            let (x, y) = (x.to_f64s().unwrap(), y.to_f64s().unwrap());
            let scale = x.iter().fold(1e-30f64, |high, x| high.max(x.abs()));
            let worst = x.iter().zip(&y).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
            assert!(worst <= 2e-5 * scale, "{}: {worst} of {scale}", path.display());
        }
    }
}

/// conv_odd's convolutions, each with BatchNormalization, Relu and one with a residual, become a dispatch
/// each.
#[test]
fn a_residual_block_is_convolutions_alone() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny/conv_odd");
    let session = Session::builder().load(folder.join("model.onnx")).unwrap();
    let given = inputs(&session, &folder);
    let values = session
        .bind(&given.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect::<Vec<_>>())
        .unwrap();
    let shapes: HashMap<_, _> = values
        .iter()
        .map(|(&id, tensor)| (id, sardonyx::base::Fact::new(tensor.dtype(), tensor.shape())))
        .collect();
    let mut graph = session.graph().clone();
    let Inference::Complete(mut facts) = infer(&graph, &shapes).unwrap() else { panic!("needs elements") };
    passes::with_shapes(&mut graph, &facts).unwrap();
    facts.extend(
        graph.values[facts.len()..].iter().map(|value| value.constant.as_ref().map(sardonyx::base::Fact::of)),
    );
    let left: Vec<&str> = graph.nodes.iter().map(|node| node.op_type.as_str()).collect();
    assert_eq!(left, ["Conv", "Conv", "Conv", "GlobalAveragePool"]);
    let capabilities = Capabilities::webgpu();
    let made = plan(PlanRequest {
        graph,
        facts,
        by_value: vec![],
        capabilities: &capabilities,
        precision: Precision::F32,
        variant_policy: Default::default(),
        hold_f32: Default::default(),
        states: vec![],
    })
    .unwrap();
    assert!(made.placements.iter().all(|placement| *placement == Placement::Gpu));
    // One dispatch for each node, and two that put the first one's input in its padding.
    assert_eq!(made.dispatches().count(), made.graph.nodes.len() + 2);
    assert!(made.activation_bytes() < made.unshared_bytes());
}
