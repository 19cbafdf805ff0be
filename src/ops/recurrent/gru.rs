//! [GRU](https://onnx.ai/onnx/operators/onnx__GRU.html), versions 1, 3, 7, 14, 22 (Cho and others, 2014):
//! gates that say what of the state is renewed, and by how much of it.
//!
//! Inputs: X `[steps, batch, input]`, W `[directions, 3·hidden, input]`, R `[directions, 3·hidden, hidden]`
//! with the gates in the order update, reset, hidden, and optionally biases, the sequences' lengths and the
//! first state. Outputs: the states after each step, and the last.

use super::activation::Activation;
use super::steps::Steps;
use super::{Cell, parse};
use crate::error::Result;
use crate::expression::{Arg, Pointwise, table};
use crate::ops::OpDef;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::tensor::DType;

pub const DEF: OpDef = OpDef {
    domain: "",
    name: "GRU",
    since: 1,
    parse: |node| {
        let linear_before_reset = node.flag("linear_before_reset", false)?;
        parse(node, Cell::Gru { linear_before_reset })
    },
    cases: CASES,
};

/// The gates' order in the weights. The input's part of the hidden gate has both biases, unless the reset
/// gate comes after the product: then one of them is under it.
const UPDATE: usize = 0;
const RESET: usize = 1;
const HIDDEN: usize = 2;

pub struct Equations {
    /// r ⊙ H, of the reset gate's two parts and H; `None`: the reset gate comes after the product.
    pub(super) reset: Option<Pointwise>,
    /// The next H.
    pub(super) hidden: Pointwise,
}

/// (1 − z) ⊙ n + z ⊙ h
fn mixed(e: &mut Pointwise, z: Arg, n: Arg, h: Arg) {
    let rest = e.push(&table::SUB, vec![Arg::Const(1.0), z]);
    let renewed = e.push(&table::MUL, vec![rest, n]);
    let kept = e.push(&table::MUL, vec![z, h]);
    e.push(&table::ADD, vec![renewed, kept]);
}

impl Equations {
    pub fn of(activations: &[Activation], clip: Option<f32>, linear_before_reset: bool) -> Self {
        let (f, g) = (activations[0], activations[1]);
        let operand = Arg::Operand;
        let gate = |e: &mut Pointwise, x: usize, h: usize| {
            let sum = e.push(&table::ADD, vec![operand(x), operand(h)]);
            f.push(e, sum, clip)
        };
        if linear_before_reset {
            // Operands: the parts of the update, reset and hidden gates, the bias under the reset gate, H.
            let mut e = Pointwise { operands: 8, steps: vec![] };
            let (z, r) = (gate(&mut e, 0, 1), gate(&mut e, 2, 3));
            let product = e.push(&table::ADD, vec![operand(5), operand(6)]);
            let under = e.push(&table::MUL, vec![r, product]);
            let sum = e.push(&table::ADD, vec![operand(4), under]);
            let n = g.push(&mut e, sum, clip);
            mixed(&mut e, z, n, operand(7));
            return Self { reset: None, hidden: e };
        }
        let mut reset = Pointwise { operands: 3, steps: vec![] };
        let r = gate(&mut reset, 0, 1);
        reset.push(&table::MUL, vec![r, operand(2)]);
        // Operands: the parts of the update and hidden gates, H.
        let mut e = Pointwise { operands: 5, steps: vec![] };
        let z = gate(&mut e, 0, 1);
        let sum = e.push(&table::ADD, vec![operand(2), operand(3)]);
        let n = g.push(&mut e, sum, clip);
        mixed(&mut e, z, n, operand(4));
        Self { reset: Some(reset), hidden: e }
    }

    pub fn step<S: Steps>(&self, s: &S, step: usize, state: &[S::Array]) -> Result<Vec<S::Array>> {
        let h = &state[0];
        let (xz, xr, xh) = (s.input(UPDATE, step)?, s.input(RESET, step)?, s.input(HIDDEN, step)?);
        let (hz, hr) = (s.recurrent(UPDATE, h)?, s.recurrent(RESET, h)?);
        let next = match &self.reset {
            Some(reset) => {
                let product = s.recurrent(HIDDEN, &s.apply(reset, &[&xr, &hr, h])?)?;
                s.apply(&self.hidden, &[&xz, &hz, &xh, &product, h])?
            }
            None => {
                let product = s.recurrent(HIDDEN, h)?;
                s.apply(&self.hidden, &[&xz, &hz, &xr, &hr, &xh, &product, s.reset_bias(), h])?
            }
        };
        Ok(vec![next])
    }
}

const CASES: &[Case] = &[
    case(&[("hidden_size", Int(3))], &[Floats(&[4, 2, 5]), Weights(&[1, 9, 5]), Weights(&[1, 9, 3])])
        .outputs(2),
    case(
        &[("hidden_size", Int(3)), ("linear_before_reset", Int(1))],
        &[Floats(&[4, 2, 5]), Weights(&[1, 9, 5]), Weights(&[1, 9, 3]), Weights(&[1, 18])],
    )
    .outputs(2)
    .at(7),
    case(
        &[("hidden_size", Int(3)), ("linear_before_reset", Int(1)), ("direction", Text("reverse"))],
        &[Floats(&[4, 1, 5]), Weights(&[1, 9, 5]), Weights(&[1, 9, 3])],
    )
    .outputs(2),
    case(
        &[("hidden_size", Int(3)), ("direction", Text("bidirectional")), ("clip", Float(0.5))],
        &[
            Floats(&[4, 3, 2]),
            Weights(&[2, 9, 2]),
            Weights(&[2, 9, 3]),
            Weights(&[2, 18]),
            Typed(DType::I32, &[3], &[4.0, 2.0, 3.0]),
            Floats(&[2, 3, 3]),
        ],
    )
    .outputs(2),
    case(
        &[("hidden_size", Int(2)), ("activations", Texts(&["HardSigmoid", "Softsign"]))],
        &[Floats(&[3, 2, 2]), Weights(&[1, 6, 2]), Weights(&[1, 6, 2]), Weights(&[1, 12])],
    )
    .outputs(2),
    case(
        &[("hidden_size", Int(3)), ("layout", Int(1))],
        &[
            Floats(&[2, 4, 5]),
            Weights(&[1, 9, 5]),
            Weights(&[1, 9, 3]),
            Weights(&[1, 18]),
            Absent,
            Floats(&[2, 1, 3]),
        ],
    )
    .outputs(2),
    case(
        &[("hidden_size", Int(3))],
        &[Drawn(DType::F16, &[4, 2, 5]), Drawn(DType::F16, &[1, 9, 5]), Drawn(DType::F16, &[1, 9, 3])],
    )
    .outputs(2),
    // Rows longer than a vector, and more than one.
    case(&[("hidden_size", Int(37))], &[Floats(&[5, 3, 19]), Weights(&[1, 111, 19]), Weights(&[1, 111, 37])])
        .outputs(2),
];
