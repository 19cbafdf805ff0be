//! [RNN](https://onnx.ai/onnx/operators/onnx__RNN.html), versions 1, 7, 14, 22: `H = f(x·Wᵀ + H·Rᵀ + b)`.
//!
//! Inputs: X `[steps, batch, input]`, W `[directions, hidden, input]`, R `[directions, hidden, hidden]`, and
//! optionally biases, the sequences' lengths and the first state. Outputs: the states after each step, and
//! the last.

use super::activation::Activation;
use super::steps::Steps;
use super::{Cell, parse};
use crate::error::Result;
use crate::expression::{Arg, Pointwise, table};
use crate::ops::OpDef;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::tensor::DType;

pub const DEF: OpDef =
    OpDef { domain: "", name: "RNN", since: 1, parse: |node| parse(node, Cell::Rnn), cases: CASES };

pub struct Equations {
    /// Of the input's part and the state's.
    pub(super) hidden: Pointwise,
}

impl Equations {
    pub fn of(activations: &[Activation], clip: Option<f32>) -> Self {
        let mut hidden = Pointwise { operands: 2, steps: vec![] };
        let sum = hidden.push(&table::ADD, vec![Arg::Operand(0), Arg::Operand(1)]);
        activations[0].push(&mut hidden, sum, clip);
        Self { hidden }
    }

    pub fn step<S: Steps>(&self, s: &S, step: usize, state: &[S::Array]) -> Result<Vec<S::Array>> {
        let (x, h) = (s.input(0, step)?, s.recurrent(0, &state[0])?);
        Ok(vec![s.apply(&self.hidden, &[&x, &h])?])
    }
}

const CASES: &[Case] = &[
    case(&[("hidden_size", Int(3))], &[Floats(&[4, 2, 5]), Weights(&[1, 3, 5]), Weights(&[1, 3, 3])])
        .outputs(2),
    case(
        &[
            ("hidden_size", Int(3)),
            ("direction", Text("bidirectional")),
            ("activations", Texts(&["Relu", "Tanh"])),
            ("clip", Float(0.75)),
        ],
        &[
            Floats(&[4, 3, 2]),
            Weights(&[2, 3, 2]),
            Weights(&[2, 3, 3]),
            Weights(&[2, 6]),
            Typed(DType::I32, &[3], &[4.0, 2.0, 3.0]),
            Floats(&[2, 3, 3]),
        ],
    )
    .outputs(2),
    case(
        &[("hidden_size", Int(5)), ("direction", Text("reverse")), ("activations", Texts(&["Softsign"]))],
        &[Floats(&[3, 1, 4]), Weights(&[1, 5, 4]), Weights(&[1, 5, 5]), Weights(&[1, 10])],
    )
    .outputs(2)
    .at(7),
    case(
        &[
            ("hidden_size", Int(4)),
            ("activations", Texts(&["Affine"])),
            ("activation_alpha", Reals(&[0.5])),
            ("activation_beta", Reals(&[0.25])),
        ],
        &[Floats(&[2, 2, 3]), Weights(&[1, 4, 3]), Weights(&[1, 4, 4])],
    )
    .outputs(2),
    case(
        &[
            ("hidden_size", Int(4)),
            ("activations", Texts(&["HardSigmoid", "ScaledTanh"])),
            ("direction", Text("bidirectional")),
            ("activation_alpha", Reals(&[0.3, 1.5])),
            ("activation_beta", Reals(&[0.4, 0.5])),
        ],
        &[Floats(&[2, 2, 3]), Weights(&[2, 4, 3]), Weights(&[2, 4, 4])],
    )
    .outputs(2),
    case(
        &[
            ("hidden_size", Int(4)),
            ("activations", Texts(&["LeakyRelu", "ThresholdedRelu"])),
            ("direction", Text("bidirectional")),
            ("activation_alpha", Reals(&[0.2, 0.5])),
        ],
        &[Floats(&[2, 2, 3]), Weights(&[2, 4, 3]), Weights(&[2, 4, 4])],
    )
    .outputs(2),
    case(
        &[
            ("hidden_size", Int(4)),
            ("activations", Texts(&["Elu", "Softplus"])),
            ("direction", Text("bidirectional")),
            ("activation_alpha", Reals(&[0.7])),
        ],
        &[Floats(&[2, 2, 3]), Weights(&[2, 4, 3]), Weights(&[2, 4, 4])],
    )
    .outputs(2),
    case(
        &[("hidden_size", Int(3)), ("layout", Int(1))],
        &[Floats(&[2, 4, 5]), Weights(&[1, 3, 5]), Weights(&[1, 3, 3]), Absent, Absent, Floats(&[2, 1, 3])],
    )
    .outputs(2),
];
