//! The dispatches of a bundle: dispatch.json, and the files that it names.

use super::Folder;
use sardonyx::base::{Access, BufferId, ElementFormat};
use sardonyx::compare::{Answer, Evidence, Replay};
use sardonyx::error::{Error, Result};
use sardonyx::gpu::POISON;
use sardonyx::kernels::{self, Form, PARAMS_WINDOW, UNIFORM_TABLE, WgslFlavor};
use sardonyx::plan::{Allocation, Plan, PlannedBuffer, STATUS_BYTES, StepKind, encode};
use sardonyx::tensor::{DType, Tensor, cast};
use sardonyx::{Session, plan};
use serde::Serialize;

/// dispatch.json.
#[derive(Serialize)]
pub(super) struct Document {
    schema: u32,
    pub(super) sardonyx: &'static str,
    node: String,
    op: String,
    /// The value that the last dispatch makes.
    output: String,
    /// `local`: the step by itself; `cumulative`: the run up to it.
    measure: &'static str,
    /// Whether the comparison found a difference, and whether these dispatches make it by themselves.
    differs: bool,
    pub(super) differs_alone: bool,
    pub(super) adapter: Option<String>,
    pub(super) backend: Option<String>,
    pub(super) driver: Option<String>,
    /// Why there is nothing to run; `null` where there is.
    pub(super) cannot_replay: Option<String>,
    buffers: Vec<Buffer>,
    pub(super) dispatches: Vec<Dispatch>,
    result: Option<Outcome>,
}

/// A buffer and its contents before the first dispatch: those of a file, then the word `fill`.
#[derive(Serialize)]
struct Buffer {
    name: String,
    bytes: u64,
    fill: u32,
    file: Option<String>,
}

/// A run of a kernel.
#[derive(Serialize)]
pub(super) struct Dispatch {
    kernel: &'static str,
    /// The step's node.
    node: String,
    entry_point: &'static str,
    /// Override constants: none of the kernels has any.
    constants: serde_json::Map<String, serde_json::Value>,
    /// The text that ran, then those that do the same with less.
    pub(super) shaders: Vec<Text>,
    /// `@group(0)`.
    bindings: Vec<Binding>,
    /// The contents of `@group(1) @binding(0)`, a uniform buffer.
    params: String,
    /// The contents of the immediates, for a text that takes them.
    immediates: Option<&'static str>,
    grid: [u32; 3],
}

/// A text of a kernel.
#[derive(Serialize)]
pub(super) struct Text {
    file: String,
    as_run: bool,
    /// Whether it is WGSL that every implementation takes, with these features; else naga alone does.
    pub(super) standard: bool,
    features: Vec<&'static str>,
}

#[derive(Serialize)]
struct Binding {
    binding: u32,
    buffer: usize,
    bytes: u64,
    access: &'static str,
}

/// The value that the last dispatch makes.
#[derive(Serialize)]
struct Outcome {
    buffer: usize,
    shape: Vec<usize>,
    /// How elements are stored, by numpy's name, and which of the buffer's each of the value's is.
    stored: &'static str,
    positions: &'static str,
    /// What the dispatches made on the device.
    device: &'static str,
    answers: Vec<Right>,
}

/// A right answer, and how far each element may be off.
#[derive(Serialize)]
struct Right {
    values: String,
    limits: String,
}

/// Writes dispatch.json with its files.
pub(super) fn write(folder: &Folder, session: &Session, evidence: &Evidence) -> Result<Document> {
    let info = session.gpu().map(|device| device.info());
    let mut document = Document {
        schema: super::super::emit::SCHEMA,
        sardonyx: env!("CARGO_PKG_VERSION"),
        node: evidence.step.node.clone(),
        op: evidence.step.op.clone(),
        output: evidence.step.output.clone(),
        measure: if evidence.local { "local" } else { "cumulative" },
        differs: evidence.differs,
        differs_alone: evidence.replay.as_ref().is_some_and(|replay| replay.differs),
        adapter: info.map(|info| info.name.clone()),
        backend: info.map(|info| info.backend.clone()),
        driver: info.map(|info| info.driver.clone()),
        cannot_replay: None,
        buffers: vec![],
        dispatches: vec![],
        result: None,
    };
    match (&evidence.replay, info) {
        (Some(replay), _) => {
            let mut writer = Writer { folder, replay, homes: vec![], document: &mut document };
            writer.dispatches()?;
            writer.result(evidence)?;
        }
        (None, None) => document.cannot_replay = Some("the session ran on the CPU".into()),
        (None, Some(_)) => {
            document.cannot_replay =
                Some("the step runs on the CPU, or what it reads can't be laid out".into())
        }
    }
    let json = serde_json::to_string_pretty(&document)
        .map_err(|problem| Error::internal(format!("JSON could not be made: {problem}")))?;
    folder.put("dispatch.json", format!("{json}\n").as_bytes())?;
    Ok(document)
}

struct Writer<'a> {
    folder: &'a Folder,
    replay: &'a Replay,
    /// The plan's memory behind each buffer of the document; `None` is the run's status.
    homes: Vec<Option<Allocation>>,
    document: &'a mut Document,
}

impl Writer<'_> {
    fn dispatches(&mut self) -> Result<()> {
        let replay = self.replay;
        let steps = replay.plan.steps.get(replay.steps.clone()).unwrap_or_default();
        for step in steps {
            let StepKind::Gpu { dispatches } = &step.kind else { continue };
            // An empty grid has nothing to do.
            for dispatch in dispatches.iter().filter(|dispatch| !dispatch.grid.contains(&0)) {
                let made = self.dispatch(dispatch, &step.label)?;
                self.document.dispatches.push(made);
            }
        }
        if self.document.dispatches.is_empty() {
            self.document.cannot_replay = Some("the step has no dispatches".into());
        }
        Ok(())
    }

    fn dispatch(&mut self, dispatch: &kernels::Dispatch, node: &str) -> Result<Dispatch> {
        let at = self.document.dispatches.len();
        let mut shaders = vec![];
        for form in dispatch.shader.forms() {
            let standard = form.flavor == WgslFlavor::Standard;
            let kind = match (form.as_run, standard) {
                (true, _) => "",
                (false, true) => ".standard",
                (false, false) => ".plain",
            };
            let file = format!("{at}_{}{kind}.wgsl", dispatch.kernel);
            self.folder.put(&file, form.text.as_bytes())?;
            // What naga takes is standard where it needs nothing else.
            let standard = standard || form.needs == kernels::Needs::default();
            shaders.push(Text { file, as_run: form.as_run, standard, features: features(&form) });
        }
        let mut bindings = vec![];
        for (binding, (id, access)) in dispatch.bindings.iter().enumerate() {
            let buffer = self.buffer(*id)?;
            let bytes = self.replay.plan.buffer(*id).bytes();
            bindings.push(Binding { binding: binding as u32, buffer, bytes, access: access_name(*access) });
        }
        if dispatch.status {
            let buffer = self.status();
            let binding = bindings.len() as u32;
            bindings.push(Binding {
                binding,
                buffer,
                bytes: STATUS_BYTES,
                access: access_name(Access::Write),
            });
        }
        let start = dispatch.params_offset as usize;
        let all = &self.replay.plan.params;
        let mut block = all.get(start..all.len().min(start + PARAMS_WINDOW)).unwrap_or_default().to_vec();
        block.resize(PARAMS_WINDOW, 0);
        let params = format!("params_{at}.bin");
        self.folder.put(&params, &block)?;
        let immediates = dispatch.shader.needs().immediates.then_some("immediates.bin");
        if let Some(file) = immediates {
            let bytes: Vec<u8> = UNIFORM_TABLE.iter().flat_map(|word| word.to_le_bytes()).collect();
            self.folder.put(file, &bytes)?;
        }
        Ok(Dispatch {
            kernel: dispatch.kernel,
            node: node.to_string(),
            entry_point: "main",
            constants: Default::default(),
            shaders,
            bindings,
            params,
            immediates,
            grid: dispatch.grid,
        })
    }

    /// The document's buffer that a place lives in, with its contents.
    fn buffer(&mut self, id: BufferId) -> Result<usize> {
        let plan = self.replay.plan.clone();
        let place = plan.buffer(id);
        let home = Some(place.allocation.clone());
        if let Some(at) = self.homes.iter().position(|other| *other == home) {
            let buffer = &mut self.document.buffers[at];
            buffer.bytes = buffer.bytes.max(place.bytes());
            return Ok(at);
        }
        let at = self.homes.len();
        let (name, content) = match place.allocation {
            Allocation::Constant(index) => {
                let constant =
                    plan.constants.get(index).ok_or_else(|| Error::internal("a constant is missing"))?;
                (format!("constant '{}'", constant.label), Some(packed(constant)?))
            }
            Allocation::Slot(index) => (format!("activations {index}"), self.content(&plan, place)),
            Allocation::External(index) => (format!("bound {index}"), self.content(&plan, place)),
            Allocation::Unassigned => return Err(Error::internal("a place has no buffer")),
        };
        let bytes = place.bytes().max(content.as_ref().map_or(0, |content| content.len() as u64));
        let file = content.is_some().then(|| format!("buffer_{at}.bin"));
        if let (Some(file), Some(content)) = (&file, &content) {
            self.folder.put(file, content)?;
        }
        self.homes.push(home);
        self.document.buffers.push(Buffer { name, bytes, fill: POISON, file });
        Ok(at)
    }

    /// What is put into a place's memory before the dispatches.
    fn content(&self, plan: &Plan, place: &PlannedBuffer) -> Option<Vec<u8>> {
        let mut before = self.replay.before.iter();
        before.find(|(id, _)| plan.buffer(*id).allocation == place.allocation).map(|(_, bytes)| bytes.clone())
    }

    fn status(&mut self) -> usize {
        if let Some(at) = self.homes.iter().position(Option::is_none) {
            return at;
        }
        self.homes.push(None);
        self.document.buffers.push(Buffer {
            name: "status".into(),
            bytes: STATUS_BYTES,
            fill: 0,
            file: None,
        });
        self.homes.len() - 1
    }

    fn result(&mut self, evidence: &Evidence) -> Result<()> {
        let replay = self.replay;
        let place = replay.plan.buffer(replay.place);
        let buffer = self.buffer(replay.place)?;
        let shape = evidence.device.shape();
        self.folder.npy("result/positions.npy", &positions(place)?.reshape(shape)?)?;
        let device = place.decode(&replay.after)?.reshape(shape)?;
        self.folder.npy("result/device.npy", &wide(&device)?)?;
        let mut answers = vec![];
        for (at, Answer { values, limits }) in evidence.answers.iter().enumerate() {
            let names = [format!("result/right_{at}.npy"), format!("result/limits_{at}.npy")];
            self.folder.npy(&names[0], &wide(values)?)?;
            self.folder.npy(&names[1], &Tensor::new(shape, limits.clone())?)?;
            let [values, limits] = names;
            answers.push(Right { values, limits });
        }
        self.document.result = Some(Outcome {
            buffer,
            shape: shape.to_vec(),
            stored: stored_name(place),
            positions: "result/positions.npy",
            device: "result/device.npy",
            answers,
        });
        Ok(())
    }
}

/// A constant's bytes as its kernel reads it.
fn packed(constant: &plan::Constant) -> Result<Vec<u8>> {
    let packed = (constant.packing.pack)(&constant.tensor, &constant.packing.args)
        .map_err(|error| error.at_tensor(&constant.label))?;
    encode(&packed, constant.layout, constant.storage)
}

/// In float64, integers of 64 bits as they are.
fn wide(tensor: &Tensor) -> Result<Tensor> {
    match tensor.dtype() {
        DType::I64 | DType::U64 => Ok(tensor.clone()),
        _ => Tensor::new(tensor.shape(), tensor.to_f64s()?),
    }
}

/// Which element of its buffer each element of a place is.
fn positions(place: &PlannedBuffer) -> Result<Tensor> {
    let elements = place.bytes() / place.storage.element_bytes() as u64;
    let count = i32::try_from(elements)
        .map_err(|_| Error::internal("a place of more elements than kernels count"))?;
    let mut counting = place.clone();
    (counting.storage, counting.fact.dtype) = (ElementFormat::I32, DType::I32);
    let bytes: Vec<u8> = (0..count).flat_map(i32::to_ne_bytes).collect();
    cast(&counting.decode(&bytes)?, DType::I64, true)
}

fn stored_name(place: &PlannedBuffer) -> &'static str {
    match place.storage {
        ElementFormat::F32 => "<f4",
        ElementFormat::F16 | ElementFormat::F16Packed => "<f2",
        ElementFormat::I32 => "<i4",
        ElementFormat::U32 => "<u4",
        ElementFormat::I64 if place.fact.dtype == DType::U64 => "<u8",
        ElementFormat::I64 => "<i8",
    }
}

fn access_name(access: Access) -> &'static str {
    match access {
        Access::Read => "read",
        Access::Write => "write",
    }
}

/// What a text takes, by the names that WebGPU and wgpu have for them.
fn features(form: &Form) -> Vec<&'static str> {
    let needs = form.needs;
    let all = [
        ("shader-f16", needs.f16),
        ("subgroups", needs.subgroups),
        ("shader-int64", needs.int64),
        ("immediates", needs.immediates),
        ("experimental-cooperative-matrix", needs.cooperative),
    ];
    all.into_iter().filter(|of| of.1).map(|of| of.0).collect()
}
