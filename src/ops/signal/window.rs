//! [HannWindow](https://onnx.ai/onnx/operators/onnx__HannWindow.html),
//! [HammingWindow](https://onnx.ai/onnx/operators/onnx__HammingWindow.html) and
//! [BlackmanWindow](https://onnx.ai/onnx/operators/onnx__BlackmanWindow.html), version 17: sums of cosines as
//! weights of a frame. The input is the window's size.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Terms};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator, single};
use crate::tensor::{DType, Tensor, allocate, cast};
use std::f64::consts::TAU;
use std::sync::Arc;

pub const HANN: OpDef = OpDef {
    domain: "",
    name: "HannWindow",
    since: 17,
    parse: |node| parse(node, [0.5, 0.5, 0.0]),
    cases: CASES,
};
pub const HAMMING: OpDef = OpDef {
    domain: "",
    name: "HammingWindow",
    since: 17,
    parse: |node| parse(node, [25.0 / 46.0, 1.0 - 25.0 / 46.0, 0.0]),
    cases: CASES,
};
pub const BLACKMAN: OpDef = OpDef {
    domain: "",
    name: "BlackmanWindow",
    since: 17,
    parse: |node| parse(node, [0.42, 0.5, 0.08]),
    cases: CASES,
};

/// `a − b cos(t) + c cos(2 t)` over one turn of t.
#[derive(Debug, Clone, PartialEq)]
pub struct CosineWindow {
    coefficients: [f64; 3],
    /// The turn ends one element behind the window's end; else with it.
    periodic: bool,
    dtype: DType,
}

/// The type that an attribute names, of those that a window may have.
pub(super) fn output_type(node: &NodeView) -> Result<DType> {
    let number = node.int("output_datatype", 1)?;
    let known = i32::try_from(number).ok().and_then(DType::from_onnx).filter(|dtype| dtype.is_number());
    known.ok_or_else(|| {
        Error::unsupported(format!("attribute 'output_datatype' is {number}"))
            .remedy("supported: the floats of 16 to 64 bits and the integers of 8 to 64")
    })
}

fn parse(node: &mut NodeView, coefficients: [f64; 3]) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    let (periodic, dtype) = (node.flag("periodic", true)?, output_type(node)?);
    Ok(Arc::new(CosineWindow { coefficients, periodic, dtype }))
}

impl Operator for CosineWindow {
    fn by_value(&self, _index: usize) -> bool {
        true
    }

    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let size = single::known(inputs, 0, "the size")?;
        Ok(vec![Fact::new(self.dtype, [single::size(size, "the size")?])])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let size = single::size(single::whole(inputs.required(0)?, "the size")?, "the size")?;
        let turn = if self.periodic { size } else { size.saturating_sub(1) } as f64;
        let [a, b, c] = self.coefficients;
        let mut list: Vec<f64> = allocate(size)?;
        list.extend((0..size).map(|k| {
            // A window of one element is its own end.
            let t = if turn == 0.0 { 0.0 } else { TAU * (k as f64 / turn) };
            a - b * t.cos() + c * (2.0 * t).cos()
        }));
        Ok(vec![cast(&Tensor::new([size], list)?, mode.of(self.dtype), true)?])
    }

    fn magnitude(&self) -> Option<Arc<dyn Operator>> {
        // The cosines' factors sum up to 1, in each window.
        Some(Arc::new(CosineWindow { coefficients: [1.0, 0.0, 0.0], ..self.clone() }))
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Sum { length: self.coefficients.len(), terms: Terms::Elements }
    }
}

const CASES: &[Case] = &[
    case(&[], &[Whole(10)]).runs("plan"),
    case(&[("periodic", Int(0))], &[Whole(9)]).runs("plan"),
    case(&[("output_datatype", Int(11))], &[Whole(7)]).runs("plan"),
];
