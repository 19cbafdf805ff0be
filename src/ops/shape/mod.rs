//! Shapes and data movement: on the GPU mostly views, which cost nothing.

pub mod bit_cast;
pub mod blocks;
pub mod center_crop_pad;
pub mod compress;
pub mod concat;
pub mod constant;
pub mod dropout;
pub mod expand;
pub mod eye_like;
pub mod gather;
pub mod generate;
pub mod non_zero;
pub mod one_hot;
pub mod pad;
pub mod reshape;
pub mod reverse_sequence;
pub mod scatter;
pub mod shape_of;
pub mod slice;
pub mod split;
pub mod tensor_scatter;
pub mod transpose;
pub mod trilu;
pub mod unique;

use crate::base::Fact;
use crate::error::{Error, Result};
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
