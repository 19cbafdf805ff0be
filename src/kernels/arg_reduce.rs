//! The index of an extreme along an axis: `shaders/arg_reduce_group.wgsl`, and `shaders/arg_reduce.wgsl` for
//! software adapters.

use super::Lowering;
use super::block::parameters;
use super::reduce::merged;
use super::reduction_group::{Neighbours, ReductionGroup};
use super::{Kernel, Prelude, folded_grid};
use crate::base::{Access, ElementFormat, Layout, Unsupported, View};
use crate::tensor::DType;

pub static ARG_REDUCE: Kernel = Kernel {
    stem: "arg_reduce",
    shader: include_str!("../../shaders/arg_reduce.wgsl"),
    params: Params::MEMBERS,
    variants,
};
pub static ARG_REDUCE_GROUP: Kernel = Kernel {
    stem: "arg_reduce_group",
    shader: include_str!("../../shaders/arg_reduce_group.wgsl"),
    params: Params::MEMBERS,
    variants: group_variants,
};

const MAX_RANK: usize = 8;
const WIDTH: u32 = 64;

parameters! {
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
}

fn prelude(dtype: DType, storage: ElementFormat, rank: usize, maximum: bool, last: bool) -> Prelude {
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
    let text = match storage {
        ElementFormat::I64 => {
            let less = if dtype == DType::U64 { "ltu64" } else { "lt64" };
            match (maximum, last) {
                (true, false) => format!("{less}(best, x)"),
                (true, true) => format!("!{less}(x, best)"),
                (false, false) => format!("{less}(x, best)"),
                (false, true) => format!("!{less}(best, x)"),
            }
        }
        _ => format!("(x {sign}{equal} best{numbers}){nan}"),
    };
    let code = format!("fn better(x: Lane, best: Lane) -> bool {{ return {text}; }}\n");
    Prelude::new()
        .movable(storage)
        .constant("RANK", rank as u32)
        .code(&code)
        .code(include_str!("../../shaders/lib/arg_reduce.wgsl"))
}

fn variants() -> Vec<Prelude> {
    test_variants().into_iter().map(|sample| sample.constant("WIDTH", WIDTH)).collect()
}

fn group_variants() -> Vec<Prelude> {
    ReductionGroup::each(test_variants())
}

fn test_variants() -> Vec<Prelude> {
    let mut list = vec![];
    let all = ElementFormat::ALL.map(|storage| (DType::F32, storage));
    for (dtype, storage) in all.into_iter().chain([(DType::U64, ElementFormat::I64)]) {
        list.extend(
            [(true, false), (false, true), (true, true), (false, false)]
                .map(|(maximum, last)| prelude(dtype, storage, 2, maximum, last)),
        );
    }
    list
}

/// Emits ArgMax, or ArgMin, of input 0 along `axis`; `last` takes the last of equal extremes.
pub fn emit(at: &mut dyn Lowering, axis: usize, maximum: bool, last: bool) -> Result<(), Unsupported> {
    let (dtype, input) = (at.fact(0)?.dtype, at.view(0)?);
    let output = at.output(0, Layout::Dense)?;
    emit_view(at, dtype, &input, axis, (maximum, last), &output)
}

/// Emits the indices into `output`, dense and of int64: the shape of `input` without `axis`, or with size 1
/// there.
pub fn emit_view(
    at: &mut dyn Lowering,
    dtype: DType,
    input: &View,
    axis: usize,
    (maximum, last): (bool, bool),
    output: &View,
) -> Result<(), Unsupported> {
    let storage = at.storage(dtype)?;
    if output.count() == 0 {
        return Ok(());
    }
    if input.count() == 0 {
        return Err(Unsupported::new("the extreme of no elements"));
    }
    let kept = merged(
        (0..input.shape.len())
            .filter(|&other| other != axis)
            .map(|other| (input.shape[other], input.strides[other])),
    );
    if kept.len() > MAX_RANK {
        return Err(Unsupported::new(format!("a reduction that keeps {} dimensions", kept.len())));
    }
    let to_u32 =
        |value: usize| u32::try_from(value).map_err(|_| Unsupported::new("a reduction beyond 2³² elements"));
    let elements = output.count();
    let groups = to_u32(elements.div_ceil(4))?;
    let capabilities = at.capabilities();
    let neighbours = if input.strides[axis] == 1 { Neighbours::Items } else { Neighbours::Lines };
    let group = (!capabilities.software)
        .then(|| ReductionGroup::new(&capabilities, groups as usize, input.shape[axis], neighbours));
    let grid = match group {
        Some(group) => group.grid(groups as usize, capabilities.max_grid),
        None => folded_grid(groups.div_ceil(WIDTH) as u64, capabilities.max_grid),
    };
    let mut params = Params {
        groups,
        per_row: grid[0],
        elements: to_u32(elements)?,
        offset: to_u32(input.offset)?,
        length: to_u32(input.shape[axis])?,
        step: input.strides[axis] as i32 as u32,
        spare: [0; 2],
        sizes: [1; MAX_RANK],
        strides: [0; MAX_RANK],
    };
    for (d, dim) in kept.iter().enumerate() {
        (params.sizes[d], params.strides[d]) = (to_u32(dim.0)?, dim.1 as i32 as u32);
    }
    let prelude = prelude(dtype, storage, kept.len(), maximum, last);
    let bindings = [(input.buffer, Access::Read), (output.buffer, Access::Write)];
    match group {
        Some(group) => at.emit(&ARG_REDUCE_GROUP, prelude.reduction_group(group), params, &bindings, grid),
        None => at.emit(&ARG_REDUCE, prelude.constant("WIDTH", WIDTH), params, &bindings, grid),
    }
}
