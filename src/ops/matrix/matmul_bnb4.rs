//! [MatMulBnb4](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MatMulBnb4),
//! of onnxruntime: the product with weights in one of bitsandbytes' two kinds of 4-bit floats.
//!
//! Inputs: A, B `[⌈N·K / 2⌉]` (weights `[N, K]` row after row, the even one in the *high* bits of a byte),
//! absmax (the scale of each block of these). With transB `A [..., K] · Bᵀ`, else `A [..., N] · B`.

use super::matmul_nbits::{Weights, block_size, known, lower, product_by, size};
use super::packed_matmul::{self, by_floats};
use crate::base::{Bound, EvalPrecision, Fact, Infer, Levels, Operands, Unsupported, WeightLayout};
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator, Repacked};
use crate::tensor::{DType, Real, Tensor, cast, element_count, zeros};
use crate::threads::chunks;
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "com.microsoft", name: "MatMulBnb4", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct MatMulBnb4 {
    pub k: usize,
    pub n: usize,
    pub block: usize,
    pub levels: Levels,
    pub transposed: bool,
    /// Whether the weights' magnitudes are multiplied.
    absolute: bool,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(3..=3)?;
    node.ignore(&["training_mode"]);
    let levels = match node.optional_int("quant_type")? {
        Some(0) => Levels::Fp4,
        Some(1) => Levels::Nf4,
        other => {
            let found = other.map_or("missing".to_string(), |kind| kind.to_string());
            return Err(Error::model(format!("attribute 'quant_type' is {found}; it is 0 (FP4) or 1 (NF4)")));
        }
    };
    let (k, n, block) = (size(node, "K")?, size(node, "N")?, block_size(node)?);
    element_count(&[n, k])?;
    let transposed = node.flag("transB", true)?;
    Ok(Arc::new(MatMulBnb4 { k, n, block, levels, transposed, absolute: false }))
}

impl MatMulBnb4 {
    /// Rows and columns of what A is multiplied by.
    fn sizes(&self) -> [usize; 2] {
        if self.transposed { [self.k, self.n] } else { [self.n, self.k] }
    }
    /// Element `at` of the weights `[N, K]` as its code.
    fn code(bytes: &[u8], at: usize) -> u32 {
        let byte = bytes.get(at / 2).copied().unwrap_or(0);
        u32::from(if at.is_multiple_of(2) { byte >> 4 } else { byte & 15 })
    }

    /// Errors where weights or scales are of another type or number.
    fn check(&self, b: &Fact, scales: &Fact) -> Result<()> {
        let all = self.n * self.k;
        let wrong = |what: &str, fact: &Fact, wanted: String| {
            Error::model(format!("{what} {}{:?}; {wanted} is needed", fact.dtype, fact.shape))
        };
        if b.dtype != DType::U8 || element_count(&b.shape)? != all.div_ceil(2) {
            return Err(wrong("the weights are", b, format!("uint8[{}]", all.div_ceil(2))));
        }
        let blocks = all.div_ceil(self.block);
        if !scales.dtype.is_float() || element_count(&scales.shape)? != blocks {
            return Err(wrong("absmax is", scales, format!("a float [{blocks}]")));
        }
        Ok(())
    }

    fn floats<T: Real>(&self, inputs: Operands<'_, Tensor>) -> Result<Tensor> {
        let (b, scales) = (inputs.required(1)?.bytes(), cast(inputs.required(2)?, T::DTYPE, true)?);
        let scales = scales.as_slice::<T>()?;
        let [rows, columns] = self.sizes();
        let mut all: Vec<T> = zeros(element_count(&[rows, columns])?)?;
        chunks(&mut all, columns, |row, to| {
            for (column, to) in to.iter_mut().enumerate() {
                let at = if self.transposed { column * self.k + row } else { row * self.k + column };
                let value = T::of(self.levels.of(Self::code(b, at)).into()) * scales[at / self.block];
                *to = if self.absolute { T::of(value.f64().abs()) } else { value };
            }
        });
        Tensor::new([rows, columns], all)
    }

    /// Constant weights (inputs 1 and 2) as a product reads them, floats in the type of A.
    pub fn weights(&self, inputs: Operands<'_, Tensor>, dtype: DType) -> Result<Weights> {
        let Self { k, n, block, levels, .. } = *self;
        self.check(&Fact::of(inputs.required(1)?), &Fact::of(inputs.required(2)?))?;
        if !self.transposed || !k.is_multiple_of(block) {
            return Ok(Weights::Floats(cast(&self.floats::<f32>(inputs)?, dtype, true)?));
        }
        let (b, scales) = (inputs.required(1)?.bytes(), cast(inputs.required(2)?, DType::F32, true)?);
        let scales = scales.as_slice::<f32>()?;
        let layout = WeightLayout { k, n, bits: 4, block, zeros: false, levels };
        let word = |column: usize, at: usize, word: usize| {
            let first = column * k + at * block + word * 8;
            (0..8).fold(0, |word, i| word | Self::code(b, first + i) << (4 * i))
        };
        let scale = |column: usize, at: usize| scales[column * (k / block) + at];
        Ok(Weights::Packed(layout, layout.pack(word, scale, |_, _| 0.0)?))
    }
}

impl Operator for MatMulBnb4 {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let a = inputs.required(0)?;
        if !a.dtype.is_float() {
            return Err(Error::model(format!("A is {}{:?}; a float is needed", a.dtype, a.shape)).into());
        }
        self.check(inputs.required(1)?, inputs.required(2)?)?;
        Ok(vec![Fact::new(a.dtype, packed_matmul::shape(&a.shape, self.sizes())?)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let a = inputs.required(0)?;
        let weights = match a.dtype() {
            DType::F64 => self.floats::<f64>(inputs)?,
            _ => self.floats::<f32>(inputs)?,
        };
        Ok(vec![by_floats(a, &weights, None, mode)?])
    }

    fn repacked(
        &self,
        constants: Operands<'_, Tensor>,
        _given: &dyn Fn(usize) -> bool,
    ) -> Result<Option<Repacked>> {
        let (Some(_), Some(scales)) = (constants.optional(1), constants.optional(2)) else { return Ok(None) };
        Ok(Some(product_by(self.weights(constants, scales.dtype())?, None)))
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    /// The weights are what they are in every precision.
    fn by_value(&self, index: usize) -> bool {
        (1..3).contains(&index)
    }

    fn magnitude(&self) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(Self { absolute: true, ..self.clone() }))
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Contraction { length: self.sizes()[0] + 2 }
    }

    fn flops(&self, _inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        outputs.first().map_or(0, |out| 2 * out.count() as u64 * self.sizes()[0] as u64)
    }
}

impl Lower for MatMulBnb4 {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let known = known(at, 3)?;
        let dtype = at.fact(0)?.dtype;
        let refs: Vec<Option<&Tensor>> = known.iter().map(Option::as_ref).collect();
        lower(at, self.weights(Operands::new(&refs), dtype)?, None)
    }
}

/// Attributes of a case.
macro_rules! sizes {
    ($k:literal, $n:literal, $kind:literal, $block:literal) => {
        &[("K", Int($k)), ("N", Int($n)), ("quant_type", Int($kind)), ("block_size", Int($block))]
    };
}

const CASES: &[Case] = &[
    case(sizes!(32, 5, 1, 16), &[Floats(&[3, 32]), Codes(&[80]), Weights(&[10])]),
    case(sizes!(64, 7, 0, 32), &[Floats(&[2, 2, 64]), Codes(&[224]), Weights(&[14])]),
    case(sizes!(64, 70, 1, 64), &[Floats(&[20, 64]), Codes(&[2240]), Weights(&[70])]),
    // Blocks that go from one column to the next: no form for kernels, but floats when it is loaded.
    case(sizes!(7, 5, 1, 16), &[Floats(&[3, 7]), Codes(&[18]), Weights(&[3])]).runs("cpu"),
    case(
        &[("K", Int(32)), ("N", Int(5)), ("quant_type", Int(0)), ("block_size", Int(16)), ("transB", Int(0))],
        &[Floats(&[3, 5]), Codes(&[80]), Weights(&[10])],
    )
    .runs("cpu"),
];
