// Sums and maxima over a team: TEAM invocations of a workgroup, STRIDE apart in their index, each of which
// has a part. Every invocation of the workgroup calls them, and every one gets its team's result. The parts
// meet in workgroup memory, as a tree. team_subgroups.wgsl has the same functions for a team that is a whole
// workgroup, by subgroups.

struct Member {
    @builtin(local_invocation_index) local: u32,
}

// An invocation's index in its team, and its team's in the workgroup.
fn team_lane(at: Member) -> u32 { return (at.local / STRIDE) % TEAM; }
fn team_index(at: Member) -> u32 { return (at.local / (STRIDE * TEAM)) * STRIDE + at.local % STRIDE; }

// The sum of all parts, or the largest.
fn team_sum(value: f32, at: Member) -> f32 { return team_tree(value, at, false); }
fn team_max(value: f32, at: Member) -> f32 { return team_tree(value, at, true); }
fn team_sum4(value: vec4<f32>, at: Member) -> vec4<f32> { return team_tree4(value, at, false); }
fn team_max4(value: vec4<f32>, at: Member) -> vec4<f32> { return team_tree4(value, at, true); }

var<workgroup> team_memory: array<f32, WIDTH>;
fn team_tree(value: f32, at: Member, largest: bool) -> f32 {
    if TEAM == 1u { return value; }
    let lane = team_lane(at);
    team_memory[at.local] = value;
    for (var width = TEAM / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            let other = team_memory[at.local + width * STRIDE];
            if largest {
                team_memory[at.local] = max(team_memory[at.local], other);
            } else {
                team_memory[at.local] += other;
            }
        }
    }
    workgroupBarrier();
    let all = team_memory[at.local - lane * STRIDE];
    workgroupBarrier();
    return all;
}

var<workgroup> team_memory4: array<vec4<f32>, WIDTH>;
fn team_tree4(value: vec4<f32>, at: Member, largest: bool) -> vec4<f32> {
    if TEAM == 1u { return value; }
    let lane = team_lane(at);
    team_memory4[at.local] = value;
    for (var width = TEAM / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            let other = team_memory4[at.local + width * STRIDE];
            if largest {
                team_memory4[at.local] = max(team_memory4[at.local], other);
            } else {
                team_memory4[at.local] += other;
            }
        }
    }
    workgroupBarrier();
    let all = team_memory4[at.local - lane * STRIDE];
    workgroupBarrier();
    return all;
}
