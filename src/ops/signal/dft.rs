//! [DFT](https://onnx.ai/onnx/operators/onnx__DFT.html), versions 17, 20: the discrete Fourier transform
//! along an axis, or its inverse.
//!
//! Inputs: X `[…, 1]` of real or `[…, 2]` of complex numbers, and optionally the transform's length, to which
//! the axis is cut or padded with zeros, and the axis (an attribute in version 17). A `onesided` transform of
//! real numbers leaves out the half that mirrors the other; a `onesided` inverse makes real numbers of such a
//! half.

use super::fourier::{Complex, Fourier, line};
use super::matrix::Transform;
use crate::base::{Bound, EvalPrecision, Fact, Infer, Layout, Operands, Terms, Unsupported};
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator, single};
use crate::tensor::{Tensor, cast, element_count, index, zeros};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "DFT", since: 17, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct Dft {
    inverse: bool,
    onesided: bool,
    /// Every coefficient is replaced by the largest magnitude that it has: see [`Operator::magnitude`].
    absolute: bool,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    if node.version < 20 {
        node.expect_inputs(1..=2)?;
        let axis = node.int("axis", 1)?;
        node.set_constant(2, Tensor::scalar(axis));
    }
    node.expect_inputs(1..=3)?;
    let (inverse, onesided) = (node.flag("inverse", false)?, node.flag("onesided", false)?);
    Ok(Arc::new(Dft { inverse, onesided, absolute: false }))
}

/// What is transformed.
struct Plan {
    axis: usize,
    /// The transform's length.
    length: usize,
    /// Elements of the axis that are read, and made.
    read: usize,
    made: usize,
    /// Numbers of an element read, and made: 1 or 2.
    parts: [usize; 2],
    shape: Vec<usize>,
}

impl Dft {
    fn plan(&self, x: &[usize], length: Option<i64>, axis: Option<i64>) -> Result<Plan> {
        let axis = index::axis(axis.unwrap_or(-2), x.len())?;
        let parts = x.last().copied().unwrap_or(0);
        if axis + 1 == x.len() || !(1..=2).contains(&parts) {
            return Err(Error::model(format!(
                "an input of shape {x:?} along axis {axis}: […, 1] or […, 2] along another axis is needed"
            )));
        }
        let (halved, real) = (self.onesided && self.inverse, self.onesided && !self.inverse);
        if real && parts == 2 || halved && parts == 1 {
            let (takes, found) = if real { ("real", "complex") } else { ("complex", "real") };
            return Err(Error::model(format!(
                "a one-sided transform of {found} numbers; it takes {takes} ones"
            )));
        }
        let own = if halved { 2 * x[axis].saturating_sub(1) } else { x[axis] };
        let length = length.map_or(Ok(own), |length| single::size(length, "dft_length"))?;
        if length == 0 {
            return Err(Error::model("a Fourier transform of length 0"));
        }
        let made = if real { length / 2 + 1 } else { length };
        let given = if halved { length / 2 + 1 } else { length };
        let mut shape = x.to_vec();
        shape[axis] = made;
        let last = if halved { 1 } else { 2 };
        shape[x.len() - 1] = last;
        Ok(Plan { axis, length, read: given.min(x[axis]), made, parts: [parts, last], shape })
    }

    /// What a device multiplies a line with.
    fn matrix(&self, plan: &Plan) -> Transform {
        let Plan { length, read, made, parts, .. } = *plan;
        Transform { length, read, made, parts, inverse: self.inverse }
    }

    /// One line: from `read` to `made` elements.
    fn transform(&self, fourier: &Fourier, data: &mut [Complex], read: usize) -> Result<()> {
        if self.inverse && self.onesided {
            // The other half mirrors this one.
            let length = data.len();
            for k in 1..read.min(length.div_ceil(2)) {
                data[length - k] = data[k].conjugate();
            }
        }
        if self.inverse { fourier.inverse(data) } else { fourier.forward(data) }
    }
}

impl Operator for Dft {
    fn by_value(&self, index: usize) -> bool {
        index > 0
    }

    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        let length = single::optionally_known(inputs, 1, "dft_length")?;
        let axis = single::optionally_known(inputs, 2, "the axis")?;
        Ok(vec![Fact::new(x.dtype, self.plan(&x.shape, length, axis)?.shape)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let number = |index: usize| inputs.optional(index).map(|x| single::whole(x, "an input")).transpose();
        let plan = self.plan(x.shape(), number(1)?, number(2)?)?;
        let transform = self.matrix(&plan);
        let Plan { axis, length, read, made, parts: [from, to], ref shape } = plan;
        let xs = x.to_f64s()?;
        let mut ys: Vec<f64> = zeros(element_count(shape)?)?;
        // Nothing to make: an axis beside it is empty.
        if ys.is_empty() {
            return Ok(vec![cast(&Tensor::new(&shape[..], ys)?, x.dtype(), true)?]);
        }
        let own = x.shape()[axis];
        let inner: usize = shape[axis + 1..shape.len() - 1].iter().product();
        let (fourier, mut data) = (Fourier::new(length)?, line(length)?);
        for row in 0..ys.len() / (made * to) {
            let (outer, within) = (row / inner, row % inner);
            data.fill(Complex::default());
            for (k, value) in data.iter_mut().enumerate().take(read) {
                let at = ((outer * own + k) * inner + within) * from;
                *value = Complex::new(xs[at], if from == 2 { xs[at + 1] } else { 0.0 });
            }
            if self.absolute {
                let terms = data.iter().take(read).enumerate();
                let sum: f64 = terms.map(|(k, x)| transform.weight(k) * (x.re.abs() + x.im.abs())).sum();
                data.fill(Complex::new(sum, sum));
            } else if transform.by_definition(&data[..read]) {
                transform.define(&mut data)?;
            } else {
                self.transform(&fourier, &mut data, read)?;
            }
            for (k, value) in data.iter().enumerate().take(made) {
                let at = ((outer * made + k) * inner + within) * to;
                ys[at] = value.re;
                if to == 2 {
                    ys[at + 1] = value.im;
                }
            }
        }
        Ok(vec![cast(&Tensor::new(&shape[..], ys)?, x.dtype(), true)?])
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn magnitude(&self) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(Dft { absolute: true, ..self.clone() }))
    }

    fn error_bound(&self, inputs: Operands<'_, Fact>) -> Bound {
        let known = |index: usize| single::optionally_known(inputs, index, "an input").ok().flatten();
        let plan = inputs.optional(0).and_then(|x| self.plan(&x.shape, known(1), known(2)).ok());
        // The matrix is stored as the data is.
        Bound::Sum { length: plan.map_or(1, |plan| plan.parts[0] * plan.read), terms: Terms::Products(2) }
    }

    fn flops(&self, _inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        // 5 n log n, and lines are seldom longer than 2^12.
        outputs.iter().map(|out| (out.count() as u64).saturating_mul(30)).sum()
    }
}

impl Lower for Dft {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        at.float_storage(0)?;
        let number = |index: usize| at.has_input(index).then(|| at.int(index)).transpose();
        let (mut x, dtype) = (at.fact(0)?.shape.clone(), at.fact(0)?.dtype);
        let plan = self.plan(&x, number(1)?, number(2)?)?;
        let transform = self.matrix(&plan);
        let [read, _] = transform.sizes();
        x[plan.axis] = plan.read;
        if plan.shape.contains(&0) || x.contains(&0) {
            return Err(Unsupported::new("a Fourier transform of no elements"));
        }
        let matrix = transform.table(at, dtype)?;
        let mut lines = at.view(0)?;
        lines.shape = x;
        // The axis, and the parts of a number, behind all others.
        let last = lines.shape.len() - 1;
        let order: Vec<usize> =
            (0..last).filter(|&axis| axis != plan.axis).chain([plan.axis, last]).collect();
        let rows = lines.count() / read;
        let lines = lines.permuted(&order);
        let lines = at.reshaped(lines, &[rows, read], "lines of no elements")?;
        let made = transform.product(at, dtype, lines, matrix)?;
        let shape: Vec<usize> = order.iter().map(|&axis| plan.shape[axis]).collect();
        let made = made.reshaped_or(&shape, "a transform")?;
        let back: Vec<usize> =
            (0..=last).map(|axis| order.iter().position(|&from| from == axis).unwrap_or(axis)).collect();
        // Within the node's own work, so that what is measured is the transform.
        let made = at.in_layout(made.permuted(&back), Layout::Dense)?;
        at.alias(0, made);
        Ok(())
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[2, 8, 1])]),
    case(&[], &[Floats(&[2, 3, 7, 2]), Absent, Whole(1)]),
    case(&[("inverse", Int(1))], &[Floats(&[2, 10, 2])]),
    case(&[("onesided", Int(1))], &[Floats(&[2, 9, 1])]),
    case(&[("onesided", Int(1)), ("axis", Int(1))], &[Floats(&[1, 16, 3, 1])]).at(17),
    case(&[("axis", Int(2))], &[Floats(&[1, 3, 5, 2])]).at(17),
    case(&[("onesided", Int(1)), ("inverse", Int(1))], &[Floats(&[2, 5, 2])]),
    case(&[("onesided", Int(1)), ("inverse", Int(1))], &[Floats(&[2, 5, 2]), Whole(9)]),
    case(&[], &[Floats(&[1, 6, 2]), Whole(11)]),
    case(&[], &[Floats(&[1, 12, 1]), Whole(5)]),
    case(&[("inverse", Int(1))], &[Floats(&[3, 4, 2]), Absent, Whole(0)]),
    case(&[], &[Floats(&[1, 1, 1])]),
    case(&[("onesided", Int(1)), ("inverse", Int(1))], &[Floats(&[4, 3, 2]), Whole(7), Whole(0)]),
    case(&[("onesided", Int(1))], &[Floats(&[3, 400, 1])]),
];
