//! Classification: Top-1, Top-5, per class, confusion, calibration.

use serde::Serialize;
use std::collections::BTreeMap;

/// Bins of the expected calibration error.
const BINS: usize = 15;

/// What one picture came to.
#[derive(Debug, Clone)]
pub struct Guess {
    pub sample: usize,
    pub expected: usize,
    /// Classes, best first, with their probabilities.
    pub top: Vec<(usize, f32)>,
}

impl Guess {
    pub fn best(&self) -> usize {
        self.top.first().map_or(usize::MAX, |best| best.0)
    }
    pub fn confidence(&self) -> f64 {
        self.top.first().map_or(0.0, |best| f64::from(best.1))
    }
    /// Whether the expected class is among the best `k`.
    pub fn is_in(&self, k: usize) -> bool {
        self.top.iter().take(k).any(|(class, _)| *class == self.expected)
    }
}

/// What a class came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OfClass {
    pub class: usize,
    pub label: String,
    pub count: usize,
    pub top1: f64,
    pub top5: f64,
    /// Of the pictures that were taken for this class, how many are; null where none was.
    pub precision: Option<f64>,
}

/// A field of the confusion matrix.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Confusion {
    pub expected: usize,
    pub predicted: usize,
    pub count: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scores {
    pub count: usize,
    pub correct_top1: usize,
    pub correct_top5: usize,
    pub top1: f64,
    pub top5: f64,
    /// Top-1 over classes, each counting as much.
    pub mean_class_top1: f64,
    /// How far confidence and share of right answers are apart, over 15 bins of equal width.
    pub expected_calibration_error: f64,
    pub per_class: Vec<OfClass>,
    /// Fields that aren't 0, by expected, then predicted class.
    pub confusion: Vec<Confusion>,
}

pub fn scores(guesses: &[Guess], name: impl Fn(usize) -> String) -> Scores {
    let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
    let (mut confusion, mut predicted): (BTreeMap<(usize, usize), usize>, BTreeMap<usize, usize>) =
        Default::default();
    let mut classes: BTreeMap<usize, [usize; 3]> = BTreeMap::new();
    let mut bins = [(0usize, 0usize, 0f64); BINS];
    for guess in guesses {
        *confusion.entry((guess.expected, guess.best())).or_default() += 1;
        *predicted.entry(guess.best()).or_default() += 1;
        let [count, first, five] = classes.entry(guess.expected).or_default();
        *count += 1;
        *first += usize::from(guess.is_in(1));
        *five += usize::from(guess.is_in(5));
        let bin = ((guess.confidence() * BINS as f64) as usize).min(BINS - 1);
        if let Some((count, right, confidence)) = bins.get_mut(bin) {
            *count += 1;
            *right += usize::from(guess.is_in(1));
            *confidence += guess.confidence();
        }
    }
    let (correct_top1, correct_top5) = (
        guesses.iter().filter(|guess| guess.is_in(1)).count(),
        guesses.iter().filter(|guess| guess.is_in(5)).count(),
    );
    let per_class: Vec<OfClass> = classes
        .iter()
        .map(|(&class, &[count, first, five])| OfClass {
            class,
            label: name(class),
            count,
            top1: share(first, count),
            top5: share(five, count),
            precision: predicted.get(&class).map(|taken| share(first, *taken)),
        })
        .collect();
    let calibration =
        bins.iter().map(|(_, right, confidence)| (*right as f64 - confidence).abs()).sum::<f64>()
            / guesses.len().max(1) as f64;
    Scores {
        count: guesses.len(),
        correct_top1,
        correct_top5,
        top1: share(correct_top1, guesses.len()),
        top5: share(correct_top5, guesses.len()),
        mean_class_top1: per_class.iter().map(|class| class.top1).sum::<f64>()
            / per_class.len().max(1) as f64,
        expected_calibration_error: calibration,
        per_class,
        confusion: confusion
            .into_iter()
            .map(|((expected, predicted), count)| Confusion { expected, predicted, count })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(expected: usize, top: &[(usize, f32)]) -> Guess {
        Guess { sample: 0, expected, top: top.to_vec() }
    }

    #[test]
    fn scores_are_counted_by_hand() {
        let guesses = [
            guess(0, &[(0, 0.9), (1, 0.1)]),
            guess(0, &[(1, 0.6), (0, 0.4)]),
            guess(1, &[(1, 1.0), (0, 0.0)]),
            guess(2, &[(3, 0.5), (4, 0.2), (5, 0.1), (6, 0.1), (7, 0.05), (2, 0.05)]),
        ];
        let found = scores(&guesses, |class| format!("c{class}"));
        assert_eq!((found.correct_top1, found.correct_top5, found.top1), (2, 3, 0.5));
        assert_eq!(found.mean_class_top1, 0.5);
        let first =
            OfClass { class: 0, label: "c0".into(), count: 2, top1: 0.5, top5: 1.0, precision: Some(1.0) };
        assert_eq!(found.per_class[0], first);
        assert_eq!((found.per_class[1].precision, found.per_class[2].precision), (Some(0.5), None));
        let fields: Vec<_> =
            found.confusion.iter().map(|field| (field.expected, field.predicted, field.count)).collect();
        assert_eq!(fields, [(0, 0, 1), (0, 1, 1), (1, 1, 1), (2, 3, 1)]);
        // |1 - 0.9| + |0 - 0.6| + |1 - 1| + |0 - 0.5| over 4: a bin each.
        assert!((found.expected_calibration_error - 0.3).abs() < 1e-6, "{found:?}");
        assert_eq!(scores(&[], |_| String::new()).top1, 0.0);
    }
}
