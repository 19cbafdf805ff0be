//! Sound: WAV files, other sampling rates, and the log-mel features that models of speech read.

mod mel;
mod mel_filters;
mod resample;
mod wav;

pub use mel::{LogMel, MelOptions};
pub use wav::Sound;
