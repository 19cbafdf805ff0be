//! Products of integer matrices: `shaders/matmul_integer.wgsl`.

use super::Lowering;
use super::block::parameters;
use super::{Kernel, Prelude, folded_grid, to_u32};
use crate::base::{Access, BufferId, ElementFormat, Unsupported};

pub static MATMUL_INTEGER: Kernel = Kernel {
    stem: "matmul_integer",
    shader: include_str!("../../shaders/matmul_integer.wgsl"),
    params: Params::MEMBERS,
    variants,
};

parameters! {
    struct Params {
        m: u32,
        n4: u32,
        k: u32,
        k4: u32,
        a_batch: u32,
        b_batch: u32,
        zeros: u32,
        a_zero_row: u32,
        a_zero_batch: u32,
        b_zero_batch: u32,
        blocks: u32,
        invocations: u32,
        per_row: u32,
        spare: [u32; 3],
    }
}

const WIDTH: u32 = 64;
const ROWS: u32 = 4;
const HAS_A: u32 = 1;
const HAS_B: u32 = 2;
const ONE_B: u32 = 4;

fn prelude(rows: u32) -> Prelude {
    Prelude::new().movable(ElementFormat::I32).constant("WIDTH", WIDTH).turns("ROWS", rows)
}

fn variants() -> Vec<Prelude> {
    [1, ROWS].map(prelude).to_vec()
}

/// `batch` products of `[m, k] · [k, n]`.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    pub batch: usize,
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

/// Zero points: none, one for all, or one for each row of A or column of B in each product.
#[derive(Debug, Clone, Copy)]
pub enum Zeros {
    None,
    One(BufferId),
    /// Of A's rows densely, of B's columns in rows of whole groups of 4.
    Each(BufferId),
}

/// Emits the products of matrices in rows of whole groups of 4, contiguous or the same for the whole batch
/// (`repeats`, of A and B), into such rows.
pub fn emit(
    at: &mut dyn Lowering,
    s: Sizes,
    [a, b]: [BufferId; 2],
    repeats: [bool; 2],
    zeros: [Zeros; 2],
    output: BufferId,
) -> Result<(), Unsupported> {
    let rows = if s.m == 1 { 1 } else { ROWS };
    let (n4, k4) = (to_u32(s.n.div_ceil(4))?, to_u32(s.k.div_ceil(4))?);
    let blocks = to_u32(s.m)?.div_ceil(rows);
    let invocations = to_u32(s.batch.saturating_mul(blocks as usize).saturating_mul(n4 as usize))?;
    let grid = folded_grid(u64::from(invocations.div_ceil(WIDTH)), at.capabilities().max_grid);
    let step = |repeats: bool, groups: usize| if repeats { Ok(0) } else { to_u32(groups) };
    let dummy = at.dummy(ElementFormat::I32)?;
    let each = |zeros: Zeros| matches!(zeros, Zeros::Each(_));
    let buffer = |zeros: Zeros| match zeros {
        Zeros::None => dummy,
        Zeros::One(buffer) | Zeros::Each(buffer) => buffer,
    };
    let bits = match zeros[0] {
        Zeros::None => 0,
        _ => HAS_A,
    } | match zeros[1] {
        Zeros::None => 0,
        Zeros::One(_) => HAS_B | ONE_B,
        Zeros::Each(_) => HAS_B,
    };
    let params = Params {
        m: to_u32(s.m)?,
        n4,
        k: to_u32(s.k)?,
        k4,
        a_batch: step(repeats[0], s.m.saturating_mul(k4 as usize))?,
        b_batch: step(repeats[1], s.k.saturating_mul(n4 as usize))?,
        zeros: bits,
        a_zero_row: u32::from(each(zeros[0])),
        a_zero_batch: step(!each(zeros[0]) || repeats[0], s.m)?,
        b_zero_batch: step(!each(zeros[1]) || repeats[1], n4 as usize)?,
        blocks,
        invocations,
        per_row: grid[0],
        spare: [0; 3],
    };
    let bindings = [
        (a, Access::Read),
        (b, Access::Read),
        (buffer(zeros[0]), Access::Read),
        (buffer(zeros[1]), Access::Read),
        (output, Access::Write),
    ];
    at.emit(&MATMUL_INTEGER, prelude(rows), params, &bindings, grid)
}
