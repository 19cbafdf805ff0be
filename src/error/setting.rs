//! What a remedy is about.

use std::fmt;

/// Something that whoever runs a model can set. A remedy names settings as data, so that a program can say
/// how each is set there: see [`Error::text_with`](super::Error::text_with).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Setting {
    /// The CPU in place of a GPU: [`Device::Cpu`](crate::Device::Cpu).
    Cpu,
    /// The device: [`SessionBuilder::device`](crate::session::SessionBuilder::device).
    Device,
    /// What is asked of an adapter: [`LimitsOption`](crate::device::LimitsOption).
    Limits,
    /// [`Precision::F32`](crate::Precision::F32).
    Float32,
    /// [`Precision::F16`](crate::Precision::F16).
    Float16,
    /// Whether a fallback is an error: [`SessionBuilder::strict`](crate::session::SessionBuilder::strict).
    Strict,
    /// The most that a symbolic size may be:
    /// [`SessionBuilder::capacity`](crate::session::SessionBuilder::capacity).
    Capacity,
    /// The most tokens of a text: `generate::Limits::context`.
    Context,
    /// Forgetting what is oldest of a text: `generate::Overflow::Window`.
    Window,
    /// Measuring the kernels' variants: [`Session::tune`](crate::Session::tune).
    Tuning,
    /// The inputs of a run.
    Inputs,
    /// A preset of the preprocessing of pictures.
    Preset,
    /// The file that is written.
    Output,
    /// How tokens' vectors become a text's: `embed::Options::pooling`.
    Pooling,
}

/// The setting in the library's own words.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Setting::Cpu => "the CPU",
            Setting::Device => "device",
            Setting::Limits => "limits",
            Setting::Float32 => "float32 storage",
            Setting::Float16 => "float16 storage",
            Setting::Strict => "`strict`",
            Setting::Capacity => "`capacity`",
            Setting::Context => "context",
            Setting::Window => "a sliding window",
            Setting::Tuning => "tuning",
            Setting::Inputs => "among the inputs",
            Setting::Preset => "preset",
            Setting::Output => "the output",
            Setting::Pooling => "a pooling",
        })
    }
}
