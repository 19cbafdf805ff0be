//! What became of each cell.

use super::super::read::{Context, Measurement};
use super::comparable::{Pair, Reason, obstacles};
use sardonyx::bench::{Change, Difference, DifferenceOptions, Statistics};
use serde::Serialize;

/// What a cell comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Judgement {
    #[serde(rename = "faster")]
    Faster,
    #[serde(rename = "slower")]
    Slower,
    #[serde(rename = "no difference")]
    NoDifference,
    /// It ran before, and now it doesn't.
    #[serde(rename = "fails now")]
    FailsNow,
    /// Its outputs were right before.
    #[serde(rename = "wrong now")]
    WrongNow,
    #[serde(rename = "not comparable")]
    NotComparable,
}

impl Judgement {
    pub fn text(self) -> &'static str {
        match self {
            Judgement::Faster => "faster",
            Judgement::Slower => "slower",
            Judgement::NoDifference => "no difference",
            Judgement::FailsNow => "fails now",
            Judgement::WrongNow => "wrong now",
            Judgement::NotComparable => "not comparable",
        }
    }
    pub fn is_bad(self) -> bool {
        matches!(self, Judgement::Slower | Judgement::FailsNow | Judgement::WrongNow)
    }
}

/// A line of the comparison.
#[derive(Debug, Serialize)]
pub struct Row {
    pub model: String,
    pub device: String,
    pub precision: String,
    pub batch: u64,
    pub judgement: Judgement,
    pub before_ms: Option<f64>,
    pub after_ms: Option<f64>,
    /// The time after ÷ the time before.
    pub ratio: Option<f64>,
    /// The ends of the ratio's interval.
    pub interval: Option<[f64; 2]>,
    pub rounds: Option<[usize; 2]>,
    /// Why it isn't comparable, or what was passed over.
    pub reason: Option<String>,
}

pub fn judge(
    pair: &Pair,
    contexts: [&Context; 2],
    ignored: &[Reason],
    options: &DifferenceOptions,
) -> Option<Row> {
    let cell = pair.before.or(pair.after)?;
    let median = |cell: Option<&Measurement>| {
        let cell = cell.filter(|cell| cell.error.is_none())?;
        Statistics::of(&cell.rounds().concat()).map(|times| times.median)
    };
    let mut row = Row {
        model: cell.model.clone(),
        device: cell.adapter.clone().or(cell.device.clone()).unwrap_or_else(|| "cpu".into()),
        precision: cell.precision.clone().unwrap_or_else(|| "f32".into()),
        batch: cell.batch.unwrap_or(1),
        judgement: Judgement::NotComparable,
        before_ms: median(pair.before),
        after_ms: median(pair.after),
        ratio: None,
        interval: None,
        rounds: None,
        reason: None,
    };
    let (Some(before), Some(after)) = (pair.before, pair.after) else {
        let which = if pair.before.is_some() { "first" } else { "second" };
        row.reason = Some(format!("only the {which} file has it"));
        return Some(row);
    };
    let [first, second] = contexts;
    let found = obstacles((first, before), (second, after));
    let told = |ignored_ones: bool| -> Vec<String> {
        let these = found.iter().filter(|(reason, _)| ignored.contains(reason) == ignored_ones);
        these.map(|(_, text)| text.clone()).collect()
    };
    let in_the_way = told(false);
    if !in_the_way.is_empty() {
        row.reason = Some(in_the_way.join("; "));
        return Some(row);
    }
    let passed_over = told(true).join("; ");
    row.reason = (!passed_over.is_empty()).then(|| format!("passed over: {passed_over}"));
    match (&before.error, &after.error) {
        (Some(_), Some(error)) => row.reason = Some(format!("it ran in neither file: {error}")),
        (Some(error), None) => row.reason = Some(format!("it didn't run before: {error}")),
        (None, Some(error)) => {
            row.judgement = Judgement::FailsNow;
            row.reason = Some(error.clone());
        }
        (None, None) => time(&mut row, before, after, options),
    }
    Some(row)
}

/// Both ran.
fn time(row: &mut Row, before: &Measurement, after: &Measurement, options: &DifferenceOptions) {
    let found = Difference::between(&before.rounds(), &after.rounds(), options);
    if let Some(found) = found {
        (row.ratio, row.rounds) = (Some(found.ratio), Some(found.rounds));
        row.interval = Some([found.low, found.high]);
    }
    let is_wrong = |cell: &Measurement| cell.verdict.as_deref() == Some("DIFFERENT");
    if is_wrong(after) && before.verdict.is_some() && !is_wrong(before) {
        row.judgement = Judgement::WrongNow;
        row.reason = Some("its outputs are DIFFERENT from the reference, and weren't before".into());
        return;
    }
    match found {
        Some(found) => {
            row.judgement = match found.change {
                Change::Faster => Judgement::Faster,
                Change::Slower => Judgement::Slower,
                Change::None => Judgement::NoDifference,
            };
        }
        None => {
            row.reason = Some("too few runs: 3 rounds or 9 runs on both sides are the least".into());
        }
    }
}
