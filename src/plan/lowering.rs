//! What an operator lowers itself with: views of its inputs, places for its outputs, dispatches.

use super::planner::Builder;
use crate::base::{Access, Capabilities, Fact, Layout, PlaceId, Storage, Unsupported, Variant, View};
use crate::graph::{Node, ValueId};
use crate::kernels::{Kernel, Packing, Prelude, Target};
use crate::tensor::{DType, Tensor};

/// A node on its way to the GPU.
pub struct Lowering<'a> {
    pub(super) builder: &'a mut Builder,
    pub(super) node: &'a Node,
    pub(super) inputs: Vec<Option<Fact>>,
    pub(super) outputs: Vec<Fact>,
}

impl Lowering<'_> {
    pub fn capabilities(&self) -> Capabilities {
        self.builder.capabilities.clone()
    }
    /// How many inputs the node has, ones left out included.
    pub fn input_count(&self) -> usize {
        self.inputs.len()
    }
    pub fn has_input(&self, index: usize) -> bool {
        self.inputs.get(index).is_some_and(Option::is_some)
    }
    /// Type and shape of an input.
    pub fn fact(&self, index: usize) -> Result<&Fact, Unsupported> {
        self.inputs
            .get(index)
            .and_then(Option::as_ref)
            .ok_or_else(|| Unsupported::new(format!("input {index} is missing")))
    }
    pub fn output_fact(&self, index: usize) -> Result<&Fact, Unsupported> {
        self.outputs.get(index).ok_or_else(|| Unsupported::new(format!("output {index} is missing")))
    }
    pub fn output_count(&self) -> usize {
        self.node.outputs.len()
    }
    /// Whether anything asks for an output.
    pub fn has_output(&self, index: usize) -> bool {
        self.node.outputs.get(index).is_some_and(Option::is_some)
    }
    /// An input's elements, where they are known when the plan is made.
    pub fn constant(&self, index: usize) -> Option<&Tensor> {
        self.inputs.get(index)?.as_ref()?.value.as_ref()
    }
    /// Whether a view is of a constant that the host has as it lies in the model.
    pub fn is_constant(&self, view: &View) -> bool {
        matches!(self.builder.place(view.place).home, super::Home::Constant(_))
    }
    /// The integers of an input that are known when the plan is made.
    pub fn ints(&self, index: usize) -> Result<Vec<i64>, Unsupported> {
        let value = self
            .constant(index)
            .ok_or_else(|| Unsupported::new(format!("input {index} is not known when the plan is made")))?;
        value.to_i64s().map_err(|error| Unsupported::new(error.message()))
    }
    /// How a type is stored on this device, or why it isn't.
    pub fn storage(&self, dtype: DType) -> Result<Storage, Unsupported> {
        self.builder.storage(dtype)
    }
    /// How the float input is stored: what a kernel's prelude needs.
    pub fn float_storage(&self, index: usize) -> Result<Storage, Unsupported> {
        let dtype = self.fact(index)?.dtype;
        let storage = self.storage(dtype)?;
        if storage.is_float() {
            Ok(storage)
        } else {
            Err(Unsupported::new(format!("{dtype} has no kernel here")))
        }
    }

    /// An input where it lies; a constant is uploaded, a host value gets an upload step.
    pub fn view(&mut self, index: usize) -> Result<View, Unsupported> {
        let value = self
            .node
            .inputs
            .get(index)
            .copied()
            .flatten()
            .ok_or_else(|| Unsupported::new(format!("input {index} is missing")))?;
        self.builder.view(value)
    }
    /// An input in a layout: where it is in another, or not contiguous, a copy is made once and shared.
    pub fn input(&mut self, index: usize, layout: Layout) -> Result<View, Unsupported> {
        let view = self.view(index)?;
        self.in_layout(view, layout)
    }
    /// A view's elements in a layout.
    pub fn in_layout(&mut self, view: View, layout: Layout) -> Result<View, Unsupported> {
        self.builder.in_layout(view, layout)
    }
    /// A view in another shape, made dense first where it has to be; `otherwise` says why not where even that
    /// has no such shape.
    pub fn reshaped(&mut self, view: View, shape: &[usize], otherwise: &str) -> Result<View, Unsupported> {
        match view.reshaped(shape) {
            Some(reshaped) => Ok(reshaped),
            None => self
                .in_layout(view, Layout::Dense)?
                .reshaped(shape)
                .ok_or_else(|| Unsupported::new(otherwise)),
        }
    }
    /// The layout that an input's place has, where the view is the whole of it.
    pub fn layout_of(&self, view: &View) -> Layout {
        let place = &self.builder.places[view.place.0 as usize];
        if view.shape == place.fact.shape && view.is(place.layout) { place.layout } else { Layout::Dense }
    }
    /// A constant input rearranged for a kernel.
    pub fn packed(&mut self, index: usize, packing: Packing) -> Result<PlaceId, Unsupported> {
        let tensor = self
            .constant(index)
            .cloned()
            .ok_or_else(|| Unsupported::new(format!("input {index} is not a constant")))?;
        let label =
            self.node.inputs[index].map_or(String::new(), |id| self.builder.graph.value(id).name.clone());
        self.builder.constant(&label, tensor, packing)
    }
    /// A view of a constant rearranged for a kernel; `None` where the view is of something else.
    pub fn packed_view(
        &mut self,
        view: &View,
        packing: impl FnOnce(&View) -> Packing,
    ) -> Result<Option<PlaceId>, Unsupported> {
        self.builder.packed_view(view, packing)
    }
    /// A tensor that the kernel itself brings (a table, a fill value).
    pub fn table(&mut self, label: &str, tensor: Tensor) -> Result<View, Unsupported> {
        self.builder.table(label, tensor)
    }
    /// A place for an output, whole, in a layout.
    pub fn output(&mut self, index: usize, layout: Layout) -> Result<View, Unsupported> {
        let fact = self.output_fact(index)?.clone();
        let value = self.node.outputs.get(index).copied().flatten();
        let view = self.builder.new_place(value, &fact, layout)?;
        if let Some(value) = value {
            self.builder.locate(value, view.clone());
        }
        Ok(view)
    }
    /// An output for a kernel that writes rows a step apart, in a layout: within the result of a Concat,
    /// where only that reads it.
    pub fn target(&mut self, index: usize, layout: Layout) -> Result<Target, Unsupported> {
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
    /// An output that has parts already, whole.
    pub fn begun(&self, index: usize) -> Option<View> {
        let value = self.node.outputs.get(index).copied().flatten()?;
        self.builder.located.get(&value)?.view.clone()
    }
    /// Whether a view is of a part that was made where the whole lies.
    pub fn lies_in(&self, part: &View, whole: PlaceId) -> bool {
        self.builder.whole_of(part.place) == whole
    }
    /// Makes an output a view of what is there already: no work.
    pub fn alias(&mut self, index: usize, view: View) {
        if let Some(value) = self.node.outputs.get(index).copied().flatten() {
            self.builder.name_place(value, &view);
            self.builder.locate(value, view);
        }
    }
    /// A place for an intermediate result.
    pub fn scratch(&mut self, fact: &Fact, layout: Layout) -> Result<View, Unsupported> {
        self.builder.new_place(None, fact, layout)
    }
    /// A small buffer to bind where a kernel's operand is off.
    pub fn dummy(&mut self, storage: Storage) -> Result<PlaceId, Unsupported> {
        self.builder.dummy(storage)
    }
    /// The variant to use for what `key` names, of these candidates: the kernel's own rule first
    /// ([`super::Choices`]).
    pub fn choose(&mut self, key: String, candidates: Vec<Variant>) -> Variant {
        self.builder.choose(key, candidates)
    }
    /// The number by which a kernel tells of an index of input `index` that lies outside the data's axes from
    /// `axis` on, of these sizes. `None` where the indices are known: then `infer` has held them to the
    /// sizes.
    pub fn report(&mut self, index: usize, axis: usize, sizes: Vec<usize>) -> Option<u32> {
        if self.constant(index).is_some() {
            return None;
        }
        let tensor =
            self.input_id(index).map_or(String::new(), |id| self.builder.graph.value(id).name.clone());
        let (_, node, op_type) = self.builder.current.clone();
        self.builder.reports.push(super::Report { node, op_type, tensor, axis, sizes });
        u32::try_from(self.builder.reports.len()).ok()
    }
    /// Adds a dispatch to the node's step.
    pub fn emit<P: bytemuck::Pod>(
        &mut self,
        kernel: &'static Kernel,
        prelude: Prelude,
        params: P,
        bindings: &[(PlaceId, Access)],
        grid: [u32; 3],
    ) -> Result<(), Unsupported> {
        self.builder.emit(kernel, &prelude, bytemuck::bytes_of(&params), bindings, grid)
    }
    /// Copies a view into a part of a place: see [`crate::kernels::copy`].
    pub fn copy(&mut self, from: &View, to: &View) -> Result<(), Unsupported> {
        crate::kernels::copy::emit(self.builder, from, to)
    }
    /// The value behind an input: passes and messages name it.
    pub fn input_id(&self, index: usize) -> Option<ValueId> {
        self.node.inputs.get(index).copied().flatten()
    }
}
