// The right-hand matrix of a product as codes of BITS bits (kernels/nbits.rs packs it): panels of 8 groups of
// 4 columns, each panel block after block of BLOCK rows. A block is its chunks of 4 words, 8 of a chunk side
// by side, then the scales of 4 columns, bits of float32, 8 side by side, then with ZEROS the zero points
// likewise. A word has PARTS rows of 4 columns: its byte i is column i, bits BITS · j of it row j.
// `step`: chunks from one panel to the next. The same functions as b_rows.wgsl; the buffer `b` is the
// shader's. level4, generated: the numbers of 4 codes.
alias StoredB = WStored4;

const PARTS: u32 = 8u / BITS;
const CHUNKS: u32 = BLOCK * BITS / 32u;
const RECORD: u32 = 8u * (CHUNKS + select(1u, 2u, ZEROS));

// Where 4 rows lie: their chunk, their block's factors, and which part of the chunk they are.
struct Rows4 { chunk: u32, factors: u32, part: u32 }

fn words4(v: WStored4) -> vec4<u32> {
    return vec4(Wlane_of(v, 0u), Wlane_of(v, 1u), Wlane_of(v, 2u), Wlane_of(v, 3u));
}
fn b_column(column: u32, step: u32) -> u32 { return (column >> 3u) * step + (column & 7u); }
fn b_group(start: u32, group: u32, step: u32) -> Rows4 {
    let within = group % (BLOCK / 4u);
    let record = start + group / (BLOCK / 4u) * RECORD;
    return Rows4(record + 8u * (within / PARTS), record + 8u * CHUNKS, within % PARTS);
}

// The codes of a row from its word.
fn codes4(word: u32, row: u32) -> vec4<u32> {
    let bytes = vec4(word, word >> 8u, word >> 16u, word >> 24u);
    return (bytes >> vec4(BITS * row)) & vec4((1u << BITS) - 1u);
}
fn zero4(at: Rows4) -> vec4<f32> {
    var zero = vec4(ZERO);
    if ZEROS { zero = bitcast<vec4<f32>>(words4(b[at.factors + 8u])); }
    return zero;
}
fn scale4(at: Rows4) -> vec4<f32> { return bitcast<vec4<f32>>(words4(b[at.factors])); }

// A chunk and its block's factors: B_PARTS = PARTS groups of 4 rows.
struct Held { chunk: vec4<u32>, zero: vec4<f32>, scale: vec4<f32> }

fn b_held(at: Rows4, step: u32) -> Held { return Held(words4(b[at.chunk]), zero4(at), scale4(at)); }

// A group of 4 rows of it.
fn rows_of(held: Held, part: u32) -> mat4x4<f32> {
    // The words of the 4 rows, and which row of its word each is.
    var words = held.chunk;
    if BITS == 4u {
        words = select(held.chunk.xxyy, held.chunk.zzww, vec4(part == 1u));
    } else if BITS == 2u {
        words = vec4(held.chunk[part]);
    }
    return mat4x4<f32>(
        (level4(codes4(words.x, 0u)) - held.zero) * held.scale,
        (level4(codes4(words.y, 1u % PARTS)) - held.zero) * held.scale,
        (level4(codes4(words.z, 2u % PARTS)) - held.zero) * held.scale,
        (level4(codes4(words.w, 3u % PARTS)) - held.zero) * held.scale);
}
// The rows in an order of the caller's: `steps` are their numbers, k ^ (the first) (see order4).
fn b_steps(order: vec4<u32>, step: u32) -> vec4<u32> { return order; }
fn b_part(held: Held, part: u32, steps: vec4<u32>) -> mat4x4<f32> {
    let rows = rows_of(held, part);
    let odd = vec4((steps.x & 1u) == 1u);
    let high = vec4((steps.x & 2u) == 2u);
    let first = select(rows[0], rows[1], odd);
    let second = select(rows[1], rows[0], odd);
    let third = select(rows[2], rows[3], odd);
    let fourth = select(rows[3], rows[2], odd);
    return mat4x4<f32>(
        select(first, third, high),
        select(second, fourth, high),
        select(third, first, high),
        select(fourth, second, high));
}
fn b_ordered(at: Rows4, steps: vec4<u32>) -> mat4x4<f32> { return b_part(b_held(at, 0u), at.part, steps); }
fn b_rows(at: Rows4, step: u32) -> mat4x4<f32> { return rows_of(b_held(at, step), at.part); }
fn b_row(at: Rows4, step: u32, row: u32) -> vec4<f32> {
    let within = at.part * 4u + row;
    let codes = codes4(words4(b[at.chunk])[within / PARTS], within % PARTS);
    return (level4(codes) - zero4(at)) * scale4(at);
}
