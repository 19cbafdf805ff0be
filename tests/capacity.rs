//! Sizes with a capacity: runs of every size give what they give without one, in memory that is made once.

#[allow(dead_code, reason = "each test binary uses some of it")]
#[path = "support/shared.rs"]
mod shared;

use sardonyx::gpu::{GpuDevice, LimitsOption, Selection, test_device};
use sardonyx::session::{AnyTensor, Bindings};
use sardonyx::{Device, ErrorKind, Session, Tensor};
use std::collections::HashMap;

/// A device whose memory and pipelines no other test counts in.
fn own_device() -> Option<GpuDevice> {
    test_device()?;
    GpuDevice::open(&Selection::Gpu, &LimitsOption::Adapter).unwrap()
}

/// A language model's caches, by the names of input and output.
fn caches() -> Vec<(String, String)> {
    let layer = |layer: usize| {
        ["k", "v"].map(|kind| (format!("past_{layer}_{kind}"), format!("present_{layer}_{kind}")))
    };
    (0..4).flat_map(layer).collect()
}

/// What a session makes of tokens one after the other, with the caches left on the device; after each, what
/// `look` sees.
fn logits<T>(session: &Session, tokens: &[i64], look: impl Fn(&Session) -> T) -> Vec<(Tensor, T)> {
    let caches = caches();
    let empty = || Tensor::new([1, 2, 0, 32], Vec::<f32>::new()).unwrap();
    let mut states: Vec<AnyTensor> =
        caches.iter().map(|_| session.upload(&empty()).unwrap().into()).collect();
    let mut all = vec![];
    for &token in tokens {
        let mut bindings = Bindings::new().input("input_ids", Tensor::new([1, 1], vec![token]).unwrap());
        for ((past, present), state) in caches.iter().zip(states.drain(..)) {
            bindings = bindings.input(past, state).keep(present);
        }
        let prepared = session.prepare_with(&bindings).unwrap();
        let mut outputs: HashMap<String, AnyTensor> =
            session.run_with(&prepared, &bindings).unwrap().into_iter().collect();
        let logits = outputs.remove("logits").unwrap().into_tensor().unwrap();
        states = caches.iter().map(|(_, present)| outputs.remove(present).unwrap()).collect();
        all.push((logits, look(session)));
    }
    all
}

#[test]
fn every_length_gives_the_same_bits_in_memory_that_is_made_once() {
    let Some(folder) = shared::folder("models/charlm_llama") else { return };
    let Some(device) = own_device() else { return };
    let model = folder.join("model.onnx");
    let tokens: Vec<i64> = (0..80).map(|at| at * 7 % 65).collect();
    let build = || Session::builder().device(device.clone());
    let plain = build().load(&model).unwrap();
    let expected: Vec<Tensor> = logits(&plain, &tokens, |_| ()).into_iter().map(|made| made.0).collect();
    drop(plain);

    let session = build().capacity("past", 96).load(&model).unwrap();
    let made = logits(&session, &tokens, |session| {
        let gpu = session.gpu().unwrap();
        (gpu.memory_in_use().0, gpu.pipelines().len(), session.memories())
    });
    for (at, ((logits, _), expected)) in made.iter().zip(&expected).enumerate() {
        assert_eq!(logits.bytes(), expected.bytes(), "token {at}");
    }
    let (used, pipelines, memories) = made.last().unwrap().1;
    assert!(memories <= 4, "{memories} memories for {} lengths", tokens.len());
    // Of the last lengths, none makes anything anew.
    let before = made[tokens.len() / 2].1;
    assert_eq!((used, pipelines, memories), before);
}

#[test]
fn longer_sequences_come_first_or_last() {
    let Some(folder) = shared::folder("models/charlm_llama") else { return };
    let Some(device) = own_device() else { return };
    let session =
        Session::builder().device(device).capacity("past", 64).load(folder.join("model.onnx")).unwrap();
    let cache = |past: usize| {
        let count = 2 * past * 32;
        let values = (0..count).map(|at| (at % 23) as f32 * 0.05 - 0.5).collect();
        Tensor::new([1, 2, past, 32], values).unwrap()
    };
    let run = |past: usize| {
        let caches = caches();
        let mut inputs: Vec<(&str, Tensor)> = caches.iter().map(|(name, _)| (&**name, cache(past))).collect();
        inputs.push(("input_ids", Tensor::new([1, 1], vec![20i64]).unwrap()));
        let outputs = session.run(&inputs);
        outputs
            .map(|outputs| outputs.into_iter().map(|(_, tensor)| tensor.bytes().to_vec()).collect::<Vec<_>>())
    };
    let lengths = [64, 3, 40, 17, 63, 1, 64];
    let there: Vec<_> = lengths.map(|past| run(past).unwrap()).into();
    for (past, made) in lengths.iter().zip(&there).rev() {
        assert_eq!(run(*past).unwrap(), *made, "{past}");
    }
    let error = run(65).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Input);
    assert!(error.to_string().contains("'past' of size 65, beyond its capacity of 64"), "{error}");
}

#[test]
fn the_cpu_holds_to_a_capacity_too() {
    let model = "models/tiny/mlp/model.onnx";
    let mut session = Session::builder().device(Device::Cpu).load(model).unwrap();
    let port = session.inputs().remove(0);
    let dims = port.dims.unwrap();
    let sardonyx::graph::Dim::Symbol(symbol) = &dims[0] else { panic!("{dims:?}") };
    session.set_capacity(symbol, 2);
    let columns = match dims[1] {
        sardonyx::graph::Dim::Known(columns) => columns,
        ref other => panic!("{other:?}"),
    };
    let run = |rows: usize| {
        let input = Tensor::new([rows, columns], vec![0.5f32; rows * columns]).unwrap();
        session.run(&[(&port.name, input)])
    };
    assert!(run(1).is_ok() && run(2).is_ok());
    assert!(run(3).unwrap_err().to_string().contains("beyond its capacity of 2"));
}
