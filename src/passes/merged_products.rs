//! *Given* products of one A by constant weights, each with a bias or without, that are split into heads at
//! once
//!
//! ```text
//!  A ─┬─ MatMul(W₁) ─ [Add b₁] ─ Reshape …
//!     ├─ MatMul(W₂) ─ [Add b₂] ─ Reshape …
//!     └─ MatMul(W₃) ─ [Add b₃] ─ Reshape …
//! ```
//!
//! → *Result* one product, its columns handed on as parts
//!
//! ```text
//!  A ─ MatMul([W₁ W₂ W₃], [b₁ b₂ b₃]) ─ Split ─┬─ Reshape …
//! ```
//!
//! Gemms the same. This is for plans alone, where a part of a row is a view: on the CPU Split copies. So it
//! is done only where every reader takes strided rows: behind a Reshape into heads, views, products,
//! elementwise operators and attention.

use super::only_reader;
use crate::base::{EvalPrecision, Operands};
use crate::error::{Error, Result};
use crate::expression::table;
use crate::graph::{Graph, Node, ValueId};
use crate::ops::nn::attention::Attention;
use crate::ops::nn::rotary_embedding::RotaryEmbedding;
use crate::ops::shape::{concat::Concat, reshape::Reshape, split::Split};
use crate::ops::{Operator, Reads};
use crate::tensor::Tensor;
use std::collections::HashMap;
use std::sync::Arc;

/// Parts begin at whole groups of this many columns.
const GROUP: usize = 4;

/// A product that may be joined with others.
struct Member {
    node: usize,
    /// The Add of a bias behind it.
    adder: Option<usize>,
    weights: ValueId,
    bias: Option<ValueId>,
    columns: usize,
    result: ValueId,
}

pub fn rewrite(graph: &mut Graph) -> Result<bool> {
    let mut changed = false;
    let mut index = 0;
    while index < graph.nodes.len() {
        let members = Search::new(graph).siblings(index);
        if members.len() > 1 {
            join(graph, &members)?;
            changed = true;
        }
        index += 1;
    }
    Ok(changed)
}

/// A graph with who reads each value.
struct Search<'a> {
    graph: &'a Graph,
    uses: Vec<usize>,
    readers: HashMap<ValueId, Vec<usize>>,
}

impl<'a> Search<'a> {
    fn new(graph: &'a Graph) -> Self {
        let mut readers: HashMap<ValueId, Vec<usize>> = HashMap::new();
        for (index, node) in graph.nodes.iter().enumerate() {
            node.inputs.iter().flatten().for_each(|&id| readers.entry(id).or_default().push(index));
        }
        Self { graph, uses: graph.uses(), readers }
    }

    /// The products that may become one with that of node `first`, itself included, none of which stands
    /// before it.
    fn siblings(&self, first: usize) -> Vec<Member> {
        let Some(head) = self.member(first) else { return vec![] };
        let Some(operand) = self.graph.nodes[first].inputs.first().copied().flatten() else { return vec![] };
        let mut others = self.readers.get(&operand).cloned().unwrap_or_default();
        others.retain(|&other| other > first && alike(&self.graph.nodes[first], &self.graph.nodes[other]));
        others.dedup();
        let fits = |member: &Member| {
            let (Some(a), Some(b)) = (self.graph.constant(head.weights), self.graph.constant(member.weights))
            else {
                return false;
            };
            let axis = summed(&self.graph.nodes[first]);
            a.dtype() == b.dtype() && a.shape().get(axis) == b.shape().get(axis)
        };
        let others: Vec<Member> =
            others.into_iter().filter_map(|other| self.member(other)).filter(fits).collect();
        std::iter::once(head).chain(others).collect()
    }

    fn member(&self, node: usize) -> Option<Member> {
        let product = &self.graph.nodes[node];
        product.op.product().filter(|product| product.alpha == 1.0 && product.beta == 1.0)?;
        let (operand, weights) = (product.inputs.first().copied()??, product.inputs.get(1).copied()??);
        let tensor = self.graph.constant(weights)?;
        let columns = *tensor.shape().get(1 - summed(product))?;
        let plain =
            product.op.epilogue()?.is_identity() && product.inputs.len() <= 3 && product.outputs.len() == 1;
        if !plain
            || self.graph.constant(operand).is_some()
            || tensor.rank() != 2
            || !tensor.dtype().is_float()
            || !columns.is_multiple_of(GROUP)
        {
            return None;
        }
        let row = |id: ValueId| {
            self.graph
                .constant(id)
                .is_some_and(|bias| bias.shape() == [columns] && bias.dtype() == tensor.dtype())
        };
        let (mut bias, mut adder, mut result) =
            (product.inputs.get(2).copied().flatten(), None, product.outputs[0]?);
        if let Some((outer, other, sum)) =
            self.addition(result).filter(|&(_, other, _)| bias.is_none() && row(other))
        {
            (bias, adder, result) = (Some(other), Some(outer), sum);
        }
        (bias.is_none_or(row) && self.goes_into_heads(result)).then_some(Member {
            node,
            adder,
            weights,
            bias,
            columns,
            result,
        })
    }

    /// The Add that alone reads a value: (node, what is added, the sum).
    fn addition(&self, value: ValueId) -> Option<(usize, ValueId, ValueId)> {
        let outer = only_reader(self.graph, &self.uses, value)?;
        let adder = &self.graph.nodes[outer];
        let is_add = adder
            .op
            .expression()
            .is_some_and(|e| e.steps.len() == 1 && e.steps[0].row == &table::ADD && e.operands == 2);
        let other = adder.inputs.iter().flatten().copied().find(|&id| id != value).filter(|_| is_add)?;
        Some((outer, other, adder.outputs.first().copied()??))
    }

    /// Whether a product's result goes into heads at once, and on to where strided rows are taken.
    fn goes_into_heads(&self, result: ValueId) -> bool {
        let heads = |node: &Node| {
            let shape = node.inputs.get(1).copied().flatten().and_then(|id| self.graph.constant(id));
            // By type: of the views this one alone makes heads. Three axes of four would merge batch and heads, which lie no constant step apart.
            let reshape = matches!(node.op.downcast::<Reshape>(), Some(Reshape::To { .. }))
                && shape.is_none_or(|shape| shape.len() > 3);
            // By type: they take heads as one axis, too.
            let heads =
                node.op.downcast::<Attention>().is_some() || node.op.downcast::<RotaryEmbedding>().is_some();
            reshape || heads || node.op.reads() == Reads::Shape
        };
        let direct = self
            .readers
            .get(&result)
            .is_some_and(|readers| readers.iter().all(|&reader| heads(&self.graph.nodes[reader])));
        direct && self.takes_strides(result)
    }

    /// Whether all that reads a value takes it where it lies, through views.
    fn takes_strides(&self, value: ValueId) -> bool {
        let (mut stack, mut seen) = (vec![value], std::collections::HashSet::new());
        while let Some(value) = stack.pop() {
            let readers = self.readers.get(&value).map(Vec::as_slice).unwrap_or_default();
            if self.uses[value.0 as usize] != readers.len() {
                return false; // a graph output
            }
            for &reader in readers.iter().filter(|&&reader| seen.insert(reader)) {
                let node = &self.graph.nodes[reader];
                match node.op.reads() {
                    Reads::View => stack.extend(node.outputs.iter().flatten()),
                    Reads::Strided | Reads::Shape => {}
                    Reads::Contiguous => return false,
                }
            }
        }
        true
    }
}

/// Whether two products are of one kind and one A.
fn alike(a: &Node, b: &Node) -> bool {
    let same = a.op.product().is_some() && a.op.product() == b.op.product();
    same && a.inputs.first() == b.inputs.first()
}

/// The axis of a product's weights along which it sums.
fn summed(product: &Node) -> usize {
    product.op.product().is_some_and(|product| product.trans_b) as usize
}

/// Makes one product of several, which stands where the first of them stood, and splits its result.
fn join(graph: &mut Graph, members: &[Member]) -> Result<()> {
    let [first, .., last] = members else { return Ok(()) };
    let head = graph.nodes[first.node].clone();
    let constant =
        |id: ValueId| graph.constant(id).ok_or_else(|| Error::internal("weights that are no constant"));
    let all = members.iter().map(|member| constant(member.weights)).collect::<Result<Vec<_>>>()?;
    let (dtype, weights) = (all[0].dtype(), beside(&all, 1 - summed(&head))?);
    let bias = if members.iter().any(|member| member.bias.is_some()) {
        let row = |member: &Member| match member.bias {
            Some(bias) => constant(bias).cloned(),
            None => {
                crate::tensor::cast(&Tensor::new([member.columns], vec![0f32; member.columns])?, dtype, true)
            }
        };
        let rows = members.iter().map(row).collect::<Result<Vec<_>>>()?;
        Some(beside(&rows.iter().collect::<Vec<_>>(), 0)?)
    } else {
        None
    };
    // It goes by its last node, as all that is fused; the others are listed.
    let names = |index: usize| (graph.nodes[index].name.clone(), graph.nodes[index].op_type.clone());
    let history = |index: usize| graph.nodes[index].fused.iter().cloned().chain([names(index)]);
    let mut fused: Vec<(String, String)> = members
        .iter()
        .flat_map(|member| [Some(member.node), member.adder])
        .flatten()
        .flat_map(history)
        .collect();
    let (name, _) = fused.pop().ok_or_else(|| Error::internal("products without names"))?;
    let label = |id: ValueId| graph.value(id).name.clone();
    let (weights_name, bias_name, result_name) =
        (label(last.weights), last.bias.map_or("bias".into(), label), label(last.result));

    let mut inputs = vec![head.inputs[0], Some(graph.add_constant(&weights_name, weights))];
    inputs.extend(bias.map(|bias| Some(graph.add_constant(&bias_name, bias))));
    let fresh = graph.fresh_name(&format!("{result_name} and its siblings"));
    let whole = graph.add_value(fresh, None, None);
    let sizes = Tensor::int64s(members.iter().map(|member| member.columns as i64));
    let sizes = graph.add_constant("sizes of parts", sizes);
    let split = Node {
        name: format!("{name} (parts)"),
        op_type: "Split".into(),
        op: Arc::new(Split { axis: -1, parts: members.len() }),
        inputs: vec![Some(whole), Some(sizes)],
        outputs: members.iter().map(|member| Some(member.result)).collect(),
        fused: vec![],
    };
    let joined = Node { name, inputs, outputs: vec![Some(whole)], fused, ..head };
    let gone: Vec<usize> =
        members.iter().flat_map(|member| [Some(member.node), member.adder]).flatten().collect();
    let nodes = std::mem::take(&mut graph.nodes);
    for (index, node) in nodes.into_iter().enumerate() {
        if index == first.node {
            graph.nodes.extend([joined.clone(), split.clone()]);
        } else if !gone.contains(&index) {
            graph.nodes.push(node);
        }
    }
    Ok(())
}

/// Tensors side by side along an axis.
fn beside(parts: &[&Tensor], axis: usize) -> Result<Tensor> {
    let operands: Vec<Option<&Tensor>> = parts.iter().copied().map(Some).collect();
    let made = Concat { axis: axis as i64 }.eval(Operands::new(&operands), EvalPrecision::Declared)?;
    made.into_iter().next().ok_or_else(|| Error::internal("a Concat without a result"))
}
