//! [NonZero](https://onnx.ai/onnx/operators/onnx__NonZero.html), versions 9, 13: the coordinates of the
//! elements that aren't 0, a row for each axis. A text is not 0 where it isn't empty.
//!
//! The output's size depends on the elements. That of a scalar has no rows.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands};
use crate::error::Result;
use crate::ops::case::{Case, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator};
use crate::tensor::index::strides;
use crate::tensor::{DType, Tensor, allocate, element_count};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "NonZero", since: 9, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct NonZero;

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    Ok(Arc::new(NonZero))
}

/// Which elements aren't 0.
fn places(x: &Tensor) -> Result<Vec<usize>> {
    let truth: Vec<bool> = match x.as_strings() {
        Ok(texts) => texts.iter().map(|text| !text.is_empty()).collect(),
        Err(_) => x.to_f64s()?.into_iter().map(|x| x != 0.0).collect(),
    };
    Ok((0..truth.len()).filter(|&at| truth[at]).collect())
}

impl Operator for NonZero {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        let count = places(x.value.as_ref().ok_or(Infer::NeedsValue(0))?)?.len();
        Ok(vec![Fact::new(DType::I64, [x.rank(), count])])
    }

    fn takes_any_type(&self) -> bool {
        true
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let (places, steps) = (places(x)?, strides(x.shape()));
        let shape = [x.rank(), places.len()];
        let mut rows: Vec<i64> = allocate(element_count(&shape)?)?;
        for (&size, step) in x.shape().iter().zip(steps) {
            rows.extend(places.iter().map(|at| (at / step % size) as i64));
        }
        Ok(vec![Tensor::new(shape, rows)?])
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }
}

const CASES: &[Case] = &[
    case(&[], &[Bools(&[3, 4])]).runs("plan"),
    case(&[], &[Indices(&[2, 2, 3], &[0, 3, -1, 0, 0, 2, 5, 0, 0, 1, 1, 0])]).at(9).runs("plan"),
    case(&[], &[Floats(&[7])]).runs("cpu"),
    case(&[], &[Values(&[2, 3], &[0.0, -0.0, f32::NAN, 1e-3, 0.0, f32::INFINITY])]).runs("cpu"),
    case(&[], &[I32(&[0, 3])]).runs("plan"),
];
