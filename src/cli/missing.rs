//! What a model needs that isn't there: all of it, where the first of it keeps the model from being loaded.

use super::emit::{JsonOption, SCHEMA, spelling};
use sardonyx::error::{Error, ErrorKind, Result};
use sardonyx::onnx;
use serde::Serialize;
use std::path::Path;

/// Nodes that are named of each kind.
const NAMED: usize = 3;

#[derive(Serialize)]
struct Document {
    schema: u32,
    model: String,
    missing: Vec<Missing>,
}

/// What is missing, and where.
#[derive(Debug, Serialize, PartialEq)]
struct Missing {
    operator: String,
    reason: String,
    /// What to do about it.
    remedy: Option<String>,
    /// How many nodes need it.
    count: usize,
    nodes: Vec<String>,
}

/// Shows all that a model lacks to be run, where `error`, which loading it gave, is of such a kind; returns
/// the error to end with.
pub fn show(model: &Path, error: Error, json: &JsonOption) -> Result<Error> {
    if error.kind() != ErrorKind::Unsupported {
        return Ok(error);
    }
    // A model that is wrong in another way too is left to the first error.
    let Ok(errors) = onnx::missing(model) else { return Ok(error) };
    let missing = grouped(&errors);
    // The error itself says all that there is of one node.
    let single = missing.len() == 1 && missing.iter().all(|one| one.count == 1);
    if missing.is_empty() || single && !json.is_wanted() {
        return Ok(error);
    }
    let nodes: usize = missing.iter().map(|one| one.count).sum();
    let document = Document { schema: SCHEMA, model: model.display().to_string(), missing };
    json.emit(&document, || text(&document.missing))?;
    Ok(Error::unsupported(format!("{nodes} of the model's nodes can't be run; standard output lists them"))
        .in_file(model))
}

/// Errors of one operator and reason together, the most frequent first.
fn grouped(errors: &[Error]) -> Vec<Missing> {
    let mut all: Vec<Missing> = vec![];
    for error in errors {
        let (operator, reason) = (error.operator().unwrap_or_default(), error.message());
        let node = error.node().unwrap_or_default().to_string();
        match all.iter_mut().find(|one| one.operator == operator && one.reason == reason) {
            Some(one) => {
                one.count += 1;
                one.nodes.push(node);
            }
            None => all.push(Missing {
                operator: operator.to_string(),
                reason: reason.to_string(),
                remedy: error.advice_with(spelling),
                count: 1,
                nodes: vec![node],
            }),
        }
    }
    all.sort_by_key(|one| std::cmp::Reverse(one.count));
    all
}

fn text(missing: &[Missing]) -> String {
    let mut text = "what the model needs and is not supported:\n".to_string();
    for one in missing {
        let named: Vec<String> =
            one.nodes.iter().take(NAMED).map(|node| format!("'{}'", node.escape_debug())).collect();
        let rest = if one.count > NAMED { ", …" } else { "" };
        text += &format!("{:5} × {}: {}\n", one.count, one.operator.escape_debug(), one.reason);
        text += &format!("        at {}{rest}\n", named.join(", "));
        if let Some(remedy) = &one.remedy {
            text += &format!("        {remedy}\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_reasons_are_counted() {
        let error = |op: &str, node: &str| {
            Error::unsupported("not known").at_operator(op).at_node(node).remedy("wait")
        };
        let all = grouped(&[error("A", "a"), error("B", "b"), error("B", "c")]);
        assert_eq!(
            all.iter().map(|one| (&*one.operator, one.count)).collect::<Vec<_>>(),
            [("B", 2), ("A", 1)]
        );
        assert_eq!((all[0].nodes.len(), all[0].remedy.as_deref()), (2, Some("wait")));
        let text = text(&all);
        assert!(text.contains("2 × B: not known") && text.contains("at 'b', 'c'"), "{text}");
    }
}
