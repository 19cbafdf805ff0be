//! What takes many elements into one: reductions, softmax, attention, normalisations, pools, resizing, over
//! rows of special values.

use super::tally::{Tally, Wanted};
use super::values::Held;
use super::{Place, parsed, places, run};
use sardonyx::Tensor;
use sardonyx::ops::Attribute;

const INF: f32 = f32::INFINITY;
const NAN: f32 = f32::NAN;
const MAX: f32 = f32::MAX;
/// Elements of a row.
const N: usize = 6;

/// Rows that ask for something: infinities, a NaN first, amid and last, zeros, what overflows, what is
/// subnormal.
const ROWS: [[f32; N]; 20] = [
    [1.0, 2.0, -3.0, 0.5, 4.0, -1.0],
    [0.0, -0.0, 0.0, -0.0, 0.0, 0.0],
    [-INF; N],
    [INF; N],
    [NAN, 1.0, 2.0, 3.0, 4.0, 5.0],
    [1.0, 2.0, NAN, 3.0, 4.0, 5.0],
    [1.0, 2.0, 3.0, 4.0, 5.0, NAN],
    [NAN; N],
    [-INF, 1.0, -INF, 2.0, 3.0, -INF],
    [-INF, -INF, -INF, -INF, -INF, 7.0],
    [INF, 1.0, 2.0, 3.0, 4.0, 5.0],
    [INF, 1.0, -INF, 3.0, 4.0, 5.0],
    [INF, NAN, 0.0, 3.0, 4.0, 5.0],
    [MAX, MAX, 1.0, 2.0, 3.0, 4.0],
    [-MAX, MAX, -MAX, MAX, 0.0, 0.0],
    [1e20, -1e20, 1e20, 2e20, 0.0, 1e20],
    [1e-45, 1e-45, 0.0, 0.0, 1e-40, 0.0],
    [3.0; N],
    [65_504.0, 65_504.0, 1.0, -65_504.0, 2.0, 3.0],
    [88.0, 89.0, 104.0, -104.0, 90.0, 91.0],
];

/// Those of the rows as storage holds them.
fn stored(held: Held) -> Vec<[f64; N]> {
    ROWS.iter().map(|row| row.map(|x| held.stored(x as f64))).collect()
}

fn tag(place: &Place, held: Held) -> String {
    format!("{} in {held:?}", place.name)
}

/// A result and what float32 arithmetic makes of it where a square, a sum or an exponential on the way is
/// beyond its range.
fn cells(value: f64, overflowed: f64, relative: f64, held: Held) -> Vec<Wanted> {
    let mut list = vec![Wanted::exactly(held.stored(overflowed))];
    if value.is_finite() {
        list.push(Wanted {
            value,
            within: relative * value.abs() + held.rounding(value) + 4.0 * f32::MIN_POSITIVE as f64,
        });
    }
    list.push(Wanted::exactly(held.stored(value)));
    list
}

/// float32 arithmetic, infinite where it overflows.
fn f32_sum(list: impl Iterator<Item = f64>) -> f64 {
    list.fold(0f32, |sum, x| sum + x as f32) as f64
}

type Map<'a> = &'a dyn Fn(f64) -> f64;

/// ONNX's reductions by their formulas; a NaN anywhere is NaN. The second number is what float32 makes of it.
fn reduced(name: &str, row: &[f64]) -> (f64, f64) {
    let sum = |f: Map<'_>| (row.iter().map(|&x| f(x)).sum::<f64>(), f32_sum(row.iter().map(|&x| f(x))));
    let extreme = |f: fn(f64, f64) -> f64, start: f64| {
        if row.iter().any(|x| x.is_nan()) { f64::NAN } else { row.iter().copied().fold(start, f) }
    };
    let both = |(a, b): (f64, f64), f: &dyn Fn(f64) -> f64| (f(a), f(b));
    match name {
        "ReduceSum" => sum(&|x| x),
        "ReduceMean" => both(sum(&|x| x), &|s| s / row.len() as f64),
        "ReduceL1" => sum(&f64::abs),
        "ReduceL2" => both(sum(&|x| x * x), &f64::sqrt),
        "ReduceSumSquare" => sum(&|x| x * x),
        "ReduceLogSum" => both(sum(&|x| x), &f64::ln),
        "ReduceLogSumExp" => {
            let high = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let shift = if high.is_finite() { high } else { 0.0 };
            let value = row.iter().map(|x| (x - shift).exp()).sum::<f64>().ln() + shift;
            (value, value)
        }
        "ReduceProd" => (row.iter().product(), row.iter().fold(1f32, |a, &x| a * x as f32) as f64),
        "ReduceMax" => {
            both((extreme(f64::max, f64::NEG_INFINITY), extreme(f64::max, f64::NEG_INFINITY)), &|x| x)
        }
        _ => both((extreme(f64::min, f64::INFINITY), extreme(f64::min, f64::INFINITY)), &|x| x),
    }
}

const REDUCTIONS: [&str; 10] = [
    "ReduceSum",
    "ReduceMean",
    "ReduceL1",
    "ReduceL2",
    "ReduceSumSquare",
    "ReduceLogSum",
    "ReduceLogSumExp",
    "ReduceProd",
    "ReduceMax",
    "ReduceMin",
];

#[test]
fn reductions() {
    let mut tally = Tally::default();
    for place in places() {
        for (held, name) in Held::ALL.into_iter().flat_map(|held| REDUCTIONS.map(|name| (held, name))) {
            let rows = stored(held);
            // Along rows, and down columns: of neighbours in memory, and of what lies apart.
            for down in [false, true] {
                let list: Vec<f32> = if down {
                    (0..N * ROWS.len()).map(|at| ROWS[at % ROWS.len()][at / ROWS.len()]).collect()
                } else {
                    ROWS.concat()
                };
                let shape = if down { [N, ROWS.len()] } else { [ROWS.len(), N] };
                let axes = Tensor::int64s([if down { 0 } else { 1 }]);
                let op = parsed(name, &[("keepdims", Attribute::Int(0))], 2, 1);
                let Some(results) =
                    run(op, name, &[held.tensor(&shape, &list), axes], &place, held.precision(), 1)
                else {
                    continue;
                };
                for (row, got) in rows.iter().zip(results[0].to_f64s().unwrap()) {
                    let (value, overflowed) = reduced(name, row);
                    let cancels = row.iter().map(|x| x.abs()).filter(|x| x.is_finite()).fold(0.0, f64::max)
                        * 1e-6
                        * if name.contains("Sum") || name.contains("Mean") { 1.0 } else { 0.0 };
                    let mut wanted = cells(value, overflowed, 1e-5, held);
                    wanted.push(Wanted { value, within: cancels });
                    // Partial sums of both signs may overflow in one order and not in another.
                    if row.iter().any(|&x| x == f64::from(MAX))
                        && row.iter().any(|&x| x == -f64::from(MAX))
                        && name != "ReduceMax"
                        && name != "ReduceMin"
                    {
                        wanted.extend([f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 0.0].map(Wanted::exactly));
                    }
                    // A product's overflow depends on its order too, and a subnormal row may be taken for 0.
                    if name == "ReduceProd" && row.iter().all(|x| x.is_finite()) {
                        wanted.extend(
                            [f64::INFINITY.copysign(value), 0.0, f64::NAN]
                                .map(|x| Wanted::exactly(held.stored(x))),
                        );
                    }
                    if row.iter().all(|x| x.abs() < held.smallest_normal()) {
                        wanted.push(Wanted::exactly(reduced(name, &[0.0; N]).0));
                    }
                    tally.cell(
                        &tag(&place, held),
                        || format!("{name}({row:?}){}", if down { " down" } else { "" }),
                        got,
                        &wanted,
                    );
                }
            }
            // Nothing at all: the neutral element.
            let op = parsed(name, &[("keepdims", Attribute::Int(0))], 2, 1);
            let Some(results) =
                run(op, name, &[held.tensor(&[2, 0], &[]), Tensor::int64s([1])], &place, held.precision(), 1)
            else {
                continue;
            };
            let want = match name {
                "ReduceProd" => 1.0,
                "ReduceMax" | "ReduceLogSum" | "ReduceLogSumExp" => f64::NEG_INFINITY,
                "ReduceMin" => f64::INFINITY,
                "ReduceMean" => f64::NAN,
                _ => 0.0,
            };
            for got in results[0].to_f64s().unwrap() {
                tally.cell(
                    &tag(&place, held),
                    || format!("{name} of nothing"),
                    got,
                    &[Wanted::exactly(want)],
                );
            }
        }
    }
    tally.finish("reductions");
}

/// exp(x − max) / Σ; NaN all over where a row holds a NaN, an ∞, or −∞ alone.
fn softmax(row: &[f64], logarithm: bool) -> Vec<f64> {
    let high = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = row.iter().map(|x| (x - high).exp()).sum();
    row.iter().map(|x| if logarithm { x - high - sum.ln() } else { (x - high).exp() / sum }).collect()
}

#[test]
fn softmax_rows() {
    let mut tally = Tally::default();
    for place in places() {
        for (held, name) in
            Held::ALL.into_iter().flat_map(|held| ["Softmax", "LogSoftmax"].map(|name| (held, name)))
        {
            for down in [false, true] {
                let at = |row: usize, k: usize| if down { k * ROWS.len() + row } else { row * N + k };
                let mut list = vec![0f32; N * ROWS.len()];
                ROWS.iter()
                    .enumerate()
                    .for_each(|(row, xs)| xs.iter().enumerate().for_each(|(k, &x)| list[at(row, k)] = x));
                let shape = if down { [N, ROWS.len()] } else { [ROWS.len(), N] };
                let op = parsed(name, &[("axis", Attribute::Int(!down as i64))], 1, 1);
                let Some(results) = run(op, name, &[held.tensor(&shape, &list)], &place, held.precision(), 1)
                else {
                    continue;
                };
                let got = results[0].to_f64s().unwrap();
                for (row, xs) in stored(held).iter().enumerate() {
                    for (k, value) in softmax(xs, name == "LogSoftmax").into_iter().enumerate() {
                        // The difference of two numbers near the largest may be beyond float32.
                        let far = xs.iter().any(|x| x.abs() > 1e38 && x.is_finite()) && name == "LogSoftmax";
                        let overflowed = if far && value < -3e38 { f64::NEG_INFINITY } else { value };
                        let mut wanted = cells(value, overflowed, 1e-4, held);
                        if name == "LogSoftmax" {
                            // The logarithm's own error is absolute.
                            wanted.push(Wanted {
                                value,
                                within: 4.0 * f64::exp2(-24.0) * 20.0 + held.rounding(value),
                            });
                        }
                        tally.cell(
                            &tag(&place, held),
                            || format!("{name}({xs:?})[{k}]{}", if down { " down" } else { "" }),
                            got[at(row, k)],
                            &wanted,
                        );
                    }
                }
            }
        }
    }
    tally.finish("softmax");
}

/// Queries of one head whose mask hides all keys, some, none, or holds a NaN: scores are 0, so that weights
/// are those of the mask.
#[test]
fn attention_masks() {
    let masks: [[f32; N]; 6] = [
        [0.0; N],
        [-INF; N],
        [-INF, 0.0, -INF, 0.0, -INF, -INF],
        [0.0, 1.0, -MAX, 2.0, -1e30, 0.0],
        [0.0, NAN, 0.0, 0.0, 0.0, 0.0],
        [-INF, -INF, -INF, -INF, -INF, 3.0],
    ];
    let values: Vec<f32> = (0..N * 8).map(|k| (k % 13) as f32 - 6.0).collect();
    let mut tally = Tally::default();
    for place in places() {
        for held in Held::ALL {
            let q = held.tensor(&[1, 1, masks.len(), 8], &[0.0; 6 * 8]);
            let k = held.tensor(&[1, 1, N, 8], &[1.0; N * 8]);
            let v = held.tensor(&[1, 1, N, 8], &values);
            let mask = held.tensor(&[masks.len(), N], &masks.concat());
            let Some(results) = run(
                parsed("Attention", &[], 4, 1),
                "Attention",
                &[q, k, v, mask],
                &place,
                held.precision(),
                1,
            ) else {
                continue;
            };
            let got = results[0].to_f64s().unwrap();
            for (query, mask) in masks.iter().enumerate() {
                let mask: Vec<f64> = mask.iter().map(|&x| held.stored(x as f64)).collect();
                // A query that sees nothing gives 0 since version 24.
                let unseen = mask.iter().all(|&x| x == f64::NEG_INFINITY);
                let weights = if unseen { vec![0.0; N] } else { softmax(&mask, false) };
                for column in 0..8 {
                    let value: f64 = (0..N).map(|key| weights[key] * values[key * 8 + column] as f64).sum();
                    let mut wanted = cells(value, value, 1e-5, held);
                    wanted.push(Wanted {
                        value,
                        within: 2e-5 + if held == Held::F32 { 0.0 } else { 6.0 * f64::exp2(-11.0) },
                    });
                    tally.cell(
                        &tag(&place, held),
                        || format!("attention under {mask:?}"),
                        got[query * 8 + column],
                        &wanted,
                    );
                }
            }
        }
    }
    tally.finish("attention");
}

/// (x − mean) / √(variance + ε): 0 in a constant row, NaN in one that isn't finite; where squares are beyond
/// float32, 0 too.
#[test]
fn normalizations() {
    let epsilon = 1e-5f32;
    let mut tally = Tally::default();
    for place in places() {
        for (held, centred) in Held::ALL.into_iter().flat_map(|held| [(held, true), (held, false)]) {
            let name = if centred { "LayerNormalization" } else { "RMSNormalization" };
            let scale = held.tensor(&[N], &[1.0; N]);
            let op = parsed(name, &[("epsilon", Attribute::Float(epsilon))], 2, 1);
            let Some(results) = run(
                op,
                name,
                &[held.tensor(&[ROWS.len(), N], &ROWS.concat()), scale],
                &place,
                held.precision(),
                1,
            ) else {
                continue;
            };
            let got = results[0].to_f64s().unwrap();
            for (row, xs) in stored(held).iter().enumerate() {
                let mean = if centred { xs.iter().sum::<f64>() / N as f64 } else { 0.0 };
                let variance = xs.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / N as f64;
                let squares_fit = xs.iter().all(|x| x.abs() < 1e18 || !x.is_finite());
                for (k, x) in xs.iter().enumerate() {
                    let value = (x - mean) / (variance + epsilon as f64).sqrt();
                    let mut wanted = cells(value, value, 1e-4, held);
                    wanted.push(Wanted { value, within: 1e-4 });
                    if !squares_fit {
                        // In float32 the variance is infinite, or the sum is already.
                        wanted.extend([0.0, f64::NAN].map(Wanted::exactly));
                    }
                    tally.cell(
                        &tag(&place, held),
                        || format!("{name}({xs:?})[{k}]"),
                        got[row * N + k],
                        &wanted,
                    );
                }
            }
        }
    }
    tally.finish("normalisations");
}

/// Pools of two neighbours over rows: a NaN stays wherever it stands in a window, −∞ alone stays −∞.
#[test]
fn pools() {
    let mut tally = Tally::default();
    for place in places() {
        for (held, name) in Held::ALL
            .into_iter()
            .flat_map(|held| ["MaxPool", "AveragePool", "LpPool"].map(|name| (held, name)))
        {
            let attributes =
                [("kernel_shape", Attribute::Ints(vec![1, 3])), ("pads", Attribute::Ints(vec![0, 1, 0, 1]))];
            let op = parsed(name, &attributes, 1, 1);
            let Some(results) = run(
                op,
                name,
                &[held.tensor(&[1, 1, ROWS.len(), N], &ROWS.concat())],
                &place,
                held.precision(),
                1,
            ) else {
                continue;
            };
            let got = results[0].to_f64s().unwrap();
            for (row, xs) in stored(held).iter().enumerate() {
                for k in 0..N {
                    let window = &xs[k.saturating_sub(1)..(k + 2).min(N)];
                    let (value, overflowed) = match name {
                        "MaxPool" => reduced("ReduceMax", window),
                        "AveragePool" => reduced("ReduceMean", window),
                        _ => reduced("ReduceL2", window),
                    };
                    let mut wanted = cells(value, overflowed, 1e-4, held);
                    let size = window.iter().map(|x| x.abs()).filter(|x| x.is_finite()).fold(0.0, f64::max);
                    if name == "AveragePool" && value.is_finite() {
                        wanted.push(Wanted { value, within: 1e-6 * size });
                    }
                    if size > 1e38 && name == "AveragePool" {
                        wanted.extend([f64::INFINITY, f64::NEG_INFINITY, f64::NAN].map(Wanted::exactly));
                    }
                    if size < held.smallest_normal() && window.iter().all(|x| x.is_finite()) {
                        wanted.push(Wanted::exactly(0.0));
                    }
                    tally.cell(
                        &tag(&place, held),
                        || format!("{name}({window:?})"),
                        got[row * N + k],
                        &wanted,
                    );
                }
            }
        }
    }
    tally.finish("pools");
}

/// Moves and choices: what isn't computed comes out as it went in, bit for bit but for what storage rounds.
#[test]
fn takes_any_type() {
    let mut tally = Tally::default();
    for place in places() {
        for held in Held::ALL {
            let x = held.tensor(&[ROWS.len(), N], &ROWS.concat());
            let rows = stored(held);
            let nearest = [("mode", Attribute::String("nearest".into()))];
            let scales = Tensor::new([4], vec![1f32, 1.0, 1.0, 2.0]).unwrap();
            let empty = Tensor::new([0], Vec::<f32>::new()).unwrap();
            let image = x.reshape([1, 1, ROWS.len(), N]).unwrap();
            let cases = [
                ("Transpose", parsed("Transpose", &[], 1, 1), vec![x.clone()]),
                (
                    "Concat",
                    parsed("Concat", &[("axis", Attribute::Int(1))], 2, 1),
                    vec![x.clone(), x.clone()],
                ),
                (
                    "Gather",
                    parsed("Gather", &[("axis", Attribute::Int(1))], 2, 1),
                    vec![x.clone(), Tensor::int64s((0..N as i64).rev())],
                ),
                ("Resize", parsed("Resize", &nearest, 3, 1), vec![image, empty, scales]),
            ];
            for (name, op, inputs) in cases {
                let Some(results) = run(op, name, &inputs, &place, held.precision(), 1) else { continue };
                let got = results[0].to_f64s().unwrap();
                for (row, k) in (0..ROWS.len()).flat_map(|row| (0..N).map(move |k| (row, k))) {
                    let at = match name {
                        "Transpose" => k * ROWS.len() + row,
                        "Concat" => row * 2 * N + k,
                        "Gather" => row * N + (N - 1 - k),
                        _ => row * 2 * N + 2 * k,
                    };
                    let (want, got) = (rows[row][k], got[at]);
                    let same = want.is_nan() && got.is_nan()
                        || want == got && want.is_sign_negative() == got.is_sign_negative();
                    let flushed = place.device.is_some() && want.abs() < held.smallest_normal() && got == 0.0;
                    tally.truth(
                        &tag(&place, held),
                        || format!("{name} of {want:e} is {got:e}"),
                        same || flushed,
                    );
                }
            }
        }
    }
    tally.finish("moves");
}
