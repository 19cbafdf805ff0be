//! Running sums along an axis: `shaders/cum_sum.wgsl`.

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

/// Which elements belong to a sum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Running {
    /// An element is left out of its own sum.
    pub exclusive: bool,
    /// From the end.
    pub reverse: bool,
}

fn prelude(dtype: DType, storage: ElementFormat, across: bool, how: Running) -> Result<Prelude, Unsupported> {
    let add = to_wgsl("add", &Pointwise::of(&table::ADD, 2, &[]), &[dtype, dtype])?;
    let prelude = Prelude::new()
        .movable(storage)
        .flag("ACROSS", across)
        .flag("EXCLUSIVE", how.exclusive)
        .flag("REVERSE", how.reverse);
    Ok(prelude.constant("WIDTH", WIDTH).code(&add).code(LINES))
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
    let forms = [(false, false), (true, true)];
    let each = |(dtype, storage)| {
        forms.into_iter().flat_map(move |(across, on)| {
            prelude(dtype, storage, across, Running { exclusive: on, reverse: !on })
        })
    };
    types.into_iter().flat_map(each).collect()
}

/// Emits the running sums of input 0 along `axis`.
pub fn emit(at: &mut dyn Lowering, axis: usize, how: Running) -> Result<(), Unsupported> {
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
        prelude(dtype, storage, lines.across, how)?,
        lines.params,
        &[(input.buffer, Access::Read), (output.buffer, Access::Write)],
        lines.grid,
    )
}
