//! ONNX element types and the Rust types that hold them.

use half::{bf16, f16};
use std::fmt;

/// An element type, by [ONNX's numbering](https://onnx.ai/onnx/api/classes.html#tensorproto).
///
/// A host tensor holds each element in whole bytes: 4-bit and 2-bit kinds take one byte an element
/// (sign-extended for the signed ones).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DType {
    /// `float32`.
    F32,
    /// `uint8`.
    U8,
    /// `int8`.
    I8,
    /// `uint16`.
    U16,
    /// `int16`.
    I16,
    /// `int32`.
    I32,
    /// `int64`.
    I64,
    /// Text, UTF-8.
    String,
    /// bool, a byte of 0 or 1.
    Bool,
    /// `float16`.
    F16,
    /// `float64`.
    F64,
    /// `uint32`.
    U32,
    /// `uint64`.
    U64,
    /// bfloat16: float32's range with 8 bits of precision.
    BF16,
    /// 8-bit float with 4 bits of exponent, without infinities.
    F8E4M3FN,
    /// The same without a negative zero.
    F8E4M3FNUZ,
    /// 8-bit float with 5 bits of exponent.
    F8E5M2,
    /// The same without infinities and a negative zero.
    F8E5M2FNUZ,
    /// `uint4`.
    U4,
    /// `int4`.
    I4,
    /// 4-bit float with 2 bits of exponent.
    F4E2M1,
    /// A power of two as its 8 bits of exponent.
    F8E8M0,
    /// `uint2`.
    U2,
    /// `int2`.
    I2,
}

const TABLE: &[(DType, i32, &str, usize)] = &[
    (DType::F32, 1, "float32", 4),
    (DType::U8, 2, "uint8", 1),
    (DType::I8, 3, "int8", 1),
    (DType::U16, 4, "uint16", 2),
    (DType::I16, 5, "int16", 2),
    (DType::I32, 6, "int32", 4),
    (DType::I64, 7, "int64", 8),
    (DType::String, 8, "string", 24),
    (DType::Bool, 9, "bool", 1),
    (DType::F16, 10, "float16", 2),
    (DType::F64, 11, "float64", 8),
    (DType::U32, 12, "uint32", 4),
    (DType::U64, 13, "uint64", 8),
    (DType::BF16, 16, "bfloat16", 2),
    (DType::F8E4M3FN, 17, "float8e4m3fn", 1),
    (DType::F8E4M3FNUZ, 18, "float8e4m3fnuz", 1),
    (DType::F8E5M2, 19, "float8e5m2", 1),
    (DType::F8E5M2FNUZ, 20, "float8e5m2fnuz", 1),
    (DType::U4, 21, "uint4", 1),
    (DType::I4, 22, "int4", 1),
    (DType::F4E2M1, 23, "float4e2m1", 1),
    (DType::F8E8M0, 24, "float8e8m0", 1),
    (DType::U2, 25, "uint2", 1),
    (DType::I2, 26, "int2", 1),
];

impl DType {
    fn row(self) -> &'static (DType, i32, &'static str, usize) {
        // The table is in the order of the enum: a test holds it to that.
        &TABLE[self as usize]
    }
    /// The type with ONNX's number, if this version holds it (complex numbers are not held).
    pub fn from_onnx(number: i32) -> Option<Self> {
        TABLE.iter().find(|row| row.1 == number).map(|row| row.0)
    }
    /// ONNX's number of the type.
    pub fn onnx(self) -> i32 {
        self.row().1
    }
    /// numpy's name of the type where it has one, else ONNX's in lower case.
    pub fn name(self) -> &'static str {
        self.row().2
    }
    /// Bytes that an element takes in a host tensor.
    pub fn size(self) -> usize {
        self.row().3
    }
    /// Bits that an element takes in a file, where they are fewer than 8.
    pub fn packed_bits(self) -> Option<usize> {
        match self {
            DType::U4 | DType::I4 | DType::F4E2M1 => Some(4),
            DType::U2 | DType::I2 => Some(2),
            _ => None,
        }
    }
    /// float64, float32, float16 and bfloat16: the types that operators compute in.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F64 | DType::F32 | DType::F16 | DType::BF16)
    }
    /// bfloat16 and the floats of 8 and 4 bits: nothing is computed in them, they widen to float32 first.
    pub fn is_small_float(self) -> bool {
        use DType::*;
        self.is_narrow_float() || matches!(self, BF16 | F8E8M0)
    }
    /// The floats of 8 and 4 bits with a sign and a mantissa: what numbers are quantised to without rounding to
    /// whole ones.
    pub fn is_narrow_float(self) -> bool {
        use DType::*;
        matches!(self, F8E4M3FN | F8E4M3FNUZ | F8E5M2 | F8E5M2FNUZ | F4E2M1)
    }
    /// Integers of 8 to 64 bits.
    pub fn is_integer(self) -> bool {
        use DType::*;
        matches!(self, I8 | I16 | I32 | I64 | U8 | U16 | U32 | U64)
    }
    /// Floats and integers as above.
    pub fn is_number(self) -> bool {
        self.is_float() || self.is_integer()
    }
    /// The distance from 1 to the next number up: the unit of every tolerance. Zero for types that are exact.
    pub fn epsilon(self) -> f64 {
        match self {
            DType::F64 => f64::EPSILON,
            DType::F32 => f32::EPSILON as f64,
            DType::F16 => f16::EPSILON.to_f64(),
            DType::BF16 => bf16::EPSILON.to_f64(),
            _ => 0.0,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A bool as a host tensor holds it: one byte, 0 or 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(transparent)]
pub struct Boolean(u8);

impl From<bool> for Boolean {
    fn from(value: bool) -> Self {
        Self(value as u8)
    }
}
impl Boolean {
    /// The bool that it is.
    pub fn get(self) -> bool {
        self.0 != 0
    }
}

/// A Rust type that is the element of a host tensor.
pub trait Element: bytemuck::Pod + Default + PartialEq + Send + Sync + fmt::Debug {
    /// The element type that it holds.
    const DTYPE: DType;
}

macro_rules! elements {
    ($($rust:ty => $dtype:ident),*) => { $(impl Element for $rust { const DTYPE: DType = DType::$dtype; })* };
}
elements!(f64 => F64, f32 => F32, f16 => F16, bf16 => BF16, i8 => I8, i16 => I16, i32 => I32, i64 => I64,
          u8 => U8, u16 => U16, u32 => U32, u64 => U64, Boolean => Bool);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_enum() {
        for (index, row) in TABLE.iter().enumerate() {
            assert_eq!(row.0 as usize, index, "{}", row.2);
            assert_eq!(DType::from_onnx(row.1), Some(row.0));
        }
    }
}
