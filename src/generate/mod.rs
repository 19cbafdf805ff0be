//! Text from a language model: its tokens one by one, with the cache of keys and values kept on the device.
//!
//! A [`LanguageModel`] is a decoder with what lies beside it: the tokenizer (`tokenizer.json`), the chat
//! template (`tokenizer_config.json` or `chat_template.jinja`), and what it says of itself
//! (`genai_config.json`, `generation_config.json`, `config.json`). [`LanguageModel::generate`] gives a
//! [`Generator`], an iterator of [`Token`]s:
//!
//! ```
//! use sardonyx::Session;
//! use sardonyx::generate::{LanguageModel, Limits, Options};
//!
//! # fn main() -> sardonyx::Result<()> {
//! let mut model = LanguageModel::load("models/text/genai", Session::builder(), &Limits::default())?;
//! let prompt = model.tokenizer().encode("Once upon a time", true)?;
//! let mut text = String::new();
//! for token in model.generate(&prompt, &Options { max_tokens: Some(8), ..Options::default() })? {
//!     text += &token?.text;
//! }
//! println!("{text}");
//! # Ok(())
//! # }
//! ```
//!
//! A [`Seq2Seq`] is an encoder and the decoder of its states, which gives the same [`Generator`].
//!
//! What is recognised of a model: inputs `input_ids`, `attention_mask`, `position_ids` and caches
//! `past…`/`present…`, as exporters name them. The layers of this module: [`Decoder`] runs a session over
//! tokens and gives scores; [`sampling`] chooses by them; [`TextStream`] and [`StopStrings`] make text of
//! what was chosen.

mod config;
mod cross_decoder;
mod cross_ports;
mod decoder;
mod encoder;
mod forced;
mod generator;
mod model;
mod ports;
pub mod sampling;
mod seq2seq;
mod stop;
mod stream;
mod template;

pub use crate::text::{ModelFiles, PairFiles, Tokenizer};
pub use config::{ModelConfig, SearchConfig};
pub use cross_decoder::CrossDecoder;
#[cfg(feature = "audio")]
pub(crate) use cross_decoder::States;
pub use decoder::{CacheKind, Decoder, Overflow};
pub use encoder::Encoder;
#[cfg(feature = "audio")]
pub(crate) use forced::Suppressed;
pub use generator::{AdjustLogits, Finish, Generator, Options, Timings, Token};
#[cfg(feature = "audio")]
pub(crate) use generator::{Parts, Reader};
#[cfg(feature = "audio")]
pub(crate) use model::DEFAULT_TOKENS;
pub use model::{LanguageModel, Limits};
pub use sampling::Sampling;
pub use seq2seq::Seq2Seq;
pub use stop::StopStrings;
pub use stream::TextStream;
pub use template::{ChatTemplate, Message};
