//! Images `[n, c, h, w]` with channels innermost, `[n, h, w, c]`.

use crate::error::{Error, Result};
use crate::tensor::Tensor;
use crate::tensor::index::strides;

/// The order of axes that takes `[n, c, h, w]` to `[n, h, w, c]`, and the one back.
pub const TO_LAST: [usize; 4] = [0, 2, 3, 1];
pub const TO_FIRST: [usize; 4] = [0, 3, 1, 2];

/// A tensor of rank 4 with its axes in another order.
pub fn permuted(tensor: &Tensor, order: [usize; 4]) -> Result<Tensor> {
    let shape = tensor.shape();
    if shape.len() != 4 {
        return Err(Error::internal(format!("a tensor of shape {shape:?} is no image")));
    }
    let own = strides(shape);
    tensor.strided(order.map(|axis| shape[axis]), &order.map(|axis| own[axis]), 0)
}
