//! The special values, and what storage makes of a number.

use half::f16;
use sardonyx::Tensor;
use sardonyx::plan::Precision;
use sardonyx::tensor::{DType, cast};

/// ±0, the smallest and the largest subnormal, the smallest normal, ordinary numbers, the edges of every
/// conversion, the largest, ∞, NaN.
pub fn floats() -> Vec<f32> {
    let mut list = vec![
        0.0,
        1e-45,
        f32::from_bits(0x007f_ffff),
        f32::MIN_POSITIVE,
        6e-8,
        6.1e-5,
        0.1,
        0.5,
        0.75,
        1.0,
        1.5,
        2.0,
        2.5,
        3.0,
        7.0,
        10.0,
        88.5,
        89.0,
        104.0,
    ];
    list.extend([
        127.5,
        128.0,
        254.5,
        255.5,
        256.0,
        32_767.5,
        32_768.0,
        65_504.0,
        65_519.0,
        65_519.996,
        65_520.0,
        65_535.5,
        65_536.0,
        16_777_217.0,
    ]);
    list.extend([
        2147483520.0,
        2147483648.0,
        4294967040.0,
        4294967296.0,
        9.223_371e18,
        9.223_372e18,
        1.844_674_3e19,
        1.844_674_4e19,
        1e20,
        1e30,
    ]);
    list.extend([f32::MAX, f32::INFINITY]);
    list.extend(list.clone().into_iter().map(|x| -x));
    list.extend([f32::NAN, f32::from_bits(0xffc0_1234), f32::from_bits(0x7fa0_0001)]);
    list
}

/// Fewer of them, for functions of two and three arguments.
pub fn few_floats() -> Vec<f32> {
    let mut list = vec![
        0.0,
        1e-45,
        f32::MIN_POSITIVE,
        1e-20,
        0.3,
        0.5,
        1.0,
        2.0,
        3.0,
        5.5,
        100.0,
        65_520.0,
        16_777_216.0,
        1e20,
        3e38,
        f32::MAX,
        f32::INFINITY,
    ];
    list.extend(list.clone().into_iter().map(|x| -x));
    list.push(f32::NAN);
    list
}

/// How a float tensor is given and held.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Held {
    F32,
    /// Declared float16: beyond 65,520 it is infinite.
    F16,
    /// float32 under `--precision f16`: finite numbers saturate.
    Narrowed,
}

impl Held {
    pub const ALL: [Held; 3] = [Held::F32, Held::F16, Held::Narrowed];

    pub fn precision(self) -> Precision {
        if self == Held::Narrowed { Precision::F16 } else { Precision::F32 }
    }
    pub fn tensor(self, shape: &[usize], list: &[f32]) -> Tensor {
        let tensor = Tensor::new(shape, list.to_vec()).unwrap();
        if self == Held::F16 { cast(&tensor, DType::F16, true).unwrap() } else { tensor }
    }
    /// A number as storage holds it.
    pub fn stored(self, x: f64) -> f64 {
        match self {
            Held::F32 => x as f32 as f64,
            Held::F16 => f16::from_f64(x).to_f64(),
            // What float32 arithmetic takes beyond its own range is infinite before it is stored.
            Held::Narrowed if (x as f32).is_finite() => f16::from_f64(x.clamp(-65504.0, 65504.0)).to_f64(),
            Held::Narrowed => x as f32 as f64,
        }
    }
    /// What rounding to it may lose of a number.
    pub fn rounding(self, x: f64) -> f64 {
        match self {
            Held::F32 => f64::exp2(-24.0) * x.abs().max(f32::MIN_POSITIVE as f64),
            _ => f64::exp2(-11.0) * x.abs().max(f64::exp2(-14.0)),
        }
    }
    pub fn smallest_normal(self) -> f64 {
        if self == Held::F32 { f32::MIN_POSITIVE as f64 } else { f64::exp2(-14.0) }
    }
}
