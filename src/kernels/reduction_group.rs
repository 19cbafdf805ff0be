//! Groups: how many invocations of a hardware adapter make one line of items together
//! (`shaders/lib/reduction_group.wgsl`).
//!
//! Nothing here is measured: there was no such adapter to measure on (docs/performance.md).

use super::{Prelude, folded_grid};
use crate::base::Capabilities;

/// Invocations that an adapter should have to do, if there is work for them: below that a line gets more of
/// them.
const MIN_INVOCATIONS: usize = 1 << 15;
/// The most invocations of a workgroup here; WebGPU promises them.
const WIDEST: u32 = 256;
/// Invocations of a workgroup of several small groups.
const NARROWEST: u32 = 64;
/// Neighbouring invocations that should read neighbouring groups of 4: 128 bytes of float32.
const NEIGHBOURS: u32 = 8;
/// A group of so many may be a workgroup of its own where subgroups make its sums.
const SUBGROUP: u32 = 32;

/// What an invocation may hold of its line: items, each a group of 4.
const CACHED: [u32; 3] = [1, 4, 16];

/// What lies next to each other in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Neighbours {
    /// The items of a line: rows.
    Items,
    /// The lines: columns.
    Lines,
}

/// A workgroup's division into groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReductionGroup {
    /// Invocations of a workgroup.
    pub width: u32,
    /// Invocations of a group: a power of two, as `width` is.
    pub size: u32,
    /// How far apart these are in their index.
    pub stride: u32,
    /// Items that an invocation keeps in registers, so that a line is read once; 0 where a line is longer
    /// than all can keep.
    pub cached: u32,
}

/// The largest power of two that isn't larger, for numbers from 1.
fn floor_power(number: u32) -> u32 {
    1 << (31 - number.max(1).leading_zeros())
}

impl ReductionGroup {
    /// A workgroup a line that keeps nothing in registers: for software adapters, where lines are few.
    pub const STREAMING: Self = Self { width: 64, size: 64, stride: 1, cached: 0 };

    /// The groups for `lines` lines of `items` groups of 4.
    pub fn new(capabilities: &Capabilities, lines: usize, items: usize, neighbours: Neighbours) -> Self {
        let widest = floor_power(capabilities.max_invocations.min(WIDEST)).max(NARROWEST);
        let power = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).min(widest).next_power_of_two();
        // Columns keep a part of the workgroup to lie side by side.
        let (least, most, cached) = match neighbours {
            Neighbours::Items => (power(items).min(NEIGHBOURS), widest, CACHED[1]),
            Neighbours::Lines => (1, widest / power(lines).min(NEIGHBOURS), CACHED[2]),
        };
        let mut group = power(items.div_ceil(cached as usize)).clamp(least, most);
        while group < most
            && (group as usize) < items
            && lines.saturating_mul(group as usize) < MIN_INVOCATIONS
        {
            group *= 2;
        }
        let width = match neighbours {
            Neighbours::Items if group >= SUBGROUP && capabilities.subgroups => group,
            Neighbours::Items => group.max(NARROWEST),
            Neighbours::Lines => (group * power(lines).min(NEIGHBOURS)).max(NARROWEST).min(widest),
        };
        let stride = if neighbours == Neighbours::Items { 1 } else { width / group };
        let cached =
            CACHED.into_iter().find(|&cached| cached as usize * group as usize >= items).unwrap_or(0);
        Self { width, size: group, stride, cached }
    }

    /// A few kinds, for the test that translates every variant.
    fn test_variants() -> [Self; 4] {
        [
            Self { width: 64, size: 8, stride: 1, cached: 4 },
            Self { width: 256, size: 256, stride: 1, cached: 16 },
            Self { width: 64, size: 64, stride: 1, cached: 0 },
            Self { width: 256, size: 32, stride: 8, cached: 1 },
        ]
    }

    /// Each prelude for each of these.
    pub fn each(samples: impl IntoIterator<Item = Prelude>) -> Vec<Prelude> {
        samples
            .into_iter()
            .flat_map(|sample| Self::test_variants().map(|group| sample.clone().reduction_group(group)))
            .collect()
    }

    /// The grid for so many lines: a group each.
    pub fn grid(&self, lines: usize, max_grid: u32) -> [u32; 3] {
        folded_grid(lines.div_ceil((self.width / self.size) as usize) as u64, max_grid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(lines: usize, items: usize, neighbours: Neighbours) -> ReductionGroup {
        ReductionGroup::new(&Capabilities::webgpu(), lines, items, neighbours)
    }

    #[test]
    fn groups_fit_their_lines() {
        use Neighbours::*;
        // 3,136 runs of 96 elements: 8 invocations each, 3 groups in registers.
        assert_eq!(group(3136, 24, Items), ReductionGroup { width: 64, size: 16, stride: 1, cached: 4 });
        assert_eq!(group(100_000, 24, Items), ReductionGroup { width: 64, size: 8, stride: 1, cached: 4 });
        // One row of 32,000: all that a workgroup has, in two walks.
        assert_eq!(group(1, 8000, Items), ReductionGroup { width: 256, size: 256, stride: 1, cached: 0 });
        assert_eq!(group(1, 4096, Items).cached, 16);
        // Many columns of few items need no help; few columns of many do.
        assert_eq!(group(100_000, 16, Lines), ReductionGroup { width: 64, size: 1, stride: 64, cached: 16 });
        assert_eq!(group(16, 3136, Lines), ReductionGroup { width: 256, size: 32, stride: 8, cached: 0 });
        assert_eq!(group(1, 3136, Lines), ReductionGroup { width: 256, size: 256, stride: 1, cached: 16 });
    }

    #[test]
    fn every_division_is_whole() {
        let capabilities =
            [false, true].map(|subgroups| Capabilities { subgroups, ..Capabilities::webgpu() });
        for capabilities in &capabilities {
            for lines in [0, 1, 3, 7, 64, 5000, 1 << 20, usize::MAX] {
                for items in [0, 1, 2, 5, 24, 300, 5000, 1 << 20, usize::MAX] {
                    for neighbours in [Neighbours::Items, Neighbours::Lines] {
                        let t = ReductionGroup::new(capabilities, lines, items, neighbours);
                        let powers = t.width.is_power_of_two() && t.size.is_power_of_two();
                        assert!(
                            powers
                                && t.size <= t.width
                                && t.width <= 256
                                && (t.width / t.size).is_multiple_of(t.stride),
                            "{lines} {items} {t:?}"
                        );
                        assert!(
                            t.cached == 0 || t.cached as usize * t.size as usize >= items,
                            "{lines} {items} {t:?}"
                        );
                    }
                }
            }
        }
    }
}
