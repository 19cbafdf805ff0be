//! Indices as rows that are "on" there alone: `shaders/one_hot.wgsl`.

use super::Lowering;
use super::block::parameters;
use super::{Kernel, Prelude, folded_grid};
use crate::base::{Access, ElementFormat, Unsupported, View};

pub static ONE_HOT: Kernel = Kernel {
    stem: "one_hot",
    shader: include_str!("../../shaders/one_hot.wgsl"),
    params: Params::MEMBERS,
    variants,
};

const WIDTH: u32 = 64;

parameters! {
    struct Params {
        groups: u32,
        per_row: u32,
        elements: u32,
        depth: u32,
        inner: u32,
        spare: [u32; 3],
    }
}

fn prelude(values: ElementFormat, indices: ElementFormat) -> Prelude {
    // Negative indices count from the end. An unsigned one can't be mistaken for a negative one: depths are
    // below 2³¹. Floats are truncated, as a cast to int64 does.
    let names = match indices {
        ElementFormat::I32 => "x == i32(k) || x == i32(k) - i32(p.depth)",
        ElementFormat::U32 => "x == k",
        ElementFormat::I64 => "all(x == vec2<u32>(k, 0u)) || all(x == widen64(i32(k) - i32(p.depth)))",
        _ => "trunc(x) == f32(k) || trunc(x) == f32(i32(k) - i32(p.depth))",
    };
    let code = format!("fn names(x: ILane, k: u32) -> bool {{ return {names}; }}\n");
    Prelude::new().movable(values).typed("I", indices).code(&code).constant("WIDTH", WIDTH)
}

fn variants() -> Vec<Prelude> {
    ElementFormat::ALL
        .into_iter()
        .flat_map(|values| ElementFormat::ALL.map(|indices| prelude(values, indices)))
        .collect()
}

/// Emits `output` `[outer, depth, inner]` from `indices` `[outer, inner]` and `values` `[off, on]`, all
/// dense. Storages are the values' and the indices'.
pub fn emit(
    at: &mut dyn Lowering,
    storages: [ElementFormat; 2],
    indices: &View,
    values: &View,
    [depth, inner]: [usize; 2],
    output: &View,
) -> Result<(), Unsupported> {
    if output.count() == 0 {
        return Ok(());
    }
    let to_u32 = |value: usize| {
        i32::try_from(value)
            .map(|value| value as u32)
            .map_err(|_| Unsupported::new("one-hot rows beyond 2³¹ elements"))
    };
    let elements = to_u32(output.count())?;
    let groups = elements.div_ceil(4);
    let grid = folded_grid(groups.div_ceil(WIDTH) as u64, at.capabilities().max_grid);
    let params = Params {
        groups,
        per_row: grid[0],
        elements,
        depth: to_u32(depth)?,
        inner: to_u32(inner)?,
        spare: [0; 3],
    };
    let bindings =
        [(indices.buffer, Access::Read), (values.buffer, Access::Read), (output.buffer, Access::Write)];
    at.emit(&ONE_HOT, prelude(storages[0], storages[1]), params, &bindings, grid)
}
