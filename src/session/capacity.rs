//! Sizes with a capacity: a run may have any size up to it, and all of them run in the same memory.
//!
//! The first plan of a kind is made for the largest size that its steps stay the same for, up to the capacity.
//! Executions are made for that one, the base: buffers, bind groups and pipelines. A plan for another size
//! adopts the base's memory ([`Plan::adopt`]), and an execution runs it once its parameters are written. What
//! makes kernels take other steps (a tile that pays from some size on) begins a base of its own.

use super::plans::{Given, PlanCache, Planner};
use super::runs::Executions;
use super::{Prepared, Session};
use crate::base::Fact;
use crate::error::{Error, Result, Setting};
use crate::graph::{Dim, Graph, ValueId};
use crate::plan::Plan;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError};

/// Bases that a session keeps: the least recently used goes first.
const KEPT_BASES: usize = 16;

/// What a search for a base plans: the inputs of the plan that wants one.
pub(super) struct Wanted<'a> {
    pub graph: &'a Graph,
    pub inputs: &'a HashMap<ValueId, Fact>,
    pub by_value: &'a HashSet<ValueId>,
    pub planner: &'a Planner<'a>,
}

impl Session {
    /// Gives a symbolic size of the inputs a capacity: a run may have any size up to `most`, and memory is
    /// made once, for the largest. Without one, every size has memory and bind groups of its own.
    ///
    /// Inputs beyond it are an error from now on.
    pub fn set_capacity(&mut self, symbol: impl Into<String>, most: usize) {
        self.options.capacities.insert(symbol.into(), most);
        self.plans = PlanCache::default();
    }

    /// How many memories the runs of sizes with a capacity have been given.
    #[doc(hidden)]
    pub fn memories(&self) -> usize {
        self.plans.bases.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Errors where a size of this symbol is beyond its capacity.
    pub(super) fn check_capacity(&self, symbol: &str, size: usize) -> Result<()> {
        match self.options.capacities.get(symbol) {
            Some(&most) if size > most => {
                Err(Error::input(format!("found '{symbol}' of size {size}, beyond its capacity of {most}"))
                    .remedy_by("give a larger one with {}", &[Setting::Capacity]))
            }
            _ => Ok(()),
        }
    }

    /// Has what was prepared run in the memory of a base, where sizes have capacities.
    pub(super) fn share_memory(&self, kept: &PlanCache, wanted: &Wanted<'_>, prepared: &mut Prepared) {
        let now = self.sizes_with_capacity(&prepared.made_for.inputs);
        if now.is_empty() || prepared.plan.is_none() {
            return;
        }
        // What runs the plan by itself holds it too.
        prepared.executions = None;
        let shared = prepared.plan.as_mut().and_then(Arc::get_mut).and_then(|plan| {
            self.adopted(kept, plan).or_else(|| self.adopted_anew(kept, plan, &now, wanted))
        });
        let alone = || prepared.plan.clone().map(|plan| Arc::new(Executions::of(plan)));
        prepared.executions = shared.or_else(alone);
    }

    /// What runs the base that this plan adopts the memory of, if there is one.
    fn adopted(&self, kept: &PlanCache, plan: &mut Plan) -> Option<Arc<Executions>> {
        let mut bases = kept.bases.lock().unwrap_or_else(PoisonError::into_inner);
        let at = bases.iter().position(|base| plan.adopt(base.plan()))?;
        bases[at..].rotate_left(1);
        bases.last().cloned()
    }

    /// The same with a base that is made now.
    fn adopted_anew(
        &self,
        kept: &PlanCache,
        plan: &mut Plan,
        now: &BTreeMap<String, (usize, usize)>,
        wanted: &Wanted<'_>,
    ) -> Option<Arc<Executions>> {
        let base = self.base_of(plan, now, wanted).filter(|base| plan.adopt(base))?;
        let base = Arc::new(Executions::of(Arc::new(base)));
        let mut bases = kept.bases.lock().unwrap_or_else(PoisonError::into_inner);
        if bases.len() >= KEPT_BASES {
            bases.remove(0);
        }
        bases.push(base.clone());
        Some(base)
    }

    /// The sizes that have a capacity, by symbol: what they are, and what they may be.
    fn sizes_with_capacity(&self, given: &[Given]) -> BTreeMap<String, (usize, usize)> {
        let mut sizes = BTreeMap::new();
        for given in given {
            for (symbol, &size) in self.symbols_of(given.id).zip(&given.shape) {
                if let Some((symbol, &most)) =
                    symbol.and_then(|name| self.options.capacities.get_key_value(name))
                {
                    sizes.insert(symbol.clone(), (size, most));
                }
            }
        }
        sizes
    }

    /// The symbol of each axis of an input.
    fn symbols_of(&self, id: ValueId) -> impl Iterator<Item = Option<&str>> {
        let declared = self.original.values.get(id.0 as usize).and_then(|value| value.declared.as_ref());
        let dims = declared.and_then(|declared| declared.dims.as_deref()).unwrap_or_default();
        dims.iter().map(|dim| match dim {
            Dim::Symbol(symbol) => Some(symbol.as_str()),
            _ => None,
        })
    }

    /// The plan of the largest sizes, up to the capacities, that does what `plan` does. Sizes grow together,
    /// by as much: a cache and the mask over it stay in step.
    fn base_of(
        &self,
        plan: &Plan,
        now: &BTreeMap<String, (usize, usize)>,
        wanted: &Wanted<'_>,
    ) -> Option<Plan> {
        let alike = |sizes: &BTreeMap<&str, usize>| {
            let made = self.plan_of_sizes(wanted, sizes).ok().flatten()?;
            made.has_the_steps_of(plan).then_some(made)
        };
        let grown = |by: usize| -> BTreeMap<&str, usize> {
            now.iter().map(|(name, size)| (name.as_str(), size.0.saturating_add(by))).collect()
        };
        let most = now.values().map(|(size, most)| most.saturating_sub(*size)).min()?;
        let whole: BTreeMap<&str, usize> = now.iter().map(|(name, size)| (name.as_str(), size.1)).collect();
        if whole != grown(most)
            && let Some(base) = alike(&whole)
        {
            return Some(base);
        }
        // How far sizes may grow at least, and how far is too far; the largest is tried first.
        let (mut within, mut beyond, mut next) = (0, most.saturating_add(1), most);
        let mut base = None;
        while next > within {
            match alike(&grown(next)) {
                Some(found) => (within, base) = (next, Some(found)),
                None => beyond = next,
            }
            next = within + (beyond - within) / 2;
        }
        Some(base.unwrap_or_else(|| plan.clone()))
    }

    /// The plan for these sizes of symbols, and everything else as wanted; `None` where it depends on
    /// elements that aren't known.
    fn plan_of_sizes(&self, wanted: &Wanted<'_>, sizes: &BTreeMap<&str, usize>) -> Result<Option<Plan>> {
        let resized = wanted.inputs.iter().map(|(&id, fact)| {
            let mut fact = fact.clone();
            let mut changed = false;
            for (symbol, size) in self.symbols_of(id).zip(&mut fact.shape) {
                if let Some(&wanted) = symbol.and_then(|symbol| sizes.get(symbol)) {
                    changed |= std::mem::replace(size, wanted) != wanted;
                }
            }
            if changed {
                fact.value = None;
            }
            (id, fact)
        });
        self.plan_alone(wanted.graph, &resized.collect(), wanted.by_value, wanted.planner)
    }
}
