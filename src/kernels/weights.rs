//! The right-hand matrix of a contraction: as it lies, packed in panels for a software adapter, or as codes
//! of few bits (`shaders/lib/b_*.wgsl`).
//!
//! A software adapter reads each invocation's address by itself, and a component of a load costs nearly as
//! much as the load. So a panel holds what a workgroup of 8 reads, in the order in which it does, two rows to
//! a load.

use super::nbits::Codes;
use super::{Packing, Prelude};
use crate::base::{Capabilities, Unsupported};
use crate::error::{Error, Result};
use crate::tensor::{StridedRun, Tensor};

const ROWS: &str = include_str!("../../shaders/lib/b_rows.wgsl");
const PANELS: &str = include_str!("../../shaders/lib/b_panels.wgsl");

/// Columns of a panel: 8 invocations of 4.
const PANEL: usize = 32;

/// How a matrix lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Row after row.
    Rows,
    /// In panels.
    Panels,
    /// As codes of few bits.
    Nbits(Codes),
}

impl Form {
    pub(super) fn panels(panels: bool) -> Self {
        if panels { Form::Panels } else { Form::Rows }
    }
    /// What tells it apart where variants were measured.
    pub(super) fn key(self) -> String {
        match self {
            Form::Rows => String::new(),
            Form::Panels => " packed".into(),
            Form::Nbits(codes) => format!(" {codes}"),
        }
    }
}

/// Adds the functions that read the matrix to a prelude.
pub(super) fn prelude(prelude: Prelude, form: Form) -> Prelude {
    match form {
        Form::Rows => prelude.turns("B_PARTS", 1).code(ROWS),
        Form::Panels => prelude.turns("B_PARTS", 1).code(PANELS),
        Form::Nbits(codes) => codes.prelude(prelude.turns("B_PARTS", codes.parts())),
    }
}

/// Whether a device reads panels.
pub(super) fn panels(capabilities: &Capabilities) -> bool {
    capabilities.dialect().wide
}

/// Whether neighbouring workgroups should go down the rows, sharing columns of a matrix of so many elements:
/// it is then read once, where it would not stay in a cache from one block of rows to the next.
pub(super) fn rows_first(elements: usize) -> bool {
    elements > 64 << 10
}

/// Loads from one panel to the next, for `groups` groups of 4 rows.
pub(super) fn panel_step(groups: usize) -> Result<u32, Unsupported> {
    groups
        .checked_mul(16)
        .and_then(|step| u32::try_from(step).ok())
        .ok_or_else(|| Unsupported::new("a matrix beyond 2³² elements"))
}

/// The shape of a packed matrix: panels, groups of 4 rows, pairs of rows, invocations, the pair's rows,
/// columns.
pub(super) fn shape(columns: usize, groups: usize) -> Vec<usize> {
    vec![columns.div_ceil(PANEL), groups, 2, PANEL / 4, 2, 4]
}

/// A packed matrix of so many columns: `row` says where in the tensor a row begins, and its columns lie
/// `stride` apart. Rows for which it says nothing are 0.
pub(super) fn pick(
    tensor: &Tensor,
    [rows, columns]: [usize; 2],
    stride: usize,
    row: impl Fn(usize) -> Option<usize> + Sync,
) -> Result<Tensor> {
    let packed = pick_all(tensor, 1, [rows, columns], stride, |_, index| row(index))?;
    packed.reshape(&packed.shape()[1..])
}

/// The same for several matrices, one after the other: `row` takes (matrix, row).
pub(super) fn pick_all(
    tensor: &Tensor,
    matrices: usize,
    [rows, columns]: [usize; 2],
    stride: usize,
    row: impl Fn(usize, usize) -> Option<usize> + Sync,
) -> Result<Tensor> {
    let groups = rows.div_ceil(4).max(1);
    let one = shape(columns, rows.div_ceil(4));
    // A block is a pair of rows of a panel: each invocation's 4 columns of the one and of the other.
    let pairs = (one.iter().product::<usize>() / (2 * PANEL)).max(1);
    let whole: Vec<usize> = std::iter::once(matrices).chain(one).collect();
    tensor.gather_vec4(whole, PANEL / 2, |block| {
        let (matrix, pair) = (block / pairs, block % pairs);
        let (panel, first) = (pair / (groups * 2), pair % (groups * 2) * 2);
        let starts = [row(matrix, first), row(matrix, first + 1)];
        move |index| {
            let column = panel * PANEL + index / 2 * 4;
            let start = starts[index % 2].filter(|_| column < columns)?;
            Some(StridedRun {
                start: start.wrapping_add(column.wrapping_mul(stride)),
                stride,
                count: columns - column,
            })
        }
    })
}

/// Packs a matrix `[rows, columns]` that a constant holds at these strides; rows beyond the last are 0.
pub(super) fn of_matrix(offset: usize, strides: [isize; 2], [rows, columns]: [usize; 2]) -> Packing {
    let args = vec![offset, strides[0] as usize, strides[1] as usize, rows, columns];
    Packing { name: "panels", args, shape: shape(columns, rows.div_ceil(4)), pack: pack_matrix }
}

fn pack_matrix(tensor: &Tensor, args: &[usize]) -> Result<Tensor> {
    let [offset, row_stride, column_stride, rows, columns] = *args else {
        return Err(Error::internal("panels without arguments"));
    };
    // Strides may be negative: they wrap.
    pick(tensor, [rows, columns], column_stride, |row| {
        (row < rows).then(|| offset.wrapping_add(row.wrapping_mul(row_stride)))
    })
}

/// Packs convolution weights `[out_c, in_c, h, w]`: the rows are (tap, group of 4 input channels, channel).
pub(super) fn of_filters(out_c: usize, in_c: usize, taps: usize) -> Packing {
    let groups = taps * in_c.div_ceil(4);
    Packing {
        name: "filter panels",
        args: vec![out_c, in_c, taps],
        shape: shape(out_c, groups),
        pack: pack_filters,
    }
}

fn pack_filters(weights: &Tensor, args: &[usize]) -> Result<Tensor> {
    let [out_c, in_c, taps] = *args else { return Err(Error::internal("panels without arguments")) };
    let in4 = in_c.div_ceil(4);
    pick(weights, [taps * in4 * 4, out_c], in_c * taps, |row| {
        let (tap, channel) = (row / (in4 * 4), row % (in4 * 4));
        (channel < in_c).then(|| channel * taps + tap)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panel_holds_two_rows_to_a_load() {
        let tensor = Tensor::new([3, 5], (0..15).map(|x| x as f32).collect::<Vec<_>>()).unwrap();
        let packed =
            (of_matrix(0, [5, 1], [3, 5]).pack)(&tensor, &of_matrix(0, [5, 1], [3, 5]).args).unwrap();
        assert_eq!(packed.shape(), [1, 1, 2, 8, 2, 4]);
        let all = packed.to_f64s().unwrap();
        // Rows 0 and 1 of columns 0..4, then of column 4 and padding.
        assert_eq!(
            all[..16],
            [0.0, 1.0, 2.0, 3.0, 5.0, 6.0, 7.0, 8.0, 4.0, 0.0, 0.0, 0.0, 9.0, 0.0, 0.0, 0.0]
        );
        // Row 2 and none.
        assert_eq!(all[64..72], [10.0, 11.0, 12.0, 13.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
