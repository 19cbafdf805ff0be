//! Random graphs: seeded, small and valid, of every operator that has cases, judged on the GPU against the CPU.
//!
//! docs/testing.md says how to raise their number and how to see one again. Every value has its elements while
//! a graph grows, so that indices lie inside, divisors aren't 0 and conversions stay in range: what comes out
//! is what ONNX's text says, and tools/random_graphs.py can ask onnxruntime for the same.

mod cases;
mod control;
mod conversion;
mod draw;
mod found;
mod grow;
mod images;
mod judge;
mod moves;
mod patterns;
mod places;
mod pointwise;
mod proto;
mod quantised;
mod shapes;
mod sums;
mod widened;
mod write;

use draw::Draw;
use grow::{Grower, Random};
use judge::{Found, Judge, Tally};
use sardonyx::gpu::{GpuDevice, LimitsOption, Selection, test_device};
use sardonyx::plan::Precision;
use sardonyx::random::SplitMix64;
use std::collections::BTreeMap;

/// What draws one node or a few; `None` where nothing fits.
type Rule = fn(&mut Grower) -> Option<()>;

/// The rules and their weights.
const RULES: &[(Rule, usize)] = &[
    (pointwise::of_floats, 8),
    (pointwise::of_any, 4),
    (pointwise::of_two, 10),
    (pointwise::of_many, 2),
    (pointwise::clip, 2),
    (pointwise::choice, 3),
    (conversion::any, 5),
    (control::chain, 2),
    (patterns::gate, 2),
    (patterns::norm, 2),
    (patterns::attention, 3),
    (patterns::block, 3),
    (moves::reshape, 3),
    (moves::flat, 1),
    (moves::squeeze, 3),
    (moves::transpose, 4),
    (moves::slice, 4),
    (moves::split, 3),
    (moves::concat, 5),
    (moves::pad, 3),
    (moves::expand, 3),
    (places::gather, 4),
    (places::gather_nd, 2),
    (places::scatter, 4),
    (shapes::blocks, 1),
    (shapes::made_of_shapes, 3),
    (shapes::odd_ones, 5),
    (sums::reduce, 6),
    (sums::places, 4),
    (sums::softmax, 4),
    (sums::normalization, 5),
    (sums::matmul, 6),
    (sums::gemm, 3),
    (images::convolution, 6),
    (images::pool, 5),
    (images::resize, 3),
    (quantised::there_and_back, 4),
    (quantised::product, 3),
    (quantised::convolution, 3),
    (control::choice, 3),
    (control::repeated, 3),
    (control::scanned, 2),
    (cases::any, 24),
];

/// The graph of a seed.
fn random(seed: u64) -> Random {
    let mut at = Grower::new(Draw(SplitMix64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5a)));
    for _ in 0..1 + at.draw.below(3) {
        let dtype = at.draw.dtype();
        let rank = at.draw.rank();
        let shape = at.draw.shape(rank);
        let tensor = at.draw.tensor(dtype, &shape);
        at.given(tensor);
    }
    let wanted = 3 + at.draw.below(13);
    let all: usize = RULES.iter().map(|rule| rule.1).sum();
    // Some draws fit nothing.
    for _ in 0..200 {
        if at.nodes.len() >= wanted {
            break;
        }
        let mut place = at.draw.below(all);
        let rule = RULES.iter().find(|rule| {
            let here = place < rule.1;
            place = place.wrapping_sub(rule.1);
            here
        });
        if let Some((rule, _)) = rule {
            rule(&mut at);
        }
    }
    at.finished()
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// One seed in six stores float32 as float16.
fn precision(seed: u64) -> Precision {
    if seed % 6 == 5 { Precision::F16 } else { Precision::F32 }
}

/// SARDONYX_RANDOM_DEVICE: `hardware` for the kernels of hardware, `webgpu` for these under WebGPU's limits.
fn device() -> Option<GpuDevice> {
    let device = test_device()?;
    match std::env::var("SARDONYX_RANDOM_DEVICE").as_deref() {
        Ok("hardware") => Some(device.as_hardware()),
        Ok("webgpu") => {
            Some(GpuDevice::open(&Selection::Gpu, &LimitsOption::WebGpu).unwrap().unwrap().as_hardware())
        }
        _ => Some(device),
    }
}

#[test]
fn the_gpu_gives_what_the_cpu_gives() {
    let Some(device) = device() else { return };
    let (first, count) = (number("SARDONYX_RANDOM_SEED", 0), number("SARDONYX_RANDOM_GRAPHS", 300));
    let (mut tally, mut wrong, mut refused) = (Tally::default(), vec![], BTreeMap::<String, usize>::new());
    let mut reasons = BTreeMap::new();
    for seed in first..first + count {
        if count > 200 && seed % 100 == 0 {
            eprintln!("seed {seed}, {} wrong", wrong.len());
        }
        let random = random(seed);
        for (op, (count, reason)) in &random.refused {
            *refused.entry(op.clone()).or_default() += count;
            reasons.insert(op.clone(), reason.clone());
        }
        let judge = Judge { device: device.clone(), precision: precision(seed), fault: None };
        if let Err(problem) = judge.verdict(&random, &mut tally) {
            let problem = format!("seed {seed} ({:?}):\n{problem}", judge.precision);
            if count > 200 {
                eprintln!("{problem}");
            }
            wrong.push(problem);
        }
    }
    println!("{tally}");
    if std::env::var_os("SHOW").is_some() {
        refused.iter().for_each(|(op, count)| println!("refused: {op} {count}: {}", reasons[op]));
    }
    assert!(wrong.is_empty(), "{} of {count} graphs:\n{}", wrong.len(), wrong.join("\n"));
}

/// Dropped elements and biases, edges that are off by one, sums in float16, buffers that are used too early.
const KINDS_OF_FAULTS: usize = 5;

/// The faults of tests/compare.rs, planted in random graphs: each is found.
#[test]
fn planted_faults_are_found() {
    let Some(device) = test_device() else { return };
    let (mut kinds, mut missed, mut planted) = (BTreeMap::<String, usize>::new(), vec![], 0);
    let least = number("SARDONYX_RANDOM_FAULTS", 60);
    for seed in 0..least.max(600) {
        // Which seeds draw a rare kind changes with every case that an operator gets.
        if seed >= least && kinds.len() == KINDS_OF_FAULTS {
            break;
        }
        let judge = Judge { device: device.clone(), precision: Precision::F32, fault: Some(seed) };
        match judge.judged(&random(seed)) {
            // A graph in which no fault would show, or which has no plan of its own.
            Found::Failed(problem) if problem.contains("no fault would show") => {}
            Found::Failed(problem) => missed.push(format!("seed {seed}: {problem}")),
            Found::Same(report) if report.planted.is_none() => {}
            Found::Same(report) => missed.push(format!("seed {seed}: {:?} is not found", report.planted)),
            Found::Different(report) => {
                let Some(fault) = &report.planted else {
                    missed.push(format!("seed {seed} differs without a fault"));
                    continue;
                };
                *kinds.entry(format!("{:?}", fault.kind)).or_default() += 1;
                planted += 1;
            }
        }
    }
    println!("{planted} planted: {kinds:?}");
    assert!(missed.is_empty(), "{} missed:\n{}", missed.len(), missed.join("\n"));
    assert_eq!(kinds.len(), KINDS_OF_FAULTS, "{kinds:?}");
}
