//! Elements found by indices: `shaders/gather.wgsl`.

use super::{Access, Kernel, Prelude, folded_grid};
use crate::plan::{Layout, Lowering, Storage, Unsupported, View};

pub static GATHER: Kernel = Kernel { stem: "gather", shader: include_str!("../../shaders/gather.wgsl"), params_size: size_of::<Params>(), variants };

const MAX_RANK: usize = 8;
const WIDTH: u32 = 64;

#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    groups: u32,
    per_row: u32,
    elements: u32,
    data_offset: u32,
    index_offset: u32,
    tuple_step: u32,
    spare: [u32; 2],
    sizes: [u32; MAX_RANK],
    data_strides: [u32; MAX_RANK],
    index_strides: [u32; MAX_RANK],
    axis_sizes: [u32; MAX_RANK],
    axis_strides: [u32; MAX_RANK],
}

/// How output coordinates become addresses: one entry for each axis of the output, one for each index of a tuple.
pub struct Addressing {
    /// What a step on each output axis moves in the data, by itself.
    pub data_strides: Vec<isize>,
    /// What it moves in the indices.
    pub index_strides: Vec<isize>,
    /// The distance between the indices of one tuple.
    pub tuple_step: isize,
    /// (size, stride) of the data's axis that each index of a tuple walks.
    pub axes: Vec<(usize, isize)>,
}

fn prelude(data: Storage, indices: Storage, rank: usize, tuple: usize) -> Prelude {
    let value = match indices {
        // Sizes are below 2³¹, so the low word holds every valid index, negative ones too.
        Storage::I64 => "fn index_value(x: ILane) -> i32 { return i32(x.x); }\n",
        _ => "fn index_value(x: ILane) -> i32 { return i32(x); }\n",
    };
    Prelude::new().movable(data).typed("I", indices).code(value).constant("RANK", rank as u32).constant("TUPLE", tuple as u32).constant("WIDTH", WIDTH)
}

fn variants() -> Vec<Prelude> {
    let all = [Storage::F32, Storage::F16, Storage::F16Packed, Storage::I32, Storage::U32, Storage::I64];
    all.into_iter().flat_map(|data| [Storage::I32, Storage::I64].map(|indices| prelude(data, indices, 3, 2))).collect()
}

/// Emits the gather of `data` by `indices` into output 0, dense.
pub fn lower(at: &mut Lowering<'_>, data: &View, indices: &View, addressing: &Addressing) -> Result<(), Unsupported> {
    let (data_storage, index_storage) = (at.storage(at.fact(0)?.dtype)?, at.storage(at.fact(1)?.dtype)?);
    let output = at.output(0, Layout::Dense)?;
    if data.count() == 0 && output.count() > 0 {
        return Err(Unsupported::new("a gather from no elements"));
    }
    let mut dims: Vec<(usize, isize, isize)> = vec![];
    for ((&size, &data), &index) in output.shape.iter().zip(&addressing.data_strides).zip(&addressing.index_strides).filter(|((size, _), _)| **size != 1) {
        match dims.last_mut() {
            Some(last) if last.1 == data * size as isize && last.2 == index * size as isize => *last = (last.0 * size, data, index),
            _ => dims.push((size, data, index)),
        }
    }
    if dims.len() > MAX_RANK || addressing.axes.len() > MAX_RANK {
        return Err(Unsupported::new(format!("a gather over {} dimensions", dims.len())));
    }
    let narrow = |value: usize| u32::try_from(value).map_err(|_| Unsupported::new("a gather beyond 2³² elements"));
    let elements = narrow(output.count())?;
    let grid = folded_grid(elements.div_ceil(4).div_ceil(WIDTH) as u64, at.capabilities().max_grid);
    let mut params = Params {
        groups: elements.div_ceil(4),
        per_row: grid[0],
        elements,
        data_offset: narrow(data.offset)?,
        index_offset: narrow(indices.offset)?,
        tuple_step: addressing.tuple_step as i32 as u32,
        spare: [0; 2],
        sizes: [1; MAX_RANK],
        data_strides: [0; MAX_RANK],
        index_strides: [0; MAX_RANK],
        axis_sizes: [1; MAX_RANK],
        axis_strides: [0; MAX_RANK],
    };
    for (d, dim) in dims.iter().enumerate() {
        (params.sizes[d], params.data_strides[d], params.index_strides[d]) = (narrow(dim.0)?, dim.1 as i32 as u32, dim.2 as i32 as u32);
    }
    for (k, axis) in addressing.axes.iter().enumerate() {
        (params.axis_sizes[k], params.axis_strides[k]) = (narrow(axis.0)?, axis.1 as i32 as u32);
    }
    let bindings = [(data.place, Access::Read), (indices.place, Access::Read), (output.place, Access::Write)];
    at.emit(&GATHER, prelude(data_storage, index_storage, dims.len(), addressing.axes.len()), params, &bindings, grid)
}
