//! Matrix products, determinants and inverses.

pub mod det;
pub mod einsum;
pub mod gemm;
pub mod inverse;
pub mod matmul;
