//! Other right answers than the reference's: what a step makes of what it is fed, what is as good a choice, and
//! what the plan makes where values end at their type's range.

use super::bounds::{Input, unit, widened};
use super::choice;
use super::comparator::{Comparator, Others, Subject};
use super::measure::Allowed;
use super::reference::Values;
use super::sets::{flushed, has_subnormal};
use crate::base::{Bound, EvalPrecision, Fact, Operands, Precision};
use crate::cpu;
use crate::error::Result;
use crate::graph::{Graph, ValueId};
use crate::ops::Operator;
use crate::tensor::{DType, Tensor, cast};

impl Comparator<'_> {
    /// What a step makes in float64 of exactly what it is fed, another right answer: of values at the end of
    /// their range, and of elements that can't be told apart as stored. Where subnormal numbers are among
    /// them, what it makes of zeros in their place too.
    pub(super) fn as_fed(&self, subject: &Subject, dtype: DType) -> Result<Others> {
        let Some(node) = subject.node else { return Ok(vec![]) };
        let operands = self.fed(&*node.op, &node.inputs, subject.graph)?;
        let wide = operands
            .iter()
            .map(|tensor| tensor.as_ref().map(widened).transpose())
            .collect::<Result<Vec<_>>>()?;
        let index = node.outputs.iter().position(|id| *id == Some(subject.value)).unwrap_or(0);
        let mut others = vec![];
        let subnormal = wide.iter().flatten().map(has_subnormal).collect::<Result<Vec<_>>>()?.contains(&true);
        for flush in if subnormal { &[false, true][..] } else { &[false] } {
            let fed = wide.iter().map(|tensor| {
                tensor
                    .as_ref()
                    .map(|tensor| if *flush { flushed(tensor) } else { Ok(tensor.clone()) })
                    .transpose()
            });
            let fed = fed.collect::<Result<Vec<_>>>()?;
            let made = cpu::eval_node(
                &*node.op,
                &fed.iter().map(Option::as_ref).collect::<Vec<_>>(),
                EvalPrecision::Oracle,
            )?;
            let Some(tensor) = made.into_iter().nth(index) else { continue };
            let allowed = self.derive(subject, &self.sets.reference, &tensor.to_f64s()?, dtype, false)?;
            others.push((tensor, allowed));
        }
        Ok(others)
    }

    /// An operator's operands as the session's device is fed them: the reference's, stored at the session's
    /// precision.
    pub(super) fn fed(
        &self,
        op: &dyn Operator,
        ids: &[Option<ValueId>],
        graph: &Graph,
    ) -> Result<Vec<Option<Tensor>>> {
        let mode = self.session.mode();
        let operand = |(index, id): (usize, ValueId)| {
            let exactly = || {
                graph
                    .values
                    .get(id.0 as usize)
                    .and_then(|value| value.constant.clone())
                    .filter(|_| op.by_value(index))
            };
            let value = exactly().map_or_else(|| self.value(&self.sets.reference, id, graph, mode), Ok)?;
            cpu::held_by(op, index, &cast(&value, self.dtype(id, graph), true)?, mode)
        };
        ids.iter().enumerate().map(|(index, id)| id.map(|id| operand((index, id))).transpose()).collect()
    }

    /// The positions that a step gave where they are as good as the reference's.
    pub(super) fn as_chosen(
        &self,
        subject: &Subject,
        got: &Tensor,
        want: &Tensor,
        apart: f64,
    ) -> Result<Others> {
        let Some((node, Some(id))) = subject.node.and_then(|node| Some((node, *node.inputs.first()?))) else {
            return Ok(vec![]);
        };
        let x = widened(&self.value(&self.sets.reference, id, subject.graph, EvalPrecision::Oracle)?)?;
        let fact = Fact::of(&x);
        let Bound::Choice { axis, positions } = node.op.error_bound(Operands::new(&[Some(&fact)])) else {
            return Ok(vec![]);
        };
        if node.outputs.get(positions) != Some(&Some(subject.value)) {
            return Ok(vec![]);
        }
        let unit = unit(self.dtype(id, subject.graph), self.session.precision());
        let chosen = choice::as_good(&Input { value: x, unit, apart }, axis, want, got)?;
        let allowed = Allowed::uniform(
            chosen.len(),
            0.0,
            0.0,
            "positions of the same, within the tolerance of the input",
        );
        Ok(vec![(chosen, allowed)])
    }

    /// What the plan, run in float64 but for how values are stored, makes of each value, where that may be
    /// another answer; and what it makes where subnormal numbers are 0.
    pub(super) fn by_plan(&self) -> Result<&[Values]> {
        if self.by_plan.get().is_none() {
            let made = |flush| self.sets.planned(self.planned, self.inputs, self.session.precision(), flush);
            let mut all = vec![];
            if self.sets.beyond || self.sets.narrowed || self.session.precision() != Precision::F32 {
                all.push(made(false)?);
            }
            if self.sets.oracle.values().map(has_subnormal).collect::<Result<Vec<_>>>()?.contains(&true) {
                all.push(made(true)?);
            }
            self.by_plan.get_or_init(|| all);
        }
        Ok(self.by_plan.get().map_or(&[], Vec::as_slice))
    }

    pub(super) fn as_planned(&self, subject: &Subject, dtype: DType) -> Result<Others> {
        let found = self.by_plan()?.iter().filter_map(|all| Some((all, all.get(&subject.value)?)));
        found
            .map(|(all, tensor)| Ok((tensor.clone(), self.along(subject, all, &tensor.to_f64s()?, dtype)?)))
            .collect()
    }
}
