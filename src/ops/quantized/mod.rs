//! Quantised numbers: between floats and integers, and products and convolutions of integers.

pub mod accumulate;
mod by_floats;
pub mod conv_integer;
pub mod dequantize_linear;
pub mod dynamic_quantize_linear;
pub mod gather_block_quantized;
pub mod granularity;
mod lower;
pub mod matmul_integer;
pub mod matmul_integer_to_float;
pub mod qlinear_conv;
mod qlinear_conv_in_bytes;
pub mod qlinear_matmul;
pub mod quantize_linear;
pub mod requantize;

use crate::tensor::DType;

/// The ends of an integer type that numbers are quantised to.
pub fn ends(dtype: DType) -> Option<(f64, f64)> {
    Some(match dtype {
        DType::U8 => (0.0, 255.0),
        DType::I8 => (-128.0, 127.0),
        DType::U16 => (0.0, 65535.0),
        DType::I16 => (-32768.0, 32767.0),
        DType::U4 => (0.0, 15.0),
        DType::I4 => (-8.0, 7.0),
        DType::U2 => (0.0, 3.0),
        DType::I2 => (-2.0, 1.0),
        _ => return None,
    })
}
