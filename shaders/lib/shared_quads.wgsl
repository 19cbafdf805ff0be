// Groups of 4 elements that 4 neighbouring invocations read alike, which are a subgroup: each loads one
// element and has the others from its neighbours. An adapter that loads for each invocation by itself then
// has a fourth of the loads. element1(at, k), element k of group `at`, is generated; `local`: the
// invocation's index in the workgroup.

// All elements in each invocation, in their order.
fn uniform4(at: u32, local: u32) -> vec4<f32> {
    let own = element1(at, local & 3u);
    return vec4(
        subgroupBroadcast(own, 0u),
        subgroupBroadcast(own, 1u),
        subgroupBroadcast(own, 2u),
        subgroupBroadcast(own, 3u));
}

// The same by swaps, which are far fewer instructions: element k ^ local is at position k, so that the
// invocation's own comes first.
fn swapped4(own: f32) -> vec4<f32> {
    return vec4(own, quadSwapX(own), quadSwapY(own), quadSwapDiagonal(own));
}
fn order4(local: u32) -> vec4<u32> { return vec4(0u, 1u, 2u, 3u) ^ vec4(local & 3u); }
fn ordered4(at: u32, local: u32) -> vec4<f32> { return swapped4(element1(at, local & 3u)); }
fn ordered4_if(at: u32, local: u32, there: bool) -> vec4<f32> {
    return swapped4(select(0.0, element1(at, local & 3u), there));
}
