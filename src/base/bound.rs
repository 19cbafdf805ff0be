//! How far a right answer of an operator may lie from another: docs/numerics.md derives what follows from it.

use super::Reduction;

/// The unit roundoff of float32 arithmetic: half the distance from 1 to the next number.
pub const UNIT_F32: f64 = f32::EPSILON as f64 / 2.0;

/// The unit roundoff of float16 storage.
pub const UNIT_F16: f64 = 1.0 / 2048.0;

/// What is summed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Terms {
    /// The elements, by factors of bounded error.
    Elements,
    /// Products of so many numbers that are each stored with a rounding.
    Products(usize),
    /// The same, where factors may be summed up before they are multiplied: what is no number may come to more
    /// results than it does otherwise, or to fewer.
    Regrouped(usize),
    /// Factors of one product, in place of terms.
    Factors,
    /// Squares on the way to a result of the elements' size.
    Squares,
    /// Powers of magnitudes, of whose sum the root is taken: `(Σ |x|^p)^(1/p)`.
    Powers(f64),
}

/// How far a right answer of a step may lie from another.
#[derive(Debug, Clone, PartialEq)]
pub enum Bound {
    /// Elements are moved, chosen or counted: equal but for the rounding of storage.
    Exact,
    /// Each element by itself, through functions of bounded error.
    Elementwise,
    /// Sums of `length` products of the first two inputs, with the third added.
    Contraction { length: usize },
    /// Exponentials divided by their sum over `length` elements, or the logarithm of that: the elements lie
    /// `after` apart, `before` times.
    Softmax { before: usize, length: usize, after: usize, logarithm: bool },
    /// Exponentials of sums of products, divided by their sum, as the weights of another sum.
    Attention,
    /// A result scaled by the largest magnitude of its inputs: sums of `length` terms.
    Sum { length: usize, terms: Terms },
    /// A reduction over axes: of as many terms as there are elements to a result.
    Reduction(Reduction),
    /// Contiguous runs brought to mean 0 (where `centred`) and variance 1, then scaled and shifted.
    Normalization { length: usize, centred: bool, epsilon: f32 },
    /// Runs along an axis divided by their 1-norm, or by their 2-norm where `squared`.
    LpNormalization { axis: usize, squared: bool },
    /// Runs along `axes` brought to mean 0 and divided by their deviation plus `epsilon`.
    MeanVariance { axes: Vec<usize>, epsilon: f64 },
    /// Elements read at computed locations: an error of these is one of what is read.
    Located,
    /// The elements of input 0 that labels choose, weighted, or their sum or weighted mean; with `softmax`
    /// those of the logarithm of its softmax, which is output 1.
    Loss { softmax: bool },
    /// A state that products are added to step by step, and what is read from it, each step's errors carried
    /// on.
    LinearAttention,
    /// A recurrent network's states: the errors of each step, carried on into the next.
    Recurrent,
    /// Elements chosen along an axis (ArgMax, TopK), and in output `positions` where each lies: one position
    /// is as right as another where what lies there is within the input's tolerance of the same.
    Choice { axis: usize, positions: usize },
}
