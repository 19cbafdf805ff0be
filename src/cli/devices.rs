//! `devices`: the adapters of this machine.

use super::Outcome;
use super::emit::{JsonOption, SCHEMA, told};
use clap::Args;
use comfy_table::{Table, presets};
use sardonyx::error::Result;
use sardonyx::gpu::{self, AdapterInfo, GpuDevice, LimitsOption, Measured, Selection};
use serde::Serialize;

/// List the adapters with backend, driver, limits, features, measured bandwidth and FLOP/s
#[derive(Args)]
#[command(after_help = "Example:\n  sardonyx devices --json -\n\n\
JSON: {\"schema\", \"auto\": what --device auto takes, \"cpu\": {\"name\", \"threads\"}, \"devices\": [{\"index\", \"name\", \"backend\", \"driver\", \"device_type\",\n\
\"shader_f16\", …, \"features\", \"limits\", \"measured\": {\"copy_gb_per_s\", \"fma_gflops\"} or null, \"problem\" or null}]}")]
pub struct Devices {
    /// Don't measure: nothing is run
    #[arg(long)]
    no_measure: bool,
    #[command(flatten)]
    json: JsonOption,
}

#[derive(Serialize)]
struct Document {
    schema: u32,
    /// What `--device auto` takes: `gpu:N` or `cpu`.
    auto: String,
    cpu: Cpu,
    devices: Vec<Row>,
}

/// The CPU, where everything runs that no adapter does.
#[derive(Debug, Clone, Serialize, serde::Deserialize)]
pub struct Cpu {
    pub name: Option<String>,
    pub threads: usize,
}

impl Cpu {
    pub fn new() -> Self {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = info.lines().find_map(|line| {
            line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim().to_string())
        });
        Self { name, threads: std::thread::available_parallelism().map_or(1, usize::from) }
    }
}

#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    info: AdapterInfo,
    measured: Option<Measured>,
    /// Why it could not be opened or measured.
    problem: Option<String>,
}

impl Devices {
    pub fn run(&self) -> Result<Outcome> {
        let devices: Vec<Row> = gpu::adapters().into_iter().map(|info| self.row(info)).collect();
        let auto = gpu::select(&Selection::Auto)?
            .map_or("cpu".to_string(), |found| format!("gpu:{}", found.info.index));
        let document = Document { schema: SCHEMA, auto, cpu: Cpu::new(), devices };
        self.json.emit(&document, || text(&document))?;
        Ok(Outcome::Good)
    }

    fn row(&self, info: AdapterInfo) -> Row {
        if self.no_measure {
            return Row { info, measured: None, problem: None };
        }
        let opened = GpuDevice::open(&Selection::Index(info.index), &LimitsOption::Adapter);
        let measured = opened.and_then(|device| device.as_ref().map(gpu::measure).transpose());
        match measured {
            Ok(measured) => Row { info, measured, problem: None },
            // One broken adapter leaves the others to be listed.
            Err(error) => Row { info, measured: None, problem: Some(told(&error)) },
        }
    }
}

fn text(document: &Document) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header([
        "device",
        "name",
        "backend",
        "driver",
        "type",
        "features",
        "largest binding",
        "copy GB/s",
        "f32 GFLOP/s",
    ]);
    for row in &document.devices {
        let info = &row.info;
        let features = [
            ("f16", info.shader_f16),
            ("int64", info.shader_int64),
            ("subgroups", info.subgroup),
            ("matrices", info.cooperative_matrix),
        ];
        let features: Vec<&str> = features.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
        let binding = info
            .limits
            .get("max_storage_buffer_binding_size")
            .map_or("?".to_string(), |bytes| format!("{} MiB", bytes >> 20));
        let number = |value: fn(&Measured) -> f64| {
            row.measured.as_ref().map_or("-".to_string(), |measured| format!("{:.1}", value(measured)))
        };
        let kind = format!("{:?}", info.device_type).to_lowercase();
        let device = format!("gpu:{}", info.index);
        let (copy, fma) = (number(|measured| measured.copy_gb_per_s), number(|measured| measured.fma_gflops));
        table.add_row([
            device,
            info.name.clone(),
            info.backend.clone(),
            info.driver.clone(),
            kind,
            features.join(" "),
            binding,
            copy,
            fma,
        ]);
    }
    let cpu = &document.cpu;
    let name = cpu.name.as_deref().unwrap_or("CPU");
    table.add_row(["cpu", name, "", "", &format!("{} threads", cpu.threads), "", "", "", ""]);
    let problems: String = document
        .devices
        .iter()
        .filter_map(|row| Some(format!("gpu:{}: {}\n", row.info.index, row.problem.as_ref()?)))
        .collect();
    let none =
        if document.devices.is_empty() { "No adapter was found: everything runs on the CPU.\n" } else { "" };
    format!("{table}\n{problems}{none}--device auto takes {}.\n", document.auto)
}
