//! Takes a large model's weights out, and puts others in their place: what is left is small enough to carry
//! to another machine, and runs there at the same speed.
//!
//! `cargo run --example weights -- strip MODEL OUT` leaves of each large float tensor its mean and deviation;
//! `cargo run --example weights -- draw STRIPPED OUT [SEED]` draws it again from a normal distribution with
//! these, the same on every machine.

use onnx_protobuf::{Message, ModelProto, StringStringEntryProto, TensorProto, tensor_proto::DataType};
use sardonyx::random::SplitMix64;
use std::error::Error;

/// Bytes from which on a tensor is taken out: smaller ones are scales, shapes and tables.
const LARGE: usize = 4096;
/// The keys of a stripped tensor's metadata.
const MEAN: &str = "sardonyx.mean";
const DEVIATION: &str = "sardonyx.deviation";

/// Bytes of an element of the types that are taken out: float32 and float16.
fn width(tensor: &TensorProto) -> Option<usize> {
    [(DataType::FLOAT, 4), (DataType::FLOAT16, 2)]
        .into_iter()
        .find(|(dtype, _)| *dtype as i32 == tensor.data_type)
        .map(|(_, width)| width)
}

fn elements(tensor: &TensorProto) -> Vec<f64> {
    match width(tensor) {
        Some(2) => tensor
            .raw_data
            .as_chunks::<2>()
            .0
            .iter()
            .map(|&bytes| f64::from(half::f16::from_le_bytes(bytes)))
            .collect(),
        _ => tensor
            .raw_data
            .as_chunks::<4>()
            .0
            .iter()
            .map(|&bytes| f64::from(f32::from_le_bytes(bytes)))
            .collect(),
    }
}

/// The mean and the deviation of some numbers.
fn moments(all: &[f64]) -> [f64; 2] {
    let mean = all.iter().sum::<f64>() / all.len() as f64;
    [mean, (all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / all.len() as f64).sqrt()]
}

fn strip(tensor: &mut TensorProto) {
    if width(tensor).is_none() || tensor.raw_data.len() < LARGE {
        return;
    }
    let [mean, deviation] = moments(&elements(tensor));
    tensor.raw_data = Vec::new();
    for (key, value) in [(MEAN, mean), (DEVIATION, deviation)] {
        tensor.metadata_props.push(StringStringEntryProto {
            key: key.into(),
            value: format!("{value:e}"),
            ..Default::default()
        });
    }
}

fn draw(tensor: &mut TensorProto, seed: u64) -> Result<(), Box<dyn Error>> {
    let kept = |key: &str| {
        tensor.metadata_props.iter().find(|entry| entry.key == key).map(|entry| entry.value.parse::<f64>())
    };
    let (Some(mean), Some(deviation)) = (kept(MEAN).transpose()?, kept(DEVIATION).transpose()?) else {
        return Ok(());
    };
    let count = tensor
        .dims
        .iter()
        .try_fold(1usize, |count, &dim| count.checked_mul(usize::try_from(dim).ok()?))
        .ok_or("a size that is no size")?;
    let mut random = SplitMix64(seed);
    let mut value = || mean + deviation * normal(&mut random);
    tensor.raw_data = match width(tensor) {
        Some(2) => (0..count).flat_map(|_| half::f16::from_f64(value()).to_le_bytes()).collect(),
        _ => (0..count).flat_map(|_| (value() as f32).to_le_bytes()).collect(),
    };
    tensor.metadata_props.retain(|entry| entry.key != MEAN && entry.key != DEVIATION);
    Ok(())
}

/// A standard normal number: the sum of twelve uniform ones (Irwin–Hall), which every machine adds up alike.
fn normal(random: &mut SplitMix64) -> f64 {
    let mut four = || {
        let word = random.next();
        (0..4).map(|k| (word >> (16 * k) & 0xffff) as f64).sum::<f64>()
    };
    (four() + four() + four()) / 65_536.0 - 6.0
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (verb, from, to) = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [verb @ ("strip" | "draw"), from, to, ..] => (verb, from, to),
        _ => return Err("usage: weights strip MODEL OUT | weights draw STRIPPED OUT [SEED]".into()),
    };
    let seed: u64 = args.get(3).map_or(Ok(0), |seed| seed.parse())?;
    let mut model = ModelProto::parse_from_bytes(&std::fs::read(from)?)?;
    let tensors = model.graph.as_mut().ok_or("no graph")?.initializer.iter_mut();
    for (index, tensor) in tensors.enumerate() {
        match verb {
            "strip" => strip(tensor),
            _ => draw(tensor, seed.wrapping_add((index as u64).wrapping_mul(0x1_0000_0001)))?,
        }
    }
    std::fs::write(to, model.write_to_bytes()?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(count: usize) -> TensorProto {
        let raw_data = (0..count).flat_map(|k| (0.5 + (k % 100) as f32 / 100.0).to_le_bytes()).collect();
        TensorProto {
            dims: vec![count as i64],
            data_type: DataType::FLOAT as i32,
            raw_data,
            ..Default::default()
        }
    }

    #[test]
    fn what_is_drawn_has_the_mean_and_deviation_of_what_was_stripped() {
        let mut stripped = tensor(100_000);
        strip(&mut stripped);
        assert!(stripped.raw_data.is_empty() && stripped.metadata_props.len() == 2);
        let drawn = |seed| {
            let mut tensor = stripped.clone();
            draw(&mut tensor, seed).unwrap();
            tensor
        };
        let all = elements(&drawn(1));
        let [mean, deviation] = moments(&all);
        assert_eq!(all.len(), 100_000);
        assert!((mean - 0.995).abs() < 5e-3 && (deviation - 0.2887).abs() < 5e-3, "{mean} {deviation}");
        assert!(drawn(1) == drawn(1) && drawn(1) != drawn(2) && drawn(1).metadata_props.is_empty());
    }

    #[test]
    fn small_tensors_stay() {
        let mut small = tensor(1000);
        strip(&mut small);
        assert_eq!(small, tensor(1000));
    }
}
