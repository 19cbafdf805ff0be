// B of gemm.wgsl as codes of few bits (lib/b_nbits.wgsl): a group of 4 columns of a row, `row` from the
// step's first one on; 0 beyond the last.
@group(0) @binding(1) var<storage, read> b: array<StoredB>;

fn load_b(base: u32, at: Place, row: u32, column: u32) -> Held4 {
    let k = at.part * (4u * DEPTH) + row;
    var value = Held4();
    if k < p.b_rows {
        let start = base + b_column(min(column, p.n4 - 1u), p.b_row);
        value = b_row(b_group(start, k >> 2u, p.b_row), p.b_row, k & 3u);
    }
    return value;
}
