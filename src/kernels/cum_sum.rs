//! Running sums along an axis: `shaders/cum_sum.wgsl`.

use super::{Access, Kernel, Prelude, folded_grid};
use crate::ops::pointwise::{Pointwise, emit, table};
use crate::plan::{Layout, Lowering, Storage, Unsupported};
use crate::tensor::DType;

pub static CUM_SUM: Kernel = Kernel { stem: "cum_sum", shader: include_str!("../../shaders/cum_sum.wgsl"), params_size: size_of::<Params>(), variants };

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

/// Which elements belong to a sum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Running {
    /// An element is left out of its own sum.
    pub exclusive: bool,
    /// From the end.
    pub reverse: bool,
}

fn prelude(dtype: DType, storage: Storage, across: bool, how: Running) -> Result<Prelude, Unsupported> {
    let add = emit("add", &Pointwise::of(&table::ADD, 2, &[]), &[dtype, dtype])?;
    let prelude = Prelude::new().movable(storage).flag("ACROSS", across).flag("EXCLUSIVE", how.exclusive).flag("REVERSE", how.reverse);
    Ok(prelude.constant("WIDTH", WIDTH).code(&add))
}

fn variants() -> Vec<Prelude> {
    let types = [
        (DType::F32, Storage::F32),
        (DType::F32, Storage::F16),
        (DType::F32, Storage::F16Packed),
        (DType::I32, Storage::I32),
        (DType::U8, Storage::I32),
        (DType::U32, Storage::U32),
        (DType::I64, Storage::I64),
    ];
    let forms = [(false, false), (true, true)];
    let each = |(dtype, storage)| forms.into_iter().flat_map(move |(across, on)| prelude(dtype, storage, across, Running { exclusive: on, reverse: !on }));
    types.into_iter().flat_map(each).collect()
}

/// Lowers the running sums of input 0 along `axis`.
pub fn lower(at: &mut Lowering<'_>, axis: usize, how: Running) -> Result<(), Unsupported> {
    let dtype = at.fact(0)?.dtype;
    let storage = at.storage(dtype)?;
    let input = at.input(0, Layout::Rows4)?;
    let output = at.output(0, Layout::Rows4)?;
    if input.count() == 0 {
        return Ok(());
    }
    let physical = Layout::Rows4.physical(&input.shape);
    let inner4 = physical.last().map_or(1, |dim| dim.1) / 4;
    let narrow = |value: usize| u32::try_from(value).map_err(|_| Unsupported::new("running sums beyond 2³² elements"));
    let across = axis + 1 < physical.len();
    let before: usize = input.shape[..axis].iter().product();
    let (count, columns, outer, step) = if across {
        let columns = input.shape[axis + 1..input.shape.len() - 1].iter().product::<usize>() * inner4;
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
    at.emit(&CUM_SUM, prelude(dtype, storage, across, how)?, params, &[(input.place, Access::Read), (output.place, Access::Write)], grid)
}
