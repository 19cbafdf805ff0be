// The index of the r-th sum that an invocation keeps. Where loops over them are to stay loops (not UNROLLED),
// the parameter `zero` hides from the translator that r goes through an array of known length, and `count`
// how far: it unrolls by either.
fn kept(r: u32) -> u32 { return select(r + p.zero, r, UNROLLED); }

// The end of a loop over `count` things that is to stay a loop (not UNROLLED).
fn upto(count: u32) -> u32 { return select(count + p.zero, count, UNROLLED); }
