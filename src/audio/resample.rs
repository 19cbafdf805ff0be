//! Sounds at another sampling rate, by the crate `rubato`.

use super::wav::Sound;
use crate::error::{Error, Result};
use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler, WindowFunction};

/// Samples that go through at once: long blocks have steep filters.
const BLOCK: usize = 4096;

impl Sound {
    /// The same sound with so many samples a second.
    ///
    /// Errors: a rate that can't be.
    pub fn resampled(self, rate: u32) -> Result<Self> {
        if rate == self.rate {
            return Ok(self);
        }
        let (from, to) = (self.rate, rate);
        let told = |problem: String| {
            Error::input(format!("{from} samples a second can't be made {to}: {problem}"))
                .remedy("convert the sound before")
        };
        let mut resampler = Fft::<f32>::new_custom(
            from as usize,
            to as usize,
            BLOCK,
            1,
            1,
            WindowFunction::BlackmanHarris2,
            FixedSync::Input,
        )
        .map_err(|problem| told(problem.to_string()))?;
        let count = self.samples.len();
        let input =
            InterleavedSlice::new(&self.samples, 1, count).map_err(|problem| told(problem.to_string()))?;
        let output =
            resampler.process_all(&input, count, None).map_err(|problem| told(problem.to_string()))?;
        Ok(Self { samples: output.take_data(), rate, channels: self.channels })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tone below both rates' limits stays the tone that it is, in time and strength.
    #[test]
    fn a_tone_stays_itself() {
        let tone = |rate: u32, count: usize| -> Vec<f32> {
            let at = |index: usize| 2.0 * std::f64::consts::PI * 440.0 * index as f64 / f64::from(rate);
            (0..count).map(|index| at(index).sin() as f32).collect()
        };
        for rate in [8000u32, 22050, 44100, 48000] {
            let sound = Sound { samples: tone(rate, rate as usize), rate, channels: 1 };
            let found = sound.resampled(16000).unwrap();
            assert_eq!((found.rate, found.samples.len()), (16000, 16000), "{rate}");
            // The ends see the silence around.
            let inner = 2000..14000;
            let expected = &tone(16000, 16000)[inner.clone()];
            let off =
                found.samples[inner].iter().zip(expected).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
            // A filter that keeps all but 1e-3 of what it lets pass: 60 dB.
            assert!(off < 1e-3, "{rate}: {off}");
        }
    }
}
