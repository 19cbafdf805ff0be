//! [Concat](https://onnx.ai/onnx/operators/onnx__Concat.html), versions 1, 4, 11, 13: tensors one after the
//! other along an axis.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Layout, Operands, Unsupported, View};
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator, Reads};
use crate::tensor::{DType, Tensor, index};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "Concat", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct Concat {
    pub axis: i64,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    // Version 1 had a default.
    let axis = if node.version < 4 {
        node.int("axis", 1)?
    } else {
        node.optional_int("axis")?.ok_or_else(|| Error::model("attribute 'axis' is missing"))?
    };
    Ok(Arc::new(Concat { axis }))
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Operator for Concat {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let first = inputs.required(0)?;
        let axis = index::axis(self.axis, first.rank())?;
        let mut shape = first.shape.clone();
        shape[axis] = 0;
        for part in inputs.present() {
            let fits = part.rank() == shape.len()
                && part.dtype == first.dtype
                && (0..shape.len()).all(|at| at == axis || part.shape[at] == first.shape[at]);
            if !fits {
                return Err(Error::model(format!(
                    "{} {:?} and {} {:?} don't join along axis {axis}",
                    first.dtype, first.shape, part.dtype, part.shape
                ))
                .into());
            }
            shape[axis] = shape[axis].saturating_add(part.shape[axis]);
        }
        Ok(vec![Fact::new(first.dtype, shape)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let parts: Vec<&Tensor> = inputs.present().collect();
        let first = inputs.required(0)?;
        let axis = index::axis(self.axis, first.rank())?;
        let inner: usize = first.shape()[axis + 1..].iter().product();
        let mut shape = first.shape().to_vec();
        shape[axis] = parts.iter().map(|part| part.shape()[axis]).sum();
        let outer: usize = first.shape()[..axis].iter().product();
        let unit = parts.iter().map(|part| part.shape()[axis]).reduce(gcd).unwrap_or(0) * inner;
        if first.dtype() != DType::String && unit > 0 && outer > 0 {
            // A part's rows in runs of a length that divides them all.
            let per_row = shape[axis] * inner / unit;
            let mut row = vec![];
            for (index, part) in parts.iter().enumerate() {
                let width = part.shape()[axis] * inner;
                row.extend((0..width / unit).map(|k| (index, k * unit, width)));
            }
            let source = |run: usize| {
                let (part, start, width) = row[run % per_row];
                (part, run / per_row * width + start)
            };
            return Ok(vec![Tensor::runs(&parts, shape, unit, source)?]);
        }
        // For each position on the axis: the element of the chained parts where it begins, and the part's
        // size there.
        let mut columns = vec![];
        let mut start = 0;
        for part in &parts {
            let size = part.shape()[axis];
            columns.extend((0..size).map(|at| (start + at * inner, size * inner)));
            start += part.len();
        }
        let row = shape[axis] * inner;
        let result = Tensor::chain(&parts)?.pick(shape, |index| {
            let (outer, rest) = (index / row, index % row);
            let (begin, step) = columns[rest / inner];
            Some(begin + outer * step + rest % inner)
        })?;
        Ok(vec![result])
    }

    fn takes_any_type(&self) -> bool {
        true
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn concatenates(&self) -> Option<i64> {
        Some(self.axis)
    }

    fn reads(&self) -> Reads {
        Reads::Strided
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }
}

impl Lower for Concat {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let fact = at.output_fact(0)?.clone();
        let axis = index::axis(self.axis, fact.rank())?;
        let parts = (0..at.input_count()).map(|part| at.view(part)).collect::<Result<Vec<_>, _>>()?;
        // A padded layout, so that no two rows of a part share a group of 4.
        let last = parts.iter().any(|part| {
            part.count() > 0 && at.layout_of(part) == Layout::ChannelsLast4 && !part.is(Layout::Dense)
        });
        let output = match at.begun(0) {
            Some(whole) => whole,
            None => at.output(0, if last { Layout::ChannelsLast4 } else { Layout::Rows4 })?,
        };
        let mut start = 0;
        for part in parts {
            let stride = output.strides[axis] as usize;
            let target = View {
                buffer: output.buffer,
                shape: part.shape.clone(),
                strides: output.strides.clone(),
                offset: start * stride,
            };
            start += part.shape[axis];
            if !at.lies_in(&part, output.buffer) {
                at.copy(&part, &target)?;
            }
        }
        Ok(())
    }
}

pub const CASES: &[Case] = &[
    case(&[("axis", Int(1))], &[Floats(&[2, 3, 4]), Floats(&[2, 5, 4])]),
    case(&[("axis", Int(-1))], &[Floats(&[3, 3]), Floats(&[3, 5]), Floats(&[3, 1])]),
    case(&[("axis", Int(0))], &[Floats(&[2, 7]), Weights(&[1, 7])]),
    case(&[("axis", Int(1))], &[I64(&[2, 3]), I64(&[2, 2])]),
    case(&[("axis", Int(0))], &[Bools(&[5]), Bools(&[6])]),
];
