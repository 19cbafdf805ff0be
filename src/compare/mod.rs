//! The comparison of two devices, node by node.

pub mod fault;

/// How far a right answer of a step may lie from another.
#[derive(Debug, Clone, PartialEq)]
pub enum Bound {
    /// Elements are moved, chosen or counted: equal but for the rounding of storage.
    Exact,
    /// Each element by itself, through functions of bounded error.
    Elementwise,
    /// Sums of `length` products of the first two inputs, with the third added.
    Contraction { length: usize },
    /// Exponentials divided by their sum over `length` elements, or the logarithm of that.
    Softmax { length: usize, logarithm: bool },
    /// A result scaled by the largest magnitude of its inputs: sums of `length` terms.
    Sum { length: usize },
}
