//! The innermost loop of every product: a few rows of A times a panel of B, its sums held in registers.
//!
//! One form for AVX-512, one for AVX2 with FMA, one in plain Rust; the machine's is found once, at run time.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use std::sync::OnceLock;

/// Floats of a lane group: a panel is a whole number of them wide, and each starts on a cache line.
pub const LANES: usize = 16;

/// What happens to a sum before it is stored, besides what was added: bounds that NaN passes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bounds {
    pub low: f32,
    pub high: f32,
}

/// One call of the innermost loop: `c = [c +] a · b`, `rows × columns` of it.
///
/// The pointers are valid for what the numbers say: `a` for `rows` rows of `k` elements, `stride_a` apart;
/// `b` for `k` lines of the panel's width, 64-byte aligned; `c` (and `residual`) for `rows` rows of `columns`
/// elements; `bias` for `columns`.
#[derive(Clone, Copy)]
pub struct Call {
    pub k: usize,
    pub a: *const f32,
    pub stride_a: usize,
    pub b: *const f32,
    pub c: *mut f32,
    pub stride_c: usize,
    pub rows: usize,
    /// At most the panel's width.
    pub columns: usize,
    /// Whether the product is added to `c`, which holds the sum over earlier blocks of k.
    pub add: bool,
    /// Added to each row's sums, or null.
    pub bias: *const f32,
    /// Added after all, row by row as `c` lies, or null.
    pub residual: *const f32,
    pub bounds: Option<Bounds>,
}

/// The innermost loop in the form that this machine runs.
#[derive(Clone, Copy)]
pub struct RegisterTile {
    /// Rows that one call may take, for panels of 1, 2, 3 and 4 lane groups; 0: this form has no such panels.
    pub rows: [usize; 4],
    run: unsafe fn(&Call, usize),
    /// The same for a single row, whose sums may be added up in another order.
    run_alone: unsafe fn(&Call, usize),
}

impl RegisterTile {
    /// This machine's.
    pub fn native() -> Self {
        static FOUND: OnceLock<RegisterTile> = OnceLock::new();
        *FOUND.get_or_init(|| Self::all().into_iter().next().unwrap_or(portable::TILE))
    }

    /// Every form that this machine can run, the fastest first.
    pub fn all() -> Vec<Self> {
        let mut all = vec![];
        #[cfg(target_arch = "x86_64")]
        {
            if std::arch::is_x86_feature_detected!("avx512f") {
                all.push(avx512::TILE);
            }
            if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma") {
                all.push(avx2::TILE);
            }
        }
        all.push(portable::TILE);
        all
    }

    /// How many lane groups a panel should be wide for `n` columns: little is wasted, and few rows leave
    /// registers idle.
    pub fn groups(&self, n: usize) -> usize {
        let vectors = n.div_ceil(LANES).max(1);
        // A narrow panel reads A more often.
        let cost = |groups: usize| vectors.div_ceil(groups) * groups * [120, 105, 100, 100][groups - 1];
        (1..=4)
            .rev()
            .filter(|&groups| self.rows[groups - 1] > 0)
            .min_by_key(|&groups| cost(groups))
            .unwrap_or(1)
    }

    /// Runs one call over a panel of `groups` lane groups.
    ///
    /// # Safety
    /// The pointers of the call are valid as [`Call`] says, `call.rows ≤ self.rows[groups − 1]`, and nobody
    /// else touches the rows of `c`.
    pub unsafe fn run(&self, call: &Call, groups: usize) {
        debug_assert!(call.rows <= self.rows[groups - 1] && call.columns <= groups * LANES);
        // SAFETY: the caller's promise; the form was found to run on this machine.
        unsafe { (self.run)(call, groups) }
    }

    /// The same for the only row of a product. Its sums may come in another order than those of a row among
    /// others: a product gives the same bits however it is cut, but two products may not.
    ///
    /// # Safety
    /// As of [`RegisterTile::run`].
    pub unsafe fn run_alone(&self, call: &Call, groups: usize) {
        debug_assert!(call.rows == 1 && call.columns <= groups * LANES);
        // SAFETY: as above.
        unsafe { (self.run_alone)(call, groups) }
    }
}

/// Calls `$f::<GROUPS, ROWS>` for a number of rows known only at run time.
#[cfg(target_arch = "x86_64")]
macro_rules! by_rows {
    ($f:ident, $groups:tt, $call:expr, $($rows:literal)*) => {
        match $call.rows {
            $($rows => unsafe { $f::<$groups, $rows>($call) },)*
            _ => {}
        }
    };
}
#[cfg(target_arch = "x86_64")]
pub(super) use by_rows;
