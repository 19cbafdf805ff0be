//! Matrix products.

pub mod einsum;
pub mod gemm;
pub mod matmul;
