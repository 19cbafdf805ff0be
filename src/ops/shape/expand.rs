//! [Expand](https://onnx.ai/onnx/operators/onnx__Expand.html), versions 8, 13: broadcasting to a shape (both
//! ways), and [Tile](https://onnx.ai/onnx/operators/onnx__Tile.html), versions 6, 13: repetition of each
//! axis.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Layout, Operands, Unsupported, View};
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator, Reads};
use crate::tensor::Tensor;
use crate::tensor::index::{Odometer, broadcast, broadcast_strides, strides};
use std::sync::Arc;

pub const EXPAND: OpDef = OpDef {
    domain: "",
    name: "Expand",
    since: 8,
    parse: |node| parse(node, Expand::Broadcast),
    cases: EXPAND_CASES,
};
pub const TILE: OpDef =
    OpDef { domain: "", name: "Tile", since: 6, parse: |node| parse(node, Expand::Tile), cases: TILE_CASES };

#[derive(Debug, Clone, PartialEq)]
pub enum Expand {
    Broadcast,
    Tile,
}

fn parse(node: &mut NodeView, kind: Expand) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=2)?;
    Ok(Arc::new(kind))
}

impl Expand {
    fn shape(&self, x: &[usize], given: &[i64]) -> Result<Vec<usize>> {
        let sizes: Vec<usize> = given
            .iter()
            .map(|&size| usize::try_from(size))
            .collect::<Result<_, _>>()
            .map_err(|_| Error::model(format!("{given:?} holds a negative size")))?;
        match self {
            Expand::Broadcast => broadcast(x, &sizes),
            Expand::Tile if sizes.len() == x.len() => {
                let product = |(&size, &times): (&usize, &usize)| {
                    size.checked_mul(times).ok_or_else(|| Error::memory("the tiled shape overflows"))
                };
                x.iter().zip(&sizes).map(product).collect()
            }
            Expand::Tile => {
                Err(Error::model(format!("{} repeats for a tensor of rank {}", sizes.len(), x.len())))
            }
        }
    }
}

/// Each axis as (repeats, size): the shape and strides in which a tiled tensor is a broadcast one.
fn interleaved<S: Copy + Default>(x: &[usize], own: &[S], result: &[usize]) -> (Vec<usize>, Vec<S>) {
    let pairs = x.iter().zip(result).zip(own);
    let shape =
        pairs.clone().flat_map(|((&size, &whole), _)| [whole.checked_div(size).unwrap_or(0), size]).collect();
    (shape, pairs.flat_map(|(_, &stride)| [S::default(), stride]).collect())
}

impl Operator for Expand {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        Ok(vec![Fact::new(x.dtype, self.shape(&x.shape, &inputs.ints(1)?)?)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let shape = self.shape(x.shape(), &inputs.required(1)?.to_i64s()?)?;
        let own = strides(x.shape());
        let (walked, steps) = match self {
            Expand::Broadcast => (shape.clone(), broadcast_strides(x.shape(), &own, &shape)),
            Expand::Tile => interleaved(x.shape(), &own, &shape),
        };
        if walked == shape {
            return Ok(vec![x.strided(shape, &steps, 0)?]);
        }
        let mut walk = Odometer::new(&walked, [&steps]);
        Ok(vec![x.pick(shape.clone(), |_| walk.next().map(|[at]| at))?])
    }

    fn takes_any_type(&self) -> bool {
        true
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn reads(&self) -> Reads {
        Reads::View
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }

    fn flops(&self, _inputs: Operands<'_, Fact>, _outputs: &[Fact]) -> u64 {
        0
    }
}

impl Lower for Expand {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let view = at.view(0)?;
        let shape = at.output_fact(0)?.shape.clone();
        match self {
            Expand::Broadcast => at.alias(0, view.broadcast(&shape)),
            Expand::Tile => {
                let (walked, steps) = interleaved(&view.shape, &view.strides, &shape);
                let tiled = View { buffer: view.buffer, shape: walked, strides: steps, offset: view.offset };
                let dense = at.in_layout(tiled, Layout::Dense)?;
                at.alias_reshaped(dense, &shape)?;
            }
        }
        Ok(())
    }
}

const EXPAND_CASES: &[Case] = &[
    case(&[], &[Floats(&[3, 1]), Known(&[2, 1, 6])]).runs("view"),
    case(&[], &[Bools(&[2, 5]), Known(&[1])]).runs("view"),
];
const TILE_CASES: &[Case] = &[
    case(&[], &[Floats(&[2, 3]), Known(&[2, 3])]).runs("view"),
    case(&[], &[I64(&[3]), Known(&[1])]).runs("view"),
];
