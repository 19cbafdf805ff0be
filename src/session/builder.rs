//! How a session is made of a model.

use super::Session;
use super::precision_file::PrecisionFile;
use crate::base::Precision;
use crate::compiled::{self, Packed};
use crate::cpu::weights::Weights;
use crate::device::Device;
use crate::error::{Error, Result, Setting};
use crate::gpu::Constants;
use crate::graph::{Graph, ValueId};
use crate::onnx;
use crate::plan::{Plan, VariantPolicy};
use crate::tensor::Tensor;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Changes a plan after it was made, knowing the inputs that it was made for.
pub(super) type Transform = dyn Fn(&mut Plan, &HashMap<ValueId, Tensor>) -> Result<()> + Send + Sync;

/// How a session is to be made.
#[derive(Default, Clone)]
pub struct SessionBuilder {
    pub(super) device: Device,
    pub(super) checks: Option<bool>,
    pub(super) precision: Precision,
    pub(super) strict: bool,
    pub(super) plain: bool,
    pub(super) no_winograd: bool,
    pub(super) own_buffers: bool,
    pub(super) poison: bool,
    /// By the nodes' names.
    pub(super) hold_f32: BTreeSet<String>,
    pub(super) transform: Option<Arc<Transform>>,
    pub(super) variant_policy: VariantPolicy,
    /// An input each, and the output that it is in the next run.
    pub(super) states: Vec<(String, String)>,
    /// By symbol.
    pub(super) capacities: BTreeMap<String, usize>,
}

impl SessionBuilder {
    /// What to run on: the CPU unless said here.
    pub fn device(mut self, device: impl Into<Device>) -> Self {
        self.device = device.into();
        self
    }
    /// Whether the GPU's shaders check their indices: see
    /// [`GpuDevice::with_checks`](crate::device::GpuDevice::with_checks). As the device says unless said
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
    /// Takes every convolution as the sum that it is, and none by Winograd's method: to see what that makes
    /// of a result.
    pub fn without_winograd(mut self) -> Self {
        self.no_winograd = true;
        self
    }
    /// Gives every intermediate result a buffer of its own, so that none is written over while a run lasts:
    /// to see whether a wrong result comes of shared memory. It takes as much memory as all of them together.
    pub fn without_buffer_sharing(mut self) -> Self {
        self.own_buffers = true;
        self
    }
    /// Fills each buffer of intermediate results with NaN as soon as nothing is to read it any more, and all
    /// of them before a run: a result that is still read there is seen. Runs step by step, and slowly.
    pub fn poison_freed_buffers(mut self) -> Self {
        self.poison = true;
        self
    }
    /// With [`Precision::F16`]: the nodes, by name, whose results are stored as float32 all the same, and
    /// that read float32. What other nodes make and read stays float16; between the two it is converted. For
    /// a GPU alone. A name that no node has is an error when the model is loaded.
    pub fn hold_f32(mut self, nodes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.hold_f32.extend(nodes.into_iter().map(Into::into));
        self
    }
    /// The precision and the held nodes of a file that `compare --precision auto` has written.
    ///
    /// ```no_run
    /// # fn main() -> sardonyx::Result<()> {
    /// use sardonyx::session::PrecisionFile;
    /// use sardonyx::{Device, Session};
    ///
    /// let file = PrecisionFile::read("model.precision.json")?;
    /// let session = Session::builder().device(Device::gpu()?).precision_of(&file).load("model.onnx")?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn precision_of(self, file: &PrecisionFile) -> Self {
        self.precision(file.precision).hold_f32(file.hold_f32.iter().cloned())
    }
    /// Says that output `present` is to be input `past` of the next run, as keys and values of a language
    /// model are: where the model only adds to it (a TensorScatter, a GroupQueryAttention over a cache that
    /// has room), a run on a GPU writes the new entries into the memory of `past` itself, and `present` *is*
    /// that memory. Nothing is copied, and a [`DeviceTensor`](crate::device::DeviceTensor) that was given as
    /// `past` holds what the run made of it. Where that can't be, and on the CPU, `present` is a tensor of
    /// its own.
    ///
    /// A name that the model doesn't have, or that is given twice, is an error when it is loaded.
    pub fn state(mut self, past: impl Into<String>, present: impl Into<String>) -> Self {
        self.states.push((past.into(), present.into()));
        self
    }
    /// Gives a symbolic size of the inputs a capacity: see [`Session::set_capacity`].
    pub fn capacity(mut self, symbol: impl Into<String>, most: usize) -> Self {
        self.capacities.insert(symbol.into(), most);
        self
    }
    /// Who answers where a kernel has several variants: each kernel's own rule unless said here.
    pub(crate) fn variant_policy(mut self, variant_policy: VariantPolicy) -> Self {
        self.variant_policy = variant_policy;
        self
    }
    /// Has every plan changed after it was made, before it is kept: for tests, which make it wrong on
    /// purpose.
    #[doc(hidden)]
    pub fn transform_plans(
        mut self,
        transform: impl Fn(&mut Plan, &HashMap<ValueId, Tensor>) -> Result<()> + Send + Sync + 'static,
    ) -> Self {
        self.transform = Some(Arc::new(transform));
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

    /// Makes a session of a model that was read already, by [`onnx::read_bytes`] for one in memory.
    ///
    /// Errors: a rewrite that fails, which names the node.
    pub fn build(self, model: onnx::Model) -> Result<Session> {
        self.build_with(model, None)
    }

    /// Errors where a node that is to be held in float32 isn't there, or nothing holds it.
    fn check_held(&self, graph: &Graph) -> Result<()> {
        let Some(first) = self.hold_f32.first() else { return Ok(()) };
        if self.precision != Precision::F32 && self.device.as_gpu().is_none() {
            return Err(Error::unsupported("nodes are held in float32 on a GPU alone")
                .at_node(first)
                .remedy_by("use {}, or {}", &[Setting::Device, Setting::Float32]));
        }
        let names: HashSet<&str> = graph.nodes.iter().map(|node| node.name.as_str()).collect();
        match self.hold_f32.iter().find(|name| !names.contains(name.as_str())) {
            Some(name) => {
                Err(Error::usage("the model has no node of this name, which is to be held in float32")
                    .at_node(name)
                    .remedy("a node without a name goes by its first output"))
            }
            None => Ok(()),
        }
    }

    fn build_with(mut self, model: onnx::Model, mut packed: Option<Packed>) -> Result<Session> {
        let start = Instant::now();
        if let (Device::Gpu(device), Some(checks)) = (&self.device, self.checks) {
            self.device = device.with_checks(checks).into();
        }
        let original = Arc::new(model.graph);
        self.check_held(&original)?;
        self.check_states(&original)?;
        let gpu = self.device.as_gpu().is_some();
        let graph = match self.plain {
            true => (*original).clone(),
            false => rewritten(&original, gpu, self.precision)?,
        };
        let planned = OnceLock::new();
        if self.device.as_gpu().is_some() {
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
            constants: Constants::packed(packed.clone().map(|packed| packed as _)),
            packed,
            weights: Weights::default(),
            any_values: OnceLock::new(),
            plans: Default::default(),
            controls: Default::default(),
            stages: Stages { optimise: start.elapsed(), ..Stages::default() },
            identity: Arc::default(),
        })
    }
}

/// How long the stages before the first result took.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stages {
    /// Reading the file: decoding, and bringing operators to their newest form.
    pub parse: Duration,
    /// Rewriting the graph.
    pub optimise: Duration,
}

/// A graph with the rewrites that a session on the CPU or on a GPU begins with.
pub(super) fn rewritten(graph: &Graph, gpu: bool, precision: Precision) -> Result<Graph> {
    let mut graph = graph.clone();
    // A float16 reference stores every value as the model has it.
    if gpu || precision == Precision::F32 {
        crate::passes::for_device(&mut graph, gpu)?;
    }
    crate::passes::at_load(&mut graph)?;
    Ok(graph)
}

/// The graph for plans: as it is, where a rewrite of it has no memory.
pub(super) fn for_plans(graph: &Graph, plain: bool) -> Graph {
    let mut planned = graph.clone();
    match plain || crate::passes::for_plans(&mut planned).is_ok() {
        true => planned,
        false => graph.clone(),
    }
}
