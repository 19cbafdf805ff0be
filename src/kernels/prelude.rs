//! What is put before a shader to make a variant: storage types, constants, generated functions, and the functions of
//! `shaders/lib/` that the whole calls.

use crate::plan::Storage;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

/// The text that precedes a shader. WGSL lets module-scope declarations come in any order, so the shader stays as written.
#[derive(Debug, Clone, Default)]
pub struct Prelude {
    f16: bool,
    text: String,
}

/// f16 stores: a finite overflow saturates, infinities and NaN are kept by their bits (`tensor::to_f16` does the same).
const SATURATE: &str = "fn saturate4(v: vec4<f32>) -> vec4<f32> { \
    return select(clamp(v, vec4(-65504.0), vec4(65504.0)), v, (bitcast<vec4<u32>>(v) & vec4(0x7f800000u)) == vec4(0x7f800000u)); }\n";

impl Prelude {
    pub fn new() -> Self {
        Self::default()
    }
    /// `Stored4`, `load4` and `store4` of a float kernel's tensors: groups of 4 elements, float32 in registers.
    pub fn storage(mut self, storage: Storage) -> Self {
        self.text += match storage {
            Storage::F16 => {
                self.f16 = true;
                "alias Stored4 = vec4<f16>;\nfn load4(v: Stored4) -> vec4<f32> { return vec4<f32>(v); }\nfn store4(v: vec4<f32>) -> Stored4 { return vec4<f16>(saturate4(v)); }\n"
            }
            Storage::F16Packed => {
                "alias Stored4 = vec2<u32>;\nfn load4(v: Stored4) -> vec4<f32> { return vec4<f32>(unpack2x16float(v.x), unpack2x16float(v.y)); }\n\
                 fn store4(v: vec4<f32>) -> Stored4 { let s = saturate4(v); return vec2<u32>(pack2x16float(s.xy), pack2x16float(s.zw)); }\n"
            }
            _ => "alias Stored4 = vec4<f32>;\nfn load4(v: Stored4) -> vec4<f32> { return v; }\nfn store4(v: vec4<f32>) -> Stored4 { return v; }\n",
        };
        if storage != Storage::F32 {
            self.text += SATURATE;
        }
        self
    }
    /// For kernels that move elements of any type: `Stored4`, `Lane`, `lane_of(group, k)`, `pack4(a, b, c, d)`.
    pub fn movable(self, storage: Storage) -> Self {
        self.typed("", storage)
    }
    /// The same with names that begin with `prefix`: `IStored4`, `ILane`, `Ilane_of`, `Ipack4`.
    pub fn typed(mut self, prefix: &str, storage: Storage) -> Self {
        let (stored, lane, of, pack) = match storage {
            Storage::F32 => ("vec4<f32>", "f32", "v[k]", "vec4<f32>(a, b, c, d)"),
            Storage::I32 => ("vec4<i32>", "i32", "v[k]", "vec4<i32>(a, b, c, d)"),
            Storage::U32 => ("vec4<u32>", "u32", "v[k]", "vec4<u32>(a, b, c, d)"),
            Storage::I64 => ("array<vec2<u32>, 4>", "vec2<u32>", "v[k]", ""),
            Storage::F16 => {
                self.f16 = true;
                ("vec4<f16>", "f32", "f32(v[k])", "vec4<f16>(saturate4(vec4<f32>(a, b, c, d)))")
            }
            Storage::F16Packed => ("vec2<u32>", "f32", "unpack2x16float(v[k >> 1u])[k & 1u]", "half4(saturate4(vec4<f32>(a, b, c, d)))"),
        };
        // An array held by value can't be indexed by a variable, unless it is a variable itself.
        let hold = if storage == Storage::I64 { "var v = g; " } else { "let v = g; " };
        let pack = if storage == Storage::I64 { format!("{prefix}Stored4(a, b, c, d)") } else { pack.to_string() };
        let p = prefix;
        let _ = write!(
            self.text,
            "alias {p}Stored4 = {stored};\nalias {p}Lane = {lane};\nfn {p}lane_of(g: {p}Stored4, k: u32) -> {p}Lane {{ {hold}return {of}; }}\n\
             fn {p}pack4(a: {p}Lane, b: {p}Lane, c: {p}Lane, d: {p}Lane) -> {p}Stored4 {{ return {pack}; }}\n"
        );
        if matches!(storage, Storage::F16 | Storage::F16Packed) && !self.text.contains("fn saturate4") {
            self.text += SATURATE;
        }
        if storage == Storage::F16Packed && !self.text.contains("fn half4") {
            self.text += "fn half4(s: vec4<f32>) -> vec2<u32> { return vec2<u32>(pack2x16float(s.xy), pack2x16float(s.zw)); }\n";
        }
        self
    }
    /// `const NAME: u32 = value;`
    pub fn constant(mut self, name: &str, value: u32) -> Self {
        let _ = writeln!(self.text, "const {name}: u32 = {value}u;");
        self
    }
    /// `const NAME: bool = value;`
    pub fn flag(mut self, name: &str, value: bool) -> Self {
        let _ = writeln!(self.text, "const {name}: bool = {value};");
        self
    }
    /// Generated declarations and functions.
    pub fn code(mut self, text: &str) -> Self {
        self.text += text;
        self
    }
    /// The whole source: this prelude, the library functions that are called, and the shader.
    pub fn source(&self, shader: &str) -> Arc<str> {
        let mut whole = String::with_capacity(self.text.len() + shader.len() + 64);
        if self.f16 {
            whole += "enable f16;\n";
        }
        whole += &self.text;
        let mut wanted: BTreeSet<&str> = BTreeSet::new();
        collect_calls(&self.text, &mut wanted);
        collect_calls(shader, &mut wanted);
        for (name, text) in library() {
            if wanted.contains(name) {
                whole += text;
                whole.push('\n');
            }
        }
        whole += shader;
        whole.into()
    }
}

/// The library's declarations: (name, text), in the order of the files.
fn library() -> impl Iterator<Item = (&'static str, &'static str)> {
    const FILES: [&str; 2] = [include_str!("../../shaders/lib/math.wgsl"), include_str!("../../shaders/lib/int64.wgsl")];
    FILES.into_iter().flat_map(|file| {
        let starts: Vec<usize> =
            file.match_indices('\n').map(|(at, _)| at + 1).filter(|&at| file[at..].starts_with("fn ") || file[at..].starts_with("var<private> ")).collect();
        let mut parts = vec![];
        for (index, &start) in starts.iter().enumerate() {
            let end = starts.get(index + 1).copied().unwrap_or(file.len());
            let text = &file[start..end];
            // What stands between two functions is the next one's comment.
            let text = text.rfind("}\n").map_or(text, |close| &text[..close + 1]);
            let text = if text.starts_with("var") { text.lines().next().unwrap_or(text) } else { text };
            let name = text.trim_start_matches("fn ").trim_start_matches("var<private> ");
            let name = &name[..name.find(['(', ':']).unwrap_or(name.len())];
            parts.push((name, text));
        }
        parts
    })
}

/// The library names that a text mentions, and those that these mention.
fn collect_calls(text: &str, wanted: &mut BTreeSet<&'static str>) {
    for (name, body) in library() {
        let mentioned = text.match_indices(name).any(|(at, _)| {
            let word = |c: char| c.is_alphanumeric() || c == '_';
            !text[..at].ends_with(word) && !text[at + name.len()..].starts_with(word)
        });
        if mentioned && wanted.insert(name) {
            collect_calls(body, wanted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_taken_as_far_as_it_is_called() {
        let source = Prelude::new().code("fn f(x: f32) -> f32 { return tanh_(x); }\n").source("");
        assert!(source.contains("fn tanh_") && source.contains("fn expm1") && source.contains("fn is_nan"));
        assert!(!source.contains("fn erf") && !source.contains("add64"), "{source}");
    }
}
