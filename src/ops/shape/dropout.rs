//! [Dropout](https://onnx.ai/onnx/operators/onnx__Dropout.html), versions 1, 6, 7, 10, 12, 13, 22: for
//! inference, the identity and a mask of ones.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator};
use crate::tensor::{Boolean, DType, Tensor, cast};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "Dropout", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct Dropout {
    /// Before version 10 the mask had the input's type.
    pub typed_mask: bool,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=3)?;
    node.ignore(&["ratio", "seed", "consumed_inputs"]);
    if node.version < 7 && node.int("is_test", 0)? == 0 {
        // Models of that time leave is_test at its default and mean inference all the same.
        tracing::debug!("Dropout of version {} without is_test: taken as inference", node.version);
    }
    Ok(Arc::new(Dropout { typed_mask: node.version < 10 }))
}

fn is_on(training: &Tensor) -> bool {
    training.to_i64s().is_ok_and(|values| values.first().is_some_and(|&value| value != 0))
}

impl Dropout {
    /// Errors where training is switched on and something would be dropped.
    fn check(training: Option<&Tensor>, ratio: Option<&Tensor>) -> Result<()> {
        let on = training.is_some_and(is_on);
        let none =
            ratio.is_some_and(|ratio| ratio.to_f64s().is_ok_and(|values| values.first() == Some(&0.0)));
        if on && !none {
            Err(Error::unsupported("dropout in training mode").remedy("export the model for inference"))
        } else {
            Ok(())
        }
    }
}

impl Operator for Dropout {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        if inputs.optional(2).is_some_and(|flag| flag.value.is_none()) {
            return Err(Infer::NeedsValue(2));
        }
        let training = inputs.optional(2).and_then(|flag| flag.value.as_ref());
        // Whether anything would be dropped: asked for only where it matters.
        if training.is_some_and(is_on) && inputs.optional(1).is_some_and(|ratio| ratio.value.is_none()) {
            return Err(Infer::NeedsValue(1));
        }
        Self::check(
            inputs.optional(2).and_then(|flag| flag.value.as_ref()),
            inputs.optional(1).and_then(|ratio| ratio.value.as_ref()),
        )?;
        Ok(vec![
            Fact::new(x.dtype, x.shape.clone()),
            Fact::new(if self.typed_mask { x.dtype } else { DType::Bool }, x.shape.clone()),
        ])
    }
    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        Self::check(inputs.optional(2), inputs.optional(1))?;
        let ones = Tensor::new(x.shape(), vec![Boolean::from(true); x.len()])?;
        Ok(vec![x.clone(), if self.typed_mask { cast(&ones, x.dtype(), true)? } else { ones }])
    }
    fn takes_any_type(&self) -> bool {
        true
    }
    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }
    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }
    fn flops(&self, _inputs: Operands<'_, Fact>, _outputs: &[Fact]) -> u64 {
        0
    }
}

impl Lower for Dropout {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
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

pub const CASES: &[Case] =
    &[case(&[], &[Floats(&[2, 3])]).runs("view"), case(&[], &[Floats(&[3, 5])]).outputs(2).runs("view")];
