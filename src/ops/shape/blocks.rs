//! [DepthToSpace](https://onnx.ai/onnx/operators/onnx__DepthToSpace.html), versions 1, 11, 13: blocks of
//! channels become squares of pixels; and
//! [SpaceToDepth](https://onnx.ai/onnx/operators/onnx__SpaceToDepth.html), versions 1, 13 and newer: the way
//! back.
//!
//! Both split axes, swap them and join them again: on the GPU two reshapes and a transposition, thus views
//! and one copy.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator};
use crate::tensor::Tensor;
use crate::tensor::index::{Odometer, strides};
use std::sync::Arc;

pub const DEPTH_TO_SPACE: OpDef = OpDef {
    domain: "",
    name: "DepthToSpace",
    since: 1,
    parse: |node| parse(node, Direction::ToSpace),
    cases: DEPTH_CASES,
};
pub const SPACE_TO_DEPTH: OpDef = OpDef {
    domain: "",
    name: "SpaceToDepth",
    since: 1,
    parse: |node| parse(node, Direction::ToDepth),
    cases: SPACE_CASES,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Channels are `[block, block, depth]`.
    DepthColumnRow,
    /// Channels are `[depth, block, block]`.
    ColumnRowDepth,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToSpace,
    ToDepth,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Blocks {
    direction: Direction,
    order: Order,
    size: usize,
}

/// How a tensor moves: its shape with axes split, the order of those axes, and the shape with axes joined.
struct Steps {
    split: [usize; 6],
    order: [usize; 6],
    joined: Vec<usize>,
}

fn parse(node: &mut NodeView, direction: Direction) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    // Older versions knew the first order alone and had no attribute for it.
    let mode = node.choice("mode", "DCR", &["DCR", "CRD"])?;
    let order = if mode == "CRD" { Order::ColumnRowDepth } else { Order::DepthColumnRow };
    let size =
        node.optional_int("blocksize")?.ok_or_else(|| Error::model("attribute 'blocksize' is missing"))?;
    let size = usize::try_from(size).ok().filter(|size| (1..=1 << 15).contains(size));
    let size = size.ok_or_else(|| Error::model("attribute 'blocksize' is not a size between 1 and 32768"))?;
    Ok(Arc::new(Blocks { direction, order, size }))
}

impl Blocks {
    fn steps(&self, shape: &[usize]) -> Result<Steps> {
        let &[n, c, h, w] = shape else {
            return Err(Error::model(format!("a tensor of rank {}, not [N, C, H, W]", shape.len())));
        };
        let (s, square) = (self.size, self.size * self.size);
        let divides = match self.direction {
            Direction::ToSpace => c.is_multiple_of(square),
            Direction::ToDepth => h.is_multiple_of(s) && w.is_multiple_of(s),
        };
        if !divides {
            return Err(Error::model(format!("the shape {shape:?} does not divide into blocks of {s}")));
        }
        let too_large = || Error::memory(format!("{shape:?} in blocks of {s} overflows"));
        let times = |a: usize, b: usize| a.checked_mul(b).ok_or_else(too_large);
        let depth = c / square;
        let (split, order) = match (self.direction, self.order) {
            (Direction::ToSpace, Order::DepthColumnRow) => ([n, s, s, depth, h, w], [0, 3, 4, 1, 5, 2]),
            (Direction::ToSpace, Order::ColumnRowDepth) => ([n, depth, s, s, h, w], [0, 1, 4, 2, 5, 3]),
            (Direction::ToDepth, Order::DepthColumnRow) => ([n, c, h / s, s, w / s, s], [0, 3, 5, 1, 2, 4]),
            (Direction::ToDepth, Order::ColumnRowDepth) => ([n, c, h / s, s, w / s, s], [0, 1, 3, 5, 2, 4]),
        };
        let joined = match self.direction {
            Direction::ToSpace => vec![n, depth, times(h, s)?, times(w, s)?],
            Direction::ToDepth => vec![n, times(c, square)?, h / s, w / s],
        };
        Ok(Steps { split, order, joined })
    }
}

impl Operator for Blocks {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        Ok(vec![Fact::new(x.dtype, self.steps(&x.shape)?.joined)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let steps = self.steps(x.shape())?;
        let own = strides(&steps.split);
        let (shape, moved) = (steps.order.map(|axis| steps.split[axis]), steps.order.map(|axis| own[axis]));
        let mut walk = Odometer::new(&shape, [&moved]);
        Ok(vec![x.pick(steps.joined, |_| walk.next().map(|[at]| at))?])
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

impl Lower for Blocks {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let view = at.view(0)?;
        let steps = self.steps(&view.shape)?;
        let split = match view.reshaped(&steps.split) {
            Some(split) => split,
            None if view.count() == 0 => return Err(Unsupported::new("a tensor without elements")),
            None => at.reshaped(view, &steps.split, "axes that don't split")?,
        };
        at.alias_reshaped(split.permuted(&steps.order), &steps.joined)
    }
}

const DEPTH_CASES: &[Case] = &[
    case(&[("blocksize", Int(2))], &[Floats(&[1, 8, 2, 3])]).runs("view"),
    case(&[("blocksize", Int(2)), ("mode", Text("CRD"))], &[Floats(&[2, 12, 3, 1])]).runs("view"),
    case(&[("blocksize", Int(3))], &[I64(&[1, 9, 1, 2])]).runs("view"),
];
const SPACE_CASES: &[Case] = &[
    case(&[("blocksize", Int(2))], &[Floats(&[1, 3, 4, 6])]).runs("view"),
    case(&[("blocksize", Int(3))], &[Floats(&[2, 1, 3, 9])]).runs("view"),
];
