//! [MaxUnpool](https://onnx.ai/onnx/operators/onnx__MaxUnpool.html), versions 9, 11, 22: the maxima that a
//! MaxPool found, back where it found them, and zeros elsewhere.
//!
//! Inputs: X `[n, c, d…]`, the position of each element in a tensor of the size that the window's attributes
//! give, counted row by row, and optionally the output's shape: that tensor then lies in its first corner.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Layout, Operands, Unsupported, View, Window};
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::kernels::scatter::{Addressing, Given as Scattered, scattered};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::nn::window;
use crate::ops::{Lower, NodeView, OpDef, Operator, single};
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

impl Lower for MaxUnpool {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let (x, index_type) = (at.fact(0)?.clone(), at.fact(1)?.dtype);
        let (pooled, shape) = (self.pooled(&x.shape)?, at.output_fact(0)?.shape.clone());
        if pooled.iter().zip(&shape).any(|(pooled, size)| pooled > size) {
            return Err(Unsupported::new("an output smaller than what the window's attributes give"));
        }
        if x.count() == 0 {
            return Err(Unsupported::new("maxima of nothing"));
        }
        let count = element_count(&pooled)?;
        let addressing =
            Addressing { coordinates: vec![(x.count(), 0)], axis: 0, axes: vec![(count, 1)], slice: 1 };
        let zero = Tensor::scalar(0f32);
        let nothing = at.filled("where no maximum is", &zero, x.dtype, &[count])?;
        let nothing = at.in_layout(nothing, Layout::Dense)?;
        let report = at.report(1, 0, vec![count], false);
        let given = Scattered {
            data: nothing,
            indices: at.input(1, Layout::Dense)?,
            updates: at.input(0, Layout::Dense)?,
            dtype: x.dtype,
            index_type,
            from_end: false,
            report,
        };
        if pooled == shape {
            let output = at.output(0, Layout::Dense)?;
            return scattered(at, &given, &addressing, (None, false), Some(&output));
        }
        let found = at.scratch(&Fact::new(x.dtype, &pooled[..]), Layout::Dense)?;
        scattered(at, &given, &addressing, (None, false), Some(&found))?;
        let fill = at.filled("where no maximum is", &zero, x.dtype, &shape)?;
        let output = at.output(0, Layout::Rows4)?;
        at.copy(&fill, &output)?;
        at.copy(&found, &View { shape: pooled, ..output })
    }
}

const CASES: &[Case] = &[
    case(
        &[("kernel_shape", Ints(&[2, 2])), ("strides", Ints(&[2, 2]))],
        &[Floats(&[1, 1, 2, 2]), Indices(&[1, 1, 2, 2], &[1, 7, 8, 15])],
    ),
    case(
        &[("kernel_shape", Ints(&[2, 2])), ("strides", Ints(&[2, 2]))],
        &[Floats(&[1, 1, 2, 2]), Indices(&[1, 1, 2, 2], &[5, 7, 13, 15]), Known(&[1, 1, 5, 5])],
    )
    .at(9),
    case(
        &[("kernel_shape", Ints(&[3])), ("strides", Ints(&[2])), ("pads", Ints(&[1, 0]))],
        &[Floats(&[1, 2, 3]), Indices(&[1, 2, 3], &[0, 2, 4, 7, 9, 11])],
    )
    .at(11),
    // The last of those that name one place; over three axes; one element.
    case(
        &[("kernel_shape", Ints(&[2, 3])), ("strides", Ints(&[1, 2]))],
        &[Floats(&[2, 1, 2, 3]), Indices(&[2, 1, 2, 3], &[0, 5, 5, 14, 20, 14, 21, 30, 41, 39, 30, 22])],
    ),
    case(
        &[("kernel_shape", Ints(&[1, 2, 2])), ("strides", Ints(&[1, 2, 2]))],
        &[Floats(&[1, 1, 2, 1, 2]), Indices(&[1, 1, 2, 1, 2], &[1, 6, 8, 15]), Known(&[1, 1, 3, 3, 4])],
    ),
    case(&[("kernel_shape", Ints(&[1]))], &[Floats(&[1, 1, 1]), Indices(&[1, 1, 1], &[0])]),
];
