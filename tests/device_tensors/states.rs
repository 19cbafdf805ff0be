//! States: outputs that are the next run's inputs, and are made where these lie.

use super::{Port, bits, devices, indices, int, kept, model_of, node, tensor};
use sardonyx::session::{AnyTensor, Bindings};
use sardonyx::{Device, Precision, Session, Tensor, onnx};

/// A step of a decoder over a cache with room for 6 tokens: 4 heads that share 2 of keys.
fn decoder() -> onnx::Model {
    let cache = [1, 2, 6, 8];
    let inputs: [Port; 6] = [
        ("query", &[1, 4, 1, 8]),
        ("key", &[1, 2, 1, 8]),
        ("value", &[1, 2, 1, 8]),
        ("past_key", &cache),
        ("past_value", &cache),
        ("at", &[1]),
    ];
    let nodes = vec![
        node("Cast at -> first", &[int("to", 7)]),
        node("Add first one -> lengths", &[]),
        node("TensorScatter past_key key first -> present_key", &[]),
        node("TensorScatter past_value value first -> present_value", &[]),
        node("Attention query present_key present_value    lengths -> y", &[int("is_causal", 1)]),
    ];
    model_of(24, &inputs, nodes, vec![indices("one", &[1])], &["y", "present_key", "present_value"])
}

/// What a step takes beside the cache.
fn token(step: u8) -> Bindings {
    let moved = |shape: &[usize]| {
        let all = tensor(shape).to_f64s().unwrap();
        Tensor::new(shape, all.iter().map(|x| (x + f64::from(step)) as f32 * 0.3).collect()).unwrap()
    };
    Bindings::new()
        .input("query", moved(&[1, 4, 1, 8]))
        .input("key", moved(&[1, 2, 1, 8]))
        .input("value", moved(&[1, 2, 1, 8]))
        .input("at", Tensor::new([1], vec![f32::from(step)]).unwrap())
}

/// Tokens one after another, the cache kept: the outputs of each, and the cache as it was given last.
fn decoded(device: &Device, precision: Precision, states: &[(&str, &str)]) -> (Vec<Tensor>, Tensor) {
    let mut builder = Session::builder().device(device.clone()).precision(precision).strict(true);
    for (past, present) in states {
        builder = builder.state(*past, *present);
    }
    let session = builder.build(decoder()).unwrap();
    let cache = || Tensor::new([1, 2, 6, 8], vec![0.0f32; 96]).unwrap();
    let mut given = [session.upload(&cache()).unwrap(), session.upload(&cache()).unwrap()];
    let (mut results, mut last) = (vec![], given[0].clone());
    for step in 0..4 {
        let bindings = token(step)
            .input("past_key", &given[0])
            .input("past_value", &given[1])
            .keep("present_key")
            .keep("present_value");
        let prepared = session.prepare_with(&bindings).unwrap();
        let mut made = session.run_with(&prepared, &bindings).unwrap();
        last = given[0].clone();
        let value = kept(&made.remove(2).1);
        given = [kept(&made.remove(1).1), value];
        results.push(made.remove(0).1.into_tensor().unwrap());
        results.push(given[0].download().unwrap());
    }
    (results, last.download().unwrap())
}

#[test]
fn a_state_is_made_where_it_lies() {
    let states = [("past_key", "present_key"), ("past_value", "present_value")];
    let (expected, _) = decoded(&Device::Cpu, Precision::F32, &[]);
    for device in devices() {
        for precision in [Precision::F32, Precision::F16] {
            let (plain, untouched) = decoded(&device, precision, &[]);
            let (results, touched) = decoded(&device, precision, &states);
            for ((found, plain), expected) in results.iter().zip(&plain).zip(&expected) {
                assert_eq!(bits(found), bits(plain), "{device} {precision:?}");
                let eps = if precision == Precision::F16 { 2f64.powi(-11) } else { 2f64.powi(-23) };
                let pairs = found.to_f64s().unwrap().into_iter().zip(expected.to_f64s().unwrap());
                // Scores of 8 products, and sums of 4 values.
                pairs.for_each(|(x, y)| assert!((x - y).abs() <= eps * 64.0 * y.abs().max(1.0), "{x} {y}"));
            }
            // The tensor that was given to the last run holds what it made, where it is a state of a GPU's.
            let last = &results[7];
            assert_eq!(bits(&touched) == bits(last), device.as_gpu().is_some(), "{device} {precision:?}");
            assert_ne!(bits(&untouched), bits(last), "{device} {precision:?}");
        }
    }
}

#[test]
fn the_cpu_writes_over_what_it_is_given() {
    let session = Session::builder().build(decoder()).unwrap();
    let (expected, _) = decoded(&Device::Cpu, Precision::F32, &[]);
    let cache = || AnyTensor::from(Tensor::new([1, 2, 6, 8], vec![0.0f32; 96]).unwrap());
    let (mut keys, mut values, mut places) = (cache(), cache(), vec![]);
    for step in 0..4u8 {
        let bindings = token(step)
            .input("past_key", keys)
            .input("past_value", values)
            .keep("present_key")
            .keep("present_value");
        let prepared = session.prepare_with(&bindings).unwrap();
        let mut made = session.run_taking(&prepared, bindings).unwrap();
        (values, keys) = (made.remove(2).1, made.remove(1).1);
        let y = made.remove(0).1.into_tensor().unwrap();
        let found = kept(&keys).download().unwrap();
        places.push(found.bytes().as_ptr());
        assert_eq!([bits(&y), bits(&found)], [0, 1].map(|at| bits(&expected[2 * usize::from(step) + at])));
    }
    // The first was no memory of a run's.
    assert!(places[1..].iter().all(|place| *place == places[1]), "{places:?}");
}

#[test]
fn states_that_a_model_does_not_have() {
    let error = |states: &[(&str, &str)]| {
        let builder = states.iter().fold(Session::builder(), |builder, (a, b)| builder.state(*a, *b));
        builder.build(decoder()).map(drop).unwrap_err().to_string()
    };
    let missing = error(&[("past", "present_key")]);
    assert!(
        missing.contains("'past'") && missing.contains("no input") && missing.contains("past_key"),
        "{missing}"
    );
    let missing = error(&[("past_key", "present")]);
    assert!(missing.contains("no output") && missing.contains("present_value"), "{missing}");
    let twice = error(&[("past_key", "present_key"), ("past_key", "present_value")]);
    assert!(twice.contains("share a name"), "{twice}");
    let mut session = Session::builder().build(decoder()).unwrap();
    session.set_state("past_key", "present_key").unwrap();
    let twice = session.set_state("past_key", "present_value").unwrap_err().to_string();
    assert!(twice.contains("share a name"), "{twice}");
}
