// The transforms of winograd_input.wgsl and winograd_output.wgsl along one axis, F(4, 3): the points 0,
// ±√½, ±√2, ∞, nearer to 1 in magnitude than 0, ±1, ±2, ∞, and the rounding errors with them.
// The factors are √½, √2, √⅛ and √8.
alias Line = array<vec4<f32>, 6>;
alias Made = array<vec4<f32>, 4>;

fn input_transform(d: Line) -> Line {
    let even = d[4] - 2.0 * d[2];
    let odd = 0.70710678 * (d[3] - 2.0 * d[1]);
    let even2 = d[4] - 0.5 * d[2];
    let odd2 = 1.41421356 * (d[3] - 0.5 * d[1]);
    return Line(
        d[0] - 2.5 * d[2] + d[4],
        even + odd,
        even - odd,
        even2 + odd2,
        even2 - odd2,
        d[1] - 2.5 * d[3] + d[5]);
}

fn output_transform(m: Line) -> Made {
    let sum = m[1] + m[2];
    let difference = m[1] - m[2];
    let sum2 = m[3] + m[4];
    let difference2 = m[3] - m[4];
    return Made(
        m[0] + sum + sum2,
        0.70710678 * difference + 1.41421356 * difference2,
        0.5 * sum + 2.0 * sum2,
        0.35355339 * difference + 2.82842712 * difference2 + m[5]);
}
