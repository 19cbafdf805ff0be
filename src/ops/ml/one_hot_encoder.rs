//! [OneHotEncoder](https://onnx.ai/onnx/operators/onnx_aionnxml_OneHotEncoder.html), version 1 of ai.onnx.ml:
//! each element as a row that is 1 at its category. Numbers are cast to integers for the look-up.

use super::{DOMAIN, floats, integers, texts};
use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator};
use crate::tensor::{DType, Tensor, cast, element_count, zeros};
use std::collections::BTreeMap;
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: DOMAIN, name: "OneHotEncoder", since: 1, parse, cases: CASES };

#[derive(Debug, Clone, PartialEq)]
enum Categories {
    Ints(BTreeMap<i64, usize>),
    Texts(BTreeMap<String, usize>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct OneHotEncoder {
    categories: Categories,
    count: usize,
    /// What has no category is zeros; else an error.
    zeros: bool,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    let (ints, strings) = (integers(node, "cats_int64s")?, texts(node, "cats_strings")?);
    let (count, categories) = match (ints, strings) {
        (Some(list), None) => (list.len(), Categories::Ints(numbered(list))),
        (None, Some(list)) => (list.len(), Categories::Texts(numbered(list))),
        _ => return Err(Error::model("of 'cats_int64s' and 'cats_strings' one must be given")),
    };
    Ok(Arc::new(OneHotEncoder { categories, count, zeros: node.flag("zeros", true)? }))
}

fn numbered<T: Ord>(list: Vec<T>) -> BTreeMap<T, usize> {
    list.into_iter().enumerate().map(|(number, category)| (category, number)).collect()
}

impl Operator for OneHotEncoder {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        if matches!(self.categories, Categories::Texts(_)) != (x.dtype == DType::String) {
            return Err(Error::model(format!("categories of another type than {}", x.dtype)).into());
        }
        Ok(vec![Fact::new(DType::F32, [&x.shape[..], &[self.count]].concat())])
    }

    fn takes_any_type(&self) -> bool {
        true
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let found: Vec<Option<usize>> = match &self.categories {
            Categories::Texts(known) => x.as_strings()?.iter().map(|text| known.get(text).copied()).collect(),
            Categories::Ints(known) => cast(x, DType::I64, true)?
                .to_i64s()?
                .iter()
                .map(|number| known.get(number).copied())
                .collect(),
        };
        let shape = [x.shape(), &[self.count]].concat();
        let mut list: Vec<f64> = zeros(element_count(&shape)?)?;
        for (at, category) in found.into_iter().enumerate() {
            match category {
                Some(category) => list[at * self.count + category] = 1.0,
                None if self.zeros => {}
                None => return Err(Error::input(format!("element {at} has none of the categories"))),
            }
        }
        Ok(vec![floats(shape, list, mode)?])
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }
}

const CASES: &[Case] = &[
    case(&[("cats_int64s", Ints(&[3, -1, 7]))], &[Indices(&[2, 3], &[7, 3, 2, -1, -1, 8])]).at(1).runs("cpu"),
    case(&[("cats_int64s", Ints(&[0, 1, 2]))], &[Range(&[5], 0.0, 3.0)]).at(1).runs("cpu"),
];
