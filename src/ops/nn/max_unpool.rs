//! [MaxUnpool](https://onnx.ai/onnx/operators/onnx__MaxUnpool.html), versions 9, 11, 22: the maxima that a
//! MaxPool found, back where it found them, and zeros elsewhere.
//!
//! Inputs: X `[n, c, d…]`, the position of each element in a tensor of the size that the window's attributes
//! give, counted row by row, and optionally the output's shape: that tensor then lies in its first corner.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Window};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::nn::window;
use crate::ops::{NodeView, OpDef, Operator, single};
use crate::tensor::index::strides;
use crate::tensor::{Tensor, element_count};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "MaxUnpool", since: 9, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct MaxUnpool {
    window: Window,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=3)?;
    let window = window::parse(node)?;
    if window.kernel.is_none() {
        return Err(Error::model("attribute 'kernel_shape' is missing"));
    }
    Ok(Arc::new(MaxUnpool { window }))
}

impl MaxUnpool {
    /// The shape that the window's attributes give: what positions are counted in.
    fn pooled(&self, x: &[usize]) -> Result<Vec<usize>> {
        let rank = x.len().saturating_sub(2);
        let list = |list: &Option<Vec<usize>>, count: usize, default: usize| {
            let list = list.clone().unwrap_or_else(|| vec![default; count]);
            let wrong = || Error::model(format!("a window with {list:?} for {rank} spatial dimensions"));
            if rank > 0 && list.len() == count { Ok(list) } else { Err(wrong()) }
        };
        let kernel = list(&self.window.kernel, rank, 1)?;
        let strides = list(&self.window.strides, rank, 1)?;
        let pads = list(&self.window.pads, 2 * rank, 0)?;
        let size = |axis: usize| {
            // Sizes are below 2^31, so that 128 bits hold this.
            let size = (x[axis + 2] as i128 - 1) * strides[axis] as i128 + kernel[axis] as i128
                - (pads[axis] + pads[axis + rank]) as i128;
            usize::try_from(size).map_err(|_| {
                Error::model(format!(
                    "an input {x:?} and this window give spatial axis {axis} {size} elements"
                ))
            })
        };
        let sizes = (0..rank).map(size).collect::<Result<Vec<_>>>()?;
        Ok([&x[..2], &sizes[..]].concat())
    }

    fn shape(&self, x: &[usize], indices: &[usize], given: Option<&[i64]>) -> Result<Vec<usize>> {
        let pooled = self.pooled(x)?;
        if indices != x {
            return Err(Error::model(format!("positions of shape {indices:?} for an input of shape {x:?}")));
        }
        let Some(given) = given else { return Ok(pooled) };
        let shape = given.iter().map(|&size| single::size(size, "a size")).collect::<Result<Vec<_>>>()?;
        if shape.len() != x.len() || shape[..2] != x[..2] {
            return Err(Error::model(format!("the output's shape {shape:?} for an input of shape {x:?}")));
        }
        Ok(shape)
    }
}

impl Operator for MaxUnpool {
    fn by_value(&self, index: usize) -> bool {
        index > 0
    }

    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let (x, indices, given) = (inputs.required(0)?, inputs.required(1)?, inputs.optional_ints(2)?);
        Ok(vec![Fact::new(x.dtype, self.shape(&x.shape, &indices.shape, given.as_deref())?)])
    }

    fn takes_any_type(&self) -> bool {
        true
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let (x, indices) = (inputs.required(0)?, inputs.required(1)?);
        let given = inputs.optional(2).map(Tensor::to_i64s).transpose()?;
        let shape = self.shape(x.shape(), indices.shape(), given.as_deref())?;
        let pooled = self.pooled(x.shape())?;
        let (own, steps, count) = (strides(&pooled), strides(&shape), element_count(&pooled)?);
        let mut sources: Vec<Option<usize>> = crate::tensor::allocate(element_count(&shape)?)?;
        sources.resize(element_count(&shape)?, None);
        for (at, position) in indices.to_i64s()?.into_iter().enumerate() {
            let wrong = || {
                Error::input(format!("position {position} lies outside {pooled:?} or {shape:?}")).of_input(1)
            };
            let position =
                usize::try_from(position).ok().filter(|&position| position < count).ok_or_else(wrong)?;
            let mut to = 0;
            for axis in 0..pooled.len() {
                let coordinate = position / own[axis] % pooled[axis];
                if coordinate >= shape[axis] {
                    return Err(wrong());
                }
                to += coordinate * steps[axis];
            }
            sources[to] = Some(at);
        }
        Ok(vec![x.pick(shape, |at| sources.get(at).copied().flatten())?])
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }

    fn flops(&self, _inputs: Operands<'_, Fact>, _outputs: &[Fact]) -> u64 {
        0
    }
}

const CASES: &[Case] = &[
    case(
        &[("kernel_shape", Ints(&[2, 2])), ("strides", Ints(&[2, 2]))],
        &[Floats(&[1, 1, 2, 2]), Indices(&[1, 1, 2, 2], &[1, 7, 8, 15])],
    )
    .runs("cpu"),
    case(
        &[("kernel_shape", Ints(&[2, 2])), ("strides", Ints(&[2, 2]))],
        &[Floats(&[1, 1, 2, 2]), Indices(&[1, 1, 2, 2], &[5, 7, 13, 15]), Known(&[1, 1, 5, 5])],
    )
    .at(9)
    .runs("cpu"),
    case(
        &[("kernel_shape", Ints(&[3])), ("strides", Ints(&[2])), ("pads", Ints(&[1, 0]))],
        &[Floats(&[1, 2, 3]), Indices(&[1, 2, 3], &[0, 2, 4, 7, 9, 11])],
    )
    .at(11)
    .runs("cpu"),
];
