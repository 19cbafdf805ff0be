// The right-hand matrix of a product as it lies in memory: row after row, groups of 4 columns side by side.
// `step`: groups from one row to the next. b_panels.wgsl has the same functions for packed weights; the
// buffer `b` is the shader's.
alias StoredB = Stored4;

// Where a group of columns begins, and where group `group` of 4 rows of it lies.
fn b_column(column: u32, step: u32) -> u32 { return column; }
fn b_group(start: u32, group: u32, step: u32) -> u32 { return start + 4u * group * step; }

// 4 rows of 4 columns, a row to a column of the matrix; and one of them.
fn b_rows(at: u32, step: u32) -> mat4x4<f32> {
    return mat4x4<f32>(load4(b[at]), load4(b[at + step]), load4(b[at + 2u * step]), load4(b[at + 3u * step]));
}
// 4 rows in an order of the caller's (see order4), and what b_ordered takes of that order.
fn b_steps(order: vec4<u32>, step: u32) -> vec4<u32> { return order * step; }
fn b_ordered(at: u32, steps: vec4<u32>) -> mat4x4<f32> {
    return mat4x4<f32>(
        load4(b[at + steps.x]),
        load4(b[at + steps.y]),
        load4(b[at + steps.z]),
        load4(b[at + steps.w]));
}
// What is read at once: B_PARTS groups of 4 rows, here one.
fn b_held(at: u32, step: u32) -> u32 { return at; }
fn b_part(held: u32, part: u32, steps: vec4<u32>) -> mat4x4<f32> { return b_ordered(held, steps); }
fn b_row(at: u32, step: u32, row: u32) -> vec4<f32> { return load4(b[at + row * step]); }
