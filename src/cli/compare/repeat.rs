//! `--repeat`: whether the same inputs give the same bits, run after run, session after session, and in
//! another process.

use sardonyx::error::{Error, Result};
use sardonyx::graph::ValueId;
use sardonyx::{Session, Tensor};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::process::{Command, Stdio};

/// The option by which this command asks another process for its hash; what it prints begins with the word.
pub const HASH_OPTION: &str = "--print-hash";
const HASH_WORD: &str = "outputs-sha256 ";

/// What the repetitions gave.
#[derive(Debug, Clone, Serialize)]
pub struct Repeated {
    pub runs: usize,
    /// The outputs of each run: `same session`, `new session`, `new process`.
    pub hashes: Vec<Hash>,
    pub same: bool,
}

#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Hash {
    pub by: &'static str,
    pub sha256: String,
}

/// The hash of outputs: their names, types, shapes and bytes.
pub fn hash(outputs: &[(String, Tensor)]) -> String {
    let mut all = Sha256::new();
    for (name, tensor) in outputs {
        all.update(format!("{name}\0{}\0{:?}\0", tensor.dtype().name(), tensor.shape()));
        match tensor.as_strings() {
            Ok(strings) => strings.iter().for_each(|text| all.update(format!("{text}\0"))),
            Err(_) => all.update(tensor.bytes()),
        }
    }
    all.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn run(session: &Session, inputs: &HashMap<ValueId, Tensor>) -> Result<String> {
    let prepared = session.prepare(inputs)?;
    Ok(hash(&session.run_prepared(&prepared, inputs)?))
}

/// Runs `runs` times: one run in a new process, every third in a new session, the others in this one.
pub fn repeated(
    session: &Session,
    inputs: &HashMap<ValueId, Tensor>,
    runs: usize,
    new_session: &dyn Fn() -> Result<(Session, HashMap<ValueId, Tensor>)>,
) -> Result<Repeated> {
    let mut hashes = vec![];
    for index in 0..runs.saturating_sub(1) {
        let (by, sha256) = if index % 3 == 1 {
            let (session, inputs) = new_session()?;
            ("new session", run(&session, &inputs)?)
        } else {
            ("same session", run(session, inputs)?)
        };
        hashes.push(Hash { by, sha256 });
    }
    hashes.push(Hash { by: "new process", sha256: of_another_process()? });
    let same = hashes.iter().all(|hash| hash.sha256 == hashes[0].sha256);
    Ok(Repeated { runs: hashes.len(), hashes, same })
}

/// The line that another process reads.
pub fn line(session: &Session, inputs: &HashMap<ValueId, Tensor>) -> Result<String> {
    Ok(format!("{HASH_WORD}{}\n", run(session, inputs)?))
}

/// The hash that a second process of this command prints, with the same arguments.
fn of_another_process() -> Result<String> {
    let failed = |what: String| Error::internal(format!("a second process {what}"));
    let program =
        std::env::current_exe().map_err(|problem| failed(format!("can't be started: {problem}")))?;
    let output = Command::new(program)
        .args(std::env::args_os().skip(1))
        .arg(HASH_OPTION)
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(|problem| failed(format!("can't be started: {problem}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text.lines().find_map(|line| line.strip_prefix(HASH_WORD));
    found.map(str::to_string).ok_or_else(|| {
        let talk = String::from_utf8_lossy(&output.stderr);
        failed(format!("gave no result: {}", talk.lines().last().unwrap_or("it said nothing")))
    })
}

/// The hashes for a reader.
pub fn text(repeated: &Repeated) -> String {
    let mut kinds: Vec<(&str, &str, usize)> = vec![];
    for Hash { by, sha256 } in &repeated.hashes {
        match kinds.iter_mut().find(|(kind, hash, _)| kind == by && hash == sha256) {
            Some(kind) => kind.2 += 1,
            None => kinds.push((by, sha256, 1)),
        }
    }
    let mut text = String::new();
    for (by, sha256, count) in kinds {
        text += &format!("{count} × {by}: {}\n", &sha256[..16.min(sha256.len())]);
    }
    text + &format!(
        "{} runs: {}\n",
        repeated.runs,
        if repeated.same { "the same bits" } else { "DIFFERENT bits" }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_tells_names_shapes_and_bits_apart() {
        let one = |name: &str, shape: &[usize], x: f32| {
            hash(&[(name.to_string(), Tensor::new(shape, vec![x; shape.iter().product()]).unwrap())])
        };
        let first = one("y", &[2, 1], 0.0);
        assert_eq!(first, one("y", &[2, 1], 0.0));
        for other in [one("z", &[2, 1], 0.0), one("y", &[1, 2], 0.0), one("y", &[2, 1], -0.0)] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn one_run_that_differs_is_told() {
        let hash = |by, text: &str| Hash { by, sha256: text.repeat(64) };
        let hashes = vec![hash("same session", "a"), hash("same session", "a"), hash("new process", "b")];
        let text = text(&Repeated { runs: 3, hashes, same: false });
        assert!(text.contains("2 × same session: aaaa") && text.contains("DIFFERENT"), "{text}");
    }
}
