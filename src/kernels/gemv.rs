//! Products of few rows on hardware adapters: `shaders/gemv.wgsl`.

use super::epilogue::{Epilogue, test_variants};
use super::matmul::Params;
use super::weights::{self, Form};
use super::{Kernel, Prelude, matmul, nbits};
use crate::base::{Capabilities, ElementFormat, TileConfiguration};

pub static GEMV: Kernel = Kernel {
    stem: "gemv",
    shader: include_str!("../../shaders/gemv.wgsl"),
    params: Params::MEMBERS,
    variants,
};

/// The most rows of A that it is for: beyond them a tile of [`super::gemm`] reads B as seldom.
pub const MAX_ROWS: usize = 8;

/// Invocations that fill a desktop GPU: some 40 cores of 512. WebGPU says nothing of the cores that there
/// are.
const MIN_INVOCATIONS: usize = 20 << 10;

/// Groups of 4 along k that an invocation should have at least.
const LEAST: usize = 4;

/// Groups of columns that a workgroup has: a cache line of float32 at least, and 64 invocations.
fn columns(slices: u32) -> u32 {
    (64 / slices).max(8)
}

/// The rows of a workgroup.
fn rows(m: usize) -> u32 {
    match m {
        0..=1 => 1,
        2..=4 => 4,
        _ => 8,
    }
}

/// The variants for a batch of products of `m` rows, `n4` groups of columns and `k4` groups of k, the rule's
/// first; none where it isn't for them.
pub fn variants_for(
    capabilities: &Capabilities,
    m: usize,
    n4: usize,
    k4: usize,
    batch: usize,
) -> Vec<TileConfiguration> {
    if capabilities.software || m > MAX_ROWS {
        return vec![];
    }
    let rows = rows(m);
    // Sums of all rows lie in workgroup memory, which WebGPU promises 16 KiB of.
    let all: Vec<u32> = [4, 8, 16, 32]
        .into_iter()
        .filter(|&slices| slices >= rows && (rows * columns(slices) * slices <= 1024))
        .collect();
    let worth = |slices: &&u32| k4 / **slices as usize >= LEAST;
    let enough =
        |slices: &&u32| n4.saturating_mul(batch).saturating_mul(**slices as usize) >= MIN_INVOCATIONS;
    let rule = all.iter().filter(worth).find(enough).or(all.iter().rfind(worth));
    let variant = |slices: u32| TileConfiguration { slices, ..TileConfiguration::alone(rows, false) };
    let rest = all.iter().filter(|slices| rule.is_some() && Some(*slices) != rule);
    rule.into_iter().chain(rest).map(|&slices| variant(slices)).collect()
}

/// Groups of columns that a variant's workgroup makes.
pub(super) fn columns_of(variant: TileConfiguration) -> u32 {
    columns(variant.slices)
}

pub(super) fn prelude(
    storage: ElementFormat,
    variant: TileConfiguration,
    tail: bool,
    form: Form,
    epilogue: &Epilogue,
) -> Prelude {
    let base = Prelude::new()
        .storage(storage)
        .constant("ROWS", variant.tile)
        .constant("COLUMNS", columns(variant.slices));
    epilogue
        .prelude(weights::prelude(base.constant("SLICES", variant.slices).flag("TAIL", tail), form))
        .code(matmul::COMMON)
}

fn variants() -> Vec<Prelude> {
    let mut list = vec![];
    for storage in [ElementFormat::F32, ElementFormat::F16, ElementFormat::F16Packed] {
        for (tile, slices, tail) in [(1, 4, true), (4, 32, false), (8, 16, true)] {
            let variant = TileConfiguration { slices, ..TileConfiguration::alone(tile, false) };
            let rows = |epilogue| prelude(storage, variant, tail, Form::Rows, epilogue);
            list.extend(test_variants().iter().map(rows));
        }
        let variant = TileConfiguration { slices: 16, ..TileConfiguration::alone(4, false) };
        for (epilogue, form) in test_variants().iter().zip(nbits::test_forms()).take(2) {
            list.push(prelude(storage, variant, true, form, epilogue));
        }
    }
    list
}
