//! `run`: a model over inputs from files.

use super::Outcome;
use super::emit::{JsonOption, SCHEMA, say};
use super::inputs::InputOptions;
use super::options::{
    DeviceFields, Fallback, RunOptions, TuneOption, fallbacks, say_fallbacks, say_packed_anew,
};
use super::{outputs, run_values};
use clap::Args;
use sardonyx::error::Result;
use sardonyx::session::Session;
use serde::Serialize;
use std::path::PathBuf;

/// Run a model over inputs from files and write or print the outputs
#[derive(Args)]
#[command(
    after_help = "Example:\n  sardonyx run model.onnx -i image=picture.npy --set batch=1 --outputs results\n\n\
Without any input the model runs over seeded noise. NaN and infinities are strings in JSON."
)]
pub struct Run {
    /// The ONNX file
    model: PathBuf,
    #[command(flatten)]
    options: RunOptions,
    #[command(flatten)]
    tune: TuneOption,
    #[command(flatten)]
    inputs: InputOptions,
    /// Write the outputs to this folder: NAME.npy, or NAME.pb for types that numpy lacks
    #[arg(long, value_name = "DIR")]
    outputs: Option<PathBuf>,
    #[command(flatten)]
    json: JsonOption,
}

#[derive(Serialize)]
struct Document<'a, Outputs> {
    schema: u32,
    model: String,
    #[serde(flatten)]
    device: &'a DeviceFields,
    precision: super::options::Precision,
    fallbacks: &'a [Fallback],
    outputs: &'a [Outputs],
}

impl Run {
    pub fn run(&self) -> Result<Outcome> {
        let mut session = self.options.load(&self.model)?;
        outputs::check(self.outputs.as_deref(), &session.outputs())?;
        if session.has_other_values() {
            return self.run_values(&session);
        }
        let inputs =
            self.inputs.bind(&mut session, &self.model).map_err(|error| error.in_file(&self.model))?;
        let named = |error: sardonyx::Error| error.in_file(&self.model);
        self.tune.apply(&mut session, &inputs).map_err(named)?;
        let prepared = session.prepare(&inputs).map_err(named)?;
        say_packed_anew(&session, &prepared);
        let results = session.run_prepared(&prepared, &inputs).map_err(named)?;
        let fallbacks = fallbacks(&prepared);
        say_fallbacks(&fallbacks);
        let files = self.outputs.as_deref().map(|folder| outputs::write(folder, &results)).transpose()?;
        if let Some(folder) = self.outputs.as_deref().filter(|_| self.json.to_stdout()) {
            say(format_args!("outputs: {}", folder.display()));
        }
        let outputs = outputs::describe(&results, files);
        let document = Document {
            schema: SCHEMA,
            model: self.model.display().to_string(),
            device: &DeviceFields::of(session.gpu()),
            precision: self.options.precision.clone(),
            fallbacks: &fallbacks,
            outputs: &outputs,
        };
        self.json.emit(&document, || outputs::text(&outputs))?;
        Ok(Outcome::Good)
    }

    /// The same of a model whose inputs or outputs are other values than tensors.
    fn run_values(&self, session: &Session) -> Result<Outcome> {
        let results = run_values::run(session, &self.inputs).map_err(|error| error.in_file(&self.model))?;
        let files = self.outputs.as_deref().map(|folder| run_values::write(folder, &results)).transpose()?;
        let outputs = run_values::describe(&results, files);
        let document = Document {
            schema: SCHEMA,
            model: self.model.display().to_string(),
            device: &DeviceFields::of(None),
            precision: self.options.precision.clone(),
            fallbacks: &[],
            outputs: &outputs,
        };
        self.json.emit(&document, || run_values::text(&results, &outputs))?;
        Ok(Outcome::Good)
    }
}
