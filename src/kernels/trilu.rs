//! Triangles of matrices: `shaders/trilu.wgsl`.

use super::Lowering;
use super::block::parameters;
use super::{Kernel, Prelude, folded_grid};
use crate::base::{Access, ElementFormat, Layout, Unsupported};

pub static TRILU: Kernel = Kernel {
    stem: "trilu",
    shader: include_str!("../../shaders/trilu.wgsl"),
    params: Params::MEMBERS,
    variants,
};

const WIDTH: u32 = 64;

parameters! {
    struct Params {
        groups: u32,
        per_row: u32,
        rows: u32,
        columns: u32,
        diagonal: i32,
        spare: [u32; 3],
    }
}

fn prelude(storage: ElementFormat, upper: bool) -> Prelude {
    Prelude::new().movable(storage).flag("UPPER", upper).constant("WIDTH", WIDTH)
}

fn variants() -> Vec<Prelude> {
    ElementFormat::ALL
        .into_iter()
        .flat_map(|storage| [true, false].map(|upper| prelude(storage, upper)))
        .collect()
}

/// Emits the triangle of the matrices of input 0 above, or below, diagonal `k`, which belongs to it.
pub fn emit(at: &mut dyn Lowering, upper: bool, k: i64) -> Result<(), Unsupported> {
    let storage = at.storage(at.fact(0)?.dtype)?;
    let input = at.input(0, Layout::Dense)?;
    let output = at.output(0, Layout::Dense)?;
    let [.., rows, columns] = *input.shape else {
        return Err(Unsupported::new("a tensor that holds no matrices"));
    };
    if input.count() == 0 {
        return Ok(());
    }
    // Diagonals are told apart in 32 bits.
    let to_u32 = |value: usize| {
        i32::try_from(value)
            .map(|value| value as u32)
            .map_err(|_| Unsupported::new("matrices beyond 2³¹ elements"))
    };
    let groups = to_u32(input.count())?.div_ceil(4);
    let grid = folded_grid(groups.div_ceil(WIDTH) as u64, at.capabilities().max_grid);
    let diagonal = k.clamp(i32::MIN as i64, i32::MAX as i64) as i32;
    let params = Params {
        groups,
        per_row: grid[0],
        rows: to_u32(rows)?,
        columns: to_u32(columns)?,
        diagonal,
        spare: [0; 3],
    };
    at.emit(
        &TRILU,
        prelude(storage, upper),
        params,
        &[(input.buffer, Access::Read), (output.buffer, Access::Write)],
        grid,
    )
}
