//! Products and convolutions by tiles in workgroup memory, for hardware adapters: `shaders/gemm.wgsl`.
//!
//! A register of A or B is used as often as a tile is wide or high, so a large tile needs little of the
//! caches; a small one makes more workgroups. `rule` takes the largest that fills a device; `--tune`
//! measures the others (Nath, Tomov and Dongarra, *An Improved MAGMA GEMM for Fermi Graphics Processing
//! Units*, 2010, has the two levels of tiles).

use super::Lowering;
use super::block::parameters;
use super::conv;
use super::epilogue::{Epilogue, EpilogueParams, OutputStage, test_variants};
use super::gemm_cooperative::{self as cooperative, GEMM_COOPERATIVE};
use super::matmul::{Matrix, ProductSizes};
use super::weights::Form;
use super::window::WindowParams;
use super::{Kernel, Prelude, folded_grid, nbits, to_u32};
use crate::base::{BufferId, Capabilities, ElementFormat, TileConfiguration, Unsupported};

pub static GEMM: Kernel = Kernel {
    stem: "gemm",
    shader: include_str!("../../shaders/gemm.wgsl"),
    params: Params::MEMBERS,
    variants,
};

/// What `shaders/gemm_cooperative.wgsl` begins with too.
const COMMON: &str = include_str!("../../shaders/lib/tiles.wgsl");
/// The loads of B, by how it lies.
const ROWS: &str = include_str!("../../shaders/lib/tiles_rows.wgsl");
const NBITS: &str = include_str!("../../shaders/lib/tiles_nbits.wgsl");

parameters! {
    pub(super) struct Params {
        window: WindowParams,
        epilogue: EpilogueParams,
        m: u32,
        n4: u32,
        groups: u32,
        tail: u32,
        a_offset: u32,
        a_row: u32,
        a_outer: u32,
        a_inner: u32,
        b_offset: u32,
        b_row: u32,
        b_outer: u32,
        b_inner: u32,
        c_row: u32,
        c_batch: u32,
        inner: u32,
        tiles_m: u32,
        tiles_n: u32,
        per_row: u32,
        b_rows: u32,
        in_h: i32,
        in_w: i32,
        limit_w: i32,
        out_w: u32,
        out_pixels: u32,
        opaque_zero: u32,
        c_offset: u32,
        spare: [u32; 2],
    }
}

/// Groups of 4 along k that pass through workgroup memory at a time.
const DEPTH: u32 = 4;

/// A tile of C: its rows and columns, the workgroup that makes it (columns × rows of invocations), and how
/// many of them share k.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GemmTile {
    rows: u32,
    columns: u32,
    threads: [u32; 2],
    slices: u32,
}

/// The tiles, the largest first. An invocation's sums are at most 8 × 8: they have to stay in registers.
const TILES: [GemmTile; 6] = [
    GemmTile { rows: 128, columns: 128, threads: [16, 16], slices: 1 },
    GemmTile { rows: 128, columns: 64, threads: [8, 16], slices: 1 },
    GemmTile { rows: 64, columns: 64, threads: [8, 8], slices: 1 },
    GemmTile { rows: 32, columns: 64, threads: [8, 8], slices: 1 },
    GemmTile { rows: 32, columns: 32, threads: [8, 8], slices: 1 },
    GemmTile { rows: 32, columns: 32, threads: [8, 8], slices: 4 },
];

/// Workgroups that fill a desktop GPU: two for each of some 40 cores. WebGPU says nothing of the cores that
/// there are.
const MIN_TILES: u64 = 80;

/// Groups of 4 along k from which sharing k among slices repays adding them up.
const MIN_STEPS_TO_SPLIT: usize = 64;

impl GemmTile {
    fn of(variant: TileConfiguration) -> Option<GemmTile> {
        TILES.into_iter().find(|tile| tile.variant() == variant)
    }
    fn variant(self) -> TileConfiguration {
        TileConfiguration {
            tile: self.rows,
            columns: self.columns,
            slices: self.slices,
            down: false,
            cooperative: false,
        }
    }
    /// Bytes of workgroup memory.
    fn bytes(self) -> u32 {
        16 * DEPTH * (self.rows + self.columns) * self.slices
    }
    fn fits(self, capabilities: &Capabilities) -> bool {
        self.bytes() <= capabilities.max_workgroup_bytes
            && self.threads[0] * self.threads[1] * self.slices <= capabilities.max_invocations
    }
}

/// The first of `tiles` (rows, columns; the largest first) of which there are enough to fill a device, and
/// that don't waste much on what lies beyond the edges of C.
pub(super) fn filling(
    tiles: impl Iterator<Item = [u32; 2]> + Clone,
    [m, n]: [usize; 2],
    batch: usize,
) -> Option<usize> {
    let count = |[rows, columns]: [u32; 2]| {
        m.div_ceil(rows as usize).saturating_mul(n.div_ceil(columns as usize)).saturating_mul(batch) as u64
    };
    // The elements of C with those beyond its edges.
    let area = |[rows, columns]: [u32; 2]| {
        m.next_multiple_of(rows as usize).saturating_mul(n.next_multiple_of(columns as usize))
    };
    let least = tiles.clone().map(area).min().unwrap_or(0);
    tiles.into_iter().position(|tile| count(tile) >= MIN_TILES && area(tile) / 5 * 4 <= least)
}

/// Whether tiles serve a product of these sizes: on hardware (barriers are dear to software adapters), for
/// more than a few rows and columns, and where `groups`, those of 4 along k that lie together, don't leave
/// most of a step empty.
pub(super) fn supports(capabilities: &Capabilities, [m, n]: [usize; 2], groups: usize) -> bool {
    !capabilities.software && m > 8 && n > 16 && groups >= 3
}

/// The variants for a product of these sizes, the rule's first; none where other kernels serve it better.
pub fn variants_for(
    capabilities: &Capabilities,
    [m, n]: [usize; 2],
    groups: usize,
    steps: usize,
    batch: usize,
) -> Vec<TileConfiguration> {
    if !supports(capabilities, [m, n], groups) {
        return vec![];
    }
    let serving: Vec<GemmTile> = TILES.into_iter().filter(|tile| tile.fits(capabilities)).collect();
    let whole: Vec<GemmTile> = serving.iter().copied().filter(|tile| tile.slices == 1).collect();
    let fills = filling(whole.iter().map(|tile| [tile.rows, tile.columns]), [m, n], batch)
        .and_then(|index| whole.get(index));
    let small = |slices: u32| serving.iter().find(|tile| tile.columns == 32 && tile.slices == slices);
    let sliced = if steps.saturating_mul(groups) >= MIN_STEPS_TO_SPLIT { small(4) } else { None };
    let rule = fills.or(sliced).or(small(1)).copied();
    rule.into_iter()
        .chain(serving.iter().copied().filter(|tile| Some(*tile) != rule))
        .map(GemmTile::variant)
        .collect()
}

/// What of a product or convolution its tiles depend on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tiling {
    /// A is an image.
    pub pixels: bool,
    /// The last group along k is partly padding.
    pub tail: bool,
    /// How B lies: in rows or as codes.
    pub form: Form,
}

/// Adds to a prelude what both shaders need.
pub(super) fn tiles_prelude(prelude: Prelude, tiling: Tiling, epilogue: &Epilogue) -> Prelude {
    let base = epilogue.prelude(prelude.flag("PIXELS", tiling.pixels).flag("TAIL", tiling.tail)).code(COMMON);
    match tiling.form {
        Form::Nbits(codes) => codes.prelude(base).code(NBITS),
        Form::Rows | Form::Panels => base.code(ROWS),
    }
}

fn prelude(storage: ElementFormat, tile: GemmTile, tiling: Tiling, epilogue: &Epilogue) -> Prelude {
    let [tx, ty] = tile.threads;
    let base = Prelude::new()
        .storage(storage)
        .constant("TX", tx)
        .constant("TY", ty)
        .constant("ROWS", tile.rows / ty);
    let base = base
        .constant("COLUMNS", tile.columns / 4 / tx)
        .constant("DEPTH", DEPTH)
        .constant("SLICES", tile.slices);
    tiles_prelude(base, tiling, epilogue)
}

fn variants() -> Vec<Prelude> {
    let mut list = vec![];
    for storage in [ElementFormat::F32, ElementFormat::F16, ElementFormat::F16Packed] {
        for (index, tile) in TILES.into_iter().enumerate() {
            // Every flag and every epilogue with some tile.
            let tiling = Tiling { pixels: index % 2 == 0, tail: index % 4 < 2, form: Form::Rows };
            list.extend(test_variants().iter().map(|epilogue| prelude(storage, tile, tiling, epilogue)));
        }
        for (tile, form) in TILES.into_iter().rev().zip(nbits::test_forms()) {
            let tiling = Tiling { pixels: false, tail: true, form };
            list.extend(test_variants().first().map(|epilogue| prelude(storage, tile, tiling, epilogue)));
        }
    }
    list
}

fn dispatch(
    at: &mut dyn Lowering,
    storage: ElementFormat,
    variant: TileConfiguration,
    (pixels, batch, form): (bool, usize, Form),
    operands: [BufferId; 2],
    stage: &OutputStage,
    params: Params,
) -> Result<(), Unsupported> {
    let capabilities = at.capabilities();
    let epilogue = &stage.epilogue;
    let tiling = Tiling { pixels, tail: params.tail < 4, form };
    let none = || Unsupported::new(format!("no tile of {variant}"));
    let (kernel, [rows, columns], prelude) = if variant.cooperative {
        let (tile, by) =
            cooperative::CooperativeTile::of(variant).zip(capabilities.cooperative).ok_or_else(none)?;
        (
            &GEMM_COOPERATIVE,
            tile.size(),
            cooperative::prelude(storage, tile, by, tiling, params.groups, epilogue),
        )
    } else {
        let tile = GemmTile::of(variant).ok_or_else(none)?;
        (&GEMM, [tile.rows, tile.columns], prelude(storage, tile, tiling, epilogue))
    };
    let (tiles_m, tiles_n) = (params.m.div_ceil(rows), (params.n4 * 4).div_ceil(columns));
    let grid = folded_grid(tiles_m as u64 * tiles_n as u64, capabilities.max_grid);
    let c_batch = to_u32((params.m as usize).saturating_mul(stage.output.step as usize))?;
    let params = Params {
        c_offset: stage.output.offset,
        c_row: stage.output.step,
        c_batch,
        tiles_m,
        tiles_n,
        per_row: grid[0],
        ..params
    };
    let bindings = stage.bindings(at, storage, operands)?;
    at.emit(kernel, prelude, params, &bindings, [grid[0], grid[1], to_u32(batch)?])
}

/// Emits a batch of products by tiles: see [`super::matmul::emit`].
pub(super) fn product(
    at: &mut dyn Lowering,
    storage: ElementFormat,
    variant: TileConfiguration,
    s: ProductSizes,
    [a, b]: [Matrix; 2],
    alpha: f32,
    stage: &OutputStage,
) -> Result<(), Unsupported> {
    let n4 = to_u32(s.n.div_ceil(4))?;
    let params = Params {
        m: to_u32(s.m)?,
        n4,
        groups: to_u32(s.k.div_ceil(4))?,
        tail: to_u32((s.k + 3) % 4 + 1)?,
        a_offset: a.offset,
        a_row: a.row,
        a_outer: a.outer,
        a_inner: a.inner,
        b_offset: b.offset,
        b_row: b.row,
        b_outer: b.outer,
        b_inner: b.inner,
        inner: to_u32(s.inner)?,
        epilogue: stage.epilogue.params(alpha),
        b_rows: to_u32(s.k)?,
        ..Params::default()
    };
    dispatch(
        at,
        storage,
        variant,
        (false, s.outer.saturating_mul(s.inner), b.form),
        [a.buffer, b.buffer],
        stage,
        params,
    )
}

/// Emits a convolution of one group by tiles; the weights are rows of (tap, input channel), channels padded
/// to 4: see [`conv::emit`].
pub(super) fn convolution(
    at: &mut dyn Lowering,
    storage: ElementFormat,
    variant: TileConfiguration,
    s: &conv::ConvSizes,
    operands: [BufferId; 2],
    stage: &OutputStage,
) -> Result<(), Unsupported> {
    let (in_c4, out_c4) = (to_u32(s.in_c.div_ceil(4))?, to_u32(s.out_c.div_ceil(4))?);
    let out_pixels = s.out_h.saturating_mul(s.out_w);
    let params = Params {
        m: to_u32(s.n.saturating_mul(out_pixels))?,
        n4: out_c4,
        groups: in_c4,
        tail: to_u32((s.in_c + 3) % 4 + 1)?,
        a_row: in_c4,
        b_row: out_c4,
        inner: 1,
        epilogue: stage.epilogue.params(1.0),
        b_rows: in_c4 * 4,
        in_h: to_u32(s.in_h)? as i32,
        in_w: to_u32(s.in_w)? as i32,
        limit_w: to_u32(s.in_w)? as i32,
        out_w: to_u32(s.out_w)?,
        out_pixels: to_u32(out_pixels)?,
        window: WindowParams::new(s.kernel, s.stride, s.pad, s.dilation)?,
        ..Params::default()
    };
    dispatch(at, storage, variant, (true, 1, Form::Rows), operands, stage, params)
}
