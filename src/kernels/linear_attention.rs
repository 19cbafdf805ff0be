//! Attention by a state that keys and values are summed up in: `shaders/linear_attention.wgsl`.

use super::Lowering;
use super::block::parameters;
use super::{Kernel, Prelude, folded_grid, to_u32};
use crate::base::{Access, ElementFormat, Fact, Layout, Unsupported, View};
use crate::tensor::DType;

pub static LINEAR_ATTENTION: Kernel = Kernel {
    stem: "linear_attention",
    shader: include_str!("../../shaders/linear_attention.wgsl"),
    params: Params::MEMBERS,
    variants,
};

const WIDTH: u32 = 32;
/// Multiplications that one invocation may make: a GPU that is busy for seconds is reset by its system.
const MOST_STEPS: usize = 1 << 26;

parameters! {
    struct Params {
        count: u32,
        per_row: u32,
        steps: u32,
        heads: u32,
        kv_heads: u32,
        depth: u32,
        values: u32,
        columns: u32,
        rates: u32,
        elements: u32,
        scale: f32,
        spare: u32,
    }
}

/// The sizes of an application.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    pub batch: usize,
    pub steps: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub depth: usize,
    pub values: usize,
}

/// What is read, all of it dense, and made.
pub struct LinearAttention {
    pub sizes: Sizes,
    pub queries: View,
    pub keys: View,
    pub values: View,
    pub past: Option<View>,
    /// The logarithm of what is kept, and whether there is one for each row of the state.
    pub decay: Option<(View, bool)>,
    /// The rates of an update, so many to a step.
    pub rate: Option<(View, usize)>,
    pub scale: f32,
    /// `[batch, steps, heads, values]`, in rows of 4.
    pub output: View,
    /// `[batch, kv_heads, depth, values]`, dense.
    pub state: Option<View>,
}

#[derive(Debug, Clone, Copy)]
struct Flags {
    decays: bool,
    per_row: bool,
    delta: bool,
    past: bool,
}

fn prelude([storage, states]: [ElementFormat; 2], phase: u32, flags: Flags) -> Prelude {
    let result = if phase == 0 {
        "alias Result4 = Stored4;\nfn result4(v: vec4<f32>) -> Result4 { return store4(v); }\n"
    } else {
        "alias Result4 = SStored4;\n\
         fn result4(v: vec4<f32>) -> Result4 { return Spack4(v.x, v.y, v.z, v.w); }\n"
    };
    Prelude::new()
        .storage(storage)
        .typed("S", states)
        .code(result)
        .flag("DECAYS", flags.decays)
        .flag("PER_ROW", flags.per_row)
        .flag("DELTA", flags.delta)
        .flag("PAST", flags.past)
        .constant("PHASE", phase)
        .constant("WIDTH", WIDTH)
}

fn variants() -> Vec<Prelude> {
    use ElementFormat::{F16, F16Packed, F32};
    let mut list = vec![];
    for storages in [[F32, F32], [F16, F16], [F16Packed, F16Packed], [F16, F32], [F32, F16Packed]] {
        for on in [false, true] {
            let flags = Flags { decays: on, per_row: on, delta: on, past: on };
            list.extend((0..2).map(|phase| prelude(storages, phase, flags)));
        }
    }
    list
}

/// Emits an application; `storages`: of what is read and made, and of states.
pub fn emit(
    at: &mut dyn Lowering,
    storages: [ElementFormat; 2],
    given: &LinearAttention,
) -> Result<(), Unsupported> {
    let Sizes { batch, steps, heads, kv_heads, depth, values } = given.sizes;
    let columns = values.div_ceil(4);
    let groups = batch.saturating_mul(kv_heads);
    let readers = heads / kv_heads.max(1);
    if steps.saturating_mul(depth).saturating_mul(3 + readers) > MOST_STEPS {
        return Err(Unsupported::new(format!(
            "{steps} steps of a state of {depth} rows: too long a walk for one invocation"
        )));
    }
    let rows = groups.saturating_mul(depth);
    let count = to_u32(groups.saturating_mul(columns))?;
    let held = rows.saturating_mul(columns).saturating_mul(4);
    let states = at.scratch(&Fact::new(DType::U32, [held.max(4)]), Layout::Dense)?;
    let elements = rows.saturating_mul(values);
    let max_grid = at.capabilities().max_grid;
    let grid = folded_grid(count.div_ceil(WIDTH) as u64, max_grid);
    let mut params = Params {
        count,
        per_row: grid[0],
        steps: to_u32(steps)?,
        heads: to_u32(heads)?,
        kv_heads: to_u32(kv_heads)?,
        depth: to_u32(depth)?,
        values: to_u32(values)?,
        columns: to_u32(columns)?,
        rates: to_u32(given.rate.as_ref().map_or(1, |rate| rate.1.max(1)))?,
        elements: to_u32(elements)?,
        scale: given.scale,
        spare: 0,
    };
    let nothing = at.dummy(storages[0])?;
    let of = |view: Option<&View>| view.map_or(nothing, |view| view.buffer);
    let flags = Flags {
        decays: given.decay.is_some(),
        per_row: given.decay.as_ref().is_some_and(|decay| decay.1),
        delta: given.rate.is_some(),
        past: given.past.is_some(),
    };
    let mut bindings = [
        (given.queries.buffer, Access::Read),
        (given.keys.buffer, Access::Read),
        (given.values.buffer, Access::Read),
        (of(given.past.as_ref()), Access::Read),
        (of(given.decay.as_ref().map(|decay| &decay.0)), Access::Read),
        (of(given.rate.as_ref().map(|rate| &rate.0)), Access::Read),
        (states.buffer, Access::Write),
        (given.output.buffer, Access::Write),
    ];
    at.emit(&LINEAR_ATTENTION, prelude(storages, 0, flags), params, &bindings, grid)?;
    if let Some(state) = &given.state {
        params.count = to_u32(elements.div_ceil(4))?;
        let grid = folded_grid(params.count.div_ceil(WIDTH) as u64, max_grid);
        params.per_row = grid[0];
        bindings[7] = (state.buffer, Access::Write);
        at.emit(&LINEAR_ATTENTION, prelude(storages, 1, flags), params, &bindings, grid)?;
    }
    Ok(())
}
