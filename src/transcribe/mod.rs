//! Text of speech: an encoder of sound in Whisper's shape, and the decoder of its states.
//!
//! A [`Transcriber`] is such a pair with what lies beside it: `tokenizer.json`, `preprocessor_config.json`,
//! `generation_config.json`.
//!
//! ```
//! use sardonyx::Session;
//! use sardonyx::audio::Sound;
//! use sardonyx::transcribe::{Options, Transcriber};
//!
//! # fn main() -> sardonyx::Result<()> {
//! let mut transcriber = Transcriber::load("models/whisper", Session::builder())?;
//! let sound = Sound::read("models/whisper/chirp.wav")?.resampled(transcriber.rate())?;
//! let task = transcriber.task(&Options { language: Some("en".into()), ..Options::default() })?;
//! for piece in sound.samples.chunks(transcriber.samples()) {
//!     println!("{}", transcriber.piece(piece, &task)?.text);
//! }
//! # Ok(())
//! # }
//! ```

mod speech;
mod transcriber;

pub use transcriber::{Options, Piece, Task, Transcriber};
