//! Every case of every operator against answers from outside: tests/expected/OPERATOR.txt, which
//! tools/expected_values.py writes.
//!
//! tests/operators.rs holds `infer` to `eval`, and a GPU to `eval`; here `eval` is held to onnxruntime, to the
//! reference evaluator of ONNX's own package where onnxruntime has no answer, and to arithmetic from ONNX's
//! text where neither has. Types, shapes, integers and what is only moved must be equal; floats lie within
//! the operator's own error bound, with both sides rounding as their type does (docs/numerics.md).

#[path = "support/expected.rs"]
mod files;
#[path = "support/cases.rs"]
mod support;

use files::{ANEW, Entry, Output, entries, folder, hash, kept, key, path};
use sardonyx::base::EvalPrecision;
use sardonyx::compare::tolerances;
use sardonyx::ops::case::{Case, Given};
use sardonyx::ops::{OpDef, operators};
use sardonyx::tensor::{Tensor, cast};
use sardonyx::{cpu, graph};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;
use support::{build, cases, operands, tensors, version};

const SEED: u64 = 1;

#[test]
fn eval_gives_what_others_give() {
    let (mut wrong, mut sources, mut all) = (vec![], BTreeMap::<String, usize>::new(), 0);
    for def in operators() {
        let entries = entries(def);
        let mut answered = false;
        for case in def.cases {
            let key = key(case);
            let found = match entries.get(&key) {
                None => Err(format!("no expected values: {ANEW}")),
                Some(entry) => {
                    answered |= !entry.by.is_empty();
                    *sources.entry(entry.by.clone()).or_default() += 1;
                    check(def, case, entry)
                }
            };
            wrong.extend(found.err().map(|problem| format!("{} {key}: {problem}", def.name)));
            all += 1;
        }
        // What works on values that cases don't hold has none: tests/operators.rs lists them.
        if !answered && !def.cases.is_empty() {
            wrong.push(format!("{}: no case has expected values: {ANEW}", def.name));
        }
    }
    println!("{all} cases, by source (nothing where there is none): {sources:?}");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Holds `eval` of a case to its entry.
fn check(def: &OpDef, case: &Case, entry: &Entry) -> Result<(), String> {
    if entry.by.is_empty() {
        return Ok(());
    }
    if entry.inputs != hash(&tensors(case, SEED)) {
        return Err(format!("its expected values are of other inputs: {ANEW}"));
    }
    let (graph, given) = build(def, case, SEED);
    let (node, inputs) = (&graph.nodes[0], operands(&graph, &given));
    // As declared, and in float64, as `compare` takes its reference: other code in many operators.
    for (mode, how) in [(EvalPrecision::Declared, ""), (EvalPrecision::Oracle, " in float64")] {
        let made = evaluated(node, &inputs, mode).map_err(|error| format!("{error}{how}"))?;
        if entry.outputs.len() != case.outputs || made.len() < case.outputs {
            return Err(format!("{} outputs{how}, and {} expected", made.len(), entry.outputs.len()));
        }
        for (index, (got, want)) in made.iter().zip(&entry.outputs).enumerate() {
            same(node, index, &inputs, got, want).map_err(|problem| format!("y{index}{how} {problem}"))?;
        }
    }
    Ok(())
}

/// What `eval` makes, in the types that the model declares.
fn evaluated(
    node: &graph::Node,
    inputs: &[Option<&Tensor>],
    mode: EvalPrecision,
) -> sardonyx::Result<Vec<Tensor>> {
    let declared = cpu::eval_node(&*node.op, inputs, EvalPrecision::Declared)?;
    if mode == EvalPrecision::Declared {
        return Ok(declared);
    }
    let held = |(k, input): (usize, &Option<&Tensor>)| {
        input.map(|tensor| cpu::held_by(&*node.op, k, tensor, mode)).transpose()
    };
    let held = inputs.iter().enumerate().map(held).collect::<sardonyx::Result<Vec<_>>>()?;
    let refs: Vec<Option<&Tensor>> = held.iter().map(Option::as_ref).collect();
    let made = cpu::eval_node(&*node.op, &refs, mode)?;
    made.iter().zip(&declared).map(|(wide, tensor)| cast(wide, tensor.dtype(), true)).collect()
}

/// Holds one output to what is expected of it.
fn same(
    node: &graph::Node,
    index: usize,
    inputs: &[Option<&Tensor>],
    got: &Tensor,
    want: &Output,
) -> Result<(), String> {
    if (got.dtype().name(), got.shape()) != (&want.dtype, &want.shape) {
        let (dtype, shape) = (got.dtype(), got.shape());
        return Err(format!("is {dtype} {shape:?} instead of {} {:?}", want.dtype, want.shape));
    }
    let places = kept(got.len());
    if places.len() != want.elements.len() {
        return Err(format!("has {} expected elements, not {}", want.elements.len(), places.len()));
    }
    let pairs = || places.iter().zip(&want.elements).filter_map(|(at, text)| Some((*at, text.as_ref()?)));
    if !got.dtype().is_float() && got.to_i128s().is_err() {
        // Floats of 8 and 4 bits.
        let have = got.to_f64s().map_err(|error| error.to_string())?;
        let same = |at: usize, want: &String| {
            // Written as the shortest float32.
            want.parse().is_ok_and(|want: f32| have[at] as f32 == want || have[at].is_nan() && want.is_nan())
        };
        return match pairs().find(|(at, want)| !same(*at, want)) {
            Some((at, want)) => Err(format!("element {at} is {} instead of {want}", have[at])),
            None => Ok(()),
        };
    }
    if !got.dtype().is_float() {
        let have = got.to_i128s().map_err(|error| error.to_string())?;
        return match pairs().find(|(at, want)| want.parse() != Ok(have[*at])) {
            Some((at, want)) => Err(format!("element {at} is {} instead of {want}", have[at])),
            None => Ok(()),
        };
    }
    // Whole, as bounds are made from whole tensors: what a file leaves out is as it was made.
    let have = got.to_f64s().map_err(|error| error.to_string())?;
    let mut list = have.clone();
    for (at, text) in pairs() {
        list[at] = text.parse().map_err(|_| format!("{text} is no number"))?;
    }
    let whole = Tensor::new(got.shape(), list).and_then(|whole| cast(&whole, got.dtype(), true));
    let whole = whole.map_err(|error| error.to_string())?;
    let limits = tolerances(node, index, inputs, &whole).map_err(|error| error.to_string())?;
    let expected = whole.to_f64s().map_err(|error| error.to_string())?;
    // NaN is NaN, and an infinity that of its sign.
    let equal = |at: usize| {
        let (x, y) = (have[at], expected[at]);
        x == y || x.is_nan() && y.is_nan() || (x - y).abs() <= limits[at]
    };
    match pairs().find(|(at, _)| !equal(*at)) {
        Some((at, want)) => {
            let limit = limits[at];
            Err(format!("element {at} is {} instead of {want}, which allows {limit:.2e}", have[at]))
        }
        None => Ok(()),
    }
}

/// A number changed by a fortieth of the largest beside it: more than any rounding of a small case's.
fn spoilt(text: &str, output: &Output) -> String {
    let number = |text: &String| text.parse().ok().filter(|x: &f64| x.is_finite());
    let largest =
        output.elements.iter().flatten().filter_map(number).fold(0.0, |most: f64, x| most.max(x.abs()));
    match text.parse::<f64>() {
        _ if !output.dtype.starts_with("float") || output.dtype.contains('e') => {
            if text == "0" { "1" } else { "0" }.to_string()
        }
        Ok(x) if x.is_finite() => (x + if largest > 0.0 { largest / 40.0 } else { 1.0 }).to_string(),
        _ => "0".to_string(),
    }
}

/// The comparison bites: an element that is made wrong is found, in every case of every operator.
#[test]
fn one_wrong_element_is_found() {
    let (mut missed, mut tried) = (vec![], 0);
    for (def, case, label) in cases() {
        let mut all = entries(def);
        let Some(entry) = all.get_mut(&key(case)) else { continue };
        for k in 0..entry.outputs.len() {
            let places = entry.outputs[k].elements.iter().enumerate().filter(|(_, text)| text.is_some());
            let places: Vec<usize> = places.map(|(at, _)| at).collect();
            let Some(&at) = places.get(places.len() / 2) else { continue };
            let right = entry.outputs[k].elements[at].clone();
            entry.outputs[k].elements[at] = right.as_ref().map(|text| spoilt(text, &entry.outputs[k]));
            tried += 1;
            if check(def, case, entry).is_ok() {
                missed.push(format!("{label}: element {at} of y{k}"));
            }
            entry.outputs[k].elements[at] = right;
        }
    }
    println!("{tried} tried");
    assert!(missed.is_empty(), "{} of {tried}:\n{}", missed.len(), missed.join("\n"));
}

/// No file and no entry is of what isn't there any more.
#[test]
fn no_expected_values_are_left_over() {
    let mut files = BTreeSet::new();
    for def in operators() {
        files.insert(path(def));
        let known: BTreeSet<String> = def.cases.iter().map(key).collect();
        let left: Vec<String> = entries(def).into_keys().filter(|key| !known.contains(key)).collect();
        assert!(left.is_empty(), "{}: entries without a case: {left:?}: {ANEW}", def.name);
    }
    let there = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let left: Vec<PathBuf> = there.filter(|path| !files.contains(path)).collect();
    assert!(left.is_empty(), "files without an operator: {left:?}");
}

/// A case as the tool reads it.
fn written(def: &OpDef, case: &Case) -> Value {
    let attribute = |given: Given| match given {
        Given::Int(value) => json!(["int", value]),
        Given::Float(value) => json!(["float", value]),
        Given::Ints(list) => json!(["ints", list]),
        Given::Reals(list) => json!(["floats", list]),
        Given::Text(text) => json!(["string", text]),
        Given::Texts(list) => json!(["strings", list]),
        Given::Numbers(list) => json!(["float32", list]),
        Given::Bytes(list) => json!(["uint8", list]),
    };
    let attributes: BTreeMap<&str, Value> =
        case.attributes.iter().map(|(name, given)| (*name, attribute(*given))).collect();
    let tensors = tensors(case, SEED);
    let input = |(k, tensor): (usize, &Option<Tensor>)| {
        let tensor = tensor.as_ref()?;
        let bytes = tensor.bytes().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        let (dtype, constant) = (tensor.dtype().name(), case.inputs[k].is_constant());
        Some(json!({ "type": dtype, "shape": tensor.shape(), "bytes": bytes, "constant": constant }))
    };
    json!({
        "operator": def.name, "domain": def.domain, "version": version(case), "case": key(case),
        "hash": hash(&tensors), "attributes": attributes, "outputs": case.outputs,
        "inputs": tensors.iter().enumerate().map(input).collect::<Vec<_>>(),
    })
}

/// Where WRITE_CASES names a file, every case is written there for the tool.
#[test]
fn cases_are_written() {
    let Some(file) = std::env::var_os("WRITE_CASES") else { return };
    // A case that stands in a table twice has its values once.
    let mut all = BTreeMap::new();
    for (k, (def, case, _)) in cases().enumerate() {
        all.entry((def.name, key(case))).or_insert_with(|| (k, written(def, case)));
    }
    let mut all: Vec<(usize, Value)> = all.into_values().collect();
    all.sort_by_key(|(k, _)| *k);
    let all: Vec<Value> = all.into_iter().map(|(_, case)| case).collect();
    std::fs::write(file, serde_json::to_string(&all).unwrap()).unwrap();
}

#[test]
fn the_elements_kept_reach_from_the_first_to_the_last() {
    assert_eq!(kept(3), [0, 1, 2]);
    for count in 33..500 {
        let list = kept(count);
        assert!(list.is_sorted_by(|a, b| a < b), "{count}");
        assert_eq!((list[0], list.last()), (0, Some(&(count - 1))));
    }
}
