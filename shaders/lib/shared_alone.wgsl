// Groups of 4 elements that neighbouring invocations read alike, where each invocation loads them by itself:
// see shared_quads.wgsl. `at`: the group's index in the buffer, `local`: the invocation's in the workgroup;
// group4, the load, is generated.

// The group.
fn uniform4(at: u32, local: u32) -> vec4<f32> { return group4(at); }

// The group in an order of the invocation's; that order; the group, or 0 unless `there`.
fn ordered4(at: u32, local: u32) -> vec4<f32> { return group4(at); }
fn order4(local: u32) -> vec4<u32> { return vec4(0u, 1u, 2u, 3u); }
fn ordered4_if(at: u32, local: u32, there: bool) -> vec4<f32> { return select(vec4(0.0), group4(at), there); }
