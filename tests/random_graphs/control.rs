//! If, Loop and Scan, whose graphs read values from around them.

use super::grow::{Grower, Kind, Value};
use super::pointwise::second;
use super::proto::{self, body, declared, float, int, ints};
use onnx_protobuf::{GraphProto, NodeProto, ValueInfoProto};
use sardonyx::tensor::Boolean;
use sardonyx::{DType, Tensor};

/// One to three nodes that keep a value's type and shape; their own constants and what is around them are what
/// else they read. The name of the result.
fn steps(at: &mut Grower, x: &str) -> Option<String> {
    let (dtype, shape) = (at.dtype(x), at.shape(x));
    let mut x = x.to_string();
    for _ in 0..1 + at.draw.below(3) {
        let made = match at.draw.below(if dtype == DType::F32 { 4 } else { 2 }) {
            0 | 1 => {
                let y = second(at, &x);
                let op = at.draw.pick(&["Add", "Sub", "Min", "Max"]);
                at.one(op, &[&x, &y], vec![])?
            }
            2 => {
                let op = at.draw.pick(&["Tanh", "Sigmoid", "Neg", "Softsign", "LeakyRelu"]);
                at.one(op, &[&x], vec![])?
            }
            _ => {
                let axis = at.draw.axis(shape.len().max(1)).1;
                if shape.is_empty() || shape.contains(&0) {
                    at.one("Neg", &[&x], vec![])?
                } else {
                    at.one("Softmax", &[&x], vec![int("axis", axis)])?
                }
            }
        };
        if at.shape(&made) != shape || at.dtype(&made) != dtype {
            return None;
        }
        x = made;
    }
    Some(x)
}

/// What was added to a graph that grows becomes a graph of its own: its nodes, and the constants that were made
/// for it.
struct Inside {
    values: usize,
    nodes: usize,
}

impl Inside {
    fn begin(at: &mut Grower) -> Self {
        Self { values: at.values.len(), nodes: at.nodes.len() }
    }
    /// An input of the graph within, with an element for now.
    fn input(&self, at: &mut Grower, tensor: Tensor) -> String {
        at.given(tensor)
    }
    fn end(self, at: &mut Grower, inputs: Vec<ValueInfoProto>, outputs: &[&str]) -> GraphProto {
        let output = |name: &&str| declared(name, at.dtype(name), Some(at.tensor(name).shape()));
        let output = outputs.iter().map(output).collect();
        let nodes: Vec<NodeProto> = at.nodes.split_off(self.nodes);
        let own: Vec<Value> = at.values.split_off(self.values);
        let within: Vec<&String> = inputs.iter().map(|value| &value.name).collect();
        let mut initializer = vec![];
        for value in own {
            match value.kind {
                Kind::Constant => initializer.push(proto::tensor(&value.name, &value.tensor)),
                // An input that was made for the graph within stays one of the graph around it.
                Kind::Given if !within.contains(&&value.name) => at.values.push(value),
                _ => {}
            }
        }
        GraphProto {
            name: "body".into(),
            node: nodes,
            input: inputs,
            output,
            initializer,
            ..Default::default()
        }
    }
}

const TYPES: [DType; 4] = [DType::F32, DType::F32, DType::I32, DType::I64];

fn carried(at: &mut Grower) -> Option<String> {
    at.find(|x| TYPES.contains(&x.dtype()) && x.len() <= 400)
}

pub fn choice(at: &mut Grower) -> Option<()> {
    let x = carried(at)?;
    let condition = match at.draw.below(3) {
        0 => {
            let value = at.draw.one_in(2);
            at.constant(Tensor::scalar(Boolean::from(value)))
        }
        1 => {
            let value = at.draw.one_in(2);
            at.given(Tensor::scalar(Boolean::from(value)))
        }
        _ => {
            let sum = at.one("ReduceMax", &[&x], vec![int("keepdims", 0)])?;
            let other = at.draw.tensor(at.dtype(&x), &[]);
            let other = at.constant(other);
            at.one("Greater", &[&sum, &other], vec![])?
        }
    };
    let branch = |at: &mut Grower| {
        let inside = Inside::begin(at);
        match steps(at, &x) {
            Some(y) => Some(inside.end(at, vec![], &[&y])),
            None => {
                inside.end(at, vec![], &[]);
                None
            }
        }
    };
    let (then, other) = (branch(at)?, branch(at)?);
    at.one("If", &[&condition], vec![body("then_branch", then), body("else_branch", other)]).map(drop)
}

pub fn repeated(at: &mut Grower) -> Option<()> {
    let x = carried(at)?;
    let turns = at.draw.between(0, 4);
    let turns = at.operand(Tensor::scalar(turns));
    let condition =
        if at.draw.one_in(2) { String::new() } else { at.constant(Tensor::scalar(Boolean::from(true))) };
    let inside = Inside::begin(at);
    let turn = inside.input(at, Tensor::scalar(0i64));
    let go_on = inside.input(at, Tensor::scalar(Boolean::from(true)));
    let start = at.tensor(&x).clone();
    let state = inside.input(at, start);
    let made = steps(at, &state).and_then(|next| {
        let next = if at.draw.one_in(2) && at.dtype(&state) != DType::F16 {
            // The number of the turn takes part.
            let number = at.one("Cast", &[&turn], vec![int("to", at.dtype(&state).onnx() as i64)])?;
            at.one("Add", &[&next, &number], vec![])?
        } else {
            next
        };
        let stay = if at.draw.one_in(3) {
            let last = at.draw.between(0, 3);
            let last = at.constant(Tensor::scalar(last));
            at.one("Less", &[&turn, &last], vec![])?
        } else {
            at.one("Identity", &[&go_on], vec![])?
        };
        let scanned = at.one("Identity", &[&next], vec![])?;
        Some([stay, next, scanned])
    });
    let inputs = [&turn, &go_on, &state]
        .map(|name| declared(name, at.dtype(name), Some(at.tensor(name).shape())))
        .to_vec();
    let Some([stay, next, scanned]) = made else {
        inside.end(at, inputs, &[]);
        return None;
    };
    let graph = inside.end(at, inputs, &[&stay, &next, &scanned]);
    at.node("Loop", &[&turns, &condition, &x], vec![body("body", graph)], 2).map(drop)
}

pub fn scanned(at: &mut Grower) -> Option<()> {
    let x = at.find(|x| TYPES.contains(&x.dtype()) && x.rank() >= 1 && x.len() <= 400 && !x.is_empty())?;
    let shape = at.shape(&x);
    let (axis, signed) = at.draw.axis(shape.len());
    let mut element = shape.clone();
    element.remove(axis);
    let dtype = at.dtype(&x);
    let start = at.draw.tensor(dtype, &element);
    let start_name = at.operand(start.clone());
    let inside = Inside::begin(at);
    let state = inside.input(at, start.clone());
    let part = inside.input(at, start);
    let made = at.one("Add", &[&state, &part], vec![]).and_then(|sum| {
        let next = steps(at, &sum)?;
        let given = at.one("Identity", &[&sum], vec![])?;
        Some([next, given])
    });
    let inputs =
        [&state, &part].map(|name| declared(name, at.dtype(name), Some(at.tensor(name).shape()))).to_vec();
    let Some([next, given]) = made else {
        inside.end(at, inputs, &[]);
        return None;
    };
    let graph = inside.end(at, inputs, &[&next, &given]);
    let backwards = at.draw.between(0, 1);
    let attributes = vec![
        body("body", graph),
        int("num_scan_inputs", 1),
        ints("scan_input_axes", &[signed]),
        ints("scan_input_directions", &[backwards]),
        ints("scan_output_directions", &[backwards]),
    ];
    at.node("Scan", &[&start_name, &x], attributes, 2).map(drop)
}

/// A row of Muls by a small factor and Adds, which rewrites join.
pub fn chain(at: &mut Grower) -> Option<()> {
    let mut x = at.find(|x| x.dtype() == DType::F32)?;
    for _ in 0..2 + at.draw.below(4) {
        let y = second(at, &x);
        let op = at.draw.pick(&["Add", "Mul", "Sub", "Max"]);
        x = at.one(op, &[&x, &y], vec![])?;
        if at.draw.one_in(2) {
            let op = at.draw.pick(&["Tanh", "Sigmoid", "Relu", "LeakyRelu"]);
            let attributes = if op == "LeakyRelu" { vec![float("alpha", 0.3)] } else { vec![] };
            x = at.one(op, &[&x], attributes)?;
        }
    }
    Some(())
}
