//! The domain ai.onnx.ml: classical models over rows of features, on the CPU. Their outputs are float32
//! whatever the features are; sums are float64.

pub mod array_feature_extractor;
pub mod binarizer;
pub mod cast_map;
pub mod dict_vectorizer;
pub mod feature_vectorizer;
pub mod imputer;
pub mod label_encoder;
mod labels;
pub mod linear_classifier;
pub mod linear_regressor;
pub mod normalizer;
pub mod one_hot_encoder;
mod post_transform;
pub mod scaler;
mod svm;
pub mod svm_classifier;
pub mod svm_regressor;
pub mod tree_ensemble;
pub mod tree_ensemble_classifier;
pub mod tree_ensemble_regressor;
mod trees;
pub mod zip_map;

use crate::base::EvalPrecision;
use crate::error::{Error, Result};
use crate::ops::NodeView;
use crate::tensor::{DType, Tensor, cast};

/// ONNX's name of it.
const DOMAIN: &str = "ai.onnx.ml";

/// A tensor's sizes as rows of features: one dimension is one row.
fn rows(shape: &[usize]) -> Result<[usize; 2]> {
    match *shape {
        [features] => Ok([1, features]),
        [rows, features] => Ok([rows, features]),
        _ => Err(Error::model(format!("an input of shape {shape:?} is not [rows, features] or [features]"))),
    }
}

/// Numbers as the float32 tensor that the domain's operators make; the oracle's are float64.
fn floats(shape: impl Into<Vec<usize>>, list: Vec<f64>, mode: EvalPrecision) -> Result<Tensor> {
    cast(&Tensor::new(shape, list)?, mode.of(DType::F32), true)
}

/// A list of floats, empty where it is left out.
fn reals(node: &NodeView, name: &str) -> Result<Vec<f64>> {
    Ok(node.floats(name)?.unwrap_or_default().into_iter().map(f64::from).collect())
}

/// The same of one that may be a tensor, of doubles mostly, by another name.
fn reals_or_tensor(node: &NodeView, name: &str) -> Result<Vec<f64>> {
    match node.tensor(&format!("{name}_as_tensor"))? {
        Some(tensor) => tensor.to_f64s(),
        None => reals(node, name),
    }
}

/// A list of texts, where it isn't left out or empty.
fn texts(node: &NodeView, name: &str) -> Result<Option<Vec<String>>> {
    node.strings(name).map(|list| list.filter(|list| !list.is_empty()))
}

/// A list of integers, where it isn't left out or empty.
fn integers(node: &NodeView, name: &str) -> Result<Option<Vec<i64>>> {
    node.ints(name).map(|list| list.filter(|list| !list.is_empty()))
}

/// The attribute that lists strings, or the one that lists integers: exactly one of them.
fn keys(node: &NodeView, strings: &str, numbers: &str) -> Result<Tensor> {
    match (texts(node, strings)?, integers(node, numbers)?) {
        (Some(list), None) => Tensor::strings([list.len()], list),
        (None, Some(list)) => Tensor::new([list.len()], list),
        _ => Err(Error::model(format!("has not one of the attributes '{strings}' and '{numbers}'"))),
    }
}
