//! How accurately the functions of the elementwise table are computed on a GPU.
//!
//! The built-in ones by what Vulkan and WGSL promise
//! ([WGSL, accuracy of built-in functions](https://www.w3.org/TR/WGSL/#concrete-float-accuracy)): 1 ulp there
//! is at most 2 units of roundoff. Those of `shaders/lib/math.wgsl` by following that promise through their
//! own text.

/// exp: 3 + 2·|x| ulp.
fn exp(x: f64) -> f64 {
    6.0 + 4.0 * x.abs()
}

/// log: 3 ulp, and 2⁻²¹ absolute within [0.5, 2].
fn log(value: f64) -> f64 {
    6.0 * value.abs() + 8.0
}

/// Division: 2.5 ulp.
const DIVISION: f64 = 5.0;

/// The smallest normal number, in units of roundoff.
const FLUSHED: f64 = f32::MIN_POSITIVE as f64 / super::UNIT_F32;

/// The most by which the result of one application of a row may be off, in units of float32's roundoff
/// (2⁻²⁴), beside what its arguments' errors do. `args` are the arguments in order, `value` the result.
pub fn rounding(row: &str, args: &[f64], value: f64) -> f64 {
    let x = args.first().copied().unwrap_or(0.0);
    let other = |index: usize| args.get(index).copied().unwrap_or(0.0);
    let relative = |k: f64| k * value.abs();
    match row {
        "Add" | "Sub" | "Mul" | "LeakyRelu" | "PRelu" | "Shrink" => relative(1.0),
        "Div" | "Reciprocal" => relative(DIVISION),
        // 1 / inverseSqrt: 2 ulp and a division.
        "Sqrt" => relative(4.0 + DIVISION),
        "Exp" => relative(exp(x)),
        "Log" => log(value),
        "Pow" => {
            // exp2(y · log2 x)
            let (t, y) = (value.abs().log2(), other(1));
            let log2 = if y == 0.0 { 0.0 } else { t / y };
            relative(exp(t) + t.abs() + y.abs() * (6.0 * log2.abs() + 12.0))
        }
        "Sigmoid" => relative(exp(x) * (1.0 - value) + 1.0 + DIVISION),
        // The sigmoid may be flushed to 0 below the smallest normal number, before it is multiplied.
        "Silu" | "Swish" => relative(exp(x) + x.abs() + 3.0 + DIVISION) + x.abs() * FLUSHED,
        "Tanh" => relative(32.0),
        "Softplus" => relative(4.0) + exp(x) * (-x.abs()).exp() + 8.0,
        "Mish" => relative(48.0) + 16.0 * x.abs(),
        "Erf" => relative(16.0),
        // 1 + erf cancels for negative arguments.
        "Gelu" => relative(4.0) + 10.0 * x.abs(),
        "GeluTanh" => relative(4.0) + 24.0 * x.abs(),
        "HardSwish" => relative(6.0) + 6.0 * x.abs(),
        // Far from both ends of the slope the result is one of them.
        "HardSigmoid" => 2.0 * ((x * other(1)).abs().min(1.0 + 2.0 * other(2).abs()) + other(2).abs()),
        "Softsign" => relative(2.0 + DIVISION),
        // e^x − 1: absolute where the exponential is taken, a series near 0.
        "Elu" | "Selu" => {
            relative(12.0)
                + if x < 0.0 {
                    other(1).abs() * other(2).abs().max(1.0) * (exp(x) * x.exp() + 1.0)
                } else {
                    0.0
                }
        }
        "Celu" => {
            relative(12.0)
                + if x < 0.0 {
                    other(1).abs() * (exp(x / other(1)) * (x / other(1)).exp() + 1.0)
                } else {
                    0.0
                }
        }
        // Reduced by π/2 in three parts; the parts lose digits as the multiple grows.
        "Sin" | "Cos" => 8.0 + 0.02 * x.abs(),
        "Tan" => (8.0 + 0.02 * x.abs()) * (1.0 + value * value) + relative(DIVISION),
        "Asin" | "Acos" | "Atan" => relative(8.0) + 8.0,
        "Sinh" => relative(exp(x) + 24.0),
        "Cosh" => relative(exp(x) + 2.0),
        "Acosh" | "Asinh" | "Atanh" => relative(16.0) + 16.0,
        "Mod" | "Fmod" => 8.0 * (x.abs() + value.abs()),
        // Exact: comparisons, choices, whole numbers, signs.
        _ => 0.0,
    }
}

/// The error of softmax's exponential of `x ≤ 0`, relative, in units of roundoff: the difference's rounding
/// and the function's own.
pub fn exponential(x: f64) -> f64 {
    x.abs() + exp(x)
}

/// The error of a sum's quotient and logarithm, in units of roundoff.
pub fn quotient() -> f64 {
    DIVISION
}
pub fn logarithm(value: f64) -> f64 {
    log(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_functions_have_no_error_and_others_do() {
        assert_eq!(rounding("Relu", &[3.0], 3.0), 0.0);
        assert_eq!(rounding("Add", &[1.0, 2.0], 3.0), 3.0);
        for row in ["Exp", "Log", "Tanh", "Sigmoid", "Gelu", "Sqrt"] {
            assert!(rounding(row, &[0.7], 0.5) > 0.0, "{row}");
        }
    }
}
