//! What the taps of moved windows read, as rows of a matrix: `shaders/deform_columns.wgsl`.

use super::Lowering;
use super::block::parameters;
use super::window::WindowNdParams;
use super::{Kernel, Prelude, folded_grid, to_u32};
use crate::base::{Access, BufferId, ElementFormat, Geometry, Unsupported};

pub static DEFORM_COLUMNS: Kernel = Kernel {
    stem: "deform_columns",
    shader: include_str!("../../shaders/deform_columns.wgsl"),
    params: Params::MEMBERS,
    variants,
};

parameters! {
    struct Params {
        window: WindowNdParams,
        channels: u32,
        in_group: u32,
        shared_: u32,
        area: u32,
        places: u32,
        taps: u32,
        row4: u32,
        groups: u32,
        invocations: u32,
        per_row: u32,
        spare: [u32; 2],
    }
}

const WIDTH: u32 = 64;

fn prelude(storage: ElementFormat, rank: usize, masked: bool) -> Prelude {
    Prelude::new()
        .movable(storage)
        .constant("WIDTH", WIDTH)
        .constant("RANK", rank as u32)
        .constant("CORNERS", 1 << rank)
        .flag("MASKED", masked)
}

fn variants() -> Vec<Prelude> {
    [ElementFormat::F32, ElementFormat::F16, ElementFormat::F16Packed]
        .into_iter()
        .flat_map(|storage| {
            [(2, true), (3, false), (1, false)].map(|(rank, masked)| prelude(storage, rank, masked))
        })
        .collect()
}

/// Images, their channels, the channels' groups, and how many groups have offsets of their own.
#[derive(Debug, Clone, Copy)]
pub struct Channels {
    pub images: usize,
    pub count: usize,
    pub groups: usize,
    pub offset_groups: usize,
}

/// Emits the rows of each output location and group, of whole groups of 4, from dense images, offsets and
/// perhaps a mask.
pub fn emit(
    at: &mut dyn Lowering,
    storage: ElementFormat,
    g: &Geometry,
    channels: Channels,
    [input, offsets]: [BufferId; 2],
    mask: Option<BufferId>,
    output: BufferId,
) -> Result<(), Unsupported> {
    let rank = g.input.len();
    let (Some(in_group), Some(shared)) =
        (channels.count.checked_div(channels.groups), channels.count.checked_div(channels.offset_groups))
    else {
        return Err(Unsupported::new("a convolution in no groups"));
    };
    let product = |list: &[usize]| list.iter().fold(1usize, |count, &size| count.saturating_mul(size));
    let (places, taps) = (product(&g.output), product(&g.kernel));
    let row4 = in_group.saturating_mul(taps).div_ceil(4);
    let rows = channels.images.saturating_mul(places).saturating_mul(channels.groups);
    let invocations = to_u32(rows.saturating_mul(row4))?;
    let grid = folded_grid(u64::from(invocations.div_ceil(WIDTH)), at.capabilities().max_grid);
    let params = Params {
        window: WindowNdParams::new(g)?,
        channels: to_u32(channels.count)?,
        in_group: to_u32(in_group)?,
        shared_: to_u32(shared)?,
        area: to_u32(product(&g.input))?,
        places: to_u32(places)?,
        taps: to_u32(taps)?,
        row4: to_u32(row4)?,
        groups: to_u32(channels.groups)?,
        invocations,
        per_row: grid[0],
        spare: [0; 2],
    };
    let dummy = at.dummy(storage)?;
    let bindings = [
        (input, Access::Read),
        (offsets, Access::Read),
        (mask.unwrap_or(dummy), Access::Read),
        (output, Access::Write),
    ];
    at.emit(&DEFORM_COLUMNS, prelude(storage, rank, mask.is_some()), params, &bindings, grid)
}
