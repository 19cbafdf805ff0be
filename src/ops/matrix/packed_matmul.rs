//! A matrix product with constant weights of 2, 4 or 8 bits, as kernels read them: what
//! [`super::matmul_nbits`], [`super::matmul_bnb4`] and a blockwise DequantizeLinear in front of a product
//! become (passes/packed_weights.rs). No file has it.
//!
//! Inputs: A `[…, k]`, the weights ([`WeightLayout`]), a bias `[n]`, the epilogue's operands.

use crate::base::{
    Bound, EvalPrecision, Fact, Infer, Layout, Operands, PackedWeights, Unsupported, View, WeightLayout,
};
use crate::cpu_kernels::epilogue::PreparedEpilogue;
use crate::cpu_kernels::nbits;
use crate::error::{Error, Result};
use crate::expression::{Pointwise, table};
use crate::kernels::epilogue::OutputStage;
use crate::kernels::{Lowering, matmul as kernel};
use crate::ops::matrix::matmul::MatMul;
use crate::ops::{EPILOGUE_OPERANDS, Engine, Lower, Operator, Product, Reads};
use crate::tensor::{DType, Tensor, element_count, pool};
use std::sync::Arc;

#[derive(Debug, Clone, PartialEq)]
pub struct PackedMatMul {
    pub layout: WeightLayout,
    /// Whether the weights' magnitudes are multiplied.
    pub absolute: bool,
    pub epilogue: Pointwise,
}

impl PackedMatMul {
    pub fn new(layout: WeightLayout) -> Self {
        Self { layout, absolute: false, epilogue: Pointwise::identity() }
    }

    fn weights<'a>(&self, inputs: Operands<'a, Tensor>) -> Result<PackedWeights<'a>> {
        self.layout.read(inputs.required(1)?)
    }
}

/// The shape of `A · W` for weights `[k, n]`. Errors: A's last axis isn't k.
pub fn shape(a: &[usize], [k, n]: [usize; 2]) -> Result<Vec<usize>> {
    match a {
        [rows @ .., last] if *last == k => Ok([rows, &[n]].concat()),
        _ => Err(Error::model(format!("A of shape {a:?} by weights of K = {k}: its last axis has to be K"))),
    }
}

/// The product with `weights [k, n]` as they are, of A's type, and a bias.
pub fn by_floats(a: &Tensor, weights: &Tensor, bias: Option<&Tensor>, mode: EvalPrecision) -> Result<Tensor> {
    let plain = MatMul { epilogue: Pointwise::identity() };
    let mut made = plain.eval(Operands::new(&[Some(a), Some(weights)]), mode)?;
    let result = made.pop().ok_or_else(|| Error::internal("a product without a result"))?;
    match bias {
        Some(bias) => Pointwise::of(&table::ADD, 2, &[]).eval(&[&result, bias], mode),
        None => Ok(result),
    }
}

impl Operator for PackedMatMul {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let (a, weights) = (inputs.required(0)?, inputs.required(1)?);
        if weights.dtype != DType::U32 || weights.shape != self.layout.shape() {
            return Err(
                Error::internal(format!("packed weights {}{:?}", weights.dtype, weights.shape)).into()
            );
        }
        if let Some(bias) = inputs.optional(2).filter(|bias| bias.shape != [self.layout.n]) {
            return Err(Error::model(format!(
                "a bias of shape {:?}; [{}] is needed",
                bias.shape, self.layout.n
            ))
            .into());
        }
        Ok(vec![Fact::new(a.dtype, shape(&a.shape, [self.layout.k, self.layout.n])?)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let (a, weights) = (inputs.required(0)?, self.weights(inputs)?);
        let floats = match a.dtype() {
            DType::F64 => weights.unpacked::<f64>(self.absolute)?,
            _ => weights.unpacked::<f32>(self.absolute)?,
        };
        let result = by_floats(a, &floats, inputs.optional(2), mode)?;
        crate::ops::nn::epilogue(&self.epilogue, result, inputs.skip(EPILOGUE_OPERANDS), mode)
    }

    fn engine(&self) -> Option<&dyn Engine> {
        Some(self)
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn magnitude(&self) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(Self { absolute: true, ..self.clone() }))
    }

    fn epilogue(&self) -> Option<&Pointwise> {
        Some(&self.epilogue)
    }

    fn with_epilogue(&self, epilogue: Pointwise) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(Self { epilogue, ..self.clone() }))
    }

    fn product(&self) -> Option<Product> {
        Some(Product { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false, matrix_c: false })
    }

    fn reads(&self) -> Reads {
        Reads::Strided
    }

    /// The difference from the zero point and the product with the scale round as well.
    fn error_bound(&self, inputs: Operands<'_, Fact>) -> Bound {
        Bound::Contraction { length: self.layout.k + 2 + usize::from(inputs.optional(2).is_some()) }
    }

    fn flops(&self, _inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        outputs.first().map_or(0, |out| 2 * out.count() as u64 * self.layout.k as u64)
    }
}

/// Emits output 0: `A · W` with a bias and an epilogue, `weights` being a view of their tensor.
pub fn lower(
    at: &mut dyn Lowering,
    layout: WeightLayout,
    weights: &View,
    bias: Option<usize>,
    epilogue: &Pointwise,
) -> Result<(), Unsupported> {
    let storage = at.float_storage(0)?;
    let fact = at.output_fact(0)?.clone();
    let rows = fact.count().checked_div(layout.n).unwrap_or(0);
    let view = at.view(0)?;
    let tall = [rows, layout.k];
    let a = match view.reshaped(&tall) {
        Some(a) => a,
        None => at.in_layout(view, Layout::Rows4)?.reshaped_or(&tall, "a factor")?,
    };
    let bias = match bias {
        Some(index) => at.optional_input(index, Layout::Dense)?.map(|view| view.buffer),
        None => None,
    };
    let residual = match epilogue.operands > 1 {
        true => Some(at.input(EPILOGUE_OPERANDS, Layout::Rows4)?.buffer),
        false => None,
    };
    let target = at.target(0, Layout::Rows4)?;
    let stage = OutputStage::new(epilogue, fact.dtype, bias, residual, target)?;
    kernel::by_codes(at, storage, a, weights, (rows, layout), &stage)
}

impl Lower for PackedMatMul {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let weights = at.view(1)?;
        lower(at, self.layout, &weights, Some(2), &self.epilogue)
    }
}

impl Engine for PackedMatMul {
    fn run(
        &self,
        inputs: Operands<'_, Tensor>,
        _packed: Option<&crate::cpu_kernels::panels::Packed>,
        _wanted: usize,
        mode: EvalPrecision,
    ) -> Result<Option<Vec<Tensor>>> {
        let (a, bias, weights) = (inputs.required(0)?, inputs.optional(2), self.weights(inputs)?);
        let WeightLayout { k, n, .. } = self.layout;
        if a.dtype() != DType::F32 || self.absolute || bias.is_some_and(|bias| bias.dtype() != DType::F32) {
            return Ok(None);
        }
        let shape = shape(a.shape(), [k, n])?;
        let mut result = pool::unset(element_count(&shape)?)?;
        let m = result.len().checked_div(n).unwrap_or(0);
        let others = inputs.skip(EPILOGUE_OPERANDS);
        let ready = PreparedEpilogue::of(&self.epilogue, others, result.len())?;
        let identity = Pointwise::identity();
        let applied = match &ready {
            Some(ready) => ready,
            None => &PreparedEpilogue::of(&identity, Operands::new(&[]), result.len())?
                .ok_or_else(|| Error::internal("no epilogue is none"))?,
        };
        let bias = bias.map(Tensor::as_slice::<f32>).transpose()?;
        nbits::product(a.as_slice::<f32>()?, m, &weights, bias, applied, &mut result)?;
        // A block's sum comes before its scale, and may be beyond float32 where the scaled terms are not; a scale
        // that is no number, or none at all, makes other results by element.
        if result.iter().any(|y| !y.is_finite()) {
            return Ok(None);
        }
        let result = Tensor::floats(shape, result)?;
        if ready.is_some() {
            return Ok(Some(vec![result]));
        }
        crate::ops::nn::epilogue(&self.epilogue, result, others, mode).map(Some)
    }
}
