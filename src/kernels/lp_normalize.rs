//! Elements divided by the norm of their line: `shaders/lp_normalize_group.wgsl`, and
//! `shaders/lp_normalize.wgsl` for software adapters.

use super::Lowering;
use super::lines::{LINES, Lines, Params, WIDTH};
use super::reduction_group::ReductionGroup;
use super::{Kernel, Prelude, lines};
use crate::base::{Access, ElementFormat, Layout, Unsupported};

pub static LP_NORMALIZE: Kernel = Kernel {
    stem: "lp_normalize",
    shader: include_str!("../../shaders/lp_normalize.wgsl"),
    params: Params::MEMBERS,
    variants,
};
pub static LP_NORMALIZE_GROUP: Kernel = Kernel {
    stem: "lp_normalize_group",
    shader: include_str!("../../shaders/lp_normalize_group.wgsl"),
    params: Params::MEMBERS,
    variants: group_variants,
};

fn prelude(storage: ElementFormat, across: bool, squares: bool) -> Prelude {
    Prelude::new().storage(storage).flag("ACROSS", across).flag("SQUARES", squares).code(LINES)
}

fn test_variants() -> impl Iterator<Item = Prelude> {
    let all = [ElementFormat::F32, ElementFormat::F16, ElementFormat::F16Packed];
    all.into_iter().flat_map(|storage| {
        [(false, false), (true, true), (false, true)]
            .map(|(across, squares)| prelude(storage, across, squares))
    })
}

fn variants() -> Vec<Prelude> {
    test_variants().map(|sample| sample.constant("WIDTH", WIDTH)).collect()
}

fn group_variants() -> Vec<Prelude> {
    ReductionGroup::each(test_variants().map(lines::of_groups))
}

/// Emits input 0 divided by its 1-norm, or 2-norm (`squares`), along `axis`.
pub fn emit(at: &mut dyn Lowering, axis: usize, squares: bool) -> Result<(), Unsupported> {
    let storage = at.float_storage(0)?;
    let input = at.input(0, Layout::Rows4)?;
    let output = at.output(0, Layout::Rows4)?;
    if input.count() == 0 {
        return Ok(());
    }
    let lines = Lines::new(at, Layout::Rows4, &input.shape, axis, "a normalization")?;
    let prelude = prelude(storage, lines.across, squares);
    let bindings = [(input.buffer, Access::Read), (output.buffer, Access::Write)];
    if at.capabilities().software {
        return at.emit(&LP_NORMALIZE, prelude.constant("WIDTH", WIDTH), lines.params, &bindings, lines.grid);
    }
    let (group, params, grid) = lines.in_groups(&at.capabilities());
    at.emit(&LP_NORMALIZE_GROUP, lines::of_groups(prelude).reduction_group(group), params, &bindings, grid)
}
