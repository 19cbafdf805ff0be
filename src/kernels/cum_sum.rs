//! Running sums and products along an axis: `shaders/cum_sum.wgsl`.

use super::Lowering;
use super::lines::{LINES, Lines, Params, WIDTH};
use super::{Kernel, Prelude};
use crate::base::{Access, ElementFormat, Layout, Unsupported};
use crate::expression::{Pointwise, table, to_wgsl};
use crate::tensor::DType;

pub static CUM_SUM: Kernel = Kernel {
    stem: "cum_sum",
    shader: include_str!("../../shaders/cum_sum.wgsl"),
    params: Params::MEMBERS,
    variants,
};

/// What a line is joined by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    Sum,
    Product,
}

/// Which elements belong to a sum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Running {
    /// An element is left out of its own sum.
    pub exclusive: bool,
    /// From the end.
    pub reverse: bool,
}

fn prelude(
    dtype: DType,
    storage: ElementFormat,
    across: bool,
    join: Join,
    how: Running,
) -> Result<Prelude, Unsupported> {
    let row = if join == Join::Sum { &table::ADD } else { &table::MUL };
    let function = to_wgsl("join", &Pointwise::of(row, 2, &[]), &[dtype, dtype])?;
    let first = match (join, storage) {
        (Join::Sum, _) => "Lane()",
        (Join::Product, ElementFormat::I64) => "vec2<u32>(1u, 0u)",
        (Join::Product, _) => "Lane(1)",
    };
    let first = format!("fn first() -> Lane {{ return {first}; }}\n");
    let prelude = Prelude::new()
        .movable(storage)
        .flag("ACROSS", across)
        .flag("EXCLUSIVE", how.exclusive)
        .flag("REVERSE", how.reverse);
    Ok(prelude.constant("WIDTH", WIDTH).code(&function).code(&first).code(LINES))
}

fn variants() -> Vec<Prelude> {
    let types = [
        (DType::F32, ElementFormat::F32),
        (DType::F32, ElementFormat::F16),
        (DType::F32, ElementFormat::F16Packed),
        (DType::I32, ElementFormat::I32),
        (DType::U8, ElementFormat::I32),
        (DType::U32, ElementFormat::U32),
        (DType::I64, ElementFormat::I64),
    ];
    let forms = [(false, Join::Sum), (true, Join::Sum), (false, Join::Product), (true, Join::Product)];
    let each = |(dtype, storage)| {
        forms.into_iter().flat_map(move |(on, join)| {
            prelude(dtype, storage, on, join, Running { exclusive: on, reverse: !on })
        })
    };
    types.into_iter().flat_map(each).collect()
}

/// Emits the running sums or products of input 0 along `axis`.
pub fn emit(at: &mut dyn Lowering, axis: usize, join: Join, how: Running) -> Result<(), Unsupported> {
    let dtype = at.fact(0)?.dtype;
    let storage = at.storage(dtype)?;
    let input = at.input(0, Layout::Rows4)?;
    let output = at.output(0, Layout::Rows4)?;
    if input.count() == 0 {
        return Ok(());
    }
    let lines = Lines::new(at, Layout::Rows4, &input.shape, axis, "running sums")?;
    at.emit(
        &CUM_SUM,
        prelude(dtype, storage, lines.across, join, how)?,
        lines.params,
        &[(input.buffer, Access::Read), (output.buffer, Access::Write)],
        lines.grid,
    )
}
