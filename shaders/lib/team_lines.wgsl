// For the kernels of lines.wgsl: the sum over a line's items, of which an invocation of a team has a part;
// over the lanes too where a line is a row.
fn line_sum(x: vec4<f32>, at: Member) -> vec4<f32> {
    if ACROSS { return team_sum4(x, at); }
    return vec4(team_sum((x.x + x.y) + (x.z + x.w), at));
}
