//! Kernels: each a Rust half here and a hand-written shader of the same stem in `shaders/`.
//!
//! The Rust half states the parameters, the variants and the grid as plain data; no wgpu is in sight. A
//! variant is a generated [`Prelude`] put before the untouched shader. ElementFormat buffers are `@group(0)`,
//! in the order of [`Dispatch::bindings`]; the parameter block is `@group(1) @binding(0)`.

pub mod arg_reduce;
pub mod attention;
pub mod block;
pub mod causal_conv;
pub mod col2im;
pub mod conv;
pub mod conv_direct;
pub mod conv_nd;
pub mod conv_stem;
pub mod conv_transpose;
pub mod copy;
pub mod cum_sum;
pub mod deform_columns;
pub(crate) mod epilogue;
mod extent;
pub mod gather;
pub mod gather_nbits;
pub mod gemm;
pub mod gemm_cooperative;
pub mod gemv;
pub mod grid_sample;
mod indices;
pub mod labelled;
pub mod linear_attention;
mod lines;
pub mod lowering;
pub mod lp_normalize;
pub mod lrn;
pub mod matmul;
pub mod matmul_integer;
pub mod moments;
pub mod nbits;
pub mod normalize;
pub mod one_hot;
pub mod pointwise;
pub mod pool;
pub mod pool_nd;
mod prelude;
pub mod recurrent;
pub mod reduce;
pub mod reduce_integer;
mod reduction_group;
pub mod resize;
pub mod roi_align;
pub mod rotary;
pub mod scatter;
pub mod softmax;
pub mod top_k;
pub mod trilu;
pub mod winograd;

mod shader;
mod target;
pub mod tensor_scatter;
pub mod variants;
mod weights;
mod window;

pub use crate::base::{Access, ShaderDialect, UNIFORM_TABLE};
pub use block::Member;
pub use extent::Extent;
pub use lowering::Lowering;
pub use prelude::{Needs, Prelude, Source, WgslFlavor};
pub use shader::{Form, Shader};
pub use target::Target;

use crate::base::{BufferId, Unsupported};
use crate::error::Result;
use crate::tensor::Tensor;

/// The most bytes that a parameter block may take: the size of the binding's window.
pub const PARAMS_WINDOW: usize = 512;

/// A kernel family: a shader and what its variants are. Two are equal whose stems are.
#[derive(Debug)]
pub struct Kernel {
    /// The stem of the shader's file and of the Rust half.
    pub stem: &'static str,
    /// The shader as written, without a prelude.
    pub shader: &'static str,
    /// The parameter block's members; a test holds the WGSL struct to them.
    pub params: &'static [Member],
    /// A prelude for each kind of variant: what the test without a device translates.
    pub variants: fn() -> Vec<Prelude>,
}

impl PartialEq for Kernel {
    fn eq(&self, other: &Self) -> bool {
        self.stem == other.stem
    }
}
impl Eq for Kernel {}
impl std::hash::Hash for Kernel {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.stem.hash(state);
    }
}

/// Every kernel family.
pub static KERNELS: &[&Kernel] = &[
    &arg_reduce::ARG_REDUCE,
    &arg_reduce::ARG_REDUCE_GROUP,
    &attention::ATTENTION,
    &attention::ATTENTION_JOIN,
    &attention::ATTENTION_KEYS,
    &attention::ATTENTION_ROWS,
    &causal_conv::CAUSAL_CONV,
    &col2im::COL2IM,
    &conv::CONV,
    &conv::DEPTHWISE,
    &conv_direct::CONV_DIRECT,
    &conv_nd::CONV_ND,
    &conv_stem::CONV_STEM,
    &conv_transpose::CONV_TRANSPOSE,
    &copy::COPY,
    &copy::COPY_TILE,
    &cum_sum::CUM_SUM,
    &deform_columns::DEFORM_COLUMNS,
    &gather::GATHER,
    &gather_nbits::GATHER_NBITS,
    &gemm::GEMM,
    &gemm_cooperative::GEMM_COOPERATIVE,
    &gemv::GEMV,
    &grid_sample::GRID_SAMPLE,
    &labelled::LABELLED,
    &linear_attention::LINEAR_ATTENTION,
    &lp_normalize::LP_NORMALIZE,
    &lp_normalize::LP_NORMALIZE_GROUP,
    &lrn::LRN,
    &matmul::MATMUL,
    &matmul_integer::MATMUL_INTEGER,
    &moments::MOMENTS,
    &moments::MOMENTS_GROUP,
    &normalize::NORMALIZE,
    &normalize::NORMALIZE_GROUP,
    &one_hot::ONE_HOT,
    &pointwise::POINTWISE,
    &pool::POOL,
    &pool_nd::POOL_ND,
    &recurrent::RECURRENT,
    &reduce::REDUCE,
    &reduce::REDUCE_GROUP,
    &reduce_integer::REDUCE_INTEGER,
    &resize::RESIZE,
    &roi_align::ROI_ALIGN,
    &rotary::ROTARY,
    &scatter::SCATTER,
    &softmax::SOFTMAX,
    &softmax::SOFTMAX_GROUP,
    &tensor_scatter::TENSOR_SCATTER,
    &top_k::TOP_K,
    &trilu::TRILU,
    &winograd::WINOGRAD_INPUT,
    &winograd::WINOGRAD_OUTPUT,
];

/// One run of one kernel: plain data.
#[derive(Debug, Clone, PartialEq)]
pub struct Dispatch {
    /// The kernel's stem.
    pub kernel: &'static str,
    /// What it runs. Equal shaders share a pipeline.
    pub shader: std::sync::Arc<Shader>,
    /// In the order of `@binding` in `@group(0)`.
    pub bindings: Vec<(BufferId, Access)>,
    /// The parameter block; a plan holds it at `params_offset`.
    pub params: Vec<u8>,
    pub params_offset: u32,
    pub grid: [u32; 3],
    /// Whether the run's status is bound, to be written, behind `bindings`.
    pub status: bool,
}

impl Dispatch {
    /// How each storage buffer of `@group(0)` is bound, in order.
    pub fn accesses(&self) -> Vec<Access> {
        self.bindings.iter().map(|binding| binding.1).chain(self.status.then_some(Access::Write)).collect()
    }
}

/// How a constant is rearranged for a kernel.
#[derive(Debug, Clone)]
pub struct Packing {
    /// With `args`, tells packings of one constant apart.
    pub name: &'static str,
    pub args: Vec<usize>,
    /// The shape of the packed tensor.
    pub shape: Vec<usize>,
    /// Makes the packed tensor, dense, of the same type, from the constant and `args`.
    pub pack: fn(&Tensor, &[usize]) -> Result<Tensor>,
}

impl PartialEq for Packing {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.args == other.args && self.shape == other.shape
    }
}

/// A size as a shader's parameter: their coordinates are int32.
fn to_u32(value: usize) -> std::result::Result<u32, Unsupported> {
    i32::try_from(value)
        .map(i32::unsigned_abs)
        .map_err(|_| Unsupported::new(format!("a size of {value}; kernels count to 2³¹")))
}

/// The same of two sizes.
fn pair(values: [usize; 2]) -> std::result::Result<[u32; 2], Unsupported> {
    Ok([to_u32(values[0])?, to_u32(values[1])?])
}

/// A grid of at least `groups` workgroups, folded into two dimensions where one is not enough. A shader that
/// uses it finds its index as `group.y * groups_per_row + group.x` and returns beyond its range.
pub fn folded_grid(groups: u64, max: u32) -> [u32; 3] {
    // No adapter says 0 that was checked; the planner refuses what it gives here then.
    let max = max.max(1);
    if groups <= max as u64 {
        return [groups as u32, 1, 1];
    }
    let rows = groups.div_ceil(max as u64);
    [groups.div_ceil(rows) as u32, u32::try_from(rows).unwrap_or(u32::MAX), 1]
}
