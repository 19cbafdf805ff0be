//! The files of expected values, tests/expected/OPERATOR.txt: their form, and what their entries are of.
//!
//! A file is a list of entries; `#` begins a comment.
//!
//!     case ATTRIBUTES INPUTS [version N] [outputs N]     as Rust prints them
//!     note WHY                                           where another source than onnxruntime was taken
//!     by SOURCE                                          or `none WHY`, where no source has an answer
//!     inputs HASH                                        of the inputs' types, shapes and bytes
//!     y0 TYPE SHAPE ELEMENTS                             and y1, …: the outputs
//!
//! Of more than 32 elements there are 32: the first 8, and 24 evenly spaced from the ninth to the last. An
//! element `*` may be anything: ONNX's text leaves it open.

use sardonyx::Tensor;
use sardonyx::ops::OpDef;
use sardonyx::ops::case::Case;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;

const KEPT: usize = 32;
const FIRST: usize = 8;

/// How to write the files anew.
pub const ANEW: &str = "run WRITE_CASES=FILE cargo test --test expected cases_are_written, \
                        then tools/expected_values.py FILE";

/// An entry of a file.
#[derive(Default)]
pub struct Entry {
    pub inputs: String,
    /// Empty: nothing has an answer.
    pub by: String,
    pub outputs: Vec<Output>,
}

pub struct Output {
    pub dtype: String,
    pub shape: Vec<usize>,
    /// `None`: open.
    pub elements: Vec<Option<String>>,
}

/// By which an entry is found: a case keeps its values wherever it stands in its table.
pub fn key(case: &Case) -> String {
    let mut text = format!("{:?} {:?}", case.attributes, case.inputs);
    if case.version != 0 {
        let _ = write!(text, " version {}", case.version);
    }
    if case.outputs != 1 {
        let _ = write!(text, " outputs {}", case.outputs);
    }
    text
}

/// FNV-1a over the inputs: expected values are of these alone.
pub fn hash(tensors: &[Option<Tensor>]) -> String {
    let each = |tensor: &Option<Tensor>| match tensor {
        Some(tensor) => {
            let head = format!("{}{:?}", tensor.dtype().name(), tensor.shape());
            [head.as_bytes(), tensor.bytes()].concat()
        }
        None => b"absent".to_vec(),
    };
    let step = |hash: u64, byte: u8| (hash ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3);
    format!("{:016x}", tensors.iter().flat_map(each).fold(0xcbf2_9ce4_8422_2325, step))
}

/// Which elements of an output a file has.
pub fn kept(count: usize) -> Vec<usize> {
    if count <= KEPT {
        return (0..count).collect();
    }
    let spaced = |k: usize| FIRST + k * (count - 1 - FIRST) / (KEPT - FIRST - 1);
    (0..FIRST).chain((0..KEPT - FIRST).map(spaced)).collect()
}

pub fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/expected"))
}

pub fn path(def: &OpDef) -> PathBuf {
    folder().join(format!("{}.txt", def.name))
}

/// The entries of an operator's file; none where there is no file.
pub fn entries(def: &OpDef) -> BTreeMap<String, Entry> {
    let text = std::fs::read_to_string(path(def)).unwrap_or_default();
    let mut all = BTreeMap::new();
    let mut at = String::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if word == "case" {
            at = rest.to_string();
            assert!(all.insert(at.clone(), Entry::default()).is_none(), "{}: {at} stands twice", def.name);
            continue;
        }
        let entry = all.get_mut(&at).unwrap_or_else(|| panic!("{}: before any case: {line}", def.name));
        match word {
            "inputs" => entry.inputs = rest.to_string(),
            "by" => entry.by = rest.to_string(),
            "note" | "none" => {}
            _ => entry.outputs.push(output(rest).unwrap_or_else(|| panic!("{}: {line}", def.name))),
        }
    }
    all
}

fn output(text: &str) -> Option<Output> {
    let mut words = text.split_whitespace();
    let dtype = words.next()?.to_string();
    let sizes = words.next()?.strip_prefix('[')?.strip_suffix(']')?;
    let shape = sizes.split(',').filter(|size| !size.is_empty()).map(|size| size.parse().ok());
    let shape = shape.collect::<Option<_>>()?;
    let elements = words.map(|word| (word != "*").then(|| word.to_string())).collect();
    Some(Output { dtype, shape, elements })
}
