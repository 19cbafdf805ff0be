//! Products with weights of 2, 4 or 8 bits. Few rows take the codes as they lie, so that what is read from
//! memory is a fraction of float32; many rows have a few columns made float32 at a time, in panels that stay
//! in the cache, and go through the innermost loop of every other product.

use super::epilogue::PreparedEpilogue;
use super::panels::Panels;
use super::product::{WholeResult, product_of_columns};
use super::rows::CHUNK;
use crate::base::{PackedWeights, WEIGHT_LANES as LANES, WeightLayout};
use crate::error::Result;
use crate::simd::vector::{Kernel, Vector, dispatch};
use crate::threads::{Elements, chunks, parallel_for, try_parallel_for};
use std::cell::Cell;

/// Rows of A up to which codes are taken as they lie: each 4 rows read them anew.
const FEW: usize = 8;
/// Rows that share what is made of a code.
const ROWS: usize = 4;
/// Columns that are made float32 at a time: whole panels of every width.
const COLUMNS: usize = 192;

thread_local! {
    /// Columns in float32, kept by each thread from one product to the next.
    static KEPT: Cell<Option<Panels>> = const { Cell::new(None) };
}

/// `c = epilogue(A · W + bias)` for `m` rows of A, contiguous.
///
/// Errors: memory that the allocator refuses. Panics where the slices are shorter than the sizes say.
pub fn product(
    a: &[f32],
    m: usize,
    weights: &PackedWeights<'_>,
    bias: Option<&[f32]>,
    epilogue: &PreparedEpilogue<'_>,
    c: &mut [f32],
) -> Result<()> {
    let WeightLayout { k, n, levels, .. } = weights.layout;
    assert!(a.len() >= m * k && c.len() == m * n && bias.is_none_or(|bias| bias.len() >= n));
    if m == 0 || n == 0 {
        return Ok(());
    }
    if m > FEW || levels.table().is_some() {
        return by_panels(a, m, weights, bias, epilogue, c);
    }
    let all = Elements(c.as_mut_ptr());
    parallel_for(weights.layout.panels(), |panel| {
        let first = panel * LANES;
        let columns = LANES.min(n - first);
        for row in (0..m).step_by(ROWS) {
            let rows = ROWS.min(m - row);
            let mut sums = [[0f32; LANES]; ROWS];
            few_rows(&a[row * k..][..rows * k], rows, weights, panel, &mut sums);
            for (index, sums) in sums.iter().take(rows).enumerate() {
                for (lane, sum) in sums.iter().take(columns).enumerate() {
                    let sum = bias.map_or(*sum, |bias| sum + bias[first + lane]);
                    // SAFETY: the element lies inside c, and a panel's columns are its task's alone.
                    unsafe { all.at((row + index) * n + first + lane).write(sum) };
                }
            }
        }
    });
    chunks(c, CHUNK, |index, run| epilogue.apply(index * CHUNK, run));
    Ok(())
}

fn few_rows(
    a: &[f32],
    rows: usize,
    weights: &PackedWeights<'_>,
    panel: usize,
    sums: &mut [[f32; LANES]; ROWS],
) {
    let (layout, lines) = (&weights.layout, weights.panel(panel));
    match rows {
        1 => by_bits::<1>(a, layout, lines, sums),
        2 => by_bits::<2>(a, layout, lines, sums),
        3 => by_bits::<3>(a, layout, lines, sums),
        _ => by_bits::<4>(a, layout, lines, sums),
    }
}

fn by_bits<const M: usize>(a: &[f32], layout: &WeightLayout, lines: &[u32], sums: &mut [[f32; LANES]; ROWS]) {
    match layout.bits {
        2 => dispatch(Few::<2, M> { a, layout, lines, sums }),
        4 => dispatch(Few::<4, M> { a, layout, lines, sums }),
        _ => dispatch(Few::<8, M> { a, layout, lines, sums }),
    }
}

/// The factors in a line of a panel's block, from a lane on that `lines` begins with.
#[inline(always)]
fn factor<V: Vector>(lines: &[u32], line: usize) -> V {
    let bits = &lines[line * LANES..][..V::LANES];
    // SAFETY: there are as many words, and any bits are a float32.
    unsafe { V::load(bits.as_ptr().cast(), V::LANES) }
}

/// The sums of M rows with one panel of codes of BITS bits.
struct Few<'a, const BITS: usize, const M: usize> {
    a: &'a [f32],
    layout: &'a WeightLayout,
    lines: &'a [u32],
    sums: &'a mut [[f32; LANES]; ROWS],
}

impl<const BITS: usize, const M: usize> Few<'_, BITS, M> {
    /// Adds code `j` of each word times row `start + j` of each row of A.
    ///
    /// # Safety
    /// `word` has a vector's words; `a` has M rows of `k` elements, and `at` is below k.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // iterators' functions aren't always inlined: see below
    unsafe fn step<V: Vector>(
        (a, k, at): (*const f32, usize, usize),
        word: *const u32,
        j: usize,
        zero: V,
        own: &mut [V; M],
    ) {
        // SAFETY: the caller's promise; j · BITS is below 32.
        let level = unsafe { V::codes(word, (j * BITS) as u32, (1 << BITS) - 1) }.minus(zero);
        for row in 0..M {
            // SAFETY: the caller's promise.
            let x = V::splat(unsafe { *a.add(row * k + at) });
            own[row] = x.mul_add(level, own[row]);
        }
    }
}

// Closures and iterators' functions aren't always inlined into the functions that are compiled for wide vectors:
// there are none here.
impl<const BITS: usize, const M: usize> Kernel for Few<'_, BITS, M> {
    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { a, layout, lines, sums } = self;
        let (k, block, words, per_word) = (layout.k, layout.block, layout.words(), 32 / BITS);
        assert!(a.len() >= M * k);
        let default = V::splat(layout.default_zero());
        let size = layout.lines() * LANES;
        let mut half = 0;
        while half < LANES {
            let mut totals = [V::splat(0.0); M];
            for index in 0..layout.blocks() {
                let lines = &lines[index * size + half..(index + 1) * size];
                let zero = if layout.zeros { factor::<V>(lines, words + 1) } else { default };
                let first = index * block;
                let end = k.min(first + block);
                // Two sums, so that one addition needn't wait for the other.
                let (mut even, mut odd) = ([V::splat(0.0); M], [V::splat(0.0); M]);
                let (mut word, mut at) = (0, first);
                while at + per_word <= end {
                    let from = lines[word * LANES..][..V::LANES].as_ptr();
                    for j in 0..32 / BITS / 2 {
                        // SAFETY: `a` was checked, at + 2j + 1 is below k, and the word has its lanes.
                        unsafe {
                            Self::step((a.as_ptr(), k, at + 2 * j), from, 2 * j, zero, &mut even);
                            Self::step((a.as_ptr(), k, at + 2 * j + 1), from, 2 * j + 1, zero, &mut odd);
                        }
                    }
                    (word, at) = (word + 1, at + per_word);
                }
                if at < end {
                    let from = lines[word * LANES..][..V::LANES].as_ptr();
                    for j in 0..end - at {
                        // SAFETY: as above.
                        unsafe { Self::step((a.as_ptr(), k, at + j), from, j, zero, &mut even) };
                    }
                }
                let scale = factor::<V>(lines, words);
                for row in 0..M {
                    totals[row] = even[row].plus(odd[row]).mul_add(scale, totals[row]);
                }
            }
            for row in 0..M {
                // SAFETY: the row has LANES floats, and `half` is a multiple of the vector's.
                unsafe { totals[row].store(sums[row][half..].as_mut_ptr(), V::LANES) };
            }
            half += V::LANES;
        }
    }
}

fn by_panels(
    a: &[f32],
    m: usize,
    weights: &PackedWeights<'_>,
    bias: Option<&[f32]>,
    epilogue: &PreparedEpilogue<'_>,
    c: &mut [f32],
) -> Result<()> {
    let WeightLayout { k, n, .. } = weights.layout;
    let result = WholeResult::new(c, [m, n]);
    let share = n.div_ceil(rayon::current_num_threads() * 4).next_multiple_of(COLUMNS / 4);
    let width = share.clamp(COLUMNS / 4, COLUMNS);
    epilogue.with(bias, 0, n, |epilogue| {
        try_parallel_for(n.div_ceil(width), |index| {
            let first = index * width;
            let columns = width.min(n - first);
            let mut panels = match KEPT.take().filter(|kept| (kept.k, kept.n) == (k, columns)) {
                Some(kept) => kept,
                None => Panels::new(k, columns)?,
            };
            let wide = panels.width();
            panels.write(|index, lines| {
                for group in 0..wide / LANES {
                    let column = first + index * wide + group * LANES;
                    if column < n {
                        unpack(weights, column / LANES, &mut lines[group * LANES..], wide);
                    }
                }
            });
            // SAFETY: the result is c, of m rows and n columns, and each task's columns are its own.
            unsafe { product_of_columns(a, m, &panels, first, epilogue, result) };
            KEPT.set(Some(panels));
            Ok(())
        })
    })
}

/// A panel of 16 columns in float32, its rows `stride` apart.
fn unpack(weights: &PackedWeights<'_>, panel: usize, to: &mut [f32], stride: usize) {
    let (layout, lines) = (&weights.layout, weights.panel(panel));
    match layout.levels.table() {
        Some(table) => by_table(layout, lines, table, to, stride),
        None => dispatch(Unpack { layout, lines, to, stride }),
    }
}

struct Unpack<'a> {
    layout: &'a WeightLayout,
    lines: &'a [u32],
    to: &'a mut [f32],
    stride: usize,
}

impl Kernel for Unpack<'_> {
    #[inline(always)]
    fn run<V: Vector>(self) {
        let Self { layout, lines, to, stride } = self;
        let (k, bits, words, per_word) = (layout.k, layout.bits, layout.words(), layout.per_word());
        let mask = (1u32 << bits) - 1;
        let default = V::splat(layout.default_zero());
        let size = layout.lines() * LANES;
        for index in 0..layout.blocks() {
            let mut half = 0;
            while half < LANES {
                let lines = &lines[index * size + half..(index + 1) * size];
                let scale = factor::<V>(lines, words);
                let zero = if layout.zeros { factor::<V>(lines, words + 1) } else { default };
                let first = index * layout.block;
                for row in 0..layout.block.min(k - first) {
                    let word = lines[row / per_word * LANES..][..V::LANES].as_ptr();
                    let to = to[(first + row) * stride + half..][..V::LANES].as_mut_ptr();
                    // SAFETY: there are as many words and floats, and the shift is below 32.
                    unsafe {
                        let codes = V::codes(word, (row % per_word * bits) as u32, mask);
                        codes.minus(zero).times(scale).store(to, V::LANES);
                    }
                }
                half += V::LANES;
            }
        }
    }
}

fn by_table(layout: &WeightLayout, lines: &[u32], table: &[f32; 16], to: &mut [f32], stride: usize) {
    let (words, per_word) = (layout.words(), layout.per_word());
    for (index, lines) in lines.chunks_exact(layout.lines() * LANES).enumerate() {
        let first = index * layout.block;
        for row in 0..layout.block.min(layout.k - first) {
            let to = &mut to[(first + row) * stride..][..LANES];
            for (lane, to) in to.iter_mut().enumerate() {
                let code = lines[row / per_word * LANES + lane] >> (row % per_word * layout.bits);
                let scale = f32::from_bits(lines[words * LANES + lane]);
                *to = (table[(code & 15) as usize] - layout.default_zero()) * scale;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Levels, Operands};
    use crate::expression::Pointwise;

    /// Whole numbers, so that every sum is exact in any order.
    #[test]
    fn products_of_every_size() {
        for (bits, block, zeros, levels) in [
            (2, 16, true, Levels::Linear),
            (4, 32, false, Levels::Linear),
            (4, 16, true, Levels::Linear),
            (8, 32, false, Levels::Linear),
            (8, 16, true, Levels::Linear),
            (4, 16, false, Levels::Nf4),
        ] {
            for [m, n, k] in
                [[1, 1, 1], [1, 16, 16], [3, 17, 50], [4, 33, 64], [7, 5, 31], [8, 70, 96], [20, 300, 100]]
            {
                let layout = WeightLayout { k, n, bits, block, zeros, levels };
                let word = |column: usize, block: usize, at: usize| {
                    (column as u32).wrapping_mul(2_654_435_761).rotate_left(block as u32 + at as u32 * 7)
                };
                let tensor = layout
                    .pack(
                        word,
                        |column, block| ((column + block) % 5) as f32 - 2.0,
                        |column, _| (column % 7) as f32,
                    )
                    .unwrap();
                let weights = layout.read(&tensor).unwrap();
                let a: Vec<f32> = (0..m * k).map(|at| (at * 7 % 11) as f32 - 5.0).collect();
                let bias: Vec<f32> = (0..n).map(|at| at as f32).collect();
                let mut c = vec![f32::NAN; m * n];
                let identity = Pointwise::identity();
                let epilogue = PreparedEpilogue::of(&identity, Operands::new(&[]), m * n).unwrap().unwrap();
                product(&a, m, &weights, Some(&bias), &epilogue, &mut c).unwrap();
                for (at, got) in c.iter().enumerate() {
                    let (row, column) = (at / n, at % n);
                    let terms =
                        (0..k).map(|p| f64::from(a[row * k + p]) * weights.value::<f64>(p, column, false));
                    let want = terms.sum::<f64>() + bias[column] as f64;
                    let most = if levels == Levels::Linear { 0.0 } else { 1e-3 };
                    assert!((*got as f64 - want).abs() <= most, "{bits} bits, {m} × {n} × {k}: {got} {want}");
                }
            }
        }
    }
}
