//! The operators that are rows of the table, as nodes: parsing, inference, evaluation and lowering, once for
//! all.

use super::aligned::{Aligned, Begins};
use super::cast_like::{CastLike, Round};
use crate::base::{EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::error::{Error, Result};
use crate::expression::{Arg, Pointwise, Row, table};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Input, Lower, NodeView, OpDef, Operator};
use crate::tensor::index::broadcast;
use crate::tensor::{DType, Tensor};
use std::sync::Arc;

/// A node whose elements depend on the elements at the same (broadcast) place of its inputs alone.
#[derive(Debug, Clone, PartialEq)]
pub struct Elementwise {
    pub expression: Pointwise,
}

impl Operator for Elementwise {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let mut shape = vec![];
        let mut types = vec![];
        for index in 0..self.expression.operands {
            let fact = inputs.required(index)?;
            shape = broadcast(&shape, &fact.shape)?;
            types.push(fact.dtype);
        }
        Ok(vec![Fact::new(self.expression.result_type(&types)?, shape)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let operands =
            (0..self.expression.operands).map(|index| inputs.required(index)).collect::<Result<Vec<_>>>()?;
        Ok(vec![self.expression.eval(&operands, mode)?])
    }

    fn takes_any_type(&self) -> bool {
        true // the interpreter widens step by step
    }

    fn expression(&self) -> Option<&Pointwise> {
        Some(&self.expression)
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn flops(&self, _inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        outputs.iter().map(|fact| fact.count() as u64).sum::<u64>() * self.expression.steps.len() as u64
    }
}

impl Lower for Elementwise {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        crate::kernels::pointwise::emit(&self.expression, at)
    }
}

fn elementwise(expression: Pointwise) -> Result<Arc<dyn Operator>> {
    Ok(Arc::new(Elementwise { expression }))
}

fn unary(node: &mut NodeView, row: &'static Row, constants: &[f64]) -> Result<Arc<dyn Operator>> {
    node.ignore(&["consumed_inputs"]);
    node.expect_inputs(1..=1)?;
    elementwise(Pointwise::of(row, 1, constants))
}

fn binary(node: &mut NodeView, row: &'static Row) -> Result<Arc<dyn Operator>> {
    node.ignore(&["consumed_inputs"]);
    // Before version 7, broadcasting had to be asked for, and `axis` aligned the second input from the left.
    node.ignore(&["broadcast"]);
    node.expect_inputs(2..=2)?;
    let expression = Pointwise::of(row, 2, &[]);
    if node.version < 7
        && let Some(axis) = node.optional_int("axis")?
    {
        return Ok(Arc::new(Aligned { expression, begins: Begins::At(axis) }));
    }
    elementwise(expression)
}

/// Before version 7 the slope lined up with the channels.
fn prelu(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    if node.version < 7 {
        node.ignore(&["consumed_inputs"]);
        node.expect_inputs(2..=2)?;
        let expression = Pointwise::of(&table::PRELU, 2, &[]);
        return Ok(Arc::new(Aligned { expression, begins: Begins::Channels }));
    }
    binary(node, &table::PRELU)
}

/// Min, Max, Sum, Mean: a left fold over any number of inputs.
fn variadic(node: &mut NodeView, row: &'static Row, mean: bool) -> Result<Arc<dyn Operator>> {
    node.ignore(&["consumed_inputs"]);
    let count = node.inputs.len();
    if count == 0 || node.inputs.contains(&Input::Absent) {
        return Err(Error::model("needs at least one input, and none left out"));
    }
    let mut expression = Pointwise { operands: count, steps: vec![] };
    let mut total = Arg::Operand(0);
    for index in 1..count {
        total = expression.push(row, vec![total, Arg::Operand(index)]);
    }
    if mean {
        expression.push(&table::DIV, vec![total, Arg::Const(count as f64)]);
    }
    elementwise(expression)
}

/// Clip: bounds are inputs since version 11, attributes before; the lower one is applied first.
fn clip(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.ignore(&["consumed_inputs"]);
    node.expect_inputs(1..=3)?;
    for (name, index) in [("min", 1), ("max", 2)] {
        if let Some(bound) = node.optional_float(name)? {
            node.set_constant(index, Tensor::scalar(bound));
        }
    }
    let (low, high) = (node.has_input(1), node.has_input(2));
    let kept = std::mem::take(&mut node.inputs);
    node.inputs = kept.into_iter().filter(|input| *input != Input::Absent).collect();
    let mut expression = Pointwise { operands: node.inputs.len(), steps: vec![] };
    let mut value = Arg::Operand(0);
    if low {
        value = expression.push(&table::MAX, vec![value, Arg::Operand(1)]);
    }
    if high {
        expression.push(&table::MIN, vec![value, Arg::Operand(expression.operands - 1)]);
    }
    elementwise(expression)
}

fn cast(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    let saturate = node.flag("saturate", true)?;
    let round = Round::parse(node)?;
    let number = match node.get("to") {
        // Version 1 wrote the type's name.
        Some(crate::ops::Attribute::String(name)) => {
            [(1, "FLOAT"), (7, "INT64"), (6, "INT32"), (9, "BOOL"), (10, "FLOAT16"), (11, "DOUBLE")]
                .iter()
                .find(|row| row.1 == name)
                .map_or(0, |row| row.0)
        }
        _ => node.int("to", 0)?,
    };
    let to = i32::try_from(number)
        .ok()
        .and_then(DType::from_onnx)
        .ok_or_else(|| Error::unsupported(format!("a cast to element type {number}")))?;
    if !saturate || to == DType::F8E8M0 && round != Round::Up {
        return Ok(Arc::new(CastLike { to: Some(to), saturate, round }));
    }
    elementwise(Pointwise::cast(to))
}

fn gelu(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    let tanh = node.choice("approximate", "none", &["none", "tanh"])? == "tanh";
    unary(node, if tanh { &table::GELU_TANH } else { &table::GELU }, &[])
}

/// A Swish, and a factor of the same shape.
fn swiglu(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=2)?;
    let mut expression = Pointwise { operands: 2, steps: vec![] };
    let alpha = Arg::Const(node.float("alpha", 1.0)? as f64);
    let gate = expression.push(&table::SWISH, vec![Arg::Operand(0), alpha]);
    expression.push(&table::MUL, vec![gate, Arg::Operand(1)]);
    elementwise(expression)
}

macro_rules! defs {
    ($($domain:literal $name:literal $since:literal $cases:ident => $parse:expr,)*) => {
        /// The register's rows of the elementwise operators.
        pub static DEFS: &[&OpDef] = &[$(&OpDef { domain: $domain, name: $name, since: $since, parse: $parse, cases: $cases }),*];
    };
}

defs! {
    "" "Abs" 1 SIGNED => |n| unary(n, &table::ABS, &[]),
    "" "Acos" 7 UNIT => |n| unary(n, &table::ACOS, &[]),
    "" "Acosh" 9 ABOVE_ONE => |n| unary(n, &table::ACOSH, &[]),
    "" "Asin" 7 UNIT => |n| unary(n, &table::ASIN, &[]),
    "" "Asinh" 9 UNARY => |n| unary(n, &table::ASINH, &[]),
    "" "Atan" 7 UNARY => |n| unary(n, &table::ATAN, &[]),
    "" "Atanh" 9 UNIT => |n| unary(n, &table::ATANH, &[]),
    "" "BitwiseNot" 18 BITS_ONE => |n| unary(n, &table::BITWISE_NOT, &[]),
    "" "Ceil" 1 STEPS => |n| unary(n, &table::CEIL, &[]),
    "" "Celu" 12 UNARY => |n| { let a = n.float("alpha", 1.0)?; unary(n, &table::CELU, &[a as f64]) },
    "" "Cos" 7 UNARY => |n| unary(n, &table::COS, &[]),
    "" "Cosh" 9 UNARY => |n| unary(n, &table::COSH, &[]),
    "" "Elu" 1 UNARY => |n| { let a = n.float("alpha", 1.0)?; unary(n, &table::ELU, &[a as f64]) },
    "" "Erf" 9 UNARY => |n| unary(n, &table::ERF, &[]),
    "" "Exp" 1 UNARY => |n| unary(n, &table::EXP, &[]),
    "" "Floor" 1 STEPS => |n| unary(n, &table::FLOOR, &[]),
    "" "Gelu" 20 UNARY => gelu,
    "" "HardSigmoid" 1 UNARY => |n| { let (a, b) = (n.float("alpha", 0.2)?, n.float("beta", 0.5)?); unary(n, &table::HARD_SIGMOID, &[a as f64, b as f64]) },
    "" "HardSwish" 14 UNARY => |n| unary(n, &table::HARD_SWISH, &[]),
    "" "Identity" 1 IDENTITY => |n| unary(n, &table::IDENTITY, &[]),
    "" "IsInf" 10 STEPS => |n| { let (a, b) = (n.int("detect_negative", 1)?, n.int("detect_positive", 1)?); unary(n, &table::IS_INF, &[a as f64, b as f64]) },
    "" "IsNaN" 9 STEPS => |n| unary(n, &table::IS_NAN, &[]),
    "" "LeakyRelu" 1 UNARY => |n| { let a = n.float("alpha", 0.01)?; unary(n, &table::LEAKY_RELU, &[a as f64]) },
    "" "Log" 1 POSITIVE => |n| unary(n, &table::LOG, &[]),
    "" "Mish" 18 UNARY => |n| unary(n, &table::MISH, &[]),
    "" "Neg" 1 SIGNED => |n| unary(n, &table::NEG, &[]),
    "" "Not" 1 NOT => |n| unary(n, &table::NOT, &[]),
    "" "Reciprocal" 1 POSITIVE => |n| unary(n, &table::RECIPROCAL, &[]),
    "" "Relu" 1 SIGNED => |n| unary(n, &table::RELU, &[]),
    "" "Round" 11 STEPS => |n| unary(n, &table::ROUND, &[]),
    "" "Selu" 1 UNARY => |n| { let (a, g) = (n.float("alpha", 1.673_263_2)?, n.float("gamma", 1.050_701)?); unary(n, &table::SELU, &[a as f64, g as f64]) },
    "" "Shrink" 9 UNARY => |n| { let (l, b) = (n.float("lambd", 0.5)?, n.float("bias", 0.0)?); unary(n, &table::SHRINK, &[l as f64, b as f64]) },
    "" "Sigmoid" 1 UNARY => |n| unary(n, &table::SIGMOID, &[]),
    "" "Sign" 9 SIGNS => |n| unary(n, &table::SIGN, &[]),
    "" "Sin" 7 UNARY => |n| unary(n, &table::SIN, &[]),
    "" "Sinh" 9 UNARY => |n| unary(n, &table::SINH, &[]),
    "" "Softplus" 1 UNARY => |n| unary(n, &table::SOFTPLUS, &[]),
    "" "Softsign" 1 UNARY => |n| unary(n, &table::SOFTSIGN, &[]),
    "" "Sqrt" 1 POSITIVE => |n| unary(n, &table::SQRT, &[]),
    "" "SwiGLU" 28 GATED => swiglu,
    "" "Swish" 24 UNARY => |n| { let a = n.float("alpha", 1.0)?; unary(n, &table::SWISH, &[a as f64]) },
    "" "Tan" 7 UNARY => |n| unary(n, &table::TAN, &[]),
    "" "Tanh" 1 UNARY => |n| unary(n, &table::TANH, &[]),
    "" "ThresholdedRelu" 10 UNARY => |n| { let a = n.float("alpha", 1.0)?; unary(n, &table::THRESHOLDED_RELU, &[a as f64]) },
    "" "Add" 1 ADDITION => |n| binary(n, &table::ADD),
    "" "And" 1 CONJUNCTION => |n| binary(n, &table::AND),
    "" "BitShift" 11 SHIFT => |n| {
        let left = n.choice("direction", "", &["LEFT", "RIGHT"])? == "LEFT";
        binary(n, if left { &table::BIT_SHIFT_LEFT } else { &table::BIT_SHIFT_RIGHT })
    },
    "" "BitwiseAnd" 18 BITS => |n| binary(n, &table::BITWISE_AND),
    "" "BitwiseOr" 18 BITS => |n| binary(n, &table::BITWISE_OR),
    "" "BitwiseXor" 18 BITS => |n| binary(n, &table::BITWISE_XOR),
    "" "Div" 1 DIVISION => |n| binary(n, &table::DIV),
    "" "Equal" 1 ARITHMETIC => |n| binary(n, &table::EQUAL),
    "" "Greater" 1 ARITHMETIC => |n| binary(n, &table::GREATER),
    "" "GreaterOrEqual" 12 ARITHMETIC => |n| binary(n, &table::GREATER_OR_EQUAL),
    "" "Less" 1 ARITHMETIC => |n| binary(n, &table::LESS),
    "" "LessOrEqual" 12 ARITHMETIC => |n| binary(n, &table::LESS_OR_EQUAL),
    "" "Mod" 10 DIVISION => |n| { let fmod = n.flag("fmod", false)?; binary(n, if fmod { &table::FMOD } else { &table::MOD }) },
    "" "Mul" 1 ARITHMETIC => |n| binary(n, &table::MUL),
    "" "Or" 1 LOGIC => |n| binary(n, &table::OR),
    "" "Pow" 1 POW => |n| binary(n, &table::POW),
    "" "PRelu" 1 SLOPES => prelu,
    "" "Sub" 1 ARITHMETIC => |n| binary(n, &table::SUB),
    "" "Xor" 1 LOGIC => |n| binary(n, &table::XOR),
    "" "Max" 1 ARITHMETIC => |n| variadic(n, &table::MAX, false),
    "" "Mean" 1 VARIADIC => |n| variadic(n, &table::ADD, true),
    "" "Min" 1 ARITHMETIC => |n| variadic(n, &table::MIN, false),
    "" "Sum" 1 VARIADIC => |n| variadic(n, &table::ADD, false),
    "" "Clip" 1 CLIP => clip,
    "" "Cast" 1 CAST => cast,
    "" "Where" 9 WHERE => |n| { n.expect_inputs(3..=3)?; elementwise(Pointwise::of(&table::WHERE, 3, &[])) },
}

/// Two tables one after the other.
const fn joined<const N: usize>(first: &[Case], second: &[Case]) -> [Case; N] {
    let (mut all, mut at) = ([first[0]; N], 0);
    while at < N {
        all[at] = if at < first.len() { first[at] } else { second[at - first.len()] };
        at += 1;
    }
    all
}
const ADDITION: &[Case] = &joined::<{ ARITHMETIC.len() + OLD.len() }>(ARITHMETIC, OLD);
const CONJUNCTION: &[Case] = &joined::<{ LOGIC.len() + OLD_LOGIC.len() }>(LOGIC, OLD_LOGIC);
const SLOPES: &[Case] = &joined::<{ BINARY.len() + OLD_SLOPES.len() }>(BINARY, OLD_SLOPES);
const OLD: &[Case] = &[
    case(&[("axis", Int(1)), ("broadcast", Int(1))], &[Floats(&[2, 3, 4, 5]), Floats(&[3, 4])]).at(6),
    case(&[("axis", Int(0)), ("broadcast", Int(1))], &[I32(&[2, 3]), I32(&[2])]).at(6),
    case(&[("axis", Int(0)), ("broadcast", Int(1))], &[Floats(&[2, 3]), Floats(&[1])]).at(6),
    case(&[("axis", Int(0)), ("broadcast", Int(1))], &[Floats(&[2, 3]), Floats(&[2, 1])]).at(6),
    case(&[("broadcast", Int(1))], &[Floats(&[2, 3, 4]), Floats(&[3, 4])]).at(6),
];
const OLD_LOGIC: &[Case] =
    &[case(&[("axis", Int(0)), ("broadcast", Int(1))], &[Bools(&[3, 5]), Bools(&[3])]).at(1)];
const OLD_SLOPES: &[Case] = &[
    case(&[], &[Floats(&[2, 3, 5]), Floats(&[3])]).at(6),
    case(&[], &[Floats(&[2, 3]), Floats(&[1])]).at(6),
];
const UNARY: &[Case] = &[case(&[], &[Floats(&[3, 5, 7])]), case(&[], &[Range(&[9], -20.0, 20.0)])];
const GATED: &[Case] = &[
    case(&[], &[Floats(&[3, 5]), Floats(&[3, 5])]).at(28),
    case(&[("alpha", Float(1.7))], &[Range(&[9], -20.0, 20.0), Floats(&[9])]).at(28),
];
const STEPS: &[Case] = &[case(&[], &[Range(&[3, 5], -4.3, 4.3)])];
const SIGNS: &[Case] = &[
    case(&[], &[Range(&[3, 5], -4.3, 4.3)]),
    case(&[], &[Wide(DType::I8, &[9])]),
    case(&[], &[I64(&[3, 5])]),
    case(&[], &[Wide(DType::U32, &[3])]),
    case(&[], &[Wide(DType::U64, &[1])]),
];
const SIGNED: &[Case] = &[
    case(&[], &[Floats(&[3, 5])]),
    case(&[], &[I32(&[7])]),
    case(&[], &[I64(&[2, 3])]),
    case(&[], &[Wide(DType::I64, &[13])]),
    case(&[], &[Wide(DType::I8, &[200])]),
    case(&[], &[Wide(DType::I16, &[5])]),
];
const UNIT: &[Case] = &[case(&[], &[Range(&[4, 6], -0.99, 0.99)])];
const ABOVE_ONE: &[Case] = &[case(&[], &[Range(&[4, 6], 1.1, 8.0)])];
const POSITIVE: &[Case] = &[case(&[], &[Range(&[4, 5], 0.25, 8.0)])];
const LOGIC: &[Case] = &[case(&[], &[Bools(&[3, 5]), Bools(&[5])])];
const NOT: &[Case] = &[case(&[], &[Bools(&[7])])];
const BITS: &[Case] = &[
    case(&[], &[I32(&[3, 4]), I32(&[3, 4])]),
    case(&[], &[I64(&[5]), I64(&[5])]),
    case(&[], &[Wide(DType::U8, &[5]), Wide(DType::U8, &[1])]),
    case(&[], &[Wide(DType::U64, &[5]), Wide(DType::U64, &[5])]),
];
const BITS_ONE: &[Case] =
    &[case(&[], &[I32(&[3, 4])]), case(&[], &[Wide(DType::U8, &[5])]), case(&[], &[Wide(DType::U64, &[3])])];
const LEFT: &[(&str, super::super::case::Given)] = &[("direction", Text("LEFT"))];
const RIGHT: &[(&str, super::super::case::Given)] = &[("direction", Text("RIGHT"))];
const SHIFT: &[Case] = &[
    case(LEFT, &[Indices(&[6], &[1, 2, 3, -4, 5, 6]), Indices(&[6], &[2, 0, 5, 63, 64, 33])]),
    case(RIGHT, &[Indices(&[6], &[1 << 40, 2, -3, -4, 5, -6]), Indices(&[6], &[2, 0, 5, 63, 64, 33])]),
    case(LEFT, &[Wide(DType::U8, &[101]), Wide(DType::U8, &[101])]),
    case(RIGHT, &[Wide(DType::I8, &[101]), Small(DType::I8, &[101])]),
    case(RIGHT, &[Wide(DType::U16, &[5]), Small(DType::U16, &[5])]),
    case(LEFT, &[Wide(DType::U32, &[53]), Small(DType::U32, &[53])]),
    case(RIGHT, &[Wide(DType::U32, &[53]), Small(DType::U32, &[53])]),
    case(LEFT, &[I32(&[53]), I32(&[53])]),
    case(RIGHT, &[I32(&[53]), I32(&[53])]),
    case(RIGHT, &[Wide(DType::U64, &[53]), Small(DType::U64, &[53])]),
];
const BINARY: &[Case] =
    &[case(&[], &[Floats(&[2, 3, 5]), Floats(&[3, 1])]), case(&[], &[Floats(&[2, 8]), Scalar(0.3)])];
const ARITHMETIC: &[Case] = &[
    case(&[], &[Drawn(DType::BF16, &[2, 5]), Drawn(DType::BF16, &[5])]),
    case(&[], &[Floats(&[2, 3, 4]), Floats(&[2, 3, 4])]),
    case(&[], &[Floats(&[2, 3, 5]), Floats(&[3, 1])]),
    case(&[], &[Floats(&[3, 1, 8]), Floats(&[4, 1])]),
    case(&[], &[Floats(&[]), Floats(&[2, 8])]),
    case(&[], &[I32(&[2, 5]), I32(&[5])]),
    case(&[], &[I64(&[2, 3]), I64(&[2, 1])]),
    case(&[], &[Wide(DType::I8, &[3, 7]), Wide(DType::I8, &[7])]),
    case(&[], &[Wide(DType::U8, &[3, 7]), Wide(DType::U8, &[7])]),
    case(&[], &[Wide(DType::I16, &[197]), Wide(DType::I16, &[197])]),
    case(&[], &[Wide(DType::U16, &[5]), Wide(DType::U16, &[5])]),
    case(&[], &[Wide(DType::U32, &[3, 5]), Wide(DType::U32, &[5])]),
    case(&[], &[Wide(DType::I64, &[3, 5]), Wide(DType::I64, &[5])]),
    case(&[], &[Wide(DType::U64, &[3, 5]), Wide(DType::U64, &[1])]),
];
const DIVISION: &[Case] = &[
    case(&[], &[Floats(&[2, 3, 5]), Range(&[3, 1], 0.5, 2.0)]),
    case(&[], &[I32(&[2, 5]), I32(&[5])]),
    case(&[], &[Wide(DType::I32, &[2, 5]), Wide(DType::I32, &[5])]),
    case(&[], &[Wide(DType::I8, &[197]), Wide(DType::I8, &[197])]),
    case(&[], &[Wide(DType::U8, &[197]), Small(DType::U8, &[197])]),
    case(&[], &[Wide(DType::I16, &[5]), Small(DType::I16, &[5])]),
    case(&[], &[Wide(DType::U16, &[5]), Small(DType::U16, &[5])]),
    case(&[], &[Wide(DType::U32, &[197]), Wide(DType::U32, &[197])]),
    case(&[], &[Wide(DType::I64, &[197]), Wide(DType::I64, &[197])]),
    case(&[], &[Wide(DType::I64, &[197]), Small(DType::I64, &[197])]),
    case(&[], &[I64(&[3, 5]), I64(&[5])]),
    case(&[], &[Wide(DType::U64, &[197]), Wide(DType::U64, &[197])]),
    case(&[], &[Wide(DType::U64, &[3]), Wide(DType::U64, &[1])]),
    case(&[], &[Indices(&[4], &[7, -7, i64::MIN, 9]), Indices(&[4], &[0, 3, -1, -4])]),
];
const POW: &[Case] = &[
    case(&[], &[Range(&[3, 5], 0.1, 3.0), Floats(&[5])]),
    case(&[], &[Floats(&[3, 5]), Scalar(2.0)]),
    case(&[], &[Wide(DType::I32, &[99]), Small(DType::I32, &[99])]),
    case(&[], &[Wide(DType::U32, &[5]), Small(DType::U32, &[5])]),
    case(&[], &[Wide(DType::I64, &[99]), Small(DType::I64, &[99])]),
    case(&[], &[Wide(DType::U64, &[5]), Wide(DType::U64, &[5])]),
    case(&[], &[Indices(&[4], &[-1, -1, 1, 0]), Indices(&[4], &[-3, -2, -7, 0])]),
    case(&[], &[Wide(DType::I64, &[5]), I32(&[5])]),
    case(&[], &[I32(&[5]), Range(&[5], 0.0, 6.0)]),
    case(&[], &[Small(DType::I64, &[197]), Range(&[197], -2.0, 20.0)]),
    case(&[], &[Wide(DType::U64, &[53]), Range(&[53], 0.0, 1.0)]),
    case(&[], &[Wide(DType::U8, &[5]), Range(&[5], 0.0, 2.0)]),
    case(&[], &[I32(&[5]), Scalar(2.0)]),
    case(&[], &[I64(&[5]), Scalar(0.5)]),
    case(&[], &[Range(&[5], 0.5, 2.0), Small(DType::I64, &[5])]),
    case(&[], &[I32(&[5]), I64(&[5])]).runs("cpu"),
];
const VARIADIC: &[Case] = &[case(&[], &[Floats(&[2, 4]), Floats(&[4]), Floats(&[2, 1])])];
const CLIP: &[Case] = &[
    case(&[], &[Floats(&[3, 5]), Scalar(-0.5), Scalar(1.0)]),
    case(&[], &[Floats(&[7]), Absent, Scalar(0.5)]),
    case(&[("min", Float(0.0))], &[Floats(&[6])]).at(6),
];
const CAST: &[Case] = &[
    case(&[("to", Int(1))], &[I64(&[5])]),
    case(&[("to", Int(7))], &[I32(&[5])]),
    case(&[("to", Int(7))], &[Range(&[6], -9.0, 9.0)]),
    case(&[("to", Int(6))], &[I64(&[5])]),
    case(&[("to", Int(9))], &[I64(&[5])]),
    case(&[("to", Int(1))], &[Bools(&[5])]),
    case(&[("to", Int(10))], &[Floats(&[5])]),
    case(&[("to", Int(16))], &[Range(&[197], -9.0, 9.0)]),
    case(&[("to", Int(16))], &[Wide(DType::I16, &[5])]),
    case(&[("to", Int(17))], &[Range(&[197], -0.1, 0.1)]),
    case(&[("to", Int(17))], &[Range(&[197], -900.0, 900.0)]),
    case(&[("to", Int(18))], &[Range(&[197], -0.05, 0.05)]),
    case(&[("to", Int(18))], &[Range(&[197], -500.0, 500.0)]),
    case(&[("to", Int(19))], &[Range(&[197], -0.0005, 0.0005)]),
    case(&[("to", Int(19))], &[Range(&[197], -9e4, 9e4)]),
    case(&[("to", Int(20))], &[Range(&[197], -0.0005, 0.0005)]),
    case(&[("to", Int(20))], &[Range(&[197], -9e4, 9e4)]),
    case(&[("to", Int(17))], &[Wide(DType::I64, &[5])]),
    case(&[("to", Int(23))], &[Range(&[197], -9.0, 9.0)]),
    case(&[("to", Int(3))], &[Wide(DType::I64, &[197])]),
    case(&[("to", Int(3))], &[Range(&[197], -300.0, 300.0)]),
    case(&[("to", Int(2))], &[Range(&[197], -300.0, 500.0)]),
    case(&[("to", Int(2))], &[Wide(DType::U32, &[5])]),
    case(&[("to", Int(4))], &[Wide(DType::I8, &[5])]),
    case(&[("to", Int(5))], &[Wide(DType::U16, &[5])]),
    case(&[("to", Int(6))], &[Wide(DType::U32, &[5])]),
    case(&[("to", Int(6))], &[Range(&[3], -9e9, 9e9)]),
    case(&[("to", Int(7))], &[Wide(DType::U32, &[5])]),
    case(&[("to", Int(12))], &[Wide(DType::I8, &[5])]),
    case(&[("to", Int(12))], &[Range(&[7], -9e9, 9e9)]),
    case(&[("to", Int(13))], &[Wide(DType::I16, &[5])]),
    case(&[("to", Int(13))], &[Range(&[7], -9e9, 9e9)]),
    case(&[("to", Int(1))], &[Wide(DType::U32, &[5])]),
    case(&[("to", Int(1))], &[Wide(DType::U64, &[5])]),
    case(&[("to", Int(9))], &[Small(DType::U64, &[5])]),
    case(&[("to", Int(13))], &[Bools(&[5])]),
    case(&[("to", Int(21))], &[Wide(DType::I8, &[5])]),
    case(&[("to", Int(22))], &[Range(&[5], -20.0, 20.0)]),
    case(&[("to", Int(26))], &[Wide(DType::I64, &[5])]),
];
const WHERE: &[Case] = &[
    case(&[], &[Bools(&[3, 5]), Floats(&[5]), Floats(&[3, 1])]),
    case(&[], &[Bools(&[4]), I64(&[4]), I64(&[1])]),
    case(&[], &[Bools(&[3]), Wide(DType::U8, &[3]), Wide(DType::U8, &[1])]),
];
const IDENTITY: &[Case] = &[case(&[], &[Floats(&[3])]).runs("view")];
