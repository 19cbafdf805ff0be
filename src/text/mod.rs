//! What models of text share: their files, their tokenizer, their inputs of tokens.

mod files;
mod port;
mod tokenizer;

pub(crate) use files::text;
pub use files::{ModelFiles, PairFiles};
pub(crate) use port::{Port, embedding};
pub use tokenizer::{Encoded, Tokenizer};
