//! [SVMRegressor](https://onnx.ai/onnx/operators/onnx_aionnxml_SVMRegressor.html), version 1 of ai.onnx.ml: a
//! sum of kernels of support vectors, or a linear one where there are none; of one class, its sign.

use super::post_transform::PostTransform;
use super::svm::{Kernel, NAME, Vectors};
use super::{floats, reals, rows};
use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator, single};
use crate::tensor::{DType, Tensor, allocate};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: NAME, name: "SVMRegressor", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct SvmRegressor {
    kernel: Kernel,
    vectors: Vectors,
    /// One for each vector, or for each feature where there is none.
    coefficients: Vec<f64>,
    rho: f64,
    one_class: bool,
    post: PostTransform,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    let count = single::size(node.int("n_supports", 0)?, "attribute 'n_supports'")?;
    let vectors = Vectors::new(reals(node, "support_vectors")?, count)?;
    let (coefficients, rho) = (reals(node, "coefficients")?, reals(node, "rho")?);
    let kernel = Kernel::parse(node)?;
    let [rho] = rho[..] else {
        return Err(Error::model(format!("attribute 'rho' has {} entries, not 1", rho.len())));
    };
    if count > 0 && coefficients.len() != count {
        return Err(Error::model(format!("{} coefficients for {count} vectors", coefficients.len())));
    }
    Ok(Arc::new(SvmRegressor {
        kernel: if count > 0 { kernel } else { Kernel::Linear },
        vectors,
        coefficients,
        rho,
        one_class: node.flag("one_class", false)?,
        post: PostTransform::parse(node)?,
    }))
}

impl Operator for SvmRegressor {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let [count, features] = rows(&inputs.required(0)?.shape)?;
        let known = if self.vectors.count > 0 { self.vectors.features() } else { self.coefficients.len() };
        if features != known {
            return Err(Error::model(format!("rows of {features} features; {known} are known")).into());
        }
        Ok(vec![Fact::new(DType::F32, [count, 1])])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let [count, features] = rows(x.shape())?;
        let (xs, mut list) = (x.to_f64s()?, allocate(count)?);
        for row in 0..count {
            let row = &xs[row * features..][..features];
            let sum = if self.vectors.count > 0 {
                let kernels = self.vectors.kernels(self.kernel, row);
                kernels.iter().zip(&self.coefficients).map(|(k, c)| k * c).sum()
            } else {
                self.kernel.of(row, &self.coefficients)
            };
            let mut score = [sum + self.rho];
            if self.one_class {
                score = [if score[0] > 0.0 { 1.0 } else { -1.0 }];
            }
            self.post.apply(&mut score);
            list.push(score[0]);
        }
        Ok(vec![floats([count, 1], list, mode)?])
    }
}

const CASES: &[Case] = &[
    case(
        &[
            ("kernel_type", Text("RBF")),
            ("kernel_params", Reals(&[0.4, 0.0, 3.0])),
            ("support_vectors", Reals(&[0.5, -1.0, 2.0, 0.1, 0.3, -0.7])),
            ("n_supports", Int(3)),
            ("coefficients", Reals(&[0.5, -1.5, 0.7])),
            ("rho", Reals(&[0.3])),
        ],
        &[Floats(&[5, 2])],
    )
    .at(1)
    .runs("cpu"),
    case(
        &[
            ("kernel_type", Text("POLY")),
            ("kernel_params", Reals(&[0.4, 0.5, 3.0])),
            ("support_vectors", Reals(&[0.5, -1.0, 2.0, 0.1])),
            ("n_supports", Int(2)),
            ("coefficients", Reals(&[0.5, -1.5])),
            ("rho", Reals(&[-0.2])),
            ("one_class", Int(1)),
        ],
        &[Floats(&[5, 2])],
    )
    .at(1)
    .runs("cpu"),
    case(&[("coefficients", Reals(&[0.5, -1.5, 0.25])), ("rho", Reals(&[0.1]))], &[Floats(&[3, 3])])
        .at(1)
        .runs("cpu"),
];
