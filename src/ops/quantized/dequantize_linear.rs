//! [DequantizeLinear](https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html), versions 10, 13, 19, 21,
//! 23, 24, 25: `(x - zero_point) * scale`.
//!
//! Inputs: x, its scales, and zero points of x's type. Scales are one for the tensor, for each index of an
//! axis, or for each block of it.

use super::ends;
use super::granularity::Granularity;
use super::lower;
use super::quantize_linear::check_zero;
use crate::base::{EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::cpu_kernels::panels::Packed;
use crate::cpu_kernels::quantize::{self, Scales};
use crate::error::{Error, Result};
use crate::expression::{Arg, Pointwise, table};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Engine, Lower, NodeView, OpDef, Operator, Spread};
use crate::tensor::{DType, Tensor, cast, zeros};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "DequantizeLinear", since: 10, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct DequantizeLinear {
    pub granularity: Granularity,
    /// The type that is made; `None`: that of the scales.
    pub to: Option<DType>,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=3)?;
    Ok(Arc::new(DequantizeLinear { granularity: Granularity::parse(node)?, to: node.dtype("output_dtype")? }))
}

impl DequantizeLinear {
    fn target(&self, scale: DType) -> Result<DType> {
        let to = self.to.unwrap_or(scale);
        if to.is_float() { Ok(to) } else { Err(Error::model(format!("{to} is no type to dequantise to"))) }
    }

    /// Over operands x, the scales and perhaps the zero points, all broadcast together.
    fn formula(&self, scale: DType, zero: bool, to: DType) -> Pointwise {
        let mut e = Pointwise { operands: 2 + usize::from(zero), steps: vec![] };
        let wide = if scale == DType::F64 { DType::F64 } else { DType::F32 };
        let mut value = e.push_cast(Arg::Operand(0), wide);
        if zero {
            let zero = e.push_cast(Arg::Operand(2), wide);
            value = e.push(&table::SUB, vec![value, zero]);
        }
        let factor = if scale == wide { Arg::Operand(1) } else { e.push_cast(Arg::Operand(1), wide) };
        value = e.push(&table::MUL, vec![value, factor]);
        if to != wide {
            e.push_cast(value, to);
        }
        e
    }

    fn operands(&self, inputs: Operands<'_, Tensor>) -> Result<(Pointwise, Vec<Tensor>)> {
        let (scale, zero) = (inputs.required(1)?, inputs.optional(2));
        let formula = self.formula(scale.dtype(), zero.is_some(), self.target(scale.dtype())?);
        Ok((formula, self.granularity.operands(inputs)?))
    }
}

impl Operator for DequantizeLinear {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let (x, scale, zero) = (inputs.required(0)?, inputs.required(1)?, inputs.optional(2));
        if ends(x.dtype).is_none() && !x.dtype.is_narrow_float() && x.dtype != DType::I32 {
            return Err(Error::model(format!("{} is not a type of this operator", x.dtype)).into());
        }
        if !scale.dtype.is_float() && scale.dtype != DType::F8E8M0 {
            return Err(Error::model(format!("{} is not a type of scales", scale.dtype)).into());
        }
        if let Some(zero) = zero.filter(|zero| zero.dtype != x.dtype) {
            return Err(
                Error::model(format!("x is {}, but the zero point is {}", x.dtype, zero.dtype)).into()
            );
        }
        self.granularity.form(&x.shape, &scale.shape)?;
        check_zero(scale, zero)?;
        Ok(vec![Fact::new(self.target(scale.dtype)?, x.shape.clone())])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let (formula, operands) = self.operands(inputs)?;
        Ok(vec![formula.eval(&operands.iter().collect::<Vec<_>>(), mode)?])
    }

    fn engine(&self) -> Option<&dyn Engine> {
        Some(self)
    }

    fn dequantizes(&self) -> Option<&DequantizeLinear> {
        Some(self)
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn casts_small_floats(&self) -> bool {
        true
    }

    fn takes_any_type(&self) -> bool {
        true
    }

    fn by_value(&self, index: usize) -> bool {
        index == 1
    }

    fn as_expression(&self, inputs: Operands<'_, Tensor>) -> Result<Option<Spread>> {
        let (expression, operands) = self.operands(inputs)?;
        let operands = operands.into_iter().enumerate().map(|(index, operand)| (operand, index)).collect();
        Ok(Some(Spread { expression, operands }))
    }

    fn flops(&self, _inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        outputs.iter().map(|fact| 2 * fact.count() as u64).sum()
    }
}

impl Lower for DequantizeLinear {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let scale = at.fact(1)?.dtype;
        let formula = self.formula(scale, at.has_input(2), self.target(scale)?);
        lower::by_expression(at, formula, &self.granularity)
    }
}

impl Engine for DequantizeLinear {
    /// Integers of 8 to 32 bits to float32, without blocks.
    fn run(
        &self,
        inputs: Operands<'_, Tensor>,
        _packed: Option<&Packed>,
        _wanted: usize,
        _mode: EvalPrecision,
    ) -> Result<Option<Vec<Tensor>>> {
        let (x, scale, zero) = (inputs.required(0)?, inputs.required(1)?, inputs.optional(2));
        let form = self.granularity.form(x.shape(), scale.shape())?;
        if scale.dtype() != DType::F32 || self.target(scale.dtype())? != DType::F32 || x.is_empty() {
            return Ok(None);
        }
        let Some((run, count)) = form.runs(x.shape()) else { return Ok(None) };
        let zeros_of = match zero {
            Some(zero) => cast(zero, DType::F32, true)?.as_slice::<f32>()?.to_vec(),
            None => zeros(scale.len())?,
        };
        let scales = Scales { scales: scale.as_slice()?, zeros: &zeros_of, run, count };
        let ys = match x.dtype() {
            DType::U8 => quantize::dequantize(x.as_slice::<u8>()?, &scales)?,
            DType::I8 => quantize::dequantize(x.as_slice::<i8>()?, &scales)?,
            DType::U16 => quantize::dequantize(x.as_slice::<u16>()?, &scales)?,
            DType::I16 => quantize::dequantize(x.as_slice::<i16>()?, &scales)?,
            DType::I32 => quantize::dequantize(x.as_slice::<i32>()?, &scales)?,
            _ => return Ok(None),
        };
        Ok(Some(vec![Tensor::floats(x.shape(), ys)?]))
    }
}

const CASES: &[Case] = &[
    case(&[], &[Small(DType::U8, &[3, 5]), Scalar(0.3), Typed(DType::U8, &[], &[128.0])]),
    case(&[], &[Wide(DType::I8, &[7]), Scalar(0.5), Typed(DType::I8, &[], &[-3.0])]).at(10),
    case(&[], &[Wide(DType::I32, &[7]), Scalar(1e-3)]).at(10),
    case(
        &[],
        &[
            Small(DType::U8, &[2, 3, 5]),
            Factors(&[0.25, 0.5, 2.0]),
            Typed(DType::U8, &[3], &[1.0, 128.0, 90.0]),
        ],
    )
    .at(13),
    case(&[("axis", Int(-1))], &[Small(DType::I8, &[5, 2]), Factors(&[0.25, 0.3])]),
    case(
        &[("axis", Int(1)), ("block_size", Int(2))],
        &[
            Small(DType::I8, &[2, 3]),
            Typed(DType::F32, &[2, 2], &[0.25, 0.5, 1.0, 2.0]),
            Typed(DType::I8, &[2, 2], &[0.0, 12.0, 20.0, 7.0]),
        ],
    )
    .at(21),
    case(&[], &[Wide(DType::U16, &[5]), Scalar(0.1), Typed(DType::U16, &[], &[300.0])]).at(21),
    case(&[], &[Wide(DType::I16, &[5]), Scalar(0.1), Typed(DType::I16, &[], &[300.0])]).at(21),
    case(
        &[],
        &[
            Typed(DType::I4, &[4], &[-8.0, 7.0, 1.0, -1.0]),
            Range(&[], 0.5, 1.0),
            Typed(DType::I4, &[], &[1.0]),
        ],
    )
    .at(21),
    case(&[], &[Typed(DType::U4, &[3], &[15.0, 7.0, 0.0]), Range(&[], 0.5, 1.0)]).at(21),
    case(&[], &[Typed(DType::I2, &[4], &[-2.0, 1.0, 0.0, -1.0]), Range(&[], 0.5, 1.0)]).at(25),
    case(&[], &[Typed(DType::U2, &[4], &[2.0, 1.0, 0.0, 3.0]), Range(&[], 0.5, 1.0)]).at(25),
    case(&[], &[Typed(DType::F8E4M3FN, &[4], &[-2.0, 448.0, 0.1, 3.0]), Range(&[], 0.5, 1.0)]).at(19),
    case(&[], &[Typed(DType::F8E5M2, &[4], &[-2.0, 5e4, 0.1, 3.0]), Range(&[], 0.5, 1.0)]).at(19),
    case(&[], &[Typed(DType::F4E2M1, &[4], &[-2.0, 6.0, 0.5, 3.0]), Range(&[], 0.5, 1.0)]).at(23),
    case(&[], &[Small(DType::I8, &[7]), Typed(DType::F16, &[], &[0.3]), Typed(DType::I8, &[], &[9.0])])
        .at(21),
    case(&[("output_dtype", Int(10))], &[Small(DType::I8, &[7]), Scalar(0.3)]),
    // Long enough for several threads and for runs of equal scales.
    case(
        &[],
        &[
            Wide(DType::U8, &[1, 3, 7001]),
            Factors(&[0.25, 0.7, 2.0]),
            Typed(DType::U8, &[3], &[1.0, 128.0, 90.0]),
        ],
    ),
];
