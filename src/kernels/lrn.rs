//! Local response normalisation: `shaders/lrn.wgsl`.

use super::Lowering;
use super::block::parameters;
use super::{Kernel, Prelude, folded_grid};
use crate::base::{Access, ElementFormat, Layout, Unsupported};

pub static LRN: Kernel =
    Kernel { stem: "lrn", shader: include_str!("../../shaders/lrn.wgsl"), params: Params::MEMBERS, variants };

parameters! {
    struct Params {
        groups: u32,
        per_row: u32,
        c4: u32,
        channels: u32,
        before: u32,
        behind: u32,
        alpha: f32,
        beta: f32,
        bias: f32,
        spare: [u32; 3],
    }
}

const WIDTH: u32 = 64;

fn prelude(storage: ElementFormat) -> Prelude {
    Prelude::new().storage(storage).constant("WIDTH", WIDTH)
}

fn variants() -> Vec<Prelude> {
    [ElementFormat::F32, ElementFormat::F16, ElementFormat::F16Packed].map(prelude).to_vec()
}

/// `x / (bias + alpha · Σ x²)^beta` over the channels from `before` a channel to `behind` it.
#[derive(Debug, Clone, Copy)]
pub struct Neighbourhood {
    pub before: usize,
    pub behind: usize,
    pub alpha: f32,
    pub beta: f32,
    pub bias: f32,
}

/// Emits a normalisation of input 0 `[n, c, d…]`.
pub fn emit(at: &mut dyn Lowering, how: &Neighbourhood) -> Result<(), Unsupported> {
    let storage = at.float_storage(0)?;
    let input = at.input(0, Layout::ChannelsLast4)?;
    let output = at.output(0, Layout::ChannelsLast4)?;
    let to_u32 = |value: usize| {
        i32::try_from(value)
            .map(|value| value as u32)
            .map_err(|_| Unsupported::new("a normalization beyond 2³¹ elements"))
    };
    let channels = input.shape[1];
    let c4 = channels.div_ceil(4);
    let groups = to_u32(Layout::ChannelsLast4.elements(&input.shape) / 4)?;
    let grid = folded_grid(groups.div_ceil(WIDTH) as u64, at.capabilities().max_grid);
    let params = Params {
        groups,
        per_row: grid[0],
        c4: to_u32(c4)?,
        channels: to_u32(channels)?,
        before: to_u32(how.before)?,
        behind: to_u32(how.behind)?,
        alpha: how.alpha,
        beta: how.beta,
        bias: how.bias,
        spare: [0; 3],
    };
    at.emit(
        &LRN,
        prelude(storage),
        params,
        &[(input.buffer, Access::Read), (output.buffer, Access::Write)],
        grid,
    )
}
