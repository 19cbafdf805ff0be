//! How elements of any number type are ordered: what picks extremes, and sorts.

use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor};

/// A key for each element: keys compare as the elements do. −0 equals 0; NaN ranks above every number.
pub fn keys(tensor: &Tensor) -> Result<Vec<i64>> {
    match tensor.dtype() {
        DType::U64 => Ok(tensor.as_slice::<u64>()?.iter().map(|&x| (x ^ 1 << 63) as i64).collect()),
        dtype if dtype.is_integer() || dtype == DType::Bool => tensor.to_i64s(),
        dtype if dtype.is_float() => Ok(tensor.to_f64s()?.into_iter().map(float_key).collect()),
        dtype => Err(Error::unsupported(format!("the order of {dtype} elements"))),
    }
}

fn float_key(x: f64) -> i64 {
    if x.is_nan() {
        return i64::MAX;
    }
    // Adding 0 makes −0 positive. Negative numbers' bits grow with their magnitude.
    let bits = (x + 0.0).to_bits() as i64;
    if bits < 0 { i64::MIN - bits } else { bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_order() {
        let list =
            [f64::NEG_INFINITY, -2.0, -1e-300, 0.0, 1e-300, 1.0, f64::INFINITY, f64::NAN].map(float_key);
        assert!(list.is_sorted() && list.windows(2).all(|pair| pair[0] != pair[1]), "{list:?}");
        assert_eq!(float_key(-0.0), float_key(0.0));
    }
}
