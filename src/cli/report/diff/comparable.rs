//! Which cells of two files are the same, and why others can't be set against each other.

use super::super::read::{Context, Document, Measurement};
use clap::ValueEnum;

/// What keeps two cells apart, and `--ignore` can pass over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Reason {
    /// The model's file has another content under the same path
    Model,
    /// The adapter's driver or backend is another
    Driver,
    /// The machine, its CPU or its system is another
    Host,
    /// Options that decide what runs are others: limits, kernels, checks, tune, seed
    Options,
    /// The build of one is not optimised
    Build,
}

/// A cell of each file; `None` where only the other has it.
pub struct Pair<'a> {
    pub before: Option<&'a Measurement>,
    pub after: Option<&'a Measurement>,
}

/// Whether two cells are of one model: by their hashes where both have one, else by their paths.
fn same_model(a: &Measurement, b: &Measurement) -> bool {
    match (&a.model_sha256, &b.model_sha256) {
        (Some(a), Some(b)) => a == b,
        _ => a.model == b.model,
    }
}

/// Whether device, precision, batch and shapes are the same. A cell that failed may know neither its adapter
/// nor its batch and shapes: then what was asked for tells.
fn same_place(a: &Measurement, b: &Measurement) -> bool {
    let failed = a.error.is_some() || b.error.is_some();
    let known = (a.device.as_deref(), a.adapter.as_deref()) == (b.device.as_deref(), b.adapter.as_deref());
    let asked = failed && a.asked.is_some() && a.asked == b.asked;
    let precision = |cell: &Measurement| cell.precision.clone().unwrap_or_else(|| "f32".into());
    let batch = match (a.batch, b.batch) {
        (Some(a), Some(b)) => a == b,
        (None, None) => true,
        (one, other) => failed || one.or(other) == Some(1),
    };
    let shapes = |cell: &Measurement| -> Vec<(String, Vec<u64>)> {
        cell.inputs.iter().map(|input| (input.name.clone(), input.shape.clone())).collect()
    };
    let (first, second) = (shapes(a), shapes(b));
    (known || asked)
        && precision(a) == precision(b)
        && batch
        && (first == second || first.is_empty() || second.is_empty())
}

/// The cells of both files: first what the first file has, then what only the second has. By hash first, then
/// by path, so that a model that changed is told apart from one that is gone.
pub fn pairs<'a>(before: &'a Document, after: &'a Document) -> Vec<Pair<'a>> {
    let mut left: Vec<&Measurement> = after.results.iter().collect();
    let mut found: Vec<(&Measurement, Option<&Measurement>)> =
        before.results.iter().map(|cell| (cell, None)).collect();
    let rules: [fn(&Measurement, &Measurement) -> bool; 2] = [same_model, |a, b| a.model == b.model];
    for same in rules {
        for (cell, other) in found.iter_mut().filter(|(_, other)| other.is_none()) {
            if let Some(at) = left.iter().position(|next| same(cell, next) && same_place(cell, next)) {
                *other = Some(left.remove(at));
            }
        }
    }
    let both = found.into_iter().map(|(before, after)| Pair { before: Some(before), after });
    both.chain(left.into_iter().map(|after| Pair { before: None, after: Some(after) })).collect()
}

/// Why the times of two cells say nothing about each other, each reason with its text.
pub fn obstacles(
    (before, first): (&Context, &Measurement),
    (after, second): (&Context, &Measurement),
) -> Vec<(Reason, String)> {
    let mut found = vec![];
    // What one file doesn't tell can't be held against it.
    let mut differ = |reason: Reason, what: &str, a: Option<String>, b: Option<String>| {
        if let (Some(a), Some(b)) = (a, b)
            && a != b
        {
            found.push((reason, format!("{what} was {}, is {}", shown(&a), shown(&b))));
        }
    };
    let hash = |cell: &Measurement| cell.model_sha256.as_ref().map(|hash| hash.chars().take(12).collect());
    differ(Reason::Model, "the model's hash", hash(first), hash(second));
    differ(Reason::Driver, "the backend", first.backend.clone(), second.backend.clone());
    differ(Reason::Driver, "the driver", first.driver.clone(), second.driver.clone());
    differ(Reason::Host, "the machine", before.host.clone(), after.host.clone());
    differ(Reason::Host, "the CPU", before.cpu.name.clone(), after.cpu.name.clone());
    let number = |value: Option<u64>| value.map(|value| value.to_string());
    differ(Reason::Host, "the number of threads", number(before.cpu.threads), number(after.cpu.threads));
    differ(Reason::Host, "the system", before.os.clone(), after.os.clone());
    differ(Reason::Options, "--limits", Some(limits(before)), Some(limits(after)));
    let word = |value: &Option<serde_json::Value>| match value {
        Some(serde_json::Value::Null) | None => None,
        Some(serde_json::Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    };
    differ(Reason::Options, "--kernels", word(&before.options.kernels), word(&after.options.kernels));
    let switch = |value: Option<bool>| value.map(|value| if value { "on" } else { "off" }.to_string());
    differ(Reason::Options, "--checks", switch(first.checks), switch(second.checks));
    differ(Reason::Options, "--tune", switch(before.options.tune), switch(after.options.tune));
    let seed = |context: &Context| number(context.options.seed.or(context.seed));
    differ(Reason::Options, "--seed", seed(before), seed(after));
    for (which, context) in [("first", before), ("second", after)] {
        if context.optimised == Some(false) {
            found.push((Reason::Build, format!("the {which} file is of a build that is not optimised")));
        }
    }
    found
}

fn limits(context: &Context) -> String {
    context.options.limits.clone().or(context.limits.clone()).unwrap_or_else(|| "the adapter's".into())
}

fn shown(value: &str) -> String {
    super::super::units::shortened(&value.split_whitespace().collect::<Vec<_>>().join(" "), 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Document {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn cells_are_paired_by_hash_then_by_path() {
        let before = file(
            r#"{"results":[{"model":"a","model_sha256":"1"},{"model":"b","model_sha256":"2"},
            {"model":"c"},{"model":"gone"},{"model":"d","batch":4}]}"#,
        );
        let after = file(
            r#"{"results":[{"model":"b","model_sha256":"3"},{"model":"moved","model_sha256":"1"},
            {"model":"c","model_sha256":"9"},{"model":"d","batch":8}]}"#,
        );
        let found = pairs(&before, &after);
        let name = |cell: Option<&Measurement>| cell.map_or("-", |cell| cell.model.as_str()).to_string();
        let found: Vec<_> = found.iter().map(|pair| name(pair.before) + ">" + &name(pair.after)).collect();
        assert_eq!(found, ["a>moved", "b>b", "c>c", "gone>-", "d>-", "->d"]);
    }

    #[test]
    fn a_cell_that_failed_is_found_by_what_was_asked() {
        let ran = file(r#"{"results":[{"model":"a","device":"gpu","adapter":"X","asked":"gpu","batch":4}]}"#);
        let failed = file(r#"{"results":[{"model":"a","device":"?","asked":"gpu","error":"lost"}]}"#);
        let found = pairs(&ran, &failed);
        assert!(found.len() == 1 && found[0].after.is_some());
        let other = file(r#"{"results":[{"model":"a","device":"?","asked":"cpu","error":"lost"}]}"#);
        assert_eq!(pairs(&ran, &other).len(), 2);
    }

    #[test]
    fn every_reason_is_told() {
        let context = |text: &str| serde_json::from_str::<Context>(text).unwrap();
        let cell = |text: &str| serde_json::from_str::<Measurement>(text).unwrap();
        let before = context(r#"{"host":"a","optimised":false,"seed":1,"options":{"kernels":"auto"}}"#);
        let after = context(r#"{"host":"b","limits":"webgpu","options":{"seed":1,"kernels":"hardware"}}"#);
        let (first, second) = (
            cell(r#"{"model":"m","model_sha256":"1","driver":"24"}"#),
            cell(r#"{"model":"m","model_sha256":"2","driver":"25"}"#),
        );
        let found: Vec<Reason> =
            obstacles((&before, &first), (&after, &second)).into_iter().map(|(reason, _)| reason).collect();
        use Reason::{Build, Driver, Host, Model, Options};
        assert_eq!(found, [Model, Driver, Host, Options, Options, Build]);
        assert!(obstacles((&after, &first), (&after, &first)).is_empty());
    }
}
