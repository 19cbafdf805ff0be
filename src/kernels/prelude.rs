//! What is put before a shader to make a variant: storage types, constants, generated functions, and the functions of
//! `shaders/lib/` that the whole calls.

use super::team::Team;
use crate::plan::Storage;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

/// What an adapter makes of the same prelude: software adapters pay for every component of a load by itself, and read an address
/// that they can't see is uniform once for each lane (docs/performance.md).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Form {
    /// Groups of 4 elements are loaded and stored as 64-bit words: half as many components. Needs SHADER_INT64.
    pub wide: bool,
    /// `uniform_index` and `uniform_small` go through a table of immediates, the one kind of value that Mesa's software
    /// adapter takes for uniform. Needs IMMEDIATES, [`UNIFORM_TABLE`] at offset 0.
    pub table: bool,
    /// Loops over what an invocation made are left as loops: the size of the code decides how long Mesa's software adapter
    /// translates a kernel. Hardware unrolls them, since registers can't be indexed.
    pub rolled: bool,
    /// A workgroup's sums are made by subgroups: needs SUBGROUP. For hardware alone.
    pub subgroups: bool,
}

/// What goes with the constant UNROLLED.
const KEPT: &str = include_str!("../../shaders/lib/kept.wgsl");

/// Entry k is k: see [`Form::table`]. 256 bytes, what adapters offer.
pub const UNIFORM_TABLE: [u32; 64] = {
    let mut table = [0; 64];
    let mut k = 0;
    while k < 64 {
        table[k] = k as u32;
        k += 1;
    }
    table
};

/// The text that precedes a shader. WGSL lets module-scope declarations come in any order, so the shader stays as written.
#[derive(Debug, Clone, Default)]
pub struct Prelude {
    text: String,
    /// The tensors' types: (prefix, storage, whether lanes keep their own type). Written when the form is known.
    types: Vec<(String, Storage, bool)>,
    /// Whether the workgroup is one team.
    whole_team: bool,
    cooperative: bool,
    /// Where the run's status is bound, by a kernel that may tell of something.
    status: Option<u32>,
}

/// f16 stores: a finite overflow saturates, infinities and NaN are kept by their bits (`tensor::to_f16` does the same).
const SATURATE: &str = "fn saturate4(v: vec4<f32>) -> vec4<f32> { \
    return select(clamp(v, vec4(-65504.0), vec4(65504.0)), v, (bitcast<vec4<u32>>(v) & vec4(0x7f800000u)) == vec4(0x7f800000u)); }\n";

/// 64-bit words from and to four 32-bit ones.
const WORDS: &str = "fn words(v: vec2<u64>) -> vec4<u32> { return vec4(u32(v.x), u32(v.x >> 32u), u32(v.y), u32(v.y >> 32u)); }\n\
    fn from_words(v: vec4<u32>) -> vec2<u64> { return vec2(u64(v.x) | (u64(v.y) << 32u), u64(v.z) | (u64(v.w) << 32u)); }\n";

/// An index below 2³⁰ (or 64) that is the same for every invocation of a workgroup, said so that the adapter sees it.
const UNIFORM: &str = "fn uniform_small(x: u32) -> u32 { return x; }\nfn uniform_index(x: u32) -> u32 { return x; }\n";
const UNIFORM_BY_TABLE: &str = "struct UniformTable { entries: array<u32, 64> }\nvar<immediate> uniform_table: UniformTable;\n\
    fn uniform_small(x: u32) -> u32 { return uniform_table.entries[x & 63u]; }\n\
    fn uniform_index(x: u32) -> u32 { return uniform_small(x) + (uniform_small(x >> 6u) << 6u) + (uniform_small(x >> 12u) << 12u) + (uniform_small(x >> 18u) << 18u) + (uniform_small(x >> 24u) << 24u); }\n";

/// Whether a source reads [`UNIFORM_TABLE`], so that its pipeline takes immediates.
pub fn reads_uniform_table(source: &str) -> bool {
    source.contains(UNIFORM_BY_TABLE)
}

impl Prelude {
    pub fn new() -> Self {
        Self::default()
    }
    /// `Stored4`, `load4` and `store4` of a float kernel's tensors: groups of 4 elements, float32 in registers.
    pub fn storage(mut self, storage: Storage) -> Self {
        self.types.push((String::new(), storage, false));
        self
    }
    /// For kernels that move elements of any type: `Stored4`, `Lane`, `lane_of(group, k)`, `pack4(a, b, c, d)`.
    pub fn movable(self, storage: Storage) -> Self {
        self.typed("", storage)
    }
    /// The same with names that begin with `prefix`: `IStored4`, `ILane`, `Ilane_of`, `Ipack4`.
    pub fn typed(mut self, prefix: &str, storage: Storage) -> Self {
        self.types.push((prefix.to_string(), storage, true));
        self
    }
    /// `Left`, `Right` and `Sums`: cooperative matrices of this many rows and columns. For hardware alone.
    pub fn cooperative(mut self, side: u32) -> Self {
        for (name, of) in [("Left", "f16, A"), ("Right", "f16, B"), ("Sums", "f32, C")] {
            let _ = writeln!(self.text, "alias {name} = coop_mat{side}x{side}<{of}>;");
        }
        self.cooperative = true;
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
    /// WIDTH, TEAM and STRIDE, and with them `Member`, `team_lane`, `team_index`, `team_sum` and `team_max` of `shaders/lib/team.wgsl`;
    /// STREAMED, and HELD where it isn't.
    pub(super) fn team(mut self, team: Team) -> Self {
        self.whole_team = team.team == team.width;
        let counted = self.constant("WIDTH", team.width).constant("TEAM", team.team).constant("STRIDE", team.stride);
        counted.flag("STREAMED", team.held == 0).constant("HELD", team.held.max(1))
    }
    /// `tell`, of `shaders/lib/status.wgsl`: the run's status as one more binding, behind the kernel's own.
    pub(super) fn status(mut self, binding: Option<u32>) -> Self {
        if let Some(binding) = binding {
            let _ = writeln!(self.text, "@group(0) @binding({binding}) var<storage, read_write> status: Status;");
        }
        self.status = binding;
        self
    }
    /// The binding of the run's status.
    pub fn status_binding(&self) -> Option<u32> {
        self.status
    }
    /// Generated declarations and functions.
    pub fn code(mut self, text: &str) -> Self {
        self.text += text;
        self
    }
    /// The whole source: this prelude, the library functions that are called, and the shader.
    pub fn source(&self, shader: &str, form: Form) -> Arc<str> {
        let mut whole = String::with_capacity(self.text.len() + shader.len() + 1024);
        let form = Form { wide: form.wide && !self.cooperative, ..form };
        if self.cooperative {
            whole += "enable wgpu_cooperative_matrix;\n";
        }
        // Wide words hold two halves each, which unpack without the f16 type.
        if !form.wide && self.types.iter().any(|(_, storage, _)| *storage == Storage::F16) {
            whole += "enable f16;\n";
        }
        let types = self.declarations(form);
        whole += &types;
        whole += &self.text;
        if shader.contains("uniform_") {
            whole += if form.table { UNIFORM_BY_TABLE } else { UNIFORM };
        }
        if shader.contains("UNROLLED") {
            let _ = writeln!(whole, "const UNROLLED: bool = {};\n{KEPT}", !form.rolled);
        }
        let subgroups = form.subgroups && self.whole_team;
        let mut wanted: BTreeSet<&str> = BTreeSet::new();
        collect_calls(&self.text, subgroups, &mut wanted);
        collect_calls(shader, subgroups, &mut wanted);
        for (name, text) in library(subgroups) {
            if wanted.contains(name) {
                whole += text;
                whole.push('\n');
            }
        }
        whole += shader;
        whole.into()
    }

    /// The tensors' types, and what reads and writes them.
    fn declarations(&self, form: Form) -> String {
        let mut text = String::new();
        for (prefix, storage, typed) in &self.types {
            text += &if *typed { lanes(prefix, *storage, form) } else { floats(*storage, form) };
        }
        if self.types.iter().any(|(_, storage, _)| matches!(storage, Storage::F16 | Storage::F16Packed)) {
            text += SATURATE;
            text += "fn half4(v: vec4<f32>) -> vec2<u32> { let s = saturate4(v); return vec2<u32>(pack2x16float(s.xy), pack2x16float(s.zw)); }\n";
        }
        if form.wide {
            text += WORDS;
            text += HALVES;
        }
        text
    }
}

/// The type of a group of 4 elements.
fn stored(storage: Storage, form: Form) -> &'static str {
    match (storage, form.wide) {
        (Storage::F32 | Storage::I32 | Storage::U32, true) => "vec2<u64>",
        (Storage::F16 | Storage::F16Packed, true) => "u64",
        (Storage::I64, true) => "vec4<u64>",
        (Storage::F32, _) => "vec4<f32>",
        (Storage::I32, _) => "vec4<i32>",
        (Storage::U32, _) => "vec4<u32>",
        (Storage::F16, _) => "vec4<f16>",
        (Storage::F16Packed, _) => "vec2<u32>",
        // Not a vec4 of 64-bit words: those need SHADER_INT64.
        (Storage::I64, _) => "array<vec2<u32>, 4>",
    }
}

/// A float group `v` as `vec4<f32>`, and the other way.
fn to_floats(storage: Storage, form: Form) -> &'static str {
    match (storage, form.wide) {
        (Storage::F16 | Storage::F16Packed, true) => "vec4<f32>(unpack2x16float(u32(v)), unpack2x16float(u32(v >> 32u)))",
        (_, true) => "bitcast<vec4<f32>>(words(v))",
        (Storage::F16, _) => "vec4<f32>(v)",
        (Storage::F16Packed, _) => "vec4<f32>(unpack2x16float(v.x), unpack2x16float(v.y))",
        _ => "v",
    }
}
fn from_floats(storage: Storage, form: Form) -> &'static str {
    match (storage, form.wide) {
        (Storage::F16 | Storage::F16Packed, true) => "halves(half4(v))",
        (_, true) => "from_words(bitcast<vec4<u32>>(v))",
        (Storage::F16, _) => "vec4<f16>(saturate4(v))",
        (Storage::F16Packed, _) => "half4(v)",
        _ => "v",
    }
}
const HALVES: &str = "fn halves(v: vec2<u32>) -> u64 { return u64(v.x) | (u64(v.y) << 32u); }\n";

fn floats(storage: Storage, form: Form) -> String {
    let (stored, load, store) = (stored(storage, form), to_floats(storage, form), from_floats(storage, form));
    let mut text = format!(
        "alias Stored4 = {stored};\nfn load4(v: Stored4) -> vec4<f32> {{ return {load}; }}\nfn store4(v: vec4<f32>) -> Stored4 {{ return {store}; }}\n"
    );
    // 8 elements at once, for weights that are packed so.
    text += match (form.wide, storage) {
        (false, _) => {
            "alias Stored8 = array<Stored4, 2>;\nfn low4(v: Stored8) -> vec4<f32> { return load4(v[0]); }\nfn high4(v: Stored8) -> vec4<f32> { return load4(v[1]); }\n"
        }
        (true, Storage::F32) => {
            "alias Stored8 = vec4<u64>;\nfn low4(v: Stored8) -> vec4<f32> { return load4(v.xy); }\nfn high4(v: Stored8) -> vec4<f32> { return load4(v.zw); }\n"
        }
        (true, _) => {
            "alias Stored8 = vec2<u64>;\nfn low4(v: Stored8) -> vec4<f32> { return load4(v.x); }\nfn high4(v: Stored8) -> vec4<f32> { return load4(v.y); }\n"
        }
    };
    text
}

fn lanes(p: &str, storage: Storage, form: Form) -> String {
    let (lane, of, pack) = match (storage, form.wide) {
        (Storage::F32 | Storage::F16 | Storage::F16Packed, _) => {
            ("f32", format!("({})[k]", to_floats(storage, form)), format!("let v = vec4<f32>(a, b, c, d); return {};", from_floats(storage, form)))
        }
        (Storage::I32, true) => ("i32", "bitcast<i32>(words(v)[k])".into(), "return from_words(bitcast<vec4<u32>>(vec4<i32>(a, b, c, d)));".into()),
        (Storage::U32, true) => ("u32", "words(v)[k]".into(), "return from_words(vec4<u32>(a, b, c, d));".into()),
        (Storage::I32, _) => ("i32", "v[k]".into(), "return vec4<i32>(a, b, c, d);".into()),
        (Storage::U32, _) => ("u32", "v[k]".into(), "return vec4<u32>(a, b, c, d);".into()),
        (Storage::I64, true) => {
            ("vec2<u32>", "vec2<u32>(u32(v[k]), u32(v[k] >> 32u))".into(), "return vec4<u64>(halves(a), halves(b), halves(c), halves(d));".into())
        }
        (Storage::I64, _) => ("vec2<u32>", "v[k]".into(), format!("return {p}Stored4(a, b, c, d);")),
    };
    // An array held by value can't be indexed by a variable, unless it is a variable itself.
    let hold = if storage == Storage::I64 && !form.wide { "var" } else { "let" };
    let stored = stored(storage, form);
    format!(
        "alias {p}Stored4 = {stored};\nalias {p}Lane = {lane};\nfn {p}lane_of(g: {p}Stored4, k: u32) -> {p}Lane {{ {hold} v = g; return {of}; }}\n\
         fn {p}pack4(a: {p}Lane, b: {p}Lane, c: {p}Lane, d: {p}Lane) -> {p}Stored4 {{ {pack} }}\n"
    )
}

/// The library's declarations: (name, text), in the order of the files. `subgroups`: which of two ways sums over a team are made.
fn library(subgroups: bool) -> impl Iterator<Item = (&'static str, &'static str)> {
    const FILES: [&str; 4] = [
        include_str!("../../shaders/lib/address.wgsl"),
        include_str!("../../shaders/lib/math.wgsl"),
        include_str!("../../shaders/lib/int64.wgsl"),
        include_str!("../../shaders/lib/status.wgsl"),
    ];
    const TEAMS: [&str; 2] = [include_str!("../../shaders/lib/team.wgsl"), include_str!("../../shaders/lib/team_subgroups.wgsl")];
    const BEGINNINGS: [&str; 4] = ["fn ", "struct ", "var<private> ", "var<workgroup> "];
    FILES.into_iter().chain([TEAMS[subgroups as usize]]).flat_map(|file| {
        let begins = |at: &usize| BEGINNINGS.iter().any(|beginning| file[*at..].starts_with(beginning));
        let starts: Vec<usize> = file.match_indices('\n').map(|(at, _)| at + 1).filter(begins).collect();
        let mut parts = vec![];
        for (index, &start) in starts.iter().enumerate() {
            let end = starts.get(index + 1).copied().unwrap_or(file.len());
            let text = &file[start..end];
            // What stands between two functions is the next one's comment.
            let text = text.rfind("}\n").map_or(text, |close| &text[..close + 1]);
            let text = if text.starts_with("var") { text.lines().next().unwrap_or(text) } else { text };
            let name = BEGINNINGS.iter().find_map(|beginning| text.strip_prefix(beginning)).unwrap_or(text);
            let name = &name[..name.find(['(', ':', ' ']).unwrap_or(name.len())];
            parts.push((name, text));
        }
        parts
    })
}

/// The library names that a text mentions, and those that these mention.
fn collect_calls(text: &str, subgroups: bool, wanted: &mut BTreeSet<&'static str>) {
    for (name, body) in library(subgroups) {
        let mentioned = text.match_indices(name).any(|(at, _)| {
            let word = |c: char| c.is_alphanumeric() || c == '_';
            !text[..at].ends_with(word) && !text[at + name.len()..].starts_with(word)
        });
        if mentioned && wanted.insert(name) {
            collect_calls(body, subgroups, wanted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_taken_as_far_as_it_is_called() {
        let source = Prelude::new().code("fn f(x: f32) -> f32 { return tanh_(x); }\n").source("", Form::default());
        assert!(source.contains("fn tanh_") && source.contains("fn expm1") && source.contains("fn is_nan"));
        assert!(!source.contains("fn erf") && !source.contains("add64"), "{source}");
    }
}
