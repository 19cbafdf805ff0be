//! The plans of a session: made for the inputs' types and shapes, and kept.

use super::{Prepared, Session};
use crate::base::EvalPrecision;
use crate::base::{Capabilities, Fact};
use crate::cpu::program::Program;
use crate::error::{Error, Result, Setting};
use crate::graph::ValueId;
use crate::plan::{self, Inference, PlanRequest, VariantPolicy};
use crate::tensor::{DType, Tensor};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError};

/// Plans that a session keeps: the least recently used goes first.
const KEPT_PLANS: usize = 8;

/// What decides a plan: each input's type and shape, and the elements of those that shapes depend on.
pub(super) type Key = Vec<Given>;

/// What a plan takes of an input for given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    pub id: ValueId,
    pub dtype: DType,
    pub shape: Vec<usize>,
    /// The elements, where a shape depends on them.
    pub bytes: Option<Vec<u8>>,
}

impl Session {
    /// What is to run for inputs of these shapes, made now or kept from before: the eight that were used last
    /// are kept.
    ///
    /// Errors: shapes that an operator doesn't take, a session that is strict and would run something on the
    /// CPU, more memory than the device may use.
    pub fn prepare(&self, inputs: &HashMap<ValueId, Tensor>) -> Result<Arc<Prepared>> {
        self.prepare_for(given(inputs), &|_| Ok(None))
    }

    /// The same for inputs of which these are the facts, with their elements where they are on the host;
    /// `fetch` gives those of the others.
    pub(super) fn prepare_for(
        &self,
        mut inputs: HashMap<ValueId, Fact>,
        fetch: &dyn Fn(ValueId) -> Result<Option<Tensor>>,
    ) -> Result<Arc<Prepared>> {
        let mut by_value = self.by_value.lock().unwrap_or_else(PoisonError::into_inner).clone();
        loop {
            for (id, fact) in
                inputs.iter_mut().filter(|(id, fact)| by_value.contains(id) && fact.value.is_none())
            {
                fact.value = fetch(*id)?;
            }
            let inputs = &inputs;
            let key = self.key(inputs, &by_value);
            let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = plans.iter().position(|known| known.made_for == key) {
                let found = plans.remove(at);
                plans.push(found.clone());
                return Ok(found);
            }
            drop(plans);
            let made = match self.gpu() {
                Some(device) => {
                    self.make_plan(inputs, &by_value, device.capabilities(), &self.options.variant_policy)?
                }
                None => self.make_program(inputs, &by_value)?,
            };
            match made {
                Ok(prepared) => {
                    let prepared = Arc::new(prepared);
                    let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
                    if plans.len() >= KEPT_PLANS {
                        plans.remove(0);
                    }
                    plans.push(prepared.clone());
                    return Ok(prepared);
                }
                Err(more) => {
                    by_value.extend(more);
                    self.by_value
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .extend(by_value.iter().copied());
                }
            }
        }
    }

    /// What decides the plan for these inputs where those of `by_value` are part of it.
    fn key(&self, inputs: &HashMap<ValueId, Fact>, by_value: &HashSet<ValueId>) -> Key {
        let given = |&id: &ValueId| {
            let fact = inputs.get(&id)?;
            let value = fact.value.as_ref().filter(|_| by_value.contains(&id));
            let bytes = value.map(|tensor| tensor.bytes().to_vec());
            Some(Given { id, dtype: fact.dtype, shape: fact.shape.clone(), bytes })
        };
        self.graph.inputs.iter().filter_map(given).collect()
    }

    /// The plan for a device of these capabilities, to look at: no device is touched, and it isn't kept, nor
    /// can it be run.
    #[doc(hidden)]
    pub fn plan_for(
        &self,
        inputs: &HashMap<ValueId, Tensor>,
        capabilities: &Capabilities,
    ) -> Result<Prepared> {
        self.plan_with(inputs, capabilities, &self.options.variant_policy).map(Prepared::only_shown)
    }

    /// The plan for this session's device in which others answer for the kernels' variants. It isn't kept.
    pub(crate) fn plan_choosing(
        &self,
        inputs: &HashMap<ValueId, Tensor>,
        variant_policy: VariantPolicy,
    ) -> Result<Prepared> {
        let device = self.gpu().ok_or_else(|| Error::internal("a plan without a device"))?;
        self.plan_with(inputs, device.capabilities(), &variant_policy)
    }

    /// Who answers for the kernels' variants from now on.
    pub(crate) fn set_variant_policy(&mut self, variant_policy: VariantPolicy) {
        self.options.variant_policy = variant_policy;
        self.plans.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn plan_with(
        &self,
        inputs: &HashMap<ValueId, Tensor>,
        capabilities: &Capabilities,
        variant_policy: &VariantPolicy,
    ) -> Result<Prepared> {
        let (inputs, mut by_value) = (given(inputs), HashSet::new());
        loop {
            match self.make_plan(&inputs, &by_value, capabilities, variant_policy)? {
                Ok(prepared) => return Ok(prepared),
                Err(more) => by_value.extend(more),
            }
        }
    }

    /// What the CPU runs for these inputs, or the inputs whose elements it needs.
    fn make_program(
        &self,
        inputs: &HashMap<ValueId, Fact>,
        by_value: &HashSet<ValueId>,
    ) -> Result<Result<Prepared, Vec<ValueId>>> {
        let program = match plan::infer(&self.graph, &facts_of(inputs, by_value))? {
            Inference::Complete(facts) => self.program(Some(facts))?,
            Inference::NeedsInputs(more) => return Ok(Err(more)),
            Inference::DependsOnData { .. } => self.program(None)?,
        };
        let made_for = self.key(inputs, by_value);
        Ok(Ok(Prepared { program, ..Prepared::new(&self.identity, made_for) }))
    }

    /// The graph made ready for the CPU: with rewrites for the shapes where they are known. `None` where it
    /// computes in other types than declared.
    fn program(&self, facts: Option<Vec<Option<Fact>>>) -> Result<Option<Program>> {
        if self.mode() != EvalPrecision::Declared {
            return Ok(None);
        }
        let mut graph = self.graph.clone();
        let rewrite = !self.options.plain;
        let Some(mut facts) = facts else { return Program::new(graph, None, false, &self.weights).map(Some) };
        if rewrite {
            facts = crate::passes::with_shapes(&mut graph, &facts)?;
        }
        Program::new(graph, Some(&facts), rewrite, &self.weights).map(Some)
    }

    /// A plan, or the inputs whose elements it needs.
    fn make_plan(
        &self,
        inputs: &HashMap<ValueId, Fact>,
        by_value: &HashSet<ValueId>,
        capabilities: &Capabilities,
        variant_policy: &VariantPolicy,
    ) -> Result<Result<Prepared, Vec<ValueId>>> {
        let made_for = self.key(inputs, by_value);
        let mut facts = match plan::infer(self.planned(), &facts_of(inputs, by_value))? {
            Inference::Complete(facts) => facts,
            Inference::NeedsInputs(more) => return Ok(Err(more)),
            Inference::DependsOnData { node, op_type, reason } => {
                let whole_cpu = Some((node, op_type, format!("{reason}: the whole model runs on the CPU")));
                let program = self.program(None)?;
                let prepared = Prepared { whole_cpu, program, ..Prepared::new(&self.identity, made_for) };
                return self.allow(prepared).map(Ok);
            }
        };
        let mut graph = self.planned().clone();
        if !self.options.plain {
            facts = crate::passes::with_shapes(&mut graph, &facts)?;
        }
        let by_value = graph.inputs.iter().copied().filter(|id| by_value.contains(id)).collect();
        let request = PlanRequest {
            graph,
            facts,
            by_value,
            capabilities,
            precision: self.precision(),
            variant_policy: variant_policy.clone(),
        };
        let mut plan = plan::plan(request)?;
        if let Some(transform) = &self.options.transform {
            let on_host = |(&id, fact): (&ValueId, &Fact)| Some((id, fact.value.clone()?));
            transform(&mut plan, &inputs.iter().filter_map(on_host).collect())?;
        }
        let plan = Some(Arc::new(plan));
        self.allow(Prepared { plan, ..Prepared::new(&self.identity, made_for) }).map(Ok)
    }

    /// Refuses a plan with fallbacks where the session is strict.
    fn allow(&self, prepared: Prepared) -> Result<Prepared> {
        match prepared.fallbacks().into_iter().next().filter(|_| self.options.strict) {
            Some((node, op, reason)) => Err(Error::unsupported(format!("would run on the CPU: {reason}"))
                .at_node(node)
                .at_operator(op)
                .remedy_by("leave {} out, or use {}", &[Setting::Strict, Setting::Cpu])),
            None => Ok(prepared),
        }
    }
}

/// Tensors on the host as facts, elements included.
fn given(inputs: &HashMap<ValueId, Tensor>) -> HashMap<ValueId, Fact> {
    inputs.iter().map(|(&id, tensor)| (id, Fact::of(tensor))).collect()
}

/// The inputs' facts: with their elements only where a shape depends on them.
fn facts_of(inputs: &HashMap<ValueId, Fact>, by_value: &HashSet<ValueId>) -> HashMap<ValueId, Fact> {
    let known = |(&id, fact): (&ValueId, &Fact)| match by_value.contains(&id) {
        true => (id, fact.clone()),
        false => (id, Fact::new(fact.dtype, fact.shape.clone())),
    };
    inputs.iter().map(known).collect()
}
