//! The geometric mean of speeds against a device.

use super::merge::Merged;
use sardonyx::error::{Error, Result};

/// A series against the baseline.
pub struct Speed {
    pub series: usize,
    /// How many times as fast, the geometric mean over the workloads that all series have; `None` where there
    /// are none.
    pub common: Option<f64>,
    /// The same over the workloads that this series and the baseline have.
    pub shared: Option<f64>,
    /// Those workloads.
    pub over: Vec<usize>,
    /// Workloads left out since a result was wrong on either side.
    pub wrong: usize,
}

/// The series whose label or device's name a text is, or is part of: an exact label first, then float32.
pub fn baseline(merged: &Merged, wanted: Option<&str>) -> Result<usize> {
    let Some(wanted) = wanted else { return Ok(slowest(merged)) };
    let low = wanted.trim().to_lowercase();
    let matches = |whole: bool| -> Vec<usize> {
        let found = |label: &str| {
            if whole { label.to_lowercase() == low } else { label.to_lowercase().contains(&low) }
        };
        let all = merged.series.iter().enumerate().filter(|(_, series)| found(&series.label));
        all.map(|(index, _)| index).collect()
    };
    let float32 = |list: &[usize]| -> Vec<usize> {
        list.iter().copied().filter(|index| merged.precision_of(*index) == "f32").collect()
    };
    let labels = |list: &[usize]| {
        list.iter().map(|index| format!("'{}'", merged.series_label(*index))).collect::<Vec<_>>().join(", ")
    };
    let partly = matches(false);
    for found in [matches(true), float32(&partly), partly.clone()] {
        if let [one] = found.as_slice() {
            return Ok(*one);
        }
    }
    let all: Vec<usize> = (0..merged.series.len()).collect();
    Err(if partly.is_empty() {
        Error::usage(format!("no device in these files is called '{wanted}'"))
            .remedy(format!("give --baseline-device one of {}", labels(&all)))
    } else {
        Error::usage(format!("'{wanted}' is part of several devices' names: {}", labels(&partly)))
            .remedy("give --baseline-device the whole name")
    })
}

/// Of the series at float32 with the most workloads that ran the slowest, over what they share; the first of
/// equals.
fn slowest(merged: &Merged) -> usize {
    let count =
        |series: usize| (0..merged.workloads.len()).filter(|at| time(merged, series, *at).is_some()).count();
    let all = || 0..merged.series.len();
    let float32: Vec<usize> =
        all().filter(|series| merged.precision_of(*series) == "f32" && count(*series) > 0).collect();
    let candidates = if float32.is_empty() { all().collect() } else { float32 };
    let most = candidates.iter().map(|series| count(*series)).max().unwrap_or(0);
    let full: Vec<usize> = candidates.into_iter().filter(|series| count(*series) == most).collect();
    let shared: Vec<usize> = (0..merged.workloads.len())
        .filter(|at| full.iter().all(|series| time(merged, *series, *at).is_some()))
        .collect();
    let total = |series: usize| -> f64 {
        shared.iter().filter_map(|at| time(merged, series, *at)).map(f64::ln).sum()
    };
    let mut slowest = full.first().copied().unwrap_or(0);
    for &series in &full {
        if total(series) > total(slowest) {
            slowest = series;
        }
    }
    slowest
}

fn time(merged: &Merged, series: usize, workload: usize) -> Option<f64> {
    merged.cell(series, workload)?.median()
}

/// How many times as fast a series is as the baseline on one workload.
pub fn ratio(merged: &Merged, series: usize, baseline: usize, workload: usize) -> Option<f64> {
    Some(time(merged, baseline, workload)? / time(merged, series, workload)?)
}

/// Every series against the baseline.
pub struct Speeds {
    /// The fastest first: by the workloads that all have, where there are any.
    pub list: Vec<Speed>,
    /// The workloads that every series ran and got right, but for series that ran none.
    pub common: Vec<usize>,
}

impl Speed {
    /// The ratio that ranks: over what all have, else over what is shared with the baseline.
    pub fn ratio(&self) -> Option<f64> {
        self.common.or(self.shared)
    }
}

/// Compares every series with the baseline. A wrong result has no speed.
pub fn speeds(merged: &Merged, baseline: usize) -> Speeds {
    let wrong = |series: usize, at: usize| merged.cell(series, at).is_some_and(|cell| cell.is_wrong());
    let mean = |series: usize, over: &[usize]| {
        let logs: Vec<f64> =
            over.iter().filter_map(|at| ratio(merged, series, baseline, *at)).map(f64::ln).collect();
        (!logs.is_empty()).then(|| (logs.iter().sum::<f64>() / logs.len() as f64).exp())
    };
    let speed = |series: usize| {
        let shared: Vec<usize> =
            (0..merged.workloads.len()).filter(|at| ratio(merged, series, baseline, *at).is_some()).collect();
        let all = shared.len();
        let over: Vec<usize> =
            shared.into_iter().filter(|at| !wrong(series, *at) && !wrong(baseline, *at)).collect();
        Speed { series, common: None, shared: mean(series, &over), wrong: all - over.len(), over }
    };
    let mut list: Vec<Speed> = (0..merged.series.len()).map(speed).collect();
    let common: Vec<usize> = (0..merged.workloads.len())
        .filter(|at| {
            let mut ran = list.iter().filter(|speed| !speed.over.is_empty()).peekable();
            ran.peek().is_some() && ran.all(|speed| speed.over.contains(at))
        })
        .collect();
    for speed in list.iter_mut().filter(|speed| !speed.over.is_empty()) {
        speed.common = mean(speed.series, &common);
    }
    // What has no common number stands behind what has one.
    let key = |speed: &Speed| (speed.common.unwrap_or(-1.0), speed.shared.unwrap_or(-1.0));
    list.sort_by(|a, b| key(b).0.total_cmp(&key(a).0).then(key(b).1.total_cmp(&key(a).1)));
    Speeds { list, common }
}

#[cfg(test)]
mod tests {
    use super::super::merge::of_texts;
    use super::*;

    fn file(rows: &[(&str, &str, f64, &str)]) -> String {
        let rows: Vec<String> = rows
            .iter()
            .map(|(model, adapter, ms, verdict)| {
                format!(
                    r#"{{"model":"{model}","model_sha256":"{model}","device":"gpu","adapter":"{adapter}","verdict":"{verdict}","latency_ms":{{"median":{ms}}}}}"#
                )
            })
            .collect();
        format!(r#"{{"schema":1,"results":[{}]}}"#, rows.join(","))
    }

    #[test]
    fn the_mean_is_geometric_and_over_what_both_have() {
        let text = file(&[
            ("a", "fast", 1.0, "OK"),
            ("b", "fast", 2.0, "ROUNDING"),
            ("c", "fast", 0.1, "DIFFERENT"),
            ("a", "slow", 2.0, "OK"),
            ("b", "slow", 16.0, "OK"),
            ("c", "slow", 2.0, "OK"),
            ("d", "lone", 1.0, "OK"),
        ]);
        let merged = of_texts(&[&text]);
        let slow = baseline(&merged, None).unwrap();
        assert_eq!(merged.series_label(slow), "slow");
        let found = speeds(&merged, slow);
        let [fast, slow, lone] = &found.list[..] else { panic!() };
        assert_eq!((fast.common, fast.over.len(), fast.wrong), (Some(4.0), 2, 1));
        assert_eq!((slow.ratio(), lone.ratio(), found.common.len()), (Some(1.0), None, 2));
    }

    #[test]
    fn what_all_ran_is_what_ranks() {
        // The half is only fast where the whole is faster still.
        let text = file(&[
            ("a", "whole", 1.0, ""),
            ("b", "whole", 10.0, ""),
            ("a", "half", 2.0, ""),
            ("a", "slow", 16.0, ""),
            ("b", "slow", 10.0, ""),
        ]);
        let merged = of_texts(&[&text]);
        let found = speeds(&merged, baseline(&merged, Some("slow")).unwrap());
        let list: Vec<_> = found
            .list
            .iter()
            .map(|speed| (merged.series_label(speed.series), speed.common, speed.shared))
            .collect();
        let wanted = [
            ("whole", Some(16.0), Some(4.0)),
            ("half", Some(8.0), Some(8.0)),
            ("slow", Some(1.0), Some(1.0)),
        ];
        assert_eq!(list.len(), 3);
        for (found, wanted) in list.iter().zip(wanted) {
            let near = |a: Option<f64>, b: Option<f64>| (a.unwrap() - b.unwrap()).abs() < 1e-9;
            assert!(found.0 == wanted.0 && near(found.1, wanted.1) && near(found.2, wanted.2), "{list:?}");
        }
    }

    #[test]
    fn a_baseline_is_found_by_a_part_of_its_name() {
        let merged = of_texts(&[&file(&[("a", "Card 4070", 1.0, ""), ("a", "Card 4070 Ti", 1.0, "")])]);
        assert_eq!(baseline(&merged, Some("ti")).unwrap(), 1);
        assert_eq!(baseline(&merged, Some("card 4070")).unwrap(), 0);
        let several = baseline(&merged, Some("card")).unwrap_err().to_string();
        assert!(several.contains("'Card 4070', 'Card 4070 Ti'"), "{several}");
        assert!(baseline(&merged, Some("arc")).unwrap_err().to_string().contains("no device"));
    }
}
