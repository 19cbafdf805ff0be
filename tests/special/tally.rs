//! Cells that were tried, and those that differ.

use std::collections::BTreeMap;

/// What a cell may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wanted {
    pub value: f64,
    /// How far a finite result may lie from it.
    pub within: f64,
}

impl Wanted {
    pub fn exactly(value: f64) -> Self {
        Self { value, within: 0.0 }
    }
    fn takes(&self, got: f64) -> bool {
        self.value == got || self.value.is_nan() && got.is_nan() || (self.value - got).abs() <= self.within
    }
}

/// The count of one test.
#[derive(Default)]
pub struct Tally {
    tried: BTreeMap<String, usize>,
    wrong: Vec<String>,
}

impl Tally {
    /// Holds a cell to any of several values; `what` describes it.
    pub fn cell(&mut self, place: &str, what: impl Fn() -> String, got: f64, wanted: &[Wanted]) {
        *self.tried.entry(place.to_string()).or_default() += 1;
        if !wanted.iter().any(|wanted| wanted.takes(got)) {
            let list: Vec<String> = wanted
                .iter()
                .take(3)
                .map(|wanted| format!("{:e} ± {:e}", wanted.value, wanted.within))
                .collect();
            self.wrong.push(format!("{place}: {} is {got:e}, not {}", what(), list.join(" or ")));
        }
    }
    /// Holds a cell to be as it should; `what` says what it is and what it should be.
    pub fn truth(&mut self, place: &str, what: impl Fn() -> String, fine: bool) {
        *self.tried.entry(place.to_string()).or_default() += 1;
        if !fine {
            self.wrong.push(format!("{place}: {}", what()));
        }
    }
    /// Prints what was tried; fails where anything differs.
    pub fn finish(self, table: &str) {
        for (place, tried) in &self.tried {
            let wrong = self.wrong.iter().filter(|text| text.starts_with(&format!("{place}:"))).count();
            println!("special values, {table}, {place}: {tried} cells tried, {wrong} differing");
        }
        assert!(self.tried.values().sum::<usize>() > 0, "{table}: nothing was tried");
        assert!(
            self.wrong.is_empty(),
            "{table}: {} differ:\n{}",
            self.wrong.len(),
            self.wrong.iter().take(60).cloned().collect::<Vec<_>>().join("\n")
        );
    }
}
