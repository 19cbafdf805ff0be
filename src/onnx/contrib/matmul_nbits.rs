//! MatMulNBits whose weights the model makes: a product with weights of 2, 4 or 8 bits, which are packed in
//! bytes and have a scale for each block of a column. Constant ones are the operator's
//! (ops/matrix/matmul_nbits.rs).

use super::{Body, UNOPTIMISED, int, ints, text};
use crate::error::{Error, Result};
use crate::tensor::DType;

/// A `[…, k]`, weights `[n, blocks, bytes]`, scales `[n, blocks]`, zero points (packed like the weights, or
/// in the type of the scales), a bias `[n]`: `A · Bᵀ + bias`.
pub fn product(b: &mut Body<'_>) -> Result<()> {
    b.refuse(4, "columns in groups")?;
    // How exactly onnxruntime multiplies, and how it has laid the weights out for that.
    b.int("accuracy_level", 0);
    b.only("weight_prepacked", 0)?;
    let [k, n] = [b.int("K", 0), b.int("N", 0)];
    let (bits, block) = (b.int("bits", 4), b.int("block_size", 0));
    if ![2, 4, 8].contains(&bits) {
        return Err(Error::unsupported(format!("weights of {bits} bits; 2, 4 and 8 are supported"))
            .remedy("quantise the model to 4 or 8 bits"));
    }
    if k < 1 || n < 1 || block < 16 || block % (8 / bits) != 0 {
        return Err(Error::model(format!("K = {k}, N = {n} and blocks of {block} make no weights")));
    }
    let blocks = (k - 1) / block + 1;
    let padded = blocks.checked_mul(block).filter(|padded| padded.checked_mul(n).is_some());
    let padded = padded.ok_or_else(|| Error::model(format!("weights of {k} × {n} are too many")))?;
    let (x, weights, scales) = (b.required(0)?, b.required(1)?, b.required(2)?);
    let q = unpacked(b, &weights, bits, &[n, blocks, block]);
    let q = b.op("CastLike", &[&q, &scales]);
    let zero = if b.has(3) {
        let given = b.input(3);
        let dtype = (b.known)(&given).dtype.ok_or_else(|| {
            Error::unsupported("the model doesn't say of what type the zero points are")
                .at_tensor(&given)
                .remedy(UNOPTIMISED)
        })?;
        let zeros = if dtype == DType::U8 {
            // A row of them ends with a whole byte.
            let in_a_row = (blocks * bits + 7) / 8 * 8 / bits;
            let all = unpacked(b, &given, bits, &[n, in_a_row]);
            let all = b.op("CastLike", &[&all, &scales]);
            first(b, &all, blocks)
        } else {
            given
        };
        of_blocks(b, &zeros, n, blocks)
    } else {
        b.number((1i64 << (bits - 1)) as f32, &scales)
    };
    let scales = of_blocks(b, &scales, n, blocks);
    let centred = b.op("Sub", &[&q, &zero]);
    let floats = b.op("Mul", &[&centred, &scales]);
    let rows = reshaped(b, &floats, &[n, padded]);
    let rows = if padded == k { rows } else { first(b, &rows, k) };
    let columns = b.with("Transpose", &[&rows], vec![ints("perm", &[1, 0])]);
    let columns = b.op("CastLike", &[&columns, &x]);
    let y = b.op("MatMul", &[&x, &columns]);
    let y = b.plus(y, 5);
    b.give(0, y);
    Ok(())
}

fn reshaped(b: &mut Body<'_>, value: &str, shape: &[i64]) -> String {
    let shape = b.list(shape);
    b.op("Reshape", &[value, &shape])
}

/// One number for each block, as it broadcasts over the block's elements.
fn of_blocks(b: &mut Body<'_>, value: &str, n: i64, blocks: i64) -> String {
    reshaped(b, value, &[n, blocks, 1])
}

/// The first `count` columns of a matrix.
fn first(b: &mut Body<'_>, value: &str, count: i64) -> String {
    let [start, end, axis] = [0, count, 1].map(|value| b.list(&[value]));
    b.op("Slice", &[value, &start, &end, &axis])
}

/// The numbers that bytes hold, the lowest bits first, in this shape.
fn unpacked(b: &mut Body<'_>, bytes: &str, bits: i64, shape: &[i64]) -> String {
    if bits == 8 {
        return reshaped(b, bytes, shape);
    }
    let flat = reshaped(b, bytes, &[-1, 1]);
    let byte = |b: &mut Body<'_>, value: i64| {
        let value = b.list(&[value]);
        b.with("Cast", &[&value], vec![int("to", i64::from(DType::U8.onnx()))])
    };
    let mask = byte(b, (1 << bits) - 1);
    let parts: Vec<String> = (0..8 / bits)
        .map(|at| {
            let shift = byte(b, at * bits);
            let shifted = b.with("BitShift", &[&flat, &shift], vec![text("direction", "RIGHT")]);
            b.op("BitwiseAnd", &[&shifted, &mask])
        })
        .collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let all = b.with("Concat", &parts, vec![int("axis", 1)]);
    reshaped(b, &all, shape)
}
