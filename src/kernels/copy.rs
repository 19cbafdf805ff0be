//! Copies, of any view into any box of a buffer: `shaders/copy.wgsl`, and `shaders/copy_tile.wgsl` where
//! hardware turns two axes.

use super::block::parameters;
use super::lowering::Emitter;
use super::{Kernel, Prelude, folded_grid};
use crate::base::{Access, ElementFormat, Layout, Unsupported, View};

pub static COPY: Kernel = Kernel {
    stem: "copy",
    shader: include_str!("../../shaders/copy.wgsl"),
    params: Params::MEMBERS,
    variants,
};
pub static COPY_TILE: Kernel = Kernel {
    stem: "copy_tile",
    shader: include_str!("../../shaders/copy_tile.wgsl"),
    params: TileParams::MEMBERS,
    variants: tile_variants,
};

const MAX_RANK: usize = 8;
const WIDTH: u32 = 64;

parameters! {
    struct Params {
        groups: u32,
        per_row: u32,
        row_groups: u32,
        lead: u32,
        inner: u32,
        target_offset: u32,
        source_offset: u32,
        source_inner: u32,
        sizes: [u32; MAX_RANK],
        target_strides: [u32; MAX_RANK],
        source_strides: [u32; MAX_RANK],
    }
}

parameters! {
    struct TileParams {
        tiles: u32,
        per_row: u32,
        along: u32,
        down: u32,
        inner: u32,
        target_offset: u32,
        source_offset: u32,
        source_inner: u32,
        rows: u32,
        row_step: u32,
        spare: [u32; 2],
        sizes: [u32; MAX_RANK],
        target_strides: [u32; MAX_RANK],
        source_strides: [u32; MAX_RANK],
    }
}

/// Elements of a tile's side, and the fewest of either axis that are worth a tile.
const SIDE: u32 = 32;
const LEAST: usize = 16;
/// A workgroup stores a tile in one go, a group of 4 an invocation.
const TILE_WIDTH: u32 = SIDE * SIDE / 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arrangement {
    /// The target is dense and its rows don't fill groups.
    Dense,
    /// Rows of groups of 4; some lanes of a row's first or last group are another's.
    Partial,
    /// Rows of groups of 4, all the box's own.
    Rows,
    /// The same, and the source's groups are the target's.
    Whole,
}

fn prelude(storage: ElementFormat, rank: usize, arrangement: Arrangement) -> Prelude {
    Prelude::new()
        .movable(storage)
        .constant("RANK", rank as u32)
        .constant("WIDTH", WIDTH)
        .flag("DENSE", arrangement == Arrangement::Dense)
        .flag("ROWS_ALIGNED", arrangement != Arrangement::Partial)
        .flag("WHOLE_GROUPS", arrangement == Arrangement::Whole)
}

fn variants() -> Vec<Prelude> {
    let mut list = vec![];
    for storage in ElementFormat::ALL {
        list.extend(
            [Arrangement::Dense, Arrangement::Partial, Arrangement::Rows, Arrangement::Whole]
                .map(|arrangement| prelude(storage, 2, arrangement)),
        );
    }
    list
}

fn tile_prelude(storage: ElementFormat, rank: usize) -> Prelude {
    Prelude::new()
        .movable(storage)
        .constant("RANK", rank as u32)
        .constant("SIDE", SIDE)
        .constant("WIDTH", TILE_WIDTH)
}

fn tile_variants() -> Vec<Prelude> {
    ElementFormat::ALL
        .into_iter()
        .flat_map(|storage| [0, 2].map(|rank| tile_prelude(storage, rank)))
        .collect()
}

/// Copies `from` into the box `to`, a view into a buffer whose layout makes its innermost axis contiguous. A
/// box that is not the whole buffer must lie in a padded layout, so that no two of its rows share a group.
pub(crate) fn emit(at: &mut dyn Emitter, from: &View, to: &View) -> Result<(), Unsupported> {
    let storage = at.contents(to.buffer).storage;
    if at.contents(from.buffer).storage != storage {
        return Err(Unsupported::new("a copy between storage types"));
    }
    emit_as(at, storage, from, to)
}

/// The same between buffers whose elements take as many bits: these are copied, whatever they mean.
pub(crate) fn emit_bits(at: &mut dyn Emitter, from: &View, to: &View) -> Result<(), Unsupported> {
    let bytes = [from, to].map(|view| at.contents(view.buffer).storage.element_bytes());
    match bytes {
        [4, 4] => emit_as(at, ElementFormat::U32, from, to),
        [8, 8] => emit_as(at, ElementFormat::I64, from, to),
        [from, to] => Err(Unsupported::new(format!("the bits of elements held in {from} bytes as of {to}"))),
    }
}

fn emit_as(at: &mut dyn Emitter, storage: ElementFormat, from: &View, to: &View) -> Result<(), Unsupported> {
    let buffer = at.contents(to.buffer);
    let count = to.count();
    if count == 0 {
        return Ok(());
    }
    let whole = to.shape == buffer.shape && to.is(buffer.layout);
    // Axes from the outermost to the innermost of the target's buffer.
    let mut order: Vec<usize> = buffer.layout.physical(&to.shape).iter().map(|dim| dim.0).collect();
    if to.shape.is_empty() {
        order.clear();
    }
    let mut dims: Vec<(usize, isize, isize)> =
        order.iter().map(|&axis| (to.shape[axis], to.strides[axis], from.strides[axis])).collect();
    let inner_axis = dims.pop().unwrap_or((1, 1, 0));
    let inner_aligned =
        buffer.layout != Layout::Dense || buffer.shape.last().is_none_or(|size| size % 4 == 0);
    let mut outer: Vec<(usize, isize, isize)> = vec![];
    for dim in dims.into_iter().filter(|dim| dim.0 != 1) {
        match outer.last_mut() {
            Some(last) if last.1 == dim.1 * dim.0 as isize && last.2 == dim.2 * dim.0 as isize => {
                *last = (last.0 * dim.0, dim.1, dim.2)
            }
            _ => outer.push(dim),
        }
    }
    let to_u32 =
        |value: usize| u32::try_from(value).map_err(|_| Unsupported::new("a copy beyond 2³² elements"));
    let wrap = |value: isize| value as i32 as u32;
    let mut params = Params {
        groups: 0,
        per_row: 0,
        row_groups: 1,
        lead: 0,
        inner: 0,
        target_offset: 0,
        source_offset: to_u32(from.offset)?,
        source_inner: wrap(inner_axis.2),
        sizes: [1; MAX_RANK],
        target_strides: [0; MAX_RANK],
        source_strides: [0; MAX_RANK],
    };
    let (arrangement, rank) = if !inner_aligned {
        if !whole {
            return Err(Unsupported::new(
                "a copy into a part of a dense tensor whose rows are not whole groups of 4",
            ));
        }
        outer.push(inner_axis);
        params.inner = to_u32(count)?;
        params.groups = to_u32(count.div_ceil(4))?;
        (Arrangement::Dense, outer.len())
    } else {
        // A box that reaches the end of the axis owns the padding behind it.
        let lead = to.offset % 4;
        let full_inner = buffer.layout.inner(&buffer.shape);
        let start_inner =
            buffer.layout.physical(&buffer.shape).last().map_or(0, |(_, padded)| to.offset % padded.max(&1));
        let owns_end = (lead + inner_axis.0).is_multiple_of(4) || start_inner + inner_axis.0 == full_inner;
        let row_groups = (lead + inner_axis.0).div_ceil(4);
        let aligned =
            from.offset.is_multiple_of(4) && outer.iter().all(|dim| dim.2 % 4 == 0) && inner_axis.2 == 1;
        let mine = lead == 0 && owns_end;
        // Whole groups carry the source's lanes into the padding; any value may lie there.
        let arrangement = if mine && aligned {
            Arrangement::Whole
        } else if mine {
            Arrangement::Rows
        } else {
            Arrangement::Partial
        };
        params.row_groups = to_u32(row_groups)?;
        params.lead = to_u32(lead)?;
        params.inner = to_u32(inner_axis.0)?;
        params.target_offset = to_u32(to.offset - lead)?;
        params.groups = to_u32(outer.iter().map(|dim| dim.0).product::<usize>() * row_groups)?;
        (arrangement, outer.len())
    };
    if rank > MAX_RANK {
        return Err(Unsupported::new(format!("a copy over {rank} dimensions")));
    }
    let capabilities = at.capabilities();
    let tiled = arrangement == Arrangement::Rows
        && !capabilities.software
        && capabilities.max_invocations >= TILE_WIDTH
        && inner_axis.0 >= LEAST;
    if tiled && let Some(turned) = outer.iter().position(|dim| dim.2 == 1 && dim.0 >= LEAST && dim.1 % 4 == 0)
    {
        let max_grid = capabilities.max_grid;
        let row = outer.remove(turned);
        let (along, down) = (inner_axis.0.div_ceil(SIDE as usize), row.0.div_ceil(SIDE as usize));
        let tiles = outer.iter().fold(along.saturating_mul(down), |count, dim| count.saturating_mul(dim.0));
        let grid = folded_grid(tiles as u64, max_grid);
        let mut tile = TileParams {
            tiles: to_u32(tiles)?,
            per_row: grid[0],
            along: to_u32(along)?,
            down: to_u32(down)?,
            inner: params.inner,
            target_offset: params.target_offset,
            source_offset: params.source_offset,
            source_inner: params.source_inner,
            rows: to_u32(row.0)?,
            row_step: wrap(row.1),
            spare: [0; 2],
            sizes: [1; MAX_RANK],
            target_strides: [0; MAX_RANK],
            source_strides: [0; MAX_RANK],
        };
        for (d, dim) in outer.iter().enumerate() {
            (tile.sizes[d], tile.target_strides[d], tile.source_strides[d]) =
                (to_u32(dim.0)?, wrap(dim.1), wrap(dim.2));
        }
        let bindings = [(from.buffer, Access::Read), (to.buffer, Access::Write)];
        return at.emit(&COPY_TILE, tile_prelude(storage, outer.len()), tile, &bindings, grid);
    }
    for (d, dim) in outer.iter().enumerate() {
        params.sizes[d] = to_u32(dim.0)?;
        params.target_strides[d] = wrap(dim.1);
        params.source_strides[d] = wrap(dim.2);
    }
    let grid = folded_grid(params.groups.div_ceil(WIDTH) as u64, at.capabilities().max_grid);
    params.per_row = grid[0];
    at.emit(
        &COPY,
        prelude(storage, rank, arrangement),
        params,
        &[(from.buffer, Access::Read), (to.buffer, Access::Write)],
        grid,
    )
}
