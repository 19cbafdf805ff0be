// For the kernels of lines.wgsl: the sum over a line's items, of which an invocation of a group has a part;
// over the lanes too where a line is a row.
fn line_sum(x: vec4<f32>, at: Invocation) -> vec4<f32> {
    if ACROSS { return group_sum4(x, at); }
    return vec4(group_sum((x.x + x.y) + (x.z + x.w), at));
}
