//! An integer raised to a float (Pow with an integer base and a float exponent).
//!
//! The result is what a cast of the power makes of it: truncated towards 0, saturated at the type's ends, 0
//! for NaN. A whole exponent gives the exact integer. Any other gives the power rounded to float64 before it
//! is truncated, as numpy and onnxruntime do: so 9^0.5 is 3, whatever the last bit of a logarithm. It is
//! computed in 64-bit integers, by the steps that `power_size` in `shaders/lib/int64.wgsl` takes on a device
//! that has no float64, so that both give the same to the last digit.

/// base^exponent within `low` to `high`.
pub(super) fn power(base: i128, exponent: f64, low: i128, high: i128) -> i128 {
    let whole = exponent.is_infinite() || exponent.fract() == 0.0;
    if base < 0 && !whole {
        return 0;
    }
    let size = u64::try_from(base.unsigned_abs()).unwrap_or(u64::MAX);
    let size = power_size(size, exponent) as i128;
    let negative = base < 0 && exponent.is_finite() && exponent % 2.0 != 0.0;
    (if negative { -size } else { size }).clamp(low, high)
}

/// ln(2)^k / k! in units of 2⁻⁶⁴, rounded down, from k = 1 on: the power series of 2^x.
const SERIES: [u64; 18] = [
    0xb17217f7d1cf79ab,
    0x3d7f7bff058b1d50,
    0x0e35846b82505fc5,
    0x0276556df749cee5,
    0x005761ff9e299cc4,
    0x000a184897c363c3,
    0x0000ffe5fe2c4586,
    0x0000162c0223a5c8,
    0x000001b5253d395e,
    0x0000001e4cf5158b,
    0x00000001e8cac735,
    0x000000001c3bd650,
    0x0000000001816193,
    0x0000000000131496,
    0x000000000000e1b7,
    0x00000000000009c7,
    0x0000000000000066,
    0x0000000000000003,
];

/// size^y, truncated, at most 2⁶⁴ − 1.
fn power_size(size: u64, y: f64) -> u64 {
    if size == 1 {
        return 1;
    }
    if y.is_nan() {
        return 0;
    }
    if y == 0.0 {
        return 1;
    }
    if size == 0 {
        return if y < 0.0 { u64::MAX } else { 0 };
    }
    if y.abs() >= 64.0 {
        return if y < 0.0 { 0 } else { u64::MAX };
    }
    if y.fract() == 0.0 {
        return if y < 0.0 { 0 } else { (0..y as u32).fold(1u64, |product, _| product.saturating_mul(size)) };
    }
    // y = significand · 2^−down, of either sign.
    let (bits, field) = (y.to_bits(), y.to_bits() >> 52 & 0x7ff);
    let significand = bits & ((1 << 52) - 1) | if field == 0 { 0 } else { 1 << 52 };
    let down = 1075 - field.max(1) as u32;
    let exponent = ((log2(size) * significand as u128).checked_shr(down)).unwrap_or(0);
    let (whole, fraction) = ((exponent >> 64) as u32, exponent as u64);
    if y < 0.0 {
        // 1 where the power rounds to it, as 1 − 2⁻⁵⁴ does: ln(2) · 1477 · 2⁻⁶⁴ is that far from it.
        return u64::from(exponent <= 1477);
    }
    if whole > 63 { u64::MAX } else { exp2(whole, fraction) }
}

/// The high half of a product.
fn high(a: u64, b: u64) -> u64 {
    ((a as u128 * b as u128) >> 64) as u64
}

/// log₂ of a number of at least 2, in units of 2⁻⁶⁴: squares, each of which gives a bit.
fn log2(size: u64) -> u128 {
    let mut x = size << size.leading_zeros();
    let mut fraction = 0u64;
    for _ in 0..64 {
        let square = x as u128 * x as u128;
        let above = (square >> 127) as u64;
        fraction = fraction << 1 | above;
        x = (square >> (63 + above)) as u64;
    }
    ((63 - size.leading_zeros() as u128) << 64) | fraction as u128
}

/// 2^(whole + fraction · 2⁻⁶⁴), rounded to the 53 bits of a float64 and truncated.
fn exp2(whole: u32, fraction: u64) -> u64 {
    let slope = SERIES.iter().rev().fold(0u64, |sum, &term| term + high(fraction, sum));
    let above_one = high(fraction, slope);
    let rounded = (1u64 << 52) + (above_one >> 12) + (above_one >> 11 & 1);
    match whole {
        63 if rounded == 1 << 53 => u64::MAX,
        52.. => rounded << (whole - 52),
        _ => rounded >> (52 - whole),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const I64: (i128, i128) = (i64::MIN as i128, i64::MAX as i128);

    fn of(base: i128, exponent: f64) -> i128 {
        power(base, exponent, I64.0, I64.1)
    }

    #[test]
    fn what_numpy_gives() {
        assert_eq!([1, 2, 9, 10, 15, 16, 49].map(|base| of(base, 0.5)), [1, 1, 3, 3, 3, 4, 7]);
        assert_eq!([4, 27, 125].map(|base| of(base, 1.5)), [8, 140, 1397]);
        // A third is less than that in float64 and more in float32, 0.7 in float32 less.
        assert_eq!([of(125, 1.0 / 3.0), of(125, (1f32 / 3.0) as f64), of(1024, 0.7f32 as f64)], [4, 5, 127]);
        assert_eq!(
            [of(-8, 1.0 / 3.0), of(-8, -0.5), of(9, -0.5), of(9, -1e-17), of(7, 1e-300)],
            [0, 0, 0, 1, 1]
        );
    }

    #[test]
    fn whole_exponents_are_exact_and_ends_saturate() {
        assert_eq!(
            [of(3, 39.0), of(-3, 39.0), of(-2, 63.0)],
            [4_052_555_153_018_976_267, -4_052_555_153_018_976_267, i64::MIN as i128]
        );
        assert_eq!([of(2, 63.0), of(-3, 41.0), of(-3, 42.0), of(10, 18.97)], [I64.1, I64.0, I64.1, I64.1]);
        assert_eq!(power(3, 6.0, 0, 255), 255);
        assert_eq!(power(u64::MAX as i128, 0.9999999, 0, u64::MAX as i128), 18_446_662_241_515_776_000);
    }

    #[test]
    fn zero_one_infinity_and_nan() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        assert_eq!(
            [of(0, 0.0), of(0, 0.5), of(0, -0.5), of(0, -1.0), of(0, inf), of(0, -inf)],
            [1, 0, I64.1, I64.1, 0, I64.1]
        );
        assert_eq!(
            [of(1, nan), of(-1, nan), of(2, nan), of(0, nan), of(1, -inf), of(-1, inf)],
            [1, 0, 0, 0, 1, 1]
        );
        assert_eq!(
            [of(2, inf), of(-2, inf), of(-2, -inf), of(-1, -3.0), of(-1, -2.0), of(-1, 1e30), of(2, -1.0)],
            [I64.1, I64.1, 0, -1, 1, 1, 0]
        );
    }

    /// Roots of powers are whole; elsewhere float64's own function may differ in its last bit.
    #[test]
    fn roots_are_whole_and_all_powers_those_of_float64() {
        for root in [2u64, 3, 5, 10, 99, 181, 1625, 46_340, 65_535] {
            for (count, y) in [(2u32, 0.5), (4, 0.25), (2, 1.5), (4, 0.75), (8, 0.375)] {
                let (Some(size), wanted) =
                    (root.checked_pow(count), root.saturating_pow((count as f64 * y) as u32))
                else {
                    continue;
                };
                if wanted >= 1 << 53 {
                    continue;
                }
                assert_eq!(power_size(size, y), wanted, "{size}^{y}");
                if y < 1.0 && size < 1 << 50 {
                    assert_eq!(
                        [power_size(size - 1, y), power_size(size + 1, y)],
                        [wanted - 1, wanted],
                        "beside {size}^{y}"
                    );
                }
            }
        }
        let mut random = crate::random::SplitMix64(7);
        for _ in 0..20_000 {
            let size = (random.next() >> (random.next() % 63)).max(2);
            let y = random.unit() * f64::exp2((random.next() % 8) as f64 - 3.0);
            let (found, wanted) = (power_size(size, y), (size as f64).powf(y).min(f64::exp2(64.0)));
            // The base's own rounding to float64 counts y times.
            let last = wanted * (y + 2.0) * f64::exp2(-52.0);
            assert!(
                found as f64 >= (wanted - last).trunc() && found as f64 <= (wanted + last).trunc(),
                "{size}^{y} = {found}, not {wanted}"
            );
        }
    }
}
