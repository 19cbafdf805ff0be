//! Reductions over any axes: `shaders/reduce_group.wgsl`, and `shaders/reduce.wgsl` for software adapters.

use super::Lowering;
use super::block::parameters;
use super::reduce_integer::{self, REDUCE_INTEGER};
use super::reduction_group::{Neighbours, ReductionGroup};
use super::{Kernel, Prelude, folded_grid};
use crate::base::{Access, ElementFormat, Fact, Layout, Reduction, Unsupported, View};
use crate::tensor::DType;

pub static REDUCE: Kernel = Kernel {
    stem: "reduce",
    shader: include_str!("../../shaders/reduce.wgsl"),
    params: Params::MEMBERS,
    variants,
};
pub static REDUCE_GROUP: Kernel = Kernel {
    stem: "reduce_group",
    shader: include_str!("../../shaders/reduce_group.wgsl"),
    params: Params::MEMBERS,
    variants: group_variants,
};

/// WGSL of the start value, a step, what a term becomes first, and the end.
fn wgsl(reduction: Reduction) -> String {
    let (first, next, prepare, last) = match reduction {
        Reduction::Sum => ("0.0", "a + x", "x", "a"),
        Reduction::Mean => ("0.0", "a + x", "x", "a / p.count"),
        Reduction::Max => {
            ("from_bits(0xff800000u)", "select(a, x, ((x > a) | is_nan4(x)) & !is_nan4(a))", "x", "a")
        }
        Reduction::Min => {
            ("from_bits(0x7f800000u)", "select(a, x, ((x < a) | is_nan4(x)) & !is_nan4(a))", "x", "a")
        }
        Reduction::Prod => ("1.0", "a * x", "x", "a"),
        Reduction::L1 => ("0.0", "a + x", "abs(x)", "a"),
        Reduction::L2 => ("0.0", "a + x", "x * x", "sqrt(a)"),
        Reduction::SumSquare => ("0.0", "a + x", "x * x", "a"),
        Reduction::LogSum => ("0.0", "a + x", "x", "log4(a)"),
        Reduction::LogSumExp => ("0.0", "a + x", "exp4(x)", "log4(a) + high"),
    };
    format!(
        "fn first() -> vec4<f32> {{ return vec4({first}); }}\n\
         fn next(a: vec4<f32>, x: vec4<f32>) -> vec4<f32> {{ return {next}; }}\n\
         fn prepare(x: vec4<f32>) -> vec4<f32> {{ return {prepare}; }}\n\
         fn last(a: vec4<f32>, high: vec4<f32>) -> vec4<f32> {{ return {last}; }}\n"
    )
}

/// What the shaders of floats begin with.
const COMMON: &str = include_str!("../../shaders/lib/reduce.wgsl");

const MAX_RANK: usize = 8;
pub(super) const WIDTH: u32 = 64;

parameters! {
    pub(super) struct Params {
        groups: u32,
        per_row: u32,
        elements: u32,
        offset: u32,
        length0: u32,
        step0: u32,
        length1: u32,
        step1: u32,
        sizes: [u32; MAX_RANK],
        strides: [u32; MAX_RANK],
        /// The number of terms, for floats.
        count: f32,
        /// For groups: what a walk over the inner terms takes, terms or groups of 4.
        items: u32,
        /// The number of terms, for integers.
        terms: u32,
        spare: u32,
    }
}

fn prelude(storage: ElementFormat, reduction: Reduction, rank: usize, together: bool) -> Prelude {
    Prelude::new()
        .storage(storage)
        .constant("RANK", rank as u32)
        .constant("WIDTH", WIDTH)
        .flag("TOGETHER", together)
        .flag("TWO_PASSES", reduction == Reduction::LogSumExp)
        .code(&wgsl(reduction))
        .code(COMMON)
}

/// How the terms of a group lie: see the shader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Terms {
    Together,
    Apart,
    Rows,
}

fn group_prelude(storage: ElementFormat, reduction: Reduction, rank: usize, terms: Terms) -> Prelude {
    let extreme = matches!(reduction, Reduction::Max | Reduction::Min);
    Prelude::new()
        .storage(storage)
        .constant("RANK", rank as u32)
        .flag("TOGETHER", terms == Terms::Together)
        .flag("ROWS", terms == Terms::Rows)
        .flag("TWO_PASSES", reduction == Reduction::LogSumExp)
        .flag("EXTREME", extreme)
        .flag("ADDS", !extreme && reduction != Reduction::Prod)
        .code(&wgsl(reduction))
        .code(COMMON)
}

fn variants() -> Vec<Prelude> {
    let mut list: Vec<Prelude> =
        Reduction::ALL.iter().map(|&reduction| prelude(ElementFormat::F32, reduction, 2, false)).collect();
    list.extend(
        [ElementFormat::F16, ElementFormat::F16Packed]
            .map(|storage| prelude(storage, Reduction::Mean, 2, true)),
    );
    list
}

fn group_variants() -> Vec<Prelude> {
    let kinds = Reduction::ALL.map(|reduction| (ElementFormat::F32, reduction)).into_iter();
    let kinds =
        kinds.chain([ElementFormat::F16, ElementFormat::F16Packed].map(|half| (half, Reduction::Mean)));
    ReductionGroup::each(kinds.flat_map(|(storage, reduction)| {
        [Terms::Together, Terms::Apart, Terms::Rows].map(|terms| group_prelude(storage, reduction, 2, terms))
    }))
}

/// Merges neighbouring dimensions of (size, stride).
pub(super) fn merged(dims: impl Iterator<Item = (usize, isize)>) -> Vec<(usize, isize)> {
    let mut list: Vec<(usize, isize)> = vec![];
    for (size, stride) in dims.filter(|dim| dim.0 != 1) {
        match list.last_mut() {
            Some(last) if last.1 == stride * size as isize => *last = (last.0 * size, stride),
            _ => list.push((size, stride)),
        }
    }
    list
}

/// Emits a reduction of input 0 over `axes`; the result keeps them as 1 or drops them, as output 0's shape
/// says.
pub fn emit(at: &mut dyn Lowering, reduction: Reduction, axes: &[usize]) -> Result<(), Unsupported> {
    let (dtype, input) = (at.fact(0)?.dtype, at.view(0)?);
    let result = reduced(at, reduction, dtype, input, axes)?;
    let shape = at.output_fact(0)?.shape.clone();
    at.alias_reshaped(result, &shape)
}

/// Emits a reduction of a view of elements of `dtype`; the result has size 1 on `axes`.
pub fn reduced(
    at: &mut dyn Lowering,
    reduction: Reduction,
    dtype: DType,
    mut input: View,
    axes: &[usize],
) -> Result<View, Unsupported> {
    let storage = at.storage(dtype)?;
    let rank = input.shape.len();
    let kept_shape: Vec<usize> =
        (0..rank).map(|axis| if axes.contains(&axis) { 1 } else { input.shape[axis] }).collect();
    if input.count() == 0 {
        // One value for all, that of no terms.
        let none = reduction.of_nothing(dtype)?;
        return Ok(at.table("the reduction of nothing", none)?.broadcast(&kept_shape));
    }
    // The result lies like the input where that keeps its groups together (a mean over the pixels of
    // channels-last).
    let last = at.layout_of(&input) == Layout::ChannelsLast4 && !axes.contains(&1);
    let layout = if last { Layout::ChannelsLast4 } else { Layout::Dense };
    let reduced = |view: &View| {
        merged(
            layout
                .physical(&view.shape)
                .iter()
                .filter(|dim| axes.contains(&dim.0))
                .map(|dim| (view.shape[dim.0], view.strides[dim.0])),
        )
    };
    let mut terms = reduced(&input);
    if terms.len() > 2 {
        input = at.in_layout(input, Layout::Dense)?;
        terms = reduced(&input);
        if terms.len() > 2 {
            return Err(Unsupported::new(format!("a reduction over {} separate runs of axes", terms.len())));
        }
    }
    while terms.len() < 2 {
        terms.insert(0, (1, 0));
    }
    let capabilities = at.capabilities();
    let in_groups = storage.is_float() && !capabilities.software;
    // A long single run is cut into blocks, so that its sum's error grows with the square root of its length.
    if !in_groups && terms[0].0 == 1 && terms[1].0 >= 64 {
        let (length, stride) = terms[1];
        if let Some(block) = (8..=length.isqrt()).rev().find(|block| length % block == 0) {
            terms = vec![(length / block, stride * block as isize), (block, stride)];
        }
    }
    let fact = Fact::new(dtype, kept_shape.clone());
    let result = at.scratch(&fact, layout)?;
    let physical = layout.physical(&kept_shape);
    let kept = merged(
        physical
            .iter()
            .map(|&(axis, size)| (size, if axes.contains(&axis) { 0 } else { input.strides[axis] })),
    );
    let elements: usize = physical.iter().map(|dim| dim.1).product();
    let inner = kept.last().copied().unwrap_or((1, 0));
    let aligned = input.offset.is_multiple_of(4)
        && kept[..kept.len().saturating_sub(1)].iter().all(|dim| dim.1 % 4 == 0)
        && terms.iter().all(|term| term.1 % 4 == 0);
    let together = storage.is_float() && aligned && inner.1 == 1 && inner.0 % 4 == 0;
    if kept.len() > MAX_RANK {
        return Err(Unsupported::new(format!("a reduction that keeps {} dimensions", kept.len())));
    }
    let to_u32 =
        |value: usize| u32::try_from(value).map_err(|_| Unsupported::new("a reduction beyond 2³² elements"));
    let groups = to_u32(elements.div_ceil(4))?;
    let grid = folded_grid(groups.div_ceil(WIDTH) as u64, capabilities.max_grid);
    let count: usize = terms.iter().map(|term| term.0).product();
    let mut params = Params {
        groups,
        per_row: grid[0],
        elements: to_u32(elements)?,
        offset: to_u32(input.offset)?,
        length0: to_u32(terms[0].0)?,
        step0: terms[0].1 as i32 as u32,
        length1: to_u32(terms[1].0)?,
        step1: terms[1].1 as i32 as u32,
        sizes: [1; MAX_RANK],
        strides: [0; MAX_RANK],
        count: count as f32,
        items: 0,
        terms: to_u32(count)?,
        spare: 0,
    };
    for (d, dim) in kept.iter().enumerate() {
        (params.sizes[d], params.strides[d]) = (to_u32(dim.0)?, dim.1 as i32 as u32);
    }
    let bindings = [(input.buffer, Access::Read), (result.buffer, Access::Write)];
    if in_groups {
        let rows = terms[1].1 == 1;
        // Rows begin anywhere: a group more than would hold them may be theirs.
        let anywhere = rows
            && !(input.offset.is_multiple_of(4)
                && terms[0].1 % 4 == 0
                && kept.iter().all(|dim| dim.1 % 4 == 0));
        let items = if rows { (terms[1].0 + if anywhere { 3 } else { 0 }).div_ceil(4) } else { terms[1].0 };
        let neighbours = if rows { Neighbours::Items } else { Neighbours::Lines };
        let group =
            ReductionGroup::new(&capabilities, groups as usize, terms[0].0.saturating_mul(items), neighbours);
        let how = if rows {
            Terms::Rows
        } else if together {
            Terms::Together
        } else {
            Terms::Apart
        };
        let grid = group.grid(groups as usize, capabilities.max_grid);
        (params.items, params.per_row) = (to_u32(items)?, grid[0]);
        at.emit(
            &REDUCE_GROUP,
            group_prelude(storage, reduction, kept.len(), how).reduction_group(group),
            params,
            &bindings,
            grid,
        )?;
    } else if storage.is_float() {
        at.emit(&REDUCE, prelude(storage, reduction, kept.len(), together), params, &bindings, grid)?;
    } else {
        at.emit(
            &REDUCE_INTEGER,
            reduce_integer::prelude(dtype, storage, reduction, kept.len())?,
            params,
            &bindings,
            grid,
        )?;
    }
    Ok(result)
}
