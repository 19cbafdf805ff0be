//! Convolutions of channels by themselves over what lies before: `shaders/causal_conv.wgsl`.

use super::Lowering;
use super::block::parameters;
use super::{Kernel, Prelude, folded_grid, to_u32};
use crate::base::{Access, ElementFormat, Unsupported, View};

pub static CAUSAL_CONV: Kernel = Kernel {
    stem: "causal_conv",
    shader: include_str!("../../shaders/causal_conv.wgsl"),
    params: Params::MEMBERS,
    variants,
};

const WIDTH: u32 = 64;

parameters! {
    struct Params {
        groups: u32,
        per_row: u32,
        row_groups: u32,
        length: u32,
        channels: u32,
        taps: u32,
        spare: [u32; 2],
    }
}

/// What is convolved, all stored alike.
pub struct CausalConv {
    /// `[n, c, length]` in rows of 4, and where the results go, likewise.
    pub input: View,
    pub output: View,
    /// `[c, 1, taps]`, `[c]` and `[n, c, taps − 1]`, dense.
    pub weights: View,
    pub bias: Option<View>,
    pub past: Option<View>,
    /// A result x becomes x · sigmoid(x).
    pub silu: bool,
}

fn prelude(storage: ElementFormat, [biased, past, silu]: [bool; 3]) -> Prelude {
    Prelude::new()
        .storage(storage)
        .flag("BIASED", biased)
        .flag("PAST", past)
        .flag("SILU", silu)
        .constant("WIDTH", WIDTH)
}

fn variants() -> Vec<Prelude> {
    [ElementFormat::F32, ElementFormat::F16, ElementFormat::F16Packed]
        .into_iter()
        .flat_map(|storage| [[false; 3], [true; 3]].map(|flags| prelude(storage, flags)))
        .collect()
}

/// Emits the convolution.
pub fn emit(at: &mut dyn Lowering, storage: ElementFormat, conv: &CausalConv) -> Result<(), Unsupported> {
    let (&[samples, channels, length], Some(&taps)) = (&conv.input.shape[..], conv.weights.shape.last())
    else {
        return Err(Unsupported::new("a signal of another rank"));
    };
    let row_groups = length.div_ceil(4);
    let groups = to_u32(samples.saturating_mul(channels).saturating_mul(row_groups))?;
    let grid = folded_grid(groups.div_ceil(WIDTH) as u64, at.capabilities().max_grid);
    let params = Params {
        groups,
        per_row: grid[0],
        row_groups: to_u32(row_groups)?,
        length: to_u32(length)?,
        channels: to_u32(channels)?,
        taps: to_u32(taps)?,
        spare: [0; 2],
    };
    let nothing = at.dummy(storage)?;
    let of = |view: &Option<View>| view.as_ref().map_or(nothing, |view| view.buffer);
    let bindings = [
        (conv.input.buffer, Access::Read),
        (conv.weights.buffer, Access::Read),
        (of(&conv.bias), Access::Read),
        (of(&conv.past), Access::Read),
        (conv.output.buffer, Access::Write),
    ];
    let flags = [conv.bias.is_some(), conv.past.is_some(), conv.silu];
    at.emit(&CAUSAL_CONV, prelude(storage, flags), params, &bindings, grid)
}
