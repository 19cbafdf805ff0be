// recurrent.wgsl with one gate, which is the next state.
// Generated: hidden4, of the direction, the input's part and the state's.

fn make_memory(place: Place) {}
fn made_state(place: Place) -> vec4<f32> {
    return hidden4(place.direction, input4(place, 0u, true), product(place, 0u, false));
}
