//! One vector of the vectors of a text's tokens, as [sentence-transformers](https://sbert.net) defines it.

use crate::error::{Error, Result};

/// How the vectors of tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The first token's.
    Cls,
    /// The largest number of each place.
    Max,
    /// The mean.
    Mean,
    /// The sum over the square root of the count.
    MeanSqrtLen,
    /// The mean, tokens weighted by their places from 1 on.
    WeightedMean,
    /// The last token's.
    LastToken,
}

impl Pooling {
    /// All of them, in the order in which several are put side by side.
    pub const ALL: [Pooling; 6] =
        [Self::Cls, Self::Max, Self::Mean, Self::MeanSqrtLen, Self::WeightedMean, Self::LastToken];

    /// Its name: `cls`, `max`, `mean`, `mean_sqrt_len`, `weightedmean`, `lasttoken`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cls => "cls",
            Self::Max => "max",
            Self::Mean => "mean",
            Self::MeanSqrtLen => "mean_sqrt_len",
            Self::WeightedMean => "weightedmean",
            Self::LastToken => "lasttoken",
        }
    }

    /// By its name, also as newer files write it: `mean_sqrt_len_tokens`.
    ///
    /// Errors: no such name.
    pub fn of(name: &str) -> Result<Self> {
        let short = name.strip_suffix("_tokens").unwrap_or(name);
        Self::ALL.into_iter().find(|pooling| pooling.name() == short).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::usage(format!("no pooling is called '{name}'; there are: {names}"))
                .remedy("name one of them")
        })
    }

    /// The vector `[width]` of a text whose tokens have the vectors `[tokens, width]`. Sums are float64.
    pub fn apply(self, tokens: &[f32], width: usize) -> Vec<f32> {
        let rows = || tokens.chunks_exact(width.max(1));
        let count = rows().len();
        match self {
            Self::Cls => rows().next().map(<[f32]>::to_vec).unwrap_or_default(),
            Self::LastToken => rows().next_back().map(<[f32]>::to_vec).unwrap_or_default(),
            Self::Max => rows().fold(vec![f32::NEG_INFINITY; width], |mut most, row| {
                most.iter_mut().zip(row).for_each(|(most, x)| *most = most.max(*x));
                most
            }),
            Self::Mean => weighted(rows(), width, |_| 1.0, count as f64),
            Self::MeanSqrtLen => weighted(rows(), width, |_| 1.0, (count as f64).sqrt()),
            Self::WeightedMean => {
                let all = count as f64 * (count as f64 + 1.0) / 2.0;
                weighted(rows(), width, |at| at as f64 + 1.0, all)
            }
        }
    }
}

/// The sum of weighted rows over a number.
fn weighted<'a>(
    rows: impl Iterator<Item = &'a [f32]>,
    width: usize,
    weight: impl Fn(usize) -> f64,
    over: f64,
) -> Vec<f32> {
    let mut sums = vec![0.0f64; width];
    for (at, row) in rows.enumerate() {
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x) * weight(at));
    }
    sums.into_iter().map(|sum| (sum / over) as f32).collect()
}

/// A vector of length 1 in the same direction; what has none stays as it is.
pub(super) fn normalized(mut vector: Vec<f32>) -> Vec<f32> {
    // As torch.nn.functional.normalize keeps from a division by 0.
    let length = norm(&vector).max(1e-12);
    vector.iter_mut().for_each(|x| *x = (f64::from(*x) / length) as f32);
    vector
}

fn norm(vector: &[f32]) -> f64 {
    vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt()
}

/// The cosine of the angle between two vectors of one length; 0 where one of them is 0.
pub fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let product: f64 = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    let lengths = norm(a) * norm(b);
    if lengths == 0.0 { 0.0 } else { product / lengths }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_what_its_name_says() {
        // Three tokens of two numbers.
        let tokens = [1.0, -2.0, 3.0, 4.0, 5.0, 0.5];
        let of = |pooling: Pooling| pooling.apply(&tokens, 2);
        assert_eq!(of(Pooling::Cls), [1.0, -2.0]);
        assert_eq!(of(Pooling::LastToken), [5.0, 0.5]);
        assert_eq!(of(Pooling::Max), [5.0, 4.0]);
        assert_eq!(of(Pooling::Mean), [3.0, 2.5 / 3.0]);
        assert_eq!(of(Pooling::WeightedMean), [22.0 / 6.0, 7.5 / 6.0]);
        assert_eq!(of(Pooling::MeanSqrtLen), [(9.0 / 3f64.sqrt()) as f32, (2.5 / 3f64.sqrt()) as f32]);
        for pooling in Pooling::ALL {
            assert_eq!(Pooling::of(pooling.name()).unwrap(), pooling);
            assert!(pooling.apply(&[], 0).is_empty());
        }
        let told = Pooling::of("median").unwrap_err().to_string();
        assert!(told.contains("'median'") && told.contains("weightedmean"), "{told}");
    }

    #[test]
    fn a_vector_of_nothing_has_no_direction() {
        assert_eq!(normalized(vec![3.0, 4.0]), [0.6, 0.8]);
        assert_eq!(normalized(vec![0.0; 2]), [0.0; 2]);
        assert_eq!(cosine(&[1.0, 0.0], &[0.0, 0.0]), 0.0);
        assert_eq!(cosine(&[2.0, 0.0], &[1.0, 0.0]), 1.0);
    }
}
