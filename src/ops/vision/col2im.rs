//! [Col2Im](https://onnx.ai/onnx/operators/onnx__Col2Im.html), version 18: blocks put back where a
//! convolution's windows lie, and added up where they overlap.
//!
//! Inputs: columns `[n, c · elements of a block, blocks]`, the image's and a block's sizes.

use crate::base::{
    AutoPad, Bound, EvalPrecision, Fact, Geometry, Infer, Operands, Terms, Unsupported, Window,
};
use crate::error::{Error, Result};
use crate::kernels::{Lowering, col2im};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator, single};
use crate::tensor::index::strides;
use crate::tensor::{DType, Element, Tensor, cast, element_count, zeros};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "Col2Im", since: 18, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct Col2Im {
    window: Window,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(3..=3)?;
    Ok(Arc::new(Col2Im { window: Window { kernel: None, auto_pad: AutoPad::NotSet, ..window(node)? } }))
}

fn window(node: &NodeView) -> Result<Window> {
    crate::ops::nn::window::parse(node)
}

impl Col2Im {
    /// The output's shape, and how blocks lie in an image.
    fn plan(&self, x: &[usize], image: &[i64], block: &[i64]) -> Result<(Vec<usize>, Geometry)> {
        let sizes = |list: &[i64], what: &str| {
            list.iter().map(|&size| single::size(size, what)).collect::<Result<Vec<_>>>()
        };
        let (image, block) = (sizes(image, "a size of the image")?, sizes(block, "a size of a block")?);
        let geometry = self.window.geometry(&image, &block)?;
        let (elements, blocks) = (element_count(&block)?, element_count(&geometry.output)?);
        let [n, rows, columns] = *x else {
            return Err(Error::model(format!("columns of shape {x:?} are not [n, rows, blocks]")));
        };
        if rows % elements.max(1) != 0 || columns != blocks {
            return Err(Error::model(format!(
                "columns of shape {x:?} don't fit blocks {block:?} of an image {image:?}: a multiple of \
                 {elements} rows and {blocks} blocks are needed"
            )));
        }
        Ok(([&[n, rows / elements.max(1)], &image[..]].concat(), geometry))
    }

    /// Adds each element of the columns to where it lies in the image.
    fn gathered<T: Element>(
        xs: &[T],
        shape: &[usize],
        geometry: &Geometry,
        add: impl Fn(T, T) -> T,
    ) -> Result<Vec<T>> {
        let steps = strides(&geometry.input);
        let (elements, blocks) = (geometry.kernel.iter().product(), geometry.output.iter().product());
        let area: usize = geometry.input.iter().product();
        let mut ys: Vec<T> = zeros(element_count(shape)?)?;
        if ys.is_empty() {
            return Ok(ys);
        }
        for element in 0..elements {
            for block in 0..blocks {
                let (mut tap, mut out, mut at) = (element, block, Some(0));
                for axis in (0..steps.len()).rev() {
                    let source =
                        geometry.source(axis, out % geometry.output[axis], tap % geometry.kernel[axis]);
                    at = at.zip(source).map(|(at, source)| at + source * steps[axis]);
                    (out, tap) = (out / geometry.output[axis], tap / geometry.kernel[axis]);
                }
                let Some(at) = at else { continue };
                for plane in 0..shape[0] * shape[1] {
                    let x = xs[(plane * elements + element) * blocks + block];
                    ys[plane * area + at] = add(ys[plane * area + at], x);
                }
            }
        }
        Ok(ys)
    }
}

impl Operator for Col2Im {
    fn by_value(&self, index: usize) -> bool {
        index > 0
    }

    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        Ok(vec![Fact::new(x.dtype, self.plan(&x.shape, &inputs.ints(1)?, &inputs.ints(2)?)?.0)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let sizes = [inputs.required(1)?.to_i64s()?, inputs.required(2)?.to_i64s()?];
        let (shape, geometry) = self.plan(x.shape(), &sizes[0], &sizes[1])?;
        let result = if x.dtype().is_float() {
            Tensor::new(&shape[..], Self::gathered(&x.to_f64s()?, &shape, &geometry, |a, b| a + b)?)?
        } else {
            // 64 bits hold every type's bits.
            let wide = cast(x, DType::I64, true)?;
            let add = |a: i64, b: i64| a.wrapping_add(b);
            Tensor::new(&shape[..], Self::gathered(wide.as_slice::<i64>()?, &shape, &geometry, add)?)?
        };
        Ok(vec![cast(&result, x.dtype(), true)?])
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn error_bound(&self, inputs: Operands<'_, Fact>) -> Bound {
        let length = inputs.optional(2).and_then(|block| block.value.as_ref()?.to_i64s().ok());
        let length = length.map_or(1, |block| block.iter().fold(1i64, |all, &size| all.saturating_mul(size)));
        Bound::Sum { length: length.max(1) as usize, terms: Terms::Elements }
    }
}

impl Lower for Col2Im {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let (_, geometry) = self.plan(&at.fact(0)?.shape, &at.ints(1)?, &at.ints(2)?)?;
        col2im::emit(at, &geometry)
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[1, 5, 5]), Known(&[5, 5]), Known(&[1, 5])]),
    case(&[("strides", Ints(&[2, 1]))], &[Floats(&[2, 12, 8]), Known(&[5, 5]), Known(&[2, 2])]),
    case(
        &[("pads", Ints(&[0, 1, 2, 1])), ("dilations", Ints(&[1, 2]))],
        &[Floats(&[1, 12, 28]), Known(&[6, 6]), Known(&[2, 3])],
    ),
    case(&[], &[Floats(&[1, 16, 12]), Known(&[3, 4, 3]), Known(&[2, 2, 2])]),
    case(&[], &[Wide(DType::I8, &[1, 4, 4]), Known(&[3, 3]), Known(&[2, 2])]),
    case(&[("pads", Ints(&[2, 1]))], &[I64(&[1, 6, 7]), Known(&[6]), Known(&[3])]),
    case(&[], &[Floats(&[0, 4, 4]), Known(&[3, 3]), Known(&[2, 2])]).runs("view"),
    case(&[("strides", Ints(&[3, 3]))], &[Wide(DType::U32, &[2, 4, 4]), Known(&[5, 5]), Known(&[2, 2])]),
];
