//! A graph made ready to run on the CPU again and again: rewritten for the inputs' shapes, its weights
//! packed, its memory kept.

use super::conv_block;
use super::weights::Weights;
use super::{eval_node, eval_values, layout, widened};
use crate::base::{EvalPrecision, Fact, Operands};
use crate::cpu_kernels::panels::Packed;
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, ValueId};
use crate::tensor::pool::Pool;
use crate::tensor::{DType, Tensor};
use crate::threads;
use crate::value::Value;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Memory pools that wait for the next run: as many runs at once keep theirs.
const KEPT_POOLS: usize = 4;

/// What a run is made of.
pub struct Program {
    graph: Graph,
    /// Values that are known before a run, by id.
    known: Vec<Option<Value>>,
    packed: Vec<Option<Arc<Packed>>>,
    /// Whether types and shapes were inferred, so that every `eval` gets what its `infer` took.
    checked: bool,
    /// The values that nobody reads after each node.
    dying: Vec<Vec<ValueId>>,
    pools: Mutex<Vec<Pool>>,
}

/// What a node took in a run.
pub struct NodeTime {
    pub name: String,
    pub op_type: String,
    pub time: Duration,
    pub flops: u64,
    /// Bytes of its operands and results.
    pub bytes: u64,
}

impl Program {
    /// Makes a program. `facts` are those of the graph's values where shapes don't depend on data; then
    /// `rewrite` allows rewrites.
    pub fn new(
        mut graph: Graph,
        facts: Option<Vec<Option<Fact>>>,
        rewrite: bool,
        weights: &Weights,
    ) -> Result<Self> {
        let mut known: Vec<Option<Tensor>> =
            graph.values.iter().map(|value| value.constant.clone()).collect();
        let checked = facts.is_some();
        if let Some(mut facts) = facts {
            for (known, fact) in known.iter_mut().zip(&facts) {
                *known = known.take().or_else(|| fact.as_ref().and_then(|fact| fact.value.clone()));
            }
            // What follows from shapes alone isn't computed again.
            graph.nodes.retain(|node| {
                !node.outputs.iter().flatten().all(|id| known.get(id.0 as usize).is_some_and(Option::is_some))
            });
            if rewrite {
                widened::rewrite(&mut graph, &mut facts, weights)?;
                layout::rewrite(&mut graph, &facts)?;
                conv_block::rewrite(&mut graph);
            }
        }
        let constants = graph.values.iter().map(|value| value.constant.clone());
        known.extend(constants.skip(known.len()));
        let packed = graph.nodes.iter().map(|node| weights.of(&graph, node)).collect::<Result<Vec<_>>>()?;
        let mut last_use: HashMap<ValueId, usize> = HashMap::new();
        for (index, node) in graph.nodes.iter().enumerate() {
            last_use.extend(node.inputs.iter().chain(&node.outputs).flatten().map(|&id| (id, index)));
        }
        let mut dying = vec![vec![]; graph.nodes.len()];
        for (id, index) in last_use {
            if !graph.outputs.contains(&id) && known[id.0 as usize].is_none() {
                dying[index].push(id);
            }
        }
        let known = known.into_iter().map(|known| known.map(Value::from)).collect();
        Ok(Self { graph, known, packed, checked, dying, pools: Mutex::default() })
    }

    /// Bytes of packed weights.
    pub fn packed_bytes(&self) -> usize {
        self.packed.iter().flatten().map(|packed| packed.bytes()).sum()
    }

    /// Runs it on tensors. Returns the graph's outputs in order; with `times`, what each node took.
    ///
    /// Errors: an input that is missing, an output that is no tensor, what an operator gives.
    pub fn run(
        &self,
        inputs: &HashMap<ValueId, Tensor>,
        times: Option<&mut Vec<NodeTime>>,
    ) -> Result<Vec<Tensor>> {
        let values = self.given(|id| inputs.get(&id).cloned().map(Value::from))?;
        self.tensors(self.run_pooled(values, times)?)
    }

    /// The same, which takes the inputs: one that nobody else holds, and that an operator can write over, is its
    /// result's memory.
    pub fn run_taking(&self, mut inputs: HashMap<ValueId, Tensor>) -> Result<Vec<Tensor>> {
        let values = self.given(|id| inputs.remove(&id).map(Value::from))?;
        drop(inputs);
        self.tensors(self.run_pooled(values, None)?)
    }

    /// The graph's outputs as tensors.
    fn tensors(&self, outputs: Vec<Value>) -> Result<Vec<Tensor>> {
        let named = |(id, value): (&ValueId, Value)| {
            value.into_tensor().map_err(|error| error.at_tensor(&self.graph.value(*id).name))
        };
        self.graph.outputs.iter().zip(outputs).map(named).collect()
    }

    /// The values before a run: the graph's inputs alone.
    fn given(&self, mut input: impl FnMut(ValueId) -> Option<Value>) -> Result<Vec<Option<Value>>> {
        let mut values: Vec<Option<Value>> = vec![None; self.graph.values.len()];
        for &id in &self.graph.inputs {
            let given = input(id)
                .ok_or_else(|| Error::input("this input is missing").at_tensor(&self.graph.value(id).name))?;
            values[id.0 as usize] = Some(given);
        }
        Ok(values)
    }

    /// The same on values of any kind.
    pub fn run_values(&self, inputs: &HashMap<ValueId, Value>) -> Result<Vec<Value>> {
        self.run_pooled(self.given(|id| inputs.get(&id).cloned())?, None)
    }

    /// The same within the run of another program, for the graph's inputs in order.
    pub fn run_inside(&self, inputs: Vec<Value>) -> Result<Vec<Value>> {
        let mut values: Vec<Option<Value>> = vec![None; self.graph.values.len()];
        for (id, value) in self.graph.inputs.iter().zip(inputs) {
            values[id.0 as usize] = Some(value);
        }
        self.run_here(values, None)
    }

    fn run_pooled(
        &self,
        values: Vec<Option<Value>>,
        times: Option<&mut Vec<NodeTime>>,
    ) -> Result<Vec<Value>> {
        let pool = self.pools.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default();
        let (pool, result) = threads::with_workers(|| pool.during(|| self.run_here(values, times)));
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if pools.len() < KEPT_POOLS {
            pools.push(pool);
        }
        result
    }

    fn run_here(
        &self,
        mut values: Vec<Option<Value>>,
        mut times: Option<&mut Vec<NodeTime>>,
    ) -> Result<Vec<Value>> {
        let graph = &self.graph;
        let find = |values: &[Option<Value>], id: ValueId| {
            values[id.0 as usize].is_some() || self.known[id.0 as usize].is_some()
        };
        for (index, node) in graph.nodes.iter().enumerate() {
            let start = times.is_some().then(Instant::now);
            let here = |error: Error| graph.error_at(node, error);
            if let Some(id) = node.inputs.iter().flatten().find(|&&id| !find(&values, id)) {
                return Err(here(Error::internal(format!("'{}' has no value", graph.value(*id).name))));
            }
            let over = self.written_over(index).and_then(|id| values[id.0 as usize].take());
            let operand = |id: &Option<ValueId>| {
                id.and_then(|id| values[id.0 as usize].as_ref().or(self.known[id.0 as usize].as_ref()))
            };
            let operands: Vec<Option<&Value>> = node.inputs.iter().map(operand).collect();
            let results = match over {
                Some(first) => self.run_over(index, first, &operands),
                None => self.run_node(index, &operands),
            };
            let results = results.map_err(here)?;
            if let (Some(times), Some(start)) = (&mut times, start) {
                times.push(node_time(node, &operands, &results, start.elapsed()));
            }
            for (id, value) in node.outputs.iter().zip(results) {
                if let Some(id) = id {
                    values[id.0 as usize] = Some(value);
                }
            }
            for id in &self.dying[index] {
                if let Some(Value::Tensor(tensor)) = values[id.0 as usize].take() {
                    tensor.recycle();
                }
            }
        }
        let output = |id: &ValueId| match (&values[id.0 as usize], &self.known[id.0 as usize]) {
            (Some(value), _) | (None, Some(value)) => Ok(value.clone()),
            (None, None) => Err(Error::internal("an output was not made").at_tensor(&graph.value(*id).name)),
        };
        graph.outputs.iter().map(output).collect()
    }

    /// The first input of a node that writes over it, where nothing reads it afterwards.
    fn written_over(&self, index: usize) -> Option<ValueId> {
        let node = &self.graph.nodes[index];
        node.op.engine().filter(|engine| engine.writes_over())?;
        let first = node.inputs.first().copied()??;
        let once = node.inputs.iter().filter(|id| **id == Some(first)).count() == 1;
        (once && self.dying[index].contains(&first)).then_some(first)
    }

    fn run_over(&self, index: usize, first: Value, others: &[Option<&Value>]) -> Result<Vec<Value>> {
        match (self.graph.nodes[index].op.engine(), tensors_of(others)) {
            (Some(engine), Some(tensors)) => {
                let made = engine.run_over(first.into_tensor()?, Operands::new(&tensors))?;
                Ok(made.into_iter().map(Value::from).collect())
            }
            _ => Err(Error::internal("an operator that writes over what is no tensor")),
        }
    }

    fn run_node(&self, index: usize, operands: &[Option<&Value>]) -> Result<Vec<Value>> {
        let node = &self.graph.nodes[index];
        let Some(tensors) = tensors_of(operands).filter(|_| node.op.on_values().is_none()) else {
            return eval_values(&*node.op, operands, EvalPrecision::Declared);
        };
        let narrow =
            tensors.iter().flatten().any(|tensor| matches!(tensor.dtype(), DType::F16 | DType::BF16));
        let results = match &self.packed[index] {
            packed if !narrow && (self.checked || packed.is_some()) => {
                let wanted = node.outputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
                node.op.run(Operands::new(&tensors), packed.as_deref(), wanted, EvalPrecision::Declared)
            }
            _ => eval_node(&*node.op, &tensors, EvalPrecision::Declared),
        };
        Ok(results?.into_iter().map(Value::from).collect())
    }

    /// The graph that runs.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }
}

/// Operands that are all tensors, as these.
fn tensors_of<'a>(operands: &[Option<&'a Value>]) -> Option<Vec<Option<&'a Tensor>>> {
    let tensor = |operand: &Option<&'a Value>| match *operand {
        None => Some(None),
        Some(Value::Tensor(tensor)) => Some(Some(tensor)),
        Some(_) => None,
    };
    operands.iter().map(tensor).collect()
}

/// What is told of a node that took this long.
fn node_time(node: &Node, operands: &[Option<&Value>], results: &[Value], time: Duration) -> NodeTime {
    let tensor = |value: &Value| if let Value::Tensor(tensor) = value { Some(tensor.clone()) } else { None };
    let read: Vec<Option<Tensor>> = operands.iter().map(|operand| operand.and_then(tensor)).collect();
    let made: Vec<Tensor> = results.iter().filter_map(tensor).collect();
    let facts: Vec<Option<Fact>> = read.iter().map(|tensor| tensor.as_ref().map(Fact::of)).collect();
    let results: Vec<Fact> = made.iter().map(Fact::of).collect();
    NodeTime {
        name: node.name.clone(),
        op_type: node.op_type.clone(),
        time,
        flops: node.op.flops(Operands::new(&facts.iter().map(Option::as_ref).collect::<Vec<_>>()), &results),
        bytes: read
            .iter()
            .flatten()
            .chain(&made)
            .map(|tensor| (tensor.len() * tensor.dtype().size()) as u64)
            .sum(),
    }
}
