// to = from: what memory gives. Prelude: Word, 16 bytes.
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
