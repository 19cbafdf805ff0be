//! Teams: how many invocations of a hardware adapter make one line of items together
//! (`shaders/lib/team.wgsl`).
//!
//! Nothing here is measured: there was no such adapter to measure on (docs/performance.md).

use super::{Prelude, folded_grid};
use crate::base::Capabilities;

/// Invocations that an adapter should have to do, if there is work for them: below that a line gets more of
/// them.
const MIN_INVOCATIONS: usize = 1 << 15;
/// The most invocations of a workgroup here; WebGPU promises them.
const WIDEST: u32 = 256;
/// Invocations of a workgroup of several small teams.
const NARROWEST: u32 = 64;
/// Neighbouring invocations that should read neighbouring groups of 4: 128 bytes of float32.
const NEIGHBOURS: u32 = 8;
/// A team of so many may be a workgroup of its own where subgroups make its sums.
const SUBGROUP: u32 = 32;

/// What an invocation may hold of its line: items, each a group of 4.
const HELD: [u32; 3] = [1, 4, 16];

/// What lies next to each other in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Neighbours {
    /// The items of a line: rows.
    Items,
    /// The lines: columns.
    Lines,
}

/// A workgroup's division into teams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Team {
    /// Invocations of a workgroup.
    pub width: u32,
    /// Invocations of a team: a power of two, as `width` is.
    pub team: u32,
    /// How far apart these are in their index.
    pub stride: u32,
    /// Items that an invocation keeps in registers, so that a line is read once; 0 where a line is longer
    /// than all can keep.
    pub held: u32,
}

/// The largest power of two that isn't larger, for numbers from 1.
fn floor_power(number: u32) -> u32 {
    1 << (31 - number.max(1).leading_zeros())
}

impl Team {
    /// A workgroup a line that keeps nothing in registers: for software adapters, where lines are few.
    pub const STREAMING: Self = Self { width: 64, team: 64, stride: 1, held: 0 };

    /// The teams for `lines` lines of `items` groups of 4.
    pub fn new(capabilities: &Capabilities, lines: usize, items: usize, neighbours: Neighbours) -> Self {
        let widest = floor_power(capabilities.max_invocations.min(WIDEST)).max(NARROWEST);
        let power = |count: usize| u32::try_from(count).unwrap_or(u32::MAX).min(widest).next_power_of_two();
        // Columns keep a part of the workgroup to lie side by side.
        let (least, most, held) = match neighbours {
            Neighbours::Items => (power(items).min(NEIGHBOURS), widest, HELD[1]),
            Neighbours::Lines => (1, widest / power(lines).min(NEIGHBOURS), HELD[2]),
        };
        let mut team = power(items.div_ceil(held as usize)).clamp(least, most);
        while team < most && (team as usize) < items && lines.saturating_mul(team as usize) < MIN_INVOCATIONS
        {
            team *= 2;
        }
        let width = match neighbours {
            Neighbours::Items if team >= SUBGROUP && capabilities.subgroups => team,
            Neighbours::Items => team.max(NARROWEST),
            Neighbours::Lines => (team * power(lines).min(NEIGHBOURS)).max(NARROWEST).min(widest),
        };
        let stride = if neighbours == Neighbours::Items { 1 } else { width / team };
        let held = HELD.into_iter().find(|&held| held as usize * team as usize >= items).unwrap_or(0);
        Self { width, team, stride, held }
    }

    /// A few kinds, for the test that translates every variant.
    fn test_variants() -> [Self; 4] {
        [
            Self { width: 64, team: 8, stride: 1, held: 4 },
            Self { width: 256, team: 256, stride: 1, held: 16 },
            Self { width: 64, team: 64, stride: 1, held: 0 },
            Self { width: 256, team: 32, stride: 8, held: 1 },
        ]
    }

    /// Each prelude for each of these.
    pub fn each(samples: impl IntoIterator<Item = Prelude>) -> Vec<Prelude> {
        samples
            .into_iter()
            .flat_map(|sample| Self::test_variants().map(|team| sample.clone().team(team)))
            .collect()
    }

    /// The grid for so many lines: a team each.
    pub fn grid(&self, lines: usize, max_grid: u32) -> [u32; 3] {
        folded_grid(lines.div_ceil((self.width / self.team) as usize) as u64, max_grid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn team(lines: usize, items: usize, neighbours: Neighbours) -> Team {
        Team::new(&Capabilities::webgpu(), lines, items, neighbours)
    }

    #[test]
    fn teams_fit_their_lines() {
        use Neighbours::*;
        // 3,136 runs of 96 elements: 8 invocations each, 3 groups in registers.
        assert_eq!(team(3136, 24, Items), Team { width: 64, team: 16, stride: 1, held: 4 });
        assert_eq!(team(100_000, 24, Items), Team { width: 64, team: 8, stride: 1, held: 4 });
        // One row of 32,000: all that a workgroup has, in two walks.
        assert_eq!(team(1, 8000, Items), Team { width: 256, team: 256, stride: 1, held: 0 });
        assert_eq!(team(1, 4096, Items).held, 16);
        // Many columns of few items need no help; few columns of many do.
        assert_eq!(team(100_000, 16, Lines), Team { width: 64, team: 1, stride: 64, held: 16 });
        assert_eq!(team(16, 3136, Lines), Team { width: 256, team: 32, stride: 8, held: 0 });
        assert_eq!(team(1, 3136, Lines), Team { width: 256, team: 256, stride: 1, held: 16 });
    }

    #[test]
    fn every_division_is_whole() {
        let capabilities =
            [false, true].map(|subgroups| Capabilities { subgroups, ..Capabilities::webgpu() });
        for capabilities in &capabilities {
            for lines in [0, 1, 3, 7, 64, 5000, 1 << 20, usize::MAX] {
                for items in [0, 1, 2, 5, 24, 300, 5000, 1 << 20, usize::MAX] {
                    for neighbours in [Neighbours::Items, Neighbours::Lines] {
                        let t = Team::new(capabilities, lines, items, neighbours);
                        let powers = t.width.is_power_of_two() && t.team.is_power_of_two();
                        assert!(
                            powers
                                && t.team <= t.width
                                && t.width <= 256
                                && (t.width / t.team).is_multiple_of(t.stride),
                            "{lines} {items} {t:?}"
                        );
                        assert!(
                            t.held == 0 || t.held as usize * t.team as usize >= items,
                            "{lines} {items} {t:?}"
                        );
                    }
                }
            }
        }
    }
}
