//! [GridSample](https://onnx.ai/onnx/operators/onnx__GridSample.html), versions 16, 20, 22: an input read at
//! the locations of a grid.
//!
//! Inputs: X `[n, c, d…]`, grid `[n, o…, r]` for r spatial axes, whose coordinates run from −1 to 1 and name
//! the innermost axis first. As onnxruntime and ONNX's reference do, a location outside is first brought
//! inside by the padding mode, and then so is each element that its interpolation reads.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::kernels::grid_sample::{Padding, Sampling, emit};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Located, Lower, NodeView, OpDef, Operator};
use crate::tensor::index::strides;
use crate::tensor::{Tensor, allocate, cast, element_count, zeros};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "GridSample", since: 16, parse, cases: CASES };

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interpolation {
    Linear,
    Nearest,
    Cubic,
}

#[derive(Debug, Clone, PartialEq)]
pub struct GridSample {
    interpolation: Interpolation,
    padding: Padding,
    /// −1 and 1 are the centres of the outermost elements; else their outer edges.
    align_corners: bool,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=2)?;
    let names =
        if node.version < 20 { ["bilinear", "nearest", "bicubic"] } else { ["linear", "nearest", "cubic"] };
    let mode = node.choice("mode", names[0], &names)?;
    let padding = match node.choice("padding_mode", "zeros", &["zeros", "border", "reflection"])?.as_str() {
        "border" => Padding::Border,
        "reflection" => Padding::Reflection,
        _ => Padding::Zeros,
    };
    let interpolation = match names.iter().position(|name| *name == mode) {
        Some(1) => Interpolation::Nearest,
        Some(2) => Interpolation::Cubic,
        _ => Interpolation::Linear,
    };
    Ok(Arc::new(GridSample { interpolation, padding, align_corners: node.flag("align_corners", false)? }))
}

/// Keys' cubic kernel with the coefficient −0.75, for the four elements around a location: `t` beyond the
/// second of them.
fn cubic(t: f64) -> [f64; 4] {
    const A: f64 = -0.75;
    let near = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]
}

impl GridSample {
    fn shape(&self, x: &[usize], grid: &[usize]) -> Result<Vec<usize>> {
        let spatial = x.len().saturating_sub(2);
        let fits = spatial > 0
            && grid.len() == x.len()
            && grid[0] == x[0]
            && grid.last().is_some_and(|&coordinates| coordinates == spatial);
        if !fits {
            return Err(Error::model(format!(
                "a grid of shape {grid:?} doesn't fit an input of shape {x:?}: [n, …, {spatial}] is needed"
            )));
        }
        Ok([&x[..2], &grid[1..=spatial]].concat())
    }

    /// Where the padding mode puts a location on an axis of `size` elements, or an element.
    fn inside(&self, x: f64, size: usize) -> f64 {
        let last = size as f64 - 1.0;
        let (low, high) = if self.align_corners { (0.0, last) } else { (-0.5, last + 0.5) };
        if (low..=high).contains(&x) {
            return x;
        }
        match self.padding {
            Padding::Zeros => x,
            Padding::Border => x.clamp(0.0, last),
            Padding::Reflection if high == low => low,
            Padding::Reflection => {
                let beyond = if x < low { low - x } else { x - high };
                let rest = beyond % (high - low);
                let turns = ((beyond - rest) / (high - low)).round();
                if (turns % 2.0 == 0.0) == (x < low) { low + rest } else { high - rest }
            }
        }
    }

    /// The element that index `at` of an axis stands for.
    fn element(&self, at: f64, size: usize) -> Option<usize> {
        let last = size as f64 - 1.0;
        if (0.0..=last).contains(&at) {
            return Some(at as usize);
        }
        match self.padding {
            Padding::Zeros => None,
            _ => Some(self.inside(at, size).clamp(0.0, last) as usize),
        }
    }

    /// The elements of an axis of `size` that a coordinate reads, and their weights.
    fn taps(&self, coordinate: f64, size: usize) -> Vec<(usize, f64)> {
        if size == 0 {
            return vec![];
        }
        let x = self.location(coordinate, size);
        let x = if self.interpolation == Interpolation::Nearest { x.round_ties_even() } else { x };
        let x = self.inside(x, size);
        let (floor, t) = (x.floor(), x - x.floor());
        let weights: &[f64] = match self.interpolation {
            Interpolation::Nearest => &[1.0],
            Interpolation::Linear => &[1.0 - t, t],
            Interpolation::Cubic => &cubic(t),
        };
        let first = if self.interpolation == Interpolation::Cubic { floor - 1.0 } else { floor };
        let mut taps: Vec<(usize, f64)> = Vec::with_capacity(weights.len());
        for (k, &weight) in weights.iter().enumerate() {
            let Some(at) = self.element(first + k as f64, size) else { continue };
            // One element read several times is read once: a short axis has few.
            match taps.iter_mut().find(|tap| tap.0 == at) {
                Some(tap) => tap.1 += weight,
                None => taps.push((at, weight)),
            }
        }
        taps
    }

    /// The elements of a plane that a location reads, and their weights.
    fn sources(&self, location: &[f64], sizes: &[usize], steps: &[usize]) -> Vec<(usize, f64)> {
        let mut all = vec![(0, 1.0)];
        for (axis, &size) in sizes.iter().enumerate() {
            let taps = self.taps(location[sizes.len() - 1 - axis], size);
            let along = |&(at, weight): &(usize, f64)| {
                taps.iter().map(move |tap| (at + tap.0 * steps[axis], weight * tap.1)).collect::<Vec<_>>()
            };
            all = all.iter().flat_map(along).collect();
        }
        all
    }
}

impl GridSample {
    /// The location that a coordinate names on an axis of `size` elements, before the padding mode.
    fn location(&self, coordinate: f64, size: usize) -> f64 {
        let n = size as f64;
        if self.align_corners {
            (coordinate + 1.0) / 2.0 * (n - 1.0)
        } else {
            ((coordinate + 1.0) * n - 1.0) / 2.0
        }
    }

    /// Weights add up to at most 1 in magnitude along an axis, a cubic's to 11/8. One that is moved by δ ≤ 1 changes
    /// by at most 2δ in all, a cubic's by 5δ. The nearest element is another where the location comes to a half.
    fn off(&self, x: &Tensor, grid: &Tensor, unit: f64) -> Result<Located> {
        let shape = self.shape(x.shape(), grid.shape())?;
        let (sizes, channels) = (&x.shape()[2..], x.shape()[1]);
        let (steep, most, taps): (f64, f64, usize) = match self.interpolation {
            Interpolation::Nearest => (0.0, 1.0, 1),
            Interpolation::Linear => (2.0, 1.0, 2),
            Interpolation::Cubic => (5.0, 1.375, 4),
        };
        let rank = sizes.len() as i32;
        let weight = most.powi(rank);
        let steep = steep * most.powi(rank - 1);
        // The largest magnitude of each plane, and whether all of it is finite.
        let area = sizes.iter().product::<usize>().max(1);
        let planes: Vec<(f64, bool)> = x
            .to_f64s()?
            .chunks(area)
            .map(|plane| {
                let finite = plane.iter().filter(|x| x.is_finite());
                let largest = finite.fold(0.0, |most: f64, x| most.max(x.abs()));
                (largest, plane.iter().all(|x| x.is_finite()))
            })
            .collect();
        let (grid, locations) = (grid.to_f64s()?, shape[2..].iter().product::<usize>());
        let mut off: Vec<f64> = zeros(element_count(&shape)?)?;
        if planes.is_empty() {
            return Ok(Located { off, weight, terms: taps.pow(rank as u32) });
        }
        for place in 0..shape[0] * locations {
            let (mut change, mut other) = (0.0, false);
            for (axis, &size) in sizes.iter().enumerate() {
                let coordinate = grid[place * sizes.len() + sizes.len() - 1 - axis];
                // An infinity or NaN is what it is.
                let delta = if coordinate.is_finite() {
                    unit * (coordinate.abs() + 1.0) * (size as f64 + 1.0)
                } else {
                    0.0
                };
                let at = self.location(coordinate, size);
                let half = if self.interpolation == Interpolation::Nearest { 0.5 } else { 0.0 };
                let turn = (at - half - (at - half).round()).abs();
                other |= delta > 0.0 && (delta >= 0.5 || turn <= delta);
                change += steep * delta;
            }
            if self.interpolation == Interpolation::Nearest && other {
                change = 2.0;
            }
            let (image, location) = (place / locations, place % locations);
            for channel in image * channels..(image + 1) * channels {
                let (largest, finite) = planes[channel];
                let open = other && !finite;
                off[channel * locations + location] =
                    if open { f64::INFINITY } else { change.min(2.0 * weight) * largest };
            }
        }
        Ok(Located { off, weight, terms: taps.pow(rank as u32) })
    }
}

impl Operator for GridSample {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let (x, grid) = (inputs.required(0)?, inputs.required(1)?);
        if !grid.dtype.is_float() {
            return Err(Error::model(format!("its grid is {}; floats are allowed", grid.dtype)).into());
        }
        Ok(vec![Fact::new(x.dtype, self.shape(&x.shape, &grid.shape)?)])
    }

    /// Locations and weights are float64; the nearest elements are moved, of whatever type.
    fn takes_any_type(&self) -> bool {
        true
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let (x, grid) = (inputs.required(0)?, inputs.required(1)?);
        let shape = self.shape(x.shape(), grid.shape())?;
        let (sizes, channels) = (&x.shape()[2..], x.shape()[1]);
        let (steps, plane) = (strides(sizes), sizes.iter().product::<usize>());
        let locations: usize = shape[2..].iter().product();
        let grid = grid.to_f64s()?;
        let of = |place: usize| self.sources(&grid[place * sizes.len()..][..sizes.len()], sizes, &steps);
        if self.interpolation == Interpolation::Nearest {
            let mut nearest: Vec<Option<usize>> = allocate(shape[0] * locations)?;
            nearest.extend((0..shape[0] * locations).map(|place| of(place).first().map(|source| source.0)));
            let source = |at: usize| {
                let image = at / locations / channels;
                let within = nearest.get(image * locations + at % locations).copied().flatten()?;
                Some(at / locations * plane + within)
            };
            return Ok(vec![x.pick(shape, source)?]);
        }
        let xs = x.to_f64s()?;
        let mut ys: Vec<f64> = zeros(element_count(&shape)?)?;
        for place in 0..shape[0] * locations {
            let sources = of(place);
            let (image, location) = (place / locations, place % locations);
            for channel in image * channels..(image + 1) * channels {
                ys[channel * locations + location] =
                    sources.iter().map(|&(at, weight)| xs[channel * plane + at] * weight).sum();
            }
        }
        Ok(vec![cast(&Tensor::new(shape, ys)?, x.dtype(), true)?])
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Located
    }

    fn located(&self, inputs: Operands<'_, Tensor>, unit: f64) -> Result<Option<Located>> {
        self.off(inputs.required(0)?, inputs.required(1)?, unit).map(Some)
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn flops(&self, inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        let rank = inputs.optional(0).map_or(0, |x| x.rank().saturating_sub(2)) as u32;
        let taps: u64 = match self.interpolation {
            Interpolation::Nearest => 1,
            Interpolation::Linear => 2,
            Interpolation::Cubic => 4,
        };
        outputs.iter().map(|fact| 2 * taps.saturating_pow(rank).saturating_mul(fact.count() as u64)).sum()
    }
}

impl Lower for GridSample {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let taps = match self.interpolation {
            Interpolation::Nearest => 1,
            Interpolation::Linear => 2,
            Interpolation::Cubic => 4,
        };
        emit(at, Sampling { taps, padding: self.padding, corners: self.align_corners })
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[2, 3, 5, 4]), Range(&[2, 3, 4, 2], -1.4, 1.4)]),
    case(&[("align_corners", Int(1))], &[Floats(&[1, 2, 4, 5]), Range(&[1, 5, 3, 2], -1.4, 1.4)]),
    case(
        &[("padding_mode", Text("border")), ("mode", Text("bilinear"))],
        &[Floats(&[2, 1, 4, 5]), Range(&[2, 3, 7, 2], -1.6, 1.6)],
    )
    .at(16),
    case(&[("padding_mode", Text("reflection"))], &[Floats(&[1, 2, 4, 5]), Range(&[1, 4, 9, 2], -5.0, 5.0)]),
    case(
        &[("padding_mode", Text("reflection")), ("align_corners", Int(1))],
        &[Floats(&[1, 2, 4, 5]), Range(&[1, 4, 9, 2], -5.0, 5.0)],
    ),
    case(&[("mode", Text("nearest"))], &[Floats(&[1, 2, 4, 5]), Range(&[1, 4, 9, 2], -1.4, 1.4)]),
    case(
        &[("mode", Text("nearest")), ("padding_mode", Text("reflection"))],
        &[Floats(&[1, 2, 4, 5]), Range(&[1, 4, 9, 2], -3.0, 3.0)],
    ),
    case(
        &[("mode", Text("nearest")), ("padding_mode", Text("border")), ("align_corners", Int(1))],
        &[I64(&[1, 2, 4, 5]), Range(&[1, 4, 9, 2], -3.0, 3.0)],
    ),
    case(&[("mode", Text("cubic"))], &[Floats(&[1, 2, 5, 6]), Range(&[1, 3, 4, 2], -1.2, 1.2)]),
    case(
        &[("mode", Text("bicubic")), ("padding_mode", Text("reflection")), ("align_corners", Int(1))],
        &[Floats(&[1, 2, 5, 6]), Range(&[1, 3, 4, 2], -2.0, 2.0)],
    )
    .at(16),
    case(&[], &[Floats(&[1, 2, 3, 4, 5]), Range(&[1, 2, 3, 2, 3], -1.4, 1.4)]),
    case(
        &[("mode", Text("nearest")), ("padding_mode", Text("border"))],
        &[Floats(&[1, 2, 3, 4, 5]), Range(&[1, 2, 3, 2, 3], -1.4, 1.4)],
    ),
    case(&[("mode", Text("cubic"))], &[Floats(&[1, 1, 3, 4, 5]), Range(&[1, 2, 3, 2, 3], -1.2, 1.2)]),
    case(&[], &[Floats(&[1, 2, 7]), Range(&[1, 5, 1], -1.4, 1.4)]),
];
