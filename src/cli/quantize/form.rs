//! The options that say which form a model is brought into.

use super::super::compare::samples::SampleOptions;
use super::measure::Measures;
use clap::{Args, ValueEnum};
use sardonyx::Tensor;
use sardonyx::error::{Error, Result};
use sardonyx::onnx::quantize::{Form, Ranges, Scheme, Source};
use serde::Serialize;
use std::fmt;

/// What of a model is quantised, and how finely.
#[derive(Args, Debug, Clone)]
pub struct FormOptions {
    /// Activations: floats (weights alone are quantised), in 8 bits by each run's own range, or in 8 bits by
    /// ranges that samples give (--inputs)
    #[arg(long, default_value = "float", value_name = "float|dynamic|static")]
    activations: Activations,
    /// Bits of a weight, where activations are floats [default: 8]
    #[arg(long, value_name = "8|4")]
    bits: Option<usize>,
    /// Weights that share a scale and a zero point, where activations are floats: a power of two from 16 on
    /// [default: 32]
    #[arg(long, value_name = "N")]
    block: Option<usize>,
    /// A scale for each column of a product's weights, where activations are in 8 bits; filters of static
    /// convolutions have one each anyway, from opset 13 on
    #[arg(long)]
    per_channel: bool,
    /// How samples give the range of a static activation: all of it, or but for --percentile
    #[arg(long, value_name = "minmax|percentile")]
    calibration: Option<Calibration>,
    /// How many of 100 elements a range is to hold; half of the rest is left out at each end [default: 99.999]
    #[arg(long, value_name = "P", value_parser = share)]
    percentile: Option<f64>,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Activations {
    Float,
    Dynamic,
    Static,
}

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Calibration {
    Minmax,
    Percentile,
}

fn share(text: &str) -> std::result::Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| *number > 50.0 && *number <= 100.0);
    number.ok_or_else(|| "a number above 50, up to 100, is needed".into())
}

/// The form, as reports have it.
#[derive(Debug, Clone, Serialize)]
pub struct Described {
    activations: Activations,
    bits: usize,
    /// null where weights don't lie in blocks.
    block: Option<usize>,
    per_channel: bool,
    /// null but for static activations.
    calibration: Option<Calibration>,
    percentile: Option<f64>,
}

impl FormOptions {
    /// The form, with ranges still empty.
    ///
    /// Errors: options that don't go together, static activations without samples.
    pub fn form(&self, source: &Source, samples: &SampleOptions) -> Result<Form> {
        let other = |option: &str, remedy: &str| {
            let of = match self.activations {
                Activations::Float => "activations that stay floats",
                Activations::Dynamic => "dynamic activations",
                Activations::Static => "static activations",
            };
            Err(Error::usage(format!("{option} says nothing of {of}")).remedy(remedy))
        };
        if self.activations == Activations::Float {
            if self.per_channel {
                return other("--per-channel", "add --activations dynamic or static, or leave it out");
            }
        } else if self.bits.is_some_and(|bits| bits != 8) || self.block.is_some() {
            let option = if self.block.is_some() { "--block" } else { "--bits" };
            return other(
                option,
                "leave it out: weights beside 8-bit activations have 8 bits, without blocks",
            );
        }
        if self.activations != Activations::Static
            && (self.calibration.is_some() || self.percentile.is_some())
        {
            let option = if self.calibration.is_some() { "--calibration" } else { "--percentile" };
            return other(option, "add --activations static, or leave it out");
        }
        if self.percentile.is_some() && self.calibration != Some(Calibration::Percentile) {
            return Err(Error::usage("--percentile is of --calibration percentile")
                .remedy("add --calibration percentile, or leave it out"));
        }
        match self.activations {
            Activations::Float => {
                Scheme::new(self.bits.unwrap_or(8), self.block.unwrap_or(32)).map(Form::Weights)
            }
            Activations::Dynamic => Ok(Form::Dynamic { per_channel: self.per_channel }),
            Activations::Static if !samples.are_given() => Err(Error::usage(
                "no samples: the ranges of static activations come from samples",
            )
            .remedy(
                "add --inputs DIR (NAME.npy of every input, or a folder of such); --samples N takes noise",
            )),
            Activations::Static => {
                if !source.has_axes() && !self.per_channel {
                    super::say("note: filters share a scale: QuantizeLinear has no axis before opset 13");
                }
                Ok(Form::Static { per_channel: self.per_channel, ranges: Ranges::default() })
            }
        }
    }

    /// Leaves out of the ranges what a percentile leaves out.
    pub fn cut(&self, form: &mut Form, measures: &Measures) -> Result<()> {
        let (Form::Static { ranges, .. }, Some(percentile)) = (form, self.left_in()) else { return Ok(()) };
        measures.again(&mut |name: &str, tensor: &Tensor| ranges.count(name, tensor))?;
        ranges.cut(percentile);
        Ok(())
    }

    fn left_in(&self) -> Option<f64> {
        (self.calibration == Some(Calibration::Percentile)).then(|| self.percentile.unwrap_or(99.999))
    }

    /// The form for a report.
    pub fn described(&self, form: &Form) -> Described {
        let (bits, block) = match form {
            Form::Weights(scheme) => (scheme.bits, Some(scheme.block)),
            Form::Dynamic { .. } | Form::Static { .. } => (8, None),
        };
        let calibrated = self.activations == Activations::Static;
        Described {
            activations: self.activations,
            bits,
            block,
            per_channel: self.per_channel,
            calibration: calibrated.then(|| self.calibration.unwrap_or(Calibration::Minmax)),
            percentile: self.left_in(),
        }
    }
}

impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.block, self.activations) {
            (Some(block), _) => write!(f, "{} bits, blocks of {block}", self.bits),
            (None, Activations::Dynamic) => write!(f, "8 bits, dynamic activations"),
            (None, _) => write!(f, "8 bits, static activations"),
        }
    }
}
