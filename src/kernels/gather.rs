//! Elements found by indices: `shaders/gather.wgsl`.

use super::Lowering;
use super::block::parameters;
use super::{Kernel, Prelude, folded_grid, indices};
use crate::base::{Access, ElementFormat, Fact, Layout, Unsupported, View};
use crate::tensor::DType;

pub static GATHER: Kernel = Kernel {
    stem: "gather",
    shader: include_str!("../../shaders/gather.wgsl"),
    params: Params::MEMBERS,
    variants,
};

const MAX_RANK: usize = 8;
const WIDTH: u32 = 64;
/// The binding of the status.
const STATUS: u32 = 3;

parameters! {
    struct Params {
        groups: u32,
        per_row: u32,
        elements: u32,
        data_offset: u32,
        index_offset: u32,
        tuple_step: u32,
        report: u32,
        spare: u32,
        sizes: [u32; MAX_RANK],
        data_strides: [u32; MAX_RANK],
        index_strides: [u32; MAX_RANK],
        axis_sizes: [u32; MAX_RANK],
        axis_strides: [u32; MAX_RANK],
    }
}

/// How output coordinates become addresses: one entry for each axis of the output, one for each index of a
/// tuple.
pub struct Addressing {
    /// What a step on each output axis moves in the data, by itself.
    pub data_strides: Vec<isize>,
    /// What it moves in the indices.
    pub index_strides: Vec<isize>,
    /// The distance between the indices of one tuple.
    pub tuple_step: isize,
    /// The data's axis that the first index of a tuple walks; the others walk those that follow.
    pub axis: usize,
    /// (size, stride) of the data's axis that each index of a tuple walks.
    pub axes: Vec<(usize, isize)>,
}

fn prelude(
    data: ElementFormat,
    indices: ElementFormat,
    [rank, tuple]: [usize; 2],
    [from_end, report]: [bool; 2],
) -> Prelude {
    indices::declare(Prelude::new().movable(data), indices, report.then_some(STATUS))
        .flag("FROM_END", from_end)
        .constant("RANK", rank as u32)
        .constant("TUPLE", tuple as u32)
        .constant("WIDTH", WIDTH)
}

fn variants() -> Vec<Prelude> {
    let kinds = [
        (ElementFormat::I32, [true, true]),
        (ElementFormat::I64, [true, true]),
        (ElementFormat::I64, [true, false]),
        (ElementFormat::I64, [false, true]),
    ];
    ElementFormat::ALL
        .into_iter()
        .flat_map(|data| kinds.map(|(indices, flags)| prelude(data, indices, [3, 2], flags)))
        .collect()
}

/// Emits the gather of `data` by `indices` into output 0, dense.
pub fn emit(
    at: &mut dyn Lowering,
    data: &View,
    indices: &View,
    addressing: &Addressing,
) -> Result<(), Unsupported> {
    let (data_type, index_type) = (at.fact(0)?.dtype, at.fact(1)?.dtype);
    let output = at.output(0, Layout::Dense)?;
    let sizes = addressing.axes.iter().map(|axis| axis.0).collect();
    let report = at.report(1, addressing.axis, sizes, true);
    gathered(at, (data, data_type), (indices, index_type), addressing, true, report, output)
}

/// Emits the gather of `data` by `indices`, each of elements of a type, into the whole of a dense buffer.
///
/// `from_end`: negative indices count from the end; else they are outside. `report`: the number by which an
/// index outside is told of, where one may be.
pub fn gathered(
    at: &mut dyn Lowering,
    (data, data_type): (&View, DType),
    (indices, index_type): (&View, DType),
    addressing: &Addressing,
    from_end: bool,
    report: Option<u32>,
    mut output: View,
) -> Result<(), Unsupported> {
    let (data_storage, index_storage) = (at.storage(data_type)?, at.storage(index_type)?);
    if data.count() == 0 && output.count() > 0 {
        return Err(Unsupported::new("a gather from no elements"));
    }
    // Where nothing is moved the indices are read all the same, each once, and what comes of it is thrown
    // away.
    let nothing = output.count() == 0 && report.is_some();
    if nothing {
        let sizes: Vec<usize> = output
            .shape
            .iter()
            .zip(&addressing.index_strides)
            .map(|(&size, &step)| if step == 0 { 1 } else { size })
            .collect();
        output = at.scratch(&Fact::new(data_type, sizes), Layout::Dense)?;
    }
    let still = |stride: isize| if nothing { 0 } else { stride };
    let mut dims: Vec<(usize, isize, isize)> = vec![];
    for ((&size, &data), &index) in output
        .shape
        .iter()
        .zip(&addressing.data_strides)
        .zip(&addressing.index_strides)
        .filter(|((size, _), _)| **size != 1)
    {
        match dims.last_mut() {
            Some(last) if last.1 == data * size as isize && last.2 == index * size as isize => {
                *last = (last.0 * size, data, index)
            }
            _ => dims.push((size, data, index)),
        }
    }
    if dims.len() > MAX_RANK || addressing.axes.len() > MAX_RANK {
        return Err(Unsupported::new(format!("a gather over {} dimensions", dims.len())));
    }
    let to_u32 =
        |value: usize| u32::try_from(value).map_err(|_| Unsupported::new("a gather beyond 2³² elements"));
    let elements = to_u32(output.count())?;
    let grid = folded_grid(elements.div_ceil(4).div_ceil(WIDTH) as u64, at.capabilities().max_grid);
    let mut params = Params {
        groups: elements.div_ceil(4),
        per_row: grid[0],
        elements,
        data_offset: to_u32(data.offset)?,
        index_offset: to_u32(indices.offset)?,
        tuple_step: addressing.tuple_step as i32 as u32,
        report: report.unwrap_or(0),
        spare: 0,
        sizes: [1; MAX_RANK],
        data_strides: [0; MAX_RANK],
        index_strides: [0; MAX_RANK],
        axis_sizes: [1; MAX_RANK],
        axis_strides: [0; MAX_RANK],
    };
    for (d, dim) in dims.iter().enumerate() {
        (params.sizes[d], params.data_strides[d], params.index_strides[d]) =
            (to_u32(dim.0)?, still(dim.1) as i32 as u32, dim.2 as i32 as u32);
    }
    for (k, axis) in addressing.axes.iter().enumerate() {
        (params.axis_sizes[k], params.axis_strides[k]) =
            (super::to_u32(axis.0)?, still(axis.1) as i32 as u32);
    }
    let bindings =
        [(data.buffer, Access::Read), (indices.buffer, Access::Read), (output.buffer, Access::Write)];
    at.emit(
        &GATHER,
        prelude(
            data_storage,
            index_storage,
            [dims.len(), addressing.axes.len()],
            [from_end, report.is_some()],
        ),
        params,
        &bindings,
        grid,
    )
}
