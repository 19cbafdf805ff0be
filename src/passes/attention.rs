//! *Given* the attention that exporters write out, nobody else reading between
//!
//! ```text
//!  Q ─ × a ─┐                    mask
//!           MatMul ─ × b [tanh] ─ Add ─ Softmax ─ [0 where NaN] ─ MatMul ─ [Transpose] ─ y
//!  Kᵀ ─ × c ┘                                        V ───────────┘
//! ```
//!
//! with any of the factors left out, each a number that is known when the plan is made, and the mask too →
//! *Result*
//!
//! ```text
//!  Q, Kᵀ, V, mask ─ Attention(scale = a·b·c) ─ y
//! ```
//!
//! Where K and V are one head repeated for several of Q (Unsqueeze, Expand, Reshape), they are read once. A
//! tanh between two factors is a softcap. What doesn't fit stays as it is.

use super::search::{Fusion, Search, everywhere};
use crate::base::{Fact, Operands, Reduction};
use crate::error::Result;
use crate::expression::{Arg, Pointwise, table};
use crate::graph::{Graph, ValueId};
use crate::kernels::attention::supports;
use crate::ops::matrix::matmul::MatMul;
use crate::ops::nn::attention::{Attention, AttentionSizes};
use crate::ops::nn::softmax::Softmax;
use crate::ops::reduce::reduce::Reduce;
use crate::ops::shape::expand::Expand;
use crate::ops::shape::reshape::Reshape;
use crate::ops::shape::transpose::Transpose;
use crate::tensor::index::axis;
use std::sync::Arc;

pub fn rewrite(graph: &mut Graph, facts: &[Option<Fact>]) -> Result<bool> {
    Ok(everywhere(graph, facts, from_softmax))
}

fn from_softmax(search: &Search<'_>, softmax: usize) -> Option<Fusion> {
    Pattern { search }.found(softmax)
}

struct Pattern<'a> {
    search: &'a Search<'a>,
}

impl<'a> std::ops::Deref for Pattern<'a> {
    type Target = Search<'a>;
    fn deref(&self) -> &Search<'a> {
        self.search
    }
}

impl Pattern<'_> {
    fn found(&self, softmax: usize) -> Option<Fusion> {
        let op = self.operator::<Softmax>(softmax)?;
        let (scores, weights) = (self.input(softmax, 0)?, self.output(softmax)?);
        let rank = self.fact(scores)?.rank();
        if op.logarithm || axis(op.axis, rank).ok()? + 1 != rank {
            return None;
        }
        let Guard { nodes: guards, result: guarded, mask: guarded_mask } =
            self.guard(weights).unwrap_or(Guard { nodes: vec![], result: weights, mask: None });
        let second = self.reader(guarded)?;
        let values = self.plain_product(second).filter(|&(left, _)| left == guarded)?.1;
        let (score_nodes, first, mask, gain) = self.scores(scores)?;
        if guarded_mask.is_some() && guarded_mask != mask {
            return None;
        }
        let (left, right) = (self.input(first, 0)?, self.input(first, 1)?);
        let (q, q_gain) = self.unscaled(left);
        let (k, k_gain) = self.unscaled(right);
        let (k, transposed_keys) = self.keys(k);
        let v = self.repeated(values);
        let cap = gain.cap;
        let scale = q_gain * k_gain * gain.factor * cap.unwrap_or(1.0);
        let mut op = Attention {
            scale: Some(scale as f32),
            softcap: cap.unwrap_or(0.0) as f32,
            zero_unseen: !guards.is_empty(),
            transposed_keys,
            ..Attention::plain()
        };
        if self.fact(q)?.rank() == 3 {
            // [batch · heads, rows, depth]: one head each.
            op.heads = Some([1, 1]);
        }
        let mut inputs = vec![Some(q), Some(k), Some(v)];
        inputs.extend(mask.map(Some));
        self.fits(&op, &inputs, second)?;
        let mut nodes = [vec![first], score_nodes, vec![softmax], guards, vec![second]].concat();
        if let Some((transpose, order)) = self.transposed(second, &op) {
            op.order = order;
            nodes.push(transpose);
        }
        Some(Fusion { op: Arc::new(op), op_type: "Attention", inputs, nodes })
    }

    /// Whether the operator means what the nodes did: sizes, types, the result's shape.
    fn fits(&self, op: &Attention, inputs: &[Option<ValueId>], last: usize) -> Option<()> {
        let facts = inputs.iter().map(|id| id.and_then(|id| self.fact(id))).collect::<Vec<_>>();
        let operands = Operands::new(&facts);
        let dtype = facts.first().copied().flatten()?.dtype;
        let sizes = AttentionSizes::of(op, operands).ok()?;
        // A mask's last axis that is shorter would mean another thing.
        let mask =
            facts.get(3).copied().flatten().is_none_or(|mask| {
                mask.shape.last() == Some(&sizes.keys) && (!sizes.flat || mask.rank() <= 2)
            });
        let types =
            facts.iter().all(|fact| fact.is_some_and(|fact| fact.dtype == dtype && fact.dtype.is_float()));
        let result = self.fact(self.output(last)?)?;
        (mask
            && types
            && supports(sizes.depth, sizes.value_depth)
            && result.shape == sizes.result(op)
            && (!sizes.flat || !op.transposed_keys))
            .then_some(())
    }

    /// The operands of a matrix product that does nothing else.
    fn plain_product(&self, node: usize) -> Option<(ValueId, ValueId)> {
        self.operator::<MatMul>(node).filter(|op| op.epilogue.is_identity())?;
        if self.graph.nodes[node].inputs.len() != 2 {
            None
        } else {
            Some((self.input(node, 0)?, self.input(node, 1)?))
        }
    }

    /// Zeros in place of the weights of a query that sees no key: by [`Self::nan_guard`] or by
    /// [`Self::mask_guard`].
    fn guard(&self, weights: ValueId) -> Option<Guard> {
        self.nan_guard(weights).or_else(|| self.mask_guard(weights))
    }

    /// `Where(ReduceMax(mask) = −∞, 0, p)`, as the function that ONNX gives for its Attention has it.
    fn mask_guard(&self, weights: ValueId) -> Option<Guard> {
        let choice = self.reader(weights).filter(|&node| self.step(node) == Some(&table::WHERE))?;
        let &[Some(test), zero, Some(kept)] = &self.graph.nodes[choice].inputs[..] else { return None };
        let equal = self.producer(test).filter(|&node| self.step(node) == Some(&table::EQUAL))?;
        let (a, b) = (self.input(equal, 0)?, self.input(equal, 1)?);
        let (highest, limit) = if self.number(Some(b)).is_some() { (a, b) } else { (b, a) };
        let reduce = self.producer(highest)?;
        let op = self.operator::<Reduce>(reduce)?;
        let mask = self.input(reduce, 0)?;
        // Over the keys: the last axis is 1, the others are as they were.
        let mut rows = self.fact(mask)?.shape.clone();
        *rows.last_mut()? = 1;
        let fits = kept == weights
            && self.number(zero) == Some(0.0)
            && self.number(Some(limit)) == Some(f64::NEG_INFINITY)
            && op.reduction == Reduction::Max;
        if fits && self.fact(highest)?.shape == rows {
            Some(Guard { nodes: vec![choice], result: self.output(choice)?, mask: Some(mask) })
        } else {
            None
        }
    }

    /// `p → IsNaN(p) → Where(·, 0, p)`.
    fn nan_guard(&self, weights: ValueId) -> Option<Guard> {
        if self.uses(weights) != 2 || self.graph.outputs.contains(&weights) {
            return None;
        }
        let [test, choice] = self.readers(weights)[..] else { return None };
        let isnan = self.output(test)?;
        let inputs = &self.graph.nodes[choice].inputs;
        let fits = self.step(test) == Some(&table::IS_NAN)
            && self.step(choice) == Some(&table::WHERE)
            && inputs.len() == 3
            && inputs[0] == Some(isnan)
            && inputs[2] == Some(weights)
            && self.number(inputs[1]) == Some(0.0)
            && self.uses(isnan) == 1;
        if fits {
            Some(Guard { nodes: vec![test, choice], result: self.output(choice)?, mask: None })
        } else {
            None
        }
    }

    /// From the softmax's input up to the product: the nodes between in order, the product, the mask, and the
    /// factor.
    fn scores(&self, scores: ValueId) -> Option<(Vec<usize>, usize, Option<ValueId>, Gain)> {
        let (mut nodes, mut functions, mut mask) = (vec![], vec![], None);
        let mut value = scores;
        loop {
            if self.uses(value) != 1 {
                return None;
            }
            let node = self.producer(value)?;
            if let Some(op) = self.operator::<MatMul>(node) {
                if self.graph.nodes[node].inputs.len() != 2 || op.epilogue.operands > 1 {
                    return None;
                }
                let whole = functions
                    .iter()
                    .rev()
                    .fold(self.graph.nodes[node].op.epilogue()?.clone(), |all: Pointwise, next| {
                        all.then(next, 0)
                    });
                nodes.reverse();
                return Some((nodes, node, mask, gain(&whole)?));
            }
            let expression = self.graph.nodes[node].op.expression()?;
            let inputs = &self.graph.nodes[node].inputs;
            let added =
                expression.steps.len() == 1 && expression.steps[0].row == &table::ADD && inputs.len() == 2;
            if added
                && mask.is_none()
                && functions.is_empty()
                && inputs.iter().all(|&id| self.number(id).is_none())
            {
                // The mask is the one that no product leads to.
                let (a, b) = (inputs[0]?, inputs[1]?);
                let (from, other) = if self.leads_to_product(a) { (a, b) } else { (b, a) };
                (value, mask) = (from, Some(other));
            } else {
                let from = self.variable(node)?;
                functions.push(self.function(node, from)?);
                value = from;
            }
            nodes.push(node);
        }
    }

    fn leads_to_product(&self, value: ValueId) -> bool {
        let Some(node) = self.producer(value) else { return false };
        if self.operator::<MatMul>(node).is_some() {
            return true;
        }
        let from = self.variable(node);
        from.is_some_and(|from| {
            self.function(node, from).is_some()
                && self.producer(from).is_some_and(|node| self.operator::<MatMul>(node).is_some())
        })
    }

    /// An operand before it was multiplied by a number, and the number.
    fn unscaled(&self, value: ValueId) -> (ValueId, f64) {
        let look = || {
            let node = self.producer(value)?;
            let from = self.variable(node)?;
            let gain = gain(&self.function(node, from)?).filter(|gain| gain.cap.is_none())?;
            (self.fact(from)?.shape == self.fact(value)?.shape).then_some((from, gain.factor))
        };
        look().unwrap_or((value, 1.0))
    }

    /// Keys from their transpose: as they were before, where that is at hand.
    fn keys(&self, transposed: ValueId) -> (ValueId, bool) {
        let look = || {
            let node = self.producer(transposed)?;
            let rank = self.fact(transposed)?.rank();
            let order = self.operator::<Transpose>(node)?.order(rank).ok()?;
            let mut swapped: Vec<usize> = (0..rank).collect();
            swapped.swap(rank.checked_sub(2)?, rank - 1);
            if order == swapped { self.input(node, 0) } else { None }
        };
        match look() {
            Some(keys) => (self.repeated(keys), false),
            None => (transposed, true),
        }
    }

    /// `[b, h, s, d] → Unsqueeze [b, h, 1, s, d] → Expand [b, h, n, s, d] → Reshape [b, h·n, s, d]`: what
    /// came in.
    fn repeated(&self, value: ValueId) -> ValueId {
        let look = || {
            let merge = self.producer(value)?;
            self.operator::<Reshape>(merge)?;
            let wide = self.input(merge, 0)?;
            let expand = self.producer(wide)?;
            // Repeating an axis of size 1 is the same by Expand and by Tile.
            self.operator::<Expand>(expand)?;
            let narrow = self.input(expand, 0)?;
            let split = self.producer(narrow)?;
            self.operator::<Reshape>(split)?;
            let before = self.input(split, 0)?;
            let (&[b, all, s, d], &[wb, h, n, ws, wd]) =
                (&self.fact(value)?.shape[..], &self.fact(wide)?.shape[..])
            else {
                return None;
            };
            let fits = [wb, h * n, ws, wd] == [b, all, s, d]
                && self.fact(narrow)?.shape == [b, h, 1, s, d]
                && self.fact(before)?.shape == [b, h, s, d];
            fits.then_some(before)
        };
        look().unwrap_or(value)
    }

    /// The Transpose that alone reads the result, heads and rows in any order, and its order.
    fn transposed(&self, product: usize, op: &Attention) -> Option<(usize, [usize; 4])> {
        let reader = self.reader(self.output(product)?)?;
        let order = self.operator::<Transpose>(reader)?.order(4).ok()?;
        let order: [usize; 4] = order.try_into().ok()?;
        (op.heads.is_none() && order[3] == 3 && self.output(reader).is_some()).then_some((reader, order))
    }
}

/// What puts zeros where a query sees no key: its nodes, the result, and the mask by which it tells.
struct Guard {
    nodes: Vec<usize>,
    result: ValueId,
    mask: Option<ValueId>,
}

/// A function x ↦ factor · x, or, with a cap c, x ↦ c · tanh(factor · x).
struct Gain {
    factor: f64,
    cap: Option<f64>,
}

fn gain(expression: &Pointwise) -> Option<Gain> {
    let (mut before, mut behind, mut tanh) = (1.0, 1.0, false);
    let mut value = Arg::Operand(0);
    if expression.operands > 1 {
        return None;
    }
    for (index, step) in expression.steps.iter().enumerate() {
        let factor = if tanh { &mut behind } else { &mut before };
        match step.args[..] {
            [x, Arg::Const(c)] | [Arg::Const(c), x] if step.row == &table::MUL && x == value => *factor *= c,
            [x, Arg::Const(c)] if step.row == &table::DIV && x == value => *factor /= c,
            [x] if step.row == &table::TANH && x == value && !tanh => tanh = true,
            _ => return None,
        }
        value = Arg::Step(index);
    }
    if tanh && behind <= 0.0 || !(before * behind).is_finite() {
        return None;
    }
    Some(Gain { factor: before, cap: tanh.then_some(behind) })
}
