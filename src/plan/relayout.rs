//! A plan that brings a tensor from one layout into another: one copy, for a tensor that a run left on a device
//! and that another one takes.

use super::planner::Builder;
use super::*;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::tensor::DType;

/// The plan of a copy from the value 0 to the value 1.
///
/// Errors: a tensor beyond the device's limits.
pub fn relayout(
    fact: &Fact,
    storage: ElementFormat,
    (from, to): (Layout, Layout),
    capabilities: &Capabilities,
) -> Result<Plan> {
    let half = fact.dtype == DType::F32 && storage.element_bytes() == 2;
    let precision = if half { Precision::F16 } else { Precision::F32 };
    let mut graph = Graph::default();
    let ids = ["from", "to"].map(|name| graph.add_value(name, None, None));
    (graph.inputs, graph.outputs) = (vec![ids[0]], vec![ids[1]]);
    let mut builder = Builder::new(graph, vec![Some(fact.clone()); 2], capabilities, precision);
    let copied = builder.copy_between(ids, fact, (from, to));
    copied.map_err(|reason| Error::unsupported(reason.0))?;
    builder.finish(vec![], vec![])
}

impl Builder {
    fn copy_between(
        &mut self,
        [source, target]: [ValueId; 2],
        fact: &Fact,
        (from, to): (Layout, Layout),
    ) -> Result<(), Unsupported> {
        let input = self.new_buffer(Some(source), fact, from)?;
        self.buffers[input.buffer.0 as usize].allocation = Allocation::External(0);
        self.inputs.push(InputBinding { value: source, buffer: input.buffer });
        let output = self.new_buffer(Some(target), fact, to)?;
        self.current.2 = "copy".into();
        crate::kernels::copy::emit(self, &input, &output)?;
        self.push_step();
        self.outputs.push(OutputBinding { value: target, buffer: output.buffer, layout: to });
        Ok(())
    }
}
