//! Sums of products of quantised numbers less their zero points: exact, in float64 where each is small, and
//! wrapped to int32.

use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::cpu_kernels::integer::{self, Matrix};
use crate::cpu_kernels::panels::Packed;
use crate::error::{Error, Result};
use crate::expression::{Pointwise, table};
use crate::ops::Operator;
use crate::ops::matrix::matmul::MatMul;
use crate::ops::nn::conv::{Conv, sources};
use crate::tensor::{DType, Tensor, allocate, cast, element_count, zeros};

/// What zero points and scales that come one for each are along.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Along {
    Rows,
    Columns,
    /// The first axis: the output channels of weights.
    Filters,
}

/// A list as it lines up with a tensor of so many axes; other shapes as they are.
pub fn aligned(list: &[usize], rank: usize, along: Along) -> Vec<usize> {
    let behind = match along {
        Along::Rows => 1,
        Along::Columns => 0,
        Along::Filters => rank.saturating_sub(1),
    };
    match list {
        [1] => vec![],
        [count] if rank > 1 || along == Along::Filters => {
            std::iter::once(*count).chain(std::iter::repeat_n(1, behind)).collect()
        }
        other => other.to_vec(),
    }
}

/// Errors where a zero point has another type, or doesn't go along with the elements.
pub fn check(x: &Fact, zero: Option<&Fact>, along: Along, what: &str) -> Result<()> {
    let Some(zero) = zero else { return Ok(()) };
    if zero.dtype != x.dtype {
        return Err(Error::model(format!("{what} is {}, its zero point {}", x.dtype, zero.dtype)));
    }
    fits(&x.shape, &zero.shape, along, what)
}

/// The same of a scale's or zero point's shape alone.
pub fn fits(x: &[usize], given: &[usize], along: Along, what: &str) -> Result<()> {
    let shape = aligned(given, x.len(), along);
    match crate::tensor::index::broadcast(x, &shape) {
        Ok(all) if all == x => Ok(()),
        _ => Err(Error::model(format!("{what} has shape {x:?}: nothing of shape {given:?} goes along it"))),
    }
}

/// Elements less their zero points, in float64.
pub fn centred(x: &Tensor, zero: Option<&Tensor>, along: Along) -> Result<Tensor> {
    let wide = cast(x, DType::F64, true)?;
    let Some(zero) = zero else { return Ok(wide) };
    let zero = cast(zero, DType::F64, true)?.reshape(aligned(zero.shape(), x.rank(), along))?;
    Pointwise::of(&table::SUB, 2, &[]).eval(&[&wide, &zero], EvalPrecision::Declared)
}

/// Whole numbers of float64 as int32, wrapped.
fn wrapped(sums: &Tensor) -> Result<Tensor> {
    let mut list = allocate(sums.len())?;
    list.extend(sums.as_slice::<f64>()?.iter().map(|&x| x as i64 as i32));
    Tensor::new(sums.shape(), list)
}

/// The shape of a product or a convolution of operands of these shapes.
pub fn shape(op: &dyn Operator, x: &[usize], w: &[usize]) -> Result<Vec<usize>, Infer> {
    let (x, w) = (Fact::new(DType::F64, x), Fact::new(DType::F64, w));
    let made = op.infer(Operands::new(&[Some(&x), Some(&w)]))?;
    Ok(made.into_iter().next().map(|fact| fact.shape).unwrap_or_default())
}

/// The shape of a matrix product of tensors of these shapes.
pub fn product_shape(a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
    shape(&matmul(), a, b).map_err(|problem| match problem {
        Infer::Error(error) => error,
        Infer::NeedsValue(_) | Infer::DependsOnData(_) => Error::internal("a product that needs a value"),
    })
}

/// The plain product of two centred tensors.
fn sums(op: &dyn Operator, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let made = op.eval(Operands::new(&[Some(a), Some(b)]), EvalPrecision::Oracle)?;
    made.into_iter().next().ok_or_else(|| Error::internal("a product without a result"))
}

pub fn matmul() -> MatMul {
    MatMul { epilogue: Pointwise::identity() }
}

/// `(a - a_zero) · (b - b_zero)` in float64: zero points along a's rows and b's columns.
pub fn product(a: [Option<&Tensor>; 2], b: [Option<&Tensor>; 2]) -> Result<Tensor> {
    let [Some(x), Some(y)] = [a[0], b[0]] else { return Err(Error::model("a factor is missing")) };
    sums(&matmul(), &centred(x, a[1], Along::Rows)?, &centred(y, b[1], Along::Columns)?)
}

/// The same as int32.
pub fn integer_product(a: [Option<&Tensor>; 2], b: [Option<&Tensor>; 2]) -> Result<Tensor> {
    wrapped(&product(a, b)?)
}

/// A convolution of `x - x_zero` by `w - w_zero`, as int32. What pads is zero then.
pub fn integer_convolution(conv: &Conv, x: [Option<&Tensor>; 2], w: [Option<&Tensor>; 2]) -> Result<Tensor> {
    let [Some(image), Some(weights)] = [x[0], w[0]] else { return Err(Error::model("an input is missing")) };
    wrapped(&sums(conv, &centred(image, x[1], Along::Filters)?, &centred(weights, w[1], Along::Filters)?)?)
}

/// Weights as [`convolved`] reads them: panels of each group. `None`: it has no form for them.
pub fn packed_filters(conv: &Conv, w: &Tensor) -> Result<Option<Packed>> {
    let [filters, rest @ ..] = w.shape() else { return Ok(None) };
    let k = element_count(rest)?;
    // A filter to a channel is no product.
    if conv.groups == 0 || filters / conv.groups < 2 || k == 0 {
        return Ok(None);
    }
    let own = filters / conv.groups;
    let groups = (0..conv.groups).map(|group| Matrix::pack(w, group * own * k, [k, own], [1, k]));
    Ok(groups.collect::<Result<Option<Vec<_>>>>()?.map(Packed::Integers))
}

/// [`integer_convolution`] by panels. `None`: there is no such form.
pub fn convolved(
    conv: &Conv,
    x: [Option<&Tensor>; 2],
    w: [Option<&Tensor>; 2],
    packed: Option<&Packed>,
) -> Result<Option<Tensor>> {
    let [Some(image), Some(weights)] = [x[0], w[0]] else { return Ok(None) };
    let own = if packed.is_none() { packed_filters(conv, weights)? } else { None };
    let Some(Packed::Integers(matrices)) = packed.or(own.as_ref()) else { return Ok(None) };
    let geometry = conv.geometry(image.shape(), weights.shape(), None)?;
    let numbers = |zero: Option<&Tensor>| zero.map(Tensor::to_i64s).transpose();
    let (x_zero, w_zeros) = (numbers(x[1])?.unwrap_or_default(), numbers(w[1])?.unwrap_or_default());
    let zero = x_zero.first().copied().unwrap_or(0);
    let mut shape = vec![image.shape()[0], weights.shape()[0]];
    shape.extend(&geometry.output);
    let mut sums = zeros(element_count(&shape)?)?;
    let images = integer::Images {
        images: shape[0],
        groups: conv.groups,
        channels: image.shape()[1] / conv.groups,
        filters: shape[1] / conv.groups,
        sources: &sources(&geometry)?,
        area: [geometry.input.iter().product(), geometry.output.iter().product()],
    };
    if !images.convolve(image, zero, matrices, &w_zeros, &mut sums)? {
        return Ok(None);
    }
    Tensor::new(shape, sums).map(Some)
}
/// How far apart sums of so many products may lie, whose factors (inputs 0 and 3, less their zero points 2 and 5)
/// lie as far apart as `apart` says: by the largest magnitudes.
pub fn sums_apart(inputs: Operands<'_, Tensor>, terms: usize, apart: &dyn Fn(usize) -> f64) -> Result<f64> {
    let (x, w) = (apart(0) + apart(2), apart(3) + apart(5));
    if x == 0.0 && w == 0.0 {
        return Ok(0.0);
    }
    let most = |index: usize| -> Result<f64> {
        let Some(tensor) = inputs.optional(index) else { return Ok(0.0) };
        Ok(tensor.to_f64s()?.iter().filter(|x| x.is_finite()).fold(0.0, |most: f64, x| most.max(x.abs())))
    };
    let (of_x, of_w) = (most(0)? + most(2)?, most(3)? + most(5)?);
    Ok(terms as f64 * (x * of_w + w * of_x + x * w))
}
