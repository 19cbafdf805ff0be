//! [Dropout](https://onnx.ai/onnx/operators/onnx__Dropout.html), versions 1, 6, 7, 10, 12, 13, 22: for
//! inference, the identity and a mask of ones; in training mode elements are dropped at random, and the
//! others scaled by `1 / (1 - ratio)`.
//!
//! Inputs: data, and since version 12 the ratio and whether this is training. By a seed it draws as ONNX's
//! reference evaluator does; ONNX's text leaves the generator open.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator};
use crate::random::MersenneTwister;
use crate::tensor::{Boolean, DType, Tensor, allocate, cast};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "Dropout", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct Dropout {
    /// Before version 10 the mask had the input's type.
    pub typed_mask: bool,
    /// `None`: another one each time.
    pub seed: Option<u32>,
    /// Whether an input says that this is training.
    pub trainable: bool,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=if node.version < 12 { 1 } else { 3 })?;
    node.ignore(&["ratio", "consumed_inputs"]);
    if node.version < 7 && node.int("is_test", 0)? == 0 {
        // Models of that time leave is_test at its default and mean inference all the same.
        tracing::debug!("Dropout of version {} without is_test: taken as inference", node.version);
    }
    // Seeds are of 32 bits; others are taken into them.
    let seed = node.optional_int("seed")?.map(|seed| seed as u32);
    Ok(Arc::new(Dropout { typed_mask: node.version < 10, seed, trainable: node.has_input(2) }))
}

/// Whether it is known that this is training.
fn trains(inputs: Operands<'_, Fact>) -> bool {
    inputs.optional(2).and_then(|flag| flag.value.as_ref()).is_some_and(is_on)
}

fn is_on(training: &Tensor) -> bool {
    training.to_i64s().is_ok_and(|values| values.first().is_some_and(|&value| value != 0))
}

impl Dropout {
    /// The ratio in training mode; `None` for inference, and where nothing is dropped.
    fn ratio(inputs: Operands<'_, Tensor>) -> Result<Option<f64>> {
        if !inputs.optional(2).is_some_and(is_on) {
            return Ok(None);
        }
        let ratio = inputs.optional(1).map(Tensor::to_f64s).transpose()?;
        let ratio = ratio.map_or(Some(0.5), |list| list.first().copied());
        match ratio {
            Some(ratio) if (0.0..1.0).contains(&ratio) => Ok(Some(ratio).filter(|&ratio| ratio > 0.0)),
            _ => Err(Error::input(format!("the ratio is {ratio:?}; a number from 0 to below 1 is needed"))),
        }
    }

    fn dropped(&self, x: &Tensor, ratio: f64, mode: EvalPrecision) -> Result<[Tensor; 2]> {
        let seed = || RandomState::new().build_hasher().finish() as u32;
        let mut random = MersenneTwister::new(self.seed.unwrap_or_else(seed));
        let mut mask = allocate(x.len())?;
        mask.extend((0..x.len()).map(|_| Boolean::from(random.unit() >= ratio)));
        let scale = 1.0 / (1.0 - ratio);
        let ys =
            x.to_f64s()?.into_iter().zip(&mask).map(|(x, kept)| if kept.get() { x * scale } else { 0.0 });
        let y = Tensor::new(x.shape(), ys.collect::<Vec<_>>())?;
        Ok([cast(&y, mode.of(x.dtype()), true)?, Tensor::new(x.shape(), mask)?])
    }
}

impl Operator for Dropout {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        if inputs.optional(2).is_some_and(|flag| flag.value.is_none()) {
            return Err(Infer::NeedsValue(2));
        }
        if !x.dtype.is_float() && trains(inputs) {
            return Err(Error::model(format!("{} is not a type of this operator", x.dtype)).into());
        }
        Ok(vec![
            Fact::new(x.dtype, x.shape.clone()),
            Fact::new(if self.typed_mask { x.dtype } else { DType::Bool }, x.shape.clone()),
        ])
    }
    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        if let Some(ratio) = Self::ratio(inputs)? {
            return self.dropped(x, ratio, mode).map(Vec::from);
        }
        let ones = Tensor::new(x.shape(), vec![Boolean::from(true); x.len()])?;
        Ok(vec![x.clone(), if self.typed_mask { cast(&ones, x.dtype(), true)? } else { ones }])
    }
    fn takes_any_type(&self) -> bool {
        true
    }
    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }
    fn error_bound(&self, inputs: Operands<'_, Fact>) -> Bound {
        if trains(inputs) { Bound::Elementwise } else { Bound::Exact }
    }
    fn is_random(&self) -> bool {
        self.trainable && self.seed.is_none()
    }
    fn flops(&self, _inputs: Operands<'_, Fact>, _outputs: &[Fact]) -> u64 {
        0
    }
}

impl Lower for Dropout {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        if at.has_input(2) && at.fact(2)?.value.as_ref().is_some_and(is_on) {
            return Err(Unsupported::new("dropout in training mode"));
        }
        if at.has_output(1) {
            // Nothing is dropped: the mask is one element seen many times.
            let fact = at.output_fact(1)?.clone();
            let kept = cast(&Tensor::scalar(1i64), fact.dtype, true)?;
            let mask = at.table("the mask of a Dropout", kept)?.broadcast(&fact.shape);
            at.alias(1, mask);
        }
        let view = at.view(0)?;
        at.alias(0, view);
        Ok(())
    }
}

pub const CASES: &[Case] = &[
    case(&[], &[Floats(&[2, 3])]).runs("view"),
    case(&[], &[Floats(&[3, 5])]).outputs(2).runs("view"),
    case(&[("seed", Int(5))], &[Floats(&[3, 5]), Scalar(0.25), Typed(DType::Bool, &[], &[1.0])])
        .outputs(2)
        .runs("cpu"),
    case(&[("seed", Int(5))], &[Floats(&[3, 5]), Scalar(0.0), Typed(DType::Bool, &[], &[1.0])])
        .outputs(2)
        .runs("cpu"),
];
