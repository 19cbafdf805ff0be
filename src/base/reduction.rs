//! The reductions of ONNX, and what each makes of its terms.

use crate::error::Result;
use crate::tensor::{DType, Tensor, cast};

/// The ten reductions of ONNX.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reduction {
    Sum,
    Mean,
    Max,
    Min,
    Prod,
    L1,
    L2,
    SumSquare,
    LogSum,
    LogSumExp,
}

impl Reduction {
    /// The ONNX operator.
    pub fn operator(self) -> &'static str {
        match self {
            Reduction::Sum => "ReduceSum",
            Reduction::Mean => "ReduceMean",
            Reduction::Max => "ReduceMax",
            Reduction::Min => "ReduceMin",
            Reduction::Prod => "ReduceProd",
            Reduction::L1 => "ReduceL1",
            Reduction::L2 => "ReduceL2",
            Reduction::SumSquare => "ReduceSumSquare",
            Reduction::LogSum => "ReduceLogSum",
            Reduction::LogSumExp => "ReduceLogSumExp",
        }
    }
    pub const ALL: [Reduction; 10] = {
        use Reduction::*;
        [Sum, Mean, Max, Min, Prod, L1, L2, SumSquare, LogSum, LogSumExp]
    };

    /// In float64.
    pub fn of_floats(self, terms: impl Iterator<Item = f64> + Clone, count: usize) -> f64 {
        let extreme = |better: fn(f64, f64) -> bool, start: f64| {
            terms.clone().fold(start, |a, x| if better(x, a) || x.is_nan() { x } else { a })
        };
        match self {
            Reduction::Sum => terms.sum(),
            Reduction::Mean => terms.sum::<f64>() / count as f64,
            Reduction::Max => extreme(|x, a| x > a, f64::NEG_INFINITY),
            Reduction::Min => extreme(|x, a| x < a, f64::INFINITY),
            Reduction::Prod => terms.product(),
            Reduction::L1 => terms.map(f64::abs).sum(),
            Reduction::L2 => terms.map(|x| x * x).sum::<f64>().sqrt(),
            Reduction::SumSquare => terms.map(|x| x * x).sum(),
            Reduction::LogSum => terms.sum::<f64>().ln(),
            Reduction::LogSumExp => {
                let high = terms.clone().fold(f64::NEG_INFINITY, f64::max);
                // Without a finite maximum nothing is taken off: NaN stays, ∞ stays, −∞ alone is the
                // logarithm of 0.
                let shift = if high.is_finite() { high } else { 0.0 };
                terms.map(|x| (x - shift).exp()).sum::<f64>().ln() + shift
            }
        }
    }

    /// In 128 bits, of elements of `dtype`, to whose width the result is to be wrapped.
    pub fn of_integers(self, terms: impl Iterator<Item = i128> + Clone, count: usize, dtype: DType) -> i128 {
        let lowest = if dtype == DType::Bool || format!("{dtype}").starts_with('u') {
            0
        } else {
            -(1i128 << (dtype.size() * 8 - 1))
        };
        let highest = match dtype {
            DType::Bool => 1,
            _ if lowest == 0 => (1i128 << (dtype.size() * 8)) - 1,
            _ => -lowest - 1,
        };
        match self {
            Reduction::Sum => terms.sum(),
            Reduction::Mean => terms.sum::<i128>() / (count.max(1) as i128),
            Reduction::Max => terms.fold(lowest, i128::max),
            Reduction::Min => terms.fold(highest, i128::min),
            Reduction::Prod => terms.fold(1, i128::wrapping_mul),
            Reduction::L1 => terms.map(i128::abs).sum(),
            Reduction::SumSquare => terms.fold(0, |sum: i128, x| sum.wrapping_add(x.wrapping_mul(x))),
            _ => self.of_floats(terms.map(|x| x as f64), count) as i128,
        }
    }

    /// The scalar that no terms give.
    pub fn of_nothing(self, dtype: DType) -> Result<Tensor> {
        if dtype.is_float() {
            return cast(&Tensor::new([], vec![self.of_floats(std::iter::empty(), 0)])?, dtype, true);
        }
        let value = self.of_integers(std::iter::empty(), 0, dtype) as i64;
        cast(&Tensor::new([], vec![value])?, dtype, true)
    }
}
