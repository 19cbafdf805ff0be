//! Blocks of columns added up into an image: `shaders/col2im.wgsl`.

use super::Lowering;
use super::block::parameters;
use super::{Kernel, Prelude, folded_grid, to_u32};
use crate::base::{Access, ElementFormat, Geometry, Layout, Unsupported};
use crate::expression::{Pointwise, table, to_wgsl};
use crate::tensor::DType;

pub static COL2IM: Kernel = Kernel {
    stem: "col2im",
    shader: include_str!("../../shaders/col2im.wgsl"),
    params: Params::MEMBERS,
    variants,
};

const MAX_RANK: usize = 4;
const WIDTH: u32 = 64;

parameters! {
    struct Params {
        groups: u32,
        per_row: u32,
        elements: u32,
        area: u32,
        taps: u32,
        columns: u32,
        spare: [u32; 2],
        sizes: [u32; MAX_RANK],
        kernel: [u32; MAX_RANK],
        blocks: [u32; MAX_RANK],
        stride: [u32; MAX_RANK],
        pad: [u32; MAX_RANK],
        dilation: [u32; MAX_RANK],
    }
}

fn prelude(dtype: DType, storage: ElementFormat, rank: usize) -> Result<Prelude, Unsupported> {
    let join = to_wgsl("join", &Pointwise::of(&table::ADD, 2, &[]), &[dtype, dtype])?;
    let prelude = Prelude::new().movable(storage).constant("RANK", rank as u32).constant("WIDTH", WIDTH);
    Ok(prelude.code(&join))
}

fn variants() -> Vec<Prelude> {
    let types = [
        (DType::F32, ElementFormat::F32),
        (DType::F32, ElementFormat::F16),
        (DType::F32, ElementFormat::F16Packed),
        (DType::I8, ElementFormat::I32),
        (DType::U32, ElementFormat::U32),
        (DType::I64, ElementFormat::I64),
    ];
    types.into_iter().flat_map(|(dtype, storage)| prelude(dtype, storage, 2)).collect()
}

/// Emits output 0, `[n, c, d…]`, of the columns of input 0, `[n, c · taps, blocks]`: `geometry` is that of
/// the windows on the image.
pub fn emit(at: &mut dyn Lowering, geometry: &Geometry) -> Result<(), Unsupported> {
    let dtype = at.fact(0)?.dtype;
    let storage = at.storage(dtype)?;
    let rank = geometry.input.len();
    if rank > MAX_RANK {
        return Err(Unsupported::new(format!("an image of {rank} dimensions")));
    }
    let input = at.input(0, Layout::Dense)?;
    let output = at.output(0, Layout::Dense)?;
    let elements = output.count();
    let list = |sizes: &[usize]| -> Result<[u32; MAX_RANK], Unsupported> {
        let mut list = [1; MAX_RANK];
        for (to, &size) in list.iter_mut().zip(sizes) {
            *to = to_u32(size)?;
        }
        Ok(list)
    };
    // What a tap reaches is added to a place of the padded image: both keep within 2³¹.
    for axis in 0..rank {
        let reach = (geometry.kernel[axis]).checked_mul(geometry.dilation[axis]);
        to_u32(reach.unwrap_or(usize::MAX))?;
        to_u32(geometry.input[axis].saturating_add(geometry.begin[axis]))?;
    }
    let groups = elements.div_ceil(4);
    let grid = folded_grid((groups as u64).div_ceil(WIDTH as u64), at.capabilities().max_grid);
    let params = Params {
        groups: to_u32(groups)?,
        per_row: grid[0],
        elements: to_u32(elements)?,
        area: to_u32(geometry.input.iter().product())?,
        taps: to_u32(geometry.kernel.iter().product())?,
        columns: to_u32(geometry.output.iter().product())?,
        spare: [0; 2],
        sizes: list(&geometry.input)?,
        kernel: list(&geometry.kernel)?,
        blocks: list(&geometry.output)?,
        stride: list(&geometry.stride)?,
        pad: list(&geometry.begin)?,
        dilation: list(&geometry.dilation)?,
    };
    let bindings = [(input.buffer, Access::Read), (output.buffer, Access::Write)];
    at.emit(&COL2IM, prelude(dtype, storage, rank)?, params, &bindings, grid)
}
