//! The interpreter: a [`Pointwise`] on host tensors, step by step.

use super::power::power;
use super::table::{Apply, Float};
use super::{Arg, Fused, Pointwise, Row, Step};
use crate::base::EvalPrecision;
use crate::error::{Error, Result};
use crate::tensor::index::{Odometer, broadcast, broadcast_strides, strides};
use crate::tensor::{Boolean, DType, Element, Real, Tensor, cast, element_count, zeros};
use rayon::prelude::*;

impl Pointwise {
    /// The value of the expression over operands that broadcast together. Float16 and bfloat16 are computed
    /// in float32 and rounded after each step.
    pub fn eval(&self, operands: &[&Tensor], mode: EvalPrecision) -> Result<Tensor> {
        let mut shape = vec![];
        for operand in operands {
            shape = broadcast(&shape, operand.shape())?;
        }
        if operands.iter().all(|operand| operand.dtype() == DType::F32)
            && let Some(fused) = Fused::of(self)
        {
            return fused.eval(operands, &shape);
        }
        let spread = operands.iter().map(|operand| spread(operand, &shape)).collect::<Result<Vec<_>>>()?;
        let mut results: Vec<Tensor> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let result = apply(step, &spread, &results, &shape, mode)?;
            results.push(result);
        }
        match results.pop() {
            Some(last) => spread_scalar(&last, &shape),
            None => spread_scalar(
                spread.first().ok_or_else(|| Error::internal("an expression without operands"))?,
                &shape,
            ),
        }
    }
}

/// The operand in the full shape, or as one element where it has just one.
fn spread(operand: &Tensor, shape: &[usize]) -> Result<Tensor> {
    if operand.shape() == shape || operand.len() == 1 {
        return Ok(operand.clone());
    }
    let own = broadcast_strides(operand.shape(), &strides(operand.shape()), shape);
    let mut walk = Odometer::new(shape, [&own]);
    operand.pick(shape, |_| walk.next().map(|[at]| at))
}

fn spread_scalar(tensor: &Tensor, shape: &[usize]) -> Result<Tensor> {
    if tensor.shape() == shape {
        return Ok(tensor.clone());
    }
    if tensor.len() == element_count(shape)? {
        tensor.reshape(shape)
    } else {
        tensor.pick(shape, |_| Some(0))
    }
}

fn apply(
    step: &Step,
    operands: &[Tensor],
    results: &[Tensor],
    shape: &[usize],
    mode: EvalPrecision,
) -> Result<Tensor> {
    let row = step.row;
    let missing = || Error::internal("a step reads what isn't there").at_operator(row.name);
    let given = |arg: &Arg| match *arg {
        Arg::Operand(k) => operands.get(k),
        Arg::Step(k) => results.get(k),
        Arg::Const(_) => None,
    };
    let typed = step
        .args
        .get(row.typed_by)
        .and_then(given)
        .or_else(|| step.args.iter().find_map(given))
        .ok_or_else(missing)?;
    let dtype = typed.dtype();
    let args = step
        .args
        .iter()
        .map(|arg| match *arg {
            // An attribute is a float32, and 16-bit floats are computed in float32. The power of an integer
            // may be a fraction.
            Arg::Const(value) if row.name == "Pow" && dtype.is_integer() && value.fract() != 0.0 => {
                Ok(Tensor::scalar(value))
            }
            Arg::Const(value) if matches!(dtype, DType::F16 | DType::BF16) => {
                Ok(Tensor::scalar(value as f32))
            }
            Arg::Const(value) => cast(&Tensor::scalar(value), dtype, true),
            _ => given(arg).cloned().ok_or_else(missing),
        })
        .collect::<Result<Vec<Tensor>>>()?;
    // All scalars: one element is enough until the end.
    let count = if args.iter().all(|arg| arg.len() == 1) { 1 } else { element_count(shape)? };
    let out_shape: &[usize] = if count == 1 && element_count(shape)? != 1 { &[1] } else { shape };
    match row.name {
        "Identity" => return Ok(args[0].clone()),
        "Cast" => return cast(&args[0], mode.of(step.to.unwrap_or(dtype)), true),
        "Where" => return choose(&args, count, out_shape),
        _ => {}
    }
    let mut given = args.iter().zip(&step.args).filter(|(_, arg)| !matches!(arg, Arg::Const(_)));
    if let Some((other, _)) = given.find(|(tensor, _)| tensor.dtype() != dtype && row.name != "Pow") {
        return Err(
            Error::model(format!("found {dtype} and {} together", other.dtype())).at_operator(row.name)
        );
    }
    let wrong =
        || Error::unsupported(format!("{dtype} is not a type of this operator")).at_operator(row.name);
    if dtype == DType::Bool {
        let logic = row.logic.as_ref().ok_or_else(wrong)?;
        let slices = args.iter().map(|arg| arg.as_slice::<Boolean>()).collect::<Result<Vec<_>>>()?;
        return collect(out_shape, count, &slices, |v: &[Boolean]| {
            Boolean::from((logic.cpu)(&v.iter().map(|b| b.get()).collect::<Vec<_>>()))
        });
    }
    if dtype.is_float() {
        if let Some(test) = &row.test {
            let test = test.float.ok_or_else(wrong)?;
            let wide = args.iter().map(Tensor::to_f64s).collect::<Result<Vec<_>>>()?;
            let slices: Vec<&[f64]> = wide.iter().map(Vec::as_slice).collect();
            return collect(out_shape, count, &slices, |v: &[f64]| Boolean::from(test(v)));
        }
        let float = row.float.as_ref().ok_or_else(wrong)?;
        let held = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let wide = args.iter().map(|arg| cast(arg, held, true)).collect::<Result<Vec<_>>>()?;
        let result = if held == DType::F64 {
            run::<f64>(float, &wide, count, out_shape)?
        } else {
            run::<f32>(float, &wide, count, out_shape)?
        };
        return cast(&result, dtype, true);
    }
    if dtype == DType::String && row.name == "Equal" {
        let (a, b) = (args[0].as_strings()?, args[1].as_strings()?);
        let same = (0..count).map(|i| {
            Boolean::from(a[if a.len() == 1 { 0 } else { i }] == b[if b.len() == 1 { 0 } else { i }])
        });
        return Tensor::new(out_shape, same.collect::<Vec<_>>());
    }
    integers(row, &args, dtype, count, out_shape, wrong)
}

/// `$body` with `$T` as the Rust type of an integer's elements; what is none of the narrower ones counts as
/// uint64.
macro_rules! by_integer {
    ($dtype:expr, $T:ident => $body:expr) => {
        by_integer!($dtype, $T, $body, I8 i8, I16 i16, I32 i32, I64 i64, U8 u8, U16 u16, U32 u32)
    };
    ($dtype:expr, $T:ident, $body:expr, $($variant:ident $element:ty),*) => {
        match $dtype {
            $(DType::$variant => { type $T = $element; $body })*
            _ => { type $T = u64; $body }
        }
    };
}

fn integers(
    row: &Row,
    args: &[Tensor],
    dtype: DType,
    count: usize,
    shape: &[usize],
    wrong: impl Fn() -> Error,
) -> Result<Tensor> {
    if !dtype.is_integer() {
        return Err(wrong());
    }
    if let (true, [base, exponent]) = (row.name == "Pow", args)
        && exponent.dtype().is_float()
    {
        return powers(base, exponent, dtype, count, shape);
    }
    let wide = args.iter().map(Tensor::to_i128s).collect::<Result<Vec<_>>>()?;
    let slices: Vec<&[i128]> = wide.iter().map(Vec::as_slice).collect();
    if let Some(test) = &row.test {
        let test = test.integer.ok_or_else(&wrong)?;
        return collect(shape, count, &slices, |v: &[i128]| Boolean::from(test(v)));
    }
    let integer = row.integer.as_ref().ok_or_else(&wrong)?.cpu;
    by_integer!(dtype, T => collect(shape, count, &slices, |v: &[i128]| integer(v) as T))
}

/// Integers to the power of floats, as `power` has them.
fn powers(base: &Tensor, exponent: &Tensor, dtype: DType, count: usize, shape: &[usize]) -> Result<Tensor> {
    let (base, exponent) = (base.to_i128s()?, exponent.to_f64s()?);
    let at = |index: usize| {
        (base[if base.len() == 1 { 0 } else { index }], exponent[if exponent.len() == 1 { 0 } else { index }])
    };
    by_integer!(dtype, T => {
        let mut out: Vec<T> = zeros(count)?;
        for (index, to) in out.iter_mut().enumerate() {
            let (base, exponent) = at(index);
            *to = power(base, exponent, T::MIN as i128, T::MAX as i128) as T;
        }
        Tensor::new(shape, out)
    })
}

fn collect<A: Copy, T: Element>(
    shape: &[usize],
    count: usize,
    args: &[&[A]],
    f: impl Fn(&[A]) -> T,
) -> Result<Tensor> {
    let mut out: Vec<T> = zeros(count)?;
    let mut here: Vec<A> = Vec::with_capacity(args.len());
    for (index, to) in out.iter_mut().enumerate() {
        here.clear();
        here.extend(args.iter().map(|slice| slice[if slice.len() == 1 { 0 } else { index }]));
        *to = f(&here);
    }
    Tensor::new(shape, out)
}

trait Choose: Real {
    fn part(float: &Float) -> Apply<Self>;
}
impl Choose for f32 {
    fn part(float: &Float) -> Apply<f32> {
        float.f32
    }
}
impl Choose for f64 {
    fn part(float: &Float) -> Apply<f64> {
        float.f64
    }
}

/// Elements that a thread computes at once.
const CHUNK: usize = 1 << 14;

fn run<T: Choose>(float: &Float, args: &[Tensor], count: usize, shape: &[usize]) -> Result<Tensor> {
    let slices = args.iter().map(|arg| arg.as_slice::<T>()).collect::<Result<Vec<_>>>()?;
    let mut out: Vec<T> = zeros(count)?;
    out.par_chunks_mut(CHUNK).enumerate().for_each(|(index, to)| {
        let own = index * CHUNK..index * CHUNK + to.len();
        let parts: Vec<&[T]> =
            slices.iter().map(|&slice| if slice.len() == 1 { slice } else { &slice[own.clone()] }).collect();
        T::part(float)(&parts, to);
    });
    Tensor::new(shape, out)
}

/// Where: any type; the condition picks.
fn choose(args: &[Tensor], count: usize, shape: &[usize]) -> Result<Tensor> {
    let condition = args[0].as_slice::<Boolean>()?;
    if let (Ok(a), Ok(b)) = (args[1].as_slice::<f32>(), args[2].as_slice::<f32>()) {
        let mut out = crate::tensor::pool::unset(count)?;
        let at = |list: &[f32], index: usize| if list.len() == 1 { list[0] } else { list[index] };
        for (index, to) in out.iter_mut().enumerate() {
            let truth = condition[if condition.len() == 1 { 0 } else { index }].get();
            *to = if truth { at(a, index) } else { at(b, index) };
        }
        return Tensor::floats(if count == 1 && shape.is_empty() { &[] } else { shape }, out);
    }
    let pool = Tensor::chain(&[&args[1], &args[2]])?;
    let (a, b) = (args[1].len(), args[2].len());
    pool.pick(if count == 1 && shape.is_empty() { &[] } else { shape }, |index| {
        let truth = condition[if condition.len() == 1 { 0 } else { index }].get();
        Some(if truth { if a == 1 { 0 } else { index } } else { a + if b == 1 { 0 } else { index } })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_to_fractional_powers() {
        let pow = Pointwise::of(&super::super::table::POW, 2, &[]);
        let of = |bases: Tensor, exponents: Tensor| {
            pow.eval(&[&bases, &exponents], EvalPrecision::Declared).unwrap()
        };
        let exponents = Tensor::new([6], vec![0.5f32, 1.5, -1.0, f32::NAN, f32::INFINITY, 0.5]).unwrap();
        let powers = of(Tensor::int64s([9, 4, 2, 3, 2, -9]), exponents);
        assert_eq!(powers.to_i64s().unwrap(), [3, 8, 0, 0, i64::MAX, 0]);
        // Whole exponents are exact beyond what a float holds.
        assert_eq!(
            of(Tensor::int64s([3]), Tensor::new([1], vec![39.0f32]).unwrap()).to_i64s().unwrap(),
            [3i64.pow(39)]
        );
        let bytes =
            of(Tensor::new([2], vec![255u8, 4]).unwrap(), Tensor::new([2], vec![1.5f32, 0.5]).unwrap());
        assert_eq!(bytes.to_i64s().unwrap(), [255, 2]);
    }
}
