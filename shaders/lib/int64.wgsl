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
// Rounded once, to nearest even: the highest 32 bits carry in their last one whether anything below them is set.
fn u64_to_f32(a: vec2<u32>) -> f32 {
    if a.y == 0u { return u32_to_f32(a.x); }
    let by = countLeadingZeros(a.y);
    let top = shl64(a, vec2<u32>(by, 0u));
    return u32_to_f32(top.y | select(0u, 1u, top.x != 0u)) * bitcast<f32>((159u - by) << 23u);
}
fn i64_to_f32(a: vec2<u32>) -> f32 {
    let value = u64_to_f32(abs64(a));
    return select(value, -value, (a.y >> 31u) == 1u);
}
// Floats saturate; NaN is 0.
fn f32_to_u64(x: f32) -> vec2<u32> {
    if is_nan(x) || x <= 0.0 { return vec2<u32>(0u, 0u); }
    if x >= 18446744073709551616.0 { return vec2<u32>(0xffffffffu, 0xffffffffu); }
    let z = trunc(x);
    let high = floor(z / 4294967296.0);
    return vec2<u32>(u32(z - high * 4294967296.0), u32(high));
}
fn f32_to_i64(x: f32) -> vec2<u32> {
    if x >= 9223372036854775808.0 { return vec2<u32>(0xffffffffu, 0x7fffffffu); }
    if x <= -9223372036854775808.0 { return vec2<u32>(0u, 0x80000000u); }
    let magnitude = f32_to_u64(abs(x));
    return select(magnitude, neg64(magnitude), x < 0.0);
}
fn ltu64(a: vec2<u32>, b: vec2<u32>) -> bool { return select(a.y < b.y, a.x < b.x, a.y == b.y); }
fn negative64(a: vec2<u32>) -> bool { return (a.y >> 31u) == 1u; }
fn sign64(a: vec2<u32>) -> vec2<u32> {
    return select(vec2<u32>(min(a.x | a.y, 1u), 0u), vec2<u32>(0xffffffffu, 0xffffffffu), negative64(a));
}

// A shift by the width or more leaves nothing, or the sign.
fn shl64(a: vec2<u32>, by: vec2<u32>) -> vec2<u32> {
    if by.y != 0u || by.x > 63u { return vec2<u32>(0u, 0u); }
    if by.x > 31u { return vec2<u32>(0u, a.x << (by.x - 32u)); }
    if by.x == 0u { return a; }
    return vec2<u32>(a.x << by.x, (a.y << by.x) | (a.x >> (32u - by.x)));
}
fn shru64(a: vec2<u32>, by: vec2<u32>) -> vec2<u32> {
    if by.y != 0u || by.x > 63u { return vec2<u32>(0u, 0u); }
    if by.x > 31u { return vec2<u32>(a.y >> (by.x - 32u), 0u); }
    if by.x == 0u { return a; }
    return vec2<u32>((a.x >> by.x) | (a.y << (32u - by.x)), a.y >> by.x);
}
// The complement of a negative number shifts zeros in, which complemented are its sign.
fn shr64(a: vec2<u32>, by: vec2<u32>) -> vec2<u32> { return select(shru64(a, by), ~shru64(~a, by), negative64(a)); }

// Quotient in xy and remainder in zw, bit by bit; both are 0 where the divisor is.
fn divu64(a: vec2<u32>, b: vec2<u32>) -> vec4<u32> {
    if all(b == vec2(0u)) { return vec4<u32>(0u, 0u, 0u, 0u); }
    if a.y == 0u && b.y == 0u {
        let quotient = a.x / b.x;
        return vec4<u32>(quotient, 0u, a.x - quotient * b.x, 0u);
    }
    var quotient = a;
    var rest = vec2<u32>(0u, 0u);
    for (var bit = 0u; bit < 64u; bit++) {
        let carry = rest.y >> 31u;
        rest = vec2<u32>((rest.x << 1u) | (quotient.y >> 31u), (rest.y << 1u) | (rest.x >> 31u));
        quotient = vec2<u32>(quotient.x << 1u, (quotient.y << 1u) | (quotient.x >> 31u));
        if carry == 1u || !ltu64(rest, b) {
            rest = add64(rest, neg64(b));
            quotient.x |= 1u;
        }
    }
    return vec4<u32>(quotient, rest);
}
fn div64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let quotient = divu64(abs64(a), abs64(b)).xy;
    return select(quotient, neg64(quotient), negative64(a) != negative64(b));
}
// The remainder has the sign of the dividend; of `mod64`, that of the divisor.
fn rem64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let rest = divu64(abs64(a), abs64(b)).zw;
    return select(rest, neg64(rest), negative64(a));
}
fn mod64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let rest = rem64(a, b);
    return select(add64(rest, b), rest, all(rest == vec2(0u)) || negative64(rest) == negative64(b));
}
fn powu64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    var result = vec2<u32>(1u, 0u);
    var power = a;
    for (var rest = b; any(rest != vec2(0u)); rest = shru64(rest, vec2<u32>(1u, 0u))) {
        if (rest.x & 1u) == 1u { result = mul64(result, power); }
        power = mul64(power, power);
    }
    return result;
}
fn pow64(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let unit = all(a == vec2<u32>(1u, 0u)) || all(a == vec2<u32>(0xffffffffu, 0xffffffffu));
    if negative64(b) && !unit { return vec2<u32>(0u, 0u); }
    return powu64(a, b);
}
