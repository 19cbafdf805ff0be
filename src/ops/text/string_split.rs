//! [StringSplit](https://onnx.ai/onnx/operators/onnx__StringSplit.html), version 20: the parts of each string,
//! padded with empty ones to the most that a string has, and how many each has.

use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::{NodeView, OpDef, Operator};
use crate::tensor::{DType, Tensor, element_count};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "StringSplit", since: 20, parse, cases: &[] };

#[derive(Debug, Clone, PartialEq)]
pub struct StringSplit {
    /// Empty: any run of white space.
    delimiter: String,
    /// The most splits; the rest of the string is the last part.
    most: Option<usize>,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    let most = node.optional_int("maxsplit")?;
    let wrong = || Error::model("attribute 'maxsplit' is negative").remedy("leave it out for any number");
    let most = most.map(|most| usize::try_from(most).map_err(|_| wrong())).transpose()?;
    Ok(Arc::new(StringSplit { delimiter: node.string("delimiter", "")?, most }))
}

impl StringSplit {
    fn parts(&self, text: &str) -> Vec<String> {
        let most = self.most.map_or(usize::MAX, |most| most.saturating_add(1));
        if !self.delimiter.is_empty() {
            // An empty string has no parts.
            let parts = text.splitn(most, &self.delimiter).map(str::to_string);
            return if text.is_empty() { vec![] } else { parts.collect() };
        }
        let (mut rest, mut parts) = (text.trim_start(), vec![]);
        while !rest.is_empty() {
            if parts.len() + 1 == most {
                parts.push(rest.to_string());
                break;
            }
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (part, after) = rest.split_at(end);
            parts.push(part.to_string());
            rest = after.trim_start();
        }
        if let Some(last) = parts.last_mut() {
            last.truncate(last.trim_end().len());
        }
        parts
    }
}

impl Operator for StringSplit {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = super::strings(&inputs)?;
        let value = x.value.as_ref().ok_or(Infer::NeedsValue(0))?;
        let longest = value.as_strings()?.iter().map(|text| self.parts(text).len()).max().unwrap_or(0);
        let mut shape = x.shape.clone();
        shape.push(longest);
        Ok(vec![Fact::new(DType::String, shape), Fact::new(DType::I64, x.shape.clone())])
    }
    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let parts: Vec<Vec<String>> = x.as_strings()?.iter().map(|text| self.parts(text)).collect();
        let counts = parts.iter().map(|parts| parts.len() as i64).collect();
        let longest = parts.iter().map(Vec::len).max().unwrap_or(0);
        let mut shape = x.shape().to_vec();
        shape.push(longest);
        element_count(&shape)?;
        let mut all = crate::tensor::allocate(parts.len().saturating_mul(longest))?;
        for mut list in parts {
            list.resize(longest, String::new());
            all.append(&mut list);
        }
        Ok(vec![Tensor::strings(shape, all)?, Tensor::new(x.shape(), counts)?])
    }
    fn takes_any_type(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_by_white_space_or_by_a_delimiter() {
        let parts = |delimiter: &str, most, text: &str| {
            StringSplit { delimiter: delimiter.into(), most }.parts(text).join("|")
        };
        assert_eq!(parts("", None, "  a  b c "), "a|b|c");
        assert_eq!(parts("", Some(1), "  a  b c "), "a|b c");
        assert_eq!(parts("-", None, "a--b"), "a||b");
        assert_eq!(parts("-", Some(1), "a-b-c"), "a|b-c");
        assert_eq!(parts("", None, " "), "");
    }
}
