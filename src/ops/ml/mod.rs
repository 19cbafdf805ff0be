//! The operators of the domain ai.onnx.ml.

pub mod dict_vectorizer;
pub mod zip_map;

use crate::error::{Error, Result};
use crate::ops::{Attribute, NodeView};
use crate::tensor::Tensor;

/// The attribute that lists strings, or the one that lists integers: exactly one of them.
fn labels(node: &NodeView, strings: &str, integers: &str) -> Result<Tensor> {
    let words = match node.get(strings) {
        Some(Attribute::Strings(list)) => Some(list.clone()),
        None => None,
        Some(other) => {
            return Err(Error::model(format!("attribute '{strings}' is {other}, not a list of strings")));
        }
    };
    match (words, node.ints(integers)?) {
        (Some(list), None) => Tensor::strings([list.len()], list),
        (None, Some(list)) => Tensor::new([list.len()], list),
        // Some exporters write the one that isn't meant as an empty list.
        (Some(list), Some(other)) if other.is_empty() => Tensor::strings([list.len()], list),
        (Some(list), Some(other)) if list.is_empty() => Tensor::new([other.len()], other),
        _ => Err(Error::model(format!("has not one of the attributes '{strings}' and '{integers}'"))),
    }
}
