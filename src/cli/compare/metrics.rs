//! What is measured of an output beside its tolerance: in units of the last place, quantiles, ranks.

use sardonyx::compare::Compared;
use sardonyx::error::Result;
use sardonyx::tensor::DType;
use serde::Serialize;
use std::cmp::Ordering;

/// How far two tensors are apart, in many ways.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Metrics {
    /// The most values of float32, and of float16, that lie between an element and the reference's, both
    /// rounded to that type; `null` where one of the two is NaN.
    pub max_ulp_f32: Option<u64>,
    pub max_ulp_f16: Option<u64>,
    /// Of the differences.
    pub quantiles: Quantiles,
    /// 10·log₁₀ of the reference's squared span over the mean squared difference; `null` without any.
    pub psnr_db: Option<f64>,
    /// Of the rows along the last axis, the share whose largest element is at the same place; and the mean
    /// share of the five largest that are among both; `null` where there are no more than these.
    pub top1: Option<f64>,
    pub top5: Option<f64>,
    pub nan: Counts,
    pub infinite: Counts,
    /// The smallest tolerances that would have done.
    pub needs: Needs,
}

/// Quantiles of the differences of finite elements.
#[derive(Debug, Clone, Copy, Serialize, PartialEq)]
pub struct Quantiles {
    pub p50: f64,
    pub p99: f64,
    pub p99_9: f64,
}

/// How many elements of each side.
#[derive(Debug, Clone, Copy, Serialize, PartialEq, Eq)]
pub struct Counts {
    pub got: usize,
    pub reference: usize,
}

/// A relative tolerance alone, an absolute one alone, and the smallest t of t + t·|reference|; `null` where
/// none would do.
#[derive(Debug, Clone, Copy, Serialize, PartialEq)]
pub struct Needs {
    pub rtol: Option<f64>,
    pub atol: Option<f64>,
    pub both: Option<f64>,
}

/// Measures an output.
pub fn metrics(output: &Compared) -> Result<Metrics> {
    let (got, want) = (output.got.to_f64s()?, output.want.to_f64s()?);
    let row = output.got.shape().last().copied().unwrap_or(1);
    Ok(of(&got, &want, row))
}

fn of(got: &[f64], want: &[f64], row: usize) -> Metrics {
    let pairs = || got.iter().copied().zip(want.iter().copied());
    let count = |test: fn(f64) -> bool| Counts {
        got: got.iter().filter(|x| test(**x)).count(),
        reference: want.iter().filter(|x| test(**x)).count(),
    };
    let mut off: Vec<f64> =
        pairs().filter(|(x, y)| x.is_finite() && y.is_finite()).map(|(x, y)| (x - y).abs()).collect();
    off.sort_unstable_by(f64::total_cmp);
    let quantile = |share: f64| {
        let at = (share * off.len() as f64).ceil() as usize;
        off.get(at.saturating_sub(1)).copied().unwrap_or(0.0)
    };
    let most = |needed: fn(f64, f64) -> f64| {
        let all = pairs().map(|(x, y)| if same(x, y) { 0.0 } else { needed(x, y) });
        let worst = all.fold(0.0, |a: f64, b| if b.is_nan() { f64::INFINITY } else { a.max(b) });
        Some(worst).filter(|worst| worst.is_finite())
    };
    Metrics {
        max_ulp_f32: ulps(pairs(), |x| ordered((x as f32).to_bits().into(), 31)),
        max_ulp_f16: ulps(pairs(), |x| ordered(sardonyx::tensor::to_f16(x as f32).to_bits().into(), 15)),
        quantiles: Quantiles { p50: quantile(0.5), p99: quantile(0.99), p99_9: quantile(0.999) },
        psnr_db: psnr(got, want),
        top1: ranks(got, want, row, 1),
        top5: ranks(got, want, row, 5),
        nan: count(f64::is_nan),
        infinite: count(f64::is_infinite),
        needs: Needs {
            rtol: most(|x, y| (x - y).abs() / y.abs()),
            atol: most(|x, y| (x - y).abs()),
            both: most(|x, y| (x - y).abs() / (1.0 + y.abs())),
        },
    }
}

/// Equal, or NaN both.
pub fn same(x: f64, y: f64) -> bool {
    x == y || x.is_nan() && y.is_nan()
}

/// A float's bits as a whole number that grows with it: neighbours differ by 1.
fn ordered(bits: u64, sign: u32) -> i64 {
    let magnitude = (bits & ((1 << sign) - 1)) as i64;
    if bits >> sign & 1 == 1 { -magnitude } else { magnitude }
}

fn ulps(pairs: impl Iterator<Item = (f64, f64)>, place: impl Fn(f64) -> i64) -> Option<u64> {
    let mut most = 0;
    for (x, y) in pairs.filter(|(x, y)| !same(*x, *y)) {
        if x.is_nan() || y.is_nan() {
            return None;
        }
        most = most.max(place(x).abs_diff(place(y)));
    }
    Some(most)
}

fn psnr(got: &[f64], want: &[f64]) -> Option<f64> {
    let (mut low, mut high, mut squares, mut count) = (f64::INFINITY, f64::NEG_INFINITY, 0.0, 0usize);
    for (x, y) in got.iter().zip(want).filter(|(x, y)| x.is_finite() && y.is_finite()) {
        (low, high) = (low.min(*y), high.max(*y));
        (squares, count) = (squares + (x - y) * (x - y), count + 1);
    }
    let span = if high > low { high - low } else { high.abs() };
    let db = 10.0 * (span * span * count as f64 / squares).log10();
    (squares > 0.0 && db.is_finite()).then_some(db)
}

/// The mean share of the `k` largest of each row that are among those of both sides.
pub fn ranks(got: &[f64], want: &[f64], row: usize, k: usize) -> Option<f64> {
    if row <= k || k == 0 || got.len() != want.len() {
        return None;
    }
    let largest = |row: &[f64]| {
        let mut order: Vec<usize> = (0..row.len()).collect();
        // NaN last; of equals the first.
        let before = |a: &usize, b: &usize| match (row[*a].is_nan(), row[*b].is_nan()) {
            (false, false) => row[*b].total_cmp(&row[*a]).then(a.cmp(b)),
            (true, true) => a.cmp(b),
            (nan, _) => {
                if nan {
                    Ordering::Greater
                } else {
                    Ordering::Less
                }
            }
        };
        order.select_nth_unstable_by(k - 1, before);
        order.truncate(k);
        order
    };
    let (mut rows, mut shared) = (0usize, 0usize);
    for (x, y) in got.chunks_exact(row).zip(want.chunks_exact(row)) {
        let (x, y) = (largest(x), largest(y));
        (rows, shared) = (rows + 1, shared + x.iter().filter(|at| y.contains(at)).count());
    }
    (rows > 0).then(|| shared as f64 / (rows * k) as f64)
}

/// The unit of the last place that an output is told of in: its own type's.
pub fn own_ulp(metrics: &Metrics, dtype: DType) -> Option<u64> {
    if dtype == DType::F16 { metrics.max_ulp_f16 } else { metrics.max_ulp_f32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_apart() {
        let next = f32::from_bits(1.0f32.to_bits() + 3) as f64;
        let found = of(&[1.0, next, -0.0], &[1.0, 1.0, 0.0], 3);
        assert_eq!((found.max_ulp_f32, found.max_ulp_f16), (Some(3), Some(0)));
        // Through zero: the smallest positive and the smallest negative number.
        let least = f32::from_bits(1) as f64;
        assert_eq!(of(&[least], &[-least], 1).max_ulp_f32, Some(2));
        assert_eq!(of(&[f64::NAN], &[1.0], 1).max_ulp_f32, None);
        assert_eq!(of(&[f64::NAN], &[f64::NAN], 1).max_ulp_f32, Some(0));
    }

    #[test]
    fn quantiles_and_needs() {
        let want: Vec<f64> = (1..=1000).map(f64::from).collect();
        let got: Vec<f64> =
            want.iter().enumerate().map(|(at, x)| x + if at == 999 { 8.0 } else { 0.5 }).collect();
        let found = of(&got, &want, 1000);
        assert_eq!(found.quantiles, Quantiles { p50: 0.5, p99: 0.5, p99_9: 0.5 });
        assert_eq!((found.needs.rtol, found.needs.atol), (Some(0.5), Some(8.0)));
        assert_eq!(found.needs.both, Some(0.25));
        assert_eq!((found.top1, found.top5), (Some(1.0), Some(1.0)));
        assert_eq!(of(&[f64::INFINITY], &[1.0], 1).needs.atol, None);
        assert_eq!(of(&[f64::INFINITY], &[1.0], 1).infinite, Counts { got: 1, reference: 0 });
    }

    #[test]
    fn psnr_is_that_of_pictures() {
        // A span of 1 and a mean square of 10⁻⁴: 40 dB.
        let found = of(&[0.01, 1.01], &[0.0, 1.0], 2).psnr_db.unwrap();
        assert!((found - 40.0).abs() < 1e-9, "{found}");
        assert_eq!(of(&[1.0], &[1.0], 1).psnr_db, None);
    }

    #[test]
    fn ranks_are_by_row() {
        let want = [1.0, 3.0, 2.0, 9.0, 8.0, 7.0];
        assert_eq!(ranks(&want, &want, 3, 1), Some(1.0));
        assert_eq!(ranks(&[3.0, 1.0, 2.0, 9.0, 8.0, 7.0], &want, 3, 1), Some(0.5));
        assert_eq!(ranks(&[1.0, 3.0, f64::NAN, 9.0, 8.0, 7.0], &want, 3, 2), Some(0.75));
        assert_eq!(ranks(&want, &want, 3, 5), None);
    }
}
