//! The planner's side of lowering a node.

use super::planner::Builder;
use crate::base::{
    BufferId, Capabilities, ElementFormat, Fact, Layout, TileConfiguration, Unsupported, View,
};
use crate::expression::Pointwise;
use crate::graph::{Node, ValueId};
use crate::kernels::lowering::{Emitter, Lowering};
use crate::kernels::{Packing, Target, pointwise};
use crate::ops::Reads;
use crate::tensor::{DType, Tensor, cast};
use std::collections::BTreeMap;

/// A node on its way to the GPU.
pub(super) struct NodeLowering<'a> {
    pub(super) builder: &'a mut Builder,
    pub(super) node: &'a Node,
    pub(super) inputs: Vec<Option<Fact>>,
    pub(super) outputs: Vec<Fact>,
    /// Outputs of bfloat16 that are computed in float32, to be rounded behind the node; and where each is.
    rounded: BTreeMap<usize, Option<View>>,
}

impl<'a> NodeLowering<'a> {
    pub(super) fn new(
        builder: &'a mut Builder,
        node: &'a Node,
        inputs: Vec<Option<Fact>>,
        outputs: Vec<Fact>,
    ) -> Self {
        Self { builder, node, inputs, outputs, rounded: BTreeMap::new() }
    }

    /// The same of a node whose bfloat16 is computed in float32, which holds it, as the CPU does: operators
    /// and kernels see float32, and [`Self::round`] rounds the results.
    pub(super) fn widened(
        builder: &'a mut Builder,
        node: &'a Node,
        mut inputs: Vec<Option<Fact>>,
        mut outputs: Vec<Fact>,
    ) -> Result<Self, Unsupported> {
        for fact in inputs.iter_mut().flatten().filter(|fact| fact.dtype == DType::BF16) {
            fact.dtype = DType::F32;
            fact.value = fact.value.as_ref().map(|value| cast(value, DType::F32, true)).transpose()?;
        }
        let mut rounded = BTreeMap::new();
        for (index, fact) in outputs.iter_mut().enumerate().filter(|(_, fact)| fact.dtype == DType::BF16) {
            fact.dtype = DType::F32;
            rounded.insert(index, None);
        }
        Ok(Self { builder, node, inputs, outputs, rounded })
    }

    /// Rounds what was computed in float32 in the place of bfloat16.
    pub(super) fn round(&mut self) -> Result<(), Unsupported> {
        for (index, made) in std::mem::take(&mut self.rounded) {
            let Some(made) = made.filter(|_| self.has_output(index)) else { continue };
            let layout = self.layout_of(&made);
            self.outputs[index].dtype = DType::BF16;
            let (output, shape) = (self.output(index, layout)?, made.shape.clone());
            let rounding = Pointwise::cast(DType::BF16);
            let form = (DType::BF16, layout);
            pointwise::emit_into(self, &rounding, &[(made, DType::F32)], &shape, form, output.buffer)?;
        }
        Ok(())
    }
}

impl Lowering for NodeLowering<'_> {
    fn emitter(&mut self) -> &mut dyn Emitter {
        self.builder
    }
    fn capabilities(&self) -> Capabilities {
        self.builder.capabilities.clone()
    }
    fn input_count(&self) -> usize {
        self.inputs.len()
    }
    fn has_input(&self, index: usize) -> bool {
        self.inputs.get(index).is_some_and(Option::is_some)
    }
    fn fact(&self, index: usize) -> Result<&Fact, Unsupported> {
        self.inputs
            .get(index)
            .and_then(Option::as_ref)
            .ok_or_else(|| Unsupported::new(format!("input {index} is missing")))
    }
    fn output_fact(&self, index: usize) -> Result<&Fact, Unsupported> {
        self.outputs.get(index).ok_or_else(|| Unsupported::new(format!("output {index} is missing")))
    }
    fn output_count(&self) -> usize {
        self.node.outputs.len()
    }
    fn has_output(&self, index: usize) -> bool {
        self.node.outputs.get(index).is_some_and(Option::is_some)
    }
    fn is_constant(&self, view: &View) -> bool {
        matches!(self.builder.buffer(view.buffer).allocation, super::Allocation::Constant(_))
    }
    fn storage(&self, dtype: DType) -> Result<ElementFormat, Unsupported> {
        self.builder.storage(dtype)
    }

    fn view(&mut self, index: usize) -> Result<View, Unsupported> {
        let value = self
            .node
            .inputs
            .get(index)
            .copied()
            .flatten()
            .ok_or_else(|| Unsupported::new(format!("input {index} is missing")))?;
        let view = self.builder.view(value)?;
        // What only looks at its input leaves it as it is stored.
        let converts = self.builder.mixes() && self.node.op.reads() != Reads::View;
        if converts { self.converted(value, view) } else { Ok(view) }
    }
    fn in_layout(&mut self, view: View, layout: Layout) -> Result<View, Unsupported> {
        self.builder.in_layout(view, layout)
    }
    fn layout_of(&self, view: &View) -> Layout {
        let buffer = &self.builder.buffers[view.buffer.0 as usize];
        if view.shape == buffer.fact.shape && view.is(buffer.layout) { buffer.layout } else { Layout::Dense }
    }
    fn packed(&mut self, index: usize, packing: Packing) -> Result<BufferId, Unsupported> {
        let tensor = self
            .constant(index)
            .cloned()
            .ok_or_else(|| Unsupported::new(format!("input {index} is not a constant")))?;
        let label =
            self.node.inputs[index].map_or(String::new(), |id| self.builder.graph.value(id).name.clone());
        self.builder.constant(&label, tensor, packing)
    }
    fn packed_view(
        &mut self,
        view: &View,
        packing: &dyn Fn(&View) -> Packing,
    ) -> Result<Option<BufferId>, Unsupported> {
        self.builder.packed_view(view, packing)
    }
    fn table(&mut self, label: &str, tensor: Tensor) -> Result<View, Unsupported> {
        self.builder.table(label, tensor)
    }
    fn output(&mut self, index: usize, layout: Layout) -> Result<View, Unsupported> {
        let fact = self.output_fact(index)?.clone();
        if let Some(made) = self.rounded.get_mut(&index) {
            let view = self.builder.new_buffer(None, &fact, layout)?;
            *made = Some(view.clone());
            return Ok(view);
        }
        let value = self.node.outputs.get(index).copied().flatten();
        let view = self.builder.new_buffer(value, &fact, layout)?;
        if let Some(value) = value {
            self.builder.locate(value, view.clone());
        }
        Ok(view)
    }
    fn target(&mut self, index: usize, layout: Layout) -> Result<Target, Unsupported> {
        if self.rounded.contains_key(&index) {
            return Target::of(&self.output(index, layout)?, layout);
        }
        let value = self.node.outputs.get(index).copied().flatten();
        let view = match value.and_then(|value| self.builder.part(value, layout)) {
            Some(view) => view,
            None => self.output(index, layout)?,
        };
        if let Some(value) = value {
            self.builder.locate(value, view.clone());
        }
        Target::of(&view, layout)
    }
    fn begun(&self, index: usize) -> Option<View> {
        if let Some(made) = self.rounded.get(&index) {
            return made.clone();
        }
        let value = self.node.outputs.get(index).copied().flatten()?;
        self.builder.located.get(&value)?.view.clone()
    }
    fn lies_in(&self, part: &View, whole: BufferId) -> bool {
        self.builder.parent_of(part.buffer) == whole
    }
    fn in_place(&mut self, input: usize, output: usize) -> Option<View> {
        let present = self.node.outputs.get(output).copied().flatten()?;
        let &(past, _) = self.builder.states.iter().find(|state| state.1 == present)?;
        self.builder.state_read_once(past, self.input_id(input)?)
    }
    fn alias(&mut self, index: usize, view: View) {
        if let Some(made) = self.rounded.get_mut(&index) {
            *made = Some(view);
            return;
        }
        if let Some(value) = self.node.outputs.get(index).copied().flatten() {
            self.builder.name_buffer(value, &view);
            self.builder.locate(value, view);
        }
    }
    fn scratch(&mut self, fact: &Fact, layout: Layout) -> Result<View, Unsupported> {
        self.builder.new_buffer(None, fact, layout)
    }
    fn dummy(&mut self, storage: ElementFormat) -> Result<BufferId, Unsupported> {
        self.builder.dummy(storage)
    }
    fn choose(&mut self, key: String, candidates: Vec<TileConfiguration>) -> TileConfiguration {
        self.builder.choose(key, candidates)
    }
    fn report(&mut self, index: usize, axis: usize, sizes: Vec<usize>, from_end: bool) -> Option<u32> {
        if self.constant(index).is_some() {
            return None;
        }
        let tensor =
            self.input_id(index).map_or(String::new(), |id| self.builder.graph.value(id).name.clone());
        let (_, node, op_type) = self.builder.current.clone();
        self.builder.reports.push(super::Report { node, op_type, tensor, axis, sizes, from_end });
        u32::try_from(self.builder.reports.len()).ok()
    }
}

impl NodeLowering<'_> {
    /// A float input as this node's kernels read it: converted where it is stored at another precision.
    fn converted(&mut self, value: ValueId, view: View) -> Result<View, Unsupported> {
        let source = self.builder.buffer(view.buffer);
        let (dtype, storage, label) = (source.fact.dtype, source.storage, source.label.clone());
        if !dtype.is_float() || self.builder.storage(dtype)? == storage {
            return Ok(view);
        }
        if let Some(known) = self.builder.fact(value).and_then(|fact| fact.value.clone()) {
            return self.builder.table(&label, known);
        }
        let (layout, shape) = (self.layout_of(&view), view.shape.clone());
        let to = self.builder.new_buffer(None, &Fact::new(dtype, shape.clone()), layout)?;
        let given = [(view, dtype)];
        pointwise::emit_into(self, &Pointwise::identity(), &given, &shape, (dtype, layout), to.buffer)?;
        Ok(to)
    }

    /// The value behind an input.
    fn input_id(&self, index: usize) -> Option<ValueId> {
        self.node.inputs.get(index).copied().flatten()
    }
}
