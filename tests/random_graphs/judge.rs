//! The GPU against the CPU, by `compare` and its derived bounds; and where they disagree, the smallest part of
//! the graph that still does.

use super::grow::Random;
use onnx_protobuf::Message;
use sardonyx::compare::{Options, Planter, Reference, Report, Verdict, compare};
use sardonyx::gpu::GpuDevice;
use sardonyx::plan::Precision;
use sardonyx::{Session, Tensor, onnx};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Where the nodes of an operator ran, by the names of a report.
#[derive(Default)]
pub struct Tally(pub BTreeMap<String, BTreeMap<&'static str, usize>>);

impl Tally {
    fn add(&mut self, random: &Random, report: &Report) {
        for node in &random.nodes {
            let rows = report.nodes.iter().filter(|row| row.node == node.name);
            // In parts: what ran on the CPU is a fallback.
            let fell = report.fallbacks.iter().any(|fallback| fallback.node == node.name);
            let place = match rows.map(|row| row.ran_on).next() {
                _ if fell => "cpu",
                Some("reference" | "") | None => "gpu",
                Some(place) => place,
            };
            *self.0.entry(node.op_type.clone()).or_default().entry(place).or_default() += 1;
        }
    }
    /// Nodes in all, and those of them that ran on the CPU.
    pub fn sums(&self) -> (usize, usize) {
        let all = self.0.values().flat_map(BTreeMap::values).sum();
        (all, self.0.values().filter_map(|places| places.get("cpu")).sum())
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (all, cpu) = self.sums();
        writeln!(f, "{all} nodes of {} operators, {cpu} on the CPU:", self.0.len())?;
        for (op, places) in &self.0 {
            let count: usize = places.values().sum();
            let share = 100.0 * count as f64 / all.max(1) as f64;
            let places: Vec<String> =
                places.iter().map(|(place, count)| format!("{place} {count}")).collect();
            writeln!(f, "  {op}: {count} ({share:.2} %): {}", places.join(", "))?;
        }
        Ok(())
    }
}

pub struct Judge {
    pub device: GpuDevice,
    pub precision: Precision,
    /// The seed of a fault to plant.
    pub fault: Option<u64>,
}

/// What a comparison came to.
pub enum Found {
    Same(Box<Report>),
    Different(Box<Report>),
    /// No run, or a panic: what it says.
    Failed(String),
}

impl Judge {
    pub fn judged(&self, random: &Random) -> Found {
        let report = catch_unwind(AssertUnwindSafe(|| self.report(random)));
        match report {
            Ok(Ok(report)) if report.verdict == Verdict::Same => Found::Same(Box::new(report)),
            Ok(Ok(report)) => Found::Different(Box::new(report)),
            Ok(Err(error)) => Found::Failed(format!("error: {error}")),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
                Found::Failed(format!("panic: {}", text.unwrap_or_default()))
            }
        }
    }

    fn report(&self, random: &Random) -> sardonyx::Result<Report> {
        let bytes = random.model().write_to_bytes().unwrap();
        let read = onnx::read_bytes(&bytes, None, "random")?;
        let builder = Session::builder().device(Some(self.device.clone())).precision(self.precision);
        let planter = self.fault.map(Planter::new);
        let builder = planter.iter().fold(builder, |builder, planter| planter.applied(builder));
        let session = builder.build(read)?;
        let inputs = random.inputs();
        let named: Vec<(&str, Tensor)> =
            inputs.iter().map(|(name, tensor)| (name.as_str(), tensor.clone())).collect();
        let values = session.bind(&named)?;
        let options = Options { reference: Reference::CpuF64, per_node: true, tolerance: None };
        let mut report = compare(&session, &values, &options)?;
        report.planted = planter.and_then(|planter| planter.planted());
        Ok(report)
    }

    /// Judges a graph, and counts where its nodes ran. A disagreement is a message: the smallest row of nodes
    /// that still disagrees when what they read of others is given, and what differs there.
    pub fn verdict(&self, random: &Random, tally: &mut Tally) -> Result<(), String> {
        let whole = match self.judged(random) {
            Found::Same(report) => {
                tally.add(random, &report);
                return Ok(());
            }
            other => other,
        };
        let count = random.nodes.len();
        for length in 1..count {
            for start in 0..=count - length {
                let part = random.part(start..start + length);
                match self.judged(&part) {
                    Found::Same(_) => {}
                    found => return Err(said(&part, &found)),
                }
            }
        }
        Err(said(random, &whole))
    }
}

/// A disagreement for a reader: the nodes, and what differs.
fn said(random: &Random, found: &Found) -> String {
    let mut text = String::new();
    let shape = |name: &String| match random.values.iter().find(|value| value.name == *name) {
        Some(value) => format!("{name}: {}{:?}", value.tensor.dtype(), value.tensor.shape()),
        None => "-".to_string(),
    };
    for node in &random.nodes {
        let attributes: Vec<String> = node.attribute.iter().map(attribute).collect();
        let names = |names: &[String]| names.iter().map(shape).collect::<Vec<_>>().join(", ");
        text += &format!(
            "  {}({}) {} -> {}\n",
            node.op_type,
            names(&node.input),
            attributes.join(" "),
            names(&node.output)
        );
    }
    match found {
        Found::Failed(problem) => text += &format!("  {problem}\n"),
        Found::Same(report) | Found::Different(report) => {
            if let Some(first) = &report.first_different {
                text += &format!("  first different: {} ({}), {}\n", first.node, first.op, first.output);
            }
            for row in report.nodes.iter().filter(|row| !row.same) {
                for (kind, measure) in [("by itself", &row.local), ("as it runs", &row.cumulative)] {
                    if let Some(measure) = measure.as_ref().filter(|measure| !measure.same) {
                        text +=
                            &format!("  {} ({}, {}) {kind}: {measure:?}\n", row.op, row.ran_on, row.output);
                    }
                }
            }
            for row in report.outputs.iter().filter(|row| !row.measure.same) {
                text += &format!("  output {}: {:?}\n", row.name, row.measure);
            }
            if let Some(fused) = report.fused_plan.as_ref().filter(|fused| !fused.same) {
                for row in fused.outputs.iter().filter(|row| !row.measure.same) {
                    text += &format!("  rewrites alone, {}: {:?}\n", row.name, row.measure);
                }
            }
        }
    }
    text
}

fn attribute(attribute: &onnx_protobuf::AttributeProto) -> String {
    use onnx_protobuf::attribute_proto::AttributeType as Type;
    let value = match attribute.type_.enum_value_or_default() {
        Type::INT => attribute.i.to_string(),
        Type::FLOAT => attribute.f.to_string(),
        Type::INTS => format!("{:?}", attribute.ints),
        Type::FLOATS => format!("{:?}", attribute.floats),
        Type::STRING => String::from_utf8_lossy(&attribute.s).into_owned(),
        Type::GRAPH => {
            let ops: Vec<&str> = attribute.g.node.iter().map(|node| node.op_type.as_str()).collect();
            format!("{{{}}}", ops.join(" "))
        }
        other => format!("{other:?}"),
    };
    format!("{}={value}", attribute.name)
}
