//! The step of a bundle as an ONNX model with test data.

use super::Folder;
use sardonyx::Tensor;
use sardonyx::compare::Evidence;
use sardonyx::error::Result;
use sardonyx::onnx;
use std::path::Path;

/// Writes model.onnx and test_data_set_0; where that can't be done, says why.
pub(super) fn write(folder: &Folder, file: &Path, evidence: &Evidence) -> Result<Option<String>> {
    if evidence.outputs.is_empty() {
        return Ok(Some("the step is a copy that a layout made necessary, and no node of the model".into()));
    }
    // Behind a rewrite a step may read less than its nodes in the file do.
    let mut known = evidence.inputs.clone();
    let more = evidence.model_inputs.iter().filter(|(name, _)| known.iter().all(|(other, _)| other != name));
    let more: Vec<_> = more.cloned().collect();
    known.extend(more);
    let part = match onnx::cut(file, &known, &evidence.outputs) {
        Ok(part) => part,
        Err(error) => return Ok(Some(error.to_string())),
    };
    folder.put("model.onnx", &part.model)?;
    put(folder, "input", &part.inputs)?;
    put(folder, "output", &part.outputs)?;
    Ok(None)
}

fn put(folder: &Folder, kind: &str, tensors: &[(String, Tensor)]) -> Result<()> {
    tensors.iter().enumerate().try_for_each(|(at, (name, tensor))| {
        folder.pb(&format!("test_data_set_0/{kind}_{at}.pb"), name, tensor)
    })
}
