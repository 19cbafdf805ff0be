//! Convolution over up to 4 axes, plain or transposed, of floats or of integers: `shaders/conv_nd.wgsl`.

use super::Lowering;
use super::block::parameters;
use super::window::WindowNdParams;
use super::{Kernel, Prelude, folded_grid, to_u32};
use crate::base::{Access, BufferId, ElementFormat, Geometry, Unsupported};

pub static CONV_ND: Kernel = Kernel {
    stem: "conv_nd",
    shader: include_str!("../../shaders/conv_nd.wgsl"),
    params: Params::MEMBERS,
    variants,
};

parameters! {
    struct Params {
        window: WindowNdParams,
        in_c4: u32,
        out_c4: u32,
        pixels: u32,
        per_row: u32,
        in_group: u32,
        out_group: u32,
        out_c: u32,
        given: u32,
    }
}

const WIDTH: u32 = 64;
const HAS_BIAS: u32 = 1;
const HAS_ZERO: u32 = 2;
const HAS_ZEROS: u32 = 4;
const ONE_ZERO: u32 = 8;

fn prelude(storage: ElementFormat, transposed: bool) -> Prelude {
    Prelude::new().movable(storage).flag("TRANSPOSED", transposed).constant("WIDTH", WIDTH)
}

fn variants() -> Vec<Prelude> {
    [ElementFormat::F32, ElementFormat::F16, ElementFormat::F16Packed, ElementFormat::I32]
        .into_iter()
        .flat_map(|storage| [false, true].map(|transposed| prelude(storage, transposed)))
        .collect()
}

/// Images, channels and groups, and whether the convolution is a transposed one.
#[derive(Debug, Clone, Copy)]
pub struct Channels {
    pub images: usize,
    pub input: usize,
    pub output: usize,
    pub groups: usize,
    pub transposed: bool,
}

/// What a convolution reads: images with their channels innermost and weights `[taps, input channels of a
/// group, output channels]`, both in rows of whole groups of 4; a bias; and the zero points of images and
/// weights, that of the weights one for all or for each output channel.
#[derive(Debug, Clone, Copy, Default)]
pub struct Extras {
    pub bias: Option<BufferId>,
    pub input_zero: Option<BufferId>,
    pub weight_zeros: Option<(BufferId, bool)>,
}

/// Emits a convolution into images of the same layout.
pub fn emit(
    at: &mut dyn Lowering,
    storage: ElementFormat,
    g: &Geometry,
    channels: Channels,
    [input, weights]: [BufferId; 2],
    extras: Extras,
    output: BufferId,
) -> Result<(), Unsupported> {
    let out_c4 = channels.output.div_ceil(4);
    let pixels = g.output.iter().fold(channels.images, |count, &size| count.saturating_mul(size));
    let invocations = to_u32(pixels.saturating_mul(out_c4))?;
    let grid = folded_grid(u64::from(invocations.div_ceil(WIDTH)), at.capabilities().max_grid);
    let given = if extras.bias.is_some() { HAS_BIAS } else { 0 }
        | if extras.input_zero.is_some() { HAS_ZERO } else { 0 }
        | match extras.weight_zeros {
            Some((_, true)) => ONE_ZERO,
            Some((_, false)) => HAS_ZEROS,
            None => 0,
        };
    if channels.groups == 0 {
        return Err(Unsupported::new("a convolution in no groups"));
    }
    let params = Params {
        window: WindowNdParams::new(g)?,
        in_c4: to_u32(channels.input.div_ceil(4))?,
        out_c4: to_u32(out_c4)?,
        pixels: to_u32(pixels)?,
        per_row: grid[0],
        in_group: to_u32(channels.input / channels.groups)?,
        out_group: to_u32(channels.output / channels.groups)?,
        out_c: to_u32(channels.output)?,
        given,
    };
    let dummy = at.dummy(storage)?;
    let bindings = [
        (input, Access::Read),
        (weights, Access::Read),
        (extras.bias.unwrap_or(dummy), Access::Read),
        (extras.input_zero.unwrap_or(dummy), Access::Read),
        (extras.weight_zeros.map_or(dummy, |zeros| zeros.0), Access::Read),
        (output, Access::Write),
    ];
    at.emit(&CONV_ND, prelude(storage, channels.transposed), params, &bindings, grid)
}
