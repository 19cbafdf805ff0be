//! Runs whose inputs and outputs may stay on the device.

use super::{Prepared, Session};
use crate::base::Fact;
use crate::cpu;
use crate::device::DeviceTensor;
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{self, GpuTensor, Made};
use crate::graph::{Graph, ValueId};
use crate::ops::Operator;
use crate::passes::dead_code;
use crate::plan::{Plan, mode_of};
use crate::tensor::{DType, Tensor};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A value of a run: on the host, or where the session runs.
#[derive(Debug, Clone)]
pub enum AnyTensor {
    /// On the host.
    Host(Tensor),
    /// Where the session runs.
    Device(DeviceTensor),
}

impl AnyTensor {
    /// The type of its elements.
    pub fn dtype(&self) -> DType {
        match self {
            Self::Host(tensor) => tensor.dtype(),
            Self::Device(tensor) => tensor.dtype(),
        }
    }
    /// Its sizes.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Host(tensor) => tensor.shape(),
            Self::Device(tensor) => tensor.shape(),
        }
    }
    /// The tensor on the host, copied there if need be. Errors as [`DeviceTensor::download`] does.
    pub fn into_tensor(self) -> Result<Tensor> {
        match self {
            Self::Host(tensor) => Ok(tensor),
            Self::Device(tensor) => tensor.download(),
        }
    }
}

impl From<Tensor> for AnyTensor {
    fn from(tensor: Tensor) -> Self {
        Self::Host(tensor)
    }
}
impl From<DeviceTensor> for AnyTensor {
    fn from(tensor: DeviceTensor) -> Self {
        Self::Device(tensor)
    }
}
impl From<&DeviceTensor> for AnyTensor {
    fn from(tensor: &DeviceTensor) -> Self {
        Self::Device(tensor.clone())
    }
}

/// What a run takes, each input on the host or on the device, and which outputs it leaves on the device.
///
/// ```
/// use sardonyx::session::{Bindings, AnyTensor};
/// use sardonyx::{Device, Session, Tensor};
///
/// # fn main() -> sardonyx::Result<()> {
/// // A model whose output is its next input, and doesn't leave the device in between.
/// let session = Session::builder().device(Device::auto()?).load("models/tiny/decoder/model.onnx")?;
/// let mut state = AnyTensor::from(session.upload(&Tensor::new([1, 9, 16], vec![0.1f32; 9 * 16])?)?);
/// for _ in 0..3 {
///     let bindings = Bindings::new().input("input", state).keep("output");
///     let prepared = session.prepare_with(&bindings)?; // made once, and found again
///     let mut outputs = session.run_with(&prepared, &bindings)?;
///     state = outputs.remove(0).1;
/// }
/// assert_eq!(state.into_tensor()?.shape(), [1, 9, 16]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Bindings {
    inputs: Vec<(String, AnyTensor)>,
    keep: Vec<String>,
    leave_out: Vec<String>,
}

impl Bindings {
    /// No input yet, and every output comes to the host.
    pub fn new() -> Self {
        Self::default()
    }
    /// An input by its name: a [`Tensor`](crate::Tensor), or a [`DeviceTensor`].
    pub fn input(mut self, name: impl Into<String>, value: impl Into<AnyTensor>) -> Self {
        self.inputs.push((name.into(), value.into()));
        self
    }
    /// Leaves an output on the device.
    pub fn keep(mut self, name: impl Into<String>) -> Self {
        self.keep.push(name.into());
        self
    }
    /// Leaves an output out: it isn't made, nor is what only it needs. A run is prepared for the outputs that
    /// it makes, with a plan of its own.
    pub fn leave_out(mut self, name: impl Into<String>) -> Self {
        self.leave_out.push(name.into());
        self
    }
}

/// The values of a run, by where they are.
#[derive(Default)]
pub(super) struct Placed {
    pub(super) host: HashMap<ValueId, Tensor>,
    device: HashMap<ValueId, GpuTensor>,
    pub(super) keep: HashSet<ValueId>,
    /// The outputs that aren't made.
    pub(super) left_out: HashSet<ValueId>,
}

impl Placed {
    pub(super) fn of(host: HashMap<ValueId, Tensor>) -> Self {
        Self { host, ..Self::default() }
    }
    /// The type and shape of an input.
    pub(super) fn port(&self, id: ValueId) -> Option<(DType, &[usize])> {
        let host = self.host.get(&id).map(|tensor| (tensor.dtype(), tensor.shape()));
        host.or_else(|| self.device.get(&id).map(|tensor| (tensor.dtype(), tensor.shape())))
    }
    /// These values.
    pub(super) fn from_values(values: HashMap<ValueId, AnyTensor>, keep: HashSet<ValueId>) -> Result<Self> {
        let mut placed = Self { keep, ..Self::default() };
        for (id, value) in values {
            placed.insert(id, &value)?;
        }
        Ok(placed)
    }
    fn insert(&mut self, id: ValueId, value: &AnyTensor) -> Result<()> {
        match value {
            AnyTensor::Host(tensor) => drop(self.host.insert(id, tensor.clone())),
            AnyTensor::Device(tensor) => match tensor.as_gpu() {
                Some(tensor) => drop(self.device.insert(id, tensor.clone())),
                None => drop(self.host.insert(id, tensor.download()?)),
            },
        }
        Ok(())
    }
    /// All of them.
    pub(super) fn values(&self) -> HashMap<ValueId, AnyTensor> {
        let host = self.host.iter().map(|(&id, tensor)| (id, tensor.clone().into()));
        let device = self.device.iter().map(|(&id, tensor)| (id, AnyTensor::Device(tensor.clone().into())));
        host.chain(device).collect()
    }
    /// The same values, for a run that leaves others on the device.
    pub(super) fn keeping(&self, keep: HashSet<ValueId>) -> Self {
        Self { host: self.host.clone(), device: self.device.clone(), keep, ..Self::default() }
    }
    /// What is known of the values before a run: of those on the host their elements too.
    pub(super) fn facts(&self) -> HashMap<ValueId, Fact> {
        let known = self.host.iter().map(|(&id, tensor)| (id, Fact::of(tensor)));
        let unknown = self.device.iter().map(|(&id, tensor)| (id, Fact::new(tensor.dtype(), tensor.shape())));
        known.chain(unknown).collect()
    }
    /// An input on the host.
    pub(super) fn fetch(&self, id: ValueId) -> Result<Option<Tensor>> {
        match self.host.get(&id) {
            Some(tensor) => Ok(Some(tensor.clone())),
            None => self.device.get(&id).map(GpuTensor::download).transpose(),
        }
    }
}

/// An output of a run on the CPU, which is where it stays too.
fn kept_by_cpu(keep: &HashSet<ValueId>, id: &ValueId, tensor: Tensor) -> AnyTensor {
    if keep.contains(id) { AnyTensor::Device(tensor.into()) } else { AnyTensor::Host(tensor) }
}

impl Session {
    /// Copies a tensor to where the session runs, as its runs store it.
    ///
    /// Errors: more memory than the device may use, a lost device.
    pub fn upload(&self, tensor: &Tensor) -> Result<DeviceTensor> {
        let Some(device) = self.gpu() else { return Ok(tensor.clone().into()) };
        let uploaded = GpuTensor::upload(device, tensor, self.precision())?;
        Ok(uploaded.map_or_else(|| tensor.clone().into(), DeviceTensor::from))
    }

    /// [`Session::prepare`] for inputs of which some are on the device.
    ///
    /// Errors: those of [`Session::bind`] and [`Session::prepare`], and an output to keep or to leave out that
    /// the model doesn't have.
    pub fn prepare_with(&self, bindings: &Bindings) -> Result<Arc<Prepared>> {
        let placed = self.place(bindings)?;
        let fetch = |id| placed.fetch(id);
        if placed.left_out.is_empty() {
            return self.prepare_for(placed.facts(), &fetch);
        }
        let mut graph = self.prepared_graph().clone();
        graph.outputs.retain(|id| !placed.left_out.contains(id));
        dead_code::rewrite(&mut graph)?;
        self.prepare_in(&graph, &self.plans, placed.facts(), &fetch)
    }

    /// Runs what this session prepared, with inputs of the same types and shapes that are on the host or on
    /// the device. The outputs that it was prepared for come in the model's order, by name: those that are to
    /// be kept on the device, the others on the host.
    ///
    /// The run is over when this returns. Errors: those of [`Session::run_prepared`], and an input on another
    /// device than the session's or of a session of another precision.
    pub fn run_with(&self, prepared: &Prepared, bindings: &Bindings) -> Result<Vec<(String, AnyTensor)>> {
        let placed = self.place(bindings)?;
        self.check_own(prepared)?;
        prepared.check_inputs(|id| self.graph.value(id).name.clone(), &placed)?;
        self.run_placed(prepared, &placed)
    }

    /// The same, which takes the bindings. On the CPU a state that nobody else holds is then written over, as a
    /// GPU writes over one in any case.
    pub fn run_taking(&self, prepared: &Prepared, bindings: Bindings) -> Result<Vec<(String, AnyTensor)>> {
        let alone = prepared.plan.is_none() && prepared.segments.is_none();
        let Some(program) = prepared.program.as_ref().filter(|_| alone) else {
            return self.run_with(prepared, &bindings);
        };
        let placed = self.place(&bindings)?;
        drop(bindings);
        self.check_own(prepared)?;
        prepared.check_inputs(|id| self.graph.value(id).name.clone(), &placed)?;
        let Placed { host, device, keep, .. } = placed;
        if !device.is_empty() {
            return Err(Error::internal("tensors of a device in a run on the CPU"));
        }
        let made = program.run_taking(host)?;
        let named = |(id, tensor): (&ValueId, Tensor)| {
            (self.graph.value(*id).name.clone(), kept_by_cpu(&keep, id, tensor))
        };
        Ok(prepared.made_for.outputs.iter().zip(made).map(named).collect())
    }

    fn place(&self, bindings: &Bindings) -> Result<Placed> {
        let inputs = bindings.inputs.iter();
        let ids =
            self.matched(inputs.clone().map(|(name, value)| (&**name, value.dtype(), value.shape())))?;
        let mut placed = Placed::default();
        for (id, (_, value)) in ids.into_iter().zip(inputs) {
            placed.insert(id, value)?;
        }
        placed.keep = self.outputs_of_names(&bindings.keep)?;
        placed.left_out = self.outputs_of_names(&bindings.leave_out)?;
        Ok(placed)
    }

    fn outputs_of_names(&self, names: &[String]) -> Result<HashSet<ValueId>> {
        let outputs = &self.graph.outputs;
        let of = |name: &String| {
            let id = outputs.iter().copied().find(|&id| self.graph.value(id).name == *name);
            let names = || outputs.iter().map(|&id| self.graph.value(id).name.clone()).collect::<Vec<_>>();
            id.ok_or_else(|| {
                Error::input("the model has no such output")
                    .at_tensor(name)
                    .remedy(format!("its outputs are: {}", names().join(", ")))
            })
        };
        names.iter().map(of).collect()
    }

    pub(super) fn run_placed(
        &self,
        prepared: &Prepared,
        placed: &Placed,
    ) -> Result<Vec<(String, AnyTensor)>> {
        let outputs = &prepared.made_for.outputs;
        let made = self.run_part(prepared, &self.graph, outputs, placed)?;
        let named = |(id, value): (&ValueId, AnyTensor)| (self.graph.value(*id).name.clone(), value);
        Ok(outputs.iter().zip(made).map(named).collect())
    }

    /// Runs what was prepared of a graph; returns the values of these ids, which are its outputs or some of
    /// them.
    pub(super) fn run_part(
        &self,
        prepared: &Prepared,
        graph: &Graph,
        ids: &[ValueId],
        placed: &Placed,
    ) -> Result<Vec<AnyTensor>> {
        let mode = mode_of(self.precision());
        if let Some(segments) = &prepared.segments {
            return self.run_segments(segments, ids, placed);
        }
        let Some(plan) = &prepared.plan else {
            let fetched;
            let inputs = if placed.device.is_empty() {
                &placed.host
            } else {
                let down = placed.device.iter().map(|(&id, tensor)| Ok((id, tensor.download()?)));
                let mut all = down.collect::<Result<HashMap<_, _>>>()?;
                all.extend(placed.host.clone());
                fetched = all;
                &fetched
            };
            let outputs = match &prepared.program {
                Some(program) => program.run(inputs, None)?,
                None => {
                    let all = cpu::run(graph, inputs, mode, &mut |_, _| {})?;
                    let wanted = graph.outputs.iter().zip(all).filter(|(id, _)| ids.contains(id));
                    wanted.map(|(_, tensor)| tensor).collect()
                }
            };
            let kept = |(id, tensor): (&ValueId, Tensor)| kept_by_cpu(&placed.keep, id, tensor);
            return Ok(ids.iter().zip(outputs).map(kept).collect());
        };
        let evaluate = |op: &dyn Operator, operands: &[Option<&Tensor>]| cpu::eval_step(op, operands, mode);
        // As plans read their inputs.
        let dense = placed.device.iter().map(|(&id, tensor)| Ok((id, tensor.dense()?)));
        let (device, keep) = (dense.collect::<Result<_>>()?, placed.keep.clone());
        let mut execution = self.lease(prepared)?;
        let made = execution.run_bound(&gpu::Bindings { host: &placed.host, device, keep }, &evaluate);
        // An input that is wrong leaves the device as it was.
        if made.as_ref().map_or_else(|error| error.kind() == ErrorKind::Input, |_| true) {
            self.give_back(prepared, execution);
        }
        let made = made?;
        ids.iter().map(|&id| self.output(plan, placed, &made, id)).collect()
    }

    /// An output of a run, where it is wanted.
    fn output(&self, plan: &Plan, placed: &Placed, made: &Made, id: ValueId) -> Result<AnyTensor> {
        let keep = placed.keep.contains(&id);
        // An input may be an output as it is.
        let on_device = || made.device.get(&id).or_else(|| placed.device.get(&id));
        if let Some(tensor) = on_device().filter(|_| keep) {
            return Ok(AnyTensor::Device(tensor.clone().into()));
        }
        let known = || plan.facts.get(id.0 as usize)?.as_ref()?.value.as_ref();
        let on_host = made.host.get(&id).or_else(|| placed.host.get(&id)).or_else(known);
        match (on_host, on_device()) {
            (Some(tensor), _) if keep => Ok(AnyTensor::Device(self.upload(tensor)?)),
            (Some(tensor), _) => Ok(AnyTensor::Host(tensor.clone())),
            (None, Some(tensor)) => Ok(AnyTensor::Host(tensor.download()?)),
            (None, None) => {
                Err(Error::internal("an output was not made").at_tensor(&plan.graph.value(id).name))
            }
        }
    }
}
