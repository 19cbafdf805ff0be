//! What a model's files say of its tokens' choice: some that come first, some that never come.

use super::generator::AdjustLogits;
use crate::error::Result;

/// Tokens that an answer begins with, whatever the scores are.
pub(super) struct ForcedStart(pub Vec<u32>);

impl AdjustLogits for ForcedStart {
    fn adjust(&mut self, _: &[u32], answer: &[u32], logits: &mut [f32]) -> Result<()> {
        if let Some(&forced) = self.0.get(answer.len()) {
            for (score, id) in logits.iter_mut().zip(0u32..) {
                *score = if id == forced { 0.0 } else { f32::NEG_INFINITY };
            }
        }
        Ok(())
    }
}

/// Tokens that never come, and those that an answer doesn't begin with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "audio"), allow(dead_code))]
pub(crate) struct Suppressed {
    /// Never.
    pub always: Vec<u32>,
    /// Not as an answer's first.
    pub first: Vec<u32>,
}

impl AdjustLogits for Suppressed {
    fn adjust(&mut self, _: &[u32], answer: &[u32], logits: &mut [f32]) -> Result<()> {
        let first = if answer.is_empty() { self.first.as_slice() } else { &[] };
        for id in self.always.iter().chain(first) {
            // A list for a larger vocabulary is no error.
            if let Some(score) = logits.get_mut(*id as usize) {
                *score = f32::NEG_INFINITY;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_forced_and_suppressed() {
        let adjusted = |by: &mut dyn AdjustLogits, answer: &[u32]| {
            let mut scores = [1.0, 2.0, 3.0];
            by.adjust(&[], answer, &mut scores).unwrap();
            scores
        };
        let none = f32::NEG_INFINITY;
        let mut forced = ForcedStart(vec![1]);
        assert_eq!(adjusted(&mut forced, &[]), [none, 0.0, none]);
        assert_eq!(adjusted(&mut forced, &[1]), [1.0, 2.0, 3.0]);
        let mut suppressed = Suppressed { always: vec![0, 99], first: vec![2] };
        assert_eq!(adjusted(&mut suppressed, &[]), [none, 2.0, none]);
        assert_eq!(adjusted(&mut suppressed, &[1]), [none, 2.0, 3.0]);
    }
}
