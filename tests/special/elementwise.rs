//! Every row of the elementwise table over the special values: all of them for one argument, all pairs of
//! some for two.

use super::tally::{Tally, Wanted};
use super::values::{Held, few_floats, floats};
use super::{Place, ieee, places, run};
use sardonyx::Tensor;
use sardonyx::compare::rounding;
use sardonyx::expression::{Pointwise, Row, table};
use sardonyx::ops::pointwise::Elementwise;
use sardonyx::tensor::{DType, cast};
use std::sync::Arc;

/// The attributes of a row that has some, as its operator's defaults; the others take operands.
fn attributes(row: &str) -> &'static [f64] {
    match row {
        "IsInf" => &[1.0, 1.0],
        "LeakyRelu" => &[0.01],
        "Elu" | "Celu" | "ThresholdedRelu" | "Swish" => &[1.0],
        "Selu" => &[1.673_263_192_176_818_8, 1.050_701_022_148_132_3],
        "HardSigmoid" => &[0.2, 0.5],
        "Shrink" => &[0.5, 0.25],
        _ => &[],
    }
}

/// The arguments as they are and with subnormal ones taken for 0, in every combination: WGSL lets a device
/// choose.
fn flushed(args: &[f64], operands: usize) -> Vec<Vec<f64>> {
    let subnormal = |x: f64| x != 0.0 && x.abs() < f32::MIN_POSITIVE as f64;
    let mut all = vec![args.to_vec()];
    for k in (0..operands).filter(|&k| subnormal(args[k])) {
        let with_zero = |list: &Vec<f64>| {
            let mut list = list.clone();
            list[k] = 0f64.copysign(list[k]);
            list
        };
        all.extend(all.iter().map(with_zero).collect::<Vec<_>>());
    }
    all
}

/// What a float result may be.
fn wanted(row: &str, args: &[f64], operands: usize, held: Held) -> Vec<Wanted> {
    let mut list = vec![];
    for args in flushed(args, operands) {
        let Some(value) = ieee::float(row, &args) else { continue };
        if !value.is_finite() {
            list.push(Wanted::exactly(value));
            continue;
        }
        // What arithmetic may lose is c = 4 times the table's accuracy (docs/numerics.md).
        let lost = 4.0 * (f64::exp2(-24.0) * rounding(row, &args, value) + f32::MIN_POSITIVE as f64);
        list.push(Wanted { value, within: lost + held.rounding(value) });
        list.extend([value - lost, value, value + lost].map(|value| Wanted::exactly(held.stored(value))));
        if value.abs() < held.smallest_normal() {
            list.push(Wanted::exactly(0.0));
        }
    }
    list
}

fn float_row(row: &'static Row, place: &Place, held: Held, tally: &mut Tally) {
    let constants = attributes(row.name);
    let operands = row.params.split(',').count() - constants.len();
    let list: Vec<f32> = if operands == 1 { floats() } else { few_floats() };
    let n = list.len();
    let inputs = match operands {
        1 => vec![held.tensor(&[n], &list)],
        2 => vec![held.tensor(&[n, 1], &list), held.tensor(&[n], &list)],
        _ => return,
    };
    let op = Arc::new(Elementwise { expression: Pointwise::of(row, operands, constants) });
    let Some(results) = run(op, row.name, &inputs, place, held.precision(), 1) else { return };
    let got = results[0].to_f64s().unwrap();
    for (index, &got) in got.iter().enumerate() {
        let chosen: Vec<f64> = if operands == 1 {
            vec![list[index] as f64]
        } else {
            vec![list[index / n] as f64, list[index % n] as f64]
        };
        let mut args: Vec<f64> = chosen.iter().map(|&x| held.stored(x)).collect();
        args.extend(constants.iter().map(|&c| c as f32 as f64));
        let wanted = match row.test {
            Some(_) => flushed(&args, operands)
                .iter()
                .filter_map(|args| ieee::test(row.name, args))
                .map(|truth| Wanted::exactly(truth as u8 as f64))
                .collect(),
            None => wanted(row.name, &args, operands, held),
        };
        let tag = if place.device.is_some() {
            format!("{} in {held:?}", place.name)
        } else {
            format!("CPU in {held:?}")
        };
        tally.cell(&tag, || format!("{}({:?})", row.name, args), got, &wanted);
    }
}

#[test]
fn floats_through_every_row() {
    let mut tally = Tally::default();
    for place in places() {
        for row in table::ROWS
            .iter()
            .filter(|row| row.float.is_some() || row.test.is_some() || row.name == "Identity")
        {
            Held::ALL.into_iter().for_each(|held| float_row(row, &place, held, &mut tally));
        }
    }
    tally.finish("elementwise floats");
}

/// An integer type's edges, those of narrower types, and the numbers by which shifts go wrong.
fn integers(dtype: DType) -> Vec<i64> {
    let mut list: Vec<i64> = vec![
        0, 1, -1, 2, 3, -3, 7, 8, 15, 16, 31, 32, 33, 63, 64, 65, 127, 128, -128, 255, 256, 32_767, -32_768,
        65_535,
    ];
    list.extend([
        1 << 24,
        (1 << 24) + 1,
        i32::MAX as i64,
        i32::MIN as i64,
        u32::MAX as i64,
        1 << 32,
        (1 << 53) + 1,
        i64::MAX,
        i64::MIN,
        i64::MIN + 1,
    ]);
    // Each once, as the type has it.
    let wide = cast(&Tensor::new([list.len()], list).unwrap(), dtype, true).unwrap();
    let mut list: Vec<i64> = cast(&wide, DType::I64, true).unwrap().as_slice::<i64>().unwrap().to_vec();
    list.sort();
    list.dedup();
    list
}

const INTEGERS: [(DType, u32, bool); 8] = [
    (DType::I8, 8, true),
    (DType::U8, 8, false),
    (DType::I16, 16, true),
    (DType::U16, 16, false),
    (DType::I32, 32, true),
    (DType::U32, 32, false),
    (DType::I64, 64, true),
    (DType::U64, 64, false),
];

/// An integer wrapped to a width.
fn wrapped(x: i128, bits: u32, signed: bool) -> i128 {
    let low = x & ((1i128 << bits) - 1);
    if signed && low >> (bits - 1) == 1 { low - (1i128 << bits) } else { low }
}

#[test]
fn integers_through_every_row() {
    let mut tally = Tally::default();
    for place in places().iter() {
        for (dtype, bits, signed) in INTEGERS {
            let list = integers(dtype);
            let n = list.len();
            let tensor =
                |shape: &[usize]| cast(&Tensor::new(shape, list.clone()).unwrap(), dtype, true).unwrap();
            for row in table::ROWS.iter().filter(|row| ieee::integer(row.name, &[1, 1], bits).is_some()) {
                let operands = row.params.split(',').count();
                let inputs =
                    if operands == 1 { vec![tensor(&[n])] } else { vec![tensor(&[n, 1]), tensor(&[n])] };
                if row.integer.is_none()
                    && row.test.as_ref().is_none_or(|test| test.integer.is_none())
                    && row.name != "Identity"
                {
                    continue;
                }
                let op = Arc::new(Elementwise { expression: Pointwise::of(row, operands, &[]) });
                let Some(results) = run(op, row.name, &inputs, place, Held::F32.precision(), 1) else {
                    continue;
                };
                let exact = |tensor: &Tensor| -> Vec<i128> {
                    if tensor.dtype() == DType::U64 {
                        tensor.as_slice::<u64>().unwrap().iter().map(|&x| x as i128).collect()
                    } else {
                        tensor.to_i64s().unwrap().iter().map(|&x| x as i128).collect()
                    }
                };
                for (index, got) in exact(&results[0]).into_iter().enumerate() {
                    let chosen = if operands == 1 {
                        vec![list[index]]
                    } else {
                        vec![list[index / n], list[index % n]]
                    };
                    let args: Vec<i128> = chosen.iter().map(|&x| wrapped(x as i128, bits, signed)).collect();
                    let want = ieee::integer(row.name, &args, bits).unwrap();
                    let want = if row.test.is_some() { want } else { wrapped(want, bits, signed) };
                    // The shift of a negative number to the right by its width or more keeps the sign, as
                    // arithmetic shifts do.
                    let want = if row.name == "BitShiftRight"
                        && args[0] < 0
                        && !(0..bits as i128).contains(&args[1])
                    {
                        -1
                    } else {
                        want
                    };
                    tally.truth(
                        place.name,
                        || format!("{dtype} {}({args:?}) = {got} rather than {want}", row.name),
                        got == want,
                    );
                }
            }
        }
    }
    tally.finish("elementwise integers");
}

/// An integer to the power of a float as its type holds it, from the least to the most that float64's
/// accuracy allows: the power, truncated, saturated, 0 where there is no real one. Whole exponents are exact.
fn power(base: i128, exponent: f64, low: i128, high: i128) -> (i128, i128) {
    let exactly = |x: i128| (x.clamp(low, high), x.clamp(low, high));
    if exponent.is_finite() && exponent.fract() == 0.0 && exponent >= 0.0 {
        let odd = exponent % 2.0 != 0.0;
        return exactly(match base {
            0 | 1 => i128::from(base == 1 || exponent == 0.0),
            -1 => 1 - 2 * i128::from(odd),
            _ if exponent > 126.0 => {
                if odd && base < 0 {
                    i128::MIN
                } else {
                    i128::MAX
                }
            }
            _ => base.checked_pow(exponent as u32).unwrap_or(if odd && base < 0 {
                i128::MIN
            } else {
                i128::MAX
            }),
        });
    }
    let real = (base as f64).powf(exponent);
    if !real.is_finite() || exponent.is_nan() || exponent.fract() == 0.0 {
        return exactly(real as i128);
    }
    // The base's own rounding to float64 counts as often as the exponent says.
    let last = real * (exponent.abs() + 2.0) * f64::exp2(-52.0);
    (((real - last) as i128).clamp(low, high), ((real + last) as i128).clamp(low, high))
}

#[test]
fn integers_to_the_power_of_floats() {
    let mut tally = Tally::default();
    let mut exponents = vec![
        0.0,
        0.5,
        1.0,
        1.5,
        2.0,
        0.25,
        1.0 / 3.0,
        0.7,
        2.5,
        7.0,
        15.96875,
        31.5,
        39.0,
        62.99,
        63.0,
        64.0,
        65.0,
        127.0,
        1e-6,
        1e-17,
        1e-20,
        1.2e-38,
    ];
    exponents.extend([16_777_215.0, 16_777_216.0, 1e30, f32::MAX, f32::INFINITY]);
    exponents.extend(exponents.clone().into_iter().map(|y| -y));
    exponents.push(f32::NAN);
    for (dtype, bits, signed) in INTEGERS {
        let mut list = integers(dtype);
        // Squares and cubes, and what lies beside them.
        list.extend([4, 9, 10, 25, 49, 81, 100, 121, 125].map(|x| x.min((1i64 << (bits.min(33) - 1)) - 1)));
        let given = cast(&Tensor::new([list.len(), 1], list).unwrap(), dtype, true).unwrap();
        let wide = |tensor: &Tensor| -> Vec<i128> {
            if dtype == DType::U64 {
                tensor.as_slice::<u64>().unwrap().iter().map(|&x| x as i128).collect()
            } else {
                tensor.to_i64s().unwrap().iter().map(|&x| x as i128).collect()
            }
        };
        let bases = wide(&given);
        let (low, high) = if signed {
            (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)
        } else {
            (0, (1i128 << bits) - 1)
        };
        for held in
            [Held::F32, Held::F16].into_iter().filter(|&held| held == Held::F32 || dtype == DType::I64)
        {
            let n = exponents.len();
            let inputs = [given.clone(), held.tensor(&[n], &exponents)];
            let powers = inputs[1].to_f64s().unwrap();
            let mut reference: Option<Vec<i128>> = None;
            for place in places() {
                let op = Arc::new(Elementwise { expression: Pointwise::of(&table::POW, 2, &[]) });
                let results = run(op, "Pow", &inputs, &place, Held::F32.precision(), 1)
                    .expect("Pow of an integer and a float has a kernel");
                assert_eq!(results[0].dtype(), dtype);
                let got = wide(&results[0]);
                for (index, &got) in got.iter().enumerate() {
                    let (base, y) = (bases[index / n], powers[index % n]);
                    let (least, most) = power(base, y, low, high);
                    let same = reference.as_ref().is_none_or(|reference| reference[index] == got);
                    let what = || {
                        format!(
                            "{dtype} {base}^{y:e} = {got} rather than {least} to {most}, and the same on the CPU"
                        )
                    };
                    tally.truth(place.name, what, (least..=most).contains(&got) && same);
                }
                reference.get_or_insert(got);
            }
        }
    }
    tally.finish("integers to the power of floats");
}
