//! Rows of a table of few bits: `shaders/gather_nbits.wgsl`.

use super::Lowering;
use super::block::parameters;
use super::{Kernel, Prelude, folded_grid, indices, to_u32};
use crate::base::{Access, BufferId, ElementFormat, Unsupported, WeightLayout};

pub static GATHER_NBITS: Kernel = Kernel {
    stem: "gather_nbits",
    shader: include_str!("../../shaders/gather_nbits.wgsl"),
    params: Params::MEMBERS,
    variants,
};

parameters! {
    struct Params {
        groups: u32,
        per_row: u32,
        width4: u32,
        rows: u32,
        blocks: u32,
        lines: u32,
        spare: [u32; 2],
    }
}

const WIDTH: u32 = 64;

fn prelude(
    storage: ElementFormat,
    index: ElementFormat,
    [bits, block]: [usize; 2],
    zeros: bool,
    zero: f32,
) -> Prelude {
    indices::declare(Prelude::new().storage(storage), index, None)
        .typed("W", ElementFormat::U32)
        .constant("BITS", bits as u32)
        .constant("BLOCK", block as u32)
        .flag("ZEROS", zeros)
        .code(&format!("const ZERO: f32 = {zero:?};\n"))
        .constant("WIDTH", WIDTH)
}

fn variants() -> Vec<Prelude> {
    let mut list = vec![];
    for storage in [ElementFormat::F32, ElementFormat::F16, ElementFormat::F16Packed] {
        list.push(prelude(storage, ElementFormat::I64, [4, 32], true, 8.0));
        list.push(prelude(storage, ElementFormat::I32, [8, 16], false, 128.0));
    }
    list
}

/// Emits the rows that `indices` (dense, of this format, `count` of them) name, in rows of whole groups of 4.
/// The table's rows are the layout's columns.
pub fn emit(
    at: &mut dyn Lowering,
    layout: &WeightLayout,
    table: BufferId,
    (indices, index, count): (BufferId, ElementFormat, usize),
    storage: ElementFormat,
    output: BufferId,
) -> Result<(), Unsupported> {
    let width4 = to_u32(layout.k.div_ceil(4))?;
    let groups = to_u32(count.saturating_mul(width4 as usize))?;
    let grid = folded_grid(u64::from(groups.div_ceil(WIDTH)), at.capabilities().max_grid);
    let params = Params {
        groups,
        per_row: grid[0],
        width4,
        rows: to_u32(layout.n)?,
        blocks: to_u32(layout.blocks())?,
        lines: to_u32(layout.lines())?,
        spare: [0; 2],
    };
    let bindings = [(table, Access::Read), (indices, Access::Read), (output, Access::Write)];
    let sizes = [layout.bits, layout.block];
    at.emit(
        &GATHER_NBITS,
        prelude(storage, index, sizes, layout.zeros, layout.default_zero()),
        params,
        &bindings,
        grid,
    )
}
