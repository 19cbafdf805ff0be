//! [CastMap](https://onnx.ai/onnx/operators/onnx_aionnxml_CastMap.html), version 1: the values of a map from
//! int64 as one row, in the order of the keys, in another type.
//!
//! `map_form` DENSE: as many as there are. SPARSE: `max_map` of them, each at its key; 0, or an empty string,
//! where there is no key. As in onnxruntime keys from `max_map` on are left out, and negative ones an error.

use crate::base::{EvalPrecision, Operands};
use crate::error::{Error, Result};
use crate::ops::sequence::on_values_alone;
use crate::ops::{NodeView, OnValues, OpDef, Operator};
use crate::tensor::{DType, cast};
use crate::value::Value;
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "ai.onnx.ml", name: "CastMap", since: 1, parse, cases: &[] };

#[derive(Debug, Clone, PartialEq)]
pub struct CastMap {
    to: DType,
    /// The length of a row that has a place for each key; else it has what there is.
    length: Option<usize>,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    let to = match node.choice("cast_to", "TO_FLOAT", &["TO_FLOAT", "TO_STRING", "TO_INT64"])?.as_str() {
        "TO_STRING" => DType::String,
        "TO_INT64" => DType::I64,
        _ => DType::F32,
    };
    let sparse = node.choice("map_form", "DENSE", &["DENSE", "SPARSE"])? == "SPARSE";
    let length = node.int("max_map", 1)?;
    let whole = usize::try_from(length).ok().filter(|&length| length > 0 && i32::try_from(length).is_ok());
    let wrong = || Error::model(format!("attribute 'max_map' is {length}"));
    let length = if sparse { Some(whole.ok_or_else(wrong)?) } else { None };
    Ok(Arc::new(CastMap { to, length }))
}

on_values_alone!(CastMap);

impl OnValues for CastMap {
    fn eval_values(&self, inputs: Operands<'_, Value>, _mode: EvalPrecision) -> Result<Vec<Value>> {
        let Value::Map { keys, values } = inputs.required(0)? else {
            let found = inputs.required(0)?.kind();
            return Err(Error::input(format!("takes a map, not {found}")).of_input(0));
        };
        if keys.dtype() != DType::I64 {
            let found = format!("the map's keys are {}; int64 are taken", keys.dtype());
            return Err(Error::input(found).of_input(0));
        }
        let keys = keys.to_i64s()?;
        let mut places: Vec<usize> = (0..keys.len()).collect();
        places.sort_by_key(|&place| keys[place]);
        let values = cast(values, self.to, true)?;
        let Some(length) = self.length else {
            let row = values.pick([1, places.len()], |at| places.get(at).copied())?;
            return Ok(vec![row.into()]);
        };
        if let Some(key) = keys.iter().find(|key| **key < 0) {
            return Err(Error::input(format!("the key {key} is negative")).of_input(0));
        }
        let at = |key: usize| {
            let found = places.binary_search_by_key(&(key as i64), |&place| keys[place]);
            found.ok().map(|found| places[found])
        };
        Ok(vec![values.pick([1, length], at)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Attribute;
    use crate::tensor::Tensor;

    fn row(attributes: &[(&str, Attribute)], keys: &[i64], values: Tensor) -> Result<Tensor> {
        let attributes = attributes.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
        let input = crate::ops::Input::Named("x".into());
        let op = parse(&mut NodeView::new("node", "CastMap", 1, attributes, vec![input], 1))?;
        let map = Value::map(Tensor::new([keys.len()], keys.to_vec())?, values)?;
        let on_values = op.on_values().ok_or_else(|| Error::internal("works on no values"))?;
        let mut made = on_values.eval_values(Operands::new(&[Some(&map)]), EvalPrecision::Declared)?;
        made.remove(0).into_tensor()
    }

    #[test]
    fn both_forms() {
        let text = |text: &str| Attribute::String(text.into());
        let reals = || Tensor::new([3], vec![2.5f32, -1.0, 4.0]).unwrap();
        let dense = row(&[], &[7, 1, 3], reals()).unwrap();
        assert_eq!((dense.shape(), dense.as_slice::<f32>().unwrap()), (&[1, 3][..], &[-1.0, 4.0, 2.5][..]));
        let sparse =
            [("map_form", text("SPARSE")), ("max_map", Attribute::Int(5)), ("cast_to", text("TO_INT64"))];
        let made = row(&sparse, &[7, 1, 3], reals()).unwrap();
        assert_eq!(made.as_slice::<i64>().unwrap(), [0, -1, 0, 4, 0]);
        assert!(row(&sparse, &[-1, 1, 3], reals()).is_err());
        let words = Tensor::strings([2], vec!["1.5".to_string(), "3".to_string()]).unwrap();
        assert_eq!(row(&[], &[2, 0], words).unwrap().as_slice::<f32>().unwrap(), [3.0, 1.5]);
    }
}
