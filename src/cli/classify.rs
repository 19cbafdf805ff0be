//! `classify`: what a picture shows, by an image classifier.

use super::Outcome;
use super::emit::{JsonOption, say};
use super::options::{DeviceFields, RunOptions, fallbacks, say_fallbacks};
use clap::Args;
use sardonyx::error::{Error, Result};
use sardonyx::graph::Dim;
use sardonyx::image::{self, Preprocess};
use sardonyx::tensor::cast;
use serde::Serialize;
use std::path::PathBuf;

/// Say what pictures show: the most probable classes of an image classifier
#[derive(Args)]
#[command(after_help = "Example:\n  sardonyx classify models/digits/digits.onnx models/digits/7.png\n\n\
Resizing and normalisation follow the file MODEL.toml beside the model, or --preset; docs/image.md describes both.")]
pub struct Classify {
    /// The ONNX file
    model: PathBuf,
    /// Pictures: PNG, JPEG, WebP, BMP, TIFF or PNM
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// How many classes to name
    #[arg(long, default_value_t = 5)]
    top: usize,
    /// A text file with a label a line, in the order of the classes
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Preprocessing by name, in place of the file beside the model: imagenet, imagenet-tf, imagenet-caffe,
    /// unit, raw255
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    #[command(flatten)]
    options: RunOptions,
    #[command(flatten)]
    json: JsonOption,
}

#[derive(Serialize)]
struct Class {
    index: usize,
    label: Option<String>,
    probability: f32,
}

#[derive(Serialize)]
struct Answer {
    image: String,
    #[serde(flatten)]
    device: DeviceFields,
    top: Vec<Class>,
}

impl Classify {
    pub fn run(&self) -> Result<Outcome> {
        let (preprocess, found) = Preprocess::for_model(&self.model, self.preset.as_deref())?;
        let labels_file = self.labels.clone().or_else(|| preprocess.labels.clone());
        let labels = labels_file.as_deref().map(image::labels).transpose()?;
        // Pictures are looked at before a device is opened: a wrong path is said at once.
        let pictures = self
            .images
            .iter()
            .map(|path| image::load(path).map(|picture| (path, picture)))
            .collect::<Result<Vec<_>>>()?;
        let session = self.options.load(&self.model)?;
        if !found && self.preset.is_none() {
            say("note: no preprocessing is stated for this model; taking --preset imagenet");
        }
        let ports = session.inputs();
        let [port] = ports.as_slice() else {
            return Err(Error::model(format!("has {} inputs; a classifier has one", ports.len()))
                .in_file(&self.model)
                .remedy("use `run`"));
        };
        let open = vec![Dim::Unknown; 4];
        let dims: Vec<Option<usize>> = port
            .dims
            .as_ref()
            .unwrap_or(&open)
            .iter()
            .map(|dim| if let Dim::Known(size) = dim { Some(*size) } else { None })
            .collect();
        let mut answers = vec![];
        for (path, picture) in pictures {
            let named = |error: Error| error.in_file(path);
            let input = cast(&preprocess.apply(&picture, &dims).map_err(named)?, port.dtype, true)?;
            let values = session.bind(&[(port.name.as_str(), input)])?;
            let prepared = session.prepare(&values).map_err(|error| error.in_file(&self.model))?;
            if answers.is_empty() {
                say_fallbacks(&fallbacks(&prepared));
            }
            let outputs =
                session.run_prepared(&prepared, &values).map_err(|error| error.in_file(&self.model))?;
            let (_, scores) =
                outputs.first().ok_or_else(|| Error::model("has no output").in_file(&self.model))?;
            let best = image::top_k(scores, self.top, preprocess.softmax)
                .map_err(|error| error.in_file(&self.model))?;
            let label = |index: usize| labels.as_ref().and_then(|labels| labels.get(index).cloned());
            let top = best
                .into_iter()
                .map(|(index, probability)| Class { index, label: label(index), probability })
                .collect();
            answers.push(Answer {
                image: path.display().to_string(),
                device: DeviceFields::of(session.gpu()),
                top,
            });
        }
        self.json.emit(&answers, || text(&answers))?;
        Ok(Outcome::Good)
    }
}

/// A block for each picture: its name, then a line for each class.
fn text(answers: &[Answer]) -> String {
    let mut text = String::new();
    for answer in answers {
        text += &format!("{}\n", answer.image);
        for class in &answer.top {
            let name = class.label.clone().unwrap_or_else(|| format!("class {}", class.index));
            text += &format!("  {:6.2} %  {name}\n", class.probability * 100.0);
        }
    }
    text
}
