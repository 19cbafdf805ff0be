//! Products of float32 matrices: rows that lie in memory or are gathered as they are needed, times packed
//! panels.
//!
//! The result is cut into blocks of rows, or of panels where there are few rows; threads take them in turn.
//! Within a block k goes in steps of `STEP`, whose sums are added up: the order of every sum is fixed,
//! whatever the threads do.

use super::panels::Panels;
use super::tile::{Bounds, Call, RegisterTile};
use crate::error::Result;
use crate::tensor::pool::Floats;
use crate::threads::{chunks, parallel_for, try_parallel_for};
use std::cell::Cell;
use std::ops::Range;
use std::thread::LocalKey;

/// Terms that are summed up in registers before they are added to the result.
const STEP: usize = 512;
/// Floats of a block of A: what the second-level cache holds beside a panel.
const BLOCK: usize = 1 << 16;
/// Products below this are made by one thread.
const SERIAL: usize = 1 << 14;

/// Writes some rows of A, each of `k` elements, at a distance of `stride`; what lies between them is not
/// read.
pub type Gather<'a> = dyn Fn(Range<usize>, &mut [f32], usize) + Sync + 'a;

/// Where A's rows are.
#[derive(Clone, Copy)]
pub enum Rows<'a> {
    Dense { data: &'a [f32], stride: usize },
    Gathered(&'a Gather<'a>),
}

/// What follows the sum, on finished elements: row, first column, a run of the row, or of rows that follow
/// each other without a gap.
pub type Finish<'a> = dyn Fn(usize, usize, &mut [f32]) + Sync + 'a;

/// What is done to the sums before they are stored for good, in this order.
#[derive(Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// One for each column.
    pub bias: Option<&'a [f32]>,
    /// As the result lies.
    pub residual: Option<&'a [f32]>,
    pub bounds: Option<Bounds>,
    pub finish: Option<&'a Finish<'a>>,
}

thread_local! {
    /// Gathered rows, kept by each thread from one product to the next.
    static GATHERED: Cell<Option<Floats>> = const { Cell::new(None) };
    /// Lines of images that are made and read band by band.
    static BAND: Cell<Option<Floats>> = const { Cell::new(None) };
}

/// Floats that a thread keeps: 16 MiB.
const KEPT: usize = 1 << 22;

/// Runs `work` on `count` aligned floats that hold anything, for rows that products within don't gather.
pub fn with_band<R>(count: usize, work: impl FnOnce(&mut [f32]) -> R) -> Result<R> {
    with(&BAND, count, work)
}

fn with_scratch<R>(count: usize, work: impl FnOnce(&mut [f32]) -> R) -> Result<R> {
    with(&GATHERED, count, work)
}

fn with<R>(
    kept: &'static LocalKey<Cell<Option<Floats>>>,
    count: usize,
    work: impl FnOnce(&mut [f32]) -> R,
) -> Result<R> {
    let mut floats = match kept.take().filter(|floats| floats.len() >= count) {
        Some(floats) => floats,
        None => Floats::zeros(count)?,
    };
    let result = work(&mut floats[..count]);
    if floats.len() <= KEPT {
        kept.set(Some(floats));
    }
    Ok(result)
}

/// The result's memory, shared by threads that write different elements of it.
#[derive(Clone, Copy)]
struct Target {
    data: *mut f32,
    stride: usize,
}
// SAFETY: each task writes rows and columns of its own.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

/// `c[r · stride + j] = epilogue(Σ a[r, k] · b[k, j])` for `m` rows. Every element of a row in `c` is
/// written.
///
/// Panics where the slices are shorter than the sizes say.
pub fn product(
    rows: Rows<'_>,
    m: usize,
    b: &Panels,
    epilogue: &Epilogue<'_>,
    c: &mut [f32],
    stride: usize,
) -> Result<()> {
    let threads = if m.saturating_mul(b.n).saturating_mul(b.k.max(1)) < SERIAL {
        1
    } else {
        rayon::current_num_threads()
    };
    product_on(Cut::whole(threads), rows, m, b, epilogue, c, stride)
}

/// How a product is cut.
#[derive(Clone, Copy)]
pub struct Cut {
    /// Cut for so many threads; 1 stays on the caller's.
    threads: usize,
    /// Whether the rows are some of a product's: each has the bits then that it has among all. A row that is the
    /// only one may have its sums in another order.
    part: bool,
}

impl Cut {
    pub fn whole(threads: usize) -> Self {
        Self { threads, part: false }
    }
    pub fn part(threads: usize) -> Self {
        Self { threads, part: true }
    }
}

/// The same, cut so.
pub fn product_on(
    Cut { threads, part }: Cut,
    rows: Rows<'_>,
    m: usize,
    b: &Panels,
    epilogue: &Epilogue<'_>,
    c: &mut [f32],
    stride: usize,
) -> Result<()> {
    let (n, k) = (b.n, b.k);
    let reach = |stride: usize, width: usize| if m == 0 || width == 0 { 0 } else { (m - 1) * stride + width };
    assert!(stride >= n && c.len() >= reach(stride, n), "the result of a product doesn't fit");
    assert!(
        epilogue.bias.is_none_or(|bias| bias.len() >= n)
            && epilogue.residual.is_none_or(|r| r.len() >= reach(stride, n))
    );
    if let Rows::Dense { data, stride } = rows {
        assert!(data.len() >= reach(stride, k), "the rows of a product are too few");
    }
    if m == 0 || n == 0 {
        return Ok(());
    }
    let tile = RegisterTile::native();
    let height = tile.rows[b.groups - 1];
    let job = Job {
        b,
        epilogue,
        target: Target { data: c.as_mut_ptr(), stride },
        tile,
        height,
        alone: m == 1 && !part,
    };
    // Blocks of rows that leave every thread a few; where the rows don't suffice, blocks of panels too.
    let tasks = if threads == 1 { 1 } else { threads * 4 };
    let block = (BLOCK / k.clamp(1, STEP)).min(m.div_ceil(tasks)).next_multiple_of(height).max(height.min(m));
    let few = threads > 1 && (m.div_ceil(block) < tasks || k * n > 4 * BLOCK);
    if !few {
        let part = |index: usize| {
            let range = index * block..((index + 1) * block).min(m);
            match rows {
                Rows::Dense { data, stride } => job.run(data, stride, range, 0..b.count()),
                Rows::Gathered(gather) => {
                    let stride = k + 16;
                    with_scratch(range.len() * stride, |scratch| {
                        gather(range.clone(), scratch, stride);
                        job.run_from(scratch, stride, range.start, range, 0..b.count());
                    })?;
                }
            }
            Ok(())
        };
        let count = m.div_ceil(block);
        return if threads == 1 { (0..count).try_for_each(part) } else { try_parallel_for(count, part) };
    }
    match rows {
        Rows::Dense { data, stride } => job.by_panels(data, stride, m, tasks),
        Rows::Gathered(gather) => {
            let stride = k + 16;
            with_scratch(m.saturating_mul(stride), |scratch| {
                let part = m.div_ceil(tasks);
                chunks(scratch, part * stride, |index, to| {
                    gather(index * part..((index + 1) * part).min(m), to, stride)
                });
                job.by_panels(scratch, stride, m, tasks);
            })?;
        }
    }
    Ok(())
}

/// Where products of some columns each write: the whole result, `stride` apart from row to row.
#[derive(Clone, Copy)]
pub struct WholeResult(Target);

impl WholeResult {
    /// A result of `m` rows of `n` columns side by side. Panics where `c` is shorter.
    pub fn new(c: &mut [f32], [m, n]: [usize; 2]) -> Self {
        assert!(c.len() >= m * n, "the result of a product doesn't fit");
        Self(Target { data: c.as_mut_ptr(), stride: n })
    }
}

/// The product of some columns, from `first` on, on this thread: `b` holds them, `epilogue` is the whole
/// result's. `data` are `m` rows of A, contiguous.
///
/// Panics where the slices are shorter than the sizes say.
///
/// # Safety
/// The result has `m` rows and the columns `first..first + b.n`, its memory is alive, and nobody else touches
/// these columns meanwhile.
pub unsafe fn product_of_columns(
    data: &[f32],
    m: usize,
    b: &Panels,
    first: usize,
    epilogue: &Epilogue<'_>,
    result: WholeResult,
) {
    let WholeResult(target) = result;
    if m == 0 || b.n == 0 {
        return;
    }
    assert!(data.len() >= m * b.k && target.stride >= first + b.n, "a product's columns don't fit");
    let reach = (m - 1) * target.stride + first + b.n;
    assert!(
        epilogue.bias.is_none_or(|bias| bias.len() >= first + b.n)
            && epilogue.residual.is_none_or(|residual| residual.len() >= reach)
    );
    let finish = |row: usize, column: usize, run: &mut [f32]| {
        if let Some(finish) = epilogue.finish {
            finish(row, first + column, run);
        }
    };
    let own = Epilogue {
        bias: epilogue.bias.map(|bias| &bias[first..]),
        residual: epilogue.residual.map(|residual| &residual[first..]),
        bounds: epilogue.bounds,
        finish: if epilogue.finish.is_some() { Some(&finish) } else { None },
    };
    let tile = RegisterTile::native();
    let height = tile.rows[b.groups - 1];
    let target = Target { data: target.data.wrapping_add(first), ..target };
    let job = Job { b, epilogue: &own, target, tile, height, alone: false };
    job.run(data, b.k, 0..m, 0..b.count());
}

/// A product's parts, as every task sees them.
struct Job<'a> {
    b: &'a Panels,
    epilogue: &'a Epilogue<'a>,
    target: Target,
    tile: RegisterTile,
    height: usize,
    /// Whether A's one row is a product by itself.
    alone: bool,
}

impl Job<'_> {
    /// All rows against a few panels: each panel is read from memory once.
    fn by_panels(&self, data: &[f32], stride: usize, m: usize, tasks: usize) {
        let count = self.b.count();
        let parts = tasks.min(count);
        let row_parts = tasks.div_ceil(parts).min(m.div_ceil(self.height)).max(1);
        let (wide, tall) = (count.div_ceil(parts), m.div_ceil(row_parts).next_multiple_of(self.height));
        parallel_for(parts * row_parts, |index| {
            let (panel, row) = (index / row_parts * wide, index % row_parts * tall);
            let (panels, range) = (panel.min(count)..(panel + wide).min(count), row..(row + tall).min(m));
            if !panels.is_empty() && !range.is_empty() {
                self.run(data, stride, range, panels);
            }
        });
    }

    fn run(&self, data: &[f32], stride: usize, rows: Range<usize>, panels: Range<usize>) {
        self.run_from(data, stride, 0, rows, panels);
    }

    /// `data` begins at row `origin` of A.
    fn run_from(
        &self,
        data: &[f32],
        stride_a: usize,
        origin: usize,
        rows: Range<usize>,
        panels: Range<usize>,
    ) {
        let (b, width, n, e) = (self.b, self.b.width(), self.b.n, self.epilogue);
        let mut start = 0;
        loop {
            let k = STEP.min(b.k - start);
            let last = start + k == b.k;
            for panel in panels.clone() {
                let (column, lines) = (panel * width, b.panel(panel, start));
                let columns = width.min(n - column);
                let mut row = rows.start;
                while row < rows.end {
                    let height = self.height.min(rows.end - row);
                    let from = (row - origin) * stride_a + start;
                    debug_assert!(k == 0 || from + (height - 1) * stride_a + k <= data.len());
                    let at = row * self.target.stride + column;
                    let bias =
                        e.bias.filter(|_| last).map_or(std::ptr::null(), |bias| bias[column..].as_ptr());
                    let residual = e
                        .residual
                        .filter(|_| last)
                        .map_or(std::ptr::null(), |residual| residual[at..].as_ptr());
                    let call = Call {
                        k,
                        a: data.as_ptr().wrapping_add(from),
                        stride_a,
                        b: lines.as_ptr(),
                        c: self.target.data.wrapping_add(at),
                        stride_c: self.target.stride,
                        rows: height,
                        columns,
                        add: start > 0,
                        bias,
                        residual,
                        bounds: e.bounds.filter(|_| last),
                    };
                    // SAFETY: `product` checked that the rows of a, c, bias and residual lie in their slices;
                    // `lines` holds k lines of the panel; the rows and columns are this task's alone.
                    unsafe {
                        if self.alone {
                            self.tile.run_alone(&call, b.groups)
                        } else {
                            self.tile.run(&call, b.groups)
                        }
                    };
                    row += height;
                }
            }
            start += k;
            if last {
                break;
            }
        }
        if let Some(finish) = e.finish {
            let column = panels.start * width;
            let columns = (panels.end * width).min(n) - column;
            if columns == self.target.stride {
                // Whole rows that follow each other are one run.
                // SAFETY: these elements are this task's alone, and were written above.
                let run = unsafe {
                    std::slice::from_raw_parts_mut(
                        self.target.data.wrapping_add(rows.start * columns),
                        rows.len() * columns,
                    )
                };
                return finish(rows.start, 0, run);
            }
            for row in rows {
                // SAFETY: these elements are this task's alone, and were written above.
                let run = unsafe {
                    std::slice::from_raw_parts_mut(
                        self.target.data.wrapping_add(row * self.target.stride + column),
                        columns,
                    )
                };
                finish(row, column, run);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu_kernels::tile::LANES;

    /// Small whole numbers, so that every sum is exact in any order.
    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|at| ((at * 7 + seed * 13) % 11) as f32 - 5.0).collect()
    }

    fn expected(a: &[f32], b: &[f32], [m, n, k]: [usize; 3]) -> Vec<f32> {
        (0..m * n).map(|at| (0..k).map(|p| a[at / n * k + p] * b[p * n + at % n]).sum()).collect()
    }

    #[test]
    fn products_of_every_size() {
        for m in [0, 1, 5, 13, 37, 130] {
            for n in [0, 1, 15, 16, 17, 33, 49, 65, 100, 200] {
                for k in [0, 1, 7, 64, 513, 1030] {
                    let (a, b, bias, residual) =
                        (numbers(m * k, 1), numbers(k * n, 2), numbers(n, 3), numbers(m * n, 4));
                    let panels = Panels::pack(&b, k, n, n, 1).unwrap();
                    let plain = expected(&a, &b, [m, n, k]);
                    let gather = |rows: Range<usize>, to: &mut [f32], stride: usize| {
                        rows.zip(to.chunks_mut(stride))
                            .for_each(|(row, to)| to[..k].copy_from_slice(&a[row * k..][..k]));
                    };
                    for rows in [Rows::Dense { data: &a, stride: k }, Rows::Gathered(&gather)] {
                        let mut c = vec![f32::NAN; m * n];
                        product(rows, m, &panels, &Epilogue::default(), &mut c, n).unwrap();
                        assert!(c == plain, "{m} × {n} × {k}");
                        let finish = |row: usize, column: usize, run: &mut [f32]| {
                            run.iter_mut()
                                .enumerate()
                                .for_each(|(at, y)| *y += (row * n + column + at) as f32)
                        };
                        let bounds = Some(Bounds { low: -20.0, high: 30.0 });
                        let epilogue = Epilogue {
                            bias: Some(&bias),
                            residual: Some(&residual),
                            bounds,
                            finish: Some(&finish),
                        };
                        product(rows, m, &panels, &epilogue, &mut c, n).unwrap();
                        let all = plain
                            .iter()
                            .enumerate()
                            .map(|(at, x)| (x + bias[at % n] + residual[at]).clamp(-20.0, 30.0) + at as f32);
                        assert!(c.iter().copied().eq(all), "{m} × {n} × {k} with all that follows");
                    }
                }
            }
        }
    }

    #[test]
    fn every_form_of_the_innermost_loop() {
        for tile in RegisterTile::all() {
            for groups in (1..=4).filter(|&groups| tile.rows[groups - 1] > 0) {
                let (width, k) = (groups * LANES, 29);
                let mut b = Floats::zeros(k * width).unwrap();
                b.copy_from_slice(&numbers(k * width, 5));
                for rows in 1..=tile.rows[groups - 1] {
                    for columns in [1, width / 2 + 1, width] {
                        let (a, bias, mut c) =
                            (numbers(rows * k, 6), numbers(columns, 7), numbers(rows * columns, 8));
                        let sums: Vec<f32> = (0..rows * columns)
                            .map(|at| {
                                let (row, column) = (at / columns, at % columns);
                                c[at]
                                    + bias[column]
                                    + (0..k).map(|p| a[row * k + p] * b[p * width + column]).sum::<f32>()
                            })
                            .collect();
                        let call = Call {
                            k,
                            a: a.as_ptr(),
                            stride_a: k,
                            b: b.as_ptr(),
                            c: c.as_mut_ptr(),
                            stride_c: columns,
                            rows,
                            columns,
                            add: true,
                            bias: bias.as_ptr(),
                            residual: std::ptr::null(),
                            bounds: Some(Bounds { low: 0.0, high: f32::INFINITY }),
                        };
                        // SAFETY: the slices have the sizes that the call says.
                        unsafe { tile.run(&call, groups) };
                        assert!(
                            c.iter().zip(&sums).all(|(x, y)| *x == y.max(0.0)),
                            "{rows} rows, {groups} groups, {columns} columns"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn bounds_pass_nan_and_keep_infinities() {
        let panels = Panels::pack(&[1.0], 1, 1, 1, 1).unwrap();
        for (x, y) in [(f32::NAN, f32::NAN), (f32::INFINITY, 6.0), (f32::NEG_INFINITY, 0.0)] {
            let mut c = [1.0];
            let epilogue = Epilogue { bounds: Some(Bounds { low: 0.0, high: 6.0 }), ..Epilogue::default() };
            product(Rows::Dense { data: &[x], stride: 1 }, 1, &panels, &epilogue, &mut c, 1).unwrap();
            assert!(c[0] == y || c[0].is_nan() && y.is_nan());
        }
    }
}
