//! [ScatterND](https://onnx.ai/onnx/operators/onnx__ScatterND.html) (11, 13, 16, 18) and
//! [ScatterElements](https://onnx.ai/onnx/operators/onnx__ScatterElements.html) (11, 13, 16, 18; Scatter in 9): a tensor with some
//! elements replaced, found by indices.
//!
//! Inputs: data, indices (negative ones count from the end), updates. Where an element is named twice the last update counts.

use crate::compare::Bound;
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Fact, Infer, Mode, NodeView, OpDef, Operands, Operator};
use crate::tensor::index::{axis, strides};
use crate::tensor::{Tensor, allocate};
use std::sync::Arc;

pub const ELEMENTS: OpDef = OpDef { domain: "", name: "ScatterElements", since: 11, parse: parse_elements, cases: ELEMENTS_CASES };
pub const ND: OpDef = OpDef { domain: "", name: "ScatterND", since: 11, parse: parse_nd, cases: ND_CASES };
pub const SCATTER: OpDef = OpDef { domain: "", name: "Scatter", since: 9, parse: parse_elements, cases: SCATTER_CASES };

#[derive(Debug, Clone, PartialEq)]
pub enum Scatter {
    /// One element for each index, along an axis.
    Elements { axis: i64 },
    /// A slice for each tuple of indices.
    Tuples,
}

fn parse(node: &mut NodeView, kind: Scatter) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(3..=3)?;
    node.choice("reduction", "none", &["none"])?;
    Ok(Arc::new(kind))
}
fn parse_elements(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    let axis = node.int("axis", 0)?;
    parse(node, Scatter::Elements { axis })
}
fn parse_nd(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    parse(node, Scatter::Tuples)
}

impl Scatter {
    fn check(&self, data: &[usize], indices: &[usize], updates: &[usize]) -> Result<()> {
        let fits = match *self {
            Scatter::Elements { axis: at } => {
                let at = axis(at, data.len())?;
                indices == updates && indices.len() == data.len() && (0..data.len()).all(|d| d == at || indices[d] <= data[d])
            }
            Scatter::Tuples => {
                let split = indices.split_last().filter(|(tuple, _)| **tuple <= data.len());
                split.is_some_and(|(&tuple, outer)| updates == [outer, &data[tuple..]].concat())
            }
        };
        let wrong = || Error::model(format!("indices {indices:?} and updates {updates:?} don't fit data of shape {data:?}"));
        if fits { Ok(()) } else { Err(wrong()) }
    }
}

impl Operator for Scatter {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let (data, indices, updates) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
        self.check(&data.shape, &indices.shape, &updates.shape)?;
        Ok(vec![Fact::new(data.dtype, data.shape.clone())])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: Mode) -> Result<Vec<Tensor>> {
        let (data, indices, updates) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
        let shape = data.shape();
        self.check(shape, indices.shape(), updates.shape())?;
        let resolve = |index: i64, size: usize| {
            let at = if index < 0 { index.saturating_add(size as i64) } else { index };
            usize::try_from(at).ok().filter(|&at| at < size).ok_or_else(|| Error::input(format!("index {index} lies outside an axis of {size} elements")))
        };
        let (own, list) = (strides(shape), indices.to_i64s()?);
        // Which element of data and updates, one after the other, the result repeats.
        let mut sources: Vec<usize> = allocate(data.len())?;
        sources.extend(0..data.len());
        match *self {
            Scatter::Elements { axis: at } => {
                let at = axis(at, shape.len())?;
                for (k, &index) in list.iter().enumerate() {
                    let (mut rest, mut offset) = (k, resolve(index, shape[at])? * own[at]);
                    for d in (0..shape.len()).rev() {
                        let x = rest % indices.shape()[d];
                        rest /= indices.shape()[d];
                        offset += if d == at { 0 } else { x * own[d] };
                    }
                    sources[offset] = data.len() + k;
                }
            }
            Scatter::Tuples => {
                let tuple = indices.shape().last().copied().unwrap_or(0);
                let slice: usize = shape[tuple..].iter().product();
                let count: usize = indices.shape()[..indices.rank() - 1].iter().product();
                for k in 0..count {
                    let mut offset = 0;
                    for (d, &index) in list[k * tuple..(k + 1) * tuple].iter().enumerate() {
                        offset += resolve(index, shape[d])? * own[d];
                    }
                    (0..slice).for_each(|j| sources[offset + j] = data.len() + k * slice + j);
                }
            }
        }
        Ok(vec![Tensor::chain(&[data, updates])?.pick(shape, |at| sources.get(at).copied())?])
    }

    fn moves(&self) -> bool {
        true
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }
}

const ELEMENTS_CASES: &[Case] = &[case(&[("axis", Int(1))], &[Floats(&[3, 4]), Indices(&[2, 2], &[0, -1, 2, 1]), Floats(&[2, 2])]).runs("cpu")];
const SCATTER_CASES: &[Case] = &[case(&[], &[I64(&[3]), Indices(&[2], &[2, 0]), I64(&[2])]).at(10).runs("cpu")];
const ND_CASES: &[Case] = &[
    case(&[], &[Floats(&[5, 3]), Indices(&[2, 1], &[4, -4]), Floats(&[2, 3])]).runs("cpu"),
    case(&[], &[Bools(&[2, 3]), Indices(&[2, 2], &[0, 1, 1, 2]), Bools(&[2])]).runs("cpu"),
];
