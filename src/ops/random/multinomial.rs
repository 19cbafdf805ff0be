//! [Multinomial](https://onnx.ai/onnx/operators/onnx__Multinomial.html), versions 7, 22: outcomes drawn by
//! their logarithmic probabilities, which need not sum to 1.

use super::{dtype, seed};
use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator, single};
use crate::random::SplitMix64;
use crate::tensor::{DType, Tensor, allocate, cast, element_count};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "Multinomial", since: 7, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct Multinomial {
    seed: u64,
    dtype: DType,
    /// Outcomes of each row.
    samples: usize,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    let dtype = dtype(node, |dtype| matches!(dtype, DType::I32 | DType::I64))?.unwrap_or(DType::I32);
    let samples = single::size(node.int("sample_size", 1)?, "attribute 'sample_size'")?;
    Ok(Arc::new(Multinomial { seed: seed(node)?, dtype, samples }))
}

impl Operator for Multinomial {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        match inputs.required(0)?.shape[..] {
            [rows, outcomes] if outcomes > 0 => Ok(vec![Fact::new(self.dtype, [rows, self.samples])]),
            ref other => Err(Error::model(format!("an input {other:?} is not [rows, outcomes]")).into()),
        }
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let (shape, outcomes) = ([x.shape()[0], self.samples], x.shape()[1]);
        let mut random = SplitMix64(self.seed);
        let mut list: Vec<i64> = allocate(element_count(&shape)?)?;
        for row in x.to_f64s()?.chunks_exact(outcomes) {
            let high = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let mut sum = 0.0;
            let sums: Vec<f64> = row
                .iter()
                .map(|x| {
                    sum += (x - high).exp();
                    sum
                })
                .collect();
            if !sum.is_finite() {
                return Err(Error::input(format!(
                    "{high} is the largest of a row's logarithmic probabilities"
                )));
            }
            for _ in 0..self.samples {
                let at = random.unit() * sum;
                list.push(sums.partition_point(|sum| *sum <= at).min(outcomes - 1) as i64);
            }
        }
        Ok(vec![cast(&Tensor::new(shape, list)?, self.dtype, true)?])
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
    case(
        &[("sample_size", Int(3))],
        &[Values(&[2, 3], &[f32::NEG_INFINITY, 0.5, f32::NEG_INFINITY, -900.0, -900.0, 0.0])],
    )
    .runs("cpu"),
    case(&[("sample_size", Int(4)), ("dtype", Int(7)), ("seed", Float(1.0))], &[Floats(&[3, 5])])
        .at(7)
        .runs("cpu"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_come_as_often_as_they_should() {
        let x = Tensor::new([1, 3], [1.0f64, 5.0, 4.0].map(f64::ln).to_vec()).unwrap();
        let made = Multinomial { seed: 3, dtype: DType::I64, samples: 20_000 }
            .eval(Operands::new(&[Some(&x)]), EvalPrecision::Declared)
            .unwrap();
        let list = made[0].to_i64s().unwrap();
        for (outcome, share) in [(0, 0.1), (1, 0.5), (2, 0.4)] {
            let found = list.iter().filter(|&&x| x == outcome).count() as f64 / 20_000.0;
            assert!((found - share).abs() < 0.018, "{outcome}: {found}");
        }
    }
}
