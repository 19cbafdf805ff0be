//! Labels of classes, which a classifier gives out: integers or texts.

use super::{integers, texts};
use crate::error::{Error, Result};
use crate::ops::NodeView;
use crate::tensor::{DType, Tensor};

#[derive(Debug, Clone, PartialEq)]
pub enum Labels {
    Ints(Vec<i64>),
    Texts(Vec<String>),
}

impl Labels {
    /// From the attributes of these names, of which one is given.
    pub fn parse(node: &NodeView, ints: &str, strings: &str) -> Result<Self> {
        match (integers(node, ints)?, texts(node, strings)?) {
            (Some(list), None) => Ok(Labels::Ints(list)),
            (None, Some(list)) => Ok(Labels::Texts(list)),
            (None, None) => Err(Error::model(format!("neither '{ints}' nor '{strings}' has labels"))),
            _ => Err(Error::model(format!("both '{ints}' and '{strings}' have labels"))),
        }
    }

    pub fn len(&self) -> usize {
        match self {
            Labels::Ints(list) => list.len(),
            Labels::Texts(list) => list.len(),
        }
    }

    pub fn dtype(&self) -> DType {
        match self {
            Labels::Ints(_) => DType::I64,
            Labels::Texts(_) => DType::String,
        }
    }

    /// The labels of classes by their numbers; beyond the end, what an only label's absence is: 0, or no
    /// text.
    pub fn of(&self, classes: &[usize]) -> Result<Tensor> {
        let shape = [classes.len()];
        match self {
            Labels::Ints(list) => Tensor::new(
                shape,
                classes.iter().map(|&class| list.get(class).copied().unwrap_or_default()).collect(),
            ),
            Labels::Texts(list) => Tensor::strings(
                shape,
                classes.iter().map(|&class| list.get(class).cloned().unwrap_or_default()).collect(),
            ),
        }
    }
}
