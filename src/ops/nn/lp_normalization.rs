//! [LpNormalization](https://onnx.ai/onnx/operators/onnx__LpNormalization.html), versions 1, 22: an axis
//! divided by its 1- or 2-norm (0 stays 0),
//! [GlobalLpPool](https://onnx.ai/onnx/operators/onnx__GlobalLpPool.html), versions 1, 2, 22: the p-norm over
//! all spatial axes, and
//! [MeanVarianceNormalization](https://onnx.ai/onnx/operators/onnx__MeanVarianceNormalization.html), versions
//! 9, 13: `(x − mean) / (deviation + 1e-9)` over axes.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Layout, Operands, Reduction, Terms, Unsupported};
use crate::error::{Error, Result};
use crate::expression::{Arg, Pointwise, table};
use crate::kernels::{Lowering, pointwise, reduce};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::reduce::reduce::evaluate;
use crate::ops::{Lower, NodeView, OpDef, Operator};
use crate::tensor::index::{Odometer, axes, axis, broadcast_strides, strides};
use crate::tensor::{DType, Tensor, cast};
use std::sync::Arc;

pub const NORMALIZATION: OpDef =
    OpDef { domain: "", name: "LpNormalization", since: 1, parse: parse_lp, cases: LP_CASES };
pub const POOL: OpDef =
    OpDef { domain: "", name: "GlobalLpPool", since: 2, parse: parse_pool, cases: POOL_CASES };
pub const MEAN_VARIANCE: OpDef = OpDef {
    domain: "",
    name: "MeanVarianceNormalization",
    since: 9,
    parse: parse_mean_variance,
    cases: MEAN_VARIANCE_CASES,
};

/// What MeanVarianceNormalization adds to a deviation.
const EPSILON: f64 = 1e-9;

#[derive(Debug, Clone, PartialEq)]
pub enum Normalization {
    Lp { axis: i64, p: i64 },
    GlobalPool { p: i64 },
    MeanVariance { axes: Vec<i64> },
}

fn parse_lp(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    let p = node.int("p", 2)?;
    if p != 1 && p != 2 {
        return Err(Error::model(format!("attribute 'p' is {p}, not 1 or 2")));
    }
    Ok(Arc::new(Normalization::Lp { axis: node.int("axis", -1)?, p }))
}

fn parse_pool(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    let p = node.int("p", 2)?;
    if p < 1 {
        Err(Error::model(format!("attribute 'p' is {p}; 1 or more is needed")))
    } else {
        Ok(Arc::new(Normalization::GlobalPool { p }))
    }
}

fn parse_mean_variance(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    Ok(Arc::new(Normalization::MeanVariance { axes: node.ints("axes")?.unwrap_or_else(|| vec![0, 2, 3]) }))
}

impl Normalization {
    fn axes(&self, rank: usize) -> Result<Vec<usize>> {
        match self {
            Normalization::Lp { axis: one, .. } => Ok(vec![axis(*one, rank)?]),
            Normalization::GlobalPool { .. } if rank < 2 => {
                Err(Error::model(format!("needs a tensor of rank 2 or more; found rank {rank}")))
            }
            Normalization::GlobalPool { .. } => Ok((2..rank).collect()),
            Normalization::MeanVariance { axes: list } => axes(list, rank),
        }
    }
}

/// Every element of x with the entry of `other`, which broadcasts to it.
fn zip(x: &[f64], shape: &[usize], other: &Tensor, of: impl Fn(f64, f64) -> f64) -> Result<Vec<f64>> {
    let values = other.to_f64s()?;
    let steps = broadcast_strides(other.shape(), &strides(other.shape()), shape);
    Ok(x.iter().zip(Odometer::new(shape, [&steps])).map(|(&x, [at])| of(x, values[at])).collect())
}

impl Operator for Normalization {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        let axes = self.axes(x.rank())?;
        let pooled = matches!(self, Normalization::GlobalPool { .. });
        let shape: Vec<usize> = x
            .shape
            .iter()
            .enumerate()
            .map(|(axis, &size)| if pooled && axes.contains(&axis) { 1 } else { size })
            .collect();
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let shape = x.shape();
        let axes = self.axes(shape.len())?;
        let xs = x.to_f64s()?;
        let sum = |values: Vec<f64>, how: Reduction| evaluate(how, &Tensor::new(shape, values)?, &axes, true);
        let result = match self {
            Normalization::Lp { p, .. } => {
                let norm = sum(xs.clone(), if *p == 1 { Reduction::L1 } else { Reduction::L2 })?;
                Tensor::new(
                    shape,
                    zip(&xs, shape, &norm, |x, norm| if norm == 0.0 { 0.0 } else { x / norm })?,
                )?
            }
            Normalization::GlobalPool { p } => {
                let p = *p as f64;
                let total = sum(xs.iter().map(|x| x.abs().powf(p)).collect(), Reduction::Sum)?;
                let roots = total.to_f64s()?.iter().map(|x| x.powf(1.0 / p)).collect::<Vec<_>>();
                Tensor::new(total.shape(), roots)?
            }
            Normalization::MeanVariance { .. } => {
                let centred = zip(&xs, shape, &sum(xs.clone(), Reduction::Mean)?, |x, mean| x - mean)?;
                let variance = sum(centred.iter().map(|x| x * x).collect(), Reduction::Mean)?;
                Tensor::new(
                    shape,
                    zip(&centred, shape, &variance, |x, variance| x / (variance.sqrt() + EPSILON))?,
                )?
            }
        };
        debug_assert_eq!(result.dtype(), DType::F64);
        Ok(vec![cast(&result, x.dtype(), true)?])
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn error_bound(&self, inputs: Operands<'_, Fact>) -> Bound {
        let rank = inputs.optional(0).map_or(0, Fact::rank);
        match (self, self.axes(rank)) {
            (Normalization::MeanVariance { .. }, Ok(axes)) => Bound::MeanVariance { axes, epsilon: EPSILON },
            (Normalization::Lp { p, .. }, Ok(axes)) => {
                Bound::LpNormalization { axis: axes.first().copied().unwrap_or(0), squared: *p == 2 }
            }
            (Normalization::GlobalPool { p: 1 }, _) => Bound::Reduction(Reduction::L1),
            (Normalization::GlobalPool { p: 2 }, _) => Bound::Reduction(Reduction::L2),
            (Normalization::GlobalPool { p }, _) => {
                let length = inputs.optional(0).map_or(1, |x| x.shape.iter().skip(2).product());
                Bound::Sum { length, terms: Terms::Powers(*p as f64) }
            }
            // Axes that the tensor doesn't have: nothing is computed.
            (_, Err(_)) => Bound::Exact,
        }
    }
}

impl Lower for Normalization {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let reduction = match self {
            Normalization::Lp { axis: along, p } => {
                let along = axis(*along, at.fact(0)?.rank())?;
                return crate::kernels::lp_normalize::emit(at, along, *p == 2);
            }
            Normalization::GlobalPool { p: 1 } => Reduction::L1,
            Normalization::GlobalPool { p: 2 } => Reduction::L2,
            Normalization::GlobalPool { p } => {
                return power_pool(at, *p as f64);
            }
            Normalization::MeanVariance { axes: list } => {
                let axes = axes(list, at.fact(0)?.rank())?;
                return mean_variance(at, &axes);
            }
        };
        let rank = at.fact(0)?.rank();
        reduce::emit(at, reduction, &(2..rank).collect::<Vec<_>>())
    }
}

/// Errors where what one kernel leaves to the next would be rounded to float16.
fn holds_float32(at: &mut dyn Lowering) -> Result<(), Unsupported> {
    at.holds_sums(0)?;
    match at.fact(0)?.dtype {
        DType::F32 => Ok(()),
        other => Err(Unsupported::new(format!("sums between its kernels don't fit {other}"))),
    }
}

/// Emits the root of a sum of powers over all spatial axes.
fn power_pool(at: &mut dyn Lowering, p: f64) -> Result<(), Unsupported> {
    holds_float32(at)?;
    let (x, dtype) = (at.view(0)?, at.fact(0)?.dtype);
    let shape = x.shape.clone();
    let power = |steps: &mut Pointwise, value, p| steps.push(&table::POW, vec![value, Arg::Const(p)]);
    let mut steps = Pointwise { operands: 1, steps: vec![] };
    let size = steps.push(&table::ABS, vec![Arg::Operand(0)]);
    power(&mut steps, size, p);
    let (powers, _) = pointwise::computed(at, &steps, &[(x, dtype)], &shape)?;
    let axes: Vec<usize> = (2..shape.len()).collect();
    let sum = reduce::reduced(at, Reduction::Sum, dtype, powers, &axes)?;
    let mut steps = Pointwise { operands: 1, steps: vec![] };
    power(&mut steps, Arg::Operand(0), 1.0 / p);
    pointwise::emit_output(at, &steps, &[(sum, dtype)], 0, Layout::Dense)
}

/// Emits runs along axes brought to mean 0 and divided by their deviation and what is added to it.
fn mean_variance(at: &mut dyn Lowering, axes: &[usize]) -> Result<(), Unsupported> {
    holds_float32(at)?;
    let (x, dtype) = (at.view(0)?, at.fact(0)?.dtype);
    let shape = x.shape.clone();
    let mean = reduce::reduced(at, Reduction::Mean, dtype, x.clone(), axes)?;
    let centred = Pointwise::of(&table::SUB, 2, &[]);
    let (centred, _) = pointwise::computed(at, &centred, &[(x, dtype), (mean, dtype)], &shape)?;
    let squares = reduce::reduced(at, Reduction::SumSquare, dtype, centred.clone(), axes)?;
    let count: usize = axes.iter().map(|&axis| shape[axis]).product();
    let mut steps = Pointwise { operands: 2, steps: vec![] };
    let share = Arg::Const(1.0 / count.max(1) as f64);
    let variance = steps.push(&table::MUL, vec![Arg::Operand(1), share]);
    let deviation = steps.push(&table::SQRT, vec![variance]);
    let divisor = steps.push(&table::ADD, vec![deviation, Arg::Const(EPSILON)]);
    steps.push(&table::DIV, vec![Arg::Operand(0), divisor]);
    pointwise::emit_output(at, &steps, &[(centred, dtype), (squares, dtype)], 0, Layout::Dense)
}

const LP_CASES: &[Case] = &[
    case(&[], &[Floats(&[3, 5])]),
    case(&[("axis", Int(1)), ("p", Int(1))], &[Floats(&[2, 3, 4])]),
    case(&[("axis", Int(0))], &[Floats(&[3, 197])]),
    case(&[("axis", Int(1)), ("p", Int(1))], &[Floats(&[5, 197])]),
    case(&[], &[Range(&[3, 5], 0.0, 0.0)]),
    case(&[], &[Floats(&[1])]),
    case(&[], &[Floats(&[2, 5002])]),
    case(&[("p", Int(1))], &[Floats(&[1, 20001])]),
    case(&[("axis", Int(0))], &[Floats(&[2100, 6])]),
];
const POOL_CASES: &[Case] = &[
    case(&[], &[Floats(&[2, 5, 4, 3])]),
    case(&[("p", Int(3))], &[Floats(&[2, 3, 4, 5])]),
    case(&[("p", Int(5))], &[Floats(&[1, 3, 7])]),
];
const MEAN_VARIANCE_CASES: &[Case] = &[
    case(&[], &[Floats(&[2, 3, 4, 5])]),
    case(&[("axes", Ints(&[-1]))], &[Floats(&[3, 7])]),
    case(&[("axes", Ints(&[0, 2]))], &[Floats(&[5, 3, 1])]),
];
