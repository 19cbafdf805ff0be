//! Outputs in files, as JSON and as text.

use super::inputs::distinct_file_names;
use sardonyx::error::{Error, Result};
use sardonyx::onnx;
use sardonyx::session::InputOutputInfo;
use sardonyx::tensor::{DType, Tensor};
use serde::{Serialize, Serializer};
use std::path::{Path, PathBuf};

/// Elements that are printed of an output at most.
const PRINTED: usize = 64;

/// What is said of an output in JSON: its file, or its values, row-major.
#[derive(Serialize)]
pub struct Output<'a> {
    pub name: &'a str,
    pub dtype: &'static str,
    pub shape: &'a [usize],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Elements<'a>>,
}

/// Checks before a run that its outputs can be written to a folder: distinct file names, and no file of the
/// folder's name.
pub fn check(folder: Option<&Path>, ports: &[InputOutputInfo]) -> Result<()> {
    let Some(folder) = folder else { return Ok(()) };
    distinct_file_names(ports)?;
    if folder.exists() && !folder.is_dir() {
        return Err(Error::file(folder, "is a file")
            .remedy("--outputs takes a folder, which is made if it isn't there"));
    }
    Ok(())
}

/// Writes each output to the folder, which is made if need be: NAME.npy, or NAME.pb for types that numpy
/// lacks.
pub fn write(folder: &Path, outputs: &[(String, Tensor)]) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder).map_err(|problem| {
        Error::file(folder, format!("can't be made: {problem}"))
            .remedy("choose another folder with --outputs")
    })?;
    let write = |(name, tensor): &(String, Tensor)| {
        let stem = onnx::file_name(name);
        let path = folder.join(format!("{stem}.{}", if numpy_holds(tensor.dtype()) { "npy" } else { "pb" }));
        if numpy_holds(tensor.dtype()) {
            onnx::write_npy(&path, tensor)
        } else {
            onnx::write_pb(&path, name, tensor)
        }
        .map(|()| path)
    };
    outputs.iter().map(write).collect()
}

fn numpy_holds(dtype: DType) -> bool {
    dtype.is_integer() || matches!(dtype, DType::F32 | DType::F64 | DType::F16 | DType::Bool | DType::String)
}

/// The outputs for a JSON document: with their files where they were written, else with their values.
pub fn describe<'a>(outputs: &'a [(String, Tensor)], files: Option<Vec<PathBuf>>) -> Vec<Output<'a>> {
    let mut files = files.map(Vec::into_iter);
    let output =
        |(name, tensor): &'a (String, Tensor)| output(name, tensor, files.as_mut().and_then(Iterator::next));
    outputs.iter().map(output).collect()
}

/// One of them.
pub fn output<'a>(name: &'a str, tensor: &'a Tensor, file: Option<PathBuf>) -> Output<'a> {
    let values = file.is_none().then_some(Elements(tensor));
    Output { name, dtype: tensor.dtype().name(), shape: tensor.shape(), file, values }
}

/// The outputs as text: a line each and, where they weren't written, their elements, the first ones of many.
pub fn text(outputs: &[Output]) -> String {
    let mut text = String::new();
    for output in outputs {
        text += &format!("{}  {}{:?}", output.name, output.dtype, output.shape);
        match (&output.file, &output.values) {
            (Some(file), _) => text += &format!("  {}\n", file.display()),
            (None, Some(values)) => text += &format!("\n{}\n", values.text()),
            (None, None) => text.push('\n'),
        }
    }
    text
}

/// A tensor's elements as a JSON list: numbers, booleans or strings; NaN and infinities, which JSON lacks, as
/// strings.
pub struct Elements<'a>(pub &'a Tensor);

impl Elements<'_> {
    pub fn text(&self) -> String {
        let tensor = self.0;
        let shown = tensor.len().min(PRINTED);
        let Ok(part) = tensor.pick([shown], Some) else { return String::new() };
        let row = tensor.shape().last().copied().unwrap_or(1).clamp(1, 16);
        // An f32 as JSON's f64 would show digits that it doesn't have.
        let cells: Vec<String> = match (part.as_slice::<f32>(), part.as_strings()) {
            (Ok(floats), _) => floats.iter().map(f32::to_string).collect(),
            (_, Ok(strings)) => strings.iter().map(|text| format!("{text:?}")).collect(),
            _ => serde_json::to_value(Elements(&part))
                .ok()
                .and_then(|list| list.as_array().map(|list| list.iter().map(cell).collect()))
                .unwrap_or_default(),
        };
        let lines: Vec<String> = cells.chunks(row).map(|line| format!("  {}", line.join("  "))).collect();
        let rest = if tensor.len() > shown {
            format!("\n  … {} of {} elements; --outputs DIR writes all", shown, tensor.len())
        } else {
            String::new()
        };
        lines.join("\n") + &rest
    }
}

/// A number or boolean as text; NaN and infinities without quotes.
fn cell(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

impl Serialize for Elements<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        use serde::ser::Error as _;
        let (tensor, wrong) = (self.0, |error: Error| S::Error::custom(error));
        match tensor.dtype() {
            DType::String => serializer.collect_seq(tensor.as_strings().map_err(wrong)?),
            DType::F32 => serializer
                .collect_seq(tensor.as_slice::<f32>().map_err(wrong)?.iter().map(|&x| Number::F32(x))),
            DType::U64 => serializer.collect_seq(tensor.as_slice::<u64>().map_err(wrong)?),
            DType::Bool => serializer.collect_seq(tensor.to_i64s().map_err(wrong)?.iter().map(|&x| x != 0)),
            dtype if dtype.is_integer() => serializer.collect_seq(tensor.to_i64s().map_err(wrong)?),
            _ => serializer.collect_seq(tensor.to_f64s().map_err(wrong)?.into_iter().map(Number::F64)),
        }
    }
}

enum Number {
    F32(f32),
    F64(f64),
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        match *self {
            Number::F32(x) if x.is_finite() => serializer.serialize_f32(x),
            Number::F64(x) if x.is_finite() => serializer.serialize_f64(x),
            Number::F32(x) => serializer.serialize_str(special(x.into())),
            Number::F64(x) => serializer.serialize_str(special(x)),
        }
    }
}

fn special(x: f64) -> &'static str {
    match x {
        f64::INFINITY => "Infinity",
        f64::NEG_INFINITY => "-Infinity",
        _ => "NaN",
    }
}

/// Errors where a file that is made of a model, "quantised" say, would be written over it: the model would be
/// lost with the first failure.
pub fn refuse_to_replace(model: &Path, output: &Path, made: &str) -> Result<()> {
    match (model.canonicalize(), output.canonicalize()) {
        (Ok(from), Ok(to)) if from == to => {
            Err(Error::usage(format!("the {made} file would replace the model"))
                .in_file(model)
                .remedy("write it elsewhere"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_json() {
        let json = |tensor: &Tensor| serde_json::to_string(&Elements(tensor)).unwrap();
        assert_eq!(
            json(&Tensor::new([3], vec![0.1f32, f32::NAN, f32::NEG_INFINITY]).unwrap()),
            r#"[0.1,"NaN","-Infinity"]"#
        );
        assert_eq!(json(&Tensor::new([1], vec![u64::MAX]).unwrap()), "[18446744073709551615]");
        assert_eq!(json(&Tensor::int64s([-1, i64::MIN])), "[-1,-9223372036854775808]");
        assert_eq!(json(&Tensor::strings([1], vec!["a\"b".into()]).unwrap()), r#"["a\"b"]"#);
    }
}
