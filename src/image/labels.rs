//! Labels and the best of a classifier's output.

use crate::error::{Error, Result, Setting};
use crate::tensor::Tensor;
use std::path::Path;

/// The most bytes that a file of labels may have.
const MAX_BYTES: u64 = 16 << 20;

/// The labels of a file, a line each; a WordNet number before the label (`n01440764 tench, …`) is left out.
///
/// Errors where the file is missing, larger than 16 MiB or not UTF-8.
pub fn labels(path: impl AsRef<Path>) -> Result<Vec<String>> {
    let path = path.as_ref();
    let unreadable = |problem: std::io::Error| {
        Error::file(path, format!("the labels cannot be read: {problem}"))
            .remedy("give a UTF-8 text file with a label a line")
            .caused_by(problem)
    };
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_BYTES {
        return Err(Error::file(path, "a file of labels takes 16 MiB at most")
            .remedy("give a text file with a label a line"));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    Ok(text
        .trim_start_matches('\u{feff}')
        .lines()
        .map(|line| without_synset(line.trim()).to_owned())
        .collect())
}

/// `n01440764 tench` is `tench`.
fn without_synset(line: &str) -> &str {
    match line.split_once(char::is_whitespace) {
        Some((first, rest))
            if first.len() == 9
                && first.starts_with('n')
                && first.bytes().skip(1).all(|byte| byte.is_ascii_digit()) =>
        {
            rest.trim_start()
        }
        _ => line,
    }
}

/// The `k` best classes of a classifier's output, as (index, probability), best first; of equals the lower
/// index first.
///
/// `output` is float, `[classes]` or `[1, classes]` with any further dimensions of size 1. Softmax is applied
/// as `softmax` says or, where it says nothing, unless the values are a distribution already (0 to 1 with sum
/// 1 ± 0.01).
pub fn top_k(output: &Tensor, k: usize, softmax: Option<bool>) -> Result<Vec<(usize, f32)>> {
    if output.is_empty()
        || !output.dtype().is_float()
        || output.shape().iter().filter(|&&size| size != 1).count() > 1
    {
        let message = format!("the output {}{:?} is not one of a classifier", output.dtype(), output.shape());
        return Err(Error::input(message)
            .remedy("a classifier's output is float [1, classes]; use `run` for other models"));
    }
    let mut values = output.to_f64s()?;
    if values.iter().any(|value| value.is_nan() || *value == f64::INFINITY) {
        return Err(Error::input("the output holds NaN or infinity")
            .remedy_by("try {}, and `compare` to find the node that it comes from", &[Setting::Float32]));
    }
    let distribution = values.iter().all(|value| (0.0..=1.0).contains(value))
        && (values.iter().sum::<f64>() - 1.0).abs() <= 0.01;
    if softmax.unwrap_or(!distribution) {
        let largest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        values.iter_mut().for_each(|value| *value = (*value - largest).exp());
        let sum: f64 = values.iter().sum();
        values.iter_mut().for_each(|value| *value /= sum);
    }
    let mut order: Vec<(usize, f32)> = values.iter().map(|&value| value as f32).enumerate().collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    order.truncate(k);
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synset_numbers_are_left_out() {
        assert_eq!(without_synset("n01440764 tench, Tinca tinca"), "tench, Tinca tinca");
        for plain in ["tench", "n0144076 x", "nightingale bird", ""] {
            assert_eq!(without_synset(plain), plain);
        }
        assert_eq!(labels("models/digits/labels.txt").unwrap().len(), 10);
        assert!(labels("models/digits/7.png").unwrap_err().to_string().starts_with("models/digits/7.png: "));
        assert!(labels("no/such.txt").is_err());
    }

    #[test]
    fn softmax_only_where_needed() {
        let row = |values: &[f32]| Tensor::new([1, values.len(), 1, 1], values.to_vec()).unwrap();
        assert_eq!(top_k(&row(&[0.25, 0.5, 0.25]), 2, None).unwrap(), [(1, 0.5), (0, 0.25)]);
        let logits = top_k(&row(&[1000.0, 1000.0, f32::NEG_INFINITY]), 5, None).unwrap();
        assert_eq!(logits, [(0, 0.5), (1, 0.5), (2, 0.0)]);
        assert!(top_k(&row(&[0.0, 1.0]), 1, Some(true)).unwrap()[0].1 < 0.74);
        assert_eq!(top_k(&row(&[3.0, 1.0]), 1, Some(false)).unwrap(), [(0, 3.0)]);
    }

    #[test]
    fn what_is_no_classification_is_an_error() {
        assert!(top_k(&Tensor::new([2, 2], vec![0f32; 4]).unwrap(), 1, None).is_err());
        assert!(top_k(&Tensor::new([1, 0], Vec::<f32>::new()).unwrap(), 1, None).is_err());
        assert!(top_k(&Tensor::int64s([1, 2]), 1, None).is_err());
        assert!(top_k(&Tensor::new([2], vec![f32::NAN, 0.0]).unwrap(), 1, None).is_err());
    }
}
