// What reduction_group.wgsl has, for a group that is a whole workgroup, by subgroups: each makes its part by
// one instruction, and the parts meet in workgroup memory. Nothing is known of a subgroup's size, nor of
// which invocations it has.

struct Invocation {
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_invocation_id) subgroup_lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
}

fn group_lane(at: Invocation) -> u32 { return at.local; }
fn group_index(at: Invocation) -> u32 { return 0u; }

// Whether an invocation writes its subgroup's part: the first that is active.
fn group_speaker(at: Invocation) -> bool {
    return at.subgroup_lane == subgroupBroadcastFirst(at.subgroup_lane);
}

// The sum of all parts, or the largest.
fn group_sum(value: f32, at: Invocation) -> f32 { return group_parts(subgroupAdd(value), at, false); }
fn group_max(value: f32, at: Invocation) -> f32 { return group_parts(subgroupMax(value), at, true); }
fn group_sum4(value: vec4<f32>, at: Invocation) -> vec4<f32> {
    return group_parts4(subgroupAdd(value), at, false);
}
fn group_max4(value: vec4<f32>, at: Invocation) -> vec4<f32> {
    return group_parts4(subgroupMax(value), at, true);
}

// That of the subgroups' parts.
var<workgroup> group_memory: array<f32, WIDTH>;
fn group_parts(part: f32, at: Invocation, largest: bool) -> f32 {
    if group_speaker(at) { group_memory[at.subgroup] = part; }
    workgroupBarrier();
    var all = group_memory[0];
    for (var k = 1u; k < at.subgroups; k++) {
        if largest { all = max(all, group_memory[k]); } else { all += group_memory[k]; }
    }
    workgroupBarrier();
    return all;
}

var<workgroup> group_memory4: array<vec4<f32>, WIDTH>;
fn group_parts4(part: vec4<f32>, at: Invocation, largest: bool) -> vec4<f32> {
    if group_speaker(at) { group_memory4[at.subgroup] = part; }
    workgroupBarrier();
    var all = group_memory4[0];
    for (var k = 1u; k < at.subgroups; k++) {
        if largest { all = max(all, group_memory4[k]); } else { all += group_memory4[k]; }
    }
    workgroupBarrier();
    return all;
}
