//! Products of quantised matrices on the GPU through float32, which is exact as long as no sum leaves what it
//! counts in whole numbers: weights are float32 then, and the kernels those of every other product, the
//! fastest that there are where the device has no arithmetic for bytes. Longer sums are taken in parts, and
//! added up in int32.

use crate::base::{Fact, Layout, Unsupported, View};
use crate::expression::{Arg, Pointwise, table};
use crate::kernels::epilogue::OutputStage;
use crate::kernels::{Lowering, Target, matmul, pointwise};
use crate::ops::matrix::matmul::shapes;
use crate::tensor::{DType, Tensor, cast};

/// Whole numbers up to this one are float32s.
const EXACT: f64 = 16_777_216.0;
/// The largest difference of two bytes.
const MOST: f64 = 255.0;
/// More parts than that cost more than sums in integers.
const MOST_PARTS: usize = 8;

/// The product of two inputs less their zero points (data, zero point) as int32 in the result's shape, for
/// constant weights `[k, n]` with a constant zero point, one or one for each column, and one zero point of a.
/// `None`: it has no such form.
pub fn product(at: &mut dyn Lowering, a: [usize; 2], b: [usize; 2]) -> Result<Option<View>, Unsupported> {
    // Where float32 is held as float16, sums aren't exact.
    if at.is_narrowed(DType::F32)? {
        return Ok(None);
    }
    let s = shapes(&at.fact(a[0])?.shape, &at.fact(b[0])?.shape)?;
    let one_zero = !at.has_input(a[1]) || at.fact(a[1])?.count() == 1;
    let (Some(weights), true) = (at.constant(b[0]).cloned(), one_zero) else { return Ok(None) };
    let &[k, n] = weights.shape() else { return Ok(None) };
    let rows = s.batch.iter().product::<usize>().saturating_mul(s.m);
    if at.has_input(b[1]) && at.constant(b[1]).is_none() || k == 0 || n == 0 || rows == 0 || s.b.len() != 2 {
        return Ok(None);
    }
    let centred = centred(&weights, at.constant(b[1]))?;
    let high = centred.as_slice::<f32>()?.iter().fold(0f32, |high, x| high.max(x.abs()));
    // As few parts as there may be, all of one length, of whole groups of 4.
    let terms = (EXACT / (MOST * f64::from(high.max(1.0)))) as usize;
    let parts = (k.div_ceil(terms.max(1))..=MOST_PARTS).find(|parts| *parts == 1 || k % (parts * 4) == 0);
    let Some(parts) = parts else { return Ok(None) };
    let terms = k / parts;

    let left = floats(at, a, [rows, k])?;
    let right = at.table("weights less their zero point", centred)?;
    let mut sums = vec![];
    for part in 0..parts {
        let of = |view: &View, axis: usize| {
            let mut shape = view.shape.clone();
            shape[axis] = terms;
            let step = view.strides[axis].saturating_mul((part * terms) as isize);
            View { shape, offset: view.offset.saturating_add_signed(step), ..view.clone() }
        };
        let made = at.scratch(&Fact::new(DType::F32, vec![rows, n]), Layout::Rows4)?;
        let stage = OutputStage::plain(Target::of(&made, Layout::Rows4)?)?;
        let storage = at.storage(DType::F32)?;
        matmul::product(at, storage, [of(&left, 1), of(&right, 0)], &[], [rows, n, terms], 1.0, &stage)?;
        sums.push((made, DType::F32));
    }
    let mut e = Pointwise { operands: parts, steps: vec![] };
    let mut sum = e.push_cast(Arg::Operand(0), DType::I32);
    for part in 1..parts {
        let next = e.push_cast(Arg::Operand(part), DType::I32);
        sum = e.push(&table::ADD, vec![sum, next]);
    }
    let made = at.scratch(&Fact::new(DType::I32, vec![rows, n]), Layout::Rows4)?;
    pointwise::emit_into(at, &e, &sums, &[rows, n], (DType::I32, Layout::Rows4), made.buffer)?;
    made.reshaped_or(&s.result, "a product").map(Some)
}

/// Weights less their zero points, as float32.
fn centred(weights: &Tensor, zero: Option<&Tensor>) -> Result<Tensor, Unsupported> {
    let wide = cast(weights, DType::F32, true)?;
    let Some(zero) = zero else { return Ok(wide) };
    let zero = cast(zero, DType::F32, true)?;
    let shape = if zero.len() == 1 { vec![] } else { vec![zero.len()] };
    let subtract = Pointwise::of(&table::SUB, 2, &[]);
    Ok(subtract.eval(&[&wide, &zero.reshape(shape)?], crate::base::EvalPrecision::Declared)?)
}

/// An input less its zero point as a matrix of float32, in rows of whole groups of 4.
fn floats(at: &mut dyn Lowering, [x, zero]: [usize; 2], shape: [usize; 2]) -> Result<View, Unsupported> {
    let view = at.view(x)?;
    let mut operands = vec![(at.reshaped(view, &shape, "a factor")?, at.fact(x)?.dtype)];
    let mut e = Pointwise { operands: 1, steps: vec![] };
    let value = e.push_cast(Arg::Operand(0), DType::F32);
    if at.has_input(zero) {
        let view = at.view(zero)?;
        operands.push((at.reshaped(view, &[], "a zero point")?, at.fact(zero)?.dtype));
        e.operands = 2;
        let less = e.push_cast(Arg::Operand(1), DType::F32);
        e.push(&table::SUB, vec![value, less]);
    }
    let made = at.scratch(&Fact::new(DType::F32, shape.to_vec()), Layout::Rows4)?;
    pointwise::emit_into(at, &e, &operands, &shape, (DType::F32, Layout::Rows4), made.buffer)?;
    Ok(made)
}
