//! A sum that is declared float16 and leaves its range is infinite before what was fused behind it, as it was
//! when the two were nodes of their own.

use super::{parsed, places, run};
use sardonyx::Tensor;
use sardonyx::expression::{Arg, Pointwise, Row, table};
use sardonyx::ops::Attribute;
use sardonyx::plan::Precision;
use sardonyx::tensor::{DType, cast};

/// float16 of one value.
fn half(shape: &[usize], value: f32) -> Tensor {
    let count = shape.iter().product();
    cast(&Tensor::new(shape, vec![value; count]).unwrap(), DType::F16, true).unwrap()
}

/// The sum and a second operand, or a number.
fn function(row: &'static Row, number: Option<f64>) -> Pointwise {
    Pointwise {
        operands: if number.is_some() { 1 } else { 2 },
        steps: vec![sardonyx::expression::Step {
            row,
            args: vec![Arg::Operand(0), number.map_or(Arg::Operand(1), Arg::Const)],
            to: None,
        }],
    }
}

#[test]
fn an_overflowing_sum_is_infinite_before_its_epilogue() {
    let ones = |axes: usize| vec![("kernel_shape", Attribute::Ints(vec![1; axes]))];
    // The products of 64 terms, 76,800 and 38,400, by each contraction.
    let contractions: [(&str, _, [&[usize]; 3]); 4] = [
        ("MatMul", vec![], [&[4, 64], &[64, 8], &[4, 8]]),
        ("Gemm", vec![], [&[4, 64], &[64, 8], &[4, 8]]),
        ("Conv", ones(2), [&[1, 64, 3, 3], &[8, 64, 1, 1], &[1, 8, 3, 3]]),
        ("ConvTranspose", ones(2), [&[1, 64, 3, 3], &[64, 8, 1, 1], &[1, 8, 3, 3]]),
    ];
    let bias = |op: &str| if op == "MatMul" { vec![] } else { vec![half(&[8], 0.0)] };
    let residual = function(&table::ADD, None);
    let half_of = function(&table::MUL, Some(0.5));
    let at_most = function(&table::MIN, Some(6.0));
    // An epilogue, the terms' first factor, the residual, the result.
    let tried = [
        (&residual, 20.0, -30_000.0, f64::INFINITY),
        (&residual, 10.0, -30_000.0, 8_400.0),
        (&residual, -20.0, 30_000.0, f64::NEG_INFINITY),
        (&half_of, 20.0, 0.0, f64::INFINITY),
        (&half_of, 10.0, 0.0, 19_200.0),
        (&at_most, 20.0, 0.0, 6.0),
    ];
    let mut count = 0;
    for place in places() {
        for (op, attributes, [x, w, y]) in &contractions {
            for &(epilogue, factor, other, want) in &tried {
                let mut inputs = vec![half(x, factor), half(w, 60.0)];
                let attributes: Vec<(&str, Attribute)> =
                    attributes.iter().map(|(name, value)| (*name, Attribute::clone(value))).collect();
                let plain = parsed(op, &attributes, 2, 1);
                inputs.extend(bias(op));
                if epilogue.operands > 1 {
                    // MatMul's third input is left out by a row of nothing.
                    inputs.resize(3, half(&[8], 0.0));
                    inputs.push(half(y, other));
                }
                let fused = plain.with_epilogue(epilogue.clone()).unwrap();
                let made = run(fused, op, &inputs, &place, Precision::F32, 1)
                    .unwrap_or_else(|| panic!("{op} has no kernel on {}", place.name));
                let made = made[0].to_f64s().unwrap();
                let within = |y: &f64| *y == want || (y - want).abs() <= want.abs() / 1024.0;
                assert!(
                    made.iter().all(within),
                    "{op}, {} on {}: {} instead of {want}",
                    epilogue.describe(),
                    place.name,
                    made[0]
                );
                count += 1;
            }
        }
    }
    assert!(count >= 24);
}

/// C is a part of Gemm: it is added before the result is rounded to anything.
#[test]
fn a_matrix_c_is_added_before_the_sum_is_float16() {
    for place in places() {
        let inputs = [half(&[4, 64], 20.0), half(&[64, 8], 60.0), half(&[4, 8], -30_000.0)];
        let made = run(parsed("Gemm", &[], 3, 1), "Gemm", &inputs, &place, Precision::F32, 1).unwrap();
        let made = made[0].to_f64s().unwrap();
        assert!(made.iter().all(|y| (y - 46_800.0).abs() <= 32.0), "{}: {}", place.name, made[0]);
    }
}
