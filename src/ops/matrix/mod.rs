//! Matrix products, determinants and inverses.

pub mod det;
pub mod einsum;
pub mod gemm;
pub mod inverse;
pub mod matmul;
pub mod matmul_bnb4;
pub mod matmul_nbits;
pub mod packed_matmul;
