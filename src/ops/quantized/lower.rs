//! Quantised numbers on the GPU: expressions over scales and zero points that lie along a tensor, exact sums
//! of integer products and convolutions, and their way back to quantised numbers.

use super::accumulate::{Along, aligned};
use super::by_floats;
use super::granularity::{Form, Granularity};
use super::requantize;
use crate::base::{BufferId, ElementFormat, EvalPrecision, Fact, Layout, Unsupported, View};
use crate::expression::{Arg, Pointwise, table};
use crate::kernels::matmul_integer::{self, Sizes, Zeros};
use crate::kernels::{Lowering, conv_nd, pointwise};
use crate::ops::matrix::matmul::shapes;
use crate::ops::nn::conv::Conv;
use crate::ops::nn::conv_nd::weights as conv_nd_weights;
use crate::tensor::{DType, Tensor, cast};

/// Emits output 0 as an expression of x, its scales and perhaps its zero points, inputs 0 to 2.
pub fn by_expression(
    at: &mut dyn Lowering,
    mut expression: Pointwise,
    granularity: &Granularity,
) -> Result<(), Unsupported> {
    let shape = at.fact(0)?.shape.clone();
    let form = granularity.form(&shape, &at.fact(1)?.shape)?;
    let x = at.view(0)?;
    let layout = if x.shape == shape { at.layout_of(&x) } else { Layout::Dense };
    let mut operands = vec![(x, at.fact(0)?.dtype)];
    let number = at.constant(1).filter(|scale| scale.len() == 1 && scale.dtype() == DType::F32);
    let number = number.map(Tensor::to_f64s).transpose()?.and_then(|list| list.first().copied());
    // A cast is of an operand.
    let plain = expression.steps.iter().all(|step| step.args[..] != [Arg::Operand(1)]);
    match number {
        Some(number) if plain => expression.bind(1, number),
        _ => {
            keeps_precision(at, 1)?;
            let view = at.view(1)?;
            operands.push((spread(at, form, &shape, view)?, at.fact(1)?.dtype));
        }
    }
    if at.has_input(2) {
        let view = at.view(2)?;
        operands.push((spread(at, form, &shape, view)?, at.fact(2)?.dtype));
    }
    pointwise::emit_output(at, &expression, &operands, 0, layout)
}

/// No precision rounds a scale: an error where the device would hold one of float32 as another number.
fn keeps_precision(at: &dyn Lowering, index: usize) -> Result<(), Unsupported> {
    if !at.is_narrowed(at.fact(index)?.dtype)? {
        return Ok(());
    }
    let held = |scale: &Tensor| -> crate::error::Result<bool> {
        let half = cast(&cast(scale, DType::F16, true)?, DType::F32, true)?;
        Ok(half.to_f64s()? == scale.to_f64s()?)
    };
    match at.constant(index).map(held).transpose()? {
        Some(true) => Ok(()),
        _ => Err(Unsupported::new("scales of float32 that are held as float16")),
    }
}

/// Scales or zero points as a view that broadcasts to a tensor of shape `x`.
fn spread(at: &mut dyn Lowering, form: Form, x: &[usize], view: View) -> Result<View, Unsupported> {
    if let Some(shape) = form.shape(x.len(), view.count()) {
        return at.reshaped(view, &shape, "scales that lie apart");
    }
    let Form::Blocks { axis, block } = form else { return Ok(view) };
    // Each of a block's own, side by side; the last block may be cut short.
    let (mut shape, mut strides) = (view.shape.clone(), view.strides.clone());
    shape.insert(axis + 1, block);
    strides.insert(axis + 1, 0);
    let mut whole = x.to_vec();
    whole[axis] = view.shape[axis].saturating_mul(block);
    let wide = View { shape, strides, ..view };
    let all = at.in_layout(wide, Layout::Dense)?.reshaped_or(&whole, "scales of blocks")?;
    Ok(View { shape: x.to_vec(), ..all })
}

/// The view of an input that has a list of zero points, or `None` where it is left out.
fn zeros(at: &mut dyn Lowering, index: usize) -> Result<Option<View>, Unsupported> {
    if at.has_input(index) { at.view(index).map(Some) } else { Ok(None) }
}

/// Errors where elements aren't integers of at most 32 bits.
fn whole(at: &dyn Lowering, index: usize) -> Result<(), Unsupported> {
    let dtype = at.fact(index)?.dtype;
    match at.storage(dtype)? {
        ElementFormat::I32 => Ok(()),
        _ => Err(Unsupported::new(format!("sums of products of {dtype}"))),
    }
}

/// The product of two inputs less their zero points (data, zero points) as int32, in the result's shape.
pub fn product(at: &mut dyn Lowering, a: [usize; 2], b: [usize; 2]) -> Result<View, Unsupported> {
    whole(at, a[0])?;
    whole(at, b[0])?;
    if let Some(made) = by_floats::product(at, a, b)? {
        return Ok(made);
    }
    let (a_rank, b_rank) = (at.fact(a[0])?.rank(), at.fact(b[0])?.rank());
    let s = shapes(&at.fact(a[0])?.shape, &at.fact(b[0])?.shape)?;
    let ones = |shape: &[usize]| shape[..shape.len() - 2].iter().all(|&size| size == 1);
    let products: usize = s.batch.iter().product();
    // One B for all of A: a tall matrix.
    let (one_b, one_a) = (ones(&s.b), ones(&s.a) && !ones(&s.b));
    let sizes = if one_b {
        Sizes { batch: 1, m: products.saturating_mul(s.m), n: s.n, k: s.k }
    } else {
        Sizes { batch: products, m: s.m, n: s.n, k: s.k }
    };
    let with = |batch: &[usize], own: &[usize]| [batch, own].concat();
    let a_batch = if one_a { s.a[..s.a.len() - 2].to_vec() } else { s.batch.clone() };
    let b_batch = if one_b { s.b[..s.b.len() - 2].to_vec() } else { s.batch.clone() };

    let view = at.view(a[0])?;
    let left = at.reshaped(view, &s.a, "a factor")?.broadcast(&with(&a_batch, &[s.m, s.k]));
    let left = at.in_layout(left, Layout::Rows4)?.buffer;
    let view = at.view(b[0])?;
    let right = at.reshaped(view, &s.b, "a factor")?.broadcast(&with(&b_batch, &[s.k, s.n]));
    let right = at.in_layout(right, Layout::Rows4)?.buffer;

    let along = |at: &mut dyn Lowering, index: usize, along: Along, rank: usize, target: Vec<usize>| {
        let Some(view) = zeros(at, index)? else { return Ok(Zeros::None) };
        if view.count() == 1 {
            return Ok(Zeros::One(at.in_layout(view, Layout::Dense)?.buffer));
        }
        let shape = aligned(&view.shape, rank, along);
        let apart = || Unsupported::new(format!("zero points of shape {shape:?}"));
        let fits = crate::tensor::index::broadcast(&shape, &target).is_ok_and(|all| all == target);
        if !fits {
            return Err(apart());
        }
        let view = at.reshaped(view, &shape, "zero points that lie apart")?.broadcast(&target);
        let layout = if along == Along::Rows { Layout::Dense } else { Layout::Rows4 };
        Ok(Zeros::Each(at.in_layout(view, layout)?.buffer))
    };
    let rows = along(at, a[1], Along::Rows, a_rank, with(&a_batch, &[s.m, 1]))?;
    let columns = along(at, b[1], Along::Columns, b_rank, with(&b_batch, &[1, s.n]))?;

    let made = Fact::new(DType::I32, vec![sizes.batch.saturating_mul(sizes.m), s.n]);
    let output = at.scratch(&made, Layout::Rows4)?;
    matmul_integer::emit(at, sizes, [left, right], [one_a, one_b], [rows, columns], output.buffer)?;
    output.reshaped_or(&s.result, "a product")
}

/// A convolution of inputs less their zero points (data, zero points) as int32 with its bias, channels
/// innermost.
pub fn convolution(
    at: &mut dyn Lowering,
    conv: &Conv,
    x: [usize; 2],
    w: [usize; 2],
    bias: Option<usize>,
) -> Result<View, Unsupported> {
    whole(at, x[0])?;
    whole(at, w[0])?;
    let (image, weights) = (at.fact(x[0])?.shape.clone(), at.fact(w[0])?.shape.clone());
    let geometry = conv.geometry(&image, &weights, None)?;
    let channels = conv_nd::Channels {
        images: image[0],
        input: image[1],
        output: weights[0],
        groups: conv.groups,
        transposed: false,
    };
    let operands = [at.input(x[0], Layout::ChannelsLast4)?.buffer, conv_nd_weights(at, w[0])?];
    let dense = |at: &mut dyn Lowering, view: View| -> Result<BufferId, Unsupported> {
        Ok(at.in_layout(view, Layout::Dense)?.buffer)
    };
    let input_zero = zeros(at, x[1])?.map(|view| dense(at, view)).transpose()?;
    let weight_zeros = match zeros(at, w[1])? {
        None => None,
        Some(view) => {
            let one = view.count() == 1;
            if !one && view.shape != [weights[0]] {
                return Err(Unsupported::new(format!("zero points of shape {:?}", view.shape)));
            }
            Some((dense(at, view)?, one))
        }
    };
    let bias = bias.map(|index| at.input(index, Layout::Dense).map(|view| view.buffer)).transpose()?;
    let shape = [&[image[0], weights[0]], &geometry.output[..]].concat();
    let sums = at.scratch(&Fact::new(DType::I32, shape), Layout::ChannelsLast4)?;
    let extras = conv_nd::Extras { bias, input_zero, weight_zeros };
    conv_nd::emit(at, ElementFormat::I32, &geometry, channels, operands, extras, sums.buffer)?;
    Ok(sums)
}

/// Emits output 0 from its sums: inputs of the scales of both factors and of the result, in shapes that line
/// up with it, and of its zero point.
pub fn requantized(
    at: &mut dyn Lowering,
    sums: View,
    scales: [usize; 3],
    shapes: &[Vec<usize>; 3],
    zero: usize,
) -> Result<(), Unsupported> {
    let made = at.output_fact(0)?.dtype;
    let (dtype, own) = (at.fact(scales[0])?.dtype, at.layout_of(&sums));
    let layout = if own == Layout::Rows4 { Layout::Dense } else { own };
    let known = scales.map(|index| at.constant(index).cloned());
    let mut operands = vec![(sums, DType::I32)];
    let expression = match known {
        [Some(a), Some(b), Some(y)] if dtype != DType::F64 => {
            let both = Pointwise::of(&table::MUL, 2, &[]);
            let over = Pointwise::of(&table::DIV, 2, &[]);
            let wide = |scale: &Tensor, shape: &[usize]| cast(scale, DType::F32, true)?.reshape(shape);
            let product =
                both.eval(&[&wide(&a, &shapes[0])?, &wide(&b, &shapes[1])?], EvalPrecision::Declared)?;
            let factor = over.eval(&[&product, &wide(&y, &shapes[2])?], EvalPrecision::Declared)?;
            let mut expression = requantize::by_factor(made);
            if factor.len() == 1 {
                let number = factor.to_f64s()?;
                expression.bind(1, number.first().copied().unwrap_or(1.0));
            } else if !at.is_narrowed(DType::F32)? {
                operands.push((at.table("a multiplier", factor)?, DType::F32));
            } else {
                return Err(Unsupported::new("scales of float32 that are held as float16"));
            }
            expression
        }
        _ => {
            for (index, shape) in scales.into_iter().zip(shapes) {
                keeps_precision(at, index)?;
                let view = at.view(index)?;
                operands.push((at.reshaped(view, shape, "scales that lie apart")?, dtype));
            }
            requantize::formula(dtype, made, requantize::Beyond::default())
        }
    };
    let view = at.view(zero)?;
    operands.push((at.reshaped(view, &[], "a zero point")?, at.fact(zero)?.dtype));
    pointwise::emit_output(at, &expression, &operands, 0, layout)
}
