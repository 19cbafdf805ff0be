// The epilogue of every product and convolution. It takes the sum through, in this order: scale, bias, then
// either the standard epilogue (residual, clamp; switched by flags, so that they make no variant) or a
// generated one. It reads p.epilogue and the buffers bias and residual of the shader that calls it.

// A part of the parameter block (kernels/epilogue.rs): the standard epilogue, the scale of the sum, and
// numbers that a generated epilogue reads.
struct Epilogue { flags: u32, alpha: f32, low: f32, high: f32, numbers: array<vec4<f32>, 2> }
// Bits of its flags.
const HAS_BIAS: u32 = 1u;
const HAS_RESIDUAL: u32 = 2u;
const HAS_CLAMP: u32 = 4u;
const WITHIN_F16: u32 = 8u;

// The bias of a group of 4 columns (output channels), 0 where there is none.
fn bias4(column: u32) -> vec4<f32> {
    var value = vec4(0.0);
    if (p.epilogue.flags & HAS_BIAS) != 0u { value = load4(bias[column]); }
    return value;
}

// What is stored of a group of 4 sums. `offset` is the column's bias4, read once for all rows; `at`: where
// the residual lies, in groups of 4. One return at the end: an early one makes lavapipe's compiler much
// slower.
fn finish(sum: vec4<f32>, offset: vec4<f32>, at: u32) -> vec4<f32> {
    var value = sum * p.epilogue.alpha + offset;
    // A sum that is declared float16 is one before it meets the rest.
    if (p.epilogue.flags & WITHIN_F16) != 0u { value = within_f16_4(value); }
    var other = vec4(0.0);
    if (p.epilogue.flags & HAS_RESIDUAL) != 0u { other = load4(residual[at]); }
    if GENERATED {
        value = generated4(value, other);
    } else {
        value += other;
        // Comparisons, not clamp(): NaN passes.
        if (p.epilogue.flags & HAS_CLAMP) != 0u {
            value = select(value, vec4(p.epilogue.low), value < vec4(p.epilogue.low));
            value = select(value, vec4(p.epilogue.high), value > vec4(p.epilogue.high));
        }
    }
    return value;
}
