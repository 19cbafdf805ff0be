//! What lowers a node and what takes its dispatches, as kernels and operators know them: the planner
//! implements both.

use super::{Kernel, Packing, Prelude, Target};
use crate::base::{
    Access, BufferId, Capabilities, ElementFormat, Fact, Layout, TileConfiguration, Unsupported, View,
};
use crate::tensor::{DType, Tensor, cast};

/// A buffer's contents, as a kernel that writes or reads them has to know them.
#[derive(Debug, Clone, PartialEq)]
pub struct Contents {
    pub shape: Vec<usize>,
    pub layout: Layout,
    pub storage: ElementFormat,
}

/// Takes dispatches.
pub trait Emitter {
    fn capabilities(&self) -> &Capabilities;
    /// What lies in a buffer.
    fn contents(&self, buffer: BufferId) -> Contents;
    /// Adds a dispatch, of a parameter block's bytes; an empty grid adds none.
    fn dispatch(
        &mut self,
        kernel: &'static Kernel,
        prelude: Prelude,
        params: &[u8],
        bindings: &[(BufferId, Access)],
        grid: [u32; 3],
    ) -> Result<(), Unsupported>;
}

impl dyn Emitter + '_ {
    /// Adds a dispatch; an empty grid adds none.
    pub fn emit<P: bytemuck::Pod>(
        &mut self,
        kernel: &'static Kernel,
        prelude: Prelude,
        params: P,
        bindings: &[(BufferId, Access)],
        grid: [u32; 3],
    ) -> Result<(), Unsupported> {
        self.dispatch(kernel, prelude, bytemuck::bytes_of(&params), bindings, grid)
    }
}

/// A node on its way to the GPU: views of its inputs, buffers for its outputs, dispatches.
pub trait Lowering {
    /// Takes the node's dispatches.
    fn emitter(&mut self) -> &mut dyn Emitter;
    fn capabilities(&self) -> Capabilities;
    /// How many inputs the node has, ones left out included.
    fn input_count(&self) -> usize;
    fn has_input(&self, index: usize) -> bool;
    /// Type and shape of an input.
    fn fact(&self, index: usize) -> Result<&Fact, Unsupported>;
    fn output_fact(&self, index: usize) -> Result<&Fact, Unsupported>;
    fn output_count(&self) -> usize;
    /// Whether anything asks for an output.
    fn has_output(&self, index: usize) -> bool;
    /// Whether a view is of a constant that the host has as it lies in the model.
    fn is_constant(&self, view: &View) -> bool;
    /// How a type is stored on this device, or why it isn't.
    fn storage(&self, dtype: DType) -> Result<ElementFormat, Unsupported>;
    /// An input where it lies; a constant is uploaded, a host value gets an upload step.
    fn view(&mut self, index: usize) -> Result<View, Unsupported>;
    /// A view's elements in a layout: where it is in another, or not contiguous, a copy is made once and
    /// shared.
    fn in_layout(&mut self, view: View, layout: Layout) -> Result<View, Unsupported>;
    /// The layout that an input's buffer has, where the view is the whole of it.
    fn layout_of(&self, view: &View) -> Layout;
    /// A constant input rearranged for a kernel.
    fn packed(&mut self, index: usize, packing: Packing) -> Result<BufferId, Unsupported>;
    /// A view of a constant rearranged for a kernel; `None` where the view is of something else.
    fn packed_view(
        &mut self,
        view: &View,
        packing: &dyn Fn(&View) -> Packing,
    ) -> Result<Option<BufferId>, Unsupported>;
    /// A tensor that the kernel itself brings (a table, a fill value).
    fn table(&mut self, label: &str, tensor: Tensor) -> Result<View, Unsupported>;
    /// A buffer for an output, whole, in a layout.
    fn output(&mut self, index: usize, layout: Layout) -> Result<View, Unsupported>;
    /// An output for a kernel that writes rows a step apart, in a layout: within the result of a Concat,
    /// where only that reads it.
    fn target(&mut self, index: usize, layout: Layout) -> Result<Target, Unsupported>;
    /// An output that has parts already, whole.
    fn begun(&self, index: usize) -> Option<View>;
    /// Whether a view is of a part that was made where the whole lies.
    fn lies_in(&self, part: &View, whole: BufferId) -> bool;
    /// The buffer of an input that this node may write into, to make of it an output that is a view of it:
    /// that of a state ([`crate::session::SessionBuilder::state`]) which nothing else reads.
    fn in_place(&mut self, input: usize, output: usize) -> Option<View>;
    /// Makes an output a view of what is there already: no work.
    fn alias(&mut self, index: usize, view: View);
    /// A buffer for an intermediate result.
    fn scratch(&mut self, fact: &Fact, layout: Layout) -> Result<View, Unsupported>;
    /// A small buffer to bind where a kernel's operand is off.
    fn dummy(&mut self, storage: ElementFormat) -> Result<BufferId, Unsupported>;
    /// The variant to use for what `key` names, of these candidates, the kernel's own rule first.
    fn choose(&mut self, key: String, candidates: Vec<TileConfiguration>) -> TileConfiguration;
    /// The number by which a kernel tells of an index of input `index` that lies outside the data's axes from
    /// `axis` on, of these sizes; `from_end`: negative ones count from the end. `None` where the indices are
    /// known: then `infer` has held them to the sizes.
    fn report(&mut self, index: usize, axis: usize, sizes: Vec<usize>, from_end: bool) -> Option<u32>;

    /// An input's elements, where they are known when the plan is made.
    fn constant(&self, index: usize) -> Option<&Tensor> {
        self.fact(index).ok()?.value.as_ref()
    }
    /// The integers of an input that are known when the plan is made.
    fn ints(&self, index: usize) -> Result<Vec<i64>, Unsupported> {
        let value = self
            .constant(index)
            .ok_or_else(|| Unsupported::new(format!("input {index} is not known when the plan is made")))?;
        value.to_i64s().map_err(Unsupported::from)
    }
    /// How the float input is stored: what a kernel's prelude needs.
    fn float_storage(&self, index: usize) -> Result<ElementFormat, Unsupported> {
        let dtype = self.fact(index)?.dtype;
        let storage = self.storage(dtype)?;
        if storage.is_float() {
            Ok(storage)
        } else {
            Err(Unsupported::new(format!("{dtype} has no kernel here")))
        }
    }
    /// The first of them, where there is one number to give.
    fn int(&self, index: usize) -> Result<i64, Unsupported> {
        let first = self.ints(index)?.first().copied();
        first.ok_or_else(|| Unsupported::new(format!("input {index} has no number")))
    }
    /// The integers of an input that may be left out.
    fn optional_ints(&self, index: usize) -> Result<Option<Vec<i64>>, Unsupported> {
        if self.has_input(index) { self.ints(index).map(Some) } else { Ok(None) }
    }
    /// Whether elements of a type are float32 that this device holds as float16.
    fn is_narrowed(&self, dtype: DType) -> Result<bool, Unsupported> {
        Ok(dtype == DType::F32 && self.storage(dtype)? != ElementFormat::F32)
    }
    /// Errors where an input of float32 is held as float16: sums that one kernel leaves to the next would be
    /// held to its range, which the result says nothing of.
    fn holds_sums(&self, index: usize) -> Result<(), Unsupported> {
        match self.is_narrowed(self.fact(index)?.dtype)? {
            true => {
                Err(Unsupported::new("sums between its kernels don't fit float16, which holds float32 here"))
            }
            false => Ok(()),
        }
    }
    /// An input in a layout: see [`Lowering::in_layout`].
    fn input(&mut self, index: usize, layout: Layout) -> Result<View, Unsupported> {
        let view = self.view(index)?;
        self.in_layout(view, layout)
    }
    /// An input that may be left out, in a layout.
    fn optional_input(&mut self, index: usize, layout: Layout) -> Result<Option<View>, Unsupported> {
        if self.has_input(index) { self.input(index, layout).map(Some) } else { Ok(None) }
    }
    /// One number in every element of a shape.
    fn filled(
        &mut self,
        label: &str,
        value: &Tensor,
        dtype: DType,
        shape: &[usize],
    ) -> Result<View, Unsupported> {
        let value = cast(value, dtype, true).and_then(|value| value.reshape([1]))?;
        Ok(self.table(label, value)?.broadcast(shape))
    }
    /// A view in another shape, made dense first where it has to be; `otherwise` says why not where even that
    /// has no such shape.
    fn reshaped(&mut self, view: View, shape: &[usize], otherwise: &str) -> Result<View, Unsupported> {
        match view.reshaped(shape) {
            Some(reshaped) => Ok(reshaped),
            None => self
                .in_layout(view, Layout::Dense)?
                .reshaped(shape)
                .ok_or_else(|| Unsupported::new(otherwise)),
        }
    }
    /// Makes output 0 a view of `view` in another shape of as many elements; a copy only where strides can't
    /// express it.
    fn alias_reshaped(&mut self, view: View, shape: &[usize]) -> Result<(), Unsupported> {
        let reshaped = match view.reshaped(shape) {
            Some(reshaped) => reshaped,
            // Nothing is read through a view of no elements.
            None if view.count() == 0 && shape.contains(&0) => {
                View { shape: shape.to_vec(), strides: vec![0; shape.len()], offset: 0, ..view }
            }
            None => self.reshaped(view, shape, "a shape of another size")?,
        };
        self.alias(0, reshaped);
        Ok(())
    }
    /// Copies a view into a part of a buffer: see [`super::copy`].
    fn copy(&mut self, from: &View, to: &View) -> Result<(), Unsupported> {
        super::copy::emit(self.emitter(), from, to)
    }
}

impl dyn Lowering + '_ {
    /// Adds a dispatch to the node's step.
    pub fn emit<P: bytemuck::Pod>(
        &mut self,
        kernel: &'static Kernel,
        prelude: Prelude,
        params: P,
        bindings: &[(BufferId, Access)],
        grid: [u32; 3],
    ) -> Result<(), Unsupported> {
        self.emitter().emit(kernel, prelude, params, bindings, grid)
    }
}
