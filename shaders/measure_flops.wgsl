// Four independent chains of fused multiply-adds on vec4, to measure the rate of arithmetic
// (src/gpu/measure.rs).
//
// Grid: an invocation makes `rounds` rounds of 256 operations (8 turns × 4 chains × 4 lanes × 2), so that
// the loop itself counts little; a workgroup has 64.

struct Params { count: u32, rounds: u32 }

@group(0) @binding(0) var<storage, read> source: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> result: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let at = id.x;
    if at >= p.count {
        return;
    }
    let x = source[at];
    var a = x;
    var b = x + 1.0;
    var c = x + 2.0;
    var d = x + 3.0;
    for (var round = 0u; round < p.rounds; round++) {
        for (var k = 0u; k < 8u; k++) {
            a = fma(a, x, x);
            b = fma(b, x, x);
            c = fma(c, x, x);
            d = fma(d, x, x);
        }
    }
    result[at] = a + b + c + d;
}
