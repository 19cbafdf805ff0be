//! The options that verbs share, and the devices and sessions that they mean.

use super::emit::{say, told};
use clap::{Args, ValueEnum};
use sardonyx::compare::Planter;
use sardonyx::error::{Error, Result};
use sardonyx::gpu::{self, GpuDevice, LimitsOption, Selection};
use sardonyx::graph::ValueId;
use sardonyx::plan;
use sardonyx::session::{PrecisionFile, Prepared, Session, SessionBuilder};
use sardonyx::{Tensor, tune};
use serde::Serialize;
use std::collections::HashMap;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

/// Where to run.
#[derive(Args, Debug, Clone)]
pub struct DeviceOptions {
    /// auto: a discrete GPU, then an integrated one, else the CPU; gpu: the best adapter, a software one if
    /// there is no other; gpu:N; cpu; or a part of an adapter's name
    #[arg(long, default_value = "auto", value_name = "auto|cpu|gpu|gpu:N|NAME")]
    pub device: String,
    /// Ask the adapter for no optional feature and only these limits: webgpu, or a JSON file
    #[arg(long, value_name = "webgpu|FILE")]
    pub limits: Option<String>,
    /// auto: the kernels that suit the adapter; hardware: on a software adapter too those that graphics cards
    /// run, to check them without one
    #[arg(long, value_enum, default_value_t = Kernels::Auto)]
    pub kernels: Kernels,
    /// on: shaders keep every index within its buffer, at some cost, for drivers and kernels that one doesn't
    /// trust [default: off; on in debug builds]
    #[arg(long, value_enum)]
    pub checks: Option<Switch>,
    /// Store f16 packed in u32, as on an adapter without SHADER_F16
    #[arg(long, hide = true)]
    pub packed_f16: bool,
}

impl DeviceOptions {
    /// Opens the device; `None` is the CPU.
    pub fn open(&self) -> Result<Option<GpuDevice>> {
        let limits = self.limits.as_deref().map_or(Ok(LimitsOption::Adapter), LimitsOption::parse)?;
        let device = GpuDevice::open(&Selection::from_str(&self.device)?, &limits)?;
        let device = if self.kernels == Kernels::Hardware {
            device.map(|device| device.as_hardware())
        } else {
            device
        };
        let device = match self.checks {
            Some(checks) => device.map(|device| device.with_checks(checks == Switch::On)),
            None => device,
        };
        Ok(if self.packed_f16 { device.map(|device| device.with_packed_f16()) } else { device })
    }

    /// Opens the device and says on standard error which one it is.
    pub fn open_aloud(&self) -> Result<Option<GpuDevice>> {
        let device = self.open()?;
        self.announce(&DeviceFields::of(device.as_ref()));
        Ok(device)
    }

    /// Says on standard error which device runs.
    pub fn announce(&self, fields: &DeviceFields) {
        let auto = self.device.trim().eq_ignore_ascii_case("auto");
        match (&fields.adapter, &fields.backend, &fields.driver) {
            (Some(adapter), Some(backend), Some(driver)) => {
                say(format_args!("device: {adapter} ({backend}, {driver})"))
            }
            _ if auto => say(
                "device: CPU (no discrete or integrated GPU was found; --device gpu takes a software adapter too)",
            ),
            _ => say("device: CPU"),
        }
    }
}

/// Whether something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    On,
    Off,
}

/// Which family of kernels plans are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kernels {
    Auto,
    Hardware,
}

/// How a model is to run.
#[derive(Args, Debug, Clone)]
pub struct RunOptions {
    #[command(flatten)]
    pub device: DeviceOptions,
    /// How float32 tensors are stored; sums are f32 either way. FILE: f16 but for the nodes that it lists, as
    /// compare --precision auto writes it
    #[arg(long, default_value = "f32", value_name = "f32|f16|FILE", value_parser = precision)]
    pub precision: Precision,
    /// With f16: hold this node in f32 all the same; or those of a FILE.json; repeatable
    #[arg(long, value_name = "NODE|FILE.json", value_parser = held)]
    pub hold_f32: Vec<Held>,
    /// Refuse what would fall back from the GPU to the CPU
    #[arg(long)]
    pub strict: bool,
    /// Plant a fault, for tests of the comparison
    #[arg(long, hide = true, value_name = "SEED", value_parser = planter)]
    pub plant_fault: Option<Planter>,
}

impl RunOptions {
    /// The same options as arguments, for a process that is to run so.
    pub fn arguments(&self) -> Vec<String> {
        let device = &self.device;
        let mut list = vec!["--device".into(), device.device.clone()];
        list.extend(["--precision".into(), self.precision.text().to_string()]);
        list.extend(device.limits.iter().flat_map(|limits| ["--limits".into(), limits.clone()]));
        list.extend((device.kernels == Kernels::Hardware).then(|| "--kernels=hardware".into()));
        list.extend(device.checks.map(|checks| match checks {
            Switch::On => "--checks=on".into(),
            Switch::Off => "--checks=off".into(),
        }));
        list.extend(device.packed_f16.then(|| "--packed-f16".into()));
        list.extend(self.hold_f32.iter().flat_map(|held| ["--hold-f32".into(), held.text.clone()]));
        list.extend(self.strict.then(|| "--strict".into()));
        let seed = self.plant_fault.as_ref().map(|planter| planter.seed().to_string());
        list.extend(seed.into_iter().flat_map(|seed| ["--plant-fault".into(), seed]));
        list
    }
    /// What makes a session on this device.
    ///
    /// Errors: a precision that is to be found, which `compare` does.
    pub fn builder(&self, device: Option<GpuDevice>) -> Result<SessionBuilder> {
        if self.precision == Precision::Auto {
            return Err(Error::usage("--precision auto is for compare, which finds one")
                .remedy("give --precision the file that compare -o FILE writes"));
        }
        Ok(self.builder_of(device, (&self.precision).into()))
    }
    /// The same at a precision of one's own.
    pub fn builder_of(&self, device: Option<GpuDevice>, precision: plan::Precision) -> SessionBuilder {
        let builder = Session::builder().device(device).precision(precision).strict(self.strict);
        let own = if let Precision::Mixed(held) = &self.precision { Some(&**held) } else { None };
        let held = own.into_iter().chain(&self.hold_f32);
        let builder = builder.hold_f32(held.flat_map(|held| &held.nodes));
        match &self.plant_fault {
            Some(planter) => planter.applied(builder),
            None => builder,
        }
    }
    /// Opens the device, says which, and loads the model.
    pub fn load(&self, model: &Path) -> Result<Session> {
        self.load_as(model, |builder| builder)
    }
    /// The same, with more said of the session.
    pub fn load_as(
        &self,
        model: &Path,
        more: impl FnOnce(SessionBuilder) -> SessionBuilder,
    ) -> Result<Session> {
        self.opened(model, |device| self.builder(device).map(more))
    }
    /// The same at a precision of one's own.
    pub fn load_at(&self, model: &Path, precision: plan::Precision) -> Result<Session> {
        self.opened(model, |device| Ok(self.builder_of(device, precision)))
    }
    fn opened(
        &self,
        model: &Path,
        builder: impl FnOnce(Option<GpuDevice>) -> Result<SessionBuilder>,
    ) -> Result<Session> {
        // A device is opened for a file that is there.
        std::fs::metadata(model).map_err(|problem| {
            sardonyx::Error::file(model, format!("can't be read: {problem}")).remedy("check the path")
        })?;
        let session = builder(self.device.open_aloud()?)?.load(model)?;
        say_newer(&session);
        Ok(session)
    }
}

/// `--plant-fault`: what is parsed here is shared by the option's clones, so that a verb can ask it later.
pub fn planter(seed: &str) -> std::result::Result<Planter, std::num::ParseIntError> {
    seed.parse().map(Planter::new)
}

/// `--tune`.
#[derive(Args, Debug, Clone, Default)]
pub struct TuneOption {
    /// Measure the kernels' variants for this model's sizes on the device once, keep the faster ones in the
    /// cache folder (XDG_CACHE_HOME; safe to delete), and use those that are there
    #[arg(long)]
    pub tune: bool,
}

impl TuneOption {
    /// Has the session choose by what was measured, if that is wanted.
    pub fn apply(&self, session: &mut Session, inputs: &HashMap<ValueId, Tensor>) -> Result<()> {
        let Some(device) = session.gpu().filter(|_| self.tune).cloned() else { return Ok(()) };
        let folder = tune::cache_folder().ok_or_else(|| {
            Error::usage("no cache folder is known").remedy("set XDG_CACHE_HOME, or leave --tune out")
        })?;
        let (mut store, problem) = tune::Store::open(&device, &folder);
        if let Some(problem) = problem {
            say(format_args!("note: {problem}"));
        }
        let tuned = session.tune(inputs, &mut store)?;
        let tune::Tuned { known, measured, changed } = tuned;
        say(format_args!(
            "note: of {} kernel choices {known} were known, {measured} measured; {changed} differ from the rule",
            known + measured
        ));
        // What can't be kept is used all the same.
        if let Err(error) = if measured > 0 { store.save() } else { Ok(()) } {
            say(format_args!("note: {}", told(&error)));
        }
        Ok(())
    }
}

/// `--precision`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precision {
    F32,
    F16,
    /// F16 but for the nodes that a file lists.
    Mixed(Arc<Held>),
    /// To be found, by `compare` alone.
    Auto,
}

impl Precision {
    /// As `--precision` takes it.
    pub fn text(&self) -> &str {
        match self {
            Precision::Mixed(held) => &held.text,
            other => precision_name(other),
        }
    }
}

impl Serialize for Precision {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(precision_name(self))
    }
}

/// Nodes that are held in float32.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub nodes: Vec<String>,
    /// As the option has them.
    pub text: String,
}

/// `--precision`.
pub fn precision(text: &str) -> std::result::Result<Precision, String> {
    match text {
        "f32" => Ok(Precision::F32),
        "f16" => Ok(Precision::F16),
        "auto" => Ok(Precision::Auto),
        file if Path::new(file).exists() || file.ends_with(".json") => {
            Ok(Precision::Mixed(Arc::new(held_of(file)?)))
        }
        _ => Err("use f32, f16 or a file that compare --precision auto has written".into()),
    }
}

pub fn held(text: &str) -> std::result::Result<Held, String> {
    if text.ends_with(".json") {
        held_of(text)
    } else {
        Ok(Held { nodes: vec![text.to_string()], text: text.to_string() })
    }
}

fn held_of(file: &str) -> std::result::Result<Held, String> {
    let read = PrecisionFile::read(file).map_err(|error| told(&error))?;
    let nodes = if read.precision == plan::Precision::F16 { read.hold_f32 } else { vec![] };
    Ok(Held { nodes, text: file.to_string() })
}

impl From<&Precision> for plan::Precision {
    fn from(precision: &Precision) -> Self {
        match precision {
            Precision::F32 => plan::Precision::F32,
            Precision::F16 | Precision::Mixed(_) | Precision::Auto => plan::Precision::F16,
        }
    }
}

/// Which device ran, for a JSON document.
#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize)]
pub struct DeviceFields {
    /// `cpu` or `gpu`.
    pub device: String,
    pub adapter: Option<String>,
    pub backend: Option<String>,
    pub driver: Option<String>,
    /// Whether shaders check their indices.
    pub checks: Option<bool>,
}

impl DeviceFields {
    pub fn of(device: Option<&GpuDevice>) -> Self {
        let info = device.map(GpuDevice::info);
        let part = |part: fn(&gpu::AdapterInfo) -> &String| info.map(|info| part(info).clone());
        Self {
            device: if info.is_some() { "gpu" } else { "cpu" }.to_string(),
            adapter: part(|info| &info.name),
            backend: part(|info| &info.backend),
            driver: part(|info| &info.driver),
            checks: device.map(GpuDevice::checks),
        }
    }
}

/// A node that runs on the CPU though a GPU was asked for, for a JSON document.
#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize)]
pub struct Fallback {
    pub node: String,
    pub op: String,
    pub reason: String,
}

/// A plan's fallbacks.
pub fn fallbacks(prepared: &Prepared) -> Vec<Fallback> {
    prepared.fallbacks().into_iter().map(|(node, op, reason)| Fallback { node, op, reason }).collect()
}

/// Says on standard error what of a model is newer than what is known.
pub fn say_newer(session: &Session) {
    session.info().newer().iter().for_each(|what| say(format_args!("note: {what}")));
}

/// Says on standard error what of a compiled file is of no use here.
pub fn say_packed_anew(session: &Session, prepared: &Prepared) {
    if let Some(why) = session.packed_anew(prepared) {
        say(format_args!("note: {why}"));
    }
}

/// Lists fallbacks on standard error: those of one operator for one reason together.
pub fn say_fallbacks(fallbacks: &[Fallback]) {
    let mut groups: Vec<(&Fallback, usize)> = vec![];
    for fallback in fallbacks {
        match groups.iter_mut().find(|(first, _)| first.op == fallback.op && first.reason == fallback.reason)
        {
            Some(group) => group.1 += 1,
            None => groups.push((fallback, 1)),
        }
    }
    for (first, count) in groups {
        let more = if count > 1 { format!(" and {} more", count - 1) } else { String::new() };
        say(format_args!(
            "fallback to the CPU: node '{}' ({}){more}: {}",
            first.node, first.op, first.reason
        ));
    }
}

/// `f32`, `f16` or `mixed`.
pub fn precision_name(precision: &Precision) -> &'static str {
    match precision {
        Precision::F32 => "f32",
        Precision::F16 => "f16",
        Precision::Mixed(_) => "mixed",
        Precision::Auto => "auto",
    }
}
