//! [Constant](https://onnx.ai/onnx/operators/onnx__Constant.html), versions 1, 9, 11, 12, 13, …: a tensor
//! held by the node.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, case};
use crate::ops::{Attribute, NodeView, OpDef, Operator};
use crate::tensor::Tensor;
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "Constant", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct Constant {
    pub value: Tensor,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(0..=0)?;
    // A sparse tensor is read as a dense one.
    let names = [
        "value",
        "sparse_value",
        "value_float",
        "value_floats",
        "value_int",
        "value_ints",
        "value_string",
        "value_strings",
    ];
    let found = names
        .iter()
        .find_map(|name| node.get(name))
        .ok_or_else(|| Error::model("a constant without a value"))?;
    let value = match found {
        Attribute::Tensor(tensor) => tensor.clone(),
        Attribute::Float(value) => Tensor::scalar(*value),
        Attribute::Floats(list) => Tensor::new([list.len()], list.clone())?,
        Attribute::Int(value) => Tensor::scalar(*value),
        Attribute::Ints(list) => Tensor::int64s(list.iter().copied()),
        Attribute::String(text) => Tensor::strings([], vec![text.clone()])?,
        Attribute::Strings(list) => Tensor::strings([list.len()], list.clone())?,
        other => return Err(Error::unsupported(format!("a constant given as {other}"))),
    };
    Ok(Arc::new(Constant { value }))
}

impl Operator for Constant {
    fn infer(&self, _inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        Ok(vec![Fact::of(&self.value)])
    }
    fn eval(&self, _inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        Ok(vec![crate::base::held(&self.value, mode)?])
    }
    fn takes_any_type(&self) -> bool {
        true
    }
    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }
    fn flops(&self, _inputs: Operands<'_, Fact>, _outputs: &[Fact]) -> u64 {
        0
    }
}

pub const CASES: &[Case] = &[case(&[("value_ints", Ints(&[1, 2]))], &[]).runs("plan")];
