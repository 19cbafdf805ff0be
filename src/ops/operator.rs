//! What an operator is: the trait that every room implements, and what passes through it.

use crate::base::{Bound, Fact, Unsupported};
use crate::cpu::panels::Packed;
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::ops::attributes::NodeView;
use crate::ops::case::Case;
use crate::tensor::{DType, Tensor};
use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

/// A row of the register: which ONNX operator a room reads.
pub struct OpDef {
    /// ONNX's domain; empty for ai.onnx.
    pub domain: &'static str,
    pub name: &'static str,
    /// The first version of the operator.
    pub since: i64,
    /// Reads a node of any version; older forms become the newest.
    pub parse: fn(&mut NodeView) -> Result<Arc<dyn Operator>>,
    /// What tests of the room run: see [`crate::ops::case`].
    pub cases: &'static [Case],
}

/// Why `infer` has no answer.
#[derive(Debug)]
pub enum Infer {
    /// The shape depends on the elements of this input.
    NeedsValue(usize),
    Error(Error),
}
impl From<Error> for Infer {
    fn from(error: Error) -> Self {
        Infer::Error(error)
    }
}

/// A node's inputs in order, optional ones possibly absent.
pub struct Operands<'a, T> {
    items: &'a [Option<&'a T>],
}
impl<T> Clone for Operands<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Operands<'_, T> {}

impl<'a, T> Operands<'a, T> {
    pub fn new(items: &'a [Option<&'a T>]) -> Self {
        Self { items }
    }
    /// An input that must be there.
    pub fn required(&self, index: usize) -> Result<&'a T> {
        self.optional(index).ok_or_else(|| Error::model(format!("input {index} is missing")))
    }
    /// An input that may be left out.
    pub fn optional(&self, index: usize) -> Option<&'a T> {
        self.items.get(index).copied().flatten()
    }
    pub fn len(&self) -> usize {
        self.items.len()
    }
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
    /// The inputs that are there, of an operator that takes any number.
    pub fn present(&self) -> impl Iterator<Item = &'a T> {
        self.items.iter().copied().flatten()
    }
    /// The inputs without the first `count`.
    pub fn skip(&self, count: usize) -> Operands<'a, T> {
        Operands { items: self.items.get(count..).unwrap_or_default() }
    }
}

impl<'a> Operands<'a, Fact> {
    /// Errors where the first `count` inputs are of several types, though ONNX gives them one: a kernel would
    /// read one as another.
    pub fn one_type(&self, count: usize) -> Result<()> {
        let mut types = self.items.iter().take(count).flatten().map(|fact| fact.dtype);
        let Some(first) = types.next() else { return Ok(()) };
        match types.find(|&other| other != first) {
            Some(other) => Err(Error::model(format!("its inputs are of several types: {first} and {other}"))
                .remedy("convert the model anew, in one precision")),
            None => Ok(()),
        }
    }
    /// The int64 (or int32) elements of an input that a shape depends on.
    pub fn ints(&self, index: usize) -> Result<Vec<i64>, Infer> {
        match &self.required(index)?.value {
            Some(value) => Ok(value.to_i64s()?),
            None => Err(Infer::NeedsValue(index)),
        }
    }
    /// The same for an optional input.
    pub fn optional_ints(&self, index: usize) -> Result<Option<Vec<i64>>, Infer> {
        self.optional(index).map(|_| self.ints(index)).transpose()
    }
}

/// What the CPU computes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Each type as the model declares it.
    Declared,
    /// The oracle: every float32 (and float16, bfloat16) is held as float64.
    Oracle,
    /// The f16 reference: as declared, each float32 result rounded to float16 when stored.
    F16,
}

impl Mode {
    /// The type in which a type that the model *names* (a Cast target, a constant) is held.
    pub fn held(self, declared: DType) -> DType {
        if self == Mode::Oracle && declared.is_float() { DType::F64 } else { declared }
    }
}

/// An operator with its attributes read: what a node applies.
pub trait Operator: Any + Debug + Send + Sync {
    /// The types and shapes of the outputs.
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer>;

    /// The reference: plain to read, right by construction, on any type that ONNX allows. Float inputs arrive
    /// as float32 or float64 alone, unless [`Operator::moves`] says that elements are only moved.
    fn eval(&self, inputs: Operands<'_, Tensor>, mode: Mode) -> Result<Vec<Tensor>>;

    /// `eval` of the first `wanted` outputs, for an operator that can leave out work for the others. What it
    /// returns is the same to the bit; there may be more of it.
    fn eval_wanted(&self, inputs: Operands<'_, Tensor>, _wanted: usize, mode: Mode) -> Result<Vec<Tensor>> {
        self.eval(inputs, mode)
    }

    /// What `eval` would make of constant inputs in every run, made once for all: weights in panels. `inputs`
    /// has those that are constant. `None`: there is nothing to make ready.
    fn pack(&self, _inputs: Operands<'_, Tensor>) -> Result<Option<Packed>> {
        Ok(None)
    }

    /// `eval` with what [`Operator::pack`] made of the same constants. The result is the same to the bit.
    fn eval_packed(&self, inputs: Operands<'_, Tensor>, _packed: &Packed, mode: Mode) -> Result<Vec<Tensor>> {
        self.eval(inputs, mode)
    }

    /// `eval` of float32 images whose channels lie innermost: input 0, those from 3 on, and the result, are
    /// `[n, h, w, c]` where `eval` has `[n, c, h, w]`. The elements are the same to the bit. `None`: there is
    /// no such form for these inputs.
    fn eval_channels_last(
        &self,
        _inputs: Operands<'_, Tensor>,
        _packed: Option<&Packed>,
        _mode: Mode,
    ) -> Result<Option<Vec<Tensor>>> {
        Ok(None)
    }

    /// Whether an input's elements say what is made (scales, the ends of a range), and aren't what it is made
    /// of: no precision rounds them.
    fn by_value(&self, _index: usize) -> bool {
        false
    }

    /// Whether `eval` takes every type as it is (data movement, casts); else float16 and bfloat16 arrive as
    /// float32 and the results are rounded back.
    fn moves(&self) -> bool {
        false
    }

    /// Emits GPU work, or says why there is none.
    fn lower(&self, _at: &mut dyn Lowering) -> Result<(), Unsupported> {
        Err(Unsupported::new("no GPU kernel yet"))
    }

    /// How far a right answer may lie from another: what `compare` holds a step to.
    fn error_bound(&self, inputs: Operands<'_, Fact>) -> Bound {
        let _ = inputs;
        Bound::Elementwise
    }

    /// The same operator with every coefficient of its own (a factor, the weights of an interpolation) made
    /// positive: what that makes of magnitudes bounds the terms of this one's sums. `None`: it has no
    /// negative ones.
    fn magnitude(&self) -> Option<Arc<dyn Operator>> {
        None
    }

    /// Floating-point operations of one application: a multiply-add counts as two.
    fn flops(&self, _inputs: Operands<'_, Fact>, outputs: &[Fact]) -> u64 {
        outputs.iter().map(|fact| fact.count() as u64).sum()
    }

    /// Whether results are drawn at random.
    fn is_random(&self) -> bool {
        false
    }
}

impl dyn Operator {
    /// The operator as its own type, for a pass that knows it.
    pub fn downcast<T: Operator>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref()
    }
}
