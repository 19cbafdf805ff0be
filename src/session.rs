//! A model ready to run: the library's front door.

use crate::base::{Capabilities, Fact, Mode, Precision};
use crate::compiled::{self, Packed};
use crate::cpu;
use crate::cpu::program::{NodeTime, Program, Weights};
use crate::error::{Error, ErrorKind, Result};
use crate::gpu::{Constants, Device, Execution};
use crate::graph::{Dim, Graph, ValueId};
use crate::onnx;
use crate::ops::Operator;
use crate::plan::{self, Choices, Inference, Plan, PlanRequest, mode_of};
use crate::tensor::{DType, Tensor};
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Plans that a session keeps: the least recently used goes first.
const KEPT_PLANS: usize = 8;

/// How a session is to be made.
#[derive(Default, Clone)]
pub struct SessionBuilder {
    device: Option<Device>,
    checks: Option<bool>,
    precision: Precision,
    strict: bool,
    plain: bool,
    fault: Option<u64>,
    choices: Choices,
}

impl SessionBuilder {
    /// The GPU to run on; without one, or with `None`, the CPU.
    pub fn device(mut self, device: Option<Device>) -> Self {
        self.device = device;
        self
    }
    /// Whether the GPU's shaders check their indices: see [`Device::with_checks`]. As the device says unless said
    /// here.
    pub fn checks(mut self, checks: bool) -> Self {
        self.checks = Some(checks);
        self
    }
    /// How float32 tensors are stored.
    pub fn precision(mut self, precision: Precision) -> Self {
        self.precision = precision;
        self
    }
    /// Makes a fallback to the CPU an error.
    pub fn strict(mut self, strict: bool) -> Self {
        self.strict = strict;
        self
    }
    /// Leaves out every rewrite: the graph runs as read.
    pub fn without_rewrites(mut self) -> Self {
        self.plain = true;
        self
    }
    /// Who answers where a kernel has several variants: each kernel's own rule unless said here.
    pub fn choices(mut self, choices: Choices) -> Self {
        self.choices = choices;
        self
    }
    /// Plants a fault, for tests of the comparison: see [`crate::compare`].
    #[doc(hidden)]
    pub fn plant_fault(mut self, seed: u64) -> Self {
        self.fault = Some(seed);
        self
    }

    /// Reads a model file, ONNX or compiled ([`compiled`]). Errors name the file, and the node where one is
    /// at fault.
    pub fn load(self, path: impl AsRef<Path>) -> Result<Session> {
        let start = Instant::now();
        let path = path.as_ref();
        let (model, packed) = if compiled::is_compiled(path) {
            let compiled::Compiled { model, packed } = compiled::open(path)?;
            (model, Some(packed))
        } else {
            (onnx::read(path)?, None)
        };
        let parsed = start.elapsed();
        let mut session = self.build_with(model, packed).map_err(|error| error.in_file(path))?;
        session.stages.parse = parsed;
        Ok(session)
    }

    /// Makes a session of a model that was read already.
    pub fn build(self, model: onnx::Model) -> Result<Session> {
        self.build_with(model, None)
    }

    fn build_with(mut self, model: onnx::Model, mut packed: Option<Packed>) -> Result<Session> {
        let start = Instant::now();
        if let Some(checks) = self.checks {
            self.device = self.device.map(|device| device.with_checks(checks));
        }
        let original = Arc::new(model.graph);
        let mut graph = (*original).clone();
        if !self.plain {
            crate::passes::at_load(&mut graph)?;
        }
        let planned = OnceLock::new();
        if self.device.is_some() {
            planned.get_or_init(|| for_plans(&graph, self.plain));
        }
        if let Some(packed) = &mut packed {
            packed.bind(planned.get().unwrap_or(&graph));
        }
        let packed = packed.map(Arc::new);
        Ok(Session {
            options: self,
            info: model.info,
            original,
            graph,
            planned,
            constants: Constants::packed(packed.clone()),
            packed,
            weights: Weights::default(),
            plans: Mutex::default(),
            by_value: Mutex::default(),
            stages: Stages { optimise: start.elapsed(), ..Stages::default() },
        })
    }
}

/// How long the stages before the first result took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stages {
    pub parse: Duration,
    pub optimise: Duration,
}

/// How long [`Session::warm`] took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Warmed {
    /// Packing and uploading constants, making buffers and bind groups.
    pub upload: Duration,
    /// Compiling the kernels, beyond what was done during the uploads.
    pub shaders: Duration,
}

/// What a caller must know of an input or output.
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    pub name: String,
    pub dtype: DType,
    /// `None` where the model leaves even the rank open.
    pub dims: Option<Vec<Dim>>,
}

/// A plan and the executions that wait for the next run of it; without a plan the CPU runs the graph.
pub struct Prepared {
    pub plan: Option<Arc<Plan>>,
    /// Why a session with a GPU runs on the CPU alone: (node, operator, reason).
    pub whole_cpu: Option<(String, String, String)>,
    /// The fault that was planted on purpose, if one was asked for.
    pub planted: Option<crate::compare::Planted>,
    /// What the CPU runs where there is no plan and types are as declared.
    program: Option<Program>,
    idle: Mutex<Vec<Execution>>,
}

impl Prepared {
    /// The nodes that run on the CPU though a GPU was asked for: (node, operator, reason).
    pub fn fallbacks(&self) -> Vec<(String, String, String)> {
        self.plan
            .as_ref()
            .map(|plan| plan.fallbacks())
            .or_else(|| self.whole_cpu.clone().map(|one| vec![one]))
            .unwrap_or_default()
    }
}

/// What decides a plan: each input's type and shape, and the elements of those that shapes depend on.
type Key = Vec<(DType, Vec<usize>, Option<Vec<u8>>)>;

/// A model on a device. `run` may be called from several threads at once.
pub struct Session {
    options: SessionBuilder,
    info: onnx::ModelInfo,
    original: Arc<Graph>,
    graph: Graph,
    /// The graph that plans are made of, once there is one.
    planned: OnceLock<Graph>,
    constants: Constants,
    /// The weights that a compiled file holds packed.
    packed: Option<Arc<Packed>>,
    weights: Weights,
    plans: Mutex<Vec<(Key, Arc<Prepared>)>>,
    by_value: Mutex<HashSet<ValueId>>,
    stages: Stages,
}

/// The graph for plans: as it is, where a rewrite of it has no memory.
fn for_plans(graph: &Graph, plain: bool) -> Graph {
    let mut planned = graph.clone();
    match plain || crate::passes::for_plans(&mut planned).is_ok() {
        true => planned,
        false => graph.clone(),
    }
}

impl Session {
    pub fn builder() -> SessionBuilder {
        SessionBuilder::default()
    }
    pub fn device(&self) -> Option<&Device> {
        self.options.device.as_ref()
    }
    pub fn precision(&self) -> Precision {
        self.options.precision
    }
    pub fn info(&self) -> &onnx::ModelInfo {
        &self.info
    }
    pub fn stages(&self) -> Stages {
        self.stages
    }
    /// Whether the graph is rewritten before it runs.
    pub fn rewrites(&self) -> bool {
        !self.options.plain
    }
    /// The graph as read.
    pub fn original(&self) -> &Arc<Graph> {
        &self.original
    }
    /// The graph after the rewrites that need no shapes. Its values keep the ids they have in the original.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }
    /// The graph that plans are made of: with rewrites that the CPU has nothing of.
    pub fn planned(&self) -> &Graph {
        self.planned.get_or_init(|| for_plans(&self.graph, self.options.plain))
    }
    pub fn inputs(&self) -> Vec<Port> {
        self.ports(&self.original.inputs)
    }
    pub fn outputs(&self) -> Vec<Port> {
        self.ports(&self.original.outputs)
    }
    fn ports(&self, ids: &[ValueId]) -> Vec<Port> {
        let port = |&id: &ValueId| {
            let value = self.original.value(id);
            let declared = value.declared.clone();
            Port {
                name: value.name.clone(),
                dtype: declared.as_ref().map_or(DType::F32, |d| d.dtype),
                dims: declared.and_then(|d| d.dims),
            }
        };
        ids.iter().map(port).collect()
    }

    /// Runs the model on inputs by name. The outputs come in the model's order, by name.
    pub fn run(&self, inputs: &[(&str, Tensor)]) -> Result<Vec<(String, Tensor)>> {
        let values = self.bind(inputs)?;
        let prepared = self.prepare(&values)?;
        self.run_prepared(&prepared, &values)
    }

    /// Matches inputs by name and checks types and shapes against the model's declarations.
    pub fn bind(&self, inputs: &[(&str, Tensor)]) -> Result<HashMap<ValueId, Tensor>> {
        let names = || self.inputs().iter().map(|port| port.name.clone()).collect::<Vec<_>>().join(", ");
        let mut values = HashMap::new();
        let mut symbols: HashMap<String, usize> = HashMap::new();
        for (name, tensor) in inputs {
            let id = self.graph.inputs.iter().copied().find(|&id| self.graph.value(id).name == *name);
            let id = id.ok_or_else(|| {
                Error::input("the model has no such input")
                    .at_tensor(*name)
                    .remedy(format!("its inputs are: {}", names()))
            })?;
            self.check_input(id, tensor, &mut symbols).map_err(|error| error.at_tensor(*name))?;
            values.insert(id, tensor.clone());
        }
        match self.graph.inputs.iter().find(|id| !values.contains_key(id)) {
            Some(&id) => Err(Error::input("this input is missing")
                .at_tensor(&self.graph.value(id).name)
                .remedy("give it with -i NAME=FILE or --inputs DIR")),
            None => Ok(values),
        }
    }

    fn check_input(&self, id: ValueId, tensor: &Tensor, symbols: &mut HashMap<String, usize>) -> Result<()> {
        let Some(declared) = &self.original.value(id).declared else { return Ok(()) };
        if declared.dtype != tensor.dtype() {
            return Err(Error::input(format!(
                "found type {}, the model takes {}",
                tensor.dtype(),
                declared.dtype
            ))
            .remedy("convert the input"));
        }
        let Some(dims) = &declared.dims else { return Ok(()) };
        if dims.len() != tensor.rank() {
            return Err(Error::input(format!(
                "found shape {:?}, the model takes rank {}",
                tensor.shape(),
                dims.len()
            ))
            .remedy("reshape the input"));
        }
        for (axis, (dim, &size)) in dims.iter().zip(tensor.shape()).enumerate() {
            match dim {
                Dim::Known(known) if *known != size => {
                    return Err(Error::input(format!(
                        "found size {size} on axis {axis}, the model takes {known}"
                    ))
                    .remedy("resize the input"));
                }
                Dim::Symbol(symbol) => {
                    let bound = *symbols.entry(symbol.clone()).or_insert(size);
                    if bound != size {
                        return Err(Error::input(format!(
                            "found size {size} on axis {axis}, but '{symbol}' is {bound} elsewhere"
                        ))
                        .remedy("make the inputs agree"));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The plan for these inputs, made now or kept from before.
    pub fn prepare(&self, inputs: &HashMap<ValueId, Tensor>) -> Result<Arc<Prepared>> {
        let mut by_value = self.by_value.lock().unwrap_or_else(PoisonError::into_inner).clone();
        loop {
            let key: Key = self
                .graph
                .inputs
                .iter()
                .filter_map(|id| {
                    inputs.get(id).map(|t| {
                        (t.dtype(), t.shape().to_vec(), by_value.contains(id).then(|| t.bytes().to_vec()))
                    })
                })
                .collect();
            let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(at) = plans.iter().position(|(known, _)| *known == key) {
                let found = plans.remove(at);
                plans.push(found.clone());
                return Ok(found.1);
            }
            drop(plans);
            let made = match self.device() {
                Some(device) => {
                    self.make_plan(inputs, &by_value, device.capabilities(), &self.options.choices)?
                }
                None => self.make_program(inputs, &by_value)?,
            };
            match made {
                Ok(prepared) => {
                    let prepared = Arc::new(prepared);
                    let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
                    if plans.len() >= KEPT_PLANS {
                        plans.remove(0);
                    }
                    plans.push((key, prepared.clone()));
                    return Ok(prepared);
                }
                Err(more) => {
                    by_value.extend(more);
                    self.by_value
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .extend(by_value.iter().copied());
                }
            }
        }
    }

    /// The plan for a device of these capabilities, to look at: no device is touched, and it isn't kept.
    pub fn plan_for(
        &self,
        inputs: &HashMap<ValueId, Tensor>,
        capabilities: &Capabilities,
    ) -> Result<Prepared> {
        self.plan_with(inputs, capabilities, &self.options.choices)
    }

    /// The plan for this session's device in which others answer for the kernels' variants. It isn't kept.
    pub(crate) fn plan_choosing(
        &self,
        inputs: &HashMap<ValueId, Tensor>,
        choices: Choices,
    ) -> Result<Prepared> {
        let device = self.device().ok_or_else(|| Error::internal("a plan without a device"))?;
        self.plan_with(inputs, device.capabilities(), &choices)
    }

    /// Who answers for the kernels' variants from now on.
    pub(crate) fn set_choices(&mut self, choices: Choices) {
        self.options.choices = choices;
        self.plans.get_mut().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn plan_with(
        &self,
        inputs: &HashMap<ValueId, Tensor>,
        capabilities: &Capabilities,
        choices: &Choices,
    ) -> Result<Prepared> {
        let mut by_value = HashSet::new();
        loop {
            match self.make_plan(inputs, &by_value, capabilities, choices)? {
                Ok(prepared) => return Ok(prepared),
                Err(more) => by_value.extend(more),
            }
        }
    }

    /// What the CPU runs for these inputs, or the inputs whose elements it needs.
    fn make_program(
        &self,
        inputs: &HashMap<ValueId, Tensor>,
        by_value: &HashSet<ValueId>,
    ) -> Result<Result<Prepared, Vec<ValueId>>> {
        let program = match plan::infer(&self.graph, &facts_of(inputs, by_value))? {
            Inference::Complete(facts) => self.program(Some(facts))?,
            Inference::NeedsInputs(more) => return Ok(Err(more)),
            Inference::DependsOnData { .. } => self.program(None)?,
        };
        Ok(Ok(Prepared { plan: None, whole_cpu: None, planted: None, program, idle: Mutex::default() }))
    }

    /// The graph made ready for the CPU: with rewrites for the shapes where they are known. `None` where it
    /// computes in other types than declared.
    fn program(&self, facts: Option<Vec<Option<Fact>>>) -> Result<Option<Program>> {
        if self.mode() != Mode::Declared {
            return Ok(None);
        }
        let mut graph = self.graph.clone();
        let rewrite = !self.options.plain;
        let Some(mut facts) = facts else { return Program::new(graph, None, false, &self.weights).map(Some) };
        if rewrite {
            facts = crate::passes::with_shapes(&mut graph, &facts)?;
        }
        Program::new(graph, Some(&facts), rewrite, &self.weights).map(Some)
    }

    /// A run of a session on the CPU, with the time that each node took; `None` where there is no program.
    pub fn run_timed(
        &self,
        prepared: &Prepared,
        inputs: &HashMap<ValueId, Tensor>,
    ) -> Result<Option<Vec<NodeTime>>> {
        let Some(program) = &prepared.program else { return Ok(None) };
        let mut times = vec![];
        program.run(inputs, Some(&mut times))?;
        Ok(Some(times))
    }

    /// A plan, or the inputs whose elements it needs.
    fn make_plan(
        &self,
        inputs: &HashMap<ValueId, Tensor>,
        by_value: &HashSet<ValueId>,
        capabilities: &Capabilities,
        choices: &Choices,
    ) -> Result<Result<Prepared, Vec<ValueId>>> {
        let mut facts = match plan::infer(self.planned(), &facts_of(inputs, by_value))? {
            Inference::Complete(facts) => facts,
            Inference::NeedsInputs(more) => return Ok(Err(more)),
            Inference::DependsOnData { node, op_type, reason } => {
                let whole_cpu = Some((node, op_type, format!("{reason}: the whole model runs on the CPU")));
                let program = self.program(None)?;
                return self
                    .allow(Prepared { plan: None, whole_cpu, planted: None, program, idle: Mutex::default() })
                    .map(Ok);
            }
        };
        let mut graph = self.planned().clone();
        if !self.options.plain {
            facts = crate::passes::with_shapes(&mut graph, &facts)?;
        }
        let by_value = graph.inputs.iter().copied().filter(|id| by_value.contains(id)).collect();
        let request = PlanRequest {
            graph,
            facts,
            by_value,
            capabilities,
            precision: self.precision(),
            choices: choices.clone(),
        };
        let mut plan = plan::plan(request)?;
        let planted = self
            .options
            .fault
            .map(|seed| crate::compare::fault::plant(&mut plan, inputs, seed))
            .transpose()?;
        self.allow(Prepared {
            plan: Some(Arc::new(plan)),
            whole_cpu: None,
            planted,
            program: None,
            idle: Mutex::default(),
        })
        .map(Ok)
    }

    /// Refuses a plan with fallbacks where the session is strict.
    fn allow(&self, prepared: Prepared) -> Result<Prepared> {
        match prepared.fallbacks().into_iter().next().filter(|_| self.options.strict) {
            Some((node, op, reason)) => Err(Error::unsupported(format!("would run on the CPU: {reason}"))
                .at_node(node)
                .at_operator(op)
                .remedy("leave --strict out, or use --device cpu")),
            None => Ok(prepared),
        }
    }

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

    /// Runs a prepared plan.
    pub fn run_prepared(
        &self,
        prepared: &Prepared,
        inputs: &HashMap<ValueId, Tensor>,
    ) -> Result<Vec<(String, Tensor)>> {
        let mode = mode_of(self.precision());
        let named = |(id, tensor): (&ValueId, Tensor)| (self.graph.value(*id).name.clone(), tensor);
        let Some(plan) = &prepared.plan else {
            let outputs = match &prepared.program {
                Some(program) => program.run(inputs, None)?,
                None => cpu::run(&self.graph, inputs, mode, &mut |_, _| {})?,
            };
            return Ok(self.graph.outputs.iter().zip(outputs).map(named).collect());
        };
        let mut execution = self.lease(prepared, plan)?;
        let evaluate = |op: &dyn Operator, operands: &[Option<&Tensor>]| cpu::eval_step(op, operands, mode);
        let values = execution.run(inputs, &evaluate);
        // An input that is wrong leaves the device as it was.
        if values.as_ref().map_or_else(|error| error.kind() == ErrorKind::Input, |_| true) {
            prepared.idle.lock().unwrap_or_else(PoisonError::into_inner).push(execution);
        }
        let values = values?;
        let output = |&id: &ValueId| {
            let known = || plan.facts.get(id.0 as usize).cloned().flatten().and_then(|fact| fact.value);
            values.get(&id).or_else(|| inputs.get(&id)).cloned().or_else(known).ok_or_else(|| {
                Error::internal("an output was not made").at_tensor(&self.graph.value(id).name)
            })
        };
        self.graph.outputs.iter().map(|id| output(id).map(|tensor| named((id, tensor)))).collect()
    }

    /// An execution of the plan: one that waits, or a new one.
    pub fn lease(&self, prepared: &Prepared, plan: &Arc<Plan>) -> Result<Execution> {
        if let Some(execution) = prepared.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(execution);
        }
        let device = self.device().ok_or_else(|| Error::internal("a plan without a device"))?;
        Execution::new(device, plan, &self.constants)
    }

    /// Does before the first run what it would do: compiles the kernels, uploads the constants, makes the
    /// buffers. Returns how long the uploads and the kernels took.
    pub fn warm(&self, prepared: &Prepared) -> Result<Warmed> {
        let Some(plan) = &prepared.plan else { return Ok(Warmed::default()) };
        let start = Instant::now();
        let mut execution = self.lease(prepared, plan)?;
        execution.warm()?;
        let upload = execution.uploading;
        prepared.idle.lock().unwrap_or_else(PoisonError::into_inner).push(execution);
        Ok(Warmed { upload, shaders: start.elapsed().saturating_sub(upload) })
    }

    /// The mode in which the CPU computes what this session's device should.
    pub fn mode(&self) -> Mode {
        mode_of(self.precision())
    }
}

/// The inputs' facts: with their elements where a shape depends on them.
fn facts_of(inputs: &HashMap<ValueId, Tensor>, by_value: &HashSet<ValueId>) -> HashMap<ValueId, Fact> {
    inputs
        .iter()
        .map(|(&id, tensor)| {
            (
                id,
                if by_value.contains(&id) {
                    Fact::of(tensor)
                } else {
                    Fact::new(tensor.dtype(), tensor.shape())
                },
            )
        })
        .collect()
}
