//! The floats of 8 and 4 bits, code by code.

use super::DType;

/// The 8-bit and 4-bit float kinds as (exponent bits, mantissa bits, bias, kind of specials).
#[derive(Clone, Copy, PartialEq)]
enum Specials {
    /// Infinities and NaN as in IEEE 754.
    Ieee,
    /// NaN is all ones; no infinity.
    AllOnes,
    /// NaN is negative zero; no infinity.
    NegativeZero,
    /// Neither.
    None,
}

fn small_float(dtype: DType) -> Option<(u32, u32, i32, Specials)> {
    Some(match dtype {
        DType::F8E4M3FN => (4, 3, 7, Specials::AllOnes),
        DType::F8E4M3FNUZ => (4, 3, 8, Specials::NegativeZero),
        DType::F8E5M2 => (5, 2, 15, Specials::Ieee),
        DType::F8E5M2FNUZ => (5, 2, 16, Specials::NegativeZero),
        DType::F4E2M1 => (2, 1, 1, Specials::None),
        _ => return None,
    })
}

pub(super) fn decode_small(dtype: DType, byte: u8) -> f64 {
    if dtype == DType::F8E8M0 {
        return if byte == 0xff { f64::NAN } else { 2f64.powi(byte as i32 - 127) };
    }
    let Some((e_bits, m_bits, bias, specials)) = small_float(dtype) else { return f64::NAN };
    let sign = if byte >> (e_bits + m_bits) & 1 == 1 { -1.0 } else { 1.0 };
    let exponent = (byte >> m_bits) as u32 & ((1 << e_bits) - 1);
    let mantissa = byte as u32 & ((1 << m_bits) - 1);
    let all = exponent == (1 << e_bits) - 1;
    match specials {
        Specials::Ieee if all => return if mantissa == 0 { sign * f64::INFINITY } else { f64::NAN },
        Specials::AllOnes if all && mantissa == (1 << m_bits) - 1 => return f64::NAN,
        Specials::NegativeZero if byte == 0x80 => return f64::NAN,
        _ => {}
    }
    let scale = 2f64.powi(exponent.max(1) as i32 - bias - m_bits as i32);
    let hidden = if exponent == 0 { 0 } else { 1 << m_bits };
    sign * (hidden + mantissa) as f64 * scale
}

/// To nearest even; out of range saturates, or becomes infinity or NaN where `saturate` is off.
pub(super) fn encode_small(dtype: DType, x: f64, saturate: bool) -> u8 {
    if dtype == DType::F8E8M0 {
        // ONNX's default round_mode: up, to the next power of two.
        if x.is_nan() || x <= 0.0 {
            return if x == 0.0 { 0 } else { 0xff };
        }
        return (x.log2().ceil() + 127.0).clamp(0.0, 254.0) as u8;
    }
    let Some((e_bits, m_bits, bias, specials)) = small_float(dtype) else { return 0 };
    let sign = if x.is_sign_negative() { 1u8 << (e_bits + m_bits) } else { 0 };
    let nan = match specials {
        Specials::Ieee => sign | (((1u8 << e_bits) - 1) << m_bits) | 1 << (m_bits - 1),
        Specials::AllOnes => sign | ((1u8 << (e_bits + m_bits)) - 1),
        Specials::NegativeZero => 0x80,
        Specials::None => sign,
    };
    // The largest finite code, and what lies beyond it.
    let (largest, beyond) = match specials {
        Specials::Ieee => {
            ((((1u8 << e_bits) - 2) << m_bits) | ((1 << m_bits) - 1), sign | ((1u8 << e_bits) - 1) << m_bits)
        }
        Specials::AllOnes => ((1u8 << (e_bits + m_bits)) - 2, nan),
        Specials::NegativeZero => ((1u8 << (e_bits + m_bits)) - 1, nan),
        Specials::None => ((1u8 << (e_bits + m_bits)) - 1, sign | ((1u8 << (e_bits + m_bits)) - 1)),
    };
    if x.is_nan() {
        return nan;
    }
    let magnitude = x.abs();
    if magnitude.is_infinite() {
        return if saturate { sign | largest } else { beyond };
    }
    let lowest = 1 - bias;
    let exponent = if magnitude == 0.0 { lowest } else { (magnitude.log2().floor() as i32).max(lowest) };
    let step = 2f64.powi(exponent - m_bits as i32);
    let units = (magnitude / step).round_ties_even() as u32;
    // Units run past a binade's end into the next one by themselves.
    let code = if exponent == lowest && units < 1 << m_bits {
        units
    } else {
        (((exponent - lowest + 1) as u32) << m_bits) + (units - (1 << m_bits))
    };
    if code > largest as u32 {
        return if saturate { sign | largest } else { beyond };
    }
    if code == 0 && specials == Specials::NegativeZero {
        return 0;
    }
    sign | code as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_floats_come_back() {
        for dtype in [DType::F8E4M3FN, DType::F8E4M3FNUZ, DType::F8E5M2, DType::F8E5M2FNUZ, DType::F4E2M1] {
            let codes = if dtype == DType::F4E2M1 { 0..=15u8 } else { 0..=255u8 };
            for code in codes {
                let value = decode_small(dtype, code);
                let back = encode_small(dtype, value, false);
                assert!(
                    back == code || value.is_nan() && decode_small(dtype, back).is_nan(),
                    "{dtype} {code:#x} {value} {back:#x}"
                );
            }
        }
        assert_eq!(decode_small(DType::F8E4M3FN, 0x7e), 448.0);
        assert_eq!(decode_small(DType::F8E5M2, 0x7b), 57344.0);
        assert_eq!(encode_small(DType::F8E4M3FN, 1e9, true), 0x7e);
    }
}
