//! [MatMul](https://onnx.ai/onnx/operators/onnx__MatMul.html), versions 1, 9, 13: the matrix product of
//! numpy's `matmul`.
//!
//! Inputs: A `[…, m, k]`, B `[…, k, n]`, either possibly 1-D; input 2 is a bias `[n]` that a pass put there;
//! then the epilogue's operands, each of the result's shape.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Layout, Operands, Unsupported};
use crate::cpu_kernels::epilogue::PreparedEpilogue;
use crate::cpu_kernels::gemm::{MatrixRef, gemm};
use crate::cpu_kernels::panels::{Packed, Panels};
use crate::cpu_kernels::product::{Cut, Rows, product as product_of, product_on};
use crate::error::{Error, Result};
use crate::expression::Pointwise;
use crate::kernels::epilogue::OutputStage;
use crate::kernels::{Lowering, Target, matmul as kernel};
use crate::ops::case::{Case, Operand::*, case};
use crate::ops::{Engine, Lower, NodeView, OpDef, Operator, Product, Reads};
use crate::tensor::index::{Odometer, broadcast, broadcast_strides, strides};
use crate::tensor::{DType, Real, Tensor, cast, element_count, pool, zeros};
use crate::threads::try_chunks;
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "MatMul", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct MatMul {
    pub epilogue: Pointwise,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=2)?;
    Ok(Arc::new(MatMul { epilogue: Pointwise::identity() }))
}

/// The shapes of a product: each operand with two matrix axes, the batch, the result.
pub struct Shapes {
    pub a: Vec<usize>,
    pub b: Vec<usize>,
    pub batch: Vec<usize>,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub result: Vec<usize>,
}

/// Those of operands of these shapes. Errors: they have no product.
pub fn shapes(a: &[usize], b: &[usize]) -> Result<Shapes> {
    if a.is_empty() || b.is_empty() {
        return Err(Error::model("a scalar has no matrix product"));
    }
    let (mut wide_a, mut wide_b) = (a.to_vec(), b.to_vec());
    if a.len() == 1 {
        wide_a.insert(0, 1);
    }
    if b.len() == 1 {
        wide_b.push(1);
    }
    let (ra, rb) = (wide_a.len(), wide_b.len());
    let (m, k, n) = (wide_a[ra - 2], wide_a[ra - 1], wide_b[rb - 1]);
    if k != wide_b[rb - 2] {
        return Err(Error::model(format!("the shapes {a:?} and {b:?} have no matrix product")));
    }
    let batch = broadcast(&wide_a[..ra - 2], &wide_b[..rb - 2])?;
    let mut result = batch.clone();
    if a.len() > 1 {
        result.push(m);
    }
    if b.len() > 1 {
        result.push(n);
    }
    Ok(Shapes { a: wide_a, b: wide_b, batch, m, n, k, result })
}

impl Operator for MatMul {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        inputs.one_type(3)?;
        let (a, b) = (inputs.required(0)?, inputs.required(1)?);
        Ok(vec![Fact::new(a.dtype, shapes(&a.shape, &b.shape)?.result)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let (a, b) = (inputs.required(0)?, inputs.required(1)?);
        let mut result = match a.dtype() {
            DType::F64 => product::<f64>(a, b)?,
            DType::F32 => product::<f32>(a, b)?,
            DType::I32 | DType::I64 | DType::U32 | DType::U64 => integers(a, b)?,
            other => return Err(Error::unsupported(format!("a matrix product of {other}"))),
        };
        if let Some(bias) = inputs.optional(2) {
            result = Pointwise::of(&crate::expression::table::ADD, 2, &[]).eval(&[&result, bias], mode)?;
        }
        crate::ops::nn::epilogue(&self.epilogue, result, inputs.skip(3), mode)
    }

    fn engine(&self) -> Option<&dyn Engine> {
        Some(self)
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn epilogue(&self) -> Option<&Pointwise> {
        Some(&self.epilogue)
    }

    fn with_epilogue(&self, epilogue: Pointwise) -> Option<Arc<dyn Operator>> {
        Some(Arc::new(Self { epilogue }))
    }

    fn product(&self) -> Option<Product> {
        Some(Product { alpha: 1.0, beta: 1.0, trans_a: false, trans_b: false, matrix_c: false })
    }

    fn reads(&self) -> Reads {
        Reads::Strided
    }

    fn error_bound(&self, inputs: Operands<'_, Fact>) -> Bound {
        Bound::Contraction {
            length: inputs.optional(0).and_then(|a| a.shape.last().copied()).unwrap_or(1)
                + inputs.optional(2).is_some() as usize,
        }
    }

    fn flops(&self, inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        let k = inputs.optional(0).and_then(|a| a.shape.last().copied()).unwrap_or(0) as u64;
        outputs.first().map_or(0, |out| 2 * out.count() as u64 * k)
    }
}

impl Lower for MatMul {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let storage = at.float_storage(0)?;
        let (a_shape, b_shape) = (at.fact(0)?.shape.clone(), at.fact(1)?.shape.clone());
        let mut s = shapes(&a_shape, &b_shape)?;
        let (a, b) = (at.view(0)?, at.view(1)?);
        let a =
            if a.shape == s.a { a } else { at.in_layout(a, Layout::Dense)?.reshaped_or(&s.a, "a factor")? };
        let b =
            if b.shape == s.b { b } else { at.in_layout(b, Layout::Dense)?.reshaped_or(&s.b, "a factor")? };
        // A batch of A against one B is one tall matrix.
        let mut a = a;
        if s.b[..s.b.len() - 2].iter().all(|&size| size == 1) && s.batch.iter().product::<usize>() > 1 {
            let tall = s.batch.iter().product::<usize>() * s.m;
            let padded = if a.reshaped(&[tall, s.k]).is_some() {
                a.clone()
            } else {
                at.in_layout(a.clone(), Layout::Rows4)?
            };
            if let Some(view) = padded.reshaped(&[tall, s.k]) {
                (a, s.m, s.batch) = (view, tall, vec![]);
            }
        }
        let b = if s.batch.is_empty() { b.reshaped(&[s.k, s.n]).unwrap_or(b) } else { b };
        // A vector's result is a row or a column: the kernel writes rows padded to 4.
        let column = b_shape.len() == 1;
        let fact = at.output_fact(0)?.clone();
        let shape: Vec<usize> = fact.shape.iter().copied().chain([1]).collect();
        let bias = at.optional_input(2, Layout::Dense)?.map(|view| view.buffer);
        if column && bias.is_some() {
            return Err(Unsupported::new("a bias along the rows of a product with a vector"));
        }
        let residual = match (self.epilogue.operands > 1, column) {
            (false, _) => None,
            (true, false) => Some(at.input(3, Layout::Rows4)?.buffer),
            (true, true) => {
                let view = at.view(3)?;
                let dense = at.in_layout(view, Layout::Dense)?.reshaped_or(&shape, "a residual")?;
                Some(at.in_layout(dense, Layout::Rows4)?.buffer)
            }
        };
        let sizes = [s.m, s.n, s.k];
        if !column {
            let stage = OutputStage::new(
                &self.epilogue,
                at.output_fact(0)?.dtype,
                bias,
                residual,
                at.target(0, Layout::Rows4)?,
            )?;
            return kernel::product(at, storage, [a, b], &s.batch, sizes, 1.0, &stage);
        }
        let output = at.scratch(&Fact::new(fact.dtype, shape), Layout::Rows4)?;
        let stage = OutputStage::new(
            &self.epilogue,
            at.output_fact(0)?.dtype,
            bias,
            residual,
            Target::of(&output, Layout::Rows4)?,
        )?;
        kernel::product(at, storage, [a, b], &s.batch, sizes, 1.0, &stage)?;
        at.alias(0, output.reshaped_or(&fact.shape, "a result")?);
        Ok(())
    }
}

impl Engine for MatMul {
    fn pack(&self, inputs: Operands<'_, Tensor>) -> Result<Option<Packed>> {
        match inputs.optional(1) {
            Some(b)
                if b.dtype() == DType::F32
                    && (b.rank() == 2
                        || b.rank() > 2 && b.shape()[..b.rank() - 2].iter().all(|&size| size == 1)) =>
            {
                let (k, n) = (b.shape()[b.rank() - 2], b.shape()[b.rank() - 1]);
                Ok(Some(Packed::Panels(vec![Panels::pack(b.as_slice()?, k, n, n, 1)?])))
            }
            _ => Ok(None),
        }
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

fn product<T: Real>(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let s = shapes(a.shape(), b.shape())?;
    let (xs, ys) = (a.as_slice::<T>()?, b.as_slice::<T>()?);
    let mut result: Vec<T> = zeros(element_count(&s.result)?)?;
    let one_b = s.b[..s.b.len() - 2].iter().all(|&size| size == 1);
    let dense =
        |data, rows, columns| MatrixRef { data, rows, columns, row_stride: columns, column_stride: 1 };
    if one_b && !s.result.is_empty() {
        let rows = result.len() / s.n.max(1);
        gemm(dense(xs, if s.n == 0 { 0 } else { rows }, s.k), dense(ys, s.k, s.n), &mut result);
        return Tensor::new(s.result, result);
    }
    let (sa, sb) = (strides(&s.a), strides(&s.b));
    let (sa, sb) = (
        broadcast_strides(&s.a[..s.a.len() - 2], &sa[..s.a.len() - 2], &s.batch),
        broadcast_strides(&s.b[..s.b.len() - 2], &sb[..s.b.len() - 2], &s.batch),
    );
    for (index, [at_a, at_b]) in Odometer::new(&s.batch, [&sa, &sb]).enumerate() {
        let c = &mut result[index * s.m * s.n..][..s.m * s.n];
        gemm(dense(&xs[at_a..][..s.m * s.k], s.m, s.k), dense(&ys[at_b..][..s.k * s.n], s.k, s.n), c);
    }
    Tensor::new(s.result, result)
}

impl MatMul {
    /// The product of float32, with what is added and applied to it. `packed` is B, where there is one for
    /// all of A.
    fn floats(
        &self,
        inputs: Operands<'_, Tensor>,
        packed: Option<&Panels>,
        mode: EvalPrecision,
    ) -> Result<Vec<Tensor>> {
        let (a, b, bias) = (inputs.required(0)?, inputs.required(1)?, inputs.optional(2));
        let s = shapes(a.shape(), b.shape())?;
        let (xs, ys) = (a.as_slice::<f32>()?, b.as_slice::<f32>()?);
        let mut result = pool::unset(element_count(&s.result)?)?;
        let row = bias.map(|bias| bias.as_slice::<f32>()).transpose()?.filter(|bias| bias.len() == s.n);
        // What the product can't apply itself comes after it.
        let ready = if bias.is_some() && row.is_none() {
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
        let row = row.filter(|_| ready.is_some());
        if s.b[..s.b.len() - 2].iter().all(|&size| size == 1) {
            let m = result.len().checked_div(s.n).unwrap_or(0);
            let own = if packed.is_none() { Some(Panels::pack(ys, s.k, s.n, s.n, 1)?) } else { None };
            let panels = packed.or(own.as_ref()).ok_or_else(|| Error::internal("no panels"))?;
            applied.with(row, 0, s.n, |epilogue| {
                product_of(Rows::Dense { data: xs, stride: s.k }, m, panels, epilogue, &mut result, s.n)
            })?;
        } else if s.m * s.n > 0 {
            let (sa, sb) = (strides(&s.a), strides(&s.b));
            let axes = s.a.len() - 2;
            let sa = broadcast_strides(&s.a[..axes], &sa[..axes], &s.batch);
            let axes = s.b.len() - 2;
            let sb = broadcast_strides(&s.b[..axes], &sb[..axes], &s.batch);
            let starts: Vec<[usize; 2]> = Odometer::new(&s.batch, [&sa, &sb]).collect();
            let threads = rayon::current_num_threads();
            let each = if starts.len() >= threads { 1 } else { threads };
            try_chunks(&mut result, s.m * s.n, |index, c| {
                let Some(&[at_a, at_b]) = starts.get(index) else { return Ok(()) };
                let panels = Panels::pack(&ys[at_b..][..s.k * s.n], s.k, s.n, s.n, 1)?;
                let rows = Rows::Dense { data: &xs[at_a..][..s.m * s.k], stride: s.k };
                applied.with(row, index * s.m * s.n, s.n, |epilogue| {
                    product_on(Cut::part(each), rows, s.m, &panels, epilogue, c, s.n)
                })
            })?;
        }
        let mut result = Tensor::floats(s.result, result)?;
        if ready.is_some() {
            return Ok(vec![result]);
        }
        if let Some(bias) = bias {
            result = Pointwise::of(&crate::expression::table::ADD, 2, &[]).eval(&[&result, bias], mode)?;
        }
        crate::ops::nn::epilogue(&self.epilogue, result, inputs.skip(3), mode)
    }
}

/// Integer products wrap at their own width.
fn integers(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let s = shapes(a.shape(), b.shape())?;
    let (x, y) = (cast(a, DType::I64, true)?, cast(b, DType::I64, true)?);
    let (xs, ys) = (x.as_slice::<i64>()?, y.as_slice::<i64>()?);
    let (sa, sb) = (strides(&s.a), strides(&s.b));
    let (sa, sb) = (
        broadcast_strides(&s.a[..s.a.len() - 2], &sa[..s.a.len() - 2], &s.batch),
        broadcast_strides(&s.b[..s.b.len() - 2], &sb[..s.b.len() - 2], &s.batch),
    );
    let mut result: Vec<i64> = zeros(element_count(&s.result)?)?;
    for (index, [at_a, at_b]) in Odometer::new(&s.batch, [&sa, &sb]).enumerate() {
        for (at, to) in result[index * s.m * s.n..][..s.m * s.n].iter_mut().enumerate() {
            let (row, column) = (at / s.n, at % s.n);
            *to = (0..s.k).fold(0i64, |sum, k| {
                sum.wrapping_add(xs[at_a + row * s.k + k].wrapping_mul(ys[at_b + k * s.n + column]))
            });
        }
    }
    cast(&Tensor::new(s.result, result)?, a.dtype(), true)
}

pub const CASES: &[Case] = &[
    case(&[], &[Drawn(DType::BF16, &[3, 5]), Drawn(DType::BF16, &[5, 2])]),
    case(&[], &[Floats(&[5, 37]), Weights(&[37, 11])]),
    case(&[], &[Floats(&[2, 3, 5, 7]), Floats(&[2, 3, 7, 6])]),
    case(&[], &[Floats(&[2, 3, 4, 8]), Weights(&[8, 12])]),
    case(&[], &[Floats(&[3, 1, 4, 5]), Floats(&[2, 5, 3])]),
    case(&[], &[Floats(&[6]), Floats(&[6, 5])]),
    case(&[], &[Floats(&[5, 6]), Floats(&[6])]),
    case(&[], &[Floats(&[6]), Floats(&[6])]),
    case(&[], &[Floats(&[1, 197, 3]), Floats(&[3, 197])]),
    case(&[], &[I64(&[2, 3]), I64(&[3, 4])]).runs("cpu"),
];
