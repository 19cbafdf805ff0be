//! Matrix products.

pub mod gemm;
pub mod matmul;
