//! Weights of 2, 4 or 8 bits as the CPU reads them and as kernels are given them: how they lie in a tensor.

use crate::error::{Error, Result};
use crate::tensor::{Real, Tensor, element_count, zeros};
use crate::threads::chunks;

/// Columns that lie side by side: as many as a vector of 512 bits has lanes of 32.
pub const LANES: usize = 16;

/// The numbers that codes stand for, before their zero point and scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Levels {
    /// Code c is the number c.
    Linear,
    /// The 4-bit floats of bitsandbytes.
    Fp4,
    /// The 4-bit quantiles of a normal distribution (Dettmers et al., *QLoRA*, 2023, appendix E).
    Nf4,
}

/// FP4's levels by code. Code 8 is 0 as well.
const FP4: [f32; 16] = [
    0.0,
    0.005_208_333_5,
    0.666_666_7,
    1.0,
    0.333_333_34,
    0.5,
    0.166_666_67,
    0.25,
    0.0,
    -0.005_208_333_5,
    -0.666_666_7,
    -1.0,
    -0.333_333_34,
    -0.5,
    -0.166_666_67,
    -0.25,
];
/// NF4's.
const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

impl Levels {
    /// The numbers of all 4-bit codes; `None`: a code is its own.
    pub fn table(self) -> Option<&'static [f32; 16]> {
        match self {
            Levels::Linear => None,
            Levels::Fp4 => Some(&FP4),
            Levels::Nf4 => Some(&NF4),
        }
    }
    /// The number of a code.
    #[inline]
    pub fn of(self, code: u32) -> f32 {
        match self.table() {
            Some(table) => table[(code & 15) as usize],
            // Codes have at most 8 bits.
            None => code as f32,
        }
    }
}

/// A matrix `[k, n]` of codes, with a scale for each block of rows of a column, and perhaps a zero point:
/// an element is `(level(code) − zero) · scale`.
///
/// As a tensor of uint32 it is `[panels, blocks, lines, LANES]`: for each panel of columns and each block the
/// codes, a word of each column side by side, the lowest bits of a word being the first row's; then a line of
/// scales and perhaps one of zero points, the bits of float32. Codes beyond k and columns beyond n are 0, of
/// scale 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WeightLayout {
    pub k: usize,
    pub n: usize,
    /// 2, 4 or 8.
    pub bits: usize,
    /// Rows of a block: a power of two from 16.
    pub block: usize,
    /// Whether each block has a zero point; otherwise it is [`WeightLayout::default_zero`].
    pub zeros: bool,
    pub levels: Levels,
}

impl WeightLayout {
    /// Whether there is such a layout.
    pub fn supports(bits: usize, block: usize) -> bool {
        [2, 4, 8].contains(&bits) && block >= 16 && block.is_power_of_two() && block <= 1 << 20
    }
    /// The zero point where none is given: the middle of the codes, or 0 of a table's.
    pub fn default_zero(&self) -> f32 {
        match self.levels {
            Levels::Linear => (1u32 << (self.bits - 1)) as f32,
            Levels::Fp4 | Levels::Nf4 => 0.0,
        }
    }
    /// Codes of a word.
    pub fn per_word(&self) -> usize {
        32 / self.bits
    }
    /// Words of a block of one column.
    pub fn words(&self) -> usize {
        self.block / self.per_word()
    }
    pub fn blocks(&self) -> usize {
        self.k.div_ceil(self.block)
    }
    pub fn panels(&self) -> usize {
        self.n.div_ceil(LANES)
    }
    /// Lines of a block: its words, its scales, its zero points.
    pub fn lines(&self) -> usize {
        self.words() + 1 + usize::from(self.zeros)
    }
    pub fn shape(&self) -> Vec<usize> {
        vec![self.panels(), self.blocks(), self.lines(), LANES]
    }

    /// The tensor. `word` gives the codes of a column and block by the word's number, `scale` and `zero` take
    /// (column, block).
    ///
    /// Errors: more than memory holds.
    pub fn pack(
        &self,
        word: impl Fn(usize, usize, usize) -> u32 + Sync,
        scale: impl Fn(usize, usize) -> f32 + Sync,
        zero: impl Fn(usize, usize) -> f32 + Sync,
    ) -> Result<Tensor> {
        let mut data: Vec<u32> = zeros(element_count(&self.shape())?)?;
        let (words, lines, blocks) = (self.words(), self.lines(), self.blocks());
        chunks(&mut data, (blocks * lines * LANES).max(1), |panel, data| {
            for (block, lines) in data.chunks_exact_mut(lines * LANES).enumerate() {
                for lane in 0..LANES.min(self.n - panel * LANES) {
                    let column = panel * LANES + lane;
                    for at in 0..words {
                        lines[at * LANES + lane] = word(column, block, at);
                    }
                    lines[words * LANES + lane] = scale(column, block).to_bits();
                    if self.zeros {
                        lines[(words + 1) * LANES + lane] = zero(column, block).to_bits();
                    }
                }
            }
        });
        Tensor::new(self.shape(), data)
    }

    /// The elements of a tensor of this layout. Errors: one of another size.
    pub fn read<'a>(&self, tensor: &'a Tensor) -> Result<PackedWeights<'a>> {
        if tensor.shape() != self.shape() {
            return Err(Error::internal(format!("packed weights of shape {:?}", tensor.shape())));
        }
        Ok(PackedWeights { layout: *self, data: tensor.as_slice()? })
    }
}

/// A tensor of such weights.
#[derive(Clone, Copy)]
pub struct PackedWeights<'a> {
    pub layout: WeightLayout,
    data: &'a [u32],
}

impl<'a> PackedWeights<'a> {
    /// The lines of a panel, block after block.
    pub fn panel(&self, panel: usize) -> &'a [u32] {
        let size = self.layout.blocks() * self.layout.lines() * LANES;
        &self.data[panel * size..][..size]
    }
    fn line(&self, column: usize, block: usize, line: usize) -> u32 {
        let l = &self.layout;
        self.data[((column / LANES * l.blocks() + block) * l.lines() + line) * LANES + column % LANES]
    }
    /// Word `word` of a column's block; 0 beyond the last column.
    pub fn word(&self, column: usize, block: usize, word: usize) -> u32 {
        if column < self.layout.n { self.line(column, block, word) } else { 0 }
    }
    /// The bits of a scale; 0 beyond the last column.
    pub fn scale_bits(&self, column: usize, block: usize) -> u32 {
        self.word(column, block, self.layout.words())
    }
    /// The bits of a zero point; 0 beyond the last column.
    pub fn zero_bits(&self, column: usize, block: usize) -> u32 {
        if self.layout.zeros {
            self.word(column, block, self.layout.words() + 1)
        } else {
            self.layout.default_zero().to_bits()
        }
    }
    /// An element; with `absolute`, the magnitudes of its parts multiplied.
    pub fn value<T: Real>(&self, row: usize, column: usize, absolute: bool) -> T {
        let l = &self.layout;
        let (block, within) = (row / l.block, row % l.block);
        let word = self.line(column, block, within / l.per_word());
        let code = word >> (within % l.per_word() * l.bits) & ((1 << l.bits) - 1);
        let real = |bits: u32| T::of(f32::from_bits(bits).into());
        let value = (T::of(l.levels.of(code).into()) - real(self.zero_bits(column, block)))
            * real(self.scale_bits(column, block));
        if absolute { T::of(value.f64().abs()) } else { value }
    }

    /// All elements, `[k, n]`. Errors: more than memory holds.
    pub fn unpacked<T: Real>(&self, absolute: bool) -> Result<Tensor> {
        let (k, n) = (self.layout.k, self.layout.n);
        let mut all: Vec<T> = zeros(element_count(&[k, n])?)?;
        chunks(&mut all, n.max(1), |row, to| {
            to.iter_mut().enumerate().for_each(|(column, to)| *to = self.value(row, column, absolute));
        });
        Tensor::new([k, n], all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_element_comes_back() {
        for (bits, block, k, n) in [(2, 16, 37, 5), (4, 32, 70, 17), (8, 16, 16, 33)] {
            let zeros = bits != 8;
            let layout = WeightLayout { k, n, bits, block, zeros, levels: Levels::Linear };
            let code = |row: usize, column: usize| ((row * 7 + column * 3) % (1 << bits)) as u32;
            let per_word = layout.per_word();
            let word = |column: usize, block_at: usize, at: usize| {
                (0..per_word).fold(0, |word, i| {
                    word | code(block_at * block + at * per_word + i, column) << (i * bits)
                })
            };
            let scale = |column: usize, block: usize| (column + 2 * block + 1) as f32 * 0.5;
            let zero = |column: usize, block: usize| (column + block) as f32 - 1.5;
            let tensor = layout.pack(word, scale, zero).unwrap();
            let read = layout.read(&tensor).unwrap();
            let all = read.unpacked::<f32>(false).unwrap().to_f64s().unwrap();
            for (at, value) in all.iter().enumerate() {
                let (row, column) = (at / n, at % n);
                let zero = if zeros { zero(column, row / block) } else { layout.default_zero() };
                let want = (code(row, column) as f32 - zero) * scale(column, row / block);
                assert_eq!(*value, want as f64, "{bits} bits, row {row}, column {column}");
            }
        }
    }
}
