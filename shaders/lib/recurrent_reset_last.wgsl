// recurrent.wgsl as a GRU whose reset gate lies over the product of the state, with that product's bias.
// Generated: hidden4, of the direction, the two parts of the update, the reset and the hidden gate, the bias
// under the reset gate, and the state.

fn make_memory(place: Place) {}
fn made_state(place: Place) -> vec4<f32> {
    let sums = products(place);
    var under = vec4(0.0);
    if (p.given & HAS_BIASES) != 0u {
        under = extra4(place.direction * 2u * GATES + GATES + 2u, place.units);
    }
    return hidden4(
        place.direction,
        input4(place, 0u, true),
        sums[0],
        input4(place, 1u, true),
        sums[1],
        input4(place, 2u, false),
        sums[2],
        under,
        state4(place.from_ + place.units * 4u));
}
