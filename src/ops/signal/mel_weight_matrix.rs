//! [MelWeightMatrix](https://onnx.ai/onnx/operators/onnx__MelWeightMatrix.html), version 17: what brings a
//! spectrum's bins to bands of the mel scale, each a triangle whose peak is 1.
//!
//! Inputs, all scalars: the number of bands, the length of the Fourier transform, the sample rate, and the
//! lowest and highest frequency. Bands' edges are rounded down to bins of the spectrum.

use super::window::output_type;
use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Terms};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator, single};
use crate::tensor::{DType, Tensor, cast, element_count, zeros};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "MelWeightMatrix", since: 17, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct MelWeightMatrix {
    dtype: DType,
}

const NAMES: [&str; 5] =
    ["num_mel_bins", "dft_length", "sample_rate", "lower_edge_hertz", "upper_edge_hertz"];

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(5..=5)?;
    Ok(Arc::new(MelWeightMatrix { dtype: output_type(node)? }))
}

/// `[bins of the spectrum, bands]`
fn shape(bands: i64, length: i64) -> Result<[usize; 2]> {
    Ok([single::size(length, NAMES[1])? / 2 + 1, single::size(bands, NAMES[0])?])
}

/// The bin of the spectrum at each band's edge: where the band before ends, and the one behind begins.
fn edges(bands: usize, length: usize, rate: f64, [low, high]: [f64; 2]) -> Result<Vec<usize>> {
    let mel = |hertz: f64| 2595.0 * (1.0 + hertz / 700.0).log10();
    let hertz = |mel: f64| 700.0 * (10f64.powf(mel / 2595.0) - 1.0);
    let step = (mel(high) - mel(low)) / (bands + 2) as f64;
    let edge = |k: usize| {
        let bin = ((length + 1) as f64 * hertz(mel(low) + k as f64 * step) / rate).floor();
        if (0.0..=(length / 2) as f64).contains(&bin) {
            return Ok(bin as usize);
        }
        Err(Error::input(format!(
            "frequencies from {low} to {high} lie outside a spectrum of {} bins at {rate} samples a second",
            length / 2 + 1
        )))
    };
    (0..bands + 2).map(edge).collect()
}

impl Operator for MelWeightMatrix {
    fn by_value(&self, _index: usize) -> bool {
        true
    }

    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let shape = shape(single::known(inputs, 0, NAMES[0])?, single::known(inputs, 1, NAMES[1])?)?;
        (2..5).try_for_each(|index| inputs.required(index).map(drop))?;
        Ok(vec![Fact::new(self.dtype, shape)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let whole = |index: usize| single::whole(inputs.required(index)?, NAMES[index]);
        let real = |index: usize| single::real(inputs.required(index)?, NAMES[index]);
        let length = whole(1)?;
        let shape = shape(whole(0)?, length)?;
        let mut list: Vec<f64> = zeros(element_count(&shape)?)?;
        let bands = shape[1];
        if !list.is_empty() {
            let edges = edges(bands, length as usize, real(2)?, [real(3)?, real(4)?])?;
            for (band, edges) in edges.windows(3).enumerate() {
                let [left, centre, right] = *edges else { continue };
                for bin in left..=centre {
                    // A triangle without a left side is its peak.
                    let share =
                        if centre > left { (bin - left) as f64 / (centre - left) as f64 } else { 1.0 };
                    list[bin * bands + band] = share;
                }
                for bin in centre..right {
                    list[bin * bands + band] = (right - bin) as f64 / (right - centre) as f64;
                }
            }
        }
        Ok(vec![cast(&Tensor::new(shape, list)?, mode.of(self.dtype), true)?])
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Sum { length: 1, terms: Terms::Elements }
    }
}

const CASES: &[Case] = &[
    case(&[], &[Whole(8), Whole(16), Whole(8192), Scalar(0.0), Scalar(4096.0)]).runs("plan"),
    case(
        &[("output_datatype", Int(11))],
        &[Whole(5), Whole(101), Whole(16000), Scalar(20.0), Scalar(7600.0)],
    )
    .runs("plan"),
];
