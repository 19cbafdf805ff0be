//! An expression of several types over many elements, a slab of rows at a time: what its steps make in between,
//! and operands that broadcast, then take no more memory than a slab, which stays in cache.

use super::Pointwise;
use crate::base::EvalPrecision;
use crate::error::{Error, Result};
use crate::tensor::index::{broadcast_strides, strides};
use crate::tensor::{DType, Element, Tensor, element_count, pool, zeros};
use crate::threads::{Elements, try_parallel_for};
use std::ops::Range;

/// Elements of a slab: one thread makes it.
const SLAB: usize = 1 << 14;
/// Fewer elements are made at once.
const FEWEST: usize = 1 << 16;

/// How a result is cut: the rows of one axis, whose elements lie together.
struct Slabs<'a> {
    expression: &'a Pointwise,
    operands: &'a [&'a Tensor],
    shape: &'a [usize],
    /// Each operand's strides over the whole shape.
    strides: Vec<Vec<usize>>,
    axis: usize,
    /// Elements of a row, rows of a slab, and slabs of the axis.
    row: usize,
    rows: usize,
    each: usize,
    mode: EvalPrecision,
}

/// The expression over operands that broadcast to `shape`. `None`: it is small, or has no rows to cut.
pub(super) fn eval(
    expression: &Pointwise,
    operands: &[&Tensor],
    shape: &[usize],
    mode: EvalPrecision,
) -> Result<Option<Tensor>> {
    let count = element_count(shape)?;
    if count < FEWEST
        || expression.is_identity()
        || operands.iter().any(|operand| operand.dtype() == DType::String)
    {
        return Ok(None);
    }
    let types: Vec<DType> = operands.iter().map(|operand| operand.dtype()).collect();
    // An expression without a type says so where it is evaluated.
    let Ok(dtype) = expression.result_type(&types) else { return Ok(None) };
    // The last axis of which the rows behind it don't fill a slab.
    let (mut axis, mut row) = (shape.len(), 1);
    while row < SLAB && axis > 0 {
        axis -= 1;
        if row * shape[axis] >= SLAB {
            break;
        }
        row *= shape[axis];
    }
    let rows = (SLAB / row).max(1);
    let own = |operand: &&Tensor| broadcast_strides(operand.shape(), &strides(operand.shape()), shape);
    let strides = operands.iter().map(own).collect();
    let each = shape[axis].div_ceil(rows);
    let slabs = Slabs { expression, operands, shape, strides, axis, row, rows, each, mode };
    match mode.of(dtype) {
        DType::F32 => {
            let mut to = pool::unset(count)?;
            slabs.fill::<f32>(&mut to)?;
            Tensor::floats(shape, to).map(Some)
        }
        DType::Bool => slabs.all::<crate::tensor::Boolean>(count),
        DType::F64 => slabs.all::<f64>(count),
        DType::I32 => slabs.all::<i32>(count),
        DType::I64 => slabs.all::<i64>(count),
        DType::U8 => slabs.all::<u8>(count),
        DType::I8 => slabs.all::<i8>(count),
        _ => Ok(None),
    }
}

impl Slabs<'_> {
    fn all<T: Element>(&self, count: usize) -> Result<Option<Tensor>> {
        let mut to: Vec<T> = zeros(count)?;
        self.fill(&mut to)?;
        Tensor::new(self.shape, to).map(Some)
    }

    fn fill<T: Element>(&self, to: &mut [T]) -> Result<()> {
        let (count, all) = (to.len(), Elements(to.as_mut_ptr()));
        let outer: usize = self.shape[..self.axis].iter().product();
        try_parallel_for(outer * self.each, |index| {
            let (place, made) = self.slab(index)?;
            let made = made.as_slice::<T>()?;
            if made.len() != place.len() || place.end > count {
                return Err(Error::internal("a slab of another size"));
            }
            // SAFETY: the place lies inside, and slabs don't overlap.
            unsafe { std::slice::from_raw_parts_mut(all.at(place.start), made.len()) }.copy_from_slice(made);
            Ok(())
        })
    }

    /// A slab, and the elements of the result that it is.
    fn slab(&self, index: usize) -> Result<(Range<usize>, Tensor)> {
        let (outer, first) = (index / self.each, index % self.each * self.rows);
        let rows = self.rows.min(self.shape[self.axis] - first);
        let start = (outer * self.shape[self.axis] + first) * self.row;
        let mut shape = self.shape[self.axis..].to_vec();
        shape[0] = rows;
        let given = self.operands.iter().zip(&self.strides).map(|(operand, own)| {
            if operand.len() == 1 {
                return Ok((*operand).clone());
            }
            let (mut rest, mut offset) = (outer, first * own[self.axis]);
            for axis in (0..self.axis).rev() {
                offset += rest % self.shape[axis] * own[axis];
                rest /= self.shape[axis];
            }
            operand.strided(shape.clone(), &own[self.axis..], offset)
        });
        let given = given.collect::<Result<Vec<Tensor>>>()?;
        let made = self.expression.eval(&given.iter().collect::<Vec<_>>(), self.mode)?;
        Ok((start..start + rows * self.row, made))
    }
}
