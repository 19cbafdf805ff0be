//! `--reference`: what a sample is compared with.

use super::samples::{self, Sample};
use sardonyx::Session;
use sardonyx::compare::Reference;
use sardonyx::error::{Error, Result};
use sardonyx::gpu::{GpuDevice, LimitsOption, Selection};
use sardonyx::onnx;
use sardonyx::tensor::Tensor;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What was chosen.
pub enum Choice {
    /// The same for every sample.
    Fixed(Reference),
    /// Outputs of a folder.
    Folder(PathBuf),
    /// Those of each sample's own folder.
    Recorded,
}

impl Choice {
    pub fn parse(text: &str) -> Result<Self> {
        Ok(Choice::Fixed(match text {
            "cpu" => Reference::Cpu,
            "cpu-f64" => Reference::CpuF64,
            "cpu-f16" => Reference::CpuF16,
            "recorded" => return Ok(Choice::Recorded),
            file if file.to_lowercase().ends_with(".npz") => {
                Reference::Outputs(onnx::read_npz(Path::new(file))?)
            }
            folder if Path::new(folder).is_dir() => return Ok(Choice::Folder(folder.into())),
            name => match GpuDevice::open(&Selection::from_str(name)?, &LimitsOption::Adapter)? {
                Some(device) => Reference::Adapter(device),
                None => {
                    return Err(Error::usage(format!("'{name}' is no GPU here")).remedy(
                        "use cpu, cpu-f64, cpu-f16, recorded, an adapter's name, FILE.npz or a folder of outputs",
                    ));
                }
            },
        }))
    }

    /// What a sample is compared with.
    pub fn of(&self, sample: &Sample, session: &Session) -> Result<Reference> {
        match self {
            Choice::Fixed(reference) => Ok(reference.clone()),
            Choice::Folder(folder) => outputs(folder, session).map(Reference::Outputs),
            Choice::Recorded => match &sample.folder {
                Some(folder) => outputs(folder, session).map(Reference::Outputs),
                None => Err(Error::usage(format!("the sample '{}' comes from no folder", sample.name))
                    .remedy("--reference recorded goes with --inputs DIR, which holds output_N.pb beside input_N.pb")),
            },
        }
    }
}

/// The recorded outputs of a folder: `output_0.pb` and so on, or `NAME.npy` of every output.
fn outputs(folder: &Path, session: &Session) -> Result<Vec<(String, Tensor)>> {
    let ports = session.outputs();
    let data = samples::numbered(folder, "output")?;
    let files = if data.is_empty() {
        let file = |name: &String| {
            let paths =
                ["npy", "pb"].map(|ending| folder.join(format!("{}.{ending}", onnx::file_name(name))));
            paths.into_iter().find(|path| path.exists()).map(|path| (name.clone(), path))
        };
        ports.iter().filter_map(|port| file(&port.name)).collect()
    } else {
        samples::by_name(&data, &ports)?
    };
    if files.is_empty() {
        return Err(Error::file(folder, "holds no outputs")
            .remedy("they are looked for as output_0.pb, output_1.pb and so on, or as NAME.npy"));
    }
    files.into_iter().map(|(name, path)| Ok((name, onnx::read_tensor(&path)?))).collect()
}
