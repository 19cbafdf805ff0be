//! [MatMulNBits](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MatMulNBits),
//! of onnxruntime: the product with weights of 2, 4 or 8 bits, each block of a column with a scale and
//! perhaps a zero point: `A · Wᵀ + bias`, `W = (B − zero point) · scale`.
//!
//! Inputs: A `[…, K]`, B `[N, blocks, block_size · bits / 8]` (the lowest bits of a byte first), scales
//! `[N, blocks]`, zero points (packed like B, a row ending with a whole byte, or floats `[N, blocks]`;
//! without them 2^(bits−1)), g_idx `[K]` (the block whose scale and zero point each row of a column has),
//! bias `[N]`.

use super::matmul::MatMul;
use super::packed_matmul::{self, PackedMatMul, by_floats};
use crate::base::{Bound, EvalPrecision, Fact, Infer, Levels, Operands, Unsupported, WeightLayout};
use crate::error::{Error, Result};
use crate::expression::Pointwise;
use crate::kernels::Lowering;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator, Repacked, RepackedInput};
use crate::tensor::{DType, Real, Tensor, cast, element_count, zeros};
use crate::threads::chunks;
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "com.microsoft", name: "MatMulNBits", since: 1, parse, cases: CASES };

/// Weights as a product reads them: codes that stay packed, or floats `[k, n]` where they have no such form.
pub enum Weights {
    Packed(WeightLayout, Tensor),
    Floats(Tensor),
}

#[derive(Debug, Clone, PartialEq)]
pub struct MatMulNBits {
    pub k: usize,
    pub n: usize,
    pub bits: usize,
    pub block: usize,
    /// Whether the weights' magnitudes are multiplied.
    absolute: bool,
}

/// A size that an attribute gives, from 1. Errors: another.
pub fn size(node: &NodeView, name: &str) -> Result<usize> {
    let given = node.optional_int(name)?;
    let given = given.ok_or_else(|| Error::model(format!("attribute '{name}' is missing")))?;
    let size = usize::try_from(given).ok().filter(|&size| size >= 1 && size <= i32::MAX as usize);
    size.ok_or_else(|| Error::model(format!("attribute '{name}' is {given}: a size from 1 on is needed")))
}

/// The attribute 'block_size'. Errors: no power of two from 16 on.
pub fn block_size(node: &NodeView) -> Result<usize> {
    let block = size(node, "block_size")?;
    if WeightLayout::supports(8, block) {
        return Ok(block);
    }
    Err(Error::unsupported(format!("blocks of {block}; powers of two from 16 to 2²⁰ are supported"))
        .remedy("quantise the model in blocks of 32"))
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(3..=6)?;
    // How exactly onnxruntime multiplies at least.
    node.ignore(&["accuracy_level"]);
    let prepacked = node.int("weight_prepacked", 0)?;
    if prepacked != 0 {
        return Err(Error::unsupported(format!("weight_prepacked = {prepacked}: weights laid out for CUDA"))
            .remedy("export the model without prepacked weights"));
    }
    let (k, n) = (size(node, "K")?, size(node, "N")?);
    let bits = node.int("bits", 4)?;
    if ![2, 4, 8].contains(&bits) {
        return Err(Error::unsupported(format!("weights of {bits} bits; 2, 4 and 8 are supported"))
            .remedy("quantise the model to 4 or 8 bits"));
    }
    let op = MatMulNBits { k, n, bits: bits as usize, block: block_size(node)?, absolute: false };
    element_count(&[n, op.blocks(), op.block])?;
    Ok(Arc::new(op))
}

impl MatMulNBits {
    fn blocks(&self) -> usize {
        self.k.div_ceil(self.block)
    }
    /// Bytes of a block of a column.
    fn blob(&self) -> usize {
        self.block * self.bits / 8
    }
    /// Bytes of the packed zero points of a column.
    fn zero_row(&self) -> usize {
        (self.blocks() * self.bits).div_ceil(8)
    }
    fn layout(&self, zeros: bool) -> WeightLayout {
        let Self { k, n, bits, block, .. } = *self;
        WeightLayout { k, n, bits, block, zeros, levels: Levels::Linear }
    }

    /// Errors where an input's type or size doesn't fit; A may not be known.
    fn check(&self, inputs: Operands<'_, Fact>) -> Result<()> {
        let Self { k, n, .. } = *self;
        let blocks = self.blocks();
        let wrong = |what: &str, fact: &Fact, wanted: String| {
            Error::model(format!("{what} {}{:?}; {wanted} is needed", fact.dtype, fact.shape))
        };
        let holds = |fact: &Fact, count: usize| element_count(&fact.shape).is_ok_and(|held| held == count);
        let (b, scales) = (inputs.required(1)?, inputs.required(2)?);
        if b.dtype != DType::U8 || !holds(b, n * blocks * self.blob()) {
            let wanted = format!("uint8[{n}, {blocks}, {}]", self.blob());
            return Err(wrong("the weights are", b, wanted));
        }
        if !scales.dtype.is_float() || !holds(scales, n * blocks) {
            return Err(wrong("the scales are", scales, format!("a float [{n}, {blocks}]")));
        }
        if let Some(zero) = inputs.optional(3) {
            let packed = zero.dtype == DType::U8 && holds(zero, n * self.zero_row());
            if !(packed || zero.dtype.is_float() && holds(zero, n * blocks)) {
                let wanted = format!("uint8[{n}, {}] or a float [{n}, {blocks}]", self.zero_row());
                return Err(wrong("the zero points are", zero, wanted));
            }
        }
        if let Some(group) = inputs.optional(4)
            && (!matches!(group.dtype, DType::I32 | DType::I64)
                || !(holds(group, k) || holds(group, blocks * self.block)))
        {
            return Err(wrong("g_idx is", group, format!("int32[{k}]")));
        }
        let Some(a) = inputs.optional(0) else { return Ok(()) };
        if !a.dtype.is_float() {
            return Err(wrong("A is", a, "a float".into()));
        }
        if let Some(bias) = inputs.optional(5)
            && (bias.dtype != a.dtype || bias.shape != [n])
        {
            return Err(wrong("the bias is", bias, format!("{}[{n}]", a.dtype)));
        }
        Ok(())
    }

    /// The zero points as floats, by column and block.
    fn zeros_of(&self, zero: &Tensor) -> Result<Vec<f32>> {
        if zero.dtype() != DType::U8 {
            return Ok(cast(zero, DType::F32, true)?.as_slice::<f32>()?.to_vec());
        }
        let (bytes, blocks, row) = (zero.bytes(), self.blocks(), self.zero_row());
        let mut all = zeros(element_count(&[self.n, blocks])?)?;
        for (at, to) in all.iter_mut().enumerate() {
            let (column, bit) = (at / blocks, at % blocks * self.bits);
            let byte = bytes.get(column * row + bit / 8).copied().unwrap_or(0);
            *to = ((byte >> (bit % 8)) as u32 & ((1 << self.bits) - 1)) as f32;
        }
        Ok(all)
    }

    /// The block whose factors each row has. Errors: one that isn't there.
    fn groups(&self, group: &Tensor) -> Result<Vec<usize>> {
        let blocks = self.blocks();
        let one = |(at, &block): (usize, &i64)| {
            usize::try_from(block).ok().filter(|&block| block < blocks).ok_or_else(|| {
                Error::model(format!("g_idx[{at}] is {block}; the blocks go from 0 to {}", blocks - 1))
            })
        };
        group.to_i64s()?.iter().take(self.k).enumerate().map(one).collect()
    }

    /// The weights from inputs 1 to 4, `[k, n]`, in a type.
    fn floats<T: Real>(&self, inputs: Operands<'_, Tensor>) -> Result<Tensor> {
        let (b, scales) = (inputs.required(1)?.bytes(), cast(inputs.required(2)?, T::DTYPE, true)?);
        let scales = scales.as_slice::<T>()?;
        let given = inputs.optional(3).map(|zero| self.zeros_of(zero)).transpose()?;
        let groups = inputs.optional(4).map(|group| self.groups(group)).transpose()?;
        let (n, blocks) = (self.n, self.blocks());
        let default = (1u32 << (self.bits - 1)) as f32;
        let mut all: Vec<T> = zeros(element_count(&[self.k, n])?)?;
        chunks(&mut all, n, |row, to| {
            let block = groups.as_ref().map_or(row / self.block, |groups| groups[row]);
            for (column, to) in to.iter_mut().enumerate() {
                let bit = row % self.block * self.bits;
                let byte = b[(column * blocks + row / self.block) * self.blob() + bit / 8];
                let code = (byte >> (bit % 8)) as u32 & ((1 << self.bits) - 1);
                let at = column * blocks + block;
                let zero = given.as_ref().map_or(default, |zeros| zeros[at]);
                let value = (T::of(code.into()) - T::of(zero.into())) * scales[at];
                *to = if self.absolute { T::of(value.f64().abs()) } else { value };
            }
        });
        Tensor::new([self.k, n], all)
    }

    /// Constant weights (inputs 1 to 4) as a product reads them, floats in the type of A.
    ///
    /// Errors: what `infer` refuses, a g_idx that names no block.
    pub fn weights(&self, inputs: Operands<'_, Tensor>, dtype: DType) -> Result<Weights> {
        let facts: Vec<Option<Fact>> =
            (0..5).map(|index| inputs.optional(index).filter(|_| index > 0).map(Fact::of)).collect();
        self.check(Operands::new(&facts.iter().map(Option::as_ref).collect::<Vec<_>>()))?;
        if let Some(group) = inputs.optional(4)
            && !self.groups(group)?.iter().enumerate().all(|(row, &block)| row / self.block == block)
        {
            let floats = match dtype {
                DType::F64 => self.floats::<f64>(inputs)?,
                _ => cast(&self.floats::<f32>(inputs)?, dtype, true)?,
            };
            return Ok(Weights::Floats(floats));
        }
        let (b, scales) = (inputs.required(1)?.bytes(), cast(inputs.required(2)?, DType::F32, true)?);
        let scales = scales.as_slice::<f32>()?;
        let given = inputs.optional(3).map(|zero| self.zeros_of(zero)).transpose()?;
        let (blocks, blob) = (self.blocks(), self.blob());
        let layout = self.layout(given.is_some());
        let word = |column: usize, block: usize, at: usize| {
            let first = (column * blocks + block) * blob + at * 4;
            let mut word = [0; 4];
            word.copy_from_slice(&b[first..first + 4]);
            u32::from_le_bytes(word)
        };
        let zero =
            |column: usize, block: usize| given.as_ref().map_or(0.0, |zeros| zeros[column * blocks + block]);
        let scale = |column: usize, block: usize| scales[column * blocks + block];
        Ok(Weights::Packed(layout, layout.pack(word, scale, zero)?))
    }
}

/// The product by such weights in the place of input 1, with a bias that was another input.
pub fn product_by(weights: Weights, bias: Option<usize>) -> Repacked {
    let (op, tensor): (Arc<dyn Operator>, Tensor) = match weights {
        Weights::Packed(layout, tensor) => (Arc::new(PackedMatMul::new(layout)), tensor),
        Weights::Floats(tensor) => (Arc::new(MatMul { epilogue: Pointwise::identity() }), tensor),
    };
    let inputs = [RepackedInput::Given(0), RepackedInput::Constant(1, tensor)];
    Repacked { op, inputs: inputs.into_iter().chain(bias.map(RepackedInput::Given)).collect() }
}

/// Lowers a node whose weights are known when the plan is made.
pub fn lower(at: &mut dyn Lowering, weights: Weights, bias: Option<usize>) -> Result<(), Unsupported> {
    match weights {
        Weights::Packed(layout, tensor) => {
            let view = at.table("weights", tensor)?;
            packed_matmul::lower(at, layout, &view, bias, &Pointwise::identity())
        }
        Weights::Floats(_) => Err(Unsupported::new("weights whose codes don't lie in blocks of a column")),
    }
}

/// The inputs of a node that are known when its plan is made, one after the other from `from` on.
pub fn known(at: &dyn Lowering, count: usize) -> Result<Vec<Option<Tensor>>, Unsupported> {
    let one = |index: usize| match at.has_input(index) {
        false => Ok(None),
        true => match at.constant(index) {
            Some(tensor) => Ok(Some(tensor.clone())),
            None => Err(Unsupported::new(format!("input {index} is no constant"))),
        },
    };
    std::iter::once(Ok(None)).chain((1..count).map(one)).collect()
}

impl Operator for MatMulNBits {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let a = inputs.required(0)?;
        self.check(inputs)?;
        Ok(vec![Fact::new(a.dtype, packed_matmul::shape(&a.shape, [self.k, self.n])?)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let a = inputs.required(0)?;
        let weights = match a.dtype() {
            DType::F64 => self.floats::<f64>(inputs)?,
            _ => self.floats::<f32>(inputs)?,
        };
        let bias = inputs.optional(5).map(|bias| bias.reshape([self.n])).transpose()?;
        Ok(vec![by_floats(a, &weights, bias.as_ref(), mode)?])
    }

    fn repacked(
        &self,
        constants: Operands<'_, Tensor>,
        given: &dyn Fn(usize) -> bool,
    ) -> Result<Option<Repacked>> {
        if (1..5).any(|index| given(index) && constants.optional(index).is_none()) {
            return Ok(None);
        }
        let dtype = constants.required(2)?.dtype();
        Ok(Some(product_by(self.weights(constants, dtype)?, given(5).then_some(5))))
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    /// The weights are what they are in every precision.
    fn by_value(&self, index: usize) -> bool {
        (1..5).contains(&index)
    }

    fn magnitude(&self) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(Self { absolute: true, ..self.clone() }))
    }

    fn error_bound(&self, inputs: Operands<'_, Fact>) -> Bound {
        Bound::Contraction { length: self.k + 2 + usize::from(inputs.optional(5).is_some()) }
    }

    fn flops(&self, _inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        outputs.first().map_or(0, |out| 2 * out.count() as u64 * self.k as u64)
    }
}

impl Lower for MatMulNBits {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let known = known(at, 5)?;
        let dtype = at.fact(0)?.dtype;
        let refs: Vec<Option<&Tensor>> = known.iter().map(Option::as_ref).collect();
        lower(at, self.weights(Operands::new(&refs), dtype)?, Some(5))
    }
}

/// Attributes of a case.
macro_rules! sizes {
    ($k:literal, $n:literal, $bits:literal, $block:literal) => {
        &[("K", Int($k)), ("N", Int($n)), ("bits", Int($bits)), ("block_size", Int($block))]
    };
}

const CASES: &[Case] = &[
    case(sizes!(32, 8, 4, 16), &[Floats(&[3, 32]), Codes(&[8, 2, 8]), Weights(&[8, 2])]),
    // Odd counts of everything: blocks, columns, K no multiple of a block.
    case(sizes!(41, 5, 4, 16), &[Floats(&[2, 41]), Codes(&[5, 3, 8]), Weights(&[5, 3]), Codes(&[5, 2])]),
    case(
        sizes!(67, 37, 4, 32),
        &[
            Floats(&[2, 9, 67]),
            Codes(&[37, 3, 16]),
            Weights(&[37, 3]),
            Weights(&[37, 3]),
            Absent,
            Weights(&[37]),
        ],
    ),
    case(sizes!(50, 20, 2, 16), &[Floats(&[5, 50]), Codes(&[20, 4, 4]), Weights(&[20, 4]), Codes(&[20, 1])]),
    case(sizes!(40, 6, 2, 32), &[Floats(&[1, 40]), Codes(&[6, 2, 8]), Weights(&[6, 2])]),
    case(
        sizes!(70, 33, 8, 32),
        &[Floats(&[1, 70]), Codes(&[33, 3, 32]), Weights(&[33, 3]), Codes(&[33, 3]), Absent, Weights(&[33])],
    ),
    case(sizes!(16, 3, 8, 16), &[Floats(&[7, 16]), Codes(&[3, 1, 16]), Weights(&[3, 1])]),
    // A vector, and rows of several axes.
    case(sizes!(32, 8, 4, 32), &[Floats(&[32]), Codes(&[8, 1, 16]), Weights(&[8, 1])]),
    case(sizes!(32, 9, 4, 32), &[Floats(&[2, 1, 3, 32]), Codes(&[9, 1, 16]), Weights(&[9, 1])]),
    // Rows enough for tiles, and K long enough for sums in parts.
    case(sizes!(300, 70, 4, 32), &[Floats(&[40, 300]), Codes(&[70, 10, 16]), Weights(&[70, 10])]),
    case(sizes!(512, 130, 4, 128), &[Floats(&[1, 512]), Codes(&[130, 4, 64]), Weights(&[130, 4])]),
    case(
        sizes!(40, 5, 4, 16),
        &[
            Drawn(DType::F16, &[3, 40]),
            Codes(&[5, 3, 8]),
            Typed(
                DType::F16,
                &[5, 3],
                &[0.5, -0.25, 0.125, 1.5, 0.3, 0.1, 0.7, 0.9, 0.2, 0.4, 0.6, 0.8, 1.1, 0.0, 1.0],
            ),
        ],
    ),
    case(
        sizes!(20, 2, 4, 32),
        &[Drawn(DType::BF16, &[3, 20]), Codes(&[2, 1, 16]), Typed(DType::BF16, &[2, 1], &[0.5, -0.25])],
    ),
    // Rows of a column in other blocks than where they lie: no form for kernels, but floats when it is
    // loaded.
    case(
        sizes!(32, 2, 4, 16),
        &[
            Floats(&[2, 32]),
            Codes(&[2, 2, 8]),
            Weights(&[2, 2]),
            Weights(&[2, 2]),
            Typed(DType::I32, &[32], &GROUPS),
        ],
    )
    .runs("cpu"),
    // Scales of 0, NaN and below 0.
    case(
        sizes!(16, 4, 4, 16),
        &[Floats(&[2, 16]), Codes(&[4, 1, 8]), Typed(DType::F32, &[4, 1], &[0.0, f32::NAN, -1.5, 1e-30])],
    ),
    case(sizes!(32, 8, 4, 16), &[Floats(&[3, 32]), Octets(&[7; 128]), Weights(&[8, 2])]).runs("cpu"),
];

/// The second block's factors and the first's by turns.
const GROUPS: [f32; 32] = {
    let mut groups = [0.0; 32];
    let mut at = 0;
    while at < 32 {
        groups[at] = ((at + 1) % 2) as f32;
        at += 1;
    }
    groups
};
