//! 3×3 convolution by Winograd's F(m×m, 3×3): `shaders/winograd_input.wgsl`, (m+2)² products of
//! `shaders/matmul.wgsl`, `shaders/winograd_output.wgsl`.
//!
//! F(4×4) takes a fourth of the multiplications and four times the memory for weights, F(2×2) four ninths and
//! 16 ninths.
//!
//! Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015).

use super::Lowering;
use super::block::parameters;
use super::conv::ConvSizes;
use super::epilogue::{Epilogue, EpilogueParams, OutputStage, test_variants};
use super::{Dispatch, Kernel, Packing, Prelude, Target, folded_grid, matmul, to_u32, weights as packed};
use crate::base::{Access, BufferId, Capabilities, ElementFormat, Fact, Layout, Unsupported};
use crate::error::{Error, Result};
use crate::tensor::{DType, Tensor, element_count, zeros};
use rayon::prelude::*;
use std::f64::consts::{FRAC_1_SQRT_2 as HALF_ROOT, SQRT_2 as ROOT};

pub static WINOGRAD_INPUT: Kernel = Kernel {
    stem: "winograd_input",
    shader: include_str!("../../shaders/winograd_input.wgsl"),
    params: InputParams::MEMBERS,
    variants: || WinogradTile::ALL.map(|tile| tile.prelude(ElementFormat::F32)).into(),
};
pub static WINOGRAD_OUTPUT: Kernel = Kernel {
    stem: "winograd_output",
    shader: include_str!("../../shaders/winograd_output.wgsl"),
    params: OutputParams::MEMBERS,
    variants: || {
        WinogradTile::ALL
            .iter()
            .flat_map(|&tile| {
                test_variants()
                    .into_iter()
                    .map(move |epilogue| output_prelude(tile, ElementFormat::F32, &epilogue))
            })
            .collect()
    },
};

const WIDTH: u32 = 32;

/// The transformed weights of a layer may take this many bytes. Large ones belong to small maps, where there
/// are few tiles to gain on.
const MAX_WEIGHT_BYTES: usize = 4 << 20;

/// The outputs of a tile: m × m of F(m×m, 3×3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WinogradTile {
    Two,
    Four,
}

impl WinogradTile {
    const ALL: [WinogradTile; 2] = [WinogradTile::Two, WinogradTile::Four];
    /// Outputs along an axis.
    fn out(self) -> usize {
        match self {
            WinogradTile::Two => 2,
            WinogradTile::Four => 4,
        }
    }
    /// Inputs along an axis.
    fn inputs(self) -> usize {
        self.out() + 2
    }
    fn products(self) -> usize {
        self.inputs().pow(2)
    }
    fn prelude(self, storage: ElementFormat) -> Prelude {
        let transforms = match self {
            WinogradTile::Two => include_str!("../../shaders/lib/winograd_2.wgsl"),
            WinogradTile::Four => include_str!("../../shaders/lib/winograd_4.wgsl"),
        };
        let base =
            Prelude::new().storage(storage).constant("WIDTH", WIDTH).constant("IN", self.inputs() as u32);
        base.constant("OUT", self.out() as u32).code(transforms)
    }
    /// The tile of a dispatch of [`WINOGRAD_INPUT`]; `None` of another.
    pub(crate) fn of(dispatch: &Dispatch) -> Option<WinogradTile> {
        let params = Some(&dispatch.params).filter(|_| dispatch.kernel == WINOGRAD_INPUT.stem)?;
        let params: InputParams = bytemuck::try_pod_read_unaligned(params).ok()?;
        WinogradTile::ALL.into_iter().find(|tile| tile.inputs() == params.count as usize)
    }
}

/// Bᵀ, G and Aᵀ: a row of outputs is `Aᵀ[(G·w) ∘ (Bᵀ·d)]`.
pub(crate) struct Matrices<const IN: usize, const OUT: usize> {
    pub input: [[f64; IN]; IN],
    pub weights: [[f64; 3]; IN],
    pub output: [[f64; IN]; OUT],
}

/// At the points 0, ±1, ∞.
pub(crate) const F2: Matrices<4, 2> = Matrices {
    input: [[1.0, 0.0, -1.0, 0.0], [0.0, 1.0, 1.0, 0.0], [0.0, -1.0, 1.0, 0.0], [0.0, 1.0, 0.0, -1.0]],
    weights: [[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]],
    output: [[1.0, 1.0, 1.0, 0.0], [0.0, 1.0, -1.0, -1.0]],
};

/// At the points 0, ±√½, ±√2, ∞.
pub(crate) const F4: Matrices<6, 4> = Matrices {
    input: [
        [1.0, 0.0, -2.5, 0.0, 1.0, 0.0],
        [0.0, -ROOT, -2.0, HALF_ROOT, 1.0, 0.0],
        [0.0, ROOT, -2.0, -HALF_ROOT, 1.0, 0.0],
        [0.0, -HALF_ROOT, -0.5, ROOT, 1.0, 0.0],
        [0.0, HALF_ROOT, -0.5, -ROOT, 1.0, 0.0],
        [0.0, 1.0, 0.0, -2.5, 0.0, 1.0],
    ],
    weights: [
        [1.0, 0.0, 0.0],
        [-2.0 / 3.0, -ROOT / 3.0, -1.0 / 3.0],
        [-2.0 / 3.0, ROOT / 3.0, -1.0 / 3.0],
        [1.0 / 6.0, ROOT / 6.0, 1.0 / 3.0],
        [1.0 / 6.0, -ROOT / 6.0, 1.0 / 3.0],
        [0.0, 0.0, 1.0],
    ],
    output: [
        [1.0, 1.0, 1.0, 1.0, 1.0, 0.0],
        [0.0, HALF_ROOT, -HALF_ROOT, ROOT, -ROOT, 0.0],
        [0.0, 0.5, 0.5, 2.0, 2.0, 0.0],
        [0.0, HALF_ROOT / 2.0, -HALF_ROOT / 2.0, 2.0 * ROOT, -2.0 * ROOT, 1.0],
    ],
};

parameters! {
    struct InputParams {
        in_h: i32,
        in_w: i32,
        in_c4: u32,
        tiles_h: u32,
        tiles_w: u32,
        tiles: u32,
        pad: [i32; 2],
        per_row: u32,
        opaque_zero: u32,
        count: u32,
        spare: u32,
    }
}

parameters! {
    struct OutputParams {
        epilogue: EpilogueParams,
        out_h: u32,
        out_w: u32,
        out_c4: u32,
        tiles_h: u32,
        tiles_w: u32,
        tiles: u32,
        per_row: u32,
        opaque_zero: u32,
        count: u32,
        transform: [u32; 2],
        offset: u32,
        step: u32,
        spare: [u32; 3],
    }
}

fn output_prelude(tile: WinogradTile, storage: ElementFormat, epilogue: &Epilogue) -> Prelude {
    epilogue.prelude(tile.prelude(storage))
}

/// The tile by which a convolution is taken this way, if it is: what lies between the steps must be float32
/// (float16 would lose the small differences of large sums), and there must be tiles and channels enough to
/// pay for the transforms.
pub fn tile(s: &ConvSizes, storage: ElementFormat, capabilities: &Capabilities) -> Option<WinogradTile> {
    let least = if capabilities.software { 16 } else { 32 };
    let serves = capabilities.winograd
        && storage == ElementFormat::F32
        && s.kernel == [3, 3]
        && s.stride == [1, 1]
        && s.dilation == [1, 1]
        && s.groups == 1
        && s.in_c.is_multiple_of(4)
        && s.in_c.min(s.out_c) >= least
        && s.out_h.min(s.out_w) >= 8;
    let bytes = |tile: &WinogradTile| s.in_c.saturating_mul(s.out_c).saturating_mul(tile.products() * 4);
    [WinogradTile::Four, WinogradTile::Two].into_iter().find(|tile| serves && bytes(tile) <= MAX_WEIGHT_BYTES)
}

/// `m · x · mᵀ` of a square matrix `x`.
pub(crate) fn both_sides<const R: usize, const K: usize>(
    m: &[[f64; K]; R],
    x: &[[f64; K]; K],
) -> [[f64; R]; R] {
    let mut half = [[0.0; K]; R];
    for (row, to) in m.iter().zip(&mut half) {
        for (k, to) in to.iter_mut().enumerate() {
            *to = row.iter().zip(x).map(|(a, x)| a * x[k]).sum();
        }
    }
    half.map(|half| std::array::from_fn(|column| half.iter().zip(&m[column]).map(|(a, b)| a * b).sum()))
}

/// `G w Gᵀ` of weights `[out_c, in_c, 3, 3]`: `[products, in_c, out_c]`, in panels or in rows.
fn pack<const IN: usize>(weights: &Tensor, args: &[usize], matrix: &[[f64; 3]; IN]) -> Result<Tensor> {
    let [out_c, in_c, panels] = *args else {
        return Err(Error::internal("Winograd weights without arguments"));
    };
    let filters = weights.as_slice::<f32>()?.as_chunks::<9>().0;
    let products = IN * IN;
    // A channel's products for all outputs lie together, so that both ways through them stay in a cache.
    let mut all: Vec<f32> = zeros(element_count(&[in_c, products, out_c])?)?;
    all.par_chunks_exact_mut((products * out_c).max(1)).enumerate().for_each(|(channel, to)| {
        for (out, filter) in filters.iter().skip(channel).step_by(in_c.max(1)).enumerate() {
            let filter: [[f64; 3]; 3] =
                std::array::from_fn(|y| std::array::from_fn(|x| filter[y * 3 + x] as f64));
            for (product, value) in both_sides(matrix, &filter).as_flattened().iter().enumerate() {
                to[product * out_c + out] = *value as f32;
            }
        }
    });
    let all = Tensor::new([in_c, products, out_c], all)?;
    let start = |product: usize, channel: usize| (channel * products + product) * out_c;
    if panels != 0 {
        return packed::pick_all(&all, products, [in_c, out_c], 1, |product, row| {
            (row < in_c).then(|| start(product, row))
        });
    }
    let out4 = out_c.next_multiple_of(4);
    all.pick([products, in_c, out4], |index| {
        let (out, row) = (index % out4, index / out4);
        (out < out_c).then(|| start(row / in_c, row % in_c) + out)
    })
}

/// Emits a convolution by a tile that [`tile`] found. Places are channels-last; the weights are the node's
/// input 1, a constant.
pub fn emit(
    at: &mut dyn Lowering,
    tile: WinogradTile,
    storage: ElementFormat,
    s: &ConvSizes,
    input: BufferId,
    stage: &OutputStage,
) -> Result<(), Unsupported> {
    let (epilogue, output) = (&stage.epilogue, stage.output);
    let capabilities = at.capabilities();
    let (tiles_h, tiles_w) = (s.out_h.div_ceil(tile.out()), s.out_w.div_ceil(tile.out()));
    let products = tile.products();
    let tiles = s.n.saturating_mul(tiles_h * tiles_w);
    let (in_c4, out_c4) = (s.in_c / 4, s.out_c.div_ceil(4));
    let grid = |groups: usize| {
        Ok::<_, Unsupported>(folded_grid(u64::from(to_u32(groups)?.div_ceil(WIDTH)), capabilities.max_grid))
    };

    let transformed =
        at.scratch(&Fact::new(DType::F32, vec![products, tiles, s.in_c]), Layout::Rows4)?.buffer;
    let whole = grid(tiles.saturating_mul(in_c4))?;
    let params = InputParams {
        in_h: to_u32(s.in_h)? as i32,
        in_w: to_u32(s.in_w)? as i32,
        in_c4: to_u32(in_c4)?,
        tiles_h: to_u32(tiles_h)?,
        tiles_w: to_u32(tiles_w)?,
        tiles: to_u32(tiles)?,
        pad: [to_u32(s.pad[0])? as i32, to_u32(s.pad[1])? as i32],
        per_row: whole[0],
        opaque_zero: 0,
        count: tile.inputs() as u32,
        spare: 0,
    };
    at.emit(
        &WINOGRAD_INPUT,
        tile.prelude(storage),
        params,
        &[(input, Access::Read), (transformed, Access::Write)],
        whole,
    )?;

    let panels = packed::panels(&capabilities);
    let one = if panels { packed::shape(s.out_c, in_c4) } else { vec![s.in_c, s.out_c.next_multiple_of(4)] };
    let shape: Vec<usize> = std::iter::once(products).chain(one).collect();
    let step = to_u32(shape[1..].iter().product::<usize>() / if panels { 8 } else { 4 })?;
    let args = vec![s.out_c, s.in_c, panels as usize];
    let packing = match tile {
        WinogradTile::Two => Packing {
            name: "winograd 2",
            args,
            shape,
            pack: |weights, args| pack(weights, args, &F2.weights),
        },
        WinogradTile::Four => Packing {
            name: "winograd 4",
            args,
            shape,
            pack: |weights, args| pack(weights, args, &F4.weights),
        },
    };
    let packed = at.packed(1, packing)?;
    let a = matmul::Matrix {
        buffer: transformed,
        offset: 0,
        row: to_u32(in_c4)?,
        outer: to_u32(tiles.saturating_mul(in_c4))?,
        inner: 0,
        form: packed::Form::Rows,
    };
    let b_row = if panels { packed::panel_step(in_c4)? } else { to_u32(out_c4)? };
    let b = matmul::Matrix {
        buffer: packed,
        offset: 0,
        row: b_row,
        outer: step,
        inner: 0,
        form: packed::Form::panels(panels),
    };
    let made = at.scratch(&Fact::new(DType::F32, vec![products, tiles, s.out_c]), Layout::Rows4)?;
    let sizes = matmul::ProductSizes { m: tiles, n: s.out_c, k: s.in_c, outer: products, inner: 1 };
    let rows = Target::of(&made, Layout::Rows4)?;
    matmul::emit(at, storage, sizes, [a, b], 1.0, &OutputStage::plain(rows)?)?;

    let whole = grid(tiles.saturating_mul(out_c4))?;
    let params = OutputParams {
        out_h: to_u32(s.out_h)?,
        out_w: to_u32(s.out_w)?,
        out_c4: to_u32(out_c4)?,
        tiles_h: to_u32(tiles_h)?,
        tiles_w: to_u32(tiles_w)?,
        tiles: to_u32(tiles)?,
        epilogue: epilogue.params(1.0),
        per_row: whole[0],
        opaque_zero: 0,
        count: tile.out().pow(2) as u32,
        transform: [tile.inputs() as u32, tile.out() as u32],
        offset: output.offset,
        step: output.step,
        spare: [0; 3],
    };
    let bindings = stage.bindings(at, storage, [made.buffer])?;
    at.emit(&WINOGRAD_OUTPUT, output_prelude(tile, storage, epilogue), params, &bindings, whole)
}
