//! Random chains of quantised convolutions, products, pools and what moves elements, written as quantisers write
//! them (QuantizeLinear and DequantizeLinear around operators of floats). What the CPU computes in integers is to
//! be, to the bit, what the nodes as written say in float64; what an adapter computes in float32 lies at most one
//! step beside it.
//!
//! `SARDONYX_RANDOM_GRAPHS`: how many (2,000 on the CPU, 25 on the adapter). `SARDONYX_RANDOM_SEED`: of the first.

#[path = "support/proto.rs"]
mod proto;

use onnx_protobuf::{GraphProto, ModelProto, NodeProto, TensorProto};
use sardonyx::base::EvalPrecision;
use sardonyx::gpu::test_device;
use sardonyx::random::SplitMix64;
use sardonyx::{DType, Device, Session, Tensor, cpu};
use std::collections::BTreeMap;

/// A chain on its way: nodes, constants, and the quantised image that comes last.
struct Chain {
    random: SplitMix64,
    nodes: Vec<NodeProto>,
    constants: Vec<TensorProto>,
    /// The value, its scale and its zero point, `[1, channels, side, side]`.
    last: [String; 3],
    channels: usize,
    side: usize,
    dtype: DType,
}

impl Chain {
    fn fresh(&self, what: &str) -> String {
        format!("{what}{}", self.nodes.len() + self.constants.len())
    }
    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + self.random.unit() * (high - low)
    }
    fn constant(&mut self, what: &str, dtype: DType, dims: &[usize], bytes: Vec<u8>) -> String {
        let name = self.fresh(what);
        self.constants.push(TensorProto {
            name: name.clone(),
            data_type: dtype.onnx(),
            dims: dims.iter().map(|&dim| dim as i64).collect(),
            raw_data: bytes,
            ..Default::default()
        });
        name
    }
    fn floats(&mut self, what: &str, dims: &[usize], list: &[f32]) -> String {
        self.constant(what, DType::F32, dims, list.iter().flat_map(|x| x.to_le_bytes()).collect())
    }
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.random.next() as u8).collect()
    }
    fn node(&mut self, op: &str, inputs: &[&str]) -> String {
        let name = self.fresh("value");
        self.nodes.push(proto::node(op, inputs, &[&name]));
        name
    }
    fn ints(&mut self, name: &str, ints: &[i64]) {
        let node = self.nodes.pop().unwrap();
        self.nodes.push(proto::with_ints(node, name, ints));
    }
    fn int(&mut self, name: &str, i: i64) {
        let node = self.nodes.pop().unwrap();
        self.nodes.push(proto::with_int(node, name, i));
    }
    /// A scale, sometimes a power of two, with which results lie between two integers often.
    fn scale(&mut self, around: f64) -> f32 {
        match self.random.below(3) {
            0 => around.log2().round().exp2() as f32,
            _ => (around * self.between(0.7, 1.4)) as f32,
        }
    }
    fn dequantized(&mut self) -> String {
        let [value, scale, zero] = self.last.clone();
        self.node("DequantizeLinear", &[&value, &scale, &zero])
    }
    /// Quantises a value, with a scale for numbers of about this size.
    fn quantized(&mut self, value: &str, size: f64) {
        let dtype = [DType::U8, DType::I8][self.random.below(2)];
        let scale = self.scale(size / 100.0);
        let zero = match self.random.below(3) {
            0 => [0, 0x80][usize::from(dtype == DType::I8)],
            _ => self.random.next() as u8,
        };
        let (scale, zero) =
            (self.floats("scale", &[], &[scale]), self.constant("zero", dtype, &[], vec![zero]));
        self.requantized(value, [scale, zero], dtype);
    }
    fn requantized(&mut self, value: &str, [scale, zero]: [String; 2], dtype: DType) {
        let value = self.node("QuantizeLinear", &[value, &scale, &zero]);
        (self.last, self.dtype) = ([value, scale, zero], dtype);
    }
    fn scale_of(&self, name: &str) -> f32 {
        let found = self.constants.iter().find(|tensor| tensor.name == name).unwrap();
        f32::from_le_bytes(found.raw_data[..4].try_into().unwrap())
    }

    /// Weights of int8 or uint8, dequantised; and their scales.
    fn weights(&mut self, dims: &[usize], along: (usize, i64)) -> (String, Vec<f32>) {
        let dtype = [DType::I8, DType::U8][self.random.below(2)];
        let data = self.bytes(dims.iter().product());
        let w = self.constant("w", dtype, dims, data);
        let each = self.random.below(2) == 0;
        let count = if each { along.0 } else { 1 };
        let shape = if each { vec![count] } else { vec![] };
        let scales: Vec<f32> = (0..count).map(|_| self.scale(0.01)).collect();
        let zeros =
            if dtype == DType::I8 && self.random.below(2) == 0 { vec![0; count] } else { self.bytes(count) };
        let scale = self.floats("w_scale", &shape, &scales);
        let zero = self.constant("w_zero", dtype, &shape, zeros);
        let w = self.node("DequantizeLinear", &[&w, &scale, &zero]);
        self.int("axis", along.1);
        (w, scales)
    }

    fn convolution(&mut self) {
        let (group, filters) = match self.random.below(6) {
            // A filter a channel.
            0 | 1 => (self.channels, self.channels),
            2 if self.channels.is_multiple_of(2) => (2, 2 * (1 + self.random.below(20))),
            _ => (1, (1 + self.random.below(20)).max(2 - self.random.below(9) / 8)),
        };
        let size = [1, 2, 3][self.random.below(3)].min(self.side);
        let x_scale = self.scale_of(&self.last[1].clone());
        let (w, scales) = self.weights(&[filters, self.channels / group, size, size], (filters, 0));
        let x = self.dequantized();
        let mut inputs = vec![x, w];
        if self.random.below(2) == 0 {
            inputs.push(self.bias(filters, x_scale, &scales));
        }
        let mut y = self.node("Conv", &inputs.iter().map(String::as_str).collect::<Vec<_>>());
        self.int("group", group as i64);
        let pad = i64::from(size > 1 && self.random.below(2) == 0);
        self.ints("pads", &[pad; 4]);
        if self.random.below(2) == 0 {
            y = self.node("Relu", &[&y]);
        }
        self.channels = filters;
        self.side = self.side + 2 * pad as usize + 1 - size;
        self.quantized(&y, 1.0 + f64::from(x_scale) * 40.0);
    }

    /// Products over the last axis.
    fn product(&mut self) {
        let (k, n) = (self.side, self.side);
        let x_scale = self.scale_of(&self.last[1].clone());
        let (w, _) = self.weights(&[k, n], (n, 1));
        let x = self.dequantized();
        let y = self.node("MatMul", &[&x, &w]);
        self.quantized(&y, 1.0 + f64::from(x_scale) * 40.0);
    }

    /// A Gemm of the rows of the image, its weights either way round, with a bias or without.
    fn dense(&mut self) {
        let (k, n, whole) = (self.side, self.side, [1, self.channels as i64, -1, self.side as i64]);
        self.reshaped(&[-1, k as i64]);
        let x_scale = self.scale_of(&self.last[1].clone());
        let transposed = self.random.below(2) == 0;
        let along = if transposed { (n, 0) } else { (n, 1) };
        let dims = if transposed { [n, k] } else { [k, n] };
        let (w, scales) = self.weights(&dims, along);
        let x = self.dequantized();
        let mut inputs = vec![x, w];
        if self.random.below(2) == 0 {
            inputs.push(self.bias(n, x_scale, &scales));
        }
        let mut y = self.node("Gemm", &inputs.iter().map(String::as_str).collect::<Vec<_>>());
        self.int("transB", i64::from(transposed));
        if self.random.below(2) == 0 {
            y = self.node("Relu", &[&y]);
        }
        self.quantized(&y, 1.0 + f64::from(x_scale) * 40.0);
        self.reshaped(&whole);
    }

    /// The same integers in another shape.
    fn reshaped(&mut self, own: &[i64]) {
        let x = self.dequantized();
        let bytes = own.iter().flat_map(|x| x.to_le_bytes()).collect();
        let shape = self.constant("shape", DType::I64, &[own.len()], bytes);
        let y = self.node("Reshape", &[&x, &shape]);
        let [_, scale, zero] = self.last.clone();
        self.requantized(&y, [scale, zero], self.dtype);
    }

    /// A bias in units of x's scale times w's.
    fn bias(&mut self, count: usize, x_scale: f32, scales: &[f32]) -> String {
        let own: Vec<f32> = scales.iter().map(|scale| scale * x_scale).collect();
        let list: Vec<u8> =
            (0..count).flat_map(|_| (self.random.next() as i32 >> 18).to_le_bytes()).collect();
        let bias = self.constant("bias", DType::I32, &[count], list);
        let shape = if own.len() > 1 { vec![own.len()] } else { vec![] };
        let scale = self.floats("bias_scale", &shape, &own);
        let bias = self.node("DequantizeLinear", &[&bias, &scale]);
        self.int("axis", 0);
        bias
    }

    /// What only moves or chooses elements, with the same scale behind it or with another.
    fn moved(&mut self) {
        let x = self.dequantized();
        let y = match self.random.below(4) {
            0 => {
                let y = self.node("Transpose", &[&x]);
                self.ints("perm", &[0, 1, 3, 2]);
                y
            }
            1 if self.side > 1 => {
                let y = self.node("MaxPool", &[&x]);
                self.ints("kernel_shape", &[2, 2]);
                self.side -= 1;
                y
            }
            2 => {
                let own = [1, self.channels as i64, -1, self.side as i64];
                let shape = self.constant(
                    "shape",
                    DType::I64,
                    &[4],
                    own.iter().flat_map(|x| x.to_le_bytes()).collect(),
                );
                self.node("Reshape", &[&x, &shape])
            }
            _ => {
                let y = self.node("Concat", &[&x, &x]);
                self.int("axis", 1);
                self.channels *= 2;
                y
            }
        };
        let [_, scale, zero] = self.last.clone();
        match self.random.below(2) {
            0 => self.requantized(&y, [scale, zero], self.dtype),
            _ => self.quantized(&y, f64::from(self.scale_of(&scale)) * 100.0),
        }
    }
}

/// A model and its input.
fn drawn(seed: u64) -> (ModelProto, Tensor) {
    let mut random = SplitMix64(seed);
    let (channels, side) = (1 + random.below(6), 2 + random.below(6));
    let mut chain = Chain {
        random,
        nodes: vec![],
        constants: vec![],
        last: Default::default(),
        channels,
        side,
        dtype: DType::U8,
    };
    chain.quantized("x", 2.0);
    for _ in 0..1 + chain.random.below(5) {
        match chain.random.below(5) {
            0 | 1 => chain.convolution(),
            2 => chain.product(),
            3 => chain.dense(),
            _ => chain.moved(),
        }
    }
    let y = chain.dequantized();
    let x: Vec<f32> = (0..channels * side * side).map(|_| chain.between(-2.0, 2.0) as f32).collect();
    let mut outputs = vec![proto::value(&y, proto::F32, &[])];
    outputs[0].type_ = None.into();
    let dims = [1, channels as i64, side as i64, side as i64];
    let graph = GraphProto {
        initializer: chain.constants,
        ..proto::graph(&[proto::value("x", proto::F32, &dims)], chain.nodes, &outputs)
    };
    (proto::model(graph), Tensor::new([1, channels, side, side], x).unwrap())
}

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

fn seeds(count: u64) -> std::ops::Range<u64> {
    let first = setting("SARDONYX_RANDOM_SEED", 0);
    first..first + setting("SARDONYX_RANDOM_GRAPHS", count)
}

/// What the nodes as written say, in float64, as float32.
fn as_written(model: &ModelProto, x: &Tensor) -> Vec<f32> {
    let session = Session::builder().without_rewrites().build(proto::read(model).unwrap()).unwrap();
    let values = session.bind(&[("x", x.clone())]).unwrap();
    let mut made = cpu::run(session.original(), &values, EvalPrecision::Oracle, &mut |_, _| {}).unwrap();
    made.remove(0).to_f64s().unwrap().iter().map(|&y| y as f32).collect()
}

#[test]
fn the_cpu_to_the_bit() {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for seed in seeds(2000) {
        let (model, x) = drawn(seed);
        let session = Session::builder().build(proto::read(&model).unwrap()).unwrap();
        for node in &session.graph().nodes {
            *kinds.entry(node.op_type.clone()).or_default() += 1;
        }
        let found = session.run(&[("x", x.clone())]).unwrap().remove(0).1;
        let (found, expected) = (found.as_slice::<f32>().unwrap().to_vec(), as_written(&model, &x));
        // A number and its float32: of the last DequantizeLinear alone.
        let off = found.iter().zip(&expected).filter(|(x, y)| (**x - **y).abs() > 1e-6 * y.abs()).count();
        assert_eq!(off, 0, "seed {seed}: {off} of {} differ", found.len());
    }
    // The islands are there: without them a chain would run in floats and seem right.
    let count = |kind: &str| kinds.get(kind).copied().unwrap_or(0);
    assert!(
        count("QLinearConv") > 10 * count("Conv") && count("QLinearMatMul") > 10 * count("MatMul"),
        "{kinds:?}"
    );
    assert!(count("QLinearMatMul") > 0 && count("Gemm") == 0, "{kinds:?}");
}

/// An adapter rounds in float32: beside a border between two integers it may take the other one, which the steps
/// after it carry on. Of one step alone the results are one integer apart at most.
#[test]
fn the_adapter_within_a_step() {
    let Some(device) = test_device() else { return };
    let (mut all, mut off) = (0usize, 0usize);
    for seed in seeds(25) {
        let (model, x) = drawn(seed);
        let session = Session::builder()
            .device(Device::from(device.clone()))
            .build(proto::read(&model).unwrap())
            .unwrap();
        let found = session.run(&[("x", x.clone())]).unwrap().remove(0).1;
        let (found, expected) = (found.as_slice::<f32>().unwrap().to_vec(), as_written(&model, &x));
        let last = model.graph.node.last().unwrap();
        let scale = model.graph.initializer.iter().find(|tensor| tensor.name == last.input[1]).unwrap();
        let step = f32::from_le_bytes(scale.raw_data[..4].try_into().unwrap());
        let quantizes = model.graph.node.iter().filter(|node| node.op_type == "QuantizeLinear").count();
        for (x, y) in found.iter().zip(&expected) {
            let steps = ((x - y) / step).abs().round() as usize;
            all += 1;
            off += usize::from(steps > 0);
            // What a step before was off by is multiplied by weights of up to 2.
            assert!(steps <= 1 || quantizes > 2, "seed {seed}: {x}, not {y}: {steps} steps");
        }
    }
    eprintln!("{off} of {all} numbers are a step or more beside those of float64");
    assert!(off * 500 <= all, "{off} of {all} numbers differ");
}

/// `DynamicQuantizeLinear → MatMulInteger → Cast → Mul (→ Add)`, as onnxruntime's quantiser writes a product.
fn dynamic(seed: u64) -> (ModelProto, Tensor) {
    let mut random = SplitMix64(seed);
    let [m, k, n] = [1 + random.below(9), 1 + random.below(70), 1 + random.below(70)];
    let mut chain = Chain {
        random,
        nodes: vec![],
        constants: vec![],
        last: Default::default(),
        channels: 0,
        side: 0,
        dtype: DType::U8,
    };
    chain.nodes.push(proto::node("DynamicQuantizeLinear", &["x"], &["xq", "x_scale", "x_zero"]));
    let dtype = [DType::I8, DType::U8][chain.random.below(2)];
    let data = chain.bytes(k * n);
    let w = chain.constant("w", dtype, &[k, n], data);
    let each = chain.random.below(2) == 0;
    let (count, shape) = if each { (n, vec![n]) } else { (1, vec![]) };
    let zeros = chain.bytes(count);
    let zero = chain.constant("w_zero", dtype, &shape, zeros);
    let scales: Vec<f32> = (0..count).map(|_| chain.scale(0.01)).collect();
    let scale = chain.floats("w_scale", &shape, &scales);
    let mut factors = ["x_scale", scale.as_str()];
    if chain.random.below(2) == 0 {
        factors.reverse();
    }
    let scale = chain.node("Mul", &factors);
    let sums = chain.node("MatMulInteger", &["xq", &w, "x_zero", &zero]);
    let sums = chain.node("Cast", &[&sums]);
    chain.int("to", i64::from(DType::F32.onnx()));
    let mut y = chain.node("Mul", &[&sums, &scale]);
    if chain.random.below(3) > 0 {
        let list: Vec<f32> = (0..n).map(|_| chain.between(-1.0, 1.0) as f32).collect();
        let bias = chain.floats("bias", &[n], &list);
        y = chain.node("Add", &[&bias, &y]);
    }
    let x: Vec<f32> = (0..m * k).map(|_| chain.between(-2.0, 3.0) as f32).collect();
    let mut outputs = vec![proto::value(&y, proto::F32, &[])];
    outputs[0].type_ = None.into();
    let dims = [m as i64, k as i64];
    let graph = GraphProto {
        initializer: chain.constants,
        ..proto::graph(&[proto::value("x", proto::F32, &dims)], chain.nodes, &outputs)
    };
    (proto::model(graph), Tensor::new([m, k], x).unwrap())
}

#[test]
fn dynamic_products_to_the_bit() {
    for seed in seeds(500) {
        let (model, x) = dynamic(seed);
        let run = |builder: sardonyx::session::SessionBuilder| {
            let session = builder.build(proto::read(&model).unwrap()).unwrap();
            let y = session.run(&[("x", x.clone())]).unwrap().remove(0).1;
            (session, y)
        };
        let (session, y) = run(Session::builder());
        let kinds: Vec<&str> = session.graph().nodes.iter().map(|node| node.op_type.as_str()).collect();
        assert_eq!(kinds.iter().filter(|kind| **kind == "MatMulIntegerToFloat").count(), 1, "{kinds:?}");
        assert!(kinds.len() <= 3, "{kinds:?}");
        assert_eq!(y.bytes(), run(Session::builder().without_rewrites()).1.bytes(), "seed {seed}");
    }
}

/// Products of one input stand side by side, as those of queries, keys and values do: each becomes one step.
#[test]
fn dynamic_products_side_by_side() {
    let (mut model, _) = dynamic(0);
    let graph = model.graph.as_mut().unwrap();
    let first = graph.node.remove(0);
    let made: Vec<String> = graph.node.iter().flat_map(|node| node.output.clone()).collect();
    let again = |node: &NodeProto| {
        let own = |name: &String| if made.contains(name) { format!("{name} again") } else { name.clone() };
        NodeProto {
            name: format!("{} again", node.name),
            input: node.input.iter().map(own).collect(),
            output: node.output.iter().map(own).collect(),
            ..node.clone()
        }
    };
    let both = graph.node.iter().flat_map(|node| [node.clone(), again(node)]);
    graph.node = std::iter::once(first).chain(both).collect();
    let mut second = graph.output[0].clone();
    second.name += " again";
    graph.output.push(second);
    let session = Session::builder().build(proto::read(&model).unwrap()).unwrap();
    let kinds: Vec<&str> = session.graph().nodes.iter().map(|node| node.op_type.as_str()).collect();
    assert_eq!(kinds.iter().filter(|kind| **kind == "MatMulIntegerToFloat").count(), 2, "{kinds:?}");
}
