//! [Bernoulli](https://onnx.ai/onnx/operators/onnx__Bernoulli.html), versions 15, 22: 1 with the probability
//! that each element of the input says, else 0.

use super::{dtype, seed};
use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator};
use crate::random::SplitMix64;
use crate::tensor::{DType, Tensor, allocate, cast};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "Bernoulli", since: 15, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct Bernoulli {
    seed: u64,
    /// `None`: the input's.
    dtype: Option<DType>,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    let dtype = dtype(node, |dtype| dtype.is_number() || dtype == DType::Bool)?;
    Ok(Arc::new(Bernoulli { seed: seed(node)?, dtype }))
}

impl Operator for Bernoulli {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        Ok(vec![Fact::new(self.dtype.unwrap_or(x.dtype), x.shape.clone())])
    }

    fn takes_any_type(&self) -> bool {
        true
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let mut random = SplitMix64(self.seed);
        let mut list: Vec<u8> = allocate(x.len())?;
        for probability in x.to_f64s()? {
            if !(0.0..=1.0).contains(&probability) {
                return Err(Error::input(format!("{probability} is no probability; 0 to 1 is allowed")));
            }
            list.push(u8::from(random.unit() < probability));
        }
        let dtype = self.dtype.map_or(x.dtype(), |dtype| mode.of(dtype));
        Ok(vec![cast(&Tensor::new(x.shape(), list)?, dtype, true)?])
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }

    fn is_random(&self) -> bool {
        true
    }
}

// What is certain is the same by every generator.
const CASES: &[Case] = &[
    case(&[], &[Values(&[2, 3], &[0.0, 1.0, 1.0, 0.0, 1.0, 0.0])]).runs("cpu"),
    case(&[("dtype", Int(7)), ("seed", Float(2.0))], &[Range(&[3, 5], 0.0, 1.0)]).at(15).runs("cpu"),
    case(&[("dtype", Int(9))], &[Values(&[3], &[1.0, 0.0, 1.0])]).runs("cpu"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ones_come_as_often_as_they_should() {
        let x = Tensor::new([20_000], vec![0.3f32; 20_000]).unwrap();
        let made = Bernoulli { seed: 5, dtype: None }
            .eval(Operands::new(&[Some(&x)]), EvalPrecision::Declared)
            .unwrap();
        let share = made[0].to_f64s().unwrap().iter().sum::<f64>() / 20_000.0;
        assert!((share - 0.3).abs() < 0.017, "{share}");
    }
}
