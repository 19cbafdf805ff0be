//! Casts.

use super::grow::Grower;
use super::proto::int;
use sardonyx::DType;

/// The numbers that an integer type holds.
pub fn range(dtype: DType) -> (f64, f64) {
    let bits = 8 * dtype.size() as i32;
    match dtype {
        DType::I8 | DType::I16 | DType::I32 | DType::I64 => {
            (-(2f64.powi(bits - 1)), 2f64.powi(bits - 1) * (1.0 - f64::EPSILON) - 1.0)
        }
        _ => (0.0, 2f64.powi(bits) * (1.0 - f64::EPSILON) - 1.0),
    }
}

/// To another type: floats become integers within their range, mostly.
pub fn any(at: &mut Grower) -> Option<()> {
    let x = at.find(|_| true)?;
    let to = match at.draw.below(12) {
        0 => at.draw.pick(&[DType::BF16, DType::F64, DType::F8E4M3FN, DType::F8E5M2]),
        _ => at.draw.dtype(),
    };
    converted(at, &x, to).map(drop)
}

pub fn converted(at: &mut Grower, x: &str, to: DType) -> Option<String> {
    let from = at.dtype(x);
    if to.is_integer() && (from.is_float() || from.is_small_float()) {
        let (low, high) = range(to);
        let inside = at.tensor(x).to_f64s().ok()?.iter().all(|x| (low..=high).contains(&x.trunc()));
        if !inside {
            if !at.draw.one_in(3) {
                return None;
            }
            at.portable = false;
        }
    }
    let number = to.onnx() as i64;
    let made = at.one("Cast", &[x], vec![int("to", number)])?;
    // Nothing is computed in the small ones.
    if to.is_small_float() && !at.draw.one_in(3) {
        return at.one("Cast", &[&made], vec![int("to", DType::F32.onnx() as i64)]);
    }
    Some(made)
}
