//! *Given* `MatMulInteger → Cast to float32 → Mul by scales (→ Add of a bias)` with constant weights, nobody else
//! reading between → *Result* MatMulIntegerToFloat. The scales are DynamicQuantizeLinear's times constants, which
//! are one for each column, or one; the bias is one for each column.

use super::super::search::{Fusion, Search, everywhere};
use crate::expression::{Row, table};
use crate::graph::{Graph, ValueId};
use crate::ops::quantized::dynamic_quantize_linear::DynamicQuantizeLinear;
use crate::ops::quantized::matmul_integer::MatMulInteger;
use crate::ops::quantized::matmul_integer_to_float::MatMulIntegerToFloat;
use crate::tensor::{DType, Tensor};
use std::sync::Arc;

pub(super) fn rewrite(graph: &mut Graph) -> bool {
    everywhere(graph, &[], fusion)
}

/// The MatMulInteger at an index and what is behind it.
fn fusion(search: &Search<'_>, product: usize) -> Option<Fusion> {
    search.operator::<MatMulInteger>(product)?;
    let input = |index: usize| search.input(product, index);
    let &[_, columns] = search.graph.constant(input(1)?)?.shape() else { return None };
    let cast = behind(search, product, &table::CAST)?;
    let to = search.graph.nodes[cast].op.expression()?.steps.first()?.to;
    let scaled = behind(search, cast, &table::MUL).filter(|_| to == Some(DType::F32))?;
    let [a, b] = factors(search, search.other(scaled, search.output(cast)?)?, columns)?;
    let mut nodes = vec![product, cast, scaled];
    let bias = behind(search, scaled, &table::ADD).and_then(|sum| {
        let bias = search.other(sum, search.output(scaled)?)?;
        search.graph.constant(bias).filter(|list| is_row(list, columns))?;
        nodes.push(sum);
        Some(bias)
    });
    let inputs = vec![input(0), Some(a), input(2), input(1), Some(b), input(3), bias];
    Some(Fusion { op: Arc::new(MatMulIntegerToFloat), op_type: "MatMulIntegerToFloat", inputs, nodes })
}

/// The only reader of a node's result, if it is this one step.
fn behind(search: &Search<'_>, node: usize, row: &Row) -> Option<usize> {
    let reader = search.reader(search.output(node)?)?;
    (search.step(reader)? == row).then_some(reader)
}

/// Whether a tensor is a float32 for each column of matrices.
fn is_row(tensor: &Tensor, columns: usize) -> bool {
    let [outer @ .., last] = tensor.shape() else { return false };
    tensor.dtype() == DType::F32 && *last == columns && outer.iter().all(|&size| size == 1) && outer.len() < 2
}

/// The scales of a and b whose product a value is.
fn factors(search: &Search<'_>, value: ValueId, columns: usize) -> Option<[ValueId; 2]> {
    let product = search.producer(value).filter(|&node| search.step(node) == Some(&table::MUL))?;
    // The second output is one number, the scale of all rows.
    let of_a = |id: ValueId| {
        search.producer(id).is_some_and(|node| {
            search.operator::<DynamicQuantizeLinear>(node).is_some()
                && search.graph.nodes[node].outputs.get(1) == Some(&Some(id))
        })
    };
    let of_b = |id: ValueId| {
        let list = search.graph.constant(id).filter(|list| list.dtype() == DType::F32);
        list.is_some_and(|list| {
            list.shape().is_empty() || [[1], [columns]].iter().any(|own| list.shape() == own)
        })
    };
    let [x, y] = [search.input(product, 0)?, search.input(product, 1)?];
    [[x, y], [y, x]].into_iter().find(|&[a, b]| of_a(a) && of_b(b))
}
