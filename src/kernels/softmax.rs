//! Softmax and LogSoftmax along an axis: `shaders/softmax_group.wgsl`, and `shaders/softmax.wgsl` for
//! software adapters.

use super::Lowering;
use super::lines::{LINES, Lines, Params, WIDTH};
use super::reduction_group::ReductionGroup;
use super::{Kernel, Prelude, lines};
use crate::base::{Access, ElementFormat, Fact, Layout, Unsupported, View};

pub static SOFTMAX: Kernel = Kernel {
    stem: "softmax",
    shader: include_str!("../../shaders/softmax.wgsl"),
    params: Params::MEMBERS,
    variants,
};
pub static SOFTMAX_GROUP: Kernel = Kernel {
    stem: "softmax_group",
    shader: include_str!("../../shaders/softmax_group.wgsl"),
    params: Params::MEMBERS,
    variants: group_variants,
};

fn prelude(storage: ElementFormat, across: bool, logarithm: bool) -> Prelude {
    Prelude::new().storage(storage).flag("ACROSS", across).flag("LOGARITHM", logarithm).code(LINES)
}

fn test_variants() -> impl Iterator<Item = Prelude> {
    let kinds = [(false, false), (true, false), (false, true), (true, true)];
    let all = [ElementFormat::F32, ElementFormat::F16, ElementFormat::F16Packed];
    all.into_iter()
        .flat_map(move |storage| kinds.map(|(across, logarithm)| prelude(storage, across, logarithm)))
}

fn variants() -> Vec<Prelude> {
    test_variants().map(|sample| sample.constant("WIDTH", WIDTH)).collect()
}

fn group_variants() -> Vec<Prelude> {
    ReductionGroup::each(test_variants().map(lines::of_groups))
}

/// Emits a softmax of input 0 along `axis`.
pub fn emit(at: &mut dyn Lowering, axis: usize, logarithm: bool) -> Result<(), Unsupported> {
    let storage = at.float_storage(0)?;
    let view = at.view(0)?;
    let layout =
        if at.layout_of(&view) == Layout::ChannelsLast4 { Layout::ChannelsLast4 } else { Layout::Rows4 };
    let input = at.in_layout(view, layout)?;
    let output = at.output(0, layout)?;
    run(at, storage, &input, &output, layout, axis, logarithm)
}

/// Emits a softmax over whole rows of a view of input 0, whose result has another shape.
pub fn emit_rows(
    at: &mut dyn Lowering,
    rows: View,
    shape: &[usize],
    logarithm: bool,
) -> Result<(), Unsupported> {
    let storage = at.float_storage(0)?;
    let input = at.in_layout(rows, Layout::Rows4)?;
    let fact = Fact::new(at.fact(0)?.dtype, input.shape.clone());
    let output = at.scratch(&fact, Layout::Rows4)?;
    run(at, storage, &input, &output, Layout::Rows4, 1, logarithm)?;
    let dense = at.in_layout(output, Layout::Dense)?;
    let view = dense.reshaped(shape).ok_or_else(|| Unsupported::new("an empty softmax"))?;
    at.alias(0, view);
    Ok(())
}

/// Emits a softmax along `axis` of a whole buffer into another of the same layout.
pub fn run(
    at: &mut dyn Lowering,
    storage: ElementFormat,
    input: &View,
    output: &View,
    layout: Layout,
    axis: usize,
    logarithm: bool,
) -> Result<(), Unsupported> {
    let lines = Lines::new(at, layout, &input.shape, axis, "softmax")?;
    let prelude = prelude(storage, lines.across, logarithm);
    let bindings = [(input.buffer, Access::Read), (output.buffer, Access::Write)];
    if at.capabilities().software {
        return at.emit(&SOFTMAX, prelude.constant("WIDTH", WIDTH), lines.params, &bindings, lines.grid);
    }
    let (group, params, grid) = lines.in_groups(&at.capabilities());
    at.emit(&SOFTMAX_GROUP, lines::of_groups(prelude).reduction_group(group), params, &bindings, grid)
}
