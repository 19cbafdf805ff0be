//! What becomes of the scores of a row. ONNX's text names these functions and defines none: they are what
//! onnxruntime and ONNX's reference compute.

use crate::error::{Error, Result};
use crate::ops::NodeView;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostTransform {
    None,
    Softmax,
    Logistic,
    /// A softmax in which what is 0 stays so.
    SoftmaxZero,
    Probit,
}

/// In the order of the numbers that TreeEnsemble gives them.
const ALL: [(&str, PostTransform); 5] = [
    ("NONE", PostTransform::None),
    ("SOFTMAX", PostTransform::Softmax),
    ("LOGISTIC", PostTransform::Logistic),
    ("SOFTMAX_ZERO", PostTransform::SoftmaxZero),
    ("PROBIT", PostTransform::Probit),
];

pub fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The normal distribution's quantile, by Winitzki's approximation of the inverse of erf.
fn probit(x: f64) -> f64 {
    let x = 2.0 * x - 1.0;
    let logarithm = ((1.0 - x) * (1.0 + x)).ln();
    let v = 2.0 / (std::f64::consts::PI * 0.147) + 0.5 * logarithm;
    let inverse = (-v + (v * v - logarithm / 0.147).sqrt()).sqrt();
    std::f64::consts::SQRT_2 * if x < 0.0 { -inverse } else { inverse }
}

impl PostTransform {
    pub fn parse(node: &NodeView) -> Result<Self> {
        let names = ALL.map(|row| row.0);
        let name = node.choice("post_transform", "NONE", &names)?;
        Ok(ALL.iter().find(|row| row.0 == name).map_or(PostTransform::None, |row| row.1))
    }

    /// The same of a number.
    pub fn parse_number(node: &NodeView) -> Result<Self> {
        let number = node.int("post_transform", 0)?;
        let row = usize::try_from(number).ok().and_then(|number| ALL.get(number));
        row.map(|row| row.1).ok_or_else(|| {
            Error::unsupported(format!("attribute 'post_transform' is {number}")).remedy("supported: 0 to 4")
        })
    }

    pub fn apply(self, row: &mut [f64]) {
        let high = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        match self {
            PostTransform::None => {}
            PostTransform::Logistic => row.iter_mut().for_each(|x| *x = logistic(*x)),
            PostTransform::Probit => row.iter_mut().for_each(|x| *x = probit(*x)),
            PostTransform::Softmax => {
                row.iter_mut().for_each(|x| *x = (*x - high).exp());
                let sum: f64 = row.iter().sum();
                row.iter_mut().for_each(|x| *x /= sum);
            }
            PostTransform::SoftmaxZero => {
                for x in row.iter_mut() {
                    *x = if x.abs() > 1e-7 { (*x - high).exp() } else { *x * (-high).exp() };
                }
                let sum: f64 = row.iter().sum();
                row.iter_mut().for_each(|x| *x = if sum == 0.0 { 0.5 } else { *x / sum });
            }
        }
    }
}
