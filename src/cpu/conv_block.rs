//! *Given* a convolution whose result only a depthwise one reads, perhaps with a 1×1 one after it, all
//! channels innermost → *Result* one step that runs them band by band: a few lines of the wide images are
//! made, read and left behind while they are in cache.
//!
//! The wide image of an inverted residual is most of what such a network writes and reads. A thread keeps a
//! ring of its last lines, as many as the depthwise filter sees; every element is the same to the bit as
//! without the rewrite.

use super::layout::ChannelsLast;
use crate::base::{Bound, EvalPrecision, Fact, Infer, Operands};
use crate::cpu_kernels::conv::{ImageConv, convolve_rows, product_rows};
use crate::cpu_kernels::depthwise_last::{Filter, Lines};
use crate::cpu_kernels::epilogue::PreparedEpilogue;
use crate::cpu_kernels::panels::Packed;
use crate::cpu_kernels::product::with_band;
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, ValueId};
use crate::ops::nn::conv::Conv;
use crate::ops::{Engine, Operator};
use crate::tensor::pool::{self, LINE};
use crate::tensor::{DType, Tensor, element_count};
use crate::threads::{Elements, try_parallel_for};
use std::collections::HashMap;
use std::sync::Arc;

/// Floats of a ring of lines: it shares the second-level cache with what is read and made from it.
const RING: usize = 1 << 16;
/// A wide image of less stays in cache by itself.
const SMALLEST: usize = 1 << 16;
/// Weights of more floats are read once for all rows instead of once a band.
const HEAVIEST: usize = 1 << 17;

/// Two or three convolutions of images whose channels lie innermost. Inputs: the image, then what each has
/// besides its own.
#[derive(Debug)]
pub struct ConvBlock {
    parts: Vec<ChannelsLast>,
    /// How many inputs each part has besides its image.
    given: Vec<usize>,
}

impl ConvBlock {
    /// The parts with their inputs but the image.
    pub fn with_inputs<'a, T>(
        &'a self,
        inputs: Operands<'a, T>,
    ) -> impl Iterator<Item = (&'a ChannelsLast, Vec<Option<&'a T>>)> {
        let mut next = 1;
        self.parts.iter().zip(&self.given).map(move |(part, &given)| {
            let first = next;
            next += given;
            (part, (first..next).map(|index| inputs.optional(index)).collect())
        })
    }

    fn one_by_one(
        &self,
        inputs: Operands<'_, Tensor>,
        packed: Option<&[Arc<Packed>]>,
        mode: EvalPrecision,
    ) -> Result<Vec<Tensor>> {
        let mut image = inputs.required(0)?.clone();
        for (index, (part, others)) in self.with_inputs(inputs).enumerate() {
            let operands: Vec<Option<&Tensor>> = std::iter::once(Some(&image)).chain(others).collect();
            let packed = packed.and_then(|packed| packed.get(index)).map(Arc::as_ref);
            let part: &dyn Operator = part;
            let results = part.run(Operands::new(&operands), packed, 1, mode)?;
            let result = results
                .into_iter()
                .next()
                .ok_or_else(|| Error::internal("a convolution without a result"))?;
            // The first image is the caller's still: nothing is given back of that one.
            std::mem::replace(&mut image, result).recycle();
        }
        Ok(vec![image])
    }

    /// `None`: these sizes run better one after the other, or an epilogue needs more than float32.
    fn by_bands(&self, inputs: Operands<'_, Tensor>, packed: &[Arc<Packed>]) -> Result<Option<Tensor>> {
        let x = inputs.required(0)?;
        let mut shape: Vec<usize> = x.shape().to_vec();
        let mut steps = vec![];
        for ((part, others), packed) in self.with_inputs(inputs).zip(packed) {
            // By type: the rewrite below put convolutions there.
            let (Some(conv), Some(w)) = (part.inner().downcast::<Conv>(), others.first().copied().flatten())
            else {
                return Ok(None);
            };
            let bias = others.get(1).copied().flatten();
            let &[n, h, w_, c] = shape.as_slice() else { return Ok(None) };
            let sizes = conv.sizes([n, h, w_, c], w.shape(), bias.map(Tensor::shape))?;
            shape = vec![n, sizes.geometry.output[0], sizes.geometry.output[1], sizes.out_channels];
            let extra = others.get(2..).unwrap_or_default().to_vec();
            let bias = bias.map(|bias| bias.as_slice::<f32>()).transpose()?;
            steps.push((conv, sizes, bias, extra, &**packed));
        }
        let count = element_count(&shape)?;
        let mut parts = vec![];
        for (conv, sizes, bias, extra, packed) in &steps {
            let Some(ready) = PreparedEpilogue::of(&conv.epilogue, Operands::new(extra), count)? else {
                return Ok(None);
            };
            parts.push(BlockStep { sizes, bias: *bias, ready, packed });
        }
        let (Some(first), Some(filter)) = (parts.first(), parts.get(1)) else { return Ok(None) };
        let bands = Bands { x: x.as_slice()?, first, filter, last: parts.get(2) };
        if !bands.pay() {
            return Ok(None);
        }
        let mut y = pool::unset(count)?;
        bands.run(&mut y)?;
        Tensor::floats(shape, y).map(Some)
    }
}

/// A convolution of the chain, ready to run.
struct BlockStep<'a> {
    sizes: &'a ImageConv,
    bias: Option<&'a [f32]>,
    ready: PreparedEpilogue<'a>,
    packed: &'a Packed,
}

struct Bands<'a> {
    x: &'a [f32],
    first: &'a BlockStep<'a>,
    filter: &'a BlockStep<'a>,
    last: Option<&'a BlockStep<'a>>,
}

impl Bands<'_> {
    /// Whether the wide image is large enough, and the weights small enough.
    fn pay(&self) -> bool {
        let weights = |part: &BlockStep<'_>| part.packed.bytes() / size_of::<f32>();
        let image = self.filter.sizes.geometry.input[0]
            .saturating_mul(self.filter.sizes.geometry.input[1])
            .saturating_mul(self.filter.sizes.channels);
        image >= SMALLEST
            && weights(self.first) + self.last.map_or(0, weights) <= HEAVIEST
            && self.last.is_none_or(|last| last.sizes.is_direct())
            && [Some(self.first), self.last].iter().flatten().all(|part| part.packed.matrix().is_some())
    }

    fn run(&self, y: &mut [f32]) -> Result<()> {
        let (g, channels) = (&self.filter.sizes.geometry, self.filter.sizes.channels);
        let Packed::Taps(taps) = self.filter.packed else {
            return Err(Error::internal("a depthwise filter that isn't packed as one"));
        };
        let filter = Filter { g, channels, taps, bias: self.filter.bias };
        let (line, made_line) = (g.input[1] * channels, g.output[1] * channels);
        let lines = g.output[0];
        if y.is_empty() {
            return Ok(());
        }
        // Bands of lines for every thread, each as long as can be: the lines that two bands need are made
        // twice.
        let bands = rayon::current_num_threads().min(lines);
        let band = lines.div_ceil(bands);
        let span = (g.kernel[0] - 1) * g.dilation[0] + 1;
        let at_once = ((RING / line.max(1)).saturating_sub(span) / g.stride[0] + 1).min(band);
        let held = (at_once - 1) * g.stride[0] + span;
        let ring = element_count(&[held, line])?.next_multiple_of(LINE);
        let scratch = if self.last.is_some() { element_count(&[at_once, made_line])? } else { 0 };
        let out_line = y.len() / (self.filter.sizes.images * lines);
        let all = Elements(y.as_mut_ptr());
        try_parallel_for(self.filter.sizes.images * bands, |index| {
            let (image, start) = (index / bands, index % bands * band);
            let end = (start + band).min(lines);
            with_band(ring + scratch, |floats| {
                let (ring, scratch) = floats.split_at_mut(ring);
                let (mut made, mut oy) = (0, start);
                while oy < end {
                    let count = at_once.min(end - oy);
                    let low = (oy * g.stride[0]).saturating_sub(g.begin[0]).min(g.input[0]);
                    let high =
                        ((oy + count - 1) * g.stride[0] + span).saturating_sub(g.begin[0]).min(g.input[0]);
                    made = made.max(low);
                    while made < high {
                        let slot = made % held;
                        let new = (high - made).min(held - slot);
                        let pixels = (image * g.input[0] + made) * g.input[1]
                            ..(image * g.input[0] + made + new) * g.input[1];
                        let Packed::Panels(panels) = self.first.packed else {
                            return Err(Error::internal("a convolution without panels"));
                        };
                        convolve_rows(
                            self.x,
                            self.first.sizes,
                            panels,
                            self.first.bias,
                            &self.first.ready,
                            pixels,
                            &mut ring[slot * line..][..new * line],
                        )?;
                        made += new;
                    }
                    let at = image * lines + oy;
                    // SAFETY: the lines from `oy` on are this task's alone, and lie inside `y`, which has
                    // `images · lines` of them.
                    let y =
                        unsafe { std::slice::from_raw_parts_mut(all.at(at * out_line), count * out_line) };
                    let Some(last) = self.last else {
                        self.filter_lines(&filter, Lines { data: ring, held }, oy, y);
                        oy += count;
                        continue;
                    };
                    let scratch = &mut scratch[..count * made_line];
                    self.filter_lines(&filter, Lines { data: ring, held }, oy, scratch);
                    let Packed::Panels(panels) = last.packed else {
                        return Err(Error::internal("a convolution without panels"));
                    };
                    product_rows(scratch, last.sizes, panels, last.bias, &last.ready, at * g.output[1], y)?;
                    oy += count;
                }
                Ok(())
            })?
        })
    }

    /// Lines of the depthwise filter from `oy` on, as many as `to` takes.
    fn filter_lines(&self, filter: &Filter<'_>, x: Lines<'_>, oy: usize, to: &mut [f32]) {
        let line = filter.g.output[1] * filter.channels;
        for (k, to) in to.chunks_exact_mut(line).enumerate() {
            filter.line(x, oy + k, to);
            self.filter.ready.apply(0, to);
        }
    }
}

impl Operator for ConvBlock {
    fn infer(&self, inputs: Operands<'_, Fact>) -> Result<Vec<Fact>, Infer> {
        let mut facts = vec![inputs.required(0)?.clone()];
        for (part, others) in self.with_inputs(inputs) {
            let operands: Vec<Option<&Fact>> = std::iter::once(facts.first()).chain(others).collect();
            facts = part.infer(Operands::new(&operands))?;
        }
        Ok(facts)
    }

    fn eval(&self, inputs: Operands<'_, Tensor>, mode: EvalPrecision) -> Result<Vec<Tensor>> {
        self.one_by_one(inputs, None, mode)
    }

    fn engine(&self) -> Option<&dyn Engine> {
        Some(self)
    }

    fn error_bound(&self, inputs: Operands<'_, Fact>) -> Bound {
        match self.with_inputs(inputs).next() {
            Some((part, others)) => part.error_bound(Operands::new(
                &std::iter::once(inputs.optional(0)).chain(others).collect::<Vec<_>>(),
            )),
            None => Bound::Elementwise,
        }
    }

    fn flops(&self, inputs: Operands<'_, Fact>, _outputs: &[Fact]) -> u64 {
        let (mut facts, mut sum) = (inputs.optional(0).cloned().into_iter().collect::<Vec<_>>(), 0);
        for (part, others) in self.with_inputs(inputs) {
            let operands: Vec<Option<&Fact>> = std::iter::once(facts.first()).chain(others).collect();
            let Ok(results) = part.infer(Operands::new(&operands)) else { return sum };
            sum += part.flops(Operands::new(&operands), &results);
            facts = results;
        }
        sum
    }
}

impl Engine for ConvBlock {
    fn run(
        &self,
        inputs: Operands<'_, Tensor>,
        packed: Option<&Packed>,
        _wanted: usize,
        mode: EvalPrecision,
    ) -> Result<Option<Vec<Tensor>>> {
        let Some(Packed::ConvBlock(packed)) = packed else { return Ok(None) };
        match self.by_bands(inputs, packed)? {
            Some(result) => Ok(Some(vec![result])),
            None => self.one_by_one(inputs, Some(packed), mode).map(Some),
        }
    }
}

/// Rewrites a graph that is in the order of channels innermost already.
pub fn rewrite(graph: &mut Graph) {
    let mut readers: HashMap<ValueId, Vec<usize>> = HashMap::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        node.inputs.iter().flatten().for_each(|&id| readers.entry(id).or_default().push(index));
    }
    // A result that one node reads, as its image alone.
    let next = |node: &Node| -> Option<usize> {
        let id = node.outputs.first().copied().flatten()?;
        let &[reader] = readers.get(&id)?.as_slice() else { return None };
        (!graph.outputs.contains(&id) && graph.nodes[reader].inputs.first() == Some(&Some(id)))
            .then_some(reader)
    };
    let mut chains = vec![];
    for (index, node) in graph.nodes.iter().enumerate() {
        let (Some(first), Some(filter)) = (convolution(graph, node), next(node)) else { continue };
        let Some(second) = convolution(graph, &graph.nodes[filter]) else { continue };
        let plain = |conv: &Conv| conv.epilogue.operands <= 1;
        if first.groups != 1 || !plain(first) || second.groups == 1 || !plain(second) {
            continue;
        }
        let mut members = vec![index, filter];
        if let Some(last) = next(&graph.nodes[filter])
            && convolution(graph, &graph.nodes[last]).is_some_and(|conv| conv.groups == 1)
            && weights(graph, &graph.nodes[last]).is_some_and(|w| w.shape()[2..] == [1, 1])
        {
            members.push(last);
        }
        chains.push(members);
    }
    let mut gone = vec![false; graph.nodes.len()];
    for members in chains {
        // A 1×1 convolution between two filters belongs to the first of them.
        if members.iter().any(|&index| gone[index]) {
            continue;
        }
        let nodes: Vec<Node> = members.iter().map(|&index| graph.nodes[index].clone()).collect();
        // By type: what the rewrite to channels innermost left.
        let parts: Option<Vec<ChannelsLast>> =
            nodes.iter().map(|node| node.op.downcast::<ChannelsLast>().cloned()).collect();
        let (Some(parts), [head, .., tail], Some(&last)) = (parts, nodes.as_slice(), members.last()) else {
            continue;
        };
        let given = nodes.iter().map(|node| node.inputs.len() - 1).collect();
        let inputs = head
            .inputs
            .iter()
            .take(1)
            .chain(nodes.iter().flat_map(|node| &node.inputs[1..]))
            .copied()
            .collect();
        let name = nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(" + ");
        graph.nodes[last] = Node { name, op: Arc::new(ConvBlock { parts, given }), inputs, ..tail.clone() };
        members.iter().filter(|&&index| index != last).for_each(|&index| gone[index] = true);
    }
    let mut index = 0;
    graph.nodes.retain(|_| {
        index += 1;
        !gone[index - 1]
    });
}

/// The convolution of a node with channels innermost, its weights packed before a run: one of float32 over
/// two axes.
fn convolution<'a>(graph: &Graph, node: &'a Node) -> Option<&'a Conv> {
    // By type: the block is of convolutions.
    let conv = node.op.downcast::<ChannelsLast>()?.inner().downcast::<Conv>()?;
    let w = weights(graph, node)?;
    // With groups, one filter for each channel alone.
    (conv.groups == 1 || w.shape()[0] == conv.groups && w.shape()[1] == 1).then_some(conv)
}

fn weights<'a>(graph: &'a Graph, node: &Node) -> Option<&'a Tensor> {
    graph
        .constant(node.inputs.get(1).copied().flatten()?)
        .filter(|w| w.dtype() == DType::F32 && w.rank() == 4)
}
