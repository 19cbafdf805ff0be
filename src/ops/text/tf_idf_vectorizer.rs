//! [TfIdfVectorizer](https://onnx.ai/onnx/operators/onnx__TfIdfVectorizer.html), version 9: how often each of
//! a pool of n-grams occurs in a row, weighted.

use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::{NodeView, OpDef, Operator};
use crate::tensor::{DType, Tensor, zeros};
use std::collections::HashMap;
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "TfIdfVectorizer", since: 9, parse, cases: &[] };

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    /// The count.
    Tf,
    /// The weight where the count isn't zero.
    Idf,
    /// The count times the weight.
    TfIdf,
}

#[derive(Debug, Clone, PartialEq)]
pub struct TfIdfVectorizer {
    mode: Mode,
    lengths: std::ops::RangeInclusive<usize>,
    most_skipped: usize,
    /// Of strings, their numbers in the pool's n-grams; `None` where those are integers themselves.
    words: Option<HashMap<String, i64>>,
    /// Each n-gram, and where it is counted.
    pool: HashMap<Vec<i64>, usize>,
    /// By place in the output, as onnxruntime and ONNX's reference take them.
    weights: Option<Vec<f32>>,
    width: usize,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    let mode = match &*node.choice("mode", "", &["TF", "IDF", "TFIDF"])? {
        "TF" => Mode::Tf,
        "IDF" => Mode::Idf,
        _ => Mode::TfIdf,
    };
    let missing = |name: &str| Error::model(format!("attribute '{name}' is missing"));
    let size = |name: &str| {
        let value = node.optional_int(name)?.ok_or_else(|| missing(name))?;
        usize::try_from(value).map_err(|_| Error::model(format!("attribute '{name}' is {value}")))
    };
    let lengths = size("min_gram_length")?.max(1)..=size("max_gram_length")?;
    let most_skipped = size("max_skip_count")?;
    let starts = node.sizes("ngram_counts")?.ok_or_else(|| missing("ngram_counts"))?;
    let places = node.sizes("ngram_indexes")?.ok_or_else(|| missing("ngram_indexes"))?;
    let weights = node.floats("weights")?;
    let strings = node.strings("pool_strings")?;
    let (words, tokens) = match (strings, node.ints("pool_int64s")?) {
        (Some(list), None) => {
            let mut words: HashMap<String, i64> = HashMap::new();
            let numbers = list.into_iter().map(|word| {
                let next = words.len() as i64;
                *words.entry(word).or_insert(next)
            });
            let tokens: Vec<i64> = numbers.collect();
            (Some(words), tokens)
        }
        (None, Some(tokens)) => (None, tokens),
        _ => return Err(Error::model("has not one of the attributes 'pool_strings' and 'pool_int64s'")),
    };
    let mut pool = HashMap::new();
    let mut gram = 0;
    for (at, &start) in starts.iter().enumerate() {
        let (length, end) = (at + 1, starts.get(at + 1).copied().unwrap_or(tokens.len()));
        let part =
            tokens.get(start..end).filter(|part| part.len().is_multiple_of(length)).ok_or_else(|| {
                Error::model(format!(
                    "ngram_counts {starts:?} don't divide a pool of {} into n-grams",
                    tokens.len()
                ))
            })?;
        for one in part.chunks_exact(length) {
            let place = *places.get(gram).ok_or_else(|| {
                Error::model(format!(
                    "ngram_indexes has {} entries, fewer than there are n-grams",
                    places.len()
                ))
            })?;
            pool.insert(one.to_vec(), place);
            gram += 1;
        }
    }
    let width = places.iter().max().map_or(0, |most| most + 1);
    if let Some(weights) = weights.as_ref().filter(|weights| weights.len() < width) {
        return Err(Error::model(format!("has {} weights for {width} places", weights.len())));
    }
    Ok(Arc::new(TfIdfVectorizer { mode, lengths, most_skipped, words, pool, weights, width }))
}

impl TfIdfVectorizer {
    fn shape(&self, shape: &[usize]) -> Result<Vec<usize>> {
        match shape {
            [_] => Ok(vec![self.width]),
            [rows, _] => Ok(vec![*rows, self.width]),
            other => Err(Error::model(format!("takes one or two axes, not the shape {other:?}")).of_input(0)),
        }
    }

    fn count(&self, row: &[i64], counts: &mut [f32]) {
        for length in self.lengths.clone() {
            if length > row.len() {
                break;
            }
            // One token leaves nothing to skip.
            let skips = if length == 1 { 0 } else { self.most_skipped };
            for step in 1..=skips.saturating_add(1) {
                let span = (length - 1).saturating_mul(step);
                if span >= row.len() {
                    break;
                }
                for start in 0..row.len() - span {
                    let gram: Vec<i64> = row[start..=start + span].iter().step_by(step).copied().collect();
                    if let Some(count) = self.pool.get(&gram).and_then(|&place| counts.get_mut(place)) {
                        *count += 1.0;
                    }
                }
            }
        }
        for (place, count) in counts.iter_mut().enumerate() {
            let weight = self.weights.as_ref().map_or(1.0, |weights| weights[place]);
            *count = match self.mode {
                Mode::Tf => *count,
                Mode::Idf if *count > 0.0 => weight,
                Mode::Idf => 0.0,
                Mode::TfIdf => *count * weight,
            };
        }
    }
}

impl Operator for TfIdfVectorizer {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        let fits = match &self.words {
            Some(_) => x.dtype == DType::String,
            None => matches!(x.dtype, DType::I32 | DType::I64),
        };
        if !fits {
            let wanted = if self.words.is_some() { "strings" } else { "int32 or int64" };
            return Err(Error::model(format!("its pool is of {wanted}, its input of {}", x.dtype))
                .of_input(0)
                .into());
        }
        Ok(vec![Fact::new(DType::F32, self.shape(&x.shape)?)])
    }
    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let tokens: Vec<i64> = match &self.words {
            // What is in no n-gram is a number of no word.
            Some(words) => {
                x.as_strings()?.iter().map(|word| words.get(word).copied().unwrap_or(-1)).collect()
            }
            None => x.to_i64s()?,
        };
        let shape = self.shape(x.shape())?;
        let mut counts: Vec<f32> = zeros(crate::tensor::element_count(&shape)?)?;
        let length = x.shape().last().copied().unwrap_or(0);
        if self.width > 0 {
            for (row, counts) in counts.chunks_exact_mut(self.width).enumerate() {
                self.count(tokens.get(row * length..(row + 1) * length).unwrap_or_default(), counts);
            }
        }
        Ok(vec![crate::base::held(&Tensor::new(shape, counts)?, mode)?])
    }
    fn takes_any_type(&self) -> bool {
        true
    }
}
