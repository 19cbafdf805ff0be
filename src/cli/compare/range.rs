//! `--range`: how the values that nodes make lie in float16's range, and which nodes to hold in float32.

use sardonyx::base::EvalPrecision;
use sardonyx::error::Result;
use sardonyx::graph::{Graph, ValueId};
use sardonyx::tensor::Tensor;
use sardonyx::{cpu, graph};
use serde::Serialize;
use std::collections::HashMap;

/// The largest finite number of float16, its smallest, and the smallest with all its digits.
const LARGEST: f64 = 65_504.0;
const SMALLEST: f64 = 5.960_464_477_539_063e-8;
const NORMAL: f64 = 6.103_515_625e-5;

/// The range of a node's float results over all samples, in float64.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct NodeRange {
    pub node: String,
    pub op: String,
    /// The largest and the smallest magnitude, zeros, infinities and NaN left out; `null` without any.
    pub largest: Option<f64>,
    pub smallest: Option<f64>,
    pub elements: u64,
    /// Elements beyond ±65,504, and those that float16 has no number for but 0.
    pub beyond: u64,
    pub vanishing: u64,
    /// Those whose digits float16 has in part: below 6.1e-5.
    pub subnormal: u64,
    /// Why to hold the node in float32; `null` where float16 does.
    pub hold: Option<&'static str>,
}

/// What a session over several samples adds up to.
#[derive(Default)]
pub struct Ranges {
    found: HashMap<ValueId, NodeRange>,
}

impl Ranges {
    /// Adds a sample: the graph as read, on the CPU in float64.
    pub fn add(&mut self, graph: &Graph, inputs: &HashMap<ValueId, Tensor>) -> Result<()> {
        let producers = graph.producers();
        let mut problem = Ok(());
        let mut watch = |id: ValueId, tensor: &Tensor| {
            let Some(node) = producers.get(&id).and_then(|&at| graph.nodes.get(at)) else { return };
            if !tensor.dtype().is_float() {
                return;
            }
            match tensor.to_f64s() {
                Ok(values) => self.found.entry(id).or_insert_with(|| NodeRange::of(node)).extend(&values),
                Err(error) => problem = Err(error.at_node(&node.name)),
            }
        };
        cpu::run(graph, inputs, EvalPrecision::Oracle, &mut watch)?;
        problem
    }

    /// A row for each node, in the model's order; the results of one node are one row.
    pub fn rows(self, graph: &Graph) -> Vec<NodeRange> {
        let row = |node: &graph::Node| {
            let ranges = node.outputs.iter().flatten().filter_map(|id| self.found.get(id));
            ranges.cloned().reduce(NodeRange::join).map(NodeRange::judged)
        };
        graph.nodes.iter().filter_map(row).collect()
    }
}

impl NodeRange {
    fn of(node: &graph::Node) -> Self {
        Self {
            node: node.name.clone(),
            op: node.op_type.clone(),
            largest: None,
            smallest: None,
            elements: 0,
            beyond: 0,
            vanishing: 0,
            subnormal: 0,
            hold: None,
        }
    }

    fn extend(&mut self, values: &[f64]) {
        self.elements += values.len() as u64;
        for x in values.iter().map(|x| x.abs()).filter(|x| *x > 0.0 && x.is_finite()) {
            self.largest = Some(self.largest.map_or(x, |most| most.max(x)));
            self.smallest = Some(self.smallest.map_or(x, |least| least.min(x)));
            // Half a step beyond the largest still rounds to it, and half the smallest to 0.
            self.beyond += u64::from(x >= LARGEST + 16.0);
            self.vanishing += u64::from(x <= SMALLEST / 2.0);
            self.subnormal += u64::from(x < NORMAL);
        }
    }

    fn join(self, other: Self) -> Self {
        let either = |pick: fn(f64, f64) -> f64, a: Option<f64>, b: Option<f64>| match (a, b) {
            (Some(a), Some(b)) => Some(pick(a, b)),
            (a, b) => a.or(b),
        };
        Self {
            largest: either(f64::max, self.largest, other.largest),
            smallest: either(f64::min, self.smallest, other.smallest),
            elements: self.elements + other.elements,
            beyond: self.beyond + other.beyond,
            vanishing: self.vanishing + other.vanishing,
            subnormal: self.subnormal + other.subnormal,
            ..self
        }
    }

    fn judged(self) -> Self {
        let hold = match self.largest {
            _ if self.beyond > 0 => Some("values beyond 65,504, which float16 stores as that"),
            Some(largest) if largest < NORMAL => {
                Some("no value as large as 6.1e-5, from where float16 has all digits")
            }
            _ if self.vanishing * 2 > self.elements => {
                Some("most values are smaller than float16's smallest")
            }
            _ => None,
        };
        Self { hold, ..self }
    }
}

/// The rows for a reader: those to hold, and how many are fine.
pub fn text(rows: &[NodeRange]) -> String {
    let mut text = String::new();
    for row in rows {
        if let Some(why) = row.hold {
            let magnitude = |x: Option<f64>| x.map_or("-".into(), |x| format!("{x:.2e}"));
            text += &format!(
                "hold in f32: {} ({}): {why}; magnitudes {} to {}\n",
                row.node,
                row.op,
                magnitude(row.smallest),
                magnitude(row.largest)
            );
        }
    }
    let held = rows.iter().filter(|row| row.hold.is_some()).count();
    text + &format!("float16's range: {held} of {} nodes are to be held in f32\n", rows.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sardonyx::{Session, onnx};
    use std::path::Path;

    fn row(values: &[f64]) -> NodeRange {
        let graph = onnx::read(Path::new("models/tiny/mlp/model.onnx")).unwrap().graph;
        let mut row = NodeRange::of(&graph.nodes[0]);
        row.extend(values);
        row.judged()
    }

    #[test]
    fn what_leaves_the_range_is_held() {
        assert_eq!(row(&[1.0, -3.0, 0.0, f64::INFINITY]).hold, None);
        assert_eq!(row(&[65_519.0]).hold, None);
        let found = row(&[1.0, -65_520.0]);
        assert!(found.hold.is_some() && found.beyond == 1 && found.largest == Some(65_520.0));
        let found = row(&[1e-6, -1e-9, 0.0]);
        assert!(found.hold.is_some());
        assert_eq!((found.vanishing, found.subnormal, found.smallest), (1, 2, Some(1e-9)));
        assert!(row(&[1e-9, 1e-9, 1.0]).hold.is_some());
    }

    #[test]
    fn every_float_node_of_a_model_has_a_row() {
        let session = Session::builder().load("models/tiny/mlp/model.onnx").unwrap();
        let graph = session.original();
        let id = graph.inputs[0];
        let columns = match &graph.value(id).declared.as_ref().unwrap().dims.as_ref().unwrap()[1] {
            sardonyx::Dim::Known(columns) => *columns,
            other => panic!("{other:?}"),
        };
        let mut ranges = Ranges::default();
        for scale in [1f32, 1e9] {
            let input = Tensor::new([1, columns], vec![scale; columns]).unwrap();
            ranges.add(graph, &HashMap::from([(id, input)])).unwrap();
        }
        let rows = ranges.rows(graph);
        assert_eq!(rows.len(), graph.nodes.len());
        assert!(rows.iter().any(|row| row.beyond > 0 && row.hold.is_some()), "{rows:?}");
        assert!(text(&rows).contains("hold in f32"));
    }
}
