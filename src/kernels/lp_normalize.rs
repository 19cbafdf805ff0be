//! Elements divided by the norm of their line: `shaders/lp_normalize.wgsl`.

use super::lines::{Lines, Params, WIDTH};
use super::{Access, Kernel, Prelude};
use crate::plan::{Layout, Lowering, Storage, Unsupported};

pub static LP_NORMALIZE: Kernel =
    Kernel { stem: "lp_normalize", shader: include_str!("../../shaders/lp_normalize.wgsl"), params_size: size_of::<Params>(), variants };

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
    let lines = Lines::new(at, Layout::Rows4, &input.shape, axis, "a normalization")?;
    at.emit(&LP_NORMALIZE, prelude(storage, lines.across, squares), lines.params, &[(input.place, Access::Read), (output.place, Access::Write)], lines.grid)
}
