//! What exporters write as several nodes becomes one, and gives what the several gave: small graphs in each
//! exporter's way of writing, run on the CPU before and after.

use sardonyx::base::{EvalPrecision, Fact};
use sardonyx::graph::{Declared, Graph, Node, ValueId};
use sardonyx::ops::{Attribute, Input, NodeView};
use sardonyx::plan::{Inference, infer};
use sardonyx::tensor::DType;
use sardonyx::{Tensor, cpu, ops, passes};
use std::collections::HashMap;

/// A graph in the making, with the tensors of its inputs.
#[derive(Default)]
struct Net {
    graph: Graph,
    given: HashMap<ValueId, Tensor>,
}

impl Net {
    /// An input of float32 in [−1, 1), seeded by its name.
    fn input(&mut self, name: &str, shape: &[usize]) -> ValueId {
        let count: usize = shape.iter().product();
        let seed = name.bytes().fold(7u32, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte as u32));
        let element = |k: usize| {
            (((k as u32 + 1).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8) % 2000) as f32 / 1000.0
                - 1.0
        };
        self.given(name, Tensor::new(shape, (0..count).map(element).collect()).unwrap())
    }
    fn given(&mut self, name: &str, tensor: Tensor) -> ValueId {
        let id = self.graph.add_value(name, Some(Declared { dtype: DType::F32, dims: None }), None);
        self.graph.inputs.push(id);
        self.given.insert(id, tensor);
        id
    }
    fn constant(&mut self, tensor: Tensor) -> ValueId {
        self.graph.add_constant("constant", tensor)
    }
    fn number(&mut self, x: f32) -> ValueId {
        self.constant(Tensor::scalar(x))
    }
    fn node(&mut self, op_type: &str, attributes: &[(&str, Attribute)], inputs: &[ValueId]) -> ValueId {
        let def = ops::find("", op_type).unwrap();
        let attributes = attributes.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
        let named = inputs.iter().map(|id| Input::Named(self.graph.value(*id).name.clone())).collect();
        let name = format!("{op_type}_{}", self.graph.nodes.len());
        let mut view = NodeView::new(&name, op_type, 20, attributes, named, 1);
        let op = (def.parse)(&mut view).unwrap();
        let output = self.graph.add_value(format!("{name}_out"), None, None);
        let inputs = inputs.iter().copied().map(Some).collect();
        self.graph.nodes.push(Node {
            name,
            op_type: op_type.into(),
            op,
            inputs,
            outputs: vec![Some(output)],
            fused: vec![],
        });
        output
    }
    /// The two halves of the last axis, by a Split.
    fn halves(&mut self, x: ValueId) -> (ValueId, ValueId) {
        let low = self.node("Split", LAST, &[x]);
        let high = self.graph.add_value("high", None, None);
        let node = self.graph.nodes.last_mut().unwrap();
        node.op = std::sync::Arc::new(ops::shape::split::Split { axis: -1, parts: 2 });
        node.outputs.push(Some(high));
        (low, high)
    }
    fn transpose(&mut self, x: ValueId, perm: &[i64]) -> ValueId {
        self.node("Transpose", &[("perm", Attribute::Ints(perm.to_vec()))], &[x])
    }
    fn mean(&mut self, x: ValueId) -> ValueId {
        let axes = self.constant(Tensor::int64s([-1]));
        self.node("ReduceMean", &[], &[x, axes])
    }
    fn reshape(&mut self, x: ValueId, shape: &[i64]) -> ValueId {
        let shape = self.constant(Tensor::int64s(shape.iter().copied()));
        self.node("Reshape", &[], &[x, shape])
    }
    /// Q, Kᵀ and V of two heads.
    fn heads(&mut self, q: &[usize], k: &[usize], v: &[usize]) -> [ValueId; 3] {
        let (q, k, v) = (self.input("q", q), self.input("k", k), self.input("v", v));
        let rank = self.given[&k].rank() as i64;
        let mut perm: Vec<i64> = (0..rank).collect();
        perm.swap(rank as usize - 2, rank as usize - 1);
        let k = self.transpose(k, &perm);
        [q, k, v]
    }
    /// Runs before and after the rewrites; the operators that are left.
    fn check(mut self, outputs: &[ValueId]) -> Vec<String> {
        self.graph.outputs = outputs.to_vec();
        self.graph.verify().unwrap();
        let before = cpu::run(&self.graph, &self.given, EvalPrecision::Declared, &mut |_, _| {}).unwrap();
        let mut graph = self.graph.clone();
        passes::at_load(&mut graph).unwrap();
        passes::for_plans(&mut graph).unwrap();
        let shapes: HashMap<_, _> =
            self.given.iter().map(|(&id, tensor)| (id, Fact::new(tensor.dtype(), tensor.shape()))).collect();
        let Inference::Complete(facts) = infer(&graph, &shapes).unwrap() else {
            panic!("a shape depends on elements")
        };
        passes::with_shapes(&mut graph, &facts).unwrap();
        graph.verify().unwrap();
        let after = cpu::run(&graph, &self.given, EvalPrecision::Declared, &mut |_, _| {}).unwrap();
        for (x, y) in before.iter().zip(&after) {
            assert_eq!(x.shape(), y.shape());
            let (x, y) = (x.to_f64s().unwrap(), y.to_f64s().unwrap());
            assert!(
                x.iter().zip(&y).all(|(x, y)| (x - y).abs() <= 1e-5 || x.is_nan() && y.is_nan()),
                "{x:?}\n{y:?}"
            );
        }
        graph.nodes.iter().map(|node| node.op_type.clone()).collect()
    }
}

const LAST: &[(&str, Attribute)] = &[("axis", Attribute::Int(-1))];

/// torch's newer exporter: a factor behind the product, a mask, heads and rows turned over behind.
#[test]
fn attention_with_a_factor_and_a_mask() {
    for divides in [false, true] {
        let mut net = Net::default();
        let [q, k, v] = net.heads(&[2, 2, 5, 8], &[2, 2, 7, 8], &[2, 2, 7, 8]);
        let mask = net.input("mask", &[2, 1, 5, 7]);
        let scores = net.node("MatMul", &[], &[q, k]);
        let factor = net.number(if divides { 8f32.sqrt() } else { 1.0 / 8f32.sqrt() });
        let scores = net.node(if divides { "Div" } else { "Mul" }, &[], &[scores, factor]);
        let scores = net.node("Add", &[], &[mask, scores]);
        let weights = net.node("Softmax", LAST, &[scores]);
        let y = net.node("MatMul", &[], &[weights, v]);
        let y = net.transpose(y, &[0, 2, 1, 3]);
        assert_eq!(net.check(&[y]), ["Attention"]);
    }
}

/// torch's scaled_dot_product_attention: a root of the factor on either side, and zeros where a row is masked
/// as a whole.
#[test]
fn attention_scaled_on_both_sides_with_a_guard() {
    for guarded in [true, false] {
        let mut net = Net::default();
        let [q, k, v] = net.heads(&[1, 2, 3, 4], &[1, 2, 5, 4], &[1, 2, 5, 6]);
        let mut mask = vec![0f32; 15];
        mask[5..10].fill(f32::NEG_INFINITY);
        mask[1] = f32::NEG_INFINITY;
        let mask = net.constant(Tensor::new([3, 5], mask).unwrap());
        let root = net.number(0.5f32.sqrt());
        let (q, k) = (net.node("Mul", &[], &[q, root]), net.node("Mul", &[], &[k, root]));
        let scores = net.node("MatMul", &[], &[q, k]);
        let scores = net.node("Add", &[], &[scores, mask]);
        let mut weights = net.node("Softmax", LAST, &[scores]);
        if guarded {
            let missing = net.node("IsNaN", &[], &[weights]);
            let zero = net.number(0.0);
            weights = net.node("Where", &[], &[missing, zero, weights]);
        }
        let y = net.node("MatMul", &[], &[weights, v]);
        assert_eq!(net.check(&[y]), ["Attention"]);
    }
}

/// A softcap, and keys and values of one head repeated for two of the queries'.
#[test]
fn attention_capped_with_shared_heads() {
    let mut net = Net::default();
    let (q, k, v) =
        (net.input("q", &[1, 4, 3, 4]), net.input("k", &[1, 2, 5, 4]), net.input("v", &[1, 2, 5, 4]));
    let mut repeated = |x: ValueId| {
        let axis = net.constant(Tensor::int64s([2]));
        let x = net.node("Unsqueeze", &[], &[x, axis]);
        let shape = net.constant(Tensor::int64s([1, 2, 2, 5, 4]));
        let x = net.node("Expand", &[], &[x, shape]);
        net.reshape(x, &[1, 4, 5, 4])
    };
    let (k, v) = (repeated(k), repeated(v));
    let k = net.transpose(k, &[0, 1, 3, 2]);
    let scores = net.node("MatMul", &[], &[q, k]);
    let (factor, cap) = (net.number(0.3), net.number(2.0));
    let scores = net.node("Mul", &[], &[scores, factor]);
    let scores = net.node("Tanh", &[], &[scores]);
    let scores = net.node("Mul", &[], &[scores, cap]);
    let weights = net.node("Softmax", LAST, &[scores]);
    let y = net.node("MatMul", &[], &[weights, v]);
    assert_eq!(net.check(&[y]), ["Attention"]);
}

/// Batch and heads as one axis, as torch's nn.MultiheadAttention has it.
#[test]
fn attention_of_three_axes() {
    let mut net = Net::default();
    let [q, k, v] = net.heads(&[6, 5, 8], &[6, 7, 8], &[6, 7, 4]);
    let scores = net.node("MatMul", &[], &[q, k]);
    let weights = net.node("Softmax", LAST, &[scores]);
    let y = net.node("MatMul", &[], &[weights, v]);
    assert_eq!(net.check(&[y]), ["Attention"]);
}

/// Products of one A that go into heads: one, with its biases, whose columns are split. A product without a
/// bias takes part.
#[test]
fn products_of_one_operand_become_one() {
    for variant in 0..3 {
        let mut net = Net::default();
        let x = net.input("x", &[2, 5, 8]);
        let heads = |net: &mut Net, name: &str, bias: bool| {
            let weights = (0..64).map(|k| ((k * 7 + name.len() * 13) % 11) as f32 / 11.0 - 0.4).collect();
            let weights = net.constant(Tensor::new([8, 8], weights).unwrap());
            let mut y = if variant == 1 {
                let flat = net.reshape(x, &[-1, 8]);
                net.node("Gemm", &[("transB", Attribute::Int(1))], &[flat, weights])
            } else {
                net.node("MatMul", &[], &[x, weights])
            };
            if bias && variant != 1 {
                let bias = net.constant(Tensor::new([8], (0..8).map(|k| k as f32 / 8.0).collect()).unwrap());
                y = net.node("Add", &[], &[y, bias]);
            }
            let y = net.reshape(y, &[2, 5, 2, 4]);
            net.transpose(y, &[0, 2, 1, 3])
        };
        let (q, k, v) =
            (heads(&mut net, "q", true), heads(&mut net, "keys", false), heads(&mut net, "vv", true));
        let k = net.transpose(k, &[0, 1, 3, 2]);
        let scores = net.node("MatMul", &[], &[q, k]);
        let weights = net.node("Softmax", LAST, &[scores]);
        let y = net.node("MatMul", &[], &[weights, v]);
        let left = net.check(&if variant == 2 { vec![y, q] } else { vec![y] });
        let count = |op: &str| left.iter().filter(|left| *left == op).count();
        // Each Gemm has its own Reshape before it; what the caller gets is a value of its own.
        let (products, splits) = [(1, 1), (3, 0), (1, 1)][variant];
        assert_eq!(
            (count("Attention"), count("MatMul") + count("Gemm") + count("Add"), count("Split")),
            (1, products + (variant == 2) as usize, splits),
            "{left:?}"
        );
    }
}

/// What somebody else reads, or what is no attention, stays.
#[test]
fn what_is_no_attention_stays() {
    for variant in 0..4 {
        let mut net = Net::default();
        let [q, k, v] = net.heads(&[1, 2, 5, 8], &[1, 2, 5, 8], &[1, 2, 5, 8]);
        let scores = net.node("MatMul", &[], &[q, k]);
        let scores = if variant == 3 { net.node("Relu", &[], &[scores]) } else { scores };
        let axis = [("axis", Attribute::Int(if variant == 0 { 2 } else { -1 }))];
        let weights = net.node("Softmax", &axis, &[scores]);
        let y = net.node("MatMul", &[], &[weights, v]);
        let outputs = match variant {
            1 => vec![y, weights],
            2 => vec![y, scores],
            _ => vec![y],
        };
        assert!(net.check(&outputs).contains(&"Softmax".to_string()), "variant {variant}");
    }
}

#[test]
fn layer_normalisations_written_out() {
    for squares in [false, true] {
        let mut net = Net::default();
        let x = net.input("x", &[3, 10]);
        let (scale, bias) = (net.input("scale", &[10]), net.input("bias", &[10]));
        let mean = net.mean(x);
        let d = net.node("Sub", &[], &[x, mean]);
        let two = net.number(2.0);
        let square = if squares { net.node("Mul", &[], &[d, d]) } else { net.node("Pow", &[], &[d, two]) };
        let variance = net.mean(square);
        let epsilon = net.number(1e-5);
        let sum = net.node("Add", &[], &[variance, epsilon]);
        let root = net.node("Sqrt", &[], &[sum]);
        let y = net.node("Div", &[], &[d, root]);
        let y = net.node("Mul", &[], &[y, scale]);
        let y = net.node("Add", &[], &[y, bias]);
        assert_eq!(net.check(&[y]), ["LayerNormalization"]);
    }
}

#[test]
fn rms_normalisations_written_out() {
    for reciprocal in [false, true] {
        let mut net = Net::default();
        let (x, scale, two, epsilon) =
            (net.input("x", &[3, 10]), net.input("scale", &[10]), net.number(2.0), net.number(1e-6));
        let square = net.node("Pow", &[], &[x, two]);
        let mean = net.mean(square);
        let sum = net.node("Add", &[], &[mean, epsilon]);
        let root = net.node("Sqrt", &[], &[sum]);
        let y = if reciprocal {
            let inverse = net.node("Reciprocal", &[], &[root]);
            net.node("Mul", &[], &[x, inverse])
        } else {
            net.node("Div", &[], &[x, root])
        };
        let y = net.node("Mul", &[], &[scale, y]);
        assert_eq!(net.check(&[y, x]), ["RMSNormalization"]);
    }
}

#[test]
fn gelu_written_out() {
    for order in 0..3 {
        let mut net = Net::default();
        let (x, one, half, root) =
            (net.input("x", &[4, 9]), net.number(1.0), net.number(0.5), net.number(std::f32::consts::SQRT_2));
        let scaled = net.node("Div", &[], &[x, root]);
        let erf = net.node("Erf", &[], &[scaled]);
        let sum = net.node("Add", &[], &[erf, one]);
        let y = match order {
            0 => {
                let product = net.node("Mul", &[], &[x, sum]);
                net.node("Mul", &[], &[product, half])
            }
            1 => {
                let halved = net.node("Mul", &[], &[x, half]);
                net.node("Mul", &[], &[halved, sum])
            }
            _ => {
                let halved = net.node("Mul", &[], &[sum, half]);
                net.node("Mul", &[], &[x, halved])
            }
        };
        assert_eq!(net.check(&[y]), ["Gelu"], "order {order}");
    }
}

/// Rotary positions, cosines and sines for every element; another order of halves is another function.
#[test]
fn rotary_positions_written_out() {
    for (angles, ordered, split) in [
        (&[1, 1, 5, 8][..], true, false),
        (&[5, 8], true, true),
        (&[2, 1, 5, 8], true, false),
        (&[5, 8], false, false),
        (&[5, 8], false, true),
    ] {
        let mut net = Net::default();
        let (x, cos, sin) =
            (net.input("x", &[2, 3, 5, 8]), net.input("cos", angles), net.input("sin", angles));
        let half = |net: &mut Net, from: i64, to: i64| {
            let range = [from, to, -1, 1].map(|at| net.constant(Tensor::int64s([at])));
            net.node("Slice", &[], &[x, range[0], range[1], range[2], range[3]])
        };
        let (low, high) = if split {
            let parts = net.halves(x);
            if ordered { parts } else { (parts.1, parts.0) }
        } else {
            (
                half(&mut net, 0, 4),
                half(&mut net, if ordered { 4 } else { -5 }, if ordered { i64::MAX } else { -1 }),
            )
        };
        let negative = net.node("Neg", &[], &[high]);
        let turned = net.node("Concat", LAST, &[negative, low]);
        let along = net.node("Mul", &[], &[x, cos]);
        let across = net.node("Mul", &[], &[turned, sin]);
        let y = net.node("Add", &[], &[along, across]);
        let left = net.check(&[y]);
        assert_eq!(left == ["RotaryEmbedding"], ordered, "{left:?}");
    }
}

/// A gated product: one factor's function and the product with it in the other's epilogue.
#[test]
fn a_gate_is_an_epilogue() {
    for operator in ["Mul", "Sub"] {
        let mut net = Net::default();
        let x = net.input("x", &[5, 8]);
        let [gate, up] = ["gate", "up!"].map(|name| {
            let weights = net.input(name, &[8, 12]);
            net.node("MatMul", &[], &[x, weights])
        });
        let sigmoid = net.node("Sigmoid", &[], &[gate]);
        let silu = net.node("Mul", &[], &[gate, sigmoid]);
        let y = net.node(operator, &[], &[up, silu]);
        assert_eq!(net.check(&[y]), ["MatMul", "MatMul"], "{operator}");
    }
}

/// What changes nothing goes: casts to the type that is there, a choice that is known; and zeros where a mask
/// leaves no key are Attention's own.
#[test]
fn attention_as_its_function_writes_it() {
    for known in [false, true] {
        let mut net = Net::default();
        let [q, k, v] = net.heads(&[2, 2, 3, 4], &[2, 2, 5, 4], &[2, 2, 5, 6]);
        let mut mask = vec![0f32; 15];
        mask[..if known { 3 } else { 5 }].fill(f32::NEG_INFINITY);
        let mask = Tensor::new([3, 5], mask).unwrap();
        let mask = if known { net.constant(mask) } else { net.given("mask", mask) };
        let to = |net: &mut Net, x: ValueId| net.node("Cast", &[("to", Attribute::Int(1))], &[x]);
        let scores = net.node("MatMul", &[], &[q, k]);
        let scores = to(&mut net, scores);
        let scores = net.node("Add", &[], &[scores, mask]);
        let weights = net.node("Softmax", LAST, &[scores]);
        let weights = to(&mut net, weights);
        let axis = net.constant(Tensor::int64s([-1]));
        let highest = net.node("ReduceMax", &[], &[mask, axis]);
        let (nothing, zero) = (net.number(f32::NEG_INFINITY), net.number(0.0));
        let nothing = net.node("CastLike", &[], &[nothing, mask]);
        let unseen = net.node("Equal", &[], &[highest, nothing]);
        let zero = net.node("CastLike", &[], &[zero, weights]);
        let weights = net.node("Where", &[], &[unseen, zero, weights]);
        let y = net.node("MatMul", &[], &[weights, v]);
        assert!(net.check(&[y]).iter().any(|op| op == "Attention"), "{known}");
    }
}

/// What torch makes of an attention's last product, sequence first: the residual behind a Reshape and a
/// Transpose of an axis of 1.
#[test]
fn a_residual_and_a_function_behind_reshapes() {
    let behind = |batch: usize| {
        let mut net = Net::default();
        let (a, w) = (net.input("a", &[6 * batch, 8]), net.input("w", &[8, 12]));
        let y = net.node("MatMul", &[], &[a, w]);
        let y = net.reshape(y, &[6, batch as i64, 12]);
        let y = net.transpose(y, &[1, 0, 2]);
        let r = net.input("r", &[batch, 6, 12]);
        let sum = net.node("Add", &[], &[r, y]);
        let y = net.node("Relu", &[], &[sum]);
        net.check(&[y])
    };
    assert_eq!(behind(1), ["Reshape", "Reshape", "MatMul", "Reshape", "Reshape"]);
    // That one moves elements.
    assert_eq!(behind(2), ["MatMul", "Reshape", "Transpose", "Relu"]);
}

#[test]
fn a_function_behind_a_reshape_of_columns_stays() {
    let mut net = Net::default();
    let (a, w) = (net.input("a", &[6, 8]), net.input("w", &[8, 12]));
    let y = net.node("MatMul", &[], &[a, w]);
    let y = net.reshape(y, &[6, 3, 4]);
    let r = net.input("r", &[6, 3, 4]);
    let y = net.node("Add", &[], &[y, r]);
    assert_eq!(net.check(&[y]), ["MatMul", "Reshape", "Add"]);
}

/// onnxruntime's flattened products: every function behind one Reshape, in turn.
#[test]
fn functions_behind_a_reshape_in_turn() {
    let mut net = Net::default();
    let (a, w, b) = (net.input("a", &[6, 8]), net.input("w", &[8, 12]), net.input("b", &[12]));
    let y = net.node("Gemm", &[], &[a, w, b]);
    let y = net.reshape(y, &[2, 3, 12]);
    let half = net.number(0.5);
    let y = net.node("Mul", &[], &[y, half]);
    let y = net.node("Tanh", &[], &[y]);
    let r = net.input("r", &[2, 3, 12]);
    let y = net.node("Add", &[], &[y, r]);
    let y = net.node("Sigmoid", &[], &[y]);
    // A number of more axes than the product has would give it more.
    let two = net.constant(Tensor::new([1, 1, 1], vec![2f32]).unwrap());
    let y = net.node("Mul", &[], &[y, two]);
    assert_eq!(net.check(&[y]), ["Reshape", "Gemm", "Reshape", "Mul"]);
}

/// Two layers that cast the same mask, and reshape it alike.
#[test]
fn what_is_made_twice_is_made_once() {
    let mut net = Net::default();
    let (mask, x) = (net.input("mask", &[6]), net.input("x", &[2, 3]));
    let layer = |net: &mut Net, x, by: f32| {
        let scale = net.number(-1e4);
        let y = net.node("Mul", &[], &[mask, scale]);
        let shape = net.node("Shape", &[], &[x]);
        let y = net.node("Reshape", &[], &[y, shape]);
        let y = net.node("Sub", &[], &[x, y]);
        let by = net.number(by);
        let y = net.node("Pow", &[], &[y, by]);
        net.node("Softmax", LAST, &[y])
    };
    let y = layer(&mut net, x, 1.0);
    let z = layer(&mut net, y, 2.0);
    assert_eq!(net.check(&[z]), ["Mul", "Reshape", "Pow", "Softmax", "Pow", "Softmax"]);
}
