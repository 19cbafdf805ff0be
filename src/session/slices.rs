//! Scans on the device: tensors taken apart into slices and put together from them, where they lie.

use super::Session;
use super::bindings::AnyTensor;
use super::control_flow::{Control, GraphSession, body, given};
use crate::device::DeviceTensor;
use crate::error::{Error, Result};
use crate::gpu::GpuTensor;
use crate::graph::{Graph, Node};
use crate::ops::Body;
use crate::ops::control::scan::{Scan, move_axis, slice};
use crate::ops::control::stack;
use crate::ops::shape::transpose::Transpose;
use crate::tensor::index::axis as axis_of;
use std::sync::{Arc, PoisonError};

impl Session {
    pub(super) fn run_scan(
        &self,
        control: &Control,
        op: &Scan,
        inputs: &[Option<AnyTensor>],
        around: &[AnyTensor],
    ) -> Result<Option<Vec<AnyTensor>>> {
        let (session, graph) = (body(control, 0)?, &*control.op()?.bodies()[0]);
        let mut states = (0..op.states).map(|index| given(inputs, index)).collect::<Result<Vec<_>>>()?;
        let scanned = (0..op.input_axes.len()).map(|index| given(inputs, op.states + index));
        let scanned = scanned.collect::<Result<Vec<_>>>()?;
        let length = op.length(scanned.iter().map(AnyTensor::shape))?;
        let mut slices = vec![];
        for (index, value) in scanned.into_iter().enumerate() {
            let mut list = self.slices(control, value, op.input_axes[index])?;
            if op.input_backwards[index] {
                list.reverse();
            }
            slices.push(list.into_iter());
        }
        let mut stacked = vec![vec![]; op.output_axes.len()];
        for _ in 0..length {
            let mut given = std::mem::take(&mut states);
            given.extend(slices.iter_mut().filter_map(Iterator::next));
            given.extend_from_slice(around);
            let changing = 0..op.states + slices.len();
            let Some(made) = session.run_graph(given, 0..usize::MAX, changing)? else { return Ok(None) };
            let mut made = made.into_iter();
            states.extend(made.by_ref().take(op.states));
            for (list, value) in stacked.iter_mut().zip(made) {
                list.push(value);
            }
        }
        for (index, mut list) in stacked.into_iter().enumerate() {
            if op.output_backwards[index] {
                list.reverse();
            }
            let whole = self.stacked(list, graph, op.states + index)?;
            let axis = axis_of(op.output_axes[index], whole.shape().len())?;
            states.push(self.moved(control, whole, 0, axis)?);
        }
        Ok(Some(states))
    }

    /// The slices of a tensor along an axis, on the device where it stores such.
    fn slices(&self, control: &Control, value: AnyTensor, axis: i64) -> Result<Vec<AnyTensor>> {
        let axis = axis_of(axis, value.shape().len())?;
        let first = self.moved(control, value, axis, 0)?;
        let on_device = match &first {
            AnyTensor::Host(tensor) => self.upload(tensor)?,
            AnyTensor::Device(tensor) => tensor.clone(),
        };
        if let Some(slices) = on_device.as_gpu().map(GpuTensor::unstack).transpose()?.flatten() {
            return Ok(slices.into_iter().map(|slice| DeviceTensor::from(slice).into()).collect());
        }
        let host = first.into_tensor()?;
        (0..host.shape()[0]).map(|at| slice(&host, 0, at).map(AnyTensor::from)).collect()
    }

    /// A tensor whose axis `from` becomes its axis `to`, where it lies.
    fn moved(&self, control: &Control, value: AnyTensor, from: usize, to: usize) -> Result<AnyTensor> {
        if from == to {
            return Ok(value);
        }
        if let AnyTensor::Host(tensor) = &value {
            return move_axis(tensor, from, to).map(AnyTensor::from);
        }
        let mut order: Vec<usize> = (0..value.shape().len()).collect();
        let axis = order.remove(from);
        order.insert(to, axis);
        let mut known = control.moves.lock().unwrap_or_else(PoisonError::into_inner);
        let session = match known.get(&order) {
            Some(session) => session.clone(),
            None => {
                let session: Arc<dyn GraphSession> = Arc::new(self.of_graph(transposed(&order))?);
                known.entry(order).or_insert(session).clone()
            }
        };
        drop(known);
        let made = session.session().run_graph(vec![value], 0..1, 0..0)?;
        made.into_iter().flatten().next().ok_or_else(|| Error::internal("a tensor was not moved"))
    }

    /// What turns made for output `output` of a graph, along a new axis that comes first: on the device where
    /// it lies there.
    pub(super) fn stacked(&self, list: Vec<AnyTensor>, graph: &dyn Body, output: usize) -> Result<AnyTensor> {
        let on_device = |value: &AnyTensor| match value {
            AnyTensor::Device(tensor) => tensor.as_gpu().cloned(),
            AnyTensor::Host(_) => None,
        };
        let parts: Option<Vec<GpuTensor>> = list.iter().map(on_device).collect();
        if let Some(whole) = parts.map(|parts| GpuTensor::stack(&parts)).transpose()?.flatten() {
            return Ok(DeviceTensor::from(whole).into());
        }
        let parts = list.into_iter().map(AnyTensor::into_tensor).collect::<Result<Vec<_>>>()?;
        stack(&parts, graph, output, self.mode()).map(AnyTensor::from)
    }
}

/// The graph of one Transpose.
fn transposed(order: &[usize]) -> Graph {
    let mut graph = Graph::default();
    let [x, y] = ["x", "y"].map(|name| graph.add_value(name, None, None));
    graph.nodes.push(Node {
        name: "moved".into(),
        op_type: "Transpose".into(),
        op: Arc::new(Transpose { perm: Some(order.iter().map(|&axis| axis as i64).collect()) }),
        inputs: vec![Some(x)],
        outputs: vec![Some(y)],
        fused: vec![],
    });
    (graph.inputs, graph.outputs) = (vec![x], vec![y]);
    graph
}
