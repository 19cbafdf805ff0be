//! The matrix product: `shaders/matmul.wgsl`.

use super::Lowering;
use super::block::parameters;
use super::epilogue::{Epilogue, EpilogueParams, OutputStage, test_variants};
use super::nbits::Codes;
use super::weights::{self, Form};
use super::{Kernel, Prelude, Target, gemm, gemm_cooperative, gemv, nbits, to_u32};
use crate::base::{
    BufferId, Capabilities, ElementFormat, Fact, Layout, TileConfiguration, Unsupported, View, WeightLayout,
    bucket, candidates,
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
    /// How it lies; of what is packed `row` is the step from one panel to the next.
    pub(super) form: Form,
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
    tail: bool,
    form: Form,
    epilogue: &Epilogue,
) -> Prelude {
    let base = Prelude::new()
        .storage(storage)
        .shared("a", storage, true)
        .constant("ROWS", rows)
        .constant("WIDTH", width)
        .flag("TAIL", tail);
    epilogue.prelude(weights::prelude(base, form)).code(COMMON)
}

fn variants() -> Vec<Prelude> {
    let mut list = vec![];
    for storage in [ElementFormat::F32, ElementFormat::F16, ElementFormat::F16Packed] {
        for (rows, tail, form) in [
            (1, true, Form::Rows),
            (4, false, Form::Rows),
            (8, false, Form::Rows),
            (12, true, Form::Rows),
            (16, false, Form::Panels),
            (16, true, Form::Rows),
        ] {
            list.extend(
                test_variants().iter().map(|epilogue| prelude(storage, rows, 16, tail, form, epilogue)),
            );
        }
        for (rows, form) in [1, 4, 16, 8].into_iter().zip(nbits::test_forms()) {
            let with = |epilogue| prelude(storage, rows, 16, true, form, epilogue);
            list.extend(test_variants().first().map(with));
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

/// Emits `A · B` of `[m, k]` by weights of few bits, `weights` a view of their tensor, in one dispatch or,
/// where they are more than the adapter binds at once, a part of the columns at a time.
pub fn by_codes(
    at: &mut dyn Lowering,
    storage: ElementFormat,
    a: View,
    weights: &View,
    (m, layout): (usize, WeightLayout),
    stage: &OutputStage,
) -> Result<(), Unsupported> {
    let a = if readable(&a) { a } else { at.in_layout(a, Layout::Rows4)? };
    let codes = Codes::of(&layout);
    let most = codes.most_columns(&layout, at.capabilities().max_binding());
    if layout.n > most && (stage.bias.is_some() || stage.residual.is_some()) {
        return Err(Unsupported::new("weights that are bound in parts, with a bias or a residual"));
    }
    for first in (0..layout.n).step_by(most) {
        let n = most.min(layout.n - first);
        let packing = codes.packing(&layout, first, n);
        let buffer = at.packed_view(weights, &|_: &View| packing.clone())?;
        let buffer = buffer.ok_or_else(|| Unsupported::new("weights that are no constant"))?;
        let row = to_u32(codes.chunks_of_panel(&layout))?;
        let b = Matrix { buffer, offset: 0, row, outer: 0, inner: 0, form: Form::Nbits(codes) };
        let output = Target { offset: stage.output.offset + to_u32(first / 4)?, ..stage.output };
        let sizes = ProductSizes { m, n, k: layout.k, outer: 1, inner: 1 };
        let stage = OutputStage { output, ..stage.clone() };
        emit(at, storage, sizes, [matrix(&a, 0, 0)?, b], 1.0, &stage)?;
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
            form: Form::Panels,
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
    Ok(Matrix {
        buffer: view.buffer,
        offset,
        row,
        outer: group(outer)?,
        inner: group(inner)?,
        form: Form::Rows,
    })
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
    let mut all = vec![];
    if !matches!(b.form, Form::Nbits(_)) {
        all = gemm_cooperative::variants_for(&capabilities, storage, [sizes.m, sizes.n], k4, batch);
    }
    all.extend(gemm::variants_for(&capabilities, [sizes.m, sizes.n], k4, 1, batch));
    all.extend(gemv::variants_for(&capabilities, sizes.m, n4, k4, batch));
    all.extend(if fits {
        candidates(rule, tiles(&capabilities, sizes.m), blocks > 1 && columns > 1)
    } else {
        vec![rule]
    });
    let packed = b.form.key();
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
            gemv::prelude(storage, variant, tail, b.form, epilogue),
            params,
            &bindings,
            grid,
        );
    }
    let plane = if down { [row_blocks, columns] } else { [columns, row_blocks] };
    let grid = [plane[0], plane[1], to_u32(batch)?];
    at.emit(&MATMUL, prelude(storage, rows, width, tail, b.form, epilogue), params, &bindings, grid)
}
