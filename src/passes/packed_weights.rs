//! *Given* MatMulNBits, MatMulBnb4 or GatherBlockQuantized with constant weights, or constant weights of few
//! bits through a blockwise DequantizeLinear into B of a product
//!
//! ```text
//!  x (int4), scales, zero points ─ DequantizeLinear ─ [Transpose] ─ MatMul | Gemm
//! ```
//!
//! → *Result* a PackedMatMul or PackedGather, whose weights stay packed wherever it runs; a MatMul
//! with floats where the codes don't lie in blocks of a column.

use super::only_reader;
use crate::base::{Levels, Operands, WeightLayout};
use crate::error::{Error, Result};
use crate::graph::{Graph, ValueId};
use crate::ops::matrix::matmul_nbits::{Weights, product_by};
use crate::ops::quantized::granularity::Form;
use crate::ops::{Repacked, RepackedInput};
use crate::tensor::{DType, Tensor, cast};

pub fn rewrite(graph: &mut Graph) -> Result<bool> {
    let mut changed = false;
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let constants: Vec<Option<&Tensor>> =
            node.inputs.iter().map(|id| id.and_then(|id| graph.constant(id))).collect();
        let given = |index: usize| node.inputs.get(index).is_some_and(Option::is_some);
        let made = node.op.repacked(Operands::new(&constants), &given);
        if let Some(made) = made.map_err(|error| graph.error_at(node, error))? {
            replace(graph, index, made);
            changed = true;
        }
    }
    let mut index = 0;
    while index < graph.nodes.len() {
        match dequantized(graph, index)? {
            true => changed = true,
            false => index += 1,
        }
    }
    Ok(changed)
}

/// Makes a node what stands for it; a constant goes by the name of the input that it takes the place of.
fn replace(graph: &mut Graph, index: usize, made: Repacked) {
    let before = graph.nodes[index].inputs.clone();
    let mut inputs = vec![];
    for input in made.inputs {
        inputs.push(match input {
            RepackedInput::Given(at) => before.get(at).copied().flatten(),
            RepackedInput::Constant(at, tensor) => {
                let name = before.get(at).copied().flatten();
                let name = name.map_or("weights".to_string(), |id| graph.value(id).name.clone());
                Some(graph.add_constant(&name, tensor))
            }
        });
    }
    let node = &mut graph.nodes[index];
    (node.op, node.inputs) = (made.op, inputs);
}

/// Takes a DequantizeLinear, and a Transpose behind it, into the product that alone reads it.
fn dequantized(graph: &mut Graph, index: usize) -> Result<bool> {
    let Some(found) = find(graph, index) else { return Ok(false) };
    let (layout, tensor) = packed(graph, &found)?;
    let node = &graph.nodes[found.product];
    let bias = node.inputs.get(2).copied().flatten().map(|_| 2);
    let mut fused: Vec<(String, String)> = vec![];
    for &at in &found.before {
        fused.push((graph.nodes[at].name.clone(), graph.nodes[at].op_type.clone()));
    }
    replace(graph, found.product, product_by(Weights::Packed(layout, tensor), bias));
    graph.nodes[found.product].fused.splice(0..0, fused);
    for &at in found.before.iter().rev() {
        graph.nodes.remove(at);
    }
    Ok(true)
}

/// What becomes one product.
struct Found {
    product: usize,
    /// The nodes that go, in the graph's order.
    before: Vec<usize>,
    /// x, scales, zero points.
    inputs: [Option<ValueId>; 3],
    block: usize,
    bits: usize,
    /// Whether x is `[n, k]`.
    by_columns: bool,
}

fn find(graph: &Graph, index: usize) -> Option<Found> {
    let node = &graph.nodes[index];
    let op = node.op.dequantizes()?;
    let input = |at: usize| node.inputs.get(at).copied().flatten();
    let (x, scales) = (graph.constant(input(0)?)?, graph.constant(input(1)?)?);
    let bits = match x.dtype() {
        DType::I2 | DType::U2 => 2,
        DType::I4 | DType::U4 => 4,
        DType::I8 | DType::U8 => 8,
        _ => return None,
    };
    let zero = match input(2) {
        Some(id) => Some(graph.constant(id)?),
        None => None,
    };
    let computed = |dtype: DType| matches!(dtype, DType::F32 | DType::F16 | DType::BF16);
    let to = op.to.unwrap_or(scales.dtype());
    let Ok(Form::Blocks { axis, block }) = op.granularity.form(x.shape(), scales.shape()) else {
        return None;
    };
    if x.rank() != 2
        || !computed(to)
        || !computed(scales.dtype())
        || zero.is_some_and(|zero| zero.shape() != scales.shape() || zero.dtype() != x.dtype())
        || !WeightLayout::supports(bits, block)
    {
        return None;
    }
    let uses = graph.uses();
    let mut before = vec![index];
    let mut made = node.outputs.first().copied()??;
    let mut reader = only_reader(graph, &uses, made)?;
    let mut turned = false;
    if graph.nodes[reader].op.permutes(2) == Some(vec![1, 0]) {
        before.push(reader);
        turned = true;
        made = graph.nodes[reader].outputs.first().copied()??;
        reader = only_reader(graph, &uses, made)?;
    }
    let node = &graph.nodes[reader];
    let product = node.op.product()?;
    let plain =
        product.alpha == 1.0 && product.beta == 1.0 && !product.trans_a && node.op.epilogue()?.is_identity();
    // B alone: not A, not C.
    let once = node.inputs.iter().filter(|id| **id == Some(made)).count() == 1;
    if !plain || !once || node.inputs.get(1).copied().flatten() != Some(made) {
        return None;
    }
    // The axis of x that the product sums along has the blocks.
    let along = usize::from(turned != product.trans_b);
    if along != axis {
        return None;
    }
    let n = x.shape()[1 - axis];
    let row = |id: ValueId| graph.constant(id).is_some_and(|bias| bias.shape() == [n] && bias.dtype() == to);
    if node.inputs.get(2).copied().flatten().is_some_and(|id| !row(id)) || x.is_empty() {
        return None;
    }
    let inputs = [input(0), input(1), input(2)];
    Some(Found { product: reader, before, inputs, block, bits, by_columns: axis == 1 })
}

/// The weights of what was found.
fn packed(graph: &Graph, found: &Found) -> Result<(WeightLayout, Tensor)> {
    let tensor = |at: usize| found.inputs[at].and_then(|id| graph.constant(id));
    let missing = || Error::internal("weights that are no constant");
    let (x, scales, zero) = (tensor(0).ok_or_else(missing)?, tensor(1).ok_or_else(missing)?, tensor(2));
    let signed = matches!(x.dtype(), DType::I2 | DType::I4 | DType::I8);
    let bits = found.bits;
    // Signed codes are moved to where the lowest is 0, and their zero points with them.
    let shift = if signed { 1i32 << (bits - 1) } else { 0 };
    let [rows, columns] = [x.shape()[0], x.shape()[1]];
    let (k, n) = if found.by_columns { (columns, rows) } else { (rows, columns) };
    let layout = WeightLayout {
        k,
        n,
        bits,
        block: found.block,
        // Without zero points signed codes have the default.
        zeros: zero.is_some() || !signed,
        levels: Levels::Linear,
    };
    let bytes = x.bytes();
    let at = |row: usize, column: usize, sizes: [usize; 2]| {
        if found.by_columns { column * sizes[0] + row } else { row * sizes[1] + column }
    };
    let code = |row: usize, column: usize| {
        let byte = bytes[at(row, column, [k, n])];
        let value = if signed { i32::from(byte as i8) } else { i32::from(byte) };
        ((value + shift) & ((1 << bits) - 1)) as u32
    };
    let per_word = layout.per_word();
    let word = |column: usize, block: usize, word: usize| {
        let first = block * found.block + word * per_word;
        (0..per_word)
            .filter(|i| first + i < k)
            .fold(0, |word, i| word | code(first + i, column) << (i * bits))
    };
    let scales = cast(scales, DType::F32, true)?;
    let scales = scales.as_slice::<f32>()?;
    let zeros = zero.map(|zero| cast(zero, DType::F32, true)).transpose()?;
    let zeros = zeros.as_ref().map(Tensor::as_slice::<f32>).transpose()?;
    let factors = [layout.blocks(), n];
    let scale = |column: usize, block: usize| scales[at(block, column, factors)];
    let zero = |column: usize, block: usize| {
        zeros.map_or(0.0, |zeros| zeros[at(block, column, factors)]) + shift as f32
    };
    Ok((layout, layout.pack(word, scale, zero)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_codes_with_and_without_zero_points() {
        let x = cast(
            &Tensor::new([16, 2], (0..32).map(|x| x % 16 - 8).collect::<Vec<i64>>()).unwrap(),
            DType::I4,
            true,
        );
        let x = x.unwrap();
        let scales = Tensor::new([1, 2], vec![0.5f32, 2.0]).unwrap();
        let zero = cast(&Tensor::new([1, 2], vec![3i64, -2]).unwrap(), DType::I4, true).unwrap();
        for zero in [None, Some(zero)] {
            let mut graph = Graph::default();
            let mut ids = [
                Some(graph.add_constant("x", x.clone())),
                Some(graph.add_constant("s", scales.clone())),
                None,
            ];
            ids[2] = zero.clone().map(|zero| graph.add_constant("z", zero));
            let found =
                Found { product: 0, before: vec![], inputs: ids, block: 16, bits: 4, by_columns: false };
            let (layout, packed) = packed(&graph, &found).unwrap();
            let all = layout.read(&packed).unwrap().unpacked::<f32>(false).unwrap().to_f64s().unwrap();
            let zeros = zero.map_or(vec![0.0, 0.0], |zero| zero.to_f64s().unwrap());
            for (at, (got, code)) in all.iter().zip(x.to_f64s().unwrap()).enumerate() {
                assert_eq!(*got, (code - zeros[at % 2]) * [0.5, 2.0][at % 2]);
            }
        }
    }
}
