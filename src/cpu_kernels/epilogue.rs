//! A node's epilogue as a product applies it: a residual and bounds while the sums are in registers, anything
//! else on each finished run.

use super::product::Epilogue;
use super::tile::Bounds;
use crate::base::Operands;
use crate::error::Result;
use crate::expression::{Arg, Fused, Pointwise};
use crate::tensor::{DType, Tensor};

/// An epilogue made ready for one evaluation.
pub struct PreparedEpilogue<'a> {
    residual: Option<&'a [f32]>,
    bounds: Option<Bounds>,
    fused: Option<(Fused, Vec<&'a [f32]>)>,
}

impl<'a> PreparedEpilogue<'a> {
    /// `extra` has the operands from 1 on, each of the result's `count` elements, or of one. `None`: float32
    /// alone doesn't do, and the expression must be applied to the whole result.
    pub fn of(expression: &Pointwise, extra: Operands<'a, Tensor>, count: usize) -> Result<Option<Self>> {
        let mut operands = vec![];
        for index in 0..expression.operands.saturating_sub(1) {
            let tensor = extra.required(index)?;
            if tensor.dtype() != DType::F32 || tensor.len() != count && tensor.len() != 1 {
                return Ok(None);
            }
            operands.push(tensor.as_slice::<f32>()?);
        }
        if let Some((residual, bounds)) = simple(expression) {
            let residual = residual.then(|| operands.first().copied()).flatten();
            if residual.is_none_or(|residual| residual.len() == count) {
                return Ok(Some(Self { residual, bounds, fused: None }));
            }
        }
        Ok(Fused::of(expression).map(|fused| Self {
            residual: None,
            bounds: None,
            fused: Some((fused, operands)),
        }))
    }

    /// Applies it to finished elements of the result that lie side by side, the first being element `origin`.
    pub fn apply(&self, origin: usize, run: &mut [f32]) {
        if let Some(residual) = self.residual {
            run.iter_mut().zip(&residual[origin..]).for_each(|(y, &x)| *y += x);
        }
        if let Some(Bounds { low, high }) = self.bounds {
            run.iter_mut().for_each(|y| {
                let x = if *y < low { low } else { *y };
                *y = if x > high { high } else { x };
            });
        }
        self.finish(origin, run);
    }

    fn finish(&self, at: usize, run: &mut [f32]) {
        let Some((fused, operands)) = &self.fused else { return };
        let part = |all: &&'a [f32]| if all.len() == 1 { *all } else { &all[at..at + run.len()] };
        match operands.as_slice() {
            [] => fused.run_in_place(&[], run),
            [one] => fused.run_in_place(&[part(one)], run),
            several => fused.run_in_place(&several.iter().map(part).collect::<Vec<_>>(), run),
        }
    }

    /// Calls `work` with the epilogue of the part of the result that begins at element `origin`, its rows
    /// `stride` apart.
    pub fn with<R>(
        &self,
        bias: Option<&[f32]>,
        origin: usize,
        stride: usize,
        work: impl FnOnce(&Epilogue<'_>) -> R,
    ) -> R {
        let finish =
            |row: usize, column: usize, run: &mut [f32]| self.finish(origin + row * stride + column, run);
        work(&Epilogue {
            bias,
            residual: self.residual.map(|residual| &residual[origin..]),
            bounds: self.bounds,
            finish: if self.fused.is_some() { Some(&finish) } else { None },
        })
    }
}

/// Whether the expression is: perhaps the sum plus operand 1, then perhaps bounds. (with residual, bounds)
fn simple(expression: &Pointwise) -> Option<(bool, Option<Bounds>)> {
    let (mut residual, mut bounds, mut value) = (false, None::<Bounds>, Arg::Operand(0));
    for (index, step) in expression.steps.iter().enumerate() {
        let first = step.args.first() == Some(&value);
        let free = Bounds { low: f32::NEG_INFINITY, high: f32::INFINITY };
        match (step.row.name, step.args.as_slice()) {
            ("Add", [a, b])
                if !residual
                    && bounds.is_none()
                    && [(*a, *b), (*b, *a)].contains(&(value, Arg::Operand(1))) =>
            {
                residual = true
            }
            ("Relu", [_]) if first && bounds.is_none() => bounds = Some(Bounds { low: 0.0, ..free }),
            // The lower bound comes first, as it does in the registers.
            ("Max", [_, Arg::Const(low)]) if first && bounds.is_none() && !low.is_nan() => {
                bounds = Some(Bounds { low: *low as f32, ..free })
            }
            ("Min", [_, Arg::Const(high)])
                if first && !high.is_nan() && bounds.is_none_or(|bounds| bounds.high == f32::INFINITY) =>
            {
                bounds = Some(Bounds { high: *high as f32, ..bounds.unwrap_or(free) });
            }
            _ => return None,
        }
        value = Arg::Step(index);
    }
    (expression.operands == 1 + usize::from(residual)).then_some((residual, bounds))
}
