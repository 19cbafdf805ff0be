//! `inspect`: what a model is, and how it would run.

mod drawing;
mod html;
mod translate;

use crate::cli::Outcome;
use crate::cli::emit::{JsonOption, SCHEMA, say, told};
use crate::cli::inputs::InputOptions;
use crate::cli::missing;
use crate::cli::options::{DeviceFields, Fallback, RunOptions, fallbacks, say_newer};
use clap::Args;
use sardonyx::Tensor;
use sardonyx::base::Fact;
use sardonyx::error::Result;
use sardonyx::gpu::Profile;
use sardonyx::graph::{Dim, ValueId};
use sardonyx::plan::{self, Capabilities, Inference, Plan, Summary, node_flops};
use sardonyx::session::{InputOutputInfo, Session};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use translate::{Translations, translate};

/// Show a model's inputs, outputs, operators, parameters and FLOPs; with --plan how it would run
#[derive(Args)]
#[command(
    after_help = "Examples:\n  sardonyx inspect model.onnx --set batch=4\n  sardonyx inspect model.onnx --plan --device gpu\n  sardonyx inspect model.onnx --plan --limits metal-apple7\n\n\
Where a model can't be run, all that it lacks is listed and the exit code is 2: JSON {\"schema\", \"model\", \"missing\": [{\"operator\", \"reason\", \"remedy\", \"count\", \"nodes\"}]}.\n\
Without an adapter --plan is made for the limits that WebGPU promises everywhere. With --limits it is made for an adapter that isn't at hand:\n\
webgpu, vulkan-mobile, metal-apple7, dx12, or a JSON file; every shader is translated to SPIR-V, MSL and HLSL, and what takes more than WebGPU's core is listed.\n\
JSON: {\"schema\", \"model\", \"ir_version\", \"producer\", \"opsets\", \"inputs\", \"outputs\", \"operators\", \"nodes\", \"parameters\", \"flops\" or null, \"plan\" or null}"
)]
pub struct Inspect {
    /// The ONNX file
    model: PathBuf,
    /// Show where each node runs and why, the steps with their kernels, and the memory
    #[arg(long)]
    plan: bool,
    /// Write the model and its plan as a page: the graph before and after rewriting, memory over time, placement
    #[arg(long, value_name = "FILE", requires = "plan")]
    html: Option<PathBuf>,
    #[command(flatten)]
    options: RunOptions,
    #[command(flatten)]
    inputs: InputOptions,
    #[command(flatten)]
    json: JsonOption,
}

#[derive(Serialize)]
struct Document {
    schema: u32,
    model: String,
    ir_version: i64,
    producer: String,
    opsets: BTreeMap<String, i64>,
    inputs: Vec<Declared>,
    outputs: Vec<Declared>,
    /// How often each operator occurs.
    operators: BTreeMap<String, usize>,
    nodes: usize,
    /// Elements of the constants that nodes read.
    parameters: usize,
    /// Floating-point operations of a run, a multiply-add counted as two; null where a shape depends on data.
    flops: Option<u64>,
    plan: Option<Planned>,
}

#[derive(Serialize)]
struct Declared {
    name: String,
    dtype: &'static str,
    /// Sizes, names of symbolic sizes, null where nothing is said; null altogether where even the rank is
    /// open.
    shape: Option<Vec<serde_json::Value>>,
}

#[derive(Serialize)]
struct Planned {
    #[serde(flatten)]
    device: DeviceFields,
    /// Whether the plan is for limits, no adapter being asked.
    assumed: bool,
    /// The limits, of `--limits`.
    profile: Option<Limits>,
    /// What becomes of the shaders elsewhere, with `--limits`.
    translations: Option<Translations>,
    fallbacks: Vec<Fallback>,
    /// Of a model that runs in parts, the nodes behind the first one, which the summary is of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    between_parts: Vec<BetweenParts>,
    #[serde(flatten)]
    summary: Option<Summary>,
}

/// Where limits come from.
#[derive(Serialize)]
struct Limits {
    name: String,
    about: Option<String>,
    source: Option<String>,
}

/// A node between two parts of a run.
#[derive(Serialize)]
struct BetweenParts {
    node: String,
    op: String,
    /// Why it runs on the CPU; null where its graphs run on the device.
    on_cpu: Option<String>,
}

impl Inspect {
    pub fn run(&self) -> Result<Outcome> {
        let mut session = match self.options.builder(None)?.load(&self.model) {
            Ok(session) => session,
            Err(error) => return Err(missing::show(&self.model, error, &self.json)?),
        };
        say_newer(&session);
        let inputs = self.inputs.bind(&mut session, &self.model)?;
        let mut operators = BTreeMap::new();
        for node in &session.original().nodes {
            *operators.entry(node.op_type.clone()).or_insert(0) += 1;
        }
        // Sizes that nobody gave are 1, which a model need not take.
        let flops = flops(&session, &inputs).unwrap_or_else(|error| {
            say(format_args!(
                "note: FLOPs are unknown at these sizes: {}; give others with --set or an input",
                told(&error)
            ));
            None
        });
        let info = session.info();
        let domain =
            |domain: &str| if domain.is_empty() { "ai.onnx".to_string() } else { domain.to_string() };
        let planned = match self.plan {
            true => Some(self.planned(&session, &inputs).map_err(|error| error.in_file(&self.model))?),
            false => None,
        };
        let (planned, plan) = planned.map_or((None, None), |(planned, plan)| (Some(planned), plan));
        let document = Document {
            schema: SCHEMA,
            model: self.model.display().to_string(),
            ir_version: info.ir_version,
            producer: info.producer.clone(),
            opsets: info.opsets.iter().map(|(name, version)| (domain(name), *version)).collect(),
            inputs: session.inputs().iter().map(declared).collect(),
            outputs: session.outputs().iter().map(declared).collect(),
            operators,
            nodes: session.original().nodes.len(),
            parameters: session.original().parameter_count(),
            flops,
            plan: planned,
        };
        if let Some(path) = &self.html {
            html::write(path, &document, &session, plan.as_deref())?;
        }
        self.json.emit(&document, || text(&document))?;
        Ok(Outcome::Good)
    }

    fn planned(
        &self,
        session: &Session,
        inputs: &HashMap<ValueId, Tensor>,
    ) -> Result<(Planned, Option<Arc<Plan>>)> {
        // Limits are those of an adapter that isn't at hand: none is opened.
        let profile = self.options.device.limits.as_deref().map(Profile::find).transpose()?;
        let device = if profile.is_some() { None } else { self.options.device.open()? };
        let mut capabilities = match (&profile, &device) {
            (Some(profile), _) => profile.capabilities.clone(),
            (None, Some(device)) => device.capabilities().clone(),
            (None, None) => Capabilities::webgpu(),
        };
        capabilities.shader_f16 &= !self.options.device.packed_f16;
        match (&profile, &device) {
            (Some(profile), _) => say(format_args!(
                "planned for: {} ({})",
                profile.name,
                profile.about.as_deref().unwrap_or("limits from a file")
            )),
            (None, Some(device)) => {
                say(format_args!("planned for: {} ({})", device.info().name, device.info().backend))
            }
            (None, None) => say("planned for: WebGPU's limits, as no adapter was chosen"),
        }
        let prepared = session.plan_for(inputs, &capabilities)?;
        let translations =
            profile.as_ref().and_then(|_| prepared.plans().first().map(|plan| translate(plan)));
        let plan = prepared.plans().first().cloned();
        let summary = plan.as_ref().map(|plan| plan.summary());
        let planned = Planned {
            device: DeviceFields::of(device.as_ref()),
            assumed: device.is_none(),
            profile: profile.map(|Profile { name, about, source, .. }| Limits { name, about, source }),
            translations,
            fallbacks: fallbacks(&prepared),
            between_parts: prepared
                .between_parts()
                .into_iter()
                .map(|(node, op, on_cpu)| BetweenParts { node, op, on_cpu })
                .collect(),
            summary,
        };
        Ok((planned, plan))
    }
}

fn declared(port: &InputOutputInfo) -> Declared {
    let size = |dim: &Dim| match dim {
        Dim::Known(size) => (*size).into(),
        Dim::Symbol(symbol) => symbol.as_str().into(),
        Dim::Unknown => serde_json::Value::Null,
    };
    Declared {
        name: port.name.clone(),
        dtype: port.dtype.name(),
        shape: port.dims.as_ref().map(|dims| dims.iter().map(size).collect()),
    }
}

/// The operations of a run of the graph as read; `None` where a shape depends on data.
fn flops(session: &Session, inputs: &HashMap<ValueId, Tensor>) -> Result<Option<u64>> {
    let graph = session.original();
    let mut known: HashMap<ValueId, Fact> =
        inputs.iter().map(|(&id, tensor)| (id, Fact::new(tensor.dtype(), tensor.shape()))).collect();
    let facts = loop {
        match plan::infer(graph, &known)? {
            Inference::Complete(facts) => break facts,
            Inference::NeedsInputs(more) => {
                known.extend(more.iter().filter_map(|id| Some((*id, Fact::of(inputs.get(id)?)))))
            }
            Inference::DependsOnData { .. } => return Ok(None),
        }
    };
    Ok(Some(graph.nodes.iter().map(|node| node_flops(node, &facts)).fold(0, u64::saturating_add)))
}

fn text(document: &Document) -> String {
    let mut text = String::new();
    let opsets: Vec<String> =
        document.opsets.iter().map(|(domain, version)| format!("{domain} {version}")).collect();
    let producer = if document.producer.is_empty() { "unknown" } else { &document.producer };
    text += &format!("model: {}\nproducer: {producer}\nopsets: {}\n", document.model, opsets.join(", "));
    for (kind, ports) in [("inputs", &document.inputs), ("outputs", &document.outputs)] {
        text += &format!("{kind}:\n");
        for port in ports {
            let size = |size: &serde_json::Value| match size {
                serde_json::Value::Null => "?".to_string(),
                other => other.as_str().map_or_else(|| other.to_string(), str::to_string),
            };
            let shape = port.shape.as_ref().map_or("of any rank".to_string(), |shape| {
                format!("[{}]", shape.iter().map(size).collect::<Vec<_>>().join(", "))
            });
            text += &format!("  {}  {}{shape}\n", port.name, port.dtype);
        }
    }
    let mut operators: Vec<(&String, &usize)> = document.operators.iter().collect();
    operators.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let operators: Vec<String> = operators.iter().map(|(name, count)| format!("{name} {count}")).collect();
    text += &format!(
        "operators: {} nodes: {}\nparameters: {}\n",
        document.nodes,
        operators.join(", "),
        document.parameters
    );
    text += &document.flops.map_or("FLOPs: unknown\n".to_string(), |flops| {
        format!("FLOPs: {flops} ({:.3} GFLOP)\n", flops as f64 / 1e9)
    });
    if let Some(plan) = &document.plan {
        match &plan.summary {
            Some(summary) => text += &summary.to_string(),
            None if plan.between_parts.is_empty() => plan.fallbacks.iter().for_each(|one| {
                text +=
                    &format!("everything runs on the CPU: node '{}' ({}): {}\n", one.node, one.op, one.reason)
            }),
            None => {}
        }
        for BetweenParts { node, op, on_cpu } in &plan.between_parts {
            let how = on_cpu
                .as_ref()
                .map_or("its graphs run on the device".into(), |why| format!("on the CPU: {why}"));
            text += &format!("then node '{node}' ({op}): {how}\n");
        }
        if let Some(translations) = &plan.translations {
            text += &translations.text();
        }
        if !plan.between_parts.is_empty() {
            text += "what follows is planned in a run, for the shapes that come out\n";
        }
    }
    text
}
