//! `compare`: a device against a reference, whole and node by node.

mod auto;
mod document;
mod generate;
mod heatmap;
mod junit;
mod markdown;
mod mechanisms;
mod metrics;
mod range;
mod reference;
mod repeat;
pub(super) mod samples;
mod stated;
mod text;

use super::Outcome;
use super::bundle::BundleOptions;
use super::emit::{JsonOption, stdout};
use super::options::{Fallback, Precision, RunOptions, say_fallbacks};
use clap::Args;
use document::{Document, Found};
use mechanisms::Mechanism;
use samples::{Sample, SampleOptions};
use sardonyx::compare::{Comparison, Options, Planter, Reference, Verdict, compare_closely};
use sardonyx::error::{Error, Result};
use sardonyx::gpu::GpuDevice;
use sardonyx::graph::ValueId;
use sardonyx::replace::write_whole;
use sardonyx::session::SessionBuilder;
use sardonyx::{Session, Tensor};
use stated::Stated;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Compare a device's results with a reference, whole and node by node
#[derive(Args)]
#[command(after_help = "Examples:\n  sardonyx compare model.onnx --device gpu --per-node --json -\n  \
sardonyx compare model.onnx --device gpu --samples 20 --tolerance scores=topk:1,cosine:0.999\n  \
sardonyx compare model.onnx --device gpu --bundle difference && python difference/replay.py\n  \
sardonyx compare model.onnx --device gpu --precision auto --tolerance 1e-3 -o model.precision.json\n  \
sardonyx compare models/text/genai --device gpu --generate 64\n\n\
Exit code 0: the same; 1: different; 2: could not run. Tolerances follow from how a right implementation rounds: docs/numerics.md; docs/compare.md describes the rest.\n\
Without any input the model runs over seeded noise.")]
pub struct Compare {
    /// The ONNX file
    model: PathBuf,
    #[command(flatten)]
    options: RunOptions,
    #[command(flatten)]
    samples: SampleOptions,
    /// What to compare with: the CPU with types as declared, with every float in float64, with every stored
    /// float32 rounded to float16; another adapter, by a part of its name; recorded outputs of a .npz file or
    /// of a folder (output_N.pb, or NAME.npy); or those of each sample's own folder
    #[arg(long, default_value = "cpu-f64", value_name = "cpu|cpu-f64|cpu-f16|NAME|FILE.npz|DIR|recorded")]
    reference: String,
    /// Measure every node: its step by itself, and the run as planned up to it
    #[arg(long)]
    per_node: bool,
    /// Hold every element to ATOL + RTOL · |reference| instead of the derived tolerance
    #[arg(long, value_name = "R")]
    rtol: Option<f64>,
    /// See --rtol
    #[arg(long, value_name = "A")]
    atol: Option<f64>,
    /// What to hold one output to instead, all of a list: rtol:R and atol:A, ulp:N, cosine:X, psnr:DB,
    /// topk:K or topk:K@SHARE; repeatable. With --precision auto a number: the largest error that an output
    /// may have, relative to its largest magnitude
    #[arg(long, value_name = "NAME=KIND:LIMIT,…|T")]
    tolerance: Vec<String>,
    /// With --precision auto: where to write the nodes that are to be held in f32
    #[arg(short = 'o', long, value_name = "FILE.json")]
    output: Option<PathBuf>,
    /// Show how each node's values lie in float16's range over all samples, and which to hold in float32
    #[arg(long)]
    range: bool,
    /// Run the first sample so often, in this session, in new ones and in a second process: the same bits
    /// each time, or exit code 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(2..))]
    repeat: Option<u16>,
    /// Run the first sample with one mechanism the other way, and show what that changes; repeatable
    #[arg(long, value_enum)]
    ab: Vec<Mechanism>,
    /// Go on for N tokens from a text with the CPU, have the device read the same tokens, and say where it would go
    /// on otherwise, and which node that comes from
    #[arg(long, value_name = "N", conflicts_with_all = ["per_node", "rtol", "atol", "tolerance", "range", "repeat", "ab", "heatmap", "junit", "markdown", "input", "inputs", "samples"])]
    generate: Option<usize>,
    /// With --generate: what the text begins with
    #[arg(long, value_name = "TEXT", requires = "generate")]
    prompt: Option<String>,
    /// Fill buffers with NaN as soon as nothing is to read them any more: a value that is read too late shows
    #[arg(long)]
    poison: bool,
    /// Write a picture of where each output's error is, of outputs with two axes or more
    #[arg(long, value_name = "DIR")]
    heatmap: Option<PathBuf>,
    #[command(flatten)]
    bundle: BundleOptions,
    /// Write the result as JUnit's XML, too: a test case for each output of each sample, and each node
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write the result as Markdown, too, of less than 1,024 kB; with - to standard output, in place of the
    /// text
    #[arg(long, value_name = "FILE|-")]
    markdown: Option<PathBuf>,
    #[command(flatten)]
    json: JsonOption,
    /// Run once and print the hash of the outputs
    #[arg(long = "print-hash", hide = true)]
    print_hash: bool,
}

impl Compare {
    pub fn run(&self) -> Result<Outcome> {
        if self.options.precision == Precision::Auto {
            return self.find_precision();
        }
        if let Some(count) = self.generate {
            return self.of_text(count);
        }
        let tolerance = self.check()?;
        let reference = reference::Choice::parse(&self.reference)?;
        let named = |error: Error| error.in_file(&self.model);
        let mut session = self.options.load_as(&self.model, |builder| self.applied(builder))?;
        let samples = self.samples.list(&session.inputs()).map_err(named)?;
        let stated = self.stated(&session)?;
        if self.print_hash {
            let inputs = self.first(&samples)?.options.bind(&mut session, &self.model).map_err(named)?;
            stdout(&repeat::line(&session, &inputs).map_err(named)?)?;
            return Ok(Outcome::Good);
        }
        let per_node = self.per_node || self.bundle.is_wanted();
        let mut options = Options { reference: Reference::CpuF64, per_node, tolerance };
        let (mut all, mut ranges, mut maps) = (vec![], range::Ranges::default(), vec![]);
        let (mut shown, mut first) = (None, None);
        for sample in &samples {
            let inputs = sample.options.bind(&mut session, &self.model).map_err(named)?;
            options.reference = reference.of(sample, &session)?;
            let mut found =
                compare_closely(&session, &inputs, &options, &self.bundle.wanted()).map_err(named)?;
            found.report.planted = self.options.plant_fault.as_ref().and_then(Planter::planted);
            if self.range {
                ranges.add(session.original(), &inputs).map_err(named)?;
            }
            if let Some(folder) = &self.heatmap {
                maps.extend(heatmap::write(folder, &sample_name(sample), &found.outputs)?);
            }
            let evidence = found.evidence.take();
            if shown.is_none() && (evidence.is_some() || self.bundle.of_node()) {
                shown = self.bundle.write(&session, &self.model, evidence.as_ref())?;
            }
            all.push(judged(sample, found, &stated, &mut first, inputs)?);
        }
        if shown.is_none() {
            self.bundle.write(&session, &self.model, None)?;
        }
        let mut document =
            Document::of(&all).ok_or_else(|| Error::internal("a comparison without samples"))?;
        document.bundle = shown;
        document.heatmaps = maps;
        document.range = self.range.then(|| ranges.rows(session.original()));
        let mut good = document.verdict == Verdict::Same;
        if let Some((inputs, outputs)) = &first {
            for mechanism in &self.ab {
                document.ab.extend(self.without(*mechanism, &session, inputs, outputs).map_err(named)?);
            }
            if let Some(runs) = self.repeat {
                let again = || self.again(&samples);
                let repeated = repeat::repeated(&session, inputs, runs.into(), &again).map_err(named)?;
                good &= repeated.same;
                document.repeat = Some(repeated);
            }
        }
        let fallbacks = all.first().map(|one| &one.report.fallbacks[..]).unwrap_or_default();
        let fallbacks = fallbacks.iter().map(|one| Fallback {
            node: one.node.clone(),
            op: one.op.clone(),
            reason: one.reason.clone(),
        });
        say_fallbacks(&fallbacks.collect::<Vec<_>>());
        self.emit(&document)?;
        Ok(if good { Outcome::Good } else { Outcome::NotGood })
    }

    /// Writes the result in every form that is wanted.
    fn emit(&self, document: &Document) -> Result<()> {
        let model = self.model.display().to_string();
        if let Some(file) = &self.junit {
            junit::write(file, &model, document)?;
        }
        match &self.markdown {
            Some(file) if file != Path::new("-") => {
                write_whole(file, markdown::text(&model, document).as_bytes())?
            }
            Some(_) => return self.json.emit(document, || markdown::text(&model, document)),
            None => {}
        }
        self.json.emit(document, || text::text(document))
    }

    /// Errs on options that don't go together; gives `--rtol` and `--atol`.
    fn check(&self) -> Result<Option<(f64, f64)>> {
        for (name, value) in [("--rtol", self.rtol), ("--atol", self.atol)] {
            if value.is_some_and(|value| value.is_nan() || value < 0.0) {
                return Err(Error::usage(format!("{name} must be 0 or more")));
            }
        }
        if self.markdown.as_deref() == Some(Path::new("-")) && self.json.to_stdout() {
            return Err(Error::usage("--markdown - and --json - both take standard output")
                .remedy("give one of them a file"));
        }
        if self.output.is_some() {
            return Err(Error::usage("-o goes with --precision auto").remedy("leave it out"));
        }
        self.bundle.check()?;
        Ok((self.rtol.is_some() || self.atol.is_some())
            .then(|| (self.rtol.unwrap_or(0.0), self.atol.unwrap_or(0.0))))
    }

    /// `--tolerance`, of outputs that the model has.
    fn stated(&self, session: &Session) -> Result<Vec<Stated>> {
        let all = self.tolerance.iter().map(|text| Stated::parse(text)).collect::<Result<Vec<_>>>()?;
        let outputs = session.outputs();
        for (at, one) in all.iter().enumerate() {
            if outputs.iter().all(|port| port.name != one.output) {
                let names: Vec<&str> = outputs.iter().map(|port| port.name.as_str()).collect();
                return Err(Error::usage("the model has no such output")
                    .at_tensor(&one.output)
                    .remedy(format!("its outputs are: {}", names.join(", "))));
            }
            if all[..at].iter().any(|other| other.output == one.output) {
                return Err(Error::usage("--tolerance names this output twice")
                    .at_tensor(&one.output)
                    .remedy("put all that is asked of it into one list"));
            }
        }
        Ok(all)
    }

    /// What makes sessions of this command on a device.
    fn builder(&self, device: Option<GpuDevice>) -> Result<SessionBuilder> {
        self.options.builder(device).map(|builder| self.applied(builder))
    }
    /// The same at a precision of one's own.
    fn builder_of(&self, device: Option<GpuDevice>, precision: sardonyx::Precision) -> SessionBuilder {
        self.applied(self.options.builder_of(device, precision))
    }
    fn applied(&self, builder: SessionBuilder) -> SessionBuilder {
        if self.poison { builder.poison_freed_buffers() } else { builder }
    }

    fn first<'s>(&self, samples: &'s [Sample]) -> Result<&'s Sample> {
        samples.first().ok_or_else(|| Error::internal("a comparison without samples"))
    }

    /// The first sample in a session of its own, on a device that is opened anew.
    fn again(&self, samples: &[Sample]) -> Result<(Session, HashMap<ValueId, Tensor>)> {
        let mut session = self.builder(self.options.device.open()?)?.load(&self.model)?;
        let inputs = self.first(samples)?.options.bind(&mut session, &self.model)?;
        Ok((session, inputs))
    }
}

/// The inputs and outputs of the first sample.
type First = Option<(HashMap<ValueId, Tensor>, Vec<sardonyx::compare::Compared>)>;

/// A sample's measures, held to what is stated.
fn judged(
    sample: &Sample,
    found: Comparison,
    stated: &[Stated],
    first: &mut First,
    inputs: HashMap<ValueId, Tensor>,
) -> Result<Found> {
    let Comparison { mut report, outputs, .. } = found;
    let metrics = outputs.iter().map(metrics::metrics).collect::<Result<Vec<_>>>()?;
    let mut outcomes = vec![];
    for ((row, output), metrics) in report.outputs.iter_mut().zip(&outputs).zip(&metrics) {
        let asked = stated.iter().find(|stated| stated.output == row.name);
        let asked = asked.map(|stated| stated.judge(output, metrics, row.measure.cosine)).transpose()?;
        if let Some(asked) = &asked {
            row.measure.same = asked.iter().all(|one| one.same);
            row.measure.tolerance.formula = "stated by --tolerance".into();
        }
        outcomes.push(asked);
    }
    let fused = report.fused_plan.as_ref().is_none_or(|fused| fused.same);
    let same = report.outputs.iter().all(|row| row.measure.same) && report.nodes.iter().all(|row| row.same);
    report.verdict = Verdict::from(fused && same);
    first.get_or_insert((inputs, outputs));
    Ok(Found { name: sample.name.clone(), report, metrics, stated: outcomes })
}

/// A sample's name without its folders.
fn sample_name(sample: &Sample) -> String {
    let path = Path::new(&sample.name);
    path.file_name().map_or_else(|| sample.name.clone(), |name| name.to_string_lossy().into_owned())
}
