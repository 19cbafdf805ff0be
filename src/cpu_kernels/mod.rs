//! The loops that the CPU's operators stand on: matrix products over packed panels, convolutions, pools and
//! rows, on slices, knowing no operator and no graph.

pub mod byte_conv;
pub mod byte_depthwise;
pub mod byte_pool;
pub mod bytes;
pub mod conv;
pub mod depthwise;
pub mod depthwise_last;
pub mod epilogue;
pub mod extremes;
pub mod few_filters;
pub mod few_rows;
pub mod gemm;
pub mod integer;
pub mod nbits;
pub mod panels;
pub mod plane;
pub mod pool;
pub mod product;
pub mod quantize;
pub mod requantize;
pub mod resample;
pub mod rows;
pub mod tile;
