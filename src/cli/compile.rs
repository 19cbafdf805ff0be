//! `compile`: a model with its weights as the device's kernels read them.

use super::Outcome;
use super::emit::{JsonOption, SCHEMA, say};
use super::inputs::InputOptions;
use super::options::{DeviceFields, RunOptions};
use super::outputs::refuse_to_replace;
use clap::Args;
use sardonyx::compiled::Written;
use sardonyx::error::Result;
use serde::Serialize;
use std::path::PathBuf;

/// Write a model in a form that loads faster: weights mapped, and packed for the device's kernels
#[derive(Args)]
#[command(
    after_help = "Example:\n  sardonyx compile model.onnx -o model.sdx --device gpu\n  sardonyx run model.sdx --device gpu -i image=picture.npy\n\n\
Every verb takes the file like an ONNX file. It holds the whole model: on another device, or read by another version, weights are packed anew,\n\
with a note. --set matters little: packing seldom depends on sizes."
)]
pub struct Compile {
    /// The ONNX file
    model: PathBuf,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    options: RunOptions,
    #[command(flatten)]
    inputs: InputOptions,
    #[command(flatten)]
    json: JsonOption,
}

#[derive(Serialize)]
struct Document {
    schema: u32,
    model: String,
    file: String,
    #[serde(flatten)]
    device: DeviceFields,
    #[serde(flatten)]
    written: Written,
}

impl Compile {
    pub fn run(&self) -> Result<Outcome> {
        refuse_to_replace(&self.model, &self.output, "compiled")?;
        let mut session = self.options.load(&self.model)?;
        let inputs =
            self.inputs.bind(&mut session, &self.model).map_err(|error| error.in_file(&self.model))?;
        let prepared = session.prepare(&inputs).map_err(|error| error.in_file(&self.model))?;
        if prepared.plan.is_none() {
            say("note: nothing is packed, as the CPU runs this: the weights are laid out to be mapped");
        }
        let written = session.write_compiled(&self.model, Some(&prepared), &self.output)?;
        let (model, file) = (self.model.display().to_string(), self.output.display().to_string());
        let document =
            Document { schema: SCHEMA, model, file, device: DeviceFields::of(session.gpu()), written };
        self.json.emit(&document, || {
            let mebibytes = |bytes: u64| bytes as f64 / (1 << 20) as f64;
            let Written { file_bytes, weights, packed, packed_bytes } = written;
            let all = mebibytes(file_bytes);
            format!(
                "{}: {all:.1} MiB, {weights} weights, {packed} packed ({:.1} MiB)\n",
                document.file,
                mebibytes(packed_bytes)
            )
        })?;
        Ok(Outcome::Good)
    }
}
