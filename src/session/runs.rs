//! Runs of what a session prepared.

use super::Session;
use super::bindings::{AnyTensor, Placed};
use super::plans::Key;
use super::segments::Segments;
use crate::compiled;
use crate::cpu::program::{NodeTime, Program};
use crate::error::{Error, Result};
use crate::gpu::Execution;
use crate::graph::ValueId;
use crate::plan::Plan;
use crate::tensor::Tensor;
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long [`Session::warm`] took.
#[derive(Debug, Clone, Copy, Default)]
pub struct WarmUpTimes {
    /// Packing and uploading constants, making buffers and bind groups.
    pub upload: Duration,
    /// Compiling the kernels, beyond what was done during the uploads.
    pub shaders: Duration,
}

/// A plan and the executions that wait for the next run of it; without a plan the CPU runs the graph.
///
/// The session that prepared it runs it, with inputs as it was prepared for: anything else is an error.
pub struct Prepared {
    /// What the GPU runs; `None` where the CPU runs it all. `Plan::summary` shows it as text.
    pub plan: Option<Arc<Plan>>,
    /// Why a session with a GPU runs on the CPU alone: (node, operator, reason).
    pub whole_cpu: Option<(String, String, String)>,
    /// The parts of a run where shapes depend on data.
    pub(super) segments: Option<Segments>,
    /// What the CPU runs where there is no plan and types are as declared.
    pub(super) program: Option<Program>,
    pub(super) made_for: Key,
    /// The session that runs it; `None` for what is to be looked at alone.
    pub(super) owner: Option<Arc<()>>,
    /// What runs the plan.
    pub(super) executions: Option<Arc<Executions>>,
}

/// The executions of a plan, and of those that adopted its memory, that wait for the next run.
pub(super) struct Executions {
    plan: Arc<Plan>,
    idle: Mutex<Vec<Execution>>,
}

impl Executions {
    pub(super) fn of(plan: Arc<Plan>) -> Self {
        Self { plan, idle: Mutex::default() }
    }
    /// The plan that they are made for.
    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }
}

impl Prepared {
    /// Nothing to run yet, of the session of this identity.
    pub(super) fn new(owner: &Arc<()>, made_for: Key) -> Self {
        Self {
            plan: None,
            whole_cpu: None,
            segments: None,
            program: None,
            made_for,
            owner: Some(owner.clone()),
            executions: None,
        }
    }

    /// The same, which no session runs.
    pub(super) fn only_shown(self) -> Self {
        Self { owner: None, ..self }
    }

    /// Whether the GPU runs it in parts, since shapes depend on data: no one plan shows it all.
    pub fn runs_in_parts(&self) -> bool {
        self.segments.is_some()
    }

    /// The outputs that a run makes.
    #[cfg(test)]
    pub(crate) fn outputs(&self) -> impl Iterator<Item = ValueId> {
        self.made_for.outputs.iter().copied()
    }

    /// The plans of a run: one, or in a model in which shapes depend on data that of what comes before the
    /// nodes that decide them, and those that the last run made of the rest.
    pub fn plans(&self) -> Vec<Arc<Plan>> {
        match &self.segments {
            Some(segments) => segments.plans(),
            None => self.plan.iter().cloned().collect(),
        }
    }

    /// Of a run in parts, the nodes between the first part and the rest, which is planned in a run: the node, its
    /// operator, and why it runs on the CPU; `None` where its graphs run on the device.
    pub fn between_parts(&self) -> Vec<(String, String, Option<String>)> {
        self.segments.iter().flat_map(|segments| segments.between()).collect()
    }

    /// Errors where these inputs aren't such as it was prepared for.
    pub(super) fn check_inputs(&self, name: impl Fn(ValueId) -> String, inputs: &Placed) -> Result<()> {
        for given in &self.made_for.inputs {
            let (dtype, shape) = inputs
                .port(given.id)
                .ok_or_else(|| Error::input("this input is missing").at_tensor(name(given.id)))?;
            let other = |bytes: &Vec<u8>| {
                Ok::<_, Error>(inputs.fetch(given.id)?.is_none_or(|tensor| tensor.bytes() != bytes))
            };
            let what = if dtype != given.dtype {
                format!("found type {dtype}, the run was prepared for {}", given.dtype)
            } else if shape != given.shape {
                format!("found shape {shape:?}, the run was prepared for {:?}", given.shape)
            } else if given.bytes.as_ref().map_or(Ok(false), other)? {
                "the run was prepared for other elements, and shapes depend on them".to_string()
            } else {
                continue;
            };
            return Err(Error::input(what)
                .at_tensor(name(given.id))
                .remedy("prepare a run for these inputs"));
        }
        Ok(())
    }

    /// The nodes that run on the CPU though a GPU was asked for: (node, operator, reason).
    pub fn fallbacks(&self) -> Vec<(String, String, String)> {
        if let Some(segments) = &self.segments {
            return segments.fallbacks();
        }
        self.plan
            .as_ref()
            .map(|plan| plan.fallbacks())
            .or_else(|| self.whole_cpu.clone().map(|one| vec![one]))
            .unwrap_or_default()
    }
}

impl Session {
    /// Of a compiled file: why some of a plan's constants are packed anew, if any are.
    pub fn packed_anew(&self, prepared: &Prepared) -> Option<String> {
        let (packed, plan) = (self.packed.as_ref()?, prepared.plan.as_ref()?);
        let (all, found) = packed.found(&plan.constants);
        let why = if packed.outdated {
            "another version of sardonyx compiled it"
        } else {
            "it was compiled for another form of device or precision"
        };
        (found < all).then(|| format!("{} of {all} weights are packed anew: {why}", all - found))
    }

    /// Writes a compiled file ([`compiled`]) of the model file `model`, which this session was loaded from,
    /// with the weights as the kernels of a prepared plan read them; without a plan they are only laid out to
    /// be mapped.
    ///
    /// Errors: a model that is compiled already, what reading and packing give, a disk that is full.
    pub fn write_compiled(
        &self,
        model: &Path,
        prepared: Option<&Prepared>,
        to: &Path,
    ) -> Result<compiled::Written> {
        let plan = prepared.and_then(|prepared| prepared.plan.as_deref());
        compiled::write(self.planned(), model, plan, to)
    }

    /// Errors where this session didn't prepare the run.
    pub(super) fn check_own(&self, prepared: &Prepared) -> Result<()> {
        match &prepared.owner {
            Some(owner) if Arc::ptr_eq(owner, &self.identity) => Ok(()),
            Some(_) => Err(Error::usage("another session prepared this run")
                .remedy("let the session that prepared a run do it")),
            None => Err(Error::usage("this plan was made to be looked at, not to be run")
                .remedy("prepare a run with the session")),
        }
    }

    /// Runs what this session prepared, with inputs of the same types and shapes. The outputs come in the
    /// model's order, by name.
    ///
    /// Errors: another session prepared it; inputs of other types or shapes; what running the model gives.
    pub fn run_prepared(
        &self,
        prepared: &Prepared,
        inputs: &HashMap<ValueId, Tensor>,
    ) -> Result<Vec<(String, Tensor)>> {
        let placed = Placed::of(inputs.clone());
        self.check_own(prepared)?;
        prepared.check_inputs(|id| self.graph.value(id).name.clone(), &placed)?;
        let outputs = self.run_placed(prepared, &placed)?;
        outputs.into_iter().map(|(name, value)| Ok((name, AnyTensor::into_tensor(value)?))).collect()
    }

    /// An execution of the prepared plan: one that waits, or a new one.
    #[doc(hidden)]
    pub fn lease(&self, prepared: &Prepared) -> Result<Execution> {
        self.check_own(prepared)?;
        let (Some(plan), Some(executions)) = (&prepared.plan, &prepared.executions) else {
            return Err(Error::internal("an execution without a plan"));
        };
        let idle = executions.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut execution = match idle {
            Some(execution) => execution,
            None => {
                let device = self.gpu().ok_or_else(|| Error::internal("a plan without a device"))?;
                let made = Execution::new(device, &executions.plan, &self.constants)?;
                if self.options.poison { made.poisoning() } else { made }
            }
        };
        execution.adapt(plan)?;
        Ok(execution)
    }

    /// Keeps an execution for the next run.
    pub(super) fn give_back(&self, prepared: &Prepared, execution: Execution) {
        if let Some(executions) = &prepared.executions {
            executions.idle.lock().unwrap_or_else(PoisonError::into_inner).push(execution);
        }
    }

    /// Does before the first run what it would do: compiles the kernels, uploads the constants, makes the
    /// buffers. Returns how long the uploads and the kernels took; on the CPU there is nothing to do.
    ///
    /// Errors: another session prepared it; the device is lost, out of memory, or refuses a kernel.
    pub fn warm(&self, prepared: &Prepared) -> Result<WarmUpTimes> {
        self.check_own(prepared)?;
        if prepared.plan.is_none() {
            return Ok(WarmUpTimes::default());
        }
        let start = Instant::now();
        let mut execution = self.lease(prepared)?;
        execution.warm()?;
        let upload = execution.uploading;
        self.give_back(prepared, execution);
        Ok(WarmUpTimes { upload, shaders: start.elapsed().saturating_sub(upload) })
    }

    /// A run of a session on the CPU, with the time that each node took; `None` where there is no program.
    #[doc(hidden)]
    pub fn run_timed(
        &self,
        prepared: &Prepared,
        inputs: &HashMap<ValueId, Tensor>,
    ) -> Result<Option<Vec<NodeTime>>> {
        self.check_own(prepared)?;
        prepared.check_inputs(|id| self.graph.value(id).name.clone(), &Placed::of(inputs.clone()))?;
        let Some(program) = &prepared.program else { return Ok(None) };
        let mut times = vec![];
        program.run(inputs, Some(&mut times))?;
        Ok(Some(times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Capabilities;

    fn session() -> Session {
        Session::builder().load("models/tiny/mlp/model.onnx").unwrap()
    }
    fn inputs(session: &Session, rows: usize) -> HashMap<ValueId, Tensor> {
        let columns = match session.inputs()[0].dims.as_deref() {
            Some([_, crate::graph::Dim::Known(columns)]) => *columns,
            other => panic!("{other:?}"),
        };
        let tensor = Tensor::new([rows, columns], vec![0.5f32; rows * columns]).unwrap();
        session.bind(&[(&session.inputs()[0].name, tensor)]).unwrap()
    }

    #[test]
    fn a_run_is_its_sessions_and_its_inputs() {
        let (session, other) = (session(), session());
        let two = inputs(&session, 2);
        let prepared = session.prepare(&two).unwrap();
        session.run_prepared(&prepared, &two).unwrap();
        let error = |session: &Session, prepared: &Prepared, inputs: &_| {
            session.run_prepared(prepared, inputs).unwrap_err().to_string()
        };
        assert!(error(&other, &prepared, &two).contains("another session"));
        assert!(error(&session, &prepared, &inputs(&session, 3)).contains("prepared for [2, "));
        assert!(error(&session, &prepared, &HashMap::new()).contains("missing"));
        let plan = session.plan_for(&two, &Capabilities::webgpu()).unwrap();
        assert!(error(&session, &plan, &two).contains("looked at"));
        assert!(session.warm(&plan).is_err() && other.warm(&prepared).is_err());
    }
}
