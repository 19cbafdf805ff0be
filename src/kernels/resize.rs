//! Interpolation over two spatial axes: `shaders/resize.wgsl`.

use super::Lowering;
use super::block::parameters;
use super::{Kernel, Prelude, folded_grid};
use crate::base::resample::Taps;
use crate::base::{Access, ElementFormat, Layout, Unsupported};
use crate::tensor::Tensor;

pub static RESIZE: Kernel = Kernel {
    stem: "resize",
    shader: include_str!("../../shaders/resize.wgsl"),
    params: Params::MEMBERS,
    variants,
};

parameters! {
    struct Params {
        in_h: u32,
        in_w: u32,
        c4: u32,
        out_h: u32,
        out_w: u32,
        groups: u32,
        per_row: u32,
        taps_h: u32,
        taps_w: u32,
        extrapolation: f32,
        spare: [u32; 2],
    }
}

const WIDTH: u32 = 64;

fn prelude(storage: ElementFormat) -> Prelude {
    Prelude::new().storage(storage).constant("WIDTH", WIDTH)
}

fn variants() -> Vec<Prelude> {
    [ElementFormat::F32, ElementFormat::F16, ElementFormat::F16Packed].map(prelude).to_vec()
}

/// An axis that isn't there.
fn one() -> Taps {
    Taps { count: 1, taps: vec![(0, 1.0)], outside: vec![false] }
}

/// Emits a resize of input 0 `[n, c, d…]` whose axes are read by `taps`; only one or two spatial axes may
/// change.
pub fn emit(at: &mut dyn Lowering, taps: &[Taps], extrapolation: f32) -> Result<(), Unsupported> {
    let storage = at.float_storage(0)?;
    let shape = at.fact(0)?.shape.clone();
    let (y, x, in_h) = match taps {
        [_, _, x] => (one(), x.clone(), 1),
        [_, _, y, x] => (y.clone(), x.clone(), shape[2]),
        _ => return Err(Unsupported::new(format!("a resize of a tensor of rank {}", shape.len()))),
    };
    if !taps[0].is_identity(shape[0]) || !taps[1].is_identity(shape[1]) {
        return Err(Unsupported::new("a resize of the batch or the channels"));
    }
    let entries = [&y, &x].into_iter().flat_map(|axis| {
        axis.taps.iter().enumerate().map(|(k, tap)| {
            let outside = axis.outside.get(k / axis.count.max(1)).copied().unwrap_or(false);
            [if outside { -1 } else { tap.0 as i32 }, (tap.1 as f32).to_bits() as i32]
        })
    });
    let table: Vec<i32> = entries.flatten().collect();
    let table = Tensor::new([table.len()], table)?;
    let input = at.input(0, Layout::ChannelsLast4)?;
    let output = at.output(0, Layout::ChannelsLast4)?;
    let to_u32 = |value: usize| {
        i32::try_from(value)
            .map(|value| value as u32)
            .map_err(|_| Unsupported::new("a resize beyond 2³¹ elements"))
    };
    let (c4, out_h, out_w) = (shape[1].div_ceil(4), y.outside.len(), x.outside.len());
    let groups = to_u32(shape[0].saturating_mul(c4).saturating_mul(out_h).saturating_mul(out_w))?;
    let grid = folded_grid(groups.div_ceil(WIDTH) as u64, at.capabilities().max_grid);
    let params = Params {
        in_h: to_u32(in_h)?,
        in_w: to_u32(shape[shape.len() - 1])?,
        c4: to_u32(c4)?,
        out_h: to_u32(out_h)?,
        out_w: to_u32(out_w)?,
        groups,
        per_row: grid[0],
        taps_h: to_u32(y.count)?,
        taps_w: to_u32(x.count)?,
        extrapolation,
        spare: [0; 2],
    };
    let table = at.table("resize taps", table)?;
    at.emit(
        &RESIZE,
        prelude(storage),
        params,
        &[(input.buffer, Access::Read), (table.buffer, Access::Read), (output.buffer, Access::Write)],
        grid,
    )
}
