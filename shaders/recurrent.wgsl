// RNN, GRU and LSTM: the walk over a sequence, each step made of its part of the input and of the last state.
//
// Grid: a workgroup walks the sequence `x` of the batch in direction `y`. An invocation makes 4 units of the
// state, and the next 4 · WIDTH further, and so on. The state lies in workgroup memory, in two places by
// turns: a step reads the whole of one and writes the other.
// Prelude (docs/shaders.md): Stored4, load4, store4; IStored4, Ilane_of of the lengths; index_value and
// outside (src/kernels/indices.rs); WIDTH, invocations of a workgroup; GATES; CAPACITY and
// MEMORY_CAPACITY, elements of a state and of what is kept beside it; TWO_PHASES, whether all of `memory`
// is made by make_memory() before a step's state is; REMEMBERS, whether `memory` is the second state;
// EVERY_STATE, whether the states after each step are stored. From lib/recurrent_….wgsl: made_state(),
// make_memory(). REVERSED_0 and REVERSED_1: the directions.

// Rows: of `part`, `rows4` groups long; of the others, `hidden4` groups. A sequence's part of a step is row
// step · part_step + sequence · part_batch; its states are rows all_… of `states` and last_… of the last ones.
// hidden: units. In `extras` lie biases (the input's and the recurrence's of each direction), peepholes
// from row `peepholes` on, the first states from `first`, and from `first_memory`. given: bits that say
// which of them there are. report: the number by which outside() names this dispatch.
struct Params {
    steps: u32, batch: u32, hidden: u32, hidden4: u32,
    rows4: u32, part_step: u32, part_batch: u32, given: u32,
    all_step: u32, all_batch: u32, all_direction: u32, last_batch: u32,
    last_direction: u32, peepholes: u32, first: u32, first_memory: u32,
    report: u32, spare0: u32, spare1: u32, spare2: u32,
}
// Bits of `given`.
const HAS_BIASES: u32 = 1u;
const HAS_PEEPHOLES: u32 = 2u;
const HAS_FIRST: u32 = 4u;
const HAS_FIRST_MEMORY: u32 = 8u;
const HAS_LENGTHS: u32 = 16u;

@group(0) @binding(0) var<storage, read> part: array<Stored4>;
@group(0) @binding(1) var<storage, read> recurrence: array<Stored4>;
@group(0) @binding(2) var<storage, read> extras: array<Stored4>;
@group(0) @binding(3) var<storage, read> lengths: array<IStored4>;
@group(0) @binding(4) var<storage, read_write> states: array<Stored4>;
@group(0) @binding(5) var<storage, read_write> last: array<Stored4>;
@group(0) @binding(6) var<storage, read_write> last_memory: array<Stored4>;
@group(1) @binding(0) var<uniform> p: Params;

var<workgroup> state: array<f32, 2u * CAPACITY>;
var<workgroup> memory: array<f32, MEMORY_CAPACITY>;

// Where an invocation is: the sequence, the direction, the group of 4 units, the step's row of `part`, and
// the place of the last state.
struct Place { direction: u32, units: u32, row: u32, from_: u32 }

fn state4(at: u32) -> vec4<f32> { return vec4(state[at], state[at + 1u], state[at + 2u], state[at + 3u]); }
fn memory4(units: u32) -> vec4<f32> {
    let at = units * 4u;
    return vec4(memory[at], memory[at + 1u], memory[at + 2u], memory[at + 3u]);
}
fn keep(units: u32, value: vec4<f32>) {
    for (var lane = 0u; lane < 4u; lane++) { memory[units * 4u + lane] = value[lane]; }
}
fn extra4(row: u32, units: u32) -> vec4<f32> { return load4(extras[row * p.hidden4 + units]); }

// The input's part of a gate, with its bias; the recurrence's too, where `both` are added to it.
fn input4(place: Place, gate: u32, both: bool) -> vec4<f32> {
    let first = place.row * p.rows4 * 4u + (place.direction * GATES + gate) * p.hidden;
    var value = vec4(0.0);
    for (var lane = 0u; lane < 4u; lane++) {
        // Units beyond the last repeat it.
        let at = first + min(place.units * 4u + lane, p.hidden - 1u);
        value[lane] = load4(part[at >> 2u])[at & 3u];
    }
    if (p.given & HAS_BIASES) != 0u {
        let row = place.direction * 2u * GATES + gate;
        var bias = extra4(row, place.units);
        if both { bias += extra4(row + GATES, place.units); }
        value += bias;
    }
    return value;
}

// The products of the last state by all gates' weights.
fn products(place: Place) -> array<vec4<f32>, GATES> {
    var sums: array<vec4<f32>, GATES>;
    for (var k = 0u; k < p.hidden; k++) {
        let x = state[place.from_ + k];
        let row = (place.direction * p.hidden + k) * GATES * p.hidden4 + place.units;
        for (var g = 0u; g < GATES; g++) {
            sums[g] += x * load4(recurrence[row + g * p.hidden4]);
        }
    }
    return sums;
}

// The product of the last state, or of `memory`, by one gate's weights.
fn product(place: Place, gate: u32, remembered: bool) -> vec4<f32> {
    var sum = vec4(0.0);
    for (var k = 0u; k < p.hidden; k++) {
        var x = 0.0;
        if remembered { x = memory[k]; } else { x = state[place.from_ + k]; }
        let row = ((place.direction * p.hidden + k) * GATES + gate) * p.hidden4 + place.units;
        sum += x * load4(recurrence[row]);
    }
    return sum;
}

// The steps of a sequence.
fn length_of(sequence: u32) -> u32 {
    if (p.given & HAS_LENGTHS) == 0u { return p.steps; }
    let length = Ilane_of(lengths[sequence >> 2u], sequence & 3u);
    let value = index_value(length);
    if value < 0 || value > i32(p.steps) { outside(0u, length); }
    return u32(clamp(value, 0, i32(p.steps)));
}

fn given4(bit: u32, first: u32, row: u32, units: u32) -> vec4<f32> {
    var value = vec4(0.0);
    if (p.given & bit) != 0u { value = extra4(first + row, units); }
    return value;
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let sequence = group.x;
    let direction = group.y;
    let reversed = select(REVERSED_0, REVERSED_1, direction == 1u);
    let length = length_of(sequence);
    let last_row = sequence * p.last_batch + direction * p.last_direction;

    for (var units = local; units < p.hidden4; units += WIDTH) {
        let value = given4(HAS_FIRST, p.first, last_row, units);
        for (var lane = 0u; lane < 4u; lane++) { state[units * 4u + lane] = value[lane]; }
        if REMEMBERS { keep(units, given4(HAS_FIRST_MEMORY, p.first_memory, last_row, units)); }
    }
    workgroupBarrier();
    var from_ = 0u;
    for (var step = 0u; step < p.steps; step++) {
        let running = step < length;
        let at = select(step, length - 1u - step, reversed && running);
        let row = at * p.part_step + sequence * p.part_batch;
        if TWO_PHASES {
            for (var units = local; units < p.hidden4; units += WIDTH) {
                if running { make_memory(Place(direction, units, row, from_)); }
            }
            workgroupBarrier();
        }
        for (var units = local; units < p.hidden4; units += WIDTH) {
            // A sequence that is over keeps its state, and has zeros behind its end.
            var value = state4(from_ + units * 4u);
            var shown = vec4(0.0);
            if running {
                value = made_state(Place(direction, units, row, from_));
                shown = value;
            }
            for (var lane = 0u; lane < 4u; lane++) {
                state[CAPACITY - from_ + units * 4u + lane] = value[lane];
            }
            if EVERY_STATE {
                let to = at * p.all_step + sequence * p.all_batch + direction * p.all_direction;
                states[to * p.hidden4 + units] = store4(shown);
            }
        }
        workgroupBarrier();
        from_ = CAPACITY - from_;
    }
    for (var units = local; units < p.hidden4; units += WIDTH) {
        last[last_row * p.hidden4 + units] = store4(state4(from_ + units * 4u));
        if REMEMBERS { last_memory[last_row * p.hidden4 + units] = store4(memory4(units)); }
    }
}
