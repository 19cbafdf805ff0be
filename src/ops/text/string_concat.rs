//! [StringConcat](https://onnx.ai/onnx/operators/onnx__StringConcat.html), version 20: strings put together,
//! element by element.

use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::{NodeView, OpDef, Operator};
use crate::tensor::{DType, Tensor, index};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "StringConcat", since: 20, parse, cases: &[] };

#[derive(Debug, Clone, PartialEq)]
pub struct StringConcat;

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=2)?;
    Ok(Arc::new(StringConcat))
}

impl Operator for StringConcat {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let (x, y) = (inputs.required(0)?, inputs.required(1)?);
        inputs.one_type(2)?;
        super::strings(&inputs)?;
        Ok(vec![Fact::new(DType::String, index::broadcast(&x.shape, &y.shape)?)])
    }
    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let (x, y) = (inputs.required(0)?, inputs.required(1)?);
        let shape = index::broadcast(x.shape(), y.shape())?;
        let spread =
            |shape_of: &[usize]| index::broadcast_strides(shape_of, &index::strides(shape_of), &shape);
        let strides = [spread(x.shape()), spread(y.shape())];
        let (a, b) = (x.as_strings()?, y.as_strings()?);
        let outside = || Error::internal("a string outside its tensor");
        let joined = index::Odometer::new(&shape, [&strides[0], &strides[1]]).map(|[i, j]| {
            let (a, b) = (a.get(i).ok_or_else(outside)?, b.get(j).ok_or_else(outside)?);
            Ok(format!("{a}{b}"))
        });
        Ok(vec![Tensor::strings(shape.clone(), joined.collect::<Result<_>>()?)?])
    }
    fn takes_any_type(&self) -> bool {
        true
    }
}
