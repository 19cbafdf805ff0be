//! The forms that a kernel's text takes for one adapter or another.

/// What an adapter makes of the same prelude: software adapters pay for every component of a load by itself,
/// and read an address that they can't see is uniform once for each lane (docs/performance.md).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ShaderDialect {
    /// Groups of 4 elements are loaded and stored as 64-bit words: half as many components. Needs
    /// SHADER_INT64.
    pub wide: bool,
    /// `uniform_index` and `uniform_small` go through a table of immediates, the one kind of value that
    /// Mesa's software adapter takes for uniform. Needs IMMEDIATES, [`UNIFORM_TABLE`] at offset 0.
    pub table: bool,
    /// Loops over what an invocation made are left as loops: the size of the code decides how long Mesa's
    /// software adapter translates a kernel. Hardware unrolls them, since registers can't be indexed.
    pub rolled: bool,
    /// A workgroup's sums are made by subgroups: needs SUBGROUP. For hardware alone.
    pub subgroups: bool,
    /// A group of 4 that all invocations read alike is loaded by 4 of them, an element each, and had from the
    /// neighbours: for software adapters whose subgroups are 4 invocations. Needs SUBGROUP.
    pub quads: bool,
    /// Loops of known length are written out: for drivers that leave them loops. Goes with `rolled` off.
    pub written_out: bool,
    /// Stores of float16 take a finite number beyond its range to ±65,504, as `--precision f16` has it;
    /// otherwise it is infinite.
    pub saturates: bool,
}

/// Entry k is k: see [`ShaderDialect::table`]. 256 bytes, what adapters offer.
pub const UNIFORM_TABLE: [u32; 64] = {
    let mut table = [0; 64];
    let mut k = 0;
    while k < 64 {
        table[k] = k as u32;
        k += 1;
    }
    table
};
