//! The index of an extreme along an axis: `shaders/arg_reduce.wgsl`.

use super::reduce::merged;
use super::{Access, Kernel, Prelude, folded_grid};
use crate::plan::{Layout, Lowering, Storage, Unsupported};

pub static ARG_REDUCE: Kernel =
    Kernel { stem: "arg_reduce", shader: include_str!("../../shaders/arg_reduce.wgsl"), params_size: size_of::<Params>(), variants };

const MAX_RANK: usize = 8;
const WIDTH: u32 = 64;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    groups: u32,
    per_row: u32,
    elements: u32,
    offset: u32,
    length: u32,
    step: u32,
    spare: [u32; 2],
    sizes: [u32; MAX_RANK],
    strides: [u32; MAX_RANK],
}

fn prelude(storage: Storage, rank: usize, maximum: bool, last: bool) -> Prelude {
    let sign = if maximum { ">" } else { "<" };
    let equal = if last { "=" } else { "" };
    // NaN ranks above every number.
    let nan = match (storage.is_float(), maximum, last) {
        (false, ..) => "",
        (_, true, true) => " || is_nan(x)",
        (_, true, false) => " || (is_nan(x) && !is_nan(best))",
        (_, false, true) => " || is_nan(best)",
        (_, false, false) => " || (is_nan(best) && !is_nan(x))",
    };
    // A comparison with NaN may say anything: drivers may assume that there is none.
    let numbers = match (nan.is_empty(), maximum) {
        (true, _) => "",
        (_, true) => " && !is_nan(best)",
        (_, false) => " && !is_nan(x)",
    };
    Prelude::new()
        .movable(storage)
        .constant("RANK", rank as u32)
        .constant("WIDTH", WIDTH)
        .code(&format!("fn better(x: Lane, best: Lane) -> bool {{ return (x {sign}{equal} best{numbers}){nan}; }}\n"))
}

fn variants() -> Vec<Prelude> {
    let mut list = vec![];
    for storage in [Storage::F32, Storage::F16, Storage::F16Packed, Storage::I32, Storage::U32] {
        list.extend([(true, false), (false, true), (true, true), (false, false)].map(|(maximum, last)| prelude(storage, 2, maximum, last)));
    }
    list
}

/// Lowers ArgMax, or ArgMin, of input 0 along `axis`; `last` takes the last of equal extremes.
pub fn lower(at: &mut Lowering<'_>, axis: usize, maximum: bool, last: bool) -> Result<(), Unsupported> {
    let storage = at.storage(at.fact(0)?.dtype)?;
    if storage == Storage::I64 {
        return Err(Unsupported::new("the extreme of 64-bit integers"));
    }
    let input = at.view(0)?;
    if input.count() == 0 {
        return Err(Unsupported::new("a reduction of no elements"));
    }
    let output = at.output(0, Layout::Dense)?;
    let kept = merged((0..input.shape.len()).filter(|&other| other != axis).map(|other| (input.shape[other], input.strides[other])));
    if kept.len() > MAX_RANK {
        return Err(Unsupported::new(format!("a reduction that keeps {} dimensions", kept.len())));
    }
    let narrow = |value: usize| u32::try_from(value).map_err(|_| Unsupported::new("a reduction beyond 2³² elements"));
    let elements = output.count();
    let groups = narrow(elements.div_ceil(4))?;
    let grid = folded_grid(groups.div_ceil(WIDTH) as u64, at.capabilities().max_grid);
    let mut params = Params {
        groups,
        per_row: grid[0],
        elements: narrow(elements)?,
        offset: narrow(input.offset)?,
        length: narrow(input.shape[axis])?,
        step: input.strides[axis] as i32 as u32,
        spare: [0; 2],
        sizes: [1; MAX_RANK],
        strides: [0; MAX_RANK],
    };
    for (d, dim) in kept.iter().enumerate() {
        (params.sizes[d], params.strides[d]) = (narrow(dim.0)?, dim.1 as i32 as u32);
    }
    at.emit(&ARG_REDUCE, prelude(storage, kept.len(), maximum, last), params, &[(input.place, Access::Read), (output.place, Access::Write)], grid)
}
