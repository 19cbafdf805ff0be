//! Products and convolutions with what comes behind them.

use super::{Body, UNOPTIMISED, float};
use crate::error::{Error, Result};

/// activation(Conv(X, W, B) + Z).
pub fn conv(b: &mut Body<'_>) -> Result<()> {
    let attributes = ["auto_pad", "dilations", "group", "kernel_shape", "pads", "strides"]
        .iter()
        .filter_map(|name| b.passed(name))
        .collect();
    let sum = b.with("Conv", &[&b.required(0)?, &b.required(1)?, &b.input(2)], attributes);
    let sum = b.plus(sum, 3);
    let parameters = b.passed("activation_params").map(|attribute| attribute.floats).unwrap_or_default();
    let y = activated(b, sum, &parameters)?;
    b.give(0, y);
    Ok(())
}

/// A transposed convolution whose paddings are an input: made without any, and cut by them.
pub fn conv_transpose_with_dynamic_pads(b: &mut Body<'_>) -> Result<()> {
    let mut names = vec!["dilations", "group", "kernel_shape", "output_padding", "strides"];
    if b.has(2) {
        let auto = b.text("auto_pad");
        if !matches!(&auto[..], "" | "NOTSET") {
            return Err(Error::model(format!("auto_pad = {auto} beside paddings")));
        }
    } else {
        names.push("auto_pad");
    }
    let attributes = names.iter().filter_map(|name| b.passed(name)).collect();
    let (x, w, pads) = (b.required(0)?, b.required(1)?, b.input(2));
    let whole = b.with("ConvTranspose", &[&x, &w, &b.input(3)], attributes);
    if pads.is_empty() {
        b.give(0, whole);
        return Ok(());
    }
    let rank = b.rank(&w)? as i64;
    if rank < 3 {
        return Err(Error::model(format!("weights of {rank} axes")).at_tensor(&w));
    }
    let halves = vec![super::int("axis", 0), super::int("num_outputs", 2)];
    let halves = b.nodes("Split", &[&pads], halves, 2);
    let sizes = b.with("Shape", &[&whole], vec![super::int("start", 2)]);
    let ends = b.op("Sub", &[&sizes, &halves[1]]);
    let axes = b.list(&(2..rank).collect::<Vec<_>>());
    let y = b.op("Slice", &[&whole, &halves[0], &ends, &axes]);
    b.give(0, y);
    Ok(())
}

/// activation(Gemm(A, B, C)).
pub fn gemm(b: &mut Body<'_>) -> Result<()> {
    let attributes = ["alpha", "beta", "transA", "transB"].iter().filter_map(|name| b.passed(name)).collect();
    let sum = b.with("Gemm", &[&b.required(0)?, &b.required(1)?, &b.input(2)], attributes);
    let parameters = ["activation_alpha", "activation_beta", "activation_gamma"]
        .iter()
        .filter_map(|name| b.passed(name))
        .map(|attribute| attribute.f);
    let parameters: Vec<f32> = parameters.collect();
    let y = activated(b, sum, &parameters)?;
    b.give(0, y);
    Ok(())
}

/// alpha · A · B.
pub fn matmul(b: &mut Body<'_>) -> Result<()> {
    let mut operands = [b.required(0)?, b.required(1)?];
    for (operand, (batch, matrix)) in
        operands.iter_mut().zip([("transBatchA", "transA"), ("transBatchB", "transB")])
    {
        let (batch, matrix) = (b.int(batch, 0) != 0, b.int(matrix, 0) != 0);
        if !batch && !matrix {
            continue;
        }
        let rank = b.rank(operand)? as i64;
        let mut order: Vec<i64> = (0..rank).collect();
        if batch && rank > 2 {
            // The rows come first, before the batch.
            order[..rank as usize - 1].rotate_left(1);
        }
        if let ([.., row, column], true) = (&mut order[..], matrix) {
            std::mem::swap(row, column);
        }
        *operand = b.with("Transpose", &[operand], vec![super::ints("perm", &order)]);
    }
    let alpha = b.float("alpha", 1.0);
    let mut y = b.op("MatMul", &[&operands[0], &operands[1]]);
    if alpha != 1.0 {
        let factor = b.number(alpha, &b.input(0));
        y = b.op("Mul", &[&y, &factor]);
    }
    b.give(0, y);
    Ok(())
}

/// A value through the function that `activation` names.
fn activated(b: &mut Body<'_>, value: String, parameters: &[f32]) -> Result<String> {
    let name = b.text("activation");
    match (name.as_str(), parameters) {
        ("", _) => Ok(value),
        ("Relu" | "Tanh" | "Sigmoid", []) => Ok(b.op(&name, &[&value])),
        ("LeakyRelu", [alpha]) => Ok(b.with(&name, &[&value], vec![float("alpha", *alpha)])),
        ("HardSigmoid", [alpha, beta]) => {
            Ok(b.with(&name, &[&value], vec![float("alpha", *alpha), float("beta", *beta)]))
        }
        ("Clip", [low, high]) => {
            let weights = b.required(1)?;
            let bounds = [*low, *high].map(|bound| b.number(bound, &weights));
            Ok(b.op("Clip", &[&value, &bounds[0], &bounds[1]]))
        }
        _ => Err(Error::unsupported(format!("activation {name} with {} parameters", parameters.len()))
            .remedy(UNOPTIMISED)),
    }
}
