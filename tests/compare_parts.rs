//! The comparison of models that run in parts: each part's steps are measured, a node between parts is a step,
//! and a fault in a part is named.

#[path = "support/proto.rs"]
mod proto;

use onnx_protobuf::ModelProto;
use proto::*;
use sardonyx::compare::{Options, Planter, Reference, Report, Verdict, compare};
use sardonyx::gpu::{GpuDevice, test_device};
use sardonyx::{Precision, Session, Tensor};

/// With as many elements the input is too large to be a part of the plan.
const ROWS: i64 = 160;
const COLUMNS: i64 = 8;

/// `kept = the rows of x · w for which their sum is above 0; y = relu(kept · w + b)`.
fn kept_rows() -> ModelProto {
    let nodes = vec![
        node("MatMul", &["x", "w"], &["e"]),
        with_int(node("ReduceSum", &["e", "last"], &["sums"]), "keepdims", 0),
        node("Greater", &["sums", "zero"], &["large"]),
        with_int(node("Compress", &["e", "large"], &["kept"]), "axis", 0),
        node("MatMul", &["kept", "w"], &["product"]),
        node("Add", &["product", "b"], &["moved"]),
        node("Relu", &["moved"], &["y"]),
    ];
    let (x, y) = (value("x", F32, &[ROWS, COLUMNS]), value("y", F32, &[-1, COLUMNS]));
    let mut all = graph(&[x], nodes, &[y]);
    let list = |count: i64| (0..count).map(|k| ((k * 7 + 3) % 11) as f32 / 8.0 - 0.6).collect::<Vec<_>>();
    let mut w = floats("w", &list(COLUMNS * COLUMNS));
    w.dims = vec![COLUMNS, COLUMNS];
    let mut last = floats("last", &[]);
    (last.data_type, last.dims, last.int64_data) = (I64, vec![1], vec![1]);
    all.initializer = vec![w, last, floats("zero", &[0.0]), floats("b", &list(COLUMNS))];
    model(all)
}

/// `s = x; for turn in 0..3 { s = tanh(s · w) }; y = s - x`.
fn turns() -> ModelProto {
    let state = |name| value(name, F32, &[ROWS, COLUMNS]);
    let body = graph(
        &[value("turn", I64, &[]), value("on", BOOL, &[]), state("s")],
        vec![
            node("Identity", &["on"], &["goes_on"]),
            node("MatMul", &["s", "w"], &["product"]),
            node("Tanh", &["product"], &["next"]),
        ],
        &[value("goes_on", BOOL, &[]), state("next")],
    );
    let nodes = vec![
        node("Neg", &["x"], &["turned"]),
        with_graph(node("Loop", &["trips", "", "turned"], &["end"]), "body", body),
        node("Sub", &["end", "x"], &["y"]),
    ];
    let mut all = graph(&[state("x")], nodes, &[state("y")]);
    let kept = kept_rows();
    let mut trips = floats("trips", &[]);
    (trips.data_type, trips.dims, trips.int64_data) = (I64, vec![], vec![3]);
    all.initializer = vec![kept.graph.initializer[0].clone(), trips];
    model(all)
}

fn compared(
    device: &GpuDevice,
    model: &ModelProto,
    precision: Precision,
    planter: Option<&Planter>,
) -> Report {
    let builder = Session::builder().device(device.clone()).precision(precision);
    let builder = planter.iter().fold(builder, |builder, planter| planter.applied(builder));
    let session = builder.build(read(model).unwrap()).unwrap();
    let elements = (0..ROWS * COLUMNS).map(|k| ((k * 5 + 1) % 13) as f32 / 13.0 - 0.4).collect();
    let x = Tensor::new([ROWS as usize, COLUMNS as usize], elements).unwrap();
    let inputs = session.bind(&[("x", x)]).unwrap();
    let options = Options { reference: Reference::CpuF64, per_node: true, tolerance: None };
    compare(&session, &inputs, &options).unwrap()
}

/// Where each node ran, by its operator.
fn ran_on<'a>(report: &'a Report, op: &str) -> Vec<&'a str> {
    report.nodes.iter().filter(|row| row.op == op).map(|row| row.ran_on).collect()
}

#[test]
fn every_part_is_measured() {
    let Some(device) = test_device() else { return };
    for precision in [Precision::F32, Precision::F16] {
        let report = compared(&device, &kept_rows(), precision, None);
        assert_eq!(report.verdict, Verdict::Same, "{report:#?}");
        // The second product goes by the name of the Relu that it became one with.
        let products = ran_on(&report, "MatMul");
        assert_eq!((products, ran_on(&report, "Compress")), (vec!["gpu", "fused", "gpu"], vec!["cpu"]));
        let measured = report.nodes.iter().filter(|row| row.local.is_some() && row.cumulative.is_some());
        assert!(measured.count() >= 5, "{:#?}", report.nodes);
        let report = compared(&device, &turns(), precision, None);
        assert_eq!(report.verdict, Verdict::Same, "{report:#?}");
        assert_eq!((ran_on(&report, "Loop"), ran_on(&report, "Sub")), (vec!["gpu"], vec!["gpu"]));
    }
}

#[test]
fn a_fault_in_a_part_is_named() {
    let Some(device) = test_device() else { return };
    for seed in 0..6 {
        // Each part gets one: the first product's is met first.
        let planter = Planter::new(seed);
        let report = compared(&device, &kept_rows(), Precision::F32, Some(&planter));
        assert_eq!(report.verdict, Verdict::Different, "seed {seed}: {:?}", planter.planted());
        let first = report.first_different.as_ref().map(|first| first.op.as_str());
        assert_eq!(first, Some("MatMul"), "seed {seed}: {:?}", planter.planted());
    }
}
