//! Names that tell models and devices apart, and no longer than that takes.

use super::read::{Context, Measurement};
use std::collections::{BTreeSet, HashMap};

/// What makes one device, as it was used, another than the next.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The adapter's or the CPU's name.
    pub name: String,
    /// What may differ where the name doesn't, in the order in which it tells them apart.
    rest: [String; 10],
}

impl Identity {
    pub fn of(context: &Context, cell: &Measurement) -> Self {
        let cpu = cell.device.as_deref() == Some("cpu") || (cell.device.is_none() && cell.adapter.is_none());
        let name = match (&cell.adapter, &context.cpu.name) {
            (Some(adapter), _) => plain(adapter),
            (None, Some(name)) if cpu => {
                let words: Vec<String> = plain(name).split(' ').map(String::from).collect();
                let told = words.into_iter().filter(|word| word != "CPU" && word != "Processor");
                format!("CPU {}", told.collect::<Vec<_>>().join(" "))
            }
            _ if cpu => "CPU".to_string(),
            _ => cell.asked.clone().unwrap_or_else(|| "GPU".to_string()),
        };
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let options = &context.options;
        let said = |value: Option<bool>, yes: &str, no: &str| match value {
            Some(true) => yes.to_string(),
            Some(false) => no.to_string(),
            None => String::new(),
        };
        let limits = options.limits.clone().or(context.limits.clone());
        let kernels = options.kernels.as_ref().and_then(|value| value.as_str()).unwrap_or_default();
        Self {
            name,
            rest: [
                text(&cell.backend),
                text(&context.host),
                text(&cell.driver),
                limits.map(|limits| format!("limits {limits}")).unwrap_or_default(),
                if kernels.is_empty() { String::new() } else { format!("{kernels} kernels") },
                said(cell.checks, "checked indices", "unchecked indices"),
                said(options.tune, "tuned", ""),
                context.sardonyx.as_ref().map(|version| format!("sardonyx {version}")).unwrap_or_default(),
                said(context.optimised, "", "unoptimised build"),
                text(&context.note),
            ],
        }
    }
}

/// Without what makers add for lawyers.
fn plain(name: &str) -> String {
    let bare = name.replace("(R)", "").replace("(TM)", "").replace("(tm)", "");
    bare.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A label for each identity: the name, and of the rest what differs among those of the same name.
pub fn device_labels(identities: &[Identity]) -> Vec<String> {
    let label = |identity: &Identity| {
        let same: Vec<&Identity> = identities.iter().filter(|other| other.name == identity.name).collect();
        let differs = |at: &usize| same.iter().any(|other| other.rest.get(*at) != identity.rest.get(*at));
        let parts = (0..identity.rest.len()).filter(differs).filter_map(|at| identity.rest.get(at));
        let parts = std::iter::once(&identity.name).chain(parts.filter(|part| !part.is_empty()));
        parts.map(String::as_str).collect::<Vec<_>>().join(" · ")
    };
    numbered(identities.iter().map(label).collect())
}

/// Labels for models of these paths and hashes: the shortest end of the path that no other has.
pub fn model_labels(models: &[(String, Option<String>)]) -> Vec<String> {
    let parts: Vec<Vec<&str>> = models.iter().map(|(path, _)| components(path)).collect();
    let end = |parts: &[&str], count: usize| {
        let skipped = parts.len().saturating_sub(count);
        parts.get(skipped..).unwrap_or_default().join("/")
    };
    let label = |index: usize| {
        let Some(own) = parts.get(index) else { return String::new() };
        // Every model of a collection is called model.onnx.
        let least = if own.last() == Some(&"model") && own.len() > 1 { 2 } else { 1 };
        let alone = |count: &usize| {
            let others = parts.iter().enumerate().filter(|(other, _)| *other != index);
            others.into_iter().all(|(_, other)| end(other, *count) != end(own, *count))
        };
        let shown = |count: usize| {
            let whole = end(own, count);
            whole
                .strip_suffix("/model")
                .filter(|folder| !folder.is_empty())
                .map(str::to_string)
                .unwrap_or(whole)
        };
        match (least..=own.len()).find(alone) {
            Some(count) => shown(count),
            // The same path, another file.
            None => {
                let hash = models.get(index).and_then(|(_, hash)| hash.as_deref()).unwrap_or("no hash");
                format!("{} ({})", shown(least), hash.chars().take(8).collect::<String>())
            }
        }
    };
    numbered((0..models.len()).map(label).collect())
}

/// A path's folders and name without .onnx, whichever system it is of.
fn components(path: &str) -> Vec<&str> {
    let bare = path.strip_suffix(".onnx").unwrap_or(path);
    let parts: Vec<&str> = bare.split(['/', '\\']).filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.is_empty() { vec!["?"] } else { parts }
}

/// Labels that are alike all the same get numbers.
fn numbered(mut labels: Vec<String>) -> Vec<String> {
    let mut taken: BTreeSet<String> = labels.iter().cloned().collect();
    let mut counts: HashMap<String, usize> = HashMap::new();
    for label in &mut labels {
        let count = counts.entry(label.clone()).or_default();
        *count += 1;
        if *count > 1 {
            let base = label.clone();
            let mut number = *count;
            while !taken.insert(format!("{base} #{number}")) {
                number += 1;
            }
            *label = format!("{base} #{number}");
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_told_apart_by_the_end_of_their_path() {
        let models = [
            ("models/digits/digits.onnx", None),
            ("a/resnet50.onnx", Some("11")),
            ("b/resnet50.onnx", Some("22")),
            (r"C:\zoo\vit\model.onnx", None),
            ("zoo/bert/model.onnx", None),
            ("same.onnx", Some("aaaaaaaaaaaa")),
            ("same.onnx", Some("bbbbbbbbbbbb")),
            ("", None),
        ];
        let models: Vec<_> =
            models.iter().map(|(path, hash)| (path.to_string(), hash.map(String::from))).collect();
        let expected =
            ["digits", "a/resnet50", "b/resnet50", "vit", "bert", "same (aaaaaaaa)", "same (bbbbbbbb)", "?"];
        assert_eq!(model_labels(&models), expected);
    }

    #[test]
    fn devices_are_told_apart_by_what_differs() {
        let cell = |adapter: Option<&str>, driver: &str| Measurement {
            device: Some(if adapter.is_some() { "gpu" } else { "cpu" }.into()),
            adapter: adapter.map(String::from),
            driver: Some(driver.into()),
            ..Measurement::default()
        };
        let machine = |host: &str, cpu: &str| {
            let mut context = Context { host: Some(host.into()), ..Context::default() };
            context.cpu.name = Some(cpu.into());
            context
        };
        let (a, b) = (machine("a", "Intel(R) Xeon(R) CPU"), machine("b", "Zen"));
        let identities = [
            Identity::of(&a, &cell(Some("RTX"), "1")),
            Identity::of(&b, &cell(Some("RTX"), "2")),
            Identity::of(&b, &cell(Some("Arc"), "2")),
            Identity::of(&a, &cell(None, "")),
            Identity::of(&b, &cell(None, "")),
        ];
        let expected = ["RTX · a · 1", "RTX · b · 2", "Arc", "CPU Intel Xeon", "CPU Zen"];
        assert_eq!(device_labels(&identities), expected);
    }
}
