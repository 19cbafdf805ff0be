// Copies one buffer to another, to measure the bandwidth of memory (src/gpu/measure.rs).
//
// Grid: an invocation copies one Word; a workgroup has 256.
// Prelude (docs/shaders.md): Word, a type of 16 bytes.

// count: words of the buffers; row: workgroups in a row of the grid.
struct Params { count: u32, row: u32 }

@group(0) @binding(0) var<storage, read> source: array<Word>;
@group(0) @binding(1) var<storage, read_write> result: array<Word>;
@group(1) @binding(0) var<uniform> p: Params;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let at = (group.y * p.row + group.x) * 256u + local;
    if at < p.count {
        result[at] = source[at];
    }
}
