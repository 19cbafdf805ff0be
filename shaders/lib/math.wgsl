// Float functions that WGSL lacks, or whose built-in forms drivers get wrong at the edges. The prelude takes
// from here what a variant calls (src/kernels/prelude/library.rs: a constant is one line, a function's
// closing brace begins one). Coefficients of polynomials are those of the source that is named beside them.

// float32's largest number. In hexadecimal: decimals of few digits round to it in one compiler and beyond it
// in another.
const LARGEST: f32 = 0x1.fffffep+127;

// Parts of a float32's bits; those of infinity, of a NaN, and of the lowest normal number, which is the bit
// that leads a significand.
const F32_SIGN: u32 = 0x80000000u;
const F32_MAGNITUDE: u32 = 0x7fffffffu;
const F32_FRACTION: u32 = 0x007fffffu;
const F32_INFINITY: u32 = 0x7f800000u;
const F32_NAN: u32 = 0x7fc00000u;
const F32_LEADING_BIT: u32 = 0x00800000u;

// By bits: drivers may assume that NaN and infinity don't occur.
fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & F32_MAGNITUDE) > F32_INFINITY; }
fn is_nan4(x: vec4<f32>) -> vec4<bool> {
    return (bitcast<vec4<u32>>(x) & vec4(F32_MAGNITUDE)) > vec4(F32_INFINITY);
}
// Whether x is an infinity that is asked for: `negative`, `positive` are ONNX's flags.
fn is_inf(x: f32, negative: f32, positive: f32) -> bool {
    let bits = bitcast<u32>(x);
    return (bits == F32_INFINITY && positive != 0.0) || (bits == 0xff800000u && negative != 0.0);
}
// A function, because a constant expression may not be infinite.
var<private> bits_mask: u32 = 0xffffffffu;
fn from_bits(bits: u32) -> f32 { return bitcast<f32>(bits & bits_mask); }

// x with what float16 rounds to an infinity made one: 65,520 lies half-way between its largest number and
// the next.
fn within_f16(x: f32) -> f32 {
    return select(x, from_bits((bitcast<u32>(x) & F32_SIGN) | F32_INFINITY), abs(x) >= 65520.0);
}

fn within_f16_4(x: vec4<f32>) -> vec4<f32> {
    let signs = bitcast<vec4<u32>>(x) & vec4(0x80000000u);
    let infinities = bitcast<vec4<f32>>(signs | vec4(0x7f800000u & bits_mask));
    return select(x, infinities, abs(x) >= vec4(65520.0));
}

// a / b. WGSL leaves open what a division by 0 gives, and one by more than 2¹²⁶.
fn div_(a: f32, b: f32) -> f32 {
    if b == 0.0 {
        let sign = (bitcast<u32>(a) ^ bitcast<u32>(b)) & F32_SIGN;
        return select(from_bits(sign | F32_INFINITY), from_bits(F32_NAN), a == 0.0 || is_nan(a));
    }
    let shrink = select(1.0, 0.25, abs(b) > 0x1p+125);
    return (a * shrink) / (b * shrink);
}

// √x: NaN below 0; ±0, ∞ and NaN are themselves.
fn sqrt_(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    // Positive and finite.
    if bits - 1u < 0x7f7fffffu { return sqrt(x); }
    return select(from_bits(F32_NAN), x, (bits << 1u) == 0u || bits == F32_INFINITY || is_nan(x));
}

// x held between 0 and 1; NaN passes, as it may not through clamp().
fn unit_clamp(x: f32) -> f32 { return select(select(x, 0.0, x < 0.0), 1.0, x > 1.0); }

// e^x within 2 units of roundoff: WGSL lets the built-in lose 3 + 2·|x| ulp, and drivers use the leave. x =
// k·ln 2 + r, ln 2 in two parts (1.44… is its inverse); a polynomial of r (Cephes' coefficients); 2^k in
// two factors, since k may be 128: 127 and 23 are the bias and the place of a float32's exponent. From
// −104 down it is 0, beyond 88.72 infinite.
fn exp_(x: f32) -> f32 {
    let k = round(clamp(x, -104.0, 104.0) * 1.44269504);
    let r = (clamp(x, -104.0, 104.0) - k * 0.693359375) + k * 2.12194440e-4;
    let p = 0.5 + r * (0.16666665459 + r * (0.041665795894 + r * (0.0083334519073
        + r * (0.0013981999507 + r * 0.00019875691500))));
    let half = i32(k) >> 1u;
    let scaled = (1.0 + (r + r * r * p))
        * bitcast<f32>((half + 127) << 23u)
        * bitcast<f32>((i32(k) - half + 127) << 23u);
    return select(select(scaled, from_bits(F32_INFINITY), x > 88.7228394), x, is_nan(x));
}
fn exp4(v: vec4<f32>) -> vec4<f32> { return vec4(exp_(v.x), exp_(v.y), exp_(v.z), exp_(v.w)); }
fn sigmoid(x: f32) -> f32 { return 1.0 / (1.0 + exp_(-x)); }

// e^x of what isn't above 0, by the built-in within its range and 0 below it; NaN passes.
fn exp_below4(x: vec4<f32>) -> vec4<f32> {
    let far = x < vec4(-104.0);
    return select(select(exp(select(x, vec4(0.0), far)), vec4(0.0), far), x, is_nan4(x));
}
fn exp_below(x: f32) -> f32 {
    let far = x < -104.0;
    return select(select(exp(select(x, 0.0, far)), 0.0, far), x, is_nan(x));
}
// Weights over their sum: NaN where all of them are 0.
fn shares4(x: vec4<f32>, sum: vec4<f32>) -> vec4<f32> {
    return select(x / sum, vec4(from_bits(F32_NAN)), sum == vec4(0.0));
}

// ln x: WGSL leaves log open at 0, below it, and of what isn't finite. A number below the smallest normal is
// an integer times 2⁻¹⁴⁹, and drivers may take it for 0: 103.28 is 149 · ln 2.
fn log_(x: f32) -> f32 {
    let bits = bitcast<u32>(x);
    if bits - 1u < F32_FRACTION { return log(f32(bits)) - 103.278929903; }
    if (bits & F32_MAGNITUDE) == 0u { return from_bits(0xff800000u); }
    if bits >= F32_INFINITY { return select(from_bits(F32_NAN), x, bits == F32_INFINITY); }
    return log(x);
}
fn log4(v: vec4<f32>) -> vec4<f32> { return vec4(log_(v.x), log_(v.y), log_(v.z), log_(v.w)); }

// e^x − 1 without cancellation near 0, where it is its Taylor series.
fn expm1(x: f32) -> f32 {
    let series = x * (1.0 + x * (0.5 + x * (0.16666667 + x * (0.041666668
        + x * (0.008333334 + x * 0.0013888889)))));
    return select(exp_(x) - 1.0, series, abs(x) < 0.35);
}

// ln(1 + x) without cancellation near 0 (Kahan's correction).
fn log1p(x: f32) -> f32 {
    let u = 1.0 + x;
    return select(log_(u) * (x / (u - 1.0)), x, (u == 1.0) || x == from_bits(F32_INFINITY));
}
fn softplus(x: f32) -> f32 { return max(x, 0.0) + log1p(exp_(-abs(x))); }

// Drivers overflow in tanh beyond ±15 and lose digits near 0.
fn tanh_(x: f32) -> f32 {
    let e = expm1(-2.0 * min(abs(x), 20.0));
    return select(sign(x) * (-e / (2.0 + e)), x, is_nan(x));
}
// e^x / 2 for large x, where e^x itself is beyond float32.
fn half_exp(x: f32) -> f32 {
    let root = exp_(0.5 * x);
    return 0.5 * root * root;
}
fn sinh_(x: f32) -> f32 {
    let z = abs(x);
    let e = expm1(min(z, 80.0));
    let value = sign(x) * select(0.5 * (e + e / (e + 1.0)), half_exp(z), z > 80.0);
    return select(value, x, is_nan(x));
}
fn cosh_(x: f32) -> f32 {
    let z = abs(x);
    return select(0.5 * (exp_(z) + exp_(-z)), half_exp(z), z > 80.0);
}
// Squares beyond float32 are left out: from 10⁹ on asinh x is ln 2x, that is ln x + 0.693….
fn asinh_(x: f32) -> f32 {
    let z = abs(x);
    let w = min(z, 1e9);
    let value = sign(x) * select(log1p(w + w * w / (1.0 + sqrt(w * w + 1.0))), log_(z) + 0.69314718, z > 1e9);
    return select(value, x, is_nan(x));
}
fn acosh_(x: f32) -> f32 {
    if x > 1e9 { return log_(x) + 0.69314718; }
    return log_(x + sqrt_(x - 1.0) * sqrt_(x + 1.0));
}
fn atanh_(x: f32) -> f32 { return 0.5 * log1p(div_(2.0 * x, 1.0 - x)); }

// asin and acos by one polynomial for |x| ≤ 1/2 and the half-angle identity beyond (Cephes' coefficients).
// 1.57… is π/2.
fn asin_core(z: f32) -> f32 {
    let t = z * z;
    return z + z * t * (0.16666752422 + t * (0.074953002686 + t * (0.045470025998
        + t * (0.024181311049 + t * 0.042163199048))));
}
fn asin_(x: f32) -> f32 {
    let z = abs(x);
    let far = 1.5707963268 - 2.0 * asin_core(sqrt(max(0.0, 0.5 * (1.0 - z))));
    let value = sign(x) * select(asin_core(z), far, z > 0.5);
    return select(value, from_bits(F32_NAN), z > 1.0);
}
fn acos_(x: f32) -> f32 {
    let z = abs(x);
    let far = 2.0 * asin_core(sqrt(max(0.0, 0.5 * (1.0 - z))));
    let value = select(
        1.5707963268 - sign(x) * asin_core(z),
        select(far, 3.1415926536 - far, x < 0.0),
        z > 0.5);
    return select(value, from_bits(F32_NAN), z > 1.0);
}
// By a polynomial up to tan π/8 (Cephes' coefficients), and identities up to tan 3π/8 and beyond.
fn atan_(x: f32) -> f32 {
    let z = abs(x);
    let big = z > 2.414213562373095;
    let mid = z > 0.4142135623730950 && !big;
    let base = select(select(0.0, 0.7853981634, mid), 1.5707963268, big);
    let r = select(select(z, (z - 1.0) / (z + 1.0), mid), -1.0 / z, big);
    let t = r * r;
    return sign(x) * (base + r + r * t * (-0.333329491539 + t * (0.199777106478
        + t * (-0.138776856032 + t * 0.0805374449538))));
}

// sin and cos after reduction by π/2: Vulkan promises only 2⁻¹¹ absolute for the built-ins. `shift`: 1
// for the cosine.
struct Turn { quadrant: u32, rest: f32 }

// By π/2 in three parts, exact as long as the multiple has few bits; 0.636… is 2/π.
fn turn_near(x: f32) -> Turn {
    let k = round(x * 0.63661977);
    return Turn(u32(i32(k)), ((x - k * 1.5703125) - k * 4.837512969970703125e-4) - k * 7.549789948768648e-8);
}

// 2/π in binary behind a word of zeros: its bit j, of weight 2⁻ʲ, is the table's bit 31 + j. A constant
// is one line, whatever its length.
const TWO_OVER_PI = array<u32, 8>(0u, 0xa2f9836eu, 0x4e441529u, 0xfc2757d1u, 0xf534ddc0u, 0xdb629599u, 0x3c439041u, 0xfe5163abu);
fn word_of_pi(at: u32) -> u32 {
    var table = TWO_OVER_PI;
    let word = at >> 5u;
    let by = at & 31u;
    if by == 0u { return table[word]; }
    return (table[word] << by) | (table[min(word + 1u, 7u)] >> (32u - by));
}

// Payne and Hanek's reduction (1983) of |x| = m · 2ᵉ ≥ 2¹³: of m · 2ᵉ · 2/π only what lies below
// 4 counts, so 96 bits of 2/π from bit e − 1 on.
fn turn_far(x: f32) -> Turn {
    let bits = bitcast<u32>(x);
    let m = (bits & F32_FRACTION) | F32_LEADING_BIT;
    // Bit e − 1 is the table's bit 30 + e, and e is the exponent's field less 150.
    let at = ((bits >> 23u) & 255u) - 120u;
    let low = mul64(vec2<u32>(m, 0u), vec2<u32>(word_of_pi(at + 64u), 0u));
    let middle = add64(mul64(vec2<u32>(m, 0u), vec2<u32>(word_of_pi(at + 32u), 0u)), vec2<u32>(low.y, 0u));
    let high = m * word_of_pi(at) + middle.y;
    // Quarter turns in the two highest bits; the rest as a fraction of one, brought to [−1/2, 1/2).
    let up = (high >> 29u) & 1u;
    let quadrant = (high >> 30u) + up;
    let part = f32(bitcast<i32>((high << 2u) | (middle.x >> 30u))) * 0x1p-32 + f32(middle.x << 2u) * 0x1p-64;
    let rest = part * 1.5707963268;
    if (bits >> 31u) == 1u { return Turn(0u - quadrant, -rest); }
    return Turn(quadrant, rest);
}

fn sincos_part(x: f32, shift: u32) -> f32 {
    if (bitcast<u32>(x) & F32_MAGNITUDE) >= F32_INFINITY { return from_bits(F32_NAN); }
    var turn = turn_near(clamp(x, -8192.0, 8192.0));
    if abs(x) > 8192.0 { turn = turn_far(x); }
    let r = turn.rest;
    let t = r * r;
    let s = r + r * t * (-0.16666654611 + t * (0.0083321608736 - t * 0.00019515295891));
    let c = 1.0 - 0.5 * t + t * t * (0.041666645683 + t * (-0.0013887316255 + t * 0.000024433157118));
    let quadrant = (turn.quadrant + shift) & 3u;
    let value = select(s, c, (quadrant & 1u) == 1u);
    return select(value, -value, quadrant >= 2u);
}
fn sin_(x: f32) -> f32 { return sincos_part(x, 0u); }
fn cos_(x: f32) -> f32 { return sincos_part(x, 1u); }

// erf: the Taylor series for |x| < 1, and 1 − e^(−x²)·P(1/(1 + x/2)) beyond (Numerical Recipes' erfc,
// 1.2e-7).
fn erf(x: f32) -> f32 {
    let z = abs(x);
    let t = z * z;
    let near = z * (1.1283791671 + t * (-0.3761263890 + t * (0.1128379167 + t * (-0.0268661706
        + t * (0.0052239776 + t * (-0.0008548327 + t * (0.0001205533 + t * (-0.0000149257
        + t * 0.0000016462))))))));
    let u = 1.0 / (1.0 + 0.5 * z);
    let p = -1.26551223 + u * (1.00002368 + u * (0.37409196 + u * (0.09678418 + u * (-0.18628806
        + u * (0.27886807 + u * (-1.13520398 + u * (1.48851587 + u * (-0.82215223 + u * 0.17087277))))))));
    let far = 1.0 - u * exp_(-t + p);
    let value = sign(x) * select(near, far, z > 1.0);
    return select(value, x, is_nan(x));
}

// x^y as IEEE 754 has it, for any sign of x: WGSL's pow is defined for positive x alone. Small whole
// exponents multiply. 2²⁴ = 16,777,216: from there on every float32 is an even integer.
fn pow_(x: f32, y: f32) -> f32 {
    if y == 0.0 || x == 1.0 { return 1.0; }
    if is_nan(x) || is_nan(y) { return from_bits(F32_NAN); }
    if y == 1.0 { return x; }
    if y == 2.0 { return x * x; }
    if y == 3.0 { return x * x * x; }
    if y == -1.0 { return div_(1.0, x); }
    let size = abs(x);
    let whole = floor(y) == y;
    let odd = whole && abs(y) < 16777216.0 && (i32(clamp(y, -16777216.0, 16777216.0)) & 1) != 0;
    let sign = select(0u, bitcast<u32>(x) & F32_SIGN, odd);
    let infinite = is_inf(y, 1.0, 1.0);
    if infinite && size == 1.0 { return 1.0; }
    if infinite || size == 0.0 || is_inf(x, 1.0, 1.0) {
        return from_bits(sign | select(0u, F32_INFINITY, (size > 1.0) == (y > 0.0)));
    }
    if x < 0.0 && !whole { return from_bits(F32_NAN); }
    if y == 0.5 { return sqrt(x); }
    // Below the smallest normal number x is an integer times 2⁻¹⁴⁹.
    let tiny = bitcast<u32>(size) < F32_LEADING_BIT;
    let exponent = y * select(log2(size), log2(f32(bitcast<u32>(size))) - 149.0, tiny);
    if exponent >= 128.0 { return from_bits(sign | F32_INFINITY); }
    if exponent < -150.0 { return from_bits(sign); }
    return from_bits(bitcast<u32>(select(pow(size, y), exp2(exponent), tiny)) | sign);
}

// The remainder of a / b with the sign of a, exact: the significand of a is reduced bit by bit. NaN of an
// infinite a and by 0; an infinite b leaves a as it is.
fn fmod(a: f32, b: f32) -> f32 {
    let sign = bitcast<u32>(a) & F32_SIGN;
    let x = bitcast<u32>(a) & F32_MAGNITUDE;
    let y = bitcast<u32>(b) & F32_MAGNITUDE;
    if x >= F32_INFINITY || y > F32_INFINITY || y == 0u { return from_bits(F32_NAN); }
    if x < y { return a; }
    // Below the smallest normal numbers the exponent stays 1 and the leading bit is not there.
    let least = max(y >> 23u, 1u);
    let divisor = select(y, (y & F32_FRACTION) | F32_LEADING_BIT, y >= F32_LEADING_BIT);
    var rest = select(x, (x & F32_FRACTION) | F32_LEADING_BIT, x >= F32_LEADING_BIT);
    for (var exponent = max(x >> 23u, 1u); exponent > least; exponent--) {
        if rest >= divisor { rest -= divisor; }
        rest <<= 1u;
    }
    if rest >= divisor { rest -= divisor; }
    if rest == 0u { return from_bits(sign); }
    // The leading bit goes back to where it belongs, as far as the exponent allows.
    let up = min(countLeadingZeros(rest) - 8u, least - 1u);
    rest <<= up;
    let exponent = select(0u, least - up, rest >= F32_LEADING_BIT);
    return from_bits(sign | (exponent << 23u) | (rest & F32_FRACTION));
}
fn floor_mod(a: f32, b: f32) -> f32 {
    let r = fmod(a, b);
    return select(r + b, r, is_nan(r) || r == 0.0 || ((r < 0.0) == (b < 0.0)));
}

// Integer division by 0 is undefined in ONNX; 0 keeps every platform alive. Remainders are made from
// quotients: what % gives for negative operands is not the same everywhere.
fn div32(a: i32, b: i32) -> i32 { return select(a / select(b, 1, b == 0), 0, b == 0); }
fn rem32(a: i32, b: i32) -> i32 { return select(a - b * div32(a, b), 0, b == 0); }
fn mod32(a: i32, b: i32) -> i32 {
    let r = rem32(a, b);
    return select(r + b, r, r == 0 || ((r < 0) == (b < 0)));
}
fn divu32(a: u32, b: u32) -> u32 { return select(a / select(b, 1u, b == 0u), 0u, b == 0u); }
fn remu32(a: u32, b: u32) -> u32 { return select(a - b * divu32(a, b), 0u, b == 0u); }

// a^b by squaring, wrapping; a negative exponent gives 0 but for ±1, as integer division would.
fn powu32(a: u32, b: u32) -> u32 {
    var result = 1u;
    var power = a;
    for (var rest = b; rest > 0u; rest >>= 1u) {
        if (rest & 1u) == 1u { result *= power; }
        power *= power;
    }
    return result;
}
fn pow32(a: i32, b: i32) -> i32 {
    if b < 0 && a != 1 && a != -1 { return 0; }
    return bitcast<i32>(powu32(bitcast<u32>(a), bitcast<u32>(b)));
}

// Rounded to nearest even: drivers round the upper half of uint32 twice. The bit that a shift drops joins the
// last one.
fn u32_to_f32(x: u32) -> f32 {
    return select(f32(bitcast<i32>(x)), f32(bitcast<i32>((x >> 1u) | (x & 1u))) * 2.0, x >= 0x80000000u);
}
// A float outside the range saturates; NaN is 0.
fn f32_to_i32(x: f32) -> i32 {
    if is_nan(x) { return 0; }
    if x >= 2147483648.0 { return 2147483647; }
    if x <= -2147483648.0 { return bitcast<i32>(0x80000000u); }
    return i32(x);
}
fn f32_to_u32(x: f32) -> u32 {
    if is_nan(x) || x <= 0.0 { return 0u; }
    if x >= 4294967296.0 { return 0xffffffffu; }
    return u32(x);
}
