//! `--precision auto`: the fewest nodes to hold in float32 with which float16 is near enough.
//!
//! All of it is measured, on the device and over the samples. The nodes are ranked (first those whose values
//! leave float16's range, then by how much the error grows along them), and the shortest row of them that
//! does is found by bisection. Then groups of them are left out, halves first, as long as the rest does: no
//! node of what remains can be spared.

use super::super::Outcome;
use super::super::emit::{SCHEMA, say};
use super::super::options::DeviceFields;
use super::{Compare, metrics, range};
use sardonyx::base::EvalPrecision;
use sardonyx::compare::{Options, compare};
use sardonyx::error::{Error, Result};
use sardonyx::graph::ValueId;
use sardonyx::plan::Precision;
use sardonyx::replace::write_whole;
use sardonyx::session::PrecisionFile;
use sardonyx::{Session, Tensor, cpu};
use serde::Serialize;
use std::collections::{HashMap, HashSet};

/// The most sessions that are tried.
const MOST_TRIED: usize = 400;

/// What was found.
#[derive(Debug, Clone, Serialize)]
struct Document {
    schema: u32,
    #[serde(flatten)]
    device: DeviceFields,
    tolerance: f64,
    samples: usize,
    /// The largest error of any output relative to its largest magnitude: in float32, in float16, and with
    /// these nodes held; `null` where that isn't finite.
    error_f32: Option<f64>,
    error_f16: Option<f64>,
    error: Option<f64>,
    /// Whether it is within the tolerance.
    met: bool,
    hold_f32: Vec<String>,
    nodes: usize,
    tried: usize,
    file: Option<std::path::PathBuf>,
}

type Inputs = HashMap<ValueId, Tensor>;

/// The samples and what is right for them.
struct Search<'a> {
    compare: &'a Compare,
    device: sardonyx::gpu::GpuDevice,
    samples: Vec<(Inputs, Vec<Tensor>)>,
    tried: usize,
}

impl Compare {
    /// Finds the nodes and writes them.
    pub(super) fn find_precision(&self) -> Result<Outcome> {
        let named = |error: Error| error.in_file(&self.model);
        let tolerance = self.one_number()?;
        let mut session = self.options.load_at(&self.model, Precision::F16)?;
        let device = session.gpu().cloned().ok_or_else(|| {
            Error::usage("--precision auto is about a GPU, and the session runs on the CPU")
                .remedy("name one with --device")
        })?;
        let (mut samples, mut ranges) = (vec![], range::Ranges::default());
        for sample in self.samples.list(&session.inputs()).map_err(named)? {
            let inputs = sample.options.bind(&mut session, &self.model).map_err(named)?;
            ranges.add(session.original(), &inputs).map_err(named)?;
            let right = cpu::run(session.original(), &inputs, EvalPrecision::Oracle, &mut |_, _| {});
            samples.push((inputs, right.map_err(named)?));
        }
        let count = samples.len();
        let mut search = Search { compare: self, device, samples, tried: 0 };
        let error_f32 = search.error(Precision::F32, &[]).map_err(named)?;
        let error_f16 = search.error(Precision::F16, &[]).map_err(named)?;
        let ranked = search.ranked(&session, ranges).map_err(named)?;
        let nodes = ranked.len();
        let (hold_f32, error) = if error_f16 <= tolerance {
            (vec![], error_f16)
        } else {
            search.fewest(ranked, tolerance).map_err(named)?
        };
        let finite = |error: f64| Some(error).filter(|error| error.is_finite());
        let document = Document {
            schema: SCHEMA,
            device: DeviceFields::of(Some(&search.device)),
            tolerance,
            samples: count,
            error_f32: finite(error_f32),
            error_f16: finite(error_f16),
            error: finite(error),
            met: error <= tolerance,
            hold_f32,
            nodes,
            tried: search.tried,
            file: self.output.clone().filter(|_| error <= tolerance),
        };
        if let Some(file) = &document.file {
            let found = serde_json::to_value(&document)
                .map_err(|problem| Error::internal(format!("JSON could not be made: {problem}")))?;
            write_whole(file, PrecisionFile::new(document.hold_f32.clone(), found).text()?.as_bytes())?;
        } else if self.output.is_some() {
            say("no file is written: the tolerance isn't met");
        }
        self.json.emit(&document, || text(&document))?;
        Ok(if document.met { Outcome::Good } else { Outcome::NotGood })
    }

    /// `--tolerance`, a number.
    fn one_number(&self) -> Result<f64> {
        let wrong = || {
            Error::usage("--precision auto takes --tolerance T, one number above 0").remedy(
                "T is the largest error that an output may have, relative to its largest magnitude: 1e-3",
            )
        };
        let [text] = &self.tolerance[..] else { return Err(wrong()) };
        text.parse::<f64>().ok().filter(|x| *x > 0.0 && x.is_finite()).ok_or_else(wrong)
    }
}

impl Search<'_> {
    /// The largest error of any output of any sample, relative to the output's largest magnitude; infinite
    /// where the right answer isn't finite and the device's is something else, or the other way round.
    fn error(&mut self, precision: Precision, held: &[String]) -> Result<f64> {
        self.tried += 1;
        let builder = self.compare.builder_of(Some(self.device.clone()), precision);
        let session = builder.hold_f32(held).load(&self.compare.model)?;
        let mut most = 0f64;
        for (inputs, right) in &self.samples {
            let prepared = session.prepare(inputs)?;
            let made = session.run_prepared(&prepared, inputs)?;
            for ((_, made), right) in made.iter().zip(right) {
                most = most.max(relative(&made.to_f64s()?, &right.to_f64s()?));
            }
        }
        tracing::debug!("{} nodes held: an error of {most:e}", held.len());
        Ok(most)
    }

    /// The nodes that the device stores floats of, what helps most first.
    fn ranked(&mut self, session: &Session, ranges: range::Ranges) -> Result<Vec<String>> {
        let original: HashSet<&str> =
            session.original().nodes.iter().map(|node| node.name.as_str()).collect();
        let ranges = ranges.rows(session.original());
        let largest: HashMap<&str, f64> =
            ranges.iter().map(|row| (row.node.as_str(), row.largest.unwrap_or(0.0))).collect();
        let leaves: HashSet<&str> =
            ranges.iter().filter(|row| row.hold.is_some()).map(|row| row.node.as_str()).collect();
        let builder = self.compare.builder_of(Some(self.device.clone()), Precision::F16);
        let halved = builder.load(&self.compare.model)?;
        let mut growth: Vec<(String, bool, f64)> = vec![];
        for (inputs, _) in &self.samples {
            let report = compare(&halved, inputs, &Options { per_node: true, ..Options::default() })?;
            let mut before = 0.0;
            for row in report.nodes.iter().filter(|row| row.ran_on == "gpu") {
                let Some(cumulative) = row.cumulative.as_ref() else { continue };
                let scale = largest.get(row.node.as_str()).copied().filter(|x| *x > 0.0).unwrap_or(1.0);
                let error = cumulative.max_abs / scale;
                let grown = error - before;
                before = error;
                let all = || std::iter::once(&row.node).chain(&row.fused);
                let beyond = all().any(|name| leaves.contains(name.as_str()));
                match growth.iter_mut().find(|(node, ..)| *node == row.node) {
                    Some((_, also, most)) => (*also, *most) = (*also || beyond, most.max(grown)),
                    None if original.contains(row.node.as_str()) => {
                        growth.push((row.node.clone(), beyond, grown))
                    }
                    None => {}
                }
            }
        }
        growth.sort_by(|a, b| b.1.cmp(&a.1).then(b.2.total_cmp(&a.2)));
        Ok(growth.into_iter().map(|(node, ..)| node).collect())
    }

    /// The fewest of the nodes that do, and their error. Where all together don't, these.
    fn fewest(&mut self, ranked: Vec<String>, tolerance: f64) -> Result<(Vec<String>, f64)> {
        let all = self.error(Precision::F16, &ranked)?;
        if all > tolerance {
            return Ok((ranked, all));
        }
        // The shortest row from the start; more nodes may be worse, so what is found is measured.
        let (mut short, mut long, mut error) = (0, ranked.len(), all);
        while long - short > 1 {
            let middle = short + (long - short) / 2;
            let found = self.error(Precision::F16, &ranked[..middle])?;
            if found <= tolerance {
                (long, error) = (middle, found);
            } else {
                short = middle;
            }
        }
        let mut held = ranked;
        held.truncate(long);
        let mut best = error;
        let spared = without_needless(held, |rest| {
            if self.tried >= MOST_TRIED {
                return Ok(false);
            }
            let found = self.error(Precision::F16, rest)?;
            if found <= tolerance {
                best = found;
            }
            Ok(found <= tolerance)
        })?;
        Ok((spared, best))
    }
}

/// Leaves out of a list what can be spared: groups of half of it, of a quarter and so on, down to single
/// ones, until none can.
fn without_needless(
    mut list: Vec<String>,
    mut does: impl FnMut(&[String]) -> Result<bool>,
) -> Result<Vec<String>> {
    let mut size = list.len().div_ceil(2);
    while size > 0 && !list.is_empty() {
        let (mut at, mut spared) = (0, false);
        while at < list.len() {
            let end = (at + size).min(list.len());
            let rest = [&list[..at], &list[end..]].concat();
            if does(&rest)? {
                (list, spared) = (rest, true);
            } else {
                at = end;
            }
        }
        // What couldn't be spared may be once others are gone.
        size = if size == 1 && spared { 1 } else { size / 2 };
    }
    Ok(list)
}

/// The largest difference relative to the largest finite magnitude of what is right.
fn relative(made: &[f64], right: &[f64]) -> f64 {
    let scale = right.iter().map(|x| x.abs()).filter(|x| x.is_finite()).fold(0.0, f64::max);
    let off = made.iter().zip(right).map(|(x, y)| if metrics::same(*x, *y) { 0.0 } else { (x - y).abs() });
    let most = off.fold(0.0, |a: f64, b| if b.is_nan() { f64::INFINITY } else { a.max(b) });
    if most == 0.0 { 0.0 } else { most / scale.max(f64::MIN_POSITIVE) }
}

fn text(document: &Document) -> String {
    let number = |x: Option<f64>| x.map_or("not finite".into(), |x| format!("{x:.2e}"));
    let mut text = format!(
        "largest error relative to an output's largest magnitude, over {} samples: f32 {}, f16 {}\n",
        document.samples,
        number(document.error_f32),
        number(document.error_f16)
    );
    for node in &document.hold_f32 {
        text += &format!("hold in f32: {node}\n");
    }
    text += &format!(
        "with {} of {} nodes held in f32: {}; {} the tolerance {:.2e} ({} sessions tried)\n",
        document.hold_f32.len(),
        document.nodes,
        number(document.error),
        if document.met { "within" } else { "NOT within" },
        document.tolerance,
        document.tried
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_is_kept_and_nothing_else() {
        let list: Vec<String> = (0..20).map(|at| at.to_string()).collect();
        for needed in [vec!["3", "4", "17"], vec!["0"], vec![], vec!["0", "7", "9", "11", "19"]] {
            let mut tried = 0;
            let found = without_needless(list.clone(), |rest| {
                tried += 1;
                Ok(needed.iter().all(|one| rest.iter().any(|other| other == one)))
            });
            assert_eq!(found.unwrap(), needed);
            assert!(tried < 80, "{tried}");
        }
    }

    #[test]
    fn errors_are_relative_to_the_largest() {
        assert_eq!(relative(&[1.0, 2.5], &[1.0, -5.0]), 1.5);
        assert_eq!(relative(&[f64::NAN], &[f64::NAN]), 0.0);
        assert_eq!(relative(&[f64::NAN], &[1.0]), f64::INFINITY);
        assert_eq!(relative(&[65_504.0, 1.0], &[f64::INFINITY, 1.0]), f64::INFINITY);
    }
}
