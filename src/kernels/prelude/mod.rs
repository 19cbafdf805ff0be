//! What is put before a shader to make a variant: storage types, constants, generated functions, and the
//! functions of `shaders/lib/` that the whole calls.

mod library;
mod types;
mod unroll;

use super::reduction_group::ReductionGroup;
use crate::base::{ElementFormat, ShaderDialect};
use library::{collect_calls, library};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

/// Whose WGSL a source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WgslFlavor {
    /// naga's: subgroup functions need no `enable`.
    Naga,
    /// The standard's, as browsers take it.
    Standard,
}

/// What a source takes beyond WebGPU's core.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// WGSL's `f16`.
    pub f16: bool,
    /// WGSL's `subgroups`.
    pub subgroups: bool,
    /// naga's own 64-bit integers.
    pub int64: bool,
    /// naga's own immediates.
    pub immediates: bool,
    /// naga's own cooperative matrices.
    pub cooperative: bool,
}

impl Needs {
    /// Those that no WGSL but naga's has, by name; none for a source that every browser with its two
    /// extensions takes.
    pub fn extensions_of_naga(&self) -> Vec<&'static str> {
        [("int64", self.int64), ("immediates", self.immediates), ("cooperative matrices", self.cooperative)]
            .into_iter()
            .filter(|of| of.1)
            .map(|of| of.0)
            .collect()
    }
}

/// A whole shader.
#[derive(Debug, Clone)]
pub struct Source {
    pub text: Arc<str>,
    /// Lines before the shader's own first one.
    pub prelude_lines: usize,
    pub needs: Needs,
}

/// What goes with the constant UNROLLED.
const OPAQUE: &str = include_str!("../../../shaders/lib/opaque.wgsl");

/// The text that precedes a shader. WGSL lets module-scope declarations come in any order, so the shader
/// stays as written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Prelude {
    text: String,
    /// The tensors' types: (prefix, storage, whether lanes keep their own type). Written when the dialect is
    /// known.
    types: Vec<(String, ElementFormat, bool)>,
    /// Whether the workgroup is one group.
    whole_group: bool,
    cooperative: bool,
    /// A buffer of which neighbouring invocations read the same, and whether every 4 of them always do.
    shared: Option<(&'static str, ElementFormat, bool)>,
    /// Where the run's status is bound, by a kernel that may tell of something.
    status: Option<u32>,
    /// Constants at which end loops that every dialect has written out.
    written_out: Vec<&'static str>,
}

/// What a shader has that calls `uniform_small` or `uniform_index`.
const CALLS_UNIFORM: &str = "uniform_";
/// `uniform_small` and `uniform_index` where nothing is to be said of them.
const UNIFORM: &str =
    "fn uniform_small(x: u32) -> u32 { return x; }\nfn uniform_index(x: u32) -> u32 { return x; }\n";
/// The same by [`UNIFORM_TABLE`].
const UNIFORM_BY_TABLE: &str = include_str!("../../../shaders/lib/uniform_table.wgsl");

impl Prelude {
    pub fn new() -> Self {
        Self::default()
    }
    /// `Stored4`, `load4` and `store4` of a float kernel's tensors: groups of 4 elements, float32 in
    /// registers.
    pub fn storage(mut self, storage: ElementFormat) -> Self {
        self.types.push((String::new(), storage, false));
        self
    }
    /// `uniform4`, `ordered4`, `ordered4_if` and `order4` of `shaders/lib/shared_*.wgsl`: groups of a float
    /// buffer that each 4 neighbouring invocations read at the same index, together; where not all 4 do,
    /// `alike` is false and each reads by itself.
    pub fn shared(mut self, name: &'static str, storage: ElementFormat, alike: bool) -> Self {
        self.shared = Some((name, storage, alike));
        self
    }
    /// For kernels that move elements of any type: `Stored4`, `Lane`, `lane_of(group, k)`, `pack4(a, b, c,
    /// d)`.
    pub fn movable(self, storage: ElementFormat) -> Self {
        self.typed("", storage)
    }
    /// The same with names that begin with `prefix`: `IStored4`, `ILane`, `Ilane_of`, `Ipack4`.
    pub fn typed(mut self, prefix: &str, storage: ElementFormat) -> Self {
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
    /// The same, at most 16, as the end of loops that are written out whatever the dialect.
    pub(super) fn turns(mut self, name: &'static str, value: u32) -> Self {
        self.written_out.push(name);
        self.constant(name, value)
    }
    /// `const NAME: bool = value;`
    pub fn flag(mut self, name: &str, value: bool) -> Self {
        let _ = writeln!(self.text, "const {name}: bool = {value};");
        self
    }
    /// WIDTH, GROUP and STRIDE, and with them `Invocation`, `group_lane`, `group_index`, `group_sum` and
    /// `group_max` of `shaders/lib/reduction_group.wgsl`; STREAMED, and CACHED where it isn't.
    pub(super) fn reduction_group(mut self, group: ReductionGroup) -> Self {
        self.whole_group = group.size == group.width;
        let counted = self
            .constant("WIDTH", group.width)
            .constant("GROUP", group.size)
            .constant("STRIDE", group.stride);
        counted.flag("STREAMED", group.cached == 0).constant("CACHED", group.cached.max(1))
    }
    /// `tell`, of `shaders/lib/status.wgsl`: the run's status as one more binding, behind the kernel's own.
    pub(super) fn status(mut self, binding: Option<u32>) -> Self {
        if let Some(binding) = binding {
            let _ =
                writeln!(self.text, "@group(0) @binding({binding}) var<storage, read_write> status: Status;");
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
    /// A dialect without what makes no difference behind this prelude.
    pub(super) fn dialect(&self, dialect: ShaderDialect) -> ShaderDialect {
        let half = |storage: ElementFormat| matches!(storage, ElementFormat::F16 | ElementFormat::F16Packed);
        ShaderDialect {
            wide: dialect.wide && !self.cooperative,
            saturates: dialect.saturates && self.types.iter().any(|(_, storage, _)| half(*storage)),
            ..dialect
        }
    }

    /// What the whole source takes beyond WebGPU's core.
    pub(super) fn needs(&self, shader: &str, dialect: ShaderDialect) -> Needs {
        let dialect = self.dialect(dialect);
        Needs {
            // Wide words hold two halves each, which unpack without the f16 type.
            f16: !dialect.wide && self.types.iter().any(|(_, storage, _)| *storage == ElementFormat::F16),
            subgroups: dialect.subgroups && self.whole_group || self.in_quads(dialect),
            int64: dialect.wide && !self.types.is_empty(),
            immediates: dialect.table && shader.contains(CALLS_UNIFORM),
            cooperative: self.cooperative,
        }
    }

    /// The whole source: this prelude, the library functions that are called, and the shader.
    pub fn assemble(&self, shader: &str, dialect: ShaderDialect, flavor: WgslFlavor) -> Source {
        let dialect = self.dialect(dialect);
        let needs = self.needs(shader, dialect);
        let subgroups = dialect.subgroups && self.whole_group;
        let mut wanted: BTreeSet<&str> = BTreeSet::new();
        collect_calls(&self.text, subgroups, &mut wanted);
        collect_calls(shader, subgroups, &mut wanted);
        let mut whole = String::with_capacity(self.text.len() + shader.len() + 1024);
        let enables = [
            ("wgpu_cooperative_matrix", needs.cooperative),
            ("f16", needs.f16),
            ("subgroups", needs.subgroups && flavor == WgslFlavor::Standard),
        ];
        for (name, _) in enables.iter().filter(|enable| enable.1) {
            let _ = writeln!(whole, "enable {name};");
        }
        if self.in_quads(dialect) && flavor == WgslFlavor::Standard {
            // An analysis that takes QUADS for a variable sees a return before the subgroup's functions.
            whole += "diagnostic(off, subgroup_uniformity);\n";
        }
        whole += &self.declarations(dialect);
        whole += &self.text;
        if shader.contains(CALLS_UNIFORM) {
            whole += if dialect.table { UNIFORM_BY_TABLE } else { UNIFORM };
        }
        if shader.contains("QUADS") {
            let _ = writeln!(whole, "const QUADS: bool = {};", self.in_quads(dialect));
        }
        if shader.contains("UNROLLED") {
            let _ = writeln!(whole, "const UNROLLED: bool = {};\n{OPAQUE}", !dialect.rolled);
        }
        for (name, text) in library(subgroups) {
            if wanted.contains(name) {
                whole += text;
                whole.push('\n');
            }
        }
        let prelude_lines = whole.lines().count();
        let written_out = |end: &str| dialect.written_out || self.written_out.contains(&end);
        whole += &unroll::unrolled(shader, &|end| self.value(end).filter(|_| written_out(end)));
        Source { text: whole.into(), prelude_lines, needs }
    }

    /// The value of a literal or of a constant of this prelude.
    fn value(&self, text: &str) -> Option<u32> {
        if let Ok(literal) = text.strip_suffix('u').unwrap_or_default().parse() {
            return Some(literal);
        }
        let (_, from) = self.text.split_once(&format!("const {text}: u32 = "))?;
        from.split_once("u;")?.0.parse().ok()
    }

    fn in_quads(&self, dialect: ShaderDialect) -> bool {
        dialect.quads && self.shared.is_some_and(|(_, _, alike)| alike)
    }

    /// The tensors' types, and what reads and writes them.
    fn declarations(&self, dialect: ShaderDialect) -> String {
        let mut text = types::shared(self.types.iter().map(|of| of.1), dialect);
        for (prefix, storage, typed) in &self.types {
            text += &if *typed {
                types::lanes(prefix, *storage, dialect)
            } else {
                types::floats(*storage, dialect)
            };
        }
        if let Some((name, storage, _)) = self.shared {
            text += &types::shared_loads(name, storage, self.in_quads(dialect));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_taken_as_far_as_it_is_called() {
        let source = Prelude::new()
            .code("fn f(x: f32) -> f32 { return tanh_(x); }\n")
            .assemble("", ShaderDialect::default(), WgslFlavor::Naga)
            .text;
        assert!(source.contains("fn tanh_") && source.contains("fn expm1") && source.contains("fn is_nan"));
        assert!(!source.contains("fn erf") && !source.contains("add64"), "{source}");
    }
}
