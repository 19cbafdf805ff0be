//! The reference carried on from what the device took. Where a step rounds to whole numbers or chooses, a
//! number beside a border may go either way; what follows is right if it is right for the way it went.

use super::comparator::{Comparator, Others, Subject};
use super::range::Range;
use super::reference::{self, Values};
use super::sets::dtype_of;
use crate::base::{EvalPrecision, Operands, Precision, held};
use crate::error::{Error, Result};
use crate::expression::{Pointwise, table};
use crate::graph::{Graph, Node, ValueId};
use crate::tensor::{DType, Tensor};
use std::cell::RefCell;
use std::collections::HashSet;

/// What the device made, right but not the reference's, and what follows from it.
#[derive(Default)]
pub(super) struct Continued {
    /// Values of steps that jump, as the device has them.
    taken: Values,
    /// All that follows from these.
    affected: HashSet<ValueId>,
    /// So much of it as was asked for, in float64.
    following: RefCell<Values>,
}

impl Continued {
    /// Takes a value as the device has it.
    fn take(&mut self, id: ValueId, tensor: Tensor, graphs: [&Graph; 2]) {
        let affected = behind(id, graphs);
        self.following.get_mut().retain(|id, _| !affected.contains(id));
        self.affected.extend(affected);
        self.taken.insert(id, tensor);
    }

    /// Forgets the values that don't satisfy a condition.
    pub(super) fn retain(&mut self, keep: &dyn Fn(&ValueId) -> bool) {
        self.taken.retain(|id, _| keep(id));
        self.affected.retain(|id| keep(id));
        self.following.get_mut().retain(|id, _| keep(id));
    }

    /// A value that the device took, or that was computed from such.
    fn get(&self, id: ValueId) -> Option<Tensor> {
        self.taken.get(&id).cloned().or_else(|| self.following.borrow().get(&id).cloned())
    }

    /// The same, or the oracle's where it follows from none.
    fn or(&self, oracle: &Values, id: ValueId) -> Option<Tensor> {
        self.get(id).or_else(|| oracle.get(&id).cloned())
    }
}

/// The values that are computed from one.
fn behind(id: ValueId, graphs: [&Graph; 2]) -> HashSet<ValueId> {
    let mut all = HashSet::from([id]);
    for node in graphs.iter().flat_map(|graph| &graph.nodes) {
        if node.inputs.iter().flatten().any(|id| all.contains(id)) {
            all.extend(node.outputs.iter().flatten());
        }
    }
    all.remove(&id);
    all
}

/// Whether an expression jumps: a small change of an operand may become a large one of the result.
fn jumps(expression: &Pointwise) -> bool {
    let whole = [&table::ROUND, &table::FLOOR, &table::CEIL, &table::SIGN, &table::MOD];
    expression.steps.iter().any(|step| {
        step.row.test.is_some() || whole.contains(&step.row) || step.to.is_some_and(|to| !to.is_float())
    })
}

impl Comparator<'_> {
    /// Carries the reference on from what the device made of a value, if it is right but another number.
    pub(super) fn carry_on(&mut self, subject: &Subject, got: &Tensor, want: &Tensor) -> Result<()> {
        let Some(node) = subject.node else { return Ok(()) };
        if !self.jumps_at(subject, node)? || got.to_f64s()? == want.to_f64s()? {
            return Ok(());
        }
        let taken = held(got, EvalPrecision::Oracle)?;
        self.continued.take(subject.value, taken, [&**self.session.original(), subject.graph]);
        Ok(())
    }

    /// Whether a node's result jumps: it is no float though an operand is one, or its expression does.
    fn jumps_at(&self, subject: &Subject, node: &Node) -> Result<bool> {
        let graph = subject.graph;
        let floats = |id: &ValueId| self.dtype(*id, graph).is_float();
        if !self.dtype(subject.value, graph).is_float() {
            return Ok(node.inputs.iter().flatten().any(floats));
        }
        if node.op.epilogue().is_some_and(jumps) {
            return Ok(true);
        }
        if let Some(expression) = node.op.expression() {
            return Ok(jumps(expression));
        }
        let operand = |id: ValueId| self.value(&self.sets.oracle, id, graph, EvalPrecision::Oracle);
        let operands =
            node.inputs.iter().map(|id| id.map(operand).transpose()).collect::<Result<Vec<_>>>()?;
        let operands: Vec<Option<&Tensor>> = operands.iter().map(Option::as_ref).collect();
        let index = node.outputs.iter().position(|id| *id == Some(subject.value)).unwrap_or(0);
        let spread = node.op.output_expression(index, Operands::new(&operands))?;
        Ok(spread.is_some_and(|spread| jumps(&spread.expression)))
    }

    /// What a value is in float64 if the device's numbers are taken where they jumped, another right answer;
    /// none where it follows from none of them.
    pub(super) fn as_continued(&self, subject: &Subject, dtype: DType) -> Result<Others> {
        if !self.continued.affected.contains(&subject.value) {
            return Ok(vec![]);
        }
        self.follow(subject)?;
        let mut all = Values::new();
        let operands = subject.node.iter().flat_map(|node| node.inputs.iter().flatten());
        for &id in operands.chain([&subject.value]) {
            if let Some(tensor) = self.continued.or(&self.sets.oracle, id) {
                all.insert(id, tensor);
            }
        }
        let value = all.get(&subject.value).cloned();
        let value = value.ok_or_else(|| Error::internal("a value that follows from none"))?;
        let allowed = self.along(subject, &all, &value.to_f64s()?, dtype)?;
        Ok(vec![(value, allowed)])
    }

    /// Computes a value, and its node's operands, from what the device took.
    fn follow(&self, subject: &Subject) -> Result<()> {
        let graphs = [&**self.session.original(), subject.graph];
        let known = |id: &ValueId| !self.continued.affected.contains(id) || self.continued.get(*id).is_some();
        let mut wanted: HashSet<ValueId> = HashSet::from([subject.value]);
        wanted.extend(subject.node.iter().flat_map(|node| node.inputs.iter().flatten()));
        // Nodes that have to run, the last first. What both graphs make, the graph as read makes.
        let read = graphs[0].producers();
        let mut nodes: Vec<(&Graph, &Node)> = vec![];
        for (at, graph) in graphs.into_iter().enumerate().rev() {
            for node in graph.nodes.iter().rev() {
                let made =
                    |id: &ValueId| wanted.contains(id) && !known(id) && (at == 0 || !read.contains_key(id));
                if node.outputs.iter().flatten().any(made) {
                    wanted.extend(node.inputs.iter().flatten());
                    nodes.push((graph, node));
                }
            }
        }
        let declared = &self.sets.declared;
        for (graph, node) in nodes.into_iter().rev() {
            let store =
                |id, tensor: &Tensor| Range::of(dtype_of(declared, id, graph), Precision::F32).beyond(tensor);
            let value = |id| self.continued.or(&self.sets.oracle, id);
            let made = reference::evaluate(node, graph, &value, EvalPrecision::Oracle, &store)?.0;
            let mut following = self.continued.following.borrow_mut();
            following.extend(made.into_iter().filter(|(id, _)| !self.continued.taken.contains_key(id)));
        }
        Ok(())
    }
}
