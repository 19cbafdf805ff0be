//! `bench --kernel`: the kernel laboratory.

use crate::cli::Outcome;
use crate::cli::devices::Cpu;
use crate::cli::emit::{JsonOption, SCHEMA, say, told};
use crate::cli::options::{DeviceFields, RunOptions};
use comfy_table::{Table, presets};
use sardonyx::bench::{KernelTime, Subject, Which, prepare};
use sardonyx::error::{Error, ErrorKind, Result};
use sardonyx::gpu::{self, Measured};
use serde::Serialize;

/// How often each kernel has its turn: a clock that wanders is at its fastest in one of them.
const TURNS: usize = 3;

/// What `--kernel`, `--shape` and `--variant` say.
pub struct Laboratory<'a> {
    pub kernel: &'a str,
    pub shape: Option<&'a str>,
    pub variant: Option<&'a str>,
    pub markdown: bool,
    pub seed: u64,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    sardonyx: &'static str,
    optimised: bool,
    cpu: Cpu,
    #[serde(flatten)]
    device: DeviceFields,
    precision: crate::cli::options::Precision,
    /// The adapter's peaks: the best of what was measured between the turns.
    peaks: Measured,
    kernels: &'a [KernelTime],
    /// Those of a list that this adapter doesn't serve, and why.
    not_served: &'a [NotServed],
    /// How much slower the kernels' own rules are than the best variant, over the shapes with several; null
    /// without `--variant all`.
    rule_behind_best: Option<Behind>,
}

#[derive(Serialize)]
struct NotServed {
    kernel: &'static str,
    shape: String,
    reason: String,
}

/// Ratios of times.
#[derive(Serialize)]
struct Behind {
    mean: f64,
    worst: f64,
    shapes: usize,
}

impl Laboratory<'_> {
    pub fn run(&self, options: &RunOptions, json: &JsonOption) -> Result<Outcome> {
        let subjects = Subject::list(self.kernel, self.shape.map(sizes).transpose()?.as_deref())?;
        let which = match self.variant {
            None => Which::Rule,
            Some("all") => Which::All,
            Some(variant) => Which::One(variant.parse()?),
        };
        let device = options
            .device
            .open_aloud()?
            .ok_or_else(|| Error::usage("kernels run on a GPU").remedy("use --device gpu"))?;
        let (mut ready, mut not_served) = (vec![], vec![]);
        let mut wrong = 0;
        for subject in &subjects {
            match prepare(&device, (&options.precision).into(), subject, which, self.seed) {
                Ok(more) => ready.extend(more),
                // The others of a list are measured all the same.
                Err(error) if subjects.len() > 1 && error.kind() == ErrorKind::Unsupported => {
                    say(format_args!("note: not measured: {}", told(&error)));
                    not_served.push(NotServed {
                        kernel: subject.family,
                        shape: subject.shape(),
                        reason: error.message().to_string(),
                    });
                }
                Err(error) if subjects.len() > 1 => {
                    wrong += 1;
                    say(format_args!("error: {}", told(&error)));
                }
                Err(error) => return Err(error),
            }
        }
        let mut peaks = gpu::measure(&device)?;
        for _ in 0..TURNS {
            ready.iter_mut().try_for_each(|kernel| kernel.time(&device))?;
            let again = gpu::measure(&device)?;
            peaks.copy_gb_per_s = peaks.copy_gb_per_s.max(again.copy_gb_per_s);
            peaks.fma_gflops = peaks.fma_gflops.max(again.fma_gflops);
        }
        let rows: Vec<KernelTime> = ready.iter().map(|kernel| kernel.result(&peaks)).collect();
        let document = Document {
            schema: SCHEMA,
            sardonyx: env!("CARGO_PKG_VERSION"),
            optimised: !cfg!(debug_assertions),
            cpu: Cpu::new(),
            device: DeviceFields::of(Some(&device)),
            precision: options.precision.clone(),
            peaks,
            kernels: &rows,
            not_served: &not_served,
            rule_behind_best: if which == Which::All { behind(&rows) } else { None },
        };
        json.emit(&document, || if self.markdown { markdown(&document) } else { text(&document) })?;
        Ok(if wrong == 0 { Outcome::Good } else { Outcome::NotGood })
    }
}

/// `128x768x3072`
fn sizes(text: &str) -> Result<Vec<usize>> {
    let wrong = |_| {
        Error::usage(format!("--shape {text} is not a list of sizes"))
            .remedy("write for example --shape 128x768x3072")
    };
    text.split(['x', '×', ',']).map(|size| size.trim().parse().map_err(wrong)).collect()
}

/// The rule's time ÷ the best variant's, over shapes with several.
fn behind(rows: &[KernelTime]) -> Option<Behind> {
    let mut ratios = vec![];
    for rule in rows.iter().filter(|row| row.rule) {
        let same = rows.iter().filter(|row| (row.kernel, &row.shape) == (rule.kernel, &rule.shape));
        let (count, best) = same.fold((0, f64::INFINITY), |(count, best), row| (count + 1, row.ms.min(best)));
        if count > 1 && best > 0.0 {
            ratios.push(rule.ms / best);
        }
    }
    let worst = ratios.iter().copied().reduce(f64::max)?;
    let mean = (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len() as f64).exp();
    Some(Behind { mean, worst, shapes: ratios.len() })
}

const HEADER: [&str; 10] = [
    "kernel",
    "shape",
    "variant",
    "grid",
    "ms",
    "wall ms",
    "GFLOP/s",
    "GB/s",
    "share of limit",
    "translate ms",
];

fn cells(row: &KernelTime) -> [String; 10] {
    let variant = row
        .variant
        .as_ref()
        .map_or("–".to_string(), |variant| format!("{variant}{}", if row.rule { " (rule)" } else { "" }));
    let [x, y, z] = row.grid;
    [
        row.dispatched.join(" + "),
        format!("{} {}", row.kernel, row.shape),
        variant,
        format!("{x}×{y}×{z}"),
        format!("{:.3}", row.ms),
        format!("{:.3}", row.wall_ms),
        if row.flops > 0 { format!("{:.1}", row.gflops) } else { "–".into() },
        format!("{:.2}", row.gb_per_s),
        format!("{:.0} % {}", row.share * 100.0, row.limit),
        row.translate_ms.map_or("–".into(), |ms| format!("{ms:.0}")),
    ]
}

fn footer(document: &Document) -> String {
    let peaks = &document.peaks;
    let mut text = format!(
        "Limits measured: {:.1} GFLOP/s of float32, {:.2} GB/s of a copy.\n",
        peaks.fma_gflops, peaks.copy_gb_per_s
    );
    for missing in document.not_served {
        text += &format!(
            "Not served by this adapter: {} {}: {}.\n",
            missing.kernel, missing.shape, missing.reason
        );
    }
    if let Some(behind) = &document.rule_behind_best {
        let (mean, worst) = (behind.mean * 100.0 - 100.0, behind.worst * 100.0 - 100.0);
        text += &format!(
            "The rules' variants are {mean:.1} % slower than the best on average of {} shapes, {worst:.1} % at worst.\n",
            behind.shapes
        );
    }
    text
}

fn text(document: &Document) -> String {
    if !document.optimised {
        say("note: this is not an optimised build: its host times say little");
    }
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(HEADER);
    for row in document.kernels {
        table.add_row(cells(row));
    }
    format!("{table}\n{}", footer(document))
}

/// The table for docs/results.
fn markdown(document: &Document) -> String {
    let mut text = format!("| from | {} |\n|{}\n", HEADER.join(" | "), " --- |".repeat(HEADER.len() + 1));
    for row in document.kernels {
        text += &format!("| {} | {} |\n", row.from, cells(row).join(" | "));
    }
    format!("{text}\n{}", footer(document))
}
