//! What kernels, planner, operators and the CPU all speak of: element types and layouts on a device, views,
//! what an adapter can do, types and shapes, error bounds. Nothing here knows any of those.

mod bound;
mod buffer;
mod capabilities;
pub mod channels_last;
mod dialect;
mod fact;
mod mode;
mod operands;
mod packed_weights;
mod pooling;
mod reduction;
pub mod resample;
mod storage;
mod unsupported;
mod variant;
mod view;
mod window;

pub use bound::{Bound, Terms, UNIT_F16, UNIT_F32};
pub use buffer::{Access, BufferId};
pub(crate) use capabilities::within;
pub use capabilities::{Capabilities, Cooperative, Precision};
pub use dialect::{ShaderDialect, UNIFORM_TABLE};
pub use fact::Fact;
pub use mode::{EvalPrecision, held, stored_f16};
pub use operands::{Infer, Operands};
pub use packed_weights::{LANES as WEIGHT_LANES, Levels, PackedWeights, WeightLayout};
pub use pooling::Pooling;
pub use reduction::Reduction;
pub use storage::{ElementFormat, Layout};
pub use unsupported::Unsupported;
pub use variant::{TileConfiguration, bucket, candidates};
pub use view::View;
pub use window::{AutoPad, Geometry, Window};
