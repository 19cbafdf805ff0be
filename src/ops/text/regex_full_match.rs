//! [RegexFullMatch](https://onnx.ai/onnx/operators/onnx__RegexFullMatch.html), version 20: whether a regular
//! expression matches all of a string.

use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::{NodeView, OpDef, Operator};
use crate::tensor::{Boolean, DType, Tensor};
use regex::Regex;
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "RegexFullMatch", since: 20, parse, cases: &[] };

#[derive(Debug, Clone)]
pub struct RegexFullMatch {
    whole: Regex,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    let pattern = node.string("pattern", "")?;
    // The syntax is RE2's but for a few escapes, and matching takes linear time as there.
    let whole = Regex::new(&format!(r"\A(?:{pattern})\z")).map_err(|problem| {
        Error::unsupported(format!("attribute 'pattern' can't be compiled: {problem}"))
            .remedy("write it in RE2's syntax")
    })?;
    Ok(Arc::new(RegexFullMatch { whole }))
}

impl Operator for RegexFullMatch {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        Ok(vec![Fact::new(DType::Bool, super::strings(&inputs)?.shape.clone())])
    }
    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let matches = x.as_strings()?.iter().map(|text| Boolean::from(self.whole.is_match(text)));
        Ok(vec![Tensor::new(x.shape(), matches.collect())?])
    }
    fn takes_any_type(&self) -> bool {
        true
    }
}
