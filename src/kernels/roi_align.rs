//! Regions of images brought to one size: `shaders/roi_align.wgsl`.

use super::Lowering;
use super::block::parameters;
use super::{Kernel, Prelude, folded_grid, indices, to_u32};
use crate::base::{Access, ElementFormat, Layout, Unsupported};

pub static ROI_ALIGN: Kernel = Kernel {
    stem: "roi_align",
    shader: include_str!("../../shaders/roi_align.wgsl"),
    params: Params::MEMBERS,
    variants,
};

parameters! {
    struct Params {
        height: u32,
        width: u32,
        c4: u32,
        images: u32,
        out_height: u32,
        out_width: u32,
        groups: u32,
        per_row: u32,
        sampling: u32,
        scale: f32,
        offset: f32,
        least: f32,
        report: u32,
        spare: [u32; 3],
    }
}

const WIDTH: u32 = 64;
/// The binding of the status.
const STATUS: u32 = 4;

/// How cells are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cells {
    /// The largest weighted element, not the mean.
    pub maximum: bool,
    /// Samples along an axis; 0: one for each element that a cell spans.
    pub sampling: usize,
    pub scale: f32,
    /// Elements are centred at halves; else malformed regions are one element.
    pub half_pixel: bool,
}

fn prelude([data, regions, images]: [ElementFormat; 3], maximum: bool, report: bool) -> Prelude {
    let base = Prelude::new().movable(data).typed("R", regions);
    indices::declare(base, images, report.then_some(STATUS)).flag("MAXIMUM", maximum).constant("WIDTH", WIDTH)
}

fn variants() -> Vec<Prelude> {
    use ElementFormat::{F16, F16Packed, F32, I32, I64};
    let kinds = [(I64, true, true), (I64, false, false), (I32, false, true)];
    [F32, F16, F16Packed]
        .into_iter()
        .flat_map(|float| {
            kinds.map(|(images, maximum, report)| prelude([float, float, images], maximum, report))
        })
        .collect()
}

/// Emits the cells of the regions of input 1 `[r, 4]` in input 0 `[n, c, h, w]`; input 2 has each one's image.
pub fn emit(at: &mut dyn Lowering, how: Cells) -> Result<(), Unsupported> {
    let storages = [at.float_storage(0)?, at.float_storage(1)?, at.storage(at.fact(2)?.dtype)?];
    let input = at.input(0, Layout::ChannelsLast4)?;
    let (regions, images) = (at.input(1, Layout::Dense)?, at.input(2, Layout::Dense)?);
    let output = at.output(0, Layout::ChannelsLast4)?;
    let (&[count, _, height, width], &[of, _, out_height, out_width]) = (&input.shape[..], &output.shape[..])
    else {
        return Err(Unsupported::new("regions of what is no image"));
    };
    if output.count() == 0 {
        return Ok(());
    }
    if input.count() == 0 {
        return Err(Unsupported::new("regions of images without elements"));
    }
    let c4 = input.shape[1].div_ceil(4);
    let cells = of.saturating_mul(out_height).saturating_mul(out_width);
    let groups = to_u32(cells.saturating_mul(c4))?;
    let grid = folded_grid(u64::from(groups.div_ceil(WIDTH)), at.capabilities().max_grid);
    let report = at.report(2, 0, vec![count], false);
    let params = Params {
        height: to_u32(height)?,
        width: to_u32(width)?,
        c4: to_u32(c4)?,
        images: to_u32(count)?,
        out_height: to_u32(out_height)?,
        out_width: to_u32(out_width)?,
        groups,
        per_row: grid[0],
        sampling: to_u32(how.sampling)?,
        scale: how.scale,
        offset: if how.half_pixel { 0.5 } else { 0.0 },
        least: if how.half_pixel { 0.0 } else { 1.0 },
        report: report.unwrap_or(0),
        spare: [0; 3],
    };
    let bindings = [
        (input.buffer, Access::Read),
        (regions.buffer, Access::Read),
        (images.buffer, Access::Read),
        (output.buffer, Access::Write),
    ];
    at.emit(&ROI_ALIGN, prelude(storages, how.maximum, report.is_some()), params, &bindings, grid)
}
