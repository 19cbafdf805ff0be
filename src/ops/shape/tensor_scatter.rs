//! [TensorScatter](https://onnx.ai/onnx/operators/onnx__TensorScatter.html), version 24: new entries written
//! into a cache of a sequence, from an index of each sample on.
//!
//! Inputs: the cache `[n, …, entries, …]`, the update with as many entries or fewer, and optionally the
//! indices `[n]`, which are 0 where they are left out.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Layout, Operands, Unsupported, View};
use crate::error::{Error, Result};
use crate::expression::{Arg, Pointwise, table};
use crate::kernels::gather::{Addressing, gathered};
use crate::kernels::tensor_scatter::{self, Given};
use crate::kernels::{Lowering, pointwise};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Engine, Lower, NodeView, OpDef, Operator};
use crate::tensor::index::axis;
use crate::tensor::{DType, Tensor, allocate, cast};
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

impl TensorScatter {
    /// Where each element of the update goes in a cache of this shape.
    fn targets(&self, cache: &[usize], inputs: Operands<'_, Tensor>) -> Result<Vec<usize>> {
        let update = inputs.required(1)?;
        let at = self.check(cache, update.shape(), inputs.optional(2).map(Tensor::shape))?;
        let (entries, new) = (cache[at], update.shape()[at]);
        let indices = inputs.optional(2).map(Tensor::to_i64s).transpose()?;
        let mut targets: Vec<usize> = allocate(update.len())?;
        if update.is_empty() {
            return Ok(targets);
        }
        let inner: usize = cache[at + 1..].iter().product();
        let rows: usize = cache[..at].iter().product();
        for row in 0..rows {
            let sample = row / (rows / cache[0]);
            let first = indices.as_ref().map_or(0, |indices| indices[sample]);
            self.reaches(first, new, entries)?;
            let first = first.rem_euclid(entries as i64) as usize;
            for entry in 0..new {
                let to = (row * entries + (first + entry) % entries) * inner;
                targets.extend(to..to + inner);
            }
        }
        Ok(targets)
    }

    /// Errors where `new` entries from an index on go beyond those that there are.
    fn reaches(&self, first: i64, new: usize, entries: usize) -> Result<()> {
        let end = first.checked_add(new as i64).filter(|&end| first >= 0 && end <= entries as i64);
        if end.is_some() || self.circular {
            return Ok(());
        }
        Err(Error::input(format!("{new} entries from index {first} on don't fit a cache of {entries}"))
            .of_input(2)
            .remedy("give another index, or use mode 'circular'"))
    }

    /// Whether an entry of the cache (operand 0) is replaced, the first that is being operand 1; or the entry
    /// of the update that replaces it, 0 where none does. An index that is none leads outside the update.
    fn replaced(&self, new: usize, entries: usize, which: Replaced) -> Pointwise {
        let mut steps = Pointwise { operands: 2, steps: vec![] };
        let (entry, first) = (Arg::Operand(0), Arg::Operand(1));
        let (new, entries) = (Arg::Const(new as f64), Arg::Const(entries as f64));
        let from = if self.circular { steps.push(&table::MOD, vec![first, entries]) } else { first };
        let mut at = steps.push(&table::SUB, vec![entry, from]);
        if self.circular {
            at = steps.push(&table::MOD, vec![at, entries]);
        }
        let begun = steps.push(&table::GREATER_OR_EQUAL, vec![at, Arg::Const(0.0)]);
        let open = steps.push(&table::LESS, vec![at, new]);
        let inside = steps.push(&table::AND, vec![begun, open]);
        if which == Replaced::Whether {
            return steps;
        }
        let mut source = steps.push(&table::WHERE, vec![inside, at, Arg::Const(0.0)]);
        if !self.circular {
            let end = steps.push(&table::ADD, vec![first, new]);
            let beyond = steps.push(&table::GREATER, vec![end, entries]);
            let last = steps.push(&table::SUB, vec![end, Arg::Const(1.0)]);
            source = steps.push(&table::WHERE, vec![beyond, last, source]);
            let negative = steps.push(&table::LESS, vec![first, Arg::Const(0.0)]);
            steps.push(&table::WHERE, vec![negative, first, source]);
        }
        steps
    }
}

/// What is asked of an entry of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replaced {
    Whether,
    By,
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
        Ok(vec![cache.with_elements(&self.targets(cache.shape(), inputs)?, update)?])
    }

    fn engine(&self) -> Option<&dyn Engine> {
        Some(self)
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

impl Engine for TensorScatter {
    fn writes_over(&self) -> bool {
        true
    }

    fn run_over(&self, first: Tensor, inputs: Operands<'_, Tensor>) -> Result<Vec<Tensor>> {
        let targets = self.targets(first.shape(), inputs)?;
        Ok(vec![first.set_elements(&targets, inputs.required(1)?)?])
    }
}

impl TensorScatter {
    /// A copy of the cache in the output, where the kernel writes into such a one.
    fn copied(&self, at: &mut dyn Lowering, cache: &View, along: usize) -> Result<Option<View>, Unsupported> {
        let whole = View::whole(cache.buffer, Layout::Dense, &cache.shape);
        if !tensor_scatter::takes(&whole, along) {
            return Ok(None);
        }
        let to = at.output(0, Layout::Dense)?;
        at.copy(cache, &to)?;
        Ok(Some(to))
    }
}

impl Lower for TensorScatter {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let (cache, update) = (at.view(0)?, at.view(1)?);
        let dtype = at.fact(0)?.dtype;
        let along = axis(self.axis, cache.shape.len())?;
        let (entries, new) = (cache.shape[along], update.shape[along]);
        if update.count() == 0 {
            at.alias(0, cache);
            return Ok(());
        }
        let (first, index_type) = if at.has_input(2) {
            (at.view(2)?, at.fact(2)?.dtype)
        } else {
            (at.table("the first entry", Tensor::int64s([0]))?.broadcast(&cache.shape[..1]), DType::I64)
        };
        if !matches!(index_type, DType::I32 | DType::I64) {
            return Err(Unsupported::new(format!("indices of {index_type}")));
        }
        if let Some(indices) = at.constant(2) {
            indices.to_i64s()?.iter().try_for_each(|&first| self.reaches(first, new, entries))?;
        }
        let told = at.has_input(2) && !self.circular;
        // A cache that a run may write over, or a copy of it.
        let place = match at.in_place(0, 0).filter(|view| tensor_scatter::takes(view, along)) {
            Some(place) => Some(place),
            None => self.copied(at, &cache, along)?,
        };
        if let Some(place) = place {
            let first = match self.circular {
                // The kernel counts in 32 bits, and any index of 64 is one here.
                true => {
                    let mut within = Pointwise { operands: 1, steps: vec![] };
                    within.push(&table::MOD, vec![Arg::Operand(0), Arg::Const(entries as f64)]);
                    pointwise::computed(at, &within, &[(first, index_type)], &cache.shape[..1])?.0
                }
                false => first,
            };
            let report = if told { at.report(2, along, vec![entries], false) } else { None };
            let circular = self.circular;
            let given = Given {
                cache: place.clone(),
                update,
                dtype,
                first,
                index_type,
                axis: along,
                circular,
                report,
            };
            tensor_scatter::emit(at, given)?;
            at.alias(0, place);
            return Ok(());
        }
        let list = Tensor::new([entries], (0..entries as i64).collect::<Vec<_>>())?;
        let list = at.table("entries", cast(&list, index_type, true)?)?;
        let rows = View { shape: vec![cache.shape[0], 1], strides: vec![first.strides[0], 0], ..first };
        let operands = [(list, index_type), (rows, index_type)];
        let shape = [cache.shape[0], entries];
        let formula = |which| self.replaced(new, entries, which);
        let (indices, _) = pointwise::computed(at, &formula(Replaced::By), &operands, &shape)?;
        let (whether, truth) = pointwise::computed(at, &formula(Replaced::Whether), &operands, &shape)?;
        // The same for all elements of an entry.
        let spread = |view: &View| {
            let mut strides = vec![0; cache.shape.len()];
            (strides[0], strides[along]) = (view.strides[0], view.strides[1]);
            strides
        };
        let mut data_strides = update.strides.clone();
        data_strides[along] = 0;
        let addressing = Addressing {
            data_strides,
            index_strides: spread(&indices),
            tuple_step: 0,
            axis: along,
            axes: vec![(new, update.strides[along])],
        };
        let report = if told { at.report(2, along, vec![entries], false) } else { None };
        let moved = at.scratch(&Fact::new(dtype, &cache.shape[..]), Layout::Dense)?;
        let sources = [(&update, dtype), (&indices, index_type)];
        gathered(at, sources[0], sources[1], &addressing, false, report, moved.clone())?;
        let whether = View { shape: cache.shape.clone(), strides: spread(&whether), ..whether };
        let operands = [(whether, truth), (moved, dtype), (cache.clone(), dtype)];
        let choice = Pointwise::of(&table::WHERE, 3, &[]);
        pointwise::emit_output(at, &choice, &operands, 0, Layout::Dense)
    }
}

const CASES: &[Case] = &[
    case(&[], &[Floats(&[2, 2, 5, 8]), Floats(&[2, 2, 2, 8]), Indices(&[2], &[3, 0])]),
    case(&[("axis", Int(1))], &[Floats(&[3, 6, 2, 2]), Floats(&[3, 1, 2, 2]), Indices(&[3], &[5, 0, 2])]),
    case(
        &[("mode", Text("circular")), ("axis", Int(-2))],
        &[I64(&[2, 3, 4]), I64(&[2, 3, 4]), Indices(&[2], &[-1, 7])],
    ),
    case(&[], &[Floats(&[2, 2, 5, 3]), Floats(&[2, 2, 2, 3]), Indices(&[2], &[3, 0])]),
    case(
        &[("mode", Text("circular")), ("axis", Int(1))],
        &[I64(&[3, 4, 2]), I64(&[3, 3, 2]), Indices(&[3], &[3, 1, 9])],
    ),
    case(&[("axis", Int(-1))], &[Floats(&[2, 5]), Floats(&[2, 3])]),
    case(&[], &[Bools(&[1, 3, 1]), Bools(&[1, 3, 1]), Indices(&[1], &[0])]),
    case(&[], &[Floats(&[2, 3, 2]), Floats(&[2, 0, 2]), Indices(&[2], &[1, 0])]).runs("view"),
    case(
        &[("mode", Text("circular")), ("axis", Int(2))],
        &[Wide(DType::I32, &[2, 3, 5]), Wide(DType::I32, &[2, 3, 2]), Indices(&[2], &[-1, 4])],
    ),
];
