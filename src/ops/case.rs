//! Small cases of an operator, in the same file. One generic test (tests/operators.rs) runs all of them: what
//! `infer` says is what `eval` makes, and the GPU gives what the CPU gives in every storage and under
//! WebGPU's limits.

use super::Attribute;
use crate::error::Result;
use crate::tensor::{Boolean, DType, Element, Tensor, cast, element_count};

/// An attribute of a case.
#[derive(Debug, Clone, Copy)]
pub enum Given {
    Int(i64),
    Float(f32),
    Ints(&'static [i64]),
    Reals(&'static [f32]),
    Text(&'static str),
    Texts(&'static [&'static str]),
    /// A list as a tensor of float32, or of uint8.
    Numbers(&'static [f32]),
    Bytes(&'static [u8]),
}

/// An input of a case. Elements are seeded; values that an operator needs are written out.
#[derive(Debug, Clone, Copy)]
pub enum Operand {
    Absent,
    /// float32 in [−2, 2), given at run time.
    Floats(&'static [usize]),
    /// The same, as a constant of the model.
    Weights(&'static [usize]),
    /// float32 in a range, given at run time.
    Range(&'static [usize], f32, f32),
    /// A constant 1-D int64 tensor (a shape, axes), written out.
    Known(&'static [i64]),
    /// A constant 1-D float32 tensor (scales), written out.
    Factors(&'static [f32]),
    /// A constant float32 scalar.
    Scalar(f32),
    /// A constant int64 scalar.
    Whole(i64),
    /// float32 of a shape, written out, given at run time.
    Values(&'static [usize], &'static [f32]),
    /// A list of uint8, written out, given at run time.
    Octets(&'static [u8]),
    /// int64 of a shape, written out, given at run time.
    Indices(&'static [usize], &'static [i64]),
    /// int32, int64 and bool of a shape, seeded (integers in −50..50), given at run time.
    I32(&'static [usize]),
    I64(&'static [usize]),
    Bools(&'static [usize]),
    /// Any other integer type, given at run time: seeded integers in −50..50, or of all 64 bits, wrapped to
    /// the type.
    Small(DType, &'static [usize]),
    Wide(DType, &'static [usize]),
    /// Floats of any type in [−2, 2), given at run time.
    Drawn(DType, &'static [usize]),
    /// A constant of bytes of all values, seeded (weights of few bits).
    Codes(&'static [usize]),
    /// A constant of any type (a scale, a zero point, quantised weights), written out.
    Typed(DType, &'static [usize], &'static [f32]),
}

/// A node with inputs, and where it is to run.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// 0: the newest version that the registry's tests know.
    pub version: i64,
    pub attributes: &'static [(&'static str, Given)],
    pub inputs: &'static [Operand],
    pub outputs: usize,
    /// The placement's name in f32: `gpu`, `view`, `plan` or `cpu`.
    pub runs: &'static str,
}

/// A case of the newest version, with one output, on the GPU.
pub const fn case(attributes: &'static [(&'static str, Given)], inputs: &'static [Operand]) -> Case {
    Case { version: 0, attributes, inputs, outputs: 1, runs: "gpu" }
}

impl Case {
    pub const fn at(self, version: i64) -> Self {
        Self { version, ..self }
    }
    pub const fn runs(self, runs: &'static str) -> Self {
        Self { runs, ..self }
    }
    pub const fn outputs(self, outputs: usize) -> Self {
        Self { outputs, ..self }
    }
}

/// Seeded numbers of 24 bits.
pub fn draws(seed: u64) -> impl FnMut() -> u64 {
    let mut random = crate::random::SplitMix64(seed);
    move || random.next() >> 40
}

/// A list as a tensor; of one that no memory holds, one of its first element.
fn tensor<T: Element>(list: &[T]) -> Tensor {
    let first = || Tensor::scalar(list.first().copied().unwrap_or_default());
    Tensor::new([list.len()], list.to_vec()).unwrap_or_else(|_| first())
}

impl Given {
    pub fn attribute(self) -> Attribute {
        match self {
            Given::Int(value) => Attribute::Int(value),
            Given::Float(value) => Attribute::Float(value),
            Given::Ints(list) => Attribute::Ints(list.to_vec()),
            Given::Reals(list) => Attribute::Floats(list.to_vec()),
            Given::Text(text) => Attribute::String(text.to_string()),
            Given::Texts(list) => Attribute::Strings(list.iter().map(|text| text.to_string()).collect()),
            Given::Numbers(list) => Attribute::Tensor(tensor(list)),
            Given::Bytes(list) => Attribute::Tensor(tensor(list)),
        }
    }
}

impl Operand {
    /// Whether the model holds it.
    pub fn is_constant(self) -> bool {
        use Operand::{Codes, Factors, Known, Scalar, Typed, Weights, Whole};
        matches!(self, Codes(_) | Weights(_) | Known(_) | Factors(_) | Scalar(_) | Typed(..) | Whole(_))
    }
    /// The tensor, from a seed; `None` for an input left out.
    pub fn tensor(self, seed: u64) -> Result<Option<Tensor>> {
        let mut draw = draws(seed);
        let mut floats = |shape: &[usize], low: f32, high: f32| -> Result<Option<Tensor>> {
            let count = element_count(shape)?;
            Ok(Some(Tensor::new(
                shape,
                (0..count).map(|_| low + (high - low) * draw() as f32 / (1 << 24) as f32).collect(),
            )?))
        };
        match self {
            Operand::Absent => Ok(None),
            Operand::Floats(shape) | Operand::Weights(shape) => floats(shape, -2.0, 2.0),
            Operand::Range(shape, low, high) => floats(shape, low, high),
            Operand::Drawn(dtype, shape) => {
                floats(shape, -2.0, 2.0)?.map(|drawn| cast(&drawn, dtype, true)).transpose()
            }
            Operand::Typed(dtype, shape, list) => {
                cast(&Tensor::new(shape, list.to_vec())?, dtype, true).map(Some)
            }
            Operand::Known(list) => Ok(Some(Tensor::int64s(list.iter().copied()))),
            Operand::Factors(list) => Tensor::new([list.len()], list.to_vec()).map(Some),
            Operand::Scalar(value) => Ok(Some(Tensor::scalar(value))),
            Operand::Whole(value) => Ok(Some(Tensor::scalar(value))),
            Operand::Values(shape, list) => Tensor::new(shape, list.to_vec()).map(Some),
            Operand::Octets(list) => Tensor::new([list.len()], list.to_vec()).map(Some),
            Operand::Indices(shape, list) => Tensor::new(shape, list.to_vec()).map(Some),
            Operand::I32(shape) => Tensor::new(
                shape,
                (0..element_count(shape)?).map(|_| draw() as i32 % 100 - 50).collect::<Vec<_>>(),
            )
            .map(Some),
            Operand::I64(shape) => Tensor::new(
                shape,
                (0..element_count(shape)?).map(|_| draw() as i64 % 100 - 50).collect::<Vec<_>>(),
            )
            .map(Some),
            Operand::Small(dtype, shape) => {
                let list = (0..element_count(shape)?).map(|_| draw() as i64 % 100 - 50).collect::<Vec<_>>();
                cast(&Tensor::new(shape, list)?, dtype, true).map(Some)
            }
            Operand::Wide(dtype, shape) => {
                let list = (0..element_count(shape)?)
                    .map(|_| (draw() << 44 ^ draw() << 20 ^ draw()) as i64)
                    .collect::<Vec<_>>();
                cast(&Tensor::new(shape, list)?, dtype, true).map(Some)
            }
            Operand::Codes(shape) => {
                Tensor::new(shape, (0..element_count(shape)?).map(|_| draw() as u8).collect::<Vec<_>>())
                    .map(Some)
            }
            Operand::Bools(shape) => Tensor::new(
                shape,
                (0..element_count(shape)?).map(|_| Boolean::from(draw() & 1 == 1)).collect::<Vec<_>>(),
            )
            .map(Some),
        }
    }
}
