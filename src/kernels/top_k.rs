//! The first elements of rows in order: `shaders/top_k.wgsl`.

use super::Lowering;
use super::block::parameters;
use super::{Kernel, Prelude, folded_grid};
use crate::base::{Access, ElementFormat, Fact, Layout, Unsupported};
use crate::tensor::DType;

pub static TOP_K: Kernel = Kernel {
    stem: "top_k",
    shader: include_str!("../../shaders/top_k.wgsl"),
    params: Params::MEMBERS,
    variants,
};

const WIDTH: u32 = 64;
/// Steps that one invocation may take: a GPU that is busy for seconds is reset by its system.
const MOST_STEPS: usize = 1 << 25;

parameters! {
    struct Params {
        rows: u32,
        per_row: u32,
        length: u32,
        wanted: u32,
        step: u32,
        output_step: u32,
        spare: [u32; 2],
    }
}

fn prelude(dtype: DType, storage: ElementFormat, largest: bool) -> Prelude {
    // Floats compare by keys that grow with them: −0 equals 0, NaN lies above every number.
    let key = match storage {
        ElementFormat::I32 | ElementFormat::U32 | ElementFormat::I64 => "",
        _ => {
            "fn key(x: f32) -> u32 {\n    let bits = bitcast<u32>(x);\n    if (bits & 0x7fffffffu) > 0x7f800000u { return 0xffffffffu; }\n    \
             if (bits & 0x7fffffffu) == 0u { return 0x80000000u; }\n    return select(bits | 0x80000000u, ~bits, (bits >> 31u) == 1u);\n}\n"
        }
    };
    let less = |a: &str, b: &str| match storage {
        ElementFormat::I64 if dtype == DType::U64 => format!("ltu64({a}, {b})"),
        ElementFormat::I64 => format!("lt64({a}, {b})"),
        ElementFormat::I32 | ElementFormat::U32 => format!("{a} < {b}"),
        _ => format!("key({a}) < key({b})"),
    };
    let before = if largest { less("b", "a") } else { less("a", "b") };
    let code = format!("{key}fn before(a: Lane, b: Lane) -> bool {{ return {before}; }}\n");
    Prelude::new().movable(storage).code(&code).constant("WIDTH", WIDTH)
}

fn variants() -> Vec<Prelude> {
    let types = [
        (DType::F32, ElementFormat::F32),
        (DType::F32, ElementFormat::F16),
        (DType::F32, ElementFormat::F16Packed),
        (DType::I32, ElementFormat::I32),
        (DType::U32, ElementFormat::U32),
        (DType::I64, ElementFormat::I64),
        (DType::U64, ElementFormat::I64),
    ];
    types
        .into_iter()
        .flat_map(|(dtype, storage)| [true, false].map(|largest| prelude(dtype, storage, largest)))
        .collect()
}

/// Emits the `wanted` largest, or smallest, elements of input 0 along `axis`: values in output 0, indices in
/// output 1.
pub fn emit(at: &mut dyn Lowering, axis: usize, wanted: usize, largest: bool) -> Result<(), Unsupported> {
    let dtype = at.fact(0)?.dtype;
    let storage = at.storage(dtype)?;
    let view = at.view(0)?;
    let rank = view.shape.len();
    let length = view.shape[axis];
    if length.saturating_mul(wanted) > MOST_STEPS {
        return Err(Unsupported::new(format!(
            "the first {wanted} of {length} elements: too long a walk for one invocation"
        )));
    }
    // The axis becomes the innermost; the results are seen with it back in its buffer.
    let order: Vec<usize> = (0..rank).filter(|&other| other != axis).chain([axis]).collect();
    let back: Vec<usize> = (0..axis).chain([rank - 1]).chain(axis..rank - 1).collect();
    let input = at.in_layout(view.permuted(&order), Layout::Rows4)?;
    let mut shape = input.shape.clone();
    shape[rank - 1] = wanted;
    let values = at.scratch(&Fact::new(dtype, shape.clone()), Layout::Rows4)?;
    let buffers = at.scratch(&Fact::new(DType::I64, shape.clone()), Layout::Rows4)?;
    let to_u32 = |value: usize| u32::try_from(value).map_err(|_| Unsupported::new("more than 2³² rows"));
    let rows = to_u32(shape[..rank - 1].iter().product())?;
    if values.count() > 0 {
        let grid = folded_grid(rows.div_ceil(WIDTH) as u64, at.capabilities().max_grid);
        let params = Params {
            rows,
            per_row: grid[0],
            length: to_u32(length)?,
            wanted: to_u32(wanted)?,
            step: to_u32(length.div_ceil(4))?,
            output_step: to_u32(wanted.div_ceil(4))?,
            spare: [0; 2],
        };
        let bindings =
            [(input.buffer, Access::Read), (values.buffer, Access::Write), (buffers.buffer, Access::Write)];
        at.emit(&TOP_K, prelude(dtype, storage, largest), params, &bindings, grid)?;
    }
    at.alias(0, values.permuted(&back));
    at.alias(1, buffers.permuted(&back));
    Ok(())
}
