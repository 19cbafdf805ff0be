//! Operators on strings. They run on the CPU alone.

pub mod regex_full_match;
pub mod string_concat;
pub mod string_normalizer;
pub mod string_split;
pub mod tf_idf_vectorizer;

use crate::base::{Fact, Operands};
use crate::error::{Error, Result};
use crate::tensor::DType;

/// Input 0, which must be of strings.
fn strings<'a>(inputs: &Operands<'a, Fact>) -> Result<&'a Fact> {
    let x = inputs.required(0)?;
    if x.dtype == DType::String {
        return Ok(x);
    }
    Err(Error::model(format!("takes strings, not {}", x.dtype)).of_input(0))
}
