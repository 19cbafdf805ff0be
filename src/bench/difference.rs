//! Whether one measurement is faster than another, or whether the machine's noise explains the difference.
//!
//! Times of one process hang together: the clock, the place in memory, what else the machine does. So the
//! unit that is drawn again is the *round*, a number of runs in a row, not the run. The ratio of the two
//! medians over rounds gets a bootstrap interval, and a difference counts only where the whole interval lies
//! beyond the smallest ratio that the caller cares for.

use crate::random::SplitMix64;
use serde::Serialize;

/// The confidence of the interval.
const CONFIDENCE: f64 = 0.95;
/// The normal distribution's quantile for it.
const NORMAL: f64 = 1.959_963_985;
/// Fewer rounds say nothing about how rounds differ.
const MIN_ROUNDS: usize = 3;
/// Runs that come without rounds are cut into so many blocks of neighbours.
const MAX_BLOCKS: usize = 10;
/// The fewest runs of such a block.
const MIN_BLOCK: usize = 3;

/// How two measurements are judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DifferenceOptions {
    /// The smallest ratio of times that counts, above 1: 1.02 leaves differences of up to 2 % alone.
    pub smallest: f64,
    /// Whether round i of one ran right beside round i of the other, so that what the machine did to both
    /// cancels. It needs equal numbers of rounds.
    pub paired: bool,
    /// Resamples.
    pub resamples: usize,
    /// Of the resamples: the same seed gives the same interval.
    pub seed: u64,
}

impl Default for DifferenceOptions {
    fn default() -> Self {
        Self { smallest: 1.02, paired: false, resamples: 2000, seed: 0 }
    }
}

/// What a change comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// Less time.
    Faster,
    /// More time.
    Slower,
    /// Nothing that noise wouldn't explain, or less than counts.
    #[serde(rename = "no difference")]
    None,
}

/// Two measurements compared.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// What it comes to.
    pub change: Change,
    /// The time after ÷ the time before, each a median over the medians of rounds; paired, the median of the
    /// rounds' ratios.
    pub ratio: f64,
    /// The lower end of the ratio's interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
    /// How many rounds, before and after, the interval rests on.
    pub rounds: [usize; 2],
    /// Whether rounds were cut from one row of runs: what differs from process to process isn't in the
    /// interval.
    pub blocks: bool,
}

impl Difference {
    /// How sure the interval is: 0.95.
    pub const CONFIDENCE: f64 = CONFIDENCE;

    /// Compares times by rounds. Fewer than 3 rounds are taken as one row of runs and cut into blocks.
    ///
    /// `None` where there are too few times (3 rounds or 9 runs on both sides) or one isn't positive and
    /// finite.
    pub fn between(before: &[Vec<f64>], after: &[Vec<f64>], options: &DifferenceOptions) -> Option<Self> {
        let (mut cut, mut sides) = (false, vec![]);
        for rounds in [before, after] {
            if rounds.iter().flatten().any(|time| !time.is_finite() || *time <= 0.0) {
                return None;
            }
            let full: Vec<Vec<f64>> = rounds.iter().filter(|round| !round.is_empty()).cloned().collect();
            let full = if full.len() >= MIN_ROUNDS {
                full
            } else {
                cut = true;
                blocks(&full.concat())?
            };
            sides.push(full.into_iter().map(Round::new).collect::<Vec<_>>());
        }
        let [before, after] = <[Vec<Round>; 2]>::try_from(sides).ok()?;
        let paired = options.paired && !cut && before.len() == after.len();
        let ratio = |before: &[f64], after: &[f64]| {
            if paired {
                median(before.iter().zip(after).map(|(before, after)| after - before).collect())
            } else {
                median(after.to_vec()) - median(before.to_vec())
            }
        };
        // All in logarithms, in which a factor and its inverse are equally far from no difference.
        let point = ratio(&medians(&before), &medians(&after));
        let mut random = SplitMix64(options.seed);
        let mut found = Vec::with_capacity(options.resamples.min(1 << 20));
        for _ in 0..options.resamples.clamp(100, 1 << 20) {
            let (mut first, mut second) = (vec![], vec![]);
            for _ in 0..before.len() {
                let at = random.below(before.len());
                first.extend(before.get(at).map(|round| round.resampled(&mut random)));
                if paired {
                    second.extend(after.get(at).map(|round| round.resampled(&mut random)));
                }
            }
            while second.len() < after.len() {
                let at = random.below(after.len());
                second.extend(after.get(at).map(|round| round.resampled(&mut random)));
            }
            found.push(ratio(&first, &second));
        }
        found.sort_by(f64::total_cmp);
        let wide = widening(before.len().min(after.len()));
        let tail = (1.0 - CONFIDENCE) / 2.0;
        let low = point - wide * (point - quantile(&found, tail)).max(0.0);
        let high = point + wide * (quantile(&found, 1.0 - tail) - point).max(0.0);
        let smallest = options.smallest.max(1.0).ln();
        let change = match () {
            _ if low > smallest => Change::Slower,
            _ if high < -smallest => Change::Faster,
            _ => Change::None,
        };
        Some(Self {
            change,
            ratio: point.exp(),
            low: low.exp(),
            high: high.exp(),
            rounds: [before.len(), after.len()],
            blocks: cut,
        })
    }
}

/// The logarithms of a round's times, sorted.
struct Round(Vec<f64>);

impl Round {
    fn new(times: Vec<f64>) -> Self {
        let mut sorted: Vec<f64> = times.iter().map(|time| time.ln()).collect();
        sorted.sort_by(f64::total_cmp);
        Self(sorted)
    }
    /// The median of as many draws from the round. The median of n draws is the round's own quantile at a
    /// place that is distributed as Beta((n + 1)/2, (n + 1)/2), here by the normal distribution of the same
    /// variance: one draw in place of n.
    fn resampled(&self, random: &mut SplitMix64) -> f64 {
        let spread = 0.5 / ((self.0.len() + 2) as f64).sqrt();
        quantile(&self.0, (0.5 + spread * normal(random)).clamp(0.0, 1.0))
    }
}

fn medians(rounds: &[Round]) -> Vec<f64> {
    rounds.iter().map(|round| quantile(&round.0, 0.5)).collect()
}

fn median(mut list: Vec<f64>) -> f64 {
    list.sort_by(f64::total_cmp);
    quantile(&list, 0.5)
}

/// Of a sorted list, between the two nearest ranks; NaN of an empty one.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = share * sorted.len().saturating_sub(1) as f64;
    let at = |index: usize| sorted.get(index).or(sorted.last()).copied().unwrap_or(f64::NAN);
    at(rank as usize) + rank.fract() * (at(rank as usize + 1) - at(rank as usize))
}

/// By Box and Muller.
fn normal(random: &mut SplitMix64) -> f64 {
    (-2.0 * (1.0 - random.unit()).ln()).sqrt() * (std::f64::consts::TAU * random.unit()).cos()
}

/// The bootstrap of few rounds is too narrow, by √(n/(n − 1)) and by the normal distribution's quantile in
/// place of Student's (T. Hesterberg, *What teachers should know about the bootstrap*, 2015). Student's
/// quantile is by its expansion in 1/(n − 1).
fn widening(rounds: usize) -> f64 {
    let (n, z) = (rounds as f64, NORMAL);
    let freedom = (n - 1.0).max(1.0);
    let first = (z.powi(3) + z) / 4.0;
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let student = z + first / freedom + second / freedom.powi(2);
    student / z * (n / freedom).sqrt()
}

/// A row of runs as blocks of neighbours.
fn blocks(runs: &[f64]) -> Option<Vec<Vec<f64>>> {
    let count = (runs.len() / MIN_BLOCK).min(MAX_BLOCKS);
    (count >= MIN_ROUNDS).then(|| {
        let end = |index: usize| index * runs.len() / count;
        let block = |index: usize| runs.get(end(index)..end(index + 1)).unwrap_or_default().to_vec();
        (0..count).map(block).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine whose speed wanders from round to round, with runs that a scheduler interrupts: one in
    /// twelve takes up to several times as long.
    struct Machine {
        random: SplitMix64,
        speed: f64,
        wander: f64,
    }

    impl Machine {
        fn new(seed: u64, wander: f64) -> Self {
            Self { random: SplitMix64(seed.wrapping_mul(0x9e37_79b9)), speed: 0.0, wander }
        }
        fn round(&mut self, ms: f64, runs: usize) -> Vec<f64> {
            self.speed = 0.7 * self.speed + self.wander * normal(&mut self.random);
            let speed = self.speed;
            let mut run = || {
                let noise = (0.03 * normal(&mut self.random)).exp();
                let tail = if self.random.unit() < 1.0 / 12.0 {
                    1.0 / (1.0 - 0.9 * self.random.unit())
                } else {
                    1.0
                };
                ms * speed.exp() * noise * tail
            };
            (0..runs).map(|_| run()).collect()
        }
    }

    /// How often of 200 a change is found, where the second takes `ratio` times as long. Interleaved, the
    /// machine also slows down by a half from the first round to the last.
    fn found(change: Change, ratio: f64, rounds: usize, runs: usize, paired: bool) -> usize {
        let options = |seed| DifferenceOptions { paired, seed, resamples: 500, ..Default::default() };
        let once = |seed: u64| {
            let mut machine = Machine::new(seed + 1, 0.02);
            let (mut before, mut after) = (vec![], vec![]);
            if paired {
                for round in 0..rounds {
                    let drift = 10.0 * (1.0 + 0.5 * round as f64 / rounds as f64);
                    before.push(machine.round(drift, runs));
                    after.push(machine.round(drift * ratio, runs));
                }
            } else {
                before.extend((0..rounds).map(|_| machine.round(10.0, runs)));
                after.extend((0..rounds).map(|_| machine.round(10.0 * ratio, runs)));
            }
            Difference::between(&before, &after, &options(seed)).unwrap().change == change
        };
        (0..200).filter(|&seed| once(seed)).count()
    }

    #[test]
    fn the_same_is_no_difference_on_a_noisy_machine() {
        for paired in [false, true] {
            for (rounds, runs) in [(5, 20), (10, 10), (20, 5), (3, 10)] {
                let right = found(Change::None, 1.0, rounds, runs, paired);
                assert!(right >= 190, "{right} of 200 at {rounds} rounds of {runs}, paired {paired}");
            }
        }
    }

    #[test]
    fn a_slow_down_of_a_fifth_is_found() {
        for paired in [false, true] {
            for (rounds, runs) in [(5, 20), (10, 10), (20, 5)] {
                let slower = found(Change::Slower, 1.2, rounds, runs, paired);
                let faster = found(Change::Faster, 1.0 / 1.2, rounds, runs, paired);
                assert!(
                    slower.min(faster) >= 180,
                    "{slower}, {faster} of 200 at {rounds} rounds of {runs}, paired {paired}"
                );
            }
        }
    }

    #[test]
    fn pairs_cancel_what_the_machine_does_to_both() {
        let (mut before, mut after, mut machine) = (vec![], vec![], Machine::new(3, 0.0));
        for round in 0..8 {
            let drift = 10.0 * 1.2f64.powi(round);
            before.push(machine.round(drift, 20));
            after.push(machine.round(drift * 1.1, 20));
        }
        let judged = |paired| {
            Difference::between(&before, &after, &DifferenceOptions { paired, ..Default::default() }).unwrap()
        };
        assert_eq!(judged(true).change, Change::Slower, "{:?}", judged(true));
        assert_eq!(judged(false).change, Change::None, "{:?}", judged(false));
        // Unequal numbers of rounds have no pairs.
        let odd = DifferenceOptions { paired: true, ..Default::default() };
        assert_eq!(Difference::between(&before[1..], &after, &odd).unwrap().rounds, [7, 8]);
    }

    #[test]
    fn runs_without_rounds_are_cut() {
        let mut machine = Machine::new(5, 0.0);
        let (before, after) = (machine.round(10.0, 40), machine.round(14.0, 41));
        let one = |list: &Vec<f64>| vec![list.clone()];
        let options = DifferenceOptions::default();
        let found = Difference::between(&one(&before), &one(&after), &options).unwrap();
        assert!(found.blocks && found.change == Change::Slower && found.rounds == [10, 10], "{found:?}");
        assert!(
            found.low < found.ratio && found.ratio < found.high && (found.ratio - 1.4).abs() < 0.1,
            "{found:?}"
        );
        assert_eq!(found, Difference::between(&one(&before), &one(&after), &options).unwrap());
        let back = Difference::between(&one(&after), &one(&before), &options).unwrap();
        assert_eq!(back.change, Change::Faster);
        // A difference that doesn't count.
        let patient = DifferenceOptions { smallest: 1.6, ..options };
        assert_eq!(Difference::between(&one(&before), &one(&after), &patient).unwrap().change, Change::None);
    }

    #[test]
    fn too_little_says_nothing() {
        let options = DifferenceOptions::default();
        let between = |list: &[f64]| Difference::between(&[list.to_vec()], &[vec![1.0; 9]], &options);
        assert!(between(&[1.0; 9]).is_some_and(|found| found.change == Change::None && found.ratio == 1.0));
        assert!(between(&[1.0; 8]).is_none() && between(&[]).is_none());
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(between(&[[1.0; 9].as_slice(), &[wrong]].concat()).is_none());
        }
        let none = DifferenceOptions { resamples: 0, smallest: f64::NAN, ..options };
        assert!(Difference::between(&vec![vec![1.0]; 3], &vec![vec![1.0]; 3], &none).is_some());
    }

    /// t of 0.975 at 4 and 9 degrees is 2.776 and 2.262.
    #[test]
    fn intervals_of_few_rounds_are_wider() {
        for (rounds, student) in [(5usize, 2.776), (10, 2.262)] {
            let exact = student / NORMAL * (rounds as f64 / (rounds as f64 - 1.0)).sqrt();
            assert!((widening(rounds) / exact - 1.0).abs() < 0.02, "{rounds}: {} {exact}", widening(rounds));
        }
        assert!(widening(1).is_finite() && widening(1000) < 1.01);
    }
}
