//! The matrix product: `shaders/matmul.wgsl`.

use super::Lowering;
use super::block::parameters;
use super::epilogue::{Epilogue, EpilogueParams, OutputStage, test_variants};
use super::{Kernel, Prelude, Target, gemm, gemm_cooperative, gemv, to_u32, weights};
use crate::base::{
    BufferId, Capabilities, ElementFormat, Fact, Layout, TileConfiguration, Unsupported, View, bucket,
    candidates,
};
use crate::tensor::DType;

pub static MATMUL: Kernel = Kernel {
    stem: "matmul",
    shader: include_str!("../../shaders/matmul.wgsl"),
    params: Params::MEMBERS,
    variants,
};

/// What `shaders/gemv.wgsl` begins with too.
pub(super) const COMMON: &str = include_str!("../../shaders/lib/product.wgsl");

parameters! {
    pub(super) struct Params {
        epilogue: EpilogueParams,
        m: u32,
        n4: u32,
        k: u32,
        inner: u32,
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
        rows_first: u32,
        opaque_zero: u32,
        count: u32,
        c_offset: u32,
        spare: [u32; 2],
    }
}

/// An operand as the kernel reads it, in groups of 4 elements.
#[derive(Debug, Clone, Copy)]
pub struct Matrix {
    pub buffer: BufferId,
    pub offset: u32,
    pub row: u32,
    pub outer: u32,
    pub inner: u32,
    /// Weights packed in panels; `row` is the step from one to the next.
    pub panels: bool,
}

/// Sizes of a batch of products: `outer × inner` of `[m, k] · [k, n]`.
#[derive(Debug, Clone, Copy)]
pub struct ProductSizes {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub outer: usize,
    pub inner: usize,
}

/// The widths that a workgroup may have: narrow on a software adapter, where 8 invocations make one vector.
pub fn width(capabilities: &Capabilities, columns: usize) -> u32 {
    if capabilities.software {
        8
    } else if columns > 16 {
        64
    } else {
        16
    }
}

/// The rows that an invocation makes. On a software adapter more of them share a load of B: 16, beyond which
/// sums no longer fit.
pub fn rows(capabilities: &Capabilities, m: usize) -> u32 {
    match m {
        0..=1 => 1,
        2..=5 => 4,
        13.. if capabilities.dialect().table || capabilities.dialect().quads => 16,
        9.. if capabilities.dialect().table => 12,
        _ => 8,
    }
}

/// The rows per invocation that are worth measuring.
fn tiles(capabilities: &Capabilities, m: usize) -> &'static [u32] {
    match m {
        0..=1 => &[],
        2..=5 => &[1, 4],
        10.. if capabilities.dialect().table => &[8, 10, 12, 16],
        _ => &[4, 8],
    }
}

fn prelude(
    storage: ElementFormat,
    rows: u32,
    width: u32,
    [tail, panels]: [bool; 2],
    epilogue: &Epilogue,
) -> Prelude {
    let base = Prelude::new()
        .storage(storage)
        .shared("a", storage, true)
        .constant("ROWS", rows)
        .constant("WIDTH", width)
        .flag("TAIL", tail);
    epilogue.prelude(weights::prelude(base, panels)).code(COMMON)
}

fn variants() -> Vec<Prelude> {
    let mut list = vec![];
    for storage in [ElementFormat::F32, ElementFormat::F16, ElementFormat::F16Packed] {
        for (rows, flags) in [
            (1, [true, false]),
            (4, [false; 2]),
            (8, [false; 2]),
            (12, [true, false]),
            (16, [false, true]),
            (16, [true, false]),
        ] {
            list.extend(test_variants().iter().map(|epilogue| prelude(storage, rows, 16, flags, epilogue)));
        }
    }
    list
}

/// Emits a batch of products of `dtype` into a buffer of their own: `[batch…, m, n]` in rows of 4. See
/// [`product`].
pub fn computed(
    at: &mut dyn Lowering,
    dtype: DType,
    operands: [View; 2],
    batch: &[usize],
    [m, n, k]: [usize; 3],
) -> Result<View, Unsupported> {
    let storage = at.storage(dtype)?;
    let made = at.scratch(&Fact::new(dtype, [batch, &[m, n]].concat()), Layout::Rows4)?;
    let stage = OutputStage::plain(Target::of(&made, Layout::Rows4)?)?;
    product(at, storage, operands, batch, [m, n, k], 1.0, &stage)?;
    Ok(made)
}

/// Emits `alpha · A · B` for each of `batch`, of views whose last two axes are rows and columns, `sizes` m, n
/// and k.
///
/// Weights that are more than the adapter binds at once are taken a part of the columns at a time.
pub fn product(
    at: &mut dyn Lowering,
    storage: ElementFormat,
    [a, b]: [View; 2],
    batch: &[usize],
    [m, n, k]: [usize; 3],
    alpha: f32,
    stage: &OutputStage,
) -> Result<(), Unsupported> {
    let bytes = k.next_multiple_of(4).saturating_mul(storage.element_bytes());
    let capabilities = at.capabilities();
    let most = (capabilities.max_binding() / bytes.max(1) as u64 / 32).max(1).saturating_mul(32) as usize;
    if n <= most
        || !batch.is_empty()
        || b.shape.len() != 2
        || stage.bias.is_some()
        || stage.residual.is_some()
        || !at.is_constant(&b)
    {
        let (a, b, (outer, inner)) = operands(at, a, b, batch)?;
        return emit(at, storage, ProductSizes { m, n, k, outer, inner }, [a, b], alpha, stage);
    }
    for first in (0..n).step_by(most) {
        let n = most.min(n - first);
        let mut columns = View { shape: vec![k, n], ..b.clone() };
        columns.offset =
            columns.offset.saturating_add_signed(columns.strides[1].saturating_mul(first as isize));
        if !weights::panels(&capabilities) {
            columns = at.in_layout(columns, Layout::Rows4)?;
        }
        let (a, b, (outer, inner)) = operands(at, a.clone(), columns, &[])?;
        let output = Target { offset: stage.output.offset + to_u32(first / 4)?, ..stage.output };
        emit(
            at,
            storage,
            ProductSizes { m, n, k, outer, inner },
            [a, b],
            alpha,
            &OutputStage { output, ..stage.clone() },
        )?;
    }
    Ok(())
}

/// Two views as matrix operands of a batch of products, with the batch's sizes (outer, inner). The last two
/// axes are rows and columns; a view whose columns are not contiguous groups of 4 is copied.
fn operands(
    at: &mut dyn Lowering,
    a: View,
    b: View,
    batch: &[usize],
) -> Result<(Matrix, Matrix, (usize, usize)), Unsupported> {
    let a = if readable(&a) { a } else { at.in_layout(a, Layout::Rows4)? };
    if let [rows, columns] = b.shape[..]
        && batch.is_empty()
        && weights::panels(&at.capabilities())
        && let Some(buffer) = at.packed_view(&b, &|view: &View| {
            weights::of_matrix(view.offset, [view.strides[0], view.strides[1]], [rows, columns])
        })?
    {
        let b = Matrix {
            buffer,
            offset: 0,
            row: weights::panel_step(rows.div_ceil(4))?,
            outer: 0,
            inner: 0,
            panels: true,
        };
        return Ok((matrix(&a, 0, 0)?, b, (1, 1)));
    }
    let b = if readable(&b) { b } else { at.in_layout(b, Layout::Rows4)? };
    let wide = |view: &View| {
        let mut shape = batch.to_vec();
        shape.extend(&view.shape[view.shape.len() - 2..]);
        view.broadcast(&shape).strides
    };
    let (sa, sb) = (wide(&a), wide(&b));
    let mut merged: Vec<(usize, isize, isize)> = vec![];
    for (axis, &size) in batch.iter().enumerate().filter(|(_, size)| **size != 1) {
        match merged.last_mut() {
            Some(last) if last.1 == size as isize * sa[axis] && last.2 == size as isize * sb[axis] => {
                *last = (last.0 * size, sa[axis], sb[axis])
            }
            _ => merged.push((size, sa[axis], sb[axis])),
        }
    }
    if merged.len() > 2 {
        return Err(Unsupported::new(format!(
            "a batch of shape {batch:?} that broadcasts in more than two parts"
        )));
    }
    while merged.len() < 2 {
        merged.insert(0, (1, 0, 0));
    }
    let (outer, inner) = (merged[0], merged[1]);
    Ok((matrix(&a, outer.1, inner.1)?, matrix(&b, outer.2, inner.2)?, (outer.0, inner.0)))
}

/// Whether the kernel can read a view where it lies.
pub fn readable(view: &View) -> bool {
    let rank = view.shape.len();
    let groups =
        |axis: usize| view.shape[axis] <= 1 || view.strides[axis] >= 0 && view.strides[axis] % 4 == 0;
    view.offset.is_multiple_of(4)
        && (view.shape[rank - 1] <= 1 || view.strides[rank - 1] == 1)
        && (0..rank - 1).all(groups)
}

fn matrix(view: &View, outer: isize, inner: isize) -> Result<Matrix, Unsupported> {
    let group = |stride: isize| {
        u32::try_from(stride / 4).map_err(|_| Unsupported::new("a matrix beyond 2³² elements"))
    };
    let row = view.shape.len() - 2;
    let row = if view.shape[row] > 1 { group(view.strides[row])? } else { 0 };
    let offset =
        u32::try_from(view.offset / 4).map_err(|_| Unsupported::new("a matrix beyond 2³² elements"))?;
    Ok(Matrix { buffer: view.buffer, offset, row, outer: group(outer)?, inner: group(inner)?, panels: false })
}

/// Emits a batch of products `alpha · A · B`.
pub fn emit(
    at: &mut dyn Lowering,
    storage: ElementFormat,
    sizes: ProductSizes,
    [a, b]: [Matrix; 2],
    alpha: f32,
    stage: &OutputStage,
) -> Result<(), Unsupported> {
    let capabilities = at.capabilities();
    let n4 = sizes.n.div_ceil(4);
    let width = width(&capabilities, n4);
    let (rule, columns) = (rows(&capabilities, sizes.m), to_u32(n4)?.div_ceil(width));
    let blocks = to_u32(sizes.m)?.div_ceil(rule);
    // A smaller tile makes more blocks.
    let fits = sizes.m.div_ceil(4) <= capabilities.max_grid as usize;
    let rule = TileConfiguration::alone(
        rule,
        weights::rows_first(sizes.k.saturating_mul(sizes.n)) && blocks <= capabilities.max_grid,
    );
    let (batch, k4) = (sizes.outer.saturating_mul(sizes.inner), sizes.k.div_ceil(4));
    let mut all = gemm_cooperative::variants_for(&capabilities, storage, [sizes.m, sizes.n], k4, batch);
    all.extend(gemm::variants_for(&capabilities, [sizes.m, sizes.n], k4, 1, batch));
    all.extend(gemv::variants_for(&capabilities, sizes.m, n4, k4, batch));
    all.extend(if fits {
        candidates(rule, tiles(&capabilities, sizes.m), blocks > 1 && columns > 1)
    } else {
        vec![rule]
    });
    let packed = if b.panels { " packed" } else { "" };
    let key = format!(
        "matmul{packed} {storage:?} {} of {}x{}x{}",
        bucket(batch),
        bucket(sizes.m),
        sizes.k,
        sizes.n
    );
    let variant = at.choose(key, all);
    if variant.columns > 0 {
        return gemm::product(at, storage, variant, sizes, [a, b], alpha, stage);
    }
    let TileConfiguration { tile: rows, down, .. } = variant;
    let row_blocks = to_u32(sizes.m)?.div_ceil(rows);
    let (epilogue, c) = (&stage.epilogue, stage.output);
    let params = Params {
        m: to_u32(sizes.m)?,
        n4: to_u32(n4)?,
        k: to_u32(sizes.k)?,
        inner: to_u32(sizes.inner)?,
        a_offset: a.offset,
        a_row: a.row,
        a_outer: a.outer,
        a_inner: a.inner,
        b_offset: b.offset,
        b_row: b.row,
        b_outer: b.outer,
        b_inner: b.inner,
        c_row: c.step,
        c_batch: to_u32(sizes.m.saturating_mul(c.step as usize))?,
        epilogue: epilogue.params(alpha),
        rows_first: down as u32,
        opaque_zero: 0,
        count: rows,
        c_offset: c.offset,
        spare: [0; 2],
    };
    let bindings = stage.bindings(at, storage, [a.buffer, b.buffer])?;
    let tail = !sizes.k.is_multiple_of(4);
    if variant.slices > 1 {
        let grid = [to_u32(n4)?.div_ceil(gemv::columns_of(variant)), row_blocks, to_u32(batch)?];
        return at.emit(
            &gemv::GEMV,
            gemv::prelude(storage, variant, tail, epilogue),
            params,
            &bindings,
            grid,
        );
    }
    let plane = if down { [row_blocks, columns] } else { [columns, row_blocks] };
    let grid = [plane[0], plane[1], to_u32(batch)?];
    at.emit(&MATMUL, prelude(storage, rows, width, [tail, b.panels], epilogue), params, &bindings, grid)
}
