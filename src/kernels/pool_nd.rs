//! Pools over up to 4 axes, of any type, with the places of maxima: `shaders/pool_nd.wgsl`.

use super::Lowering;
use super::block::parameters;
use super::window::{AXES, WindowNdParams, axes};
use super::{Kernel, Prelude, folded_grid, to_u32};
use crate::base::{Access, ElementFormat, Geometry, Layout, Pooling, Unsupported};

pub static POOL_ND: Kernel = Kernel {
    stem: "pool_nd",
    shader: include_str!("../../shaders/pool_nd.wgsl"),
    params: Params::MEMBERS,
    variants,
};

parameters! {
    struct Params {
        window: WindowNdParams,
        limit: [u32; AXES],
        scale: [u32; AXES],
        c: u32,
        c4: u32,
        groups: u32,
        per_row: u32,
        area: u32,
        count_all: u32,
        exponent: f32,
        spare: u32,
    }
}

const WIDTH: u32 = 64;

const OF_FLOATS: &str = "\
fn nan4(v: vec4<f32>) -> vec4<bool> { return is_nan4(v); }
fn norm4(v: vec4<f32>, y: f32) -> vec4<f32> {
    return vec4(pow_(v.x, y), pow_(v.y, y), pow_(v.z, y), pow_(v.w, y));
}
";
/// Integers have a maximum alone.
const OF_INTEGERS: &str = "\
fn nan4(v: vec4<Lane>) -> vec4<bool> { return vec4(false); }
fn norm4(v: vec4<Lane>, y: f32) -> vec4<Lane> { return v; }
";
const PLACES: &str = "\
@group(0) @binding(2) var<storage, read_write> places: array<PStored4>;
fn note(at: u32, v: vec4<u32>) {
    places[at] = Ppack4(vec2(v.x, 0u), vec2(v.y, 0u), vec2(v.z, 0u), vec2(v.w, 0u));
}
";
const NO_PLACES: &str = "fn note(at: u32, v: vec4<u32>) {}\n";

fn prelude(storage: ElementFormat, mode: u32, places: bool) -> Prelude {
    let base = Prelude::new().movable(storage).constant("WIDTH", WIDTH).constant("MODE", mode);
    let base = base.code(if storage.is_float() { OF_FLOATS } else { OF_INTEGERS });
    if places { base.typed("P", ElementFormat::I64).code(PLACES) } else { base.code(NO_PLACES) }
}

fn variants() -> Vec<Prelude> {
    let mut list = vec![];
    for storage in [ElementFormat::F32, ElementFormat::F16, ElementFormat::F16Packed] {
        list.extend((0..3).map(|mode| prelude(storage, mode, false)));
        list.push(prelude(storage, 0, true));
    }
    for storage in [ElementFormat::I32, ElementFormat::U32] {
        list.extend([true, false].map(|places| prelude(storage, 0, places)));
    }
    list
}

/// Emits a pool of input 0 `[n, c, d…]`; `places`: output 1 is where each maximum lies in the input, the axes
/// of a plane counted from the last, or from the first (`column_major`).
pub fn emit(
    at: &mut dyn Lowering,
    g: &Geometry,
    mode: Pooling,
    places: bool,
    column_major: bool,
) -> Result<(), Unsupported> {
    let storage = at.storage(at.fact(0)?.dtype)?;
    if !(storage.is_float() || mode == Pooling::Maximum) || storage == ElementFormat::I64 {
        return Err(Unsupported::new(format!("a pool of {}", at.fact(0)?.dtype)));
    }
    let input = at.input(0, Layout::ChannelsLast4)?;
    let output = at.output(0, Layout::ChannelsLast4)?;
    let indices = if places { Some(at.output(1, Layout::ChannelsLast4)?) } else { None };
    // Places are counted in 32 bits.
    to_u32(input.count())?;
    let c4 = input.shape[1].div_ceil(4);
    let groups =
        g.output.iter().fold(input.shape[0].saturating_mul(c4), |count, &size| count.saturating_mul(size));
    let groups = to_u32(groups)?;
    let grid = folded_grid(u64::from(groups.div_ceil(WIDTH)), at.capabilities().max_grid);
    let mut scale = vec![1; g.input.len()];
    let mut size = 1usize;
    let mut inner_first: Vec<usize> = (0..g.input.len()).rev().collect();
    if column_major {
        inner_first.reverse();
    }
    for axis in inner_first {
        scale[axis] = size;
        size = size.saturating_mul(g.input[axis]);
    }
    let limit: Vec<usize> = (0..g.input.len())
        .map(|axis| g.begin[axis].saturating_add(g.input[axis]).saturating_add(g.end[axis]))
        .collect();
    let (number, count_all, exponent) = match mode {
        Pooling::Maximum => (0, 0, 1.0),
        Pooling::Average { count_padding } => (1, u32::from(count_padding), 1.0),
        Pooling::Norm { p } => (2, 0, p),
    };
    let params = Params {
        window: WindowNdParams::new(g)?,
        limit: axes(&limit, 1)?,
        scale: axes(&scale, 0)?,
        c: to_u32(input.shape[1])?,
        c4: to_u32(c4)?,
        groups,
        per_row: grid[0],
        area: to_u32(size)?,
        count_all,
        exponent,
        spare: 0,
    };
    let mut bindings = vec![(input.buffer, Access::Read), (output.buffer, Access::Write)];
    bindings.extend(indices.map(|view| (view.buffer, Access::Write)));
    at.emit(&POOL_ND, prelude(storage, number, places), params, &bindings, grid)
}
