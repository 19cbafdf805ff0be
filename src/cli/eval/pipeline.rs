//! Files to outputs: pictures are decoded and made into inputs on threads of their own while the device runs
//! the batch before, over a queue of a bounded length.

use super::samples::Sample;
use rayon::prelude::*;
use sardonyx::error::{Error, Result};
use sardonyx::image::{self, Preprocess};
use sardonyx::session::Session;
use sardonyx::tensor::cast;
use sardonyx::{DType, Dim, Tensor};
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::Instant;

/// Batches that wait for the device: one that it takes next, and one that is being filled.
const WAITING: usize = 2;
/// The most threads that decode.
const THREADS: usize = 16;

/// The model's one input, and how many pictures it takes at once.
pub struct Port {
    name: String,
    dtype: DType,
    /// As declared, `None` where open; the first is that of the batch.
    dims: Vec<Option<usize>>,
    pub batch: usize,
}

impl Port {
    /// Errors where the model has no single input, or its batch is fixed at another size.
    pub fn of(session: &Session, batch: Option<usize>) -> Result<Self> {
        let ports = session.inputs();
        let [port] = ports.as_slice() else {
            return Err(Error::model(format!("has {} inputs; `eval` takes models with one", ports.len()))
                .remedy("use `run` with arrays"));
        };
        let known = |dim: &Dim| if let Dim::Known(size) = dim { Some(*size) } else { None };
        let dims = port.dims.as_ref().map_or(vec![None; 4], |dims| dims.iter().map(known).collect());
        let fixed = dims.first().copied().flatten();
        let batch = match (fixed, batch) {
            (Some(0), _) => return Err(Error::model("takes 0 pictures at a time")),
            (Some(fixed), Some(wanted)) if fixed != wanted => {
                return Err(Error::usage(format!("--batch {wanted}: the model takes {fixed} at a time"))
                    .remedy(format!(
                        "leave --batch out, or export the model with a symbolic batch ({})",
                        port.name
                    )));
            }
            (Some(fixed), _) => fixed,
            (None, wanted) => wanted.unwrap_or(1),
        };
        Ok(Self { name: port.name.clone(), dtype: port.dtype, dims, batch })
    }

    /// A file as an input of batch 1.
    fn read(&self, path: &Path, preprocess: &Preprocess) -> Result<Tensor> {
        let array = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("npy"));
        let input = if array {
            self.single(sardonyx::onnx::read_tensor(path)?)?
        } else {
            let mut dims = self.dims.clone();
            if let Some(first) = dims.first_mut() {
                *first = None;
            }
            preprocess.apply(&image::load(path)?, &dims)?
        };
        cast(&input, self.dtype, true)
    }

    /// An array without the axis of the batch gets one.
    fn single(&self, array: Tensor) -> Result<Tensor> {
        let rank = self.dims.len();
        if array.rank() + 1 == rank {
            let shape: Vec<usize> = std::iter::once(1).chain(array.shape().iter().copied()).collect();
            return array.reshape(shape);
        }
        if array.rank() == rank && array.shape().first() == Some(&1) {
            return Ok(array);
        }
        let message = format!("an array of shape {:?} is not one input of rank {rank}", array.shape());
        Err(Error::input(message).remedy("store one input a file, with or without a first axis of 1"))
    }

    /// Inputs one behind the other, the last again where the model's batch is fixed and they are fewer.
    fn stacked(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let first = inputs.first().ok_or_else(|| Error::internal("an empty batch"))?;
        let fixed = self.dims.first().copied().flatten();
        let count = fixed.unwrap_or(inputs.len());
        let mut bytes = vec![];
        let wanted = first.bytes().len().checked_mul(count);
        wanted.filter(|wanted| bytes.try_reserve_exact(*wanted).is_ok()).ok_or_else(|| {
            Error::memory(format!("no memory for a batch of {count}")).remedy("use a smaller --batch")
        })?;
        for index in 0..count {
            let input = inputs.get(index).or(inputs.last()).unwrap_or(first);
            if input.shape() != first.shape() {
                let message =
                    format!("shapes {:?} and {:?} don't go into one batch", first.shape(), input.shape());
                return Err(Error::input(message).remedy("use --batch 1, or set 'size' in the sidecar"));
            }
            bytes.extend_from_slice(input.bytes());
        }
        let shape: Vec<usize> = std::iter::once(count).chain(first.shape().iter().skip(1).copied()).collect();
        Tensor::from_byte_vector(first.dtype(), shape, bytes)
    }
}

/// A batch on its way to the device: which samples, and their input.
type Batch = (Vec<usize>, Result<Tensor>);
/// What couldn't be read: which sample, and why.
pub type Bad = (usize, Error);

/// What came of all files.
pub struct Outcome {
    pub bad: Vec<Bad>,
    /// Pictures a second, reading and preprocessing included, without the first batch, in which plans are
    /// made and kernels compiled; `None` where there is only one batch.
    pub per_second: Option<f64>,
}

/// Runs every sample through the sessions, batch by batch, in order. `done` gets the sample's index, its
/// input's output from each session.
pub fn run(
    samples: &[Sample],
    port: &Port,
    preprocess: &Preprocess,
    sessions: &[&Session],
    output: Option<&str>,
    skip_bad: bool,
    done: &mut dyn FnMut(usize, Vec<Tensor>) -> Result<()>,
) -> Result<Outcome> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(THREADS);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .map_err(|problem| Error::memory(format!("no threads for reading pictures: {problem}")))?;
    let (send, receive) = sync_channel::<(Batch, Vec<Bad>)>(WAITING);
    let (mut all_bad, mut seen, mut clock): (Vec<Bad>, usize, Option<(Instant, usize)>) = (vec![], 0, None);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut waiting: Vec<(usize, Tensor)> = vec![];
            let mut at = 0;
            // At a time no more files are read than threads have work and a batch has room.
            while at < samples.len() || !waiting.is_empty() {
                let end = (at + port.batch.max(threads)).min(samples.len());
                let part = samples.get(at..end).unwrap_or_default();
                let read: Vec<Result<Tensor>> = pool.install(|| {
                    let one = |sample: &Sample| {
                        port.read(&sample.path, preprocess).map_err(|error| error.in_file(&sample.path))
                    };
                    part.par_iter().map(one).collect()
                });
                let mut bad = vec![];
                for (index, input) in (at..end).zip(read) {
                    match input {
                        Ok(input) => waiting.push((index, input)),
                        Err(error) => bad.push((index, error)),
                    }
                }
                at = end;
                let last = at == samples.len();
                while waiting.len() >= port.batch || (last && !waiting.is_empty()) {
                    let count = port.batch.min(waiting.len());
                    let (indices, inputs): (Vec<usize>, Vec<Tensor>) = waiting.drain(..count).unzip();
                    if send.send(((indices, port.stacked(&inputs)), std::mem::take(&mut bad))).is_err() {
                        // Who receives has met an error.
                        return;
                    }
                }
                if !bad.is_empty() && send.send(((vec![], Err(Error::internal("no batch"))), bad)).is_err() {
                    return;
                }
            }
        });
        // Taken by value, so that an error here ends the other side too.
        for ((indices, input), bad) in receive {
            if let Some((index, error)) = bad.first().filter(|_| !skip_bad) {
                let file = samples.get(*index).map(|sample| sample.path.display().to_string());
                return Err(Error::new(error.kind(), error.message())
                    .in_file(error.path().map(String::from).or(file).unwrap_or_default())
                    .remedy("mend it, or leave out what can't be read with --skip-bad"));
            }
            all_bad.extend(bad);
            if indices.is_empty() {
                continue;
            }
            let name = |error: Error| match indices.first().and_then(|index| samples.get(*index)) {
                Some(first) if error.path().is_none() => error.in_file(&first.path),
                _ => error,
            };
            let input = input.map_err(name)?;
            let found = sessions
                .iter()
                .map(|session| outputs(session, port, &input, output))
                .collect::<Result<Vec<_>>>()?;
            for (place, index) in indices.iter().enumerate() {
                let own = found.iter().map(|output| row(output, place)).collect::<Result<Vec<_>>>()?;
                done(*index, own)?;
            }
            seen += indices.len();
            clock.get_or_insert((Instant::now(), seen));
        }
        Ok(())
    })?;
    let rate = clock.and_then(|(start, before)| {
        let (count, seconds) = (seen - before, start.elapsed().as_secs_f64());
        (count > 0 && seconds > 0.0).then(|| count as f64 / seconds)
    });
    Ok(Outcome { bad: all_bad, per_second: rate })
}

/// The output that counts, whole: the one of a name, else the first.
fn outputs(session: &Session, port: &Port, input: &Tensor, name: Option<&str>) -> Result<Tensor> {
    let found = session.run(&[(port.name.as_str(), input.clone())])?;
    let names = found.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>().join(", ");
    let wanted = found.into_iter().find(|(found, _)| name.is_none_or(|name| name == found));
    let (_, output) = wanted.ok_or_else(|| match name {
        Some(name) => {
            Error::usage(format!("the model has no output '{name}'")).remedy(format!("its outputs: {names}"))
        }
        None => Error::model("has no output"),
    })?;
    let count = input.shape().first().copied().unwrap_or(0);
    if output.shape().first() != Some(&count) || output.as_strings().is_ok() {
        let message = format!(
            "the output {}{:?} has no row for each of {count} inputs",
            output.dtype(),
            output.shape()
        );
        return Err(Error::model(message).remedy("name another with --output, or use --batch 1"));
    }
    Ok(output)
}

/// The part of an output that belongs to one input, with a first axis of 1.
fn row(output: &Tensor, place: usize) -> Result<Tensor> {
    let count = output.shape().first().copied().unwrap_or(0).max(1);
    let stride = output.bytes().len() / count;
    let from = place.saturating_mul(stride);
    let bytes = output.bytes().get(from..from.saturating_add(stride));
    let bytes = bytes.ok_or_else(|| Error::internal("an output is shorter than its shape"))?;
    let shape: Vec<usize> = std::iter::once(1).chain(output.shape().iter().skip(1).copied()).collect();
    Tensor::from_bytes(output.dtype(), shape, bytes)
}
