//! Inputs from files, or noise; and the symbolic sizes that go with them.

use super::emit::say;
use super::{noise, vocabulary};
use clap::Args;
use sardonyx::audio::Sound;
use sardonyx::error::{Error, Result};
use sardonyx::graph::{Dim, ValueId};
use sardonyx::session::{InputOutputInfo, Session};
use sardonyx::tensor::{Tensor, cast};
use sardonyx::{image, onnx};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

#[derive(Args, Debug, Clone, Default)]
pub struct InputOptions {
    /// An input from a file: .npy, .npz (the array of that name, or the only one), .pb, a picture,
    /// or a sound as .wav, its samples as they are; repeatable
    #[arg(short = 'i', long = "input", value_name = "NAME=FILE")]
    pub input: Vec<String>,
    /// A folder with NAME.npy (or NAME.pb) of every input; other characters than A-Z a-z 0-9 _ . - are _ in
    /// file names. Or a data set of an ONNX test case, with input_0.pb and so on
    #[arg(long, value_name = "DIR")]
    pub inputs: Option<PathBuf>,
    /// A symbolic size, where no given input says it; repeatable. Sizes that nobody gives are 1. K=..V gives
    /// it a capacity: a given input may have any size up to V, and runs of all sizes share memory
    #[arg(long, value_name = "K=V")]
    pub set: Vec<String>,
    /// The seed of the noise that stands for inputs when none is given
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Whether nothing is said of noise: where it was said of another sample.
    #[arg(skip)]
    pub quiet: bool,
}

/// What `--set` says.
#[derive(Default)]
struct Sizes {
    set: BTreeMap<String, usize>,
    /// The largest sizes that symbols may have.
    capacities: BTreeMap<String, usize>,
}

impl InputOptions {
    /// Inputs for a session of the model file `model`, by value: those that were given or, without any,
    /// seeded noise (said on standard error). The session gets the capacities that sizes are given.
    ///
    /// Errors: files that can't be read, names, types and shapes that don't fit the model, a size given twice
    /// differently.
    pub fn bind(&self, session: &mut Session, model: &Path) -> Result<HashMap<ValueId, Tensor>> {
        let ports = session.inputs();
        let Sizes { set, capacities } = self.sizes(&ports)?;
        for (symbol, most) in &capacities {
            session.set_capacity(symbol, *most);
        }
        let mut given = self.given(&ports, model)?;
        let named: Vec<(&str, Tensor)> =
            given.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
        if !named.is_empty() || ports.is_empty() {
            // What a model requires of its inputs by themselves is said before what `--set` says of them.
            let values = session.bind(&named)?;
            contradictions(&ports, &given, &set)?;
            return Ok(values);
        }
        let open: Vec<&str> = symbols(&ports)
            .into_iter()
            .filter(|symbol| !set.contains_key(*symbol) && !capacities.contains_key(*symbol))
            .collect();
        let sizes = if open.is_empty() {
            String::new()
        } else {
            format!("; of size 1 (see --set): {}", open.join(", "))
        };
        if !self.quiet {
            say(format_args!("inputs: seeded noise (--seed {}), as none is given{sizes}", self.seed));
        }
        for port in &ports {
            let shape = concrete(port, &set, &capacities);
            given.insert(
                port.name.clone(),
                self.noise(session, model, port, &shape).map_err(|error| error.at_tensor(&port.name))?,
            );
        }
        session.bind(&given.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect::<Vec<_>>())
    }

    /// Noise that the model takes: token ids within its vocabulary, a picture's levels where a sidecar says
    /// what becomes of them.
    fn noise(
        &self,
        session: &Session,
        model: &Path,
        port: &InputOutputInfo,
        shape: &[usize],
    ) -> Result<Tensor> {
        let is_picture = port.dtype.is_float() && shape.len() == 4;
        if is_picture && let (preprocess, true) = image::Preprocess::for_model(model, None)? {
            let sizes: Vec<Option<usize>> = shape.iter().copied().map(Some).collect();
            // A batch is noise for each of its pictures.
            let one: Vec<Option<usize>> = [Some(1)].into_iter().chain(sizes[1..].iter().copied()).collect();
            let pictures = (0..shape[0] as u64).map(|at| {
                let picture = noise::picture(&preprocess, &shape[1..], self.seed.wrapping_add(at << 32))?;
                preprocess.apply(&picture, &one)
            });
            return noise::stacked(pictures, port.dtype, shape);
        }
        let id = session.original().find(&port.name);
        let vocabulary = id.and_then(|id| vocabulary::size(session.original(), id));
        noise::noise(&port.name, port.dtype, shape, self.seed, vocabulary)
    }

    /// `--set`, checked against the model's symbols.
    fn sizes(&self, ports: &[InputOutputInfo]) -> Result<Sizes> {
        let known = symbols(ports);
        let mut sizes = Sizes::default();
        for text in &self.set {
            let wrong = || {
                Error::usage(format!("--set {text} is not K=V or K=..V with a whole number V"))
                    .remedy("write for example --set batch=4, or --set past=..512 for any size up to 512")
            };
            let (name, size) = text.rsplit_once('=').ok_or_else(wrong)?;
            let (size, into) = match size.trim().strip_prefix("..") {
                Some(most) => (most, &mut sizes.capacities),
                None => (size.trim(), &mut sizes.set),
            };
            let size: usize = size.parse().map_err(|_| wrong())?;
            if !known.contains(&name) {
                let list = if known.is_empty() {
                    "it has none".to_string()
                } else {
                    format!("its symbolic sizes are: {}", known.join(", "))
                };
                say(format_args!("note: the model has no symbolic size '{name}'; {list}"));
            }
            let other = into.insert(name.to_string(), size).is_some_and(|before| before != size);
            if other || sizes.set.contains_key(name) && sizes.capacities.contains_key(name) {
                return Err(Error::usage(format!("--set gives '{name}' two sizes")).remedy("give it once"));
            }
        }
        Ok(sizes)
    }

    /// The files that are given for inputs, by name.
    pub fn files(&self, ports: &[InputOutputInfo]) -> Result<Vec<(String, PathBuf)>> {
        let mut files = vec![];
        for text in &self.input {
            let (name, file) = split(text, ports)?;
            files.push((name.to_string(), PathBuf::from(file)));
        }
        if let Some(folder) = &self.inputs {
            distinct_file_names(ports)?;
            files.extend(files_in(folder, ports).into_iter().map(|(port, path)| (port.name.clone(), path)));
        }
        Ok(files)
    }

    /// The inputs that files give, by name.
    fn given(&self, ports: &[InputOutputInfo], model: &Path) -> Result<BTreeMap<String, Tensor>> {
        let mut given = BTreeMap::new();
        if let Some(folder) = &self.inputs {
            if !folder.is_dir() {
                return Err(Error::file(folder, "is no folder")
                    .remedy("--inputs takes a folder with NAME.npy of every input"));
            }
            distinct_file_names(ports)?;
            for (port, path) in files_in(folder, ports) {
                given.insert(port.name.clone(), onnx::read_tensor(&path)?);
            }
            if given.is_empty() && self.input.is_empty() && !ports.is_empty() {
                let wanted: Vec<String> =
                    ports.iter().map(|port| format!("{}.npy", onnx::file_name(&port.name))).collect();
                return Err(Error::file(folder, "holds none of the model's inputs").remedy(format!(
                    "they are looked for as: {}; or as input_0.pb and so on",
                    wanted.join(", ")
                )));
            }
        }
        let mut named = vec![];
        for text in &self.input {
            let (name, file) = split(text, ports)?;
            if named.contains(&name) {
                return Err(Error::usage(format!("-i gives '{name}' twice")).remedy("give it once"));
            }
            let port = ports.iter().find(|port| port.name == name);
            let port = port.ok_or_else(|| {
                Error::input("the model has no such input")
                    .at_tensor(name)
                    .remedy(format!("its inputs are: {}", names(ports)))
            })?;
            given.insert(name.to_string(), read(Path::new(file), port, model)?);
            named.push(name);
        }
        Ok(given)
    }
}

/// The files of inputs in a folder of all of them: by their names, or, where none is there, by their numbers.
fn files_in<'a>(folder: &Path, ports: &'a [InputOutputInfo]) -> Vec<(&'a InputOutputInfo, PathBuf)> {
    let file = |stem: String, endings: &[&str]| {
        let mut paths = endings.iter().map(|ending| folder.join(format!("{stem}.{ending}")));
        paths.find(|path| path.exists())
    };
    let named = |port: &'a InputOutputInfo| Some((port, file(onnx::file_name(&port.name), &["npy", "pb"])?));
    let by_name: Vec<_> = ports.iter().filter_map(named).collect();
    if !by_name.is_empty() {
        return by_name;
    }
    let numbered = |(index, port)| Some((port, file(format!("input_{index}"), &["pb"])?));
    ports.iter().enumerate().filter_map(numbered).collect()
}

/// `NAME=FILE`, where a name may hold `=` itself.
fn split<'a>(text: &'a str, ports: &[InputOutputInfo]) -> Result<(&'a str, &'a str)> {
    let known = ports.iter().filter_map(|port| {
        text.strip_prefix(port.name.as_str())?.strip_prefix('=').map(|file| (&text[..port.name.len()], file))
    });
    known
        .max_by_key(|(name, _)| name.len())
        .or_else(|| text.split_once('='))
        .filter(|(_, file)| !file.is_empty())
        .ok_or_else(|| {
            Error::usage(format!("-i {text} is not NAME=FILE"))
                .remedy(format!("the model's inputs are: {}", names(ports)))
        })
}

fn names(ports: &[InputOutputInfo]) -> String {
    ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// The symbols in the inputs' shapes, each once.
fn symbols(ports: &[InputOutputInfo]) -> Vec<&str> {
    let mut found: Vec<&str> = vec![];
    for dim in ports.iter().flat_map(|port| port.dims.iter().flatten()) {
        if let Dim::Symbol(symbol) = dim
            && !found.contains(&symbol.as_str())
        {
            found.push(symbol);
        }
    }
    found
}

/// An input's shape with `--set` in place, at capacity where it says no more; what is unknown is 1, and an
/// input of unknown rank has one dimension.
fn concrete(
    port: &InputOutputInfo,
    set: &BTreeMap<String, usize>,
    capacities: &BTreeMap<String, usize>,
) -> Vec<usize> {
    let size = |dim: &Dim| match dim {
        Dim::Known(size) => *size,
        Dim::Symbol(symbol) => set.get(symbol).or_else(|| capacities.get(symbol)).copied().unwrap_or(1),
        Dim::Unknown => 1,
    };
    port.dims.as_ref().map_or_else(|| vec![1], |dims| dims.iter().map(size).collect())
}

/// Errs where a given input's size is another than `--set` says.
fn contradictions(
    ports: &[InputOutputInfo],
    given: &BTreeMap<String, Tensor>,
    set: &BTreeMap<String, usize>,
) -> Result<()> {
    for port in ports {
        let Some((dims, tensor)) = port.dims.as_ref().zip(given.get(&port.name)) else { continue };
        for (dim, &size) in dims.iter().zip(tensor.shape()) {
            let Dim::Symbol(symbol) = dim else { continue };
            if let Some(wanted) = set.get(symbol).filter(|&&wanted| wanted != size) {
                let message = format!("its size '{symbol}' is {size}, but --set says {wanted}");
                return Err(Error::usage(message)
                    .at_tensor(&port.name)
                    .remedy("leave --set out, or give another input"));
            }
        }
    }
    Ok(())
}

/// Errs where two names come out as one file name.
pub fn distinct_file_names(ports: &[InputOutputInfo]) -> Result<()> {
    let mut seen: HashMap<String, &str> = HashMap::new();
    for port in ports {
        if let Some(other) = seen.insert(onnx::file_name(&port.name), &port.name) {
            return Err(Error::usage(format!(
                "'{other}' and '{}' have the same file name, {}",
                port.name,
                onnx::file_name(&port.name)
            ))
            .remedy("use -i NAME=FILE for inputs; outputs like these can only be printed"));
        }
    }
    Ok(())
}

/// Reads one input, told apart by the file's ending.
fn read(path: &Path, port: &InputOutputInfo, model: &Path) -> Result<Tensor> {
    let ending = path.extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default();
    match ending.as_str() {
        "npz" => {
            let arrays = onnx::read_npz(path)?;
            let list = arrays.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
            let only = arrays.len() == 1;
            let found = arrays
                .into_iter()
                .find(|(name, _)| only || *name == port.name || *name == onnx::file_name(&port.name));
            found.map(|(_, tensor)| tensor).ok_or_else(|| {
                Error::file(path, format!("holds no array '{}'", port.name))
                    .remedy(format!("its arrays are: {list}"))
            })
        }
        "png" | "jpg" | "jpeg" | "webp" | "bmp" => picture(path, port, model),
        "wav" => sound(path, port),
        _ => onnx::read_tensor(path),
    }
}

/// A sound's samples between −1 and 1, `[samples]` or `[1, samples]` as the input's rank is.
fn sound(path: &Path, port: &InputOutputInfo) -> Result<Tensor> {
    let rank = port.dims.as_ref().map_or(2, Vec::len);
    if !port.dtype.is_float() || !(1..=2).contains(&rank) {
        return Err(Error::input(format!(
            "a sound is given, and the input is {} of rank {rank}",
            port.dtype
        ))
        .in_file(path)
        .at_tensor(&port.name)
        .remedy("sounds go to inputs of floats of rank 1 or 2; give an array"));
    }
    let sound = Sound::read(path)?;
    say(format_args!(
        "note: {}: {} samples, {} a second; nothing is made of their rate",
        path.display(),
        sound.samples.len(),
        sound.rate
    ));
    let shape = if rank == 1 { vec![sound.samples.len()] } else { vec![1, sound.samples.len()] };
    cast(&Tensor::new(shape, sound.samples)?, port.dtype, true)
}

/// A picture, preprocessed as the sidecar MODEL.toml says, else as for ImageNet.
fn picture(path: &Path, port: &InputOutputInfo, model: &Path) -> Result<Tensor> {
    let dims = port.dims.as_deref().unwrap_or_default();
    let sizes: Vec<Option<usize>> =
        dims.iter().map(|dim| if let Dim::Known(size) = dim { Some(*size) } else { None }).collect();
    let (preprocess, _) = image::Preprocess::for_model(model, None)?;
    let tensor = preprocess
        .apply(&image::load(path)?, &sizes)
        .map_err(|error| error.in_file(path).at_tensor(&port.name))?;
    if port.dtype.is_float() { cast(&tensor, port.dtype, true) } else { Ok(tensor) }
}
