// What team.wgsl has, for a team that is a whole workgroup, by subgroups: each makes its part by one
// instruction, and the parts meet in workgroup memory. Nothing is known of a subgroup's size, nor of which
// invocations it has.

struct Member {
    @builtin(local_invocation_index) local: u32,
    @builtin(subgroup_invocation_id) subgroup_lane: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) subgroups: u32,
}

fn team_lane(at: Member) -> u32 { return at.local; }
fn team_index(at: Member) -> u32 { return 0u; }

// Whether an invocation writes its subgroup's part: the first that is active.
fn team_speaker(at: Member) -> bool { return at.subgroup_lane == subgroupBroadcastFirst(at.subgroup_lane); }

// The sum of all parts, or the largest.
fn team_sum(value: f32, at: Member) -> f32 { return team_parts(subgroupAdd(value), at, false); }
fn team_max(value: f32, at: Member) -> f32 { return team_parts(subgroupMax(value), at, true); }
fn team_sum4(value: vec4<f32>, at: Member) -> vec4<f32> { return team_parts4(subgroupAdd(value), at, false); }
fn team_max4(value: vec4<f32>, at: Member) -> vec4<f32> { return team_parts4(subgroupMax(value), at, true); }

// That of the subgroups' parts.
var<workgroup> team_memory: array<f32, WIDTH>;
fn team_parts(part: f32, at: Member, largest: bool) -> f32 {
    if team_speaker(at) { team_memory[at.subgroup] = part; }
    workgroupBarrier();
    var all = team_memory[0];
    for (var k = 1u; k < at.subgroups; k++) {
        if largest { all = max(all, team_memory[k]); } else { all += team_memory[k]; }
    }
    workgroupBarrier();
    return all;
}

var<workgroup> team_memory4: array<vec4<f32>, WIDTH>;
fn team_parts4(part: vec4<f32>, at: Member, largest: bool) -> vec4<f32> {
    if team_speaker(at) { team_memory4[at.subgroup] = part; }
    workgroupBarrier();
    var all = team_memory4[0];
    for (var k = 1u; k < at.subgroups; k++) {
        if largest { all = max(all, team_memory4[k]); } else { all += team_memory4[k]; }
    }
    workgroupBarrier();
    return all;
}
