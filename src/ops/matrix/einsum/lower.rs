//! Einsum on the GPU: factors as views by the equation's indices, products two at a time, sums of the rest.
//!
//! A diagonal is a view, and so is a transpose. What two factors share and nobody else needs is the length of
//! a matrix product.

use super::{Einsum, Resolved};
use crate::base::{ElementFormat, Layout, Reduction, Unsupported, View};
use crate::expression::{Pointwise, table};
use crate::kernels::{Lowering, matmul, pointwise, reduce};
use crate::ops::Lower;
use crate::tensor::DType;

/// Axes of a tensor in the order of the equation's indices, those that it lacks of size 1.
fn placed(resolved: &Resolved, input: usize, view: &View) -> View {
    let axes = &resolved.axes[input];
    let shape = axes.iter().zip(&resolved.sizes).map(|(axes, &size)| if axes.is_empty() { 1 } else { size });
    let strides = axes.iter().map(|axes| axes.iter().map(|&axis| view.strides[axis]).sum());
    View { shape: shape.collect(), strides: strides.collect(), ..*view }
}

/// The indices of a factor, or those that a product sums over.
fn chosen(count: usize, of: impl Fn(usize) -> bool) -> Vec<usize> {
    (0..count).filter(|&index| of(index)).collect()
}

/// A product of factors whose axes are the equation's indices.
struct Contraction<'a> {
    at: &'a mut dyn Lowering,
    dtype: DType,
    storage: ElementFormat,
}

impl Contraction<'_> {
    /// The sum over some indices.
    fn summed(&mut self, factor: View, over: &[usize]) -> Result<View, Unsupported> {
        if over.is_empty() {
            return Ok(factor);
        }
        reduce::reduced(self.at, Reduction::Sum, self.dtype, factor, over)
    }

    /// The product of two factors, summed over the indices that aren't `needed`.
    fn product(&mut self, a: View, b: View, needed: &[bool]) -> Result<View, Unsupported> {
        let count = needed.len();
        let (wide_a, wide_b) = (a.shape.clone(), b.shape.clone());
        let (of_a, of_b) = (|index: usize| wide_a[index] > 1, |index: usize| wide_b[index] > 1);
        // What one factor alone has and nobody needs goes first.
        let a = self.summed(a, &chosen(count, |index| of_a(index) && !of_b(index) && !needed[index]))?;
        let b = self.summed(b, &chosen(count, |index| of_b(index) && !of_a(index) && !needed[index]))?;
        let both = chosen(count, |index| of_a(index) && of_b(index) && !needed[index]);
        let whole: Vec<usize> = (0..count).map(|index| a.shape[index].max(b.shape[index])).collect();
        if both.is_empty() || !self.storage.is_float() {
            let elements = whole.iter().fold(1usize, |all, &size| all.saturating_mul(size));
            if elements > MOST_PRODUCTS && !both.is_empty() {
                return Err(Unsupported::new(format!("{elements} products of {}", self.dtype)));
            }
            let operands = [(a, self.dtype), (b, self.dtype)];
            let times = Pointwise::of(&table::MUL, 2, &[]);
            let (made, _) = pointwise::computed(self.at, &times, &operands, &whole)?;
            return self.summed(made, &both);
        }
        let batch = chosen(count, |index| of_a(index) && of_b(index) && needed[index]);
        let rows = chosen(count, |index| of_a(index) && !of_b(index) && needed[index]);
        let columns = chosen(count, |index| of_b(index) && !of_a(index) && needed[index]);
        let sizes = |list: &[usize]| -> Vec<usize> { list.iter().map(|&index| whole[index]).collect() };
        let product = |list: &[usize]| sizes(list).iter().product::<usize>();
        let (m, n, k) = (product(&rows), product(&columns), product(&both));
        let left = a.permuted(&[&batch[..], &rows, &both].concat());
        let right = b.permuted(&[&batch[..], &both, &columns].concat());
        let outer = sizes(&batch);
        let left = self.at.reshaped(left, &[&outer[..], &[m, k]].concat(), "a factor of no elements")?;
        let right = self.at.reshaped(right, &[&outer[..], &[k, n]].concat(), "a factor of no elements")?;
        let made = matmul::computed(self.at, self.dtype, [left, right], &outer, [m, n, k])?;
        // Back to the order of the indices.
        let order = [&batch[..], &rows, &columns].concat();
        let made = made.reshaped_or(&sizes(&order), "a product")?;
        let mut view = View { shape: vec![1; count], strides: vec![0; count], ..made };
        for (axis, &index) in order.iter().enumerate() {
            (view.shape[index], view.strides[index]) = (made.shape[axis], made.strides[axis]);
        }
        Ok(view)
    }
}

/// Products of integers that may lie side by side before they are summed.
const MOST_PRODUCTS: usize = 1 << 24;

impl Lower for Einsum {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let dtype = at.fact(0)?.dtype;
        let storage = at.storage(dtype)?;
        let mut views = vec![];
        for input in 0..at.input_count() {
            if at.fact(input)?.dtype != dtype {
                return Err(Unsupported::new("factors of several types"));
            }
            views.push(at.view(input)?);
        }
        let shapes: Vec<&[usize]> = views.iter().map(|view| &view.shape[..]).collect();
        let resolved = self.resolve(&shapes)?;
        if resolved.sizes.contains(&0) {
            return Err(Unsupported::new("sums of no elements"));
        }
        let count = resolved.sizes.len();
        let mut factors = views.iter().enumerate().map(|(input, view)| placed(&resolved, input, view));
        let mut all = factors.next().ok_or_else(|| Unsupported::new("no factors"))?;
        let mut contraction = Contraction { at, dtype, storage };
        for (next, factor) in factors.enumerate() {
            // Indices of the result, or of factors that follow.
            let later = |index: usize| resolved.axes[next + 2..].iter().any(|axes| !axes[index].is_empty());
            let needed: Vec<bool> = (0..count).map(|index| index < resolved.kept || later(index)).collect();
            all = contraction.product(all, factor, &needed)?;
        }
        let left = chosen(count, |index| index >= resolved.kept && all.shape[index] > 1);
        let mut result = contraction.summed(all, &left)?;
        result.shape.truncate(resolved.kept);
        result.strides.truncate(resolved.kept);
        // What was computed lies as it came out; what is only looked at stays where it is.
        let computed = views.iter().all(|view| view.buffer != result.buffer);
        let result = if computed { at.in_layout(result, Layout::Dense)? } else { result };
        at.alias(0, result);
        Ok(())
    }
}
