//! Slices replaced, found by indices: `shaders/scatter.wgsl`.

use super::Lowering;
use super::block::parameters;
use super::{Kernel, Prelude, folded_grid, indices};
use crate::base::{Access, ElementFormat, Fact, Layout, Unsupported, View};
use crate::expression::{Pointwise, Row, to_wgsl};
use crate::tensor::DType;

pub static SCATTER: Kernel = Kernel {
    stem: "scatter",
    shader: include_str!("../../shaders/scatter.wgsl"),
    params: Params::MEMBERS,
    variants,
};

const MAX_RANK: usize = 8;
const WIDTH: u32 = 64;
/// The binding of the status.
const STATUS: u32 = 5;
/// The phases that read indices.
const STATUS_PHASES: [u32; 2] = [1, 3];
/// Updates that one invocation may walk: a GPU that is busy for seconds is reset by its system.
const MOST_CLAIMS: u32 = 1 << 16;

parameters! {
    struct Params {
        count: u32,
        per_row: u32,
        elements: u32,
        slices: u32,
        slice: u32,
        claims: u32,
        report: u32,
        spare: u32,
        sizes: [u32; MAX_RANK],
        slice_strides: [u32; MAX_RANK],
        axis_sizes: [u32; MAX_RANK],
        axis_strides: [u32; MAX_RANK],
    }
}

/// Which slice an update names.
pub struct Addressing {
    /// The updates' own coordinates: their sizes, and what a step moves in the slices.
    pub coordinates: Vec<(usize, usize)>,
    /// The axis that the first index of a tuple walks; the others walk those that follow.
    pub axis: usize,
    /// (size, stride in slices) of the axis that each index of a tuple walks.
    pub axes: Vec<(usize, usize)>,
    /// Elements of a slice.
    pub slice: usize,
}

fn prelude(
    dtype: DType,
    storages: [ElementFormat; 2],
    combine: Option<&'static Row>,
    phase: u32,
    [rank, tuple]: [usize; 2],
    [from_end, report]: [bool; 2],
) -> Result<Prelude, Unsupported> {
    let combine = match combine {
        None => "fn combine(a: Lane, x: Lane) -> Lane { return x; }\n".to_string(),
        Some(row) => to_wgsl("combine", &Pointwise::of(row, 2, &[]), &[dtype, dtype])?,
    };
    // The other phases read no index.
    let status = STATUS_PHASES.contains(&phase).then_some(STATUS).filter(|_| report);
    let prelude = indices::declare(Prelude::new().movable(storages[0]).code(&combine), storages[1], status)
        .flag("FROM_END", from_end)
        .constant("PHASE", phase);
    Ok(prelude.constant("RANK", rank as u32).constant("TUPLE", tuple as u32).constant("WIDTH", WIDTH))
}

fn variants() -> Vec<Prelude> {
    use crate::expression::table;
    let mut list: Vec<Prelude> = ElementFormat::ALL
        .into_iter()
        .flat_map(|storage| {
            (0..3).flat_map(move |phase| {
                let flags = [phase != 1 || storage != ElementFormat::F16, true];
                prelude(DType::F32, [storage, ElementFormat::I64], None, phase, [2, 2], flags)
            })
        })
        .collect();
    for (dtype, storage) in [
        (DType::F32, ElementFormat::F32),
        (DType::F16, ElementFormat::F16Packed),
        (DType::I64, ElementFormat::I64),
        (DType::U8, ElementFormat::I32),
    ] {
        for row in [&table::ADD, &table::MUL, &table::MIN, &table::MAX] {
            list.extend([2, 3].into_iter().flat_map(|phase| {
                prelude(dtype, [storage, ElementFormat::I32], Some(row), phase, [1, 1], [true, true])
            }));
        }
    }
    list
}

/// Emits a scatter of input 2 into input 0 by the indices of input 1. `combine` makes a new element of the
/// old one and the update, in the order of the updates where they are not `unique`, each of a slice of its
/// own.
pub fn emit(
    at: &mut dyn Lowering,
    addressing: &Addressing,
    combine: Option<&'static Row>,
    unique: bool,
) -> Result<(), Unsupported> {
    let (dtype, index_type) = (at.fact(0)?.dtype, at.fact(1)?.dtype);
    let sizes = addressing.axes.iter().map(|axis| axis.0).collect();
    let report = at.report(1, addressing.axis, sizes, true);
    // Where nothing is moved the indices are read all the same.
    let nothing = at.fact(2)?.count() == 0 || at.fact(0)?.count() == 0;
    if nothing {
        let view = at.view(0)?;
        at.alias(0, view);
        if report.is_none() || at.fact(1)?.count() == 0 {
            return Ok(());
        }
    }
    let given = Given {
        data: at.input(0, Layout::Dense)?,
        indices: at.input(1, Layout::Dense)?,
        updates: at.input(2, Layout::Dense)?,
        dtype,
        index_type,
        from_end: true,
        report,
    };
    let to = if nothing { None } else { Some(at.output(0, Layout::Dense)?) };
    scattered(at, &given, addressing, (combine, unique), to.as_ref())
}

/// What a scatter is made of: views that are dense, and the types of their elements.
pub struct Given {
    pub data: View,
    pub indices: View,
    pub updates: View,
    pub dtype: DType,
    pub index_type: DType,
    /// Negative indices count from the end; else they are outside.
    pub from_end: bool,
    /// The number by which an index outside is told of, where one may be.
    pub report: Option<u32>,
}

/// Emits a scatter into the whole of a dense buffer; without one the indices are read alone, for those outside
/// to be told of. See [`emit`] for `combine` and whether the updates are unique.
pub fn scattered(
    at: &mut dyn Lowering,
    given: &Given,
    addressing: &Addressing,
    (combine, unique): (Option<&'static Row>, bool),
    to: Option<&View>,
) -> Result<(), Unsupported> {
    let Given { data, indices, updates, dtype, index_type, from_end, report } = given;
    let (dtype, from_end, report) = (*dtype, *from_end, *report);
    let storages = [at.storage(dtype)?, at.storage(*index_type)?];
    let nothing = to.is_none();
    let coordinates: Vec<(usize, usize)> =
        addressing.coordinates.iter().copied().filter(|dim| dim.0 != 1).collect();
    if coordinates.len() > MAX_RANK || addressing.axes.len() > MAX_RANK {
        return Err(Unsupported::new(format!("a scatter over more than {MAX_RANK} dimensions")));
    }
    let to_u32 = |value: usize| {
        i32::try_from(value)
            .map(|value| value as u32)
            .map_err(|_| Unsupported::new("a scatter beyond 2³¹ elements"))
    };
    let elements = to_u32(data.count())?;
    to_u32(updates.count())?;
    let slices = data.count() / addressing.slice.max(1);
    let claims = to_u32(addressing.coordinates.iter().map(|dim| dim.0).product())?;
    let walked = combine.is_some() && !unique && !nothing;
    if walked && claims > MOST_CLAIMS {
        return Err(Unsupported::new(format!(
            "a reduction of {claims} updates in order: too long a walk for one invocation"
        )));
    }
    let slices = if walked || nothing { 4 } else { slices };
    let owners = at.scratch(&Fact::new(DType::U32, [slices]), Layout::Dense)?;
    let output = match to {
        Some(output) => output.clone(),
        None => at.scratch(&Fact::new(dtype, [4]), Layout::Dense)?,
    };
    let mut params = Params {
        count: 0,
        per_row: 0,
        elements,
        // Nothing is claimed of no elements.
        slices: if nothing { 0 } else { to_u32(data.count() / addressing.slice.max(1))? },
        slice: to_u32(addressing.slice)?,
        claims,
        report: report.unwrap_or(0),
        spare: 0,
        sizes: [1; MAX_RANK],
        slice_strides: [0; MAX_RANK],
        axis_sizes: [1; MAX_RANK],
        axis_strides: [0; MAX_RANK],
    };
    for (d, dim) in coordinates.iter().enumerate() {
        (params.sizes[d], params.slice_strides[d]) = (to_u32(dim.0)?, to_u32(dim.1)?);
    }
    for (t, axis) in addressing.axes.iter().enumerate() {
        (params.axis_sizes[t], params.axis_strides[t]) = (to_u32(axis.0)?, to_u32(axis.1)?);
    }
    let bindings = [
        (data.buffer, Access::Read),
        (updates.buffer, Access::Read),
        (indices.buffer, Access::Read),
        (owners.buffer, Access::Write),
        (output.buffer, Access::Write),
    ];
    let phases = if nothing {
        vec![(1, claims)]
    } else if walked {
        vec![(3, elements.div_ceil(4))]
    } else {
        vec![(0, params.slices), (1, claims), (2, elements.div_ceil(4))]
    };
    for (phase, count) in phases {
        let grid = folded_grid(count.div_ceil(WIDTH) as u64, at.capabilities().max_grid);
        (params.count, params.per_row) = (count, grid[0]);
        let prelude = prelude(
            dtype,
            storages,
            combine,
            phase,
            [coordinates.len(), addressing.axes.len()],
            [from_end, report.is_some()],
        )?;
        at.emit(&SCATTER, prelude, params, &bindings, grid)?;
    }
    Ok(())
}
