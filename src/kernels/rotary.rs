//! Rotary positions: `shaders/rotary.wgsl`.

use super::Lowering;
use super::block::parameters;
use super::{Kernel, Prelude, folded_grid, indices, matmul, to_u32};
use crate::base::{Access, ElementFormat, Fact, Layout, Unsupported, View};

pub static ROTARY: Kernel = Kernel {
    stem: "rotary",
    shader: include_str!("../../shaders/rotary.wgsl"),
    params: Params::MEMBERS,
    variants,
};

parameters! {
    /// Where the rows of an operand lie.
    struct Rows {
        offset: u32,
        outer: u32,
        middle: u32,
        inner: u32,
    }
}

parameters! {
    struct Params {
        groups: u32,
        per_row: u32,
        head4: u32,
        dim: u32,
        middle: u32,
        inner: u32,
        angles: i32,
        report: u32,
        x: Rows,
        cos: Rows,
        sin: Rows,
        positions: Rows,
        cos_row: u32,
        sin_row: u32,
        spare: [u32; 2],
    }
}

const WIDTH: u32 = 64;
/// The binding of the status.
const STATUS: u32 = 5;

/// What makes a variant: see the shader.
#[derive(Debug, Clone, Copy)]
struct RotaryVariant {
    interleaved: bool,
    aligned: bool,
    whole: bool,
    positions: bool,
    /// Whether a position may lie beyond the angles.
    report: bool,
}

fn prelude(storage: ElementFormat, v: RotaryVariant) -> Prelude {
    let base =
        indices::declare(Prelude::new().storage(storage), ElementFormat::I64, v.report.then_some(STATUS))
            .flag("INTERLEAVED", v.interleaved)
            .flag("ALIGNED", v.aligned);
    base.flag("WHOLE", v.whole).flag("POSITIONS", v.positions).constant("WIDTH", WIDTH)
}

fn variants() -> Vec<Prelude> {
    let kinds = [
        (false, true, false, true),
        (false, true, true, false),
        (false, false, false, true),
        (false, false, true, false),
        (true, false, false, true),
    ];
    let kinds = kinds.map(|(interleaved, aligned, whole, positions)| RotaryVariant {
        interleaved,
        aligned,
        whole,
        positions,
        report: positions,
    });
    [ElementFormat::F32, ElementFormat::F16, ElementFormat::F16Packed]
        .into_iter()
        .flat_map(|storage| kinds.map(|kind| prelude(storage, kind)))
        .collect()
}

/// Rows of whole groups of 4 along three axes of a view, the innermost axis being a row's own.
fn rows(view: &View, axes: [Option<usize>; 3]) -> Result<Rows, Unsupported> {
    let step = |axis: Option<usize>| match axis {
        Some(axis) if view.shape[axis] > 1 => to_u32(
            usize::try_from(view.strides[axis] / 4).map_err(|_| Unsupported::new("rows from the end"))?,
        ),
        _ => Ok(0),
    };
    Ok(Rows {
        offset: to_u32(view.offset / 4)?,
        outer: step(axes[0])?,
        middle: step(axes[1])?,
        inner: step(axes[2])?,
    })
}

/// The sizes of a rotation.
#[derive(Debug, Clone, Copy)]
pub struct RotarySizes {
    pub batch: usize,
    pub heads: usize,
    pub sequence: usize,
    pub head: usize,
    /// Elements of a head that are turned, an even number.
    pub dim: usize,
    /// Whether X has heads and elements as one axis.
    pub flat: bool,
}

impl RotarySizes {
    /// The batch and the position of row `row` of X.
    pub fn buffer(&self, row: usize) -> (usize, usize) {
        let position = if self.flat { row / self.heads } else { row % self.sequence };
        (row / (self.heads * self.sequence), position % self.sequence)
    }
}

/// Emits the rotation of input 0 by the cosines and sines of inputs 1 and 2, at the positions of input 3
/// where it is there. `interleaved`: pairs are neighbours; otherwise an element and the one half of `dim`
/// behind it. `whole`: cosines and sines are given for every element of a head and broadcast to input 0.
pub fn emit(
    at: &mut dyn Lowering,
    s: &RotarySizes,
    interleaved: bool,
    whole: bool,
) -> Result<(), Unsupported> {
    let storage = at.float_storage(0)?;
    let shape = at.fact(0)?.shape.clone();
    let positions = if at.has_input(3) { Some(at.fact(3)?.shape.clone()) } else { None };
    if at.output_fact(0)?.count() == 0 {
        return at.output(0, Layout::Rows4).map(drop);
    }
    // The rows of X: (batch, head, position), or (batch, position, head).
    let four =
        if s.flat { [s.batch, s.sequence, s.heads, s.head] } else { [s.batch, s.heads, s.sequence, s.head] };
    let view = at.view(0)?;
    let view = at.reshaped(view, &four, "a rotation of no elements")?;
    let x = if matmul::readable(&view) { view } else { at.in_layout(view, Layout::Rows4)? };
    let buffer = if s.flat { [Some(0), Some(1), None] } else { [Some(0), None, Some(1)] };
    let mut angles = [Rows::default(); 2];
    let (mut buffers, mut angle_rows) = ([x.buffer; 2], [0; 2]);
    let spread = |view: View| if whole { view.broadcast(&shape) } else { view };
    for index in 0..2 {
        let wide = spread(at.view(index + 1)?);
        let wide = if matmul::readable(&wide) { wide } else { spread(at.input(index + 1, Layout::Rows4)?) };
        angles[index] = match (whole, &positions) {
            (true, _) => rows(&wide, [Some(0), Some(1), Some(2)])?,
            (false, Some(_)) => rows(&wide, [None; 3])?,
            (false, None) => rows(&wide, buffer)?,
        };
        if positions.is_some() {
            angle_rows[index] = rows(&wide, [Some(0), None, None])?.outer;
        }
        buffers[index] = wide.buffer;
    }
    let (ids, id_rows) = match &positions {
        Some(_) => {
            let ids = at.input(3, Layout::Dense)?;
            let step = to_u32(s.sequence)?;
            let (middle, inner) = if s.flat { (1, 0) } else { (0, 1) };
            (ids.buffer, Rows { offset: 0, outer: step, middle, inner })
        }
        None => (at.dummy(ElementFormat::I64)?, Rows::default()),
    };
    let fact = Fact::new(at.fact(0)?.dtype, four);
    let output = if s.flat { at.scratch(&fact, Layout::Rows4)? } else { at.output(0, Layout::Rows4)? };
    let head4 = s.head.div_ceil(4);
    let groups =
        to_u32([s.batch, s.heads, s.sequence].iter().fold(head4, |count, &size| count.saturating_mul(size)))?;
    let grid = folded_grid(groups.div_ceil(WIDTH) as u64, at.capabilities().max_grid);
    let report = if positions.is_some() { at.report(3, 0, vec![at.fact(1)?.shape[0]], true) } else { None };
    let params = Params {
        groups,
        per_row: grid[0],
        head4: to_u32(head4)?,
        dim: to_u32(s.dim)?,
        middle: to_u32(four[1])?,
        inner: to_u32(four[2])?,
        angles: if positions.is_some() { to_u32(at.fact(1)?.shape[0])? as i32 } else { 0 },
        report: report.unwrap_or(0),
        x: rows(&x, [Some(0), Some(1), Some(2)])?,
        cos: angles[0],
        sin: angles[1],
        positions: id_rows,
        cos_row: angle_rows[0],
        sin_row: angle_rows[1],
        spare: [0; 2],
    };
    if positions.is_some() && params.angles == 0 {
        return Err(Unsupported::new("positions without angles"));
    }
    let variant = RotaryVariant {
        interleaved,
        aligned: !interleaved && s.dim.is_multiple_of(8),
        whole,
        positions: positions.is_some(),
        report: report.is_some(),
    };
    let bindings = [
        (x.buffer, Access::Read),
        (buffers[0], Access::Read),
        (buffers[1], Access::Read),
        (ids, Access::Read),
        (output.buffer, Access::Write),
    ];
    at.emit(&ROTARY, prelude(storage, variant), params, &bindings, grid)?;
    if s.flat {
        at.alias_reshaped(output, &shape)?;
    }
    Ok(())
}
