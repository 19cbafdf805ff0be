//! A plan as text: everything that was decided, in the order of execution, and nothing that changes from run
//! to run.
//!
//! [`Summary`](super::Summary) is for people who ask where a model runs; this is for those who work on the
//! planner, and for snapshot tests (tests/plans.rs). A kernel is shown by its stem and grid: its source and
//! parameters belong to its own tests.

use super::{Allocation, OutputBinding, Placement, Plan, PlannedBuffer, StepKind};
use crate::base::{Access, BufferId, Precision};
use crate::graph::ValueId;
use crate::kernels::Dispatch;
use std::fmt::{Display, Formatter, Result, Write};

/// Names on one line, whatever a model has put into them.
fn name(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}

impl Plan {
    fn value_name(&self, id: ValueId) -> String {
        self.graph.values.get(id.0 as usize).map_or_else(|| format!("#{}", id.0), |value| name(&value.name))
    }
    fn values(&self, ids: &[Option<ValueId>]) -> String {
        ids.iter()
            .map(|id| id.map_or("-".to_string(), |id| self.value_name(id)))
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn write_nodes(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "nodes:")?;
        for (index, (node, placement)) in self.graph.nodes.iter().zip(&self.placements).enumerate() {
            write!(
                f,
                "  n{index} {} '{}' {}: {} -> {}",
                placement.name(),
                name(&node.name),
                node.op_type,
                self.values(&node.inputs),
                self.values(&node.outputs)
            )?;
            let fact = |id: &Option<ValueId>| id.and_then(|id| self.facts.get(id.0 as usize)?.as_ref());
            for fact in node.outputs.iter().filter_map(fact) {
                write!(f, " {}{:?}", fact.dtype, fact.shape)?;
            }
            if !node.fused.is_empty() {
                let fused: Vec<String> =
                    node.fused.iter().map(|(node, op)| format!("'{}' {op}", name(node))).collect();
                write!(f, ", with {}", fused.join(", "))?;
            }
            if let Placement::Cpu(reason) = placement {
                write!(f, ", because: {}", name(reason))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }

    /// The buffers that a step or a run touches; what was tried and given up while planning is left out.
    fn write_places(&self, f: &mut Formatter<'_>) -> Result {
        let mut used = vec![false; self.buffers.len()];
        let stepped = self.steps.iter().flat_map(|step| step.reads.iter().chain(&step.writes));
        let bound = self.inputs.iter().map(|input| &input.buffer);
        for id in stepped.chain(bound).chain(self.outputs.iter().map(|output| &output.buffer)) {
            if let Some(seen) = used.get_mut(id.0 as usize) {
                *seen = true;
            }
        }
        writeln!(f, "buffers:")?;
        let shown = self.buffers.iter().enumerate().filter(|(index, _)| used[*index]);
        shown
            .into_iter()
            .try_for_each(|(index, buffer)| writeln!(f, "  p{index} {}", self.place_text(buffer)))
    }

    fn place_text(&self, buffer: &PlannedBuffer) -> String {
        let home = match buffer.allocation {
            Allocation::Slot(slot) => format!("slot {slot}"),
            Allocation::Constant(index) => format!("constant {index}"),
            Allocation::External(index) => format!("external {index}"),
            Allocation::Unassigned => "nowhere".to_string(),
        };
        let of = buffer.value.map_or_else(
            || format!("for '{}'", name(&buffer.label)),
            |id| format!("'{}'", self.value_name(id)),
        );
        let home = buffer.part.as_ref().map_or(home, |part| format!("p{} at {}", part.of.0, part.offset));
        format!(
            "{of} {}{:?} {:?} as {:?}, {} bytes in {home}",
            buffer.fact.dtype,
            buffer.fact.shape,
            buffer.layout,
            buffer.storage,
            buffer.content_bytes()
        )
    }

    fn write_bindings(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "bindings:")?;
        for input in &self.inputs {
            writeln!(f, "  input '{}' in {}", self.value_name(input.value), buffers(&[input.buffer]))?;
        }
        for OutputBinding { value, buffer, layout } in &self.outputs {
            writeln!(f, "  output '{}' in {} in {layout:?}", self.value_name(*value), buffers(&[*buffer]))?;
        }
        Ok(())
    }

    fn write_steps(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "steps:")?;
        for (index, step) in self.steps.iter().enumerate() {
            let node = step.node.map_or(String::new(), |node| format!(" n{node}"));
            let label = name(&step.label);
            match &step.kind {
                StepKind::Upload { to, .. } => {
                    writeln!(f, "  {index} upload '{label}' to {}", buffers(&[*to]))?
                }
                StepKind::Download { from, layout, .. } => {
                    writeln!(f, "  {index} download '{label}' from {} in {layout:?}", buffers(&[*from]))?
                }
                StepKind::Cpu { inputs, outputs, .. } => {
                    writeln!(
                        f,
                        "  {index} cpu{node} '{label}' {}: {} -> {}",
                        step.op_type,
                        self.values(inputs),
                        self.values(outputs)
                    )?;
                }
                StepKind::Gpu { dispatches } => {
                    writeln!(
                        f,
                        "  {index} gpu{node} '{label}' {}: {} -> {}",
                        step.op_type,
                        buffers(&step.reads),
                        buffers(&step.writes)
                    )?;
                    dispatches
                        .iter()
                        .try_for_each(|dispatch| writeln!(f, "      {}", dispatch_text(dispatch)))?;
                }
            }
        }
        Ok(())
    }
}

/// `p1 p4`.
fn buffers(ids: &[BufferId]) -> String {
    ids.iter().map(|id| format!("p{}", id.0)).collect::<Vec<_>>().join(" ")
}

fn dispatch_text(dispatch: &Dispatch) -> String {
    let [x, y, z] = dispatch.grid;
    let mut text = format!("{} {x}x{y}x{z}", dispatch.kernel);
    for (id, access) in &dispatch.bindings {
        let _ = write!(text, " {}p{}", if *access == Access::Write { "=" } else { "" }, id.0);
    }
    if dispatch.status {
        text += " =status";
    }
    text
}

/// Deterministic: equal plans give equal text, on every machine. Bindings stand in their order, those that
/// are written with `=`.
impl Display for Plan {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let precision = if self.precision == Precision::F16 { "f16" } else { "f32" };
        writeln!(f, "precision: {precision}")?;
        if !self.by_value.is_empty() {
            let ids: Vec<Option<ValueId>> = self.by_value.iter().copied().map(Some).collect();
            writeln!(f, "inputs by value: {}", self.values(&ids))?;
        }
        self.write_nodes(f)?;
        self.write_places(f)?;
        writeln!(
            f,
            "slots: {}",
            self.slots
                .iter()
                .enumerate()
                .map(|(index, bytes)| format!("{index}: {bytes}"))
                .collect::<Vec<_>>()
                .join(", ")
        )?;
        writeln!(f, "constants:")?;
        for (index, constant) in self.constants.iter().enumerate() {
            let (packing, shape) = (constant.packing.name, &constant.packing.shape);
            writeln!(
                f,
                "  {index} '{}' {packing} {shape:?} {:?} as {:?}, {} bytes",
                name(&constant.label),
                constant.layout,
                constant.storage,
                constant.bytes
            )?;
        }
        self.write_bindings(f)?;
        self.write_steps(f)?;
        for (index, report) in self.reports.iter().enumerate() {
            writeln!(
                f,
                "status {}: '{}', indices '{}' outside {:?} from axis {}",
                index + 1,
                name(&report.node),
                name(&report.tensor),
                report.sizes,
                report.axis
            )?;
        }
        writeln!(f, "fallbacks: {}", self.fallbacks().len())?;
        writeln!(f, "dispatches: {}, pipelines: {}", self.dispatches().count(), self.pipelines())?;
        writeln!(
            f,
            "bytes: activations {} (unshared {}), bound {}, constants {}",
            self.activation_bytes(),
            self.unshared_bytes(),
            self.external_bytes(),
            self.constant_bytes(),
        )
    }
}
