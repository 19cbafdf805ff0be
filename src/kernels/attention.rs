//! Attention: `shaders/attention.wgsl`, `shaders/attention_keys.wgsl` where queries are few, and
//! `shaders/attention_rows.wgsl` for software adapters.

use super::Lowering;
use super::block::parameters;
use super::reduction_group::ReductionGroup;
use super::{Kernel, Prelude, folded_grid};
use crate::base::{Access, BufferId, Capabilities, ElementFormat, Fact, Layout, Unsupported, View};
use crate::tensor::DType;

const COMMON: &str = include_str!("../../shaders/lib/attention.wgsl");

pub static ATTENTION: Kernel = Kernel {
    stem: "attention",
    shader: include_str!("../../shaders/attention.wgsl"),
    params: Params::MEMBERS,
    variants: tiled_variants,
};
pub static ATTENTION_ROWS: Kernel = Kernel {
    stem: "attention_rows",
    shader: include_str!("../../shaders/attention_rows.wgsl"),
    params: Params::MEMBERS,
    variants: row_variants,
};
pub static ATTENTION_KEYS: Kernel = Kernel {
    stem: "attention_keys",
    shader: include_str!("../../shaders/attention_keys.wgsl"),
    params: Params::MEMBERS,
    variants: key_variants,
};
pub static ATTENTION_JOIN: Kernel = Kernel {
    stem: "attention_join",
    shader: include_str!("../../shaders/attention_join.wgsl"),
    params: JoinParams::MEMBERS,
    variants: join_variants,
};

parameters! {
    /// Where an operand lies: strides in groups of 4 elements.
    struct Heads {
        offset: u32,
        batch: u32,
        head: u32,
        row: u32,
    }
}

parameters! {
    struct Params {
        queries: u32,
        keys: u32,
        group: u32,
        flags: u32,
        q: Heads,
        k: Heads,
        v: Heads,
        y: Heads,
        mask: Heads,
        offset: i32,
        left: i32,
        right: i32,
        tail: u32,
        scale: f32,
        softcap: f32,
        nothing: f32,
        depth4: u32,
        value4: u32,
        rows: u32,
        opaque_zero: u32,
        chunk: u32,
    }
}

parameters! {
    struct JoinParams {
        groups: u32,
        per_row: u32,
        splits: u32,
        value4: u32,
        queries: u32,
        rows: u32,
        zero_unseen: u32,
        spare: u32,
        y: Heads,
    }
}

const HAS_LENGTHS: u32 = 1;
const ZERO_UNSEEN: u32 = 2;

/// The largest number of elements of a key or a value that the kernels hold.
pub const MAX_DEPTH: usize = 256;
/// Where a query's sight has no end; keys and offsets stay below it.
const UNBOUNDED: i32 = 1 << 29;

/// What makes a variant: see the shaders.
#[derive(Debug, Clone, Copy)]
struct AttentionVariant {
    depth4: u32,
    value4: u32,
    tail: bool,
    softcap: bool,
    /// A mask of floats that are added, or of bools.
    mask: Option<bool>,
}

/// Invocations of a workgroup on hardware, a query each; and on a software adapter, where 8 make one vector.
const WIDTH: u32 = 64;
const NARROW: u32 = 8;

/// Invocations that share the keys of a query, four to a key; no fewer than a value has groups.
const KEY_WIDTH: u32 = 128;
/// The most queries for which keys are shared out, each query being a workgroup's.
const FEW_QUERIES: usize = 16;
/// Workgroups that an adapter should have to do, and the fewest keys that are worth one: more are made for
/// fewer queries and heads.
const MIN_WORKGROUPS: usize = 256;
const CHUNK: usize = 256;

/// Keys that pass through workgroup memory at a time: 16 KiB hold them with their values.
fn tile(depth4: u32, value4: u32) -> u32 {
    if depth4 + value4 <= 64 { 16 } else { 8 }
}

/// The queries that an invocation makes on a software adapter: more share a load, and take longer to
/// translate. `groups`: those of a key and of a value.
fn rows(queries: usize, groups: u32) -> u32 {
    let most = match groups {
        0..=32 => 4,
        33..=64 => 2,
        _ => 1,
    };
    most.min(u32::try_from(queries.div_ceil(NARROW as usize)).unwrap_or(most)).max(1).next_power_of_two()
}

fn prelude(storage: ElementFormat, v: AttentionVariant) -> Prelude {
    let base = Prelude::new()
        .storage(storage)
        .constant("D4", v.depth4)
        .constant("V4", v.value4)
        .flag("TAIL", v.tail)
        .flag("SOFTCAP", v.softcap);
    let base = base.flag("MASK", v.mask.is_some());
    let base = if v.mask == Some(true) {
        let seen = "vec4(Mlane_of(m, 0u), Mlane_of(m, 1u), Mlane_of(m, 2u), Mlane_of(m, 3u)) != vec4(0)";
        base.typed("M", ElementFormat::I32)
            .code(&format!("alias StoredMask = MStored4;\nfn mask4(m: StoredMask) -> vec4<f32> {{ return select(vec4(p.nothing), vec4(0.0), {seen}); }}\n"))
    } else {
        base.code("alias StoredMask = Stored4;\nfn mask4(m: StoredMask) -> vec4<f32> { return load4(m); }\n")
    };
    base.code(COMMON)
}

/// Results as the output stores them.
const RESULT: &str = "alias StoredResult = Stored4;\n";
const WHOLE: &str = "alias StoredResult = Stored4;\n\
    fn result4(total: vec4<f32>, sum: f32) -> StoredResult { return store4(finished(total, sum)); }\n\
    fn measures4(high: f32, sum: f32) -> StoredResult { return store4(vec4(0.0)); }\n";
/// Float32 whatever the output stores, in a buffer of u32.
const PARTS: &str = "alias StoredResult = vec4<u32>;\n\
    fn result4(total: vec4<f32>, sum: f32) -> StoredResult { return bitcast<vec4<u32>>(total); }\n\
    fn measures4(high: f32, sum: f32) -> StoredResult { return bitcast<vec4<u32>>(vec4(high, sum, 0.0, 0.0)); }\n";

fn by_keys(storage: ElementFormat, v: AttentionVariant, split: bool) -> Prelude {
    let group = ReductionGroup { width: KEY_WIDTH, size: KEY_WIDTH, stride: 1, cached: 1 };
    prelude(storage, v).flag("SPLIT", split).code(if split { PARTS } else { WHOLE }).reduction_group(group)
}

fn join(storage: ElementFormat) -> Prelude {
    Prelude::new().storage(storage).constant("WIDTH", WIDTH)
}

fn tiled(storage: ElementFormat, v: AttentionVariant) -> Prelude {
    prelude(storage, v).code(RESULT).constant("WIDTH", WIDTH).constant("TILE", tile(v.depth4, v.value4))
}

fn by_rows(storage: ElementFormat, v: AttentionVariant, rows: u32) -> Prelude {
    let base = prelude(storage, v).code(RESULT).constant("WIDTH", NARROW).constant("ROWS", rows);
    base.turns("KEY_CALLS", v.depth4.div_ceil(4)).turns("VALUE_CALLS", v.value4.div_ceil(4))
}

fn test_variants() -> Vec<(ElementFormat, AttentionVariant)> {
    let plain = AttentionVariant { depth4: 16, value4: 16, tail: false, softcap: false, mask: None };
    let mut list = vec![];
    for storage in [ElementFormat::F32, ElementFormat::F16, ElementFormat::F16Packed] {
        for mask in [None, Some(false), Some(true)] {
            list.push((storage, AttentionVariant { mask, ..plain }));
        }
        list.push((
            storage,
            AttentionVariant { depth4: 2, value4: 3, tail: true, softcap: true, mask: Some(false) },
        ));
        list.push((storage, AttentionVariant { depth4: 64, value4: 64, ..plain }));
    }
    list
}

fn tiled_variants() -> Vec<Prelude> {
    test_variants().into_iter().map(|(storage, variant)| tiled(storage, variant)).collect()
}

fn row_variants() -> Vec<Prelude> {
    test_variants()
        .into_iter()
        .map(|(storage, variant)| by_rows(storage, variant, rows(100, variant.depth4 + variant.value4)))
        .collect()
}

fn key_variants() -> Vec<Prelude> {
    test_variants()
        .into_iter()
        .flat_map(|(storage, variant)| [false, true].map(|split| by_keys(storage, variant, split)))
        .collect()
}

fn join_variants() -> Vec<Prelude> {
    [ElementFormat::F32, ElementFormat::F16, ElementFormat::F16Packed].map(join).into()
}

/// Whether the kernels take heads of these depths.
pub fn supports(depth: usize, value_depth: usize) -> bool {
    (1..=MAX_DEPTH).contains(&depth) && (1..=MAX_DEPTH).contains(&value_depth)
}

fn beyond() -> Unsupported {
    Unsupported::new("attention beyond 2³² elements")
}

/// Strides of `[batch, heads, rows, …]` in groups of 4.
fn strides(view: &View) -> Result<Heads, Unsupported> {
    let group = |axis: usize| {
        if view.shape[axis] > 1 { u32::try_from(view.strides[axis] / 4).map_err(|_| beyond()) } else { Ok(0) }
    };
    Ok(Heads {
        offset: u32::try_from(view.offset / 4).map_err(|_| beyond())?,
        batch: group(0)?,
        head: group(1)?,
        row: group(2)?,
    })
}

/// What is computed: softmax(scale · Q·Kᵀ + mask) · V for each head.
#[derive(Debug, Clone, Copy)]
pub struct Problem {
    pub batch: usize,
    pub heads: usize,
    /// Each head of K and V serves `heads / kv_heads` of Q.
    pub kv_heads: usize,
    pub queries: usize,
    /// Keys that are seen, at most: past ones included, and no more than a mask has.
    pub keys: usize,
    /// The key that query 0 is at.
    pub past: usize,
    /// Elements of a query and of a key.
    pub depth: usize,
    pub value_depth: usize,
    pub scale: f32,
    /// Scores s become cap · tanh(s / cap); 0 leaves them.
    pub softcap: f32,
    pub causal: bool,
    /// How many keys before and behind its own a query sees.
    pub window: [Option<usize>; 2],
    /// Whether a query that sees no key gets zeros; else NaN.
    pub zero_unseen: bool,
}

/// Where everything lies: `[batch, heads, rows, depth]` each, their rows whole groups of 4 elements.
#[derive(Debug, Clone)]
pub struct Tensors {
    pub q: View,
    pub k: View,
    pub v: View,
    pub y: View,
    /// `[batch, heads, queries, keys]`, and whether it is of bools, which say what is seen.
    pub mask: Option<(View, bool)>,
    /// The number of valid keys of each batch, int64.
    pub lengths: Option<BufferId>,
}

/// Emits an attention of heads that the kernels take: see [`supports`].
pub fn emit(
    at: &mut dyn Lowering,
    storage: ElementFormat,
    problem: &Problem,
    tensors: &Tensors,
) -> Result<(), Unsupported> {
    let Tensors { q, k, v, y, mask, lengths } = tensors;
    let dummy = at.dummy(storage)?;
    let mask_place = mask.as_ref().map_or(dummy, |(view, _)| view.buffer);
    let buffers = [q.buffer, k.buffer, v.buffer, mask_place, lengths.unwrap_or(dummy), y.buffer];
    let to_i32 =
        |value: usize| i32::try_from(value).ok().filter(|&value| value < UNBOUNDED).ok_or_else(beyond);
    let far = |window: Option<usize>| {
        window.map_or(UNBOUNDED, |size| i32::try_from(size).unwrap_or(UNBOUNDED).min(UNBOUNDED))
    };
    let (depth4, value4) = (
        to_i32(problem.depth)?.unsigned_abs().div_ceil(4),
        to_i32(problem.value_depth)?.unsigned_abs().div_ceil(4),
    );
    let mut params = Params {
        queries: to_i32(problem.queries)?.unsigned_abs(),
        keys: to_i32(problem.keys)?.unsigned_abs(),
        group: to_i32(problem.heads / problem.kv_heads)?.unsigned_abs(),
        flags: if lengths.is_some() { HAS_LENGTHS } else { 0 }
            | if problem.zero_unseen { ZERO_UNSEEN } else { 0 },
        q: strides(q)?,
        k: strides(k)?,
        v: strides(v)?,
        y: strides(y)?,
        mask: mask.as_ref().map(|(view, _)| strides(view)).transpose()?.unwrap_or_default(),
        offset: to_i32(problem.past)?,
        left: far(problem.window[0]),
        right: if problem.causal { 0 } else { far(problem.window[1]) },
        tail: (depth4 * 4).min(to_i32(problem.depth)?.unsigned_abs() - (depth4 - 1) * 4),
        scale: problem.scale,
        softcap: problem.softcap,
        nothing: f32::NEG_INFINITY,
        depth4,
        value4,
        rows: rows(problem.queries, depth4 + value4),
        opaque_zero: 0,
        chunk: 0,
    };
    let variant = AttentionVariant {
        depth4,
        value4,
        tail: !problem.depth.is_multiple_of(4),
        softcap: problem.softcap > 0.0,
        mask: mask.as_ref().map(|mask| mask.1),
    };
    let grid = |queries: u32| -> Result<[u32; 3], Unsupported> {
        Ok([
            to_i32(problem.queries)?.unsigned_abs().div_ceil(queries),
            to_i32(problem.heads)?.unsigned_abs(),
            to_i32(problem.batch)?.unsigned_abs(),
        ])
    };
    let capabilities = at.capabilities();
    if row_by_row(&capabilities) {
        let rows = rows(problem.queries, depth4 + value4);
        return at.emit(
            &ATTENTION_ROWS,
            by_rows(storage, variant, rows),
            params,
            &bound(buffers),
            grid(rows * NARROW)?,
        );
    }
    let rows = to_i32(problem.heads.saturating_mul(problem.queries))?.unsigned_abs();
    if problem.queries > FEW_QUERIES || rows > capabilities.max_grid {
        return at.emit(&ATTENTION, tiled(storage, variant), params, &bound(buffers), grid(WIDTH)?);
    }
    // A workgroup a query; several where these are few and the keys many.
    let batch = grid(1)?[2];
    let chunk = chunk(problem.keys, (rows as usize).saturating_mul(problem.batch));
    let splits = to_i32(problem.keys.div_ceil(chunk).max(1))?.unsigned_abs();
    (params.rows, params.chunk) = (rows, to_i32(chunk)?.unsigned_abs());
    if splits == 1 {
        return at.emit(
            &ATTENTION_KEYS,
            by_keys(storage, variant, false),
            params,
            &bound(buffers),
            [1, rows, batch],
        );
    }
    let shape = vec![problem.batch, rows as usize, splits as usize, 4 * (value4 as usize + 1)];
    let parts = at.scratch(&Fact::new(DType::U32, shape), Layout::Dense)?.buffer;
    let [.., output] = buffers;
    let mut to_parts = buffers;
    to_parts[5] = parts;
    at.emit(
        &ATTENTION_KEYS,
        by_keys(storage, variant, true),
        params,
        &bound(to_parts),
        [splits, rows, batch],
    )?;
    let groups =
        to_i32(problem.batch.saturating_mul(rows as usize).saturating_mul(value4 as usize))?.unsigned_abs();
    let grid = folded_grid(groups.div_ceil(WIDTH) as u64, capabilities.max_grid);
    let zero_unseen = problem.zero_unseen as u32;
    let params = JoinParams {
        groups,
        per_row: grid[0],
        splits,
        value4,
        queries: params.queries,
        rows,
        zero_unseen,
        spare: 0,
        y: params.y,
    };
    at.emit(&ATTENTION_JOIN, join(storage), params, &[(parts, Access::Read), (output, Access::Write)], grid)
}

/// The bindings of the buffers of Q, K, V, the mask, the lengths and the result.
fn bound(buffers: [BufferId; 6]) -> Vec<(BufferId, Access)> {
    let access = [Access::Read, Access::Read, Access::Read, Access::Read, Access::Read, Access::Write];
    buffers.into_iter().zip(access).collect()
}

/// The keys of a workgroup, where there are `keys` for each of `rows` queries of all heads and batches.
fn chunk(keys: usize, rows: usize) -> usize {
    let splits = MIN_WORKGROUPS.div_ceil(rows.max(1)).min(keys / CHUNK).max(1);
    keys.div_ceil(splits).max(1)
}

/// Barriers cost a software adapter more than reading keys anew.
fn row_by_row(capabilities: &Capabilities) -> bool {
    capabilities.software
}
