//! Random graphs as files, in the layout of ONNX's test data, with the CPU's answers: tools/random_graphs.py
//! gives them to onnxruntime.

use super::grow::Kind;
use super::{number, random};
use onnx_protobuf::Message;
use sardonyx::{Session, Tensor, onnx};
use std::path::Path;

/// Where WRITE_GRAPHS names a folder, as many graphs as SARDONYX_RANDOM_GRAPHS says are written there, of those
/// for which ONNX's text says what comes out.
#[test]
fn graphs_are_written() {
    let Some(folder) = std::env::var_os("WRITE_GRAPHS") else { return };
    let (mut seed, mut left) = (number("SARDONYX_RANDOM_SEED", 0), number("SARDONYX_RANDOM_GRAPHS", 100));
    while left > 0 {
        let graph = random(seed);
        if graph.portable && !graph.nodes.is_empty() {
            let bytes = graph.model().write_to_bytes().unwrap();
            let here = Path::new(&folder).join(format!("seed_{seed}"));
            write(&here, &bytes, &graph.inputs());
            std::fs::create_dir_all(here.join("values")).unwrap();
            for value in graph.values.iter().filter(|value| value.kind == Kind::Made) {
                let file = here.join("values").join(format!("{}.pb", value.name));
                onnx::write_pb(&file, &value.name, &value.tensor).unwrap();
            }
            left -= 1;
        }
        seed += 1;
    }
}

fn write(folder: &Path, bytes: &[u8], inputs: &[(String, Tensor)]) {
    let data = folder.join("test_data_set_0");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(folder.join("model.onnx"), bytes).unwrap();
    let session = Session::builder().build(onnx::read_bytes(bytes, None, "random").unwrap()).unwrap();
    let named: Vec<(&str, Tensor)> =
        inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
    let outputs = session.run(&named).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let all = [("input", inputs.to_vec()), ("output", outputs)];
    for (kind, list) in all {
        for (k, (name, tensor)) in list.iter().enumerate() {
            onnx::write_pb(&data.join(format!("{kind}_{k}.pb")), name, tensor).unwrap();
        }
    }
}
