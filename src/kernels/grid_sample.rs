//! An input read at the locations of a grid: `shaders/grid_sample.wgsl`.

use super::Lowering;
use super::block::parameters;
use super::{Kernel, Prelude, folded_grid, to_u32};
use crate::base::{Access, ElementFormat, Layout, Unsupported};

pub static GRID_SAMPLE: Kernel = Kernel {
    stem: "grid_sample",
    shader: include_str!("../../shaders/grid_sample.wgsl"),
    params: Params::MEMBERS,
    variants,
};

parameters! {
    struct Params {
        sizes: [u32; 4],
        c4: u32,
        places: u32,
        groups: u32,
        per_row: u32,
    }
}

const WIDTH: u32 = 64;
/// The most spatial axes.
const MAX_RANK: usize = 3;

/// What lies outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    Zeros,
    Border,
    Reflection,
}

/// How a location is read: the elements along an axis (1: the nearest, 2: linear, 4: cubic), what lies
/// outside, and whether −1 and 1 are the centres of the outermost elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampling {
    pub taps: u32,
    pub padding: Padding,
    pub corners: bool,
}

const OF_FLOATS: &str = "\
fn numbers(g: Stored4) -> vec4<f32> { return lanes4(g); }
fn group_of(v: vec4<f32>) -> Stored4 { return pack4(v.x, v.y, v.z, v.w); }
";
/// What is no float is moved alone.
const OF_OTHERS: &str = "\
fn numbers(g: Stored4) -> vec4<f32> { return vec4(0.0); }
fn group_of(v: vec4<f32>) -> Stored4 { return pack4(Lane(), Lane(), Lane(), Lane()); }
";

fn prelude(data: ElementFormat, grid: ElementFormat, rank: usize, how: Sampling) -> Prelude {
    Prelude::new()
        .movable(data)
        .typed("G", grid)
        .constant("WIDTH", WIDTH)
        .constant("RANK", rank as u32)
        .constant("TAPS", how.taps)
        .constant("COMBINATIONS", how.taps.pow(rank as u32))
        .constant("PADDING", how.padding as u32)
        .flag("CORNERS", how.corners)
        .code(if data.is_float() { OF_FLOATS } else { OF_OTHERS })
}

fn variants() -> Vec<Prelude> {
    use ElementFormat::{F16, F16Packed, F32, I32, I64, U32};
    let paddings = [Padding::Zeros, Padding::Border, Padding::Reflection];
    let mut list = vec![];
    for storage in [F32, F16, F16Packed] {
        for (taps, (padding, rank)) in [1, 2, 4].into_iter().zip(paddings.into_iter().zip([2, 3, 1])) {
            let how = Sampling { taps, padding, corners: taps == 2 };
            list.push(prelude(storage, storage, rank, how));
        }
    }
    for storage in [I32, U32, I64] {
        let how = Sampling { taps: 1, padding: Padding::Reflection, corners: true };
        list.push(prelude(storage, F32, 2, how));
    }
    list
}

/// Emits input 0 `[n, c, d…]` read at the grid of input 1 `[n, o…, axes]`.
pub fn emit(at: &mut dyn Lowering, how: Sampling) -> Result<(), Unsupported> {
    let (data, grid_storage) = (at.storage(at.fact(0)?.dtype)?, at.storage(at.fact(1)?.dtype)?);
    if !grid_storage.is_float() || !data.is_float() && how.taps > 1 {
        return Err(Unsupported::new(format!("an interpolation of {}", at.fact(0)?.dtype)));
    }
    let rank = at.fact(0)?.rank().saturating_sub(2);
    if rank == 0 || rank > MAX_RANK {
        return Err(Unsupported::new(format!("a grid over {rank} axes")));
    }
    let input = at.input(0, Layout::ChannelsLast4)?;
    let grid = at.input(1, Layout::Dense)?;
    let output = at.output(0, Layout::ChannelsLast4)?;
    if output.count() == 0 {
        return Ok(());
    }
    if input.count() == 0 {
        return Err(Unsupported::new("locations in an input without elements"));
    }
    let c4 = output.shape[1].div_ceil(4);
    let places: usize = output.shape[2..].iter().product();
    let groups = to_u32(output.shape[0].saturating_mul(places).saturating_mul(c4))?;
    let mut sizes = [1; 4];
    for (to, &size) in sizes.iter_mut().zip(&input.shape[2..]) {
        *to = to_u32(size)?;
    }
    let dispatch = folded_grid(u64::from(groups.div_ceil(WIDTH)), at.capabilities().max_grid);
    let params = Params { sizes, c4: to_u32(c4)?, places: to_u32(places)?, groups, per_row: dispatch[0] };
    let bindings =
        [(input.buffer, Access::Read), (grid.buffer, Access::Read), (output.buffer, Access::Write)];
    at.emit(&GRID_SAMPLE, prelude(data, grid_storage, rank, how), params, &bindings, dispatch)
}
