//! WAV files, by the crate `hound`.

use crate::error::{Error, Result};
use hound::{SampleFormat, WavReader};
use std::path::Path;

/// A sound of one channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Sound {
    /// Between −1 and 1; beyond where a file of floats says so.
    pub samples: Vec<f32>,
    /// Samples a second.
    pub rate: u32,
    /// How many channels the file has: the sound is their mean.
    pub channels: u16,
}

/// Sampling rates of sound for people.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;

impl Sound {
    /// Reads a WAV file: PCM of 8 to 32 bits, or float32.
    ///
    /// Errors name the file: unreadable, another format, a sample that is no number, no samples.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let told = |problem: hound::Error| {
            Error::file(path, format!("is no WAV file that can be read: {problem}"))
                .remedy("convert it to WAV: PCM of 8, 16, 24 or 32 bits, or float32")
                .caused_by(problem)
        };
        let size = std::fs::metadata(path).map_err(|problem| {
            Error::file(path, format!("can't be read: {problem}")).remedy("check the path").caused_by(problem)
        })?;
        let mut reader = WavReader::open(path).map_err(told)?;
        let spec = reader.spec();
        if !RATES.contains(&spec.sample_rate) || spec.channels == 0 {
            return Err(Error::file(
                path,
                format!("has {} channels of {} samples a second", spec.channels, spec.sample_rate),
            )
            .remedy("sounds of 1,000 to 768,000 samples a second are read: convert it"));
        }
        // The header may promise more than there is.
        let most = (reader.len() as usize).min(usize::try_from(size.len()).unwrap_or(usize::MAX));
        let mut all = crate::tensor::allocate(most)?;
        match spec.sample_format {
            SampleFormat::Float => {
                for sample in reader.samples::<f32>() {
                    all.push(sample.map_err(told)?);
                }
            }
            SampleFormat::Int => {
                let full = (1u64 << (spec.bits_per_sample.clamp(1, 32) - 1)) as f32;
                for sample in reader.samples::<i32>() {
                    all.push(sample.map_err(told)? as f32 / full);
                }
            }
        }
        if let Some(at) = all.iter().position(|sample| !sample.is_finite()) {
            return Err(Error::file(path, format!("sample {at} is {}", all[at])).remedy("repair the file"));
        }
        let channels = usize::from(spec.channels);
        let samples: Vec<f32> = match channels {
            1 => all,
            _ => all
                .chunks_exact(channels)
                .map(|frame| (frame.iter().map(|x| f64::from(*x)).sum::<f64>() / channels as f64) as f32)
                .collect(),
        };
        if samples.is_empty() {
            return Err(Error::file(path, "has no samples").remedy("name a file with sound"));
        }
        Ok(Self { samples, rate: spec.sample_rate, channels: spec.channels })
    }

    /// Its length in seconds.
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hound::{WavSpec, WavWriter};

    fn file(
        name: &str,
        spec: WavSpec,
        write: impl Fn(&mut WavWriter<std::io::BufWriter<std::fs::File>>),
    ) -> Sound {
        let path = std::env::temp_dir().join(format!("sardonyx-wav-{name}-{}.wav", std::process::id()));
        let mut writer = WavWriter::create(&path, spec).unwrap();
        write(&mut writer);
        writer.finalize().unwrap();
        let sound = Sound::read(&path);
        std::fs::remove_file(&path).unwrap();
        sound.unwrap()
    }

    #[test]
    fn every_format_is_the_same_sound() {
        for bits in [8, 16, 24, 32] {
            let spec = WavSpec {
                channels: 1,
                sample_rate: 8000,
                bits_per_sample: bits,
                sample_format: SampleFormat::Int,
            };
            let full = 1i64 << (bits - 1);
            let sound = file(&bits.to_string(), spec, |writer| {
                [0, full / 2, -full].into_iter().for_each(|x| writer.write_sample(x as i32).unwrap());
            });
            assert_eq!((sound.samples.as_slice(), sound.rate), ([0.0, 0.5, -1.0].as_slice(), 8000));
        }
        let spec = WavSpec {
            channels: 2,
            sample_rate: 8000,
            bits_per_sample: 32,
            sample_format: SampleFormat::Float,
        };
        let sound = file("float", spec, |writer| {
            [0.5f32, 0.25, -1.0, 1.0].into_iter().for_each(|x| writer.write_sample(x).unwrap());
        });
        assert_eq!((sound.samples.as_slice(), sound.channels), ([0.375, 0.0].as_slice(), 2));
        assert_eq!(sound.seconds(), 2.0 / 8000.0);
    }

    #[test]
    fn what_is_no_sound_is_an_error() {
        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        let told = Sound::read(here).unwrap_err().to_string();
        assert!(told.contains("Cargo.toml: is no WAV file") && told.contains("PCM"), "{told}");
        assert!(Sound::read("no/such.wav").unwrap_err().to_string().contains("can't be read"));
    }
}
