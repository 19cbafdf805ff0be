//! Attention on the GPU: its operands as `[batch, heads, rows, depth]`, whatever form the node has.

use super::{Attention, AttentionSizes, LENGTHS, MASK, PAST, scores};
use crate::base::{ElementFormat, Fact, Layout, Operands, Unsupported, View};
use crate::kernels::attention::{MAX_DEPTH, Problem, Tensors, emit, supports};
use crate::kernels::{Lowering, matmul};
use crate::tensor::DType;

/// A view as `[batch, heads, rows, depth]`, its rows whole groups of 4 elements.
fn heads(at: &mut dyn Lowering, view: View, count: usize, flat: bool) -> Result<View, Unsupported> {
    let view = if flat {
        let (batch, rows, hidden) = (view.shape[0], view.shape[1], view.shape[2]);
        let shape = [batch, rows, count, hidden / count];
        at.reshaped(view, &shape, "attention of nothing")?.permuted(&[0, 2, 1, 3])
    } else {
        view
    };
    if matmul::readable(&view) { Ok(view) } else { at.in_layout(view, Layout::Rows4) }
}

/// Input `index` with its past rows before it, in output `output` where that is asked for.
fn with_past(at: &mut dyn Lowering, new: View, past: usize, output: usize) -> Result<View, Unsupported> {
    if !at.has_input(past) {
        at.alias(output, new.clone());
        return Ok(new);
    }
    let old = at.view(past)?;
    let all = if at.has_output(output) {
        at.output(output, Layout::Rows4)?
    } else {
        let shape = vec![new.shape[0], new.shape[1], old.shape[2] + new.shape[2], new.shape[3]];
        let dtype = at.fact(past)?.dtype;
        at.scratch(&Fact::new(dtype, shape), Layout::Rows4)?
    };
    let part = |from: usize, like: &View| View {
        offset: all.offset + from * all.strides[2] as usize,
        shape: like.shape.clone(),
        ..all.clone()
    };
    let (first, second) = (part(0, &old), part(old.shape[2], &new));
    if old.count() > 0 {
        at.copy(&old, &first)?;
    }
    at.copy(&new, &second)?;
    Ok(all)
}

/// The mask, its type, and how many keys it has.
fn mask(
    at: &mut dyn Lowering,
    sizes: &AttentionSizes,
    storage: ElementFormat,
) -> Result<Option<(View, bool, usize)>, Unsupported> {
    if !at.has_input(MASK) {
        return Ok(None);
    }
    let dtype = at.fact(MASK)?.dtype;
    let bools = dtype == DType::Bool;
    let own = at.storage(dtype)?;
    if !bools && own != storage {
        return Err(Unsupported::new(format!("a mask of {dtype} beside another type of query")));
    }
    let view = at.view(MASK)?;
    let view = if matmul::readable(&view) { view } else { at.in_layout(view, Layout::Rows4)? };
    let keys = view.shape.last().copied().unwrap_or(0);
    Ok(Some((view.broadcast(&[sizes.batch, sizes.heads, sizes.queries, keys]), bools, keys)))
}

/// Lowers an attention; where it is beyond the kernels, says why.
pub(super) fn lower(at: &mut dyn Lowering, op: &Attention) -> Result<(), Unsupported> {
    let facts: Vec<Option<Fact>> = (0..=LENGTHS).map(|index| at.fact(index).ok().cloned()).collect();
    let refs: Vec<Option<&Fact>> = facts.iter().map(Option::as_ref).collect();
    let sizes = AttentionSizes::of(op, Operands::new(&refs))?;
    if at.has_output(3) && at.has_input(LENGTHS) && at.constant(LENGTHS).is_none() {
        return Err(Unsupported::new("scores by lengths that are not known when the plan is made"));
    }
    // ONNX has them in int64, which the kernel reads.
    if at.has_input(LENGTHS) && at.fact(LENGTHS)?.dtype != DType::I64 {
        return Err(Unsupported::new(format!("lengths in {}", at.fact(LENGTHS)?.dtype)));
    }
    if op.precision == Some(DType::F64) {
        return Err(Unsupported::new("a softmax in float64"));
    }
    if !supports(sizes.depth, sizes.value_depth) {
        return Err(Unsupported::new(format!(
            "heads of {} and {} elements; the kernel holds 1 to {MAX_DEPTH}",
            sizes.depth, sizes.value_depth
        )));
    }
    let storage = at.float_storage(0)?;
    let (q, k, v) = (at.view(0)?, at.view(1)?, at.view(2)?);
    let q = heads(at, q, sizes.heads, sizes.flat)?;
    let k = if op.transposed_keys { k.permuted(&[0, 1, 3, 2]) } else { k };
    let k = heads(at, k, sizes.kv_heads, sizes.flat)?;
    let v = heads(at, v, sizes.kv_heads, sizes.flat)?;
    let (k, v) = (with_past(at, k, PAST, 1)?, with_past(at, v, PAST + 1, 2)?);
    let mask = mask(at, &sizes, storage)?;
    if at.has_output(3) {
        scores::give_out(at, op, &sizes, [&q, &k], mask.as_ref())?;
    }
    let lengths = at.optional_input(LENGTHS, Layout::Dense)?.map(|view| view.buffer);

    // Y is written row by row where its reader wants it.
    let order = if sizes.flat { [0, 2, 1, 3] } else { op.order };
    let whole = [sizes.batch, sizes.heads, sizes.queries, sizes.value_depth];
    let shape = order.map(|axis| whole[axis.min(3)]);
    let direct = !sizes.flat || sizes.value_depth.is_multiple_of(4);
    let (target, view) = if direct {
        let target = at.output(0, Layout::Rows4)?;
        let view = target.reshaped(&shape);
        (target, view)
    } else {
        let target = at.scratch(&Fact::new(at.fact(0)?.dtype, shape), Layout::Rows4)?;
        (target.clone(), Some(target))
    };
    let inverse = [0, 1, 2, 3].map(|axis| order.iter().position(|&from| from == axis).unwrap_or(axis));
    if let Some(view) = view {
        let problem = Problem {
            batch: sizes.batch,
            heads: sizes.heads,
            kv_heads: sizes.kv_heads,
            queries: sizes.queries,
            keys: mask.as_ref().map_or(sizes.keys, |mask| mask.2.min(sizes.keys)),
            past: sizes.past,
            depth: sizes.depth,
            value_depth: sizes.value_depth,
            scale: op.factor(sizes.depth) as f32,
            softcap: op.softcap,
            causal: op.causal,
            window: op.window,
            zero_unseen: op.zero_unseen,
        };
        let mask = mask.map(|(view, bools, _)| (view, bools));
        let tensors = Tensors { q, k, v, y: view.permuted(&inverse), mask, lengths };
        emit(at, storage, &problem, &tensors)?;
    }
    if !direct {
        let result = at.output_fact(0)?.shape.clone();
        let dense = at.in_layout(target, Layout::Dense)?;
        let view = dense.reshaped(&result).ok_or_else(|| Unsupported::new("attention of nothing"))?;
        at.alias(0, view);
    }
    Ok(())
}
