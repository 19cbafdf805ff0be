// The transforms of winograd_input.wgsl and winograd_output.wgsl along one axis, F(2, 3): the points 0, ±1,
// ∞.
alias Line = array<vec4<f32>, 4>;
alias Made = array<vec4<f32>, 2>;

fn input_transform(d: Line) -> Line {
    return Line(d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]);
}

fn output_transform(m: Line) -> Made {
    return Made(m[0] + m[1] + m[2], m[1] - m[2] - m[3]);
}
