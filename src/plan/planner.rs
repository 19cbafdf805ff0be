//! The planner: walks the graph once, lowers each node to the GPU or places it on the CPU, and assigns memory.

use super::part::{Share, shares};
use super::*;
use crate::error::{Error, Result};
use crate::graph::{Graph, ValueId};
use crate::kernels::{Access, Kernel, PARAMS_WINDOW, Prelude};
use crate::ops::Mode;
use crate::tensor::{DType, element_count};
use std::collections::HashMap;

/// What a plan is made from.
pub struct PlanRequest<'a> {
    pub graph: Graph,
    /// A fact for every value of `graph`, from [`infer`].
    pub facts: Vec<Option<Fact>>,
    pub by_value: Vec<ValueId>,
    pub capabilities: &'a Capabilities,
    pub precision: Precision,
    /// Who answers where a kernel has several variants.
    pub choices: Choices,
}

/// Where a value is while a plan is made.
#[derive(Debug, Clone, Default)]
pub(super) struct Located {
    /// The host has it: a graph input, a CPU node's output, or downloaded.
    host: bool,
    pub(super) view: Option<View>,
}

/// A plan in the making.
pub(crate) struct Builder {
    pub(super) capabilities: Capabilities,
    pub(super) graph: Graph,
    pub(super) places: Vec<Place>,
    precision: Precision,
    facts: Vec<Option<Fact>>,
    /// Values known from the elements of a float input: computed with the plan, but on the CPU and from data.
    from_floats: std::collections::HashSet<ValueId>,
    pub(super) located: HashMap<ValueId, Located>,
    /// Values that only a Concat reads.
    pub(super) shares: HashMap<ValueId, Share>,
    /// The places that are parts of each.
    pub(super) parts: HashMap<PlaceId, Vec<PlaceId>>,
    constants: Vec<Constant>,
    steps: Vec<Step>,
    /// Copies made already: the view and the layout, to the place that holds it.
    copies: Vec<(View, Layout, View)>,
    /// The current node's work.
    dispatches: Vec<crate::kernels::Dispatch>,
    /// What the current node's kernels asked for.
    asked: Vec<Chosen>,
    chosen: Vec<Chosen>,
    choices: Choices,
    current: (Option<usize>, String, String),
}

/// Makes the plan. Errors only where no plan is possible at all: a tensor beyond the device's limits on the way in or out.
pub fn plan(request: PlanRequest<'_>) -> Result<Plan> {
    let mut builder = Builder {
        capabilities: request.capabilities.clone(),
        graph: request.graph,
        places: vec![],
        precision: request.precision,
        facts: request.facts,
        from_floats: Default::default(),
        located: HashMap::new(),
        shares: HashMap::new(),
        parts: HashMap::new(),
        constants: vec![],
        steps: vec![],
        copies: vec![],
        dispatches: vec![],
        asked: vec![],
        chosen: vec![],
        choices: request.choices,
        current: (None, String::new(), String::new()),
    };
    for id in builder.graph.inputs.clone() {
        builder.located.insert(id, Located { host: true, view: None });
    }
    builder.shares = shares(&builder.graph, &builder.facts);
    let float = |id: &ValueId| builder.fact(*id).is_some_and(|fact| fact.dtype.is_float());
    builder.from_floats = request.by_value.iter().copied().filter(float).collect();
    let nodes = builder.graph.nodes.clone();
    let mut placements = Vec::with_capacity(nodes.len());
    for (index, node) in nodes.iter().enumerate() {
        placements.push(builder.place_node(index, node)?);
    }
    builder.current = (None, String::new(), String::new());
    for id in builder.graph.outputs.clone() {
        builder.download(id).map_err(|reason| Error::unsupported(reason.0).at_tensor(&builder.graph.value(id).name))?;
    }
    builder.finish(placements, request.by_value)
}

impl Builder {
    pub(super) fn fact(&self, id: ValueId) -> Option<&Fact> {
        self.facts.get(id.0 as usize)?.as_ref()
    }
    fn known(&self, id: ValueId) -> bool {
        self.fact(id).is_some_and(|fact| fact.value.is_some())
    }

    fn place_node(&mut self, index: usize, node: &crate::graph::Node) -> Result<Placement> {
        if node.outputs.iter().flatten().all(|&id| self.known(id)) {
            if node.inputs.iter().flatten().any(|id| self.from_floats.contains(id)) {
                self.from_floats.extend(node.outputs.iter().flatten());
                return Ok(Placement::Cpu("it follows from the elements of a float input that a shape depends on".into()));
            }
            return Ok(Placement::Plan);
        }
        self.current = (Some(index), node.name.clone(), node.op_type.clone());
        let inputs: Vec<Option<Fact>> = node.inputs.iter().map(|id| id.and_then(|id| self.fact(id).cloned())).collect();
        let outputs: Option<Vec<Fact>> = node.outputs.iter().map(|id| id.map_or(Some(Fact::new(DType::F32, vec![])), |id| self.fact(id).cloned())).collect();
        let outputs = outputs.ok_or_else(|| Error::internal("an output has no type").at_node(&node.name))?;
        let (places, steps, constants) = (self.places.len(), self.steps.len(), self.constants.len());
        self.dispatches.clear();
        self.asked.clear();
        let lowered = node.op.clone().lower(&mut Lowering { builder: self, node, inputs, outputs });
        match lowered {
            Ok(()) if self.dispatches.is_empty() => Ok(Placement::View),
            Ok(()) => {
                self.push_step();
                Ok(Placement::Gpu)
            }
            Err(reason) => {
                // Takes back whatever a half-done lowering left.
                self.places.truncate(places);
                self.parts.values_mut().for_each(|parts| parts.retain(|part| (part.0 as usize) < places));
                self.steps.truncate(steps);
                self.constants.truncate(constants);
                self.dispatches.clear();
                self.asked.clear();
                self.copies.retain(|(_, _, to)| (to.place.0 as usize) < places);
                for located in self.located.values_mut() {
                    located.view.take_if(|view| view.place.0 as usize >= places);
                }
                self.cpu_node(index, node, &reason.0)?;
                Ok(Placement::Cpu(reason.0))
            }
        }
    }

    fn cpu_node(&mut self, index: usize, node: &crate::graph::Node, reason: &str) -> Result<()> {
        for id in node.inputs.iter().flatten() {
            self.download(*id).map_err(|problem| Error::unsupported(problem.0).at_node(&node.name).at_operator(&node.op_type))?;
        }
        for id in node.outputs.iter().flatten() {
            self.located.insert(*id, Located { host: true, view: None });
        }
        self.steps.push(Step {
            kind: StepKind::Cpu { op: node.op.clone(), inputs: node.inputs.clone(), outputs: node.outputs.clone(), reason: reason.to_string() },
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
        let layouts: &[Layout] = if view.shape.len() > 2 { &[Layout::Dense, Layout::Rows4, Layout::ChannelsLast4] } else { &[Layout::Dense, Layout::Rows4] };
        let (view, layout) = match layouts.iter().find(|&&layout| view.is(layout)) {
            Some(&layout) => (view, layout),
            None => (self.in_layout(view, Layout::Dense)?, Layout::Dense),
        };
        let label = self.graph.value(id).name.clone();
        self.steps.push(Step {
            kind: StepKind::Download { from: view.place, value: id, layout },
            node: None,
            label,
            op_type: "download".into(),
            reads: vec![view.place],
            writes: vec![],
        });
        self.located.entry(id).or_default().host = true;
        Ok(())
    }

    fn push_step(&mut self) {
        let dispatches = std::mem::take(&mut self.dispatches);
        let of = |access: Access| {
            let mut list: Vec<PlaceId> = dispatches.iter().flat_map(|d| d.bindings.iter().filter(move |b| b.1 == access).map(|b| b.0)).collect();
            list.sort();
            list.dedup();
            list
        };
        let writes = of(Access::Write);
        let mut reads: Vec<PlaceId> = of(Access::Read).into_iter().filter(|id| !writes.contains(id)).collect();
        // What is copied into a place leaves the parts that lie there already as they are: the result is made of them too.
        reads.extend(writes.iter().flat_map(|&whole| self.parts_of(whole)));
        let (node, label, op_type) = self.current.clone();
        let step = self.steps.len();
        self.chosen.extend(self.asked.drain(..).map(|chosen| Chosen { step, ..chosen }));
        self.steps.push(Step { kind: StepKind::Gpu { dispatches }, node, label, op_type, reads, writes });
    }

    pub(super) fn storage(&self, dtype: DType) -> Result<Storage, Unsupported> {
        let half = if self.capabilities.shader_f16 { Storage::F16 } else { Storage::F16Packed };
        match dtype {
            DType::F32 if self.precision == Precision::F32 => Ok(Storage::F32),
            DType::F32 | DType::F16 => Ok(half),
            DType::I32 | DType::Bool | DType::I8 | DType::U8 | DType::I16 | DType::U16 | DType::I4 | DType::U4 | DType::I2 | DType::U2 => Ok(Storage::I32),
            DType::U32 => Ok(Storage::U32),
            DType::I64 | DType::U64 => Ok(Storage::I64),
            other => Err(Unsupported::new(format!("{other} is not stored on the GPU"))),
        }
    }

    pub(super) fn locate(&mut self, value: ValueId, view: View) {
        self.located.insert(value, Located { host: false, view: Some(view) });
    }

    /// Notes which value a nameless place holds, if the view shows all of it in order: so that probes find it.
    pub(super) fn name_place(&mut self, value: ValueId, view: &View) {
        if let Some(place) = self.places.get_mut(view.place.0 as usize)
            && place.value.is_none()
            && place.home == Home::Unassigned
            && View::whole(view.place, place.layout, &place.fact.shape).reshaped(&view.shape).as_ref() == Some(view)
        {
            place.value = Some(value);
        }
    }

    pub(super) fn view(&mut self, value: ValueId) -> Result<View, Unsupported> {
        if let Some(view) = self.located.get(&value).and_then(|located| located.view.clone()) {
            return Ok(view);
        }
        let fact = self.fact(value).cloned().ok_or_else(|| Unsupported::new("a value without a type"))?;
        let label = self.graph.value(value).name.clone();
        if let Some(tensor) = fact.value {
            let view = self.table(&label, tensor)?;
            self.located.entry(value).or_default().view = Some(view.clone());
            return Ok(view);
        }
        if !self.located.get(&value).is_some_and(|located| located.host) {
            return Err(Unsupported::new(format!("'{label}' is nowhere")));
        }
        let view = self.new_place(Some(value), &fact, Layout::Dense)?;
        let step =
            Step { kind: StepKind::Upload { value, to: view.place }, node: None, label, op_type: "upload".into(), reads: vec![], writes: vec![view.place] };
        self.steps.push(step);
        self.located.entry(value).or_default().view = Some(view.clone());
        Ok(view)
    }

    pub(super) fn new_place(&mut self, value: Option<ValueId>, fact: &Fact, layout: Layout) -> Result<View, Unsupported> {
        let storage = self.storage(fact.dtype)?;
        let label = value.map_or_else(|| self.current.1.clone(), |id| self.graph.value(id).name.clone());
        let fact = Fact::new(fact.dtype, fact.shape.clone());
        self.push_place(Place { value, label, fact, layout, storage, home: Home::Unassigned, part: None })
    }

    fn push_place(&mut self, place: Place) -> Result<View, Unsupported> {
        let physical: Vec<usize> = place.layout.physical(&place.fact.shape).iter().map(|dim| dim.1).collect();
        let elements = element_count(&physical).map_err(|error| Unsupported::new(error.message()))?;
        let bytes = elements as u64 * place.storage.element_bytes() as u64;
        if bytes > self.capabilities.max_binding_bytes.min(self.capabilities.max_buffer_bytes) || elements > i32::MAX as usize {
            let limit = self.capabilities.max_binding_bytes.min(self.capabilities.max_buffer_bytes);
            return Err(Unsupported::new(format!("'{}' takes {bytes} bytes; the adapter binds at most {limit}", place.label)));
        }
        let id = PlaceId(self.places.len() as u32);
        let view = View::whole(id, place.layout, &place.fact.shape);
        self.places.push(place);
        Ok(view)
    }

    /// A constant in a dense place.
    pub(super) fn table(&mut self, label: &str, tensor: Tensor) -> Result<View, Unsupported> {
        let shape = tensor.shape().to_vec();
        let place = self.constant(label, tensor, Packing { name: "plain", args: vec![], shape: shape.clone(), pack: |tensor, _| Ok(tensor.clone()) })?;
        Ok(View::whole(place, Layout::Dense, &shape))
    }

    pub(super) fn constant(&mut self, label: &str, tensor: Tensor, packing: Packing) -> Result<PlaceId, Unsupported> {
        self.constant_in(label, tensor, packing, Layout::Dense)
    }

    fn constant_in(&mut self, label: &str, tensor: Tensor, packing: Packing, layout: Layout) -> Result<PlaceId, Unsupported> {
        let storage = self.storage(tensor.dtype())?;
        let same = |c: &Constant| c.tensor.identity() == tensor.identity() && c.packing == packing && c.storage == storage && c.layout == layout;
        if let Some(index) = self.constants.iter().position(same)
            && let Some(place) = self.places.iter().position(|place| place.home == Home::Constant(index))
        {
            return Ok(PlaceId(place as u32));
        }
        let fact = Fact::new(tensor.dtype(), packing.shape.clone());
        let home = Home::Constant(self.constants.len());
        let view = self.push_place(Place { value: None, label: label.to_string(), fact, layout, storage, home, part: None })?;
        let bytes = self.places[view.place.0 as usize].bytes();
        self.constants.push(Constant { label: label.to_string(), tensor, packing, layout, storage, bytes });
        Ok(view.place)
    }

    /// A view of a constant that lies as in the model, packed; `None` where it is something else.
    pub(super) fn packed_view(&mut self, view: &View, packing: impl FnOnce(&View) -> Packing) -> Result<Option<PlaceId>, Unsupported> {
        let Some(Home::Constant(index)) = self.places.get(view.place.0 as usize).map(|place| place.home.clone()) else { return Ok(None) };
        let Some(constant) = self.constants.get(index).filter(|constant| constant.packing.name == "plain").cloned() else { return Ok(None) };
        self.constant(&constant.label, constant.tensor, packing(view)).map(Some)
    }

    pub(super) fn dummy(&mut self, storage: Storage) -> Result<PlaceId, Unsupported> {
        let dtype = match storage {
            Storage::I32 => DType::I32,
            Storage::U32 => DType::U32,
            Storage::I64 => DType::I64,
            _ => DType::F32,
        };
        let label = format!("nothing ({dtype})");
        if let Some(at) = self.places.iter().position(|place| place.label == label) {
            return Ok(PlaceId(at as u32));
        }
        let zero = crate::tensor::cast(&Tensor::scalar(0f32), dtype, true).and_then(|tensor| tensor.reshape([1]));
        Ok(self.table(&label, zero.map_err(|error| Unsupported::new(error.message()))?)?.place)
    }

    pub(super) fn in_layout(&mut self, view: View, layout: Layout) -> Result<View, Unsupported> {
        if layout == Layout::ChannelsLast4 && view.shape.len() < 3 {
            return Err(Unsupported::new(format!("a tensor of shape {:?} has no channels-last form", view.shape)));
        }
        if view.is(layout) {
            return Ok(view);
        }
        if let Some((.., to)) = self.copies.iter().find(|(from, wanted, _)| *from == view && *wanted == layout) {
            return Ok(to.clone());
        }
        let source = self.places[view.place.0 as usize].clone();
        let fact = Fact::new(source.fact.dtype, view.shape.clone());
        let to = if let Home::Constant(index) = source.home {
            self.constant_view(index, &view, layout)?
        } else {
            let value = self.located.iter().filter(|(_, located)| located.view.as_ref() == Some(&view)).map(|(&id, _)| id).min();
            let to = self.new_place(value, &fact, layout)?;
            let inside = self.dispatches.iter().any(|d| d.bindings.contains(&(view.place, Access::Write)));
            if inside {
                crate::kernels::copy::emit(self, &view, &to)?;
            } else {
                // A step of its own, before the current node's.
                let (mine, asked, current) = (std::mem::take(&mut self.dispatches), std::mem::take(&mut self.asked), self.current.clone());
                self.current.1 = value.map_or(source.label.clone(), |id| self.graph.value(id).name.clone());
                self.current.2 = "copy".into();
                let result = crate::kernels::copy::emit(self, &view, &to);
                if result.is_ok() {
                    self.push_step();
                }
                (self.dispatches, self.asked, self.current) = (mine, asked, current);
                result?;
            }
            to
        };
        self.copies.push((view, layout, to.clone()));
        Ok(to)
    }

    /// A view of a constant in a layout: gathered on the host, uploaded once.
    fn constant_view(&mut self, index: usize, view: &View, layout: Layout) -> Result<View, Unsupported> {
        let constant = self.constants[index].clone();
        if constant.packing.name != "plain" {
            return Err(Unsupported::new("a view of a constant that was packed for a kernel"));
        }
        let args = [view.offset].into_iter().chain(view.strides.iter().map(|&stride| stride as usize)).chain(view.shape.iter().copied()).collect();
        let packing = Packing { name: "view", args, shape: view.shape.clone(), pack: gather };
        let place = self.constant_in(&constant.label, constant.tensor, packing, layout)?;
        Ok(View::whole(place, layout, &view.shape))
    }

    pub(crate) fn emit(
        &mut self,
        kernel: &'static Kernel,
        prelude: &Prelude,
        params: &[u8],
        bindings: &[(PlaceId, Access)],
        grid: [u32; 3],
    ) -> Result<(), Unsupported> {
        if grid.contains(&0) {
            return Ok(()); // nothing to compute
        }
        let c = &self.capabilities;
        if bindings.len() > c.max_storage_buffers as usize || grid.iter().any(|&n| n > c.max_grid) || params.len() > PARAMS_WINDOW {
            return Err(Unsupported::new(format!(
                "kernel {} takes {} buffers and a grid of {grid:?}; the adapter allows {} and {}",
                kernel.stem,
                bindings.len(),
                c.max_storage_buffers,
                c.max_grid
            )));
        }
        debug_assert_eq!(params.len(), kernel.params_size, "{}", kernel.stem);
        let written: Vec<PlaceId> = bindings.iter().filter(|b| b.1 == Access::Write).map(|b| self.whole_of(b.0)).collect();
        if bindings.iter().any(|b| b.1 == Access::Read && written.contains(&self.whole_of(b.0))) {
            return Err(Unsupported::new("a dispatch would read what it writes"));
        }
        self.dispatches.push(crate::kernels::Dispatch {
            kernel: kernel.stem,
            source: prelude.source(kernel.shader, c.form()),
            bindings: bindings.to_vec(),
            params: params.to_vec(),
            params_offset: 0,
            grid,
        });
        Ok(())
    }
    /// The variant for what the current node's kernel is about to do.
    pub(super) fn choose(&mut self, key: String, candidates: Vec<Variant>) -> Variant {
        let variant = self.choices.pick(&key, &candidates);
        self.asked.push(Chosen { step: 0, key, candidates, variant });
        variant
    }
    pub(crate) fn place(&self, id: PlaceId) -> &Place {
        &self.places[id.0 as usize]
    }
    pub(crate) fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// Keeps only the constants that a dispatch binds: a packed form often makes the plain one needless.
    fn drop_unread_constants(&mut self) {
        let read: std::collections::HashSet<PlaceId> = self.steps.iter().flat_map(|step| step.reads.iter().copied()).collect();
        let mut kept = vec![];
        for (at, place) in self.places.iter_mut().enumerate() {
            if let Home::Constant(index) = place.home {
                place.home = Home::Unassigned;
                if read.contains(&PlaceId(at as u32)) {
                    place.home = Home::Constant(kept.len());
                    kept.push(self.constants[index].clone());
                }
            }
        }
        self.constants = kept;
    }

    /// Assigns memory and parameter offsets.
    fn finish(mut self, placements: Vec<Placement>, by_value: Vec<ValueId>) -> Result<Plan> {
        self.drop_unread_constants();
        let mut spans: HashMap<PlaceId, (usize, usize)> = HashMap::new();
        for (index, step) in self.steps.iter().enumerate() {
            for &id in step.reads.iter().chain(&step.writes) {
                let span = spans.entry(self.whole_of(id)).or_insert((index, index));
                span.1 = index;
            }
        }
        let movable: Vec<(PlaceId, Lifetime)> = (0..self.places.len() as u32)
            .map(PlaceId)
            .filter(|id| self.places[id.0 as usize].home == Home::Unassigned && self.whole_of(*id) == *id)
            .filter_map(|id| spans.get(&id).map(|&(first, last)| (id, Lifetime { bytes: self.places[id.0 as usize].bytes(), first, last })))
            .collect();
        let (slots, sizes) = assign(&movable.iter().map(|item| item.1).collect::<Vec<_>>());
        for ((id, _), slot) in movable.iter().zip(slots) {
            self.places[id.0 as usize].home = Home::Slot(slot);
        }
        for at in 0..self.places.len() {
            if let Some(of) = self.places[at].part.as_ref().map(|part| part.of) {
                self.places[at].home = self.place(of).home.clone();
            }
        }
        let total: u64 = sizes.iter().sum::<u64>() + self.constants.iter().map(|constant| constant.bytes).sum::<u64>();
        if total > self.capabilities.memory_budget {
            return Err(Error::memory(format!("the plan takes {total} bytes on the device; the budget is {}", self.capabilities.memory_budget))
                .remedy("use a smaller input, --precision f16 or --device cpu"));
        }
        let mut params = vec![];
        let align = self.capabilities.uniform_alignment.max(16) as usize;
        for step in &mut self.steps {
            if let StepKind::Gpu { dispatches } = &mut step.kind {
                for dispatch in dispatches {
                    dispatch.params_offset = params.len() as u32;
                    params.extend_from_slice(&dispatch.params);
                    params.resize(params.len().next_multiple_of(align), 0);
                }
            }
        }
        // The binding's window reaches this far beyond the last block's start.
        params.resize(params.len() + PARAMS_WINDOW, 0);
        Ok(Plan {
            graph: self.graph,
            places: self.places,
            steps: self.steps,
            slots: sizes,
            constants: self.constants,
            params,
            facts: self.facts,
            placements,
            by_value,
            precision: self.precision,
            chosen: self.chosen,
        })
    }
}

/// The elements of a view `[offset, strides…, shape…]` of a dense constant, in row-major order.
fn gather(tensor: &Tensor, args: &[usize]) -> Result<Tensor> {
    let [offset, rest @ ..] = args else { return Err(Error::internal("a view without arguments")) };
    let (strides, shape) = rest.split_at(rest.len() / 2);
    let mut walk = crate::tensor::index::Odometer::new(shape, [strides]);
    tensor.pick(shape, |_| walk.next().map(|[at]| offset.wrapping_add(at)))
}

/// The mode in which the CPU computes what the plan holds in `precision`.
pub fn mode_of(precision: Precision) -> Mode {
    if precision == Precision::F16 { Mode::F16 } else { Mode::Declared }
}
