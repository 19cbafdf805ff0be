// Loops over what an invocation holds in an array, which some drivers' compilers should leave loops (not
// UNROLLED). They unroll by an array's length or by a constant end; the parameter `opaque_zero`, which is 0,
// hides both from them.

// The index of the r-th sum that an invocation holds, as a number that the compiler doesn't know.
fn opaque_index(r: u32) -> u32 { return select(r + p.opaque_zero, r, UNROLLED); }

// The end of a loop over `count` things, likewise.
fn opaque_bound(count: u32) -> u32 { return select(count + p.opaque_zero, count, UNROLLED); }
