//! New entries of a cache, written where it lies: `shaders/tensor_scatter.wgsl`.

use super::block::parameters;
use super::{Kernel, Lowering, Prelude, folded_grid, indices, to_u32};
use crate::base::{Access, ElementFormat, Layout, Unsupported, View};
use crate::tensor::DType;

pub static TENSOR_SCATTER: Kernel = Kernel {
    stem: "tensor_scatter",
    shader: include_str!("../../shaders/tensor_scatter.wgsl"),
    params: Params::MEMBERS,
    variants,
};

const WIDTH: u32 = 64;
/// The binding of the status.
const STATUS: u32 = 3;

parameters! {
    struct Params {
        count: u32,
        per_row: u32,
        inner: u32,
        fresh: u32,
        lines: u32,
        entries: u32,
        offset: u32,
        sample_step: u32,
        line_step: u32,
        entry_step: u32,
        first_offset: u32,
        first_step: u32,
        report: u32,
        spare0: u32,
        spare1: u32,
        spare2: u32,
    }
}

fn prelude(storage: ElementFormat, index: ElementFormat, circular: bool, told: bool) -> Prelude {
    let tell = if told { "tell(p.report, 0u, widen64(place));" } else { "" };
    let beyond = format!("fn beyond(place: i32) {{ {tell} }}\n");
    indices::declare(Prelude::new().movable(storage), index, told.then_some(STATUS))
        .code(&beyond)
        .flag("CIRCULAR", circular)
        .constant("WIDTH", WIDTH)
}

fn variants() -> Vec<Prelude> {
    let modes = [(ElementFormat::I64, false, true), (ElementFormat::I32, true, false)];
    ElementFormat::ALL
        .into_iter()
        .flat_map(|storage| modes.map(|(index, circular, told)| prelude(storage, index, circular, told)))
        .collect()
}

/// What is written, and where.
pub struct Given {
    /// `[samples, …, entries, …]`, dense: what is written into.
    pub cache: View,
    /// `[samples, …, new entries, …]`, of the same type.
    pub update: View,
    pub dtype: DType,
    /// The first entry of each sample, `[samples]`.
    pub first: View,
    /// int32 or int64.
    pub index_type: DType,
    /// The axis of the entries.
    pub axis: usize,
    /// Whether entries behind the last go on at the first; else they are told of.
    pub circular: bool,
    /// The number by which an entry outside is told of, where one may be.
    pub report: Option<u32>,
}

/// Whether the kernel writes into such a cache: dense, its entries whole groups of 4 elements.
pub fn takes(cache: &View, axis: usize) -> bool {
    let inner: usize = cache.shape.iter().skip(axis + 1).product();
    cache.is(Layout::Dense) && cache.offset == 0 && cache.count() > 0 && inner.is_multiple_of(4)
}

/// Emits the writing of new entries into a cache that the kernel [`takes`].
pub fn emit(at: &mut dyn Lowering, given: Given) -> Result<(), Unsupported> {
    let Given { cache, update, dtype, first, index_type, axis, circular, report } = given;
    let storages = [at.storage(dtype)?, at.storage(index_type)?];
    let of = |shape: &[usize]| -> [usize; 4] {
        let lines = shape.iter().take(axis).skip(1).product();
        [shape[0], lines, shape[axis], shape.iter().skip(axis + 1).product()]
    };
    let shape = of(&update.shape);
    let lines_of = |view: &View| {
        let view = view.reshaped(&shape)?;
        let groups = |at: usize| shape[at] <= 1 || view.strides[at] % 4 == 0;
        let whole = view.strides[3] == 1 && view.offset.is_multiple_of(4) && (0..3).all(groups);
        whole.then_some(view)
    };
    let update = match lines_of(&update) {
        Some(view) => view,
        None => {
            let dense = at.in_layout(update, Layout::Dense)?;
            lines_of(&dense).ok_or_else(|| Unsupported::new("an update that has no lines"))?
        }
    };
    let group = |at: usize| match shape[at] {
        0 | 1 => Ok(0),
        _ => usize::try_from(update.strides[at] / 4).map_err(|_| Unsupported::new("a reversed update")),
    };
    let count = to_u32(update.count() / 4)?;
    let grid = folded_grid(count.div_ceil(WIDTH) as u64, at.capabilities().max_grid);
    let first_step = usize::try_from(first.strides[0]).map_err(|_| Unsupported::new("reversed indices"))?;
    let params = Params {
        count,
        per_row: grid[0],
        inner: to_u32(shape[3] / 4)?,
        fresh: to_u32(shape[2])?,
        lines: to_u32(shape[1])?,
        entries: to_u32(cache.shape[axis])?,
        offset: to_u32(update.offset / 4)?,
        sample_step: to_u32(group(0)?)?,
        line_step: to_u32(group(1)?)?,
        entry_step: to_u32(group(2)?)?,
        first_offset: to_u32(first.offset)?,
        first_step: to_u32(first_step)?,
        report: report.unwrap_or(0),
        spare0: 0,
        spare1: 0,
        spare2: 0,
    };
    let bindings =
        [(update.buffer, Access::Read), (first.buffer, Access::Read), (cache.buffer, Access::Write)];
    let prelude = prelude(storages[0], storages[1], circular, report.is_some());
    at.emit(&TENSOR_SCATTER, prelude, params, &bindings, grid)
}
