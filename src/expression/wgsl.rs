//! The emitter: a [`Pointwise`] as a WGSL function over scalars, with the helper functions that it uses.

use super::{Arg, Pointwise, Row, table};
use crate::base::Unsupported;
use crate::tensor::DType;
use std::collections::BTreeSet;
use std::fmt::Write;

/// What a value is in a shader's registers: an element type. Integers of at most 32 bits but uint32 are an
/// `i32` that holds their value, 64-bit ones a `vec2<u32>`, low word first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lane {
    F32,
    /// bfloat16 and the floats of 8 and 4 bits, as the float32 of the same value. They are cast and moved;
    /// bfloat16 is computed in float32 and rounded where it is stored, as float16 is.
    Small(DType),
    Bool,
    /// Bits, and whether there is a sign.
    Integer(u32, bool),
}

/// The WGSL type that holds a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Register {
    F32,
    Bool,
    I32,
    U32,
    Long,
}

impl Lane {
    pub const I32: Lane = Lane::Integer(32, true);
    pub const I64: Lane = Lane::Integer(64, true);

    /// The lane of an element type, or why there is none.
    pub fn of(dtype: DType) -> Result<Self, Unsupported> {
        Ok(match dtype {
            DType::F32 | DType::F16 => Lane::F32,
            small if rounding(small).is_some() => Lane::Small(small),
            DType::Bool => Lane::Bool,
            DType::I2 => Lane::Integer(2, true),
            DType::I4 => Lane::Integer(4, true),
            DType::I8 => Lane::Integer(8, true),
            DType::I16 => Lane::Integer(16, true),
            DType::I32 => Lane::I32,
            DType::I64 => Lane::I64,
            DType::U2 => Lane::Integer(2, false),
            DType::U4 => Lane::Integer(4, false),
            DType::U8 => Lane::Integer(8, false),
            DType::U16 => Lane::Integer(16, false),
            DType::U32 => Lane::Integer(32, false),
            DType::U64 => Lane::Integer(64, false),
            other => return Err(Unsupported::new(format!("{other} has no GPU arithmetic"))),
        })
    }
    fn register(self) -> Register {
        match self {
            Lane::F32 | Lane::Small(_) => Register::F32,
            Lane::Bool => Register::Bool,
            Lane::Integer(64, _) => Register::Long,
            Lane::Integer(32, false) => Register::U32,
            Lane::Integer(..) => Register::I32,
        }
    }
    pub fn wgsl(self) -> &'static str {
        match self.register() {
            Register::F32 => "f32",
            Register::Bool => "bool",
            Register::I32 => "i32",
            Register::U32 => "u32",
            Register::Long => "vec2<u32>",
        }
    }
    fn suffix(self) -> String {
        match self {
            Lane::F32 => "f32".into(),
            Lane::Small(dtype) => dtype.name().into(),
            Lane::Bool => "bool".into(),
            Lane::Integer(bits, signed) => format!("{}{bits}", if signed { "i" } else { "u" }),
        }
    }
    /// The value of an expression in the lane's register, wrapped to the type's own width.
    pub fn wrapped(self, text: &str) -> String {
        match self {
            Lane::Integer(bits, true) if bits < 32 => format!("((({text}) << {0}u) >> {0}u)", 32 - bits),
            Lane::Integer(bits, false) if bits < 32 => format!("(({text}) & {:#x})", (1u32 << bits) - 1),
            _ => text.to_string(),
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

/// A function `NAME(x0, x1, …)` of scalars and everything that it calls.
pub fn to_wgsl(name: &str, expression: &Pointwise, operands: &[DType]) -> Result<String, Unsupported> {
    functions(&[(name, expression, operands)])
}

/// Several such functions of one shader: what more than one of them calls is there once.
pub fn functions(all: &[(&str, &Pointwise, &[DType])]) -> Result<String, Unsupported> {
    let mut helpers = BTreeSet::new();
    let mut text = String::new();
    for (name, expression, operands) in all {
        text += &function(name, expression, operands, &mut helpers)?;
    }
    Ok(helpers.into_iter().chain([text]).collect())
}

/// One function; what it calls goes to `helpers`.
fn function(
    name: &str,
    expression: &Pointwise,
    operands: &[DType],
    helpers: &mut BTreeSet<String>,
) -> Result<String, Unsupported> {
    let lanes = operands.iter().map(|&dtype| Lane::of(dtype)).collect::<Result<Vec<_>, _>>()?;
    let types = expression.types(operands)?;
    let steps = types.iter().map(|&dtype| Lane::of(dtype)).collect::<Result<Vec<_>, _>>()?;
    let mut body = String::new();
    for (index, step) in expression.steps.iter().enumerate() {
        let lane_of = |arg: &Arg| match *arg {
            Arg::Operand(k) => lanes.get(k).copied(),
            Arg::Step(k) => steps.get(k).copied(),
            Arg::Const(_) => None,
        };
        let main = step
            .args
            .get(step.row.typed_by)
            .and_then(lane_of)
            .or_else(|| step.args.iter().find_map(lane_of))
            .unwrap_or(Lane::F32);
        let mut args: Vec<String> = step
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
            "Cast" => {
                // Through float32 a wide integer would be rounded twice.
                if let (Lane::Integer(32 | 64, _), Lane::Small(DType::BF16)) = (main, steps[index]) {
                    return Err(Unsupported::new(format!("a cast of {} to bfloat16", main.suffix())));
                }
                convert(&args[0], main, steps[index])
            }
            "Where" => format!("select({}, {}, {})", args[2], args[1], args[0]),
            "Pow" if matches!(main, Lane::Integer(..)) && float_exponent(&step.args[1], lane_of) => {
                if let Arg::Const(value) = step.args[1] {
                    args[1] = float_literal(value as f32);
                }
                power(&args[0], &args[1], main)?
            }
            _ => {
                for (text, lane) in args.iter_mut().zip(step.args.iter().map(lane_of)) {
                    match lane {
                        Some(lane) if lane != main => *text = exponent(text, step.row, lane, main)?,
                        _ => {}
                    }
                }
                helpers.insert(helper(step.row, main, step.args.len())?);
                format!("{}_{}({})", step.row.name, main.suffix(), args.join(", "))
            }
        };
        // A result that is declared float16 and is not stored overflows all the same.
        let stored = matches!(expression.result(), Arg::Step(k) if k == index);
        let value = match types[index] {
            DType::F16 if !stored => format!("within_f16({value})"),
            // Computed in float32, which holds it, and rounded where it is stored. A cast has been.
            DType::BF16 if stored && step.row != &table::CAST => format!("round_bf16({value})"),
            _ => value,
        };
        let _ = writeln!(body, "    let s{index} = {value};");
    }
    let result = match expression.result() {
        Arg::Step(k) => (format!("s{k}"), steps.get(k).copied().unwrap_or(Lane::F32)),
        _ => ("x0".to_string(), lanes.first().copied().unwrap_or(Lane::F32)),
    };
    let params: Vec<String> =
        lanes.iter().enumerate().map(|(k, lane)| format!("x{k}: {}", lane.wgsl())).collect();
    Ok(format!(
        "fn {name}({}) -> {} {{\n{body}    return {};\n}}\n",
        params.join(", "),
        result.1.wgsl(),
        result.0
    ))
}

/// Whether an integer is raised to a float, which isn't done in the base's type.
fn float_exponent(exponent: &Arg, lane_of: impl Fn(&Arg) -> Option<Lane>) -> bool {
    match exponent {
        Arg::Const(value) => value.fract() != 0.0,
        other => lane_of(other) == Some(Lane::F32),
    }
}

/// An integer to the power of a float, saturated at its type's ends.
fn power(base: &str, exponent: &str, lane: Lane) -> Result<String, Unsupported> {
    Ok(match lane {
        Lane::Integer(64, false) => format!("power_size({base}, {exponent})"),
        Lane::Integer(64, true) => {
            format!("power64({base}, {exponent}, vec2<u32>(0xffffffffu, 0x7fffffffu))")
        }
        Lane::Integer(32, false) => {
            format!("power64(vec2<u32>({base}, 0u), {exponent}, vec2<u32>(0xffffffffu, 0u)).x")
        }
        Lane::Integer(bits @ (8 | 16 | 32), signed) => {
            let most = u32::MAX >> (32 - bits + u32::from(signed));
            format!("bitcast<i32>(power64(widen64({base}), {exponent}, vec2<u32>({most:#x}u, 0u)).x)")
        }
        _ => return Err(Unsupported::new(format!("Pow of {} and a float", lane.suffix()))),
    })
}

/// Pow alone mixes types: its exponent takes the base's, where that loses nothing.
fn exponent(text: &str, row: &Row, from: Lane, to: Lane) -> Result<String, Unsupported> {
    let fits = match (from, to) {
        (Lane::Integer(..), Lane::F32) => true,
        (Lane::Integer(bits, signed), Lane::Integer(other, other_signed)) => {
            bits < other && (other_signed || !signed) || bits == other && signed == other_signed
        }
        _ => false,
    };
    if row.name != "Pow" || !fits {
        return Err(Unsupported::new(format!("{} of {} and {}", row.name, to.suffix(), from.suffix())));
    }
    Ok(convert(text, from, to))
}

/// A row's WGSL as a function of one lane type.
fn helper(row: &Row, lane: Lane, args: usize) -> Result<String, Unsupported> {
    let refuse = || Unsupported::new(format!("{} has no GPU form for {}", row.name, lane.suffix()));
    // Of the small floats only bfloat16 is computed in.
    if matches!(lane, Lane::Small(dtype) if dtype != DType::BF16) {
        return Err(refuse());
    }
    let signed = matches!(lane, Lane::Integer(_, true));
    let text = match (lane.register(), &row.float, &row.integer, &row.test, &row.logic) {
        (Register::F32, _, _, Some(test), _) => test.wgsl,
        (Register::F32, Some(float), ..) => float.wgsl,
        (Register::I32 | Register::U32, _, _, Some(test), _) if test.integer.is_some() => test.wgsl,
        (Register::Long, _, _, Some(test), _) if test.integer.is_some() => {
            if signed {
                test.i64
            } else {
                test.u64
            }
        }
        (Register::I32, _, Some(integer), ..) => integer.i32,
        (Register::U32, _, Some(integer), ..) => integer.u32,
        (Register::Long, _, Some(integer), ..) => {
            if signed {
                integer.i64
            } else {
                integer.u64
            }
        }
        (Register::Bool, .., Some(logic)) => logic.wgsl,
        _ => return Err(refuse()),
    };
    if text.is_empty() {
        return Err(refuse());
    }
    let result = if row.result == super::Result_::Bool { Lane::Bool } else { lane };
    let text = result.wrapped(text);
    let params: Vec<String> =
        row.params.split(',').take(args).map(|name| format!("{name}: {}", lane.wgsl())).collect();
    Ok(format!(
        "fn {}_{}({}) -> {} {{ return {text}; }}\n",
        row.name,
        lane.suffix(),
        params.join(", "),
        result.wgsl()
    ))
}

/// A number as the lane's type holds it: integers saturate, as in a cast.
fn literal(value: f64, lane: Lane) -> String {
    match lane {
        Lane::F32 | Lane::Small(_) => float_literal(value as f32),
        Lane::Bool => (value != 0.0).to_string(),
        Lane::Integer(64, true) => {
            format!("vec2<u32>({}u, {}u)", value as i64 as u32, (value as i64 >> 32) as u32)
        }
        Lane::Integer(64, false) => {
            format!("vec2<u32>({}u, {}u)", value as u64 as u32, (value as u64 >> 32) as u32)
        }
        Lane::Integer(32, false) => format!("{}u", value as u32),
        Lane::Integer(bits, signed) => {
            let (low, high) = if signed {
                (-(1i64 << (bits - 1)), (1i64 << (bits - 1)) - 1)
            } else {
                (0, (1i64 << bits) - 1)
            };
            format!("i32({}u)", (value as i64).clamp(low, high) as i32 as u32)
        }
    }
}

/// WGSL has no literal for infinity and NaN, and refuses constant expressions that make one.
fn float_literal(value: f32) -> String {
    if value.is_finite() { format!("{value:?}f") } else { format!("from_bits({:#x}u)", value.to_bits()) }
}

/// How a float32 is rounded to a smaller float: the bits behind the first one, the exponent below which steps
/// stay as they are, the largest number, and whether there is a negative zero. bfloat16 has a way of its own.
/// `None`: no smaller float, or one that has no zero.
fn rounding(dtype: DType) -> Option<(u32, i32, f32, bool)> {
    Some(match dtype {
        DType::F8E4M3FN => (3, -6, 448.0, true),
        DType::F8E4M3FNUZ => (3, -7, 240.0, false),
        DType::F8E5M2 => (2, -14, 57344.0, true),
        DType::F8E5M2FNUZ => (2, -15, 57344.0, false),
        DType::F4E2M1 => (1, 0, 6.0, true),
        DType::BF16 => (7, -126, f32::MAX, true),
        _ => return None,
    })
}

/// A float32 rounded to a smaller float, saturated.
fn round_to(dtype: DType, text: &str) -> String {
    match (dtype, rounding(dtype)) {
        (DType::BF16, _) => format!("round_bf16({text})"),
        // Without NaN it becomes zero.
        (DType::F4E2M1, Some((bits, lowest, largest, zero))) => {
            format!("without_nan(round_small({text}, {bits}u, {lowest}, {largest:?}, {zero}))")
        }
        (_, Some((bits, lowest, largest, zero))) => {
            format!("round_small({text}, {bits}u, {lowest}, {largest:?}, {zero})")
        }
        (_, None) => text.to_string(),
    }
}

/// A cast: integers wrap, a float outside the range saturates and NaN is 0.
fn convert(text: &str, from: Lane, to: Lane) -> String {
    if from == to {
        return text.to_string();
    }
    if let Lane::Small(dtype) = to {
        return round_to(dtype, &convert(text, from, Lane::F32));
    }
    if let (Lane::Small(_), Lane::F32) = (from, to) {
        return text.to_string();
    }
    let signed = matches!(from, Lane::Integer(_, true));
    match (from.register(), to) {
        (Register::Bool, Lane::F32) => format!("select(0.0, 1.0, {text})"),
        (Register::Bool, Lane::Integer(64, _)) => format!("vec2<u32>(select(0u, 1u, {text}), 0u)"),
        (Register::Bool, Lane::Integer(32, false)) => format!("select(0u, 1u, {text})"),
        (Register::Bool, _) => to.wrapped(&format!("select(0, 1, {text})")),
        // By bits: NaN is true, and so is what a driver may take for 0.
        (Register::F32, Lane::Bool) => format!("((bitcast<u32>({text}) << 1u) != 0u)"),
        (Register::I32, Lane::Bool) => format!("({text} != 0)"),
        (Register::U32, Lane::Bool) => format!("({text} != 0u)"),
        (Register::Long, Lane::Bool) => format!("any({text} != vec2(0u))"),
        (Register::I32, Lane::F32) => format!("f32({text})"),
        (Register::U32, Lane::F32) => format!("u32_to_f32({text})"),
        (Register::Long, Lane::F32) => {
            format!("{}({text})", if signed { "i64_to_f32" } else { "u64_to_f32" })
        }
        (Register::F32, Lane::Integer(64, true)) => format!("f32_to_i64({text})"),
        (Register::F32, Lane::Integer(64, false)) => format!("f32_to_u64({text})"),
        (Register::F32, Lane::Integer(32, false)) => format!("f32_to_u32({text})"),
        // The 8- and 16-bit types saturate; those below take the low bits of an int32.
        (Register::F32, Lane::Integer(bits @ (8 | 16), true)) => {
            format!("clamp(f32_to_i32({text}), {}, {})", -(1i32 << (bits - 1)), (1i32 << (bits - 1)) - 1)
        }
        (Register::F32, Lane::Integer(bits @ (8 | 16), false)) => {
            format!("clamp(f32_to_i32({text}), 0, {})", (1i32 << bits) - 1)
        }
        (Register::F32, _) => to.wrapped(&format!("f32_to_i32({text})")),
        (Register::I32, Lane::Integer(64, _)) => format!("widen64({text})"),
        (Register::U32, Lane::Integer(64, _)) => format!("vec2<u32>({text}, 0u)"),
        (Register::I32, Lane::Integer(32, false)) => format!("bitcast<u32>({text})"),
        (Register::Long, Lane::Integer(32, false)) => format!("{text}.x"),
        (Register::U32, Lane::Integer(bits, _)) if bits < 64 => to.wrapped(&format!("bitcast<i32>({text})")),
        (Register::Long, Lane::Integer(bits, _)) if bits < 64 => {
            to.wrapped(&format!("bitcast<i32>({text}.x)"))
        }
        (Register::I32, Lane::Integer(..)) => to.wrapped(text),
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
        let text = to_wgsl("pointwise", &chain, &[DType::F32, DType::F32]).unwrap();
        assert!(text.contains("fn pointwise(x0: f32, x1: f32) -> bool {"), "{text}");
        assert!(text.contains("let s2 = Equal_i32(s1, i32(3u));"), "{text}");
    }
}
