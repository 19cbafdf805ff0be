//! What a contraction does with its sum, on the kernel's side: bias, residual and clamp as flags, anything
//! else as a variant.

use super::Lowering;
use super::block::parameters;
use super::{Prelude, Target};
use crate::base::{Access, BufferId, ElementFormat, Unsupported};
use crate::expression::numbers::{self, MAX_NUMBERS};
use crate::expression::{Arg, Pointwise, table, to_wgsl};
use crate::tensor::DType;

/// The shared end of the contraction shaders.
const FINISH: &str = include_str!("../../shaders/lib/finish.wgsl");

pub(crate) const HAS_BIAS: u32 = 1;
const HAS_RESIDUAL: u32 = 2;
const HAS_CLAMP: u32 = 4;
const WITHIN_F16: u32 = 8;

parameters! {
    /// A part of a contraction's parameter block (shaders/lib/finish.wgsl). It begins at a multiple of 16
    /// bytes, as WGSL has it.
    pub struct EpilogueParams {
        flags: u32,
        alpha: f32,
        low: f32,
        high: f32,
        numbers: [f32; MAX_NUMBERS],
    }
}

/// An epilogue as flags and bounds, and as the text of its variant.
#[derive(Debug, Clone)]
pub struct Epilogue {
    pub flags: u32,
    pub low: f32,
    pub high: f32,
    /// What the generated text reads as parameters.
    numbers: [f32; MAX_NUMBERS],
    generated: Option<String>,
}

impl Epilogue {
    /// Reads an expression whose operand 0 is the sum (with its bias) and whose operand 1, if any, is a
    /// residual, both declared as `dtype`.
    pub fn new(expression: &Pointwise, bias: bool, dtype: DType) -> Result<Self, Unsupported> {
        let residual = expression.operands > 1;
        if expression.operands > 2 {
            return Err(Unsupported::new("an epilogue of more than one other tensor"));
        }
        // A clamp takes what is infinite in float16 to where it takes the sum itself.
        let ranged = dtype == DType::F16 && (residual || standard(expression).is_none());
        let flags = if bias { HAS_BIAS } else { 0 }
            | if residual { HAS_RESIDUAL } else { 0 }
            | if ranged { WITHIN_F16 } else { 0 };
        if let Some((low, high)) = standard(expression) {
            let clamp = low != f32::NEG_INFINITY || high != f32::INFINITY;
            let flags = flags | if clamp { HAS_CLAMP } else { 0 };
            return Ok(Self { flags, low, high, numbers: Default::default(), generated: None });
        }
        // Of the types that are computed in float32, float16's range alone is another.
        let dtype = if dtype == DType::F16 { dtype } else { DType::F32 };
        let (expression, lifted) = expression.with_numbers(&vec![dtype; expression.operands], MAX_NUMBERS);
        let operands = vec![dtype; expression.operands];
        let mut text = to_wgsl("generated", &expression, &operands)?;
        let call = |lane: &str| {
            let given =
                [format!("v.{lane}"), format!("r.{lane}")].into_iter().take(1 + usize::from(residual));
            let numbers = numbers::arguments("p.epilogue.numbers", lifted.len());
            format!("generated({})", given.chain(numbers).collect::<Vec<_>>().join(", "))
        };
        text += &format!(
            "fn generated4(v: vec4<f32>, r: vec4<f32>) -> vec4<f32> {{ return vec4({}, {}, {}, {}); }}\n",
            call("x"),
            call("y"),
            call("z"),
            call("w")
        );
        let numbers = numbers::block(&lifted);
        Ok(Self { flags, low: 0.0, high: 0.0, numbers, generated: Some(text) })
    }

    /// The same where the first step is a part of the operator: its sum isn't declared as anything before
    /// that.
    pub fn begun_by_the_operator(self) -> Self {
        Self { flags: self.flags & !WITHIN_F16, ..self }
    }

    /// The block's part of a contraction whose sums are scaled by `alpha`.
    pub(super) fn params(&self, alpha: f32) -> EpilogueParams {
        EpilogueParams { flags: self.flags, alpha, low: self.low, high: self.high, numbers: self.numbers }
    }

    /// Adds to a contraction's prelude what the end of its shader needs.
    pub fn prelude(&self, prelude: Prelude) -> Prelude {
        let none = "fn generated4(v: vec4<f32>, r: vec4<f32>) -> vec4<f32> { return v; }\n";
        prelude
            .flag("GENERATED", self.generated.is_some())
            .code(self.generated.as_deref().unwrap_or(none))
            .code(FINISH)
    }
}

/// What becomes of a contraction's sums, and where they go.
#[derive(Debug, Clone)]
pub struct OutputStage {
    pub epilogue: Epilogue,
    pub bias: Option<BufferId>,
    /// Contiguous, its rows padded to 4.
    pub residual: Option<BufferId>,
    pub output: Target,
}

impl OutputStage {
    /// `expression`, `dtype`: as [`Epilogue::new`] reads them.
    pub fn new(
        expression: &Pointwise,
        dtype: DType,
        bias: Option<BufferId>,
        residual: Option<BufferId>,
        output: Target,
    ) -> Result<Self, Unsupported> {
        Ok(Self { epilogue: Epilogue::new(expression, bias.is_some(), dtype)?, bias, residual, output })
    }
    /// The sums as they are.
    pub fn plain(output: Target) -> Result<Self, Unsupported> {
        Self::new(&Pointwise::identity(), DType::F32, None, None, output)
    }
    /// What a contraction binds, in the order of its shader: its operands, bias, residual, result. One that
    /// isn't there is a dummy.
    pub fn bindings<const N: usize>(
        &self,
        at: &mut dyn Lowering,
        storage: ElementFormat,
        operands: [BufferId; N],
    ) -> Result<Vec<(BufferId, Access)>, Unsupported> {
        let dummy = at.dummy(storage)?;
        let read = operands.into_iter().chain([self.bias.unwrap_or(dummy), self.residual.unwrap_or(dummy)]);
        Ok(read.map(|buffer| (buffer, Access::Read)).chain([(self.output.buffer, Access::Write)]).collect())
    }
}

/// The clamp bounds of an expression that is `[+ residual] [Relu | Max c | Min c]…`, the order that the flags
/// run in.
fn standard(expression: &Pointwise) -> Option<(f32, f32)> {
    let (mut low, mut high) = (f32::NEG_INFINITY, f32::INFINITY);
    let mut value = Arg::Operand(0);
    let mut added = expression.operands < 2;
    for (index, step) in expression.steps.iter().enumerate() {
        let bound = match step.args.as_slice() {
            [first, Arg::Const(bound)] if *first == value => Some(*bound as f32),
            _ => None,
        };
        if step.row == &table::ADD
            && !added
            && (step.args == [value, Arg::Operand(1)] || step.args == [Arg::Operand(1), value])
            && low == f32::NEG_INFINITY
            && high == f32::INFINITY
        {
            added = true;
        } else if step.row == &table::RELU && step.args == [value] {
            (low, high) = (low.max(0.0), high.max(0.0));
        } else if step.row == &table::MAX && bound.is_some() {
            (low, high) = (low.max(bound?), high.max(bound?));
        } else if step.row == &table::MIN && bound.is_some() {
            (low, high) = (low.min(bound?), high.min(bound?));
        } else {
            return None;
        }
        value = Arg::Step(index);
    }
    added.then_some((low, high))
}

/// The variants that the test without a device translates: the standard one and a generated one with a
/// residual.
pub fn test_variants() -> Vec<Epilogue> {
    let mut silu = Pointwise { operands: 2, steps: vec![] };
    let value = silu.push(&table::SILU, vec![Arg::Operand(0)]);
    silu.push(&table::ADD, vec![value, Arg::Operand(1)]);
    let gelu = Pointwise::of(&table::GELU, 1, &[]);
    let mut steps = Pointwise { operands: 1, steps: vec![] };
    let quotient = steps.push(&table::DIV, vec![Arg::Operand(0), Arg::Const(0.1)]);
    let whole = steps.push(&table::ROUND, vec![quotient]);
    steps.push(&table::MUL, vec![whole, Arg::Const(0.1)]);
    // What is declared float16 has all of float32's text, and its range between steps.
    let all = [(&Pointwise::identity(), DType::F32), (&silu, DType::F16)];
    all.into_iter()
        .chain([(&gelu, DType::F32), (&steps, DType::F32)])
        .filter_map(|(expression, dtype)| Epilogue::new(expression, true, dtype).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_epilogue_makes_no_variant() {
        let mut chain = Pointwise { operands: 2, steps: vec![] };
        let sum = chain.push(&table::ADD, vec![Arg::Operand(1), Arg::Operand(0)]);
        let low = chain.push(&table::MAX, vec![sum, Arg::Const(0.0)]);
        chain.push(&table::MIN, vec![low, Arg::Const(6.0)]);
        let epilogue = Epilogue::new(&chain, true, DType::F32).unwrap();
        assert_eq!(
            (epilogue.flags, epilogue.low, epilogue.high, epilogue.generated.is_none()),
            (7, 0.0, 6.0, true)
        );
        // Scales are no part of the text.
        let text = |scale: f64| {
            let mut e = Pointwise { operands: 1, steps: vec![] };
            let quotient = e.push(&table::DIV, vec![Arg::Operand(0), Arg::Const(scale)]);
            let whole = e.push(&table::ROUND, vec![quotient]);
            let shifted = e.push(&table::ADD, vec![whole, Arg::Const(3.0)]);
            e.push(&table::MUL, vec![shifted, Arg::Const(scale)]);
            let made = Epilogue::new(&e, false, DType::F32).unwrap();
            assert_eq!(made.numbers[..3], [scale as f32, 3.0, 0.0]);
            made.generated
        };
        assert_eq!(text(0.25), text(0.1));
        // Relu before the residual is another thing.
        let mut other = Pointwise { operands: 2, steps: vec![] };
        let relu = other.push(&table::RELU, vec![Arg::Operand(0)]);
        other.push(&table::ADD, vec![relu, Arg::Operand(1)]);
        assert!(Epilogue::new(&other, true, DType::F32).unwrap().generated.is_some());
    }
}
