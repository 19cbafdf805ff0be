//! Any operator, as its own cases have it, over earlier values of the graph.

use super::conversion::converted;
use super::grow::Grower;
use super::proto::attribute;
use sardonyx::ops::OpDef;
use sardonyx::ops::case::{Case, Operand};
use sardonyx::ops::operators;
use sardonyx::{DType, Tensor};

/// The domains whose nodes are drawn.
const DOMAINS: [&str; 2] = ["", "ai.onnx.ml"];
/// Elements of a case's inputs: larger ones take time that many graphs use better.
const LARGEST: usize = 700;

fn fits(def: &OpDef, case: &Case) -> bool {
    let version = [super::proto::OPSET, case.version][usize::from(case.version != 0)];
    let small = |operand: &Operand| match operand.tensor(1) {
        Ok(Some(tensor)) => tensor.len() <= LARGEST && tensor.dtype() != DType::String,
        other => other.is_ok(),
    };
    DOMAINS.contains(&def.domain)
        && (version == super::proto::OPSET || !def.domain.is_empty())
        && case.inputs.iter().all(small)
}

/// A node of any operator's cases.
pub fn any(at: &mut Grower) -> Option<()> {
    let defs: Vec<&OpDef> = operators().filter(|def| !def.cases.is_empty()).collect();
    let def = at.draw.pick(&defs);
    let cases: Vec<&Case> = def.cases.iter().filter(|case| fits(def, case)).collect();
    if cases.is_empty() {
        return None;
    }
    let case = cases[at.draw.below(cases.len())];
    of(at, def, case)
}

fn of(at: &mut Grower, def: &OpDef, case: &Case) -> Option<()> {
    let before = at.nodes.len();
    let mut names = vec![];
    for operand in case.inputs {
        let seed = at.draw.0.next();
        let Some(own) = operand.tensor(seed).ok()? else {
            names.push(String::new());
            continue;
        };
        // Elements that stand for what they are in a case come from earlier nodes; others are what they are.
        let drawn = matches!(
            operand,
            Operand::Floats(_) | Operand::Drawn(..) | Operand::I32(_) | Operand::I64(_) | Operand::Bools(_)
        );
        let found = if drawn && !at.draw.one_in(4) {
            at.find(|tensor| !tensor.is_empty() && tensor.len() <= LARGEST)
        } else {
            None
        };
        let adapted = found.and_then(|name| adapted(at, &name, own.dtype(), own.shape()));
        names.push(match adapted {
            Some(name) => name,
            None if operand.is_constant() => at.constant(own),
            None => at.given(own),
        });
    }
    let inputs: Vec<&str> = names.iter().map(String::as_str).collect();
    let attributes = case.attributes.iter().map(|(name, given)| attribute(name, given.attribute())).collect();
    let made = at.node_of(def.domain, def.name, &inputs, attributes, case.outputs);
    if made.is_none() && at.nodes.len() > before + 3 {
        return None;
    }
    made.map(drop)
}

/// A value brought to a type and a shape, by nodes that move and convert.
pub fn adapted(at: &mut Grower, x: &str, dtype: DType, shape: &[usize]) -> Option<String> {
    let mut x = x.to_string();
    if at.dtype(&x) != dtype {
        if at.draw.one_in(2) || dtype == DType::String {
            return None;
        }
        x = converted(at, &x, dtype)?;
    }
    if at.dtype(&x) != dtype {
        return None;
    }
    if at.shape(&x) == shape {
        return Some(x);
    }
    let (have, want) = (at.tensor(&x).len(), shape.iter().product::<usize>());
    if have == 0 || want == 0 {
        return None;
    }
    if have != want {
        let flat = at.constant(super::draw::list(&[-1]));
        x = at.one("Reshape", &[&x, &flat], vec![])?;
        let step = 1 + at.draw.below(3);
        let places = (0..want).map(|k| (k * step % have) as i64).collect::<Vec<_>>();
        x = if want < have && at.draw.one_in(2) {
            let [start, end] = [have - want, have].map(|place| super::draw::list(&[place as i64]));
            let (start, end) = (at.constant(start), at.constant(end));
            at.one("Slice", &[&x, &start, &end], vec![])?
        } else {
            let places = at.operand(Tensor::int64s(places));
            at.one("Gather", &[&x, &places], vec![])?
        };
    }
    let to: Vec<i64> = shape.iter().map(|&size| size as i64).collect();
    let to = at.constant(super::draw::list(&to));
    at.one("Reshape", &[&x, &to], vec![])
}
