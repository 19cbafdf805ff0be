//! Tensors of random numbers. ONNX fixes no generator: numbers are drawn by the project's own
//! ([`SplitMix64`]), the same in every run and on every machine. `seed` says which; without it the node's
//! name does, so that two nodes draw other numbers.

pub mod bernoulli;
pub mod multinomial;
pub mod normal_and_uniform;

use super::NodeView;
use crate::error::{Error, Result};
use crate::random::SplitMix64;
use crate::tensor::DType;

/// The seed that a node's numbers are drawn from.
fn seed(node: &NodeView) -> Result<u64> {
    if let Some(seed) = node.optional_float("seed")? {
        return Ok(seed.to_bits() as u64);
    }
    // FNV-1a.
    let step = |hash: u64, byte: u8| (hash ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3);
    Ok(node.name.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}

/// The type that `dtype` names, where it is one of those allowed.
fn dtype(node: &NodeView, allowed: fn(DType) -> bool) -> Result<Option<DType>> {
    let Some(number) = node.optional_int("dtype")? else { return Ok(None) };
    let known = i32::try_from(number).ok().and_then(DType::from_onnx).filter(|&dtype| allowed(dtype));
    let wrong = || Error::unsupported(format!("random numbers of element type {number}"));
    known.map(Some).ok_or_else(wrong)
}

/// Two independent numbers of the standard normal distribution (Box and Muller, 1958).
fn normal(random: &mut SplitMix64) -> [f64; 2] {
    let radius = (-2.0 * (1.0 - random.unit()).ln()).sqrt();
    let (sin, cos) = (std::f64::consts::TAU * random.unit()).sin_cos();
    [radius * cos, radius * sin]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_have_their_moments() {
        let mut random = SplitMix64(7);
        let list: Vec<f64> = (0..50_000).flat_map(|_| normal(&mut random)).collect();
        let moment = |power: i32| list.iter().map(|x| x.powi(power)).sum::<f64>() / list.len() as f64;
        // Five standard errors of each.
        for (power, expected, error) in [(1, 0.0, 0.0158), (2, 1.0, 0.0224), (3, 0.0, 0.061), (4, 3.0, 0.155)]
        {
            assert!((moment(power) - expected).abs() < error, "{power}: {}", moment(power));
        }
    }
}
