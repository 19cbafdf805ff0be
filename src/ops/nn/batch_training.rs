//! BatchNormalization in training mode (versions 14 and 15): by the statistics of the batch itself, which it
//! mixes into the running ones.

use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::Operator;
use crate::tensor::{Tensor, cast, zeros};

#[derive(Debug, Clone, PartialEq)]
pub struct BatchTraining {
    pub epsilon: f32,
    pub momentum: f32,
}

impl Operator for BatchTraining {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        super::batch_normalization::check(inputs)?;
        if !x.dtype.is_float() || x.shape.len() < 2 {
            return Err(Error::model(format!(
                "needs floats with two axes or more; found {} {:?}",
                x.dtype, x.shape
            ))
            .into());
        }
        let mut outputs = vec![Fact::new(x.dtype, x.shape.clone())];
        for index in 1..5 {
            let statistic = inputs.required(index)?;
            if !statistic.dtype.is_float() {
                return Err(Error::model(format!("input {index} is {}, not floats", statistic.dtype)).into());
            }
            if index > 2 {
                outputs.push(Fact::new(statistic.dtype, statistic.shape.clone()));
            }
        }
        Ok(outputs)
    }

    /// In float64, whatever the type: ONNX asks for float32 at least.
    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let channels = x.shape()[1];
        let area = x.shape()[2..].iter().product::<usize>().max(1);
        let list = |index: usize| inputs.required(index).and_then(Tensor::to_f64s);
        let (xs, scale, bias) = (list(0)?, list(1)?, list(2)?);
        let channel = |at: usize| at / area % channels.max(1);
        let count = xs.len() as f64 / channels.max(1) as f64;
        let mean_of = |of: &dyn Fn(usize) -> f64| -> Result<Vec<f64>> {
            let mut sums = zeros::<f64>(channels)?;
            (0..xs.len()).for_each(|at| sums[channel(at)] += of(at));
            Ok(sums.iter().map(|sum| sum / count).collect())
        };
        let mean = mean_of(&|at| xs[at])?;
        let variance = mean_of(&|at| (xs[at] - mean[channel(at)]).powi(2))?;
        let normal = |(at, x): (usize, &f64)| {
            let c = channel(at);
            (x - mean[c]) / (variance[c] + self.epsilon as f64).sqrt() * scale[c] + bias[c]
        };
        let ys: Vec<f64> = xs.iter().enumerate().map(normal).collect();
        let mixed = |index: usize, current: &[f64]| -> Result<Tensor> {
            let (running, momentum) = (inputs.required(index)?, self.momentum as f64);
            let old = running.to_f64s()?;
            let new = old.iter().zip(current).map(|(old, new)| old * momentum + new * (1.0 - momentum));
            cast(&Tensor::new(running.shape(), new.collect::<Vec<_>>())?, running.dtype(), true)
        };
        Ok(vec![cast(&Tensor::new(x.shape(), ys)?, x.dtype(), true)?, mixed(3, &mean)?, mixed(4, &variance)?])
    }

    fn flops(&self, inputs: Operands<'_, Fact>, _outputs: &[Fact]) -> u64 {
        inputs.optional(0).map_or(0, |x| 8 * x.count() as u64)
    }
}
