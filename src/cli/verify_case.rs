//! One ONNX test case: a folder with `model.onnx` and `test_data_set_N/{input,output}_K.pb`.

use super::emit::told;
use super::options::RunOptions;
use sardonyx::error::{Error, ErrorKind, Result};
use sardonyx::gpu::GpuDevice;
use sardonyx::plan::Placement;
use sardonyx::session::{InputOutputInfo, Prepared, Session};
use sardonyx::{Tensor, Value, ValueType, onnx};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// What is to be run, and how far a float may lie from the recorded one: by `atol + rtol · |recorded|`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Case {
    pub path: PathBuf,
    pub rtol: f64,
    pub atol: f64,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Passed,
    /// It ran, and the answer is another.
    Failed,
    /// Refused: something valid that isn't done, or under `--strict` not on the GPU.
    Unsupported,
    /// Anything else that keeps it from running: a panic, a crash, a time-out among them.
    Error,
}

/// A case's row of the JSON document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseResult {
    pub path: PathBuf,
    pub status: Status,
    pub reason: Option<String>,
    pub ran_on: RanOn,
    pub dispatches: usize,
    /// The operators of the model, each once; none where it could not be loaded.
    #[serde(default)]
    pub operators: Vec<String>,
}

/// How many nodes ran where: views count with the GPU, on which they cost nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RanOn {
    pub gpu: usize,
    pub cpu: usize,
    pub plan: usize,
}

impl CaseResult {
    pub fn new(path: &Path, status: Status, reason: Option<String>) -> Self {
        Self {
            path: path.to_path_buf(),
            status,
            reason,
            ran_on: RanOn::default(),
            dispatches: 0,
            operators: vec![],
        }
    }
}

/// Runs a case on a device.
pub fn run(case: &Case, options: &RunOptions, device: Option<GpuDevice>) -> CaseResult {
    let mut result = CaseResult::new(&case.path, Status::Passed, None);
    match check(case, options, device, &mut result) {
        Ok(None) => {}
        Ok(Some((status, reason))) => (result.status, result.reason) = (status, Some(reason)),
        Err(error) => {
            result.status =
                if error.kind() == ErrorKind::Unsupported { Status::Unsupported } else { Status::Error };
            result.reason = Some(told(&error));
        }
    }
    result
}

/// Runs all data sets. Other than passed: the status and the reason.
fn check(
    case: &Case,
    options: &RunOptions,
    device: Option<GpuDevice>,
    result: &mut CaseResult,
) -> Result<Option<(Status, String)>> {
    let session = options.builder(device)?.load(case.path.join("model.onnx"))?;
    let operators = session.original().nodes.iter().map(|node| node.op_type.clone());
    result.operators = operators.collect::<BTreeSet<_>>().into_iter().collect();
    let random = session.original().nodes.iter().any(|node| node.op.is_random());
    let sets = data_sets(&case.path)?;
    for folder in &sets {
        let ports = session.inputs();
        let inputs = values(folder, "input", &ports)?;
        if inputs.len() > ports.len() {
            return Err(Error::file(
                folder,
                format!("holds {} inputs, the model takes {}", inputs.len(), ports.len()),
            ));
        }
        let named: Vec<(&str, Value)> = ports.iter().map(|port| port.name.as_str()).zip(inputs).collect();
        let outputs = run_on(&session, &named, result)?;
        let expected = values(folder, "output", &session.outputs())?;
        if expected.is_empty() || expected.len() > outputs.len() {
            return Err(Error::file(
                folder,
                format!("holds {} outputs, the model makes {}", expected.len(), outputs.len()),
            ));
        }
        for ((name, found), expected) in outputs.iter().zip(&expected) {
            let compare = if random { same_kind } else { same };
            if let Some(difference) = differs(found, expected, &|x, y| compare(x, y, case))? {
                let set = folder.file_name().unwrap_or_default().to_string_lossy();
                return Ok(Some((Status::Failed, format!("{set}: output '{name}': {difference}"))));
            }
        }
    }
    Ok(random.then(|| (Status::Unsupported, "random-valued".to_string())))
}

/// Runs a model on the inputs of a case.
fn run_on(
    session: &Session,
    inputs: &[(&str, Value)],
    result: &mut CaseResult,
) -> Result<Vec<(String, Value)>> {
    if session.has_other_values() {
        result.ran_on = RanOn { cpu: session.graph().nodes.len(), ..RanOn::default() };
        return session.run_values(inputs);
    }
    let tensors = inputs.iter().map(|(name, value)| Ok((*name, value.tensor()?.clone())));
    let values = session.bind(&tensors.collect::<Result<Vec<_>>>()?)?;
    let prepared = session.prepare(&values)?;
    let outputs = session.run_prepared(&prepared, &values);
    placements(session, &prepared, result);
    Ok(outputs?.into_iter().map(|(name, tensor)| (name, tensor.into())).collect())
}

/// How a value differs from the recorded one: in its kind, its items, or by what `tensors` says of two tensors.
fn differs(
    found: &Value,
    expected: &Value,
    tensors: &dyn Fn(&Tensor, &Tensor) -> Result<Option<String>>,
) -> Result<Option<String>> {
    match (found, expected) {
        (Value::Tensor(found), Value::Tensor(expected)) => tensors(found, expected),
        (Value::Sequence { items: found, .. }, Value::Sequence { items: expected, .. }) => {
            if found.len() != expected.len() {
                return Ok(Some(format!("{} items, recorded are {}", found.len(), expected.len())));
            }
            for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
                if let Some(difference) = differs(found, expected, tensors)? {
                    return Ok(Some(format!("item {index}: {difference}")));
                }
            }
            Ok(None)
        }
        (Value::Optional { value: found, .. }, Value::Optional { value: expected, .. }) => {
            match (found, expected) {
                (Some(found), Some(expected)) => differs(found, expected, tensors),
                (None, None) => Ok(None),
                (found, _) => {
                    let has = |there: bool| if there { "a value" } else { "no value" };
                    Ok(Some(format!("{}, recorded is {}", has(found.is_some()), has(found.is_none()))))
                }
            }
        }
        (Value::Map { keys, values }, Value::Map { keys: known, values: expected }) => {
            Ok(tensors(keys, known)?.or(tensors(values, expected)?))
        }
        _ => Ok(Some(format!("is {}, recorded is {}", found.kind(), expected.kind()))),
    }
}

fn placements(session: &Session, prepared: &Prepared, result: &mut CaseResult) {
    let plans = prepared.plans();
    if plans.is_empty() {
        result.ran_on = RanOn { cpu: session.graph().nodes.len(), ..RanOn::default() };
        return;
    }
    let placements: Vec<&Placement> = plans.iter().flat_map(|plan| &plan.placements).collect();
    let count =
        |wanted: fn(&Placement) -> bool| placements.iter().filter(|placement| wanted(placement)).count();
    result.ran_on = RanOn {
        gpu: count(|placement| matches!(placement, Placement::Gpu | Placement::View)),
        // Those between parts of a run too.
        cpu: prepared.fallbacks().len(),
        plan: count(|placement| matches!(placement, Placement::Plan)),
    };
    result.dispatches = plans.iter().map(|plan| plan.dispatches().count()).sum();
}

/// The folders test_data_set_N, by N.
fn data_sets(path: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |problem: std::io::Error| Error::file(path, format!("can't be read: {problem}"));
    let mut sets = vec![];
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let folder = entry.map_err(unreadable)?.path();
        let name = folder.file_name().unwrap_or_default().to_string_lossy().to_string();
        if let Some(number) = name
            .strip_prefix("test_data_set_")
            .and_then(|number| number.parse::<u64>().ok())
            .filter(|_| folder.is_dir())
        {
            sets.push((number, folder));
        }
    }
    if sets.is_empty() {
        return Err(Error::file(path, "holds no test_data_set_N"));
    }
    sets.sort();
    Ok(sets.into_iter().map(|(_, folder)| folder).collect())
}

/// The values KIND_0.pb, KIND_1.pb, … of a data set, of the types that the model gives them.
fn values(folder: &Path, kind: &str, ports: &[InputOutputInfo]) -> Result<Vec<Value>> {
    let paths =
        (0..).map(|index: u32| folder.join(format!("{kind}_{index}.pb"))).take_while(|path| path.exists());
    let read = |(index, path): (usize, PathBuf)| match ports.get(index).map(|port| &port.kind) {
        Some(kind) if !matches!(kind, ValueType::Tensor(_)) => onnx::read_value(&path, kind),
        _ => onnx::read_pb(&path).map(|(_, tensor)| tensor.into()),
    };
    paths.enumerate().map(read).collect()
}

/// How a tensor's type or shape differs from the recorded one.
fn other_type(found: &Tensor, expected: &Tensor) -> Option<String> {
    if found.dtype() != expected.dtype() {
        return Some(format!("the type is {}, recorded is {}", found.dtype(), expected.dtype()));
    }
    (found.shape() != expected.shape())
        .then(|| format!("the shape is {:?}, recorded is {:?}", found.shape(), expected.shape()))
}

/// How a tensor differs from the recorded one by more than the tolerance, at the element where it does most:
/// shape and type are exact, and so is all but floats.
fn same(found: &Tensor, expected: &Tensor, case: &Case) -> Result<Option<String>> {
    if let Some(difference) = other_type(found, expected) {
        return Ok(Some(difference));
    }
    let dtype = found.dtype();
    // Those of 8 bits and fewer too.
    if !dtype.is_integer() && !matches!(dtype, sardonyx::DType::Bool | sardonyx::DType::String) {
        // In tolerances; what is infinite or NaN on one side alone is off without measure.
        let off = |x: &f64, y: &f64| match (x - y).abs() {
            _ if x == y || x.is_nan() && y.is_nan() => 0.0,
            off if off.is_finite() && off <= case.atol + case.rtol * y.abs() => 0.0,
            off if off.is_finite() => off / (case.atol + case.rtol * y.abs()),
            _ => f64::INFINITY,
        };
        let worst = worst(&found.to_f64s()?, &expected.to_f64s()?, off, f64::to_string);
        return Ok(worst.map(|worst| format!("{worst} (rtol {}, atol {})", case.rtol, case.atol)));
    }
    if let (Ok(found), Ok(expected)) = (found.as_strings(), expected.as_strings()) {
        let quoted = |text: &String| format!("'{}'", text.escape_debug());
        return Ok(worst(found, expected, |x, y| f64::from(u8::from(x != y)), quoted));
    }
    let text = |x: &i128| if dtype == sardonyx::DType::Bool { (*x != 0).to_string() } else { x.to_string() };
    Ok(worst(&found.to_i128s()?, &expected.to_i128s()?, |x, y| (x - y).unsigned_abs() as f64, text))
}

/// How many elements are off and which is most, with both its values; `None` where none is.
fn worst<T>(
    found: &[T],
    expected: &[T],
    off: impl Fn(&T, &T) -> f64,
    text: impl Fn(&T) -> String,
) -> Option<String> {
    let wrong: Vec<(usize, f64)> = found
        .iter()
        .zip(expected)
        .map(|(x, y)| off(x, y))
        .enumerate()
        .filter(|(_, off)| *off > 0.0)
        .collect();
    // The first of several.
    let &(at, _) = wrong.iter().rev().max_by(|a, b| a.1.total_cmp(&b.1))?;
    let (x, y) = (text(&found[at]), text(&expected[at]));
    Some(format!(
        "{} of {} elements differ; the worst, element {at}, is {x}, recorded is {y}",
        wrong.len(),
        found.len()
    ))
}

/// How a random tensor can't be of the recorded one's kind: type, shape, and the set of its values as far as
/// it shows. Where only 0 and 1 are recorded there must be nothing else, and nothing may be NaN or infinite
/// where nothing recorded is.
fn same_kind(found: &Tensor, expected: &Tensor, _: &Case) -> Result<Option<String>> {
    if let Some(difference) = other_type(found, expected) {
        return Ok(Some(difference));
    }
    if found.dtype() == sardonyx::DType::String {
        return Ok(None);
    }
    let (found, expected) = (found.to_f64s()?, expected.to_f64s()?);
    let binary = |list: &[f64]| list.iter().all(|&x| x == 0.0 || x == 1.0);
    let finite = |list: &[f64]| list.iter().all(|x| x.is_finite());
    if binary(&expected) && !binary(&found) {
        return Ok(Some("holds other values than 0 and 1".to_string()));
    }
    Ok((finite(&expected) && !finite(&found)).then(|| "holds NaN or infinities".to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case() -> Case {
        Case { path: PathBuf::new(), rtol: 1e-3, atol: 1e-7 }
    }
    fn floats(list: &[f32]) -> Tensor {
        Tensor::new([list.len()], list.to_vec()).unwrap()
    }

    #[test]
    fn floats_are_held_to_the_tolerance_and_the_rest_is_exact() {
        let differs = |x: &Tensor, y: &Tensor| same(x, y, &case()).unwrap().is_some();
        assert!(!differs(
            &floats(&[1.0005, f32::NAN, f32::INFINITY]),
            &floats(&[1.0, f32::NAN, f32::INFINITY])
        ));
        assert!(differs(&floats(&[1.002]), &floats(&[1.0])));
        assert!(differs(&floats(&[f32::NAN]), &floats(&[1.0])));
        assert!(differs(&floats(&[f32::MAX]), &floats(&[f32::INFINITY])));
        assert!(differs(&floats(&[1.0]), &floats(&[1.0, 1.0])));
        assert!(differs(&Tensor::int64s([1]), &floats(&[1.0])));
        assert!(differs(&Tensor::int64s([10_000]), &Tensor::int64s([10_001])));
        let text = |text: &str| Tensor::strings([1], vec![text.to_string()]).unwrap();
        assert!(!differs(&text("a"), &text("a")) && differs(&text("a"), &text("b")));
    }

    #[test]
    fn the_worst_element_is_shown_with_both_values() {
        let text = |x: &Tensor, y: &Tensor| same(x, y, &case()).unwrap().unwrap();
        let of_floats = text(&floats(&[1.0, 2.5, -4.0, 9.0]), &floats(&[1.1, 2.0, 4.0, 9.0]));
        assert_eq!(
            of_floats,
            "3 of 4 elements differ; the worst, element 2, is -4, recorded is 4 (rtol 0.001, atol 0.0000001)"
        );
        assert!(
            text(&floats(&[8.0, f32::NAN, 1.0]), &floats(&[1.0, 2.0, f32::INFINITY]))
                .contains("element 1, is NaN, recorded is 2")
        );
        let of_integers = text(&Tensor::int64s([1, 2, i64::MIN]), &Tensor::int64s([1, 3, i64::MAX]));
        assert!(
            of_integers.ends_with(&format!("element 2, is {}, recorded is {}", i64::MIN, i64::MAX)),
            "{of_integers}"
        );
        let large = |x: u64| Tensor::new([1], vec![x]).unwrap();
        assert!(text(&large(u64::MAX), &large(0)).contains("is 18446744073709551615, recorded is 0"));
        let word = |text: &str| Tensor::strings([1], vec![text.to_string()]).unwrap();
        assert!(text(&word("a"), &word("b")).contains("is 'a', recorded is 'b'"));
    }

    #[test]
    fn random_values_are_held_to_their_kind() {
        let differs = |x: &[f32], y: &[f32]| same_kind(&floats(x), &floats(y), &case()).unwrap().is_some();
        assert!(!differs(&[0.0, 1.0], &[1.0, 1.0]));
        assert!(differs(&[0.5, 1.0], &[1.0, 1.0]));
        assert!(!differs(&[0.5], &[0.7]));
        assert!(differs(&[f32::NAN], &[0.7]));
    }
}
