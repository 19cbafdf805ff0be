//! [Pad](https://onnx.ai/onnx/operators/onnx__Pad.html), versions 1, 2, 11, 13, 18, 19, 21: elements before
//! and behind each axis.
//!
//! Inputs: data, pads (begins, then ends; negative ones crop), and optionally the constant (default 0) and
//! axes. The first two options were attributes before version 11. Where both crop and pad are asked of an
//! axis, the crop comes first.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Layout, Operands, Unsupported, View};
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Input, Lower, NodeView, OpDef, Operator};
use crate::tensor::index::axes;
use crate::tensor::{Tensor, cast, element_count};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "Pad", since: 1, parse, cases: CASES };

/// Where the elements beyond the edges come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pad {
    Constant,
    /// Mirrored at the edge element, which isn't repeated.
    Reflect,
    /// The edge element, repeated.
    Edge,
    /// The other end.
    Wrap,
}

/// More boxes than this would cost more dispatches than padding on the CPU.
const MAX_BOXES: usize = 32;

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    if node.version < 11 {
        node.ints_to_input(if node.version < 2 { "paddings" } else { "pads" }, 1)?;
        let value = node.float("value", 0.0)?;
        node.inputs.resize(2, Input::Absent);
        node.inputs.push(Input::Constant(Tensor::scalar(value)));
    }
    node.expect_inputs(2..=4)?;
    Ok(Arc::new(match node.choice("mode", "constant", &["constant", "reflect", "edge", "wrap"])?.as_str() {
        "reflect" => Pad::Reflect,
        "edge" => Pad::Edge,
        "wrap" => Pad::Wrap,
        _ => Pad::Constant,
    }))
}

/// What happens to one axis: `kept` elements from `first` on, with `before` and `after` new ones around.
#[derive(Debug, Clone, Copy)]
struct Edges {
    first: usize,
    kept: usize,
    before: usize,
    after: usize,
}

fn edges(shape: &[usize], pads: &[i64], given: Option<Vec<i64>>) -> Result<Vec<Edges>> {
    let list = given.unwrap_or_else(|| (0..shape.len() as i64).collect());
    let mut result: Vec<Edges> =
        shape.iter().map(|&kept| Edges { first: 0, kept, before: 0, after: 0 }).collect();
    if pads.len() != 2 * list.len() {
        return Err(Error::model(format!("{} pads for {} axes", pads.len(), list.len())));
    }
    for (k, axis) in axes(&list, shape.len())?.into_iter().enumerate() {
        let (begin, end, size) = (pads[k], pads[k + list.len()], shape[axis] as u64);
        let cropped = |pad: i64| if pad < 0 { pad.unsigned_abs() } else { 0 };
        let kept = size.checked_sub(cropped(begin).saturating_add(cropped(end)));
        let kept = kept.ok_or_else(|| {
            Error::model(format!("pads {begin} and {end} crop more than the {size} elements of axis {axis}"))
        })?;
        result[axis] = Edges {
            first: cropped(begin) as usize,
            kept: kept as usize,
            before: begin.max(0) as usize,
            after: end.max(0) as usize,
        };
    }
    Ok(result)
}

/// A run of one axis: where it goes, where it comes from, and the step there.
#[derive(Debug, Clone, Copy)]
struct PadRun {
    to: usize,
    from: usize,
    step: isize,
    count: usize,
}

impl Edges {
    fn size(&self) -> Result<usize> {
        let sum = self.before.checked_add(self.kept).and_then(|sum| sum.checked_add(self.after));
        sum.ok_or_else(|| Error::memory("the padded shape overflows"))
    }

    /// The element that position `at` of the result repeats; `None` for the constant.
    fn source(&self, mode: Pad, at: usize) -> Option<usize> {
        let (i, n) = (at as i128 - self.before as i128, self.kept as i128);
        let i = match mode {
            _ if (0..n).contains(&i) => i,
            Pad::Constant => return None,
            Pad::Edge => i.clamp(0, n - 1),
            Pad::Wrap => i.rem_euclid(n),
            Pad::Reflect if n == 1 => 0,
            Pad::Reflect => {
                let there = i.rem_euclid(2 * (n - 1));
                there.min(2 * (n - 1) - there)
            }
        };
        Some(self.first + i as usize)
    }

    /// The axis as runs of constant step; an error where a pad is longer than what it repeats.
    fn runs(&self, mode: Pad) -> Result<Vec<PadRun>, Unsupported> {
        let Edges { first, kept, before, after } = *self;
        let behind = before + kept;
        let reach = match mode {
            Pad::Constant | Pad::Edge => usize::MAX,
            Pad::Wrap => kept,
            Pad::Reflect => kept.saturating_sub(1),
        };
        if before > reach || after > reach {
            return Err(Unsupported::new(format!(
                "pads of {before} and {after} that repeat an axis of {kept} more than once"
            )));
        }
        let last = (first + kept).saturating_sub(1);
        let around = match mode {
            Pad::Constant => vec![],
            Pad::Edge => vec![
                PadRun { to: 0, from: first, step: 0, count: before },
                PadRun { to: behind, from: last, step: 0, count: after },
            ],
            Pad::Wrap => {
                vec![
                    PadRun { to: 0, from: first + kept - before, step: 1, count: before },
                    PadRun { to: behind, from: first, step: 1, count: after },
                ]
            }
            Pad::Reflect => {
                vec![
                    PadRun { to: 0, from: first + before, step: -1, count: before },
                    PadRun { to: behind, from: last.saturating_sub(1), step: -1, count: after },
                ]
            }
        };
        let middle = PadRun { to: before, from: first, step: 1, count: kept };
        Ok([middle].into_iter().chain(around).filter(|run| run.count > 0).collect())
    }
}

impl Pad {
    fn shape(self, edges: &[Edges]) -> Result<Vec<usize>> {
        let shape = edges.iter().map(Edges::size).collect::<Result<Vec<_>>>()?;
        let nothing = edges.iter().any(|edge| edge.kept == 0 && edge.before.max(edge.after) > 0);
        if self != Pad::Constant && nothing {
            Err(Error::input("an axis without elements has none to repeat"))
        } else {
            Ok(shape)
        }
    }
}

impl Operator for Pad {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        let edges = edges(&x.shape, &inputs.ints(1)?, inputs.optional_ints(3)?)?;
        Ok(vec![Fact::new(x.dtype, self.shape(&edges)?)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let edges = edges(
            x.shape(),
            &inputs.required(1)?.to_i64s()?,
            inputs.optional(3).map(Tensor::to_i64s).transpose()?,
        )?;
        let shape = self.shape(&edges)?;
        element_count(&shape)?;
        let source = |(edges, &size): (&Edges, &usize)| {
            (0..size).map(|at| edges.source(*self, at)).collect::<Vec<Option<usize>>>()
        };
        let sources: Vec<_> = edges.iter().zip(&shape).map(source).collect();
        let value = inputs.optional(2).map(|value| cast(value, x.dtype(), true)).transpose()?;
        if let Some(value) = value.as_ref().filter(|value| value.len() != 1) {
            return Err(Error::input(format!("the constant of a Pad has {} elements, not one", value.len())));
        }
        Ok(vec![x.gather_axes(&sources, value.as_ref())?])
    }

    fn takes_any_type(&self) -> bool {
        true
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }

    fn flops(&self, _inputs: Operands<'_, Fact>, _outputs: &[Fact]) -> u64 {
        0
    }
}

impl Lower for Pad {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let view = at.view(0)?;
        let pads = at.ints(1)?;
        let given = at.optional_ints(3)?;
        let edges = edges(&view.shape, &pads, given)?;
        let fact = at.output_fact(0)?.clone();
        if fact.shape == view.shape && pads.iter().all(|&pad| pad == 0) {
            at.alias(0, view);
            return Ok(());
        }
        let runs = edges.iter().map(|edge| edge.runs(*self)).collect::<Result<Vec<_>, _>>()?;
        let boxes = runs.iter().map(Vec::len).product::<usize>();
        if boxes > MAX_BOXES {
            return Err(Unsupported::new(format!("padding in {boxes} parts")));
        }
        // A padded layout, so that no two rows of a part share a group of 4.
        let layout = if at.layout_of(&view) == Layout::ChannelsLast4 && !view.is(Layout::Dense) {
            Layout::ChannelsLast4
        } else {
            Layout::Rows4
        };
        let output = at.output(0, layout)?;
        if *self == Pad::Constant {
            let known = if at.has_input(2) { at.constant(2).cloned() } else { Some(Tensor::scalar(0f32)) };
            let fill = match known {
                Some(value) if value.len() == 1 => at.filled("padding", &value, fact.dtype, &fact.shape)?,
                None if at.fact(2)?.dtype == fact.dtype && at.fact(2)?.count() == 1 => {
                    let value = at.view(2)?;
                    at.reshaped(value, &[1], "a constant of one element")?.broadcast(&fact.shape)
                }
                _ => return Err(Unsupported::new("a constant of another type, or not of one element")),
            };
            at.copy(&fill, &output)?;
        }
        for index in 0..boxes {
            let (mut rest, mut from, mut to) = (index, view.clone(), output.clone());
            for axis in (0..runs.len()).rev() {
                let run = runs[axis][rest % runs[axis].len()];
                rest /= runs[axis].len();
                shift(&mut from, axis, run.from, run.step, run.count);
                shift(&mut to, axis, run.to, 1, run.count);
            }
            at.copy(&from, &to)?;
        }
        Ok(())
    }
}

/// Narrows a view's axis to `count` elements from `first` on.
fn shift(view: &mut View, axis: usize, first: usize, step: isize, count: usize) {
    view.offset = view.offset.wrapping_add_signed(first as isize * view.strides[axis]);
    view.strides[axis] *= step;
    view.shape[axis] = count;
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[2, 3, 5]), Known(&[0, 1, 2, 0, 0, 1])]),
    case(&[], &[Floats(&[3, 8]), Known(&[1, 4, 0, 4]), Scalar(1.5)]),
    case(&[], &[Floats(&[3, 8]), Known(&[1, 4, 0, 4]), Floats(&[])]),
    case(&[], &[I64(&[3]), Known(&[1, 1]), I64(&[1])]),
    case(&[], &[Floats(&[3, 5]), Known(&[-1, 0, 1, 2])]),
    case(&[], &[Floats(&[3, 5]), Known(&[2, 1]), Absent, Known(&[-1])]),
    case(&[], &[Floats(&[3, 5]), Known(&[0, 0, 0, 0])]).runs("view"),
    case(&[("mode", Text("reflect"))], &[Floats(&[3, 5]), Known(&[1, 3, 2, 4])]),
    case(&[("mode", Text("reflect"))], &[Floats(&[2, 3]), Known(&[0, 5, 0, 0])]).runs("cpu"),
    case(&[("mode", Text("edge"))], &[Floats(&[1, 3, 2, 5]), Known(&[0, 0, 1, 3, 0, 0, 2, 1])]),
    case(&[("mode", Text("wrap"))], &[I64(&[2, 3]), Known(&[1, 2, 0, 1])]),
    case(&[("pads", Ints(&[0, 2, 1, 0])), ("value", Float(0.5))], &[Floats(&[2, 3])]).at(10),
    case(&[("paddings", Ints(&[1, 0, 0, 2]))], &[Floats(&[2, 3])]).at(1),
];
