//! Where a kernel writes: rows of whole groups of 4, a step apart. The rows of a matrix, or an image's pixels
//! with their channels.

use crate::base::{BufferId, Layout, Unsupported, View};

/// A buffer's part that a kernel fills; offset and step in groups of 4 elements. Where the rows fill the
/// buffer, the step is their length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    pub buffer: BufferId,
    pub offset: u32,
    pub step: u32,
}

impl Target {
    /// The target that a view is, its elements in the order of `layout`: rows along the axis that lies
    /// innermost there.
    ///
    /// Errors: rows that begin within a group, or don't lie a constant step apart.
    pub fn of(view: &View, layout: Layout) -> Result<Self, Unsupported> {
        let mut order: Vec<usize> = layout.physical(&view.shape).iter().map(|dim| dim.0).collect();
        if view.shape.is_empty() {
            order.clear();
        }
        let row = order.last().map_or(1, |&axis| view.shape[axis]);
        let rows: usize = order.iter().rev().skip(1).map(|&axis| view.shape[axis]).product();
        let none = || Unsupported::new("rows that don't lie a constant step apart");
        let to_u32 = |elements: usize| {
            u32::try_from(elements / 4).map_err(|_| Unsupported::new("a buffer beyond 2³² elements"))
        };
        if rows <= 1 || row == 0 {
            // The step is never taken.
            return Ok(Self {
                buffer: view.buffer,
                offset: to_u32(view.offset)?,
                step: to_u32(row.next_multiple_of(4))?,
            });
        }
        let flat = view.permuted(&order).reshaped(&[rows, row]).ok_or_else(none)?;
        let step = usize::try_from(flat.strides[0]).map_err(|_| none())?;
        if !step.is_multiple_of(4) || !flat.offset.is_multiple_of(4) || row > 1 && flat.strides[1] != 1 {
            return Err(none());
        }
        Ok(Self { buffer: view.buffer, offset: to_u32(flat.offset)?, step: to_u32(step)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_lie_a_step_apart() {
        let buffer = BufferId(7);
        let whole = View::whole(buffer, Layout::ChannelsLast4, &[2, 6, 3, 5]);
        assert_eq!(Target::of(&whole, Layout::ChannelsLast4).unwrap(), Target { buffer, offset: 0, step: 2 });
        // The last 8 of 24 channels.
        let part = View {
            shape: vec![2, 8, 3, 5],
            offset: 16,
            ..View::whole(buffer, Layout::ChannelsLast4, &[2, 24, 3, 5])
        };
        assert_eq!(Target::of(&part, Layout::ChannelsLast4).unwrap(), Target { buffer, offset: 4, step: 6 });
        // The right half of each row of pixels: no constant step.
        let half =
            View { shape: vec![1, 8, 3, 2], ..View::whole(buffer, Layout::ChannelsLast4, &[1, 8, 3, 4]) };
        assert!(Target::of(&half, Layout::ChannelsLast4).is_err());
        for shape in [vec![], vec![5], vec![4, 1], vec![0, 4], vec![3, 0]] {
            let rows = View::whole(buffer, Layout::Rows4, &shape);
            assert_eq!(Target::of(&rows, Layout::Rows4).unwrap().offset, 0, "{shape:?}");
        }
    }
}
