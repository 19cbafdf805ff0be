//! Runs on values that needn't be tensors.

use super::Session;
use crate::base::EvalPrecision;
use crate::cpu;
use crate::cpu::program::Program;
use crate::error::{Error, Result, Setting};
use crate::graph::ValueId;
use crate::value::{Value, ValueType};
use std::collections::HashMap;

impl Session {
    /// Whether an input or an output is a sequence, an optional or a map: [`Session::run_values`] runs such a
    /// model, on the CPU whatever the device is.
    pub fn has_other_values(&self) -> bool {
        let ids = self.original.inputs.iter().chain(&self.original.outputs);
        ids.into_iter().any(|&id| self.original.value(id).other.is_some())
    }

    /// Runs the model on inputs of any kind by name, as [`Session::run`] does on tensors.
    ///
    /// Errors: those of `run`, an input of another kind than the model takes, and a strict session on a GPU
    /// where a value isn't a tensor.
    pub fn run_values(&self, inputs: &[(&str, Value)]) -> Result<Vec<(String, Value)>> {
        if !self.has_other_values() {
            let tensors = inputs.iter().map(|(name, value)| {
                Ok((*name, value.tensor().map_err(|error| error.at_tensor(*name))?.clone()))
            });
            let outputs = self.run(&tensors.collect::<Result<Vec<_>>>()?)?;
            return Ok(outputs.into_iter().map(|(name, tensor)| (name, tensor.into())).collect());
        }
        if self.gpu().is_some() && self.options.strict {
            return Err(Error::unsupported("would run on the CPU: its inputs or outputs are no tensors")
                .remedy_by("leave {} out, or use {}", &[Setting::Strict, Setting::Cpu]));
        }
        let values = self.bind_values(inputs)?;
        let mode = self.mode();
        let outputs = if mode == EvalPrecision::Declared {
            let make = || Program::new(self.graph.clone(), None, false, &self.weights);
            match self.any_values.get_or_init(make) {
                Ok(program) => program.run_values(&values)?,
                Err(error) => return Err(error.clone()),
            }
        } else {
            cpu::run_values(&self.graph, &values, mode, &mut |_, _| {})?
        };
        let named = |(id, value): (&ValueId, Value)| (self.graph.value(*id).name.clone(), value);
        Ok(self.graph.outputs.iter().zip(outputs).map(named).collect())
    }

    fn bind_values(&self, inputs: &[(&str, Value)]) -> Result<HashMap<ValueId, Value>> {
        let (mut values, mut symbols) = (HashMap::new(), HashMap::new());
        for (name, value) in inputs {
            let id = self.input_of_name(name)?;
            let wrong = |found: ValueType, wanted: &ValueType| {
                Error::input(format!("found {found}, the model takes {wanted}"))
                    .at_tensor(*name)
                    .remedy("give a value of this type")
            };
            match (&self.original.value(id).other, value) {
                (Some(kind), value) if value.kind() != *kind => return Err(wrong(value.kind(), kind)),
                (Some(_), _) => {}
                (None, Value::Tensor(tensor)) => {
                    self.check_input(id, (tensor.dtype(), tensor.shape()), &mut symbols)
                        .map_err(|error| error.at_tensor(*name))?;
                }
                (None, other) => {
                    let dtype = self.original.value(id).declared.as_ref().map(|declared| declared.dtype);
                    let wanted = ValueType::Tensor(dtype.unwrap_or(crate::tensor::DType::F32));
                    return Err(wrong(other.kind(), &wanted));
                }
            }
            values.insert(id, value.clone());
        }
        self.check_complete(|id| values.contains_key(id))?;
        Ok(values)
    }
}
