//! What of a model's weights stays in memory once they were packed: the packed ones alone, where the others lie
//! in a file that is mapped.
#![cfg(target_os = "linux")]

#[path = "support/proto.rs"]
mod proto;

use onnx_protobuf::tensor_proto::DataLocation;
use onnx_protobuf::{Message, StringStringEntryProto, TensorProto};
use proto::*;
use sardonyx::gpu::test_device;
use sardonyx::{Device, Session, Tensor};
use std::path::{Path, PathBuf};

/// Rows and columns of each weight: 16 MiB.
const SIZE: i64 = 2048;
const LAYERS: usize = 3;

/// A chain of products whose weights lie in a file beside it.
fn written(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("sardonyx-memory-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let bytes = 4 * SIZE * SIZE;
    let weight = |layer: usize| {
        let entry = |key: &str, value: String| StringStringEntryProto {
            key: key.into(),
            value,
            ..Default::default()
        };
        TensorProto {
            name: format!("w{layer}"),
            data_type: F32,
            dims: vec![SIZE, SIZE],
            data_location: DataLocation::EXTERNAL.into(),
            external_data: vec![
                entry("location", "weights.bin".into()),
                entry("offset", (layer as i64 * bytes).to_string()),
                entry("length", bytes.to_string()),
            ],
            ..Default::default()
        }
    };
    let names: Vec<String> = (0..=LAYERS).map(|layer| format!("x{layer}")).collect();
    let product = |layer: usize| node("MatMul", &[&names[layer], &format!("w{layer}")], &[&names[layer + 1]]);
    let (first, last) = (value("x0", F32, &[1, SIZE]), value(&names[LAYERS], F32, &[1, SIZE]));
    let mut all = graph(&[first], (0..LAYERS).map(product).collect(), &[last]);
    all.initializer = (0..LAYERS).map(weight).collect();
    let element = |k: usize| ((k % 5) as f32 / SIZE as f32).to_le_bytes();
    let weights: Vec<u8> = (0..LAYERS * (SIZE * SIZE) as usize).flat_map(element).collect();
    std::fs::write(folder.join("weights.bin"), weights).unwrap();
    std::fs::write(folder.join("model.onnx"), model(all).write_to_bytes().unwrap()).unwrap();
    folder
}

/// Kilobytes of a mapped file that this process holds in memory.
fn resident(file: &Path) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let (mut inside, mut total, mut found) = (false, 0, false);
    for line in maps.lines() {
        let first = line.split_whitespace().next().unwrap_or_default();
        if !first.ends_with(':') {
            inside = line.ends_with(file.to_str().unwrap());
            found |= inside;
        } else if inside && first == "Rss:" {
            total += line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
        }
    }
    assert!(found, "{} is not mapped", file.display());
    total
}

fn weights_leave_memory(name: &str, device: Device) {
    let folder = written(name);
    let session = Session::builder().device(device).load(folder.join("model.onnx")).unwrap();
    let x = Tensor::new([1, SIZE as usize], vec![1f32; SIZE as usize]).unwrap();
    let first = session.run(&[("x0", x.clone())]).unwrap();
    let held = resident(&folder.join("weights.bin"));
    let all = LAYERS as u64 * 4 * (SIZE * SIZE) as u64 / 1024;
    assert!(held <= all / 10, "{held} kB of {all} kB are still in memory");
    // They are read again where they are needed: the reference goes over the weights as they are.
    let again = Session::builder().without_rewrites().load(folder.join("model.onnx")).unwrap();
    let again = again.run(&[("x0", x)]).unwrap();
    let (first, again) = (first[0].1.to_f64s().unwrap(), again[0].1.to_f64s().unwrap());
    // A sum of SIZE terms, three times over.
    let near = |(x, y): (&f64, &f64)| (x - y).abs() <= y.abs() * 3.0 * SIZE as f64 * f32::EPSILON as f64;
    assert!(first.iter().zip(&again).all(near));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn packed_weights_leave_a_mapped_file_on_the_cpu() {
    weights_leave_memory("cpu", Device::Cpu);
}

#[test]
fn uploaded_weights_leave_a_mapped_file() {
    let Some(device) = test_device() else { return };
    weights_leave_memory("gpu", device.into());
}
