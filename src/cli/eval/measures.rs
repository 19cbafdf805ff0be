//! What isn't classification: numbers, distributions, sequences of tokens.

use sardonyx::Tensor;
use sardonyx::error::{Error, Result};
use serde::Serialize;

/// Numbers against numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Regression {
    /// Numbers compared.
    pub count: usize,
    pub mean_absolute_error: f64,
    pub root_mean_square_error: f64,
    /// 1 − the squared errors ÷ the squared distances from the expected numbers' mean, column by column, then
    /// their mean; null where the expected numbers don't vary.
    pub r2: Option<f64>,
}

/// Distributions against distributions.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Distribution {
    pub count: usize,
    /// The mean of Σ p · ln(p ÷ q), p the expected; null where q is 0 and p isn't.
    pub kl_divergence: Option<f64>,
    /// The mean of Σ |p − q| ÷ 2.
    pub total_variation: f64,
    /// Confidence against how often the most probable class is the expected one's, over 15 bins.
    pub expected_calibration_error: f64,
}

/// Sequences against sequences.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tokens {
    pub count: usize,
    /// The share of sequences that are the same.
    pub exact_match: f64,
    /// Insertions, deletions and replacements, the mean of a sequence.
    pub mean_edit_distance: f64,
    /// All of them ÷ all expected tokens.
    pub token_error_rate: f64,
}

/// Rows of equal length, each with its expected row.
pub type Rows = Vec<(Vec<f64>, Vec<f64>)>;

pub fn regression(rows: &Rows) -> Regression {
    let errors = rows.iter().flat_map(|(expected, found)| expected.iter().zip(found).map(|(a, b)| b - a));
    let (mut count, mut absolute, mut square) = (0usize, 0.0, 0.0);
    for error in errors {
        count += 1;
        absolute += f64::abs(error);
        square += error * error;
    }
    let columns = rows.first().map_or(0, |(expected, _)| expected.len());
    let r2 = |column: usize| -> Option<f64> {
        let pairs: Vec<(f64, f64)> = rows
            .iter()
            .filter_map(|(expected, found)| Some((*expected.get(column)?, *found.get(column)?)))
            .collect();
        let mean = pairs.iter().map(|pair| pair.0).sum::<f64>() / pairs.len().max(1) as f64;
        let whole: f64 = pairs.iter().map(|pair| (pair.0 - mean).powi(2)).sum();
        let left: f64 = pairs.iter().map(|pair| (pair.1 - pair.0).powi(2)).sum();
        (whole > 0.0).then(|| 1.0 - left / whole)
    };
    let found: Option<Vec<f64>> = (0..columns).map(r2).collect();
    let number = count.max(1) as f64;
    Regression {
        count,
        mean_absolute_error: absolute / number,
        root_mean_square_error: (square / number).sqrt(),
        r2: found.filter(|list| !list.is_empty()).map(|list| list.iter().sum::<f64>() / list.len() as f64),
    }
}

pub fn distribution(rows: &Rows) -> Distribution {
    let count = rows.len().max(1) as f64;
    let divergence = |(expected, found): &(Vec<f64>, Vec<f64>)| -> f64 {
        expected.iter().zip(found).filter(|(p, _)| **p > 0.0).map(|(p, q)| p * (p / q.max(0.0)).ln()).sum()
    };
    let kl = rows.iter().map(divergence).sum::<f64>() / count;
    let variation: f64 =
        rows.iter().flat_map(|(p, q)| p.iter().zip(q).map(|(p, q)| (p - q).abs() / 2.0)).sum::<f64>() / count;
    let best = |list: &[f64]| -> usize {
        let better = |best: usize, (index, value): (usize, &f64)| {
            if list.get(best).is_some_and(|known| value > known) { index } else { best }
        };
        list.iter().enumerate().fold(0, better)
    };
    let guesses: Vec<super::scores::Guess> = rows
        .iter()
        .map(|(expected, found)| {
            let first = best(found);
            let top = vec![(first, found.get(first).copied().unwrap_or(0.0) as f32)];
            super::scores::Guess { sample: 0, expected: best(expected), top }
        })
        .collect();
    Distribution {
        count: rows.len(),
        kl_divergence: kl.is_finite().then_some(kl),
        total_variation: variation,
        expected_calibration_error: super::scores::scores(&guesses, |_| String::new())
            .expected_calibration_error,
    }
}

pub fn tokens(pairs: &[(Vec<i64>, Vec<i64>)]) -> Tokens {
    let count = pairs.len().max(1) as f64;
    let distances: Vec<usize> =
        pairs.iter().map(|(expected, found)| edit_distance(expected, found)).collect();
    let total: usize = distances.iter().sum();
    let length: usize = pairs.iter().map(|(expected, _)| expected.len()).sum();
    Tokens {
        count: pairs.len(),
        exact_match: distances.iter().filter(|distance| **distance == 0).count() as f64 / count,
        mean_edit_distance: total as f64 / count,
        token_error_rate: total as f64 / length.max(1) as f64,
    }
}

/// Levenshtein's distance, a row of the table at a time.
pub fn edit_distance(a: &[i64], b: &[i64]) -> usize {
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (index, x) in a.iter().enumerate() {
        let mut row = vec![index + 1];
        for (y, pair) in b.iter().zip(above.windows(2)) {
            let (&[diagonal, up], Some(&left)) = (pair, row.last()) else { continue };
            row.push((diagonal + usize::from(x != y)).min(up + 1).min(left + 1));
        }
        above = row;
    }
    above.last().copied().unwrap_or(0)
}

/// An output as a sequence of tokens: integers as they are, the best of the last axis of floats; up to the
/// token that ends it.
pub fn sequence(output: &Tensor, end: Option<i64>) -> Result<Vec<i64>> {
    let all = if output.dtype().is_float() {
        let classes = output.shape().last().copied().filter(|_| output.rank() == 3).unwrap_or(0);
        if classes == 0 {
            return Err(Error::model(format!(
                "the output {}{:?} is no sequence of tokens",
                output.dtype(),
                output.shape()
            ))
            .remedy("one is integers [batch, tokens], or floats [batch, tokens, classes]; name another with --output"));
        }
        let best = |row: &[f64]| {
            let better = |best: (usize, f64), (index, &value): (usize, &f64)| {
                if value > best.1 { (index, value) } else { best }
            };
            row.iter().enumerate().fold((0, f64::NEG_INFINITY), better).0 as i64
        };
        output.to_f64s()?.chunks_exact(classes).map(best).collect()
    } else {
        output.to_i64s()?
    };
    Ok(match all.iter().position(|token| Some(*token) == end) {
        Some(at) => all.get(..at).unwrap_or_default().to_vec(),
        None => all,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regression_is_by_the_book() {
        let rows = vec![(vec![1.0], vec![2.0]), (vec![2.0], vec![2.0]), (vec![6.0], vec![5.0])];
        let found = regression(&rows);
        assert!((found.mean_absolute_error - 2.0 / 3.0).abs() < 1e-12);
        assert!((found.root_mean_square_error - (2.0f64 / 3.0).sqrt()).abs() < 1e-12);
        // The mean is 3: 4 + 1 + 9 of distance, 2 of error.
        assert!((found.r2.unwrap() - (1.0 - 2.0 / 14.0)).abs() < 1e-12);
        assert_eq!(regression(&vec![(vec![1.0], vec![1.0])]).r2, None);
    }

    #[test]
    fn distributions_are_by_the_book() {
        let rows = vec![(vec![0.5, 0.5], vec![0.25, 0.75]), (vec![1.0, 0.0], vec![1.0, 0.0])];
        let found = distribution(&rows);
        let kl = (0.5 * 2f64.ln() + 0.5 * (2.0f64 / 3.0).ln()) / 2.0;
        assert!(
            (found.kl_divergence.unwrap() - kl).abs() < 1e-12
                && (found.total_variation - 0.125).abs() < 1e-12
        );
        assert_eq!(distribution(&vec![(vec![0.5, 0.5], vec![1.0, 0.0])]).kl_divergence, None);
    }

    #[test]
    fn sequences_are_compared_by_edits() {
        let distance = |a: &str, b: &str| {
            let list = |text: &str| text.bytes().map(i64::from).collect::<Vec<_>>();
            edit_distance(&list(a), &list(b))
        };
        let cases =
            [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("same", "same", 0), ("ab", "ba", 2)];
        cases.iter().for_each(|(a, b, wanted)| assert_eq!(distance(a, b), *wanted, "{a} {b}"));
        let found = tokens(&[(vec![1, 2], vec![1, 2]), (vec![1, 2], vec![1])]);
        assert_eq!((found.exact_match, found.mean_edit_distance, found.token_error_rate), (0.5, 0.5, 0.25));
        let logits = Tensor::new([1, 3, 2], vec![0f32, 1.0, 1.0, 0.0, 0.0, 9.0]).unwrap();
        assert_eq!(sequence(&logits, None).unwrap(), [1, 0, 1]);
        assert_eq!(sequence(&logits, Some(0)).unwrap(), [1]);
        assert_eq!(sequence(&Tensor::int64s([4, 5]), None).unwrap(), [4, 5]);
        assert!(sequence(&Tensor::new([2], vec![0f32; 2]).unwrap(), None).is_err());
    }
}
