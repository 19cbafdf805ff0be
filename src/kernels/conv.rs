//! Convolution in two dimensions: `shaders/conv.wgsl`, and `shaders/depthwise.wgsl` for one filter a channel.

use super::Lowering;
use super::block::parameters;
use super::epilogue::{Epilogue, EpilogueParams, OutputStage, test_variants};
use super::window::WindowParams;
use super::{Kernel, Packing, Prelude, gemm, gemm_cooperative, matmul, to_u32, weights as packed};
use crate::base::{
    BufferId, ElementFormat, TileConfiguration, UNIFORM_TABLE, Unsupported, bucket, candidates,
};
use crate::error::{Error, Result};
use crate::tensor::Tensor;

pub static CONV: Kernel = Kernel {
    stem: "conv",
    shader: include_str!("../../shaders/conv.wgsl"),
    params: Params::MEMBERS,
    variants,
};
pub static DEPTHWISE: Kernel = Kernel {
    stem: "depthwise",
    shader: include_str!("../../shaders/depthwise.wgsl"),
    params: DepthwiseParams::MEMBERS,
    variants: depthwise_variants,
};

/// Sizes of a convolution `[n, in_c, in_h, in_w] → [n, out_c, out_h, out_w]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvSizes {
    pub n: usize,
    pub in_c: usize,
    pub in_h: usize,
    pub in_w: usize,
    pub out_c: usize,
    pub out_h: usize,
    pub out_w: usize,
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub pad: [usize; 2],
    pub dilation: [usize; 2],
    pub groups: usize,
}

parameters! {
    struct Params {
        window: WindowParams,
        epilogue: EpilogueParams,
        in_h: u32,
        in_w: u32,
        in_c4: u32,
        out_h: u32,
        out_w: u32,
        out_c4: u32,
        rows: u32,
        in_group4: u32,
        out_group4: u32,
        tail: u32,
        limit_w: u32,
        row_groups: u32,
        blocks_w: u32,
        b_row: u32,
        rows_first: u32,
        opaque_zero: u32,
        count: u32,
        offset: u32,
        step: u32,
        spare: u32,
    }
}

parameters! {
    struct DepthwiseParams {
        window: WindowParams,
        epilogue: EpilogueParams,
        in_h: u32,
        in_w: u32,
        c4: u32,
        out_h: u32,
        out_w: u32,
        blocks_w: u32,
        rows: u32,
        limit_w: u32,
        row_groups: u32,
        opaque_zero: u32,
        count: u32,
        offset: u32,
        step: u32,
        spare: [u32; 3],
    }
}

/// Pixels of a row that an invocation makes: the count that wastes the fewest, of those that fit registers.
/// Image networks halve 224 again and again, so their rows are multiples of 7 or little less.
fn pixels(out_w: usize, counts: &[usize]) -> u32 {
    // More pixels share a load of the weights: a quarter faster for twice as many, measured.
    let cost = |count: usize| out_w.next_multiple_of(count) * if count <= 8 { 5 } else { 4 };
    counts.iter().copied().min_by_key(|&count| cost(count)).unwrap_or(8) as u32
}

/// Products from which a convolution is worth a kernel that takes longer to translate.
const LARGE: usize = 50_000_000;

/// What makes a variant of the depthwise kernel: the pixels of a row that an invocation makes, and the window
/// that it reads row by row, if that is served: (width of the kernel, stride).
#[derive(Debug, Clone, Copy)]
struct Rows {
    pixels: u32,
    window: Option<(u32, u32)>,
    /// Weights may be infinite: they are no constant.
    any_weights: bool,
}

impl Rows {
    fn new(s: &ConvSizes, any_weights: bool) -> Self {
        let (kernel, stride) = (s.kernel[1], s.stride[1]);
        let served = s.dilation[1] == 1 && (2..=7).contains(&kernel) && stride <= 2;
        let pixels = if served && stride == 1 { pixels(s.out_w, &[7, 8]) } else { 4 };
        Self { pixels, window: served.then_some((kernel as u32, stride as u32)), any_weights }
    }
}

/// Those of some pixel counts that leave less than half of the work idle at a row's end.
fn worthwhile(out_w: usize, counts: &[u32]) -> Vec<u32> {
    counts.iter().copied().filter(|&count| out_w.next_multiple_of(count as usize) * 2 < out_w * 3).collect()
}

/// What a convolution's choice depends on.
fn key(kernel: &str, storage: ElementFormat, s: &ConvSizes) -> String {
    let ([kh, kw], [sh, sw], [dh, dw]) = (s.kernel, s.stride, s.dilation);
    let rows = bucket(s.n.saturating_mul(s.out_h));
    format!(
        "{kernel} {storage:?} {}x{rows}x{} to {} by {kh}x{kw} / {sh}x{sw} {dh}x{dw} in {}",
        s.in_c, s.out_w, s.out_c, s.groups
    )
}

/// What of a convolution makes variants of the kernel.
#[derive(Debug, Clone, Copy, Default)]
struct Traits {
    /// There are several groups, and whether some 4 neighbouring groups of output channels lie in different
    /// ones.
    grouped: bool,
    split: bool,
    /// The last group of 4 input channels is partly padding.
    tail: bool,
    /// Weights may be infinite: they are no constant.
    any_weights: bool,
    /// The weights are packed in panels.
    panels: bool,
    /// A row of the kernel is no longer than the table of uniform numbers.
    few_taps: bool,
}

fn prelude(storage: ElementFormat, pixels: u32, width: u32, of: Traits, epilogue: &Epilogue) -> Prelude {
    let base = Prelude::new()
        .storage(storage)
        .shared("input", storage, !of.split)
        .constant("PIXELS", pixels)
        .constant("WIDTH", width)
        .flag("GROUPED", of.grouped)
        .flag("TAIL", of.tail)
        .flag("ANY_WEIGHTS", of.any_weights)
        .flag("FEW_TAPS", of.few_taps);
    epilogue.prelude(packed::prelude(base, packed::Form::panels(of.panels)))
}

fn depthwise_prelude(storage: ElementFormat, rows: Rows, width: u32, epilogue: &Epilogue) -> Prelude {
    let (kernel, stride) = rows.window.unwrap_or((1, 1));
    let base = Prelude::new()
        .storage(storage)
        .constant("PIXELS", rows.pixels)
        .constant("WIDTH", width)
        .flag("BY_ROWS", rows.window.is_some());
    let base = base.flag("ANY_WEIGHTS", rows.any_weights);
    epilogue.prelude(
        base.constant("SPAN", (rows.pixels - 1) * stride + kernel)
            .constant("KERNEL", kernel)
            .constant("STRIDE", stride),
    )
}

fn variants() -> Vec<Prelude> {
    let mut list = vec![];
    for storage in [ElementFormat::F32, ElementFormat::F16, ElementFormat::F16Packed] {
        let plain = Traits::default();
        for of in [
            plain,
            Traits { grouped: true, few_taps: true, ..plain },
            Traits { grouped: true, split: true, any_weights: true, few_taps: true, ..plain },
            Traits { tail: true, few_taps: true, ..plain },
            Traits {
                grouped: true,
                split: true,
                tail: true,
                any_weights: false,
                panels: true,
                few_taps: true,
            },
        ] {
            list.extend(test_variants().iter().map(|epilogue| prelude(storage, 8, 16, of, epilogue)));
        }
    }
    list
}

fn depthwise_variants() -> Vec<Prelude> {
    let mut list = vec![];
    for storage in [ElementFormat::F32, ElementFormat::F16, ElementFormat::F16Packed] {
        for rows in [
            Rows { pixels: 4, window: None, any_weights: true },
            Rows { pixels: 7, window: Some((3, 1)), any_weights: false },
            Rows { pixels: 7, window: Some((7, 1)), any_weights: false },
            Rows { pixels: 4, window: Some((5, 2)), any_weights: true },
        ] {
            list.extend(
                test_variants().iter().map(|epilogue| depthwise_prelude(storage, rows, 16, epilogue)),
            );
        }
    }
    list
}

/// The sizes of convolution weights; one spatial axis becomes `[1, w]`.
fn four(weights: &Tensor) -> Result<(usize, usize, usize, usize)> {
    match *weights.shape() {
        [o, i, w] => Ok((o, i, 1, w)),
        [o, i, h, w] => Ok((o, i, h, w)),
        _ => Err(Error::internal("convolution weights of another rank")),
    }
}

/// `[out_c, in_c/groups, h, w]` to `[h, w, in_c/groups padded to 4, out_c padded to 4]`: a tap's weights for
/// 4 output channels side by side.
fn pack_weights(weights: &Tensor, _: &[usize]) -> Result<Tensor> {
    let (out_c, in_c, h, w) = four(weights)?;
    let (out4, in4) = (out_c.next_multiple_of(4), in_c.next_multiple_of(4));
    weights.pick([h, w, in4, out4], |index| {
        let (o, rest) = (index % out4, index / out4);
        let (i, tap) = (rest % in4, rest / in4);
        (o < out_c && i < in_c).then(|| (o * in_c + i) * h * w + tap)
    })
}

/// `[c, 1, h, w]` to `[h, w, c padded to 4]`.
fn pack_depthwise(weights: &Tensor, _: &[usize]) -> Result<Tensor> {
    let (c, _, h, w) = four(weights)?;
    let c4 = c.next_multiple_of(4);
    weights.pick([h, w, c4], |index| (index % c4 < c).then(|| (index % c4) * h * w + index / c4))
}

/// Whether this kernel serves the sizes: groups are whole groups of 4 channels, or there is one.
pub fn supports(sizes: &ConvSizes) -> bool {
    sizes.groups == 1
        || (sizes.in_c / sizes.groups).is_multiple_of(4) && (sizes.out_c / sizes.groups).is_multiple_of(4)
        || is_depthwise(sizes)
}

pub fn is_depthwise(sizes: &ConvSizes) -> bool {
    sizes.groups > 1 && sizes.groups == sizes.in_c && sizes.in_c == sizes.out_c
}

/// Whether this kernel serves the sizes with weights that are no constant too: as `[h, w, in_c/groups,
/// out_c]` in rows of 4 they lie as the packed ones do.
pub fn supports_rows(sizes: &ConvSizes) -> bool {
    supports(sizes) && (is_depthwise(sizes) || (sizes.in_c / sizes.groups).is_multiple_of(4))
}

/// Emits a convolution. Places are channels-last, and contiguous but for the output's; `rows` has the weights
/// where the node's input 1 is no constant: see [`supports_rows`].
pub fn emit(
    at: &mut dyn Lowering,
    storage: ElementFormat,
    s: &ConvSizes,
    input: BufferId,
    rows: Option<BufferId>,
    stage: &OutputStage,
) -> Result<(), Unsupported> {
    let (epilogue, output) = (&stage.epilogue, stage.output);
    let capabilities = at.capabilities();
    let (in_c4, out_c4) = (s.in_c.div_ceil(4), s.out_c.div_ceil(4));
    let width = matmul::width(&capabilities, out_c4);
    let columns = to_u32(out_c4)?.div_ceil(width);
    let fold = |blocks: u64| super::folded_grid(blocks, capabilities.max_grid);
    if is_depthwise(s) {
        let shape = vec![s.kernel[0], s.kernel[1], in_c4 * 4];
        let packed =
            || at.packed(1, Packing { name: "depthwise", args: vec![], shape, pack: pack_depthwise });
        let packed = rows.map_or_else(packed, Ok)?;
        let rule = Rows::new(s, rows.is_some());
        let tiles: &[u32] = if rule.window.is_some() { &[4, 7, 8] } else { &[4] };
        let all =
            candidates(TileConfiguration::alone(rule.pixels, false), &worthwhile(s.out_w, tiles), false);
        let by = Rows { pixels: at.choose(key("depthwise", storage, s), all).tile, ..rule };
        let blocks_w = to_u32(s.out_w)?.div_ceil(by.pixels);
        let lines = to_u32(s.n.saturating_mul(s.out_h))?;
        let grid = fold(lines as u64 * blocks_w as u64);
        let params = DepthwiseParams {
            in_h: to_u32(s.in_h)?,
            in_w: to_u32(s.in_w)?,
            c4: to_u32(in_c4)?,
            out_h: to_u32(s.out_h)?,
            out_w: to_u32(s.out_w)?,
            blocks_w,
            rows: lines,
            window: WindowParams::new(s.kernel, s.stride, s.pad, s.dilation)?,
            limit_w: to_u32(s.in_w)?,
            epilogue: epilogue.params(1.0),
            row_groups: grid[0],
            opaque_zero: 0,
            count: by.pixels,
            offset: output.offset,
            step: output.step,
            spare: [0; 3],
        };
        let bindings = stage.bindings(at, storage, [input, packed])?;
        return at.emit(
            &DEPTHWISE,
            depthwise_prelude(storage, by, width, epilogue),
            params,
            &bindings,
            [columns, grid[0], grid[1]],
        );
    }
    let in_group = s.in_c / s.groups;
    let in_group4 = in_group.div_ceil(4);
    let taps = s.kernel[0] * s.kernel[1];
    let panels = rows.is_none() && packed::panels(&capabilities);
    let shape = vec![s.kernel[0], s.kernel[1], in_group4 * 4, out_c4 * 4];
    let packing = if panels {
        packed::of_filters(s.out_c, in_group, taps)
    } else {
        Packing { name: "conv", args: vec![], shape, pack: pack_weights }
    };
    let b_row = if panels { packed::panel_step(taps * in_group4)? } else { to_u32(out_c4)? };
    let packed = rows.map_or_else(|| at.packed(1, packing), Ok)?;
    let terms = s.n.saturating_mul(s.out_h * s.out_w).saturating_mul(s.out_c).saturating_mul(taps * in_group);
    // Where many pixels of an invocation share loads.
    let many = panels || capabilities.dialect().quads;
    let rule = pixels(s.out_w, if many && terms > LARGE { &[14, 12, 7, 8] } else { &[7, 8] });
    let lines = to_u32(s.n.saturating_mul(s.out_h))?;
    let blocks = |pixels: u32| Ok::<_, Unsupported>(lines as u64 * to_u32(s.out_w)?.div_ceil(pixels) as u64);
    let rule = TileConfiguration::alone(
        rule,
        packed::rows_first(s.out_c.saturating_mul(taps * in_group))
            && blocks(rule)? <= capabilities.max_grid as u64,
    );
    // A smaller tile makes more blocks.
    let fits = blocks(4)? <= capabilities.max_grid as u64;
    let tiles = worthwhile(s.out_w, if many { &[7, 8, 12, 14] } else { &[4, 7, 8] });
    let alone =
        candidates(rule, if fits { &tiles } else { &[] }, fits && blocks(rule.tile)? > 1 && columns > 1);
    let mut all = vec![];
    if s.groups == 1 {
        let size = [s.n.saturating_mul(s.out_h * s.out_w), s.out_c];
        all = gemm_cooperative::variants_for(&capabilities, storage, size, in_group4, 1);
        all.extend(gemm::variants_for(&capabilities, size, in_group4, taps, 1));
    }
    all.extend(alone);
    let variant = at.choose(key(if rows.is_some() { "conv by rows" } else { "conv" }, storage, s), all);
    if variant.columns > 0 {
        return gemm::convolution(at, storage, variant, s, [input, packed], stage);
    }
    let TileConfiguration { tile: pixels, down: rows_first, .. } = variant;
    let blocks_w = to_u32(s.out_w)?.div_ceil(pixels);
    let blocks = blocks(pixels)?;
    let grid = fold(blocks);
    let params = Params {
        in_h: to_u32(s.in_h)?,
        in_w: to_u32(s.in_w)?,
        in_c4: to_u32(in_c4)?,
        out_h: to_u32(s.out_h)?,
        out_w: to_u32(s.out_w)?,
        out_c4: to_u32(out_c4)?,
        rows: lines,
        window: WindowParams::new(s.kernel, s.stride, s.pad, s.dilation)?,
        in_group4: to_u32(in_group4)?,
        out_group4: to_u32((s.out_c / s.groups).div_ceil(4))?,
        tail: to_u32((in_group + 3) % 4 + 1)?,
        epilogue: epilogue.params(1.0),
        limit_w: to_u32(s.in_w)?,
        row_groups: grid[0],
        blocks_w,
        b_row,
        rows_first: rows_first as u32,
        opaque_zero: 0,
        count: pixels,
        offset: output.offset,
        step: output.step,
        spare: 0,
    };
    let bindings = stage.bindings(at, storage, [input, packed])?;
    let of = Traits {
        grouped: s.groups > 1,
        split: s.groups > 1 && !(s.out_c / s.groups).is_multiple_of(16),
        tail: !in_group.is_multiple_of(4),
        any_weights: rows.is_some(),
        panels,
        few_taps: s.kernel[1] <= UNIFORM_TABLE.len(),
    };
    let grid = if rows_first { [blocks as u32, columns, 1] } else { [columns, grid[0], grid[1]] };
    at.emit(&CONV, prelude(storage, pixels, width, of, epilogue), params, &bindings, grid)
}
