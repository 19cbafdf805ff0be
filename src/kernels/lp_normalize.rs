//! Elements divided by the norm of their line: `shaders/lp_normalize.wgsl`.

use super::{Access, Kernel, Prelude, folded_grid};
use crate::plan::{Layout, Lowering, Storage, Unsupported};

pub static LP_NORMALIZE: Kernel =
    Kernel { stem: "lp_normalize", shader: include_str!("../../shaders/lp_normalize.wgsl"), params_size: size_of::<Params>(), variants };

const WIDTH: u32 = 64;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    count: u32,
    per_row: u32,
    length: u32,
    columns: u32,
    outer: u32,
    step: u32,
    spare: [u32; 2],
}

fn prelude(storage: Storage, across: bool, squares: bool) -> Prelude {
    Prelude::new().storage(storage).flag("ACROSS", across).flag("SQUARES", squares).constant("WIDTH", WIDTH)
}

fn variants() -> Vec<Prelude> {
    let all = [Storage::F32, Storage::F16, Storage::F16Packed];
    all.into_iter().flat_map(|storage| [(false, false), (true, true), (false, true)].map(|(across, squares)| prelude(storage, across, squares))).collect()
}

/// Lowers input 0 divided by its 1-norm, or 2-norm (`squares`), along `axis`.
pub fn lower(at: &mut Lowering<'_>, axis: usize, squares: bool) -> Result<(), Unsupported> {
    let storage = at.float_storage(0)?;
    let input = at.input(0, Layout::Rows4)?;
    let output = at.output(0, Layout::Rows4)?;
    if input.count() == 0 {
        return Ok(());
    }
    let rank = input.shape.len();
    let inner4 = input.shape[rank - 1].div_ceil(4);
    let narrow = |value: usize| u32::try_from(value).map_err(|_| Unsupported::new("a normalization beyond 2³² elements"));
    let across = axis + 1 < rank;
    let before: usize = input.shape[..axis].iter().product();
    let (count, columns, outer, step) = if across {
        let columns = input.shape[axis + 1..rank - 1].iter().product::<usize>() * inner4;
        (before * columns, columns, columns * input.shape[axis], columns)
    } else {
        (before, 1, 1, inner4)
    };
    let grid = folded_grid((count as u64).div_ceil(WIDTH as u64), at.capabilities().max_grid);
    let params = Params {
        count: narrow(count)?,
        per_row: grid[0],
        length: narrow(input.shape[axis])?,
        columns: narrow(columns)?,
        outer: narrow(outer)?,
        step: narrow(step)?,
        spare: [0; 2],
    };
    at.emit(&LP_NORMALIZE, prelude(storage, across, squares), params, &[(input.place, Access::Read), (output.place, Access::Write)], grid)
}
