//! Elementwise functions as one small expression type, with one interpreter on the CPU and one emitter of
//! WGSL.
//!
//! An elementwise operator is a row of [`table`]; a node of one, a fused chain of several and the epilogue of
//! a convolution are all a [`Pointwise`]: steps in order, each a row applied to operands, earlier steps or
//! constants.

mod eval;
mod fused;
pub mod numbers;
mod power;
mod slabs;
pub mod table;
mod wgsl;
pub mod widened;

pub use fused::Fused;
pub use table::Row;
pub use wgsl::{Lane, functions, to_wgsl};

use crate::error::{Error, Result};
use crate::tensor::DType;
use table::Result_;

/// Where an argument of a step comes from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arg {
    /// An operand of the whole expression. In an epilogue operand 0 is the kernel's own result.
    Operand(usize),
    /// The result of an earlier step.
    Step(usize),
    /// A number, of the type of the step's first other argument.
    Const(f64),
}

/// A function of the table applied to arguments.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub row: &'static Row,
    pub args: Vec<Arg>,
    /// The target of a Cast.
    pub to: Option<DType>,
}

/// An elementwise expression over `operands` operands; its value is the last step's, or operand 0 if there is
/// none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pointwise {
    pub operands: usize,
    pub steps: Vec<Step>,
}

impl Pointwise {
    /// The expression that gives its one operand back: no epilogue.
    pub fn identity() -> Self {
        Self { operands: 1, steps: vec![] }
    }
    pub fn is_identity(&self) -> bool {
        self.steps.is_empty()
    }
    /// Whether the result is the operand, as it is.
    pub fn passes_on(&self) -> bool {
        self.operands == 1 && self.steps.iter().all(|step| step.row.name == "Identity")
    }
    /// One function applied to its operands in order, then to constants.
    pub fn of(row: &'static Row, operands: usize, constants: &[f64]) -> Self {
        let args = (0..operands).map(Arg::Operand).chain(constants.iter().map(|&c| Arg::Const(c))).collect();
        Self { operands, steps: vec![Step { row, args, to: None }] }
    }
    /// A cast of its operand.
    pub fn cast(to: DType) -> Self {
        Self {
            operands: 1,
            steps: vec![Step { row: &table::CAST, args: vec![Arg::Operand(0)], to: Some(to) }],
        }
    }
    /// Appends a step and gives its argument form.
    pub fn push(&mut self, row: &'static Row, args: Vec<Arg>) -> Arg {
        self.steps.push(Step { row, args, to: None });
        Arg::Step(self.steps.len() - 1)
    }
    /// Appends a cast and gives its argument form.
    pub fn push_cast(&mut self, value: Arg, to: DType) -> Arg {
        self.steps.push(Step { row: &table::CAST, args: vec![value], to: Some(to) });
        Arg::Step(self.steps.len() - 1)
    }
    /// What the expression's value is.
    pub fn result(&self) -> Arg {
        self.steps.len().checked_sub(1).map_or(Arg::Operand(0), Arg::Step)
    }
    /// `outer` with its operand `at` replaced by this expression's value. The operands of the result are this
    /// one's, then the others of `outer` in order.
    pub fn then(&self, outer: &Pointwise, at: usize) -> Pointwise {
        let mut steps = self.steps.clone();
        let (inner, base) = (self.result(), self.steps.len());
        let others = |k: usize| self.operands + if k > at { k - 1 } else { k };
        for step in &outer.steps {
            let args = step.args.iter().map(|arg| match *arg {
                Arg::Operand(k) if k == at => inner,
                Arg::Operand(k) => Arg::Operand(others(k)),
                Arg::Step(k) => Arg::Step(base + k),
                constant => constant,
            });
            steps.push(Step { row: step.row, args: args.collect(), to: step.to });
        }
        Pointwise { operands: self.operands + outer.operands.saturating_sub(1), steps }
    }
    /// The expression with operand `from` replaced by operand `to` and those behind it moved up: two operands
    /// were the same value.
    pub fn merge_operands(&mut self, from: usize, to: usize) {
        for arg in self.steps.iter_mut().flat_map(|step| &mut step.args) {
            if let Arg::Operand(k) = arg {
                *k = match *k {
                    k if k == from => to,
                    k if k > from => k - 1,
                    k => k,
                };
            }
        }
        self.operands -= 1;
    }
    /// Replaces an operand by a number and moves those behind it up.
    pub fn bind(&mut self, operand: usize, value: f64) {
        for arg in self.steps.iter_mut().flat_map(|step| &mut step.args) {
            match *arg {
                Arg::Operand(k) if k == operand => *arg = Arg::Const(value),
                Arg::Operand(k) if k > operand => *arg = Arg::Operand(k - 1),
                _ => {}
            }
        }
        self.operands -= 1;
    }

    /// The type of each step, given the operands' types.
    pub fn types(&self, operands: &[DType]) -> Result<Vec<DType>> {
        let mut types: Vec<DType> = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            let known: Vec<Option<DType>> = step
                .args
                .iter()
                .map(|arg| match *arg {
                    Arg::Operand(k) => operands.get(k).copied(),
                    Arg::Step(k) => types.get(k).copied(),
                    Arg::Const(_) => None,
                })
                .collect();
            let main = known
                .get(step.row.typed_by)
                .copied()
                .flatten()
                .or_else(|| known.iter().copied().flatten().next());
            let main = main.ok_or_else(|| Error::internal("a step has no operand to take its type from"))?;
            types.push(match step.row.result {
                Result_::Same => main,
                Result_::Bool => DType::Bool,
                Result_::Target => step.to.unwrap_or(main),
            });
        }
        Ok(types)
    }
    /// The type of the value.
    pub fn result_type(&self, operands: &[DType]) -> Result<DType> {
        let first =
            operands.first().copied().ok_or_else(|| Error::internal("an expression without operands"))?;
        Ok(self.types(operands)?.last().copied().unwrap_or(first))
    }

    /// A short text for plans: `Add(x0, x1) → Relu`.
    pub fn describe(&self) -> String {
        self.steps.iter().map(|step| step.row.name).collect::<Vec<_>>().join("+")
    }
}
