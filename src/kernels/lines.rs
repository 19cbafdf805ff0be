//! Lines of elements along one axis, an invocation or a group a line: the parameters that softmax, running
//! sums and norms share.

use super::Lowering;
use super::block::parameters;
use super::reduction_group::{Neighbours, ReductionGroup};
use super::{Prelude, folded_grid};
use crate::base::{Capabilities, Layout, Unsupported};

/// What the shaders begin with.
pub(super) const LINES: &str = include_str!("../../shaders/lib/lines.wgsl");

/// Adds what groups need to a prelude that has [`LINES`].
pub(super) fn of_groups(prelude: Prelude) -> Prelude {
    prelude.code(include_str!("../../shaders/lib/group_lines.wgsl"))
}

/// Invocations of a workgroup.
pub(super) const WIDTH: u32 = 64;

parameters! {
    /// Strides in groups of 4. Across the innermost axis a line is 4 neighbouring columns, else a row;
    /// `count` of them, of `length` elements each.
    pub(super) struct Params {
        count: u32,
        per_row: u32,
        length: u32,
        columns: u32,
        outer: u32,
        step: u32,
        spare: [u32; 2],
    }
}

/// Where the lines of a tensor lie along an axis.
pub(super) struct Lines {
    pub params: Params,
    pub grid: [u32; 3],
    /// The axis is not the innermost of the layout.
    pub across: bool,
}

impl Lines {
    /// The lines of a whole buffer of this layout and shape. `what` names the work where it is too large.
    pub fn new(
        at: &dyn Lowering,
        layout: Layout,
        shape: &[usize],
        axis: usize,
        what: &str,
    ) -> Result<Self, Unsupported> {
        let physical = layout.physical(shape);
        let position = physical
            .iter()
            .position(|dim| dim.0 == axis)
            .ok_or_else(|| Unsupported::new(format!("{what} of a scalar")))?;
        let inner4 = physical.last().map_or(1, |dim| dim.1) / 4;
        let to_u32 = |value: usize| {
            u32::try_from(value).map_err(|_| Unsupported::new(format!("{what} beyond 2³² elements")))
        };
        let across = position + 1 < physical.len();
        let before: usize = physical[..position].iter().map(|dim| dim.1).product();
        let (count, columns, outer, step) = if across {
            let between: usize = physical[position + 1..physical.len() - 1].iter().map(|dim| dim.1).product();
            let columns = between * inner4;
            (before * columns, columns, columns * shape[axis], columns)
        } else {
            (before, 1, 1, inner4)
        };
        let grid = folded_grid((count as u64).div_ceil(WIDTH as u64), at.capabilities().max_grid);
        let params = Params {
            count: to_u32(count)?,
            per_row: grid[0],
            length: to_u32(shape[axis])?,
            columns: to_u32(columns)?,
            outer: to_u32(outer)?,
            step: to_u32(step)?,
            spare: [0; 2],
        };
        Ok(Self { params, grid, across })
    }
    /// The division where groups make the lines, with its parameters and its grid.
    pub fn in_groups(&self, capabilities: &Capabilities) -> (ReductionGroup, Params, [u32; 3]) {
        let (count, length) = (self.params.count as usize, self.params.length as usize);
        let (items, neighbours) =
            if self.across { (length, Neighbours::Lines) } else { (length.div_ceil(4), Neighbours::Items) };
        let group = ReductionGroup::new(capabilities, count, items, neighbours);
        let grid = group.grid(count, capabilities.max_grid);
        (group, Params { per_row: grid[0], ..self.params }, grid)
    }
}
