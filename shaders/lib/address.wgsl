// The address of an element of the dimensions that a reduction keeps, from a shader's parameters. Taken by
// the prelude where a shader calls it; the shader defines p and RANK.

// p.offset + Σ coordinate · stride over the RANK dimensions of p.sizes and p.strides, of which `index`
// counts the elements in row-major order. Dimension d lies in lane d & 3 of vector d >> 2.
fn base_address(index: u32) -> u32 {
    var rest = index;
    var at = p.offset;
    for (var d = RANK; d > 0u; d--) {
        let size = p.sizes[(d - 1u) >> 2u][(d - 1u) & 3u];
        let quotient = rest / size;
        at += (rest - quotient * size) * p.strides[(d - 1u) >> 2u][(d - 1u) & 3u];
        rest = quotient;
    }
    return at;
}

// That of each of the 4 elements from `index` on; those beyond `end` repeat it.
fn base_addresses(index: u32, end: u32) -> vec4<u32> {
    return vec4(
        base_address(index),
        base_address(min(index + 1u, end)),
        base_address(min(index + 2u, end)),
        base_address(min(index + 3u, end)));
}
