//! Elementwise nodes: of one input, of two that broadcast, of any number; conversions and choices.

use super::draw::INTEGERS;
use super::grow::Grower;
use super::proto::{float, int};
use sardonyx::tensor::cast;
use sardonyx::{DType, Tensor};

const FLOATS: [DType; 3] = [DType::F32, DType::F32, DType::F16];
const UNARY: [&str; 39] = [
    "Abs",
    "Neg",
    "Exp",
    "Log",
    "Sqrt",
    "Sin",
    "Cos",
    "Tan",
    "Tanh",
    "Sigmoid",
    "Relu",
    "LeakyRelu",
    "Elu",
    "Selu",
    "Celu",
    "Softplus",
    "Softsign",
    "HardSigmoid",
    "HardSwish",
    "Erf",
    "Floor",
    "Ceil",
    "Round",
    "Reciprocal",
    "Sign",
    "Mish",
    "Gelu",
    "Swish",
    "ThresholdedRelu",
    "Shrink",
    "Asin",
    "Acos",
    "Atan",
    "Sinh",
    "Cosh",
    "Asinh",
    "Acosh",
    "Atanh",
    "Identity",
];

/// One input of floats, with attributes that few models have.
pub fn of_floats(at: &mut Grower) -> Option<()> {
    let op = at.draw.pick(&UNARY);
    let mut x = at.of(&FLOATS);
    if op == "Celu" && at.dtype(&x) != DType::F32 {
        return None;
    }
    // Into the domain, or beside it.
    let domain = match op {
        "Log" | "Sqrt" => Some((0.01, 4.0)),
        "Asin" | "Acos" | "Atanh" => Some((-0.95, 0.95)),
        "Acosh" => Some((1.05, 4.0)),
        "Reciprocal" => Some((0.2, 4.0)),
        "Tan" => Some((-1.2, 1.2)),
        "Exp" | "Sinh" | "Cosh" => Some((-8.0, 5.0)),
        _ => None,
    };
    if let Some((low, high)) = domain.filter(|_| !at.draw.one_in(12)) {
        let scalar = |value: f32| cast(&Tensor::scalar(value), at.dtype(&x), true).unwrap();
        let (low, high) = (scalar(low), scalar(high));
        let (low, high) = (at.operand(low), at.operand(high));
        x = at.one("Clip", &[&x, &low, &high], vec![])?;
    }
    let odd = at.draw.one_in(2);
    let number = at.draw.real(-1.5, 1.5) as f32;
    let attributes = match op {
        "LeakyRelu" | "Elu" | "Swish" | "ThresholdedRelu" | "Celu" if odd => {
            vec![float("alpha", if op == "Celu" { number.abs() + 0.1 } else { number })]
        }
        "Selu" if odd => vec![float("alpha", number), float("gamma", 0.7)],
        "HardSigmoid" if odd => vec![float("alpha", number), float("beta", 0.4)],
        "Shrink" if odd => vec![float("lambd", number.abs()), float("bias", 0.25)],
        "Gelu" if odd => vec![super::proto::text("approximate", "tanh")],
        _ => vec![],
    };
    at.one(op, &[&x], attributes).map(drop)
}

/// One input of any type that has the operator.
pub fn of_any(at: &mut Grower) -> Option<()> {
    let signed = [DType::I8, DType::I16, DType::I32, DType::I64];
    let (op, types): (&str, &[DType]) = match at.draw.below(8) {
        0 => ("Abs", &INTEGERS),
        1 => ("Neg", &signed),
        2 => ("Relu", &signed),
        3 => ("Sign", &INTEGERS),
        4 => ("BitwiseNot", &INTEGERS),
        5 => ("Not", &[DType::Bool]),
        6 => ("IsNaN", &FLOATS),
        _ => ("Identity", &[DType::Bool, DType::I64, DType::U8, DType::F64]),
    };
    let x = at.of(types);
    at.one(op, &[&x], vec![]).map(drop)
}

/// The second operand of a node: a value that broadcasts with the first, or a tensor of its own.
pub fn second(at: &mut Grower, x: &str) -> String {
    let (dtype, shape) = (at.dtype(x), at.shape(x));
    let found =
        at.find(|y| y.dtype() == dtype && sardonyx::tensor::index::broadcast(&shape, y.shape()).is_ok());
    match found.filter(|_| !at.draw.one_in(3)) {
        Some(y) => y,
        None => {
            let shape = at.draw.narrower(&shape);
            let tensor = at.draw.tensor(dtype, &shape);
            at.operand(tensor)
        }
    }
}

/// Divisors, exponents and shifts for which ONNX says what comes out.
fn defined(at: &mut Grower, x: &str, low: i64, high: i64) -> String {
    let (dtype, shape) = (at.dtype(x), at.shape(x));
    let shape = at.draw.narrower(&shape);
    let count: usize = shape.iter().product();
    let signed = matches!(dtype, DType::I8 | DType::I16 | DType::I32 | DType::I64);
    let draw = |at: &mut Grower| {
        let number = at.draw.between(low, high);
        // −1 divides the lowest number to one that no type holds.
        if signed && low > 1 && at.draw.one_in(3) { -number } else { number }
    };
    let list: Vec<i64> = (0..count).map(|_| draw(at)).collect();
    let tensor = cast(&Tensor::new(shape, list).unwrap(), dtype, true).unwrap();
    at.operand(tensor)
}

pub fn of_two(at: &mut Grower) -> Option<()> {
    let numbers = |at: &mut Grower| if at.draw.one_in(2) { at.of(&FLOATS) } else { at.of(&INTEGERS) };
    let op = at.draw.pick(&[
        "Add",
        "Add",
        "Sub",
        "Mul",
        "Mul",
        "Div",
        "Max",
        "Min",
        "Mod",
        "Pow",
        "Equal",
        "Less",
        "Greater",
        "LessOrEqual",
        "GreaterOrEqual",
        "And",
        "Or",
        "Xor",
        "BitwiseAnd",
        "BitwiseOr",
        "BitwiseXor",
        "BitShift",
        "PRelu",
    ]);
    let (x, y, attributes) = match op {
        "And" | "Or" | "Xor" => {
            let x = at.of(&[DType::Bool]);
            let y = second(at, &x);
            (x, y, vec![])
        }
        "BitwiseAnd" | "BitwiseOr" | "BitwiseXor" => {
            let x = at.of(&INTEGERS);
            let y = second(at, &x);
            (x, y, vec![])
        }
        "BitShift" => {
            let x = at.of(&[DType::U8, DType::U16, DType::U32, DType::U64]);
            let bits = 8 * at.dtype(&x).size() as i64;
            let y = defined(at, &x, 0, bits - 1);
            let way = at.draw.pick(&["LEFT", "RIGHT"]);
            (x, y, vec![super::proto::text("direction", way)])
        }
        "Div" | "Mod" | "Pow" => {
            let whole = op == "Pow" && at.draw.one_in(2);
            let x = if whole { at.of(&[DType::I32, DType::I64]) } else { numbers(at) };
            let floats = at.dtype(&x).is_float();
            if op == "Pow" && !floats && !whole {
                return None;
            }
            let y = match op {
                "Pow" if floats => defined(at, &x, 0, 3),
                "Pow" => defined(at, &x, 0, 1),
                "Mod" | "Div" if floats && at.draw.one_in(2) => {
                    let shape = at.shape(&x);
                    let shape = at.draw.narrower(&shape);
                    let count: usize = shape.iter().product();
                    let list: Vec<f64> = (0..count).map(|_| at.draw.real(0.3, 2.0)).collect();
                    let tensor = cast(&Tensor::new(shape, list).unwrap(), at.dtype(&x), true).unwrap();
                    at.operand(tensor)
                }
                _ => defined(at, &x, 2, 7),
            };
            let fmod = op == "Mod" && (floats || at.draw.one_in(2));
            (x, y, if fmod { vec![int("fmod", 1)] } else { vec![] })
        }
        "PRelu" => {
            let x = at.of(&FLOATS);
            let shape = at.shape(&x);
            let shape = at.draw.narrower(&shape);
            let slope = at.draw.tensor(at.dtype(&x), &shape);
            let slope = at.operand(slope);
            (x, slope, vec![])
        }
        _ => {
            let x = numbers(at);
            let y = second(at, &x);
            (x, y, vec![])
        }
    };
    let turned = at.draw.one_in(3) && !matches!(op, "BitShift" | "PRelu" | "Div" | "Mod" | "Pow");
    let (x, y) = if turned { (y, x) } else { (x, y) };
    at.one(op, &[&x, &y], attributes).map(drop)
}

/// Sum, Mean, Max and Min of one to four.
pub fn of_many(at: &mut Grower) -> Option<()> {
    let op = at.draw.pick(&["Sum", "Mean", "Max", "Min"]);
    let x = at.of(&FLOATS);
    let count = at.draw.below(4);
    let others: Vec<String> = (0..count).map(|_| second(at, &x)).collect();
    let mut all = vec![x.as_str()];
    all.extend(others.iter().map(String::as_str));
    at.one(op, &all, vec![]).map(drop)
}

pub fn clip(at: &mut Grower) -> Option<()> {
    let x = if at.draw.one_in(2) { at.of(&FLOATS) } else { at.of(&INTEGERS) };
    let dtype = at.dtype(&x);
    let bound = |at: &mut Grower, low: i64, high: i64| {
        let number = at.draw.between(low, high);
        let tensor = cast(&Tensor::scalar(number), dtype, true).unwrap();
        at.operand(tensor)
    };
    let low = if at.draw.one_in(4) { String::new() } else { bound(at, 0, 1) };
    let high = if at.draw.one_in(4) { String::new() } else { bound(at, 1, 4) };
    at.one("Clip", &[&x, &low, &high], vec![]).map(drop)
}

pub fn choice(at: &mut Grower) -> Option<()> {
    let x = at.of(&[DType::F32, DType::F32, DType::I64, DType::U8, DType::F16, DType::I32]);
    let y = second(at, &x);
    let shape = at.shape(&x);
    let found = at
        .find(|c| c.dtype() == DType::Bool && sardonyx::tensor::index::broadcast(&shape, c.shape()).is_ok());
    let condition = match found {
        Some(name) => name,
        None => {
            let shape = at.draw.narrower(&shape);
            let tensor = at.draw.tensor(DType::Bool, &shape);
            at.operand(tensor)
        }
    };
    at.one("Where", &[&condition, &x, &y], vec![]).map(drop)
}
