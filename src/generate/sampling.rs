//! Which token comes next: a function of the scores, the tokens so far, the options and a random number, and
//! of nothing else.
//!
//! In this order, as transformers and vLLM do it: the penalties, the temperature, top-k, top-p, min-p. Sums
//! are float64 in the order of falling scores, and of equal scores the lower number comes first: the same
//! choice on every machine.

use crate::error::{Error, Result};

/// How tokens are chosen. The default takes the likeliest one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// What scores are divided by; 0 takes the likeliest token, and no random number.
    pub temperature: f32,
    /// Of the likeliest tokens so many are left; 0 leaves all.
    pub top_k: usize,
    /// Of the likeliest tokens those are left that together reach this probability; 1 leaves all.
    pub top_p: f32,
    /// Tokens are left whose probability is at least this share of the likeliest one's; 0 leaves all.
    pub min_p: f32,
    /// Scores of tokens that are in the prompt or the answer are divided by this, negative ones multiplied
    /// ([Keskar et al., 2019](https://arxiv.org/abs/1909.05858)); 1 does nothing.
    pub repetition: f32,
    /// What scores of tokens lose that are in the answer.
    pub presence: f32,
    /// What they lose for each time that they are in it.
    pub frequency: f32,
    /// How many of the likeliest tokens are told with each choice.
    pub logprobs: usize,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition: 1.0,
            presence: 0.0,
            frequency: 0.0,
            logprobs: 0,
        }
    }
}

/// The tokens so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct History<'a> {
    /// What was given.
    pub prompt: &'a [u32],
    /// What was chosen.
    pub answer: &'a [u32],
}

/// A token that was chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Its number.
    pub id: u32,
    /// The logarithm of the probability that the model itself gives it, all options aside.
    pub logprob: f32,
    /// The likeliest tokens with the same, as many as [`Sampling::logprobs`] says.
    pub top: Vec<(u32, f32)>,
}

impl Sampling {
    /// Errors where a number is none that it can be, with its name.
    pub fn check(&self) -> Result<()> {
        let fine = |name: &str, value: f32, low: f32, high: f32| match value >= low && value <= high {
            true => Ok(()),
            false => Err(Error::usage(format!("{name} is {value}; it lies between {low} and {high}"))),
        };
        fine("temperature", self.temperature, 0.0, 1e4)?;
        fine("top-p", self.top_p, f32::MIN_POSITIVE, 1.0)?;
        fine("min-p", self.min_p, 0.0, 1.0)?;
        fine("repetition penalty", self.repetition, 1e-3, 1e3)?;
        fine("presence penalty", self.presence, -100.0, 100.0)?;
        fine("frequency penalty", self.frequency, -100.0, 100.0)
    }
}

/// Chooses a token by scores `[vocabulary]`. `random` lies in [0, 1), and is used where the temperature isn't 0.
///
/// Errors: no scores, one that is NaN or +∞, none that is finite.
pub fn choose(logits: &[f32], history: History<'_>, options: &Sampling, random: f64) -> Result<Choice> {
    let largest = largest(logits)?;
    let total: f64 = logits.iter().map(|&x| f64::from(x - largest).exp()).sum();
    let logprob = |id: u32| (f64::from(logits[id as usize] - largest) - total.ln()) as f32;
    let top = first(logits, options.logprobs).into_iter().map(|id| (id, logprob(id))).collect();
    let penalised = penalised(logits, history, options);
    let scores = penalised.as_deref().unwrap_or(logits);
    let id = match options.temperature {
        0.0 => first(scores, 1).first().copied().unwrap_or_default(),
        _ => drawn(scores, options, random),
    };
    Ok(Choice { id, logprob: logprob(id), top })
}

/// The largest of the scores, all of which must be numbers.
fn largest(logits: &[f32]) -> Result<f32> {
    let mut largest = f32::NEG_INFINITY;
    for (id, &score) in logits.iter().enumerate() {
        if score.is_nan() || score == f32::INFINITY {
            return Err(Error::input(format!("the model's score of token {id} is {score}"))
                .remedy("float16 may overflow: try float32; or see which node it comes from with compare"));
        }
        largest = largest.max(score);
    }
    match largest.is_finite() {
        true => Ok(largest),
        false => Err(Error::input(format!("none of the model's {} scores is finite", logits.len()))),
    }
}

/// The scores less the penalties; `None` where there are none.
fn penalised(logits: &[f32], history: History<'_>, options: &Sampling) -> Option<Vec<f32>> {
    let counted = options.presence != 0.0 || options.frequency != 0.0;
    if options.repetition == 1.0 && !counted {
        return None;
    }
    let mut scores = logits.to_vec();
    let mut seen = vec![false; logits.len()];
    for &id in history.prompt.iter().chain(history.answer) {
        if let Some(seen) = seen.get_mut(id as usize).filter(|seen| !**seen) {
            *seen = true;
            let score = &mut scores[id as usize];
            *score = if *score > 0.0 { *score / options.repetition } else { *score * options.repetition };
        }
    }
    if counted {
        let mut counts = std::collections::BTreeMap::new();
        history.answer.iter().for_each(|id| *counts.entry(*id).or_insert(0u32) += 1);
        for (id, count) in counts {
            if let Some(score) = scores.get_mut(id as usize) {
                *score -= options.presence + options.frequency * count as f32;
            }
        }
    }
    Some(scores)
}

/// The numbers of the `count` largest scores, in falling order, the lower number first of equal ones.
fn first(scores: &[f32], count: usize) -> Vec<u32> {
    let order = |a: &u32, b: &u32| scores[*b as usize].total_cmp(&scores[*a as usize]).then(a.cmp(b));
    if count == 1 {
        return (0..scores.len() as u32).min_by(order).into_iter().collect();
    }
    let mut ids: Vec<u32> = (0..scores.len() as u32).collect();
    let count = count.min(ids.len());
    if count == 0 {
        return vec![];
    }
    if count < ids.len() {
        ids.select_nth_unstable_by(count - 1, order);
        ids.truncate(count);
    }
    ids.sort_unstable_by(order);
    ids
}

fn drawn(scores: &[f32], options: &Sampling, random: f64) -> u32 {
    let count = if options.top_k == 0 { scores.len() } else { options.top_k };
    let ids = first(scores, count);
    let score = |id: &u32| f64::from(scores[*id as usize]) / f64::from(options.temperature);
    let largest = ids.first().map_or(0.0, score);
    let mut shares: Vec<f64> = ids.iter().map(|id| (score(id) - largest).exp()).collect();
    let total: f64 = shares.iter().sum();
    if options.top_p < 1.0 {
        let mut reached = 0.0;
        let enough = shares.iter().position(|share| {
            reached += share / total;
            reached >= f64::from(options.top_p)
        });
        shares.truncate(enough.map_or(shares.len(), |last| last + 1));
    }
    // The likeliest has a share of 1.
    let likely = shares.iter().take_while(|share| **share >= f64::from(options.min_p)).count();
    shares.truncate(likely.max(1));
    let mut left = random * shares.iter().sum::<f64>();
    let at = shares.iter().position(|share| {
        left -= share;
        left < 0.0
    });
    // What rounding leaves over is the last one's.
    ids[at.unwrap_or(shares.len().saturating_sub(1))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SplitMix64;

    const NONE: History<'_> = History { prompt: &[], answer: &[] };

    fn id(logits: &[f32], options: Sampling, random: f64) -> u32 {
        choose(logits, NONE, &options, random).unwrap().id
    }

    #[test]
    fn the_likeliest_is_taken_and_the_first_of_equal_ones() {
        assert_eq!(id(&[1.0, 3.0, 3.0, 2.0], Sampling::default(), 0.9), 1);
        assert_eq!(id(&[f32::NEG_INFINITY, -5.0], Sampling::default(), 0.0), 1);
    }

    #[test]
    fn probabilities_are_the_models_own() {
        let logits = [0.5f32, 2.0, -1.0];
        let sum: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
        let sampling = Sampling { logprobs: 2, temperature: 0.7, ..Sampling::default() };
        let choice = choose(&logits, NONE, &sampling, 0.0).unwrap();
        assert_eq!(choice.top.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [1, 0]);
        let expected = 2.0 - sum.ln();
        assert!((f64::from(choice.logprob) - expected).abs() < 1e-6, "{} {expected}", choice.logprob);
    }

    /// Draws follow the distribution: of 20,000 each share within five standard deviations.
    #[test]
    fn draws_follow_the_distribution() {
        let logits = [1.0f32, 0.0, -1.0, 2.0];
        let sampling = Sampling { temperature: 0.8, ..Sampling::default() };
        let weights: Vec<f64> = logits.iter().map(|x| (f64::from(*x) / 0.8).exp()).collect();
        let total: f64 = weights.iter().sum();
        let (mut random, count) = (SplitMix64(7), 20_000);
        let mut drawn = [0usize; 4];
        (0..count).for_each(|_| drawn[id(&logits, sampling, random.unit()) as usize] += 1);
        for (found, weight) in drawn.iter().zip(weights) {
            let p = weight / total;
            let allowed = 5.0 * (p * (1.0 - p) / count as f64).sqrt();
            assert!((*found as f64 / count as f64 - p).abs() < allowed, "{drawn:?}");
        }
    }

    #[test]
    fn what_is_left_is_what_the_options_say() {
        // Probabilities .5, .3, .2 at temperature 1.
        let logits = [0.5f32, 0.3, 0.2].map(f32::ln);
        let all = Sampling { temperature: 1.0, ..Sampling::default() };
        assert_eq!(id(&logits, all, 0.999), 2);
        assert_eq!(id(&logits, Sampling { top_k: 2, ..all }, 0.999), 1);
        assert_eq!(id(&logits, Sampling { top_p: 0.75, ..all }, 0.999), 1);
        assert_eq!(id(&logits, Sampling { top_p: 0.4, ..all }, 0.999), 0);
        assert_eq!(id(&logits, Sampling { min_p: 0.5, ..all }, 0.999), 1);
        assert_eq!(id(&logits, Sampling { min_p: 1.0, ..all }, 0.999), 0);
        // A low temperature is as good as none.
        assert_eq!(id(&logits, Sampling { temperature: 1e-3, ..all }, 0.999), 0);
    }

    #[test]
    fn penalties_lower_what_was_there() {
        let history = History { prompt: &[0], answer: &[1, 1, 2] };
        let next = |sampling| choose(&[2.0, 1.9, 1.5, 1.4], history, &sampling, 0.0).unwrap().id;
        let plain = Sampling::default();
        assert_eq!(next(plain), 0);
        // 2 / 1.5, 1.9 / 1.5, 1.5 / 1.5 and 1.4.
        assert_eq!(next(Sampling { repetition: 1.5, ..plain }), 3);
        // Of the answer alone: 2, 0.9, 0.5, 1.4.
        assert_eq!(next(Sampling { presence: 1.0, ..plain }), 0);
        let counted = |sampling| choose(&[0.0, 1.9, 1.5, 0.9], history, &sampling, 0.0).unwrap().id;
        // 1.9 − 2 · 0.5, 1.5 − 0.5.
        assert_eq!(counted(Sampling { frequency: 0.5, ..plain }), 2);
        let negative = choose(
            &[-1.0, -1.2],
            History { prompt: &[0], answer: &[] },
            &Sampling { repetition: 1.3, ..plain },
            0.0,
        );
        assert_eq!(negative.unwrap().id, 1);
        // A token beyond the scores is of no matter.
        let beyond = History { prompt: &[99], answer: &[99] };
        choose(&[0.0], beyond, &Sampling { repetition: 2.0, presence: 1.0, ..plain }, 0.0).unwrap();
    }

    #[test]
    fn scores_that_are_none_are_errors() {
        let told = |logits: &[f32]| choose(logits, NONE, &Sampling::default(), 0.0).unwrap_err().to_string();
        assert!(told(&[0.0, f32::NAN]).contains("token 1 is NaN"));
        assert!(told(&[f32::INFINITY]).contains("token 0 is inf"));
        assert!(told(&[f32::NEG_INFINITY; 3]).contains("none of the model's 3 scores"));
        assert!(told(&[]).contains("none of the model's 0 scores"));
        assert!(Sampling { temperature: f32::NAN, ..Sampling::default() }.check().is_err());
        assert!(Sampling { top_p: 0.0, ..Sampling::default() }.check().is_err());
        Sampling::default().check().unwrap();
    }
}
