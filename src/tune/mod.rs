//! Measured choices: the variants of a model's kernels timed on the device, and the faster ones kept.
//!
//! Each candidate plan differs from the rule's in which variant every kernel takes; all run in turn, so that
//! a clock that wanders hits them alike, and each step counts with its least time. Results are by key
//! (kernel, storage, sizes), so models share them.

mod store;

pub use store::{Store, cache_folder};

use crate::base::TileConfiguration;
use crate::cpu;
use crate::error::{Error, Result, Setting};
use crate::gpu::Execution;
use crate::graph::ValueId;
use crate::ops::Operator;
use crate::plan::{Plan, VariantPolicy};
use crate::session::{Prepared, Session};
use crate::tensor::Tensor;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Timed runs of each candidate plan, after one that isn't timed.
const RUNS: usize = 4;

/// A variant replaces the rule's where it takes less than this share of its time: below it lies what repeated
/// measurements differ by.
const WORTHWHILE: f64 = 0.97;

/// What tuning came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tuned {
    /// Keys that were known.
    pub known: usize,
    /// Keys that were measured now.
    pub measured: usize,
    /// Of all, those where another variant than the rule's is used.
    pub changed: usize,
}

impl Session {
    /// Has later plans use what `store` knows of the kernels' variants for these inputs, after measuring what
    /// it doesn't know.
    ///
    /// On the CPU there is nothing to choose. Errors: a device without timestamps, if something had to be
    /// measured; what running the model gives.
    pub fn tune(&mut self, inputs: &HashMap<ValueId, Tensor>, store: &mut Store) -> Result<Tuned> {
        let Some(device) = self.gpu().cloned() else { return Ok(Tuned::default()) };
        let rule = self.plan_choosing(inputs, VariantPolicy::Rule)?;
        let Some(plan) = &rule.plan else { return Ok(Tuned::default()) };
        let open: BTreeMap<&str, &[TileConfiguration]> = plan
            .chosen
            .iter()
            .filter(|chosen| chosen.candidates.len() > 1)
            .map(|chosen| (chosen.key.as_str(), chosen.candidates.as_slice()))
            .collect();
        let known = |key: &str, candidates: &[TileConfiguration]| {
            store.choices().get(key).is_some_and(|variant| candidates.contains(variant))
        };
        let mut tuned = Tuned {
            known: open.iter().filter(|(key, candidates)| known(key, candidates)).count(),
            ..Tuned::default()
        };
        if tuned.known < open.len() {
            if !device.has_timestamps() {
                return Err(Error::unsupported(format!(
                    "'{}' has no timestamps to tune by",
                    device.info().name
                ))
                .remedy_by("leave {} out", &[Setting::Tuning]));
            }
            let most = open.values().map(|candidates| candidates.len()).max().unwrap_or(1);
            let others = (1..most).map(|index| self.plan_choosing(inputs, VariantPolicy::Candidate(index)));
            let others: Vec<Prepared> = others.collect::<Result<_>>()?;
            let all: Vec<&Prepared> = std::iter::once(&rule).chain(&others).collect();
            let times = self.time_candidates(&all, inputs)?;
            let unknown: Vec<_> = open.iter().filter(|(key, candidates)| !known(key, candidates)).collect();
            for (&key, &candidates) in unknown {
                store
                    .insert(key, best(candidates, |variant| times.get(&(key.to_string(), variant)).copied()));
                tuned.measured += 1;
            }
        }
        let differs = |key: &str, candidates: &[TileConfiguration]| {
            store.choices().get(key).is_some_and(|variant| candidates.first() != Some(variant))
        };
        tuned.changed = open.iter().filter(|(key, candidates)| differs(key, candidates)).count();
        self.set_variant_policy(VariantPolicy::Measured(store.choices().clone()));
        Ok(tuned)
    }

    /// The mean over a key's steps of each one's least time, in nanoseconds, by key and variant.
    fn time_candidates(
        &self,
        all: &[&Prepared],
        inputs: &HashMap<ValueId, Tensor>,
    ) -> Result<HashMap<(String, TileConfiguration), f64>> {
        let mode = self.mode();
        let evaluate = |op: &dyn Operator, operands: &[Option<&Tensor>]| cpu::eval_step(op, operands, mode);
        let mut executions: Vec<(Arc<Plan>, Execution, HashMap<usize, u64>)> = vec![];
        for prepared in all {
            let plan = prepared.plan.clone().ok_or_else(|| Error::internal("a candidate has no plan"))?;
            let mut execution = self.lease(prepared)?;
            execution.run(inputs, &evaluate)?;
            executions.push((plan, execution, HashMap::new()));
        }
        for _ in 0..RUNS {
            for (_, execution, least) in &mut executions {
                for (step, time) in execution.run_timed(inputs, &evaluate)?.1 {
                    let known = least.entry(step).or_insert(u64::MAX);
                    *known = time.min(*known);
                }
            }
        }
        let mut times: HashMap<(String, TileConfiguration), f64> = HashMap::new();
        for (plan, _, least) in &executions {
            let mut here: HashMap<(&str, TileConfiguration), (f64, f64)> = HashMap::new();
            for chosen in &plan.chosen {
                if let Some(&time) = least.get(&chosen.step) {
                    let sum = here.entry((&chosen.key, chosen.variant)).or_default();
                    *sum = (sum.0 + time as f64, sum.1 + 1.0);
                }
            }
            for ((key, variant), (time, count)) in here {
                let least = times.entry((key.to_string(), variant)).or_insert(f64::INFINITY);
                *least = least.min(time / count);
            }
        }
        Ok(times)
    }
}

/// The fastest candidate, the rule's (the first) where none is faster by enough.
fn best(
    candidates: &[TileConfiguration],
    time: impl Fn(TileConfiguration) -> Option<f64>,
) -> TileConfiguration {
    let rule = candidates.first().copied().unwrap_or(TileConfiguration::alone(1, false));
    let limit = time(rule).unwrap_or(f64::INFINITY) * WORTHWHILE;
    let faster = candidates
        .iter()
        .filter_map(|&variant| Some((variant, time(variant)?)))
        .filter(|(_, time)| *time < limit);
    faster.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(rule, |(variant, _)| variant)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_stays_unless_another_is_clearly_faster() {
        let all: Vec<TileConfiguration> =
            [16, 8, 12].map(|tile| TileConfiguration::alone(tile, false)).to_vec();
        let chosen = |times: [f64; 3]| {
            best(&all, |variant| {
                all.iter().zip(times).find(|(other, _)| **other == variant).map(|(_, time)| time)
            })
            .tile
        };
        assert_eq!(chosen([100.0, 98.0, 99.0]), 16);
        assert_eq!(chosen([100.0, 90.0, 80.0]), 12);
        assert_eq!(chosen([100.0, 90.0, 120.0]), 8);
        assert_eq!(best(&all, |_| None).tile, 16);
    }
}
