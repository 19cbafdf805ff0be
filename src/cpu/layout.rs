//! *Given* convolutions, pools and what lies between them, on images `[n, c, h, w]` → *Result* the same on
//! `[n, h, w, c]`, with a Transpose where an image comes in or goes out.
//!
//! With channels innermost a convolution's windows are contiguous, and every loop runs along channels. The
//! rewrite is the CPU's own: it runs when a program is made, after all others. An image that is known in the
//! new order keeps being read in it; the old order is made only for a node that asks for it. Transposes of
//! the graph's own between the two orders become nothing.

use crate::base::channels_last::{TO_FIRST, TO_LAST, permuted};
use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands};
use crate::cpu_kernels::panels::Packed;
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, ValueId};
use crate::ops::quantized::dequantize_linear::DequantizeLinear;
use crate::ops::quantized::quantize_linear::QuantizeLinear;
use crate::ops::reduce::reduce::Reduce;
use crate::ops::shape::{concat::Concat, transpose::Transpose};
use crate::ops::{ChannelsLast as Served, Engine, Operator};
use crate::tensor::{DType, Tensor};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// An operator on images whose channels lie innermost: the inputs that its engine says, and the results.
#[derive(Debug, Clone)]
pub struct ChannelsLast {
    inner: Arc<dyn Operator>,
}

impl ChannelsLast {
    pub fn inner(&self) -> &dyn Operator {
        &*self.inner
    }

    fn by_engine(
        &self,
        inputs: Operands<'_, Tensor>,
        packed: Option<&Packed>,
        mode: EvalPrecision,
    ) -> Result<Vec<Tensor>> {
        let engine = self.inner.engine();
        let made = engine.map(|engine| engine.run_channels_last(inputs, packed, mode)).transpose()?;
        made.flatten().ok_or_else(|| Error::internal("an operator without a form for channels innermost"))
    }

    /// Facts as the operator inside has them.
    fn inside(&self, inputs: Operands<'_, Fact>) -> Vec<Option<Fact>> {
        let image = |index: usize| self.inner.engine().is_some_and(|engine| engine.takes_image(index));
        let fact = |index: usize| {
            let fact = inputs.optional(index)?;
            Some(if image(index) { reordered(fact, TO_FIRST) } else { fact.clone() })
        };
        (0..inputs.len()).map(fact).collect()
    }
}

/// A fact without its elements, of rank 4 with the axes in another order.
fn reordered(fact: &Fact, order: [usize; 4]) -> Fact {
    Fact::new(
        fact.dtype,
        if fact.rank() == 4 { order.map(|axis| fact.shape[axis]).to_vec() } else { fact.shape.clone() },
    )
}

impl Operator for ChannelsLast {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let facts = self.inside(inputs);
        let refs: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
        Ok(self.inner.infer(Operands::new(&refs))?.iter().map(|fact| reordered(fact, TO_LAST)).collect())
    }
    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        self.by_engine(inputs, None, mode)
    }
    fn engine(&self) -> Option<&dyn Engine> {
        Some(self)
    }
    fn error_bound(&self, inputs: Operands<'_, Fact>) -> Bound {
        let facts = self.inside(inputs);
        self.inner.error_bound(Operands::new(&facts.iter().map(Option::as_ref).collect::<Vec<_>>()))
    }
    fn flops(&self, inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        let facts = self.inside(inputs);
        let outputs: Vec<Fact> = outputs.iter().map(|fact| reordered(fact, TO_FIRST)).collect();
        self.inner.flops(Operands::new(&facts.iter().map(Option::as_ref).collect::<Vec<_>>()), &outputs)
    }
}

impl Engine for ChannelsLast {
    fn pack(&self, inputs: Operands<'_, Tensor>) -> Result<Option<Packed>> {
        self.inner.engine().map_or(Ok(None), |engine| engine.pack(inputs))
    }
    fn run(
        &self,
        inputs: Operands<'_, Tensor>,
        packed: Option<&Packed>,
        _wanted: usize,
        mode: EvalPrecision,
    ) -> Result<Option<Vec<Tensor>>> {
        self.by_engine(inputs, packed, mode).map(Some)
    }
}

/// Rewrites the graph. `facts` are those of its values.
pub fn rewrite(graph: &mut Graph, facts: &[Option<Fact>]) -> Result<()> {
    if !graph.nodes.iter().any(|node| served(graph, node) == Served::Asked) {
        return Ok(());
    }
    let nodes = std::mem::take(&mut graph.nodes);
    let mut rewrite = Rewrite { graph, facts, made: vec![], last: HashMap::new(), unmade: HashSet::new() };
    for node in nodes {
        if !rewrite.image(&node)? {
            for id in node.inputs.iter().flatten() {
                rewrite.need_first(*id);
            }
            rewrite.made.push(node);
        }
    }
    for id in rewrite.graph.outputs.clone() {
        rewrite.need_first(id);
    }
    rewrite.graph.nodes = rewrite.made;
    Ok(())
}

/// Whether a node scales elements to integers or from them, without blocks.
fn scaled(node: &Node) -> bool {
    // By type: these are the operators whose scales are inputs.
    let to = node.op.downcast::<QuantizeLinear>().map(|op| op.granularity);
    let from = node.op.downcast::<DequantizeLinear>().map(|op| op.granularity);
    to.or(from).is_some_and(|granularity| granularity.block == 0)
}

/// How a node's engine takes images.
fn served(graph: &Graph, node: &Node) -> Served {
    let Some(engine) = node.op.engine() else { return Served::Never };
    let weights = engine.weights().first().and_then(|&at| node.inputs.get(at).copied().flatten());
    engine.channels_last(weights.and_then(|id| graph.constant(id)).map(Tensor::shape))
}

struct Rewrite<'a> {
    graph: &'a mut Graph,
    facts: &'a [Option<Fact>],
    made: Vec<Node>,
    /// The value that holds an image in the new order.
    last: HashMap<ValueId, ValueId>,
    /// Images that exist in the new order alone.
    unmade: HashSet<ValueId>,
}

impl Rewrite<'_> {
    fn fact(&self, id: ValueId) -> Option<&Fact> {
        self.facts.get(id.0 as usize)?.as_ref()
    }
    fn is_image(&self, id: ValueId) -> bool {
        let held = |dtype| matches!(dtype, DType::F32 | DType::U8 | DType::I8);
        self.fact(id).is_some_and(|fact| held(fact.dtype) && fact.rank() == 4)
    }

    fn transpose(&mut self, from: ValueId, to: ValueId, order: [usize; 4]) {
        let op = Arc::new(Transpose { perm: Some(order.iter().map(|&axis| axis as i64).collect()) });
        let name = self.graph.value(to).name.clone();
        self.made.push(Node {
            name,
            op_type: "Transpose".into(),
            op,
            inputs: vec![Some(from)],
            outputs: vec![Some(to)],
            fused: vec![],
        });
    }

    /// The image in the new order, made here if it isn't there yet.
    fn in_last(&mut self, id: ValueId) -> Result<ValueId> {
        if let Some(&last) = self.last.get(&id) {
            return Ok(last);
        }
        let hint = format!("{} (channels last)", self.graph.value(id).name);
        let last = match self.graph.constant(id).cloned() {
            Some(constant) => self.graph.add_constant(&hint, permuted(&constant, TO_LAST)?),
            None => {
                let name = self.graph.fresh_name(&hint);
                let last = self.graph.add_value(name, None, None);
                self.transpose(id, last, TO_LAST);
                last
            }
        };
        self.last.insert(id, last);
        Ok(last)
    }

    /// Makes the image in the old order, if only the new one is there.
    fn need_first(&mut self, id: ValueId) {
        if self.unmade.remove(&id) {
            let last = self.last[&id];
            self.transpose(last, id, TO_FIRST);
        }
    }

    /// Adds the node with its result in the new order.
    fn push(&mut self, node: &Node, op: Arc<dyn Operator>, inputs: Vec<Option<ValueId>>) {
        let outputs = node.outputs.iter().map(|id| {
            id.map(|id| {
                let name = self.graph.fresh_name(&format!("{} (channels last)", self.graph.value(id).name));
                let last = self.graph.add_value(name, None, None);
                self.last.insert(id, last);
                self.unmade.insert(id);
                last
            })
        });
        let outputs = outputs.collect();
        self.made.push(Node { op, inputs, outputs, ..node.clone() });
    }

    /// Takes a node over into the new order; false where it stays as it is.
    fn image(&mut self, node: &Node) -> Result<bool> {
        let (Some(Some(x)), Some(Some(out))) = (node.inputs.first().copied(), node.outputs.first().copied())
        else {
            return Ok(false);
        };
        if let Some(order) = node.op.permutes(4) {
            return Ok(self.transposed(&order, x, out));
        }
        match served(self.graph, node) {
            Served::Asked => return self.asked(node, out),
            Served::Given => return self.given(node, x),
            Served::Never => {}
        }
        if !self.is_image(out) || !node.inputs.iter().flatten().any(|id| self.last.contains_key(id)) {
            return Ok(false);
        }
        // By type: its axes are an input, which has to follow.
        if let Some(reduce) = node.op.downcast::<Reduce>() {
            return self.reduce(reduce, node, x);
        }
        if let Some(axis) = node.op.concatenates() {
            let axis = crate::tensor::index::axis(axis, 4)?;
            let place = TO_LAST.iter().position(|&from| from == axis).unwrap_or(axis);
            let mut inputs = vec![];
            for id in &node.inputs {
                inputs.push(id.map(|id| self.in_last(id)).transpose()?);
            }
            self.push(node, Arc::new(Concat { axis: place as i64 }), inputs);
            return Ok(true);
        }
        if node.op.expression().is_some() {
            return self.elementwise(node, out);
        }
        if scaled(node) {
            return self.scaled(node, x);
        }
        Ok(false)
    }

    /// A scaling of all elements alike.
    fn scaled(&mut self, node: &Node, x: ValueId) -> Result<bool> {
        let alike = |id: &ValueId| self.fact(*id).is_some_and(|fact| fact.count() == 1);
        if !self.last.contains_key(&x) || !node.inputs.iter().skip(1).flatten().all(alike) {
            return Ok(false);
        }
        let mut inputs = node.inputs.clone();
        inputs[0] = Some(self.in_last(x)?);
        self.push(node, node.op.clone(), inputs);
        Ok(true)
    }

    /// A Transpose between the orders is no work: its result is the same elements under another name.
    fn transposed(&mut self, order: &[usize], x: ValueId, out: ValueId) -> bool {
        if !self.is_image(x) {
            return false;
        }
        if order == TO_FIRST && !self.unmade.contains(&x) && !self.graph.outputs.contains(&out) {
            self.last.insert(out, x);
            self.unmade.insert(out);
            return true;
        }
        if order == TO_LAST
            && let Some(&last) = self.last.get(&x)
        {
            // The result is made by name, from what is there in its order.
            let op = Arc::new(Transpose { perm: Some(vec![0, 1, 2, 3]) });
            let name = self.graph.value(out).name.clone();
            self.made.push(Node {
                name,
                op_type: "Transpose".into(),
                op,
                inputs: vec![Some(last)],
                outputs: vec![Some(out)],
                fused: vec![],
            });
            return true;
        }
        false
    }

    /// A pool: takes an image that is in the new order already.
    fn given(&mut self, node: &Node, x: ValueId) -> Result<bool> {
        if !self.is_image(x) || !self.last.contains_key(&x) {
            return Ok(false);
        }
        let last = self.in_last(x)?;
        self.push(node, Arc::new(ChannelsLast { inner: node.op.clone() }), vec![Some(last)]);
        Ok(true)
    }

    /// A convolution: worth bringing its image into the new order, and its epilogue's operands.
    fn asked(&mut self, node: &Node, out: ValueId) -> Result<bool> {
        let image = |at: usize| node.op.engine().is_some_and(|engine| engine.takes_image(at));
        let images = node.inputs.iter().enumerate().filter(|(at, _)| image(*at)).filter_map(|(_, id)| *id);
        let alike = images.clone().all(|id| self.is_image(id))
            && images
                .clone()
                .skip(1)
                .all(|id| self.fact(id).map(|f| &f.shape) == self.fact(out).map(|f| &f.shape));
        if !alike || !self.is_image(out) {
            return Ok(false);
        }
        let mut inputs = node.inputs.clone();
        for (at, id) in node.inputs.iter().enumerate() {
            if let Some(id) = id.filter(|_| image(at)) {
                inputs[at] = Some(self.in_last(id)?);
            }
        }
        self.push(node, Arc::new(ChannelsLast { inner: node.op.clone() }), inputs);
        Ok(true)
    }

    fn reduce(&mut self, reduce: &Reduce, node: &Node, x: ValueId) -> Result<bool> {
        let axes = node
            .inputs
            .get(1)
            .copied()
            .flatten()
            .and_then(|id| self.graph.constant(id).cloned().or_else(|| self.fact(id)?.value.clone()));
        let Some(axes) = axes.filter(|_| reduce.keep && self.is_image(x)) else { return Ok(false) };
        let axes = crate::tensor::index::axes(&axes.to_i64s()?, 4)?;
        let moved = axes
            .iter()
            .filter_map(|axis| TO_LAST.iter().position(|from| from == axis))
            .map(|axis| axis as i64);
        let (axes, last) =
            (self.graph.add_constant("axes (channels last)", Tensor::int64s(moved)), self.in_last(x)?);
        self.push(node, node.op.clone(), vec![Some(last), Some(axes)]);
        Ok(true)
    }

    fn elementwise(&mut self, node: &Node, out: ValueId) -> Result<bool> {
        let shape = self.fact(out).map(|fact| fact.shape.clone()).unwrap_or_default();
        // At least one whole image is in the new order already, and the others can be brought into it.
        let whole = |id: &ValueId| {
            self.last.contains_key(id) && self.fact(*id).is_some_and(|fact| fact.shape == shape)
        };
        let movable = |id: &ValueId| {
            self.is_image(*id)
                || self.fact(*id).is_some_and(|fact| fact.count() == 1 || self.graph.constant(*id).is_some())
        };
        if !node.inputs.iter().flatten().any(whole) || !node.inputs.iter().flatten().all(movable) {
            return Ok(false);
        }
        let mut inputs = vec![];
        for &id in &node.inputs {
            let Some(id) = id else {
                inputs.push(None);
                continue;
            };
            let constant = self.graph.constant(id).cloned();
            inputs.push(Some(match constant {
                _ if self.is_image(id) => self.in_last(id)?,
                Some(constant) if constant.len() > 1 => {
                    let rank = constant.rank();
                    let wide: Vec<usize> = std::iter::repeat_n(1, 4usize.saturating_sub(rank))
                        .chain(constant.shape().iter().copied())
                        .collect();
                    let moved = permuted(&constant.reshape(wide)?, TO_LAST)?;
                    self.graph.add_constant("operand (channels last)", moved)
                }
                _ => {
                    self.need_first(id);
                    id
                }
            }));
        }
        self.push(node, node.op.clone(), inputs);
        Ok(true)
    }
}
