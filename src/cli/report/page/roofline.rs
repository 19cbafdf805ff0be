//! Kernels against what the adapter can do, where steps were profiled.

use super::super::merge::TIMES;
use super::super::plot::key;
use super::super::plot::roofline::{Spot, roofline};
use super::super::units::{plural, rate, significant};
use super::super::view::View;
use super::tables::{Field, number, table, text};
use maud::{Markup, html};
use std::collections::BTreeMap;

/// The most steps that a plot shows, and the most rows of the table: the longest.
const MOST_SPOTS: usize = 300;
const MOST_ROWS: usize = 80;
/// Groups with a colour of their own; further ones share the last.
const GROUPS: usize = 6;

/// FLOP and bytes of a step, and GFLOP/s and GB/s of an adapter, that can be.
const AMOUNTS: std::ops::RangeInclusive<f64> = 0.0..=1e24;
const RATES: std::ops::RangeInclusive<f64> = 1e-6..=1e12;

/// A step that took time.
struct Profiled<'a> {
    workload: &'a str,
    node: &'a str,
    op: &'a str,
    kernel: String,
    ms: f64,
    flops: f64,
    bytes: f64,
}

impl Profiled<'_> {
    fn gflops(&self) -> f64 {
        self.flops / (self.ms * 1e6)
    }
    fn gigabytes(&self) -> f64 {
        self.bytes / (self.ms * 1e6)
    }
    /// What the roof allows where this step's arithmetic stands for its bytes, as a share.
    fn share_of_roof(&self, peaks: Option<(f64, f64)>) -> Option<f64> {
        let (gflops, bandwidth) = peaks?;
        let share = (self.gflops() / gflops).max(self.gigabytes() / bandwidth);
        share.is_finite().then_some(share)
    }
}

/// Steps, the longest first, and the peaks: GFLOP/s and GB/s.
type Profile<'a> = (Vec<Profiled<'a>>, Option<(f64, f64)>);

/// The steps of a series over all models.
fn profile(view: &View, series: usize) -> Profile<'_> {
    let merged = &view.merged;
    let (mut steps, mut peaks) = (vec![], None);
    for cell in merged.cells.iter().filter(|cell| cell.series == series && !cell.superseded) {
        if let (Some(gflops), Some(bandwidth)) = (cell.data.peak_gflops, cell.data.peak_gb_per_s)
            && RATES.contains(&gflops)
            && RATES.contains(&bandwidth)
        {
            // The best of what was measured is what the adapter can do.
            let (most, widest) = peaks.unwrap_or((0.0, 0.0));
            peaks = Some((gflops.max(most), bandwidth.max(widest)));
        }
        for step in &cell.data.steps {
            let Some(ms) = step.ms.filter(|ms| TIMES.contains(ms)) else { continue };
            let kernel = if step.kernels.is_empty() { step.op.clone() } else { step.kernels.join(" + ") };
            let amount = |value: Option<f64>| value.filter(|value| AMOUNTS.contains(value)).unwrap_or(0.0);
            steps.push(Profiled {
                workload: merged.workload_label(cell.workload),
                node: &step.node,
                op: &step.op,
                kernel,
                ms,
                flops: amount(step.flops),
                bytes: amount(step.bytes),
            });
        }
    }
    steps.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    (steps, peaks)
}

pub fn rooflines(view: &View) -> Markup {
    let all: Vec<_> = (0..view.merged.series.len()).map(|series| (series, profile(view, series))).collect();
    let all: Vec<_> = all.into_iter().filter(|(_, (steps, _))| !steps.is_empty()).collect();
    html! {
        @if !all.is_empty() {
            section #roofline {
                h2 { "Kernels under the roofline" }
                p.about {
                    "Each marker is a step of a plan, its area the share of the time. Both axes are logarithmic. The line is \
                     what was measured on the adapter: its bandwidth at the left, its float32 arithmetic at the right. What \
                     lies above it needed less from memory than counted, or more than a kernel of ours measured as the peak."
                }
                div.panels {
                    @for (series, (steps, peaks)) in &all { (panel(view, *series, steps, *peaks)) }
                }
                (slowest(view, &all))
            }
        }
    }
}

fn panel(view: &View, series: usize, steps: &[Profiled], peaks: Option<(f64, f64)>) -> Markup {
    let label = view.merged.series_label(series);
    let total: f64 = steps.iter().map(|step| step.ms).sum();
    // Kernels by the time that they took altogether.
    let mut by_kernel: BTreeMap<&str, f64> = BTreeMap::new();
    for step in steps {
        *by_kernel.entry(&step.kernel).or_default() += step.ms;
    }
    let mut order: Vec<(&str, f64)> = by_kernel.into_iter().collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    let group = |kernel: &str| {
        order.iter().take(GROUPS - 1).position(|(name, _)| *name == kernel).unwrap_or(GROUPS - 1)
    };
    let counted: Vec<&Profiled> = steps.iter().filter(|step| step.flops > 0.0 && step.bytes > 0.0).collect();
    let spots: Vec<Spot> = counted
        .iter()
        .take(MOST_SPOTS)
        .map(|step| Spot {
            intensity: step.flops / step.bytes,
            gflops: step.gflops(),
            share: step.ms / total,
            index: group(&step.kernel),
            title: format!(
                "{}: {} ({}), {} ms, {} GFLOP/s, {} GB/s",
                step.workload,
                step.node,
                step.kernel,
                significant(step.ms, 3),
                significant(step.gflops(), 3),
                significant(step.gigabytes(), 3)
            ),
        })
        .collect();
    let left_out = steps.len() - spots.len();
    html! {
        figure.panel {
            figcaption { (label) }
            (roofline(label, peaks, &spots))
            div.legend {
                @for (index, (kernel, ms)) in order.iter().take(GROUPS - 1).enumerate() {
                    (key(index, &format!("{kernel} {:.0} %", ms / total * 100.0)))
                }
                @if order.len() >= GROUPS { (key(GROUPS - 1, "others")) }
            }
            p.small {
                @if let Some((gflops, bandwidth)) = peaks {
                    "Measured peaks: " (significant(gflops, 3)) " GFLOP/s, " (significant(bandwidth, 3)) " GB/s. "
                } @else { "No peaks were measured on this device. " }
                @if left_out > 0 { "Not drawn: " (plural(left_out, "step")) " without counted arithmetic or among the shortest." }
            }
        }
    }
}

fn slowest(view: &View, all: &[(usize, Profile)]) -> Markup {
    let mut rows = vec![];
    let each = (MOST_ROWS / all.len().max(1)).clamp(5, 20);
    for (series, (steps, peaks)) in all {
        for step in steps.iter().take(each) {
            let share = step.share_of_roof(*peaks);
            let counted = (step.flops > 0.0).then(|| step.gflops());
            rows.push(vec![
                Field::Text(step.workload.into()),
                Field::Device(view.merged.device_of(*series), view.merged.series_label(*series).into()),
                Field::Text(step.node.into()),
                Field::Text(if step.kernel == step.op {
                    step.op.into()
                } else {
                    format!("{} ({})", step.kernel, step.op)
                }),
                Field::Number(format!("{:.3}", step.ms), Some(step.ms)),
                Field::Number(rate(counted), counted),
                Field::Number(rate(Some(step.gigabytes())), Some(step.gigabytes())),
                Field::Number(share.map_or("–".into(), |share| format!("{:.0} %", share * 100.0)), share),
            ]);
        }
    }
    let columns = [
        text("Model"),
        text("Device"),
        text("Node"),
        text("Kernel"),
        number("Time", "ms"),
        number("Arithmetic", "GFLOP/s"),
        number("Memory", "GB/s"),
        number("Nearer limit", "% of peak"),
    ];
    table("steps-table", &format!("The longest steps of each device, {each} at most"), &columns, rows)
}
