//! *Given* `x/√2 → Erf → + 1`, multiplied by x and ½ in any order, nobody else reading between → *Result*
//! `Gelu(x)`: exporters wrote it so before opset 20.

use super::search::{Fusion, Search, everywhere};
use crate::base::Fact;
use crate::error::Result;
use crate::expression::{Arg, Pointwise, table};
use crate::graph::{Graph, ValueId};
use crate::ops::pointwise::Elementwise;
use std::sync::Arc;

pub fn rewrite(graph: &mut Graph, facts: &[Option<Fact>]) -> Result<bool> {
    Ok(everywhere(graph, facts, from_erf))
}

fn from_erf(search: &Search<'_>, erf: usize) -> Option<Fusion> {
    let root = search
        .input(erf, 0)
        .filter(|&root| search.step(erf) == Some(&table::ERF) && search.uses(root) == 1)?;
    let scale = search.producer(root)?;
    let x = search.variable(scale)?;
    if (factor(search, scale, x)? - std::f64::consts::FRAC_1_SQRT_2).abs() > 1e-6 {
        return None;
    }
    let sum = search.reader(search.output(erf)?).filter(|&node| search.step(node) == Some(&table::ADD))?;
    (search.number(search.other(sum, search.output(erf)?)) == Some(1.0)).then_some(())?;
    let first = search.reader(search.output(sum)?)?;
    let mut nodes = vec![scale, erf, sum];
    let half = |node: usize, value: ValueId| factor(search, node, value) == Some(0.5);
    if half(first, search.output(sum)?) {
        // ((1 + erf) · ½) · x
        let product = search.reader(search.output(first)?)?;
        (search.step(product) == Some(&table::MUL)
            && search.other(product, search.output(first)?) == Some(x))
        .then_some(())?;
        nodes.extend([first, product]);
    } else {
        (search.step(first) == Some(&table::MUL)).then_some(())?;
        let other = search.other(first, search.output(sum)?)?;
        if other == x {
            // ((1 + erf) · x) · ½
            let last = search
                .reader(search.output(first)?)
                .filter(|&node| half(node, search.output(first).unwrap_or(x)))?;
            nodes.extend([first, last]);
        } else {
            // (1 + erf) · (x · ½)
            let halved = search.producer(other).filter(|&node| search.uses(other) == 1 && half(node, x))?;
            nodes.extend([halved, first]);
        }
    }
    let result = search.output(*nodes.last()?)?;
    let (from, to) = (search.fact(x)?, search.fact(result)?);
    if from.shape != to.shape || from.dtype != to.dtype || !from.dtype.is_float() {
        return None;
    }
    let expression = Pointwise::of(&table::GELU, 1, &[]);
    Some(Fusion { op: Arc::new(Elementwise { expression }), op_type: "Gelu", inputs: vec![Some(x)], nodes })
}

/// c where an elementwise node is c · `value`.
fn factor(search: &Search<'_>, node: usize, value: ValueId) -> Option<f64> {
    let expression = search.function(node, value)?;
    let [step] = &expression.steps[..] else { return None };
    match step.args[..] {
        [Arg::Operand(0), Arg::Const(c)] | [Arg::Const(c), Arg::Operand(0)] if step.row == &table::MUL => {
            Some(c)
        }
        [Arg::Operand(0), Arg::Const(c)] if step.row == &table::DIV => Some(1.0 / c),
        _ => None,
    }
}
