//! [Gather](https://onnx.ai/onnx/operators/onnx__Gather.html) (1, 11, 13),
//! [GatherElements](https://onnx.ai/onnx/operators/onnx__GatherElements.html) (11, 13) and
//! [GatherND](https://onnx.ai/onnx/operators/onnx__GatherND.html) (11, 12, 13): elements found by indices.
//!
//! Inputs: data, indices (int32 or int64; negative ones count from the end). An index outside is an error.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Layout, Operands, Unsupported, View};
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::kernels::gather::{Addressing, emit, gathered};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator};
use crate::tensor::index::{axis, element, strides};
use crate::tensor::{DType, Tensor, element_count};
use std::sync::Arc;

pub const GATHER: OpDef =
    OpDef { domain: "", name: "Gather", since: 1, parse: parse_gather, cases: GATHER_CASES };
pub const ELEMENTS: OpDef =
    OpDef { domain: "", name: "GatherElements", since: 11, parse: parse_elements, cases: ELEMENTS_CASES };
pub const ND: OpDef = OpDef { domain: "", name: "GatherND", since: 11, parse: parse_nd, cases: ND_CASES };

/// Which index belongs to which element of the output.
#[derive(Debug, Clone, PartialEq)]
pub enum Gather {
    /// Whole slices along an axis.
    Slices { axis: i64 },
    /// One element for each index, along an axis.
    Elements { axis: i64 },
    /// A tuple of indices for each slice, behind shared leading axes.
    Tuples { batch: usize },
}

fn parse_gather(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=2)?;
    Ok(Arc::new(Gather::Slices { axis: node.int("axis", 0)? }))
}
fn parse_elements(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=2)?;
    Ok(Arc::new(Gather::Elements { axis: node.int("axis", 0)? }))
}
fn parse_nd(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=2)?;
    let batch = usize::try_from(node.int("batch_dims", 0)?)
        .map_err(|_| Error::model("attribute 'batch_dims' is negative"))?;
    Ok(Arc::new(Gather::Tuples { batch }))
}

impl Gather {
    fn shape(&self, data: &[usize], indices: &[usize]) -> Result<Vec<usize>> {
        match *self {
            Gather::Slices { axis: at } => {
                let at = axis(at, data.len())?;
                Ok([&data[..at], indices, &data[at + 1..]].concat())
            }
            Gather::Elements { axis: at } => {
                let at = axis(at, data.len())?;
                let fits =
                    data.len() == indices.len() && (0..data.len()).all(|d| d == at || indices[d] <= data[d]);
                if fits {
                    Ok(indices.to_vec())
                } else {
                    Err(Error::model(format!(
                        "indices of shape {indices:?} don't fit data of shape {data:?}"
                    )))
                }
            }
            Gather::Tuples { batch } => {
                let wrong = || {
                    Error::model(format!(
                        "indices of shape {indices:?} don't fit data of shape {data:?} with batch_dims = {batch}"
                    ))
                };
                let (&tuple, outer) = indices.split_last().ok_or_else(wrong)?;
                let fits = batch <= outer.len()
                    && batch <= data.len()
                    && outer[..batch] == data[..batch]
                    && batch + tuple <= data.len();
                if fits { Ok([outer, &data[batch + tuple..]].concat()) } else { Err(wrong()) }
            }
        }
    }

    /// Errors where an index lies outside its axis.
    fn check(&self, data: &[usize], indices: &Tensor) -> Result<Vec<i64>> {
        let dense = |shape: &[usize]| vec![0isize; shape.len()];
        let Addressing { axis: first, axes, .. } =
            self.addressing((data, &dense(data)), (indices.shape(), &dense(indices.shape())))?;
        let list = indices.to_i64s()?;
        for (at, &index) in list.iter().enumerate() {
            let entry = at % axes.len().max(1);
            element(index, (first + entry, axes.get(entry).map_or(0, |axis| axis.0)))
                .map_err(|error| error.of_input(1))?;
        }
        Ok(list)
    }

    /// The addressing over the strides of data and indices.
    fn addressing(&self, data: (&[usize], &[isize]), indices: (&[usize], &[isize])) -> Result<Addressing> {
        let (shape, own) = data;
        let zeros = |count: usize| vec![0isize; count];
        Ok(match *self {
            Gather::Slices { axis: at } => {
                let at = axis(at, shape.len())?;
                Addressing {
                    data_strides: [&own[..at], &zeros(indices.0.len()), &own[at + 1..]].concat(),
                    index_strides: [&zeros(at)[..], indices.1, &zeros(shape.len() - at - 1)].concat(),
                    tuple_step: 0,
                    axis: at,
                    axes: vec![(shape[at], own[at])],
                }
            }
            Gather::Elements { axis: at } => {
                let at = axis(at, shape.len())?;
                let data_strides = (0..shape.len()).map(|d| if d == at { 0 } else { own[d] }).collect();
                Addressing {
                    data_strides,
                    index_strides: indices.1.to_vec(),
                    tuple_step: 0,
                    axis: at,
                    axes: vec![(shape[at], own[at])],
                }
            }
            Gather::Tuples { batch } => {
                let (outer, tuple) = (indices.0.len() - 1, indices.0[indices.0.len() - 1]);
                let walked = batch..batch + tuple;
                let behind = own[batch + tuple..].to_vec();
                Addressing {
                    index_strides: [&indices.1[..outer], &zeros(behind.len())].concat(),
                    data_strides: [&own[..batch], &zeros(outer - batch), &behind].concat(),
                    tuple_step: indices.1[outer],
                    axis: batch,
                    axes: walked.map(|d| (shape[d], own[d])).collect(),
                }
            }
        })
    }
}

impl Operator for Gather {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let (data, indices) = (inputs.required(0)?, inputs.required(1)?);
        let shape = self.shape(&data.shape, &indices.shape)?;
        super::index_type(indices)?;
        if let Some(value) = &indices.value {
            self.check(&data.shape, value)?;
        }
        Ok(vec![Fact::new(data.dtype, shape)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let (data, indices) = (inputs.required(0)?, inputs.required(1)?);
        let shape = self.shape(data.shape(), indices.shape())?;
        let dense =
            |shape: &[usize]| strides(shape).iter().map(|&stride| stride as isize).collect::<Vec<_>>();
        let addressing = self
            .addressing((data.shape(), &dense(data.shape())), (indices.shape(), &dense(indices.shape())))?;
        let list = self.check(data.shape(), indices)?;
        element_count(&shape)?;
        if let Gather::Slices { axis: at } = *self {
            let at = axis(at, data.rank())?;
            let (size, inner) = (data.shape()[at], data.shape()[at + 1..].iter().product::<usize>());
            if data.dtype() != DType::String && inner > 0 && !shape.contains(&0) {
                let source = |run: usize| {
                    let (outer, index) = (run / list.len(), list[run % list.len()]);
                    let index = if index < 0 { index + size as i64 } else { index } as usize;
                    (0, (outer * size + index) * inner)
                };
                return Ok(vec![Tensor::runs(&[data], shape, inner, source)?]);
            }
        }
        let mut coordinates = vec![0usize; shape.len()];
        let picked = data.pick(shape.clone(), |_| {
            let along = |strides: &[isize]| {
                coordinates.iter().zip(strides).map(|(&x, stride)| x as isize * stride).sum::<isize>()
            };
            let (mut at, tuple) = (along(&addressing.data_strides), along(&addressing.index_strides));
            for (k, &(size, stride)) in addressing.axes.iter().enumerate() {
                let index = list[(tuple + k as isize * addressing.tuple_step) as usize] as isize;
                at += if index < 0 { index + size as isize } else { index } * stride;
            }
            for d in (0..shape.len()).rev() {
                coordinates[d] += 1;
                if coordinates[d] < shape[d] {
                    break;
                }
                coordinates[d] = 0;
            }
            Some(at as usize)
        })?;
        Ok(vec![picked])
    }

    fn takes_any_type(&self) -> bool {
        true
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }

    fn flops(&self, _inputs: Operands<'_, Fact>, _outputs: &[Fact]) -> u64 {
        0
    }
}

impl Lower for Gather {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let data = at.view(0)?;
        // One known index of a slice is a view.
        if let (Gather::Slices { axis: a }, Some(index)) =
            (self, at.constant(1).filter(|index| index.len() == 1))
        {
            let place = axis(*a, data.shape.len())?;
            let index = index.to_i64s()?[0];
            let size = data.shape[place] as i64;
            let index = if index < 0 { index + size } else { index };
            if !(0..size).contains(&index) {
                return Err(Unsupported::new("an index outside its axis"));
            }
            let mut view = data.clone();
            view.offset = (view.offset as isize + index as isize * view.strides[place]) as usize;
            (view.shape[place], view.strides[place]) = (1, 0);
            let shape = at.output_fact(0)?.shape.clone();
            return at.alias_reshaped(view, &shape);
        }
        let indices = at.view(1)?;
        if let Gather::Slices { axis: a } = *self
            && at.is_constant(&data)
            && bytes(at, &data)? > at.capabilities().max_binding()
        {
            return self.in_parts(at, axis(a, data.shape.len())?, &data, &indices);
        }
        let addressing = self.addressing((&data.shape, &data.strides), (&indices.shape, &indices.strides))?;
        emit(at, &data, &indices, &addressing)
    }
}

/// The bytes that a view's elements take where they lie one after the other.
fn bytes(at: &dyn Lowering, view: &View) -> Result<u64, Unsupported> {
    Ok((view.count() as u64).saturating_mul(at.storage(at.fact(0)?.dtype)?.element_bytes() as u64))
}

impl Gather {
    /// Emits the gather of a constant that is more than the adapter binds at once: a part of its columns at a
    /// time, each in a constant of its own.
    fn in_parts(
        &self,
        at: &mut dyn Lowering,
        place: usize,
        data: &View,
        indices: &View,
    ) -> Result<(), Unsupported> {
        let (dtype, index_type) = (at.fact(0)?.dtype, at.fact(1)?.dtype);
        let (all, limit) = (bytes(at, data)?, at.capabilities().max_binding());
        // The innermost axis that isn't gathered along.
        let along = (0..data.shape.len()).rev().find(|&axis| axis != place && data.shape[axis] > 1);
        let fits = along.map_or(0, |axis| limit / (all / data.shape[axis] as u64).max(1)) as usize;
        let (Some(along), true) = (along, fits > 0) else {
            return Err(Unsupported::new(format!(
                "a gather from {all} bytes along their one axis; the adapter binds at most {limit}"
            )));
        };
        let step = if fits < 4 { fits } else { fits / 4 * 4 };
        let report = at.report(1, place, vec![data.shape[place]], true);
        let output = at.output(0, Layout::Rows4)?;
        let to_axis = if along < place { along } else { along + indices.shape.len() - 1 };
        for first in (0..data.shape[along]).step_by(step) {
            let part = |view: &View, axis: usize| {
                let mut view = view.clone();
                view.offset = view.offset.wrapping_add_signed(first as isize * view.strides[axis]);
                view.shape[axis] = step.min(data.shape[along] - first);
                view
            };
            let (columns, to) = (at.in_layout(part(data, along), Layout::Dense)?, part(&output, to_axis));
            let addressing =
                self.addressing((&columns.shape, &columns.strides), (&indices.shape, &indices.strides))?;
            let made = at.scratch(&Fact::new(dtype, &to.shape[..]), Layout::Dense)?;
            let (columns, indices) = ((&columns, dtype), (indices, index_type));
            gathered(at, columns, indices, &addressing, true, report, made.clone())?;
            at.copy(&made, &to)?;
        }
        Ok(())
    }
}

const GATHER_CASES: &[Case] = &[
    case(&[], &[Weights(&[7, 5]), Indices(&[2, 3], &[0, 6, -1, 3, 3, -7])]),
    case(&[("axis", Int(1))], &[Floats(&[3, 4, 5]), Indices(&[3], &[3, 0, -2])]),
    case(&[("axis", Int(-1))], &[I64(&[2, 6]), Indices(&[1, 2], &[5, 1])]),
    case(&[("axis", Int(1))], &[Floats(&[2, 5]), Known(&[2])]).runs("view"),
];
const ELEMENTS_CASES: &[Case] =
    &[case(&[("axis", Int(1))], &[Floats(&[3, 4]), Indices(&[2, 3], &[0, 3, -1, 2, 1, 0])])];
const ND_CASES: &[Case] = &[
    case(&[], &[Floats(&[3, 4, 5]), Indices(&[2, 2], &[0, 1, -1, 3])]),
    case(&[("batch_dims", Int(1))], &[Floats(&[2, 4, 3]), Indices(&[2, 3, 1], &[0, 3, 1, 2, -1, 0])]),
    case(&[], &[Bools(&[2, 3]), Indices(&[3, 2], &[0, 1, 1, 2, 0, 0])]),
];
