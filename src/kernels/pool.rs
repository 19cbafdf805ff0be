//! Pools in two dimensions: `shaders/pool.wgsl`.

use super::Lowering;
use super::block::parameters;
use super::window::WindowParams;
use super::{Kernel, Prelude, folded_grid};
use crate::base::{Access, ElementFormat, Geometry, Layout, Pooling, Unsupported};

pub static POOL: Kernel = Kernel {
    stem: "pool",
    shader: include_str!("../../shaders/pool.wgsl"),
    params: Params::MEMBERS,
    variants,
};

parameters! {
    struct Params {
        window: WindowParams,
        in_h: u32,
        in_w: u32,
        c4: u32,
        out_h: u32,
        out_w: u32,
        groups: u32,
        per_row: u32,
        count_all: u32,
        limit: [i32; 2],
        exponent: f32,
        offset: u32,
        step: u32,
        spare: [u32; 3],
    }
}

const WIDTH: u32 = 64;

fn prelude(storage: ElementFormat, mode: u32) -> Prelude {
    Prelude::new().storage(storage).constant("WIDTH", WIDTH).constant("MODE", mode)
}

fn variants() -> Vec<Prelude> {
    [ElementFormat::F32, ElementFormat::F16, ElementFormat::F16Packed]
        .into_iter()
        .flat_map(|storage| (0..3).map(move |mode| prelude(storage, mode)))
        .collect()
}

/// Emits a pool of input 0 `[n, c, d…]` over one or two spatial axes.
pub fn emit(at: &mut dyn Lowering, geometry: &Geometry, mode: Pooling) -> Result<(), Unsupported> {
    let g = geometry.two().ok_or_else(|| Unsupported::new("a pool over three or more spatial dimensions"))?;
    let storage = at.float_storage(0)?;
    let input = at.input(0, Layout::ChannelsLast4)?;
    let output = at.target(0, Layout::ChannelsLast4)?;
    let to_u32 = |value: usize| {
        i32::try_from(value)
            .map(|value| value as u32)
            .map_err(|_| Unsupported::new("a pool beyond 2³¹ elements"))
    };
    let pair = |list: &[usize]| [list[0], list[1]];
    let c4 = input.shape[1].div_ceil(4);
    let groups = input.shape[0] * c4 * g.output[0] * g.output[1];
    let grid = folded_grid((groups as u64).div_ceil(WIDTH as u64), at.capabilities().max_grid);
    let limit = |axis: usize| to_u32(g.input[axis] + g.end[axis]).map(|value| value as i32);
    let (number, count_all, exponent) = match mode {
        Pooling::Maximum => (0, 0, 1.0),
        Pooling::Average { count_padding } => (1, count_padding as u32, 1.0),
        Pooling::Norm { p } => (2, 0, p),
    };
    let params = Params {
        in_h: to_u32(g.input[0])?,
        in_w: to_u32(g.input[1])?,
        c4: to_u32(c4)?,
        out_h: to_u32(g.output[0])?,
        out_w: to_u32(g.output[1])?,
        groups: to_u32(groups)?,
        per_row: grid[0],
        window: WindowParams::new(pair(&g.kernel), pair(&g.stride), pair(&g.begin), pair(&g.dilation))?,
        count_all,
        limit: [limit(0)?, limit(1)?],
        exponent,
        offset: output.offset,
        step: output.step,
        spare: [0; 3],
    };
    at.emit(
        &POOL,
        prelude(storage, number),
        params,
        &[(input.buffer, Access::Read), (output.buffer, Access::Write)],
        grid,
    )
}
