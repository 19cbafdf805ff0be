//! [Gemm](https://onnx.ai/onnx/operators/onnx__Gemm.html), versions 1, 6, 7, 9, 11, 13: α·A'·B' + β·C,
//! transposed where asked.
//!
//! Inputs: A `[m, k]` (or `[k, m]`), B `[k, n]` (or `[n, k]`), C broadcast to `[m, n]`, optional; then the
//! epilogue's operands.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Layout, Operands, Unsupported};
use crate::cpu_kernels::epilogue::PreparedEpilogue;
use crate::cpu_kernels::gemm::{MatrixRef, gemm};
use crate::cpu_kernels::panels::{Packed, Panels};
use crate::cpu_kernels::product::{Rows, product};
use crate::error::{Error, Result};
use crate::expression::{Arg, Pointwise, table};
use crate::kernels::Lowering;
use crate::kernels::epilogue::OutputStage;
use crate::kernels::matmul as kernel;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Engine, Lower, NodeView, OpDef, Operator, Product};
use crate::tensor::{DType, Real, Tensor, cast, element_count, pool, zeros};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "Gemm", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct Gemm {
    pub alpha: f32,
    pub beta: f32,
    pub trans_a: bool,
    pub trans_b: bool,
    pub epilogue: Pointwise,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=3)?;
    node.ignore(&["broadcast"]); // before version 7, C had to be said to broadcast
    Ok(Arc::new(Gemm {
        alpha: node.float("alpha", 1.0)?,
        beta: node.float("beta", 1.0)?,
        trans_a: node.flag("transA", false)?,
        trans_b: node.flag("transB", false)?,
        epilogue: Pointwise::identity(),
    }))
}

impl Gemm {
    /// (m, n, k)
    fn sizes(&self, a: &[usize], b: &[usize]) -> Result<(usize, usize, usize)> {
        let (&[a0, a1], &[b0, b1]) = (a, b) else {
            return Err(Error::model(format!("the shapes {a:?} and {b:?}: both need rank 2")));
        };
        let (m, k) = if self.trans_a { (a1, a0) } else { (a0, a1) };
        let (inner, n) = if self.trans_b { (b1, b0) } else { (b0, b1) };
        if k != inner {
            return Err(Error::model(format!(
                "the shapes {a:?} and {b:?} have no product with transA = {}, transB = {}",
                self.trans_a, self.trans_b
            )));
        }
        Ok((m, n, k))
    }
    fn compute<T: Real>(&self, a: &Tensor, b: &Tensor) -> Result<Tensor> {
        let (m, n, k) = self.sizes(a.shape(), b.shape())?;
        let mut result: Vec<T> = zeros(element_count(&[m, n])?)?;
        let (ra, ca) = if self.trans_a { (1, m) } else { (k, 1) };
        let (rb, cb) = if self.trans_b { (1, k) } else { (n, 1) };
        let x =
            MatrixRef { data: a.as_slice::<T>()?, rows: m, columns: k, row_stride: ra, column_stride: ca };
        let y =
            MatrixRef { data: b.as_slice::<T>()?, rows: k, columns: n, row_stride: rb, column_stride: cb };
        gemm(x, y, &mut result);
        if self.alpha != 1.0 {
            result.iter_mut().for_each(|value| *value = *value * T::of(self.alpha as f64));
        }
        Tensor::new([m, n], result)
    }
    /// B in panels, α in them.
    fn panels(&self, b: &Tensor) -> Result<Panels> {
        let (k, n) = if self.trans_b { (b.shape()[1], b.shape()[0]) } else { (b.shape()[0], b.shape()[1]) };
        let (row, column) = if self.trans_b { (1, k) } else { (n, 1) };
        let ys = b.as_slice::<f32>()?;
        if self.alpha == 1.0 {
            return Panels::pack(ys, k, n, row, column);
        }
        let mut scaled = pool::unset(ys.len())?;
        scaled.iter_mut().zip(ys).for_each(|(to, &y)| *to = self.alpha * y);
        Panels::pack(&scaled, k, n, row, column)
    }

    /// The product of float32, with what is added and applied to it.
    fn floats(
        &self,
        inputs: Operands<'_, Tensor>,
        packed: Option<&Panels>,
        mode: EvalPrecision,
    ) -> Result<Vec<Tensor>> {
        let (a, b, c) = (inputs.required(0)?, inputs.required(1)?, inputs.optional(2));
        let (m, n, k) = self.sizes(a.shape(), b.shape())?;
        let xs = a.as_slice::<f32>()?;
        let own = if packed.is_none() { Some(self.panels(b)?) } else { None };
        let panels = packed.or(own.as_ref()).ok_or_else(|| Error::internal("no panels"))?;
        let mut result = pool::unset(element_count(&[m, n])?)?;
        // A row of C for all rows is added by the product; any other C comes after it, and the epilogue after
        // that.
        let row = c.filter(|c| {
            self.beta == 1.0 && c.dtype() == DType::F32 && c.len() == n && c.shape().last() == Some(&n)
        });
        let ready = if c.is_some() && row.is_none() {
            None
        } else {
            PreparedEpilogue::of(&self.epilogue, inputs.skip(3), result.len())?
        };
        let identity = Pointwise::identity();
        let applied = match &ready {
            Some(ready) => ready,
            None => &PreparedEpilogue::of(&identity, Operands::new(&[]), result.len())?
                .ok_or_else(|| Error::internal("no epilogue is none"))?,
        };
        let bias = row.filter(|_| ready.is_some()).map(|row| row.as_slice::<f32>()).transpose()?;
        let transposed = |rows: std::ops::Range<usize>, to: &mut [f32], stride: usize| {
            for (row, to) in rows.zip(to.chunks_mut(stride)) {
                to[..k].iter_mut().enumerate().for_each(|(at, to)| *to = xs[at * m + row]);
            }
        };
        let rows =
            if self.trans_a { Rows::Gathered(&transposed) } else { Rows::Dense { data: xs, stride: k } };
        applied.with(bias, 0, n, |epilogue| product(rows, m, panels, epilogue, &mut result, n))?;
        let mut result = Tensor::floats([m, n], result)?;
        if ready.is_some() {
            return Ok(vec![result]);
        }
        if let Some(c) = c {
            result = self.addition().eval(&[&result, c], mode)?;
        }
        crate::ops::nn::epilogue(&self.epilogue, result, inputs.skip(3), mode)
    }

    /// product + β·C
    fn addition(&self) -> Pointwise {
        let mut sum = Pointwise { operands: 2, steps: vec![] };
        let scaled = if self.beta == 1.0 {
            Arg::Operand(1)
        } else {
            sum.push(&table::MUL, vec![Arg::Operand(1), Arg::Const(self.beta as f64)])
        };
        sum.push(&table::ADD, vec![Arg::Operand(0), scaled]);
        sum
    }
}

impl Operator for Gemm {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        inputs.one_type(3)?;
        let (a, b) = (inputs.required(0)?, inputs.required(1)?);
        let (m, n, _) = self.sizes(&a.shape, &b.shape)?;
        if let Some(c) = inputs.optional(2)
            && crate::tensor::index::broadcast(&c.shape, &[m, n])? != [m, n]
        {
            return Err(
                Error::model(format!("C of shape {:?} doesn't broadcast to [{m}, {n}]", c.shape)).into()
            );
        }
        Ok(vec![Fact::new(a.dtype, [m, n])])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let (a, b) = (inputs.required(0)?, inputs.required(1)?);
        if a.dtype() == DType::F32 {
            let mut result = self.compute::<f32>(a, b)?;
            if let Some(c) = inputs.optional(2) {
                result = self.addition().eval(&[&result, c], mode)?;
            }
            return crate::ops::nn::epilogue(&self.epilogue, result, inputs.skip(3), mode);
        }
        let wide = |tensor: &Tensor| {
            if tensor.dtype().is_float() { Ok(tensor.clone()) } else { cast(tensor, DType::F64, true) }
        };
        let (x, y) = (wide(a)?, wide(b)?);
        let mut result = self.compute::<f64>(&x, &y)?;
        if let Some(c) = inputs.optional(2) {
            result = self.addition().eval(&[&result, &wide(c)?], mode)?;
        }
        // Integer forms are exact below 2⁵³, which their sizes here never reach.
        let result = cast(&result, a.dtype(), true)?;
        crate::ops::nn::epilogue(&self.epilogue, result, inputs.skip(3), mode)
    }

    fn engine(&self) -> Option<&dyn Engine> {
        Some(self)
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn magnitude(&self) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(Gemm { alpha: self.alpha.abs(), beta: self.beta.abs(), ..self.clone() }))
    }

    fn epilogue(&self) -> Option<&Pointwise> {
        Some(&self.epilogue)
    }

    fn with_epilogue(&self, epilogue: Pointwise) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(Self { epilogue, ..self.clone() }))
    }

    fn product(&self) -> Option<Product> {
        let Self { alpha, beta, trans_a, trans_b, .. } = *self;
        Some(Product { alpha, beta, trans_a, trans_b, matrix_c: true })
    }

    fn error_bound(&self, inputs: Operands<'_, Fact>) -> Bound {
        let k = inputs
            .optional(0)
            .and_then(|a| a.shape.get(if self.trans_a { 0 } else { 1 }))
            .copied()
            .unwrap_or(1);
        Bound::Contraction { length: k + 1 }
    }

    fn flops(&self, inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        let k = inputs
            .optional(0)
            .and_then(|a| a.shape.get(if self.trans_a { 0 } else { 1 }))
            .copied()
            .unwrap_or(0) as u64;
        outputs.first().map_or(0, |out| 2 * out.count() as u64 * k)
    }
}

impl Lower for Gemm {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let storage = at.float_storage(0)?;
        let (m, n, k) = self.sizes(&at.fact(0)?.shape, &at.fact(1)?.shape)?;
        let (a, b) = (at.view(0)?, at.view(1)?);
        let a = if self.trans_a { a.permuted(&[1, 0]) } else { a };
        let b = if self.trans_b { b.permuted(&[1, 0]) } else { b };
        // A row of C for all rows is a bias; any other C is a residual.
        let mut bias = None;
        let (mut residual, mut added) = (None, false);
        let mut epilogue = self.epilogue.clone();
        if at.has_input(2) {
            let c = at.view(2)?;
            let row = self.beta == 1.0
                && c.count() == n
                && c.shape.last() == Some(&n)
                && c.shape.iter().rev().skip(1).all(|&size| size == 1);
            if row {
                let flat = c.reshaped_or(&[n], "a bias")?;
                bias = Some(at.in_layout(flat, Layout::Dense)?.buffer);
            } else {
                if epilogue.operands > 1 {
                    return Err(Unsupported::new("C that is no row, with a residual"));
                }
                residual = Some(at.in_layout(c.broadcast(&[m, n]), Layout::Rows4)?.buffer);
                epilogue = self.addition().then(&epilogue, 0);
                added = true;
            }
        }
        if self.epilogue.operands > 1 {
            residual = Some(at.input(3, Layout::Rows4)?.buffer);
        }
        let dtype = at.output_fact(0)?.dtype;
        let mut stage = OutputStage::new(&epilogue, dtype, bias, residual, at.target(0, Layout::Rows4)?)?;
        if added {
            stage.epilogue = stage.epilogue.begun_by_the_operator();
        }
        kernel::product(at, storage, [a, b], &[], [m, n, k], self.alpha, &stage)
    }
}

impl Engine for Gemm {
    fn pack(&self, inputs: Operands<'_, Tensor>) -> Result<Option<Packed>> {
        let panels = inputs
            .optional(1)
            .filter(|b| b.dtype() == DType::F32 && b.rank() == 2)
            .map(|b| self.panels(b))
            .transpose()?;
        Ok(panels.map(|panels| Packed::Panels(vec![panels])))
    }

    fn run(
        &self,
        inputs: Operands<'_, Tensor>,
        packed: Option<&Packed>,
        _wanted: usize,
        mode: EvalPrecision,
    ) -> Result<Option<Vec<Tensor>>> {
        if inputs.required(0)?.dtype() != DType::F32 {
            return Ok(None);
        }
        self.floats(inputs, packed.and_then(Packed::matrix), mode).map(Some)
    }
}

pub const CASES: &[Case] = &[
    case(&[("transB", Int(1))], &[Floats(&[3, 10]), Weights(&[7, 10]), Weights(&[7])]),
    case(
        &[("transA", Int(1)), ("alpha", Float(0.5)), ("beta", Float(2.0))],
        &[Floats(&[6, 5]), Floats(&[6, 4]), Floats(&[5, 1])],
    ),
    case(&[], &[Floats(&[9, 6]), Floats(&[6, 8]), Floats(&[9, 8])]),
    case(&[], &[Floats(&[1, 5]), Floats(&[5, 3])]),
];
