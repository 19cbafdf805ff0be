//! The plans of a session: made for the inputs' types and shapes, and kept.

use super::capacity::Wanted;
use super::runs::Executions;
use super::segments::Segments;
use super::{Prepared, Session};
use crate::base::EvalPrecision;
use crate::base::{Capabilities, Fact, held};
use crate::cpu::program::Program;
use crate::error::{Error, Result, Setting};
use crate::graph::{Graph, Node, ValueId};
use crate::plan::{self, Inference, Plan, PlanRequest, VariantPolicy};
use crate::tensor::{DType, Tensor};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

/// Plans that a session keeps: the least recently used goes first.
const KEPT_PLANS: usize = 8;

/// What decides a plan of a session's graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    /// Each input's type and shape, and the elements of those that shapes depend on.
    pub inputs: Vec<Given>,
    /// What it makes: a run may leave outputs out.
    pub outputs: Vec<ValueId>,
}

/// What a plan takes of an input for given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    pub id: ValueId,
    pub dtype: DType,
    pub shape: Vec<usize>,
    /// The elements, where a shape depends on them.
    pub bytes: Option<Vec<u8>>,
}

/// Plans that are kept, and the inputs that they are made by the elements of.
#[derive(Default)]
pub(super) struct PlanCache {
    pub(super) plans: Mutex<Vec<Arc<Prepared>>>,
    by_value: Mutex<HashSet<ValueId>>,
    /// What runs the plans of sizes with a capacity.
    pub(super) bases: Mutex<Vec<Arc<Executions>>>,
}

impl PlanCache {
    /// What was used last.
    pub(super) fn latest(&self) -> Option<Arc<Prepared>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner).last().cloned()
    }
}

/// What a plan is made for beside its graph.
pub(super) struct Planner<'a> {
    capabilities: &'a Capabilities,
    policy: &'a VariantPolicy,
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
        inputs: HashMap<ValueId, Fact>,
        fetch: &dyn Fn(ValueId) -> Result<Option<Tensor>>,
    ) -> Result<Arc<Prepared>> {
        self.prepare_in(self.prepared_graph(), &self.plans, inputs, fetch)
    }

    /// The graph that runs are prepared of.
    pub(super) fn prepared_graph(&self) -> &Graph {
        if self.gpu().is_some() { self.planned() } else { &self.graph }
    }

    /// The same for a graph with plans of its own.
    pub(super) fn prepare_in(
        &self,
        graph: &Graph,
        kept: &PlanCache,
        mut inputs: HashMap<ValueId, Fact>,
        fetch: &dyn Fn(ValueId) -> Result<Option<Tensor>>,
    ) -> Result<Arc<Prepared>> {
        let mut by_value = kept.by_value.lock().unwrap_or_else(PoisonError::into_inner).clone();
        loop {
            for (id, fact) in
                inputs.iter_mut().filter(|(id, fact)| by_value.contains(id) && fact.value.is_none())
            {
                fact.value = fetch(*id)?;
            }
            let inputs = &inputs;
            let key = key(graph, inputs, &by_value);
            let mut plans = kept.plans.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = plans.iter().position(|known| known.made_for == key) {
                let found = plans.remove(at);
                plans.push(found.clone());
                return Ok(found);
            }
            drop(plans);
            let made = match self.gpu() {
                Some(device) => {
                    let planner =
                        Planner { capabilities: device.capabilities(), policy: &self.options.variant_policy };
                    let mut made = self.make_plan(graph, inputs, &by_value, &planner)?;
                    if let Ok(prepared) = &mut made {
                        let wanted = Wanted { graph, inputs, by_value: &by_value, planner: &planner };
                        self.share_memory(kept, &wanted, prepared);
                    }
                    made
                }
                None => self.make_program(graph, inputs, &by_value)?,
            };
            match made {
                Ok(prepared) => {
                    let prepared = Arc::new(prepared);
                    let mut plans = kept.plans.lock().unwrap_or_else(PoisonError::into_inner);
                    if plans.len() >= KEPT_PLANS {
                        plans.remove(0);
                    }
                    plans.push(prepared.clone());
                    return Ok(prepared);
                }
                Err(more) => {
                    by_value.extend(more);
                    kept.by_value
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .extend(by_value.iter().copied());
                }
            }
        }
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
        self.plans.plans.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn plan_with(
        &self,
        inputs: &HashMap<ValueId, Tensor>,
        capabilities: &Capabilities,
        variant_policy: &VariantPolicy,
    ) -> Result<Prepared> {
        let (inputs, mut by_value) = (given(inputs), HashSet::new());
        loop {
            let planner = Planner { capabilities, policy: variant_policy };
            match self.make_plan(self.planned(), &inputs, &by_value, &planner)? {
                Ok(prepared) => return Ok(prepared),
                Err(more) => by_value.extend(more),
            }
        }
    }

    /// What the CPU runs for these inputs, or the inputs whose elements it needs.
    fn make_program(
        &self,
        graph: &Graph,
        inputs: &HashMap<ValueId, Fact>,
        by_value: &HashSet<ValueId>,
    ) -> Result<Result<Prepared, Vec<ValueId>>> {
        let program = match plan::infer(graph, &facts_of(graph, inputs, by_value, self.mode())?)? {
            Inference::Complete(facts) => self.program(graph, Some(facts))?,
            Inference::NeedsInputs(more) => return Ok(Err(more)),
            Inference::DependsOnData { .. } => self.program(graph, None)?,
        };
        let made_for = key(graph, inputs, by_value);
        Ok(Ok(Prepared { program, ..Prepared::new(&self.identity, made_for) }))
    }

    /// The graph made ready for the CPU: with rewrites for the shapes where they are known. `None` where it
    /// computes in other types than declared.
    fn program(&self, graph: &Graph, facts: Option<Vec<Option<Fact>>>) -> Result<Option<Program>> {
        if self.mode() != EvalPrecision::Declared {
            return Ok(None);
        }
        let mut graph = graph.clone();
        let rewrite = !self.options.plain;
        let Some(mut facts) = facts else { return Program::new(graph, None, false, &self.weights).map(Some) };
        if rewrite {
            facts = crate::passes::with_shapes(&mut graph, &facts)?;
        }
        Program::new(graph, Some(facts), rewrite, &self.weights).map(Some)
    }

    /// A plan, or the inputs whose elements it needs.
    fn make_plan(
        &self,
        graph: &Graph,
        inputs: &HashMap<ValueId, Fact>,
        by_value: &HashSet<ValueId>,
        planner: &Planner,
    ) -> Result<Result<Prepared, Vec<ValueId>>> {
        let made_for = key(graph, inputs, by_value);
        let partial = match plan::infer_partly(graph, &facts_of(graph, inputs, by_value, self.mode())?)? {
            Ok(partial) => partial,
            Err(more) => return Ok(Err(more)),
        };
        let Some((index, reason)) = partial.undecided.first() else {
            return self.plan_of(graph.clone(), partial.facts, (inputs, by_value), planner, made_for).map(Ok);
        };
        let prepared = match Segments::split(self, graph, &partial)? {
            Some((first, mut segments)) => {
                if let Some(first) = first {
                    let made_for = key(&first, inputs, by_value);
                    let given = (inputs, by_value);
                    let first = self.plan_of(first, partial.facts.clone(), given, planner, made_for)?;
                    segments.first = Some(Arc::new(first));
                }
                let segments = Some(segments);
                Prepared { segments, ..Prepared::new(&self.identity, made_for) }
            }
            None => {
                let node = &graph.nodes[*index];
                let reason = format!("{reason}: the whole model runs on the CPU");
                let whole_cpu = Some((node.name.clone(), node.op_type.clone(), reason));
                let program = self.program(graph, None)?;
                Prepared { whole_cpu, program, ..Prepared::new(&self.identity, made_for) }
            }
        };
        self.allow(prepared).map(Ok)
    }

    /// The plan for these inputs alone; `None` where shapes depend on elements that aren't known.
    pub(super) fn plan_alone(
        &self,
        graph: &Graph,
        inputs: &HashMap<ValueId, Fact>,
        by_value: &HashSet<ValueId>,
        planner: &Planner,
    ) -> Result<Option<Plan>> {
        match plan::infer_partly(graph, &facts_of(graph, inputs, by_value, self.mode())?)? {
            Ok(partial) if partial.undecided.is_empty() => {
                self.plan_of_facts(graph.clone(), partial.facts, by_value, planner).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The plan of a graph in which no shape depends on data, kept with those of others.
    fn plan_of(
        &self,
        graph: Graph,
        facts: Vec<Option<Fact>>,
        (inputs, by_value): (&HashMap<ValueId, Fact>, &HashSet<ValueId>),
        planner: &Planner,
        made_for: Key,
    ) -> Result<Prepared> {
        let mut plan = self.plan_of_facts(graph, facts, by_value, planner)?;
        if let Some(transform) = &self.options.transform {
            let on_host = |(&id, fact): (&ValueId, &Fact)| Some((id, fact.value.clone()?));
            transform(&mut plan, &inputs.iter().filter_map(on_host).collect())?;
        }
        let plan = Arc::new(plan);
        let executions = Some(Arc::new(Executions::of(plan.clone())));
        self.allow(Prepared { plan: Some(plan), executions, ..Prepared::new(&self.identity, made_for) })
    }

    fn plan_of_facts(
        &self,
        mut graph: Graph,
        mut facts: Vec<Option<Fact>>,
        by_value: &HashSet<ValueId>,
        planner: &Planner,
    ) -> Result<Plan> {
        if !self.options.plain {
            facts = crate::passes::with_shapes(&mut graph, &facts)?;
        }
        let by_value = graph.inputs.iter().copied().filter(|id| by_value.contains(id)).collect();
        let mut capabilities = planner.capabilities.clone();
        capabilities.winograd &= !self.options.no_winograd;
        let states = self.states_of(&graph);
        let request = PlanRequest {
            graph,
            facts,
            by_value,
            capabilities: &capabilities,
            precision: self.precision(),
            variant_policy: planner.policy.clone(),
            hold_f32: self.options.hold_f32.clone(),
            states,
        };
        let made = plan::plan(request)?;
        if self.options.own_buffers { made.with_own_buffers(capabilities.memory_budget) } else { Ok(made) }
    }

    /// Refuses a plan with fallbacks where the session is strict.
    fn allow(&self, prepared: Prepared) -> Result<Prepared> {
        match prepared.fallbacks().into_iter().next().filter(|_| self.options.strict) {
            Some((node, op, reason)) => Err(would_fall_back(&reason).at_node(node).at_operator(op)),
            None => Ok(prepared),
        }
    }
}

/// The error of a session that is strict.
pub(super) fn would_fall_back(reason: &str) -> Error {
    Error::unsupported(format!("would run on the CPU: {reason}"))
        .remedy_by("leave {} out, or use {}", &[Setting::Strict, Setting::Cpu])
}

/// What decides the plan of a graph for these inputs where those of `by_value` are part of it.
fn key(graph: &Graph, inputs: &HashMap<ValueId, Fact>, by_value: &HashSet<ValueId>) -> Key {
    let given = |&id: &ValueId| {
        let fact = inputs.get(&id)?;
        let value = fact.value.as_ref().filter(|_| by_value.contains(&id));
        let bytes = value.map(|tensor| tensor.bytes().to_vec());
        Some(Given { id, dtype: fact.dtype, shape: fact.shape.clone(), bytes })
    };
    Key { inputs: graph.inputs.iter().filter_map(given).collect(), outputs: graph.outputs.clone() }
}

/// Tensors on the host as facts, elements included.
fn given(inputs: &HashMap<ValueId, Tensor>) -> HashMap<ValueId, Fact> {
    inputs.iter().map(|(&id, tensor)| (id, Fact::of(tensor))).collect()
}

/// The inputs' facts: with their elements only where a shape depends on them. Those are as the mode holds
/// them, but where a node takes them for what they say (scales, the ends of a range).
fn facts_of(
    graph: &Graph,
    inputs: &HashMap<ValueId, Fact>,
    by_value: &HashSet<ValueId>,
    mode: EvalPrecision,
) -> Result<HashMap<ValueId, Fact>> {
    let says = |id: ValueId| {
        let reads = |node: &Node| {
            let mut inputs = node.inputs.iter().enumerate();
            inputs.any(|(index, input)| *input == Some(id) && node.op.by_value(index))
        };
        graph.nodes.iter().any(reads)
    };
    let known = |(&id, fact): (&ValueId, &Fact)| {
        let value = fact.value.as_ref().filter(|_| by_value.contains(&id));
        let value = value.map(|value| if says(id) { Ok(value.clone()) } else { held(value, mode) });
        Ok((id, Fact { value: value.transpose()?, ..Fact::new(fact.dtype, fact.shape.clone()) }))
    };
    inputs.iter().map(known).collect()
}
