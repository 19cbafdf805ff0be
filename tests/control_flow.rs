//! Graphs within graphs, and values that are no tensors: what they read from around them, what goes wrong in
//! them, and what of it reaches a device. What each operator makes is judged by ONNX's own suite
//! (tests/conformance.rs).

#[path = "support/proto.rs"]
mod proto;

use onnx_protobuf::{FunctionProto, GraphProto, Message, ModelProto, NodeProto, OperatorSetIdProto};
use proto::*;
use sardonyx::gpu::test_device;
use sardonyx::{DType, Result, Session, Tensor, Value, ValueType, onnx};

/// `y = condition ? x + w : -(x · v)` where `w` is the model's constant and `v` its node's result. The names
/// of the branches' own values are the same, and one is a name from around the other.
fn branches() -> ModelProto {
    let y = value("y", F32, &[2]);
    let sum = graph(&[], vec![node("Add", &["x", "w"], &["y"])], std::slice::from_ref(&y));
    let w = value("w", F32, &[2]);
    let product = vec![node("Mul", &["x", "v"], &["w"]), node("Neg", &["w"], &["y"])];
    let mut product = graph(&[], product, std::slice::from_ref(&y));
    product.value_info = vec![w];
    let choose = with_graph(node("If", &["condition"], &["result"]), "then_branch", sum);
    let choose = with_graph(choose, "else_branch", product);
    let inputs = [value("condition", BOOL, &[]), value("x", F32, &[2])];
    let nodes = vec![node("Exp", &["w"], &["v"]), choose];
    let mut all = graph(&inputs, nodes, &[value("result", F32, &[2])]);
    all.initializer = vec![floats("w", &[0.0, 1.0])];
    model(all)
}

#[test]
fn branches_read_what_is_around_them() {
    let session = session(&branches()).unwrap();
    let with = |condition| run(&session, &[("condition", truth(condition)), ("x", tensor(&[1.0, 2.0]))]);
    assert_eq!(with(true), [1.0, 3.0]);
    assert_eq!(with(false), [-1.0, -2.0 * 1f32.exp()]);
}

#[test]
fn the_branch_that_an_input_decides_runs_on_the_device() {
    let Some(device) = test_device() else { return };
    let read = onnx::read_bytes(&branches().write_to_bytes().unwrap(), None, "test").unwrap();
    let session = Session::builder().device(device).strict(true).build(read).unwrap();
    for (condition, expected) in [(true, [1.0, 3.0]), (false, [-1.0, -2.0 * 1f32.exp()]), (true, [1.0, 3.0])]
    {
        let inputs = session.bind(&[("condition", truth(condition)), ("x", tensor(&[1.0, 2.0]))]).unwrap();
        let prepared = session.prepare(&inputs).unwrap();
        let plan = prepared.plan.as_ref().expect("a plan");
        assert!(plan.graph.nodes.iter().all(|node| node.op_type != "If"), "the If is gone");
        let outputs = session.run_prepared(&prepared, &inputs).unwrap();
        let found = outputs[0].1.as_slice::<f32>().unwrap();
        assert!(found.iter().zip(expected).all(|(x, y)| (x - y).abs() <= 1e-6), "{found:?} {expected:?}");
    }
}

/// `total, all = x, []; for turn in 0..trips: total += turn · step; all.append(total); go on while total < end`.
fn counting(carried_by: &str) -> ModelProto {
    let body = graph(
        &[value("turn", I64, &[]), value("before", BOOL, &[]), value("total", F32, &[1])],
        vec![
            to_float("turn", "turn_f"),
            node("Mul", &["turn_f", "step"], &["part"]),
            node("Add", &["total", "part"], &["next"]),
            node("Less", &["next", "end"], &["below"]),
            node("Squeeze", &["below"], &["on"]),
            node(carried_by, &["next"], &["carried"]),
            node("Identity", &["next"], &["seen"]),
        ],
        &[value("on", BOOL, &[]), value("carried", F32, &[1]), value("seen", F32, &[1])],
    );
    let turns = with_graph(node("Loop", &["trips", "", "x"], &["sum", "all"]), "body", body);
    let inputs = [value("trips", I64, &[]), value("x", F32, &[1]), value("end", F32, &[1])];
    let mut all = graph(&inputs, vec![turns], &[value("sum", F32, &[1]), value("all", F32, &[-1, 1])]);
    all.initializer = vec![floats("step", &[0.5])];
    model(all)
}
fn to_float(from: &str, to: &str) -> NodeProto {
    with_int(node("Cast", &[from], &[to]), "to", F32.into())
}

#[test]
fn a_loop_ends_by_its_count_or_its_condition() {
    let session = session(&counting("Identity")).unwrap();
    let with = |trips: i64, end: f32| {
        let inputs = [("trips", Tensor::scalar(trips)), ("x", tensor(&[1.0])), ("end", tensor(&[end]))];
        let outputs = session.run(&inputs).unwrap();
        (outputs[0].1.as_slice::<f32>().unwrap()[0], outputs[1].1.clone())
    };
    let (sum, all) = with(4, 100.0);
    assert_eq!((sum, all.as_slice::<f32>().unwrap()), (4.0, [1.0, 1.5, 2.5, 4.0].as_slice()));
    let (sum, all) = with(i64::MAX, 2.0);
    assert_eq!((sum, all.shape()), (2.5, [3, 1].as_slice()));
    // No turn at all: what is carried comes out as it went in, and of what is stacked there is nothing.
    let (sum, all) = with(0, 100.0);
    assert_eq!((sum, all.shape(), all.dtype()), (1.0, [0, 1].as_slice(), DType::F32));
}

#[test]
fn a_loop_without_end_is_an_error() {
    // On its own thread's environment there is nothing to set: the limit is the process's.
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_sardonyx"))
        .env("SARDONYX_LOOP_LIMIT", "1000")
        .args(["run", &written("endless", &counting("Identity")), "--device", "cpu"])
        .args(["-i", &input("trips", &Tensor::scalar(i64::MAX)), "-i", &input("x", &tensor(&[0.0]))])
        .args(["-i", &input("end", &tensor(&[f32::INFINITY]))])
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("has not ended after 1000 turns"), "{error}");
    assert!(error.contains("(Loop)") && error.contains("SARDONYX_LOOP_LIMIT"), "{error}");
}
fn folder() -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("sardonyx-control-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
fn written(name: &str, model: &ModelProto) -> String {
    let path = folder().join(format!("{name}.onnx"));
    std::fs::write(&path, model.write_to_bytes().unwrap()).unwrap();
    path.display().to_string()
}
fn input(name: &str, tensor: &Tensor) -> String {
    let path = folder().join(format!("{name}.npy"));
    onnx::write_npy(&path, tensor).unwrap();
    format!("{name}={}", path.display())
}

#[test]
fn a_carried_value_keeps_its_type() {
    let session = session(&counting("Not")).map(|session| {
        let inputs = [("trips", Tensor::scalar(2i64)), ("x", tensor(&[1.0])), ("end", tensor(&[9.0]))];
        session.run(&inputs).map(drop)
    });
    let error = session.and_then(|run| run).unwrap_err().to_string();
    assert!(error.contains("(Not)"), "{error}");
    // Where the graph's own nodes are right, and the types differ all the same.
    let error = session_of_type_change().unwrap_err().to_string();
    assert!(error.contains("its graph makes it int64 tensor") && error.contains("(Loop)"), "{error}");
}
fn session_of_type_change() -> Result<()> {
    let body = graph(
        &[value("turn", I64, &[]), value("on", BOOL, &[]), value("a", F32, &[1])],
        vec![node("Identity", &["on"], &["goes_on"]), node("Shape", &["a"], &["b"])],
        &[value("goes_on", BOOL, &[]), value("b", I64, &[1])],
    );
    let turns = with_graph(node("Loop", &["trips", "", "x"], &["y"]), "body", body);
    let inputs = [value("trips", I64, &[]), value("x", F32, &[1])];
    let all = model(graph(&inputs, vec![turns], &[value("y", F32, &[1])]));
    session(&all)?.run(&[("trips", Tensor::scalar(2i64)), ("x", tensor(&[1.0]))]).map(drop)
}

#[test]
fn a_graph_that_contradicts_its_node_is_an_error() {
    let error = |change: &dyn Fn(&mut GraphProto)| {
        let mut all = branches();
        let graph = all.graph.as_mut().unwrap();
        change(graph.node[1].attribute[0].g.as_mut().unwrap());
        session(&all).err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert!(
        error(&|graph| graph.output.clear()).contains("the graph 'then_branch' has 0 inputs and 0 outputs")
    );
    assert!(
        error(&|graph| graph.input.push(value("more", F32, &[2]))).contains("has 1 inputs and 1 outputs")
    );
    assert!(error(&|graph| graph.node[0].input[1] = "nowhere".into()).contains("'nowhere'"));
    assert_eq!(error(&|_| {}), "");
}

#[test]
fn functions_cannot_call_themselves_through_a_graph() {
    let y = value("y", F32, &[2]);
    let again = graph(
        &[],
        vec![NodeProto { domain: "own".into(), ..node("F", &["a"], &["y"]) }],
        std::slice::from_ref(&y),
    );
    let choose = with_graph(node("If", &["c"], &["b"]), "then_branch", again.clone());
    let function = FunctionProto {
        name: "F".into(),
        domain: "own".into(),
        input: vec!["a".into()],
        output: vec!["b".into()],
        node: vec![
            node("IsNaN", &["a"], &["nan"]),
            NodeProto { ..node("ReduceMax", &["nan"], &["c"]) },
            with_graph(choose, "else_branch", again),
        ],
        ..Default::default()
    };
    let call = NodeProto { domain: "own".into(), ..node("F", &["x"], &["y"]) };
    let mut all = model(graph(&[value("x", F32, &[2])], vec![call], &[y]));
    all.functions.push(function);
    all.opset_import.push(OperatorSetIdProto { domain: "own".into(), version: 1, ..Default::default() });
    let error = session(&all).err().expect("an error").to_string();
    assert!(error.contains("calls itself"), "{error}");
}

#[test]
fn graphs_lie_in_each_other_only_so_deep() {
    let y = value("y", F32, &[2]);
    let mut inner = graph(&[], vec![node("Identity", &["x"], &["y"])], std::slice::from_ref(&y));
    for _ in 0..26 {
        let choose = with_graph(node("If", &["condition"], &["y"]), "then_branch", inner.clone());
        let other = graph(&[], vec![node("Identity", &["x"], &["y"])], std::slice::from_ref(&y));
        inner = graph(&[], vec![with_graph(choose, "else_branch", other)], std::slice::from_ref(&y));
    }
    inner.input = vec![value("condition", BOOL, &[]), value("x", F32, &[2])];
    let error = session(&model(inner)).err().expect("an error").to_string();
    assert!(error.contains("deep"), "{error}");
}

#[test]
fn sequences_go_in_and_come_out() {
    let at = node("SequenceAt", &["list", "where"], &["item"]);
    let more = node("SequenceInsert", &["list", "item"], &["longer"]);
    let inputs = [sequence("list", F32), value("where", I64, &[])];
    let all = model(graph(&inputs, vec![at, more], &[sequence("longer", F32)]));
    let session = session(&all).unwrap();
    assert!(session.has_other_values());
    assert_eq!(session.inputs()[0].kind.to_string(), "sequence(float32 tensor)");
    let list = |parts: &[&[f32]]| {
        let parts = parts.iter().map(|part| tensor(part).into()).collect();
        Value::sequence(ValueType::Tensor(DType::F32), parts).unwrap()
    };
    let given = list(&[&[1.0], &[2.0, 3.0]]);
    let run = |at: i64| session.run_values(&[("list", given.clone()), ("where", Tensor::scalar(at).into())]);
    assert_eq!(run(-2).unwrap()[0].1, list(&[&[1.0], &[2.0, 3.0], &[1.0]]));
    let error = run(2).unwrap_err().to_string();
    assert!(
        error.contains("position 2 lies outside a sequence of 2 items") && error.contains("'where'"),
        "{error}"
    );
    // Tensors where a sequence is due, and the other way round.
    let error = session.run(&[("list", tensor(&[1.0])), ("where", Tensor::scalar(0i64))]).unwrap_err();
    assert!(error.to_string().contains("the model takes sequence(float32 tensor)"), "{error}");
    let error = session.run_values(&[("list", given.clone()), ("where", given.clone())]).unwrap_err();
    assert!(error.to_string().contains("found sequence(float32 tensor), the model takes int64"), "{error}");
    // Files hold them.
    let path = folder().join("list.pb");
    onnx::write_value(&path, "list", &given).unwrap();
    assert_eq!(onnx::read_value(&path, &session.inputs()[0].kind).unwrap(), given);
    let error = onnx::read_value(&path, &ValueType::Tensor(DType::F32).sequence().sequence()).unwrap_err();
    assert!(error.to_string().contains("list.pb"), "{error}");
}

/// More than an input may have whose elements become part of a plan.
const SIZE: i64 = 1500;

/// `out = -kept(exp(x))`: what of it is beyond a limit, so that only a run knows how many there are.
fn kept_elements() -> ModelProto {
    let keep = with_int(node("Compress", &["e", "large"], &["kept"]), "axis", 0);
    let nodes = vec![
        node("Exp", &["x"], &["e"]),
        node("Greater", &["e", "limit"], &["large"]),
        keep,
        node("Neg", &["kept"], &["negative"]),
        node("Add", &["negative", "limit"], &["out"]),
    ];
    let mut all =
        graph(&[value("x", F32, &[SIZE])], nodes, &[value("out", F32, &[-1]), value("e", F32, &[SIZE])]);
    all.initializer = vec![floats("limit", &[1.0])];
    model(all)
}

#[test]
fn what_is_around_a_shape_that_depends_on_data_runs_on_the_device() {
    let Some(device) = test_device() else { return };
    let read = || onnx::read_bytes(&kept_elements().write_to_bytes().unwrap(), None, "test").unwrap();
    let session = Session::builder().device(device.clone()).build(read()).unwrap();
    let on_cpu = Session::builder().build(read()).unwrap();
    let repeated = |part: [f32; 6]| -> Vec<f32> { part.into_iter().cycle().take(SIZE as usize).collect() };
    for x in [[1.0, -1.0, 2.0, 0.5, -3.0, 0.0], [-1.0; 6], [0.5; 6], [3.0, -1.0, 2.0, 0.5, -3.0, 0.0]] {
        let x = repeated(x);
        let inputs = session.bind(&[("x", tensor(&x))]).unwrap();
        let prepared = session.prepare(&inputs).unwrap();
        assert!(prepared.plan.is_none(), "one plan can't be made of it");
        let found = session.run_prepared(&prepared, &inputs).unwrap();
        let expected = on_cpu.run(&[("x", tensor(&x))]).unwrap();
        for ((name, found), (_, expected)) in found.iter().zip(&expected) {
            assert_eq!(found.shape(), expected.shape(), "{name}");
            let (found, expected) = (found.to_f64s().unwrap(), expected.to_f64s().unwrap());
            // A few units of float32's exponential, of at most e³.
            let near = |(x, y): (&f64, &f64)| (x - y).abs() <= 1e-5;
            assert!(found.iter().zip(&expected).all(near), "{name}: {found:?} {expected:?}");
        }
        let plans = prepared.plans();
        assert_eq!(plans.len(), 2, "before and after");
        let some = x.iter().any(|&x: &f32| x > 0.0);
        assert!(plans[0].dispatches().count() > 0 && (plans[1].dispatches().count() > 0) == some);
        let fallbacks: Vec<String> = prepared.fallbacks().into_iter().map(|(_, op, _)| op).collect();
        assert_eq!(fallbacks, ["Compress"]);
    }
    let strict = Session::builder().device(device).strict(true).build(read()).unwrap();
    let error = strict.run(&[("x", tensor(&repeated([0.0; 6])))]).unwrap_err().to_string();
    assert!(error.contains("(Compress)") && error.contains("would run on the CPU"), "{error}");
}
