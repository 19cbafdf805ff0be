//! What a recorded answer of another implementation is held to.

use super::bounds::{DeviceRounding, Input, ReferenceRounding, allowed, unit, widened};
use crate::base::Operands;
use crate::base::{Bound, Fact, Precision};
use crate::error::{Error, Result};
use crate::graph::Node;
use crate::tensor::Tensor;

/// How far each element of output `index` of a node may lie from `want`, another implementation's answer on
/// the same inputs: the operator's own bound, with both sides computing and storing in the declared types.
#[doc(hidden)]
pub fn tolerances(node: &Node, index: usize, inputs: &[Option<&Tensor>], want: &Tensor) -> Result<Vec<f64>> {
    let facts: Vec<Option<Fact>> = inputs.iter().map(|input| input.map(Fact::of)).collect();
    let refs: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
    if !want.dtype().is_float() || node.op.error_bound(Operands::new(&refs)) == Bound::Exact {
        return Ok(vec![0.0; want.len()]);
    }
    // Both read the same elements: the inputs bring no rounding of their own.
    let same = |tensor: &Tensor| Ok::<_, Error>(Input { value: widened(tensor)?, unit: 0.0, apart: 0.0 });
    let inputs = inputs.iter().map(|input| input.map(same).transpose()).collect::<Result<Vec<_>>>()?;
    let unit = unit(want.dtype(), Precision::F32);
    let (made, own) = (DeviceRounding { unit, winograd: None }, ReferenceRounding { arithmetic: true, unit });
    let allowed = allowed(node, index, &inputs, &want.to_f64s()?, made, own)?;
    Ok((0..want.len()).map(|at| allowed.at(at)).collect())
}
