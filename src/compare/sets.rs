//! The sets of values that a comparison holds: one for each way to compute them.

use super::range::Range;
use super::reference::{self, AS_IS, Values};
use crate::base::{EvalPrecision, Precision};
use crate::error::Result;
use crate::graph::{Graph, ValueId};
use crate::tensor::{DType, Tensor, cast};

/// Every value of the graph as read, and of the planned one where that has others.
pub(super) struct Sets {
    /// In float64, within the ranges of the declared types.
    pub oracle: Values,
    /// In float64, within the ranges of the types as the session stores them.
    pub near: Values,
    /// On the CPU, types as declared.
    pub declared: Values,
    /// On the CPU at the session's precision.
    pub same: Values,
    /// What the device is held to.
    pub reference: Values,
    /// Whether any value is beyond its declared type's range, or beyond that in which the session stores it.
    pub beyond: bool,
    pub narrowed: bool,
}

/// The type that the model declares for a value.
pub(super) fn dtype_of(declared: &Values, id: ValueId, graph: &Graph) -> DType {
    let constant = || graph.values.get(id.0 as usize).and_then(|value| value.constant.as_ref());
    declared.get(&id).or_else(constant).map_or(DType::F32, Tensor::dtype)
}

/// Whether a number is subnormal in float32.
pub(super) fn is_subnormal(x: f64) -> bool {
    x != 0.0 && x.abs() < f32::MIN_POSITIVE as f64
}

/// Whether a float64 tensor has elements that are subnormal in float32.
pub(super) fn has_subnormal(tensor: &Tensor) -> Result<bool> {
    Ok(tensor.dtype() == DType::F64 && tensor.as_slice::<f64>()?.iter().any(|&x| is_subnormal(x)))
}

/// A float64 tensor with 0 in their place.
pub(super) fn flushed(tensor: &Tensor) -> Result<Tensor> {
    if !has_subnormal(tensor)? {
        return Ok(tensor.clone());
    }
    Tensor::new(
        tensor.shape(),
        tensor.as_slice::<f64>()?.iter().map(|&x| if is_subnormal(x) { 0.0 } else { x }).collect::<Vec<_>>(),
    )
}

/// A float64 tensor rounded as float16 is.
fn rounded(tensor: &Tensor) -> Result<Tensor> {
    cast(&cast(tensor, DType::F16, true)?, DType::F64, true)
}

impl Sets {
    /// Computes what a graph has beside the values that are known, in each of the ways.
    pub fn extend(
        &mut self,
        graph: &Graph,
        precision: Precision,
        mode: EvalPrecision,
        reference: EvalPrecision,
    ) -> Result<()> {
        reference::extend(&mut self.declared, graph, EvalPrecision::Declared, AS_IS)?;
        let declared = &self.declared;
        let within = |precision| {
            move |id, tensor: &Tensor| Range::of(dtype_of(declared, id, graph), precision).beyond(tensor)
        };
        self.beyond |=
            reference::extend(&mut self.oracle, graph, EvalPrecision::Oracle, &within(Precision::F32))?;
        self.narrowed |= reference::extend(&mut self.near, graph, EvalPrecision::Oracle, &within(precision))?;
        reference::extend(&mut self.same, graph, mode, AS_IS)?;
        reference::extend(&mut self.reference, graph, reference, AS_IS).map(|_| ())
    }

    /// Keeps some of the values alone.
    pub fn retain(&mut self, keep: &dyn Fn(&ValueId) -> bool) {
        for all in [&mut self.oracle, &mut self.near, &mut self.declared, &mut self.same, &mut self.reference]
        {
            all.retain(|id, _| keep(id));
        }
    }

    /// The planned graph by itself in float64, each value stored as the session does: where a rewrite leaves
    /// one out, nothing is lost at its end of range.
    pub fn planned(
        &self,
        planned: &Graph,
        inputs: &Values,
        precision: Precision,
        flush: bool,
    ) -> Result<Values> {
        let store = |id, tensor: &Tensor| {
            let dtype = dtype_of(&self.declared, id, planned);
            let held = Range::of(dtype, precision).beyond(tensor)?;
            let held = if flush { Some(flushed(held.as_ref().unwrap_or(tensor))?) } else { held };
            let narrow = dtype == DType::F16 || dtype == DType::F32 && precision == Precision::F16;
            if !narrow || tensor.dtype() != DType::F64 {
                Ok(held)
            } else {
                rounded(held.as_ref().unwrap_or(tensor)).map(Some)
            }
        };
        reference::stored(&[planned], inputs, EvalPrecision::Oracle, &store).map(|(all, _)| all)
    }

    /// The graph as read in float64, without an end to any range.
    pub fn unbounded(&self, graph: &Graph, inputs: &Values) -> Result<Values> {
        if self.beyond {
            reference::values(graph, inputs, EvalPrecision::Oracle)
        } else {
            Ok(self.oracle.clone())
        }
    }

    /// How far two sets of values lie apart at one value, at most, where both are finite as stored.
    pub fn distance(&self, a: &Values, b: &Values, id: ValueId, range: Range) -> Result<f64> {
        let (Some(a), Some(b)) = (a.get(&id), b.get(&id)) else { return Ok(0.0) };
        let (a, b) = (a.to_f64s()?, b.to_f64s()?);
        Ok(a.iter()
            .zip(&b)
            .map(|(a, b)| (range.hold(*a) - range.hold(*b)).abs())
            .filter(|d| d.is_finite())
            .fold(0.0, f64::max))
    }
}
