//! Convolution, plain or transposed, in groups of any number of channels: `shaders/conv_direct.wgsl`.

use super::Lowering;
use super::block::parameters;
use super::conv::ConvSizes;
use super::epilogue::{Epilogue, EpilogueParams, OutputStage, test_variants};
use super::window::WindowParams;
use super::{Kernel, Prelude, folded_grid, to_u32};
use crate::base::{BufferId, ElementFormat, Unsupported};

pub static CONV_DIRECT: Kernel = Kernel {
    stem: "conv_direct",
    shader: include_str!("../../shaders/conv_direct.wgsl"),
    params: Params::MEMBERS,
    variants,
};

parameters! {
    struct Params {
        window: WindowParams,
        epilogue: EpilogueParams,
        in_h: u32,
        in_w: u32,
        in_c4: u32,
        out_h: u32,
        out_w: u32,
        out_c4: u32,
        pixels: u32,
        per_row: u32,
        in_group: u32,
        out_group: u32,
        out_c: u32,
        offset: u32,
        step: u32,
        spare: [u32; 3],
    }
}

const WIDTH: u32 = 64;

fn prelude(storage: ElementFormat, transposed: bool, epilogue: &Epilogue) -> Prelude {
    epilogue.prelude(Prelude::new().storage(storage).flag("TRANSPOSED", transposed).constant("WIDTH", WIDTH))
}

fn variants() -> Vec<Prelude> {
    let mut list = vec![];
    for storage in [ElementFormat::F32, ElementFormat::F16, ElementFormat::F16Packed] {
        for transposed in [false, true] {
            list.extend(test_variants().iter().map(|epilogue| prelude(storage, transposed, epilogue)));
        }
    }
    list
}

/// Emits the convolution, or the transposed one, of channels-last activations and weights `[h, w,
/// in_c/groups, out_c]` in rows of 4.
pub fn emit(
    at: &mut dyn Lowering,
    storage: ElementFormat,
    s: &ConvSizes,
    operands: [BufferId; 2],
    transposed: bool,
    stage: &OutputStage,
) -> Result<(), Unsupported> {
    let (epilogue, output) = (&stage.epilogue, stage.output);
    let (in_c4, out_c4) = (s.in_c.div_ceil(4), s.out_c.div_ceil(4));
    let pixels = s.n.saturating_mul(s.out_h).saturating_mul(s.out_w);
    let invocations = to_u32(pixels.saturating_mul(out_c4))?;
    let grid = folded_grid(invocations.div_ceil(WIDTH) as u64, at.capabilities().max_grid);
    let params = Params {
        in_h: to_u32(s.in_h)?,
        in_w: to_u32(s.in_w)?,
        in_c4: to_u32(in_c4)?,
        out_h: to_u32(s.out_h)?,
        out_w: to_u32(s.out_w)?,
        out_c4: to_u32(out_c4)?,
        pixels: to_u32(pixels)?,
        per_row: grid[0],
        window: WindowParams::new(s.kernel, s.stride, s.pad, s.dilation)?,
        in_group: to_u32(s.in_c / s.groups)?,
        out_group: to_u32(s.out_c / s.groups)?,
        out_c: to_u32(s.out_c)?,
        epilogue: epilogue.params(1.0),
        offset: output.offset,
        step: output.step,
        spare: [0; 3],
    };
    let bindings = stage.bindings(at, storage, operands)?;
    at.emit(&CONV_DIRECT, prelude(storage, transposed, epilogue), params, &bindings, grid)
}
