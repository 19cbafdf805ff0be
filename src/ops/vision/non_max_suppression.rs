//! [NonMaxSuppression](https://onnx.ai/onnx/operators/onnx__NonMaxSuppression.html), versions 10, 11: of
//! boxes that overlap, those with the best scores.
//!
//! Inputs: boxes `[n, b, 4]`, scores `[n, classes, b]`, and optionally the most boxes for each class of an
//! image, the overlap (intersection over union) above which a box is left out, and the score that a box must
//! exceed, as onnxruntime and ONNX's reference have it. The output's size depends on the elements.

use crate::base::{EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator, single};
use crate::tensor::{DType, Tensor, allocate};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "NonMaxSuppression", since: 10, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct NonMaxSuppression {
    /// Boxes are given by centre and size; else by two opposite corners.
    centred: bool,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=5)?;
    Ok(Arc::new(NonMaxSuppression { centred: node.flag("center_point_box", false)? }))
}

/// A box by its lower and upper corners.
#[derive(Debug, Clone, Copy)]
struct Corners {
    low: [f64; 2],
    high: [f64; 2],
}

impl Corners {
    fn of(given: [f64; 4], centred: bool) -> Self {
        let [a, b, c, d] = given;
        let half = |size: f64| size / 2.0;
        if centred {
            return Self { low: [a - half(c), b - half(d)], high: [a + half(c), b + half(d)] };
        }
        let ordered = |x: f64, y: f64| if x >= y { (y, x) } else { (x, y) };
        let ((y0, y1), (x0, x1)) = (ordered(a, c), ordered(b, d));
        Self { low: [x0, y0], high: [x1, y1] }
    }

    fn area(&self) -> f64 {
        (self.high[0] - self.low[0]) * (self.high[1] - self.low[1])
    }

    /// Whether the intersection of two boxes is more than this part of their union.
    fn overlaps(&self, other: &Self, most: f64) -> bool {
        let zero = 0.0;
        let side = |axis: usize| {
            let (low, high) = (self.low[axis], self.high[axis]);
            let low = if other.low[axis] > low { other.low[axis] } else { low };
            (if other.high[axis] < high { other.high[axis] } else { high }) - low
        };
        let (width, height) = (side(0), side(1));
        if !(width > zero && height > zero) {
            return false;
        }
        let (own, others, shared) = (self.area(), other.area(), width * height);
        let union = own + others - shared;
        own > zero && others > zero && union > zero && shared / union > most
    }
}

/// What is asked for beside boxes and scores.
struct Limits {
    most: usize,
    overlap: f64,
    score: Option<f64>,
}

impl Limits {
    fn of(most: Option<&Tensor>, overlap: Option<&Tensor>, score: Option<&Tensor>) -> Result<Self> {
        let most = most.map_or(Ok(0), |most| single::whole(most, "max_output_boxes_per_class"))?;
        let overlap = overlap.map_or(Ok(0.0), |overlap| single::real(overlap, "iou_threshold"))?;
        if !(0.0..=1.0).contains(&overlap) {
            return Err(Error::input(format!("iou_threshold is {overlap}; 0 to 1 is allowed")));
        }
        let score = score.map(|score| single::real(score, "score_threshold")).transpose()?;
        Ok(Self { most: usize::try_from(most).unwrap_or(0), overlap, score })
    }
}

impl NonMaxSuppression {
    fn check(boxes: &[usize], scores: &[usize]) -> Result<()> {
        match (boxes, scores) {
            ([n, b, 4], [images, _, count]) if n == images && b == count => Ok(()),
            _ => Err(Error::model(format!(
                "boxes {boxes:?} and scores {scores:?} are not [n, boxes, 4] and [n, classes, boxes]"
            ))),
        }
    }

    /// (image, class, box) of what is kept, one after the other.
    fn selected(&self, boxes: &Tensor, scores: &Tensor, limits: &Limits) -> Result<Vec<i64>> {
        let (list, weights) = (boxes.to_f64s()?, scores.to_f64s()?);
        let (count, classes) = (boxes.shape()[1], scores.shape()[1]);
        let mut all = vec![];
        if count == 0 {
            return Ok(all);
        }
        for (row, scores) in weights.chunks_exact(count).enumerate() {
            let image = row / classes;
            let mut candidates: Vec<usize> = allocate(count)?;
            candidates.extend((0..count).filter(|&at| limits.score.is_none_or(|least| scores[at] > least)));
            // Of equal scores the first comes first.
            candidates.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
            let mut kept: Vec<Corners> = vec![];
            for at in candidates {
                if kept.len() >= limits.most {
                    break;
                }
                let given: [f64; 4] = std::array::from_fn(|k| list[(image * count + at) * 4 + k]);
                let corners = Corners::of(given, self.centred);
                if !kept.iter().any(|other| corners.overlaps(other, limits.overlap)) {
                    kept.push(corners);
                    all.extend([image as i64, (row % classes) as i64, at as i64]);
                }
            }
        }
        Ok(all)
    }

    fn select(&self, tensors: [Option<&Tensor>; 5]) -> Result<Vec<i64>> {
        let [Some(boxes), Some(scores), most, overlap, score] = tensors else {
            return Err(Error::model("boxes or scores are missing"));
        };
        Self::check(boxes.shape(), scores.shape())?;
        let limits = Limits::of(most, overlap, score)?;
        // In float64 whatever the type is: what is kept hangs on the boxes then and not on a rounding.
        self.selected(boxes, scores, &limits)
    }
}

impl Operator for NonMaxSuppression {
    fn by_value(&self, index: usize) -> bool {
        index > 1
    }

    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        Self::check(&inputs.required(0)?.shape, &inputs.required(1)?.shape)?;
        let mut tensors = [None; 5];
        for (index, tensor) in tensors.iter_mut().enumerate() {
            if let Some(fact) = inputs.optional(index) {
                *tensor = Some(fact.value.as_ref().ok_or(Infer::NeedsValue(index))?);
            }
        }
        Ok(vec![Fact::new(DType::I64, [self.select(tensors)?.len() / 3, 3])])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let selected = self.select(std::array::from_fn(|index| inputs.optional(index)))?;
        Ok(vec![Tensor::new([selected.len() / 3, 3], selected)?])
    }
}

const CASES: &[Case] = &[
    case(&[], &[Range(&[1, 20, 4], 0.0, 1.0), Floats(&[1, 1, 20]), Known(&[6]), Scalar(0.2), Scalar(-1.0)])
        .runs("cpu"),
    case(
        &[("center_point_box", Int(1))],
        &[Range(&[2, 17, 4], 0.2, 1.0), Floats(&[2, 3, 17]), Known(&[4]), Scalar(0.4)],
    )
    .runs("cpu"),
    case(&[], &[Range(&[1, 9, 4], 0.0, 1.0), Floats(&[1, 2, 9]), Known(&[50])]).at(10).runs("cpu"),
    case(&[], &[Range(&[1, 5, 4], 0.0, 1.0), Floats(&[1, 1, 5])]).runs("cpu"),
];
