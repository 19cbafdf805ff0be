//! [LabelEncoder](https://onnx.ai/onnx/operators/onnx_aionnxml_LabelEncoder.html), versions 1, 2, 4 of
//! ai.onnx.ml: each element replaced by the value of its key, or by a default.
//!
//! Keys and values are lists of integers, floats or texts, or tensors. NaN is a key like others, and of equal
//! keys the last counts. Version 1 had a list of texts, which it took for numbers or numbers for it.

use super::{DOMAIN, integers, texts};
use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands, held};
use crate::error::{Error, Result};
use crate::ops::case::{Case, Given::*, Operand::*, case};
use crate::ops::{NodeView, OpDef, Operator};
use crate::tensor::{DType, Tensor, cast};
use std::collections::BTreeMap;
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: DOMAIN, name: "LabelEncoder", since: 1, parse, cases: CASES };

/// Where each key's value stands.
#[derive(Debug, Clone, PartialEq)]
enum Keys {
    Texts(BTreeMap<String, usize>),
    Ints(BTreeMap<i64, usize>),
    /// By their bits.
    Floats(BTreeMap<u64, usize>),
}

#[derive(Debug, Clone, PartialEq)]
struct Table {
    keys: Keys,
    /// The values, and the default behind them.
    values: Tensor,
}

/// The tables of which the input's type chooses: version 1 has two.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelEncoder {
    tables: Vec<Table>,
}

/// Equal floats have equal bits: −0 is 0, and every NaN the same.
fn bits(x: f64) -> u64 {
    if x.is_nan() { f64::NAN.to_bits() } else { (x + 0.0).to_bits() }
}

fn keys(tensor: &Tensor) -> Result<Keys> {
    fn placed<T: Ord>(keys: impl Iterator<Item = T>) -> BTreeMap<T, usize> {
        keys.enumerate().map(|(at, key)| (key, at)).collect()
    }
    Ok(match tensor.dtype() {
        DType::String => Keys::Texts(placed(tensor.as_strings()?.iter().cloned())),
        dtype if dtype.is_float() => Keys::Floats(placed(tensor.to_f64s()?.into_iter().map(bits))),
        _ => Keys::Ints(placed(tensor.to_i64s()?.into_iter())),
    })
}

/// The list that one of several attributes gives.
fn list(node: &NodeView, what: &str) -> Result<Tensor> {
    let mut found = vec![];
    if let Some(list) = integers(node, &format!("{what}_int64s"))? {
        found.push(Tensor::int64s(list));
    }
    if let Some(list) = node.floats(&format!("{what}_floats"))?.filter(|list| !list.is_empty()) {
        found.push(Tensor::new([list.len()], list)?);
    }
    if let Some(list) = texts(node, &format!("{what}_strings"))? {
        found.push(Tensor::strings([list.len()], list)?);
    }
    found.extend(node.tensor(&format!("{what}_tensor"))?);
    match (found.pop(), found.is_empty()) {
        (Some(list), true) => list.reshape([list.len()]),
        (None, _) => Err(Error::model(format!("no attribute '{what}_…' is given"))),
        _ => Err(Error::model(format!("several attributes '{what}_…' are given"))),
    }
}

fn table(keys: &Tensor, values: &Tensor, default: &Tensor) -> Result<Table> {
    if keys.len() != values.len() || default.len() != 1 || default.dtype() != values.dtype() {
        return Err(Error::model(format!(
            "{} keys, {} values and {} defaults of {}",
            keys.len(),
            values.len(),
            default.len(),
            default.dtype()
        )));
    }
    Ok(Table { keys: self::keys(keys)?, values: Tensor::chain(&[values, default])? })
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    let text = Tensor::strings([1], vec![node.string("default_string", "_Unused")?])?;
    let number = node.int("default_int64", -1)?;
    if node.version < 2 {
        let classes = texts(node, "classes_strings")?.unwrap_or_default();
        let numbers = Tensor::int64s(0..classes.len() as i64);
        let classes = Tensor::strings([classes.len()], classes)?;
        let tables =
            vec![table(&classes, &numbers, &Tensor::scalar(number))?, table(&numbers, &classes, &text)?];
        return Ok(Arc::new(LabelEncoder { tables }));
    }
    let float = node.float("default_float", -0.0)?;
    let (keys, values) = (list(node, "keys")?, list(node, "values")?);
    let default = match (node.tensor("default_tensor")?, values.dtype()) {
        (Some(default), _) => default,
        (None, DType::String) => text,
        (None, dtype) if dtype.is_float() => cast(&Tensor::scalar(float), dtype, true)?,
        (None, dtype) => cast(&Tensor::scalar(number), dtype, true)?,
    };
    Ok(Arc::new(LabelEncoder { tables: vec![table(&keys, &values, &default)?] }))
}

impl LabelEncoder {
    fn table(&self, dtype: DType) -> Result<&Table> {
        let fits = |table: &&Table| match table.keys {
            Keys::Texts(_) => dtype == DType::String,
            Keys::Ints(_) => dtype.is_integer(),
            Keys::Floats(_) => dtype.is_float(),
        };
        let wrong = || Error::model(format!("an input of {dtype}, of which it has no keys"));
        self.tables.iter().find(fits).ok_or_else(wrong)
    }
}

impl Operator for LabelEncoder {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let x = inputs.required(0)?;
        Ok(vec![Fact::new(self.table(x.dtype)?.values.dtype(), x.shape.clone())])
    }

    fn takes_any_type(&self) -> bool {
        true
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        let x = inputs.required(0)?;
        let Table { keys, values } = self.table(x.dtype())?;
        let places: Vec<Option<usize>> = match keys {
            Keys::Texts(keys) => x.as_strings()?.iter().map(|key| keys.get(key).copied()).collect(),
            Keys::Ints(keys) => x.to_i64s()?.iter().map(|key| keys.get(key).copied()).collect(),
            Keys::Floats(keys) => x.to_f64s()?.into_iter().map(|key| keys.get(&bits(key)).copied()).collect(),
        };
        let default = values.len() - 1;
        let made = values.pick(x.shape(), |at| Some(places.get(at).copied().flatten().unwrap_or(default)))?;
        Ok(vec![held(&made, mode)?])
    }

    fn error_bound(&self, _inputs: Operands<'_, Fact>) -> Bound {
        Bound::Exact
    }
}

const CASES: &[Case] = &[
    case(
        &[("keys_int64s", Ints(&[3, -1, 7])), ("values_floats", Reals(&[0.5, 1.5, -2.0]))],
        &[Indices(&[2, 3], &[7, 3, 2, -1, -1, 8])],
    )
    .at(2)
    .runs("cpu"),
    case(
        &[
            ("keys_floats", Reals(&[0.0, f32::NAN, 2.5])),
            ("values_int64s", Ints(&[5, 6, 7])),
            ("default_int64", Int(-9)),
        ],
        &[Values(&[5], &[f32::NAN, 2.5, -0.0, 1.0, f32::INFINITY])],
    )
    .at(4)
    .runs("cpu"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Attribute;
    use crate::ops::Input;

    fn encoded(version: i64, attributes: &[(&str, Attribute)], x: &Tensor) -> Result<Tensor> {
        let attributes = attributes.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
        let inputs = vec![Input::Named("x".into())];
        let op = parse(&mut NodeView::new("node", "LabelEncoder", version, attributes, inputs, 1))?;
        Ok(op.eval(Operands::new(&[Some(x)]), EvalPrecision::Declared)?.remove(0))
    }
    fn words(list: &[&str]) -> Vec<String> {
        list.iter().map(|word| word.to_string()).collect()
    }

    #[test]
    fn texts_both_ways() {
        let x = Tensor::strings([3], words(&["b", "?", "a"])).unwrap();
        let classes = [("classes_strings", Attribute::Strings(words(&["a", "b"])))];
        assert_eq!(encoded(1, &classes, &x).unwrap().to_i64s().unwrap(), [1, -1, 0]);
        let back = encoded(1, &classes, &Tensor::int64s([1, 9])).unwrap();
        assert_eq!(back.as_strings().unwrap(), ["b", "_Unused"]);
        let tables = [
            ("keys_strings", Attribute::Strings(words(&["a", "b", "a"]))),
            ("values_int64s", Attribute::Ints(vec![4, 5, 6])),
        ];
        assert_eq!(encoded(2, &tables, &x).unwrap().to_i64s().unwrap(), [5, -1, 6]);
        assert!(encoded(2, &tables, &Tensor::int64s([1])).is_err());
        assert!(encoded(2, &tables[..1], &x).is_err());
    }
}
