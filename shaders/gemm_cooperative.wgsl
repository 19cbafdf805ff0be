// Batched matrix product with epilogue, C[b] = finish(A[b] · B[b]), by cooperative matrices, for adapters
// that have units for them (tensor cores): float16 operands, float32 sums. naga's extension
// wgpu_cooperative_matrix.
//
// Grid: a workgroup makes a tile of C; (x, y) number the tiles, z the batches. DOWN × ACROSS subgroups make
// a tile, each ROWS × COLUMNS matrices of SIDE × SIDE, whose elements the adapter lays out in their
// invocations as it likes. THREADS is enough for subgroups of the largest size; where they are smaller and
// so more, several do the same.
//
// As in gemm.wgsl a tile of A and one of B pass through workgroup memory while the next ones are being
// loaded.
// Bindings, parameters, loads: lib/tiles.wgsl. The epilogue: lib/finish.wgsl.
// Prelude (docs/shaders.md): Stored4, load4, store4; Left, Right, Sums, the types of the matrices A, B and
// C; SIDE, DOWN, ACROSS, ROWS, COLUMNS, THREADS; DEPTH, groups of 4 along k of a step; STAGED, matrices that
// a subgroup stores at a time; PIXELS and TAIL, see gemm.wgsl; GENERATED, generated4.

const SUBGROUPS: u32 = DOWN * ACROSS;
const TILE_M: u32 = DOWN * ROWS * SIDE;
const TILE_N: u32 = ACROSS * COLUMNS * SIDE;
const TILE_N4: u32 = TILE_N / 4u;
// Rows of the tiles are 8 elements (16 bytes) longer than what they hold, so that the elements of one column
// lie in different banks of workgroup memory.
const A_STEP: u32 = 4u * DEPTH + 8u;
const B_STEP: u32 = TILE_N + 8u;
const B_TILE: u32 = TILE_M * A_STEP;                // where B's tile begins
const A_LOADS: u32 = TILE_M * DEPTH / THREADS;
const B_LOADS: u32 = 4u * DEPTH * TILE_N4 / THREADS;
const STAGE: u32 = STAGED * SIDE;                   // columns of sums that a subgroup stores at a time

alias Held4 = vec4<f16>;
fn held4(v: Stored4) -> Held4 { return v; }

var<workgroup> tiles: array<f16, B_TILE + 4u * DEPTH * B_STEP>;
var<workgroup> staged: array<f32, SUBGROUPS * SIDE * STAGE>;

// What an invocation has loaded and not yet written to workgroup memory: its part of a step along k.
struct Step { a: array<Held4, A_LOADS>, b: array<Held4, B_LOADS> }

fn fetch(id: u32, rows: ptr<function, array<Row, A_LOADS>>, corner: Corner, at: Place) -> Step {
    var step: Step;
    for (var i = 0u; i < A_LOADS; i++) { step.a[i] = load_a((*rows)[i], at, at.part * DEPTH + id % DEPTH); }
    for (var i = 0u; i < B_LOADS; i++) {
        let item = id + i * THREADS;
        step.b[i] = load_b(corner.b, at, item / TILE_N4, corner.column + item % TILE_N4);
    }
    return step;
}

fn keep(id: u32, step: ptr<function, Step>) {
    for (var i = 0u; i < A_LOADS; i++) {
        let item = id + i * THREADS;
        keep4(item / DEPTH * A_STEP + item % DEPTH * 4u, (*step).a[i]);
    }
    for (var i = 0u; i < B_LOADS; i++) {
        let item = id + i * THREADS;
        keep4(B_TILE + item / TILE_N4 * B_STEP + item % TILE_N4 * 4u, (*step).b[i]);
    }
}

fn keep4(at: u32, v: Held4) {
    tiles[at] = v.x;
    tiles[at + 1u] = v.y;
    tiles[at + 2u] = v.z;
    tiles[at + 3u] = v.w;
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) id: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(subgroup_invocation_id) lane: u32,
    @builtin(subgroup_size) lanes: u32,
) {
    let index = group.y * p.per_row + group.x;
    if index >= p.tiles_m * p.tiles_n { return; }
    let corner = corner_of(index, group.z);

    // WGSL wants matrices multiplied where control flow is the same for the workgroup, so no subgroup may
    // stand aside.
    let unit = subgroup % SUBGROUPS;
    let own_row = unit / ACROSS * ROWS * SIDE;
    let own_column = unit % ACROSS * COLUMNS * SIDE;

    var rows: array<Row, A_LOADS>;
    for (var i = 0u; i < A_LOADS; i++) {
        rows[i] = row_of(corner.row + (id + i * THREADS) / DEPTH, corner.a);
    }
    let parts = (p.groups + DEPTH - 1u) / DEPTH;
    var steps = parts;
    if PIXELS { steps *= p.window.kernel_h * p.window.kernel_w; }

    var sum: array<array<Sums, COLUMNS>, ROWS>;
    for (var r = 0u; r < ROWS; r++) {
        for (var i = 0u; i < COLUMNS; i++) { sum[r][i] = Sums(); }
    }
    var at = Place(0u, 0u, 0u);
    var next = fetch(id, &rows, corner, at);
    keep(id, &next);
    workgroupBarrier();
    for (var step = 1u; step <= steps; step++) {
        if step < steps {
            at = ahead(at, 1u, parts);
            next = fetch(id, &rows, corner, at);
        }
        for (var k = 0u; k < 4u * DEPTH; k += SIDE) {
            var x: array<Left, ROWS>;
            for (var r = 0u; r < ROWS; r++) {
                x[r] = coopLoadT<Left>(&tiles[(own_row + r * SIDE) * A_STEP + k], A_STEP);
            }
            for (var i = 0u; i < COLUMNS; i++) {
                let y = coopLoadT<Right>(&tiles[B_TILE + k * B_STEP + own_column + i * SIDE], B_STEP);
                for (var r = 0u; r < ROWS; r++) { sum[r][i] = coopMultiplyAdd(x[r], y, sum[r][i]); }
            }
        }
        workgroupBarrier();
        keep(id, &next);
        workgroupBarrier();
    }

    // Which invocation holds which element only the adapter knows: through workgroup memory each takes 4
    // neighbours of a row.
    let stage = unit * SIDE * STAGE;
    for (var r = 0u; r < ROWS; r++) {
        for (var i = 0u; i < COLUMNS; i += STAGED) {
            for (var s = 0u; s < STAGED; s++) { coopStoreT(sum[r][i + s], &staged[stage + s * SIDE], STAGE); }
            workgroupBarrier();
            for (var item = lane; item < SIDE * STAGE / 4u; item += lanes) {
                let row = corner.row + own_row + r * SIDE + item / (STAGE / 4u);
                let column = corner.column + (own_column + i * SIDE) / 4u + item % (STAGE / 4u);
                if row < p.m && column < p.n4 {
                    let first = stage + item * 4u;
                    let value =
                        vec4(staged[first], staged[first + 1u], staged[first + 2u], staged[first + 3u]);
                    // The residual is contiguous, whatever C is a part of.
                    let finished = finish(value, bias4(column), (group.z * p.m + row) * p.n4 + column);
                    c[p.c_offset + group.z * p.c_batch + row * p.c_row + column] = store4(finished);
                }
            }
            workgroupBarrier();
        }
    }
}
