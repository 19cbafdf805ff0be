//! exp, tanh and erf of float32 without a branch, so that loops over them vectorise; of float64 by the exact
//! route.
//!
//! Products and sums are contracted by `mul_add`, so that every machine gives the same bits: an instruction
//! where loops are compiled for vectors ([`super`]), a call on machines older than those.
//!
//! The errors stated are in ulps of float32, against float64, over all inputs (a test samples them).
#![allow(clippy::excessive_precision)]

use crate::tensor::Real;

/// Functions of which float32 has a form of its own.
pub trait Special: Real {
    fn exp_(self) -> Self;
    /// 1 + eˣ.
    fn one_plus_exp_(self) -> Self;
    fn tanh_(self) -> Self;
    fn erf_(self) -> Self;
}

impl Special for f32 {
    #[inline(always)]
    fn exp_(self) -> f32 {
        exp(self)
    }
    #[inline(always)]
    fn one_plus_exp_(self) -> f32 {
        one_plus_exp(self)
    }
    #[inline(always)]
    fn tanh_(self) -> f32 {
        tanh(self)
    }
    #[inline(always)]
    fn erf_(self) -> f32 {
        erf(self)
    }
}

impl Special for f64 {
    #[inline(always)]
    fn exp_(self) -> f64 {
        self.exp()
    }
    #[inline(always)]
    fn one_plus_exp_(self) -> f64 {
        1.0 + self.exp()
    }
    #[inline(always)]
    fn tanh_(self) -> f64 {
        self.tanh()
    }
    fn erf_(self) -> f64 {
        erf_f64(self)
    }
}

/// `((first · x + second) · x + …)`: written out, since a loop over coefficients would keep the loop over
/// elements from vectorising.
macro_rules! horner {
    ($x:expr, $first:expr $(, $next:expr)*) => {{
        let (x, sum) = ($x, $first);
        $(let sum = f32::mul_add(sum, x, $next);)*
        sum
    }};
}

/// One of two by its bits: a branch would keep the loop from vectorising.
#[inline(always)]
fn choose(first: bool, a: f32, b: f32) -> f32 {
    let mask = (first as u32).wrapping_neg();
    f32::from_bits(a.to_bits() & mask | b.to_bits() & !mask)
}

/// The nearest float16, as a float32: ties to even, infinite from 65,520 on.
#[inline(always)]
pub fn to_f16(x: f32) -> f32 {
    let bits = x.to_bits();
    let (sign, size) = (bits & 0x8000_0000, bits & 0x7fff_ffff);
    // 13 digits go; half of the last one that stays is added first, less a little where that is even.
    let normal = size.wrapping_add(0xfff).wrapping_add(size >> 13 & 1) & !0x1fff;
    // Below 2⁻¹⁴ steps are 2⁻²⁴, as those of float32 are from ½ on.
    let small = (f32::from_bits(size) + 0.5) - 0.5;
    let rounded = choose(size < 0x3880_0000, small, f32::from_bits(normal));
    let rounded = choose(normal >= 0x4780_0000, f32::INFINITY, rounded);
    choose(size > 0x7f80_0000, x, f32::from_bits(rounded.to_bits() | sign))
}

/// The nearest bfloat16, as a float32: ties to even.
#[inline(always)]
pub fn to_bf16(x: f32) -> f32 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff).wrapping_add(bits >> 16 & 1) & !0xffff;
    choose(bits & 0x7fff_ffff > 0x7f80_0000, x, f32::from_bits(rounded))
}

/// eˣ as `value · 2ⁿ`, `value` from √½ to √2 within 2 ulp: x = n·ln 2 + r with ln 2 in two parts (Cody and
/// Waite), and the series of eʳ to r⁷. `x` from −150 to 150.
#[inline(always)]
fn exp_parts(x: f32) -> (f32, i32) {
    // Adding 1.5·2²³ rounds to a whole number, which then lies in the sum's last bits.
    const ROUND: f32 = 12_582_912.0;
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let whole = (shifted.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32);
    // The first part has 15 bits, so that its product with n is exact.
    let r = n.mul_add(-1.428_606_8e-6, n.mul_add(-0.693_145_75, x));
    let series = horner!(r, 1.0 / 5040.0, 1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5);
    (1.0 + (r * r).mul_add(series, r), whole)
}

/// 2ⁿ for n from −126 to 127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) as u32) << 23)
}

/// eˣ within 2 ulp. 2ⁿ comes in two factors, so that results below the smallest normal number and beyond the
/// largest come out as they should.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Beyond these the result is infinity or 0. NaN passes.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -105.0 { -105.0 } else { x };
    let (value, n) = exp_parts(x);
    let half = n >> 1;
    value * power_of_two(half) * power_of_two(n.wrapping_sub(half))
}

/// 1 + eˣ within 2 ulp: what sigmoids divide by. One factor less than [`exp`] needs, since a small eˣ is lost
/// in the sum.
#[inline(always)]
pub fn one_plus_exp(x: f32) -> f32 {
    // Below, the result is 1; above, infinity, by way of 2ⁿ = 2 · 2¹²⁷. NaN passes.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -80.0 { -80.0 } else { x };
    let (value, n) = exp_parts(x);
    (value + value).mul_add(power_of_two(n.wrapping_sub(1)), 1.0)
}

/// tanh within 3 ulp: an odd polynomial below 0.625 (least squares on Chebyshev points), 1 − 2/(e²ˣ + 1)
/// above.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    let z = x.abs();
    let square = x * x;
    let near = horner!(
        square,
        2.295_835e-3,
        -8.346_974e-3,
        2.176_995_8e-2,
        -5.395_940_5e-2,
        0.133_333_04,
        -0.333_333_33
    );
    let near = x * square.mul_add(near, 1.0);
    let far = (1.0 - 2.0 / one_plus_exp(2.0 * z)).copysign(x);
    choose(z < 0.625, near, far)
}

/// erf within 3 ulp: its series below 1; above, 1 − e^(−x²)·R(x), R a polynomial for e^(x²)·erfc(x) on 1 to 4
/// (least squares on Chebyshev points, weighted by e^(−x²)), beyond which erf is 1.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let z = x.abs();
    let square = x * x;
    #[rustfmt::skip]
    let near = x * horner!(square, 1.480_719_3e-8, -1.636_584_5e-7, 1.646_211_4e-6, -1.492_565e-5, 1.205_533_2e-4, -8.548_327e-4, 5.223_977_6e-3, -2.686_617e-2, 0.112_837_92, -0.376_126_4, std::f32::consts::FRAC_2_SQRT_PI);
    let t = if z > 4.0 { 1.5 } else { z - 2.5 };
    #[rustfmt::skip]
    let scaled = horner!(t, -2.666_528_7e-5, -4.997_826_7e-5, -1.190_892_4e-4, 2.389_488e-4, -6.492_856e-4, 2.510_962e-3, -8.006_107e-3, 2.492_888e-2, -7.434_906e-2, 0.210_806_4);
    let far = exp(-square).mul_add(-scaled, 1.0).copysign(x);
    // NaN isn't below 1, and passes through `exp`.
    choose(z < 1.0, near, far)
}

/// erf to float64's precision: the power series near 0, the continued fraction of erfc beyond.
fn erf_f64(x: f64) -> f64 {
    let z = x.abs();
    if x.is_nan() {
        return x;
    }
    let magnitude = if z < 2.0 {
        // 2/√π · Σ (−1)ⁿ x^(2n+1) / (n! (2n+1))
        let (mut term, mut sum, mut n) = (z, z, 0.0);
        while term.abs() > 1e-17 * sum.abs() && n < 100.0 {
            n += 1.0;
            term *= -z * z / n;
            sum += term / (2.0 * n + 1.0);
        }
        sum * std::f64::consts::FRAC_2_SQRT_PI
    } else {
        // erfc(z) = e^(−z²)/√π · 1/(z + ½/(z + 1/(z + 3⁄2/(z + …)))), evaluated from the inside.
        let fraction = (1..60).rev().fold(z, |tail, k| z + k as f64 / 2.0 / tail);
        1.0 - (-z * z).exp() * std::f64::consts::FRAC_2_SQRT_PI / 2.0 / fraction
    };
    magnitude.copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest error in ulps of float32 over a fine sample of ±2⁻³⁰ … ±2⁸.
    fn worst(found: fn(f32) -> f32, right: fn(f64) -> f64) -> f64 {
        let mut worst = 0f64;
        for bits in (0x3080_0000u32..0x4380_0000).step_by(997) {
            for x in [f32::from_bits(bits), -f32::from_bits(bits)] {
                let (found, right) = (found(x), right(x as f64));
                if right.abs() > f32::MAX as f64 || right.abs() < 1e-37 {
                    // At the ends of the range a result may be rounded the other way.
                    assert!(
                        found.is_infinite() || found > 3.4e38 || found.abs() < 2e-37,
                        "{x}: {found} is not {right}"
                    );
                    continue;
                }
                let ulp = (2f64).powi(right.abs().log2().floor() as i32 - 23);
                worst = worst.max((found as f64 - right).abs() / ulp);
            }
        }
        worst
    }

    #[test]
    fn the_errors_are_as_stated() {
        let (e, t, r) = (worst(exp, f64::exp), worst(tanh, f64::tanh), worst(erf, erf_f64));
        let p = worst(one_plus_exp, |x| 1.0 + x.exp());
        assert!(e <= 2.0 && p <= 2.0 && t <= 3.0 && r <= 3.0, "exp {e}, 1 + exp {p}, tanh {t}, erf {r}");
    }

    #[test]
    fn what_is_not_finite() {
        for f in [exp as fn(f32) -> f32, one_plus_exp, tanh, erf] {
            assert!(f(f32::NAN).is_nan());
        }
        assert_eq!([exp(f32::INFINITY), exp(f32::NEG_INFINITY), exp(0.0)], [f32::INFINITY, 0.0, 1.0]);
        assert_eq!(
            [f32::INFINITY, f32::NEG_INFINITY, 0.0, 88.5].map(one_plus_exp),
            [f32::INFINITY, 1.0, 2.0, exp(88.5)]
        );
        assert_eq!(
            [tanh(f32::INFINITY), tanh(f32::NEG_INFINITY), erf(f32::INFINITY), erf(f32::NEG_INFINITY)],
            [1.0, -1.0, 1.0, -1.0]
        );
        assert!(tanh(-0.0).is_sign_negative() && erf(-0.0).is_sign_negative());
        assert!(exp(-100.0) > 0.0 && exp(-100.0) < f32::MIN_POSITIVE);
    }
}
