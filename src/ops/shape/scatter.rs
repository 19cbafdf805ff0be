//! [ScatterND](https://onnx.ai/onnx/operators/onnx__ScatterND.html) (11, 13, 16, 18) and
//! [ScatterElements](https://onnx.ai/onnx/operators/onnx__ScatterElements.html) (11, 13, 16, 18; Scatter in
//! 9): a tensor with some elements replaced, found by indices.
//!
//! Inputs: data, indices (int32 or int64; negative ones count from the end, one outside is an error),
//! updates. Where an element is named twice the last update counts, or with a `reduction` (add, mul, min,
//! max) each goes into it, in order: a sum of floats in any order would not be the same every time.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Terms, Unsupported};
use crate::error::{Error, Result};
use crate::expression::{Row, table};
use crate::kernels::Lowering;
use crate::kernels::scatter::Addressing;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator};
use crate::tensor::index::{Odometer, axis, element, strides};
use crate::tensor::{DType, Tensor, allocate, cast, element_count};
use std::sync::Arc;

pub const ELEMENTS: OpDef =
    OpDef { domain: "", name: "ScatterElements", since: 11, parse: parse_elements, cases: ELEMENTS_CASES };
pub const ND: OpDef = OpDef { domain: "", name: "ScatterND", since: 11, parse: parse_nd, cases: ND_CASES };
pub const SCATTER: OpDef =
    OpDef { domain: "", name: "Scatter", since: 9, parse: parse_elements, cases: SCATTER_CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct Scatter {
    kind: Kind,
    /// What makes a new element of the old one and an update; none replaces.
    reduction: Option<&'static Row>,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    /// One element for each index, along an axis.
    Elements { axis: i64 },
    /// A slice for each tuple of indices.
    Tuples,
}

fn parse(node: &mut NodeView, kind: Kind) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(3..=3)?;
    let reduction = match node.choice("reduction", "none", &["none", "add", "mul", "min", "max"])?.as_str() {
        "add" => Some(&table::ADD),
        "mul" => Some(&table::MUL),
        "min" => Some(&table::MIN),
        "max" => Some(&table::MAX),
        _ => None,
    };
    Ok(Arc::new(Scatter { kind, reduction }))
}
fn parse_elements(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    let axis = node.int("axis", 0)?;
    parse(node, Kind::Elements { axis })
}
fn parse_nd(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    parse(node, Kind::Tuples)
}

impl Scatter {
    fn check(&self, data: &[usize], indices: &[usize], updates: &[usize]) -> Result<()> {
        let fits = match self.kind {
            Kind::Elements { axis: at } => {
                let at = axis(at, data.len())?;
                indices == updates
                    && indices.len() == data.len()
                    && (0..data.len()).all(|d| d == at || indices[d] <= data[d])
            }
            Kind::Tuples => {
                let split = indices.split_last().filter(|(tuple, _)| **tuple <= data.len());
                split.is_some_and(|(&tuple, outer)| updates == [outer, &data[tuple..]].concat())
            }
        };
        let wrong = || {
            Error::model(format!(
                "indices {indices:?} and updates {updates:?} don't fit data of shape {data:?}"
            ))
        };
        if fits { Ok(()) } else { Err(wrong()) }
    }
}

impl Scatter {
    /// How many updates may name one element, at most.
    fn claims(&self, indices: &[usize]) -> usize {
        match self.kind {
            Kind::Elements { axis: at } => axis(at, indices.len()).map_or(1, |at| indices[at]),
            Kind::Tuples => indices.iter().rev().skip(1).product(),
        }
    }

    /// Which slice of a tensor of `shape` each update names, its slices and the updates' coordinates counted
    /// row by row.
    fn addressing(&self, shape: &[usize], indices: &[usize]) -> Result<Addressing> {
        let own = strides(shape);
        Ok(match self.kind {
            Kind::Elements { axis: at } => {
                let at = axis(at, shape.len())?;
                let coordinates = indices
                    .iter()
                    .enumerate()
                    .map(|(d, &size)| (size, if d == at { 0 } else { own[d] }))
                    .collect();
                Addressing { coordinates, axis: at, axes: vec![(shape[at], own[at])], slice: 1 }
            }
            Kind::Tuples => {
                let (&tuple, outer) =
                    indices.split_last().ok_or_else(|| Error::model("the indices are a scalar"))?;
                let slice: usize = shape[tuple..].iter().product();
                let axes = (0..tuple).map(|d| (shape[d], own[d] / slice.max(1))).collect();
                Addressing {
                    coordinates: outer.iter().map(|&size| (size, 0)).collect(),
                    axis: 0,
                    axes,
                    slice,
                }
            }
        })
    }

    /// The element of a tensor of `shape` that each element of the updates goes to.
    fn targets(&self, shape: &[usize], indices: &Tensor) -> Result<Vec<usize>> {
        let Addressing { coordinates, axis: first, axes, slice } = self.addressing(shape, indices.shape())?;
        let list = indices.to_i64s()?;
        let sizes: Vec<usize> = coordinates.iter().map(|dim| dim.0).collect();
        let steps: Vec<usize> = coordinates.iter().map(|dim| dim.1).collect();
        let mut targets = allocate(element_count(&sizes)?.saturating_mul(slice))?;
        for (k, [base]) in Odometer::new(&sizes, [&steps]).enumerate() {
            let mut at = base;
            for (entry, (&index, &(size, stride))) in list[k * axes.len()..].iter().zip(&axes).enumerate() {
                at += element(index, (first + entry, size)).map_err(|error| error.of_input(1))? * stride;
            }
            targets.extend(at * slice..(at + 1) * slice);
        }
        Ok(targets)
    }
}

/// Every update applied to its element, in order: floats in float64, integers in 128 bits, wrapped at the
/// end.
fn reduce(row: &Row, data: &Tensor, updates: &Tensor, targets: &[usize]) -> Result<Tensor> {
    let wrong = || Error::unsupported(format!("{} of {}", row.name, data.dtype()));
    if data.dtype().is_float() {
        let float = row.float.as_ref().ok_or_else(wrong)?.f64;
        let (mut list, new) = (data.to_f64s()?, updates.to_f64s()?);
        for (&at, x) in targets.iter().zip(new) {
            let old = list[at];
            float(&[&[old], &[x]], &mut list[at..=at]);
        }
        return cast(&Tensor::new(data.shape(), list)?, data.dtype(), true);
    }
    let integer = row.integer.as_ref().filter(|_| data.dtype().is_integer()).ok_or_else(wrong)?.wide;
    // 64 bits hold every type's bits; uint64 compares as it is in 128.
    let (mut list, new) = (data.to_i128s()?, updates.to_i128s()?);
    for (&at, x) in targets.iter().zip(new) {
        let old = list[at];
        integer(&[&[old], &[x]], &mut list[at..=at]);
    }
    cast(
        &Tensor::new(data.shape(), list.into_iter().map(|x| x as i64).collect::<Vec<_>>())?,
        data.dtype(),
        true,
    )
}

impl Operator for Scatter {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let (data, indices, updates) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
        self.check(&data.shape, &indices.shape, &updates.shape)?;
        if data.dtype != updates.dtype {
            return Err(Error::model(format!(
                "updates of {} don't go into data of {}",
                updates.dtype, data.dtype
            ))
            .into());
        }
        super::index_type(indices)?;
        if let Some(value) = &indices.value {
            self.targets(&data.shape, value)?;
        }
        Ok(vec![Fact::new(data.dtype, data.shape.clone())])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let (data, indices, updates) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
        self.check(data.shape(), indices.shape(), updates.shape())?;
        let targets = self.targets(data.shape(), indices)?;
        if let Some(row) = self.reduction {
            return Ok(vec![reduce(row, data, updates, &targets)?]);
        }
        Ok(vec![data.with_elements(&targets, updates)?])
    }

    fn takes_any_type(&self) -> bool {
        true
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn error_bound(&self, inputs: Operands<'_, Fact>) -> Bound {
        // The element that was there, and the updates that may name it.
        let length = inputs.optional(1).map_or(1, |indices| self.claims(&indices.shape)).saturating_add(1);
        match self.reduction {
            Some(row) if row == &table::ADD => Bound::Sum { length, terms: Terms::Elements },
            Some(row) if row == &table::MUL => Bound::Sum { length, terms: Terms::Factors },
            _ => Bound::Exact,
        }
    }
}

impl Lower for Scatter {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let shape = at.fact(0)?.shape.clone();
        if self.reduction.is_some() && at.fact(0)?.dtype.is_small_float() {
            return Err(Unsupported::new(format!("a reduction of {} has no GPU form", at.fact(0)?.dtype)));
        }
        let mut unique = false;
        if let Some(indices) = at.constant(1).filter(|_| self.reduction.is_some()) {
            let mut targets = self.targets(&shape, indices)?;
            targets.sort_unstable();
            unique = targets.windows(2).all(|pair| pair[0] != pair[1]);
        }
        let addressing = self.addressing(&shape, &at.fact(1)?.shape)?;
        crate::kernels::scatter::emit(at, &addressing, self.reduction, unique)
    }
}

const ELEMENTS_CASES: &[Case] = &[
    case(&[("axis", Int(1))], &[Floats(&[3, 4]), Indices(&[2, 2], &[0, -1, 2, 1]), Floats(&[2, 2])]),
    case(&[("axis", Int(1))], &[Floats(&[1, 5]), Indices(&[1, 3], &[1, 1, -4]), Floats(&[1, 3])]),
    case(&[], &[Wide(DType::U64, &[3]), Indices(&[1], &[-1]), Wide(DType::U64, &[1])]),
    case(
        &[("axis", Int(1)), ("reduction", Text("add"))],
        &[Floats(&[1, 5]), Indices(&[1, 2], &[1, 1]), Floats(&[1, 2])],
    ),
    case(
        &[("reduction", Text("mul"))],
        &[Floats(&[3, 5]), Indices(&[2, 5], &[0, 1, 2, 0, 1, 0, -1, 2, 1, -2]), Floats(&[2, 5])],
    ),
    case(
        &[("reduction", Text("add"))],
        &[Wide(DType::I32, &[5]), Known(&[3, 0, -1]), Wide(DType::I32, &[3])],
    ),
    case(&[("reduction", Text("min"))], &[Floats(&[5]), Known(&[3, 0, -1]), Floats(&[3])]),
    case(&[("reduction", Text("mul"))], &[Floats(&[5]), Known(&[3, 0, 3]), Floats(&[3])]),
    case(&[("reduction", Text("mul"))], &[Floats(&[3]), Known(&[1, 1, 1, 1, 1, 1, 1]), Floats(&[7])]),
    case(&[], &[Floats(&[3]), Indices(&[0], &[]), Floats(&[0])]).runs("view"),
];
const SCATTER_CASES: &[Case] = &[case(&[], &[I64(&[3]), Indices(&[2], &[2, 0]), I64(&[2])]).at(10)];
const ND_CASES: &[Case] = &[
    case(&[], &[Floats(&[5, 3]), Indices(&[2, 1], &[4, -4]), Floats(&[2, 3])]),
    case(&[], &[Bools(&[2, 3]), Indices(&[2, 2], &[0, 1, 1, 2]), Bools(&[2])]),
    case(&[], &[Floats(&[5, 197]), Indices(&[3, 1], &[4, 2, 4]), Floats(&[3, 197])]),
    case(&[], &[I32(&[2, 3, 5]), Indices(&[2, 1, 2], &[0, 1, -1, 2]), I32(&[2, 1, 5])]),
    case(
        &[("reduction", Text("max"))],
        &[Wide(DType::U8, &[2, 3]), Indices(&[2, 1], &[1, 1]), Wide(DType::U8, &[2, 3])],
    ),
    case(
        &[("reduction", Text("add"))],
        &[Floats(&[5, 197]), Indices(&[3, 1], &[4, 2, 4]), Floats(&[3, 197])],
    ),
    case(&[("reduction", Text("add"))], &[I64(&[2, 3]), Indices(&[3, 2], &[1, 0, 0, 1, 1, 0]), I64(&[3])]),
];
