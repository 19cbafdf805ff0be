//! Weights of few bits in graphs: they stay packed through the rewrites, and every device gives what the
//! graph as read gives, held to `compare`'s derived bounds.

use sardonyx::base::EvalPrecision;
use sardonyx::compare::{Options, Verdict, compare};
use sardonyx::gpu::{GpuDevice, test_device};
use sardonyx::graph::{Declared, Graph, Node, ValueId};
use sardonyx::onnx::{Model, ModelInfo};
use sardonyx::ops::matrix::packed_matmul::PackedMatMul;
use sardonyx::ops::{Attribute, Input, NodeView};
use sardonyx::random::SplitMix64;
use sardonyx::tensor::{DType, cast};
use sardonyx::{Session, Tensor, cpu, ops, passes};
use std::collections::HashMap;

/// A graph in the making, with its inputs.
struct Net {
    graph: Graph,
    given: HashMap<ValueId, Tensor>,
    random: SplitMix64,
}

impl Net {
    fn new(seed: u64) -> Self {
        Self { graph: Graph::default(), given: HashMap::new(), random: SplitMix64(seed) }
    }
    fn below(&mut self, limit: usize) -> usize {
        (self.random.next() >> 33) as usize % limit
    }
    fn floats(&mut self, shape: &[usize]) -> Tensor {
        let count = shape.iter().product();
        Tensor::new(shape, (0..count).map(|_| self.random.unit() as f32 * 2.0 - 1.0).collect::<Vec<_>>())
            .unwrap()
    }
    fn bytes(&mut self, shape: &[usize]) -> Tensor {
        let count = shape.iter().product();
        Tensor::new(shape, (0..count).map(|_| (self.random.next() >> 40) as u8).collect::<Vec<_>>()).unwrap()
    }
    fn input(&mut self, tensor: Tensor) -> ValueId {
        let name = format!("x{}", self.graph.values.len());
        let declared = Declared { dtype: tensor.dtype(), dims: None };
        let id = self.graph.add_value(name, Some(declared), None);
        self.graph.inputs.push(id);
        self.given.insert(id, tensor);
        id
    }
    fn constant(&mut self, tensor: Tensor) -> Option<ValueId> {
        Some(self.graph.add_constant("w", tensor))
    }
    fn node(
        &mut self,
        (domain, op_type): (&str, &str),
        attributes: &[(&str, i64)],
        inputs: &[Option<ValueId>],
    ) -> ValueId {
        let def = ops::find(domain, op_type).unwrap();
        let attributes = attributes.iter().map(|(name, x)| (name.to_string(), Attribute::Int(*x))).collect();
        let named = |id: &Option<ValueId>| {
            id.map_or(Input::Absent, |id| Input::Named(self.graph.value(id).name.clone()))
        };
        let name = format!("{op_type}_{}", self.graph.nodes.len());
        let mut view = NodeView::new(&name, op_type, 21, attributes, inputs.iter().map(named).collect(), 1);
        let op = (def.parse)(&mut view).unwrap();
        let output = self.graph.add_value(format!("{name}_out"), None, None);
        let (inputs, outputs) = (inputs.to_vec(), vec![Some(output)]);
        self.graph.nodes.push(Node { name, op_type: op_type.into(), op, inputs, outputs, fused: vec![] });
        output
    }
    /// The graph with an output, and its inputs.
    fn done(mut self, output: ValueId) -> (Graph, HashMap<ValueId, Tensor>) {
        self.graph.outputs.push(output);
        self.graph.verify().unwrap();
        (self.graph, self.given)
    }
}

const ORT: &str = "com.microsoft";

/// A product of any form, perhaps with something behind it that fuses.
fn drawn(seed: u64) -> (Graph, HashMap<ValueId, Tensor>, String) {
    let mut net = Net::new(seed);
    let bits = [2, 4, 4, 8][net.below(4)];
    let block = [16, 32, 64, 128][net.below(4)];
    let (m, k, n) = ([1, 1, 2, 5, 9, 20, 70][net.below(7)], 1 + net.below(300), 1 + net.below(140));
    let blocks = k.div_ceil(block);
    let a = net.floats(&[m, k]);
    let a = net.input(a);
    let (b, scales) = (net.bytes(&[n, blocks, block * bits / 8]), net.floats(&[n, blocks]));
    let kind = net.below(3);
    let zeros = match kind {
        0 => None,
        1 => Some(net.bytes(&[n, (blocks * bits).div_ceil(8)])),
        _ => Some(net.floats(&[n, blocks])),
    };
    let bias = (net.below(2) == 0).then(|| net.floats(&[n]));
    let mut inputs = vec![Some(a), net.constant(b), net.constant(scales)];
    inputs.push(zeros.and_then(|zeros| net.constant(zeros)));
    inputs.push(None);
    inputs.push(bias.and_then(|bias| net.constant(bias)));
    let sizes = [("K", k as i64), ("N", n as i64), ("bits", bits as i64), ("block_size", block as i64)];
    let mut y = net.node((ORT, "MatMulNBits"), &sizes, &inputs);
    let behind = net.below(3);
    match behind {
        0 => {}
        1 => y = net.node(("", "Relu"), &[], &[Some(y)]),
        _ => {
            let other = net.floats(&[m, n]);
            let other = net.input(other);
            y = net.node(("", "Add"), &[], &[Some(y), Some(other)]);
        }
    }
    let form = format!("seed {seed}: {m} x {k} x {n}, {bits} bits in {block}, zeros {kind}, behind {behind}");
    let (graph, given) = net.done(y);
    (graph, given, form)
}

/// Runs a graph, rewritten, on a device (`None`: the CPU's engine) against itself as read.
fn holds(device: Option<GpuDevice>, graph: Graph, given: &HashMap<ValueId, Tensor>, form: &str) {
    let reference = cpu::run(&graph, given, EvalPrecision::Oracle, &mut |_, _| {}).unwrap();
    let model = Model { graph, info: ModelInfo::default() };
    let session = Session::builder().device(device.clone()).build(model).unwrap();
    if device.is_some() {
        let options = Options { per_node: true, ..Options::default() };
        let report = compare(&session, given, &options).unwrap();
        assert_eq!(report.verdict, Verdict::Same, "{form}");
    }
    let prepared = session.prepare(given).unwrap();
    assert!(device.is_none() || prepared.fallbacks().is_empty(), "{form}: {:?}", prepared.fallbacks());
    let made = session.run_prepared(&prepared, given).unwrap();
    let (got, want) = (made[0].1.to_f64s().unwrap(), reference[0].to_f64s().unwrap());
    // u · length · Σ|ab| with terms below 255 · 1: what compare derives, over the whole.
    let most = 8.0 * f64::from(f32::EPSILON) * 300.0 * 300.0 * 255.0;
    assert!(got.iter().zip(&want).all(|(x, y)| (x - y).abs() <= most), "{form}");
}

#[test]
fn products_of_every_form_on_the_cpu() {
    for seed in 0..150 {
        let (graph, given, form) = drawn(seed);
        holds(None, graph, &given, &form);
    }
}

#[test]
fn products_of_every_form_on_the_gpu() {
    let Some(device) = test_device() else { return };
    for seed in 0..16 {
        let (graph, given, form) = drawn(seed);
        let device = if seed % 2 == 0 { device.clone() } else { device.as_hardware() };
        holds(Some(device), graph, &given, &form);
    }
}

#[test]
fn a_blockwise_dequantize_linear_stays_packed() {
    let one = |seed: u64, dtype: DType, zero: bool, by_columns: bool, gemm: bool| {
        let mut net = Net::new(seed);
        let (k, n, block) = (70, 20, 32);
        let (low, high) = match dtype {
            DType::I4 => (-8.0, 7.0),
            DType::U4 => (0.0, 15.0),
            DType::I8 => (-128.0, 127.0),
            _ => (0.0, 255.0),
        };
        let codes = |net: &mut Net, shape: &[usize]| {
            let unit = net.floats(shape).to_f64s().unwrap();
            let list =
                unit.iter().map(|x| ((x + 1.0) / 2.0 * (high - low) + low).round()).collect::<Vec<f64>>();
            cast(&Tensor::new(shape, list).unwrap(), dtype, true).unwrap()
        };
        let blocks = usize::div_ceil(k, block);
        let (shape, factors) = if by_columns { ([n, k], [n, blocks]) } else { ([k, n], [blocks, n]) };
        let x = codes(&mut net, &shape);
        let scales = net.floats(&factors);
        let zero = zero.then(|| codes(&mut net, &factors));
        let a = net.floats(&[3, k]);
        let a = net.input(a);
        let mut inputs = vec![net.constant(x), net.constant(scales)];
        if let Some(zero) = zero {
            inputs.push(net.constant(zero));
        }
        let axis = i64::from(by_columns);
        let mut w =
            net.node(("", "DequantizeLinear"), &[("axis", axis), ("block_size", block as i64)], &inputs);
        let y = if gemm {
            let bias = net.floats(&[n]);
            let bias = net.constant(bias);
            net.node(("", "Gemm"), &[("transB", axis)], &[Some(a), Some(w), bias])
        } else {
            if by_columns {
                w = net.node(("", "Transpose"), &[], &[Some(w)]);
            }
            net.node(("", "MatMul"), &[], &[Some(a), Some(w)])
        };
        let (graph, given) = net.done(y);
        let mut rewritten = graph.clone();
        passes::at_load(&mut rewritten).unwrap();
        let form = format!("{dtype} by_columns {by_columns} gemm {gemm}");
        assert_eq!(rewritten.nodes.len(), 1, "{form}");
        let packed = rewritten.nodes[0].op.downcast::<PackedMatMul>();
        assert!(packed.is_some(), "{form}: {:?}", rewritten.nodes[0]);
        holds(None, graph.clone(), &given, &form);
        holds(test_device(), graph, &given, &form);
    };
    let mut seed = 1000;
    for dtype in [DType::I4, DType::U4, DType::I8, DType::U8] {
        for (zero, by_columns, gemm) in
            [(false, false, false), (true, true, false), (true, false, true), (true, true, true)]
        {
            seed += 1;
            one(seed, dtype, zero, by_columns, gemm);
        }
    }
}

#[test]
fn what_the_model_makes_is_unpacked_by_the_model() {
    // Weights that are an input: the operator's own reference.
    let mut net = Net::new(5);
    let a = net.floats(&[2, 20]);
    let a = net.input(a);
    let b = net.bytes(&[3, 2, 8]);
    let b = net.input(b);
    let scales = net.floats(&[3, 2]);
    let scales = net.constant(scales);
    let sizes = [("K", 20), ("N", 3), ("bits", 4), ("block_size", 16)];
    let y = net.node((ORT, "MatMulNBits"), &sizes, &[Some(a), Some(b), scales]);
    let (graph, given) = net.done(y);
    holds(None, graph, &given, "weights as an input");
}

#[test]
fn what_does_not_fit_is_said() {
    let refused = |change: &dyn Fn(&mut Vec<Tensor>), sizes: [(&str, i64); 4], parts: &[&str]| {
        let mut net = Net::new(9);
        let a = net.floats(&[2, 40]);
        let a = net.input(a);
        let mut tensors = vec![net.bytes(&[5, 3, 8]), net.floats(&[5, 3]), net.bytes(&[5, 2])];
        change(&mut tensors);
        let def = ops::find(ORT, "MatMulNBits").unwrap();
        let attributes = sizes.iter().map(|(name, x)| (name.to_string(), Attribute::Int(*x))).collect();
        let inputs = vec![Input::Named("a".into()); 4];
        let parsed = (def.parse)(&mut NodeView::new("product", "MatMulNBits", 1, attributes, inputs, 1));
        let said = match parsed {
            Err(error) => error.to_string(),
            Ok(_) => {
                let inputs: Vec<_> = std::iter::once(Some(a))
                    .chain(tensors.into_iter().map(|tensor| net.constant(tensor)))
                    .collect();
                let y = net.node((ORT, "MatMulNBits"), &sizes, &inputs);
                let (graph, given) = net.done(y);
                let model = Model { graph, info: ModelInfo::default() };
                let run =
                    Session::builder().build(model).and_then(|session| session.prepare(&given).map(drop));
                run.unwrap_err().to_string()
            }
        };
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    };
    let right = [("K", 40), ("N", 5), ("bits", 4), ("block_size", 16)];
    let with = |name: &str, value: i64| {
        right.map(|(other, x)| if other == name { (other, value) } else { (other, x) })
    };
    let same = |_: &mut Vec<Tensor>| {};
    refused(&same, with("bits", 3), &["3 bits", "2, 4 and 8"]);
    refused(&same, with("block_size", 24), &["blocks of 24", "powers of two"]);
    refused(&same, with("block_size", 0), &["block_size", "0"]);
    refused(&same, with("K", -1), &["'K' is -1"]);
    refused(&same, with("N", i64::MAX), &["'N'"]);
    refused(&same, with("K", 41 + 16), &["weights", "uint8[5, 4, 8]"]);
    refused(&|t| t[1] = Tensor::new([5, 2], vec![1f32; 10]).unwrap(), right, &["scales", "[5, 3]"]);
    refused(&|t| t[2] = Tensor::new([5, 3], vec![1i32; 15]).unwrap(), right, &["zero points", "int32"]);
    refused(&|t| t[2] = Tensor::new([5, 1], vec![1u8; 5]).unwrap(), right, &["zero points", "uint8[5, 2]"]);
    refused(&|t| t[0] = Tensor::new([3], vec![1u8; 3]).unwrap(), right, &["weights", "uint8[3]"]);
}
