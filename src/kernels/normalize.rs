//! Normalisation of layers, instances and groups: `shaders/normalize_group.wgsl`, and
//! `shaders/normalize.wgsl` for software adapters.

use super::Lowering;
use super::block::parameters;
use super::reduction_group::{Neighbours, ReductionGroup};
use super::{Kernel, Prelude, folded_grid};
use crate::base::{Access, ElementFormat, Fact, Layout, Unsupported, View};

pub static NORMALIZE: Kernel = Kernel {
    stem: "normalize",
    shader: include_str!("../../shaders/normalize.wgsl"),
    params: Params::MEMBERS,
    variants,
};
pub static NORMALIZE_GROUP: Kernel = Kernel {
    stem: "normalize_group",
    shader: include_str!("../../shaders/normalize_group.wgsl"),
    params: Params::MEMBERS,
    variants: group_variants,
};

/// What is taken from a run, and what keeps its deviation from 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalization {
    /// Whether the mean is subtracted.
    pub centred: bool,
    pub epsilon: f32,
}

parameters! {
    struct Params {
        runs: u32,
        per_row: u32,
        columns: u32,
        outer: u32,
        column: u32,
        items: u32,
        inner: u32,
        step: u32,
        tail: u32,
        scale_step: u32,
        scale_divisor: u32,
        has_bias: u32,
        count: f32,
        epsilon: f32,
        spare: [u32; 2],
    }
}

/// What makes a variant: see the shader.
#[derive(Debug, Clone, Copy, Default)]
struct NormalizeVariant {
    centred: bool,
    lanes: bool,
    gathered: bool,
    tail: bool,
    flat: bool,
}

/// Invocations of a workgroup of a software adapter, where each makes a run by itself.
const WIDTH: u32 = 8;

fn prelude(storage: ElementFormat, v: NormalizeVariant) -> Prelude {
    let base = Prelude::new()
        .storage(storage)
        .flag("CENTRED", v.centred)
        .flag("LANES", v.lanes)
        .flag("GATHERED", v.gathered)
        .flag("TAIL", v.tail);
    base.flag("FLAT", v.flat).code(include_str!("../../shaders/lib/normalize.wgsl"))
}

fn test_variants() -> impl Iterator<Item = Prelude> {
    let layer = NormalizeVariant { centred: true, flat: true, ..NormalizeVariant::default() };
    let instance = NormalizeVariant { centred: true, lanes: true, ..NormalizeVariant::default() };
    let group = NormalizeVariant { centred: true, gathered: true, tail: true, ..NormalizeVariant::default() };
    let kinds = [
        layer,
        NormalizeVariant { tail: true, ..layer },
        instance,
        group,
        NormalizeVariant { tail: false, ..group },
    ];
    let kinds = kinds.into_iter().flat_map(|kind| [kind, NormalizeVariant { centred: false, ..kind }]);
    kinds.flat_map(|kind| {
        [ElementFormat::F32, ElementFormat::F16, ElementFormat::F16Packed]
            .map(|storage| prelude(storage, kind))
    })
}

fn variants() -> Vec<Prelude> {
    test_variants().map(|sample| sample.constant("WIDTH", WIDTH)).collect()
}

fn group_variants() -> Vec<Prelude> {
    ReductionGroup::each(test_variants())
}

/// Where runs lie, in groups of 4 (see the shader), and which elements of scale and bias are theirs.
struct Runs {
    count: usize,
    columns: usize,
    outer: usize,
    column: usize,
    items: usize,
    inner: usize,
    step: usize,
    /// Elements of a run.
    length: usize,
    scale_step: usize,
    /// Elements in a row that share one entry of scale and bias, where these go element by element.
    gathered: Option<usize>,
    lanes: bool,
}

impl Runs {
    /// Rows of `length` elements, padded to groups of 4.
    fn rows(count: usize, length: usize) -> Self {
        let items = length.div_ceil(4);
        Self {
            count,
            columns: 1,
            outer: items,
            column: 0,
            items,
            inner: items,
            step: 0,
            length,
            scale_step: 0,
            gathered: None,
            lanes: false,
        }
    }
    /// What lies side by side: short pieces of many runs, or the items of one.
    fn neighbours(&self) -> Neighbours {
        let pieces = self.inner < self.items && self.inner < 8 && self.column == self.inner;
        if pieces { Neighbours::Lines } else { Neighbours::Items }
    }
}

/// Scale and bias, each lying densely.
struct Affine {
    scale: View,
    bias: Option<View>,
}

/// Lowers a normalisation of input 0 over `axis` and all behind it. `scale` and `bias` have the shape of
/// these axes.
pub fn layer(
    at: &mut dyn Lowering,
    how: Normalization,
    axis: usize,
    scale: View,
    bias: Option<View>,
) -> Result<(), Unsupported> {
    let shape = at.fact(0)?.shape.clone();
    let (rows, length) = (shape[..axis].iter().product(), shape[axis..].iter().product());
    let affine = Affine {
        scale: at.in_layout(scale, Layout::Dense)?,
        bias: bias.map(|bias| at.in_layout(bias, Layout::Dense)).transpose()?,
    };
    if axis + 1 == shape.len() {
        let input = at.input(0, Layout::Rows4)?;
        let output = at.output(0, Layout::Rows4)?;
        return run(at, how, &input, &affine, &output, &Runs::rows(rows, length));
    }
    in_rows(at, how, [rows, length], &affine, &Runs::rows(rows, length))
}

/// Lowers a normalisation of each channel of each instance of input 0 `[n, c, d…]`; `scale` and `bias` are
/// `[c]`.
pub fn instance(
    at: &mut dyn Lowering,
    how: Normalization,
    scale: View,
    bias: Option<View>,
) -> Result<(), Unsupported> {
    let affine = Affine {
        scale: at.in_layout(scale, Layout::Dense)?,
        bias: bias.map(|bias| at.in_layout(bias, Layout::Dense)).transpose()?,
    };
    let input = at.input(0, Layout::ChannelsLast4)?;
    let output = at.output(0, Layout::ChannelsLast4)?;
    let (c4, area) = (input.shape[1].div_ceil(4), input.shape[2..].iter().product::<usize>());
    let runs = Runs {
        count: input.shape[0] * c4,
        columns: c4,
        outer: area * c4,
        column: 1,
        items: area,
        inner: 1,
        step: c4,
        length: area,
        scale_step: 1,
        gathered: None,
        lanes: true,
    };
    run(at, how, &input, &affine, &output, &runs)
}

/// Lowers a normalisation of `groups` groups of channels of input 0 `[n, c, d…]`; `scale` and `bias` hold c
/// elements.
pub fn group(
    at: &mut dyn Lowering,
    how: Normalization,
    groups: usize,
    scale: View,
    bias: Option<View>,
) -> Result<(), Unsupported> {
    let affine = Affine {
        scale: at.in_layout(scale, Layout::Dense)?,
        bias: bias.map(|bias| at.in_layout(bias, Layout::Dense)).transpose()?,
    };
    let shape = at.fact(0)?.shape.clone();
    let (n, channels, area) = (shape[0], shape[1] / groups, shape[2..].iter().product::<usize>());
    if channels.is_multiple_of(4) && shape.len() > 2 {
        let input = at.input(0, Layout::ChannelsLast4)?;
        let output = at.output(0, Layout::ChannelsLast4)?;
        let (c4, own4) = (shape[1] / 4, channels / 4);
        let runs = Runs {
            count: n * groups,
            columns: groups,
            outer: area * c4,
            column: own4,
            items: area * own4,
            inner: own4,
            step: c4,
            length: area * channels,
            scale_step: own4,
            gathered: None,
            lanes: false,
        };
        return run(at, how, &input, &affine, &output, &runs);
    }
    let length = channels * area;
    let items = length.div_ceil(4);
    let runs = Runs {
        columns: groups,
        outer: groups * items,
        column: items,
        scale_step: channels,
        gathered: Some(area),
        ..Runs::rows(n * groups, length)
    };
    in_rows(at, how, [n * groups, length], &affine, &runs)
}

/// Runs over input 0 reshaped to rows, which have another shape than the result.
fn in_rows(
    at: &mut dyn Lowering,
    how: Normalization,
    shape: [usize; 2],
    affine: &Affine,
    runs: &Runs,
) -> Result<(), Unsupported> {
    const EMPTY: &str = "a normalization of no elements";
    let (dtype, whole) = (at.fact(0)?.dtype, at.fact(0)?.shape.clone());
    let view = at.view(0)?;
    let rows = at.reshaped(view, &shape, EMPTY)?;
    let input = at.in_layout(rows, Layout::Rows4)?;
    let output = at.scratch(&Fact::new(dtype, shape), Layout::Rows4)?;
    run(at, how, &input, affine, &output, runs)?;
    let dense = at.in_layout(output, Layout::Dense)?;
    let view = dense.reshaped(&whole).ok_or_else(|| Unsupported::new(EMPTY))?;
    at.alias(0, view);
    Ok(())
}

fn run(
    at: &mut dyn Lowering,
    how: Normalization,
    input: &View,
    affine: &Affine,
    output: &View,
    runs: &Runs,
) -> Result<(), Unsupported> {
    let storage = at.float_storage(0)?;
    if at.float_storage(1)? != storage || affine.bias.is_some() && at.float_storage(2)? != storage {
        return Err(Unsupported::new("a scale of another type than the input"));
    }
    let to_u32 = |value: usize| {
        u32::try_from(value).map_err(|_| Unsupported::new("a normalization beyond 2³² elements"))
    };
    let capabilities = at.capabilities();
    // A barrier costs a software adapter more than the walk; but few runs would leave its cores idle.
    let group = match capabilities.software {
        false => Some(ReductionGroup::new(&capabilities, runs.count, runs.items, runs.neighbours())),
        true => (runs.count < 8 * WIDTH as usize).then_some(ReductionGroup::STREAMING),
    };
    let grid = match group {
        Some(group) => group.grid(runs.count, capabilities.max_grid),
        None => folded_grid((runs.count as u64).div_ceil(WIDTH as u64), capabilities.max_grid),
    };
    let tail = if runs.lanes { 4 } else { (runs.length + 3) % 4 + 1 };
    let params = Params {
        runs: to_u32(runs.count)?,
        per_row: grid[0],
        columns: to_u32(runs.columns)?,
        outer: to_u32(runs.outer)?,
        column: to_u32(runs.column)?,
        items: to_u32(runs.items)?,
        inner: to_u32(runs.inner)?,
        step: to_u32(runs.step)?,
        tail: to_u32(tail)?,
        scale_step: to_u32(runs.scale_step)?,
        scale_divisor: to_u32(runs.gathered.unwrap_or(1))?,
        has_bias: affine.bias.is_some() as u32,
        count: runs.length as f32,
        epsilon: how.epsilon,
        spare: [0; 2],
    };
    let bias = match &affine.bias {
        Some(bias) => bias.buffer,
        None => at.dummy(storage)?,
    };
    let (gathered, flat) = (runs.gathered.is_some(), runs.inner == runs.items);
    let variant =
        NormalizeVariant { centred: how.centred, lanes: runs.lanes, gathered, tail: tail != 4, flat };
    let prelude = prelude(storage, variant);
    let (kernel, prelude) = match group {
        Some(group) => (&NORMALIZE_GROUP, prelude.reduction_group(group)),
        None => (&NORMALIZE, prelude.constant("WIDTH", WIDTH)),
    };
    at.emit(
        kernel,
        prelude,
        params,
        &[
            (input.buffer, Access::Read),
            (affine.scale.buffer, Access::Read),
            (bias, Access::Read),
            (output.buffer, Access::Write),
        ],
        grid,
    )
}
