//! *Given* nodes on float16 or bfloat16 → *Result* the same on float32, each result rounded to the type that
//! it had; inputs, outputs, and what only 16 bits serve cast from one to the other.
//!
//! The CPU computes 16-bit floats in float32. Cast node by node, weights would be cast in every run, and no
//! fast form would see them. Here they are cast once and packed like others, and the rounding is a step of
//! the node's own expression or epilogue. The rewrite is the CPU's own; it runs when a program is made,
//! before the others, which then find float32.

use super::weights::Weights;
use crate::base::{Bound, Fact, Operands};
use crate::error::Result;
use crate::expression::Pointwise;
use crate::expression::widened::rounding;
use crate::graph::{Graph, Node, ValueId};
use crate::ops::pointwise::Elementwise;
use crate::ops::{EPILOGUE_OPERANDS, Operator};
use crate::tensor::DType;
use std::collections::HashMap;
use std::sync::Arc;

/// Operators that take every type as it is, and of which float32 makes the same elements: those that move
/// them, and those that round once at their end.
const ANY_TYPE: &[&str] = &[
    "CenterCropPad",
    "Compress",
    "Concat",
    "DepthToSpace",
    "Dropout",
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "LayerNormalization",
    "NonZero",
    "Pad",
    "Reshape",
    "ReverseSequence",
    "Shape",
    "Size",
    "Slice",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Tile",
    "TopK",
    "Transpose",
    "Trilu",
    "Unsqueeze",
];

fn narrow(dtype: DType) -> bool {
    rounding(dtype).is_some()
}

/// Rewrites the graph and extends the facts of its values by those of new ones.
pub fn rewrite(graph: &mut Graph, facts: &mut Vec<Option<Fact>>, weights: &Weights) -> Result<()> {
    if !facts.iter().flatten().any(|fact| narrow(fact.dtype)) {
        return Ok(());
    }
    let nodes = std::mem::take(&mut graph.nodes);
    let (wide, left) = (HashMap::new(), HashMap::new());
    let mut rewrite = Rewrite { graph, facts, weights, made: vec![], wide, left };
    for node in nodes {
        let touched = node.inputs.iter().chain(&node.outputs).flatten().any(|&id| rewrite.is_narrow(id));
        if !touched {
            rewrite.made.push(node);
        } else if !rewrite.widened(&node)? {
            rewrite.in_16_bits(node);
        }
    }
    for id in rewrite.graph.outputs.clone() {
        rewrite.need_narrow(id);
    }
    rewrite.graph.nodes = rewrite.made;
    Ok(())
}

struct Rewrite<'a> {
    graph: &'a mut Graph,
    facts: &'a mut Vec<Option<Fact>>,
    weights: &'a Weights,
    made: Vec<Node>,
    /// The value that holds in float32 what another holds in 16 bits.
    wide: HashMap<ValueId, ValueId>,
    /// Values that exist in float32 alone, with the type that they had.
    left: HashMap<ValueId, DType>,
}

impl Rewrite<'_> {
    fn fact(&self, id: ValueId) -> Option<&Fact> {
        self.facts.get(id.0 as usize)?.as_ref()
    }
    fn is_narrow(&self, id: ValueId) -> bool {
        self.fact(id).is_some_and(|fact| narrow(fact.dtype))
    }

    /// A new value in float32, of another's shape and name.
    fn add_float32(&mut self, id: ValueId, what: &str) -> ValueId {
        let name = self.graph.fresh_name(&format!("{} ({what})", self.graph.value(id).name));
        let shape = self.fact(id).map(|fact| fact.shape.clone()).unwrap_or_default();
        let made = self.graph.add_value(name, None, None);
        self.facts.resize(self.graph.values.len(), None);
        self.facts[made.0 as usize] = Some(Fact::new(DType::F32, shape));
        made
    }

    /// The new value that holds another's elements.
    fn add_wide(&mut self, id: ValueId) -> ValueId {
        let wide = self.add_float32(id, "float32");
        self.wide.insert(id, wide);
        wide
    }

    fn push(&mut self, name: &str, op_type: &str, expression: Pointwise, from: ValueId, to: ValueId) {
        self.made.push(Node {
            name: name.to_string(),
            op_type: op_type.to_string(),
            op: Arc::new(Elementwise { expression }),
            inputs: vec![Some(from)],
            outputs: vec![Some(to)],
            fused: vec![],
        });
    }

    /// What holds a value in float32: made here, if it isn't there yet.
    fn in_float32(&mut self, id: ValueId) -> Result<ValueId> {
        if !self.is_narrow(id) {
            return Ok(id);
        }
        if let Some(&wide) = self.wide.get(&id) {
            return Ok(wide);
        }
        let known = self.fact(id).and_then(|fact| fact.value.clone());
        let constant = self.graph.constant(id).cloned().or(known);
        let wide = self.add_wide(id);
        match constant {
            Some(constant) => {
                self.graph.values[wide.0 as usize].constant = Some(self.weights.in_float32(&constant)?)
            }
            None => {
                let name = self.graph.value(id).name.clone();
                self.push(&name, "Cast", Pointwise::cast(DType::F32), id, wide);
            }
        }
        Ok(wide)
    }

    /// Makes a value in its own type, if only float32 is there.
    fn need_narrow(&mut self, id: ValueId) {
        if let (Some(dtype), Some(&wide)) = (self.left.remove(&id), self.wide.get(&id)) {
            let name = self.graph.value(id).name.clone();
            self.push(&name, "Cast", Pointwise::cast(dtype), wide, id);
        }
    }

    /// Takes a node over as it is.
    fn in_16_bits(&mut self, node: Node) {
        node.inputs.iter().flatten().for_each(|&id| self.need_narrow(id));
        self.made.push(node);
    }

    /// Takes a node over on float32; false where it stays as it is.
    fn widened(&mut self, node: &Node) -> Result<bool> {
        let types: Vec<Option<DType>> =
            node.inputs.iter().map(|id| id.and_then(|id| self.fact(id)).map(|fact| fact.dtype)).collect();
        let made: Vec<Option<DType>> =
            node.outputs.iter().map(|id| id.and_then(|id| self.fact(id)).map(|fact| fact.dtype)).collect();
        let Some(op) = self.operator(node, &types, &made) else { return Ok(false) };
        let mut inputs = vec![];
        for id in &node.inputs {
            inputs.push(id.map(|id| self.in_float32(id)).transpose()?);
        }
        let facts: Vec<Option<Fact>> =
            inputs.iter().map(|id| id.and_then(|id| self.fact(id)).cloned()).collect();
        let facts: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
        let Ok(promised) = op.infer(Operands::new(&facts)) else { return Ok(false) };
        // An output of a type that the node names stays in that.
        let wide = |index: usize, dtype: &Option<DType>| {
            !dtype.is_some_and(narrow) || promised.get(index).is_some_and(|fact| fact.dtype == DType::F32)
        };
        if !made.iter().enumerate().all(|(index, dtype)| wide(index, dtype)) {
            return Ok(false);
        }
        let rounded = op.expression().is_some()
            || op.epilogue().is_some()
            || op.error_bound(Operands::new(&facts)) == Bound::Exact;
        let (mut outputs, mut others) = (node.outputs.clone(), vec![]);
        for (to, dtype) in outputs.iter_mut().zip(&made) {
            let (Some(id), Some(dtype)) = (*to, dtype.filter(|&dtype| narrow(dtype))) else { continue };
            let wide = self.add_wide(id);
            self.left.insert(id, dtype);
            *to = Some(wide);
            if let Some(row) = rounding(dtype).filter(|_| !rounded) {
                let before = self.add_float32(id, "unrounded");
                *to = Some(before);
                others.push((before, wide, Pointwise::of(row, 1, &[])));
            }
        }
        self.made.push(Node { op, inputs, outputs, ..node.clone() });
        for (from, to, expression) in others {
            self.push(&node.name, "Round", expression, from, to);
        }
        Ok(true)
    }

    /// The operator on float32, which rounds where it has a place for that. `None`: what it makes depends on
    /// the type.
    fn operator(
        &self,
        node: &Node,
        types: &[Option<DType>],
        made: &[Option<DType>],
    ) -> Option<Arc<dyn Operator>> {
        if node.op.on_values().is_some() {
            return None;
        }
        if let Some(expression) = node.op.expression() {
            let types = types.iter().copied().collect::<Option<Vec<DType>>>()?;
            return Some(Arc::new(Elementwise { expression: expression.widened(&types, false)? }));
        }
        let half_attention = node.op_type == "Attention" && !types.contains(&Some(DType::BF16));
        if node.op.takes_any_type() && !half_attention {
            // Of a table that is constant a few rows are read: these are cast, not the table.
            let narrow = node.inputs.iter().flatten().filter(|&&id| self.is_narrow(id));
            let constant = narrow.map(|&id| self.graph.constant(id).is_some());
            if !ANY_TYPE.contains(&node.op_type.as_str()) || constant.reduce(|a, b| a && b) == Some(true) {
                return None;
            }
        }
        let Some(epilogue) = node.op.epilogue() else { return Some(node.op.clone()) };
        let others = types.get(EPILOGUE_OPERANDS..).unwrap_or_default();
        let operands = std::iter::once(made.first().copied().flatten()).chain(others.iter().copied());
        let operands = operands.take(epilogue.operands).collect::<Option<Vec<DType>>>()?;
        node.op.with_epilogue(epilogue.widened(&operands, true)?)
    }
}
