//! FlexAttention with functions of its scores or its weights: attention written out, with the functions' graphs
//! in their places. Without them it is an operator of its own (`ops::nn::flex_attention`).

use super::{Body, int, ints};
use crate::error::{Error, Result};
use crate::tensor::DType;

/// [FlexAttention](https://onnx.ai/onnx/operators/onnx_aionnxpreview_FlexAttention.html), version 1: Q `[b, heads,
/// l, d]`, K and V `[b, shared heads, s, …]`.
pub fn attention(body: &mut Body<'_>) -> Result<()> {
    let [q, k, v] = [body.required(0)?, body.required(1)?, body.required(2)?];
    let untyped = || {
        Error::unsupported("the model doesn't say its type, which decides in what its scores are computed")
            .at_tensor(&q)
            .remedy("export the model with types of its values")
    };
    let dtype = (body.known)(&q).dtype.ok_or_else(untyped)?;
    let default = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
    let precision = body.int("softmax_precision", i64::from(default.onnx()));
    let other = precision != i64::from(dtype.onnx());
    let scale = match body.passed("scale") {
        Some(given) => body.number(given.f, &q),
        None => {
            let size = body.with("Shape", &[&q], vec![int("start", 3), int("end", 4)]);
            let size = body.with("Cast", &[&size], vec![int("to", i64::from(DType::F32.onnx()))]);
            let root = body.op("Sqrt", &[&size]);
            let scale = body.op("Reciprocal", &[&root]);
            body.op("CastLike", &[&scale, &q])
        }
    };
    let (k, mut v) = (of_every_head(body, &k, &q), of_every_head(body, &v, &q));
    let scaled = body.op("Mul", &[&q, &scale]);
    let turned = body.with("Transpose", &[&k], vec![ints("perm", &[0, 1, 3, 2])]);
    let mut scores = body.op("MatMul", &[&scaled, &turned]);
    if other {
        scores = body.with("Cast", &[&scores], vec![int("to", precision)]);
        v = body.with("Cast", &[&v], vec![int("to", precision)]);
    }
    let scores = changed(body, "score_mod", scores)?;
    let weights = body.with("Softmax", &[&scores], vec![int("axis", 3)]);
    let weights = changed(body, "prob_mod", weights)?;
    let mut result = body.op("MatMul", &[&weights, &v]);
    if other {
        result = body.op("CastLike", &[&result, &q]);
    }
    body.give(0, result);
    Ok(())
}

/// Keys or values with a head for each of the queries': each is read by a run of them.
fn of_every_head(body: &mut Body<'_>, shared: &str, q: &str) -> String {
    let mut size =
        |of: &str, axis: i64| body.with("Shape", &[of], vec![int("start", axis), int("end", axis + 1)]);
    let [batch, all, own, rows, width] =
        [size(q, 0), size(q, 1), size(shared, 1), size(shared, 2), size(shared, 3)];
    let repeat = body.op("Div", &[&all, &own]);
    let axis = body.list(&[2]);
    let apart = body.op("Unsqueeze", &[shared, &axis]);
    let repeated = body.with("Concat", &[&batch, &own, &repeat, &rows, &width], vec![int("axis", 0)]);
    let expanded = body.op("Expand", &[&apart, &repeated]);
    let shape = body.with("Concat", &[&batch, &all, &rows, &width], vec![int("axis", 0)]);
    body.op("Reshape", &[&expanded, &shape])
}

/// What the graph of an attribute makes of a value; the value where there is none.
fn changed(body: &mut Body<'_>, name: &'static str, value: String) -> Result<String> {
    let Some(graph) = body.passed(name).and_then(|attribute| attribute.g.into_option()) else {
        return Ok(value);
    };
    let found = (graph.input.len(), graph.output.len());
    if found != (1, 1) {
        return Err(Error::model(format!(
            "the graph '{name}' has {} inputs and {} outputs; it takes one and gives one",
            found.0, found.1
        )));
    }
    Ok(body.graph(&graph, &[&value]).swap_remove(0))
}
