// Buffers and parameters of the kernels that go along one axis (softmax, cum_sum, lp_normalize), and where a
// line lies.
//
// A line is a row, whose items are groups of 4; or, with ACROSS (the axis is not the innermost), 4
// neighbouring columns, whose items are theirs at one coordinate of the axis.

// Strides in groups of 4. `count` lines: rows, or (outer, column group) pairs of `columns` column groups;
// `length` elements on the axis; `outer`, `step`: from one outer coordinate, and from one row or one
// coordinate of the axis, to the next.
struct Params {
    count: u32, per_row: u32, length: u32, columns: u32,
    outer: u32, step: u32, spare0: u32, spare1: u32
}

@group(0) @binding(0) var<storage, read> input: array<Stored4>;
@group(0) @binding(1) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

// Item i of a line lies at base + i · step.
struct Line { base: u32, step: u32, items: u32 }

fn line_at(index: u32) -> Line {
    if ACROSS { return Line((index / p.columns) * p.outer + index % p.columns, p.step, p.length); }
    return Line(index * p.step, 1u, (p.length + 3u) / 4u);
}

// Which lanes of item `i` are elements.
fn line_lanes(i: u32) -> vec4<bool> {
    if ACROSS { return vec4(i < p.length); }
    return vec4(0u, 1u, 2u, 3u) + vec4(4u * i) < vec4(p.length);
}
