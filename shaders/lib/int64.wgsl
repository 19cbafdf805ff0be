// 64-bit integers as vec2<u32>, low word first, in two's complement.

fn add64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let low = a.x + b.x;
    return vec2<u32>(low, a.y + b.y + select(0u, 1u, low < a.x));
}
fn neg64(a: vec2<u32>) -> vec2<u32> { return add64(~a, vec2<u32>(1u, 0u)); }
fn abs64(a: vec2<u32>) -> vec2<u32> { return select(a, neg64(a), (a.y >> 31u) == 1u); }
fn lt64(a: vec2<u32>, b: vec2<u32>) -> bool {
    return select(bitcast<i32>(a.y) < bitcast<i32>(b.y), a.x < b.x, a.y == b.y);
}
fn mul64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    // a.x · b.x in 64 bits, from 16-bit halves.
    let al = a.x & 0xffffu;
    let ah = a.x >> 16u;
    let bl = b.x & 0xffffu;
    let bh = b.x >> 16u;
    let low = al * bl;
    let mid1 = ah * bl + (low >> 16u);
    let mid2 = al * bh + (mid1 & 0xffffu);
    let high = ah * bh + (mid1 >> 16u) + (mid2 >> 16u);
    return vec2<u32>((mid2 << 16u) | (low & 0xffffu), high + a.x * b.y + a.y * b.x);
}
fn widen64(a: i32) -> vec2<u32> { return vec2<u32>(bitcast<u32>(a), bitcast<u32>(a >> 31u)); }
fn i64_to_f32(a: vec2<u32>) -> f32 {
    let magnitude = abs64(a);
    let value = f32(magnitude.y) * 4294967296.0 + f32(magnitude.x);
    return select(value, -value, (a.y >> 31u) == 1u);
}
fn f32_to_i64(x: f32) -> vec2<u32> {
    let z = trunc(abs(x));
    let high = floor(z / 4294967296.0);
    let magnitude = vec2<u32>(u32(z - high * 4294967296.0), u32(min(high, 2147483647.0)));
    return select(magnitude, neg64(magnitude), x < 0.0);
}
