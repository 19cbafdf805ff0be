//! [TensorScatter](https://onnx.ai/onnx/operators/onnx__TensorScatter.html), version 24: new entries written
//! into a cache of a sequence, from an index of each sample on.
//!
//! Inputs: the cache `[n, …, entries, …]`, the update with as many entries or fewer, and optionally the
//! indices `[n]`, which are 0 where they are left out.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator};
use crate::tensor::index::axis;
use crate::tensor::{Tensor, allocate};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "", name: "TensorScatter", since: 24, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
pub struct TensorScatter {
    axis: i64,
    /// What goes beyond the end goes on at the beginning.
    circular: bool,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(2..=3)?;
    let circular = node.choice("mode", "linear", &["linear", "circular"])? == "circular";
    Ok(Arc::new(TensorScatter { axis: node.int("axis", -2)?, circular }))
}

impl TensorScatter {
    fn check(&self, cache: &[usize], update: &[usize], indices: Option<&[usize]>) -> Result<usize> {
        let at = axis(self.axis, cache.len())?;
        let fits = at > 0
            && cache.len() == update.len()
            && (0..cache.len()).all(|d| if d == at { update[d] <= cache[d] } else { update[d] == cache[d] })
            && indices.is_none_or(|indices| *indices == cache[..1]);
        if fits {
            return Ok(at);
        }
        Err(Error::model(format!(
            "an update {update:?} with indices {indices:?} doesn't fit a cache {cache:?} along axis {at}"
        )))
    }
}

impl Operator for TensorScatter {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        inputs.one_type(2)?;
        let (cache, update) = (inputs.required(0)?, inputs.required(1)?);
        self.check(&cache.shape, &update.shape, inputs.optional(2).map(|fact| &fact.shape[..]))?;
        Ok(vec![Fact::new(cache.dtype, cache.shape.clone())])
    }

    fn takes_any_type(&self) -> bool {
        true
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let (cache, update) = (inputs.required(0)?, inputs.required(1)?);
        let at = self.check(cache.shape(), update.shape(), inputs.optional(2).map(Tensor::shape))?;
        let (entries, new) = (cache.shape()[at], update.shape()[at]);
        let indices = inputs.optional(2).map(Tensor::to_i64s).transpose()?;
        let mut sources: Vec<usize> = allocate(cache.len())?;
        sources.extend(0..cache.len());
        if update.is_empty() {
            return Ok(vec![cache.clone()]);
        }
        let inner: usize = cache.shape()[at + 1..].iter().product();
        let rows: usize = cache.shape()[..at].iter().product();
        for row in 0..rows {
            let sample = row / (rows / cache.shape()[0]);
            let first = indices.as_ref().map_or(0, |indices| indices[sample]);
            let reach = first.checked_add(new as i64).filter(|&end| first >= 0 && end <= entries as i64);
            if reach.is_none() && !self.circular {
                return Err(Error::input(format!(
                    "{new} entries from index {first} on don't fit a cache of {entries}"
                ))
                .of_input(2)
                .remedy("give another index, or use mode 'circular'"));
            }
            let first = first.rem_euclid(entries as i64) as usize;
            for entry in 0..new {
                let to = (row * entries + (first + entry) % entries) * inner;
                let from = cache.len() + (row * new + entry) * inner;
                (0..inner).for_each(|k| sources[to + k] = from + k);
            }
        }
        let all = Tensor::chain(&[cache, update])?;
        Ok(vec![all.pick(cache.shape(), |at| sources.get(at).copied())?])
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }

    fn flops(&self, _inputs: Operands<'_, Fact>, _outputs: &[Fact]) -> u64 {
        0
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[2, 2, 5, 3]), Floats(&[2, 2, 2, 3]), Indices(&[2], &[3, 0])]).runs("cpu"),
    case(
        &[("mode", Text("circular")), ("axis", Int(1))],
        &[I64(&[3, 4, 2]), I64(&[3, 3, 2]), Indices(&[3], &[3, 1, 9])],
    )
    .runs("cpu"),
    case(&[("axis", Int(-1))], &[Floats(&[2, 5]), Floats(&[2, 3])]).runs("cpu"),
];
