//! `compare`: a device against a reference, whole and node by node.

use super::Outcome;
use super::emit::JsonOption;
use super::inputs::InputOptions;
use super::options::{Fallback, RunOptions, say_fallbacks};
use clap::Args;
use sardonyx::compare::{Measure, Options, Planter, Reference, Report, Verdict, compare};
use sardonyx::error::{Error, Result};
use sardonyx::gpu::{GpuDevice, LimitsOption, Selection};
use sardonyx::onnx;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Compare a device's results with a reference, whole and node by node
#[derive(Args)]
#[command(after_help = "Example:\n  sardonyx compare model.onnx --device gpu --per-node --json -\n\n\
Exit code 0: the same; 1: different; 2: could not run. Tolerances follow from how a right implementation rounds: docs/numerics.md.\n\
Without any input the model runs over seeded noise.")]
pub struct Compare {
    /// The ONNX file
    model: PathBuf,
    #[command(flatten)]
    options: RunOptions,
    #[command(flatten)]
    inputs: InputOptions,
    /// What to compare with: the CPU with types as declared, with every float in float64, with every stored
    /// float32 rounded to float16; another adapter, by a part of its name; or recorded outputs
    #[arg(long, default_value = "cpu-f64", value_name = "cpu|cpu-f64|cpu-f16|NAME|FILE.npz")]
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
    #[command(flatten)]
    json: JsonOption,
}

impl Compare {
    pub fn run(&self) -> Result<Outcome> {
        let tolerance = self.tolerance()?;
        let reference = reference(&self.reference)?;
        let mut session = self.options.load(&self.model)?;
        let named = |error: Error| error.in_file(&self.model);
        let inputs = self.inputs.bind(&mut session, &self.model).map_err(named)?;
        let options = Options { reference, per_node: self.per_node, tolerance };
        let mut report = compare(&session, &inputs, &options).map_err(named)?;
        report.planted = self.options.plant_fault.as_ref().and_then(Planter::planted);
        let fallbacks = report.fallbacks.iter().map(|one| Fallback {
            node: one.node.clone(),
            op: one.op.clone(),
            reason: one.reason.clone(),
        });
        say_fallbacks(&fallbacks.collect::<Vec<_>>());
        self.json.emit(&report, || text(&report))?;
        Ok(if report.verdict == Verdict::Same { Outcome::Good } else { Outcome::NotGood })
    }

    fn tolerance(&self) -> Result<Option<(f64, f64)>> {
        for (name, value) in [("--rtol", self.rtol), ("--atol", self.atol)] {
            if value.is_some_and(|value| value.is_nan() || value < 0.0) {
                return Err(Error::usage(format!("{name} must be 0 or more")));
            }
        }
        Ok((self.rtol.is_some() || self.atol.is_some())
            .then(|| (self.rtol.unwrap_or(0.0), self.atol.unwrap_or(0.0))))
    }
}

fn reference(text: &str) -> Result<Reference> {
    match text {
        "cpu" => Ok(Reference::Cpu),
        "cpu-f64" => Ok(Reference::CpuF64),
        "cpu-f16" => Ok(Reference::CpuF16),
        file if file.to_lowercase().ends_with(".npz") => {
            Ok(Reference::Outputs(onnx::read_npz(Path::new(file))?))
        }
        name => match GpuDevice::open(&Selection::from_str(name)?, &LimitsOption::Adapter)? {
            Some(device) => Ok(Reference::Adapter(device)),
            None => Err(Error::usage(format!("'{name}' is no GPU here"))
                .remedy("use cpu, cpu-f64, cpu-f16, an adapter's name or FILE.npz")),
        },
    }
}

/// The report for a reader.
fn text(report: &Report) -> String {
    let mut text = String::new();
    let line = |measure: &Measure| {
        let (verdict, needed) = (
            if measure.same { "same" } else { "DIFFERENT" },
            measure.needed.map_or("none".into(), |c| format!("{c:.2}")),
        );
        format!(
            "{verdict}, off by at most {:.2e} (allowed {:.2e} where nearest; c needed {needed} of {})",
            measure.max_abs, measure.tolerance.value, report.c
        )
    };
    for row in &report.nodes {
        match (&row.fused_into, &row.local, &row.cumulative) {
            (Some(into), ..) => _ = writeln!(text, "{} ({}): fused into {into}", row.node, row.op),
            (None, None, None) => _ = writeln!(text, "{} ({}): {}", row.node, row.op, row.ran_on),
            _ => {
                let place = if row.ran_on == "view" {
                    "in place, made with its parts".into()
                } else {
                    format!("on the {}", row.ran_on)
                };
                _ = writeln!(text, "{} ({}) {place}:", row.node, row.op);
                for (name, measure) in [("by itself", &row.local), ("as it runs", &row.cumulative)] {
                    if let Some(measure) = measure {
                        _ = writeln!(text, "  {name}: {}", line(measure));
                    }
                }
            }
        }
    }
    for row in &report.outputs {
        _ = writeln!(text, "output {} against {}: {}", row.name, report.reference, line(&row.measure));
    }
    if let Some(fused) = report.fused_plan.as_ref().filter(|fused| !fused.same) {
        for row in fused.outputs.iter().filter(|row| !row.measure.same) {
            _ = writeln!(text, "rewrites alone, on the CPU, output {}: {}", row.name, line(&row.measure));
        }
    }
    if let Some(first) = &report.first_different {
        _ = writeln!(
            text,
            "first different: node '{}' ({}), output '{}'",
            first.node, first.op, first.output
        );
    }
    _ = writeln!(text, "{}", if report.verdict == Verdict::Same { "same" } else { "different" });
    text
}
