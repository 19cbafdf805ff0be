//! The inputs of a comparison: one sample of them or several.

use super::super::inputs::InputOptions;
use clap::Args;
use sardonyx::error::{Error, Result};
use sardonyx::onnx;
use sardonyx::session::InputOutputInfo;
use std::path::{Path, PathBuf};

/// What the model is to be run over.
#[derive(Args, Debug, Clone)]
pub struct SampleOptions {
    /// An input from a file: .npy, .npz (the array of that name, or the only one), .pb or a picture;
    /// repeatable
    #[arg(short = 'i', long = "input", value_name = "NAME=FILE")]
    input: Vec<String>,
    /// Inputs of one sample or several; repeatable. A folder with NAME.npy (or NAME.pb) of every input, a
    /// .npz file with an array for each, ONNX test data (test_data_set_N), or a folder of such
    #[arg(long, value_name = "DIR|FILE.npz")]
    inputs: Vec<PathBuf>,
    /// A symbolic size, where no given input says it; repeatable. Sizes that nobody gives are 1. K=..V gives
    /// it a capacity
    #[arg(long, value_name = "K=V")]
    set: Vec<String>,
    /// The seed of the noise that stands for inputs when none is given
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// So many samples of noise, of this seed and those behind it; 1 where nothing is given
    #[arg(long, value_name = "N", conflicts_with_all = ["input", "inputs"],
        value_parser = clap::value_parser!(u64).range(1..=100_000))]
    samples: Option<u64>,
}

/// One set of inputs.
#[derive(Debug, Clone)]
pub struct Sample {
    /// What reports call it.
    pub name: String,
    /// How it is bound.
    pub options: InputOptions,
    /// The folder that it comes from, where that may hold recorded outputs too.
    pub folder: Option<PathBuf>,
}

impl SampleOptions {
    /// Whether samples are given, or noise is asked for.
    pub fn are_given(&self) -> bool {
        !self.input.is_empty() || !self.inputs.is_empty() || self.samples.is_some()
    }

    /// The samples, at least one.
    ///
    /// Errors: a folder that isn't there, or holds no sample of this model's.
    pub fn list(&self, ports: &[InputOutputInfo]) -> Result<Vec<Sample>> {
        let mut samples = vec![];
        for path in &self.inputs {
            let before = samples.len();
            self.below(path, ports, 1, &mut samples)?;
            if samples.len() == before {
                let names: Vec<String> =
                    ports.iter().map(|port| format!("{}.npy", onnx::file_name(&port.name))).collect();
                return Err(Error::file(path, "holds none of the model's inputs")
                    .remedy(format!("they are looked for as: {}", names.join(", "))));
            }
        }
        if !self.inputs.is_empty() {
            return Ok(samples);
        }
        let last = self.seed.checked_add(self.samples.unwrap_or(1) - 1);
        let last = last.ok_or_else(|| Error::usage("--seed and --samples together exceed 64 bits"))?;
        let noise = |seed: u64| {
            let name = if self.input.is_empty() { format!("seed {seed}") } else { "inputs".into() };
            Sample { name, options: self.options(self.input.clone(), None, seed), folder: None }
        };
        Ok((self.seed..=last).map(noise).collect())
    }

    fn options(&self, input: Vec<String>, inputs: Option<PathBuf>, seed: u64) -> InputOptions {
        InputOptions { input, inputs, set: self.set.clone(), seed, quiet: seed != self.seed }
    }

    /// The samples that a path holds; `depth`: how many folders below it are looked into.
    fn below(
        &self,
        path: &Path,
        ports: &[InputOutputInfo],
        depth: usize,
        all: &mut Vec<Sample>,
    ) -> Result<()> {
        let named = |input: Vec<String>, inputs, folder| Sample {
            name: path.display().to_string(),
            options: self.options([input, self.input.clone()].concat(), inputs, self.seed),
            folder,
        };
        let folder = Some(path.to_path_buf());
        if path.is_file() {
            if !has_ending(path, "npz") {
                return Err(Error::file(path, "is no folder and no .npz file")
                    .remedy("--inputs takes either; -i NAME=FILE takes a file of one input"));
            }
            let given = |name: &String| self.input.iter().any(|text| text.starts_with(&format!("{name}=")));
            let wanted = ports.iter().map(|port| &port.name).filter(|name| !given(name));
            all.push(named(wanted.map(|name| format!("{name}={}", path.display())).collect(), None, None));
            return Ok(());
        }
        let mut entries: Vec<PathBuf> = std::fs::read_dir(path)
            .map_err(|problem| {
                Error::file(path, format!("can't be read: {problem}"))
                    .remedy("check the path")
                    .caused_by(problem)
            })?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .collect();
        let of_name = |port: &InputOutputInfo| {
            let stem = onnx::file_name(&port.name);
            ["npy", "pb"].iter().any(|ending| path.join(format!("{stem}.{ending}")).exists())
        };
        if ports.iter().any(of_name) {
            all.push(named(vec![], folder.clone(), folder));
            return Ok(());
        }
        let data = numbered(path, "input")?;
        if !data.is_empty() {
            let files = by_name(&data, ports)?;
            all.push(named(
                files.iter().map(|(name, file)| format!("{name}={}", file.display())).collect(),
                None,
                folder,
            ));
            return Ok(());
        }
        if depth > 0 {
            entries.sort_by_key(|entry| natural(entry));
            for entry in entries.iter().filter(|entry| entry.is_dir() || has_ending(entry, "npz")) {
                self.below(entry, ports, depth - 1, all)?;
            }
        }
        Ok(())
    }
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(ending))
}

/// A name's order among others that end in numbers: 2 before 10.
fn natural(path: &Path) -> (String, u64, String) {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let stem = name.split('.').next().unwrap_or_default().to_string();
    let text = stem.trim_end_matches(|c: char| c.is_ascii_digit());
    (text.to_string(), stem[text.len()..].parse().unwrap_or(0), name)
}

/// ONNX test data of a folder: `input_0.pb`, `input_1.pb` and so on, without a gap.
pub fn numbered(folder: &Path, kind: &str) -> Result<Vec<PathBuf>> {
    let file = |index: usize| folder.join(format!("{kind}_{index}.pb"));
    Ok((0..).map(file).take_while(|path| path.exists()).collect())
}

/// The names that test data go by: their own where all are those of ports, else the ports' in order.
pub fn by_name(files: &[PathBuf], ports: &[InputOutputInfo]) -> Result<Vec<(String, PathBuf)>> {
    let own =
        files.iter().map(|file| onnx::read_pb(file).map(|(name, _)| name)).collect::<Result<Vec<_>>>()?;
    let known = own.iter().all(|name| ports.iter().any(|port| port.name == *name));
    let in_order = ports.iter().map(|port| port.name.clone());
    let names: Vec<String> = if known { own } else { in_order.collect() };
    if names.len() < files.len() {
        let folder = files.first().and_then(|file| file.parent()).unwrap_or(Path::new("."));
        return Err(Error::file(
            folder,
            format!("holds {} tensors where the model has {}", files.len(), names.len()),
        )
        .remedy("give test data of this model"));
    }
    Ok(names.into_iter().zip(files.iter().cloned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_ordered_as_numbers() {
        let mut names =
            ["test_data_set_10", "test_data_set_2", "b.npz", "a10.npz", "a9.npz"].map(PathBuf::from);
        names.sort_by_key(|name| natural(name));
        let sorted: Vec<_> = names.iter().map(|name| name.display().to_string()).collect();
        assert_eq!(sorted, ["a9.npz", "a10.npz", "b.npz", "test_data_set_2", "test_data_set_10"]);
    }
}
