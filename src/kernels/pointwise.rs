//! Elementwise expressions: `shaders/pointwise.wgsl`, its bindings and its `evaluate` generated.

use super::Lowering;
use super::block::parameters;
use super::{Kernel, Prelude, folded_grid};
use crate::base::{Access, BufferId, ElementFormat, Fact, Layout, Unsupported, View};
use crate::expression::numbers::{self, MAX_NUMBERS};
use crate::expression::{Arg, Lane, Pointwise, table, to_wgsl};
use crate::tensor::DType;
use std::fmt::Write;

pub static POINTWISE: Kernel = Kernel {
    stem: "pointwise",
    shader: include_str!("../../shaders/pointwise.wgsl"),
    params: Params::MEMBERS,
    variants,
};

/// Operands of one dispatch: 8 storage buffers less the result.
pub const MAX_OPERANDS: usize = 7;
const MAX_RANK: usize = 8;
const WIDTH: u32 = 128;

parameters! {
    struct Params {
        groups: u32,
        per_row: u32,
        spare: [u32; 2],
        sizes: [u32; MAX_RANK],
        offsets: [u32; 8],
        strides: [[u32; MAX_RANK]; MAX_OPERANDS],
        numbers: [f32; MAX_NUMBERS],
    }
}

/// How an operand is read for a group of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// It lies exactly like the output.
    Flat,
    /// One element for all.
    Single,
    /// A whole group at an address of its own.
    Group,
    /// One element for the group, at an address of its own.
    Splat,
    /// Each lane at an address of its own.
    Lanes,
}

/// An operand: how it is stored, what it is in registers, how it is read.
#[derive(Debug, Clone, Copy)]
struct Operand {
    storage: ElementFormat,
    dtype: DType,
    reading: Reading,
}

fn prelude(
    expression: &Pointwise,
    operands: &[Operand],
    result: (ElementFormat, DType),
    rank: usize,
) -> Result<Prelude, Unsupported> {
    with_numbers(expression, operands, result, rank).map(|made| made.0)
}

/// The prelude, and the numbers that come with the parameters.
fn with_numbers(
    expression: &Pointwise,
    operands: &[Operand],
    result: (ElementFormat, DType),
    rank: usize,
) -> Result<(Prelude, Vec<f32>), Unsupported> {
    let mut types: Vec<DType> = operands.iter().map(|operand| operand.dtype).collect();
    let (expression, lifted) = expression.with_numbers(&types, MAX_NUMBERS);
    types.resize(types.len() + lifted.len(), DType::F32);
    let mut text = to_wgsl("pointwise", &expression, &types)?;
    let mut prelude = Prelude::new().constant("RANK", rank as u32).constant("WIDTH", WIDTH);
    // One set of load functions for each storage that occurs.
    let mut storages: Vec<ElementFormat> =
        operands.iter().map(|operand| operand.storage).chain([result.0]).collect();
    storages.sort();
    storages.dedup();
    for &storage in &storages {
        prelude = prelude.typed(prefix(storage), storage);
    }
    for (k, operand) in operands.iter().enumerate() {
        let _ = writeln!(
            text,
            "@group(0) @binding({k}) var<storage, read> x{k}: array<{}Stored4>;",
            prefix(operand.storage)
        );
    }
    let _ = writeln!(
        text,
        "@group(0) @binding({}) var<storage, read_write> result: array<{}Stored4>;",
        operands.len(),
        prefix(result.0)
    );
    let _ = writeln!(text, "fn evaluate(at: u32) -> {}Stored4 {{", prefix(result.0));
    for (k, operand) in operands.iter().enumerate() {
        let p = prefix(operand.storage);
        let _ = match operand.reading {
            Reading::Flat => writeln!(text, "    let g{k} = x{k}[at];"),
            Reading::Single => writeln!(
                text,
                "    let a{k} = p.offsets[{}][{}]; let v{k} = {p}lane_of(x{k}[a{k} >> 2u], a{k} & 3u);",
                k / 4,
                k % 4
            ),
            Reading::Group => writeln!(text, "    let g{k} = x{k}[address({k}u, at * 4u) >> 2u];"),
            Reading::Splat => writeln!(
                text,
                "    let a{k} = address({k}u, at * 4u); let v{k} = {p}lane_of(x{k}[a{k} >> 2u], a{k} & 3u);"
            ),
            Reading::Lanes => Ok(()),
        };
    }
    let mut lanes = vec![];
    for lane in 0..4 {
        let mut args = vec![];
        for (k, operand) in operands.iter().enumerate() {
            let p = prefix(operand.storage);
            let read = match operand.reading {
                Reading::Flat | Reading::Group => format!("{p}lane_of(g{k}, {lane}u)"),
                Reading::Single | Reading::Splat => format!("v{k}"),
                Reading::Lanes => {
                    let _ = writeln!(text, "    let a{k}_{lane} = address({k}u, at * 4u + {lane}u);");
                    format!("{p}lane_of(x{k}[a{k}_{lane} >> 2u], a{k}_{lane} & 3u)")
                }
            };
            args.push(Lane::of(operand.dtype)?.from_stored(&read));
        }
        args.extend(numbers::arguments("p.numbers", lifted.len()));
        lanes.push(Lane::of(result.1)?.to_stored(&format!("pointwise({})", args.join(", "))));
    }
    let _ = writeln!(text, "    return {}pack4({});\n}}", prefix(result.0), lanes.join(",\n        "));
    Ok((prelude.code(&text), lifted))
}

/// The prefix of a storage's names in a prelude.
fn prefix(storage: ElementFormat) -> &'static str {
    match storage {
        ElementFormat::F32 => "F",
        ElementFormat::F16 | ElementFormat::F16Packed => "H",
        ElementFormat::I32 => "I",
        ElementFormat::U32 => "U",
        ElementFormat::I64 => "L",
    }
}

/// One element type for each form that a lane has.
const TYPES: [(DType, ElementFormat); 9] = [
    (DType::F32, ElementFormat::F32),
    (DType::Bool, ElementFormat::I32),
    (DType::I8, ElementFormat::I32),
    (DType::U8, ElementFormat::I32),
    (DType::U4, ElementFormat::I32),
    (DType::I32, ElementFormat::I32),
    (DType::U32, ElementFormat::U32),
    (DType::I64, ElementFormat::I64),
    (DType::U64, ElementFormat::I64),
];

fn variants() -> Vec<Prelude> {
    let mut list = vec![];
    let floats = [ElementFormat::F32, ElementFormat::F16, ElementFormat::F16Packed];
    // Every row that has a GPU form, in every lane type, and every way to read an operand.
    for row in table::ROWS {
        let count = row.params.split(',').count();
        for (dtype, storage) in TYPES {
            let mut operands = vec![Operand { storage, dtype, reading: Reading::Flat }; count];
            let expression = Pointwise::of(row, count, &[]);
            if row.name == "Where" {
                operands[0] =
                    Operand { storage: ElementFormat::I32, dtype: DType::Bool, reading: Reading::Group };
            }
            let Ok(to) =
                expression.result_type(&operands.iter().map(|operand| operand.dtype).collect::<Vec<_>>())
            else {
                continue;
            };
            let stored = if to == DType::Bool { ElementFormat::I32 } else { storage };
            list.extend(prelude(&expression, &operands, (stored, to), 1));
        }
    }
    // Integers to the power of floats.
    for (dtype, storage) in TYPES.into_iter().filter(|(dtype, _)| dtype.is_integer()) {
        let operands = [(storage, dtype), (ElementFormat::F32, DType::F32)].map(|(storage, dtype)| Operand {
            storage,
            dtype,
            reading: Reading::Flat,
        });
        list.extend(prelude(&Pointwise::of(&table::POW, 2, &[]), &operands, (storage, dtype), 1));
    }
    for storage in floats {
        for reading in [Reading::Flat, Reading::Single, Reading::Group, Reading::Splat, Reading::Lanes] {
            let operands = [
                Operand { storage, dtype: DType::F32, reading: Reading::Flat },
                Operand { storage, dtype: DType::F32, reading },
            ];
            list.extend(prelude(&Pointwise::of(&table::ADD, 2, &[]), &operands, (storage, DType::F32), 3));
        }
    }
    for (to, storage) in TYPES {
        for (from, stored) in TYPES {
            list.extend(prelude(
                &Pointwise::cast(to),
                &[Operand { storage: stored, dtype: from, reading: Reading::Flat }],
                (storage, to),
                1,
            ));
        }
    }
    let mut steps = Pointwise::cast(DType::F32);
    let scaled = steps.push(&table::MUL, vec![Arg::Step(0), Arg::Const(0.1)]);
    steps.push(&table::ADD, vec![scaled, Arg::Const(3.0)]);
    let operand = Operand { storage: ElementFormat::I32, dtype: DType::U8, reading: Reading::Flat };
    list.extend(prelude(&steps, &[operand], (ElementFormat::F32, DType::F32), 1));
    list
}

/// Emits an expression over views into a buffer of its own, dense.
pub fn computed(
    at: &mut dyn Lowering,
    expression: &Pointwise,
    given: &[(View, DType)],
    shape: &[usize],
) -> Result<(View, DType), Unsupported> {
    let types: Vec<DType> = given.iter().map(|operand| operand.1).collect();
    let dtype = expression.result_type(&types)?;
    let output = at.scratch(&Fact::new(dtype, shape), Layout::Dense)?;
    emit_into(at, expression, given, shape, (dtype, Layout::Dense), output.buffer)?;
    Ok((output, dtype))
}

/// Emits an expression over views into an output, in a layout.
pub fn emit_output(
    at: &mut dyn Lowering,
    expression: &Pointwise,
    given: &[(View, DType)],
    index: usize,
    layout: Layout,
) -> Result<(), Unsupported> {
    let fact = at.output_fact(index)?.clone();
    let output = at.output(index, layout)?.buffer;
    emit_into(at, expression, given, &fact.shape, (fact.dtype, layout), output)
}

/// Emits an expression over the node's inputs.
pub fn emit(expression: &Pointwise, at: &mut dyn Lowering) -> Result<(), Unsupported> {
    let count = expression.operands;
    if count + 1 > at.capabilities().max_storage_buffers as usize || count > MAX_OPERANDS {
        return Err(Unsupported::new(format!("{count} operands in one dispatch")));
    }
    let views = (0..count).map(|index| at.view(index)).collect::<Result<Vec<_>, _>>()?;
    emit_views(expression, at, &views)
}

/// Emits an expression over views of the node's inputs, operand `k` of input `k`.
pub fn emit_views(expression: &Pointwise, at: &mut dyn Lowering, views: &[View]) -> Result<(), Unsupported> {
    let fact = at.output_fact(0)?.clone();
    if expression.is_identity() || expression.steps.iter().all(|step| step.row == &table::IDENTITY) {
        at.alias(0, views[0].clone());
        return Ok(());
    }
    // The output lies like the first operand that has its shape, channels-last before others.
    let candidates: Vec<Layout> =
        views.iter().filter(|view| view.shape == fact.shape).map(|view| at.layout_of(view)).collect();
    let layout = if candidates.contains(&Layout::ChannelsLast4) {
        Layout::ChannelsLast4
    } else {
        candidates.first().copied().unwrap_or(Layout::Dense)
    };
    let typed = |(index, view): (usize, &View)| Ok((view.clone(), at.fact(index)?.dtype));
    let operands = views.iter().enumerate().map(typed).collect::<Result<Vec<_>, Unsupported>>()?;
    emit_output(at, expression, &operands, 0, layout)
}

/// Emits an expression over any views, each of elements of a type, into the whole of a buffer that holds
/// `shape` in a layout; the views broadcast to it.
pub fn emit_into(
    at: &mut dyn Lowering,
    expression: &Pointwise,
    given: &[(View, DType)],
    shape: &[usize],
    (dtype, layout): (DType, Layout),
    output: BufferId,
) -> Result<(), Unsupported> {
    if given.len() + 1 > at.capabilities().max_storage_buffers as usize || given.len() > MAX_OPERANDS {
        return Err(Unsupported::new(format!("{} operands in one dispatch", given.len())));
    }
    let views: Vec<View> = given.iter().map(|operand| operand.0.clone()).collect();
    let physical = layout.physical(shape);
    let elements: usize = physical.iter().map(|dim| dim.1).product();
    if elements == 0 {
        return Ok(());
    }
    let whole = View::whole(output, layout, shape);
    // Strides of each operand in the order of the output's buffer, neighbours merged where every operand
    // allows.
    let spread: Vec<Vec<isize>> = views
        .iter()
        .map(|view| {
            let wide = view.broadcast(shape);
            physical.iter().map(|dim| wide.strides[dim.0]).collect()
        })
        .collect();
    let mut dims: Vec<(usize, Vec<isize>)> = vec![];
    for (position, &(_, size)) in physical.iter().enumerate() {
        let strides: Vec<isize> = spread.iter().map(|list| list[position]).collect();
        if size == 1 {
            continue;
        }
        match dims.last_mut() {
            Some(last)
                if last.1.iter().zip(&strides).all(|(outer, inner)| *outer == inner * size as isize) =>
            {
                *last = (last.0 * size, strides)
            }
            _ => dims.push((size, strides)),
        }
    }
    if dims.is_empty() {
        dims.push((1, vec![0; views.len()]));
    }
    if dims.len() > MAX_RANK {
        return Err(Unsupported::new(format!("broadcasting over {} dimensions", dims.len())));
    }
    let grouped = dims.last().is_some_and(|dim| dim.0 % 4 == 0);
    let mut operands = vec![];
    let mut params = Params {
        groups: 0,
        per_row: 0,
        spare: [0; 2],
        sizes: [1; MAX_RANK],
        offsets: [0; 8],
        strides: [[0; MAX_RANK]; MAX_OPERANDS],
        numbers: Default::default(),
    };
    for (d, dim) in dims.iter().enumerate() {
        params.sizes[d] = dim.0 as u32;
    }
    for (k, view) in views.iter().enumerate() {
        let own: Vec<isize> = dims.iter().map(|dim| dim.1[k]).collect();
        let inner = own.last().copied().unwrap_or(0);
        let aligned = view.offset % 4 == 0 && own[..own.len() - 1].iter().all(|stride| stride % 4 == 0);
        let flat = view.shape == shape && view.strides == whole.strides && view.offset == 0
            || view.shape == shape && view.is(layout);
        let reading = if flat {
            Reading::Flat
        } else if own.iter().all(|&stride| stride == 0) {
            Reading::Single
        } else if grouped && inner == 1 && aligned {
            Reading::Group
        } else if grouped && inner == 0 {
            Reading::Splat
        } else {
            Reading::Lanes
        };
        // Lanes in padding read at clamped buffers: a group's address lies within the buffer's padding, a
        // lane's may not.
        params.offsets[k] = view.offset as u32;
        for (d, &stride) in own.iter().enumerate() {
            params.strides[k][d] = stride as i32 as u32;
        }
        let dtype = given[k].1;
        // An operand may be stored at another precision than the node's.
        let storage = at.emitter().contents(view.buffer).storage;
        operands.push(Operand { storage, dtype, reading });
    }
    let groups = elements.div_ceil(4);
    let grid = folded_grid((groups as u64).div_ceil(WIDTH as u64), at.capabilities().max_grid);
    (params.groups, params.per_row) =
        (u32::try_from(groups).map_err(|_| Unsupported::new("more than 2³² groups"))?, grid[0]);
    let mut bindings: Vec<(BufferId, Access)> =
        views.iter().map(|view| (view.buffer, Access::Read)).collect();
    bindings.push((output, Access::Write));
    let storage = at.emitter().contents(output).storage;
    let (prelude, lifted) = with_numbers(expression, &operands, (storage, dtype), dims.len())?;
    params.numbers = numbers::block(&lifted);
    at.emit(&POINTWISE, prelude, params, &bindings, grid)
}
