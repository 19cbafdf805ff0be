//! The model's outputs as a caller gets them, and its rewrites held to the graph as read.

use super::bounds::{floor, unit};
use super::comparator::{Comparator, Others};
use super::measure::{Allowed, Elements, Expected, measure};
use super::range::Range;
use super::reference::{Reference, Values};
use super::report::{FusedPlan, OutputRow};
use super::run::Compared;
use crate::base::{EvalPrecision, Fact, UNIT_F32};
use crate::cpu;
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, ValueId};
use crate::passes;
use crate::plan::Plan;
use crate::tensor::{DType, Tensor, cast};

impl Comparator<'_> {
    /// The model's outputs as a caller gets them.
    pub(super) fn model_outputs(
        &self,
        graph: &Graph,
        made: &Values,
        inputs: &Values,
        plan: Option<&Plan>,
    ) -> Result<Vec<(OutputRow, Compared)>> {
        let original = self.session.original();
        let row = |&id: &ValueId| -> Result<(OutputRow, Compared)> {
            let name = original.value(id).name.clone();
            let known = || {
                plan.and_then(|plan| plan.facts.get(id.0 as usize).cloned().flatten())
                    .and_then(|fact| fact.value)
            };
            let constant = || graph.values.get(id.0 as usize).and_then(|value| value.constant.clone());
            let got = made.get(&id).or_else(|| inputs.get(&id)).cloned().or_else(known).or_else(constant);
            let got = got.ok_or_else(|| Error::internal("an output was not made").at_tensor(&name))?;
            let reference = match self.sets.reference.get(&id) {
                Some(tensor) => tensor.clone(),
                None => self.value(&self.sets.reference, id, original, self.options.reference.mode())?,
            };
            let held = self.outputs.get(&id);
            let mut derived = match held {
                Some(held) => held.allowed.clone(),
                None => self.viewed(id, graph, &reference, got.dtype())?,
            };
            let mut want = reference;
            if let Reference::Outputs(recorded) = &self.options.reference {
                let found = recorded.iter().find(|(recorded, _)| *recorded == name);
                want = found.map(|found| found.1.clone()).ok_or_else(|| {
                    Error::input("the reference has no such output")
                        .at_tensor(&name)
                        .remedy("name the arrays of the .npz after the model's outputs")
                })?;
                if want.shape() != got.shape() || want.dtype() != got.dtype() {
                    return Err(Error::input(format!(
                        "the reference is {} {:?}; the model gives {} {:?}",
                        want.dtype(),
                        want.shape(),
                        got.dtype(),
                        got.shape()
                    ))
                    .at_tensor(&name));
                }
                // Another implementation's float32 is as far from the oracle as ours may be.
                let own = self.sets.distance(
                    &self.sets.declared,
                    &self.sets.oracle,
                    id,
                    self.range(id, original),
                )?;
                for ((fixed, scaled), x) in
                    derived.fixed.iter_mut().zip(&mut derived.scaled).zip(want.to_f64s()?)
                {
                    if want.dtype().is_float() && x.is_finite() {
                        (*fixed, *scaled) = (*fixed + UNIT_F32 * x.abs(), *scaled + own);
                    }
                }
            }
            // Made where the reference isn't met alone: a view's take a run of the plan in float64.
            let others = || match (&self.options.reference, held) {
                // What is recorded is what is right.
                (Reference::Outputs(_), _) => Ok(vec![]),
                (_, Some(held)) => Ok(held.others.clone()),
                (_, None) => self.viewed_by_plan(id, graph, got.dtype()),
            };
            let (measure, _) = self.measure(&got, &want, &derived, self.range(id, original), &others)?;
            let limits = self.limits(&want, &derived)?;
            let (dtype, shape) = (got.dtype().name().into(), got.shape().to_vec());
            let row = OutputRow { name: name.clone(), dtype, shape, measure };
            Ok((row, Compared { name, got, want, limits }))
        };
        original.outputs.iter().map(row).collect()
    }

    /// What each element is held to: what was stated, else what was derived.
    fn limits(&self, want: &Tensor, derived: &Allowed) -> Result<Vec<f64>> {
        let values = want.to_f64s()?;
        Ok(match self.options.tolerance {
            Some((rtol, atol)) => values.iter().map(|x| atol + rtol * x.abs()).collect(),
            None => (0..values.len()).map(|at| derived.at(at)).collect(),
        })
    }

    /// What a view of another value is held to where `right` is right: that value's tolerance; for what was made
    /// while planning, and has none, what the CPU's arithmetic makes of it.
    fn viewed(&self, id: ValueId, graph: &Graph, right: &Tensor, dtype: DType) -> Result<Allowed> {
        let (fixed, scaled) = self.parts(id, graph);
        let range = self.range(id, self.session.original());
        let scaled = scaled.max(self.sets.distance(&self.sets.same, &self.sets.near, id, range)?);
        let store = unit(dtype, self.session.precision());
        let stored = |x: &f64| if x.is_finite() { store * x.abs().max(floor(store)) } else { 0.0 };
        let list: Vec<f64> = right.to_f64s()?.iter().map(|x| fixed + stored(x)).collect();
        Ok(Allowed::new(list, vec![scaled; right.len()], "that of the value it is a view of"))
    }

    /// The other answers that the plan may give for a view.
    fn viewed_by_plan(&self, id: ValueId, graph: &Graph, dtype: DType) -> Result<Others> {
        let found = self.by_plan()?.iter().filter_map(|all| all.get(&id));
        found.map(|tensor| Ok((tensor.clone(), self.viewed(id, graph, tensor, dtype)?))).collect()
    }

    /// The rewritten graph against the graph as read, both on the CPU in float64.
    pub(super) fn fused_plan(
        &self,
        planned: &Graph,
        facts: Option<&[Option<Fact>]>,
        inputs: &Values,
    ) -> Result<FusedPlan> {
        let wide = self.rewritten_wide(planned, facts)?;
        let results =
            cpu::run(wide.as_ref().unwrap_or(planned), inputs, EvalPrecision::Oracle, &mut |_, _| {})?;
        // No range ends here: what a rewrite does is to be right for values of any size.
        let unbounded = self.sets.unbounded(self.session.original(), inputs)?;
        let mut outputs = vec![];
        for (&id, got) in self.session.original().outputs.iter().zip(results) {
            let want = match unbounded.get(&id) {
                Some(tensor) => tensor.clone(),
                None => self.value(&unbounded, id, self.session.original(), EvalPrecision::Oracle)?,
            };
            let distance = self.sets.distance(&self.sets.declared, &unbounded, id, Range::UNBOUNDED)?;
            let folded =
                |x: &f64| if got.dtype().is_float() && x.is_finite() { UNIT_F32 * x.abs() } else { 0.0 };
            let fixed: Vec<f64> = want.to_f64s()?.iter().map(folded).collect();
            let scaled =
                want.to_f64s()?.into_iter().map(|x| if x.is_finite() { distance } else { 0.0 }).collect();
            let derived = Allowed::new(fixed, scaled, "c·|cpu − oracle| + rounding of folded constants");
            let measure = measure(
                &Elements::of(&got)?,
                &[Expected { values: &Elements::of(&want)?, allowed: &derived }],
                Range::UNBOUNDED,
            );
            let name = self.session.original().value(id).name.clone();
            outputs.push(OutputRow {
                name,
                dtype: got.dtype().name().into(),
                shape: got.shape().to_vec(),
                measure,
            });
        }
        Ok(FusedPlan { same: outputs.iter().all(|row| row.measure.same), outputs })
    }

    /// The same rewrites over constants held as float64, so that what they fold isn't rounded to float32 and
    /// stands for no wrong rewrite. `None` where they don't come to the planned nodes: then those are what is
    /// run.
    fn rewritten_wide(&self, planned: &Graph, facts: Option<&[Option<Fact>]>) -> Result<Option<Graph>> {
        if !self.session.rewrites() {
            return Ok(None);
        }
        let mut wide = (**self.session.original()).clone();
        // What Constant nodes hold is widened too.
        passes::fold_constants(&mut wide)?;
        for value in &mut wide.values {
            if let Some(constant) = value.constant.as_mut().filter(|constant| constant.dtype() == DType::F32)
            {
                *constant = cast(constant, DType::F64, true)?;
                value.declared = None;
            }
        }
        passes::at_load(&mut wide)?;
        if let Some(facts) = facts {
            passes::for_plans(&mut wide)?;
            passes::with_shapes(&mut wide, facts)?;
        }
        let alike = |a: &Node, b: &Node| {
            a.name == b.name && a.fused == b.fused && a.inputs == b.inputs && a.outputs == b.outputs
        };
        let same = wide.nodes.len() == planned.nodes.len()
            && wide.nodes.iter().zip(&planned.nodes).all(|(a, b)| alike(a, b));
        Ok(same.then_some(wide))
    }
}
