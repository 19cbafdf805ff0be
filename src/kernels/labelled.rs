//! Elements that labels choose, weighted, and their sum or mean: `shaders/labelled.wgsl`.

use super::Lowering;
use super::block::parameters;
use super::reduce::merged;
use super::{Kernel, Prelude, folded_grid, indices, to_u32};
use crate::base::{Access, ElementFormat, Fact, Layout, Unsupported, View};
use crate::tensor::DType;

pub static LABELLED: Kernel = Kernel {
    stem: "labelled",
    shader: include_str!("../../shaders/labelled.wgsl"),
    params: Params::MEMBERS,
    variants,
};

const WIDTH: u32 = 64;
/// The binding of the status.
const STATUS: u32 = 5;

parameters! {
    struct Params {
        count: u32,
        per_row: u32,
        samples: u32,
        run: u32,
        runs: u32,
        classes: u32,
        inner: u32,
        across: u32,
        outer_step: u32,
        class_step: u32,
        line_step: u32,
        step: u32,
        offset: u32,
        report: u32,
        ignored_low: u32,
        ignored_high: u32,
    }
}

/// What becomes of the samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Summed {
    Each,
    Sum,
    /// Divided by the sum of their weights.
    Mean,
}

/// What is chosen from, and by what.
pub struct Given {
    /// `[n, c, d…]`, where it lies.
    pub data: View,
    /// `[n, d…]`, dense.
    pub labels: View,
    pub label_type: DType,
    /// `[c]`, dense, stored as the data is.
    pub weights: Option<View>,
    /// The label of samples that don't count.
    pub ignored: Option<i64>,
}

#[derive(Debug, Clone, Copy)]
struct Flags {
    weighted: bool,
    ignores: bool,
    mean: bool,
    report: bool,
}

fn prelude(storage: ElementFormat, labels: ElementFormat, phase: u32, flags: Flags) -> Prelude {
    let same = match labels {
        ElementFormat::I64 => "all(x == vec2<u32>(p.ignored_low, p.ignored_high))",
        _ => "x == bitcast<i32>(p.ignored_low)",
    };
    let ignored = format!(
        "fn ignored(x: ILane) -> bool {{ return {}; }}\n",
        if flags.ignores { same } else { "false" }
    );
    // The last phase reads no label.
    let status = (phase < 2 && flags.report).then_some(STATUS);
    indices::declare(Prelude::new().storage(storage).code(&ignored), labels, status)
        .constant("PHASE", phase)
        .flag("WEIGHTED", flags.weighted)
        .flag("MEAN", flags.mean)
        .constant("WIDTH", WIDTH)
}

fn variants() -> Vec<Prelude> {
    let mut list = vec![];
    for storage in [ElementFormat::F32, ElementFormat::F16, ElementFormat::F16Packed] {
        for (labels, on) in [(ElementFormat::I32, false), (ElementFormat::I64, true)] {
            let flags = Flags { weighted: on, ignores: on, mean: on, report: on };
            let other = Flags { ignores: !on, report: !on, ..flags };
            list.extend((0..3).flat_map(|phase| [flags, other].map(|f| prelude(storage, labels, phase, f))));
        }
    }
    list
}

/// Emits what becomes of the samples into `output`, dense. `report`: the number by which a label that is none
/// of the classes is told of, where one may be.
pub fn emit(
    at: &mut dyn Lowering,
    storage: ElementFormat,
    mut given: Given,
    how: Summed,
    report: Option<u32>,
    output: &View,
) -> Result<(), Unsupported> {
    let places = |view: &View| {
        let dims = view.shape.iter().copied().zip(view.strides.iter().copied());
        merged(dims.skip(2))
    };
    let mut inner = places(&given.data);
    if inner.len() > 2 {
        given.data = at.in_layout(given.data, Layout::Dense)?;
        inner = places(&given.data);
    }
    let ([line, place], data) = (
        match inner[..] {
            [] => [(1, 0), (1, 0)],
            [one] => [(1, 0), one],
            [outer, inner] => [outer, inner],
            _ => return Err(Unsupported::new("scores that don't lie in lines")),
        },
        &given.data,
    );
    let [_, classes, ..] = data.shape[..] else {
        return Err(Unsupported::new("scores without classes"));
    };
    let samples = given.labels.count();
    let label_storage = at.storage(given.label_type)?;
    // A label that the type doesn't hold is none.
    let ignored = given.ignored.filter(|&x| label_storage == ElementFormat::I64 || i32::try_from(x).is_ok());
    let run = samples.isqrt().max(1);
    let runs = samples.div_ceil(run);
    let wrap = |stride: isize| stride as i32 as u32;
    let mut params = Params {
        count: 0,
        per_row: 0,
        samples: to_u32(samples)?,
        run: to_u32(run)?,
        runs: to_u32(runs)?,
        classes: to_u32(classes)?,
        inner: to_u32(line.0 * place.0)?.max(1),
        across: to_u32(place.0)?.max(1),
        outer_step: wrap(data.strides[0]),
        class_step: wrap(data.strides[1]),
        line_step: wrap(line.1),
        step: wrap(place.1),
        offset: to_u32(data.offset)?,
        report: report.unwrap_or(0),
        ignored_low: ignored.unwrap_or(0) as u32,
        ignored_high: (ignored.unwrap_or(0) >> 32) as u32,
    };
    let weights = match &given.weights {
        Some(view) => view.buffer,
        None => at.dummy(storage)?,
    };
    let sums = at.scratch(&Fact::new(DType::U32, [2 * runs.max(2)]), Layout::Dense)?;
    let bindings = [
        (data.buffer, Access::Read),
        (given.labels.buffer, Access::Read),
        (weights, Access::Read),
        (sums.buffer, Access::Write),
        (output.buffer, Access::Write),
    ];
    let phases: &[(u32, usize)] =
        if how == Summed::Each { &[(0, samples.div_ceil(4))] } else { &[(1, runs), (2, 1)] };
    for &(phase, count) in phases {
        params.count = to_u32(count)?;
        let grid = folded_grid((count as u64).div_ceil(WIDTH as u64), at.capabilities().max_grid);
        params.per_row = grid[0];
        let flags = Flags {
            weighted: given.weights.is_some(),
            ignores: ignored.is_some(),
            mean: how == Summed::Mean,
            report: report.is_some(),
        };
        at.emit(&LABELLED, prelude(storage, label_storage, phase, flags), params, &bindings, grid)?;
    }
    Ok(())
}
