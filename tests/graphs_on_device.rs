//! Graphs in nodes that run on a device: what they make there, what stays there, and what doesn't run there.

#[path = "support/proto.rs"]
mod proto;

use onnx_protobuf::{GraphProto, ModelProto, ValueInfoProto};
use proto::*;
use sardonyx::gpu::{GpuDevice, LimitsOption, Selection, test_device};
use sardonyx::{Precision, Session, Tensor};

/// Rows and columns of the state in [`powers`].
const SIZE: i64 = 64;

fn on(device: &GpuDevice, model: &ModelProto, strict: bool) -> Session {
    let read = read(model).unwrap();
    Session::builder().device(device.clone()).strict(strict).build(read).unwrap()
}

/// What a model makes on the device without a fallback, and on the CPU, is the same to the last bit: these
/// models' numbers are whole and small.
fn same_on_both(device: &GpuDevice, model: &ModelProto, inputs: &[(&str, Tensor)]) -> Vec<(String, Tensor)> {
    let found = on(device, model, true).run(inputs).unwrap();
    let expected = session(model).unwrap().run(inputs).unwrap();
    for ((name, found), (_, expected)) in found.iter().zip(&expected) {
        assert_eq!((found.dtype(), found.shape()), (expected.dtype(), expected.shape()), "{name}");
        assert_eq!(found.to_f64s().unwrap(), expected.to_f64s().unwrap(), "{name}");
    }
    found
}

fn loop_of(inputs: [&str; 3], outputs: &[&str], body: GraphProto) -> onnx_protobuf::NodeProto {
    with_graph(node("Loop", &inputs, outputs), "body", body)
}

/// The inputs of a loop's graph that carries `state`.
fn turn(state: ValueInfoProto) -> [ValueInfoProto; 3] {
    [value("turn", I64, &[]), value("on", BOOL, &[]), state]
}

/// `s = x; for turn in 0..trips { s = s · step + turn; stacked.append(max(s)) }; y = -s`, in which `step` is a
/// node's result from around the loop.
fn powers() -> ModelProto {
    let state = |name| value(name, F32, &[SIZE, SIZE]);
    let body = graph(
        &turn(state("s")),
        vec![
            node("Identity", &["on"], &["goes_on"]),
            node("MatMul", &["s", "step"], &["product"]),
            with_int(node("Cast", &["turn"], &["number"]), "to", F32.into()),
            node("Add", &["product", "number"], &["next"]),
            with_int(node("ReduceMax", &["next"], &["largest"]), "keepdims", 0),
        ],
        &[value("goes_on", BOOL, &[]), state("next"), value("largest", F32, &[])],
    );
    let nodes = vec![
        node("Neg", &["negative"], &["step"]),
        loop_of(["trips", "", "x"], &["s_end", "all"], body),
        node("Neg", &["s_end"], &["y"]),
    ];
    let inputs = [value("trips", I64, &[]), state("x"), state("negative")];
    model(graph(&inputs, nodes, &[state("y"), value("all", F32, &[-1])]))
}

/// A matrix that moves columns by one, and one of small whole numbers.
fn of_powers(trips: i64) -> [(&'static str, Tensor); 3] {
    let size = SIZE as usize;
    let moved = |k: usize| if (k / size + 1) % size == k % size { -1.0 } else { 0.0 };
    let square = |element: &dyn Fn(usize) -> f32| {
        Tensor::new([size, size], (0..size * size).map(element).collect()).unwrap()
    };
    let x = square(&|k| (k % 7) as f32);
    [("trips", Tensor::scalar(trips)), ("x", x), ("negative", square(&moved))]
}

#[test]
fn a_loops_state_stays_on_the_device() {
    let Some(device) = test_device() else { return };
    for trips in [0, 1, 5] {
        same_on_both(&device, &powers(), &of_powers(trips));
    }
    // What is copied is counted by device: this one is the test's own.
    let device = GpuDevice::open(&Selection::Gpu, &LimitsOption::Adapter).unwrap().unwrap();
    let session = on(&device, &powers(), true);
    let copied = |trips| {
        session.run(&of_powers(trips)).unwrap();
        let before = device.bytes_copied();
        session.run(&of_powers(trips)).unwrap();
        device.bytes_copied() - before
    };
    let (few, many) = (copied(2), copied(12));
    // A turn's number and condition go up, and perhaps what kernels tell comes down.
    assert!(
        many - few <= 10 * 128,
        "{few} bytes for 2 turns, {many} for 12: the state has {}",
        4 * SIZE * SIZE
    );
}

/// `while s < limit { s = s + s }`, each turn's condition computed in it; `s` is doubled by an If that takes
/// another branch where it is negative.
fn doubled() -> ModelProto {
    let s = value("next", F32, &[]);
    let doubled = graph(&[], vec![node("Add", &["s", "s"], &["next"])], std::slice::from_ref(&s));
    let turned = graph(&[], vec![node("Neg", &["s"], &["next"])], std::slice::from_ref(&s));
    let choose = with_graph(node("If", &["negative"], &["after"]), "then_branch", turned);
    let choose = with_graph(choose, "else_branch", doubled);
    let body = graph(
        &turn(value("s", F32, &[])),
        vec![
            node("Less", &["s", "zero"], &["negative"]),
            choose,
            node("Less", &["after", "limit"], &["goes_on"]),
            node("Identity", &["after"], &["seen"]),
        ],
        &[value("goes_on", BOOL, &[]), value("after", F32, &[]), value("seen", F32, &[])],
    );
    let mut all = graph(
        &[value("x", F32, &[]), value("limit", F32, &[])],
        vec![node("Less", &["x", "limit"], &["begins"]), loop_of(["", "begins", "x"], &["y", "all"], body)],
        &[value("y", F32, &[]), value("all", F32, &[-1])],
    );
    let mut zero = floats("zero", &[0.0]);
    zero.dims.clear();
    all.initializer = vec![zero];
    model(all)
}

#[test]
fn conditions_are_computed_on_the_device() {
    let Some(device) = test_device() else { return };
    for (x, limit, turns) in [(3.0, 100.0, 6), (-3.0, 5.0, 2), (9.0, 5.0, 0)] {
        let inputs = [("x", Tensor::scalar(x as f32)), ("limit", Tensor::scalar(limit as f32))];
        let made = same_on_both(&device, &doubled(), &inputs);
        assert_eq!(made[1].1.shape(), [turns], "from {x} to {limit}");
    }
}

/// A Scan with a state, of one input along axis 1 from its end, and results stacked along axis 1, the second
/// ones from the last.
fn scanned(rows: i64, dtype: i32) -> ModelProto {
    let row = |name| value(name, dtype, &[rows]);
    let body = graph(
        &[row("sum"), row("x")],
        vec![
            node("Add", &["sum", "x"], &["next"]),
            node("Identity", &["next"], &["first"]),
            node("Neg", &["x"], &["second"]),
        ],
        &[row("next"), row("first"), row("second")],
    );
    let scan = with_graph(node("Scan", &["start", "all"], &["end", "sums", "turned"]), "body", body);
    let scan = with_int(scan, "num_scan_inputs", 1);
    let scan = with_ints(scan, "scan_input_axes", &[1]);
    let scan = with_ints(scan, "scan_input_directions", &[1]);
    let scan = with_ints(scan, "scan_output_axes", &[1, 0]);
    let scan = with_ints(scan, "scan_output_directions", &[0, 1]);
    let whole = |name, dims: &[i64]| value(name, dtype, dims);
    let outputs = [row("end"), whole("sums", &[rows, -1]), whole("turned", &[-1, rows])];
    model(graph(&[row("start"), whole("all", &[rows, -1])], vec![scan], &outputs))
}

#[test]
fn slices_of_a_scan() {
    let Some(device) = test_device() else { return };
    for (rows, length) in [(3, 5), (4, 1), (1, 3)] {
        let (start, all) = (vec![1f32; rows], (0..rows * length).map(|k| k as f32).collect::<Vec<f32>>());
        let inputs = [
            ("start", Tensor::new([rows], start).unwrap()),
            ("all", Tensor::new([rows, length], all).unwrap()),
        ];
        same_on_both(&device, &scanned(rows as i64, F32), &inputs);
        // In float16 an odd number of elements is no whole number of copies.
        let read = read(&scanned(rows as i64, F32)).unwrap();
        let half = Session::builder().device(device.clone()).precision(Precision::F16);
        let found = half.build(read).unwrap().run(&inputs).unwrap();
        let expected = session(&scanned(rows as i64, F32)).unwrap().run(&inputs).unwrap();
        for ((name, found), (_, expected)) in found.iter().zip(&expected) {
            assert_eq!(found.to_f64s().unwrap(), expected.to_f64s().unwrap(), "{name}");
        }
    }
}

/// `y = x[0..turn]` in each turn: no plan serves two of them.
#[test]
fn a_graph_that_changes_its_shapes_with_the_turn_runs_on_the_cpu() {
    let Some(device) = test_device() else { return };
    let body = graph(
        &turn(value("s", F32, &[])),
        vec![
            node("Identity", &["on"], &["goes_on"]),
            node("Unsqueeze", &["turn", "first"], &["end"]),
            node("Slice", &["x", "first", "end"], &["part"]),
            with_int(node("ReduceSum", &["part"], &["sum"]), "keepdims", 0),
            node("Add", &["s", "sum"], &["next"]),
        ],
        &[value("goes_on", BOOL, &[]), value("next", F32, &[])],
    );
    let mut first = floats("first", &[]);
    (first.data_type, first.dims, first.int64_data) = (I64, vec![1], vec![0]);
    let inputs = [value("trips", I64, &[]), value("s", F32, &[]), value("x", F32, &[4])];
    let nodes = vec![node("Neg", &["s"], &["begin"]), loop_of(["trips", "", "begin"], &["y"], body)];
    let mut all = graph(&inputs, nodes, &[value("y", F32, &[])]);
    all.initializer = vec![first];
    let all = model(all);
    let inputs = [
        ("trips", Tensor::scalar(4i64)),
        ("s", Tensor::scalar(-1f32)),
        ("x", Tensor::new([4], vec![1f32, 2.0, 4.0, 8.0]).unwrap()),
    ];
    let session = on(&device, &all, false);
    let given = session.bind(&inputs).unwrap();
    let prepared = session.prepare(&given).unwrap();
    let made = session.run_prepared(&prepared, &given).unwrap();
    assert_eq!(made[0].1.to_f64s().unwrap(), [12.0]);
    let fallbacks = prepared.fallbacks();
    assert!(
        fallbacks.iter().any(|(_, op, why)| op == "Loop" && why.contains("from turn to turn")),
        "{fallbacks:?}"
    );
    let error = on(&device, &all, true).run(&inputs).unwrap_err().to_string();
    assert!(error.contains("(Loop)") && error.contains("would run on the CPU"), "{error}");
}

#[test]
fn what_has_no_kernel_in_a_graph_is_a_fallback() {
    let Some(device) = test_device() else { return };
    let state = |name| value(name, F64, &[2]);
    let body = graph(
        &turn(state("s")),
        vec![node("Identity", &["on"], &["goes_on"]), node("Exp", &["s"], &["next"])],
        &[value("goes_on", BOOL, &[]), state("next")],
    );
    let nodes = vec![loop_of(["trips", "", "x"], &["y"], body)];
    let all = model(graph(&[value("trips", I64, &[]), state("x")], nodes, &[state("y")]));
    let inputs = [("trips", Tensor::scalar(2i64)), ("x", Tensor::new([2], vec![0f64, 1.0]).unwrap())];
    let session = on(&device, &all, false);
    let given = session.bind(&inputs).unwrap();
    let prepared = session.prepare(&given).unwrap();
    let made = session.run_prepared(&prepared, &given).unwrap();
    assert_eq!(made[0].1.to_f64s().unwrap(), [1f64.exp(), 1f64.exp().exp()]);
    let fallbacks = prepared.fallbacks();
    assert!(fallbacks.iter().any(|(_, op, _)| op == "Exp"), "{fallbacks:?}");
    let error = on(&device, &all, true).run(&inputs).unwrap_err().to_string();
    assert!(error.contains("(Exp)") && error.contains("float64"), "{error}");
}

#[test]
fn a_carried_value_that_changes_its_type() {
    let Some(device) = test_device() else { return };
    let body = graph(
        &turn(value("a", F32, &[1])),
        vec![node("Identity", &["on"], &["goes_on"]), node("Shape", &["a"], &["b"])],
        &[value("goes_on", BOOL, &[]), value("b", I64, &[1])],
    );
    let inputs = [value("trips", I64, &[]), value("x", F32, &[1])];
    let all =
        model(graph(&inputs, vec![loop_of(["trips", "", "x"], &["y"], body)], &[value("y", F32, &[1])]));
    let inputs = [("trips", Tensor::scalar(2i64)), ("x", tensor(&[1.0]))];
    let error = on(&device, &all, false).run(&inputs).unwrap_err().to_string();
    assert!(error.contains("its graph makes it int64 tensor") && error.contains("(Loop)"), "{error}");
}
