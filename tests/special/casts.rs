//! Every pair of types of Cast and CastLike, over the edges of both.

use super::tally::Tally;
use super::values::floats;
use super::{parsed, places, run};
use half::{bf16, f16};
use sardonyx::Tensor;
use sardonyx::ops::Attribute;
use sardonyx::plan::Precision;
use sardonyx::tensor::{DType, cast};

/// A type, its number in ONNX, and its bits and sign if it is an integer.
type Kind = (DType, i64, Option<(u32, bool)>);

const TYPES: [Kind; 13] = [
    (DType::F32, 1, None),
    (DType::U8, 2, Some((8, false))),
    (DType::I8, 3, Some((8, true))),
    (DType::U16, 4, Some((16, false))),
    (DType::I16, 5, Some((16, true))),
    (DType::I32, 6, Some((32, true))),
    (DType::I64, 7, Some((64, true))),
    (DType::Bool, 9, None),
    (DType::F16, 10, None),
    (DType::F64, 11, None),
    (DType::U32, 12, Some((32, false))),
    (DType::U64, 13, Some((64, false))),
    (DType::BF16, 16, None),
];

/// A number on its way: exact.
#[derive(Debug, Clone, Copy)]
enum Number {
    Whole(i128),
    Real(f64),
}

fn numbers(tensor: &Tensor) -> Vec<Number> {
    match tensor.dtype() {
        DType::U64 => tensor.as_slice::<u64>().unwrap().iter().map(|&x| Number::Whole(x as i128)).collect(),
        dtype if dtype.is_float() => tensor.to_f64s().unwrap().into_iter().map(Number::Real).collect(),
        DType::Bool => tensor.to_f64s().unwrap().into_iter().map(|x| Number::Whole(x as i128)).collect(),
        _ => tensor.to_i64s().unwrap().into_iter().map(|x| Number::Whole(x as i128)).collect(),
    }
}

/// A number in a type. Floats beyond an integer type, which ONNX leaves open, saturate, and NaN is 0;
/// integers wrap.
fn converted(x: Number, to: DType, integer: Option<(u32, bool)>) -> Number {
    let real = match x {
        Number::Whole(x) => x as f64,
        Number::Real(x) => x,
    };
    match (integer, x) {
        (Some((bits, signed)), Number::Real(x)) => {
            let (low, high) = if signed {
                (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)
            } else {
                (0, (1i128 << bits) - 1)
            };
            Number::Whole((x as i128).clamp(low, high))
        }
        (Some((bits, signed)), Number::Whole(x)) => {
            let low = x & ((1i128 << bits) - 1);
            Number::Whole(if signed && low >> (bits - 1) == 1 { low - (1i128 << bits) } else { low })
        }
        (None, _) => match to {
            DType::Bool => Number::Whole((real != 0.0) as i128),
            // Of an integer once, not through float64.
            DType::F32 => Number::Real(match x {
                Number::Whole(x) => x as f32 as f64,
                Number::Real(x) => x as f32 as f64,
            }),
            DType::F16 => Number::Real(f16::from_f64(real).to_f64()),
            DType::BF16 => Number::Real(bf16::from_f64(real).to_f64()),
            _ => Number::Real(real),
        },
    }
}

/// Numbers around every edge, as far as a type has them.
fn edges(dtype: DType) -> Tensor {
    if dtype.is_float() {
        let list = floats();
        return cast(&Tensor::new([list.len()], list).unwrap(), dtype, true).unwrap();
    }
    let mut list: Vec<i64> = vec![0, 1, 2, 100];
    for bits in [7, 8, 11, 15, 16, 24, 25, 31, 32, 53, 62] {
        list.extend([
            (1i64 << bits) - 1,
            1 << bits,
            (1 << bits) + 1,
            -(1 << bits),
            -(1 << bits) - 1,
            1 - (1 << bits),
        ]);
    }
    list.extend([
        -1,
        65_504,
        65_519,
        65_520,
        2049,
        16_777_219,
        (1 << 40) + (1 << 15) + 1,
        i64::MAX,
        i64::MAX - 511,
        i64::MAX - 512,
        i64::MIN,
        i64::MIN + 1,
    ]);
    cast(&Tensor::new([list.len()], list).unwrap(), dtype, true).unwrap()
}

#[test]
fn every_pair_of_types() {
    let mut tally = Tally::default();
    for place in places() {
        for (from, ..) in TYPES {
            let given = edges(from);
            for (to, number, integer) in TYPES {
                let forms = [
                    ("Cast", parsed("Cast", &[("to", Attribute::Int(number))], 1, 1), vec![given.clone()]),
                    {
                        let like = cast(&Tensor::new([1], vec![1i64]).unwrap(), to, true).unwrap();
                        ("CastLike", parsed("CastLike", &[], 2, 1), vec![given.clone(), like])
                    },
                ];
                for (name, op, inputs) in forms {
                    let Some(results) = run(op, name, &inputs, &place, Precision::F32, 1) else { continue };
                    assert_eq!(results[0].dtype(), to, "{name} from {from}");
                    for (x, got) in numbers(&given).into_iter().zip(numbers(&results[0])) {
                        let (want, zero) =
                            (converted(x, to, integer), converted(Number::Whole(0), to, integer));
                        let tiny = matches!(x, Number::Real(x) if x.abs() < f32::MIN_POSITIVE as f64)
                            || matches!(want, Number::Real(y) if y.abs() < f64::exp2(-14.0) && to == DType::F16);
                        let same = |want: Number| match (got, want) {
                            (Number::Whole(a), Number::Whole(b)) => a == b,
                            (Number::Real(a), Number::Real(b)) => {
                                a == b && a.is_sign_negative() == b.is_sign_negative()
                                    || a.is_nan() && b.is_nan()
                                    || a == 0.0 && b == 0.0 && from != to
                            }
                            _ => false,
                        };
                        // A device may take a subnormal number for 0.
                        let fine = same(want) || place.device.is_some() && tiny && same(zero);
                        tally.truth(
                            place.name,
                            || format!("{name} from {from} to {to} of {x:?} = {got:?} rather than {want:?}"),
                            fine,
                        );
                    }
                }
            }
        }
    }
    tally.finish("casts");
}
