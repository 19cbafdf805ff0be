//! What an operator is: the trait that each implements, and what passes through it.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::error::Result;
use crate::expression::Pointwise;
use crate::kernels::Lowering;
use crate::ops::attributes::NodeView;
use crate::ops::case::Case;
use crate::ops::quantized::dequantize_linear::DequantizeLinear;
use crate::ops::recurrent::Recurrent;
use crate::ops::{Engine, OnValues};
use crate::tensor::Tensor;
use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

/// A row of the registry: an ONNX operator.
pub struct OpDef {
    /// ONNX's domain; empty for ai.onnx.
    pub domain: &'static str,
    pub name: &'static str,
    /// The first version of the operator.
    pub since: i64,
    /// Reads a node of any version; older forms become the newest.
    pub parse: fn(&mut NodeView) -> Result<Arc<dyn Operator>>,
    /// What tests of the operator run: see [`crate::ops::case`].
    pub cases: &'static [Case],
}

/// The first input that is an epilogue's operand.
pub const EPILOGUE_OPERANDS: usize = 3;

/// A matrix product: `alpha · A · B + beta · C`, A or B transposed first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Product {
    pub alpha: f32,
    pub beta: f32,
    pub trans_a: bool,
    pub trans_b: bool,
    /// Whether C may be a matrix; else it is a row.
    pub matrix_c: bool,
}

/// How the GPU reads an operator's inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    /// Their shapes alone.
    Shape,
    /// Not at all: the results are views of input 0.
    View,
    /// Where they lie, through strides.
    Strided,
    /// Perhaps through a copy.
    Contiguous,
}

/// An expression and its operands, each with the input that it is spread from.
#[derive(Debug, Clone)]
pub struct Spread {
    pub expression: Pointwise,
    pub operands: Vec<(Tensor, usize)>,
}

/// An operator that stands for another: see [`Operator::repacked`].
pub struct Repacked {
    pub op: Arc<dyn Operator>,
    pub inputs: Vec<RepackedInput>,
}

/// An input of it.
pub enum RepackedInput {
    /// An input of the one that it stands for, or none where that is left out.
    Given(usize),
    /// A constant in the place of an input.
    Constant(usize, Tensor),
}

/// What an error of locations makes of results: see [`Operator::located`].
#[derive(Debug, Clone)]
pub struct Located {
    pub off: Vec<f64>,
    pub weight: f64,
    pub terms: usize,
}

/// An operator that has GPU work.
pub trait Lower {
    /// Emits the work, or says why there is none for these inputs.
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported>;
}

/// An operator with its attributes read: what a node applies.
pub trait Operator: Any + Debug + Send + Sync {
    /// The types and shapes of the outputs.
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer>;

    /// The reference, also where an engine is faster: plain to read, right by construction, on any type that
    /// ONNX allows. Float inputs arrive as float32 or float64 alone, unless [`Operator::takes_any_type`] says
    /// that elements are only moved.
    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>>;

    /// The operator's fast forms on the CPU, where it has any.
    fn engine(&self) -> Option<&dyn Engine> {
        None
    }

    /// The operator's way onto the GPU, where it has one.
    fn gpu(&self) -> Option<&dyn Lower> {
        None
    }

    /// The operator on values that are no tensors, or with graphs of its own, where it is one.
    fn on_values(&self) -> Option<&dyn OnValues> {
        None
    }

    /// Whether an input's elements say what is made (scales, the ends of a range), and aren't what it is
    /// made of: no precision rounds them.
    fn by_value(&self, _index: usize) -> bool {
        false
    }

    /// Whether `eval` takes every type as it is (data movement, casts); else float16 and bfloat16 arrive as
    /// float32 and the results are rounded back.
    fn takes_any_type(&self) -> bool {
        false
    }

    /// Whether floats of 16, 8 and 4 bits are only cast among its inputs and outputs, whatever it computes of
    /// what they are cast to.
    fn casts_small_floats(&self) -> bool {
        false
    }

    /// How far a right answer may lie from another: what `compare` holds a step to.
    fn error_bound(&self, inputs: Operands<'_, Fact>) -> Bound {
        let _ = inputs;
        Bound::Elementwise
    }

    /// For [`Bound::Located`]: how far each result may be off where locations are by `unit` of themselves, as
    /// float64; infinite where it may be anything. With the largest weight that all elements of a result have
    /// together, and how many these are.
    fn located(&self, _inputs: Operands<'_, Tensor>, _unit: f64) -> Result<Option<Located>> {
        Ok(None)
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

    /// The expression that the operator applies to each element, its inputs being the operands.
    fn expression(&self) -> Option<&Pointwise> {
        None
    }

    /// The first output as an expression of operands that broadcast together: these, and the input that each is
    /// spread from. `None`: it is no function of single elements, or of none that is known.
    fn as_expression(&self, inputs: Operands<'_, Tensor>) -> Result<Option<Spread>> {
        let Some(expression) = self.expression() else { return Ok(None) };
        let operands = (0..inputs.len()).filter_map(|index| Some((inputs.optional(index)?.clone(), index)));
        Ok(Some(Spread { expression: expression.clone(), operands: operands.collect() }))
    }

    /// The same of an output by its index.
    fn output_expression(&self, output: usize, inputs: Operands<'_, Tensor>) -> Result<Option<Spread>> {
        if output == 0 { self.as_expression(inputs) } else { Ok(None) }
    }

    /// How far apart what [`Operator::as_expression`] reads of input 0 may lie, where the elements of each input
    /// lie as far apart as `apart` says: as these, unless it is sums that are read.
    fn sums_apart(&self, _inputs: Operands<'_, Tensor>, apart: &dyn Fn(usize) -> f64) -> Result<f64> {
        Ok(apart(0))
    }

    /// What the operator does with its sum before it is stored. Operand 0 is the sum, the others are the
    /// inputs from [`EPILOGUE_OPERANDS`] on. `None`: it takes no epilogue.
    fn epilogue(&self) -> Option<&Pointwise> {
        None
    }

    /// The operator with another epilogue, where it takes one.
    fn with_epilogue(&self, _epilogue: Pointwise) -> Option<Arc<dyn Operator>> {
        None
    }

    /// The operator as a matrix product with an optional third input added, where it is one.
    fn product(&self) -> Option<Product> {
        None
    }

    /// The operator with constant inputs brought into a form that is read as it is on every device: another
    /// operator. `constants` has those that are constant, `given` says whether an input is there. `None`: it has
    /// none, or not with these.
    fn repacked(
        &self,
        _constants: Operands<'_, Tensor>,
        _given: &dyn Fn(usize) -> bool,
    ) -> Result<Option<Repacked>> {
        Ok(None)
    }

    /// The operator as a DequantizeLinear, where it is one.
    fn dequantizes(&self) -> Option<&DequantizeLinear> {
        None
    }

    /// The operator as a recurrent network, where it is one.
    fn recurrent(&self) -> Option<&Recurrent> {
        None
    }

    /// The axis along which the operator puts its inputs side by side, as its attribute has it.
    fn concatenates(&self) -> Option<i64> {
        None
    }

    /// The order in which the operator takes the axes of a tensor of this rank, where that is all it does.
    fn permutes(&self, _rank: usize) -> Option<Vec<usize>> {
        None
    }

    /// What the GPU's kernels need of the elements of the inputs.
    fn reads(&self) -> Reads {
        if self.expression().is_some() { Reads::Strided } else { Reads::Contiguous }
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
