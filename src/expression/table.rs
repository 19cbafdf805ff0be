//! The one table of elementwise functions: what each computes on the CPU and in WGSL.
//!
//! The CPU's and the shader's texts stand side by side so that a reader can hold one against the other.
//! Floats are written once for float32 and float64; integers once for 64 bits, which hold what comes of types of
//! at most 32, and for 128, and wrapped to their own width afterwards.
#![allow(clippy::excessive_precision, clippy::approx_constant)] // one text serves float32 and float64

use crate::simd::math::{Special, to_bf16, to_f16};
use crate::simd::{Loop, vectorised};
use crate::tensor::{Boolean, Real, round_to_odd};

/// A function over slices, one for each argument; a slice of one element repeats.
pub type Map<T, R> = fn(&[&[T]], &mut [R]);
/// A function whose result has its arguments' type.
pub type Apply<T> = Map<T, T>;

/// How a float part is computed.
pub struct Float {
    pub f32: Apply<f32>,
    pub f64: Apply<f64>,
    /// An expression in the row's parameters. Empty: no GPU form.
    pub wgsl: &'static str,
}

/// How an integer part is computed: in twice the bits of its arguments, which are exact for all but powers and
/// products of three, and those wrap.
pub struct Integer {
    /// On arguments of at most 32 bits.
    pub narrow: Apply<i64>,
    /// On arguments of at most 64.
    pub wide: Apply<i128>,
    /// Also of the types below 32 bits, which are wrapped to their width afterwards. Empty: no GPU form.
    pub i32: &'static str,
    pub u32: &'static str,
    pub i64: &'static str,
    pub u64: &'static str,
}

/// A predicate.
pub struct Test {
    pub f32: Map<f32, Boolean>,
    pub f64: Map<f64, Boolean>,
    pub integer: Option<IntegerTest>,
    /// Of floats and of integers up to 32 bits.
    pub wgsl: &'static str,
    /// Empty: no GPU form.
    pub i64: &'static str,
    pub u64: &'static str,
}

/// A predicate of integers: on arguments of at most 32 bits, and of at most 64.
pub struct IntegerTest {
    pub narrow: Map<i64, Boolean>,
    pub wide: Map<i128, Boolean>,
}

/// A function of truth values.
pub struct Logic {
    pub cpu: Apply<Boolean>,
    pub wgsl: &'static str,
}

/// The type of a row's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Result_ {
    Same,
    Bool,
    /// The step's `to`.
    Target,
}

/// A row: a function by ONNX's name where it has one.
pub struct Row {
    pub name: &'static str,
    /// The parameters' names in the WGSL texts.
    pub params: &'static str,
    pub float: Option<Float>,
    pub integer: Option<Integer>,
    pub test: Option<Test>,
    pub logic: Option<Logic>,
    pub result: Result_,
    /// Which argument gives the type.
    pub typed_by: usize,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}
impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// One text, compiled for float32 and for float64 and looped over slices, so that the loop vectorises.
macro_rules! float {
    (|$x:ident| $body:expr, $wgsl:expr) => {
        float!(one, [$x], $body, $wgsl)
    };
    (|$x:ident, $y:ident| $body:expr, $wgsl:expr) => {
        float!(two, [$x $y], $body, $wgsl)
    };
    (|$x:ident, $y:ident, $z:ident| $body:expr, $wgsl:expr) => {
        float!(three, [$x $y $z], $body, $wgsl)
    };
    ($over:ident, [$($x:ident)*], $body:expr, $wgsl:expr) => {{
        #[inline(always)]
        fn single($($x: f32),*) -> f32 {
            $body
        }
        #[inline(always)]
        fn double($($x: f64),*) -> f64 {
            $body
        }
        Some(Float { f32: |args, out| $over(args, out, single), f64: |args, out| $over(args, out, double), wgsl: $wgsl })
    }};
}

/// The same for integers of 64 and of 128 bits, where `Int` is the type.
macro_rules! integer {
    (|$x:ident| $body:expr, $($wgsl:literal),*) => { integer!(one, [$x], $body, $($wgsl),*) };
    (|$x:ident, $y:ident| $body:expr, $($wgsl:literal),*) => { integer!(two, [$x $y], $body, $($wgsl),*) };
    (|$x:ident, $y:ident, $z:ident| $body:expr, $($wgsl:literal),*) => {
        integer!(three, [$x $y $z], $body, $($wgsl),*)
    };
    // A text for int32 and one for int64, which serve the unsigned types too.
    ($over:ident, $args:tt, $body:expr, $i32:literal, $i64:literal) => {
        integer!($over, $args, $body, $i32, $i32, $i64, $i64)
    };
    // int32, uint32, int64, uint64
    ($over:ident, [$($x:ident)*], $body:expr, $i32:literal, $u32:literal, $i64:literal, $u64:literal) => {{
        mod narrow {
            type Int = i64;
            #[inline(always)]
            pub fn of($($x: Int),*) -> Int {
                $body
            }
        }
        mod wide {
            type Int = i128;
            #[inline(always)]
            pub fn of($($x: Int),*) -> Int {
                $body
            }
        }
        Some(Integer {
            narrow: |args, out| $over(args, out, narrow::of),
            wide: |args, out| plain::$over(args, out, wide::of),
            i32: $i32, u32: $u32, i64: $i64, u64: $u64,
        })
    }};
}

/// A predicate of two arguments of any type of number: its texts for WGSL's own numbers, int64 and uint64.
macro_rules! compared {
    (|$x:ident, $y:ident| $body:expr, $wgsl:literal, $i64:literal, $u64:literal) => {
        Some(Test {
            f32: |args, out| two(args, out, |$x: f32, $y: f32| Boolean::from($body)),
            f64: |args, out| two(args, out, |$x: f64, $y: f64| Boolean::from($body)),
            integer: Some(IntegerTest {
                narrow: |args, out| two(args, out, |$x: i64, $y: i64| Boolean::from($body)),
                wide: |args, out| plain::two(args, out, |$x: i128, $y: i128| Boolean::from($body)),
            }),
            wgsl: $wgsl,
            i64: $i64,
            u64: $u64,
        })
    };
}

/// A function of two truth values.
macro_rules! logic {
    (|$x:ident, $y:ident| $body:expr, $wgsl:literal) => {
        Some(Logic {
            cpu: |args, out| {
                two(args, out, |x: Boolean, y: Boolean| {
                    let ($x, $y) = (x.get(), y.get());
                    Boolean::from($body)
                })
            },
            wgsl: $wgsl,
        })
    };
}

/// a^b, wrapping, of 64 or 128 bits; a negative exponent gives 0 but for ±1, as integer division would.
macro_rules! wrapping_pow {
    ($a:expr, $b:expr) => {
        match ($a, $b) {
            (_, 0) | (1, _) => 1,
            (-1, b) => 1 - 2 * (b & 1),
            (_, b) if b < 0 => 0,
            // By squaring, so that any exponent is exact modulo the width.
            (a, b) => {
                let (mut power, mut rest, mut result): (Int, Int, Int) = (a, b, 1);
                while rest > 0 {
                    if rest & 1 == 1 {
                        result = result.wrapping_mul(power);
                    }
                    power = power.wrapping_mul(power);
                    rest >>= 1;
                }
                result
            }
        }
    };
}

/// A function over one, two or three slices; one element repeats.
///
/// Loops are written as such: `for_each` is a call of its own, which isn't always inlined into the form for
/// wider vectors.
struct Over<'a, T, R, F, const N: usize> {
    args: [&'a [T]; N],
    out: &'a mut [R],
    f: F,
}

impl<T: Copy, R: Copy, F: Fn(T) -> R> Loop for Over<'_, T, R, F, 1> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        let [x] = self.args;
        match x {
            [x] => self.out.fill((self.f)(*x)),
            _ => {
                for (to, &x) in self.out.iter_mut().zip(x) {
                    *to = (self.f)(x);
                }
            }
        }
    }
}
impl<T: Copy, R: Copy, F: Fn(T, T) -> R> Loop for Over<'_, T, R, F, 2> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        let [x, y] = self.args;
        if let ([x], [y]) = (x, y) {
            return self.out.fill((self.f)(*x, *y));
        }
        let pairs = self.out.iter_mut();
        match (x, y) {
            (_, [y]) => {
                for (to, &x) in pairs.zip(x) {
                    *to = (self.f)(x, *y);
                }
            }
            ([x], _) => {
                for (to, &y) in pairs.zip(y) {
                    *to = (self.f)(*x, y);
                }
            }
            _ => {
                for (to, (&x, &y)) in pairs.zip(x.iter().zip(y)) {
                    *to = (self.f)(x, y);
                }
            }
        }
    }
}
impl<T: Copy, R: Copy, F: Fn(T, T, T) -> R> Loop for Over<'_, T, R, F, 3> {
    type Output = ();
    #[inline(always)]
    fn run(self) {
        let at = |slice: &[T], index: usize| if slice.len() == 1 { slice[0] } else { slice[index] };
        let [x, y, z] = self.args;
        match (y, z) {
            ([y], [z]) if x.len() > 1 => {
                for (to, &x) in self.out.iter_mut().zip(x) {
                    *to = (self.f)(x, *y, *z);
                }
            }
            _ => {
                for (index, to) in self.out.iter_mut().enumerate() {
                    *to = (self.f)(at(x, index), at(y, index), at(z, index));
                }
            }
        }
    }
}

fn one<T: Copy, R: Copy>(args: &[&[T]], out: &mut [R], f: impl Fn(T) -> R) {
    vectorised(Over { args: [args[0]], out, f });
}
fn two<T: Copy, R: Copy>(args: &[&[T]], out: &mut [R], f: impl Fn(T, T) -> R) {
    vectorised(Over { args: [args[0], args[1]], out, f });
}
fn three<T: Copy, R: Copy>(args: &[&[T]], out: &mut [R], f: impl Fn(T, T, T) -> R) {
    vectorised(Over { args: [args[0], args[1], args[2]], out, f });
}

/// The same of types that no vector holds.
mod plain {
    use super::{Loop, Over};

    pub fn one<T: Copy, R: Copy>(args: &[&[T]], out: &mut [R], f: impl Fn(T) -> R) {
        Over { args: [args[0]], out, f }.run();
    }
    pub fn two<T: Copy, R: Copy>(args: &[&[T]], out: &mut [R], f: impl Fn(T, T) -> R) {
        Over { args: [args[0], args[1]], out, f }.run();
    }
    pub fn three<T: Copy, R: Copy>(args: &[&[T]], out: &mut [R], f: impl Fn(T, T, T) -> R) {
        Over { args: [args[0], args[1], args[2]], out, f }.run();
    }
}

const EMPTY: Row = Row {
    name: "",
    params: "x",
    float: None,
    integer: None,
    test: None,
    logic: None,
    result: Result_::Same,
    typed_by: 0,
};
const UNARY: Row = Row { params: "x", ..EMPTY };
const BINARY: Row = Row { params: "a,b", ..EMPTY };
const COMPARE: Row = Row { params: "a,b", result: Result_::Bool, ..EMPTY };
const WITH_ONE: Row = Row { params: "x,a", ..EMPTY };
const WITH_TWO: Row = Row { params: "x,a,b", ..EMPTY };

macro_rules! rows {
    ($($constant:ident = $row:expr;)*) => {
        $(pub static $constant: Row = $row;)*
        /// Every row.
        pub static ROWS: &[&Row] = &[$(&$constant),*];
    };
}

rows! {
    // --- unary ---
    ABS = Row { name: "Abs", float: float!(|x| x.abs(), "abs(x)"), integer: integer!(|x| x.abs(), "abs(x)", "x", "abs64(x)", "x"), ..UNARY };
    NEG = Row { name: "Neg", float: float!(|x| -x, "-x"), integer: integer!(|x| -x, "-x", "0u - x", "neg64(x)", "neg64(x)"), ..UNARY };
    SIGN = Row { name: "Sign", float: float!(|x| if x > 0.0 { 1.0 } else if x < 0.0 { -1.0 } else { x }, "select(sign(x), x, is_nan(x))"), integer: integer!(|x| x.signum(), "sign(x)", "min(x, 1u)", "sign64(x)", "vec2<u32>(min(x.x | x.y, 1u), 0u)"), ..UNARY };
    ACOS = Row { name: "Acos", float: float!(|x| x.acos(), "acos_(x)"), ..UNARY };
    ACOSH = Row { name: "Acosh", float: float!(|x| if x > 1e9 { x.ln() + 0.693_147_180_559_945_3 } else { x.acosh() }, "acosh_(x)"), ..UNARY };
    ASIN = Row { name: "Asin", float: float!(|x| x.asin(), "asin_(x)"), ..UNARY };
    ASINH = Row { name: "Asinh", float: float!(|x| if x.abs() > 1e9 { (x.abs().ln() + 0.693_147_180_559_945_3).copysign(x) } else { x.asinh() }, "asinh_(x)"), ..UNARY };
    ATAN = Row { name: "Atan", float: float!(|x| x.atan(), "atan_(x)"), ..UNARY };
    ATANH = Row { name: "Atanh", float: float!(|x| x.atanh(), "atanh_(x)"), ..UNARY };
    CEIL = Row { name: "Ceil", float: float!(|x| x.ceil(), "ceil(x)"), ..UNARY };
    COS = Row { name: "Cos", float: float!(|x| x.cos(), "cos_(x)"), ..UNARY };
    COSH = Row { name: "Cosh", float: float!(|x| x.cosh(), "cosh_(x)"), ..UNARY };
    ERF = Row { name: "Erf", float: float!(|x| x.erf_(), "erf(x)"), ..UNARY };
    EXP = Row { name: "Exp", float: float!(|x| x.exp_(), "exp_(x)"), ..UNARY };
    FLOOR = Row { name: "Floor", float: float!(|x| x.floor(), "floor(x)"), ..UNARY };
    LOG = Row { name: "Log", float: float!(|x| x.ln(), "log_(x)"), ..UNARY };
    RECIPROCAL = Row { name: "Reciprocal", float: float!(|x| 1.0 / x, "div_(1.0, x)"), ..UNARY };
    RELU = Row { name: "Relu", float: float!(|x| if x < 0.0 { 0.0 } else { x }, "select(x, 0.0, x < 0.0)"), integer: integer!(|x| x.max(0), "max(x, 0)", "x", "select(x, vec2(0u), lt64(x, vec2(0u)))", "x"), ..UNARY };
    ROUND = Row { name: "Round", float: float!(|x| x.round_ties_even(), "round(x)"), ..UNARY };
    SIGMOID = Row { name: "Sigmoid", float: float!(|x| 1.0 / (-x).one_plus_exp_(), "sigmoid(x)"), ..UNARY };
    SIN = Row { name: "Sin", float: float!(|x| x.sin(), "sin_(x)"), ..UNARY };
    SINH = Row { name: "Sinh", float: float!(|x| x.sinh(), "sinh_(x)"), ..UNARY };
    SOFTPLUS = Row { name: "Softplus", float: float!(|x| if x > 0.0 { x + (-x).exp_().ln_1p() } else { x.exp_().ln_1p() }, "softplus(x)"), ..UNARY };
    SOFTSIGN = Row { name: "Softsign", float: float!(|x| x / (1.0 + x.abs()), "div_(x, 1.0 + abs(x))"), ..UNARY };
    SQRT = Row { name: "Sqrt", float: float!(|x| x.sqrt(), "sqrt_(x)"), ..UNARY };
    TAN = Row { name: "Tan", float: float!(|x| x.tan(), "sin_(x) / cos_(x)"), ..UNARY };
    TANH = Row { name: "Tanh", float: float!(|x| x.tanh_(), "tanh_(x)"), ..UNARY };
    MISH = Row { name: "Mish", float: float!(|x| x * (if x > 0.0 { x + (-x).exp_().ln_1p() } else { x.exp_().ln_1p() }).tanh_(), "x * tanh_(softplus(x))"), ..UNARY };
    HARD_SWISH = Row { name: "HardSwish", float: float!(|x| x * (x / 6.0 + 0.5).clamp(0.0, 1.0), "x * unit_clamp(x / 6.0 + 0.5)"), ..UNARY };
    GELU = Row { name: "Gelu", float: float!(|x| 0.5 * x * (1.0 + (x * 0.707_106_781_186_547_6).erf_()), "0.5 * x * (1.0 + erf(x * 0.70710678))"), ..UNARY };
    GELU_TANH = Row { name: "GeluTanh", float: float!(|x| 0.5 * x * (1.0 + (0.7978845608028654 * (x + 0.044715 * x * x * x)).tanh_()), "0.5 * x * (1.0 + tanh_(0.79788456 * (x + 0.044715 * x * x * x)))"), ..UNARY };
    BITWISE_NOT = Row { name: "BitwiseNot", integer: integer!(|x| !x, "~x", "~x"), ..UNARY };
    NOT = Row { name: "Not", logic: Some(Logic { cpu: |args, out| one(args, out, |x: Boolean| Boolean::from(!x.get())), wgsl: "!x" }), result: Result_::Bool, ..UNARY };
    IS_NAN = Row { name: "IsNaN", test: Some(Test { f32: |args, out| one(args, out, |x: f32| Boolean::from(x.is_nan())), f64: |args, out| one(args, out, |x: f64| Boolean::from(x.is_nan())), integer: None, wgsl: "is_nan(x)", i64: "", u64: "" }), result: Result_::Bool, ..UNARY };

    // --- unary with attributes, passed as constants ---
    IS_INF = Row { name: "IsInf", test: Some(Test { f32: |args, out| three(args, out, is_inf), f64: |args, out| three(args, out, is_inf), integer: None, wgsl: "is_inf(x, a, b)", i64: "", u64: "" }), result: Result_::Bool, ..WITH_TWO };
    LEAKY_RELU = Row { name: "LeakyRelu", float: float!(|x, a| if x < 0.0 { a * x } else { x }, "select(x, a * x, x < 0.0)"), ..WITH_ONE };
    ELU = Row { name: "Elu", float: float!(|x, a| if x < 0.0 { a * x.exp_m1() } else { x }, "select(x, a * expm1(x), x < 0.0)"), ..WITH_ONE };
    CELU = Row { name: "Celu", float: float!(|x, a| if x < 0.0 { a * (x / a).exp_m1() } else { x }, "select(x, a * expm1(x / a), x < 0.0)"), ..WITH_ONE };
    SELU = Row { name: "Selu", float: float!(|x, a, b| if x > 0.0 { b * x } else { b * a * x.exp_m1() }, "select(b * a * expm1(x), b * x, x > 0.0)"), ..WITH_TWO };
    THRESHOLDED_RELU = Row { name: "ThresholdedRelu", float: float!(|x, a| if x > a { x } else { 0.0 }, "select(0.0, x, x > a)"), ..WITH_ONE };
    HARD_SIGMOID = Row { name: "HardSigmoid", float: float!(|x, a, b| (a * x + b).clamp(0.0, 1.0), "unit_clamp(a * x + b)"), ..WITH_TWO };
    SHRINK = Row { name: "Shrink", float: float!(|x, a, b| if x < -a { x + b } else if x > a { x - b } else { 0.0 }, "select(select(0.0, x - b, x > a), x + b, x < -a)"), integer: integer!(|x, a, b| if x < -a { x + b } else if x > a { x - b } else { 0 }, "select(select(0, x - b, x > a), x + b, x < -a)", "select(0u, x - b, x > a)", "select(select(vec2(0u), add64(x, neg64(b)), lt64(a, x)), add64(x, b), lt64(x, neg64(a)))", "select(vec2(0u), add64(x, neg64(b)), ltu64(a, x))"), ..WITH_TWO };
    SWISH = Row { name: "Swish", float: float!(|x, a| x / (-a * x).one_plus_exp_(), "x * sigmoid(a * x)"), ..WITH_ONE };
    SILU = Row { name: "Silu", float: float!(|x| x / (-x).one_plus_exp_(), "x * sigmoid(x)"), ..UNARY };

    // --- binary ---
    ADD = Row { name: "Add", float: float!(|a, b| a + b, "a + b"), integer: integer!(|a, b| a + b, "a + b", "add64(a, b)"), ..BINARY };
    SUB = Row { name: "Sub", float: float!(|a, b| a - b, "a - b"), integer: integer!(|a, b| a - b, "a - b", "add64(a, neg64(b))"), ..BINARY };
    MUL = Row { name: "Mul", float: float!(|a, b| a * b, "a * b"), integer: integer!(|a, b| a.wrapping_mul(b), "a * b", "mul64(a, b)"), ..BINARY };
    // A division by zero has no value in ONNX; 0 is what no platform traps on.
    DIV = Row { name: "Div", float: float!(|a, b| a / b, "div_(a, b)"), integer: integer!(|a, b| a.checked_div(b).unwrap_or(0), "div32(a, b)", "divu32(a, b)", "div64(a, b)", "divu64(a, b).xy"), ..BINARY };
    POW = Row { name: "Pow", float: float!(|a, b| a.powf(b), "pow_(a, b)"), integer: integer!(|a, b| wrapping_pow!(a, b), "pow32(a, b)", "powu32(a, b)", "pow64(a, b)", "powu64(a, b)"), ..BINARY };
    // Mod with fmod = 0 takes the sign of the divisor, with fmod = 1 that of the dividend.
    MOD = Row { name: "Mod", float: float!(|a, b| floor_mod(a, b, a % b), "floor_mod(a, b)"), integer: integer!(|a, b| if b == 0 { 0 } else { ((a % b) + b) % b }, "mod32(a, b)", "remu32(a, b)", "mod64(a, b)", "divu64(a, b).zw"), ..BINARY };
    FMOD = Row { name: "Fmod", float: float!(|a, b| a % b, "fmod(a, b)"), integer: integer!(|a, b| a.checked_rem(b).unwrap_or(0), "rem32(a, b)", "remu32(a, b)", "rem64(a, b)", "divu64(a, b).zw"), ..BINARY };
    MIN = Row { name: "Min", float: float!(|a, b| if a < b || a.is_nan() { a } else { b }, "select(b, a, a < b || is_nan(a))"), integer: integer!(|a, b| a.min(b), "min(a, b)", "min(a, b)", "select(b, a, lt64(a, b))", "select(b, a, ltu64(a, b))"), ..BINARY };
    MAX = Row { name: "Max", float: float!(|a, b| if a > b || a.is_nan() { a } else { b }, "select(b, a, a > b || is_nan(a))"), integer: integer!(|a, b| a.max(b), "max(a, b)", "max(a, b)", "select(a, b, lt64(a, b))", "select(a, b, ltu64(a, b))"), ..BINARY };
    PRELU = Row { name: "PRelu", float: float!(|x, a| if x < 0.0 { a * x } else { x }, "select(x, a * x, x < 0.0)"), integer: integer!(|x, a| if x < 0 { x.wrapping_mul(a) } else { x }, "select(x, a * x, x < 0)", "x", "select(x, mul64(a, x), lt64(x, vec2(0u)))", "x"), ..WITH_ONE };
    BIT_SHIFT_LEFT = Row { name: "BitShiftLeft", integer: integer!(|a, b| a.checked_shl(u32::try_from(b).unwrap_or(u32::MAX)).unwrap_or(0), "select(a << (bitcast<u32>(b) & 31u), 0, bitcast<u32>(b) > 31u)", "select(a << (b & 31u), 0u, b > 31u)", "shl64(a, b)", "shl64(a, b)"), ..BINARY };
    BIT_SHIFT_RIGHT = Row { name: "BitShiftRight", integer: integer!(|a, b| a >> u32::try_from(b).map_or(Int::BITS - 1, |by| by.min(Int::BITS - 1)), "a >> min(bitcast<u32>(b), 31u)", "select(a >> (b & 31u), 0u, b > 31u)", "shr64(a, b)", "shru64(a, b)"), ..BINARY };
    BITWISE_AND = Row { name: "BitwiseAnd", integer: integer!(|a, b| a & b, "a & b", "a & b"), ..BINARY };
    BITWISE_OR = Row { name: "BitwiseOr", integer: integer!(|a, b| a | b, "a | b", "a | b"), ..BINARY };
    BITWISE_XOR = Row { name: "BitwiseXor", integer: integer!(|a, b| a ^ b, "a ^ b", "a ^ b"), ..BINARY };
    AND = Row { name: "And", logic: logic!(|a, b| a && b, "a && b"), ..COMPARE };
    OR = Row { name: "Or", logic: logic!(|a, b| a || b, "a || b"), ..COMPARE };
    XOR = Row { name: "Xor", logic: logic!(|a, b| a != b, "a != b"), ..COMPARE };
    EQUAL = Row { name: "Equal", test: compared!(|a, b| a == b, "a == b", "all(a == b)", "all(a == b)"), logic: logic!(|a, b| a == b, "a == b"), ..COMPARE };
    GREATER = Row { name: "Greater", test: compared!(|a, b| a > b, "a > b", "lt64(b, a)", "ltu64(b, a)"), ..COMPARE };
    GREATER_OR_EQUAL = Row { name: "GreaterOrEqual", test: compared!(|a, b| a >= b, "a >= b", "!lt64(a, b)", "!ltu64(a, b)"), ..COMPARE };
    LESS = Row { name: "Less", test: compared!(|a, b| a < b, "a < b", "lt64(a, b)", "ltu64(a, b)"), ..COMPARE };
    LESS_OR_EQUAL = Row { name: "LessOrEqual", test: compared!(|a, b| a <= b, "a <= b", "!lt64(b, a)", "!ltu64(b, a)"), ..COMPARE };

    // --- of types of their own: the CPU and the emitter know these three ---
    WHERE = Row { name: "Where", params: "c,a,b", typed_by: 1, ..EMPTY };
    CAST = Row { name: "Cast", result: Result_::Target, ..UNARY };
    IDENTITY = Row { name: "Identity", ..UNARY };
}

/// A rounding of float32, and of float64 through what rounds to the same.
macro_rules! rounded {
    ($round:ident) => {
        Some(Float {
            f32: |args, out| one(args, out, $round),
            f64: |args, out| one(args, out, |x| $round(round_to_odd(x)).into()),
            wgsl: "",
        })
    };
}

/// A float32 rounded to what 16 bits hold. On the CPU alone, and so apart from the other rows: there 16-bit
/// floats are held in float32.
pub static TO_F16: Row = Row { name: "ToF16", float: rounded!(to_f16), ..UNARY };
pub static TO_BF16: Row = Row { name: "ToBF16", float: rounded!(to_bf16), ..UNARY };

/// Python's %: the remainder with the sign of the divisor; an infinite divisor leaves what has its sign and
/// takes the rest in.
fn floor_mod<T: Real>(_: T, b: T, remainder: T) -> T {
    let zero = T::default();
    if remainder == zero || (remainder < zero) == (b < zero) { remainder } else { remainder + b }
}

/// Whether x is an infinity of a sign that is asked for: a for the negative one, b for the positive.
fn is_inf<T: Real>(x: T, a: T, b: T) -> Boolean {
    let (x, zero) = (x.f64(), T::default());
    Boolean::from(x == f64::INFINITY && b != zero || x == f64::NEG_INFINITY && a != zero)
}
