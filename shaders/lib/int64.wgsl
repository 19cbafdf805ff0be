// 64-bit integers as vec2<u32>, low word first, in two's complement; arithmetic wraps. The prelude takes
// from here what a variant calls (src/kernels/prelude/library.rs).

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
// Rounded once, to nearest even: the highest 32 bits carry in their last one whether anything below them is
// set.
fn u64_to_f32(a: vec2<u32>) -> f32 {
    if a.y == 0u { return u32_to_f32(a.x); }
    let by = countLeadingZeros(a.y);
    let top = shl64(a, vec2<u32>(by, 0u));
    // Times 2^(32 − by): 159 is 32 and the exponent's bias.
    return u32_to_f32(top.y | select(0u, 1u, top.x != 0u)) * bitcast<f32>((159u - by) << 23u);
}
fn i64_to_f32(a: vec2<u32>) -> f32 {
    let value = u64_to_f32(abs64(a));
    return select(value, -value, (a.y >> 31u) == 1u);
}
// Floats saturate, at 2⁶⁴ and ±2⁶³; NaN is 0. A word counts 2³² = 4,294,967,296.
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
fn shr64(a: vec2<u32>, by: vec2<u32>) -> vec2<u32> {
    return select(shru64(a, by), ~shru64(~a, by), negative64(a));
}

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

// The whole product.
fn wide32(a: u32, b: u32) -> vec2<u32> {
    let low = (a & 0xffffu) * (b & 0xffffu);
    let mid1 = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
    let mid2 = (a & 0xffffu) * (b >> 16u) + (mid1 & 0xffffu);
    return vec2<u32>(
        (mid2 << 16u) | (low & 0xffffu),
        (a >> 16u) * (b >> 16u) + (mid1 >> 16u) + (mid2 >> 16u));
}
fn wide64(a: vec2<u32>, b: vec2<u32>) -> vec4<u32> {
    let low = wide32(a.x, b.x);
    let mid1 = add64(wide32(a.y, b.x), vec2<u32>(low.y, 0u));
    let mid2 = add64(wide32(a.x, b.y), vec2<u32>(mid1.x, 0u));
    return vec4<u32>(
        low.x,
        mid2.x,
        add64(add64(wide32(a.y, b.y), vec2<u32>(mid1.y, 0u)), vec2<u32>(mid2.y, 0u)));
}

// 2^(whole + fraction · 2⁻⁶⁴), rounded to the 53 bits of a float64 and truncated: the power series in
// units of 2⁻⁶⁴, its last term first: (ln 2)ⁿ / n! for n from 18 down to 1.
fn exp2_64(whole: u32, fraction: vec2<u32>) -> vec2<u32> {
    var terms = array<vec2<u32>, 18>(
        vec2<u32>(0x00000003u, 0u), vec2<u32>(0x00000066u, 0u),
        vec2<u32>(0x000009c7u, 0u), vec2<u32>(0x0000e1b7u, 0u),
        vec2<u32>(0x00131496u, 0u), vec2<u32>(0x01816193u, 0u),
        vec2<u32>(0x1c3bd650u, 0u), vec2<u32>(0xe8cac735u, 0x00000001u),
        vec2<u32>(0x4cf5158bu, 0x0000001eu), vec2<u32>(0x253d395eu, 0x000001b5u),
        vec2<u32>(0x0223a5c8u, 0x0000162cu), vec2<u32>(0xfe2c4586u, 0x0000ffe5u),
        vec2<u32>(0x97c363c3u, 0x000a1848u), vec2<u32>(0x9e299cc4u, 0x005761ffu),
        vec2<u32>(0xf749cee5u, 0x0276556du), vec2<u32>(0x82505fc5u, 0x0e35846bu),
        vec2<u32>(0x058b1d50u, 0x3d7f7bffu), vec2<u32>(0xd1cf79abu, 0xb17217f7u));
    var slope = vec2<u32>(0u, 0u);
    for (var k = 0u; k < 18u; k++) { slope = add64(terms[k], wide64(fraction, slope).zw); }
    let above = wide64(fraction, slope).zw;
    // 52 bits behind the point, the leading 1, and half a unit.
    let rounded = add64(
        add64(shru64(above, vec2<u32>(12u, 0u)), vec2<u32>(0u, 0x00100000u)),
        vec2<u32>((above.x >> 11u) & 1u, 0u));
    if whole == 63u && rounded.y == 0x00200000u { return vec2<u32>(0xffffffffu, 0xffffffffu); }
    if whole >= 52u { return shl64(rounded, vec2<u32>(whole - 52u, 0u)); }
    return shru64(rounded, vec2<u32>(52u - whole, 0u));
}
// size^y, truncated, at most 2⁶⁴ − 1: exact for a whole y, else rounded to float64 before.
// `src/ops/pointwise/power.rs` takes the same steps.
fn power_size(size: vec2<u32>, y: f32) -> vec2<u32> {
    let one = vec2<u32>(1u, 0u);
    let most = vec2<u32>(0xffffffffu, 0xffffffffu);
    if all(size == one) { return one; }
    if is_nan(y) { return vec2<u32>(0u, 0u); }
    // By bits: a driver may take a subnormal number for 0.
    let bits = bitcast<u32>(y) & F32_MAGNITUDE;
    let under = (bitcast<u32>(y) >> 31u) == 1u;
    if bits == 0u { return one; }
    if all(size == vec2<u32>(0u, 0u)) { return select(vec2<u32>(0u, 0u), most, under); }
    if y >= 64.0 { return most; }
    // 0x3f800000: the bits of 1.
    let whole = bits >= 0x3f800000u && floor(y) == y;
    if y <= -64.0 || (whole && under) { return vec2<u32>(0u, 0u); }
    if whole {
        var product = one;
        let turns = u32(y);
        for (var k = 0u; k < turns; k++) {
            let wide = wide64(product, size);
            product = select(wide.xy, most, any(wide.zw != vec2<u32>(0u, 0u)));
        }
        return product;
    }
    // log₂ of the size in units of 2⁻⁶⁴: squares, each of which gives a bit.
    let by = select(countLeadingZeros(size.y), countLeadingZeros(size.x) + 32u, size.y == 0u);
    var x = shl64(size, vec2<u32>(by, 0u));
    var log2 = vec2<u32>(0u, 0u);
    for (var bit = 0u; bit < 64u; bit++) {
        let square = wide64(x, x);
        let above = square.w >> 31u;
        log2 = vec2<u32>((log2.x << 1u) | above, (log2.y << 1u) | (log2.x >> 31u));
        x = select(
            vec2<u32>((square.z << 1u) | (square.y >> 31u), (square.w << 1u) | (square.z >> 31u)),
            square.zw,
            above == 1u);
    }
    // Times y = significand · 2^−down, of either sign: three words, of which two are below the point.
    let field = bits >> 23u;
    let significand = (bits & F32_FRACTION) | select(F32_LEADING_BIT, 0u, field == 0u);
    // 150: the exponent's bias and the bits of a fraction.
    let down = 150u - max(field, 1u);
    let low = wide32(log2.x, significand);
    let mid = add64(wide32(log2.y, significand), vec2<u32>(low.y, 0u));
    let top = vec2<u32>((63u - by) * significand + mid.y, 0u);
    var fraction = shru64(vec2<u32>(low.x, mid.x), vec2<u32>(down, 0u));
    if down < 64u {
        fraction |= shl64(top, vec2<u32>(64u - down, 0u));
    } else {
        fraction |= shru64(top, vec2<u32>(down - 64u, 0u));
    }
    let exponent = shru64(top, vec2<u32>(down, 0u)).x;
    // 2^−f rounds to 1 in float64 for f up to 2⁻⁵⁴ / ln 2, which is 1,477 · 2⁻⁶⁴.
    if under {
        return vec2<u32>(select(0u, 1u, exponent == 0u && fraction.y == 0u && fraction.x <= 1477u), 0u);
    }
    if exponent > 63u { return most; }
    return exp2_64(exponent, fraction);
}
// a^y from −most − 1 to most; 0 for what has no real power.
fn power64(a: vec2<u32>, y: f32, most: vec2<u32>) -> vec2<u32> {
    let below = negative64(a);
    let bits = bitcast<u32>(y) & F32_MAGNITUDE;
    let whole = bits == 0u || bits == F32_INFINITY || (bits >= 0x3f800000u && floor(y) == y);
    if below && (is_nan(y) || !whole) { return vec2<u32>(0u, 0u); }
    let negative = below && abs(y) < 16777216.0 && (i32(clamp(y, -16777216.0, 16777216.0)) & 1) != 0;
    let limit = select(most, add64(most, vec2<u32>(1u, 0u)), negative);
    let size = power_size(abs64(a), y);
    let held = select(size, limit, ltu64(limit, size));
    return select(held, neg64(held), negative);
}
