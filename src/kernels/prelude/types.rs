//! The types of a kernel's tensors: how a group of 4 elements is stored, loaded into float32 or its own
//! lanes, and stored again.

use super::ShaderDialect;
use crate::base::ElementFormat;

/// Stores of float16: what lies beyond its range is made by its bits.
const HALF: &str = include_str!("../../../shaders/lib/half.wgsl");
/// 64-bit words from and to 32-bit ones.
const WORDS: &str = include_str!("../../../shaders/lib/words.wgsl");

/// Loads of what neighbouring invocations share: of a subgroup of 4, and each by itself.
const SHARED_QUADS: &str = include_str!("../../../shaders/lib/shared_quads.wgsl");
const SHARED_ALONE: &str = include_str!("../../../shaders/lib/shared_alone.wgsl");

/// The loads of a float buffer that neighbouring invocations share.
pub(super) fn shared_loads(name: &str, storage: ElementFormat, quads: bool) -> String {
    let element = match storage {
        ElementFormat::F16Packed => format!("unpack2x16float({name}[at][k >> 1u])[k & 1u]"),
        _ => format!("f32({name}[at][k])"),
    };
    if quads {
        format!("fn element1(at: u32, k: u32) -> f32 {{ return {element}; }}\n{SHARED_QUADS}")
    } else {
        format!("fn group4(at: u32) -> vec4<f32> {{ return load4({name}[at]); }}\n{SHARED_ALONE}")
    }
}

/// What the declarations of these tensors share.
pub(super) fn shared(types: impl Iterator<Item = ElementFormat> + Clone, dialect: ShaderDialect) -> String {
    let mut text = String::new();
    let half = |storage: ElementFormat| matches!(storage, ElementFormat::F16 | ElementFormat::F16Packed);
    if types.clone().any(half) {
        text += &format!("const SATURATES: bool = {};\n{HALF}", dialect.saturates);
    }
    if !dialect.wide && types.clone().any(|storage| storage == ElementFormat::F16) {
        text += "fn native4(v: vec4<f32>) -> vec4<f16> { return vec4<f16>(within_half(v)); }\n";
    }
    if dialect.wide {
        text += WORDS;
    }
    text
}

/// The type of a group of 4 elements.
fn stored(storage: ElementFormat, dialect: ShaderDialect) -> &'static str {
    match (storage, dialect.wide) {
        (ElementFormat::F32 | ElementFormat::I32 | ElementFormat::U32, true) => "vec2<u64>",
        (ElementFormat::F16 | ElementFormat::F16Packed, true) => "u64",
        (ElementFormat::I64, true) => "vec4<u64>",
        (ElementFormat::F32, _) => "vec4<f32>",
        (ElementFormat::I32, _) => "vec4<i32>",
        (ElementFormat::U32, _) => "vec4<u32>",
        (ElementFormat::F16, _) => "vec4<f16>",
        (ElementFormat::F16Packed, _) => "vec2<u32>",
        // Not a vec4 of 64-bit words: those need SHADER_INT64.
        (ElementFormat::I64, _) => "array<vec2<u32>, 4>",
    }
}

/// A float group `v` as `vec4<f32>`, and the other way.
fn to_floats(storage: ElementFormat, dialect: ShaderDialect) -> &'static str {
    match (storage, dialect.wide) {
        (ElementFormat::F16 | ElementFormat::F16Packed, true) => {
            "vec4<f32>(unpack2x16float(u32(v)), unpack2x16float(u32(v >> 32u)))"
        }
        (_, true) => "bitcast<vec4<f32>>(words(v))",
        (ElementFormat::F16, _) => "vec4<f32>(v)",
        (ElementFormat::F16Packed, _) => "vec4<f32>(unpack2x16float(v.x), unpack2x16float(v.y))",
        _ => "v",
    }
}
fn from_floats(storage: ElementFormat, dialect: ShaderDialect) -> &'static str {
    match (storage, dialect.wide) {
        (ElementFormat::F16 | ElementFormat::F16Packed, true) => "word(half4(v))",
        (_, true) => "from_words(bitcast<vec4<u32>>(v))",
        (ElementFormat::F16, _) => "native4(v)",
        (ElementFormat::F16Packed, _) => "half4(v)",
        _ => "v",
    }
}
pub(super) fn floats(storage: ElementFormat, dialect: ShaderDialect) -> String {
    let (stored, load, store) =
        (stored(storage, dialect), to_floats(storage, dialect), from_floats(storage, dialect));
    let mut text = format!(
        "alias Stored4 = {stored};\nfn load4(v: Stored4) -> vec4<f32> {{ return {load}; }}\nfn store4(v: vec4<f32>) -> Stored4 {{ return {store}; }}\n"
    );
    // 8 elements at once, for weights that are packed so.
    text += match (dialect.wide, storage) {
        (false, _) => {
            "alias Stored8 = array<Stored4, 2>;\nfn low4(v: Stored8) -> vec4<f32> { return load4(v[0]); }\nfn high4(v: Stored8) -> vec4<f32> { return load4(v[1]); }\n"
        }
        (true, ElementFormat::F32) => {
            "alias Stored8 = vec4<u64>;\nfn low4(v: Stored8) -> vec4<f32> { return load4(v.xy); }\nfn high4(v: Stored8) -> vec4<f32> { return load4(v.zw); }\n"
        }
        (true, _) => {
            "alias Stored8 = vec2<u64>;\nfn low4(v: Stored8) -> vec4<f32> { return load4(v.x); }\nfn high4(v: Stored8) -> vec4<f32> { return load4(v.y); }\n"
        }
    };
    text
}

pub(super) fn lanes(p: &str, storage: ElementFormat, dialect: ShaderDialect) -> String {
    let (lane, of, pack) = match (storage, dialect.wide) {
        (ElementFormat::F32 | ElementFormat::F16 | ElementFormat::F16Packed, _) => (
            "f32",
            format!("({})[k]", to_floats(storage, dialect)),
            format!("let v = vec4<f32>(a, b, c, d); return {};", from_floats(storage, dialect)),
        ),
        (ElementFormat::I32, true) => (
            "i32",
            "bitcast<i32>(words(v)[k])".into(),
            "return from_words(bitcast<vec4<u32>>(vec4<i32>(a, b, c, d)));".into(),
        ),
        (ElementFormat::U32, true) => {
            ("u32", "words(v)[k]".into(), "return from_words(vec4<u32>(a, b, c, d));".into())
        }
        (ElementFormat::I32, _) => ("i32", "v[k]".into(), "return vec4<i32>(a, b, c, d);".into()),
        (ElementFormat::U32, _) => ("u32", "v[k]".into(), "return vec4<u32>(a, b, c, d);".into()),
        (ElementFormat::I64, true) => (
            "vec2<u32>",
            "vec2<u32>(u32(v[k]), u32(v[k] >> 32u))".into(),
            "return vec4<u64>(word(a), word(b), word(c), word(d));".into(),
        ),
        (ElementFormat::I64, _) => ("vec2<u32>", "v[k]".into(), format!("return {p}Stored4(a, b, c, d);")),
    };
    // An array held by value can't be indexed by a variable, unless it is a variable itself.
    let hold = if storage == ElementFormat::I64 && !dialect.wide { "var" } else { "let" };
    let stored = stored(storage, dialect);
    format!(
        "alias {p}Stored4 = {stored};\nalias {p}Lane = {lane};\nfn {p}lane_of(g: {p}Stored4, k: u32) -> {p}Lane {{ {hold} v = g; return {of}; }}\n\
         fn {p}pack4(a: {p}Lane, b: {p}Lane, c: {p}Lane, d: {p}Lane) -> {p}Stored4 {{ {pack} }}\n"
    )
}
