//! Reductions of integers: `shaders/reduce_integer.wgsl`. `reduce` chooses it and fills its parameters.

use super::reduce::{Params, WIDTH};
use super::{Kernel, Prelude};
use crate::base::{ElementFormat, Reduction, Unsupported};
use crate::tensor::DType;

pub static REDUCE_INTEGER: Kernel = Kernel {
    stem: "reduce_integer",
    shader: include_str!("../../shaders/reduce_integer.wgsl"),
    params: Params::MEMBERS,
    variants,
};

/// The prelude for an element type and its storage, or why there is none.
pub(super) fn prelude(
    dtype: DType,
    storage: ElementFormat,
    reduction: Reduction,
    rank: usize,
) -> Result<Prelude, Unsupported> {
    let unsigned = matches!(dtype, DType::U64 | DType::U32);
    let less = if dtype == DType::U64 { "ltu64" } else { "lt64" };
    let (first, next, last) = match reduction {
        Reduction::Sum => ("vec2<u32>(0u, 0u)", "add64(a, x)".to_string(), "a"),
        Reduction::Mean if matches!(dtype, DType::I64 | DType::U64) => {
            return Err(Unsupported::new(format!("the mean of {dtype}, whose sum may not fit")));
        }
        Reduction::Mean => {
            ("vec2<u32>(0u, 0u)", "add64(a, x)".to_string(), "div64(a, vec2<u32>(p.terms, 0u))")
        }
        // The extremes begin with what every value of the type replaces.
        Reduction::Max if unsigned => ("vec2<u32>(0u, 0u)", format!("select(a, x, {less}(a, x))"), "a"),
        Reduction::Max => ("vec2<u32>(0u, 0x80000000u)", format!("select(a, x, {less}(a, x))"), "a"),
        Reduction::Min if unsigned => {
            ("vec2<u32>(0xffffffffu, 0xffffffffu)", "select(a, x, ltu64(x, a))".to_string(), "a")
        }
        Reduction::Min => ("vec2<u32>(0xffffffffu, 0x7fffffffu)", format!("select(a, x, {less}(x, a))"), "a"),
        Reduction::Prod => ("vec2<u32>(1u, 0u)", "mul64(a, x)".to_string(), "a"),
        Reduction::L1 if unsigned => ("vec2<u32>(0u, 0u)", "add64(a, x)".to_string(), "a"),
        Reduction::L1 => ("vec2<u32>(0u, 0u)", "add64(a, abs64(x))".to_string(), "a"),
        Reduction::SumSquare => ("vec2<u32>(0u, 0u)", "add64(a, mul64(x, x))".to_string(), "a"),
        other => {
            return Err(Unsupported::new(format!(
                "{} of {dtype}, which is computed in floats",
                other.operator()
            )));
        }
    };
    let bits = if dtype == DType::Bool { 32 } else { 8 * dtype.size() };
    let signed = !matches!(dtype, DType::U8 | DType::U16);
    let (wide, narrow) = match storage {
        ElementFormat::I64 => ("x", "a".to_string()),
        ElementFormat::U32 => ("vec2<u32>(x, 0u)", "a.x".to_string()),
        _ if bits < 32 && signed => ("widen64(x)", format!("(bitcast<i32>(a.x) << {0}u) >> {0}u", 32 - bits)),
        _ if bits < 32 => ("widen64(x)", format!("bitcast<i32>(a.x) & {}", (1u32 << bits) - 1)),
        _ => ("widen64(x)", "bitcast<i32>(a.x)".to_string()),
    };
    let code = format!(
        "fn wide(x: Lane) -> vec2<u32> {{ return {wide}; }}\nfn narrow(a: vec2<u32>) -> Lane {{ return {narrow}; }}\n\
         fn first() -> vec2<u32> {{ return {first}; }}\nfn next(a: vec2<u32>, x: vec2<u32>) -> vec2<u32> {{ return {next}; }}\n\
         fn last(a: vec2<u32>) -> vec2<u32> {{ return {last}; }}\n"
    );
    Ok(Prelude::new().movable(storage).constant("RANK", rank as u32).constant("WIDTH", WIDTH).code(&code))
}

fn variants() -> Vec<Prelude> {
    let types = [
        (DType::I8, ElementFormat::I32),
        (DType::U16, ElementFormat::I32),
        (DType::I32, ElementFormat::I32),
        (DType::Bool, ElementFormat::I32),
    ];
    let types = types.into_iter().chain([
        (DType::U32, ElementFormat::U32),
        (DType::I64, ElementFormat::I64),
        (DType::U64, ElementFormat::I64),
    ]);
    types
        .flat_map(|(dtype, storage)| {
            Reduction::ALL.into_iter().flat_map(move |reduction| prelude(dtype, storage, reduction, 2))
        })
        .collect()
}
