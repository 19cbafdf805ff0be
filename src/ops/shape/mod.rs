//! Shapes and data movement: on the GPU mostly views, which cost nothing.

pub mod blocks;
pub mod concat;
pub mod constant;
pub mod dropout;
pub mod expand;
pub mod eye_like;
pub mod gather;
pub mod generate;
pub mod one_hot;
pub mod pad;
pub mod reshape;
pub mod scatter;
pub mod shape_of;
pub mod slice;
pub mod split;
pub mod transpose;
pub mod trilu;

use crate::base::{Fact, Unsupported, View};
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::tensor::DType;

/// Errors where indices are of another type than ONNX gives them.
fn index_type(indices: &Fact) -> Result<()> {
    match indices.dtype {
        DType::I32 | DType::I64 => Ok(()),
        other => Err(Error::model(format!("its indices are {other}; int32 or int64 are allowed"))
            .of_input(1)
            .remedy("cast them to int64")),
    }
}

/// Makes output 0 a view of `view` in another shape of as many elements; a copy only where strides can't
/// express it.
pub fn alias_reshaped(at: &mut dyn Lowering, view: View, shape: &[usize]) -> Result<(), Unsupported> {
    let reshaped = match view.reshaped(shape) {
        Some(reshaped) => reshaped,
        // Nothing is read through a view of no elements.
        None if view.count() == 0 && shape.contains(&0) => {
            View { shape: shape.to_vec(), strides: vec![0; shape.len()], offset: 0, ..view }
        }
        None => at.reshaped(view, shape, "a shape of another size")?,
    };
    at.alias(0, reshaped);
    Ok(())
}
