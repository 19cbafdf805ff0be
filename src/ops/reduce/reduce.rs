//! The ten reductions, [ReduceSum](https://onnx.ai/onnx/operators/onnx__ReduceSum.html) to ReduceLogSumExp,
//! versions 1, 11, 12, 13, 18, 20.
//!
//! Inputs: X, and the axes since version 18 (ReduceSum: 13), an attribute before. No axes: all, or none with
//! `noop_with_empty_axes`.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Reduction, Unsupported};
use crate::cpu_kernels::{extremes, rows};
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator};
use crate::tensor::index::{Odometer, axes, strides};
use crate::tensor::{DType, Tensor, cast, element_count, pool, zeros};
use std::sync::Arc;

macro_rules! defs {
    ($($name:literal $reduction:ident $cases:ident),*) => {
        pub static DEFS: &[&OpDef] = &[$(&OpDef { domain: "", name: $name, since: 1, parse: |node| parse(node, Reduction::$reduction), cases: $cases }),*];
    };
}
defs!("ReduceSum" Sum LONG_CASES, "ReduceMean" Mean WHOLE_CASES, "ReduceMax" Max EXTREME_CASES, "ReduceMin" Min EXTREME_CASES,
      "ReduceProd" Prod LONG_CASES, "ReduceL1" L1 LONG_CASES, "ReduceL2" L2 CASES, "ReduceSumSquare" SumSquare LONG_CASES,
      "ReduceLogSum" LogSum CASES, "ReduceLogSumExp" LogSumExp CASES);

#[derive(Debug, Clone, PartialEq)]
pub struct Reduce {
    pub reduction: Reduction,
    pub keep: bool,
    pub noop_with_empty_axes: bool,
}

fn parse(node: &mut NodeView, reduction: Reduction) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=2)?;
    node.ints_to_input("axes", 1)?;
    Ok(Arc::new(Reduce {
        reduction,
        keep: node.flag("keepdims", true)?,
        noop_with_empty_axes: node.flag("noop_with_empty_axes", false)?,
    }))
}

impl Reduce {
    fn axes(&self, given: Option<Vec<i64>>, rank: usize) -> Result<Vec<usize>> {
        match given {
            Some(list) if !list.is_empty() => axes(&list, rank),
            _ if self.noop_with_empty_axes => Ok(vec![]),
            _ => Ok((0..rank).collect()),
        }
    }
}

fn shape_of(shape: &[usize], axes: &[usize], keep: bool) -> Vec<usize> {
    let kept = shape.iter().enumerate().filter(|(axis, _)| keep || !axes.contains(axis));
    kept.map(|(axis, &size)| if axes.contains(&axis) { 1 } else { size }).collect()
}

impl Operator for Reduce {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        let axes = self.axes(inputs.optional_ints(1)?, x.rank())?;
        Ok(vec![Fact::new(x.dtype, shape_of(&x.shape, &axes, self.keep))])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let axes = self.axes(inputs.optional(1).map(Tensor::to_i64s).transpose()?, x.rank())?;
        // No axes and noop: the element itself goes through the reduction's function where it has one (L1,
        // SumSquare, …).
        Ok(vec![evaluate(self.reduction, x, &axes, self.keep)?])
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        match self.reduction {
            Reduction::Max | Reduction::Min => Bound::Exact,
            reduction => Bound::Reduction(reduction),
        }
    }

    fn flops(&self, inputs: Operands<'_, Fact>, _outputs: &[Fact]) -> u64 {
        inputs.optional(0).map_or(0, |x| x.count() as u64)
    }
}

impl Lower for Reduce {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let rank = at.fact(0)?.rank();
        let given = at.optional_ints(1)?;
        let axes = self.axes(given, rank)?;
        if axes.is_empty()
            && self.noop_with_empty_axes
            && matches!(
                self.reduction,
                Reduction::Sum | Reduction::Mean | Reduction::Max | Reduction::Min | Reduction::Prod
            )
        {
            let view = at.view(0)?;
            at.alias(0, view);
            return Ok(());
        }
        crate::kernels::reduce::emit(at, self.reduction, &axes)
    }
}

/// Reduces on the CPU, in f64 (integers in i128, wrapped to their width).
pub fn evaluate(reduction: Reduction, x: &Tensor, axes: &[usize], keep: bool) -> Result<Tensor> {
    let shape = shape_of(x.shape(), axes, keep);
    let own = strides(x.shape());
    let (mut outer, mut outer_strides, mut inner, mut inner_strides) = (vec![], vec![], vec![], vec![]);
    for (axis, &size) in x.shape().iter().enumerate() {
        let (sizes, steps) = if axes.contains(&axis) {
            (&mut inner, &mut inner_strides)
        } else {
            (&mut outer, &mut outer_strides)
        };
        sizes.push(size);
        steps.push(own[axis]);
    }
    let count: usize = inner.iter().product();
    // Neighbouring axes of float32: the middle of three.
    let span = axes.iter().min().copied().unwrap_or(0)..axes.iter().max().map_or(0, |&last| last + 1);
    if x.dtype() == DType::F32
        && matches!(reduction, Reduction::Sum | Reduction::Mean | Reduction::Max | Reduction::Min)
        && span.len() == axes.len()
        && !axes.is_empty()
    {
        let behind: usize = x.shape()[span.end..].iter().product();
        let mut result = pool::unset(element_count(&shape)?)?;
        let xs = x.as_slice()?;
        match reduction {
            Reduction::Max => extremes::extremes(xs, &mut result, count, behind, true),
            Reduction::Min => extremes::extremes(xs, &mut result, count, behind, false),
            Reduction::Mean => rows::sums(xs, &mut result, count, behind, 1.0 / count as f64),
            _ => rows::sums(xs, &mut result, count, behind, 1.0),
        }
        return Tensor::floats(shape, result);
    }
    let bases = Odometer::new(&outer, [&outer_strides]);
    let terms: Vec<usize> = Odometer::new(&inner, [&inner_strides]).map(|[at]| at).collect();
    if x.dtype().is_float() {
        let xs = x.to_f64s()?;
        let mut result: Vec<f64> = zeros(element_count(&shape)?)?;
        for ([base], to) in bases.zip(&mut result) {
            *to = reduction.of_floats(terms.iter().map(|at| xs[base + at]), count);
        }
        return cast(&Tensor::new(shape, result)?, x.dtype(), true);
    }
    if x.dtype() == DType::Bool && matches!(reduction, Reduction::Max | Reduction::Min)
        || x.dtype().is_integer()
    {
        let wide = x.to_i128s()?;
        let mut result: Vec<i64> = zeros(element_count(&shape)?)?;
        for ([base], to) in bases.zip(&mut result) {
            *to = reduction.of_integers(terms.iter().map(|at| wide[base + at]), count, x.dtype()) as i64;
        }
        return cast(&Tensor::new(shape, result)?, x.dtype(), true);
    }
    Err(Error::unsupported(format!("a reduction of {}", x.dtype())))
}

/// Of integers: those that stay integers.
const WHOLE_CASES: &[Case] = &[
    CASES[0],
    CASES[1],
    CASES[2],
    CASES[3],
    CASES[4],
    CASES[5],
    CASES[6],
    CASES[7],
    case(&[], &[I32(&[3, 5]), Known(&[1])]),
    case(&[("keepdims", Int(0))], &[I32(&[3, 197]), Known(&[0])]),
    case(&[], &[Wide(DType::I8, &[2, 3, 5]), Known(&[0, 2])]),
    case(&[], &[Wide(DType::U8, &[197]), Known(&[0])]),
    case(&[], &[Wide(DType::U16, &[3, 5])]),
    case(&[], &[Wide(DType::U32, &[3, 5]), Known(&[-1])]),
];
/// Of 64-bit integers too.
const LONG_CASES: &[Case] = &[
    WHOLE_CASES[8],
    WHOLE_CASES[10],
    WHOLE_CASES[11],
    WHOLE_CASES[13],
    CASES[0],
    CASES[1],
    CASES[2],
    CASES[3],
    case(&[], &[I64(&[3, 5]), Known(&[1])]),
    case(&[], &[Wide(DType::I64, &[197]), Known(&[0])]),
    case(&[], &[Wide(DType::U64, &[3, 5]), Known(&[0])]),
    case(&[], &[Floats(&[2, 0, 3]), Known(&[1])]).runs("view"),
    case(&[], &[I32(&[2, 0, 3]), Known(&[1])]).runs("view"),
    case(&[], &[I64(&[3, 700]), Known(&[1])]),
    case(&[], &[Wide(DType::I64, &[700, 5]), Known(&[0])]),
];
/// Of truth values too.
const EXTREME_CASES: &[Case] = &[
    LONG_CASES[0],
    LONG_CASES[1],
    LONG_CASES[2],
    LONG_CASES[3],
    LONG_CASES[4],
    LONG_CASES[5],
    LONG_CASES[8],
    LONG_CASES[9],
    LONG_CASES[10],
    LONG_CASES[11],
    LONG_CASES[12],
    CASES[4],
    CASES[5],
    CASES[6],
    CASES[7],
    case(&[], &[Bools(&[3, 5]), Known(&[1])]),
];

/// Positive, so that every reduction has a value.
pub const CASES: &[Case] = &[
    case(&[], &[Range(&[2, 5, 7], 0.1, 1.5), Known(&[-1])]),
    case(&[("keepdims", Int(0))], &[Range(&[2, 6, 3, 4], 0.1, 1.5), Known(&[0, 2])]),
    case(&[], &[Range(&[3, 130], 0.9, 1.05)]),
    case(&[("axes", Ints(&[1])), ("keepdims", Int(0))], &[Range(&[3, 4, 8], 0.1, 1.5)]).at(11),
    // Few results of many terms: rows that begin anywhere, everything, columns in whole groups and not.
    case(&[], &[Range(&[5, 3001], 0.999, 1.001), Known(&[1])]),
    case(&[], &[Range(&[7, 6, 33], 0.99, 1.01)]),
    case(&[], &[Range(&[300, 8], 0.99, 1.01), Known(&[0])]),
    case(&[("keepdims", Int(0))], &[Range(&[40, 6, 30], 0.99, 1.01), Known(&[0, 2])]),
];
