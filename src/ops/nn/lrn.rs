//! [LRN](https://onnx.ai/onnx/operators/onnx__LRN.html), versions 1, 13: each element divided by a power of
//! the squares of its neighbours across channels (Krizhevsky, Sutskever and Hinton, 2012).

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Terms, Unsupported};
use crate::error::{Error, Result};
use crate::kernels::{Lowering, lrn};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator};
use crate::tensor::{Tensor, cast, zeros};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "LRN", since: 1, parse, cases: CASES };

/// `x / (bias + alpha / size · Σ x²)^beta` over `size` channels around each.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lrn {
    pub size: usize,
    pub alpha: f32,
    pub beta: f32,
    pub bias: f32,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    let size = i32::try_from(node.int("size", 0)?)
        .ok()
        .filter(|&size| size > 0)
        .ok_or_else(|| Error::model("attribute 'size' must be positive"))?;
    Ok(Arc::new(Lrn {
        size: size as usize,
        alpha: node.float("alpha", 1e-4)?,
        beta: node.float("beta", 0.75)?,
        bias: node.float("bias", 1.0)?,
    }))
}

impl Lrn {
    /// Channels before and behind a channel that its window reaches.
    pub fn reach(&self) -> (usize, usize) {
        ((self.size - 1) / 2, self.size / 2)
    }
}

impl Operator for Lrn {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        if x.rank() < 2 {
            return Err(
                Error::model(format!("needs a tensor of rank 2 or more; found shape {:?}", x.shape)).into()
            );
        }
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let (images, channels, area) = (x.shape()[0], x.shape()[1], x.shape()[2..].iter().product::<usize>());
        let xs = x.to_f64s()?;
        let mut ys: Vec<f64> = zeros(xs.len())?;
        let (before, behind) = self.reach();
        for image in 0..images {
            for channel in 0..channels {
                let window = channel.saturating_sub(before)
                    ..channel.saturating_add(behind).saturating_add(1).min(channels);
                for pixel in 0..area {
                    let at = |channel: usize| (image * channels + channel) * area + pixel;
                    let squares: f64 = window.clone().map(|other| xs[at(other)] * xs[at(other)]).sum();
                    ys[at(channel)] = xs[at(channel)]
                        / (self.bias as f64 + self.alpha as f64 / self.size as f64 * squares)
                            .powf(self.beta as f64);
                }
            }
        }
        Ok(vec![cast(&Tensor::new(x.shape(), ys)?, x.dtype(), true)?])
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Sum { length: self.size, terms: Terms::Squares }
    }

    fn flops(&self, _inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        outputs.first().map_or(0, |out| (2 * self.size as u64 + 4) * out.count() as u64)
    }
}

impl Lower for Lrn {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let (before, behind) = self.reach();
        let alpha = self.alpha / self.size as f32;
        lrn::emit(at, &lrn::Neighbourhood { before, behind, alpha, beta: self.beta, bias: self.bias })
    }
}

const CASES: &[Case] = &[
    case(
        &[("size", Int(3)), ("alpha", Float(0.2)), ("beta", Float(0.5)), ("bias", Float(2.0))],
        &[Floats(&[2, 5, 3, 4])],
    ),
    case(&[("size", Int(4)), ("alpha", Float(0.5))], &[Floats(&[1, 9, 7])]),
    case(&[("size", Int(9))], &[Floats(&[1, 3, 2, 2])]),
    case(&[("size", Int(3))], &[Floats(&[2, 5])]).runs("cpu"),
];
