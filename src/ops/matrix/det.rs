//! [Det](https://onnx.ai/onnx/operators/onnx__Det.html), versions 11, 22: the determinants of the matrices in
//! the last two axes. Those of up to three rows are written out, the others' are found by elimination.

use crate::base::{EvalPrecision, Fact, Infer, Layout, Operands, Unsupported, View};
use crate::error::{Error, Result};
use crate::expression::{Arg, Pointwise, table};
use crate::kernels::{Lowering, pointwise};
use crate::ops::case::{Case, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator, Spread};
use crate::tensor::{DType, Tensor, allocate, cast, element_count};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "Det", since: 11, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct Det;

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    Ok(Arc::new(Det))
}

/// a · d − b · c.
fn crossed(steps: &mut Pointwise, [a, b, c, d]: [Arg; 4]) -> Arg {
    let down = steps.push(&table::MUL, vec![a, d]);
    let up = steps.push(&table::MUL, vec![b, c]);
    steps.push(&table::SUB, vec![down, up])
}

/// The first row's elements times what crosses without their columns.
fn expanded(steps: &mut Pointwise, row: [Arg; 3], rest: [Arg; 3]) {
    let terms = [0, 1, 2].map(|k| steps.push(&table::MUL, vec![row[k], rest[k]]));
    let sum = steps.push(&table::SUB, vec![terms[0], terms[1]]);
    steps.push(&table::ADD, vec![sum, terms[2]]);
}

/// The places, in a matrix of three columns, of what crosses without each column of its first row.
const CROSSED: [[usize; 4]; 3] = [[4, 5, 7, 8], [3, 5, 6, 8], [3, 4, 6, 7]];

/// The determinant of n · n operands, row by row; none beyond three rows.
fn written_out(n: usize) -> Option<Pointwise> {
    let mut steps = Pointwise { operands: n * n, steps: vec![] };
    match n {
        1 => {}
        2 => drop(crossed(&mut steps, [0, 1, 2, 3].map(Arg::Operand))),
        3 => {
            let rest = CROSSED.map(|places| crossed(&mut steps, places.map(Arg::Operand)));
            expanded(&mut steps, [0, 1, 2].map(Arg::Operand), rest);
        }
        _ => return None,
    }
    Some(steps)
}

/// In the order of [`written_out`], which says what becomes of infinities; else by elimination, with the
/// largest element of a column as its pivot.
fn determinant(matrix: &mut [f64], n: usize) -> f64 {
    let crossed = |m: &[f64], [a, b, c, d]: [usize; 4]| m[a] * m[d] - m[b] * m[c];
    match n {
        1 => return matrix[0],
        2 => return crossed(matrix, [0, 1, 2, 3]),
        3 => {
            let [x, y, z] = CROSSED.map(|places| crossed(matrix, places));
            return matrix[0] * x - matrix[1] * y + matrix[2] * z;
        }
        _ => {}
    }
    let mut product = 1.0;
    for column in 0..n {
        let below = column..n;
        let pivot = below
            .clone()
            .max_by(|&a, &b| matrix[a * n + column].abs().total_cmp(&matrix[b * n + column].abs()));
        let pivot = pivot.unwrap_or(column);
        if matrix[pivot * n + column] == 0.0 {
            return 0.0;
        }
        if pivot != column {
            below.clone().for_each(|k| matrix.swap(pivot * n + k, column * n + k));
            product = -product;
        }
        product *= matrix[column * n + column];
        for row in column + 1..n {
            let factor = matrix[row * n + column] / matrix[column * n + column];
            below.clone().for_each(|k| matrix[row * n + k] -= factor * matrix[column * n + k]);
        }
    }
    product
}

impl Operator for Det {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        match x.shape[..] {
            [ref outer @ .., rows, columns] if rows == columns => Ok(vec![Fact::new(x.dtype, outer)]),
            _ => {
                Err(Error::model(format!("a tensor of shape {:?} holds no square matrices", x.shape)).into())
            }
        }
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let outer = &x.shape()[..x.rank() - 2];
        let (n, count) = (x.shape()[x.rank() - 1], element_count(outer)?);
        let mut xs = x.to_f64s()?;
        let mut ys: Vec<f64> = allocate(count)?;
        for matrix in 0..count {
            ys.push(determinant(&mut xs[matrix * n * n..][..n * n], n));
        }
        Ok(vec![cast(&Tensor::new(outer, ys)?, x.dtype(), true)?])
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn as_expression(&self, inputs: Operands<'_, Tensor>) -> Result<Option<Spread>> {
        let x = inputs.required(0)?;
        let (outer, n) = (&x.shape()[..x.rank() - 2], x.shape()[x.rank() - 1]);
        let Some(expression) = written_out(n).filter(|expression| expression.operands > 0) else {
            return Ok(None);
        };
        let place = |place: usize| Ok((x.pick(outer, |matrix| Some(matrix * n * n + place))?, 0));
        Ok(Some(Spread { expression, operands: (0..n * n).map(place).collect::<Result<_>>()? }))
    }

    fn flops(&self, inputs: Operands<'_, Fact>, _outputs: &[Fact]) -> u64 {
        let n = inputs.optional(0).and_then(|x| x.shape.last().copied()).unwrap_or(0) as u64;
        inputs.optional(0).map_or(0, |x| (x.count() as u64).saturating_mul(2 * n / 3))
    }
}

impl Lower for Det {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        at.float_storage(0)?;
        let (x, dtype) = (at.view(0)?, at.fact(0)?.dtype);
        let (n, outer) = (x.shape[x.shape.len() - 1], x.shape[..x.shape.len() - 2].to_vec());
        let Some(expression) = written_out(n).filter(|expression| expression.operands > 0) else {
            return Err(Unsupported::new(format!("determinants of {n} rows, which need an elimination")));
        };
        let (row, column) = (x.strides[outer.len()], x.strides[outer.len() + 1]);
        let operand = |place: usize| {
            let step = (place / n) as isize * row + (place % n) as isize * column;
            let offset = x.offset.wrapping_add_signed(step);
            let view = View {
                shape: outer.clone(),
                strides: x.strides[..outer.len()].to_vec(),
                offset,
                ..x.clone()
            };
            (view, dtype)
        };
        if n == 1 {
            return at.alias_reshaped(operand(0).0, &outer);
        }
        if n == 2 {
            let operands: Vec<_> = (0..4).map(operand).collect();
            return pointwise::emit_output(at, &expression, &operands, 0, Layout::Dense);
        }
        // What crosses is too many operands for one dispatch, and is held as float32.
        if at.is_narrowed(DType::F32)? {
            return Err(Unsupported::new("products between its kernels don't fit float16"));
        }
        let mut operands: Vec<_> = (0..3).map(operand).collect();
        for places in CROSSED {
            let mut steps = Pointwise { operands: 4, steps: vec![] };
            let parts = [0, 1, 2, 3].map(|k| steps.push_cast(Arg::Operand(k), DType::F32));
            crossed(&mut steps, parts);
            operands.push(pointwise::computed(at, &steps, &places.map(operand), &outer)?);
        }
        let mut steps = Pointwise { operands: 6, steps: vec![] };
        let first = [0, 1, 2].map(|k| steps.push_cast(Arg::Operand(k), DType::F32));
        expanded(&mut steps, first, [3, 4, 5].map(Arg::Operand));
        let sum = steps.result();
        steps.push_cast(sum, dtype);
        pointwise::emit_output(at, &steps, &operands, 0, Layout::Dense)
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[3, 3])]),
    case(&[], &[Floats(&[5, 3, 3])]),
    case(&[], &[Floats(&[2, 3, 4, 4])]).at(11).runs("cpu"),
    case(&[], &[Values(&[2, 2, 2], &[0.0, 1.0, 1.0, 0.0, 1.0, 2.0, 2.0, 4.0])]),
    case(&[], &[Floats(&[3, 1, 2, 2])]),
    case(&[], &[Floats(&[1, 1])]).runs("view"),
    case(&[], &[Floats(&[0, 2, 2])]).runs("view"),
];
