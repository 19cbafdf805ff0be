//! Weights of 2, 4 and 8 bits as the right-hand matrix of products: `shaders/lib/b_nbits.wgsl`. They stay
//! packed in the device's memory; a kernel makes float32 of what it has loaded.

use super::weights::Form;
use super::{Packing, Prelude};
use crate::base::{ElementFormat, Levels, WeightLayout};
use crate::error::{Error, Result};
use crate::tensor::{Tensor, element_count, zeros};
use crate::threads::chunks;
use std::fmt;

const FUNCTIONS: &str = include_str!("../../shaders/lib/b_nbits.wgsl");

/// Groups of 4 columns of a panel.
const GROUPS: usize = 8;
/// Columns of a panel.
const PANEL: usize = 4 * GROUPS;

/// What of such weights a kernel's text depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Codes {
    bits: u32,
    block: u32,
    zeros: bool,
    levels: Levels,
}

impl fmt::Display for Codes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {} bits, blocks of {}", self.levels, self.bits, self.block)?;
        f.write_str(if self.zeros { " with zero points" } else { "" })
    }
}

impl Codes {
    pub fn of(layout: &WeightLayout) -> Self {
        Self {
            bits: layout.bits as u32,
            block: layout.block as u32,
            zeros: layout.zeros,
            levels: layout.levels,
        }
    }

    /// Groups of 4 rows that are read at once.
    pub(super) fn parts(self) -> u32 {
        8 / self.bits
    }

    /// Adds the functions that read the matrix to a prelude.
    pub(super) fn prelude(self, prelude: Prelude) -> Prelude {
        let layout = WeightLayout {
            k: 0,
            n: 0,
            bits: self.bits as usize,
            block: self.block as usize,
            zeros: self.zeros,
            levels: self.levels,
        };
        let level = match self.levels.table() {
            None => "fn level4(codes: vec4<u32>) -> vec4<f32> { return vec4<f32>(codes); }\n".to_string(),
            Some(table) => {
                let list: Vec<String> = table.iter().map(|level| format!("{level:?}")).collect();
                format!(
                    "var<private> levels: array<f32, 16> = array<f32, 16>({});\n\
                     fn level4(codes: vec4<u32>) -> vec4<f32> {{ return vec4(levels[codes.x], \
                     levels[codes.y], levels[codes.z], levels[codes.w]); }}\n",
                    list.join(", ")
                )
            }
        };
        prelude
            .typed("W", ElementFormat::U32)
            .constant("BITS", self.bits)
            .constant("BLOCK", self.block)
            .flag("ZEROS", self.zeros)
            .code(&format!("const ZERO: f32 = {:?};\n{level}{FUNCTIONS}", layout.default_zero()))
    }

    /// Chunks of 4 words of a block of 4 columns, its scales and zero points counted.
    fn chunks(&self) -> usize {
        (self.block * self.bits / 32) as usize + 1 + usize::from(self.zeros)
    }
    /// The same of a panel.
    pub(super) fn chunks_of_panel(&self, layout: &WeightLayout) -> usize {
        layout.blocks().saturating_mul(self.chunks()).saturating_mul(GROUPS)
    }
    /// How many columns fit a binding of so many bytes; at least a panel's.
    pub(super) fn most_columns(&self, layout: &WeightLayout, bytes: u64) -> usize {
        let panel = self.chunks_of_panel(layout).saturating_mul(16).max(1) as u64;
        usize::try_from((bytes / panel).max(1)).map_or(usize::MAX, |panels| panels.saturating_mul(PANEL))
    }

    /// Packs `n` columns from `first` on, which is a panel's first.
    pub(super) fn packing(&self, layout: &WeightLayout, first: usize, n: usize) -> Packing {
        let shape = vec![n.div_ceil(PANEL), layout.blocks(), self.chunks(), GROUPS, 4];
        let levels = match layout.levels {
            Levels::Linear => 0,
            Levels::Fp4 => 1,
            Levels::Nf4 => 2,
        };
        let zeros = usize::from(layout.zeros);
        let args = vec![layout.k, layout.n, layout.bits, layout.block, zeros, levels, first, n];
        Packing { name: "nbits", args, shape, pack }
    }
}

fn pack(tensor: &Tensor, args: &[usize]) -> Result<Tensor> {
    let &[k, n, bits, block, with_zeros, levels, first, columns] = args else {
        return Err(Error::internal("packed weights without arguments"));
    };
    let levels = [Levels::Linear, Levels::Fp4, Levels::Nf4][levels.min(2)];
    let layout = WeightLayout { k, n, bits, block, zeros: with_zeros != 0, levels };
    let codes = Codes::of(&layout);
    let from = layout.read(tensor)?;
    let shape = codes.packing(&layout, first, columns).shape;
    let mut to: Vec<u32> = zeros(element_count(&shape)?)?;
    let (record, parts, per_word) = (codes.chunks() * PANEL, 8 / bits, layout.per_word());
    let mask = (1u32 << bits) - 1;
    chunks(&mut to, record.saturating_mul(layout.blocks()).max(1), |panel, to| {
        for (block, to) in to.chunks_exact_mut(record).enumerate() {
            for (chunk, to) in to.chunks_exact_mut(PANEL).enumerate() {
                let factor = (chunk * 4 * parts).checked_sub(layout.block).map(|past| past / (4 * parts));
                for (group, to) in to.chunks_exact_mut(4).enumerate() {
                    let column = first + panel * PANEL + group * 4;
                    match factor {
                        Some(0) => (0..4).for_each(|i| to[i] = from.scale_bits(column + i, block)),
                        Some(_) => (0..4).for_each(|i| to[i] = from.zero_bits(column + i, block)),
                        None => {
                            for i in 0..4 {
                                for (at, to) in to.iter_mut().enumerate() {
                                    for j in 0..parts {
                                        let row = (chunk * 4 + at) * parts + j;
                                        let word = from.word(column + i, block, row / per_word);
                                        let code = word >> (row % per_word * bits) & mask;
                                        *to |= code << (8 * i + bits * j);
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    });
    Tensor::new(shape, to)
}

/// Forms for the test without a device: every number of bits, with zero points and without, a table.
pub(super) fn test_forms() -> [Form; 4] {
    let form = |bits, block, zeros, levels| Form::Nbits(Codes { bits, block, zeros, levels });
    [
        form(4, 32, false, Levels::Linear),
        form(2, 16, true, Levels::Linear),
        form(8, 64, true, Levels::Linear),
        form(4, 64, false, Levels::Nf4),
    ]
}
