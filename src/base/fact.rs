//! Types and shapes, as they are known before anything runs.

use crate::tensor::{DType, Tensor};

/// What is known of a value when a plan is made.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    pub dtype: DType,
    pub shape: Vec<usize>,
    /// The elements, where they follow from constants, shapes and inputs needed by value.
    pub value: Option<Tensor>,
}

impl Fact {
    pub fn new(dtype: DType, shape: impl Into<Vec<usize>>) -> Self {
        Self { dtype, shape: shape.into(), value: None }
    }
    pub fn of(tensor: &Tensor) -> Self {
        Self { dtype: tensor.dtype(), shape: tensor.shape().to_vec(), value: Some(tensor.clone()) }
    }
    pub fn rank(&self) -> usize {
        self.shape.len()
    }
    pub fn count(&self) -> usize {
        // Saturating: a shape is checked against memory only after it is inferred.
        self.shape.iter().fold(1usize, |count, &size| count.saturating_mul(size))
    }
}
