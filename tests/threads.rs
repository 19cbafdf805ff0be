//! One session from several threads at once: every answer is the right one.

use sardonyx::gpu::test_device;
use sardonyx::{Session, Tensor};
use std::thread;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/digits/digits.onnx");
const THREADS: usize = 4;
const RUNS: usize = 12;

/// A picture that is different for each number, in batches of one or two.
fn picture(number: usize, shape: &[usize]) -> Tensor {
    let shape: Vec<usize> = std::iter::once(1 + number % 2).chain(shape.iter().copied().skip(1)).collect();
    let count: usize = shape.iter().product();
    Tensor::new(shape, (0..count).map(|k| ((k * (number + 3)) % 17) as f32 / 16.0).collect()).unwrap()
}

fn run(session: &Session, number: usize) -> Vec<(String, Tensor)> {
    let port = session.inputs().into_iter().next().unwrap();
    let sizes: Vec<usize> = port
        .dims
        .unwrap()
        .iter()
        .map(|dim| if let sardonyx::graph::Dim::Known(size) = dim { *size } else { 1 })
        .collect();
    session.run(&[(&port.name, picture(number, &sizes))]).unwrap()
}

#[test]
fn four_threads_share_a_session() {
    for device in [None, test_device()] {
        let load = || Session::builder().device(device.clone()).load(MODEL).unwrap();
        // One after the other, in a session of their own.
        let alone = load();
        let expected: Vec<_> = (0..THREADS * RUNS).map(|number| run(&alone, number)).collect();
        assert_ne!(expected[0], expected[2], "the inputs make a difference");
        // The first runs make the plans, the kernels and the buffers at the same time, too.
        let shared = load();
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (shared, expected) = (&shared, &expected);
                scope.spawn(move || {
                    for number in (thread..THREADS * RUNS).step_by(THREADS) {
                        assert_eq!(run(shared, number), expected[number], "thread {thread}, run {number}");
                    }
                });
            }
        });
    }
}
