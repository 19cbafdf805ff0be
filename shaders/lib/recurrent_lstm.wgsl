// recurrent.wgsl as an LSTM: `memory` is the cell. The gates are input, output, forget and cell.
// Generated: cell4, of the direction, the two parts of the input, forget and cell gates, the cell, and the
// input's and forget's peepholes; hidden4, of the direction, the output gate's two parts, the new cell, and
// the output's peephole.

// The weights by which a gate sees the cell.
fn peephole4(place: Place, gate: u32) -> vec4<f32> {
    return given4(HAS_PEEPHOLES, p.peepholes, place.direction * 3u + gate, place.units);
}
fn make_memory(place: Place) {}
fn made_state(place: Place) -> vec4<f32> {
    let sums = products(place);
    let cell = cell4(
        place.direction,
        input4(place, 0u, true),
        sums[0],
        input4(place, 2u, true),
        sums[2],
        input4(place, 3u, true),
        sums[3],
        memory4(place.units),
        peephole4(place, 0u),
        peephole4(place, 2u));
    keep(place.units, cell);
    return hidden4(place.direction, input4(place, 1u, true), sums[1], cell, peephole4(place, 1u));
}
