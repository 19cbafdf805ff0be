//! [Reshape](https://onnx.ai/onnx/operators/onnx__Reshape.html) (1, 5, 13, 14, 19, 21, 23–),
//! [Flatten](https://onnx.ai/onnx/operators/onnx__Flatten.html),
//! [Squeeze](https://onnx.ai/onnx/operators/onnx__Squeeze.html) and
//! [Unsqueeze](https://onnx.ai/onnx/operators/onnx__Unsqueeze.html): the same elements in another shape.

use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, Unsupported};
use crate::error::{Error, Result};
use crate::kernels::Lowering;
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{Lower, NodeView, OpDef, Operator, Reads};
use crate::tensor::{Tensor, index};
use std::sync::Arc;

pub const RESHAPE: OpDef = OpDef { domain: "", name: "Reshape", since: 1, parse: parse_reshape, cases: TO };
pub const FLATTEN: OpDef =
    OpDef { domain: "", name: "Flatten", since: 1, parse: parse_flatten, cases: FLATTEN_CASES };
pub const SQUEEZE: OpDef = OpDef {
    domain: "",
    name: "Squeeze",
    since: 1,
    parse: |node| parse_axes(node, Reshape::Squeeze),
    cases: SQUEEZE_CASES,
};
pub const UNSQUEEZE: OpDef = OpDef {
    domain: "",
    name: "Unsqueeze",
    since: 1,
    parse: |node| parse_axes(node, Reshape::Unsqueeze),
    cases: UNSQUEEZE_CASES,
};

/// How the new shape follows from the old one, and for all but Flatten from input 1.
#[derive(Debug, Clone, PartialEq)]
pub enum Reshape {
    /// By a shape with −1 (the rest) and, unless `allow_zero`, 0 (as before).
    To {
        allow_zero: bool,
    },
    /// Into a matrix: the axes before `axis`, and the others.
    Flatten {
        axis: i64,
    },
    Squeeze,
    Unsqueeze,
}

fn parse_reshape(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.ignore(&["consumed_inputs"]);
    node.ints_to_input("shape", 1)?;
    node.expect_inputs(2..=2)?;
    Ok(Arc::new(Reshape::To { allow_zero: node.flag("allowzero", false)? }))
}

fn parse_flatten(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    Ok(Arc::new(Reshape::Flatten { axis: node.int("axis", 1)? }))
}

fn parse_axes(node: &mut NodeView, kind: Reshape) -> Result<Arc<dyn Operator>> {
    node.ints_to_input("axes", 1)?;
    node.expect_inputs(if kind == Reshape::Squeeze { 1 } else { 2 }..=2)?;
    Ok(Arc::new(kind))
}

impl Reshape {
    fn shape(&self, old: &[usize], given: Option<&[i64]>) -> Result<Vec<usize>> {
        let given_or = |what: &str| given.ok_or_else(|| Error::model(format!("{what} is missing")));
        match self {
            Reshape::To { allow_zero } => target(old, given_or("the shape")?, *allow_zero),
            Reshape::Flatten { axis } => {
                let at = if *axis == old.len() as i64 { old.len() } else { index::axis(*axis, old.len())? };
                Ok(vec![old[..at].iter().product(), old[at..].iter().product()])
            }
            Reshape::Squeeze => {
                let axes = match given {
                    Some(list) => index::axes(list, old.len())?,
                    None => (0..old.len()).filter(|&axis| old[axis] == 1).collect(),
                };
                if let Some(axis) = axes.iter().find(|&&axis| old[axis] != 1) {
                    return Err(Error::model(format!("axis {axis} of shape {old:?} can't be squeezed")));
                }
                Ok(old
                    .iter()
                    .enumerate()
                    .filter(|(axis, _)| !axes.contains(axis))
                    .map(|(_, &size)| size)
                    .collect())
            }
            Reshape::Unsqueeze => {
                let list = given_or("the axes")?;
                let rank = old.len() + list.len();
                let axes = index::axes(list, rank)?;
                let mut rest = old.iter();
                Ok((0..rank)
                    .map(|axis| if axes.contains(&axis) { 1 } else { rest.next().copied().unwrap_or(1) })
                    .collect())
            }
        }
    }
}

fn target(old: &[usize], wanted: &[i64], allow_zero: bool) -> Result<Vec<usize>> {
    let wrong = || Error::model(format!("the shape {old:?} can't become {wanted:?}"));
    // ONNX's text: "it is invalid for the specified shape to contain both a zero value and -1", as any size
    // would then do.
    if allow_zero && wanted.contains(&0) && wanted.contains(&-1) {
        let both = Error::model(format!(
            "the shape {wanted:?} has a 0 and a -1, which allowzero = 1 leaves undefined"
        ));
        return Err(both.of_input(1).remedy("give the size in place of -1, or leave allowzero out"));
    }
    let mut shape = vec![];
    let mut open = None;
    for (axis, &size) in wanted.iter().enumerate() {
        shape.push(match size {
            -1 if open.is_none() => {
                open = Some(axis);
                1
            }
            0 if !allow_zero => *old.get(axis).ok_or_else(wrong)?,
            size => usize::try_from(size).map_err(|_| wrong())?,
        });
    }
    let count = crate::tensor::element_count(old)?;
    let known = crate::tensor::element_count(&shape)?;
    if let Some(axis) = open {
        shape[axis] = count.checked_div(known).unwrap_or(0);
    }
    if crate::tensor::element_count(&shape)? == count { Ok(shape) } else { Err(wrong()) }
}

impl Operator for Reshape {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        let given = if matches!(self, Reshape::Flatten { .. }) { None } else { inputs.optional_ints(1)? };
        let shape = self.shape(&x.shape, given.as_deref())?;
        Ok(vec![Fact::new(x.dtype, shape)])
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, _mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let given = inputs.optional(1).map(Tensor::to_i64s).transpose()?;
        Ok(vec![x.reshape(self.shape(x.shape(), given.as_deref())?)?])
    }

    fn takes_any_type(&self) -> bool {
        true
    }

    fn gpu(&self) -> Option<&dyn Lower> {
        Some(self)
    }

    fn reads(&self) -> Reads {
        Reads::View
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }

    fn flops(&self, _inputs: Operands<'_, Fact>, _outputs: &[Fact]) -> u64 {
        0
    }
}

impl Lower for Reshape {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let view = at.view(0)?;
        let shape = at.output_fact(0)?.shape.clone();
        at.alias_reshaped(view, &shape)
    }
}

const TO: &[Case] = &[
    case(&[], &[Floats(&[2, 3, 4]), Known(&[0, -1])]).runs("view"),
    case(&[], &[I32(&[6]), Known(&[2, 3])]).runs("view"),
];
const FLATTEN_CASES: &[Case] = &[
    case(&[("axis", Int(2))], &[Floats(&[2, 3, 4])]).runs("view"),
    case(&[("axis", Int(0))], &[Floats(&[2, 3])]).runs("view"),
];
const SQUEEZE_CASES: &[Case] = &[
    case(&[], &[Floats(&[1, 3, 1]), Known(&[-1])]).runs("view"),
    case(&[("axes", Ints(&[0]))], &[Floats(&[1, 3])]).at(11).runs("view"),
];
const UNSQUEEZE_CASES: &[Case] = &[case(&[], &[Floats(&[3, 4]), Known(&[0, -1])]).runs("view")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minus_one_and_zero() {
        assert_eq!(target(&[2, 3, 4], &[0, -1], false).unwrap(), [2, 12]);
        assert_eq!(target(&[0, 3], &[3, 0], true).unwrap(), [3, 0]);
        assert!(target(&[2, 3], &[4, -1], false).is_err());
        assert!(target(&[2, 3], &[-1, -1], false).is_err());
    }

    #[test]
    fn zero_and_minus_one_leave_the_size_open_where_zero_is_a_size() {
        for wanted in [[0, -1], [-1, 0]] {
            let error = target(&[0, 3], &wanted, true).unwrap_err().to_string();
            assert!(error.contains("allowzero = 1") && error.contains(&format!("{wanted:?}")), "{error}");
            assert!(target(&[0, 3], &wanted, false).is_ok());
        }
    }
}
