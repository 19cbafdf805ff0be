//! What is done to a picture before a model sees it: presets, and the sidecar file.

use super::picture::MAX_SIDE;
use super::resize::Filter;
use crate::error::{Error, Result, Setting};
use serde::Deserialize;
use std::path::{Component, Path, PathBuf};

/// How a picture is brought to the wanted size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resize {
    /// Both sides by themselves: the picture's proportions change.
    #[default]
    Stretch,
    /// Proportions kept, so that the shorter side (against the wanted size) fits and the longer one sticks
    /// out.
    Shorter,
    /// Proportions kept, so that the longer side fits; the rest is filled with [`Preprocess::pad`].
    Letterbox,
}

/// What happens to what sticks out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Crop {
    /// The middle is kept.
    #[default]
    Center,
    /// All is kept: only for models that take any size.
    None,
}

/// Which channels the model sees, in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// Luma alone.
    Gray,
}

impl Channels {
    /// How many they are.
    pub fn count(self) -> usize {
        if self == Channels::Gray { 1 } else { 3 }
    }
}

/// The order of the input's dimensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Channels before height and width.
    Nchw,
    /// Channels innermost.
    Nhwc,
}

/// From a picture to a model's input: size, channels, and values `(level · scale − mean) / std` of levels 0
/// to 255.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Preprocess {
    /// `[width, height]` in pixels, for models that take any size; a fixed size of the model's input comes
    /// first.
    pub size: Option<[usize; 2]>,
    /// How the picture is brought to the wanted size.
    pub resize: Resize,
    /// How pixels between pixels are made.
    pub filter: Filter,
    /// What happens to what sticks out.
    pub crop: Crop,
    /// The part of the resized picture's side that the crop keeps: 0.875 resizes to 256 for a crop of 224.
    pub crop_fraction: f64,
    /// The level, 0 to 255, of what a letterbox adds.
    pub pad: u8,
    /// Multiplies the levels before `mean` and `std`.
    pub scale: f64,
    /// One for each channel in the model's order, or one for all.
    #[serde(deserialize_with = "one_or_more")]
    pub mean: Vec<f64>,
    /// One for each channel in the model's order, or one for all.
    #[serde(deserialize_with = "one_or_more")]
    pub std: Vec<f64>,
    /// By default RGB, or grey where the model takes one channel.
    pub channels: Option<Channels>,
    /// By default what the input's shape says.
    pub layout: Option<Layout>,
    /// A file with a label a line, relative to the sidecar; after [`Preprocess::for_model`] as a path to
    /// open.
    pub labels: Option<PathBuf>,
    /// Whether the output is logits (true) or probabilities (false); by default told by its values.
    pub softmax: Option<bool>,
}

impl Default for Preprocess {
    /// Stretched, 0 to 1.
    fn default() -> Self {
        Self {
            size: None,
            resize: Resize::Stretch,
            filter: Filter::Bilinear,
            crop: Crop::Center,
            crop_fraction: 1.0,
            pad: 114,
            scale: 1.0 / 255.0,
            mean: vec![0.0],
            std: vec![1.0],
            channels: None,
            layout: None,
            labels: None,
            softmax: None,
        }
    }
}

/// `0.5` is short for `[0.5]`.
fn one_or_more<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<f64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a number or a list of numbers")]
    enum OneOrMore {
        One(f64),
        More(Vec<f64>),
    }
    Ok(match OneOrMore::deserialize(from)? {
        OneOrMore::One(value) => vec![value],
        OneOrMore::More(values) => values,
    })
}

/// Settings that many models share.
pub struct Preset {
    /// By which it is asked for.
    pub name: &'static str,
    /// Whose models it is for, and what it does.
    pub about: &'static str,
    make: fn() -> Preprocess,
}

/// Every preset.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "imagenet",
        about: "torchvision and timm: shorter side to 256 of 224, centre, RGB, ImageNet's mean and deviation",
        make: || Preprocess {
            size: Some([224, 224]),
            resize: Resize::Shorter,
            crop_fraction: 0.875,
            mean: vec![0.485, 0.456, 0.406],
            std: vec![0.229, 0.224, 0.225],
            ..Preprocess::default()
        },
    },
    Preset {
        name: "imagenet-tf",
        about: "TensorFlow's slim and Keras' \"tf\": shorter side to 256 of 224, centre, RGB, -1 to 1",
        make: || Preprocess {
            size: Some([224, 224]),
            resize: Resize::Shorter,
            crop_fraction: 0.875,
            scale: 1.0 / 127.5,
            mean: vec![1.0],
            ..Preprocess::default()
        },
    },
    Preset {
        name: "imagenet-caffe",
        about: "Caffe's models (SqueezeNet, VGG): shorter side to the input's, centre, BGR, 0 to 255 less the mean",
        make: || Preprocess {
            size: Some([224, 224]),
            resize: Resize::Shorter,
            scale: 1.0,
            mean: vec![103.94, 116.78, 123.68],
            channels: Some(Channels::Bgr),
            ..Preprocess::default()
        },
    },
    Preset {
        name: "raw255",
        about: "stretched, RGB or grey, 0 to 255",
        make: || Preprocess { scale: 1.0, ..Preprocess::default() },
    },
    Preset { name: "unit", about: "stretched, RGB or grey, 0 to 1", make: Preprocess::default },
];

impl Preprocess {
    /// A preset by its name, one of [`PRESETS`].
    pub fn preset(name: &str) -> Result<Self> {
        let found = PRESETS.iter().find(|preset| preset.name == name).ok_or_else(|| {
            let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
            Error::usage(format!("there is no preset '{name}'"))
                .remedy(format!("use one of {}", names.join(", ")))
        })?;
        Ok((found.make)())
    }

    /// The preset if one is named, else the sidecar `MODEL.toml` beside `MODEL.onnx`, else the preset
    /// `imagenet`.
    ///
    /// The flag tells whether a sidecar was read. Its label file must lie in or below the model's folder.
    pub fn for_model(model: impl AsRef<Path>, preset: Option<&str>) -> Result<(Self, bool)> {
        if let Some(name) = preset {
            return Ok((Self::preset(name)?, false));
        }
        let path = model.as_ref().with_extension("toml");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(problem) if problem.kind() == std::io::ErrorKind::NotFound => {
                return Ok((Self::preset("imagenet")?, false));
            }
            Err(problem) => {
                return Err(Error::file(&path, format!("the sidecar cannot be read: {problem}"))
                    .remedy_by("check its permissions, or give a {}", &[Setting::Preset])
                    .caused_by(problem));
            }
        };
        let mut found = Self::parse(&text).map_err(|error| error.in_file(&path))?;
        if let (Some(labels), Some(folder)) = (&mut found.labels, path.parent()) {
            *labels = folder.join(&labels);
        }
        Ok((found, true))
    }

    /// A sidecar's text; labels stay relative.
    pub fn parse(text: &str) -> Result<Self> {
        let found: Self = toml::from_str(text).map_err(|problem: toml::de::Error| {
            let line = problem
                .span()
                .and_then(|span| text.get(..span.start))
                .map_or(1, |before| before.matches('\n').count() + 1);
            Error::new(crate::ErrorKind::File, format!("line {line}: {}", problem.message()))
                .remedy("docs/image.md lists the keys")
        })?;
        found.check()?;
        Ok(found)
    }

    /// What types can't say.
    fn check(&self) -> Result<()> {
        let wrong = |what: &str, remedy: &str| Err(Error::new(crate::ErrorKind::File, what).remedy(remedy));
        if self.size.is_some_and(|size| size.iter().any(|side| !(1..=MAX_SIDE).contains(side))) {
            return wrong("'size' lies outside 1 to 16384 pixels", "give [width, height]");
        }
        if !(self.crop_fraction > 0.0 && self.crop_fraction <= 1.0) {
            return wrong("'crop_fraction' lies outside 0 to 1", "0.875 means a crop of 224 from 256");
        }
        if !self.scale.is_finite()
            || self.mean.iter().any(|x| !x.is_finite())
            || self.std.iter().any(|x| !x.is_finite() || *x == 0.0)
        {
            return wrong(
                "'scale' and 'mean' must be finite, 'std' finite and not 0",
                "values are (level * scale - mean) / std",
            );
        }
        for (key, values) in [("mean", &self.mean), ("std", &self.std)] {
            if !matches!((values.len(), self.channels.map(Channels::count)), (1, _) | (3, None | Some(3))) {
                return wrong(
                    &format!("'{key}' has {} values", values.len()),
                    "give one for each channel, or one for all",
                );
            }
        }
        if self.labels.as_ref().is_some_and(|path| {
            path.components().any(|part| !matches!(part, Component::Normal(_) | Component::CurDir))
        }) {
            return wrong("'labels' leaves the model's folder", "name a file in or below it");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sidecar_is_read_beside_its_model() {
        let (digits, sidecar) = Preprocess::for_model("models/digits/digits.onnx", None).unwrap();
        assert!(sidecar);
        assert_eq!(
            (digits.channels, digits.std.as_slice(), digits.softmax),
            (Some(Channels::Gray), &[0.0625][..], Some(false))
        );
        assert_eq!(digits.labels.as_deref(), Some(Path::new("models/digits/labels.txt")));
        let (other, sidecar) = Preprocess::for_model("models/digits/none.onnx", None).unwrap();
        assert!(!sidecar && other == Preprocess::preset("imagenet").unwrap());
        let (caffe, sidecar) =
            Preprocess::for_model("models/digits/digits.onnx", Some("imagenet-caffe")).unwrap();
        assert!(!sidecar && caffe.channels == Some(Channels::Bgr));
    }

    #[test]
    fn a_wrong_sidecar_is_an_error_naming_the_key() {
        for (text, named) in [
            ("mean = 0\ncolour = 'rgb'", "line 2: unknown field `colour`"),
            ("resize = 'squash'", "unknown variant `squash`"),
            ("size = [224]", "line 1"),
            ("size = [0, 4]", "'size'"),
            ("size = [-1, 4]", "line 1"),
            ("std = [1, 0, 1]", "'std'"),
            ("mean = [1, 2]", "'mean' has 2 values"),
            ("channels = 'gray'\nmean = [1, 2, 3]", "'mean' has 3 values"),
            ("mean = 'zero'", "a number or a list"),
            ("scale = inf", "'scale'"),
            ("crop_fraction = 0", "'crop_fraction'"),
            ("labels = '../../passwords'", "'labels'"),
            ("labels = '/etc/hosts'", "'labels'"),
            ("size = ", "line 1"),
        ] {
            let error = Preprocess::parse(text).map(|found| format!("{found:?}")).unwrap_err().to_string();
            assert!(error.contains(named) && !error.contains('\n'), "{text}: {error}");
        }
        assert_eq!(Preprocess::parse("").unwrap(), Preprocess::default());
        assert!(Preprocess::preset("resnet").unwrap_err().to_string().contains("imagenet-tf"));
        assert!(PRESETS.iter().all(|preset| (preset.make)().check().is_ok()));
    }
}
