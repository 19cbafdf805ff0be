//! [QuantizeLinear](https://onnx.ai/onnx/operators/onnx__QuantizeLinear.html), versions 10, 13, 19, 21, 23,
//! 24, 25: `saturate(round(x / scale) + zero_point)`, rounded to even.
//!
//! Inputs: x, its scales, and zero points of the type that is made (uint8 without). Scales are one for the
//! tensor, for each index of an axis, or for each block of it. Floats of 8 and 4 bits are rounded as that
//! type is.

use super::ends;
use super::granularity::Granularity;
use super::lower;
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

pub const DEF: OpDef = OpDef { domain: "", name: "QuantizeLinear", since: 10, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct QuantizeLinear {
    pub granularity: Granularity,
    /// The type that is made, where no zero point says so.
    pub to: Option<DType>,
    /// Whether numbers beyond an 8-bit float become its largest, not infinity or NaN.
    pub saturate: bool,
    /// The type in which x is divided; `None`: that of the scales.
    pub precision: Option<DType>,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=3)?;
    let precision = node.dtype("precision")?;
    if let Some(other) = precision.filter(|dtype| !dtype.is_float()) {
        return Err(Error::model(format!("attribute 'precision' is {other}, not a float type")));
    }
    Ok(Arc::new(QuantizeLinear {
        granularity: Granularity::parse(node)?,
        to: node.dtype("output_dtype")?,
        saturate: node.flag("saturate", true)?,
        precision,
    }))
}

/// Appends what makes an integer type of a quotient: rounding, the zero point (an operand), the type's ends.
/// `wide` is float32 or float64, for which whole numbers of 16 bits are exact.
pub fn push_rounded(e: &mut Pointwise, quotient: Arg, zero: Option<Arg>, wide: DType, to: DType) {
    let mut value = e.push(&table::ROUND, vec![quotient]);
    value = e.push_cast(value, wide);
    if let Some(zero) = zero {
        let zero = e.push_cast(zero, wide);
        value = e.push(&table::ADD, vec![value, zero]);
        // A whole number already: for the comparison, which counts what a sum may lose.
        value = e.push(&table::ROUND, vec![value]);
    }
    if let Some((low, high)) = ends(to) {
        value = e.push(&table::MAX, vec![value, Arg::Const(low)]);
        value = e.push(&table::MIN, vec![value, Arg::Const(high)]);
    }
    e.push_cast(value, to);
}

impl QuantizeLinear {
    /// The type that is made.
    fn target(&self, zero: Option<DType>) -> Result<DType> {
        let to = match (zero, self.to) {
            (Some(zero), Some(to)) if zero != to => {
                return Err(Error::model(format!("output_dtype is {to}, but the zero point is {zero}")));
            }
            (Some(dtype), _) | (None, Some(dtype)) => dtype,
            (None, None) => DType::U8,
        };
        if ends(to).is_some() || to.is_narrow_float() {
            Ok(to)
        } else {
            Err(Error::unsupported(format!("quantising to {to}"))
                .remedy("supported: integers of 2 to 16 bits, floats of 8 and 4"))
        }
    }

    /// Over operands x, the scales and perhaps the zero points, all broadcast together.
    fn formula(&self, [x, scale]: [DType; 2], zero: bool, to: DType) -> Pointwise {
        let mut e = Pointwise { operands: 2 + usize::from(zero), steps: vec![] };
        let own = if scale.is_float() { scale } else { DType::F32 };
        let precision = if own == DType::F64 { own } else { self.precision.unwrap_or(own) };
        let x = if x == precision { Arg::Operand(0) } else { e.push_cast(Arg::Operand(0), precision) };
        let scale =
            if scale == precision { Arg::Operand(1) } else { e.push_cast(Arg::Operand(1), precision) };
        let mut quotient = e.push(&table::DIV, vec![x, scale]);
        let wide = if precision == DType::F64 { DType::F64 } else { DType::F32 };
        let zero = zero.then_some(Arg::Operand(2));
        if ends(to).is_some() {
            push_rounded(&mut e, quotient, zero, wide, to);
            return e;
        }
        if let Some(zero) = zero {
            let (value, zero) = (e.push_cast(quotient, wide), e.push_cast(zero, wide));
            quotient = e.push(&table::ADD, vec![value, zero]);
        }
        e.push_cast(quotient, to);
        e
    }

    fn operands(&self, inputs: Operands<'_, Tensor>) -> Result<(Pointwise, Vec<Tensor>, DType)> {
        let (x, scale, zero) = (inputs.required(0)?, inputs.required(1)?, inputs.optional(2));
        let to = self.target(zero.map(Tensor::dtype))?;
        let formula = self.formula([x.dtype(), scale.dtype()], zero.is_some(), to);
        Ok((formula, self.granularity.operands(inputs)?, to))
    }
}

/// Errors where the zero points don't go with the scales.
pub fn check_zero(scale: &Fact, zero: Option<&Fact>) -> Result<()> {
    let Some(zero) = zero else { return Ok(()) };
    // Many a model has a scalar beside a list of one.
    if zero.shape == scale.shape || zero.count() == 1 && scale.count() == 1 {
        return Ok(());
    }
    Err(Error::model(format!(
        "zero points of shape {:?} don't go with scales of shape {:?}: they need the same",
        zero.shape, scale.shape
    )))
}

impl Operator for QuantizeLinear {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let (x, scale, zero) = (inputs.required(0)?, inputs.required(1)?, inputs.optional(2));
        for dtype in [x.dtype, scale.dtype] {
            if !dtype.is_float() && !matches!(dtype, DType::I32 | DType::F8E8M0) {
                return Err(Error::model(format!("{dtype} is not a type of this operator")).into());
            }
        }
        self.granularity.form(&x.shape, &scale.shape)?;
        check_zero(scale, zero)?;
        Ok(vec![Fact::new(self.target(zero.map(|zero| zero.dtype))?, x.shape.clone())])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let (mut formula, operands, to) = self.operands(inputs)?;
        let operands: Vec<&Tensor> = operands.iter().collect();
        if self.saturate || ends(to).is_some() {
            return Ok(vec![formula.eval(&operands, mode)?]);
        }
        formula.steps.pop();
        Ok(vec![cast(&formula.eval(&operands, mode)?, to, false)?])
    }

    fn engine(&self) -> Option<&dyn Engine> {
        Some(self)
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn casts_small_floats(&self) -> bool {
        true
    }

    /// The type of the scales says in what x is divided.
    fn takes_any_type(&self) -> bool {
        true
    }

    fn by_value(&self, index: usize) -> bool {
        index == 1
    }

    fn as_expression(&self, inputs: Operands<'_, Tensor>) -> Result<Option<Spread>> {
        let (expression, operands, to) = self.operands(inputs)?;
        if !self.saturate && ends(to).is_none() {
            return Ok(None);
        }
        let operands = operands.into_iter().enumerate().map(|(index, operand)| (operand, index)).collect();
        Ok(Some(Spread { expression, operands }))
    }

    fn flops(&self, _inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        outputs.iter().map(|fact| 2 * fact.count() as u64).sum()
    }
}

impl Lower for QuantizeLinear {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let (x, scale) = (at.fact(0)?.dtype, at.fact(1)?.dtype);
        let zero = if at.has_input(2) { Some(at.fact(2)?.dtype) } else { None };
        let to = self.target(zero)?;
        if !self.saturate && ends(to).is_none() {
            return Err(Unsupported::new(format!("a cast to {to} that doesn't saturate")));
        }
        if scale == DType::F16 && self.precision.is_none() || self.precision == Some(DType::F16) {
            return Err(Unsupported::new("a quotient that is rounded to float16"));
        }
        lower::by_expression(at, self.formula([x, scale], zero.is_some(), to), &self.granularity)
    }
}

impl Engine for QuantizeLinear {
    /// float32 to integers of 8 and 16 bits, without blocks.
    fn run(
        &self,
        inputs: Operands<'_, Tensor>,
        _packed: Option<&Packed>,
        _wanted: usize,
        _mode: EvalPrecision,
    ) -> Result<Option<Vec<Tensor>>> {
        let (x, scale, zero) = (inputs.required(0)?, inputs.required(1)?, inputs.optional(2));
        let to = self.target(zero.map(Tensor::dtype))?;
        let form = self.granularity.form(x.shape(), scale.shape())?;
        let other = self.precision.is_some_and(|precision| precision != DType::F32);
        if other || x.dtype() != DType::F32 || scale.dtype() != DType::F32 || x.is_empty() {
            return Ok(None);
        }
        let Some((run, count)) = form.runs(x.shape()) else { return Ok(None) };
        let zeros_of = match zero {
            Some(zero) if ends(to).is_some() => cast(zero, DType::F32, true)?.as_slice::<f32>()?.to_vec(),
            _ => zeros(scale.len())?,
        };
        let scales = Scales { scales: scale.as_slice()?, zeros: &zeros_of, run, count };
        let xs = x.as_slice::<f32>()?;
        Ok(Some(vec![match to {
            DType::U8 => Tensor::new(x.shape(), quantize::quantize::<u8>(xs, &scales)?)?,
            DType::I8 => Tensor::new(x.shape(), quantize::quantize::<i8>(xs, &scales)?)?,
            DType::U16 => Tensor::new(x.shape(), quantize::quantize::<u16>(xs, &scales)?)?,
            DType::I16 => Tensor::new(x.shape(), quantize::quantize::<i16>(xs, &scales)?)?,
            _ => return Ok(None),
        }]))
    }
}

const CASES: &[Case] = &[
    case(&[], &[Range(&[3, 5], -40.0, 40.0), Scalar(0.25), Typed(DType::U8, &[], &[128.0])]),
    case(&[], &[Range(&[7], -400.0, 400.0), Scalar(0.5), Typed(DType::I8, &[], &[-3.0])]),
    case(&[], &[Range(&[2, 3], -4.0, 500.0), Scalar(1.5)]).at(10),
    case(
        &[],
        &[
            Range(&[2, 3, 5], -40.0, 40.0),
            Factors(&[0.25, 0.5, 2.0]),
            Typed(DType::U8, &[3], &[1.0, 128.0, 90.0]),
        ],
    )
    .at(13),
    case(
        &[("axis", Int(-1))],
        &[Range(&[5, 2], -40.0, 40.0), Factors(&[0.25, 0.3]), Typed(DType::I8, &[2], &[0.0, 5.0])],
    ),
    case(
        &[("axis", Int(0)), ("block_size", Int(2))],
        &[
            Range(&[3, 2], -40.0, 40.0),
            Typed(DType::F32, &[2, 2], &[0.25, 0.5, 1.0, 2.0]),
            Typed(DType::U8, &[2, 2], &[0.0, 128.0, 200.0, 7.0]),
        ],
    )
    .at(21),
    case(&[], &[Range(&[6], -9e4, 9e4), Scalar(1.0), Typed(DType::U16, &[], &[300.0])]).at(21),
    case(&[], &[Range(&[6], -9e4, 9e4), Scalar(1.0), Typed(DType::I16, &[], &[300.0])]).at(21),
    case(&[], &[Range(&[9], -9.0, 9.0), Scalar(0.5), Typed(DType::I4, &[], &[1.0])]).at(21),
    case(&[("output_dtype", Int(21))], &[Range(&[9], -9.0, 9.0), Scalar(0.5)]).at(21),
    case(&[], &[Range(&[9], -3.0, 3.0), Scalar(0.5), Typed(DType::I2, &[], &[0.0])]).at(25),
    case(&[("output_dtype", Int(25))], &[Range(&[9], -3.0, 3.0), Scalar(0.5)]).at(25),
    case(&[("output_dtype", Int(17))], &[Range(&[9], -600.0, 600.0), Scalar(0.5)]).at(21),
    case(&[("output_dtype", Int(17)), ("saturate", Int(0))], &[Range(&[9], -600.0, 600.0), Scalar(0.5)])
        .at(21)
        .runs("cpu"),
    case(&[("output_dtype", Int(18))], &[Range(&[9], -300.0, 300.0), Scalar(0.5)]).at(21),
    case(&[("output_dtype", Int(19))], &[Range(&[9], -9e4, 9e4), Scalar(0.5)]).at(21),
    case(&[("output_dtype", Int(20))], &[Range(&[9], -9e4, 9e4), Scalar(0.5)]).at(21),
    case(&[("output_dtype", Int(23))], &[Range(&[9], -9.0, 9.0), Scalar(0.5)]).at(23),
    case(&[], &[I32(&[7]), Scalar(0.5), Typed(DType::U8, &[], &[3.0])]).at(10),
    case(&[], &[Drawn(DType::F16, &[7]), Typed(DType::F16, &[], &[0.125]), Typed(DType::U8, &[], &[9.0])])
        .at(21)
        .runs("cpu"),
    case(
        &[("precision", Int(1))],
        &[Drawn(DType::F16, &[7]), Typed(DType::F16, &[], &[0.125]), Typed(DType::I8, &[], &[9.0])],
    ),
    // Long enough for several threads and for runs of equal scales.
    case(
        &[],
        &[
            Range(&[1, 3, 7001], -40.0, 40.0),
            Factors(&[0.25, 0.7, 2.0]),
            Typed(DType::U8, &[3], &[1.0, 128.0, 90.0]),
        ],
    ),
];
