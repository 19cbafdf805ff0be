// recurrent.wgsl as a GRU whose reset gate lies over the state before its product: `memory` is what it lets
// through.
// Generated: reset4, of the direction, the reset gate's two parts and the state; hidden4, of the
// direction, the two parts of the update gate, of the hidden gate, and the state.

fn make_memory(place: Place) {
    let old = state4(place.from_ + place.units * 4u);
    keep(place.units, reset4(place.direction, input4(place, 1u, true), product(place, 1u, false), old));
}
fn made_state(place: Place) -> vec4<f32> {
    return hidden4(
        place.direction,
        input4(place, 0u, true),
        product(place, 0u, false),
        input4(place, 2u, true),
        product(place, 2u, true),
        state4(place.from_ + place.units * 4u));
}
