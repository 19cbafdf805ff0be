//! Recurrent networks, a whole sequence in one dispatch: `shaders/recurrent.wgsl`.

use super::Lowering;
use super::block::parameters;
use super::{Kernel, Prelude, indices, to_u32};
use crate::base::{Access, BufferId, Capabilities, ElementFormat, Fact, Layout, Unsupported, View};
use crate::expression::{Pointwise, functions};
use crate::tensor::DType;
use std::fmt::Write;

pub static RECURRENT: Kernel = Kernel {
    stem: "recurrent",
    shader: include_str!("../../shaders/recurrent.wgsl"),
    params: Params::MEMBERS,
    variants,
};

parameters! {
    struct Params {
        steps: u32,
        batch: u32,
        hidden: u32,
        hidden4: u32,
        rows4: u32,
        part_step: u32,
        part_batch: u32,
        given: u32,
        all_step: u32,
        all_batch: u32,
        all_direction: u32,
        last_batch: u32,
        last_direction: u32,
        peepholes: u32,
        first: u32,
        first_memory: u32,
        report: u32,
        spare: [u32; 3],
    }
}

/// Invocations of a workgroup at most.
const WIDTH: usize = 256;
/// The binding of the status.
const STATUS: u32 = 7;
/// Behind a bit for each of [`Given::rows`].
const HAS_LENGTHS: u32 = 16;

/// How a step's state is made of its gates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The one gate is it.
    Plain,
    /// A GRU: update, reset, hidden gate, the reset gate over the state before its product.
    ResetFirst,
    /// The same, the reset gate over the product.
    ResetLast,
    /// An LSTM: input, output, forget, cell gate, and a cell beside the state.
    Lstm,
}

impl Form {
    fn gates(self) -> u32 {
        match self {
            Form::Plain => 1,
            Form::ResetFirst | Form::ResetLast => 3,
            Form::Lstm => 4,
        }
    }
    /// The functions of a step, each with the numbers that the shader gives it.
    fn functions(self) -> &'static [(&'static str, usize)] {
        match self {
            Form::Plain => &[("hidden", 2)],
            Form::ResetFirst => &[("reset", 3), ("hidden", 5)],
            Form::ResetLast => &[("hidden", 8)],
            Form::Lstm => &[("cell", 9), ("hidden", 4)],
        }
    }
    fn shader(self) -> &'static str {
        match self {
            Form::Plain => include_str!("../../shaders/lib/recurrent_plain.wgsl"),
            Form::ResetFirst => include_str!("../../shaders/lib/recurrent_reset_first.wgsl"),
            Form::ResetLast => include_str!("../../shaders/lib/recurrent_reset_last.wgsl"),
            Form::Lstm => include_str!("../../shaders/lib/recurrent_lstm.wgsl"),
        }
    }
}

/// A direction: which way it runs, and the expressions of its steps, in the order of the form's functions.
#[derive(Debug, Clone, PartialEq)]
pub struct Direction {
    pub reverse: bool,
    pub expressions: Vec<Pointwise>,
}

/// Sizes, and how far apart rows lie that belong to neighbouring steps, sequences and directions.
#[derive(Debug, Clone, Copy)]
pub struct Extents {
    pub steps: usize,
    pub batch: usize,
    pub hidden: usize,
    /// Rows of the input's part: from step to step, from sequence to sequence.
    pub part: [usize; 2],
    /// Rows of all states: the same, and from direction to direction.
    pub all: [usize; 3],
    /// Rows of the last states, and of the first: from sequence to sequence, from direction to direction.
    pub last: [usize; 2],
}

/// What a network is given, each as rows of whole groups of 4.
pub struct Given {
    /// The input's products by the gates of all directions, unit by unit: a row for each step of a sequence.
    pub part: View,
    /// `[directions, hidden, gates, hidden]`: the weights of the state, a row of what each unit goes to.
    pub recurrence: BufferId,
    /// Rows of numbers for each unit: biases, peepholes, first states, first cells; the row at which each
    /// begins, where there is any.
    pub extras: Option<BufferId>,
    pub rows: [Option<usize>; 4],
    /// The sequences' lengths, and the number by which a wrong one is reported.
    pub lengths: Option<(View, ElementFormat, Option<u32>)>,
}

/// What a network makes: all states, where they are wanted, the last ones, and an LSTM's last cells.
pub struct Made {
    pub all: Option<BufferId>,
    pub last: BufferId,
    pub memory: Option<BufferId>,
}

/// What of a variant follows from sizes.
#[derive(Debug, Clone, Copy)]
struct Space {
    width: u32,
    capacity: u32,
    every_state: bool,
}

fn prelude(
    storage: ElementFormat,
    lengths: (ElementFormat, bool),
    form: Form,
    directions: &[Direction],
    space: Space,
) -> Result<Prelude, Unsupported> {
    let reversed = |at: usize| directions.get(at).is_some_and(|direction| direction.reverse);
    let memory = if matches!(form, Form::ResetFirst | Form::Lstm) { space.capacity } else { 4 };
    let base = Prelude::new().storage(storage);
    Ok(indices::declare(base, lengths.0, lengths.1.then_some(STATUS))
        .constant("WIDTH", space.width)
        .turns("GATES", form.gates())
        .constant("CAPACITY", space.capacity)
        .constant("MEMORY_CAPACITY", memory)
        .flag("TWO_PHASES", form == Form::ResetFirst)
        .flag("REMEMBERS", form == Form::Lstm)
        .flag("EVERY_STATE", space.every_state)
        .flag("REVERSED_0", reversed(0))
        .flag("REVERSED_1", reversed(1))
        .code(&equations(form, directions)?)
        .code(form.shader()))
}

/// A function of 4 units for each of a step's, which takes the direction's own expression.
fn equations(form: Form, directions: &[Direction]) -> Result<String, Unsupported> {
    let mut names = vec![];
    for (at, (name, _)) in form.functions().iter().enumerate() {
        for (number, direction) in directions.iter().enumerate() {
            let expression = direction
                .expressions
                .get(at)
                .ok_or_else(|| Unsupported::new("a recurrent network without its equations"))?;
            names.push((format!("{name}_{number}"), expression, vec![DType::F32; expression.operands]));
        }
    }
    let all: Vec<(&str, &Pointwise, &[DType])> =
        names.iter().map(|(name, expression, types)| (&**name, *expression, &types[..])).collect();
    let mut text = functions(&all)?;
    for (at, (name, given)) in form.functions().iter().enumerate() {
        let params: String = (0..*given).map(|k| format!(", x{k}: vec4<f32>")).collect();
        // One text for all 4 units and one return: compilers put every call's text in its place, and some take
        // minutes for the equations of 4 units in 2 directions.
        let _ =
            writeln!(text, "fn {name}4(direction: u32{params}) -> vec4<f32> {{\n    var made = vec4(0.0);");
        text += "    for (var unit = 0u; unit < 4u; unit++) {\n";
        for (number, direction) in directions.iter().enumerate() {
            let args: Vec<String> =
                (0..direction.expressions[at].operands).map(|k| format!("x{k}[unit]")).collect();
            let when = format!("if direction == {number}u ");
            let _ = writeln!(text, "        {when}{{ made[unit] = {name}_{number}({}); }}", args.join(", "));
        }
        text += "    }\n    return made;\n}\n";
    }
    Ok(text)
}

fn variants() -> Vec<Prelude> {
    use crate::expression::{Arg, table};
    // Sums of all that a function is given: what equations are made of is pointwise's to test.
    let sum = |count: usize| {
        let mut e = Pointwise { operands: count, steps: vec![] };
        let mut value = Arg::Operand(0);
        for k in 1..count {
            value = e.push(&table::ADD, vec![value, Arg::Operand(k)]);
        }
        e.push(&table::TANH, vec![value]);
        e
    };
    let mut list = vec![];
    for storage in [ElementFormat::F32, ElementFormat::F16, ElementFormat::F16Packed] {
        for form in [Form::Plain, Form::ResetFirst, Form::ResetLast, Form::Lstm] {
            let expressions = form.functions().iter().map(|function| sum(function.1)).collect();
            let direction = Direction { reverse: false, expressions };
            let both = [direction.clone(), Direction { reverse: true, ..direction.clone() }];
            for (directions, lengths, width) in [
                (&both[..], (ElementFormat::I64, true), 64),
                (&both[..1], (ElementFormat::I32, true), 8),
                (&both[1..], (ElementFormat::I32, false), 256),
            ] {
                let space = Space { width, capacity: 64, every_state: width > 8 };
                list.extend(prelude(storage, lengths, form, directions, space));
            }
        }
    }
    list
}

/// Invocations of a workgroup and elements of a state: a software adapter makes vectors of 8 invocations.
fn space(capabilities: &Capabilities, form: Form, hidden: usize) -> Result<Space, Unsupported> {
    let states = if matches!(form, Form::ResetFirst | Form::Lstm) { 3 } else { 2 };
    let capacity = hidden.next_multiple_of(64);
    let bytes = capacity.saturating_mul(states * 4);
    if bytes > capabilities.max_workgroup_bytes as usize {
        return Err(Unsupported::new(format!(
            "a state of {hidden} numbers: {bytes} bytes of workgroup memory, and the adapter has {}",
            capabilities.max_workgroup_bytes
        )));
    }
    let most = WIDTH.min(capabilities.max_invocations as usize);
    let width = if capabilities.software {
        8
    } else {
        hidden.div_ceil(4).next_power_of_two().clamp(32, most.max(32))
    };
    Ok(Space { width: to_u32(width)?, capacity: to_u32(capacity)?, every_state: true })
}

/// Emits the walk of a network over its sequences.
pub fn emit(
    at: &mut dyn Lowering,
    storage: ElementFormat,
    form: Form,
    directions: &[Direction],
    extents: &Extents,
    given: &Given,
    made: &Made,
) -> Result<(), Unsupported> {
    let space = Space { every_state: made.all.is_some(), ..space(&at.capabilities(), form, extents.hidden)? };
    let begins = |at: usize| to_u32(given.rows[at].unwrap_or(0));
    let bits = given.rows.iter().enumerate().map(|(bit, row)| u32::from(row.is_some()) << bit).sum::<u32>();
    let report = given.lengths.as_ref().and_then(|lengths| lengths.2);
    let rows4 = given.part.strides.first().map_or(0, |&stride| stride.unsigned_abs() / 4);
    let params = Params {
        steps: to_u32(extents.steps)?,
        batch: to_u32(extents.batch)?,
        hidden: to_u32(extents.hidden)?,
        hidden4: to_u32(extents.hidden.div_ceil(4))?,
        rows4: to_u32(rows4)?,
        part_step: to_u32(extents.part[0])?,
        part_batch: to_u32(extents.part[1])?,
        given: bits | if given.lengths.is_some() { HAS_LENGTHS } else { 0 },
        all_step: to_u32(extents.all[0])?,
        all_batch: to_u32(extents.all[1])?,
        all_direction: to_u32(extents.all[2])?,
        last_batch: to_u32(extents.last[0])?,
        last_direction: to_u32(extents.last[1])?,
        peepholes: begins(1)?,
        first: begins(2)?,
        first_memory: begins(3)?,
        report: report.unwrap_or(0),
        spare: [0; 3],
    };
    let index = given.lengths.as_ref().map_or(ElementFormat::I32, |lengths| lengths.1);
    let (nothing, no_length) = (at.dummy(storage)?, at.dummy(index)?);
    let mut or_unwanted = |wanted: Option<BufferId>| match wanted {
        Some(buffer) => Ok(buffer),
        None => at.scratch(&Fact::new(DType::F32, [4]), Layout::Dense).map(|view| view.buffer),
    };
    let (all, memory) = (or_unwanted(made.all)?, or_unwanted(made.memory)?);
    let lengths = given.lengths.as_ref().map_or(no_length, |lengths| lengths.0.buffer);
    let bindings = [
        (given.part.buffer, Access::Read),
        (given.recurrence, Access::Read),
        (given.extras.unwrap_or(nothing), Access::Read),
        (lengths, Access::Read),
        (all, Access::Write),
        (made.last, Access::Write),
        (memory, Access::Write),
    ];
    let grid = [to_u32(extents.batch)?, to_u32(directions.len())?, 1];
    let prelude = prelude(storage, (index, report.is_some()), form, directions, space)?;
    at.emit(&RECURRENT, prelude, params, &bindings, grid)
}
