//! The planner: walks the graph once, lowers each node to the GPU or buffers it on the CPU, and assigns
//! memory.

use super::buffers::too_large;
use super::lowering::NodeLowering;
use super::sub_buffer::{Share, shares};
use super::*;
use crate::base::{Access, Bound, EvalPrecision, Operands, ShaderDialect};
use crate::error::{Error, Result};
use crate::graph::{Graph, ValueId};
use crate::kernels::lowering::{Contents, Emitter};
use crate::kernels::{Extent, Kernel, PARAMS_WINDOW, Prelude, Shader, block};
use crate::ops::Reads;
use crate::tensor::DType;
use std::collections::{BTreeSet, HashMap};

/// What a plan is made from.
pub struct PlanRequest<'a> {
    pub graph: Graph,
    /// A fact for every value of `graph`, from [`infer`].
    pub facts: Vec<Option<Fact>>,
    pub by_value: Vec<ValueId>,
    pub capabilities: &'a Capabilities,
    pub precision: Precision,
    /// Who answers where a kernel has several variants.
    pub variant_policy: VariantPolicy,
    /// The nodes, by name, whose results are stored as float32 whatever the precision.
    pub hold_f32: BTreeSet<String>,
    /// Inputs, each with the output that may be made where it lies.
    pub states: Vec<(ValueId, ValueId)>,
}

/// Where a value is while a plan is made.
#[derive(Debug, Clone, Default)]
pub(super) struct Located {
    /// The host has it: a graph input, a CPU node's output, or downloaded.
    pub(super) host: bool,
    pub(super) view: Option<View>,
}

/// A plan in the making.
pub(crate) struct Builder {
    pub(super) capabilities: Capabilities,
    pub(super) graph: Graph,
    pub(super) buffers: Vec<PlannedBuffer>,
    pub(super) precision: Precision,
    pub(super) facts: Vec<Option<Fact>>,
    /// Values known from the elements of a float input: computed with the plan, but on the CPU and from data.
    from_floats: std::collections::HashSet<ValueId>,
    pub(super) located: HashMap<ValueId, Located>,
    /// Values that only a Concat reads.
    pub(super) shares: HashMap<ValueId, Share>,
    /// The buffers that are parts of each.
    pub(super) parts: HashMap<BufferId, Vec<BufferId>>,
    pub(super) constants: Vec<Constant>,
    /// The graph inputs that something on the GPU reads, each in the external buffer of its index.
    pub(super) inputs: Vec<InputBinding>,
    pub(super) outputs: Vec<OutputBinding>,
    pub(super) steps: Vec<Step>,
    /// Copies made already: the view and the layout, to the buffer that holds it.
    pub(super) copies: Vec<(View, Layout, View)>,
    /// The current node's work.
    pub(super) dispatches: Vec<crate::kernels::Dispatch>,
    /// What the current node's kernels asked for.
    pub(super) decisions: Vec<VariantDecision>,
    pub(super) chosen: Vec<VariantDecision>,
    pub(super) reports: Vec<Report>,
    variant_policy: VariantPolicy,
    /// The nodes held in float32, and whether the current one is one of them.
    hold_f32: BTreeSet<String>,
    holds: bool,
    pub(super) states: Vec<(ValueId, ValueId)>,
    pub(super) current: (Option<usize>, String, String),
}

/// Makes the plan. Errors only where no plan is possible at all: a tensor beyond the device's limits on the
/// way in or out.
pub fn plan(request: PlanRequest<'_>) -> Result<Plan> {
    let mut builder = Builder::new(request.graph, request.facts, request.capabilities, request.precision);
    builder.variant_policy = request.variant_policy;
    for id in builder.graph.inputs.clone() {
        builder.located.insert(id, Located { host: true, view: None });
    }
    builder.hold_f32 = request.hold_f32;
    builder.states = request.states;
    // A part lies in its whole as that is stored.
    if !builder.mixes() {
        builder.shares = shares(&builder.graph, &builder.facts);
    }
    let float = |id: &ValueId| builder.fact(*id).is_some_and(|fact| fact.dtype.is_float());
    builder.from_floats = request.by_value.iter().copied().filter(float).collect();
    let nodes = builder.graph.nodes.clone();
    let mut placements = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.iter().enumerate() {
        builder.holds = builder.stores_f32(node);
        placements.push(builder.place_node(index, node)?);
    }
    builder.holds = false;
    builder.current = (None, String::new(), String::new());
    for id in builder.graph.outputs.clone() {
        builder
            .bind_output(id)
            .map_err(|reason| Error::unsupported(reason.0).at_tensor(&builder.graph.value(id).name))?;
    }
    builder.finish(placements, request.by_value)
}

impl Builder {
    pub(super) fn new(
        graph: Graph,
        facts: Vec<Option<Fact>>,
        capabilities: &Capabilities,
        precision: Precision,
    ) -> Self {
        Self {
            capabilities: capabilities.clone(),
            graph,
            buffers: vec![],
            precision,
            facts,
            from_floats: Default::default(),
            located: HashMap::new(),
            shares: HashMap::new(),
            parts: HashMap::new(),
            constants: vec![],
            inputs: vec![],
            outputs: vec![],
            steps: vec![],
            copies: vec![],
            dispatches: vec![],
            decisions: vec![],
            chosen: vec![],
            reports: vec![],
            variant_policy: VariantPolicy::Rule,
            hold_f32: BTreeSet::new(),
            holds: false,
            states: vec![],
            current: (None, String::new(), String::new()),
        }
    }

    /// Whether some nodes are held in float32 and others aren't.
    pub(super) fn mixes(&self) -> bool {
        self.precision != Precision::F32 && !self.hold_f32.is_empty()
    }
    /// Whether a node, or one that was fused into it, is held in float32.
    fn is_held(&self, node: &crate::graph::Node) -> bool {
        let named = |name: &String| self.hold_f32.contains(name);
        self.mixes() && (named(&node.name) || node.fused.iter().any(|(name, _)| named(name)))
    }
    /// Whether the current node's floats are float32 in a session of float16: one that is held, or that only
    /// looks at its input, which is.
    fn stores_f32(&self, node: &crate::graph::Node) -> bool {
        if node.op.reads() != Reads::View {
            return self.is_held(node);
        }
        let input = node.inputs.first().copied().flatten();
        match input.and_then(|id| self.located.get(&id)?.view.as_ref()) {
            Some(view) => self.mixes() && self.buffer(view.buffer).storage == ElementFormat::F32,
            // The node is the first to read it, and says how it is stored.
            None => self.is_held(node),
        }
    }
    /// The precision of the current node.
    pub(super) fn precision_now(&self) -> Precision {
        if self.holds { Precision::F32 } else { self.precision }
    }

    pub(super) fn fact(&self, id: ValueId) -> Option<&Fact> {
        self.facts.get(id.0 as usize)?.as_ref()
    }
    pub(super) fn known(&self, id: ValueId) -> bool {
        self.fact(id).is_some_and(|fact| fact.value.is_some())
    }

    fn place_node(&mut self, index: usize, node: &crate::graph::Node) -> Result<Placement> {
        if node.outputs.iter().flatten().all(|&id| self.known(id)) {
            if node.inputs.iter().flatten().any(|id| self.from_floats.contains(id)) {
                self.from_floats.extend(node.outputs.iter().flatten());
                return Ok(Placement::Cpu(
                    "it follows from the elements of a float input that a shape depends on".into(),
                ));
            }
            return Ok(Placement::Plan);
        }
        self.current = (Some(index), node.name.clone(), node.op_type.clone());
        let inputs: Vec<Option<Fact>> =
            node.inputs.iter().map(|id| id.and_then(|id| self.fact(id).cloned())).collect();
        let outputs: Option<Vec<Fact>> = node
            .outputs
            .iter()
            .map(|id| id.map_or(Some(Fact::new(DType::F32, vec![])), |id| self.fact(id).cloned()))
            .collect();
        let outputs = outputs.ok_or_else(|| Error::internal("an output has no type").at_node(&node.name))?;
        // Kernels would compute in what only holds them.
        let small = || inputs.iter().flatten().chain(&outputs).filter(|fact| fact.dtype.is_small_float());
        let computed = small().next().filter(|_| !moves(node.op.as_ref(), &inputs)).map(|fact| fact.dtype);
        // The CPU computes bfloat16 in float32 for operators that say nothing else of it, and so does the
        // GPU.
        let widened = computed.is_some()
            && !node.op.takes_any_type()
            && small().all(|fact| fact.dtype == DType::BF16)
            && self.storage(DType::BF16) == self.storage(DType::F32);
        let lowered = match node.op.gpu() {
            Some(op) if widened => self.transaction(|builder| {
                let mut at = NodeLowering::widened(builder, node, inputs, outputs)?;
                op.lower(&mut at)?;
                at.round()
            }),
            _ if let Some(dtype) = computed => {
                Err(Unsupported::new(format!("{dtype} has no GPU arithmetic")))
            }
            Some(op) => {
                self.transaction(|builder| op.lower(&mut NodeLowering::new(builder, node, inputs, outputs)))
            }
            None => Err(Unsupported::new("no GPU kernel yet")),
        };
        match lowered {
            Ok(()) if self.dispatches.is_empty() => Ok(Placement::View),
            Ok(()) => {
                self.push_step();
                Ok(Placement::Gpu)
            }
            Err(reason) => {
                self.cpu_node(index, node, &reason.0)?;
                Ok(Placement::Cpu(reason.0))
            }
        }
    }

    fn cpu_node(&mut self, index: usize, node: &crate::graph::Node, reason: &str) -> Result<()> {
        for id in node.inputs.iter().flatten() {
            self.download(*id).map_err(|problem| {
                Error::unsupported(problem.0).at_node(&node.name).at_operator(&node.op_type)
            })?;
        }
        for id in node.outputs.iter().flatten() {
            self.located.insert(*id, Located { host: true, view: None });
        }
        self.steps.push(Step {
            kind: StepKind::Cpu {
                op: node.op.clone(),
                inputs: node.inputs.clone(),
                outputs: node.outputs.clone(),
                reason: reason.to_string(),
            },
            node: Some(index),
            label: node.name.clone(),
            op_type: node.op_type.clone(),
            reads: vec![],
            writes: vec![],
        });
        Ok(())
    }

    /// Makes sure that the host has a value.
    fn download(&mut self, id: ValueId) -> Result<(), Unsupported> {
        let located = self.located.get(&id).cloned().unwrap_or_default();
        if located.host || self.known(id) {
            return Ok(());
        }
        let view = located.view.ok_or_else(|| Unsupported::new("the value is nowhere"))?;
        let (from, layout) = self.at_start(view)?;
        let label = self.graph.value(id).name.clone();
        self.steps.push(Step {
            kind: StepKind::Download { from, value: id, layout },
            node: None,
            label,
            op_type: "download".into(),
            reads: vec![from],
            writes: vec![],
        });
        self.located.entry(id).or_default().host = true;
        Ok(())
    }

    /// Notes where a graph output lies when all steps have run. What is known before, or is an input, is
    /// nowhere else.
    fn bind_output(&mut self, id: ValueId) -> Result<(), Unsupported> {
        let bound = self.outputs.iter().any(|output| output.value == id);
        if bound || self.known(id) || self.graph.inputs.contains(&id) {
            return Ok(());
        }
        let located = self.located.get(&id).cloned().unwrap_or_default();
        match located.view {
            Some(view) => {
                let (buffer, layout) = self.at_start(view)?;
                self.outputs.push(OutputBinding { value: id, buffer, layout });
                Ok(())
            }
            None if located.host => Ok(()),
            None => Err(Unsupported::new("the value is nowhere")),
        }
    }

    /// The buffer at whose start all elements of a view lie in a layout, and which; copied there if need be.
    fn at_start(&mut self, view: View) -> Result<(BufferId, Layout), Unsupported> {
        let layouts: &[Layout] = if view.shape.len() > 2 {
            &[Layout::Dense, Layout::Rows4, Layout::ChannelsLast4]
        } else {
            &[Layout::Dense, Layout::Rows4]
        };
        match layouts.iter().find(|&&layout| view.is(layout)) {
            Some(&layout) => Ok((view.buffer, layout)),
            None => Ok((self.in_layout(view, Layout::Dense)?.buffer, Layout::Dense)),
        }
    }

    pub(super) fn push_step(&mut self) {
        let dispatches = std::mem::take(&mut self.dispatches);
        let of = |access: Access| {
            let mut list: Vec<BufferId> = dispatches
                .iter()
                .flat_map(|d| d.bindings.iter().filter(move |b| b.1 == access).map(|b| b.0))
                .collect();
            list.sort();
            list.dedup();
            list
        };
        let writes = of(Access::Write);
        let mut reads: Vec<BufferId> =
            of(Access::Read).into_iter().filter(|id| !writes.contains(id)).collect();
        // What is copied into a buffer leaves the parts that lie there already as they are: the result is
        // made of them too.
        reads.extend(writes.iter().flat_map(|&whole| self.parts_of(whole)));
        let (node, label, op_type) = self.current.clone();
        let step = self.steps.len();
        self.chosen.extend(self.decisions.drain(..).map(|chosen| VariantDecision { step, ..chosen }));
        self.steps.push(Step { kind: StepKind::Gpu { dispatches }, node, label, op_type, reads, writes });
    }

    pub(super) fn locate(&mut self, value: ValueId, view: View) {
        self.located.insert(value, Located { host: false, view: Some(view) });
    }

    /// The variant for what the current node's kernel is about to do.
    pub(super) fn choose(&mut self, key: String, candidates: Vec<TileConfiguration>) -> TileConfiguration {
        let variant = self.variant_policy.pick(&key, &candidates);
        self.decisions.push(VariantDecision { step: 0, key, candidates, variant });
        variant
    }
    pub(crate) fn buffer(&self, id: BufferId) -> &PlannedBuffer {
        &self.buffers[id.0 as usize]
    }
}

impl Emitter for Builder {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn contents(&self, buffer: BufferId) -> Contents {
        let buffer = self.buffer(buffer);
        Contents { shape: buffer.fact.shape.clone(), layout: buffer.layout, storage: buffer.storage }
    }
    fn dispatch(
        &mut self,
        kernel: &'static Kernel,
        prelude: Prelude,
        params: &[u8],
        bindings: &[(BufferId, Access)],
        grid: [u32; 3],
    ) -> Result<(), Unsupported> {
        if grid.contains(&0) {
            return Ok(()); // nothing to compute
        }
        let c = &self.capabilities;
        let status = prelude.status_binding();
        debug_assert!(status.is_none_or(|binding| binding as usize == bindings.len()), "{}", kernel.stem);
        let buffers = bindings.len() + usize::from(status.is_some());
        if buffers > c.max_storage_buffers as usize
            || grid.iter().any(|&n| n > c.max_grid)
            || params.len() > PARAMS_WINDOW
        {
            return Err(Unsupported::new(format!(
                "kernel {} takes {} buffers and a grid of {grid:?}; the adapter allows {} and {}",
                kernel.stem, buffers, c.max_storage_buffers, c.max_grid
            )));
        }
        let limit = c.max_binding();
        if let Some(buffer) = bindings
            .iter()
            .map(|bound| self.buffer(bound.0))
            .find(|buffer| matches!(buffer.allocation, Allocation::Constant(_)) && buffer.bytes() > limit)
        {
            return Err(too_large(&buffer.label, buffer.bytes(), limit));
        }
        debug_assert_eq!(params.len(), 4 * block::words(kernel.params).len(), "{}", kernel.stem);
        let written: Vec<BufferId> =
            bindings.iter().filter(|b| b.1 == Access::Write).map(|b| self.parent_of(b.0)).collect();
        if bindings.iter().any(|b| b.1 == Access::Read && written.contains(&self.parent_of(b.0))) {
            return Err(Unsupported::new("a dispatch would read what it writes"));
        }
        // float32 that is narrowed saturates; what the model declares to be float16 overflows as IEEE 754 has
        // it.
        let narrowed = |id: &BufferId| {
            self.buffer(*id).fact.dtype == DType::F32 && self.buffer(*id).storage.element_bytes() == 2
        };
        let dialect = ShaderDialect { saturates: written.iter().any(narrowed), ..c.dialect() };
        let shader = Shader::variant(kernel, prelude, dialect);
        // Every kernel keeps within WebGPU's promise, or asks for the limits before it chooses a variant
        // beyond it.
        let promised = Capabilities::webgpu();
        if c.max_invocations < promised.max_invocations
            || c.max_workgroup_bytes < promised.max_workgroup_bytes
        {
            let extent = Extent::of(&shader.source().text).map_err(Unsupported::new)?;
            if extent.invocations > u64::from(c.max_invocations)
                || extent.workgroup_bytes > u64::from(c.max_workgroup_bytes)
            {
                return Err(Unsupported::new(format!(
                    "kernel {} takes {} invocations and {} bytes of workgroup memory; the adapter allows {} and {}",
                    kernel.stem,
                    extent.invocations,
                    extent.workgroup_bytes,
                    c.max_invocations,
                    c.max_workgroup_bytes
                )));
            }
        }
        self.dispatches.push(crate::kernels::Dispatch {
            kernel: kernel.stem,
            shader: Arc::new(shader),
            bindings: bindings.to_vec(),
            params: params.to_vec(),
            params_offset: 0,
            grid,
            status: status.is_some(),
        });
        Ok(())
    }
}

/// Whether an operator casts or moves elements and computes nothing of them, or says step by step what it
/// computes.
fn moves(op: &dyn crate::ops::Operator, inputs: &[Option<Fact>]) -> bool {
    let facts: Vec<Option<&Fact>> = inputs.iter().map(Option::as_ref).collect();
    op.expression().is_some()
        || op.casts_small_floats()
        || op.takes_any_type() && op.error_bound(Operands::new(&facts)) == Bound::Exact
}

/// The mode in which the CPU computes what the plan holds in `precision`.
pub fn mode_of(precision: Precision) -> EvalPrecision {
    if precision == Precision::F16 { EvalPrecision::F16 } else { EvalPrecision::Declared }
}
