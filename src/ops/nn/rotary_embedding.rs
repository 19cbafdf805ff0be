//! [RotaryEmbedding](https://onnx.ai/onnx/operators/onnx__RotaryEmbedding.html), version 23: pairs of a
//! head's elements turned by an angle that goes with the token's position (Su and others, *RoFormer*, 2021).
//!
//! X is `[batch, heads, sequence, head]` or `[batch, sequence, heads · head]`. The angles' cosines and sines
//! are `[positions, pairs]` with position ids `[batch, sequence]`, or `[batch, sequence, pairs]` without.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::error::{Error, Result};
use crate::expression::{Arg, Pointwise, table};
use crate::kernels::Lowering;
use crate::kernels::rotary::{self, RotarySizes};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator, Reads, Spread};
use crate::tensor::index::{broadcast, broadcast_strides, element, strides};
use crate::tensor::{DType, Real, Tensor, zeros};
use crate::threads::try_chunks;
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "RotaryEmbedding", since: 23, parse, cases: CASES };

/// Pairs (a, b) become (a·cos − b·sin, b·cos + a·sin).
#[derive(Debug, Clone, PartialEq)]
pub struct RotaryEmbedding {
    /// Pairs are neighbours; otherwise an element and the one half of `dim` behind it.
    pub interleaved: bool,
    /// The first elements of a head, which are turned; 0: all of them.
    pub dim: usize,
    /// Of a three-dimensional X.
    pub heads: usize,
    /// Cosines and sines are given for every element of a head, not for every pair, and broadcast to a
    /// four-dimensional X: as exporters write the operator out ([`crate::passes`]).
    pub whole: bool,
}

/// The input that holds positions.
const POSITIONS: usize = 3;

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(3..=4)?;
    let size = |name: &str, value: i64| {
        usize::try_from(value).map_err(|_| Error::model(format!("attribute '{name}' is {value}")))
    };
    let (dim, heads) = (
        size("rotary_embedding_dim", node.int("rotary_embedding_dim", 0)?)?,
        size("num_heads", node.int("num_heads", 0)?)?,
    );
    Ok(Arc::new(RotaryEmbedding { interleaved: node.int("interleaved", 0)? != 0, dim, heads, whole: false }))
}

impl RotaryEmbedding {
    /// The sizes of X, once the others fit.
    pub fn sizes(
        &self,
        x: &[usize],
        cos: &[usize],
        sin: &[usize],
        positions: Option<&[usize]>,
    ) -> Result<RotarySizes> {
        let (batch, heads, sequence, head, flat) = match *x {
            [batch, heads, sequence, head] => (batch, heads, sequence, head, false),
            [batch, sequence, hidden] if self.heads > 0 && hidden.is_multiple_of(self.heads) => {
                (batch, self.heads, sequence, hidden / self.heads, true)
            }
            _ => {
                return Err(Error::model(format!(
                    "X of shape {x:?} with num_heads {}: needs 4 axes, or 3 of which the last holds whole heads",
                    self.heads
                )));
            }
        };
        let dim = if self.dim == 0 { head } else { self.dim };
        if !dim.is_multiple_of(2) || dim > head {
            return Err(Error::model(format!("{dim} elements of a head of {head} can't be turned in pairs")));
        }
        let fits = |shape: &[usize]| match (self.whole, positions) {
            (true, _) => {
                !flat
                    && dim == head
                    && shape.last() == Some(&head)
                    && broadcast(shape, x).ok().as_deref() == Some(x)
            }
            (false, Some(positions)) => {
                matches!(*shape, [_, pairs] if pairs == dim / 2) && *positions == [batch, sequence]
            }
            (false, None) => *shape == [batch, sequence, dim / 2],
        };
        if !fits(cos) || !fits(sin) || cos.first() != sin.first() && !self.whole {
            let at =
                positions.map_or(String::new(), |positions| format!(" at positions of shape {positions:?}"));
            return Err(Error::model(format!(
                "X of shape {x:?}, {dim} elements of a head turned, doesn't go with cosines {cos:?} and sines {sin:?}{at}"
            )));
        }
        Ok(RotarySizes { batch, heads, sequence, head, dim, flat })
    }

    fn sizes_of(&self, inputs: Operands<'_, Tensor>) -> Result<RotarySizes> {
        self.sizes(
            inputs.required(0)?.shape(),
            inputs.required(1)?.shape(),
            inputs.required(2)?.shape(),
            inputs.optional(POSITIONS).map(Tensor::shape),
        )
    }

    /// Where the angles of each row of X, which has elements, begin in a tensor of cosines or sines.
    ///
    /// Errors: a position that there are no angles for.
    fn starts(
        &self,
        s: &RotarySizes,
        x: &[usize],
        cache: &[usize],
        positions: Option<&Tensor>,
    ) -> Result<Vec<usize>> {
        let rows = s.batch * s.heads * s.sequence;
        if self.whole {
            let steps = broadcast_strides(cache, &strides(cache), x);
            let own =
                |row: usize| [row / (s.heads * s.sequence), row / s.sequence % s.heads, row % s.sequence];
            return Ok((0..rows)
                .map(|row| own(row).iter().zip(&steps).map(|(at, step)| at * step).sum())
                .collect());
        }
        let ids = positions.map(Tensor::to_i64s).transpose()?;
        let (count, pairs) = (cache[0], s.dim / 2);
        let start = |row: usize| {
            let (batch, position) = s.buffer(row);
            let Some(ids) = &ids else { return Ok((batch * s.sequence + position) * pairs) };
            // Negative ones count from the end, as Gather's do, of which the operator is said to be made.
            let id = ids[batch * s.sequence + position];
            element(id, (0, count)).map(|id| id * pairs).map_err(|error| error.of_input(POSITIONS))
        };
        (0..rows).map(start).collect()
    }

    /// That of cosines and of sines, which mostly lie alike.
    fn angles(&self, s: &RotarySizes, inputs: Operands<'_, Tensor>) -> Result<[Vec<usize>; 2]> {
        let (x, cos, sin, positions) = (
            inputs.required(0)?.shape(),
            inputs.required(1)?.shape(),
            inputs.required(2)?.shape(),
            inputs.optional(POSITIONS),
        );
        let of_cos = self.starts(s, x, cos, positions)?;
        let of_sin = if sin == cos { of_cos.clone() } else { self.starts(s, x, sin, positions)? };
        Ok([of_cos, of_sin])
    }

    /// For each element that is turned: what it is turned with, whether that is subtracted, and which of the
    /// row's angles is theirs.
    fn pairs(&self, s: &RotarySizes) -> Vec<(usize, bool, usize)> {
        let half = s.dim / 2;
        let of = |element: usize| {
            let (first, pair) = if self.interleaved {
                (element.is_multiple_of(2), element / 2)
            } else {
                (element < half, element % half)
            };
            let distance = if self.interleaved { 1 } else { half };
            let other = if first { element + distance } else { element - distance };
            (other, first, if self.whole { element } else { pair })
        };
        (0..s.dim).map(of).collect()
    }

    fn turn<T: Real>(&self, inputs: Operands<'_, Tensor>) -> Result<Tensor> {
        let (x, cos, sin) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
        let s = self.sizes_of(inputs)?;
        if x.is_empty() {
            return Ok(x.clone()); // no elements may be any number of rows
        }
        let [cos_at, sin_at] = self.angles(&s, inputs)?;
        let (xs, cosines, sines, pairs) =
            (x.as_slice::<T>()?, cos.as_slice::<T>()?, sin.as_slice::<T>()?, self.pairs(&s));
        let mut ys: Vec<T> = zeros(xs.len())?;
        let rows = CHUNK.div_ceil(s.head);
        try_chunks(&mut ys, rows * s.head, |chunk, ys| {
            for (row, y) in (chunk * rows..).zip(ys.chunks_exact_mut(s.head)) {
                let (x, c, n) =
                    (&xs[row * s.head..][..s.head], &cosines[cos_at[row]..], &sines[sin_at[row]..]);
                for (element, &(other, first, angle)) in pairs.iter().enumerate() {
                    let across = x[other] * n[angle];
                    y[element] = x[element] * c[angle] + if first { -across } else { across };
                }
                y[s.dim..].copy_from_slice(&x[s.dim..]);
            }
            Ok(())
        })?;
        Tensor::new(x.shape(), ys)
    }

    /// Four tensors of X's shape, float64: X, the other of each pair with its sign, cosines and sines. The
    /// result is the first times the third plus the second times the fourth.
    fn operands(&self, inputs: Operands<'_, Tensor>) -> Result<[Tensor; 4]> {
        let (x, cos, sin) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
        let s = self.sizes_of(inputs)?;
        if x.is_empty() {
            return Ok([x.clone(), x.clone(), x.clone(), x.clone()]);
        }
        let [cos_at, sin_at] = self.angles(&s, inputs)?;
        let (xs, cosines, sines, pairs) = (x.to_f64s()?, cos.to_f64s()?, sin.to_f64s()?, self.pairs(&s));
        let mut all: [Vec<f64>; 4] = [xs.clone(), zeros(xs.len())?, vec![1.0; xs.len()], zeros(xs.len())?];
        for row in 0..xs.len() / s.head {
            for (element, &(other, first, angle)) in pairs.iter().enumerate() {
                let at = row * s.head + element;
                let across = xs[row * s.head + other];
                all[1][at] = if first { -across } else { across };
                all[2][at] = cosines[cos_at[row] + angle];
                all[3][at] = sines[sin_at[row] + angle];
            }
        }
        let [own, other, cos, sin] = all.map(|list| Tensor::new(x.shape(), list));
        Ok([own?, other?, cos?, sin?])
    }

    /// What [`RotaryEmbedding::operands`] are put together by.
    fn rotation() -> Pointwise {
        let mut sum = Pointwise { operands: 4, steps: vec![] };
        let own = sum.push(&table::MUL, vec![Arg::Operand(0), Arg::Operand(2)]);
        let other = sum.push(&table::MUL, vec![Arg::Operand(1), Arg::Operand(3)]);
        sum.push(&table::ADD, vec![own, other]);
        sum
    }
}

/// Elements that a thread takes at once.
const CHUNK: usize = 1 << 12;

impl Operator for RotaryEmbedding {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        inputs.one_type(3)?;
        let (x, cos, sin) = (inputs.required(0)?, inputs.required(1)?, inputs.required(2)?);
        let positions = inputs.optional(POSITIONS);
        if positions.is_some_and(|positions| positions.dtype != DType::I64) {
            return Err(Error::model("position ids must be int64").into());
        }
        self.sizes(&x.shape, &cos.shape, &sin.shape, positions.map(|positions| &positions.shape[..]))?;
        if let Some(ids) = positions.and_then(|positions| positions.value.as_ref()).filter(|_| x.count() > 0)
        {
            ids.to_i64s()?.iter().try_for_each(|&id| {
                element(id, (0, cos.shape[0])).map(drop).map_err(|error| error.of_input(POSITIONS))
            })?;
        }
        Ok(vec![Fact::new(x.dtype, x.shape.clone())])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        match inputs.required(0)?.dtype() {
            DType::F32 => Ok(vec![self.turn::<f32>(inputs)?]),
            DType::F64 => Ok(vec![self.turn::<f64>(inputs)?]),
            other => Err(Error::unsupported(format!("a rotation of {other}"))),
        }
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn reads(&self) -> Reads {
        Reads::Strided
    }

    fn as_expression(&self, inputs: Operands<'_, Tensor>) -> Result<Option<Spread>> {
        let operands = self.operands(inputs)?.into_iter().zip([0, 0, 1, 2]).collect();
        Ok(Some(Spread { expression: Self::rotation(), operands }))
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Elementwise
    }

    fn flops(&self, _inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        outputs.first().map_or(0, |out| 3 * out.count() as u64)
    }
}

impl Lower for RotaryEmbedding {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let shape = |index: usize| at.fact(index).map(|fact| &fact.shape[..]);
        let positions = if at.has_input(POSITIONS) { Some(shape(POSITIONS)?) } else { None };
        let sizes = self.sizes(shape(0)?, shape(1)?, shape(2)?, positions)?;
        rotary::emit(at, &sizes, self.interleaved, self.whole)
    }
}

pub const CASES: &[Case] = &[
    // Without positions, with them, at both ends of the cache.
    case(&[], &[Floats(&[2, 3, 5, 8]), Floats(&[2, 5, 4]), Floats(&[2, 5, 4])]).at(23),
    case(&[], &[Floats(&[2, 3, 2, 8]), Floats(&[9, 4]), Floats(&[9, 4]), Indices(&[2, 2], &[8, 0, 3, -1])])
        .at(23),
    // Halves that fill no group of 4, an element's pair in its own group.
    case(&[], &[Floats(&[1, 2, 5, 6]), Floats(&[1, 5, 3]), Floats(&[1, 5, 3])]).at(23),
    case(&[("interleaved", Int(1))], &[Floats(&[1, 2, 5, 8]), Floats(&[1, 5, 4]), Floats(&[1, 5, 4])]).at(23),
    case(
        &[("interleaved", Int(1))],
        &[Floats(&[1, 2, 3, 10]), Floats(&[7, 5]), Floats(&[7, 5]), Indices(&[1, 3], &[6, 6, 1])],
    )
    .at(23),
    // A part of each head.
    case(
        &[("rotary_embedding_dim", Int(8))],
        &[Floats(&[1, 2, 3, 12]), Floats(&[1, 3, 4]), Floats(&[1, 3, 4])],
    )
    .at(23),
    case(
        &[("rotary_embedding_dim", Int(4))],
        &[Floats(&[1, 2, 3, 7]), Floats(&[1, 3, 2]), Floats(&[1, 3, 2])],
    )
    .at(23),
    case(
        &[("rotary_embedding_dim", Int(6)), ("interleaved", Int(1))],
        &[Floats(&[1, 2, 3, 9]), Floats(&[4, 3]), Floats(&[4, 3]), Indices(&[1, 3], &[0, 2, 3])],
    )
    .at(23),
    // Heads and elements as one axis.
    case(&[("num_heads", Int(3))], &[Floats(&[2, 4, 24]), Floats(&[2, 4, 4]), Floats(&[2, 4, 4])]).at(23),
    case(
        &[("num_heads", Int(2))],
        &[Floats(&[2, 3, 20]), Floats(&[5, 5]), Floats(&[5, 5]), Indices(&[2, 3], &[4, 0, 1, 2, 3, 4])],
    )
    .at(23),
    case(&[], &[Floats(&[1, 0, 3, 4]), Floats(&[1, 3, 2]), Floats(&[1, 3, 2])]).at(23).runs("view"),
    // No elements in any number of rows.
    case(
        &[],
        &[
            Floats(&[1 << 16, 1 << 16, 1 << 16, 0]),
            Floats(&[1 << 16, 1 << 16, 0]),
            Floats(&[1 << 16, 1 << 16, 0]),
        ],
    )
    .at(23)
    .runs("view"),
    case(&[], &[Floats(&[0, 1, 1, 1 << 40]), Floats(&[0, 1, 1 << 39]), Floats(&[0, 1, 1 << 39])])
        .at(23)
        .runs("view"),
];
