//! Fourier transforms, and what goes before and behind them.

pub mod dft;
mod fourier;
mod matrix;
pub mod mel_weight_matrix;
pub mod stft;
pub mod window;
