//! Text from a language model with a cache of keys and values that stays on the device: its length is a size with
//! a capacity, so that every token runs in the same memory.
//!
//! `cargo run --release --example generate -- MODEL.onnx VOCAB.json [TOKENS] [PROMPT] [DEVICE]`
//!
//! The model takes `input_ids` `[1, n]` and caches `past_*` `[1, heads, past, width]`, and gives `logits`
//! `[1, n, vocabulary]` and `present_*`; the vocabulary is a list of characters. The likeliest one is taken.

use sardonyx::session::{AnyTensor, Bindings};
use sardonyx::{Device, Error, Result, Session, Tensor, graph::Dim};
use std::time::Instant;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let usage = || Error::usage("expected MODEL.onnx VOCAB.json [TOKENS] [PROMPT] [DEVICE]");
    let (model, vocabulary) = (args.next().ok_or_else(usage)?, args.next().ok_or_else(usage)?);
    let tokens: usize = args.next().and_then(|text| text.parse().ok()).unwrap_or(200);
    let prompt = args.next().unwrap_or_else(|| "ROMEO:\nWhat".into());
    let device = match args.next().as_deref() {
        None => Device::auto()?,
        Some("cpu") => Device::Cpu,
        Some("gpu") => Device::gpu()?,
        Some(name) => Device::named(name)?,
    };
    let vocabulary = std::fs::read(&vocabulary).map_err(|error| Error::input(error.to_string()))?;
    let vocabulary: Vec<String> =
        serde_json::from_slice(&vocabulary).map_err(|error| Error::input(error.to_string()))?;

    let most = prompt.chars().count() + tokens;
    let session = Session::builder().device(device).capacity("past", most).load(model)?;
    let mut caches = vec![];
    for port in session.inputs().into_iter().filter(|port| port.name != "input_ids") {
        let dims = port.dims.unwrap_or_default();
        let shape: Vec<usize> =
            dims.iter().map(|dim| if let Dim::Known(size) = dim { *size } else { 0 }).collect();
        let empty = AnyTensor::from(
            session.upload(&Tensor::new(shape.clone(), vec![0f32; shape.iter().product()])?)?,
        );
        let present = port.name.replace("past", "present");
        caches.push((port.name, present, empty));
    }
    let id = |c: char| vocabulary.iter().position(|known| known.chars().eq([c])).unwrap_or(0) as i64;
    let mut ids: Vec<i64> = prompt.chars().map(id).collect();
    let (mut text, mut preparing, mut running) = (prompt, vec![], vec![]);
    let mut at_first = (0, 0);
    for turn in 0..tokens {
        let count = ids.len();
        let mut bindings =
            Bindings::new().input("input_ids", Tensor::new([1, count], std::mem::take(&mut ids))?);
        for (past, present, state) in &caches {
            bindings = bindings.input(past, state.clone()).keep(present);
        }
        let start = Instant::now();
        let prepared = session.prepare_with(&bindings)?;
        preparing.push(start.elapsed().as_secs_f64() * 1e3);
        let outputs = session.run_with(&prepared, &bindings)?;
        running.push(start.elapsed().as_secs_f64() * 1e3 - preparing[turn]);
        for (name, value) in outputs {
            if let Some(cache) = caches.iter_mut().find(|cache| cache.1 == name) {
                cache.2 = value;
            } else if name == "logits" {
                let logits = value.into_tensor()?.to_f64s()?;
                let last = &logits[logits.len() - vocabulary.len()..];
                let best = (0..last.len()).max_by(|&a, &b| last[a].total_cmp(&last[b])).unwrap_or(0);
                text += &vocabulary[best];
                ids = vec![best as i64];
            }
        }
        let counted =
            session.gpu().map_or((0, 0), |gpu| (gpu.bytes_copied() as usize, gpu.pipelines().len()));
        if turn < tokens.div_ceil(8) {
            at_first = counted;
        } else if turn + 1 == tokens {
            let rest = tokens - tokens.div_ceil(8);
            eprintln!(
                "{} bytes copied a token, {} new pipelines",
                (counted.0 - at_first.0) / rest,
                counted.1 - at_first.1
            );
        }
    }
    println!("{text}");
    for (what, times) in [("prepare", &mut preparing), ("run", &mut running)] {
        times.sort_by(f64::total_cmp);
        let largest = times[times.len() - 1];
        eprintln!("{what}: median {:.2} ms a token, at most {largest:.2}", times[times.len() / 2]);
    }
    Ok(())
}
