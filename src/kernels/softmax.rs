//! Softmax and LogSoftmax along an axis: `shaders/softmax.wgsl`.

use super::lines::{Lines, Params, WIDTH};
use super::{Access, Kernel, Prelude};
use crate::ops::Fact;
use crate::plan::{Layout, Lowering, Storage, Unsupported, View};

pub static SOFTMAX: Kernel = Kernel { stem: "softmax", shader: include_str!("../../shaders/softmax.wgsl"), params_size: size_of::<Params>(), variants };

fn prelude(storage: Storage, across: bool, logarithm: bool) -> Prelude {
    Prelude::new().storage(storage).flag("ACROSS", across).flag("LOGARITHM", logarithm).constant("WIDTH", WIDTH)
}

fn variants() -> Vec<Prelude> {
    let mut list = vec![];
    for storage in [Storage::F32, Storage::F16, Storage::F16Packed] {
        list.extend([(false, false), (true, false), (false, true), (true, true)].map(|(across, logarithm)| prelude(storage, across, logarithm)));
    }
    list
}

/// Lowers a softmax of input 0 along `axis`.
pub fn lower(at: &mut Lowering<'_>, axis: usize, logarithm: bool) -> Result<(), Unsupported> {
    let storage = at.float_storage(0)?;
    let view = at.view(0)?;
    let layout = if at.layout_of(&view) == Layout::ChannelsLast4 { Layout::ChannelsLast4 } else { Layout::Rows4 };
    let input = at.in_layout(view, layout)?;
    let output = at.output(0, layout)?;
    run(at, storage, &input, &output, layout, axis, logarithm)
}

/// Lowers a softmax over whole rows of a view of input 0, whose result has another shape.
pub fn lower_rows(at: &mut Lowering<'_>, rows: View, shape: &[usize], logarithm: bool) -> Result<(), Unsupported> {
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

fn run(at: &mut Lowering<'_>, storage: Storage, input: &View, output: &View, layout: Layout, axis: usize, logarithm: bool) -> Result<(), Unsupported> {
    let lines = Lines::new(at, layout, &input.shape, axis, "softmax")?;
    at.emit(&SOFTMAX, prelude(storage, lines.across, logarithm), lines.params, &[(input.place, Access::Read), (output.place, Access::Write)], lines.grid)
}
