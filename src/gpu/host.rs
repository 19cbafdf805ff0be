//! The host's side of a run: its inputs and outputs, and the steps on the CPU with the copies around them.

use super::execution::{Evaluate, Execution, Run, downloaded};
use super::time_limits::Task;
use crate::base::BufferId;
use crate::error::{Error, Result, line};
use crate::graph::ValueId;
use crate::ops::Operator;
use crate::plan::{OutputBinding, PlannedBuffer, STATUS_BYTES, Step, StepKind, decode};
use crate::tensor::Tensor;
use std::collections::HashSet;

impl Execution {
    /// Has the inputs that are on the host written, and fetches those that only lie on the device and that the
    /// host needs.
    pub(super) async fn take_inputs(&self, run: &mut Run<'_>) -> Result<()> {
        for input in &self.plan.inputs {
            if !run.bindings.device.contains_key(&input.value) {
                self.write_from(run, input.value, input.buffer)?;
            }
        }
        if run.bindings.device.is_empty() {
            return Ok(());
        }
        let reads = |step: &Step| match &step.kind {
            StepKind::Cpu { inputs, .. } => inputs.iter().flatten().copied().collect(),
            StepKind::Upload { value, .. } => vec![*value],
            _ => vec![],
        };
        let needed: HashSet<ValueId> = self.plan.steps.iter().flat_map(reads).collect();
        for (id, tensor) in run.bindings.device.iter().filter(|(id, _)| needed.contains(id)) {
            run.made.host.insert(*id, tensor.download_async().await?);
        }
        Ok(())
    }

    /// Has a value of the host's written to a buffer, before what is recorded from now on.
    fn write_from(&self, run: &mut Run<'_>, value: ValueId, to: BufferId) -> Result<()> {
        let (place, _) = self.buffer(to)?;
        let tensor = self.host_value(value, run)?.clone();
        if tensor.shape() != place.fact.shape {
            let message =
                format!("the shape is {:?} where {:?} was planned", tensor.shape(), place.fact.shape);
            return Err(Error::input(message).at_tensor(&place.label));
        }
        run.batch.writes.push((tensor, to));
        Ok(())
    }

    pub(super) async fn upload(&self, run: &mut Run<'_>, value: ValueId, to: BufferId) -> Result<()> {
        // A write takes effect before what is submitted after it, so what comes before must be submitted
        // first.
        if run.batch.records() {
            self.submit(std::mem::take(&mut run.batch)).await?;
        }
        self.write_from(run, value, to)
    }

    /// Keeps the outputs that are to stay, and reads back the others that the GPU made.
    pub(super) async fn give_outputs(&mut self, run: &mut Run<'_>) -> Result<()> {
        let plan = self.plan.clone();
        let keep = &run.bindings.keep;
        let mut wanted = vec![];
        for output in &plan.outputs {
            if keep.contains(&output.value) {
                run.made.device.insert(output.value, self.kept(output)?);
            } else if !run.made.host.contains_key(&output.value) {
                wanted.push(*output);
            }
        }
        let end = plan.steps.len();
        if !wanted.is_empty() || run.made.device.is_empty() {
            return self.download(run, &wanted, end, end).await;
        }
        // Nothing is read, and still the run is to be over, and what it tells of to be heard.
        let staging = match self.status.is_some() {
            true => Some(self.staging(0).await?),
            false => None,
        };
        let (batch, what) = (std::mem::take(&mut run.batch), || self.awaited(run.waited..end));
        if let Some(staging) = staging {
            return self.read(batch, &[], &staging, what, |_, _| Ok(())).await;
        }
        match self.submit(batch).await? {
            Some(submission) => self.device.wait(submission, Task::Run, what).await,
            None => Ok(()),
        }
    }

    /// Reads values back, as many at once as a staging buffer takes, after the steps before `first`; what is
    /// read next comes after those before `end`.
    pub(super) async fn download(
        &mut self,
        run: &mut Run<'_>,
        wanted: &[OutputBinding],
        first: usize,
        end: usize,
    ) -> Result<()> {
        let limit = self.device.capabilities().max_buffer_bytes.saturating_sub(STATUS_BYTES);
        let mut rest = wanted;
        while !rest.is_empty() {
            let (count, bytes) = self.fitting(rest, limit);
            let (now, later) = rest.split_at(count);
            rest = later;
            let staging = self.staging(bytes).await?;
            let (batch, plan, begin) = (std::mem::take(&mut run.batch), &self.plan, run.waited);
            let places = now.iter().map(|output| self.buffer(output.buffer)).collect::<Result<Vec<_>>>()?;
            let sources: Vec<_> = places.iter().map(|(place, buffer)| (&***buffer, place.bytes())).collect();
            let made = &mut run.made.host;
            self.read(
                batch,
                &sources,
                &staging,
                || self.awaited(begin..first),
                |index, bytes| {
                    if let (Some(output), Some((place, _))) = (now.get(index), places.get(index)) {
                        let fact = plan.facts.get(output.value.0 as usize).and_then(Option::as_ref);
                        let fact = fact.unwrap_or(&place.fact);
                        let tensor = decode(bytes, fact.dtype, &fact.shape, output.layout, place.storage)?;
                        made.insert(output.value, tensor);
                    }
                    Ok(())
                },
            )
            .await?;
            run.waited = end;
        }
        Ok(())
    }

    /// How many of some values a staging buffer of so many bytes takes, at least one, and their bytes.
    fn fitting(&self, wanted: &[OutputBinding], limit: u64) -> (usize, u64) {
        let (mut count, mut total) = (0, 0u64);
        for output in wanted {
            let place = self.plan.buffers.get(output.buffer.0 as usize);
            let sum = total.saturating_add(place.map_or(0, PlannedBuffer::bytes));
            if count > 0 && sum > limit {
                break;
            }
            (count, total) = (count + 1, sum);
        }
        (count.max(1), total)
    }

    /// The most bytes that a run reads back at once.
    pub(super) fn staged(&self) -> u64 {
        let limit = self.device.capabilities().max_buffer_bytes.saturating_sub(STATUS_BYTES);
        let runs = self.plan.steps.chunk_by(|a, b| downloaded(a).is_some() == downloaded(b).is_some());
        let steps = runs.map(|run| run.iter().filter_map(downloaded).collect::<Vec<_>>());
        let mut most = 0;
        for list in steps.chain([self.plan.outputs.clone()]) {
            let mut rest = list.as_slice();
            while !rest.is_empty() {
                let (count, bytes) = self.fitting(rest, limit);
                most = most.max(bytes);
                rest = rest.get(count..).unwrap_or_default();
            }
        }
        most
    }

    pub(super) fn evaluate(
        &self,
        run: &mut Run<'_>,
        op: &dyn Operator,
        (reads, outputs): (&[Option<ValueId>], &[Option<ValueId>]),
        evaluate: &Evaluate<'_>,
    ) -> Result<()> {
        let operands = reads
            .iter()
            .map(|id| id.map(|id| self.host_value(id, run)).transpose())
            .collect::<Result<Vec<_>>>()?;
        let results = evaluate(op, &operands).map_err(|error| self.naming(error, reads))?;
        if results.len() < outputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1) {
            return Err(Error::internal(format!("{} results for {} outputs", results.len(), outputs.len())));
        }
        run.made.host.extend(outputs.iter().zip(results).filter_map(|(id, result)| Some(((*id)?, result))));
        Ok(())
    }

    /// Names the tensor that an operator's error is of, where it is known by its number alone.
    fn naming(&self, error: Error, reads: &[Option<ValueId>]) -> Error {
        let value = |index: usize| {
            reads.get(index).copied().flatten().and_then(|id| self.plan.graph.values.get(id.0 as usize))
        };
        match error.input_at_fault().and_then(value) {
            Some(value) => error.at_tensor(&value.name),
            None => error,
        }
    }

    /// A value that is on the host: read back or made there, given, a constant, or known when the plan was
    /// made.
    fn host_value<'a>(&'a self, id: ValueId, run: &'a Run<'_>) -> Result<&'a Tensor> {
        let value = self.plan.graph.values.get(id.0 as usize);
        let known = || self.plan.facts.get(id.0 as usize)?.as_ref()?.value.as_ref();
        let (made, given) = (&run.made.host, run.bindings.host);
        let found =
            made.get(&id).or_else(|| given.get(&id)).or_else(|| value?.constant.as_ref()).or_else(known);
        found.ok_or_else(|| {
            let name = value.map_or_else(|| id.0.to_string(), |value| value.name.clone());
            let missing = if self.plan.graph.inputs.contains(&id) {
                Error::input("the input is missing")
            } else {
                Error::internal("not on the host")
            };
            missing.at_tensor(name)
        })
    }

    /// What messages call some steps that are waited for: the first and the last kernel, each with its node.
    pub(super) fn awaited(&self, steps: impl IntoIterator<Item = usize>) -> String {
        let dispatches =
            steps.into_iter().filter_map(|index| self.plan.steps.get(index)).filter_map(|step| {
                match &step.kind {
                    StepKind::Gpu { dispatches } => {
                        Some(dispatches.iter().map(move |dispatch| (step, dispatch.kernel)))
                    }
                    _ => None,
                }
            });
        let named = |(step, kernel): &(&Step, &str)| match step.node {
            Some(_) => format!("kernel '{kernel}' of node '{}' ({})", line(&step.label), line(&step.op_type)),
            None => format!("kernel '{kernel}'"),
        };
        let all: Vec<_> = dispatches.flatten().collect();
        match all.as_slice() {
            [] => "a copy".to_string(),
            [only] => named(only),
            [first, .., last] => {
                format!("{} dispatches, from {} to {}", all.len(), named(first), named(last))
            }
        }
    }
}
