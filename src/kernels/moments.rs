//! Means and inverse deviations of rows: `shaders/moments_group.wgsl`, and `shaders/moments.wgsl` for
//! software adapters.

use super::Lowering;
use super::block::parameters;
use super::reduction_group::{Neighbours, ReductionGroup};
use super::{Kernel, Prelude, folded_grid};
use crate::base::{Access, ElementFormat, Layout, Unsupported, View};

pub static MOMENTS: Kernel = Kernel {
    stem: "moments",
    shader: include_str!("../../shaders/moments.wgsl"),
    params: Params::MEMBERS,
    variants,
};
pub static MOMENTS_GROUP: Kernel = Kernel {
    stem: "moments_group",
    shader: include_str!("../../shaders/moments_group.wgsl"),
    params: Params::MEMBERS,
    variants: group_variants,
};

const WIDTH: u32 = 64;

parameters! {
    struct Params {
        groups: u32,
        per_row: u32,
        rows: u32,
        length: u32,
        step: u32,
        epsilon: f32,
        spare: [u32; 2],
    }
}

fn prelude(input: ElementFormat, result: ElementFormat) -> Prelude {
    Prelude::new().storage(input).typed("M", result).code(include_str!("../../shaders/lib/moments.wgsl"))
}

fn test_variants() -> impl Iterator<Item = Prelude> {
    let all = [ElementFormat::F32, ElementFormat::F16, ElementFormat::F16Packed];
    all.into_iter().flat_map(move |input| all.map(|result| prelude(input, result)))
}

fn variants() -> Vec<Prelude> {
    test_variants().map(|sample| sample.constant("WIDTH", WIDTH)).collect()
}

fn group_variants() -> Vec<Prelude> {
    ReductionGroup::each(test_variants())
}

/// Emits the mean and the inverse deviation of each run of input 0 over `axis` and all behind it into
/// `results`, dense.
pub fn emit(
    at: &mut dyn Lowering,
    axis: usize,
    epsilon: f32,
    storage: ElementFormat,
    results: [&View; 2],
) -> Result<(), Unsupported> {
    let own = at.float_storage(0)?;
    let view = at.view(0)?;
    let (rows, length) = (view.shape[..axis].iter().product(), view.shape[axis..].iter().product());
    if view.count() == 0 {
        return Err(Unsupported::new("moments of no elements"));
    }
    let split = at.reshaped(view, &[rows, length], "moments of no elements")?;
    let input = at.in_layout(split, Layout::Rows4)?;
    let to_u32 =
        |value: usize| u32::try_from(value).map_err(|_| Unsupported::new("moments of 2³² elements or more"));
    let groups = to_u32(rows.div_ceil(4))?;
    let capabilities = at.capabilities();
    let group = (!capabilities.software)
        .then(|| ReductionGroup::new(&capabilities, groups as usize, length.div_ceil(4), Neighbours::Items));
    let grid = match group {
        Some(group) => group.grid(groups as usize, capabilities.max_grid),
        None => folded_grid(groups.div_ceil(WIDTH) as u64, capabilities.max_grid),
    };
    let params = Params {
        groups,
        per_row: grid[0],
        rows: to_u32(rows)?,
        length: to_u32(length)?,
        step: to_u32(length.div_ceil(4))?,
        epsilon,
        spare: [0; 2],
    };
    let bindings = [
        (input.buffer, Access::Read),
        (results[0].buffer, Access::Write),
        (results[1].buffer, Access::Write),
    ];
    match group {
        Some(group) => {
            at.emit(&MOMENTS_GROUP, prelude(own, storage).reduction_group(group), params, &bindings, grid)
        }
        None => at.emit(&MOMENTS, prelude(own, storage).constant("WIDTH", WIDTH), params, &bindings, grid),
    }
}
