//! [LSTM](https://onnx.ai/onnx/operators/onnx__LSTM.html), versions 1, 7, 14, 22 (Hochreiter and Schmidhuber,
//! 1997): a cell beside the state, with gates that say what comes in, what is forgotten and what is shown.
//!
//! Inputs: X `[steps, batch, input]`, W `[directions, 4·hidden, input]`, R `[directions, 4·hidden, hidden]`
//! with the gates in the order input, output, forget, cell, and optionally biases, the sequences' lengths,
//! the first state and cell, and peephole weights, by which the gates see the cell. Outputs: the states after
//! each step, the last, and the last cell.

use super::activation::Activation;
use super::steps::Steps;
use super::{Cell, parse};
use crate::error::{Error, Result};
use crate::expression::{Arg, Pointwise, table};
use crate::ops::OpDef;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::tensor::DType;

pub const DEF: OpDef = OpDef {
    domain: "",
    name: "LSTM",
    since: 1,
    parse: |node| {
        let input_forget = node.flag("input_forget", false)?;
        parse(node, Cell::Lstm { input_forget })
    },
    cases: CASES,
};

/// The gates' order in the weights, and in the peepholes' for the first three.
const INPUT: usize = 0;
const OUTPUT: usize = 1;
const FORGET: usize = 2;
const CELL: usize = 3;

pub struct Equations {
    /// C, of the parts of the input, forget and cell gates, the last C, and two peepholes.
    pub(super) cell: Pointwise,
    /// H, of the parts of the output gate, C, and a peephole.
    pub(super) hidden: Pointwise,
}

impl Equations {
    pub fn of(activations: &[Activation], clip: Option<f32>, input_forget: bool, peepholes: bool) -> Self {
        let (f, g, h) = (activations[0], activations[1], activations[2]);
        let operand = Arg::Operand;
        // A gate of its parts x and x + 1, and the cell through a peephole.
        let gate = |e: &mut Pointwise, x: usize, cell: usize, peephole: usize, function: Activation| {
            let mut sum = e.push(&table::ADD, vec![operand(x), operand(x + 1)]);
            if peepholes && peephole > 0 {
                let seen = e.push(&table::MUL, vec![operand(peephole), operand(cell)]);
                sum = e.push(&table::ADD, vec![sum, seen]);
            }
            function.push(e, sum, clip)
        };
        let mut cell = Pointwise { operands: 7 + 2 * usize::from(peepholes), steps: vec![] };
        let i = gate(&mut cell, 0, 6, 7, f);
        let forget = if input_forget {
            cell.push(&table::SUB, vec![Arg::Const(1.0), i])
        } else {
            gate(&mut cell, 2, 6, 8, f)
        };
        let candidate = gate(&mut cell, 4, 6, 0, g);
        let kept = cell.push(&table::MUL, vec![forget, operand(6)]);
        let new = cell.push(&table::MUL, vec![i, candidate]);
        cell.push(&table::ADD, vec![kept, new]);
        let mut hidden = Pointwise { operands: 3 + usize::from(peepholes), steps: vec![] };
        let o = gate(&mut hidden, 0, 2, 3, f);
        // The text has clip before all activations. onnxruntime, and what else runs LSTMs, leaves the cell to
        // this one as it is.
        let shown = h.push(&mut hidden, operand(2), None);
        hidden.push(&table::MUL, vec![o, shown]);
        Self { cell, hidden }
    }

    pub fn step<S: Steps>(&self, s: &S, step: usize, state: &[S::Array]) -> Result<Vec<S::Array>> {
        let [h, c] = state else { return Err(Error::internal("a cell is missing")) };
        let part = |gate: usize| Ok((s.input(gate, step)?, s.recurrent(gate, h)?));
        let (i, f, g): (_, _, Result<_>) = (part(INPUT)?, part(FORGET)?, part(CELL));
        let g = g?;
        let mut operands = vec![&i.0, &i.1, &f.0, &f.1, &g.0, &g.1, c];
        operands.extend([INPUT, FORGET].iter().filter_map(|&gate| s.peephole(gate)));
        let cell = s.apply(&self.cell, &operands)?;
        let o: (S::Array, S::Array) = part(OUTPUT)?;
        let mut operands = vec![&o.0, &o.1, &cell];
        operands.extend(s.peephole(OUTPUT));
        let hidden = s.apply(&self.hidden, &operands)?;
        Ok(vec![hidden, cell])
    }
}

const CASES: &[Case] = &[
    case(&[("hidden_size", Int(3))], &[Floats(&[4, 2, 5]), Weights(&[1, 12, 5]), Weights(&[1, 12, 3])])
        .outputs(3),
    case(
        &[("hidden_size", Int(3)), ("direction", Text("reverse"))],
        &[Floats(&[4, 1, 5]), Weights(&[1, 12, 5]), Weights(&[1, 12, 3]), Weights(&[1, 24])],
    )
    .outputs(3)
    .at(7),
    case(
        &[("hidden_size", Int(3)), ("direction", Text("bidirectional")), ("clip", Float(0.5))],
        &[
            Floats(&[4, 3, 2]),
            Weights(&[2, 12, 2]),
            Weights(&[2, 12, 3]),
            Weights(&[2, 24]),
            Typed(DType::I32, &[3], &[4.0, 2.0, 3.0]),
            Floats(&[2, 3, 3]),
            Floats(&[2, 3, 3]),
            Weights(&[2, 9]),
        ],
    )
    .outputs(3),
    case(
        &[("hidden_size", Int(3))],
        &[
            Floats(&[4, 2, 2]),
            Weights(&[1, 12, 2]),
            Weights(&[1, 12, 3]),
            Weights(&[1, 24]),
            Absent,
            Absent,
            Absent,
            Weights(&[1, 9]),
        ],
    )
    .outputs(3),
    case(
        &[("hidden_size", Int(3)), ("input_forget", Int(1))],
        &[Floats(&[3, 2, 2]), Weights(&[1, 12, 2]), Weights(&[1, 12, 3]), Weights(&[1, 24])],
    )
    .outputs(3),
    case(
        &[
            ("hidden_size", Int(2)),
            ("activations", Texts(&["HardSigmoid", "Softsign", "ScaledTanh"])),
            ("activation_alpha", Reals(&[0.3, 1.5])),
            ("activation_beta", Reals(&[0.4, 0.7])),
        ],
        &[Floats(&[3, 2, 2]), Weights(&[1, 8, 2]), Weights(&[1, 8, 2]), Weights(&[1, 16])],
    )
    .outputs(3),
    case(
        &[("hidden_size", Int(3)), ("layout", Int(1)), ("direction", Text("bidirectional"))],
        &[
            Floats(&[2, 4, 5]),
            Weights(&[2, 12, 5]),
            Weights(&[2, 12, 3]),
            Weights(&[2, 24]),
            Typed(DType::I32, &[2], &[4.0, 1.0]),
            Floats(&[2, 2, 3]),
            Floats(&[2, 2, 3]),
        ],
    )
    .outputs(3),
    case(
        &[("hidden_size", Int(3))],
        &[Drawn(DType::F16, &[4, 2, 5]), Drawn(DType::F16, &[1, 12, 5]), Drawn(DType::F16, &[1, 12, 3])],
    )
    .outputs(3),
    case(
        &[("hidden_size", Int(3))],
        &[Drawn(DType::F64, &[4, 2, 5]), Drawn(DType::F64, &[1, 12, 5]), Drawn(DType::F64, &[1, 12, 3])],
    )
    .outputs(3)
    .runs("cpu"),
    // Rows longer than a vector, and more than one.
    case(&[("hidden_size", Int(37))], &[Floats(&[5, 3, 19]), Weights(&[1, 148, 19]), Weights(&[1, 148, 37])])
        .outputs(3),
];
