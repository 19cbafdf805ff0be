//! What may come of elements that are read at computed locations, of input 0 at those that input 1 says.

use super::SAFETY_FACTOR;
use super::bounds::{Input, ReferenceRounding, leaves_range};
use super::measure::Allowed;
use crate::base::{Operands, UNIT_F32};
use crate::error::{Error, Result};
use crate::ops::Operator;
use crate::tensor::Tensor;

/// Operations on a coordinate before it is a location, in units of roundoff.
const OPERATIONS: f64 = 5.0;

/// A coordinate loses 5u of itself before it is a location, and us where it is stored. What is read there is off
/// by what the operator says, and the sum of k weighted elements of at most m by (k + 9)·u·Σ|w|·m, their storage
/// by us·Σ|w|·m.
pub fn located(op: &dyn Operator, inputs: &[Option<Input>], own: ReferenceRounding) -> Result<Allowed> {
    let given = |index: usize| inputs.get(index).and_then(Option::as_ref);
    let (Some(x), Some(grid)) = (given(0), given(1)) else {
        return Err(Error::internal("locations without elements"));
    };
    let tensors: Vec<Option<&Tensor>> =
        inputs.iter().map(|input| input.as_ref().map(|input| &input.value)).collect();
    let of = |unit: f64| {
        let made = op.located(Operands::new(&tensors), unit)?;
        made.ok_or_else(|| Error::internal("an operator that doesn't say where it reads"))
    };
    let (stored, computed) = (of(grid.unit)?, of(OPERATIONS * UNIT_F32)?);
    let finite = x.value.to_f64s()?.into_iter().filter(|x| x.is_finite());
    let largest = finite.fold(0.0, |most: f64, x| most.max(x.abs()));
    let sides = if own.arithmetic { 2.0 } else { 1.0 };
    let moved = stored.weight * (x.unit * largest + x.apart);
    let summed = (stored.terms as f64 + 9.0) * UNIT_F32 * stored.weight * largest;
    let summed = if stored.terms > 1 { summed } else { 0.0 };
    let beyond = leaves_range(stored.weight * largest);
    let anything = |off: &f64| off.is_infinite() || beyond;
    let open = stored.off.iter().zip(&computed.off).map(|(a, b)| anything(a) || anything(b));
    let open: Vec<bool> = open.collect();
    let fixed = stored.off.iter().map(|off| off + moved).collect();
    let scaled = computed.off.iter().map(|off| sides * (off + summed)).collect();
    let formula = format!("{SAFETY_FACTOR}·(locations + a sum of {}) + storage rounding", stored.terms);
    Ok(Allowed::new(fixed, scaled, formula).with_open(open))
}
