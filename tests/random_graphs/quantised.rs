//! Quantised numbers: there and back, and products and convolutions between.

use super::cases::adapted;
use super::draw::Draw;
use super::grow::Grower;
use super::proto::{int, ints};
use sardonyx::tensor::cast;
use sardonyx::{DType, Tensor};

fn scales(draw: &mut Draw, shape: &[usize]) -> Tensor {
    let count = shape.iter().product();
    Tensor::new(shape, (0..count).map(|_| draw.real(0.01, 0.2) as f32).collect::<Vec<_>>()).unwrap()
}

fn zero_points(draw: &mut Draw, dtype: DType, shape: &[usize]) -> Tensor {
    let count = shape.iter().product();
    let (low, high) = match dtype {
        DType::U8 | DType::U16 => (100, 150),
        DType::U4 => (4, 11),
        _ => (-5, 5),
    };
    let list = (0..count).map(|_| draw.between(low, high)).collect::<Vec<_>>();
    cast(&Tensor::new(shape, list).unwrap(), dtype, true).unwrap()
}

/// QuantizeLinear, then perhaps a move, then DequantizeLinear: by tensor, axis or block.
pub fn there_and_back(at: &mut Grower) -> Option<()> {
    let x = at.find(|x| x.dtype() == DType::F32 && x.rank() >= 1)?;
    let shape = at.shape(&x);
    let dtype = at.draw.pick(&[
        DType::U8,
        DType::I8,
        DType::U8,
        DType::I8,
        DType::I16,
        DType::U16,
        DType::I4,
        DType::U4,
    ]);
    let (axis, signed) = at.draw.axis(shape.len());
    let mut attributes = vec![];
    let own: Vec<usize> = match at.draw.below(3) {
        0 => {
            attributes = vec![int("axis", signed)];
            vec![shape[axis]]
        }
        1 if shape[axis] > 1 => {
            let block = at.draw.between(1, shape[axis] as i64) as usize;
            attributes = vec![int("axis", signed), int("block_size", block as i64)];
            let blocks = |(k, &size): (usize, &usize)| if k == axis { size.div_ceil(block) } else { size };
            shape.iter().enumerate().map(blocks).collect()
        }
        _ => vec![],
    };
    let (scale, zero) = (scales(&mut at.draw, &own), zero_points(&mut at.draw, dtype, &own));
    let (scale, zero) = (at.operand(scale), at.operand(zero));
    let whole = attributes.is_empty();
    let q = at.one("QuantizeLinear", &[&x, &scale, &zero], attributes.clone())?;
    let q = if whole && at.draw.one_in(3) { at.one("Transpose", &[&q], vec![])? } else { q };
    at.one("DequantizeLinear", &[&q, &scale, &zero], attributes).map(drop)
}

/// A quantised value with its scale and zero point.
fn quantised(at: &mut Grower, shape: &[usize]) -> Option<[String; 3]> {
    if at.draw.one_in(2) {
        let x = at.find(|x| x.dtype() == DType::F32 && !x.is_empty())?;
        let x = adapted(at, &x, DType::F32, shape)?;
        if at.draw.one_in(2) {
            let made = at.node("DynamicQuantizeLinear", &[&x], vec![], 3)?;
            return made.try_into().ok();
        }
        let dtype = at.draw.pick(&[DType::U8, DType::I8]);
        let (scale, zero) = (scales(&mut at.draw, &[]), zero_points(&mut at.draw, dtype, &[]));
        let (scale, zero) = (at.constant(scale), at.constant(zero));
        let q = at.one("QuantizeLinear", &[&x, &scale, &zero], vec![])?;
        return Some([q, scale, zero]);
    }
    let dtype = at.draw.pick(&[DType::U8, DType::I8]);
    let q = at.draw.tensor(dtype, shape);
    let (scale, zero) = (scales(&mut at.draw, &[]), zero_points(&mut at.draw, dtype, &[]));
    Some([at.given(q), at.constant(scale), at.constant(zero)])
}

pub fn product(at: &mut Grower) -> Option<()> {
    let (m, k, n) = (at.draw.size(), at.draw.size(), at.draw.size());
    let [a, a_scale, a_zero] = quantised(at, &[m, k])?;
    let kind = at.draw.pick(&[DType::U8, DType::I8]);
    let b = at.draw.tensor(kind, &[k, n]);
    let b = at.operand(b);
    let by_column = at.draw.one_in(2);
    let own: &[usize] = if by_column { &[n] } else { &[] };
    let b_zero = zero_points(&mut at.draw, kind, own);
    let b_zero = at.constant(b_zero);
    if at.draw.one_in(2) {
        let sum = at.one("MatMulInteger", &[&a, &b, &a_zero, &b_zero], vec![])?;
        let sum = at.one("Cast", &[&sum], vec![int("to", DType::F32.onnx().into())])?;
        return at.one("Mul", &[&sum, &a_scale], vec![]).map(drop);
    }
    let b_scale = scales(&mut at.draw, own);
    let b_scale = at.constant(b_scale);
    let to = at.draw.pick(&[DType::U8, DType::I8]);
    let (y_scale, y_zero) = (scales(&mut at.draw, &[]), zero_points(&mut at.draw, to, &[]));
    let (y_scale, y_zero) = (at.constant(y_scale), at.constant(y_zero));
    let inputs = [a.as_str(), &a_scale, &a_zero, &b, &b_scale, &b_zero, &y_scale, &y_zero];
    let y = at.one("QLinearMatMul", &inputs, vec![])?;
    at.one("DequantizeLinear", &[&y, &y_scale, &y_zero], vec![]).map(drop)
}

pub fn convolution(at: &mut Grower) -> Option<()> {
    let channels = at.draw.pick(&[1usize, 2, 3, 4, 6]);
    let group = if channels.is_multiple_of(2) && at.draw.one_in(2) { 2 } else { 1 };
    let filters = group * at.draw.pick(&[1, 2, 3]);
    let [x, x_scale, x_zero] = quantised(at, &[1, channels, 5, 6])?;
    let kind = at.draw.pick(&[DType::U8, DType::I8]);
    let size = at.draw.pick(&[1usize, 2, 3]);
    let w = at.draw.tensor(kind, &[filters, channels / group, size, size]);
    let w = at.operand(w);
    let stride = at.draw.between(1, 2);
    let mut attributes = vec![int("group", group as i64), ints("strides", &[stride, stride])];
    if at.draw.one_in(2) {
        attributes.push(ints("pads", &[1, 0, 0, 1]));
    }
    if at.draw.one_in(2) {
        let w_zero = zero_points(&mut at.draw, kind, &[]);
        let w_zero = at.constant(w_zero);
        return at.one("ConvInteger", &[&x, &w, &x_zero, &w_zero], attributes).map(drop);
    }
    let own: &[usize] = if at.draw.one_in(2) { &[filters] } else { &[] };
    let (w_scale, w_zero) = (scales(&mut at.draw, own), zero_points(&mut at.draw, kind, own));
    let (w_scale, w_zero) = (at.constant(w_scale), at.constant(w_zero));
    let to = at.dtype(&x);
    let (y_scale, y_zero) = (scales(&mut at.draw, &[]), zero_points(&mut at.draw, to, &[]));
    let (y_scale, y_zero) = (at.constant(y_scale), at.constant(y_zero));
    let bias = if at.draw.one_in(2) {
        let tensor = at.draw.tensor(DType::I32, &[filters]);
        at.constant(tensor)
    } else {
        String::new()
    };
    let inputs = [x.as_str(), &x_scale, &x_zero, &w, &w_scale, &w_zero, &y_scale, &y_zero, &bias];
    let y = at.one("QLinearConv", &inputs, attributes)?;
    at.one("DequantizeLinear", &[&y, &y_scale, &y_zero], vec![]).map(drop)
}
