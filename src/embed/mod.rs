//! Sentence vectors: an encoder of text, its tokenizer, and what makes one vector of its tokens' vectors.
//!
//! An [`Embedder`] is a bi-encoder with what lies beside it, as sentence-transformers lays models out:
//! `tokenizer.json`, `modules.json`, `1_Pooling/config.json`, `sentence_bert_config.json`.
//!
//! ```
//! use sardonyx::Session;
//! use sardonyx::embed::{Embedder, Options, cosine};
//!
//! # fn main() -> sardonyx::Result<()> {
//! let embedder = Embedder::load("models/embed", Session::builder(), &Options::default())?;
//! let found = embedder.embed(&["A wave came by.", "The stone laughed."])?;
//! println!("{:?}, cosine {}", found[0].vector, cosine(&found[0].vector, &found[1].vector));
//! # Ok(())
//! # }
//! ```

mod config;
mod embedder;
mod pooling;
mod ports;

pub use embedder::{Embedder, Embedding, Options, Source};
pub use pooling::{Pooling, cosine};
