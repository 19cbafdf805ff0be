// An index below 2³⁰ (or 64) that is the same for every invocation of a workgroup, through a table of
// immediates whose entry k is k: the one kind of value that Mesa's software adapter takes for uniform.
struct UniformTable { entries: array<u32, 64> }
var<immediate> uniform_table: UniformTable;
fn uniform_small(x: u32) -> u32 { return uniform_table.entries[x & 63u]; }
fn uniform_index(x: u32) -> u32 {
    return uniform_small(x)
        + (uniform_small(x >> 6u) << 6u)
        + (uniform_small(x >> 12u) << 12u)
        + (uniform_small(x >> 18u) << 18u)
        + (uniform_small(x >> 24u) << 24u);
}
