//! What IEEE 754 and ONNX's formulas give, in float64, written with the standard library alone.

/// erf by its Taylor series, which for |x| < 4 loses nothing that float32 shows.
fn erf(x: f64) -> f64 {
    if x.abs() > 4.0 || x.is_nan() {
        return if x.is_nan() { x } else { x.signum() };
    }
    let (mut term, mut sum) = (x, x);
    for n in 1..120 {
        term *= -x * x / n as f64;
        sum += term / (2 * n + 1) as f64;
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

fn softplus(x: f64) -> f64 {
    if x > 0.0 { x + (-x).exp().ln_1p() } else { x.exp().ln_1p() }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// A float row of the table; `None` for one that isn't a function of floats.
pub fn float(row: &str, v: &[f64]) -> Option<f64> {
    let x = v[0];
    let second = || v[1];
    let third = || v[2];
    Some(match row {
        "Abs" => x.abs(),
        "Neg" => -x,
        "Sign" => {
            if x.is_nan() || x == 0.0 {
                x
            } else {
                x.signum()
            }
        }
        "Acos" => x.acos(),
        "Acosh" => x.acosh(),
        "Asin" => x.asin(),
        "Asinh" => x.signum() * x.abs().asinh(),
        "Atan" => x.atan(),
        "Atanh" => x.atanh(),
        "Ceil" => x.ceil(),
        "Cos" => x.cos(),
        "Cosh" => x.cosh(),
        "Erf" => erf(x),
        "Exp" => x.exp(),
        "Floor" => x.floor(),
        "Log" => x.ln(),
        "Reciprocal" => 1.0 / x,
        "Relu" => {
            if x < 0.0 {
                0.0
            } else {
                x
            }
        }
        "Round" => x.round_ties_even(),
        "Sigmoid" => sigmoid(x),
        "Sin" => x.sin(),
        "Sinh" => x.sinh(),
        "Softplus" => softplus(x),
        "Softsign" => x / (1.0 + x.abs()),
        "Sqrt" => x.sqrt(),
        "Tan" => x.tan(),
        "Tanh" => x.tanh(),
        "Mish" => x * softplus(x).tanh(),
        "HardSwish" => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        "Gelu" => 0.5 * x * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2)),
        "GeluTanh" => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
        }
        "Identity" => x,
        "LeakyRelu" | "PRelu" => {
            if x < 0.0 {
                second() * x
            } else {
                x
            }
        }
        "Elu" => {
            if x < 0.0 {
                second() * x.exp_m1()
            } else {
                x
            }
        }
        "Celu" => {
            if x < 0.0 {
                second() * (x / second()).exp_m1()
            } else {
                x
            }
        }
        "Selu" => {
            if x > 0.0 {
                third() * x
            } else {
                third() * second() * x.exp_m1()
            }
        }
        "ThresholdedRelu" => {
            if x > second() {
                x
            } else {
                0.0
            }
        }
        "HardSigmoid" => (second() * x + third()).clamp(0.0, 1.0),
        "Shrink" => {
            if x < -second() {
                x + third()
            } else if x > second() {
                x - third()
            } else {
                0.0
            }
        }
        "Swish" => x * sigmoid(second() * x),
        "Silu" => x * sigmoid(x),
        "Add" => x + second(),
        "Sub" => x - second(),
        "Mul" => x * second(),
        "Div" => x / second(),
        "Pow" => x.powf(second()),
        // Python's: the remainder takes the divisor's sign.
        "Mod" => {
            let r = x % second();
            if r != 0.0 && (r < 0.0) != (second() < 0.0) { r + second() } else { r }
        }
        "Fmod" => x % second(),
        "Min" => {
            if x.is_nan() || second().is_nan() {
                f64::NAN
            } else {
                x.min(second())
            }
        }
        "Max" => {
            if x.is_nan() || second().is_nan() {
                f64::NAN
            } else {
                x.max(second())
            }
        }
        _ => return None,
    })
}

/// A predicate of floats.
pub fn test(row: &str, v: &[f64]) -> Option<bool> {
    Some(match row {
        "IsNaN" => v[0].is_nan(),
        "IsInf" => v[0].is_infinite(),
        "Equal" => v[0] == v[1],
        "Greater" => v[0] > v[1],
        "GreaterOrEqual" => v[0] >= v[1],
        "Less" => v[0] < v[1],
        "LessOrEqual" => v[0] <= v[1],
        _ => return None,
    })
}

/// An integer row, exact; the caller wraps it to the type's width. Division by 0, which ONNX leaves open, is
/// 0 here.
pub fn integer(row: &str, v: &[i128], bits: u32) -> Option<i128> {
    let x = v[0];
    let second = || v[1];
    Some(match row {
        "Abs" => x.abs(),
        "Neg" => -x,
        "Sign" => x.signum(),
        "Relu" => x.max(0),
        "BitwiseNot" => !x,
        "Identity" => x,
        "Add" => x + second(),
        "Sub" => x - second(),
        "Mul" => x.wrapping_mul(second()),
        "Div" => x.checked_div(second()).unwrap_or(0),
        "Mod" => {
            if second() == 0 {
                0
            } else {
                let r = x % second();
                if r != 0 && (r < 0) != (second() < 0) { r + second() } else { r }
            }
        }
        "Fmod" => x.checked_rem(second()).unwrap_or(0),
        "Min" => x.min(second()),
        "Max" => x.max(second()),
        "BitShiftLeft" => {
            if (0..bits as i128).contains(&second()) {
                x << second()
            } else {
                0
            }
        }
        "BitShiftRight" => {
            if (0..bits as i128).contains(&second()) {
                x >> second()
            } else {
                0
            }
        }
        "BitwiseAnd" => x & second(),
        "BitwiseOr" => x | second(),
        "BitwiseXor" => x ^ second(),
        "Equal" => (x == second()) as i128,
        "Greater" => (x > second()) as i128,
        "GreaterOrEqual" => (x >= second()) as i128,
        "Less" => (x < second()) as i128,
        "LessOrEqual" => (x <= second()) as i128,
        _ => return None,
    })
}
