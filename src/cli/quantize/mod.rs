//! `quantize`: a model with its weights in 8 or 4 bits, or its activations in 8 too, and what that costs in
//! accuracy, layer by layer.

mod form;
mod measure;
mod search;
mod span;
mod text;

use super::Outcome;
use super::compare::samples::SampleOptions;
use super::emit::{JsonOption, SCHEMA, say};
use super::outputs::refuse_to_replace;
use clap::Args;
use form::{Described, FormOptions};
use measure::{Cost, Measures};
use sardonyx::Tensor;
use sardonyx::error::{Error, Result};
use sardonyx::onnx::quantize::{Form, Layer, Left, Source};
use sardonyx::replace::write_whole;
use serde::Serialize;
use std::collections::HashSet;
use std::path::PathBuf;

/// Write a model with its weights in 8 or 4 bits, or with its activations in 8 too, and say what that costs in
/// accuracy
#[derive(Args)]
#[command(after_help = "Example:\n  sardonyx quantize model.onnx -o model_q8.onnx\n  \
sardonyx quantize model.onnx -o model_q4.onnx --bits 4 --tolerance 0.02 --inputs samples\n  \
sardonyx quantize model.onnx -o model_int8.onnx --activations static --inputs samples\n\n\
Products with constant weights become MatMulNBits, embeddings GatherBlockQuantized (operators of onnxruntime, which runs \
the file too), and activations stay floats; or, with --activations, products and convolutions of 8-bit integers. The cost \
is measured on the CPU, over samples or over noise: of each layer by itself, on what it is given in the model as it was, \
and of the outputs of the whole. Errors are the largest difference ÷ the largest magnitude.")]
pub struct Quantize {
    /// The ONNX file
    model: PathBuf,
    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    form: FormOptions,
    /// Leave a node as it is; repeatable
    #[arg(long, value_name = "NODE")]
    keep: Vec<String>,
    /// Keep as many more nodes, those that cost most first, as it takes for every output to be within T of
    /// its largest magnitude
    #[arg(long, value_name = "T", value_parser = positive)]
    tolerance: Option<f64>,
    #[command(flatten)]
    samples: SampleOptions,
    #[command(flatten)]
    json: JsonOption,
}

fn positive(text: &str) -> std::result::Result<f64, String> {
    let number = text.parse::<f64>().ok().filter(|number| *number > 0.0 && number.is_finite());
    number.ok_or_else(|| "a number above 0 is needed".into())
}

/// A layer of the report.
#[derive(Debug, Clone, Serialize)]
struct Row {
    node: String,
    op: String,
    /// Of its weights: the sum's length and the results; or rows and a row's length; zeros without weights.
    sizes: [usize; 2],
    before_bytes: u64,
    after_bytes: u64,
    /// Left as it was.
    kept: bool,
    /// What quantising it costs by itself; null where it isn't known.
    cost: Option<Cost>,
}

#[derive(Debug, Clone, Serialize)]
struct Document {
    schema: u32,
    model: String,
    /// null where none was written.
    file: Option<String>,
    #[serde(flatten)]
    form: Described,
    samples: usize,
    /// Bytes of the file.
    before_bytes: u64,
    after_bytes: u64,
    /// What all of it costs the outputs.
    error: Cost,
    tolerance: Option<f64>,
    met: bool,
    layers: Vec<Row>,
    /// What stays in floats for what samples showed.
    left: Vec<Rest>,
}

/// A node that stays in floats.
#[derive(Debug, Clone, Serialize)]
struct Rest {
    node: String,
    op: String,
    reason: String,
}

impl Quantize {
    pub fn run(&self) -> Result<Outcome> {
        let named = |error: Error| error.in_file(&self.model);
        refuse_to_replace(&self.model, &self.output, "quantised")?;
        let source = Source::read(&self.model)?;
        let mut form = self.form.form(&source, &self.samples).map_err(named)?;
        source.fits(&form).map_err(named)?;
        let mut watch = |name: &str, tensor: &Tensor| {
            if let Form::Static { ranges, .. } = &mut form {
                ranges.widen(name, tensor);
            }
        };
        let measures = Measures::new(&self.model, &self.samples, &mut watch)?;
        self.form.cut(&mut form, &measures).map_err(named)?;
        let (all_layers, left) = source.layers(&form).map_err(named)?;
        let kept = self.kept(&all_layers, &left).map_err(named)?;
        let quantized = |keep: &HashSet<String>| source.quantized(&form, keep).map_err(named);
        let all = quantized(&kept)?;
        let costs = measures.layers(&all).map_err(named)?;
        let found = search::fewest(&measures, &quantized, kept, all, self.tolerance).map_err(named)?;
        let met = self.tolerance.is_none_or(|tolerance| found.error.max_rel <= tolerance);
        let met = met && !found.quantized.layers.is_empty();
        if met {
            write_whole(&self.output, &found.quantized.model)?;
        } else {
            say("no file is written: the tolerance isn't met by any layer");
        }
        let rows = all_layers.iter().map(|layer| {
            let made = found.quantized.layers.iter().find(|made| made.node == layer.node);
            Row {
                node: layer.node.clone(),
                op: layer.op_type.clone(),
                sizes: layer.sizes,
                before_bytes: layer.before,
                after_bytes: made.map_or(layer.before, |made| made.after),
                kept: made.is_none(),
                cost: costs.get(&layer.node).copied(),
            }
        });
        let document = Document {
            schema: SCHEMA,
            model: self.model.display().to_string(),
            file: met.then(|| self.output.display().to_string()),
            form: self.form.described(&form),
            samples: measures.samples(),
            before_bytes: source.bytes(),
            after_bytes: found.quantized.model.len() as u64,
            error: found.error,
            tolerance: self.tolerance,
            met,
            layers: rows.collect(),
            left: found.quantized.left.iter().map(rest).collect(),
        };
        self.json.emit(&document, || text::report(&document))?;
        Ok(if met { Outcome::Good } else { Outcome::NotGood })
    }

    /// The nodes to keep. Errors: one that isn't there.
    fn kept(&self, layers: &[Layer], left: &[Left]) -> Result<HashSet<String>> {
        for name in &self.keep {
            let known = layers.iter().any(|layer| layer.node == *name);
            if !known && !left.iter().any(|left| left.node == *name) {
                let some: Vec<&str> = layers.iter().take(5).map(|layer| layer.node.as_str()).collect();
                return Err(Error::usage("has no weights to keep: it would not be quantised anyway")
                    .at_node(name)
                    .remedy(format!("nodes that are: {}, …", some.join(", "))));
            }
        }
        Ok(self.keep.iter().cloned().collect())
    }
}

fn rest(left: &Left) -> Rest {
    Rest { node: left.node.clone(), op: left.op_type.clone(), reason: left.reason.clone() }
}
