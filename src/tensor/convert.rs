//! Conversions between element types, by the rules of [ONNX's
//! Cast](https://onnx.ai/onnx/operators/onnx__Cast.html).

use super::half_store::round_to_odd;
use super::small_floats::{decode_small, encode_small};
use super::{Boolean, DType, Element, Tensor, allocate, pool, zeros};
use crate::error::{Error, Result};
use crate::threads::chunks;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// float32 and float64: what the reference operators are generic over.
pub trait Real:
    Element
    + PartialOrd
    + Copy
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::Neg<Output = Self>
    + std::ops::AddAssign
    + std::iter::Sum
    + 'static
{
    /// The nearest value of the type.
    fn of(value: f64) -> Self;
    /// The value, widened.
    fn f64(self) -> f64;
}
impl Real for f32 {
    fn of(value: f64) -> Self {
        value as f32
    }
    fn f64(self) -> f64 {
        self as f64
    }
}
impl Real for f64 {
    fn of(value: f64) -> Self {
        value
    }
    fn f64(self) -> f64 {
        self
    }
}

/// Calls `$body` with `$T` bound to the Rust type of a dtype; the last arm is for all others.
macro_rules! by_type {
    ($dtype:expr, $T:ident => $body:expr, _ => $other:expr) => {
        by_type!($dtype, $T, $body, $other, F16 f16, BF16 bf16, F64 f64, F32 f32, I8 i8, I16 i16, I32 i32, I64 i64, U8 u8, U16 u16, U32 u32, U64 u64)
    };
    ($dtype:expr, $T:ident, $body:expr, $other:expr, $($variant:ident $element:ty),*) => {
        match $dtype {
            $(DType::$variant => { type $T = $element; $body })*
            _ => $other
        }
    };
}

/// The same of the types that Rust has itself.
macro_rules! by_primitive {
    ($dtype:expr, $T:ident => $body:expr, _ => $other:expr) => {
        by_type!($dtype, $T, $body, $other, F64 f64, F32 f32, I8 i8, I16 i16, I32 i32, I64 i64, U8 u8, U16 u16, U32 u32, U64 u64)
    };
}

/// Any value on its way between types: integers stay exact.
#[derive(Clone, Copy)]
enum Wide {
    Integer(i128),
    Real(f64),
}

trait Number: Element {
    fn wide(self) -> Wide;
    fn narrow(value: Wide) -> Self;
    fn is_nonzero(self) -> bool {
        match self.wide() {
            Wide::Integer(x) => x != 0,
            Wide::Real(x) => x != 0.0,
        }
    }
}
macro_rules! integers { ($($t:ty),*) => { $(impl Number for $t {
    #[inline(always)]
    fn wide(self) -> Wide { Wide::Integer(self as i128) }
    // Integers wrap; a float outside the range saturates, as on every platform that matters, and NaN is 0.
    #[inline(always)]
    fn narrow(value: Wide) -> Self { match value { Wide::Integer(x) => x as $t, Wide::Real(x) => x as $t } }
})* } }
integers!(i8, i16, i32, i64, u8, u16, u32, u64);
impl Number for f64 {
    #[inline(always)]
    fn wide(self) -> Wide {
        Wide::Real(self)
    }
    #[inline(always)]
    fn narrow(value: Wide) -> Self {
        match value {
            Wide::Integer(x) => x as f64,
            Wide::Real(x) => x,
        }
    }
}
impl Number for f32 {
    #[inline(always)]
    fn wide(self) -> Wide {
        Wide::Real(self as f64)
    }
    #[inline(always)]
    fn narrow(value: Wide) -> Self {
        match value {
            Wide::Integer(x) => x as f32,
            Wide::Real(x) => x as f32,
        }
    }
}
impl Number for f16 {
    #[inline(always)]
    fn wide(self) -> Wide {
        Wide::Real(self.to_f64())
    }
    #[inline(always)]
    fn narrow(value: Wide) -> Self {
        f16::from_f32(round_to_odd(f64::narrow(value)))
    }
}
impl Number for bf16 {
    #[inline(always)]
    fn wide(self) -> Wide {
        Wide::Real(self.to_f64())
    }
    #[inline(always)]
    fn narrow(value: Wide) -> Self {
        bf16::from_f32(round_to_odd(f64::narrow(value)))
    }
}

fn widen(tensor: &Tensor) -> Result<Vec<Wide>> {
    let mut all = allocate(tensor.len())?;
    match tensor.dtype() {
        DType::Bool => {
            all.extend(tensor.as_slice::<Boolean>()?.iter().map(|b| Wide::Integer(b.get() as i128)))
        }
        DType::U4 | DType::U2 => all.extend(tensor.bytes().iter().map(|&b| Wide::Integer(b as i128))),
        DType::I4 | DType::I2 => all.extend(tensor.bytes().iter().map(|&b| Wide::Integer(b as i8 as i128))),
        DType::F8E4M3FN
        | DType::F8E4M3FNUZ
        | DType::F8E5M2
        | DType::F8E5M2FNUZ
        | DType::F4E2M1
        | DType::F8E8M0 => {
            all.extend(tensor.bytes().iter().map(|&b| Wide::Real(decode_small(tensor.dtype(), b))))
        }
        DType::String => {
            for text in tensor.as_strings()? {
                let value = text
                    .trim()
                    .parse::<f64>()
                    .map_err(|_| Error::input(format!("the string '{text}' is not a number")))?;
                all.push(
                    text.trim()
                        .parse::<i64>()
                        .map_or(Wide::Real(value), |whole| Wide::Integer(whole as i128)),
                );
            }
        }
        other => {
            by_type!(other, T => all.extend(tensor.as_slice::<T>()?.iter().map(|x| x.wide())), _ => return Err(Error::internal("a type without a conversion")))
        }
    }
    Ok(all)
}

/// Elements that a thread converts at once.
const CHUNK: usize = 1 << 14;

/// A conversion between types that Rust has, in one loop; `None` for others.
#[allow(clippy::unnecessary_cast)] // written once for all types
fn direct(tensor: &Tensor, to: DType) -> Result<Option<Tensor>> {
    fn into<T: Element, U: Element>(tensor: &Tensor, one: impl Fn(T) -> U + Sync) -> Result<Option<Tensor>> {
        let from = tensor.as_slice::<T>()?;
        let mut list: Vec<U> = zeros(from.len())?;
        chunks(&mut list, CHUNK, |index, to| {
            to.iter_mut().zip(&from[index * CHUNK..]).for_each(|(to, &x)| *to = one(x));
        });
        Tensor::new(tensor.shape(), list).map(Some)
    }
    // Of 16-bit floats, to the types that are computed in; the others are rare.
    fn from_half<T: Number>(tensor: &Tensor, to: DType) -> Result<Option<Tensor>> {
        match to {
            DType::F32 => into(tensor, |x: T| f32::narrow(x.wide())),
            DType::F64 => into(tensor, |x: T| f64::narrow(x.wide())),
            DType::I32 => into(tensor, |x: T| i32::narrow(x.wide())),
            DType::I64 => into(tensor, |x: T| i64::narrow(x.wide())),
            _ => Ok(None),
        }
    }
    match (tensor.dtype(), to) {
        // By the machine's instructions, where it has them.
        (DType::F16, DType::F32) => {
            let from = tensor.as_slice::<f16>()?;
            let mut list = pool::unset(from.len())?;
            chunks(&mut list, CHUNK, |index, to| {
                from[index * CHUNK..][..to.len()].convert_to_f32_slice(to);
            });
            Tensor::floats(tensor.shape(), list).map(Some)
        }
        (DType::F32, DType::F16) => {
            let from = tensor.as_slice::<f32>()?;
            let mut list: Vec<f16> = zeros(from.len())?;
            chunks(&mut list, CHUNK, |index, to| {
                to.convert_from_f32_slice(&from[index * CHUNK..][..to.len()]);
            });
            Tensor::new(tensor.shape(), list).map(Some)
        }
        (DType::Bool, to) => by_type!(to, U => {
            let [no, yes] = [0, 1].map(|x| U::narrow(Wide::Integer(x)));
            into(tensor, |x: Boolean| if x.get() { yes } else { no })
        }, _ => Ok(None)),
        (other, DType::Bool) => {
            by_type!(other, T => into(tensor, |x: T| Boolean::from(x.is_nonzero())), _ => Ok(None))
        }
        (DType::F16, to) => from_half::<f16>(tensor, to),
        (DType::BF16, to) => from_half::<bf16>(tensor, to),
        // By Rust's own conversion, which is ONNX's: integers wrap, floats saturate, and NaN is 0.
        (other, to) => by_primitive!(other, T => match to {
            DType::F32 => into(tensor, |x: T| x as f32),
            DType::F64 => into(tensor, |x: T| x as f64),
            DType::I32 => into(tensor, |x: T| x as i32),
            DType::I64 => into(tensor, |x: T| x as i64),
            DType::I8 => into(tensor, |x: T| x as i8),
            DType::U8 => into(tensor, |x: T| x as u8),
            _ => Ok(None),
        }, _ => Ok(None)),
    }
}

/// Converts to another type. `saturate` concerns the 8-bit floats alone (ONNX's attribute of Cast).
pub fn cast(tensor: &Tensor, to: DType, saturate: bool) -> Result<Tensor> {
    if tensor.dtype() == to {
        return Ok(tensor.clone());
    }
    if to == DType::String {
        return strings(tensor);
    }
    if let Some(cast) = direct(tensor, to)? {
        return Ok(cast);
    }
    let from = widen(tensor)?;
    let shape = tensor.shape();
    let byte = |x: Wide| -> u8 {
        match to {
            DType::U4 => (i32::narrow(x) & 15) as u8,
            DType::U2 => (i32::narrow(x) & 3) as u8,
            DType::I4 => ((i32::narrow(x) << 28) >> 28) as u8,
            DType::I2 => ((i32::narrow(x) << 30) >> 30) as u8,
            _ => encode_small(to, f64::narrow(x), saturate),
        }
    };
    match to {
        DType::Bool => {
            let truth = |x: &Wide| {
                Boolean::from(match *x {
                    Wide::Integer(x) => x != 0,
                    Wide::Real(x) => x != 0.0,
                })
            };
            Tensor::new(shape, from.iter().map(truth).collect::<Vec<_>>())
        }
        other => {
            by_type!(other, T => Tensor::new(shape, from.iter().map(|&x| T::narrow(x)).collect::<Vec<_>>()), _ => {
                Tensor::from_bytes(to, shape, &from.iter().map(|&x| byte(x)).collect::<Vec<_>>())
            })
        }
    }
}

fn strings(tensor: &Tensor) -> Result<Tensor> {
    let text = |x: &Wide| match *x {
        Wide::Integer(x) => x.to_string(),
        Wide::Real(x) if tensor.dtype() == DType::F64 => x.to_string(),
        Wide::Real(x) => (x as f32).to_string(),
    };
    Tensor::strings(tensor.shape(), widen(tensor)?.iter().map(text).collect())
}

pub(super) fn to_i64s(tensor: &Tensor) -> Result<Vec<i64>> {
    if tensor.dtype() == DType::I64 {
        let mut list = allocate(tensor.len())?;
        list.extend_from_slice(tensor.as_slice()?);
        return Ok(list);
    }
    whole(tensor, |x| i64::try_from(x).map_err(|_| Error::input(format!("{x} is beyond int64"))))
}

pub(super) fn to_i128s(tensor: &Tensor) -> Result<Vec<i128>> {
    whole(tensor, Ok)
}

fn whole<T>(tensor: &Tensor, of: impl Fn(i128) -> Result<T>) -> Result<Vec<T>> {
    let one = |x: &Wide| match *x {
        Wide::Integer(x) => of(x),
        Wide::Real(_) => {
            Err(Error::input(format!("found a {} tensor where integers were expected", tensor.dtype())))
        }
    };
    widen(tensor)?.iter().map(one).collect()
}

pub(super) fn to_f64s(tensor: &Tensor) -> Result<Vec<f64>> {
    if let Some(values) = direct(tensor, DType::F64)? {
        let mut list = allocate(values.len())?;
        list.extend_from_slice(values.as_slice::<f64>()?);
        return Ok(list);
    }
    Ok(widen(tensor)?.into_iter().map(f64::narrow).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_of_every_size() {
        let largest = Tensor::new([2], vec![u64::MAX, 1]).unwrap();
        assert_eq!(largest.to_i128s().unwrap(), [u64::MAX as i128, 1]);
        assert!(largest.to_i64s().unwrap_err().message().contains("is beyond int64"));
        assert_eq!(Tensor::int64s([i64::MIN]).to_i128s().unwrap(), [i64::MIN as i128]);
        assert!(
            Tensor::scalar(1.0f32).to_i128s().unwrap_err().message().contains("where integers were expected")
        );
    }

    /// Beside a tie by less than float32 can tell, or than half of a float64's bits can.
    #[test]
    fn sixteen_bits_are_rounded_once() {
        let near = |tie: f64| [tie * (1.0 - 2f64.powi(-50)), tie, tie * (1.0 + 2f64.powi(-50))];
        let of = |xs: &[f64], to: DType| {
            cast(&Tensor::new([xs.len()], xs.to_vec()).unwrap(), to, true).unwrap().to_f64s().unwrap()
        };
        for sign in [1.0, -1.0] {
            let cases = [
                (DType::F16, 1.0, 2f64.powi(-10)),
                (DType::F16, 2f64.powi(-23), 2f64.powi(-24)),
                (DType::BF16, 1.0, 2f64.powi(-7)),
                (DType::BF16, 2f64.powi(-132), 2f64.powi(-133)),
            ];
            for (dtype, odd, step) in cases.map(|(dtype, one, step)| (dtype, one + step, step)) {
                // The tie goes to the even one below or above.
                let (below, above) = (near(odd - step / 2.0), near(odd + step / 2.0));
                let xs: Vec<f64> = below.iter().chain(&above).map(|x| x * sign).collect();
                let (low, high) = (odd - step, odd + step);
                let right = [low, low, odd, odd, high, high].map(|x| x * sign);
                assert_eq!(of(&xs, dtype), right, "{dtype} {odd}");
            }
            assert_eq!(
                of(&[sign * 65_519.999_999_999, sign * 65_520.0], DType::F16),
                [sign * 65504.0, sign * f64::INFINITY]
            );
            assert_eq!(of(&[sign * 1e300], DType::F16), [sign * f64::INFINITY]);
        }
        // Of float32 and of integers, which take other ways.
        let near_tie =
            Tensor::new([2], vec![f32::from_bits(0x0020_8001), f32::from_bits(0x3f80_8001)]).unwrap();
        let made = cast(&near_tie, DType::BF16, true).unwrap();
        assert_eq!(
            made.as_slice::<bf16>().unwrap().iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
            [0x21, 0x3f81]
        );
        let big = Tensor::int64s([(1 << 40) + (1 << 32) + 1]);
        assert_eq!(cast(&big, DType::BF16, true).unwrap().to_f64s().unwrap(), [1.0078125 * 2f64.powi(40)]);
    }

    #[test]
    fn integers_wrap_and_keep_their_bits() {
        let big = Tensor::new([2], vec![i64::MAX, -1]).unwrap();
        assert_eq!(cast(&big, DType::I32, true).unwrap().as_slice::<i32>().unwrap(), [-1, -1]);
        assert_eq!(
            cast(&big, DType::U64, true).unwrap().as_slice::<u64>().unwrap(),
            [i64::MAX as u64, u64::MAX]
        );
    }
}
