// The right-hand matrix of a product packed for a software adapter: panels of 8 groups of 4 columns, each
// panel from its first row to its last, two rows of a group side by side, so that an invocation reads 8
// elements (a Stored8) at once. A group of 4 rows of a panel is thus 16 of them: 8 of rows 0 and 1, and 8 of
// rows 2 and 3. `step`: Stored8s from one panel to the next. The same functions as b_rows.wgsl; the buffer
// `b` is the shader's.
alias StoredB = Stored8;

fn b_column(column: u32, step: u32) -> u32 { return (column >> 3u) * step + (column & 7u); }
fn b_group(start: u32, group: u32, step: u32) -> u32 { return start + 16u * group; }

fn b_rows(at: u32, step: u32) -> mat4x4<f32> {
    let first = b[at];
    let second = b[at + 8u];
    return mat4x4<f32>(low4(first), high4(first), low4(second), high4(second));
}
// Panels are for adapters that take the rows in order.
fn b_steps(order: vec4<u32>, step: u32) -> vec4<u32> { return order; }
fn b_ordered(at: u32, steps: vec4<u32>) -> mat4x4<f32> { return b_rows(at, 0u); }
// What is read at once: B_PARTS groups of 4 rows, here one.
fn b_held(at: u32, step: u32) -> u32 { return at; }
fn b_part(held: u32, part: u32, steps: vec4<u32>) -> mat4x4<f32> { return b_ordered(held, steps); }
fn b_row(at: u32, step: u32, row: u32) -> vec4<f32> {
    let pair = b[at + (row >> 1u) * 8u];
    return select(low4(pair), high4(pair), (row & 1u) == 1u);
}
