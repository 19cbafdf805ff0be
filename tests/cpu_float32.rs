//! The CPU's float32 forms (products, channels innermost, vectors) against the plain ones in float64, over many sizes.

use sardonyx::ops::nn::conv::Conv;
use sardonyx::ops::nn::pool::Pool;
use sardonyx::ops::nn::window::{AutoPad, Window};
use sardonyx::ops::pointwise::{Arg, Pointwise, table};
use sardonyx::ops::{Mode, Operands, Operator};
use sardonyx::tensor::{DType, cast};
use sardonyx::{Tensor, cpu, kernels};

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
        Tensor::new(shape, (0..count).map(|_| self.next() as f32 / (1u64 << 30) as f32 - 1.0).collect::<Vec<_>>()).unwrap()
    }
}

/// Evaluates in float32 and in float64 and holds the one to the other, by `terms` roundings of the largest magnitude.
fn agree(op: &dyn Operator, inputs: &[Option<Tensor>], terms: usize, what: &str) {
    let refs: Vec<Option<&Tensor>> = inputs.iter().map(Option::as_ref).collect();
    let wide: Vec<Option<Tensor>> = inputs.iter().map(|input| input.as_ref().map(|input| cast(input, DType::F64, true).unwrap())).collect();
    let wide: Vec<Option<&Tensor>> = wide.iter().map(Option::as_ref).collect();
    let Ok(expected) = cpu::eval_node(op, &wide, Mode::Oracle) else { return };
    let found = cpu::eval_node(op, &refs, Mode::Declared).unwrap_or_else(|error| panic!("{what}: {error}"));
    // Packed weights give the same bits.
    if let Some(packed) = op.pack(Operands::new(&refs)).unwrap() {
        assert_eq!(op.eval_packed(Operands::new(&refs), &packed, Mode::Declared).unwrap(), found, "{what}");
    }
    assert_eq!(found[0].shape(), expected[0].shape(), "{what}");
    let (x, y) = (found[0].to_f64s().unwrap(), expected[0].to_f64s().unwrap());
    let magnitude = y.iter().fold(1.0f64, |high, y| high.max(y.abs()));
    let worst = x.iter().zip(&y).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
    assert!(worst <= magnitude * (terms + 4) as f64 * 2f64.powi(-24), "{what}: {worst} of {magnitude}");
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

#[test]
fn pools() {
    let mut n = Numbers(2);
    for trial in 0..200 {
        let kind = [
            kernels::pool::Mode::Maximum,
            kernels::pool::Mode::Average { count_padding: false },
            kernels::pool::Mode::Average { count_padding: true },
            kernels::pool::Mode::Norm { p: 2.0 },
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
            let own: Vec<usize> = shape[skip..].iter().map(|&size| if n.below(3) == 0 { 1 } else { size }).collect();
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
