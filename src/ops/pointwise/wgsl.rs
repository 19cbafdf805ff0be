//! The emitter: a [`Pointwise`] as a WGSL function over scalars, with the helper functions that it uses.

use super::{Arg, Pointwise, Row};
use crate::plan::{Storage, Unsupported};
use crate::tensor::DType;
use std::collections::BTreeSet;
use std::fmt::Write;

/// What a value is in a shader's registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    F32,
    I32,
    /// int64 as `vec2<u32>`, low word first.
    I64,
    Bool,
}

impl Lane {
    /// The lane of an element type, or why there is none.
    pub fn of(dtype: DType) -> Result<Self, Unsupported> {
        match dtype {
            DType::F32 | DType::F16 => Ok(Lane::F32),
            DType::I32 => Ok(Lane::I32),
            DType::I64 => Ok(Lane::I64),
            DType::Bool => Ok(Lane::Bool),
            other => Err(Unsupported::new(format!("{other} has no GPU arithmetic"))),
        }
    }
    pub fn wgsl(self) -> &'static str {
        match self {
            Lane::F32 => "f32",
            Lane::I32 => "i32",
            Lane::I64 => "vec2<u32>",
            Lane::Bool => "bool",
        }
    }
    fn suffix(self) -> &'static str {
        match self {
            Lane::F32 => "f32",
            Lane::I32 => "i32",
            Lane::I64 => "i64",
            Lane::Bool => "bool",
        }
    }
    /// How a stored element becomes the lane: bool lives as i32.
    pub fn from_stored(self, text: &str) -> String {
        if self == Lane::Bool { format!("({text} != 0)") } else { text.to_string() }
    }
    /// How the lane becomes a stored element.
    pub fn to_stored(self, text: &str) -> String {
        if self == Lane::Bool { format!("select(0, 1, {text})") } else { text.to_string() }
    }
}

impl Storage {
    /// Whether elements in this storage load as the lane.
    pub fn lane(self) -> Option<Lane> {
        match self {
            Storage::I32 => Some(Lane::I32),
            Storage::I64 => Some(Lane::I64),
            Storage::U32 => None,
            _ => Some(Lane::F32),
        }
    }
}

/// A function `NAME(x0, x1, …)` of scalars and everything that it calls.
pub fn emit(name: &str, expression: &Pointwise, operands: &[DType]) -> Result<String, Unsupported> {
    let problem = |error: crate::Error| Unsupported::new(error.message().to_string());
    let lanes = operands.iter().map(|&dtype| Lane::of(dtype)).collect::<Result<Vec<_>, _>>()?;
    let types = expression.types(operands).map_err(problem)?;
    let steps = types.iter().map(|&dtype| Lane::of(dtype)).collect::<Result<Vec<_>, _>>()?;
    let mut helpers = BTreeSet::new();
    let mut body = String::new();
    for (index, step) in expression.steps.iter().enumerate() {
        let lane_of = |arg: &Arg| match *arg {
            Arg::Operand(k) => lanes.get(k).copied(),
            Arg::Step(k) => steps.get(k).copied(),
            Arg::Const(_) => None,
        };
        let main = step.args.get(step.row.typed_by).and_then(lane_of).or_else(|| step.args.iter().find_map(lane_of)).unwrap_or(Lane::F32);
        let args: Vec<String> = step
            .args
            .iter()
            .map(|arg| match *arg {
                Arg::Operand(k) => format!("x{k}"),
                Arg::Step(k) => format!("s{k}"),
                Arg::Const(value) => literal(value, main),
            })
            .collect();
        let value = match step.row.name {
            "Identity" => args[0].clone(),
            "Cast" => convert(&args[0], main, steps[index], &mut helpers),
            "Where" => format!("select({}, {}, {})", args[2], args[1], args[0]),
            _ => {
                // Pow may mix types: its exponent takes the base's.
                let mixed = step.args.iter().filter_map(lane_of).any(|lane| lane != main);
                if mixed {
                    return Err(Unsupported::new(format!("{} of different types", step.row.name)));
                }
                helpers.insert(helper(step.row, main, step.args.len())?);
                format!("{}_{}({})", step.row.name, main.suffix(), args.join(", "))
            }
        };
        let _ = writeln!(body, "    let s{index} = {value};");
    }
    let result = match expression.result() {
        Arg::Step(k) => (format!("s{k}"), steps.get(k).copied().unwrap_or(Lane::F32)),
        _ => ("x0".to_string(), lanes.first().copied().unwrap_or(Lane::F32)),
    };
    let params: Vec<String> = lanes.iter().enumerate().map(|(k, lane)| format!("x{k}: {}", lane.wgsl())).collect();
    let mut text: String = helpers.into_iter().collect();
    let _ = write!(text, "fn {name}({}) -> {} {{\n{body}    return {};\n}}\n", params.join(", "), result.1.wgsl(), result.0);
    Ok(text)
}

/// A row's WGSL as a function of one lane type.
fn helper(row: &Row, lane: Lane, args: usize) -> Result<String, Unsupported> {
    let refuse = || Unsupported::new(format!("{} has no GPU form for {}", row.name, lane.suffix()));
    let text = match (lane, &row.float, &row.integer, &row.test, &row.logic) {
        (Lane::F32, _, _, Some(test), _) if test.float.is_some() => test.wgsl,
        (Lane::F32, Some(float), ..) => float.wgsl,
        (Lane::I32, _, _, Some(test), _) if test.integer.is_some() => test.wgsl,
        (Lane::I64, _, _, Some(test), _) if test.integer.is_some() => test.i64,
        (Lane::I32, _, Some(integer), ..) => integer.i32,
        (Lane::I64, _, Some(integer), ..) => integer.i64,
        (Lane::Bool, .., Some(logic)) => logic.wgsl,
        _ => return Err(refuse()),
    };
    if text.is_empty() {
        return Err(refuse());
    }
    let result = if row.result == super::Result_::Bool { Lane::Bool } else { lane };
    let params: Vec<String> = row.params.split(',').take(args).map(|name| format!("{name}: {}", lane.wgsl())).collect();
    Ok(format!("fn {}_{}({}) -> {} {{ return {text}; }}\n", row.name, lane.suffix(), params.join(", "), result.wgsl()))
}

fn literal(value: f64, lane: Lane) -> String {
    match lane {
        Lane::F32 => float_literal(value as f32),
        Lane::I32 => format!("i32({}u)", value as i32 as u32),
        Lane::I64 => format!("vec2<u32>({}u, {}u)", value as i64 as u32, (value as i64 >> 32) as u32),
        Lane::Bool => (value != 0.0).to_string(),
    }
}

/// WGSL has no literal for infinity and NaN, and refuses constant expressions that make one.
fn float_literal(value: f32) -> String {
    if value.is_finite() { format!("{value:?}f") } else { format!("from_bits({:#x}u)", value.to_bits()) }
}

fn convert(text: &str, from: Lane, to: Lane, helpers: &mut BTreeSet<String>) -> String {
    let _ = helpers;
    match (from, to) {
        (a, b) if a == b => text.to_string(),
        (Lane::Bool, Lane::F32) => format!("select(0.0, 1.0, {text})"),
        (Lane::Bool, Lane::I32) => format!("select(0, 1, {text})"),
        (Lane::Bool, Lane::I64) => format!("vec2<u32>(select(0u, 1u, {text}), 0u)"),
        (Lane::F32, Lane::Bool) => format!("({text} != 0.0)"),
        (Lane::I32, Lane::Bool) => format!("({text} != 0)"),
        (Lane::I64, Lane::Bool) => format!("any({text} != vec2(0u))"),
        (Lane::F32, Lane::I32) => format!("i32({text})"),
        (Lane::I32, Lane::F32) => format!("f32({text})"),
        (Lane::I32, Lane::I64) => format!("widen64({text})"),
        (Lane::I64, Lane::I32) => format!("i32({text}.x)"),
        (Lane::I64, Lane::F32) => format!("i64_to_f32({text})"),
        (_, Lane::I64) => format!("f32_to_i64({text})"),
        _ => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    #[test]
    fn a_chain_becomes_a_function() {
        let mut chain = Pointwise::of(&table::ADD, 2, &[]);
        chain.push(&table::CAST, vec![Arg::Step(0)]);
        chain.steps[1].to = Some(DType::I32);
        chain.push(&table::EQUAL, vec![Arg::Step(1), Arg::Const(3.0)]);
        let text = emit("pointwise", &chain, &[DType::F32, DType::F32]).unwrap();
        assert!(text.contains("fn pointwise(x0: f32, x1: f32) -> bool {"), "{text}");
        assert!(text.contains("let s2 = Equal_i32(s1, i32(3u));"), "{text}");
    }
}
