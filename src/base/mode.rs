//! The precision in which the CPU evaluates a graph.

use crate::error::Result;
use crate::tensor::{DType, Tensor, cast, round_f16};

/// What the CPU computes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EvalPrecision {
    /// Each type as the model declares it.
    Declared,
    /// The oracle: every float32 (and float16, bfloat16) is held as float64.
    Oracle,
    /// The f16 reference: as declared, each float32 result rounded to float16 when stored.
    F16,
}

impl EvalPrecision {
    /// The type in which a type that the model *names* (a Cast target, a constant) is held.
    pub fn of(self, declared: DType) -> DType {
        if self == EvalPrecision::Oracle && declared.is_float() { DType::F64 } else { declared }
    }
}

/// A tensor as f16 storage would give it back: float32 rounded, the rest untouched.
pub fn stored_f16(tensor: &Tensor) -> Result<Tensor> {
    if tensor.dtype() != DType::F32 {
        return Ok(tensor.clone());
    }
    Tensor::new(tensor.shape(), tensor.as_slice::<f32>()?.iter().map(|&x| round_f16(x)).collect::<Vec<_>>())
}

/// A tensor as a mode holds it: the oracle widens every float to float64, the f16 reference rounds float32.
pub fn held(tensor: &Tensor, mode: EvalPrecision) -> Result<Tensor> {
    match mode {
        EvalPrecision::Declared => Ok(tensor.clone()),
        EvalPrecision::Oracle => cast(tensor, mode.of(tensor.dtype()), true),
        EvalPrecision::F16 => stored_f16(tensor),
    }
}
