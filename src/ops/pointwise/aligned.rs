//! Binary operators as before version 7, whose second input lines up with the first from an axis on, and not
//! from the last one backwards.

use crate::base::{EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::error::{Error, Result};
use crate::expression::Pointwise;
use crate::kernels::{Lowering, pointwise};
use crate::ops::{Lower, Operator, Spread};
use crate::tensor::Tensor;
use crate::tensor::index::axis;

/// Which axis of the first input the second begins at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begins {
    At(i64),
    /// The channels: the second axis, or the only one.
    Channels,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Aligned {
    pub expression: Pointwise,
    pub begins: Begins,
}

impl Aligned {
    /// The second input's shape with an entry for each axis behind it. One element goes with all.
    fn shape(&self, a: &[usize], b: &[usize]) -> Result<Vec<usize>> {
        if b.iter().all(|&size| size == 1) {
            return Ok(vec![]);
        }
        let at = match self.begins {
            Begins::At(at) => axis(at, a.len())?,
            Begins::Channels => usize::from(a.len() > 1),
        };
        let fits = |rest: &[usize]| {
            b.len() <= rest.len() && b.iter().zip(rest).all(|(&size, &own)| size == own || size == 1)
        };
        match a.get(at..) {
            Some(rest) if fits(rest) => {
                Ok(b.iter().copied().chain(std::iter::repeat_n(1, rest.len() - b.len())).collect())
            }
            _ => Err(Error::model(format!("the shape {b:?} doesn't lie within {a:?} from axis {at} on"))),
        }
    }

    fn operands(&self, inputs: Operands<'_, Tensor>) -> Result<[Tensor; 2]> {
        let (a, b) = (inputs.required(0)?, inputs.required(1)?);
        Ok([a.clone(), b.reshape(self.shape(a.shape(), b.shape())?)?])
    }
}

impl Operator for Aligned {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let (a, b) = (inputs.required(0)?, inputs.required(1)?);
        self.shape(&a.shape, &b.shape)?;
        Ok(vec![Fact::new(self.expression.result_type(&[a.dtype, b.dtype])?, a.shape.clone())])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let [a, b] = self.operands(inputs)?;
        Ok(vec![self.expression.eval(&[&a, &b], mode)?])
    }

    fn takes_any_type(&self) -> bool {
        true // the interpreter widens step by step
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn as_expression(&self, inputs: Operands<'_, Tensor>) -> Result<Option<Spread>> {
        let [a, b] = self.operands(inputs)?;
        Ok(Some(Spread { expression: self.expression.clone(), operands: vec![(a, 0), (b, 1)] }))
    }
}

impl Lower for Aligned {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let (a, b) = (at.view(0)?, at.view(1)?);
        let shape = self.shape(&a.shape, &b.shape).map_err(|error| Unsupported::new(error.message()))?;
        let b = b.reshaped_or(&shape, "the second input")?;
        pointwise::emit_views(&self.expression, at, &[a, b])
    }
}
