//! What a kernel leaves open: variants that compute the same, how fast depends on the sizes and the device.
//!
//! While a plan is made a kernel asks with a key (what it is about to do, for which sizes) and its
//! candidates, the one that its own rule takes first. [`Choices`] answer: the rule's, one that was measured
//! on this device, or one that is forced.

use crate::base::Variant;
use std::collections::BTreeMap;

/// A question that a kernel asked, and what it was told.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// The step of the plan that came of it.
    pub step: usize,
    /// The kernel, the storage type and the sizes, the open ones rounded up.
    pub key: String,
    /// Not empty; the rule's first.
    pub candidates: Vec<Variant>,
    pub variant: Variant,
}

/// Who answers.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Choices {
    /// Each kernel's own rule.
    #[default]
    Rule,
    /// What was measured, by key; the rule where nothing was, or where the variant is none of the candidates.
    Measured(BTreeMap<String, Variant>),
    /// The candidate of this index, the rule's where there are fewer.
    Candidate(usize),
    /// This one where it is a candidate.
    Forced(Variant),
}

impl Choices {
    /// The variant for a key. Candidates are not empty; where they are, nothing is known and a tile is 1.
    pub fn pick(&self, key: &str, candidates: &[Variant]) -> Variant {
        let rule = candidates.first().copied().unwrap_or(Variant::alone(1, false));
        let wanted = match self {
            Choices::Rule => None,
            Choices::Measured(known) => known.get(key).copied(),
            Choices::Candidate(index) => candidates.get(*index).copied(),
            Choices::Forced(variant) => Some(*variant),
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
        let rule = Variant::alone(10, false);
        let all = candidates(rule, &[8, 10, 12], true);
        assert_eq!(all.iter().map(Variant::to_string).collect::<Vec<_>>(), ["10", "8", "12", "10-down"]);
        assert_eq!(Choices::Rule.pick("k", &all), rule);
        assert_eq!(Choices::Candidate(2).pick("k", &all).tile, 12);
        assert_eq!(Choices::Candidate(9).pick("k", &all), rule);
        assert_eq!(Choices::Forced(Variant::alone(9, false)).pick("k", &all), rule);
        let measured = Choices::Measured([("k".to_string(), all[3])].into());
        assert_eq!((measured.pick("k", &all), measured.pick("other", &all)), (all[3], rule));
        assert_eq!(
            Choices::Measured([("k".to_string(), Variant::alone(64, true))].into()).pick("k", &all),
            rule
        );
    }
}
