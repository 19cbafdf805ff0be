//! How many token ids a model knows: the rows of the table that an integer input looks up.

use sardonyx::graph::{Graph, ValueId};
use std::collections::HashSet;

/// Operators that hand ids on as they are.
const MOVES: [&str; 7] = ["Cast", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Identity", "Transpose"];

/// The size of the smallest constant table along the axis in which an input's elements are looked up by
/// Gather, directly or through operators that only move them; `None` where it is no such input.
pub fn size(graph: &Graph, input: ValueId) -> Option<u64> {
    let mut ids: HashSet<ValueId> = HashSet::from([input]);
    let mut least: Option<u64> = None;
    // Nodes come after what they read.
    for node in &graph.nodes {
        let reads = |index: usize| node.inputs.get(index).copied().flatten();
        let takes = |index: usize| reads(index).is_some_and(|id| ids.contains(&id));
        if node.op_type == "Gather" && takes(1) {
            let table = reads(0).and_then(|id| graph.constant(id));
            // The axis is the operator's own; a table of embeddings has its rows on the first.
            let rows = table.and_then(|table| table.shape().first().copied()).map(|rows| rows as u64);
            least = least.into_iter().chain(rows).min();
        } else if MOVES.contains(&&*node.op_type) && takes(0) {
            ids.extend(node.outputs.iter().flatten());
        }
    }
    least.filter(|rows| *rows > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use onnx_protobuf::{GraphProto, Message, ModelProto, NodeProto, OperatorSetIdProto, TensorProto};
    use onnx_protobuf::{TensorShapeProto, TypeProto, ValueInfoProto, type_proto};
    use sardonyx::onnx;

    fn node(op: &str, inputs: &[&str], output: &str) -> NodeProto {
        let inputs = inputs.iter().map(|name| name.to_string()).collect();
        NodeProto { op_type: op.into(), input: inputs, output: vec![output.into()], ..Default::default() }
    }
    fn value(name: &str, elem_type: i32) -> ValueInfoProto {
        let shape = Some(TensorShapeProto::default()).into();
        let tensor = type_proto::Tensor { elem_type, shape, ..Default::default() };
        let kind = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..Default::default() };
        ValueInfoProto { name: name.into(), type_: Some(kind).into(), ..Default::default() }
    }
    fn table(name: &str, rows: i64) -> TensorProto {
        let float_data = vec![0.0; rows as usize * 2];
        TensorProto { name: name.into(), data_type: 1, dims: vec![rows, 2], float_data, ..Default::default() }
    }

    #[test]
    fn the_smallest_table_that_ids_are_looked_up_in() {
        let graph = GraphProto {
            name: "g".into(),
            input: vec![value("ids", 7), value("other", 7)],
            output: vec![value("y", 1), value("z", 1), value("w", 7)],
            initializer: vec![table("words", 11), table("places", 5)],
            node: vec![
                node("Gather", &["words", "ids"], "y"),
                node("Identity", &["ids"], "same"),
                node("Gather", &["places", "same"], "z"),
                node("Abs", &["other"], "w"),
            ],
            ..Default::default()
        };
        let opset = OperatorSetIdProto { version: 17, ..Default::default() };
        let model = ModelProto {
            ir_version: 8,
            graph: Some(graph).into(),
            opset_import: vec![opset],
            ..Default::default()
        };
        let graph = onnx::read_bytes(&model.write_to_bytes().unwrap(), None, "test").unwrap().graph;
        let found: Vec<_> = ["ids", "other"].map(|name| size(&graph, graph.find(name).unwrap())).into();
        assert_eq!(found, [Some(5), None]);
    }
}
