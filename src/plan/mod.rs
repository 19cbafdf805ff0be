//! Planning: a graph, concrete input shapes and a device's capabilities become a [`Plan`], plain data made
//! without a device.
//!
//! A value lives in a [`PlannedBuffer`]: a buffer's contents in one of three layouts. What an operator sees
//! of it is a [`View`] (sizes, strides, offset), so that Reshape, Transpose, Slice, Split and Expand cost
//! nothing by themselves; a kernel that wants a certain layout asks for it, and the planner emits the copy
//! where the view isn't in it already.

mod adopt;
mod buffers;
mod choice;
mod finish;
mod inspect;
mod layout;
mod lowering;
mod memory;
mod planner;
mod print;
mod relayout;
mod report;
mod state;
mod sub_buffer;
mod transaction;

pub use crate::base::{
    BufferId, Capabilities, Cooperative, ElementFormat, Layout, Precision, TileConfiguration, Unsupported,
    View,
};
pub use crate::cpu::inference::{Inference, Partial, infer, infer_node, infer_partly, node_flops};
pub use buffers::element_format;
pub use choice::{VariantDecision, VariantPolicy};
pub use inspect::{PlannedDispatch, PlannedNode, PlannedStep, Summary};
pub use layout::{as_encoded, decode, encode};
pub use memory::{Lifetime, assign, live};
pub use planner::{PlanRequest, mode_of, plan};
pub use relayout::relayout;
pub use report::{Report, STATUS_BYTES};
pub use sub_buffer::SubBuffer;

use crate::base::Fact;
use crate::graph::ValueId;
use crate::kernels::{Dispatch, Packing};
use crate::ops::Operator;
use crate::tensor::Tensor;
use std::sync::Arc;

/// Where a buffer's bytes are.
#[derive(Debug, Clone, PartialEq)]
pub enum Allocation {
    /// A part-time tenant of an activation buffer of the plan's pool.
    Slot(usize),
    /// A constant, packed for a kernel and uploaded once: an index of [`Plan::constants`].
    Constant(usize),
    /// A buffer that the plan only names and each run binds, of an input or an output: an index of
    /// [`Plan::externals`].
    External(usize),
    /// Not assigned yet: only while planning.
    Unassigned,
}

/// A buffer's contents: one value (or a view of one, made contiguous) in one layout.
#[derive(Debug, Clone)]
pub struct PlannedBuffer {
    /// The value that it holds; intermediate results inside a step have none.
    pub value: Option<ValueId>,
    /// The value's name, or what the buffer is for.
    pub label: String,
    pub fact: Fact,
    pub layout: Layout,
    pub storage: ElementFormat,
    pub allocation: Allocation,
    /// Set where the contents lie within another buffer, whose home they share.
    pub part: Option<SubBuffer>,
}

impl PlannedBuffer {
    /// Bytes of its buffer, which a dispatch binds: those of the contents, or of the whole that they are a
    /// part of.
    pub fn bytes(&self) -> u64 {
        self.part.as_ref().map_or_else(|| self.content_bytes(), |part| part.bytes)
    }
    /// Bytes that the contents take, padded.
    pub fn content_bytes(&self) -> u64 {
        padded(self.layout.elements(&self.fact.shape) * self.storage.element_bytes()) as u64
    }
}

/// Bytes of a buffer that holds so many: a multiple of 32, a group of 4 int64, and one group at least. More
/// than a machine could hold stays that.
pub fn padded(bytes: usize) -> usize {
    bytes.checked_next_multiple_of(32).unwrap_or(usize::MAX).max(32)
}

/// A constant in the form in which a kernel reads it.
#[derive(Debug, Clone)]
pub struct Constant {
    pub label: String,
    pub tensor: Tensor,
    pub packing: Packing,
    /// The layout in which the packed tensor lies.
    pub layout: Layout,
    pub storage: ElementFormat,
    pub bytes: u64,
}

/// Where packed constants may lie already.
pub trait PackedConstants: Send + Sync {
    /// The bytes of a constant as [`encode`] would make them of its packed tensor, if they are there.
    fn find(&self, constant: &Constant) -> Option<&[u8]>;
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum StepKind {
    /// Host to device: what a step on the CPU has made.
    Upload { value: ValueId, to: BufferId },
    /// Device to host, for a step on the CPU: the value, in its own shape, lies at the start of the buffer in
    /// this layout.
    Download { from: BufferId, value: ValueId, layout: Layout },
    /// Work on the GPU.
    Gpu { dispatches: Vec<Dispatch> },
    /// An operator that runs on the CPU, and why.
    Cpu { op: Arc<dyn Operator>, inputs: Vec<Option<ValueId>>, outputs: Vec<Option<ValueId>>, reason: String },
}

/// A step of a plan: what one node (with those fused into it) does.
#[derive(Debug, Clone)]
pub struct Step {
    pub kind: StepKind,
    /// The node's index in the planned graph; `None` for uploads and downloads.
    pub node: Option<usize>,
    /// The node's name, or the value's for a copy.
    pub label: String,
    pub op_type: String,
    /// Places that are read and written, constants included.
    pub reads: Vec<BufferId>,
    pub writes: Vec<BufferId>,
}

/// A graph input that the GPU reads: what a run binds to the buffer, whose allocation is external.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InputBinding {
    pub value: ValueId,
    pub buffer: BufferId,
}

/// A graph output that lies on the GPU when the steps have run: in its own shape, at the start of the buffer,
/// in this layout.
///
/// The buffer is external, and its memory nobody else's, or a constant; several outputs may share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputBinding {
    pub value: ValueId,
    pub buffer: BufferId,
    pub layout: Layout,
}

/// Where a node ended up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// Dispatched.
    Gpu,
    /// A view of its input: costs nothing.
    View,
    /// Computed when the plan was made, from constants, shapes and inputs needed by value.
    Plan,
    /// On the CPU at every run, and why: a fallback.
    Cpu(String),
}

impl Placement {
    pub fn name(&self) -> &'static str {
        match self {
            Placement::Gpu => "gpu",
            Placement::View => "view",
            Placement::Plan => "plan",
            Placement::Cpu(_) => "cpu",
        }
    }
}

/// A graph made concrete for one set of input shapes on one kind of device. Immutable, printable, comparable.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The graph after the rewrites that need shapes: what the steps' node indices refer to.
    pub graph: crate::graph::Graph,
    pub buffers: Vec<PlannedBuffer>,
    pub steps: Vec<Step>,
    /// The graph inputs that are bound; those that only the host needs, or that are part of the plan, aren't.
    pub inputs: Vec<InputBinding>,
    /// The graph outputs that the GPU makes.
    pub outputs: Vec<OutputBinding>,
    /// Bytes of each activation buffer.
    pub slots: Vec<u64>,
    /// The least bytes of each buffer that a run binds: those of the inputs, then those of the outputs.
    pub externals: Vec<u64>,
    pub constants: Vec<Constant>,
    /// All parameter blocks; a dispatch names its offset.
    pub params: Vec<u8>,
    /// Type, shape and, where known, elements of each value of `graph`.
    pub facts: Vec<Option<Fact>>,
    /// Where each node of `graph` ended up.
    pub placements: Vec<Placement>,
    /// Graph inputs whose elements are part of the plan.
    pub by_value: Vec<ValueId>,
    /// The storage of floats.
    pub precision: Precision,
    /// What kernels asked for, and were told.
    pub chosen: Vec<VariantDecision>,
    /// What the numbers that kernels may write into the status mean, from 1 on.
    pub reports: Vec<Report>,
}

impl Plan {
    pub fn buffer(&self, id: BufferId) -> &PlannedBuffer {
        &self.buffers[id.0 as usize]
    }
    /// Every dispatch with its step's index, in order.
    pub fn dispatches(&self) -> impl Iterator<Item = (usize, &Dispatch)> {
        self.steps.iter().enumerate().flat_map(|(index, step)| {
            let list: &[Dispatch] =
                if let StepKind::Gpu { dispatches } = &step.kind { dispatches } else { &[] };
            list.iter().map(move |dispatch| (index, dispatch))
        })
    }
    /// The nodes that run on the CPU at every run: (node, operator, reason).
    pub fn fallbacks(&self) -> Vec<(String, String, String)> {
        let reasons = self.graph.nodes.iter().zip(&self.placements);
        reasons
            .filter_map(|(node, placement)| match placement {
                Placement::Cpu(reason) => Some((node.name.clone(), node.op_type.clone(), reason.clone())),
                _ => None,
            })
            .collect()
    }
    /// Bytes of activation buffers.
    pub fn activation_bytes(&self) -> u64 {
        self.slots.iter().sum()
    }
    /// Bytes of the buffers of inputs and outputs.
    pub fn external_bytes(&self) -> u64 {
        self.externals.iter().sum()
    }
    /// The most bytes of activations that live at once: what no assignment of buffers can do without.
    pub fn live_bytes(&self) -> u64 {
        let mut lives: std::collections::BTreeMap<BufferId, Lifetime> = Default::default();
        for (index, step) in self.steps.iter().enumerate() {
            for id in step
                .reads
                .iter()
                .chain(&step.writes)
                .map(|&id| self.parent_of(id))
                .filter(|&id| matches!(self.buffer(id).allocation, Allocation::Slot(_)))
            {
                lives
                    .entry(id)
                    .or_insert(Lifetime { bytes: self.buffer(id).bytes(), first: index, last: index })
                    .last = index;
            }
        }
        live(&lives.into_values().collect::<Vec<_>>())
    }
    /// Bytes that activations would take without sharing.
    pub fn unshared_bytes(&self) -> u64 {
        self.buffers
            .iter()
            .filter(|buffer| matches!(buffer.allocation, Allocation::Slot(_)) && buffer.part.is_none())
            .map(PlannedBuffer::bytes)
            .sum()
    }
    /// Bytes of packed constants.
    pub fn constant_bytes(&self) -> u64 {
        self.constants.iter().map(|constant| constant.bytes).sum()
    }
}
