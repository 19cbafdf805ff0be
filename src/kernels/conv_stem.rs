//! Convolution of few input channels, an image network's first layer: `shaders/conv_stem.wgsl`.
//!
//! In groups of 4 channels a fourth of the work on three channels would be for nothing, and every tap would
//! find its addresses anew.

use super::Lowering;
use super::block::parameters;
use super::conv::ConvSizes;
use super::epilogue::{Epilogue, EpilogueParams, OutputStage, test_variants};
use super::{Kernel, Packing, Prelude, matmul, to_u32, weights as packed};
use crate::base::{ElementFormat, Fact, Layout, Unsupported, View};
use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor};

pub static CONV_STEM: Kernel = Kernel {
    stem: "conv_stem",
    shader: include_str!("../../shaders/conv_stem.wgsl"),
    params: Params::MEMBERS,
    variants,
};

parameters! {
    struct Params {
        epilogue: EpilogueParams,
        in_c: u32,
        in_h: u32,
        in_w4: u32,
        out_h: u32,
        out_w: u32,
        out_c4: u32,
        rows: u32,
        blocks_w: u32,
        kernel_h: u32,
        stride_h: u32,
        dilation_h: u32,
        row_groups: u32,
        b_row: u32,
        offset: u32,
        opaque_zero: u32,
        count: u32,
        step: u32,
        spare: [u32; 3],
    }
}

/// What shapes the code: taps and stride along a row, output pixels of an invocation.
#[derive(Debug, Clone, Copy)]
struct Row {
    kernel: u32,
    stride: u32,
    pixels: u32,
}

impl Row {
    /// Groups of 4 inputs that the pixels reach.
    fn span4(self) -> u32 {
        ((self.pixels - 1) * self.stride + self.kernel).div_ceil(4)
    }
}

/// Whether this kernel serves the sizes.
pub fn supports(s: &ConvSizes) -> bool {
    s.groups == 1
        && s.in_c < 4
        && (2..=7).contains(&s.kernel[1])
        && (1..=4).contains(&s.stride[1])
        && s.dilation[1] == 1
}

fn prelude(storage: ElementFormat, row: Row, width: u32, panels: bool, epilogue: &Epilogue) -> Prelude {
    let base = Prelude::new()
        .storage(storage)
        .shared("input", storage, true)
        .constant("PIXELS", row.pixels)
        .constant("WIDTH", width);
    let base = base
        .constant("KERNEL", row.kernel)
        .constant("STRIDE", row.stride)
        .constant("SPAN4", row.span4())
        .constant("PARTS", row.kernel.div_ceil(4));
    epilogue.prelude(packed::prelude(base, packed::Form::panels(panels)))
}

fn variants() -> Vec<Prelude> {
    let mut list = vec![];
    for storage in [ElementFormat::F32, ElementFormat::F16, ElementFormat::F16Packed] {
        for (row, panels) in [
            (Row { kernel: 3, stride: 2, pixels: 12 }, true),
            (Row { kernel: 7, stride: 2, pixels: 8 }, false),
        ] {
            list.extend(test_variants().iter().map(|epilogue| prelude(storage, row, 16, panels, epilogue)));
        }
    }
    list
}

/// The weights' rows `[in_c · kernel rows · taps padded to 4, out_c]`, from `[out_c, in_c, h, w]` or `[out_c,
/// in_c, w]`.
fn pack(weights: &Tensor, args: &[usize]) -> Result<Tensor> {
    let [out_c, lines, taps, panels] = *args else {
        return Err(Error::internal("stem weights without arguments"));
    };
    let taps4 = taps.next_multiple_of(4);
    let source = |row: usize| (row % taps4 < taps).then(|| row / taps4 * taps + row % taps4);
    if panels != 0 {
        return packed::pick(weights, [lines * taps4, out_c], lines * taps, source);
    }
    let out4 = out_c.next_multiple_of(4);
    weights.pick([lines * taps4, out4], |index| {
        let (row, out) = (index / out4, index % out4);
        source(row).filter(|_| out < out_c).map(|start| start + out * lines * taps)
    })
}

/// The input as planes in rows of 4, its padding included: the view itself where there is none.
fn padded(at: &mut dyn Lowering, s: &ConvSizes) -> Result<View, Unsupported> {
    let view = at.view(0)?.reshaped_or(&[s.n, s.in_c, s.in_h, s.in_w], "an input")?;
    let reach = |axis: usize| {
        (if axis == 0 { s.out_h } else { s.out_w } - 1) * s.stride[axis]
            + (s.kernel[axis] - 1) * s.dilation[axis]
            + 1
    };
    let (height, width) = (reach(0).max(s.pad[0] + s.in_h), reach(1).max(s.pad[1] + s.in_w));
    if s.pad == [0, 0] && (height, width) == (s.in_h, s.in_w) {
        return at.in_layout(view, Layout::Rows4);
    }
    let whole = at.scratch(&Fact::new(DType::F32, vec![s.n, s.in_c, height, width]), Layout::Rows4)?;
    let zero = at.table("padding", Tensor::scalar(0f32).reshape([1])?)?;
    at.copy(&zero.broadcast(&whole.shape), &whole)?;
    let mut inside = View { shape: view.shape.clone(), ..whole.clone() };
    inside.offset += s.pad[0] * whole.strides[2] as usize + s.pad[1];
    at.copy(&view, &inside)?;
    Ok(whole)
}

/// Emits the convolution of the node's input 0 by its constant input 1.
pub fn emit(
    at: &mut dyn Lowering,
    storage: ElementFormat,
    s: &ConvSizes,
    stage: &OutputStage,
) -> Result<(), Unsupported> {
    let (epilogue, output) = (&stage.epilogue, stage.output);
    let capabilities = at.capabilities();
    let input = padded(at, s)?;
    let (height, width4) = (input.shape[2], input.strides[2] / 4);
    let panels = packed::panels(&capabilities);
    let (lines, taps) = (s.in_c * s.kernel[0], s.kernel[1]);
    let groups = lines * taps.div_ceil(4);
    let shape =
        if panels { packed::shape(s.out_c, groups) } else { vec![groups * 4, s.out_c.next_multiple_of(4)] };
    let weights = at.packed(
        1,
        Packing { name: "stem", args: vec![s.out_c, lines, taps, panels as usize], shape, pack },
    )?;
    let out_c4 = s.out_c.div_ceil(4);
    let width = matmul::width(&capabilities, out_c4);
    // More pixels share a load of the weights; what a row of 7 taps reaches for 12 no longer fits (16: a
    // third as fast even for 3 taps).
    let row = Row {
        kernel: to_u32(taps)?,
        stride: to_u32(s.stride[1])?,
        pixels: if taps <= 4 && panels { 12 } else { 8 },
    };
    let (rows, blocks_w) = (to_u32(s.n.saturating_mul(s.out_h))?, to_u32(s.out_w)?.div_ceil(row.pixels));
    let grid = super::folded_grid(rows as u64 * blocks_w as u64, capabilities.max_grid);
    let params = Params {
        in_c: to_u32(s.in_c)?,
        in_h: to_u32(height)?,
        in_w4: to_u32(width4 as usize)?,
        out_h: to_u32(s.out_h)?,
        out_w: to_u32(s.out_w)?,
        out_c4: to_u32(out_c4)?,
        rows,
        blocks_w,
        kernel_h: to_u32(s.kernel[0])?,
        stride_h: to_u32(s.stride[0])?,
        dilation_h: to_u32(s.dilation[0])?,
        row_groups: grid[0],
        epilogue: epilogue.params(1.0),
        b_row: if panels { packed::panel_step(groups)? } else { to_u32(out_c4)? },
        offset: output.offset,
        opaque_zero: 0,
        count: row.pixels,
        step: output.step,
        spare: [0; 3],
    };
    let bindings = stage.bindings(at, storage, [input.buffer, weights])?;
    let columns = to_u32(out_c4)?.div_ceil(width);
    at.emit(
        &CONV_STEM,
        prelude(storage, row, width, panels, epilogue),
        params,
        &bindings,
        [columns, grid[0], grid[1]],
    )
}
