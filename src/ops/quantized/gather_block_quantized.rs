//! [GatherBlockQuantized](https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.GatherBlockQuantized),
//! of onnxruntime: slices of a table of few bits along an axis, as floats: `(code − zero point) · scale`.
//!
//! Inputs: data (int4, uint4, or uint8 with codes of 2, 4 or 8 bits, the lowest first, packed along the last
//! axis), indices, scales (data's shape, blocks of an axis in its place), zero points of data's type and
//! packed like it; without them 0, or 2^(bits−1) of uint8. An index outside gives zeros.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Layout, Levels, Operands, Unsupported, WeightLayout};
use crate::error::{Error, Result};
use crate::kernels::{Lowering, gather_nbits};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator, Repacked, RepackedInput};
use crate::tensor::index::axis;
use crate::tensor::{DType, Real, Tensor, cast, element_count, zeros};
use std::sync::Arc;

pub const DEF: OpDef =
    OpDef { domain: "com.microsoft", name: "GatherBlockQuantized", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct GatherBlockQuantized {
    pub gather_axis: i64,
    pub quantize_axis: i64,
    pub block: usize,
    pub bits: usize,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(3..=4)?;
    let (bits, block) = (node.int("bits", 4)?, node.int("block_size", 128)?);
    let known = usize::try_from(bits).ok().zip(usize::try_from(block).ok());
    let (bits, block) =
        known.filter(|&(bits, block)| WeightLayout::supports(bits, block)).ok_or_else(|| {
            Error::unsupported(format!("a table of {bits} bits in blocks of {block}"))
                .remedy("2, 4 and 8 bits are supported, in blocks of a power of two from 16 on")
        })?;
    let (gather_axis, quantize_axis) = (node.int("gather_axis", 0)?, node.int("quantize_axis", 1)?);
    Ok(Arc::new(GatherBlockQuantized { gather_axis, quantize_axis, block, bits }))
}

/// How the table lies.
struct Form {
    gather: usize,
    quantize: usize,
    /// Sizes of the table, of its scales, and bits of a code.
    sizes: Vec<usize>,
    factors: Vec<usize>,
    bits: usize,
    /// Whether several codes share a byte.
    packed: bool,
}

impl GatherBlockQuantized {
    /// Errors where types or sizes don't fit.
    fn form(&self, inputs: Operands<'_, Fact>) -> Result<Form> {
        let (data, indices, scales) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
        let wrong = |what: &str, fact: &Fact, wanted: String| {
            Error::model(format!("{what} {}{:?}; {wanted}", fact.dtype, fact.shape))
        };
        let bits = match data.dtype {
            DType::U8 => self.bits,
            DType::I4 | DType::U4 => 4,
            _ => {
                let error = wrong("the table is", data, "int4, uint4 and uint8 are supported".into());
                return Err(error);
            }
        };
        let rank = data.shape.len();
        let (gather, quantize) = (axis(self.gather_axis, rank)?, axis(self.quantize_axis, rank)?);
        let packed = data.dtype == DType::U8 && bits < 8;
        let mut sizes = data.shape.clone();
        if packed && let Some(last) = sizes.last_mut() {
            *last = last.saturating_mul(8 / bits);
        }
        if data.dtype == DType::U8 && (gather != 0 || packed && quantize == 0) {
            return Err(Error::model(
                "a table of uint8 is gathered along axis 0 and quantised along another",
            ));
        }
        element_count(&sizes)?;
        let mut factors = sizes.clone();
        factors[quantize] = sizes[quantize].div_ceil(self.block);
        if !scales.dtype.is_float() || scales.shape != factors {
            return Err(wrong("the scales are", scales, format!("a float {factors:?} is needed")));
        }
        if let Some(zero) = inputs.optional(3) {
            let mut wanted = factors.clone();
            if packed && let Some(last) = wanted.last_mut() {
                *last = last.div_ceil(8 / bits);
            }
            if zero.dtype != data.dtype || zero.shape != wanted {
                return Err(wrong(
                    "the zero points are",
                    zero,
                    format!("{}{wanted:?} is needed", data.dtype),
                ));
            }
        }
        if !matches!(indices.dtype, DType::I32 | DType::I64) {
            return Err(wrong("the indices are", indices, "int32 or int64 is needed".into()));
        }
        Ok(Form { gather, quantize, sizes, factors, bits, packed })
    }

    fn shape(form: &Form, indices: &[usize]) -> Vec<usize> {
        [&form.sizes[..form.gather], indices, &form.sizes[form.gather + 1..]].concat()
    }

    fn values<T: Real>(&self, inputs: Operands<'_, Tensor>) -> Result<Tensor> {
        let facts: Vec<Option<Fact>> = (0..4).map(|index| inputs.optional(index).map(Fact::of)).collect();
        let refs: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
        let form = self.form(Operands::new(&refs))?;
        let (data, indices, scales) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
        let (indices_list, scales) = (indices.to_i64s()?, cast(scales, T::DTYPE, true)?);
        let scales = scales.as_slice::<T>()?;
        let shape = Self::shape(&form, indices.shape());
        let mut all: Vec<T> = zeros(element_count(&shape)?)?;
        let size = form.sizes[form.gather];
        let inner: usize = form.sizes[form.gather + 1..].iter().product();
        for (at, to) in all.iter_mut().enumerate() {
            let (outer, rest) = (at / inner / indices_list.len().max(1), at % inner);
            let index = indices_list[at / inner % indices_list.len()];
            let resolved = if index < 0 { index.saturating_add(size as i64) } else { index };
            let Some(row) = usize::try_from(resolved).ok().filter(|&row| row < size) else { continue };
            let from = (outer * size + row) * inner + rest;
            let factor = factor_of(from, &form, self.block);
            let zero = match inputs.optional(3) {
                Some(zero) => code(zero, factor, &form, *form.factors.last().unwrap_or(&1)),
                None if data.dtype() == DType::U8 => 1 << (form.bits - 1),
                None => 0,
            };
            let level = code(data, from, &form, *form.sizes.last().unwrap_or(&1)) - zero;
            *to = T::of(level.into()) * scales[factor];
        }
        Tensor::new(shape, all)
    }

    /// The constant table (inputs 0, 2 and 3) as rows of few bits, where it is one of rows that lie in
    /// blocks.
    pub fn packed(&self, inputs: Operands<'_, Tensor>) -> Result<Option<(WeightLayout, Tensor)>> {
        let (data, scales) = (inputs.required(0)?, inputs.required(2)?);
        let index = Fact::new(DType::I64, vec![]);
        let facts: Vec<Option<Fact>> = (0..4).map(|index| inputs.optional(index).map(Fact::of)).collect();
        let mut refs: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
        refs[1] = Some(&index);
        let form = self.form(Operands::new(&refs))?;
        if form.sizes.len() != 2 || (form.gather, form.quantize) != (0, 1) || data.is_empty() {
            return Ok(None);
        }
        let (rows, width) = (form.sizes[0], form.sizes[1]);
        let zero = inputs.optional(3);
        let signed = data.dtype() == DType::I4;
        let shift = if signed { 8 } else { 0 };
        let layout = WeightLayout {
            k: width,
            n: rows,
            bits: form.bits,
            block: self.block,
            // Signed codes, and those of uint8, have the middle where none is given.
            zeros: zero.is_some() || data.dtype() == DType::U4,
            levels: Levels::Linear,
        };
        let scales = cast(scales, DType::F32, true)?;
        let scales = scales.as_slice::<f32>()?;
        let blocks = layout.blocks();
        let word = |row: usize, block: usize, word: usize| {
            let first = block * self.block + word * layout.per_word();
            (0..layout.per_word()).filter(|i| first + i < width).fold(0u32, |made, i| {
                let own = code(data, row * width + first + i, &form, width) + shift;
                made | (own as u32) << (i * form.bits)
            })
        };
        let zeros = |row: usize, block: usize| {
            (zero.map_or(0, |zero| code(zero, row * blocks + block, &form, blocks)) + shift) as f32
        };
        Ok(Some((layout, layout.pack(word, |row, block| scales[row * blocks + block], zeros)?)))
    }
}

/// Where an element's scale lies.
fn factor_of(from: usize, form: &Form, block: usize) -> usize {
    let inner: usize = form.sizes[form.quantize + 1..].iter().product();
    let size = form.sizes[form.quantize];
    let (outer, along, rest) = (from / inner / size, from / inner % size, from % inner);
    (outer * form.factors[form.quantize] + along / block) * inner + rest
}

/// Element `at` of a table whose last axis has `last` elements.
fn code(table: &Tensor, at: usize, form: &Form, last: usize) -> i32 {
    let bytes = table.bytes();
    if !form.packed {
        let byte = bytes.get(at).copied().unwrap_or(0);
        return if table.dtype() == DType::I4 { i32::from(byte as i8) } else { i32::from(byte) };
    }
    let each = 8 / form.bits;
    let (row, column) = (at / last, at % last);
    let byte = bytes.get(row * last.div_ceil(each) + column / each).copied().unwrap_or(0);
    i32::from(byte >> (column % each * form.bits)) & ((1 << form.bits) - 1)
}

impl Operator for GatherBlockQuantized {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let form = self.form(inputs)?;
        let (indices, scales) = (inputs.required(1)?, inputs.required(2)?);
        Ok(vec![Fact::new(scales.dtype, Self::shape(&form, &indices.shape))])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        Ok(vec![match inputs.required(2)?.dtype() {
            DType::F64 => self.values::<f64>(inputs)?,
            _ => self.values::<f32>(inputs)?,
        }])
    }

    fn repacked(
        &self,
        constants: Operands<'_, Tensor>,
        given: &dyn Fn(usize) -> bool,
    ) -> Result<Option<Repacked>> {
        if [0, 2, 3].into_iter().any(|index| given(index) && constants.optional(index).is_none()) {
            return Ok(None);
        }
        let dtype = constants.required(2)?.dtype();
        let Some((layout, table)) = self.packed(constants)? else { return Ok(None) };
        let inputs = vec![RepackedInput::Constant(0, table), RepackedInput::Given(1)];
        Ok(Some(Repacked { op: Arc::new(PackedGather { layout, dtype }), inputs }))
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    /// The table is what it is in every precision.
    fn by_value(&self, index: usize) -> bool {
        index >= 2
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Elementwise
    }
}

impl Lower for GatherBlockQuantized {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let mut known = vec![];
        for index in 0..4 {
            let constant = at.constant(index).cloned();
            if index != 1 && at.has_input(index) && constant.is_none() {
                return Err(Unsupported::new(format!("input {index} is no constant")));
            }
            known.push(constant.filter(|_| index != 1));
        }
        let refs: Vec<Option<&Tensor>> = known.iter().map(Option::as_ref).collect();
        let Some((layout, table)) = self.packed(Operands::new(&refs))? else {
            return Err(Unsupported::new("a table that isn't one of rows that lie in blocks"));
        };
        let table = at.table("a table", table)?.buffer;
        lower(at, &layout, table)
    }
}

fn lower(
    at: &mut dyn Lowering,
    layout: &WeightLayout,
    table: crate::base::BufferId,
) -> Result<(), Unsupported> {
    let (dtype, index) = (at.output_fact(0)?.dtype, at.fact(1)?.dtype);
    let (storage, format) = (at.storage(dtype)?, at.storage(index)?);
    if !storage.is_float() {
        return Err(Unsupported::new(format!("{dtype} has no kernel here")));
    }
    let indices = at.input(1, Layout::Dense)?;
    let count = indices.count();
    let output = at.output(0, Layout::Rows4)?;
    gather_nbits::emit(at, layout, table, (indices.buffer, format, count), storage, output.buffer)
}

/// The same with its constant table as kernels read it: what a GatherBlockQuantized becomes when a model is
/// loaded (passes/packed_weights.rs). Inputs: the table, indices. Its rows are the layout's columns.
#[derive(Debug, Clone, PartialEq)]
pub struct PackedGather {
    pub layout: WeightLayout,
    /// The type that is made.
    pub dtype: DType,
}

impl Operator for PackedGather {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let indices = inputs.required(1)?;
        Ok(vec![Fact::new(self.dtype, [&indices.shape[..], &[self.layout.k]].concat())])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let (table, indices) = (self.layout.read(inputs.required(0)?)?, inputs.required(1)?);
        let shape = [indices.shape(), &[self.layout.k]].concat();
        let width = self.layout.k;
        let row = |index: i64| {
            let resolved = if index < 0 { index.saturating_add(self.layout.n as i64) } else { index };
            usize::try_from(resolved).ok().filter(|&row| row < self.layout.n)
        };
        let rows: Vec<Option<usize>> = indices.to_i64s()?.into_iter().map(row).collect();
        if mode == EvalPrecision::Oracle {
            let mut all: Vec<f64> = zeros(element_count(&shape)?)?;
            for (at, to) in all.iter_mut().enumerate() {
                *to = rows[at / width].map_or(0.0, |row| table.value(at % width, row, false));
            }
            return Ok(vec![Tensor::new(shape, all)?]);
        }
        let mut all: Vec<f32> = zeros(element_count(&shape)?)?;
        for (at, to) in all.iter_mut().enumerate() {
            *to = rows[at / width].map_or(0.0, |row| table.value(at % width, row, false));
        }
        Ok(vec![cast(&Tensor::new(shape, all)?, self.dtype, true)?])
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }
}

impl Lower for PackedGather {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let table = at.view(0)?.buffer;
        lower(at, &self.layout, table)
    }
}

/// Attributes of a case.
macro_rules! form {
    ($bits:literal, $block:literal, $gather:literal, $quantize:literal) => {
        &[
            ("bits", Int($bits)),
            ("block_size", Int($block)),
            ("gather_axis", Int($gather)),
            ("quantize_axis", Int($quantize)),
        ]
    };
}

const CASES: &[Case] = &[
    case(form!(4, 16, 0, 1), &[Codes(&[9, 17]), Indices(&[2, 3], &[0, 8, -1, 3, 4, 2]), Weights(&[9, 3])]),
    case(
        form!(8, 32, 0, 1),
        &[Codes(&[20, 70]), Indices(&[5], &[19, 0, 7, 7, -20]), Weights(&[20, 3]), Codes(&[20, 3])],
    ),
    case(form!(4, 16, 0, -1), &[Codes(&[5, 20]), Indices(&[], &[4]), Weights(&[5, 3]), Codes(&[5, 2])]),
    case(
        form!(4, 16, 0, 1),
        &[
            Typed(
                DType::I4,
                &[2, 16],
                &[
                    -8.0, 7.0, 1.0, -1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -2.0, -3.0, -4.0, -5.0, -6.0, -7.0, 0.0,
                    1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, -8.0, -7.0, -6.0, -5.0, -4.0, -3.0, -2.0, -1.0, 0.0,
                ],
            ),
            Indices(&[3], &[1, 0, 1]),
            Weights(&[2, 1]),
            Typed(DType::I4, &[2, 1], &[3.0, -4.0]),
        ],
    ),
    // Another axis: no form for kernels.
    case(
        form!(4, 16, 1, 0),
        &[
            Typed(DType::U4, &[2, 3], &[15.0, 7.0, 1.0, 9.0, 2.0, 3.0]),
            Indices(&[2], &[2, 0]),
            Weights(&[1, 3]),
        ],
    )
    .runs("cpu"),
];
