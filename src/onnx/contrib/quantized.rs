//! What onnxruntime's quantiser leaves: operators on quantised tensors, as what they compute between
//! DequantizeLinear and QuantizeLinear; and products of integers with their scales, those of attention too.
//!
//! onnxruntime multiplies the scales by each other first: of what lies in the middle between two whole
//! numbers the one may give the lower and the other the higher.

use super::{Body, UNOPTIMISED, float, int, ints};
use crate::error::{Error, Result};
use onnx_protobuf::AttributeProto;

/// QuantizeLinear and DequantizeLinear themselves, which had 16-bit integers here first.
pub fn quantize(b: &mut Body<'_>) -> Result<()> {
    granular(b, "QuantizeLinear")
}
pub fn dequantize(b: &mut Body<'_>) -> Result<()> {
    granular(b, "DequantizeLinear")
}
fn granular(b: &mut Body<'_>, op_type: &str) -> Result<()> {
    let attributes = ["axis", "block_size"].iter().filter_map(|name| b.passed(name)).collect();
    let y = b.with(op_type, &[&b.required(0)?, &b.required(1)?, &b.input(2)], attributes);
    b.give(0, y);
    Ok(())
}

/// Input `index` as floats, its scale and zero point being the two inputs behind it.
fn floats(b: &mut Body<'_>, index: usize) -> Result<String> {
    let (x, scale, zero) = (b.required(index)?, b.required(index + 1)?, b.input(index + 2));
    Ok(b.op("DequantizeLinear", &[&x, &scale, &zero]))
}

/// Makes a value the output, quantised by inputs `index` and the one behind it, in the type of input `like`
/// where there is no zero point.
fn quantized(b: &mut Body<'_>, value: String, index: usize, like: usize) -> Result<()> {
    let (scale, zero) = (b.required(index)?, b.input(index + 1));
    let mut attributes = vec![];
    if zero.is_empty() {
        let name = b.required(like)?;
        let dtype = (b.known)(&name).dtype.ok_or_else(|| {
            Error::unsupported("neither a zero point nor the model says what type is made")
                .at_tensor(&name)
                .remedy(UNOPTIMISED)
        })?;
        attributes.push(int("output_dtype", dtype.onnx() as i64));
    }
    let y = b.with("QuantizeLinear", &[&value, &scale, &zero], attributes);
    b.give(0, y);
    Ok(())
}

/// A function of two tensors.
fn binary(b: &mut Body<'_>, op_type: &str) -> Result<()> {
    let (x, y) = (floats(b, 0)?, floats(b, 3)?);
    let made = b.op(op_type, &[&x, &y]);
    quantized(b, made, 6, 0)
}
pub fn add(b: &mut Body<'_>) -> Result<()> {
    binary(b, "Add")
}
pub fn mul(b: &mut Body<'_>) -> Result<()> {
    binary(b, "Mul")
}

/// A function of one tensor.
fn unary(b: &mut Body<'_>, op_type: &str, attributes: Vec<AttributeProto>) -> Result<()> {
    let x = floats(b, 0)?;
    let made = b.with(op_type, &[&x], attributes);
    quantized(b, made, 3, 0)
}
pub fn sigmoid(b: &mut Body<'_>) -> Result<()> {
    unary(b, "Sigmoid", vec![])
}
pub fn leaky_relu(b: &mut Body<'_>) -> Result<()> {
    let alpha = b.float("alpha", 0.01);
    unary(b, "LeakyRelu", vec![float("alpha", alpha)])
}

/// Softmax as of the version that `opset` says: before 13 over all axes from `axis` on.
pub fn softmax(b: &mut Body<'_>) -> Result<()> {
    let (axis, opset) = (b.int("axis", -1), b.int("opset", 13));
    if opset >= 13 || axis == -1 {
        return unary(b, "Softmax", vec![int("axis", axis)]);
    }
    let x = floats(b, 0)?;
    let shape = b.op("Shape", &[&x]);
    let flat = b.with("Flatten", &[&x], vec![int("axis", axis)]);
    let made = b.with("Softmax", &[&flat], vec![int("axis", 1)]);
    let made = b.op("Reshape", &[&made, &shape]);
    quantized(b, made, 3, 0)
}

/// A pool, of images whose channels may lie innermost.
fn pool(b: &mut Body<'_>, op_type: &str, attributes: Vec<AttributeProto>) -> Result<()> {
    if b.int("channels_last", 0) == 0 {
        return unary(b, op_type, attributes);
    }
    let name = b.required(0)?;
    let rank = b.rank(&name)? as i64;
    if rank < 3 {
        return Err(Error::model(format!("a pool over {rank} axes")).at_tensor(&name));
    }
    let first: Vec<i64> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
    let last: Vec<i64> = std::iter::once(0).chain(2..rank).chain([1]).collect();
    let x = floats(b, 0)?;
    let x = b.with("Transpose", &[&x], vec![ints("perm", &first)]);
    let made = b.with(op_type, &[&x], attributes);
    let made = b.with("Transpose", &[&made], vec![ints("perm", &last)]);
    quantized(b, made, 3, 0)
}
pub fn average_pool(b: &mut Body<'_>) -> Result<()> {
    let attributes = ["auto_pad", "ceil_mode", "count_include_pad", "kernel_shape", "pads", "strides"]
        .iter()
        .filter_map(|name| b.passed(name))
        .collect();
    pool(b, "AveragePool", attributes)
}
pub fn global_average_pool(b: &mut Body<'_>) -> Result<()> {
    pool(b, "GlobalAveragePool", vec![])
}

/// Tensors with scales of their own side by side; the result's scale and zero point come first.
pub fn concat(b: &mut Body<'_>) -> Result<()> {
    let mut parts = vec![];
    for index in (2..b.node.input.len()).step_by(3) {
        parts.push(floats(b, index)?);
    }
    let attributes = b.passed("axis").into_iter().collect();
    let made = b.with("Concat", &parts.iter().map(String::as_str).collect::<Vec<_>>(), attributes);
    quantized(b, made, 0, 2)
}

/// Where, of a condition and two quantised tensors.
pub fn choose(b: &mut Body<'_>) -> Result<()> {
    let (x, y) = (floats(b, 1)?, floats(b, 4)?);
    let made = b.op("Where", &[&b.required(0)?, &x, &y]);
    quantized(b, made, 7, 1)
}

/// A · B in int32, of inputs and their zero points.
fn product(b: &mut Body<'_>, [a, w]: [&str; 2], [a_zero, w_zero]: [&str; 2]) -> String {
    b.op("MatMulInteger", &[a, w, a_zero, w_zero])
}

/// int32 sums as floats, times two scales.
fn scaled(b: &mut Body<'_>, sums: &str, scales: [&str; 2]) -> String {
    let factor = b.op("Mul", &scales);
    let sums = b.op("CastLike", &[sums, &factor]);
    b.op("Mul", &[&sums, &factor])
}

/// alpha · A · B + C of integers, as floats or quantised again.
pub fn gemm(b: &mut Body<'_>) -> Result<()> {
    let mut factors = [b.required(0)?, b.required(3)?];
    for (factor, name) in factors.iter_mut().zip(["transA", "transB"]) {
        if b.int(name, 0) != 0 {
            *factor = b.with("Transpose", &[factor], vec![ints("perm", &[1, 0])]);
        }
    }
    let (a_zero, b_zero) = (b.input(2), b.input(5));
    let sums = product(b, [&factors[0], &factors[1]], [&a_zero, &b_zero]);
    let sums = b.plus(sums, 6);
    let mut scale = b.required(1)?;
    let alpha = b.float("alpha", 1.0);
    if alpha != 1.0 {
        let alpha = b.number(alpha, &scale);
        scale = b.op("Mul", &[&scale, &alpha]);
    }
    let made = scaled(b, &sums, [&scale, &b.required(4)?]);
    if b.has(7) {
        return quantized(b, made, 7, 0);
    }
    b.give(0, made);
    Ok(())
}

/// A, quantised by its own range, times B of integers, as floats with a bias.
pub fn dynamic_matmul(b: &mut Body<'_>) -> Result<()> {
    let made = b.nodes("DynamicQuantizeLinear", &[&b.required(0)?], vec![], 3);
    let (w, w_scale, w_zero) = (b.required(1)?, b.required(2)?, b.input(3));
    let sums = product(b, [&made[0], &w], [&made[2], &w_zero]);
    let y = scaled(b, &sums, [&made[1], &w_scale]);
    let y = b.plus(y, 4);
    b.give(0, y);
    Ok(())
}

/// Attention whose products of Q, K and V are of integers with their scales.
pub fn attention(b: &mut Body<'_>) -> Result<()> {
    let (x_zero, w_zero) = (b.input(6), b.input(7));
    let sums = product(b, [&b.required(0)?, &b.required(1)?], [&x_zero, &w_zero]);
    let made = scaled(b, &sums, [&b.required(3)?, &b.required(4)?]);
    let made = b.plus(made, 2);
    super::attention::of_product(b, &made, 5, None, 8)
}

/// A · B of integers with their scales, as floats with a bias.
pub fn matmul_to_float(b: &mut Body<'_>) -> Result<()> {
    let (a_zero, w_zero) = (b.input(4), b.input(5));
    let sums = product(b, [&b.required(0)?, &b.required(1)?], [&a_zero, &w_zero]);
    let y = scaled(b, &sums, [&b.required(2)?, &b.required(3)?]);
    let y = b.plus(y, 6);
    b.give(0, y);
    Ok(())
}
