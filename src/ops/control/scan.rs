//! [Scan](https://onnx.ai/onnx/operators/onnx__Scan.html), versions 8, 9, 11, 16, 19, 21, 23, 24, 25: a graph
//! over the slices of its inputs, with values that are carried from slice to slice.
//!
//! Version 8 goes over a batch too: each of its rows by itself, of the length that `sequence_lens` gives it.

use super::{ControlFlow, captured, check_counts, infer_turn, stack};
use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::values::eval_tensors;
use crate::ops::{Body, NodeView, OnValues, OpDef, Operator};
use crate::tensor::Tensor;
use crate::tensor::index::{axis as axis_of, strides};
use crate::value::Value;
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "Scan", since: 8, parse, cases: &[] };

#[derive(Debug, Clone)]
pub struct Scan {
    body: Arc<dyn Body>,
    /// The node's inputs without captured ones.
    own: usize,
    /// Values that are carried.
    pub(crate) states: usize,
    /// Whether there is a batch: input 0 is its rows' lengths then.
    batched: bool,
    pub(crate) input_axes: Vec<i64>,
    pub(crate) output_axes: Vec<i64>,
    /// Which are gone through from the end, or put together so.
    pub(crate) input_backwards: Vec<bool>,
    pub(crate) output_backwards: Vec<bool>,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    let own = node.inputs.len();
    let batched = node.version < 9;
    let body = node.body("body")?;
    let scanned = node.int("num_scan_inputs", 0)?;
    let first = usize::from(batched);
    let states = usize::try_from(scanned).ok().filter(|&scanned| scanned >= 1);
    let states = states.and_then(|scanned| own.checked_sub(first + scanned));
    let states = states.ok_or_else(|| {
        Error::model(format!("num_scan_inputs is {scanned}, of {own} inputs"))
            .remedy("export the model again: it is how many of the inputs are gone through")
    })?;
    check_counts("body", &body, node.captures, own - first, node.output_count.max(states))?;
    let list = |name: &str, count: usize| -> Result<Vec<i64>> {
        let list = node.ints(name)?.unwrap_or_else(|| vec![0; count]);
        if list.len() == count {
            return Ok(list);
        }
        Err(Error::model(format!("attribute '{name}' has {} entries; {count} belong", list.len())))
    };
    let backwards = |name: &str, count: usize| -> Result<Vec<bool>> {
        Ok(list(name, count)?.into_iter().map(|direction| direction != 0).collect())
    };
    let (inputs, outputs) = (own - first - states, body.outputs().saturating_sub(states));
    let scan = if batched {
        let input_backwards = backwards("directions", inputs)?;
        Scan {
            body,
            own,
            states,
            batched,
            input_axes: vec![0; inputs],
            output_axes: vec![0; outputs],
            input_backwards,
            output_backwards: vec![false; outputs],
        }
    } else {
        Scan {
            own,
            states,
            batched,
            input_axes: list("scan_input_axes", inputs)?,
            output_axes: list("scan_output_axes", outputs)?,
            input_backwards: backwards("scan_input_directions", inputs)?,
            output_backwards: backwards("scan_output_directions", outputs)?,
            body,
        }
    };
    Ok(Arc::new(scan))
}

/// Part `at` of a tensor along an axis, which is left out.
pub(crate) fn slice(tensor: &Tensor, axis: usize, at: usize) -> Result<Tensor> {
    let mut shape = tensor.shape().to_vec();
    let mut strides = strides(&shape);
    let offset = strides[axis].saturating_mul(at);
    shape.remove(axis);
    strides.remove(axis);
    tensor.strided(shape, &strides, offset)
}

/// A tensor whose axis `from` becomes its axis `to`.
pub(crate) fn move_axis(tensor: &Tensor, from: usize, to: usize) -> Result<Tensor> {
    let (mut shape, mut order) = (tensor.shape().to_vec(), strides(tensor.shape()));
    let (size, stride) = (shape.remove(from), order.remove(from));
    shape.insert(to, size);
    order.insert(to, stride);
    tensor.strided(shape, &order, 0)
}

impl Scan {
    /// The slices' number along each scanned input's axis, which is the same for all.
    pub(crate) fn length<'a>(&self, shapes: impl Iterator<Item = &'a [usize]>) -> Result<usize> {
        let mut length = None;
        for (index, (shape, &axis)) in shapes.zip(&self.input_axes).enumerate() {
            let size = shape[axis_of(axis, shape.len())?];
            if *length.get_or_insert(size) != size {
                return Err(Error::input(format!(
                    "scanned input {index} has {size} slices where the one before has {}",
                    length.unwrap_or_default()
                )));
            }
        }
        length.ok_or_else(|| Error::model("nothing is scanned"))
    }

    /// Goes over `length` slices of the scanned tensors. Returns the states, then the stacked outputs.
    fn over(
        &self,
        mut states: Vec<Value>,
        scanned: &[Tensor],
        length: usize,
        around: &[Value],
        mode: EvalPrecision,
    ) -> Result<Vec<Value>> {
        let mut stacked: Vec<Vec<Tensor>> = vec![vec![]; self.output_axes.len()];
        for turn in 0..length {
            let mut given = std::mem::take(&mut states);
            for ((tensor, &axis), &backwards) in
                scanned.iter().zip(&self.input_axes).zip(&self.input_backwards)
            {
                let at = if backwards { length - 1 - turn } else { turn };
                given.push(slice(tensor, axis_of(axis, tensor.rank())?, at)?.into());
            }
            given.extend(around.iter().cloned());
            let mut made = self.body.eval(given, mode)?.into_iter();
            states.extend(made.by_ref().take(self.states));
            for (list, value) in stacked.iter_mut().zip(made) {
                list.push(value.into_tensor()?);
            }
        }
        let results = stacked.iter_mut().enumerate().map(|(index, list)| {
            if self.output_backwards[index] {
                list.reverse();
            }
            let tensor = stack(list, &*self.body, self.states + index, mode)?;
            let axis = axis_of(self.output_axes[index], tensor.rank())?;
            move_axis(&tensor, 0, axis).map(Value::from)
        });
        let results = results.collect::<Result<Vec<_>>>()?;
        Ok(states.into_iter().chain(results).collect())
    }

    /// Version 8: each row of the batch by itself. Rows that are shorter than the longest end in zeros.
    fn over_batch(&self, inputs: Operands<'_, Value>, mode: EvalPrecision) -> Result<Vec<Value>> {
        let tensors: Vec<&Tensor> = (1..self.own)
            .map(|index| inputs.required(index).and_then(Value::tensor))
            .collect::<Result<_>>()?;
        let batch = tensors.first().and_then(|tensor| tensor.shape().first().copied());
        let batch = batch.ok_or_else(|| Error::input("a batch has at least one axis"))?;
        if tensors.iter().any(|tensor| tensor.shape().first() != Some(&batch)) {
            return Err(Error::input("its inputs are of several batch sizes"));
        }
        let (states, scanned) = tensors.split_at(self.states);
        let longest = scanned.iter().map(|tensor| tensor.shape().get(1).copied()).collect::<Option<Vec<_>>>();
        let longest = longest
            .and_then(|list| list.first().copied().filter(|one| list.iter().all(|other| other == one)));
        let longest = longest.ok_or_else(|| Error::input("its scanned inputs are of several lengths"))?;
        let lengths = match inputs.optional(0) {
            Some(lengths) => lengths.tensor()?.to_i64s()?,
            None => vec![longest as i64; batch],
        };
        if lengths.len() != batch || lengths.iter().any(|&length| length < 0 || length as usize > longest) {
            return Err(Error::input(format!(
                "the lengths {lengths:?} don't fit {batch} rows of at most {longest}"
            ))
            .of_input(0));
        }
        let around = captured(inputs, self.own);
        let mut rows: Vec<Vec<Tensor>> = vec![vec![]; self.states + self.output_axes.len()];
        for (row, length) in lengths.iter().map(|&length| length as usize).enumerate() {
            let states =
                states.iter().map(|tensor| slice(tensor, 0, row).map(Value::from)).collect::<Result<_>>()?;
            let parts: Vec<Tensor> =
                scanned.iter().map(|tensor| slice(tensor, 0, row)).collect::<Result<_>>()?;
            // Gone through backwards, a row begins at its own end.
            let parts: Vec<Tensor> = parts.iter().map(|part| first(part, length)).collect::<Result<_>>()?;
            for (index, value) in self.over(states, &parts, length, &around, mode)?.into_iter().enumerate() {
                let tensor = value.into_tensor()?;
                rows[index].push(if index < self.states { tensor } else { padded(&tensor, longest)? });
            }
        }
        let all = rows
            .iter()
            .enumerate()
            .map(|(index, list)| stack(list, &*self.body, index, mode).map(Value::from));
        all.collect()
    }
}

/// The first parts of a tensor along axis 0.
fn first(tensor: &Tensor, count: usize) -> Result<Tensor> {
    if tensor.shape().first() == Some(&count) {
        return Ok(tensor.clone());
    }
    let mut shape = tensor.shape().to_vec();
    let strides = strides(&shape);
    if let Some(size) = shape.first_mut() {
        *size = count;
    }
    tensor.strided(shape, &strides, 0)
}

/// A tensor with zeros behind it along axis 0, up to `count` parts.
fn padded(tensor: &Tensor, count: usize) -> Result<Tensor> {
    if tensor.shape().first() == Some(&count) {
        return Ok(tensor.clone());
    }
    let mut shape = tensor.shape().to_vec();
    if let Some(size) = shape.first_mut() {
        *size = count;
    }
    tensor.pick(shape, |at| Some(at).filter(|&at| at < tensor.len()))
}

impl Operator for Scan {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        if self.batched {
            return Err(Infer::DependsOnData("a Scan of version 8 goes row by row".into()));
        }
        let own: Vec<&Fact> = (0..self.own).map(|index| inputs.required(index)).collect::<Result<_>>()?;
        let (states, scanned) = own.split_at(self.states);
        let length = self.length(scanned.iter().map(|fact| &fact.shape[..]))?;
        let mut given: Vec<Fact> =
            states.iter().map(|fact| Fact::new(fact.dtype, fact.shape.clone())).collect();
        for (fact, &axis) in scanned.iter().zip(&self.input_axes) {
            let mut shape = fact.shape.clone();
            shape.remove(axis_of(axis, shape.len())?);
            given.push(Fact::new(fact.dtype, shape));
        }
        given.extend(inputs.skip(self.own).present().cloned());
        let made = infer_turn(&*self.body, &given, 0..self.states, 0, self.own, "slice")?;
        let stacked = made.iter().skip(self.states).zip(&self.output_axes).map(|(fact, &axis)| {
            let mut shape = fact.shape.clone();
            let at = axis_of(axis, shape.len() + 1)?;
            shape.insert(at, length);
            Ok(Fact::new(fact.dtype, shape))
        });
        let stacked = stacked.collect::<Result<Vec<_>>>()?;
        let states = made.iter().take(self.states).map(|fact| Fact::new(fact.dtype, fact.shape.clone()));
        Ok(states.chain(stacked).collect())
    }
    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        eval_tensors(self, inputs, mode)
    }
    fn on_values(&self) -> Option<&dyn OnValues> {
        Some(self)
    }
    fn is_random(&self) -> bool {
        self.body.is_random()
    }
}

impl OnValues for Scan {
    fn eval_values(&self, inputs: Operands<'_, Value>, mode: EvalPrecision) -> Result<Vec<Value>> {
        if self.batched {
            return self.over_batch(inputs, mode);
        }
        let states = (0..self.states).map(|index| inputs.required(index).cloned()).collect::<Result<_>>()?;
        let scanned: Vec<Tensor> = (self.states..self.own)
            .map(|index| inputs.required(index).and_then(Value::tensor).cloned())
            .collect::<Result<_>>()?;
        let length = self.length(scanned.iter().map(Tensor::shape))?;
        self.over(states, &scanned, length, &captured(inputs, self.own), mode)
    }
    fn control_flow(&self) -> Option<ControlFlow<'_>> {
        (!self.batched && self.body.on_tensors_alone()).then_some(ControlFlow::Scan(self))
    }
    fn own_inputs(&self) -> usize {
        self.own
    }
    fn bodies(&self) -> &[Arc<dyn Body>] {
        std::slice::from_ref(&self.body)
    }
    fn with_bodies(&self, bodies: Vec<Arc<dyn Body>>) -> Option<Arc<dyn Operator>> {
        let [body] = <[_; 1]>::try_from(bodies).ok()?;
        Some(Arc::new(Scan { body, ..self.clone() }))
    }
}
