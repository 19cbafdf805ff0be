//! Faults planted on purpose, for the tests that show that the comparison finds them: each changes the plan
//! of one step as a defect of a kernel or of the planner would, where it shows on the given inputs.

use super::bounds::{DeviceRounding, Input, ReferenceRounding, allowed, unit, widened};
use super::reference::{self, Values};
use super::shader_edit::with_half_sums;
use super::winograd;
use super::{SAFETY_FACTOR, clobber};
use crate::base::{BufferId, EvalPrecision};
use crate::cpu;
use crate::error::{Error, Result};
use crate::expression::Pointwise;
use crate::graph::Node;
use crate::graph::ValueId;
use crate::kernels::epilogue::HAS_BIAS;
use crate::kernels::{Dispatch, Packing, block};
use crate::ops::Operator;
use crate::ops::nn::conv::Conv;
use crate::passes::set_epilogue;
use crate::plan::{Allocation, Constant, Plan, StepKind, mode_of};
use crate::random::SplitMix64;
use crate::tensor::{DType, Tensor, cast, round_f16};
use serde::Serialize;
use std::sync::Arc;

/// A fault that was planted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Planted {
    /// The node by whose name the faulty step goes.
    pub node: String,
    /// What was done wrong.
    pub kind: Fault,
}

/// What was done wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// The last element of each sum is left out, where their number is no multiple of 4.
    LastElementDropped,
    /// The last channel's bias is left out.
    LastBiasDropped,
    /// The last input column counts as padding.
    RightEdgeOffByOne,
    /// Sums are rounded to float16 as they grow.
    HalfAccumulator,
    /// A buffer is given to another value before its last reader has read it.
    BufferReusedEarly,
}

const FAULTS: [Fault; 5] = [
    Fault::LastElementDropped,
    Fault::LastBiasDropped,
    Fault::RightEdgeOffByOne,
    Fault::HalfAccumulator,
    Fault::BufferReusedEarly,
];

/// How far beyond its tolerance an element must be for a fault to count as one that shows.
const CLEARLY: f64 = 2.0;

/// Plants the fault that a seed draws: first its kind, then its place, among those that show with these
/// inputs.
///
/// Errors: no fault shows anywhere in this plan.
pub(super) fn plant(plan: &mut Plan, inputs: &Values, seed: u64) -> Result<Planted> {
    let values = reference::values(&plan.graph, inputs, EvalPrecision::Oracle)?;
    let near = reference::values(&plan.graph, inputs, mode_of(plan.precision))?;
    let seen = ReferenceValues { values, near };
    let mut random = SplitMix64(seed);
    let mut kinds = FAULTS.to_vec();
    while !kinds.is_empty() {
        let kind = kinds.swap_remove((random.next() % kinds.len() as u64) as usize);
        if kind == Fault::BufferReusedEarly {
            if let Some(node) = clobber::plant(plan, &seen, |count| (random.next() % count as u64) as usize)?
            {
                return Ok(Planted { node, kind });
            }
            continue;
        }
        let mut sites = sites(plan, kind);
        while !sites.is_empty() {
            let site = sites.swap_remove((random.next() % sites.len() as u64) as usize);
            if site.shows(plan, kind, &seen)? {
                site.apply(plan, kind)?;
                return Ok(Planted { node: plan.steps[site.step].label.clone(), kind });
            }
        }
    }
    Err(Error::usage("no fault would show in this model with these inputs")
        .remedy("plant it in a larger model"))
}

/// The values of the planned graph: by the oracle and at the plan's precision.
pub(super) struct ReferenceValues {
    pub values: Values,
    pub near: Values,
}

impl ReferenceValues {
    /// Whether other elements of one of a node's inputs would be seen in its first output. `whole`: in the
    /// run as planned, where what comes in is a little off already.
    pub fn shows(&self, plan: &Plan, node: &Node, input: usize, other: Tensor, whole: bool) -> Result<bool> {
        let mut operands = self.operands(plan, node)?;
        let given: Vec<Option<Tensor>> =
            operands.iter().map(|item| item.as_ref().map(|item| item.value.clone())).collect();
        let right = evaluate(&*node.op, &given)?;
        if let Some(Some(item)) = operands.get_mut(input) {
            item.value = other;
        }
        let changed: Vec<Option<Tensor>> =
            operands.iter().map(|item| item.as_ref().map(|item| item.value.clone())).collect();
        self.differs(plan, node, &right, &evaluate(&*node.op, &changed)?, whole)
    }

    pub fn operands(&self, plan: &Plan, node: &Node) -> Result<Vec<Option<Input>>> {
        let operand = |id: ValueId| -> Result<Input> {
            let constant = || plan.graph.values.get(id.0 as usize).and_then(|value| value.constant.as_ref());
            let tensor = self
                .values
                .get(&id)
                .or_else(constant)
                .ok_or_else(|| Error::internal("a value was not computed"))?;
            let dtype =
                plan.facts.get(id.0 as usize).and_then(Option::as_ref).map_or(DType::F32, |fact| fact.dtype);
            Ok(Input { value: widened(tensor)?, unit: unit(dtype, plan.precision), apart: 0.0 })
        };
        node.inputs.iter().map(|id| id.map(operand).transpose()).collect()
    }

    fn differs(&self, plan: &Plan, node: &Node, right: &Tensor, wrong: &Tensor, whole: bool) -> Result<bool> {
        let (right, wrong) = (right.to_f64s()?, wrong.to_f64s()?);
        let output = node.outputs.iter().flatten().next().copied();
        let dtype = output
            .and_then(|id| plan.facts.get(id.0 as usize)?.as_ref().map(|fact| fact.dtype))
            .unwrap_or(DType::F32);
        let made = DeviceRounding { unit: unit(dtype, plan.precision), winograd: winograd::tile(plan, node) };
        let limit = allowed(
            node,
            0,
            &self.operands(plan, node)?,
            &right,
            made,
            ReferenceRounding { arithmetic: false, unit: 0.0 },
        )?;
        let far = match output.filter(|_| whole).and_then(|id| self.values.get(&id).zip(self.near.get(&id))) {
            Some((a, b)) => {
                a.to_f64s()?.iter().zip(b.to_f64s()?).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
            }
            None => 0.0,
        };
        Ok(right
            .iter()
            .zip(&wrong)
            .enumerate()
            .any(|(at, (x, y))| (x - y).abs() > CLEARLY * (limit.at(at) + SAFETY_FACTOR * far)))
    }
}

fn evaluate(op: &dyn Operator, inputs: &[Option<Tensor>]) -> Result<Tensor> {
    let refs: Vec<Option<&Tensor>> = inputs.iter().map(Option::as_ref).collect();
    cpu::eval_node(op, &refs, EvalPrecision::Oracle)?
        .into_iter()
        .next()
        .ok_or_else(|| Error::internal("an operator without a result"))
}

/// A dispatch of a contraction.
struct Site {
    step: usize,
    dispatch: usize,
    node: usize,
}

/// A 32-bit parameter of a dispatch.
fn param(dispatch: &Dispatch, at: usize) -> Option<u32> {
    dispatch.params.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes)
}

/// Where the parameter that a fault changes lies in the block.
fn changed_param(dispatch: &Dispatch, kind: Fault) -> Option<usize> {
    let name = match (kind, dispatch.kernel) {
        (Fault::LastElementDropped, "gemm" | "gemm_cooperative" | "conv") => "tail",
        (Fault::LastElementDropped, "matmul" | "gemv") => "k",
        (Fault::LastElementDropped, "conv_stem") => "in_c",
        (Fault::RightEdgeOffByOne, "gemm" | "gemm_cooperative" | "conv" | "depthwise") => "limit_w",
        (Fault::LastBiasDropped, _) => "flags",
        _ => return None,
    };
    let members = block::words(dispatch.shader.kernel()?.params);
    members
        .iter()
        .find(|word| word.name == name || word.name.ends_with(&format!("_{name}")))
        .map(|word| word.offset)
}

/// The binding of the bias in every contraction.
const BIAS: usize = 2;

/// The dispatches that a fault of this kind can be planted in.
fn sites(plan: &Plan, kind: Fault) -> Vec<Site> {
    let mut found = vec![];
    for (index, step) in plan.steps.iter().enumerate() {
        let (StepKind::Gpu { dispatches }, Some(node)) = (&step.kind, step.node) else { continue };
        let contraction = |dispatch: &Dispatch| {
            matches!(
                dispatch.kernel,
                "matmul" | "gemv" | "gemm" | "gemm_cooperative" | "conv" | "conv_stem" | "depthwise"
            )
        };
        // What a fault does between Winograd's transforms has no counterpart on the CPU to be judged by.
        if dispatches.iter().any(|dispatch| dispatch.kernel == "winograd_input") {
            continue;
        }
        let contracts = step.op_type != "copy"
            && plan.graph.nodes.get(node).is_some_and(|node| node.op.epilogue().is_some());
        if !contracts || dispatches.iter().filter(|dispatch| contraction(dispatch)).count() != 1 {
            continue;
        }
        let Some((at, dispatch)) = dispatches.iter().enumerate().find(|(_, dispatch)| contraction(dispatch))
        else {
            continue;
        };
        let value = changed_param(dispatch, kind).and_then(|at| param(dispatch, at));
        let possible = match kind {
            // A convolution's tail is 4 where groups are whole; a stem has fewer than 4 channels.
            Fault::LastElementDropped => value.is_some_and(|value| value % 4 != 0),
            Fault::LastBiasDropped => {
                let bound =
                    dispatch.bindings.get(BIAS).and_then(|binding| plan.buffers.get(binding.0.0 as usize));
                value.is_some_and(|flags| flags & HAS_BIAS != 0)
                    && bound.is_some_and(|place| matches!(place.allocation, Allocation::Constant(_)))
            }
            Fault::RightEdgeOffByOne => {
                value.is_some_and(|width| width > 1)
                    && plan.graph.nodes.get(node).is_some_and(|node| reads_right_padding(plan, node))
            }
            // Cooperative matrices add up by themselves.
            Fault::HalfAccumulator => dispatch.kernel != "gemm_cooperative",
            Fault::BufferReusedEarly => false,
        };
        if possible {
            found.push(Site { step: index, dispatch: at, node });
        }
    }
    found
}

/// Whether a convolution's windows reach beyond the right edge.
fn reads_right_padding(plan: &Plan, node: &Node) -> bool {
    let shape = |index: usize| -> Option<&[usize]> {
        let id = node.inputs.get(index).copied().flatten()?;
        plan.facts.get(id.0 as usize)?.as_ref().map(|fact| fact.shape.as_slice())
    };
    // By type: the fault is one of convolutions alone.
    let (Some(conv), Some(x), Some(w)) = (node.op.downcast::<Conv>(), shape(0), shape(1)) else {
        return false;
    };
    let Some(g) = x.get(2..).zip(w.get(2..)).and_then(|(x, w)| conv.window.geometry(x, w).ok()) else {
        return false;
    };
    let last = g.input.len() - 1;
    g.output[last] > 0
        && (g.output[last] - 1) * g.stride[last] + (g.kernel[last] - 1) * g.dilation[last]
            >= g.input[last] + g.begin[last]
}

/// A tensor with the last slice along an axis set to 0.
fn without_last(tensor: &Tensor, axis: usize) -> Result<Tensor> {
    let shape = tensor.shape().to_vec();
    let size = shape.get(axis).copied().unwrap_or(1);
    let inner: usize = shape.iter().skip(axis + 1).product();
    tensor.pick(shape, |index| (index / inner.max(1) % size.max(1) + 1 != size).then_some(index))
}

/// The axis of a contraction's weights along which it sums.
fn summed_axis(node: &Node, rank: usize) -> usize {
    match node.op.product() {
        Some(product) if product.trans_b => rank.saturating_sub(1),
        Some(_) => rank.saturating_sub(2),
        None => 1,
    }
}

impl Site {
    /// Whether the fault would be seen: its effect on the CPU against the step's tolerance.
    fn shows(&self, plan: &Plan, kind: Fault, seen: &ReferenceValues) -> Result<bool> {
        let node = &plan.graph.nodes[self.node];
        let operands = seen.operands(plan, node)?;
        let operand =
            |index: usize| operands.get(index).and_then(Option::as_ref).map(|item| item.value.clone());
        let changed = match kind {
            Fault::LastElementDropped => {
                operand(1).map(|w| without_last(&w, summed_axis(node, w.rank())).map(|w| (1, w)))
            }
            Fault::LastBiasDropped => {
                operand(2).map(|b| without_last(&b, b.rank().saturating_sub(1)).map(|b| (2, b)))
            }
            Fault::RightEdgeOffByOne => {
                operand(0).map(|x| without_last(&x, x.rank().saturating_sub(1)).map(|x| (0, x)))
            }
            _ => return self.half_sums_show(plan, node, &operands, seen),
        };
        let Some((input, tensor)) = changed.transpose()? else { return Ok(false) };
        seen.shows(plan, node, input, tensor, false)
    }

    /// Whether rounding the finished sum alone to float16 would show; the real fault rounds at every step.
    fn half_sums_show(
        &self,
        plan: &Plan,
        node: &Node,
        operands: &[Option<Input>],
        seen: &ReferenceValues,
    ) -> Result<bool> {
        let mut given: Vec<Option<Tensor>> =
            operands.iter().map(|item| item.as_ref().map(|item| item.value.clone())).collect();
        let right = evaluate(&*node.op, &given)?;
        let epilogue = node.op.epilogue().cloned().unwrap_or_default();
        let mut bare = node.clone();
        set_epilogue(&mut bare, Pointwise::identity());
        let biased = evaluate(&*bare.op, &given)?;
        if let Some(bias) = given.get_mut(2) {
            *bias = None;
        }
        let sums = evaluate(&*bare.op, &given)?.to_f64s()?;
        let rounded = biased
            .to_f64s()?
            .iter()
            .zip(&sums)
            .map(|(biased, sum)| biased - sum + round_f16(*sum as f32) as f64)
            .collect();
        let mut list = vec![Tensor::new(biased.shape(), rounded)?];
        list.extend(given.into_iter().skip(3).flatten());
        let wrong = if epilogue.is_identity() {
            list[0].clone()
        } else {
            epilogue.eval(&list.iter().collect::<Vec<_>>(), EvalPrecision::Oracle)?
        };
        seen.differs(plan, node, &right, &wrong, false)
    }

    fn apply(&self, plan: &mut Plan, kind: Fault) -> Result<()> {
        let gone = || Error::internal("a dispatch went missing");
        match kind {
            Fault::LastElementDropped | Fault::RightEdgeOffByOne => {
                let StepKind::Gpu { dispatches } = &mut plan.steps[self.step].kind else {
                    return Err(gone());
                };
                let dispatch = dispatches.get_mut(self.dispatch).ok_or_else(gone)?;
                let at = changed_param(dispatch, kind).ok_or_else(gone)?;
                let value = param(dispatch, at)
                    .and_then(|value| value.checked_sub(1))
                    .ok_or_else(gone)?
                    .to_le_bytes();
                dispatch.params.get_mut(at..at + 4).ok_or_else(gone)?.copy_from_slice(&value);
                let start = dispatch.params_offset as usize + at;
                plan.params.get_mut(start..start + 4).ok_or_else(gone)?.copy_from_slice(&value);
            }
            Fault::HalfAccumulator => {
                let StepKind::Gpu { dispatches } = &mut plan.steps[self.step].kind else {
                    return Err(gone());
                };
                let dispatch = dispatches.get_mut(self.dispatch).ok_or_else(gone)?;
                dispatch.shader = Arc::new(dispatch.shader.edited(with_half_sums)?);
            }
            _ => {
                let place = plan
                    .dispatches()
                    .filter(|(step, _)| *step == self.step)
                    .nth(self.dispatch)
                    .and_then(|(_, dispatch)| dispatch.bindings.get(BIAS))
                    .ok_or_else(gone)?
                    .0;
                let mut faulty = plan.buffer(place).clone();
                let Allocation::Constant(index) = faulty.allocation else { return Err(gone()) };
                let constant = plan.constants.get(index).ok_or_else(gone)?.clone();
                let packed = (constant.packing.pack)(&constant.tensor, &constant.packing.args)?;
                let tensor = without_last(&packed.reshape([packed.len()])?, 0)?.reshape(packed.shape())?;
                let tensor = cast(&tensor, packed.dtype(), true)?;
                let packing = Packing {
                    name: "plain",
                    args: vec![],
                    shape: packed.shape().to_vec(),
                    pack: |tensor, _| Ok(tensor.clone()),
                };
                faulty.allocation = Allocation::Constant(plan.constants.len());
                plan.constants.push(Constant { tensor, packing, ..constant });
                let id = BufferId(plan.buffers.len() as u32);
                plan.buffers.push(faulty);
                let step = &mut plan.steps[self.step];
                step.reads.push(id);
                let StepKind::Gpu { dispatches } = &mut step.kind else { return Err(gone()) };
                dispatches
                    .get_mut(self.dispatch)
                    .and_then(|dispatch| dispatch.bindings.get_mut(BIAS))
                    .ok_or_else(gone)?
                    .0 = id;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_slice_of_an_axis_goes() {
        let tensor = Tensor::new([2, 3], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
        assert_eq!(without_last(&tensor, 0).unwrap().to_f64s().unwrap(), [1.0, 2.0, 3.0, 0.0, 0.0, 0.0]);
        assert_eq!(without_last(&tensor, 1).unwrap().to_f64s().unwrap(), [1.0, 2.0, 0.0, 4.0, 5.0, 0.0]);
    }
}
