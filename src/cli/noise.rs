//! Seeded inputs for models that are run without any.

use sardonyx::error::Result;
use sardonyx::image::{Layout, Picture, Preprocess};
use sardonyx::random::SplitMix64;
use sardonyx::tensor::{self, DType, Tensor, cast, element_count};

/// Standard normal, by Box and Muller.
fn normal(random: &mut SplitMix64) -> f64 {
    let radius = (-2.0 * (1.0 - random.unit()).ln()).sqrt();
    radius * (std::f64::consts::TAU * random.unit()).cos()
}

/// A picture of random levels, of the size that an input of `[channels, height, width]` or `[height, width,
/// channels]` has.
pub fn picture(preprocess: &Preprocess, sizes: &[usize], seed: u64) -> Result<Picture> {
    let (height, width) = match (preprocess.layout, sizes) {
        (Some(Layout::Nhwc), &[height, width, _]) => (height, width),
        (_, &[first, second, third]) => {
            if third <= 4 && first > 4 {
                (first, second)
            } else {
                (second, third)
            }
        }
        _ => (1, 1),
    };
    let mut random = SplitMix64(seed);
    let mut pixels = tensor::allocate(element_count(&[height, width, 3])?)?;
    pixels.extend((0..height * width * 3).map(|_| (random.next() >> 56) as u8));
    Picture::from_rgb(width, height, pixels)
}

/// Pictures as inputs, one behind the other, in the wanted type and shape.
pub fn stacked(
    pictures: impl Iterator<Item = Result<Tensor>>,
    dtype: DType,
    shape: &[usize],
) -> Result<Tensor> {
    let mut all: Vec<f32> = tensor::allocate(element_count(shape)?)?;
    for picture in pictures {
        all.extend_from_slice(cast(&picture?, DType::F32, true)?.as_slice::<f32>()?);
    }
    cast(&Tensor::new(shape, all)?, dtype, true)
}

/// An input that fits a type, a shape and a name: ones for a mask, integers below `below` (1000 unless it is
/// known), bools at random, floats standard normal.
///
/// Errors for a shape beyond memory.
pub fn noise(name: &str, dtype: DType, shape: &[usize], seed: u64, below: Option<u64>) -> Result<Tensor> {
    let count = element_count(shape)?;
    // Each input has its own numbers, whatever other inputs there are.
    let mut random = SplitMix64(
        name.bytes().fold(seed, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)),
    );
    if dtype == DType::String {
        let words = (0..count).map(|_| format!("word{}", random.next() % 1000)).collect();
        return Tensor::strings(shape, words);
    }
    if name.to_lowercase().contains("mask") {
        return filled(dtype, shape, count, || 1i64);
    }
    if dtype == DType::Bool {
        return filled(dtype, shape, count, || (random.next() >> 63) as i64);
    }
    if dtype.is_integer() {
        // 8-bit types have no 999.
        let below = below.unwrap_or(if dtype.size() == 1 { 100 } else { 1000 }).max(1);
        return filled(dtype, shape, count, || (random.next() % below) as i64);
    }
    if matches!(dtype, DType::U4 | DType::I4 | DType::U2 | DType::I2) {
        return filled(dtype, shape, count, || (random.next() % 2) as i64);
    }
    filled(dtype, shape, count, || normal(&mut random) as f32)
}

/// A tensor of one value after the other, in the wanted type.
fn filled<T: tensor::Element>(
    dtype: DType,
    shape: &[usize],
    count: usize,
    mut next: impl FnMut() -> T,
) -> Result<Tensor> {
    let mut elements = tensor::allocate(count)?;
    elements.extend((0..count).map(|_| next()));
    cast(&Tensor::new(shape, elements)?, dtype, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_fits_type_and_name() {
        for dtype in [DType::F32, DType::F16, DType::I64, DType::U8, DType::Bool, DType::F64, DType::I4] {
            let tensor = noise("x", dtype, &[2, 3], 1, None).unwrap();
            assert_eq!((tensor.dtype(), tensor.shape()), (dtype, &[2usize, 3][..]));
        }
        assert_eq!(noise("attention_mask", DType::I64, &[4], 1, None).unwrap().to_i64s().unwrap(), [1; 4]);
        let few = noise("input_ids", DType::I64, &[1000], 1, Some(7)).unwrap().to_i64s().unwrap();
        assert!(few.iter().all(|id| (0..7).contains(id)) && few.contains(&6));
        let ids = noise("input_ids", DType::I64, &[1000], 1, None).unwrap().to_i64s().unwrap();
        assert!(ids.iter().all(|id| (0..1000).contains(id)) && ids.iter().any(|&id| id > 500));
        let floats = noise("x", DType::F32, &[10_000], 1, None).unwrap().to_f64s().unwrap();
        let mean = floats.iter().sum::<f64>() / 1e4;
        let variance = floats.iter().map(|x| x * x).sum::<f64>() / 1e4;
        assert!(mean.abs() < 0.05 && (variance - 1.0).abs() < 0.1, "{mean} {variance}");
    }

    #[test]
    fn a_seed_gives_the_same_numbers_again() {
        let draw = |name, seed| noise(name, DType::F32, &[8], seed, None).unwrap();
        assert_eq!(draw("x", 7), draw("x", 7));
        assert_ne!(draw("x", 7), draw("x", 8));
        assert_ne!(draw("x", 7), draw("y", 7));
        assert!(noise("x", DType::F32, &[usize::MAX, 2], 0, None).is_err());
    }
}
