//! Log-mel features, as transformers' `WhisperFeatureExtractor` defines them: the power of the spectra of
//! windowed frames, through mel filters, as logarithms within 8 of the largest, brought to about −1 … 1.
//! Sums are float64.

use super::mel_filters::filters;
use crate::error::{Error, Result};
use crate::tensor::{self, Tensor};
use realfft::{RealFftPlanner, RealToComplex};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// What features are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MelOptions {
    /// Samples of a frame.
    pub window: usize,
    /// Samples from a frame to the next.
    pub hop: usize,
    /// Filters: numbers for each frame.
    pub filters: usize,
    /// Samples a second.
    pub rate: usize,
    /// Samples of a piece of sound; shorter ones are filled up with silence.
    pub samples: usize,
}

/// The largest frequency that features tell of, in Hz: for every model of this kind.
const TOP: f64 = 8000.0;

impl MelOptions {
    /// As a `preprocessor_config.json` says.
    ///
    /// Errors name the file: another kind of features, a number that can't be or that is missing.
    pub fn of(path: &Path, document: &Value) -> Result<Self> {
        let kind = document.get("feature_extractor_type").and_then(Value::as_str);
        if let Some(other) = kind.filter(|kind| *kind != "WhisperFeatureExtractor") {
            return Err(Error::unsupported(format!("feature_extractor_type is {other}"))
                .in_file(path)
                .remedy("features of WhisperFeatureExtractor are made"));
        }
        let shown = |value: Option<&Value>| {
            value.map_or("missing".to_string(), |value| value.to_string().chars().take(60).collect())
        };
        let size = |key: &str, least: usize, most: usize| {
            let found = document.get(key);
            let size = found.and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
            size.filter(|size| (least..=most).contains(size)).ok_or_else(|| {
                Error::file(path, format!("{key} is {}; it lies between {least} and {most}", shown(found)))
                    .remedy("take the file that came with the model")
            })
        };
        if document.get("dither").and_then(Value::as_f64).is_some_and(|dither| dither != 0.0) {
            return Err(Error::unsupported(format!("dither is {}", shown(document.get("dither"))))
                .in_file(path)
                .remedy("features without random noise are made: set it to 0"));
        }
        let window = size("n_fft", 2, 1 << 16)?;
        let rate = size("sampling_rate", 1000, 768_000)?;
        let seconds = size("chunk_length", 1, 3600)?;
        let samples = seconds * rate;
        // A frame at the ends is filled with what mirrors it.
        if samples > 1 << 26 || samples <= window {
            return Err(Error::file(path, format!("chunk_length of {seconds} is {samples} samples"))
                .remedy("take the file that came with the model"));
        }
        Ok(Self {
            window,
            hop: size("hop_length", 1, window)?,
            filters: size("feature_size", 1, 1024)?,
            rate,
            samples,
        })
    }

    /// Frames of a piece of sound.
    pub fn frames(&self) -> usize {
        self.samples / self.hop
    }
}

/// What makes features.
pub struct LogMel {
    options: MelOptions,
    window: Vec<f64>,
    /// A filter each: the first bin that it isn't 0 at, and its numbers from there on.
    filters: Vec<(usize, Vec<f64>)>,
    transform: Arc<dyn RealToComplex<f64>>,
}

impl LogMel {
    /// Makes the window and the filters.
    pub fn new(options: MelOptions) -> Self {
        let count = options.window;
        let turn = |at: usize| (2.0 * std::f64::consts::PI * at as f64 / count as f64).cos();
        let nyquist = (options.rate / 2) as f64;
        let narrow = |row: Vec<f64>| {
            let first = row.iter().position(|x| *x > 0.0).unwrap_or(0);
            let last = row.iter().rposition(|x| *x > 0.0).map_or(first, |last| last + 1);
            (first, row[first..last].to_vec())
        };
        Self {
            options,
            // Hann's, periodic.
            window: (0..count).map(|at| 0.5 - 0.5 * turn(at)).collect(),
            filters: filters(options.filters, count / 2 + 1, nyquist, TOP).into_iter().map(narrow).collect(),
            transform: RealFftPlanner::new().plan_fft_forward(count),
        }
    }

    /// Its options.
    pub fn options(&self) -> &MelOptions {
        &self.options
    }

    /// The features `[1, filters, frames]`, float32, of a piece of sound that is no longer than
    /// [`MelOptions::samples`].
    ///
    /// Errors: a longer one; memory.
    pub fn apply(&self, sound: &[f32]) -> Result<Tensor> {
        let MelOptions { window: size, hop, samples: whole, .. } = self.options;
        if sound.len() > whole {
            return Err(Error::input(format!("{} samples are more than {whole}", sound.len()))
                .remedy("give shorter pieces"));
        }
        let frames = self.options.frames();
        let count = self.filters.len();
        let mut logs: Vec<f64> = tensor::allocate(tensor::element_count(&[frames, count])?)?;
        let mut frame = self.transform.make_input_vec();
        let mut spectrum = self.transform.make_output_vec();
        let mut scratch = self.transform.make_scratch_vec();
        for at in 0..frames {
            for (offset, (x, weight)) in frame.iter_mut().zip(&self.window).enumerate() {
                // Frames are centred; beyond the ends the sound is mirrored.
                let place = (at * hop + offset) as i64 - (size / 2) as i64;
                *x = f64::from(sound.get(mirrored(place, whole)).copied().unwrap_or(0.0)) * weight;
            }
            let done = self.transform.process_with_scratch(&mut frame, &mut spectrum, &mut scratch);
            done.map_err(|problem| Error::internal(format!("a spectrum could not be made: {problem}")))?;
            let power: Vec<f64> = spectrum.iter().map(|x| x.norm_sqr()).collect();
            logs.extend(self.filters.iter().map(|(first, weights)| {
                let sum: f64 =
                    power[*first..].iter().zip(weights).map(|(power, weight)| power * weight).sum();
                sum.max(1e-10).log10()
            }));
        }
        let largest = logs.iter().fold(f64::NEG_INFINITY, |most, x| most.max(*x));
        let scaled = |x: f64| ((x.max(largest - 8.0) + 4.0) / 4.0) as f32;
        let mut turned = tensor::allocate(logs.len())?;
        for filter in 0..count {
            turned.extend((0..frames).map(|frame| scaled(logs[frame * count + filter])));
        }
        Tensor::new([1, count, frames], turned)
    }
}

/// The place within `0..whole` that a place near it mirrors, without the ends themselves twice.
fn mirrored(place: i64, whole: usize) -> usize {
    let last = whole as i64 - 1;
    let inner = place.abs();
    (if inner > last { 2 * last - inner } else { inner }).max(0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ends_are_mirrored() {
        assert_eq!([-2, -1, 0, 3, 4, 5].map(|place| mirrored(place, 4)), [2, 1, 0, 3, 2, 1]);
    }

    #[test]
    fn files_that_cannot_be_are_named() {
        let of = |change: &[(&str, Value)]| {
            let mut document = json!({"n_fft": 400, "hop_length": 160, "feature_size": 80, "chunk_length": 30,
                "sampling_rate": 16000, "feature_extractor_type": "WhisperFeatureExtractor"});
            change.iter().for_each(|(key, value)| document[*key] = value.clone());
            MelOptions::of(Path::new("p.json"), &document)
        };
        assert_eq!(of(&[]).unwrap().frames(), 3000);
        let told = |key, value| of(&[(key, value)]).unwrap_err().to_string();
        assert!(told("n_fft", json!(0)).contains("p.json: n_fft is 0"));
        assert!(told("hop_length", json!(401)).contains("hop_length is 401"));
        assert!(told("feature_size", Value::Null).contains("feature_size is null"));
        assert!(told("chunk_length", json!(-1)).contains("chunk_length is -1"));
        assert!(told("dither", json!(0.1)).contains("dither is 0.1"));
        let told = told("feature_extractor_type", json!("Wav2Vec2FeatureExtractor"));
        assert!(told.contains("Wav2Vec2FeatureExtractor"), "{told}");
    }
}
