//! [MaxPool](https://onnx.ai/onnx/operators/onnx__MaxPool.html) (1, 8, 10, 11, 12, 22),
//! [AveragePool](https://onnx.ai/onnx/operators/onnx__AveragePool.html) (1, 7, 10, 11, 19, 22) and
//! [LpPool](https://onnx.ai/onnx/operators/onnx__LpPool.html) (1, 2, 11, 18, 22) over `[n, c, d…]`.

use super::window;
use crate::base::{
    Bound, EvalPrecision, Fact, Geometry, Infer, Operands, Pooling, Terms, Unsupported, Window,
};
use crate::cpu_kernels::byte_pool::maxima;
use crate::cpu_kernels::panels::Packed;
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::kernels::pool::emit;
use crate::kernels::pool_nd;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{ChannelsLast, Engine, Lower, NodeView, OpDef, Operator};
use crate::tensor::{DType, Element, Tensor, cast, element_count, pool, zeros};
use std::sync::Arc;

pub const MAX: OpDef = OpDef { domain: "", name: "MaxPool", since: 1, parse: parse_max, cases: MAX_CASES };
pub const AVERAGE: OpDef =
    OpDef { domain: "", name: "AveragePool", since: 1, parse: parse_average, cases: AVERAGE_CASES };
pub const LP: OpDef = OpDef { domain: "", name: "LpPool", since: 1, parse: parse_lp, cases: LP_CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    pub window: Window,
    pub kind: Pooling,
    /// MaxPool's second output: the position of each maximum, and whether its axes are counted column-major.
    pub indices: bool,
    pub column_major: bool,
}

fn window(node: &NodeView) -> Result<Window> {
    let window = Window { ceil_mode: node.flag("ceil_mode", false)?, ..window::parse(node)? };
    if window.kernel.is_none() {
        return Err(Error::model("attribute 'kernel_shape' is missing"));
    }
    Ok(window)
}

fn parse_max(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    let column_major = node.flag("storage_order", false)?;
    Ok(Arc::new(Pool {
        window: window(node)?,
        kind: Pooling::Maximum,
        indices: node.output_count > 1,
        column_major,
    }))
}

fn parse_average(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    let kind = Pooling::Average { count_padding: node.flag("count_include_pad", false)? };
    Ok(Arc::new(Pool { window: window(node)?, kind, indices: false, column_major: false }))
}

fn parse_lp(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    // Version 1 wrote p as a float.
    let p = match node.get("p") {
        Some(crate::ops::Attribute::Float(p)) => *p,
        _ => node.int("p", 2)? as f32,
    };
    Ok(Arc::new(Pool {
        window: window(node)?,
        kind: Pooling::Norm { p },
        indices: false,
        column_major: false,
    }))
}

impl Pool {
    fn geometry(&self, shape: &[usize]) -> Result<Geometry> {
        if shape.len() < 3 {
            return Err(Error::model(format!(
                "a pool needs a tensor of rank 3 or more; found shape {shape:?}"
            )));
        }
        self.window.geometry(&shape[2..], self.window.kernel.as_deref().unwrap_or_default())
    }
}

impl Operator for Pool {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        let mut shape = x.shape.get(..2).unwrap_or_default().to_vec();
        shape.extend(self.geometry(&x.shape)?.output);
        let mut facts = vec![Fact::new(x.dtype, shape.clone())];
        if self.indices {
            facts.push(Fact::new(DType::I64, shape));
        }
        Ok(facts)
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let bytes = matches!(x.dtype(), DType::U8 | DType::I8) && self.kind == Pooling::Maximum;
        if (x.dtype() == DType::F32 || bytes)
            && x.rank() == 4
            && let Some(result) = super::through_channels_last(self, inputs, mode)?
        {
            return Ok(vec![result]);
        }
        let geometry = self.geometry(x.shape())?;
        let xs = x.to_f64s()?;
        let planes = x.shape()[0] * x.shape()[1];
        let (area_in, area_out): (usize, usize) =
            (geometry.input.iter().product(), geometry.output.iter().product());
        let mut shape = x.shape()[..2].to_vec();
        shape.extend(&geometry.output);
        let mut result: Vec<f64> = zeros(element_count(&shape)?)?;
        let mut indices: Vec<i64> = zeros(if self.indices { result.len() } else { 0 })?;
        for plane in 0..planes {
            for out in 0..area_out {
                let seen = self.window_of(&geometry, out, &xs[plane * area_in..][..area_in]);
                result[plane * area_out + out] = seen.0;
                if self.indices {
                    indices[plane * area_out + out] = (plane * area_in + seen.1) as i64;
                }
            }
        }
        let mut outputs = vec![cast(&Tensor::new(shape.clone(), result)?, x.dtype(), true)?];
        if self.indices {
            outputs.push(Tensor::new(shape, indices)?);
        }
        Ok(outputs)
    }

    fn engine(&self) -> Option<&dyn Engine> {
        Some(self)
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        let length: usize = self.window.kernel.iter().flatten().product();
        match self.kind {
            Pooling::Maximum => Bound::Exact,
            Pooling::Average { .. } => Bound::Sum { length, terms: Terms::Elements },
            Pooling::Norm { p } => Bound::Sum { length, terms: Terms::Powers(p as f64) },
        }
    }

    fn flops(&self, _inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        let taps: usize = self.window.kernel.iter().flatten().product();
        outputs.first().map_or(0, |out| (out.count() * taps) as u64)
    }
}

impl Lower for Pool {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let geometry = self.geometry(&at.fact(0)?.shape)?;
        let floats = at.storage(at.fact(0)?.dtype)?.is_float();
        if self.indices || geometry.input.len() > 2 || !floats {
            return pool_nd::emit(at, &geometry, self.kind, self.indices, self.column_major);
        }
        emit(at, &geometry, self.kind)
    }
}

impl Engine for Pool {
    fn run_channels_last(
        &self,
        inputs: Operands<'_, Tensor>,
        _packed: Option<&Packed>,
        _mode: EvalPrecision,
    ) -> Result<Option<Vec<Tensor>>> {
        let x = inputs.required(0)?;
        let (&[n, h, w, c], false) = (x.shape(), self.indices || matches!(self.kind, Pooling::Norm { .. }))
        else {
            return Ok(None);
        };
        let geometry = self.geometry(&[n, c, h, w])?;
        let shape = [n, geometry.output[0], geometry.output[1], c];
        match (x.dtype(), self.kind) {
            (DType::F32, _) => {}
            (DType::U8, Pooling::Maximum) => return bytes(x.as_slice()?, c, &geometry, u8::MIN, shape),
            (DType::I8, Pooling::Maximum) => return bytes(x.as_slice()?, c, &geometry, i8::MIN, shape),
            _ => return Ok(None),
        }
        let mut result = pool::unset(element_count(&shape)?)?;
        crate::cpu_kernels::pool::pool(x.as_slice()?, c, &geometry, self.kind, &mut result);
        Ok(Some(vec![Tensor::floats(shape, result)?]))
    }

    fn channels_last(&self, _weights: Option<&[usize]>) -> ChannelsLast {
        if self.indices || matches!(self.kind, Pooling::Norm { .. }) {
            return ChannelsLast::Never;
        }
        ChannelsLast::Given
    }
}

/// The largest bytes of windows.
fn bytes<T: Element + Ord>(
    x: &[T],
    channels: usize,
    geometry: &Geometry,
    least: T,
    shape: [usize; 4],
) -> Result<Option<Vec<Tensor>>> {
    let mut y = zeros(element_count(&shape)?)?;
    maxima(x, channels, geometry, least, &mut y);
    Ok(Some(vec![Tensor::new(shape, y)?]))
}

impl Pool {
    /// The value of one window of a plane, and where its maximum lies.
    fn window_of(&self, g: &Geometry, out: usize, plane: &[f64]) -> (f64, usize) {
        let rank = g.input.len();
        let taps: usize = g.kernel.iter().product();
        let (mut value, mut best, mut inside, mut counted) =
            (if self.kind == Pooling::Maximum { f64::NEG_INFINITY } else { 0.0 }, 0, 0usize, 0usize);
        for tap in 0..taps {
            let (mut tap, mut out, mut at, mut scale, mut position, mut column_scale) =
                (tap, out, Some(0), 1, 0, g.input.iter().product::<usize>());
            let mut in_padded = true;
            for axis in (0..rank).rev() {
                let (o, t) = (out % g.output[axis], tap % g.kernel[axis]);
                (out, tap) = (out / g.output[axis], tap / g.kernel[axis]);
                column_scale /= g.input[axis].max(1);
                in_padded &=
                    o * g.stride[axis] + t * g.dilation[axis] < g.begin[axis] + g.input[axis] + g.end[axis];
                let here = g.source(axis, o, t);
                position += here.unwrap_or(0) * if self.column_major { column_scale } else { scale };
                at = at.zip(here).map(|(at, here)| at + here * scale);
                scale *= g.input[axis];
            }
            counted += in_padded as usize;
            let Some(at) = at else { continue };
            let x = plane[at];
            match self.kind {
                Pooling::Maximum if inside == 0 || x > value || x.is_nan() => (value, best) = (x, position),
                Pooling::Maximum => {}
                Pooling::Average { .. } => value += x,
                Pooling::Norm { p } => value += x.abs().powf(p as f64),
            }
            inside += 1;
        }
        let value = match self.kind {
            Pooling::Maximum => value,
            Pooling::Average { count_padding } => {
                value / if count_padding { counted } else { inside }.max(1) as f64
            }
            Pooling::Norm { p } => value.powf(1.0 / p as f64),
        };
        (value, best)
    }
}

const MAX_CASES: &[Case] = &[
    case(
        &[("kernel_shape", Ints(&[3, 3])), ("strides", Ints(&[2, 2])), ("pads", Ints(&[1, 1, 1, 1]))],
        &[Floats(&[1, 5, 7, 8])],
    ),
    case(
        &[("kernel_shape", Ints(&[2, 2])), ("ceil_mode", Int(1)), ("strides", Ints(&[2, 2]))],
        &[Floats(&[1, 4, 5, 7])],
    ),
    case(&[("kernel_shape", Ints(&[3])), ("dilations", Ints(&[2]))], &[Floats(&[2, 3, 9])]),
    case(&[("kernel_shape", Ints(&[2, 2, 2]))], &[Floats(&[1, 2, 3, 3, 3])]),
    case(&[("kernel_shape", Ints(&[2, 2]))], &[Floats(&[1, 2, 4, 4])]).outputs(2),
    case(
        &[
            ("kernel_shape", Ints(&[2, 3, 2])),
            ("strides", Ints(&[1, 2, 2])),
            ("pads", Ints(&[1, 1, 0, 0, 1, 1])),
            ("dilations", Ints(&[1, 1, 2])),
            ("storage_order", Int(1)),
        ],
        &[Floats(&[2, 5, 3, 4, 5])],
    )
    .outputs(2),
    case(
        &[("kernel_shape", Ints(&[3, 3])), ("pads", Ints(&[1, 1, 1, 1])), ("storage_order", Int(1))],
        &[Floats(&[2, 5, 4, 6])],
    )
    .outputs(2),
    case(&[("kernel_shape", Ints(&[2])), ("strides", Ints(&[2]))], &[Floats(&[2, 3, 7])]).outputs(2),
    case(
        &[("kernel_shape", Ints(&[2, 2])), ("pads", Ints(&[1, 0, 0, 1]))],
        &[Wide(DType::U8, &[1, 3, 5, 4])],
    ),
    case(&[("kernel_shape", Ints(&[2, 2]))], &[Wide(DType::I8, &[1, 3, 5, 4])]).outputs(2),
];
const AVERAGE_CASES: &[Case] = &[
    case(&[("kernel_shape", Ints(&[3, 3])), ("pads", Ints(&[1, 1, 1, 1]))], &[Floats(&[1, 5, 6, 7])]),
    case(
        &[
            ("kernel_shape", Ints(&[3, 3])),
            ("pads", Ints(&[1, 1, 1, 1])),
            ("count_include_pad", Int(1)),
            ("strides", Ints(&[2, 2])),
            ("ceil_mode", Int(1)),
        ],
        &[Floats(&[1, 4, 6, 7])],
    ),
    case(&[("kernel_shape", Ints(&[2, 2])), ("auto_pad", Text("SAME_UPPER"))], &[Floats(&[2, 3, 5, 5])]),
    case(
        &[
            ("kernel_shape", Ints(&[2, 3, 2])),
            ("strides", Ints(&[2, 1, 2])),
            ("pads", Ints(&[1, 1, 0, 0, 1, 1])),
            ("count_include_pad", Int(1)),
            ("ceil_mode", Int(1)),
        ],
        &[Floats(&[2, 5, 4, 3, 5])],
    ),
    case(
        &[("kernel_shape", Ints(&[2, 2, 2])), ("pads", Ints(&[1, 1, 1, 0, 0, 0]))],
        &[Floats(&[1, 3, 3, 4, 3])],
    ),
];
const LP_CASES: &[Case] = &[
    case(&[("kernel_shape", Ints(&[2, 2])), ("p", Int(3))], &[Floats(&[1, 3, 5, 4])]),
    case(&[("kernel_shape", Ints(&[2, 2, 2]))], &[Floats(&[1, 3, 3, 4, 3])]),
];
