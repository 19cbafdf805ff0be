//! What a kernel leaves open: variants that compute the same, how fast depends on the sizes and the device.
//!
//! While a plan is made a kernel asks with a key (what it is about to do, for which sizes) and its
//! candidates, the one that its own rule takes first. [`VariantPolicy`] answer: the rule's, one that was
//! measured on this device, or one that is forced.

use crate::base::TileConfiguration;
use std::collections::BTreeMap;

/// A question that a kernel asked, and what it was told.
#[derive(Debug, Clone, PartialEq)]
pub struct VariantDecision {
    /// The step of the plan that came of it.
    pub step: usize,
    /// The kernel, the storage type and the sizes, the open ones rounded up.
    pub key: String,
    /// Not empty; the rule's first.
    pub candidates: Vec<TileConfiguration>,
    pub variant: TileConfiguration,
}

/// Who answers.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum VariantPolicy {
    /// Each kernel's own rule.
    #[default]
    Rule,
    /// What was measured, by key; the rule where nothing was, or where the variant is none of the candidates.
    Measured(BTreeMap<String, TileConfiguration>),
    /// The candidate of this index, the rule's where there are fewer.
    Candidate(usize),
    /// This one where it is a candidate.
    Forced(TileConfiguration),
}

impl VariantPolicy {
    /// The variant for a key. Candidates are not empty; where they are, nothing is known and a tile is 1.
    pub fn pick(&self, key: &str, candidates: &[TileConfiguration]) -> TileConfiguration {
        let rule = candidates.first().copied().unwrap_or(TileConfiguration::alone(1, false));
        let wanted = match self {
            VariantPolicy::Rule => None,
            VariantPolicy::Measured(known) => known.get(key).copied(),
            VariantPolicy::Candidate(index) => candidates.get(*index).copied(),
            VariantPolicy::Forced(variant) => Some(*variant),
        };
        wanted.filter(|wanted| candidates.contains(wanted)).unwrap_or(rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::candidates;

    #[test]
    fn only_candidates_are_taken() {
        let rule = TileConfiguration::alone(10, false);
        let all = candidates(rule, &[8, 10, 12], true);
        assert_eq!(
            all.iter().map(TileConfiguration::to_string).collect::<Vec<_>>(),
            ["10", "8", "12", "10-down"]
        );
        assert_eq!(VariantPolicy::Rule.pick("k", &all), rule);
        assert_eq!(VariantPolicy::Candidate(2).pick("k", &all).tile, 12);
        assert_eq!(VariantPolicy::Candidate(9).pick("k", &all), rule);
        assert_eq!(VariantPolicy::Forced(TileConfiguration::alone(9, false)).pick("k", &all), rule);
        let measured = VariantPolicy::Measured([("k".to_string(), all[3])].into());
        assert_eq!((measured.pick("k", &all), measured.pick("other", &all)), (all[3], rule));
        assert_eq!(
            VariantPolicy::Measured([("k".to_string(), TileConfiguration::alone(64, true))].into())
                .pick("k", &all),
            rule
        );
    }
}
