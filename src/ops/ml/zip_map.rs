//! [ZipMap](https://onnx.ai/onnx/operators/onnx_aionnxml_ZipMap.html), version 1: each row of a tensor as a map
//! from the columns' labels.

use super::keys;
use crate::base::{EvalPrecision, Operands};
use crate::error::{Error, Result};
use crate::ops::sequence::on_values_alone;
use crate::ops::{NodeView, OnValues, OpDef, Operator};
use crate::tensor::Tensor;
use crate::value::{Value, ValueType};
use std::sync::Arc;

pub const DEF: OpDef = OpDef { domain: "ai.onnx.ml", name: "ZipMap", since: 1, parse, cases: &[] };

#[derive(Debug, Clone, PartialEq)]
pub struct ZipMap {
    labels: Tensor,
}

fn parse(node: &mut NodeView) -> Result<Arc<dyn Operator>> {
    node.expect_inputs(1..=1)?;
    Ok(Arc::new(ZipMap { labels: keys(node, "classlabels_strings", "classlabels_int64s")? }))
}

on_values_alone!(ZipMap);

impl OnValues for ZipMap {
    fn eval_values(&self, inputs: Operands<'_, Value>, _mode: EvalPrecision) -> Result<Vec<Value>> {
        let x = inputs.required(0)?.tensor()?;
        let (rows, columns) = match x.shape() {
            [columns] => (1, *columns),
            [rows, columns] => (*rows, *columns),
            other => return Err(Error::input(format!("takes one or two axes, not {other:?}")).of_input(0)),
        };
        if columns != self.labels.len() {
            let found = format!("has {columns} columns for {} labels", self.labels.len());
            return Err(Error::input(found).of_input(0));
        }
        let row = |row: usize| {
            let values = x.strided([columns], &[1], row.saturating_mul(columns))?;
            Value::map(self.labels.clone(), values)
        };
        let kind = ValueType::Map(self.labels.dtype(), x.dtype());
        Ok(vec![Value::sequence(kind, (0..rows).map(row).collect::<Result<_>>()?)?])
    }
}
