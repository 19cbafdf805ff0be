// B of gemm.wgsl and gemm_cooperative.wgsl, row after row: a group of 4 columns of a row, `row` from the
// step's first one on; 0 beyond the last.
@group(0) @binding(1) var<storage, read> b: array<Stored4>;

fn load_b(base: u32, at: Place, row: u32, column: u32) -> Held4 {
    let k = at.part * (4u * DEPTH) + row;
    var inside = k < p.b_rows;
    var b_row = k;
    if PIXELS {
        inside = inside && at.ky < p.window.kernel_h;
        b_row += (at.ky * p.window.kernel_w + at.kx) * p.b_rows;
    }
    var value = Held4();
    if inside { value = held4(b[base + b_row * p.b_row + min(column, p.n4 - 1u)]); }
    return value;
}
