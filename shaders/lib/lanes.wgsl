// Lanes of a group, for elements whose lane is one number.

fn lanes4(v: Stored4) -> vec4<Lane> {
    return vec4<Lane>(lane_of(v, 0u), lane_of(v, 1u), lane_of(v, 2u), lane_of(v, 3u));
}
