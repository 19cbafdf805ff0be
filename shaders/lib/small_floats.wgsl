// Floats of fewer bits than float16's, or of float32's range in 16 bits, held in a float32: what a cast to one
// rounds to. Whole numbers do the rounding, so that no driver's arithmetic shows.

// To nearest even with `mantissa` bits behind the first one; below 2^lowest steps stay as they are there. What is
// beyond `largest` becomes that. `zero`: whether negative zero is one.
fn round_small(x: f32, mantissa: u32, lowest: i32, largest: f32, zero: bool) -> f32 {
    if is_nan(x) { return x; }
    let bits = bitcast<u32>(x);
    let exponent = i32((bits >> 23u) & 0xffu) - 127;
    let significand = (bits & 0x7fffffu) | 0x800000u;
    let drop = 23u - mantissa + u32(max(lowest - exponent, 0));
    // A half of the least step and less is zero.
    if drop > 24u { return bitcast<f32>(select(0u, bits & 0x80000000u, zero)); }
    let units = (significand + (1u << (drop - 1u)) - 1u + ((significand >> drop) & 1u)) >> drop;
    let step = bitcast<f32>(u32(max(exponent, lowest) - i32(mantissa) + 127) << 23u);
    // Infinity has the exponent of 2^128: its step is infinite at most, and its units are more than none.
    let rounded = bitcast<u32>(min(f32(units) * step, largest));
    let negative = (bits & 0x80000000u) != 0u && (zero || units != 0u);
    return bitcast<f32>(select(rounded, rounded | 0x80000000u, negative));
}

// bfloat16: the upper half of a float32. What rounds beyond the largest is infinite by itself.
fn round_bf16(x: f32) -> f32 {
    if is_nan(x) { return x; }
    let bits = bitcast<u32>(x);
    return bitcast<f32>((bits + 0x7fffu + ((bits >> 16u) & 1u)) & 0xffff0000u);
}

// A float that has no NaN has a zero of its sign in its place.
fn without_nan(x: f32) -> f32 {
    return select(x, bitcast<f32>(bitcast<u32>(x) & 0x80000000u), is_nan(x));
}
