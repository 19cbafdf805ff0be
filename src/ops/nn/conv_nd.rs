//! Convolutions over three axes and more on the GPU, plain and transposed, of floats and of integers: what their
//! operators share.

use crate::base::{BufferId, Geometry, Layout, Unsupported};
use crate::expression::Pointwise;
use crate::kernels::conv_nd::{Channels, Extras, emit};
use crate::kernels::{Lowering, pointwise};
use crate::ops::EPILOGUE_OPERANDS;

/// Weights `[m, c, k…]` as the kernel reads them, in a tensor of any type.
pub fn weights(at: &mut dyn Lowering, index: usize) -> Result<BufferId, Unsupported> {
    let w = at.view(index)?;
    let order: Vec<usize> = (2..w.shape.len()).chain([1, 0]).collect();
    Ok(at.in_layout(w.permuted(&order), Layout::Rows4)?.buffer)
}

/// Emits a convolution over three axes and more, of weights `[taps, input channels of a group, output
/// channels]` in rows of 4: the sums with their bias, then whatever the epilogue is.
pub fn lower(
    at: &mut dyn Lowering,
    geometry: &Geometry,
    channels: Channels,
    weights: BufferId,
    epilogue: &Pointwise,
) -> Result<(), Unsupported> {
    let storage = at.float_storage(0)?;
    let bias = at.optional_input(2, Layout::Dense)?.map(|view| view.buffer);
    let operands = [at.input(0, Layout::ChannelsLast4)?.buffer, weights];
    let extras = Extras { bias, ..Extras::default() };
    let (made, layout) = (at.output_fact(0)?.clone(), Layout::ChannelsLast4);
    if epilogue.is_identity() {
        let output = at.output(0, layout)?.buffer;
        return emit(at, storage, geometry, channels, operands, extras, output);
    }
    let sums = at.scratch(&made, layout)?;
    emit(at, storage, geometry, channels, operands, extras, sums.buffer)?;
    let mut views = vec![(sums, made.dtype)];
    for index in EPILOGUE_OPERANDS..EPILOGUE_OPERANDS + epilogue.operands - 1 {
        views.push((at.view(index)?, at.fact(index)?.dtype));
    }
    pointwise::emit_output(at, epilogue, &views, 0, layout)
}
