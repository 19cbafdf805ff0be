//! [RandomNormal](https://onnx.ai/onnx/operators/onnx__RandomNormal.html),
//! [RandomUniform](https://onnx.ai/onnx/operators/onnx__RandomUniform.html), and the same in the shape of an
//! input ([RandomNormalLike](https://onnx.ai/onnx/operators/onnx__RandomNormalLike.html),
//! [RandomUniformLike](https://onnx.ai/onnx/operators/onnx__RandomUniformLike.html)), versions 1, 22.

use super::{dtype, normal, seed};
use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator};
use crate::random::SplitMix64;
use crate::tensor::{DType, Tensor, allocate, cast, element_count};
use std::sync::Arc;

pub const NORMAL: OpDef = OpDef {
    domain: "",
    name: "RandomNormal",
    since: 1,
    parse: |node| parse(node, true, false),
    cases: NORMAL_CASES,
};
pub const NORMAL_LIKE: OpDef = OpDef {
    domain: "",
    name: "RandomNormalLike",
    since: 1,
    parse: |node| parse(node, true, true),
    cases: NORMAL_LIKE_CASES,
};
pub const UNIFORM: OpDef = OpDef {
    domain: "",
    name: "RandomUniform",
    since: 1,
    parse: |node| parse(node, false, false),
    cases: UNIFORM_CASES,
};
pub const UNIFORM_LIKE: OpDef = OpDef {
    domain: "",
    name: "RandomUniformLike",
    since: 1,
    parse: |node| parse(node, false, true),
    cases: UNIFORM_LIKE_CASES,
};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Distribution {
    Normal { mean: f64, deviation: f64 },
    Uniform { low: f64, high: f64 },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Random {
    distribution: Distribution,
    seed: u64,
    /// `None`: the input's.
    dtype: Option<DType>,
    shape: Option<Vec<usize>>,
}

fn parse(node: &mut NodeView, normal: bool, like: bool) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(usize::from(like)..=usize::from(like))?;
    let float = |name: &str, default: f32| node.float(name, default).map(f64::from);
    let distribution = if normal {
        Distribution::Normal { mean: float("mean", 0.0)?, deviation: float("scale", 1.0)? }
    } else {
        Distribution::Uniform { low: float("low", 0.0)?, high: float("high", 1.0)? }
    };
    let dtype = dtype(node, DType::is_float)?;
    let (dtype, shape) = if like {
        (dtype, None)
    } else {
        let shape = node.sizes("shape")?.ok_or_else(|| Error::model("attribute 'shape' is missing"))?;
        (Some(dtype.unwrap_or(DType::F32)), Some(shape))
    };
    Ok(Arc::new(Random { distribution, seed: seed(node)?, dtype, shape }))
}

impl Random {
    fn draw(&self, shape: &[usize]) -> Result<Tensor> {
        let (count, mut random) = (element_count(shape)?, SplitMix64(self.seed));
        let mut list: Vec<f64> = allocate(count)?;
        while list.len() < count {
            match self.distribution {
                Distribution::Normal { mean, deviation } => {
                    let left = count - list.len();
                    list.extend(normal(&mut random).iter().take(left).map(|x| mean + deviation * x));
                }
                Distribution::Uniform { low, high } => list.push(low + (high - low) * random.unit()),
            }
        }
        Tensor::new(shape, list)
    }
}

impl Operator for Random {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let like = inputs.optional(0);
        let dtype = self.dtype.or(like.map(|fact| fact.dtype)).filter(|dtype| dtype.is_float());
        let shape = self.shape.clone().or(like.map(|fact| fact.shape.clone()));
        match (dtype, shape) {
            (Some(dtype), Some(shape)) => Ok(vec![Fact::new(dtype, shape)]),
            _ => {
                Err(Error::model("random numbers like an input that isn't of floats, and no 'dtype'").into())
            }
        }
    }

    fn takes_any_type(&self) -> bool {
        true // the input's type and shape alone count
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let like = inputs.optional(0);
        let shape = self.shape.as_deref().or(like.map(Tensor::shape)).unwrap_or_default();
        let dtype = self.dtype.map(|dtype| mode.of(dtype)).or(like.map(Tensor::dtype));
        Ok(vec![cast(&self.draw(shape)?, dtype.unwrap_or(DType::F32), true)?])
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }

    fn is_random(&self) -> bool {
        true
    }
}

// A distribution of one number is the same by every generator.
const NORMAL_CASES: &[Case] = &[
    case(&[("shape", Ints(&[2, 3])), ("mean", Float(2.5)), ("scale", Float(0.0))], &[]).runs("cpu"),
    case(&[("shape", Ints(&[3, 5])), ("seed", Float(3.0)), ("dtype", Int(11))], &[]).at(1).runs("cpu"),
];
const UNIFORM_CASES: &[Case] = &[
    case(&[("shape", Ints(&[2, 3])), ("low", Float(-1.5)), ("high", Float(-1.5))], &[]).runs("cpu"),
    case(&[("shape", Ints(&[3, 5])), ("low", Float(-2.0)), ("high", Float(3.0))], &[]).at(1).runs("cpu"),
];
const NORMAL_LIKE_CASES: &[Case] = &[
    case(&[("dtype", Int(1)), ("mean", Float(2.5)), ("scale", Float(0.0))], &[I64(&[2, 3])]).runs("cpu"),
    case(&[("seed", Float(3.0))], &[Floats(&[5])]).at(1).runs("cpu"),
];
const UNIFORM_LIKE_CASES: &[Case] = &[
    case(&[("dtype", Int(11)), ("low", Float(0.5)), ("high", Float(0.5))], &[Floats(&[2, 3])]).runs("cpu"),
    case(&[], &[Floats(&[4, 2])]).at(1).runs("cpu"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(distribution: Distribution, seed: u64) -> Vec<f64> {
        let random = Random { distribution, seed, dtype: Some(DType::F64), shape: Some(vec![20_001]) };
        random.draw(&[20_001]).unwrap().to_f64s().unwrap()
    }

    #[test]
    fn numbers_are_of_their_distribution_and_seed() {
        let list = drawn(Distribution::Uniform { low: -2.0, high: 3.0 }, 1);
        assert!(list.iter().all(|x| (-2.0..3.0).contains(x)));
        let mean = list.iter().sum::<f64>() / list.len() as f64;
        assert!((mean - 0.5).abs() < 0.051, "{mean}");
        assert_eq!(list, drawn(Distribution::Uniform { low: -2.0, high: 3.0 }, 1));
        assert_ne!(list, drawn(Distribution::Uniform { low: -2.0, high: 3.0 }, 2));
        let list = drawn(Distribution::Normal { mean: 4.0, deviation: 0.5 }, 1);
        let mean = list.iter().sum::<f64>() / list.len() as f64;
        let deviation = (list.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / list.len() as f64).sqrt();
        assert!((mean - 4.0).abs() < 0.018 && (deviation - 0.5).abs() < 0.013, "{mean} {deviation}");
    }
}
