// Sums and maxima over a group: GROUP invocations of a workgroup, STRIDE apart in their index, each of which
// has a part. Every invocation of the workgroup calls them, and every one gets its group's result. The parts
// meet in workgroup memory, as a tree. group_subgroups.wgsl has the same functions for a group that is a
// whole workgroup, by subgroups.

struct Invocation {
    @builtin(local_invocation_index) local: u32,
}

// An invocation's index in its group, and its group's in the workgroup.
fn group_lane(at: Invocation) -> u32 { return (at.local / STRIDE) % GROUP; }
fn group_index(at: Invocation) -> u32 { return (at.local / (STRIDE * GROUP)) * STRIDE + at.local % STRIDE; }

// The sum of all parts, or the largest.
fn group_sum(value: f32, at: Invocation) -> f32 { return group_tree(value, at, false); }
fn group_max(value: f32, at: Invocation) -> f32 { return group_tree(value, at, true); }
fn group_sum4(value: vec4<f32>, at: Invocation) -> vec4<f32> { return group_tree4(value, at, false); }
fn group_max4(value: vec4<f32>, at: Invocation) -> vec4<f32> { return group_tree4(value, at, true); }

var<workgroup> group_memory: array<f32, WIDTH>;
fn group_tree(value: f32, at: Invocation, largest: bool) -> f32 {
    if GROUP == 1u { return value; }
    let lane = group_lane(at);
    group_memory[at.local] = value;
    for (var width = GROUP / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            let other = group_memory[at.local + width * STRIDE];
            if largest {
                group_memory[at.local] = max(group_memory[at.local], other);
            } else {
                group_memory[at.local] += other;
            }
        }
    }
    workgroupBarrier();
    let all = group_memory[at.local - lane * STRIDE];
    workgroupBarrier();
    return all;
}

var<workgroup> group_memory4: array<vec4<f32>, WIDTH>;
fn group_tree4(value: vec4<f32>, at: Invocation, largest: bool) -> vec4<f32> {
    if GROUP == 1u { return value; }
    let lane = group_lane(at);
    group_memory4[at.local] = value;
    for (var width = GROUP / 2u; width > 0u; width /= 2u) {
        workgroupBarrier();
        if lane < width {
            let other = group_memory4[at.local + width * STRIDE];
            if largest {
                group_memory4[at.local] = max(group_memory4[at.local], other);
            } else {
                group_memory4[at.local] += other;
            }
        }
    }
    workgroupBarrier();
    let all = group_memory4[at.local - lane * STRIDE];
    workgroupBarrier();
    return all;
}
