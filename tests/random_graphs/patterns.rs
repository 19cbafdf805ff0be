//! What exporters write as several nodes, and rewrites make one of: drawn with sizes, axes and readers that
//! such a pattern needn't have.

use super::cases::adapted;
use super::grow::Grower;
use super::proto::{float, int, ints};
use sardonyx::tensor::cast;
use sardonyx::{DType, Tensor};

fn number(at: &mut Grower, dtype: DType, value: f64) -> String {
    let tensor = cast(&Tensor::scalar(value), dtype, true).unwrap();
    at.constant(tensor)
}

fn parameter(at: &mut Grower, dtype: DType, shape: &[usize]) -> String {
    let tensor = at.draw.tensor(dtype, shape);
    at.operand(tensor)
}

fn floats(at: &mut Grower, rank: usize) -> Option<String> {
    at.find(|x| matches!(x.dtype(), DType::F32 | DType::F16) && x.rank() >= rank && !x.is_empty())
}

/// A gate: SiLU, GELU by Erf or Tanh, HardSwish, Mish, each a few nodes.
pub fn gate(at: &mut Grower) -> Option<()> {
    let x = floats(at, 0)?;
    let dtype = at.dtype(&x);
    let made = match at.draw.below(5) {
        0 => {
            let y = at.one("Sigmoid", &[&x], vec![])?;
            at.one("Mul", &[&x, &y], vec![])?
        }
        1 => {
            let root = number(at, dtype, std::f64::consts::SQRT_2);
            let (half, one) = (number(at, dtype, 0.5), number(at, dtype, 1.0));
            let y = at.one("Div", &[&x, &root], vec![])?;
            let y = at.one("Erf", &[&y], vec![])?;
            let y = at.one("Add", &[&y, &one], vec![])?;
            if at.draw.one_in(2) {
                let y = at.one("Mul", &[&x, &y], vec![])?;
                at.one("Mul", &[&y, &half], vec![])?
            } else {
                let z = at.one("Mul", &[&half, &x], vec![])?;
                at.one("Mul", &[&z, &y], vec![])?
            }
        }
        2 => {
            let (cube, small) = (number(at, dtype, 3.0), number(at, dtype, 0.044715));
            let (root, one) = (number(at, dtype, 0.797_884_56), number(at, dtype, 1.0));
            let half = number(at, dtype, 0.5);
            let y = at.one("Pow", &[&x, &cube], vec![])?;
            let y = at.one("Mul", &[&y, &small], vec![])?;
            let y = at.one("Add", &[&x, &y], vec![])?;
            let y = at.one("Mul", &[&y, &root], vec![])?;
            let y = at.one("Tanh", &[&y], vec![])?;
            let y = at.one("Add", &[&y, &one], vec![])?;
            let y = at.one("Mul", &[&x, &y], vec![])?;
            at.one("Mul", &[&y, &half], vec![])?
        }
        3 => {
            let attributes = vec![float("alpha", 1.0 / 6.0), float("beta", 0.5)];
            let y = at.one("HardSigmoid", &[&x], attributes)?;
            at.one("Mul", &[&y, &x], vec![])?
        }
        _ => {
            let y = at.one("Softplus", &[&x], vec![])?;
            let y = at.one("Tanh", &[&y], vec![])?;
            at.one("Mul", &[&x, &y], vec![])?
        }
    };
    drop(made);
    Some(())
}

/// LayerNormalization or RMSNormalization by their parts.
pub fn norm(at: &mut Grower) -> Option<()> {
    let x = floats(at, 1)?;
    let (dtype, shape) = (at.dtype(&x), at.shape(&x));
    // The last axis mostly, as exporters have it.
    let axis = if at.draw.one_in(5) { at.draw.axis(shape.len()).1 } else { -1 };
    let axes = at.constant(super::draw::list(&[axis]));
    let keep = vec![int("keepdims", 1)];
    let centred = at.draw.one_in(2);
    let d = if centred {
        let mean = at.one("ReduceMean", &[&x, &axes], keep.clone())?;
        at.one("Sub", &[&x, &mean], vec![])?
    } else {
        x
    };
    let square = if at.draw.one_in(2) {
        at.one("Mul", &[&d, &d], vec![])?
    } else {
        let two = number(at, dtype, 2.0);
        at.one("Pow", &[&d, &two], vec![])?
    };
    let variance = at.one("ReduceMean", &[&square, &axes], keep)?;
    let epsilon = at.draw.pick(&[1e-5, 1e-2]);
    let epsilon = number(at, dtype, epsilon);
    let sum = at.one("Add", &[&variance, &epsilon], vec![])?;
    let root = at.one("Sqrt", &[&sum], vec![])?;
    let y = if at.draw.one_in(2) {
        at.one("Div", &[&d, &root], vec![])?
    } else {
        let inverse = at.one("Reciprocal", &[&root], vec![])?;
        at.one("Mul", &[&d, &inverse], vec![])?
    };
    let last = shape.last().copied().unwrap_or(1);
    let scale = parameter(at, dtype, &[last]);
    let y = at.one("Mul", &[&y, &scale], vec![])?;
    if at.draw.one_in(2) {
        let bias = parameter(at, dtype, &[last]);
        at.one("Add", &[&y, &bias], vec![])?;
    }
    Some(())
}

/// Attention by its parts, or as one node; heads, a mask, keys that are shared.
pub fn attention(at: &mut Grower) -> Option<()> {
    let (batch, heads) = (at.draw.pick(&[1usize, 1, 2]), at.draw.pick(&[1usize, 2, 4]));
    let (rows, keys) = (at.draw.pick(&[1usize, 3, 4, 7]), at.draw.pick(&[1usize, 3, 5, 8]));
    let (width, out) = (at.draw.pick(&[2usize, 3, 4, 8]), at.draw.pick(&[3usize, 4, 8]));
    let dtype = at.draw.pick(&[DType::F32, DType::F32, DType::F16]);
    let value = |at: &mut Grower, shape: &[usize]| {
        let found = at.find(|x| x.dtype() == dtype && !x.is_empty()).filter(|_| at.draw.one_in(2));
        match found.and_then(|x| adapted(at, &x, dtype, shape)) {
            Some(name) => name,
            None => {
                let tensor = at.draw.tensor(dtype, shape);
                at.given(tensor)
            }
        }
    };
    let shared = at.draw.one_in(3) && heads > 1;
    let whole = at.draw.one_in(2);
    let held = if shared && whole { heads / 2 } else { heads };
    let q = value(at, &[batch, heads, rows, width]);
    let k = value(at, &[batch, held, keys, width]);
    let v = value(at, &[batch, held, keys, out]);
    let mask = at.draw.tensor(dtype, &[rows, keys]);
    let masked = at.draw.one_in(2);
    if whole {
        let mask = if masked { at.operand(mask) } else { String::new() };
        let mut attributes = vec![int("is_causal", at.draw.between(0, 1))];
        if at.draw.one_in(3) {
            attributes.push(float("scale", 0.3));
        }
        if at.draw.one_in(4) {
            attributes.push(float("softcap", 2.0));
        }
        return at.one("Attention", &[&q, &k, &v, &mask], attributes).map(drop);
    }
    let k = at.one("Transpose", &[&k], vec![ints("perm", &[0, 1, 3, 2])])?;
    let scale = number(at, dtype, 1.0 / (width as f64).sqrt());
    let first = at.draw.one_in(2);
    let q = if first { at.one("Mul", &[&q, &scale], vec![])? } else { q };
    let mut scores = at.one("MatMul", &[&q, &k], vec![])?;
    if !first {
        scores = at.one("Mul", &[&scores, &scale], vec![])?;
    }
    if masked {
        let mask = at.operand(mask);
        scores = at.one("Add", &[&scores, &mask], vec![])?;
    }
    let weights = at.one("Softmax", &[&scores], vec![int("axis", -1)])?;
    let y = at.one("MatMul", &[&weights, &v], vec![])?;
    if at.draw.one_in(2) {
        let y = at.one("Transpose", &[&y], vec![ints("perm", &[0, 2, 1, 3])])?;
        let shape = at.constant(super::draw::list(&[batch as i64, rows as i64, -1]));
        at.one("Reshape", &[&y, &shape], vec![])?;
    }
    Some(())
}

/// A convolution with what is folded into it, a residual, and a pool behind.
pub fn block(at: &mut Grower) -> Option<()> {
    let channels = at.draw.pick(&[1usize, 3, 4, 5, 8]);
    let shape = [at.draw.pick(&[1usize, 2]), channels, 5, 6];
    let found = at.find(|x| x.dtype() == DType::F32 && !x.is_empty());
    let x = match found.and_then(|x| adapted(at, &x, DType::F32, &shape)) {
        Some(name) => name,
        None => {
            let tensor = at.draw.tensor(DType::F32, &shape);
            at.given(tensor)
        }
    };
    let w = at.draw.tensor(DType::F32, &[channels, channels, 3, 3]);
    let w = at.operand(w);
    let mut y = at.one("Conv", &[&x, &w], vec![ints("pads", &[1, 1, 1, 1])])?;
    if at.draw.one_in(2) {
        let part = |at: &mut Grower, low: f64| {
            let list = (0..channels).map(|_| at.draw.real(low, 1.5) as f32).collect();
            at.constant(Tensor::new([channels], list).unwrap())
        };
        let (scale, bias) = (part(at, -1.0), part(at, -1.0));
        let (mean, variance) = (part(at, -1.0), part(at, 0.3));
        y = at.one("BatchNormalization", &[&y, &scale, &bias, &mean, &variance], vec![])?;
    } else if at.draw.one_in(2) {
        let bias = parameter(at, DType::F32, &[channels, 1, 1]);
        y = at.one("Add", &[&y, &bias], vec![])?;
    }
    if at.draw.one_in(2) {
        y = at.one("Relu", &[&y], vec![])?;
    }
    if at.draw.one_in(2) {
        let turned = at.draw.one_in(2);
        y = at.one("Add", if turned { [x.as_str(), &y] } else { [y.as_str(), &x] }.as_slice(), vec![])?;
    }
    if at.draw.one_in(3) {
        let attributes = vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])];
        at.one("MaxPool", &[&y], attributes)?;
    }
    Some(())
}
