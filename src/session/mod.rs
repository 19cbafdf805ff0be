//! A model ready to run: loading it, running it, and looking at what will run.

mod bindings;
mod builder;
mod capacity;
mod control_flow;
mod parts;
mod plans;
mod precision_file;
mod runs;
mod segments;
mod slices;
mod states;
mod values;

pub use crate::compiled::Written;
pub use bindings::{AnyTensor, Bindings};
pub use builder::{SessionBuilder, Stages};
pub(crate) use parts::{Between, HostValues, LookAtParts};
pub use precision_file::PrecisionFile;
pub use runs::{Prepared, WarmUpTimes};

use self::control_flow::Control;
use self::plans::PlanCache;
use crate::base::EvalPrecision;
use crate::base::Precision;
use crate::compiled::Packed;
use crate::cpu::{program::Program, weights::Weights};
use crate::device::Device;
use crate::error::{Error, Result, Setting};
use crate::gpu::{Constants, GpuDevice};
use crate::graph::{Dim, Graph, ValueId};
use crate::onnx;
use crate::plan::mode_of;
use crate::tensor::{DType, Tensor};
use crate::value::ValueType;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

/// What a caller must know of an input or output.
#[derive(Debug, Clone, PartialEq)]
pub struct InputOutputInfo {
    /// By which it is given to a run, or comes out of one.
    pub name: String,
    /// The type of its elements.
    pub dtype: DType,
    /// `None` where the model leaves even the rank open.
    pub dims: Option<Vec<Dim>>,
    /// What it is: a tensor, or a value of another kind, which [`Session::run_values`] takes and gives.
    pub kind: ValueType,
}

/// A model on a device. `run` may be called from several threads at once.
///
/// [`Session::run`] does all at once. Its parts are there for who wants to look between them, or to run again
/// without asking anew what to run:
///
/// ```
/// use sardonyx::{Session, Tensor};
///
/// # fn main() -> sardonyx::Result<()> {
/// let session = Session::builder().load("models/digits/digits.onnx")?;
/// for port in session.inputs() {
///     println!("{}: {} {:?}", port.name, port.dtype, port.dims);
/// }
/// let inputs = session.bind(&[("image", Tensor::new([1, 1, 8, 8], vec![0.5f32; 64])?)])?;
/// let prepared = session.prepare(&inputs)?;
/// for (node, op, reason) in prepared.fallbacks() {
///     println!("on the CPU: {node} ({op}): {reason}");
/// }
/// session.warm(&prepared)?; // compiles the kernels and uploads the weights
/// let outputs = session.run_prepared(&prepared, &inputs)?;
/// assert_eq!(outputs[0].1.shape(), [1, 10]);
/// # Ok(())
/// # }
/// ```
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
    /// What runs on values of any kind, once that was asked for.
    any_values: OnceLock<Result<Program>>,
    plans: PlanCache,
    /// What runs the nodes with graphs.
    controls: Mutex<Vec<Arc<Control>>>,
    stages: Stages,
    /// Which session this is: what it prepared holds the same.
    identity: Arc<()>,
}

impl Session {
    /// Begins a session: says how it is to be, then reads a model.
    pub fn builder() -> SessionBuilder {
        SessionBuilder::default()
    }
    /// What the session runs on.
    pub fn device(&self) -> &Device {
        &self.options.device
    }
    /// The GPU that the session runs on, if it is one.
    pub fn gpu(&self) -> Option<&GpuDevice> {
        self.options.device.as_gpu()
    }
    /// How float32 tensors are stored.
    pub fn precision(&self) -> Precision {
        self.options.precision
    }
    /// What the model says of itself.
    pub fn info(&self) -> &onnx::ModelInfo {
        &self.info
    }
    /// How long loading took.
    pub fn stages(&self) -> Stages {
        self.stages
    }
    /// Whether the graph is rewritten before it runs.
    pub fn rewrites(&self) -> bool {
        !self.options.plain
    }
    /// The graph as read.
    #[doc(hidden)]
    pub fn original(&self) -> &Arc<Graph> {
        &self.original
    }
    /// The graph after the rewrites that need no shapes. Its values keep the ids they have in the original.
    #[doc(hidden)]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }
    /// The graph that plans are made of: with rewrites that the CPU has nothing of.
    #[doc(hidden)]
    pub fn planned(&self) -> &Graph {
        self.planned.get_or_init(|| {
            // A session on the CPU has rewritten the graph for that.
            let own = match self.gpu().is_some() || self.options.plain {
                true => None,
                false => builder::rewritten(&self.original, true, self.options.precision).ok(),
            };
            builder::for_plans(own.as_ref().unwrap_or(&self.graph), self.options.plain)
        })
    }
    /// The inputs that a run takes, in the model's order.
    pub fn inputs(&self) -> Vec<InputOutputInfo> {
        self.ports(&self.original.inputs)
    }
    /// The outputs that a run gives, in the model's order.
    pub fn outputs(&self) -> Vec<InputOutputInfo> {
        self.ports(&self.original.outputs)
    }
    fn ports(&self, ids: &[ValueId]) -> Vec<InputOutputInfo> {
        let port = |&id: &ValueId| {
            let value = self.original.value(id);
            let declared = value.declared.clone();
            let dtype = declared.as_ref().map_or(DType::F32, |d| d.dtype);
            InputOutputInfo {
                name: value.name.clone(),
                dtype,
                dims: declared.and_then(|d| d.dims),
                kind: value.other.clone().unwrap_or(ValueType::Tensor(dtype)),
            }
        };
        ids.iter().map(port).collect()
    }

    /// Runs the model on inputs by name. The outputs come in the model's order, by name.
    ///
    /// Errors: those of [`Session::bind`] (inputs), of [`Session::prepare`] (what can't be planned), and of
    /// the device while it runs.
    pub fn run(&self, inputs: &[(&str, Tensor)]) -> Result<Vec<(String, Tensor)>> {
        let values = self.bind(inputs)?;
        let prepared = self.prepare(&values)?;
        self.run_prepared(&prepared, &values)
    }

    /// Matches inputs by name and checks types and shapes against the model's declarations.
    ///
    /// Errors ([`ErrorKind::Input`](crate::ErrorKind::Input)), with the input's name: one that the model
    /// doesn't have, one that is missing, another type, rank or fixed size, a symbol that has two sizes.
    pub fn bind(&self, inputs: &[(&str, Tensor)]) -> Result<HashMap<ValueId, Tensor>> {
        let ids =
            self.matched(inputs.iter().map(|(name, tensor)| (*name, tensor.dtype(), tensor.shape())))?;
        Ok(ids.into_iter().zip(inputs).map(|(id, (_, tensor))| (id, tensor.clone())).collect())
    }

    /// The inputs of these names, in their order, all of them and of types and shapes that the model takes.
    fn matched<'a>(
        &self,
        given: impl Iterator<Item = (&'a str, DType, &'a [usize])>,
    ) -> Result<Vec<ValueId>> {
        let mut ids = vec![];
        let mut symbols: HashMap<String, usize> = HashMap::new();
        for (name, dtype, shape) in given {
            let id = self.input_of_name(name)?;
            self.check_input(id, (dtype, shape), &mut symbols).map_err(|error| error.at_tensor(name))?;
            ids.push(id);
        }
        self.check_complete(|id| ids.contains(id))?;
        Ok(ids)
    }

    /// Errors where an input isn't given.
    fn check_complete(&self, given: impl Fn(&ValueId) -> bool) -> Result<()> {
        match self.graph.inputs.iter().find(|id| !given(id)) {
            Some(&id) => Err(Error::input("this input is missing")
                .at_tensor(&self.graph.value(id).name)
                .remedy_by("give it {}", &[Setting::Inputs])),
            None => Ok(()),
        }
    }

    fn input_of_name(&self, name: &str) -> Result<ValueId> {
        let id = self.graph.inputs.iter().copied().find(|&id| self.graph.value(id).name == name);
        id.ok_or_else(|| {
            let names = self.inputs().iter().map(|port| port.name.clone()).collect::<Vec<_>>().join(", ");
            Error::input("the model has no such input")
                .at_tensor(name)
                .remedy(format!("its inputs are: {names}"))
        })
    }

    fn check_input(
        &self,
        id: ValueId,
        (dtype, shape): (DType, &[usize]),
        symbols: &mut HashMap<String, usize>,
    ) -> Result<()> {
        if let Some(kind) = &self.original.value(id).other {
            return Err(Error::input(format!("found a tensor, the model takes {kind}"))
                .remedy("give a value of this type, with Session::run_values in a program"));
        }
        let Some(declared) = &self.original.value(id).declared else { return Ok(()) };
        if declared.dtype != dtype {
            return Err(Error::input(format!("found type {dtype}, the model takes {}", declared.dtype))
                .remedy("convert the input"));
        }
        let Some(dims) = &declared.dims else { return Ok(()) };
        if dims.len() != shape.len() {
            return Err(Error::input(format!("found shape {shape:?}, the model takes rank {}", dims.len()))
                .remedy("reshape the input"));
        }
        for (axis, (dim, &size)) in dims.iter().zip(shape).enumerate() {
            match dim {
                Dim::Known(known) if *known != size => {
                    return Err(Error::input(format!(
                        "found size {size} on axis {axis}, the model takes {known}"
                    ))
                    .remedy("resize the input"));
                }
                Dim::Symbol(symbol) => {
                    self.check_capacity(symbol, size)?;
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

    /// The mode in which the CPU computes what this session's device should.
    #[doc(hidden)]
    pub fn mode(&self) -> EvalPrecision {
        mode_of(self.precision())
    }
}
