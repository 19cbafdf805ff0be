//! The interpreter: a [`Pointwise`] on host tensors, step by step.

use super::power::power;
use super::table::{Apply, Integer, IntegerTest, Map};
use super::{Arg, Fused, Pointwise, Row, Step, slabs};
use crate::base::EvalPrecision;
use crate::error::{Error, Result};
use crate::simd::{Loop, vectorised};
use crate::tensor::index::{broadcast, broadcast_strides, strides};
use crate::tensor::{Boolean, DType, Element, Tensor, allocate, cast, element_count, pool, zeros};
use crate::threads::chunks;
use std::ops::Range;

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
        if let Some(result) = slabs::eval(self, operands, &shape, mode)? {
            return Ok(result);
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
    operand.strided(shape, &own, 0)
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
        return over(logic.cpu, &args, count, out_shape);
    }
    if dtype.is_float() {
        let held = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let wide = args.iter().map(|arg| cast(arg, held, true)).collect::<Result<Vec<_>>>()?;
        if let Some(test) = &row.test {
            return match held {
                DType::F64 => over(test.f64, &wide, count, out_shape),
                _ => over(test.f32, &wide, count, out_shape),
            };
        }
        let float = row.float.as_ref().ok_or_else(wrong)?;
        let result = match held {
            DType::F64 => over(float.f64, &wide, count, out_shape)?,
            _ => over(float.f32, &wide, count, out_shape)?,
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

/// An integer type, and the one in which its functions are computed.
trait Int: Element {
    type Wide: Copy + Default + Send + Sync;
    fn widen(self) -> Self::Wide;
    /// Wraps.
    fn narrow(wide: Self::Wide) -> Self;
    fn function(integer: &Integer) -> Apply<Self::Wide>;
    fn test(test: &IntegerTest) -> Map<Self::Wide, Boolean>;
}

macro_rules! integers {
    ($wide:ty, $part:ident: $($element:ty),*) => {
        $(impl Int for $element {
            type Wide = $wide;
            #[inline(always)]
            fn widen(self) -> $wide {
                self as $wide
            }
            #[inline(always)]
            fn narrow(wide: $wide) -> Self {
                wide as Self
            }
            fn function(integer: &Integer) -> Apply<$wide> {
                integer.$part
            }
            fn test(test: &IntegerTest) -> Map<$wide, Boolean> {
                test.$part
            }
        })*
    };
}
integers!(i64, narrow: i8, i16, i32, u8, u16, u32);
integers!(i128, wide: i64, u64);

/// `$body` with `$T` as the Rust type of an integer's elements.
macro_rules! by_integer {
    ($dtype:expr, $T:ident => $body:expr, $otherwise:expr) => {
        by_integer!($dtype, $T, $body, $otherwise, I8 i8, I16 i16, I32 i32, I64 i64, U8 u8, U16 u16, U32 u32, U64 u64)
    };
    ($dtype:expr, $T:ident, $body:expr, $otherwise:expr, $($variant:ident $element:ty),*) => {
        match $dtype {
            $(DType::$variant => { type $T = $element; $body })*
            _ => $otherwise
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
    if let (true, [base, exponent]) = (row.name == "Pow", args)
        && dtype.is_integer()
        && exponent.dtype().is_float()
    {
        return powers(base, exponent, dtype, count, shape, wrong);
    }
    // An exponent may be an integer of another type.
    if args.iter().any(|arg| arg.dtype() != dtype) {
        let wide = args.iter().map(Tensor::to_i128s).collect::<Result<Vec<_>>>()?;
        let slices: Vec<&[i128]> = wide.iter().map(Vec::as_slice).collect();
        let mut all: Vec<i128> = allocate(count)?;
        all.resize(count, 0);
        (row.integer.as_ref().ok_or_else(&wrong)?.wide)(&slices, &mut all);
        return by_integer!(dtype, T => {
            let mut out: Vec<T> = zeros(count)?;
            out.iter_mut().zip(all).for_each(|(to, x)| *to = x as T);
            Tensor::new(shape, out)
        }, Err(wrong()));
    }
    if let Some(test) = &row.test {
        let test = test.integer.as_ref().ok_or_else(&wrong)?;
        // What is compared needs no room to grow.
        if dtype == DType::I64 {
            return over(test.narrow, args, count, shape);
        }
        return by_integer!(dtype, T => {
            widened::<T, _, _>(args, count, shape, T::test(test), |truth| truth)
        }, Err(wrong()));
    }
    let integer = row.integer.as_ref().ok_or_else(&wrong)?;
    by_integer!(dtype, T => {
        widened::<T, _, _>(args, count, shape, T::function(integer), <T as Int>::narrow)
    }, Err(wrong()))
}

/// Elements that are widened at once: they stay in cache.
const RUN: usize = 512;
/// Arguments of a function, at most.
const ARGS: usize = 3;

/// A function over integers, which are widened for it run by run.
fn widened<T: Int, M: Copy + Default, R: Element>(
    args: &[Tensor],
    count: usize,
    shape: &[usize],
    function: Map<T::Wide, M>,
    result: impl Fn(M) -> R + Sync,
) -> Result<Tensor> {
    let slices = args.iter().map(|arg| arg.as_slice::<T>()).collect::<Result<Vec<_>>>()?;
    if slices.len() > ARGS {
        return Err(Error::internal("an elementwise function of more arguments than there are"));
    }
    let mut out: Vec<R> = zeros(count)?;
    chunks(&mut out, CHUNK, |chunk, out| {
        let (mut wide, mut made) = ([[T::Wide::default(); RUN]; ARGS], [M::default(); RUN]);
        for (index, to) in out.chunks_mut(RUN).enumerate() {
            let own = chunk * CHUNK + index * RUN..chunk * CHUNK + index * RUN + to.len();
            for (wide, &slice) in wide.iter_mut().zip(&slices) {
                let from = if slice.len() == 1 { slice } else { &slice[own.clone()] };
                wide.iter_mut().zip(from).for_each(|(wide, &x)| *wide = x.widen());
            }
            let length = |slice: &&[T]| if slice.len() == 1 { 1 } else { to.len() };
            let lengths = slices.iter().map(length);
            let parts: [&[T::Wide]; ARGS] = {
                let mut parts: [&[T::Wide]; ARGS] = [&[]; ARGS];
                parts.iter_mut().zip(&wide).zip(lengths).for_each(|((part, wide), n)| *part = &wide[..n]);
                parts
            };
            let made = &mut made[..to.len()];
            function(&parts[..slices.len()], made);
            to.iter_mut().zip(made).for_each(|(to, x)| *to = result(*x));
        }
    });
    Tensor::new(shape, out)
}

/// Integers to the power of floats, as `power` has them.
fn powers(
    base: &Tensor,
    exponent: &Tensor,
    dtype: DType,
    count: usize,
    shape: &[usize],
    wrong: impl Fn() -> Error,
) -> Result<Tensor> {
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
    }, Err(wrong()))
}

/// Elements that a thread computes at once.
const CHUNK: usize = 1 << 14;

/// A function over the arguments' elements.
fn over<T: Element, R: Element>(
    function: Map<T, R>,
    args: &[Tensor],
    count: usize,
    shape: &[usize],
) -> Result<Tensor> {
    let slices = args.iter().map(|arg| arg.as_slice::<T>()).collect::<Result<Vec<_>>>()?;
    let mut out: Vec<R> = zeros(count)?;
    chunks(&mut out, CHUNK, |index, to| {
        let own = index * CHUNK..index * CHUNK + to.len();
        let parts: Vec<&[T]> =
            slices.iter().map(|&slice| if slice.len() == 1 { slice } else { &slice[own.clone()] }).collect();
        function(&parts, to);
    });
    Tensor::new(shape, out)
}

/// Where: any type; the condition picks.
fn choose(args: &[Tensor], count: usize, shape: &[usize]) -> Result<Tensor> {
    let condition = args[0].as_slice::<Boolean>()?;
    let (a, b) = (&args[1], &args[2]);
    if a.dtype() != b.dtype() {
        return Err(
            Error::model(format!("found {} and {} together", a.dtype(), b.dtype())).at_operator("Where")
        );
    }
    if a.dtype() == DType::F32 {
        let mut out = pool::unset(count)?;
        pick(condition, a.as_slice()?, b.as_slice()?, &mut out);
        return Tensor::floats(shape, out);
    }
    fn elements<T: Element>(tensor: &Tensor) -> Result<&[T]> {
        bytemuck::try_cast_slice(tensor.bytes()).map_err(|_| Error::internal("elements are not aligned"))
    }
    fn picked<T: Element>(condition: &[Boolean], a: &Tensor, b: &Tensor, count: usize) -> Result<Vec<T>> {
        let mut out: Vec<T> = zeros(count)?;
        pick(condition, elements(a)?, elements(b)?, &mut out);
        Ok(out)
    }
    let bytes = |list: &[u8]| Tensor::from_bytes(a.dtype(), shape, list);
    match a.dtype().size() {
        _ if a.dtype() == DType::String => {
            let (a_count, b_count) = (a.len(), b.len());
            Tensor::chain(&[a, b])?.pick(shape, |index| {
                let truth = condition[if condition.len() == 1 { 0 } else { index }].get();
                let at = |count: usize| if count == 1 { 0 } else { index };
                Some(if truth { at(a_count) } else { a_count + at(b_count) })
            })
        }
        8 => bytes(bytemuck::cast_slice(&picked::<u64>(condition, a, b, count)?)),
        4 => bytes(bytemuck::cast_slice(&picked::<u32>(condition, a, b, count)?)),
        2 => bytes(bytemuck::cast_slice(&picked::<u16>(condition, a, b, count)?)),
        _ => bytes(&picked::<u8>(condition, a, b, count)?),
    }
}

/// Each element from `a` where the condition holds, else from `b`; a slice of one element repeats.
fn pick<T: Copy + Send + Sync>(condition: &[Boolean], a: &[T], b: &[T], out: &mut [T]) {
    fn part<'a, T>(list: &'a [T], own: &Range<usize>) -> &'a [T] {
        if list.len() == 1 { list } else { &list[own.clone()] }
    }
    chunks(out, CHUNK, |index, to| {
        let own = index * CHUNK..index * CHUNK + to.len();
        vectorised(Pick { condition: part(condition, &own), a: part(a, &own), b: part(b, &own), to });
    });
}

struct Pick<'a, T> {
    condition: &'a [Boolean],
    a: &'a [T],
    b: &'a [T],
    to: &'a mut [T],
}

impl<T: Copy> Loop for Pick<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        let Self { condition, a, b, to } = self;
        let each = to.iter_mut().zip(condition);
        match (condition, a, b) {
            ([truth], a, b) => match if truth.get() { a } else { b } {
                [one] => to.fill(*one),
                all => to.copy_from_slice(all),
            },
            (_, [a], [b]) => each.for_each(|(to, truth)| *to = if truth.get() { *a } else { *b }),
            (_, [a], b) => each.zip(b).for_each(|((to, truth), &b)| *to = if truth.get() { *a } else { b }),
            (_, a, [b]) => each.zip(a).for_each(|((to, truth), &a)| *to = if truth.get() { a } else { *b }),
            _ => each.zip(a.iter().zip(b)).for_each(|((to, truth), (&a, &b))| {
                *to = if truth.get() { a } else { b };
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Slabs of rows, whole and in part, of operands that broadcast along every axis, give what each element
    /// gives by itself.
    #[test]
    fn many_elements_of_several_types() {
        use super::super::table;
        let mut e = Pointwise { operands: 3, steps: vec![] };
        let same = e.push(&table::EQUAL, vec![Arg::Operand(0), Arg::Operand(1)]);
        let as_float = e.push_cast(same, DType::F32);
        let number = |at: usize| (at * 7919 + 13) % 5;
        let list = |shape: &[usize]| {
            let count: usize = shape.iter().product();
            Tensor::new(shape, (0..count).map(|at| number(at) as i32).collect::<Vec<_>>()).unwrap()
        };
        let bool_result = e.clone();
        e.push(&table::MUL, vec![as_float, Arg::Operand(2)]);
        for (shape, others) in [
            ([3, 211, 257], [[3, 211, 1], [1, 1, 257]]),
            ([70_000, 1, 2], [[70_000, 1, 2], [1, 1, 2]]),
            ([1, 2, 50_001], [[1, 2, 1], [1, 1, 50_001]]),
            ([400, 1, 300], [[400, 1, 1], [1, 1, 300]]),
        ] {
            let [a, b] = others.each_ref().map(|shape| list(shape));
            let c = cast(&list(&[shape[0], 1, 1]), DType::F32, true).unwrap();
            let made = e.eval(&[&a, &b, &c], EvalPrecision::Declared).unwrap();
            let bools = Pointwise { steps: bool_result.steps[..1].to_vec(), operands: 2 };
            let bools = bools.eval(&[&a, &b], EvalPrecision::Declared).unwrap();
            assert_eq!((made.shape(), bools.shape()), (&shape[..], &shape[..]));
            let wide = [&a, &b].map(|tensor| spread(tensor, &shape).unwrap());
            let [x, y] = wide.each_ref().map(|tensor| tensor.as_slice::<i32>().unwrap());
            let z = spread(&c, &shape).unwrap();
            for (at, z) in z.as_slice::<f32>().unwrap().iter().enumerate() {
                let same = x[at] == y[at];
                assert_eq!(bools.as_slice::<Boolean>().unwrap()[at].get(), same);
                assert_eq!(made.as_slice::<f32>().unwrap()[at], if same { *z } else { 0.0 });
            }
        }
    }

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
