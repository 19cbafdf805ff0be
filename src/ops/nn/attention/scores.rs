//! The scores of attention as a result on the GPU, beside what the kernel makes of them: products, capped,
//! masked, as weights.

use super::{Attention, AttentionSizes, LENGTHS, Reach, Scores};
use crate::base::{Fact, Layout, Reduction, Unsupported, View};
use crate::expression::{Arg, Pointwise, table};
use crate::kernels::epilogue::OutputStage;
use crate::kernels::{Lowering, Target, matmul, pointwise, reduce, softmax};
use crate::tensor::{Boolean, DType, Tensor, allocate, element_count};

/// The score of a key that isn't seen.
const UNSEEN: Arg = Arg::Const(f64::NEG_INFINITY);

/// Emits output 3 from queries and keys `[batch, heads, rows, depth]` and a mask, its kind and its keys.
pub(super) fn give_out(
    at: &mut dyn Lowering,
    op: &Attention,
    sizes: &AttentionSizes,
    [q, k]: [&View; 2],
    mask: Option<&(View, bool, usize)>,
) -> Result<(), Unsupported> {
    let made = at.output_fact(3)?.clone();
    if made.count() == 0 {
        return at.output(3, Layout::Rows4).map(drop);
    }
    let last = if op.softcap > 0.0 || op.scores != Scores::Capped { op.scores } else { Scores::Products };
    if last == Scores::Weights {
        at.holds_sums(0)?;
    }
    let products = if last == Scores::Products {
        at.output(3, Layout::Rows4)?
    } else {
        at.scratch(&made, Layout::Rows4)?
    };
    product(at, op, sizes, [q, k], &products)?;
    if last == Scores::Products {
        return Ok(());
    }

    let mut e = Pointwise { operands: 1, steps: vec![] };
    let mut operands = vec![(products, made.dtype)];
    let mut score = Arg::Operand(0);
    if op.softcap > 0.0 {
        let cap = Arg::Const(f64::from(op.softcap));
        score = e.push(&table::DIV, vec![score, cap]);
        score = e.push(&table::TANH, vec![score]);
        score = e.push(&table::MUL, vec![score, cap]);
    }
    if last != Scores::Capped {
        if let Some((view, bools, keys)) = mask {
            let dtype = if *bools { DType::Bool } else { made.dtype };
            operands.push((widened(at, view, dtype, [*keys, sizes.keys])?, dtype));
            let other = Arg::Operand(operands.len() - 1);
            let (taken, value) = if *bools {
                (other, score)
            } else {
                let unseen = e.push(&table::EQUAL, vec![other, UNSEEN]);
                let sum = e.push(&table::ADD, vec![score, other]);
                (e.push(&table::NOT, vec![unseen]), sum)
            };
            score = e.push(&table::WHERE, vec![taken, value, UNSEEN]);
        }
        if let Some(seen) = reach(at, op, sizes, mask.map_or(sizes.keys, |mask| mask.2))? {
            operands.push((seen, DType::Bool));
            let seen = Arg::Operand(operands.len() - 1);
            e.push(&table::WHERE, vec![seen, score, UNSEEN]);
        }
    }
    e.operands = operands.len();
    if last != Scores::Weights {
        return pointwise::emit_output(at, &e, &operands, 3, Layout::Rows4);
    }
    let masked = at.scratch(&made, Layout::Rows4)?;
    let form = (made.dtype, Layout::Rows4);
    pointwise::emit_into(at, &e, &operands, &made.shape, form, masked.buffer)?;
    let storage = at.float_storage(0)?;
    if !op.zero_unseen {
        let output = at.output(3, Layout::Rows4)?;
        return softmax::run(at, storage, &masked, &output, Layout::Rows4, 3, false);
    }
    let weights = at.scratch(&made, Layout::Rows4)?;
    softmax::run(at, storage, &masked, &weights, Layout::Rows4, 3, false)?;
    // A query that sees no key has weights of 0.
    let high = reduce::reduced(at, Reduction::Max, made.dtype, masked, &[3])?;
    let mut e = Pointwise { operands: 2, steps: vec![] };
    let nothing = e.push(&table::EQUAL, vec![Arg::Operand(1), UNSEEN]);
    let something = e.push(&table::NOT, vec![nothing]);
    e.push(&table::WHERE, vec![something, Arg::Operand(0), Arg::Const(0.0)]);
    pointwise::emit_output(at, &e, &[(weights, made.dtype), (high, made.dtype)], 3, Layout::Rows4)
}

/// Emits the products of queries and keys, scaled; heads of Q that share one of K go by it.
fn product(
    at: &mut dyn Lowering,
    op: &Attention,
    s: &AttentionSizes,
    [q, k]: [&View; 2],
    to: &View,
) -> Result<(), Unsupported> {
    let storage = at.float_storage(0)?;
    let shared = s.heads.checked_div(s.kv_heads).unwrap_or(1);
    let batch = [s.batch, s.kv_heads, shared];
    let (&[qb, qh, qr, qd], &[kb, kh, kr, kd]) = (&q.strides[..], &k.strides[..]) else {
        return Err(Unsupported::new("scores of what has no heads"));
    };
    let queries = View {
        shape: [&batch[..], &[s.queries, s.depth]].concat(),
        strides: vec![qb, qh * shared as isize, qh, qr, qd],
        ..q.clone()
    };
    let keys = View {
        shape: vec![s.batch, s.kv_heads, 1, s.depth, s.keys],
        strides: vec![kb, kh, 0, kd, kr],
        ..k.clone()
    };
    let stage = OutputStage::plain(Target::of(to, Layout::Rows4)?)?;
    let factor = op.factor(s.depth) as f32;
    matmul::product(at, storage, [queries, keys], &batch, [s.queries, s.keys, s.depth], factor, &stage)
}

/// A mask over all keys: what lies behind its own is left out by the reach.
fn widened(
    at: &mut dyn Lowering,
    view: &View,
    dtype: DType,
    [own, all]: [usize; 2],
) -> Result<View, Unsupported> {
    if own == all {
        return Ok(view.clone());
    }
    let mut shape = view.shape.clone();
    if let Some(keys) = shape.last_mut() {
        *keys = all;
    }
    let wide = at.scratch(&Fact::new(dtype, shape), Layout::Rows4)?;
    if own > 0 {
        at.copy(view, &View { shape: view.shape.clone(), ..wide.clone() })?;
    }
    Ok(wide)
}

/// Which keys each query sees by its place, the window and the lengths, of those that a mask has; `None`:
/// all.
fn reach(
    at: &mut dyn Lowering,
    op: &Attention,
    sizes: &AttentionSizes,
    masked: usize,
) -> Result<Option<View>, Unsupported> {
    let lengths = at.constant(LENGTHS).map(Tensor::to_i64s).transpose()?;
    let limited = op.causal || op.window != [None, None] || lengths.is_some() || masked < sizes.keys;
    if !limited {
        return Ok(None);
    }
    let shape = [lengths.as_ref().map_or(1, Vec::len), 1, sizes.queries, sizes.keys];
    let mut seen: Vec<Boolean> = allocate(element_count(&shape)?)?;
    for batch in 0..shape[0] {
        let valid = lengths.as_ref().and_then(|list| list.get(batch).copied());
        let reach = Reach::new(op, sizes, valid);
        for query in 0..sizes.queries {
            let (first, behind) = reach.of(query);
            let own = (0..sizes.keys).map(|key| key >= first && key < behind && key < masked);
            seen.extend(own.map(Boolean::from));
        }
    }
    Ok(Some(at.table("the reach of queries", Tensor::new(shape, seen)?)?))
}
