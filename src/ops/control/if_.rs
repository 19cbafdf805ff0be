//! [If](https://onnx.ai/onnx/operators/onnx__If.html), versions 1, 11, 13, 16, 19, 21, 23, 24, 25: one of two
//! graphs, by a condition.
//!
//! Where the condition is known when a model is loaded or a plan is made, a pass puts the graph that is taken
//! in the node's place.

use super::{ControlFlow, captured, check_counts};
use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::error::Result;
use crate::ops::values::{eval_tensors, scalar};
use crate::ops::{Body, NodeView, OnValues, OpDef, Operator};
use crate::tensor::Tensor;
use crate::value::Value;
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "If", since: 1, parse, cases: &[] };

/// Own inputs: the condition.
const OWN: usize = 1;

#[derive(Debug, Clone)]
pub struct If {
    /// The graph where the condition holds, and the one where it doesn't.
    branches: [Arc<dyn Body>; 2],
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(OWN..=OWN)?;
    let branches = [node.body("then_branch")?, node.body("else_branch")?];
    for (name, branch) in ["then_branch", "else_branch"].into_iter().zip(&branches) {
        check_counts(name, branch, node.captures, 0, node.output_count)?;
    }
    Ok(Arc::new(If { branches }))
}

impl Operator for If {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let condition = inputs.required(0)?;
        let around: Vec<Fact> = inputs.skip(OWN).present().cloned().collect();
        let named = |problem| match problem {
            Infer::NeedsValue(index) => Infer::NeedsValue(index + OWN),
            other => other,
        };
        if let Some(value) = &condition.value {
            let taken = scalar(&value.clone().into(), 0)? == 0;
            return self.branches[usize::from(taken)].infer(&around).map_err(named);
        }
        // A condition that follows from a small input makes a plan for each of its values, without the other
        // branch.
        Err(Infer::NeedsValue(0))
    }
    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        eval_tensors(self, inputs, mode)
    }
    fn on_values(&self) -> Option<&dyn OnValues> {
        Some(self)
    }
    fn is_random(&self) -> bool {
        self.branches.iter().any(|branch| branch.is_random())
    }
}

impl OnValues for If {
    fn eval_values(&self, inputs: Operands<'_, Value>, mode: EvalPrecision) -> Result<Vec<Value>> {
        let condition = scalar(inputs.required(0)?, 0)?;
        self.branches[usize::from(condition == 0)].eval(captured(inputs, OWN), mode)
    }
    fn control_flow(&self) -> Option<ControlFlow<'_>> {
        self.branches.iter().all(|branch| branch.on_tensors_alone()).then_some(ControlFlow::If)
    }
    fn own_inputs(&self) -> usize {
        OWN
    }
    fn bodies(&self) -> &[Arc<dyn Body>] {
        &self.branches
    }
    fn with_bodies(&self, bodies: Vec<Arc<dyn Body>>) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(If { branches: bodies.try_into().ok()? }))
    }
    fn infer_undecided(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let around: Vec<Fact> = inputs.skip(OWN).present().cloned().collect();
        let [a, b] = [self.branches[0].infer(&around)?, self.branches[1].infer(&around)?];
        let alike = |(a, b): (&Fact, &Fact)| a.dtype == b.dtype && a.shape == b.shape;
        if a.len() == b.len() && a.iter().zip(&b).all(alike) {
            return Ok(a.into_iter().map(|fact| Fact::new(fact.dtype, fact.shape)).collect());
        }
        let why = "its branches make results of other types or shapes, and only a run knows which it takes";
        Err(Infer::DependsOnData(why.into()))
    }
    fn taken(&self, decides: &Tensor) -> Option<usize> {
        Some(usize::from(scalar(&decides.clone().into(), 0).ok()? == 0))
    }
}
