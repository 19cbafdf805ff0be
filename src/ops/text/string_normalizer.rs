//! [StringNormalizer](https://onnx.ai/onnx/operators/onnx__StringNormalizer.html), version 10: strings without
//! stop words, in lower or upper case.

use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::{NodeView, OpDef, Operator};
use crate::tensor::{DType, Tensor};
use std::collections::HashSet;
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "StringNormalizer", since: 10, parse, cases: &[] };

#[derive(Debug, Clone, Copy, PartialEq)]
enum Case {
    Kept,
    Lower,
    Upper,
}

impl Case {
    /// By Unicode, whatever the locale: what platforms differ in there is no right answer of.
    fn of(self, text: &str) -> String {
        match self {
            Case::Kept => text.to_string(),
            Case::Lower => text.to_lowercase(),
            Case::Upper => text.to_uppercase(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct StringNormalizer {
    case: Case,
    /// Whether stop words are told apart by case.
    exact: bool,
    stop_words: HashSet<String>,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    node.ignore(&["locale"]);
    let case = match &*node.choice("case_change_action", "NONE", &["NONE", "LOWER", "UPPER"])? {
        "LOWER" => Case::Lower,
        "UPPER" => Case::Upper,
        _ => Case::Kept,
    };
    let exact = node.flag("is_case_sensitive", false)?;
    let words = node.strings("stopwords")?.unwrap_or_default();
    let stop_words = words.into_iter().map(|word| if exact { word } else { word.to_lowercase() }).collect();
    Ok(Arc::new(StringNormalizer { case, exact, stop_words }))
}

impl StringNormalizer {
    fn stays(&self, text: &str) -> bool {
        if self.exact {
            !self.stop_words.contains(text)
        } else {
            !self.stop_words.contains(&text.to_lowercase())
        }
    }
    /// The shape of what is left of a shape.
    fn shape(shape: &[usize], kept: usize) -> Result<Vec<usize>> {
        match shape {
            // Of nothing there is one empty string.
            [_] => Ok(vec![kept.max(1)]),
            [1, _] => Ok(vec![1, kept.max(1)]),
            other => Err(Error::model(format!("takes shapes [n] and [1, n], not {other:?}")).of_input(0)),
        }
    }
}

impl Operator for StringNormalizer {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = super::strings(&inputs)?;
        let kept = match (&x.value, self.stop_words.is_empty()) {
            (Some(value), _) => value.as_strings()?.iter().filter(|text| self.stays(text)).count(),
            (None, true) => x.count(),
            (None, false) => return Err(Infer::NeedsValue(0)),
        };
        Ok(vec![Fact::new(DType::String, Self::shape(&x.shape, kept)?)])
    }
    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let kept = x.as_strings()?.iter().filter(|text| self.stays(text));
        let mut kept: Vec<String> = kept.map(|text| self.case.of(text)).collect();
        let shape = Self::shape(x.shape(), kept.len())?;
        if kept.is_empty() {
            kept.push(String::new());
        }
        Ok(vec![Tensor::strings(shape, kept)?])
    }
    fn takes_any_type(&self) -> bool {
        true
    }
}
