//! The CPU's float32 engine (products, channels innermost, vectors), and the plain forms in float32, against
//! the plain ones in float64, over
//! many sizes.

use sardonyx::base::{AutoPad, EvalPrecision, Fact, Operands, Window};
use sardonyx::expression::{Arg, Pointwise, table};
use sardonyx::graph::{Graph, Node};
use sardonyx::ops::matrix::{gemm::Gemm, matmul::MatMul};
use sardonyx::ops::nn::conv::Conv;
use sardonyx::ops::nn::pool::Pool;
use sardonyx::ops::{Attribute, Input, NodeView, Operator, find};
use sardonyx::tensor::{DType, cast};
use sardonyx::{Tensor, cpu};
use std::collections::HashMap;
use std::sync::Arc;

/// Repeatable numbers in −1 … 1.
struct Numbers(u64);
impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }
    fn below(&mut self, bound: usize) -> usize {
        self.next() as usize % bound
    }
    fn tensor(&mut self, shape: &[usize]) -> Tensor {
        let count = shape.iter().product();
        Tensor::new(
            shape,
            (0..count).map(|_| self.next() as f32 / (1u64 << 30) as f32 - 1.0).collect::<Vec<_>>(),
        )
        .unwrap()
    }
}

/// Evaluates in float32 and in float64 and holds the one to the other, by `terms` roundings of the largest
/// magnitude.
fn agree(op: &dyn Operator, inputs: &[Option<Tensor>], terms: usize, what: &str) {
    let refs: Vec<Option<&Tensor>> = inputs.iter().map(Option::as_ref).collect();
    let wide: Vec<Option<Tensor>> = inputs
        .iter()
        .map(|input| input.as_ref().map(|input| cast(input, DType::F64, true).unwrap()))
        .collect();
    let wide: Vec<Option<&Tensor>> = wide.iter().map(Option::as_ref).collect();
    let Ok(expected) = cpu::eval_node(op, &wide, EvalPrecision::Oracle) else { return };
    let found =
        cpu::eval_node(op, &refs, EvalPrecision::Declared).unwrap_or_else(|error| panic!("{what}: {error}"));
    // Packed weights give the same bits.
    if let Some(engine) = op.engine()
        && let Some(packed) = engine.pack(Operands::new(&refs)).unwrap()
    {
        let again = op.run(Operands::new(&refs), Some(&packed), 1, EvalPrecision::Declared).unwrap();
        assert_eq!(again, found, "{what}");
    }
    // The engine and the plain form, each.
    let plain = op.eval(Operands::new(&refs), EvalPrecision::Declared).unwrap();
    for (form, made) in [("by the engine", &found), ("plainly", &plain)] {
        assert_eq!(made[0].shape(), expected[0].shape(), "{what} {form}");
        let (x, y) = (made[0].to_f64s().unwrap(), expected[0].to_f64s().unwrap());
        let magnitude = y.iter().fold(1.0f64, |high, y| high.max(y.abs()));
        let worst = x.iter().zip(&y).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
        let allowed = magnitude * (terms + 4) as f64 * 2f64.powi(-24);
        assert!(worst <= allowed, "{what} {form}: {worst} of {magnitude}");
    }
}

#[test]
fn convolutions() {
    let mut n = Numbers(1);
    for trial in 0..400 {
        let groups = [1, 1, 1, 2, 3, 8, 17, 40][n.below(8)];
        let depthwise = groups > 1 && n.below(3) > 0;
        let (c, per) = if depthwise { (1, 1 + n.below(4) / 3) } else { (1 + n.below(9), 1 + n.below(40)) };
        let kernel = [[1, 1], [3, 3], [1, 3], [5, 2], [7, 7]][n.below(5)];
        let window = Window {
            kernel: None,
            strides: Some(vec![1 + n.below(3), 1 + n.below(2)]),
            dilations: Some(vec![1 + n.below(2), 1 + n.below(3) / 2]),
            pads: Some((0..4).map(|_| n.below(4)).collect()),
            auto_pad: AutoPad::NotSet,
            ceil_mode: false,
        };
        let mut epilogue = Pointwise::identity();
        match n.below(4) {
            0 => drop(epilogue.push(&table::RELU, vec![Arg::Operand(0)])),
            1 => drop(epilogue.push(&table::SILU, vec![Arg::Operand(0)])),
            2 => {
                let low = epilogue.push(&table::MAX, vec![Arg::Operand(0), Arg::Const(-0.5)]);
                epilogue.push(&table::MIN, vec![low, Arg::Const(0.75)]);
            }
            _ => {}
        }
        let shape = [1 + n.below(2), c * groups, 1 + n.below(12), 1 + n.below(30)];
        let x = n.tensor(&shape);
        let w = n.tensor(&[per * groups, c, kernel[0], kernel[1]]);
        let bias = (n.below(2) == 0).then(|| n.tensor(&[per * groups]));
        let what = format!("{trial}: {:?} with {:?} in {groups} groups, {window:?}", x.shape(), w.shape());
        let conv = Conv { window, groups, epilogue };
        agree(&conv, &[Some(x), Some(w), bias], c * kernel[0] * kernel[1] + 10, &what);
    }
}

/// Up to four filters over many channels, and one more.
#[test]
fn convolutions_of_few_filters() {
    let mut n = Numbers(7);
    for trial in 0..60 {
        let side = [1, 3, 5, 9][n.below(4)];
        let c = if side == 1 { 128 + n.below(80) } else { 15 + n.below(30) };
        let window = Window {
            kernel: None,
            strides: Some(vec![1 + n.below(2), 1 + n.below(2)]),
            dilations: Some(vec![1, 1 + n.below(3) / 2]),
            pads: Some((0..4).map(|_| n.below(side + 1) / 2).collect()),
            auto_pad: AutoPad::NotSet,
            ceil_mode: false,
        };
        let mut epilogue = Pointwise::identity();
        if n.below(2) == 0 {
            epilogue.push([&table::RELU, &table::TANH][n.below(2)], vec![Arg::Operand(0)]);
        }
        let shape = [1 + n.below(2), c, 9 + n.below(12), 17 + n.below(30)];
        let filters = [1 + n.below(5), c, side, side];
        let (x, w) = (n.tensor(&shape), n.tensor(&filters));
        let bias = (n.below(2) == 0).then(|| n.tensor(&w.shape()[..1]));
        let what = format!("{trial}: {:?} with {:?}, {window:?}", x.shape(), w.shape());
        let conv = Conv { window, groups: 1, epilogue };
        agree(&conv, &[Some(x), Some(w), bias], c * side * side + 10, &what);
    }
}

/// A wide convolution, a depthwise one and a 1×1 one, run band by band in a program, give the bits that the
/// graph gives node by node.
#[test]
fn chains_by_bands() {
    let mut n = Numbers(4);
    for trial in 0..40 {
        let (images, c, wide, out) = (1 + n.below(2), 1 + n.below(20), 32 + n.below(80), 1 + n.below(40));
        let (height, width) = (25 + n.below(40), 50 + n.below(30));
        let kernel = [1, 1, 3][n.below(3)];
        let taps = [3, 5, 7][n.below(3)];
        let window = |kernel: usize, stride: usize, dilation: usize, pads: [usize; 4]| Window {
            kernel: Some(vec![kernel, kernel]),
            strides: Some(vec![stride, stride]),
            dilations: Some(vec![dilation, dilation]),
            pads: Some(pads.to_vec()),
            auto_pad: AutoPad::NotSet,
            ceil_mode: false,
        };
        let mut activation = Pointwise::identity();
        activation.push(if n.below(2) == 0 { &table::RELU } else { &table::SILU }, vec![Arg::Operand(0)]);
        let pads = std::array::from_fn(|_| n.below(taps));
        let (stride, dilation) = (1 + n.below(2), 1 + n.below(3) / 2);
        let parts = [
            Conv {
                window: window(kernel, 1 + n.below(5) / 4, 1, [kernel / 2; 4]),
                groups: 1,
                epilogue: activation.clone(),
            },
            Conv { window: window(taps, stride, dilation, pads), groups: wide, epilogue: activation },
            Conv { window: window(1, 1, 1, [0; 4]), groups: 1, epilogue: Pointwise::identity() },
        ];
        let weights = [
            n.tensor(&[wide, c, kernel, kernel]),
            n.tensor(&[wide, 1, taps, taps]),
            n.tensor(&[out, wide, 1, 1]),
        ];
        let count = 2 + n.below(2);
        let mut graph = Graph::default();
        let x = graph.add_value("x", None, None);
        let mut last = x;
        for (conv, w) in parts.into_iter().zip(weights).take(count) {
            let bias = graph.add_constant("b", n.tensor(&[w.shape()[0]]));
            let inputs = vec![Some(last), Some(graph.add_constant("w", w)), Some(bias)];
            last = graph.add_value(format!("y{}", graph.nodes.len()), None, None);
            let name = format!("n{}", graph.nodes.len());
            graph.nodes.push(Node {
                name,
                op_type: "Conv".into(),
                op: Arc::new(conv),
                inputs,
                outputs: vec![Some(last)],
                fused: vec![],
            });
        }
        (graph.inputs, graph.outputs) = (vec![x], vec![last]);
        let inputs = HashMap::from([(x, n.tensor(&[images, c, height, width]))]);
        let mut facts: Vec<Option<Fact>> =
            graph.values.iter().map(|value| value.constant.as_ref().map(Fact::of)).collect();
        facts[x.0 as usize] = Some(Fact::new(DType::F32, inputs[&x].shape().to_vec()));
        let expected = cpu::run(&graph, &inputs, EvalPrecision::Declared, &mut |id, tensor| {
            facts[id.0 as usize] = Some(Fact::new(tensor.dtype(), tensor.shape().to_vec()));
        });
        // A kernel that doesn't fit is an error on either way.
        let Ok(expected) = expected else { continue };
        let program = cpu::program::Program::new(graph, Some(facts), true, &Default::default()).unwrap();
        assert_eq!(
            program.graph().nodes.iter().filter(|node| node.op_type == "Conv").count(),
            1,
            "{trial}: not one step"
        );
        for _ in 0..2 {
            assert!(
                program.run(&inputs, None).unwrap() == expected,
                "{trial}: {count} parts, {images} × {c} × {height} × {width} by {kernel} and {taps}"
            );
        }
    }
}

#[test]
fn a_maximum_passes_nan_on() {
    for place in 0..6 {
        let mut xs = [1.0f32, -2.0, 3.0, f32::NEG_INFINITY, 0.5, 2.0];
        xs[place] = f32::NAN;
        let window = Window {
            kernel: Some(vec![2, 3]),
            strides: None,
            dilations: None,
            pads: None,
            auto_pad: AutoPad::NotSet,
            ceil_mode: false,
        };
        let pool =
            Pool { window, kind: sardonyx::base::Pooling::Maximum, indices: false, column_major: false };
        let x = Tensor::new([1, 1, 2, 3], xs.to_vec()).unwrap();
        let found = cpu::eval_node(&pool, &[Some(&x)], EvalPrecision::Declared).unwrap();
        assert!(found[0].as_slice::<f32>().unwrap()[0].is_nan(), "NaN at {place}");
    }
}

#[test]
fn pools() {
    let mut n = Numbers(2);
    for trial in 0..200 {
        let kind = [
            sardonyx::base::Pooling::Maximum,
            sardonyx::base::Pooling::Average { count_padding: false },
            sardonyx::base::Pooling::Average { count_padding: true },
            sardonyx::base::Pooling::Norm { p: 2.0 },
        ][n.below(4)];
        let window = Window {
            kernel: Some(vec![1 + n.below(3), 1 + n.below(4)]),
            strides: Some(vec![1 + n.below(3), 1 + n.below(2)]),
            dilations: Some(vec![1 + n.below(2), 1]),
            pads: Some((0..4).map(|_| n.below(2)).collect()),
            auto_pad: AutoPad::NotSet,
            ceil_mode: n.below(2) == 1,
        };
        let shape = [1 + n.below(2), 1 + n.below(40), 3 + n.below(9), 4 + n.below(20)];
        let x = n.tensor(&shape);
        let what = format!("{trial}: {:?} by {window:?}", x.shape());
        agree(&Pool { window, kind, indices: false, column_major: false }, &[Some(x)], 16, &what);
    }
}

#[test]
fn expressions_broadcast() {
    use sardonyx::ops::pointwise::Elementwise;
    let mut n = Numbers(3);
    for trial in 0..300 {
        let rank = 1 + n.below(4);
        let shape: Vec<usize> = (0..rank).map(|_| [1, 2, 3, 17, 70, 130][n.below(6)]).collect();
        let operand = |n: &mut Numbers| {
            let skip = n.below(rank + 1);
            let own: Vec<usize> =
                shape[skip..].iter().map(|&size| if n.below(3) == 0 { 1 } else { size }).collect();
            n.tensor(&own)
        };
        let inputs: Vec<Option<Tensor>> = (0..3).map(|_| Some(operand(&mut n))).collect();
        // tanh(a · b) + gelu(c) · a
        let mut e = Pointwise { operands: 3, steps: vec![] };
        let product = e.push(&table::MUL, vec![Arg::Operand(0), Arg::Operand(1)]);
        let left = e.push(&table::TANH, vec![product]);
        let gelu = e.push(&table::GELU, vec![Arg::Operand(2)]);
        let right = e.push(&table::MUL, vec![gelu, Arg::Operand(0)]);
        e.push(&table::ADD, vec![left, right]);
        let shapes: Vec<_> = inputs.iter().flatten().map(|x| x.shape().to_vec()).collect();
        agree(&Elementwise { expression: e }, &inputs, 16, &format!("{trial}: {shapes:?}"));
    }
}

#[test]
fn products() {
    let mut n = Numbers(5);
    for trial in 0..300 {
        let (m, k, columns) = (1 + n.below(40), 1 + n.below(70), 1 + n.below(70));
        let mut epilogue = Pointwise::identity();
        if n.below(2) == 0 {
            epilogue.push(&table::SILU, vec![Arg::Operand(0)]);
        }
        let row = (n.below(2) == 0).then(|| n.tensor(&[columns]));
        // A batch of both, of A alone, of B alone.
        let batches: [&[usize]; 4] = [&[], &[3], &[2, 1], &[2, 3]];
        let mut shape = |rows: usize, columns: usize| {
            let batch = batches[n.below(4)].iter().copied();
            batch.chain([rows, columns]).collect::<Vec<usize>>()
        };
        let (a, b) = (shape(m, k), shape(k, columns));
        let what = format!("{trial}: {a:?} · {b:?}, {}", epilogue.describe());
        let inputs = [Some(n.tensor(&a)), Some(n.tensor(&b)), row.clone()];
        agree(&MatMul { epilogue: epilogue.clone() }, &inputs, k + 10, &what);

        let (trans_a, trans_b) = (n.below(2) == 0, n.below(2) == 0);
        let (alpha, beta) = ([1.0, 0.5][n.below(2)], [1.0, -2.0][n.below(2)]);
        let a = n.tensor(&if trans_a { [k, m] } else { [m, k] });
        let b = n.tensor(&if trans_b { [columns, k] } else { [k, columns] });
        let c = match n.below(4) {
            0 => None,
            1 => row,
            2 => Some(n.tensor(&[m, 1])),
            _ => Some(n.tensor(&[m, columns])),
        };
        let gemm = Gemm { alpha, beta, trans_a, trans_b, epilogue };
        let what = format!("{trial}: {gemm:?} of {m} × {k} × {columns}");
        agree(&gemm, &[Some(a), Some(b), c], k + 10, &what);
    }
}

/// An operator of a node with these attributes, all inputs given.
fn parsed(name: &str, attributes: &[(&str, Attribute)], inputs: usize) -> Arc<dyn Operator> {
    let attributes = attributes.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
    let inputs = (0..inputs).map(|k| Input::Named(format!("x{k}"))).collect();
    let mut node = NodeView::new("node", name, 22, attributes, inputs, 1);
    (find("", name).unwrap().parse)(&mut node).unwrap()
}

#[test]
fn recurrent_networks() {
    let mut n = Numbers(5);
    for trial in 0..120 {
        let (name, gates) = [("RNN", 1), ("GRU", 3), ("LSTM", 4)][trial % 3];
        let (steps, batch, input, hidden) =
            (1 + n.below(7), 1 + n.below(4), 1 + n.below(40), 1 + n.below(40));
        let (direction, count) = [("forward", 1), ("reverse", 1), ("bidirectional", 2)][n.below(3)];
        let mut attributes = vec![("direction", Attribute::String(direction.into()))];
        if name == "GRU" {
            attributes.push(("linear_before_reset", Attribute::Int(n.below(2) as i64)));
        }
        let op = parsed(name, &attributes, 6);
        let x = n.tensor(&[steps, batch, input]);
        let w = n.tensor(&[count, gates * hidden, input]);
        // Small, so that a step doesn't multiply the last one's errors.
        let r = n.tensor(&[count, gates * hidden, hidden]);
        let r = r.as_slice::<f32>().unwrap().iter().map(|x| x / 8.0).collect::<Vec<_>>();
        let r = Tensor::new([count, gates * hidden, hidden], r).unwrap();
        let bias = n.tensor(&[count, 2 * gates * hidden]);
        let h = n.tensor(&[count, batch, hidden]);
        let what = format!("{trial}: {name} {attributes:?} {:?} hidden {hidden}", x.shape());
        agree(&*op, &[Some(x), Some(w), Some(r), Some(bias), None, Some(h)], input + hidden + 40, &what);
    }
}

/// Products and convolutions of integers by float32's give what the plain forms give.
#[test]
fn integers() {
    let mut n = Numbers(6);
    let bytes = |n: &mut Numbers, dtype: DType, shape: &[usize]| {
        let count = shape.iter().product();
        let list = (0..count).map(|_| n.next() as i64).collect::<Vec<_>>();
        cast(&Tensor::new(shape, list).unwrap(), dtype, true).unwrap()
    };
    for trial in 0..150 {
        let (a_type, b_type) = ([DType::U8, DType::I8][n.below(2)], [DType::U8, DType::I8][n.below(2)]);
        let (op, x, w, filters) = if trial % 2 == 0 {
            let (m, k, columns) = (1 + n.below(40), 1 + n.below(900), 1 + n.below(40));
            let (x, w) = (bytes(&mut n, a_type, &[m, k]), bytes(&mut n, b_type, &[k, columns]));
            (parsed("MatMulInteger", &[], 4), x, w, columns)
        } else {
            let (groups, c, per) = (1 + n.below(3), 1 + n.below(40), 1 + n.below(9));
            let pads = (0..4).map(|_| n.below(3) as i64).collect();
            let attributes = [("group", Attribute::Int(groups as i64)), ("pads", Attribute::Ints(pads))];
            let x = [1 + trial % 3, c * groups, 3 + n.below(9), 3 + n.below(9)];
            let w = [per * groups, c, 1 + n.below(3), 1 + n.below(3)];
            let (x, w) = (bytes(&mut n, a_type, &x), bytes(&mut n, b_type, &w));
            (parsed("ConvInteger", &attributes, 4), x, w, per * groups)
        };
        let zeros = if n.below(2) == 0 { 1 } else { filters };
        let (a_zero, b_zero) = (bytes(&mut n, a_type, &[]), bytes(&mut n, b_type, &[zeros]));
        let what = format!("{trial}: {op:?} {:?} {:?}", x.shape(), w.shape());
        let inputs = [Some(&x), Some(&w), Some(&a_zero), Some(&b_zero)];
        let (engine, mode) = (op.engine().unwrap(), EvalPrecision::Declared);
        let plain = op.eval(Operands::new(&inputs), mode).unwrap();
        let packed = engine.pack(Operands::new(&inputs)).unwrap();
        for packed in [None, packed.as_ref()] {
            let made = engine.run(Operands::new(&inputs), packed, 1, mode).unwrap();
            assert!(made.is_none_or(|made| made == plain), "{what}");
        }
        assert!(packed.is_some() || filters < 6, "{what}: no form by panels");
    }
}
