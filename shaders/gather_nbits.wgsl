// Rows of a table of codes of BITS bits, as floats: (code − zero point) · scale.
//
// Grid: an invocation makes 4 elements of a row of the output.
// The table (base/packed_weights.rs): its rows are 16 side by side; of each block of BLOCK elements the words
// of codes, the lowest bits first, then the scales, then with ZEROS the zero points, as bits of float32.
// Prelude (docs/shaders.md): Stored4, store4 of the output; WStored4, Wlane_of of the table; IStored4,
// Ilane_of, index_value of the indices; BITS, BLOCK, ZEROS; ZERO, the zero point without them; WIDTH,
// invocations of a workgroup.

// width4: of a row in groups of 4; rows, blocks: of the table; lines: of a block.
struct Params {
    groups: u32, per_row: u32, width4: u32, rows: u32,
    blocks: u32, lines: u32, spare0: u32, spare1: u32,
}

const PER_WORD: u32 = 32u / BITS;

@group(0) @binding(0) var<storage, read> table: array<WStored4>;
@group(0) @binding(1) var<storage, read> indices: array<IStored4>;
@group(0) @binding(2) var<storage, read_write> output: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

fn word_at(at: u32) -> u32 { return Wlane_of(table[at >> 2u], at & 3u); }

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let index = (group.y * p.per_row + group.x) * WIDTH + local;
    if index >= p.groups { return; }
    let made = index / p.width4;
    let first = (index - made * p.width4) * 4u;
    let raw = index_value(Ilane_of(indices[made >> 2u], made & 3u));
    let resolved = select(raw, raw + i32(p.rows), raw < 0);
    var value = vec4(0.0);
    // What lies outside comes to zeros.
    if resolved >= 0 && resolved < i32(p.rows) {
        let row = u32(resolved);
        let base = ((row >> 4u) * p.blocks + first / BLOCK) * p.lines * 16u + (row & 15u);
        let within = first % BLOCK;
        let word = word_at(base + within / PER_WORD * 16u);
        let shifts = (vec4(0u, 1u, 2u, 3u) + vec4(within % PER_WORD)) * vec4(BITS);
        let codes = (vec4(word) >> shifts) & vec4((1u << BITS) - 1u);
        let factors = base + BLOCK / PER_WORD * 16u;
        var zero = ZERO;
        if ZEROS { zero = bitcast<f32>(word_at(factors + 16u)); }
        value = (vec4<f32>(codes) - vec4(zero)) * bitcast<f32>(word_at(factors));
    }
    output[index] = store4(value);
}
