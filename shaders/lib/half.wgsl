// Stores of float16. WGSL leaves open what pack2x16float and a conversion make of a number beyond float16's
// range, of infinities and of NaN, so these are made by their bits (docs/numerics.md).
//
// SATURATES: a finite number beyond the range becomes ±65,504, as `--precision f16` has it; otherwise it is
// infinite from 65,520 on, half-way to the number that would be next, as IEEE 754 and ONNX's Cast have it.
//
// Bits of float32: sign 0x80000000, magnitude 0x7fffffff, infinity 0x7f800000, a NaN 0x7fc00000; of float16:
// sign 0x8000, infinity 0x7c00, a NaN 0x7e00.

// The least magnitude, as bits, that isn't rounded to a finite float16: infinity's or 65,520's.
const BEYOND_HALF: u32 = select(0x477ff000u, 0x7f800000u, SATURATES);

// float16's range, ±65,504.
fn finite_half(v: vec4<f32>) -> vec4<f32> { return clamp(v, vec4(-65504.0), vec4(65504.0)); }

// Numbers that a conversion to float16 takes to what is to be stored: infinities and NaN for what is beyond
// its range.
fn within_half(v: vec4<f32>) -> vec4<f32> {
    let bits = bitcast<vec4<u32>>(v);
    let magnitude = bits & vec4(0x7fffffffu);
    let special = (bits & vec4(0x80000000u))
        | select(vec4(0x7f800000u), vec4(0x7fc00000u), magnitude > vec4(0x7f800000u));
    return select(finite_half(v), bitcast<vec4<f32>>(special), magnitude >= vec4(BEYOND_HALF));
}

// 4 numbers as float16, two in a word.
fn half4(v: vec4<f32>) -> vec2<u32> {
    let finite = finite_half(v);
    let bits = bitcast<vec4<u32>>(v);
    let magnitude = bits & vec4(0x7fffffffu);
    let special = ((bits >> vec4(16u)) & vec4(0x8000u))
        | select(vec4(0x7c00u), vec4(0x7e00u), magnitude > vec4(0x7f800000u));
    let beyond = select(vec4(0u), vec4(0xffffu), magnitude >= vec4(BEYOND_HALF));
    let mask = beyond.xz | (beyond.yw << vec2(16u));
    let packed = vec2(pack2x16float(finite.xy), pack2x16float(finite.zw));
    return (packed & ~mask) | ((special.xz | (special.yw << vec2(16u))) & mask);
}
