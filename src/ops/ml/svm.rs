//! What both operators of support vectors have: the kernel.

use super::{DOMAIN, reals};
use crate::error::{Error, Result};
use crate::ops::NodeView;

/// The domain, for the two rows.
pub(super) const NAME: &str = DOMAIN;

/// How alike a row is to a support vector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kernel {
    Linear,
    Poly { gamma: f64, coef0: f64, degree: f64 },
    Rbf { gamma: f64 },
    Sigmoid { gamma: f64, coef0: f64 },
}

impl Kernel {
    pub fn parse(node: &NodeView) -> Result<Self> {
        let given = reals(node, "kernel_params")?;
        let [gamma, coef0, degree] = match given[..] {
            [] => [0.0; 3],
            [gamma, coef0, degree] => [gamma, coef0, degree],
            _ => {
                return Err(Error::model(format!(
                    "attribute 'kernel_params' has {} entries, not 3",
                    given.len()
                )));
            }
        };
        let kinds = ["LINEAR", "POLY", "RBF", "SIGMOID"];
        Ok(match node.choice("kernel_type", "LINEAR", &kinds)?.as_str() {
            "POLY" => Kernel::Poly { gamma, coef0, degree },
            "RBF" => Kernel::Rbf { gamma },
            "SIGMOID" => Kernel::Sigmoid { gamma, coef0 },
            _ => Kernel::Linear,
        })
    }

    pub fn of(self, a: &[f64], b: &[f64]) -> f64 {
        let dot = || a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        match self {
            Kernel::Linear => dot(),
            Kernel::Poly { gamma, coef0, degree } => (gamma * dot() + coef0).powf(degree),
            Kernel::Sigmoid { gamma, coef0 } => (gamma * dot() + coef0).tanh(),
            Kernel::Rbf { gamma } => {
                (-gamma * a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>()).exp()
            }
        }
    }
}

/// Support vectors, row by row.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Vectors {
    list: Vec<f64>,
    pub count: usize,
}

impl Vectors {
    pub fn new(list: Vec<f64>, count: usize) -> Result<Self> {
        if count > 0 && (list.is_empty() || !list.len().is_multiple_of(count)) {
            return Err(Error::model(format!("{} numbers are not {count} support vectors", list.len())));
        }
        Ok(Self { list, count })
    }

    pub fn features(&self) -> usize {
        self.list.len() / self.count.max(1)
    }

    /// The kernel's value of a row and each vector.
    pub fn kernels(&self, kernel: Kernel, row: &[f64]) -> Vec<f64> {
        self.list.chunks_exact(self.features().max(1)).take(self.count).map(|v| kernel.of(row, v)).collect()
    }
}
