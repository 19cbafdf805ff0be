//! [ConstantOfShape](https://onnx.ai/onnx/operators/onnx__ConstantOfShape.html) (9, 20, …) and
//! [Range](https://onnx.ai/onnx/operators/onnx__Range.html) (11): tensors made from sizes and bounds; a plan
//! computes them.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator};
use crate::tensor::{Tensor, allocate, cast};
use std::sync::Arc;

pub const CONSTANT_OF_SHAPE: OpDef =
    OpDef { domain: "", name: "ConstantOfShape", since: 9, parse: parse_fill, cases: FILL_CASES };
pub const RANGE: OpDef =
    OpDef { domain: "", name: "Range", since: 11, parse: parse_range, cases: RANGE_CASES };

/// One value in a shape (input 0).
#[derive(Debug, Clone, PartialEq)]
pub struct ConstantOfShape {
    pub value: Tensor,
}

/// start, start + delta, … below limit (inputs 0, 1, 2: start, limit, delta).
#[derive(Debug, Clone, PartialEq)]
pub struct Range;

fn parse_fill(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    let value = node.tensor("value")?.unwrap_or_else(|| Tensor::scalar(0f32));
    if value.len() != 1 {
        return Err(Error::model(format!("attribute 'value' has {} elements; one is needed", value.len())));
    }
    Ok(Arc::new(ConstantOfShape { value }))
}

fn parse_range(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(3..=3)?;
    node.ignore(&["stash_type"]);
    Ok(Arc::new(Range))
}

fn sizes(list: &[i64]) -> Result<Vec<usize>> {
    list.iter()
        .map(|&size| usize::try_from(size))
        .collect::<Result<_, _>>()
        .map_err(|_| Error::model(format!("the shape {list:?} holds a negative size")))
}

impl Operator for ConstantOfShape {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        Ok(vec![Fact::new(self.value.dtype(), sizes(&inputs.ints(0)?)?)])
    }
    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let shape = sizes(&inputs.required(0)?.to_i64s()?)?;
        Ok(vec![crate::base::held(&self.value, mode)?.pick(shape, |_| Some(0))?])
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
}

impl Lower for ConstantOfShape {
    /// What is too large for the plan to compute is one element seen many times.
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let scalar = self.value.reshape([])?;
        let shape = at.output_fact(0)?.shape.clone();
        // Who needs the elements one after the other makes a copy, which has to fit.
        let (bytes, most) =
            (at.output_fact(0)?.count().saturating_mul(8) as u64, at.capabilities().max_binding_bytes);
        if bytes > most {
            return Err(Unsupported::new(format!(
                "up to {bytes} bytes of one value; the adapter binds at most {most}"
            )));
        }
        let view = at.table("the value of a ConstantOfShape", scalar)?.broadcast(&shape);
        at.alias(0, view);
        Ok(())
    }
}

impl Range {
    /// The number of elements: max(0, ⌈(limit − start) / delta⌉), exact for integers.
    fn count(parts: &[&Tensor; 3]) -> Result<usize> {
        if let Some(index) = parts.iter().position(|part| part.len() != 1) {
            return Err(Error::model(format!(
                "a range needs one number here; found shape {:?}",
                parts[index].shape()
            ))
            .of_input(index));
        }
        let standing = || {
            Error::model("the delta of a range is 0, which never reaches the limit")
                .of_input(2)
                .remedy("give another delta")
        };
        let count = if parts[0].dtype().is_float() {
            let [start, limit, delta] =
                [parts[0].to_f64s()?[0], parts[1].to_f64s()?[0], parts[2].to_f64s()?[0]];
            if delta == 0.0 {
                return Err(standing());
            }
            ((limit - start) / delta).ceil().max(0.0)
        } else {
            let [start, limit, delta] = [
                parts[0].to_i64s()?[0] as i128,
                parts[1].to_i64s()?[0] as i128,
                parts[2].to_i64s()?[0] as i128,
            ];
            if delta == 0 {
                return Err(standing());
            }
            let span = (limit - start) * delta.signum();
            ((span + delta.abs() - 1) / delta.abs()).max(0) as f64
        };
        if count.is_finite() && count < (1u64 << 40) as f64 {
            Ok(count as usize)
        } else {
            Err(Error::memory(format!("a range of {count} elements")))
        }
    }
}

impl Operator for Range {
    fn by_value(&self, _index: usize) -> bool {
        true
    }

    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let value = |index: usize| inputs.required(index)?.value.as_ref().ok_or(Infer::NeedsValue(index));
        let parts = [value(0)?, value(1)?, value(2)?];
        Ok(vec![Fact::new(parts[0].dtype(), [Self::count(&parts)?])])
    }
    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let parts = [inputs.required(0)?, inputs.required(1)?, inputs.required(2)?];
        let count = Self::count(&parts)?;
        let made = if parts[0].dtype().is_float() {
            let (start, delta) = (parts[0].to_f64s()?[0], parts[2].to_f64s()?[0]);
            let mut list: Vec<f64> = allocate(count)?;
            list.extend((0..count).map(|k| start + k as f64 * delta));
            Tensor::new([count], list)?
        } else {
            let (start, delta) = (parts[0].to_i64s()?[0], parts[2].to_i64s()?[0]);
            let mut list: Vec<i64> = allocate(count)?;
            list.extend((0..count as i64).map(|k| start.wrapping_add(k.wrapping_mul(delta))));
            Tensor::new([count], list)?
        };
        Ok(vec![cast(&made, parts[0].dtype(), true)?])
    }
    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }
}

const FILL_CASES: &[Case] =
    &[case(&[], &[Known(&[2, 3])]).runs("plan"), case(&[], &[Known(&[700, 701])]).runs("view")];
const RANGE_CASES: &[Case] = &[case(&[], &[Scalar(1.0), Scalar(4.5), Scalar(0.5)]).runs("plan")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delta_of_zero_is_an_error_that_names_it() {
        let float = [0f32, 4.0, 0.0].map(Tensor::scalar);
        let negative = [0f32, 4.0, -0.0].map(Tensor::scalar);
        let integer = [0i64, 0, 0].map(Tensor::scalar);
        for [start, limit, delta] in [&float, &negative, &integer] {
            let error = Range::count(&[start, limit, delta]).unwrap_err();
            assert_eq!(error.input_at_fault(), Some(2), "{error}");
            assert!(error.to_string().contains("delta"), "{error}");
        }
        let wide = Tensor::int64s([1, 2]);
        let error = Range::count(&[&integer[0], &wide, &integer[2]]).unwrap_err();
        assert_eq!(error.input_at_fault(), Some(1), "{error}");
    }
}
