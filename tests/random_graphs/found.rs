//! Graphs that random ones were cut down to where they disagreed, each by itself, so that it stays right
//! whatever is drawn.

use super::draw::{Draw, list};
use super::grow::{Grower, Random};
use super::judge::{Judge, Tally};
use super::proto::{int, text};
use sardonyx::gpu::test_device;
use sardonyx::plan::Precision;
use sardonyx::random::SplitMix64;
use sardonyx::{DType, Tensor};

/// What a graph shows, and what writes it.
type Found = (&'static str, fn(&mut Grower) -> Option<()>);

const FOUND: &[Found] = &[
    ("what is added along the rows of a product with a vector is no bias of columns", |at| {
        let (a, b, c) = (drawn(at, &[2, 3, 5]), drawn(at, &[5]), fixed(at, &[3]));
        let y = at.one("MatMul", &[&a, &b], vec![])?;
        at.one("Add", &[&y, &c], vec![]).map(drop)
    }),
    ("nor is it a row of a residual, one to each row", |at| {
        let (a, b, c) = (drawn(at, &[3, 5]), drawn(at, &[5]), drawn(at, &[3]));
        let y = at.one("MatMul", &[&a, &b], vec![])?;
        at.one("Add", &[&y, &c], vec![]).map(drop)
    }),
    ("a copy without elements is written by nobody", |at| {
        let x = drawn(at, &[8, 4]);
        let repeats = at.constant(list(&[3, 0]));
        let tiled = at.one("Tile", &[&x, &repeats], vec![])?;
        let (places, updates) =
            (at.given(Tensor::new([3, 1], vec![0i64, 1, 2]).unwrap()), fixed(at, &[3, 0]));
        at.one("ScatterND", &[&tiled, &places, &updates], vec![text("reduction", "max")]).map(drop)
    }),
    ("what is moved is off by what it was off by before", |at| {
        let x = drawn(at, &[1, 3, 3, 7]);
        let y = at.one("GlobalAveragePool", &[&x], vec![])?;
        let pads = at.constant(list(&[1, 1, 1, 1, 1, 1, 1, 2]));
        at.one("Pad", &[&y, &pads], vec![text("mode", "edge")]).map(drop)
    }),
    ("what a plan computes beforehand is off by what the CPU is", |at| {
        let x = at.constant(Tensor::scalar(9i64));
        let y = at.one("BlackmanWindow", &[&x], vec![int("periodic", 0)])?;
        at.one("Exp", &[&y], vec![]).map(drop)
    }),
];

fn drawn(at: &mut Grower, shape: &[usize]) -> String {
    let tensor = at.draw.tensor(DType::F32, shape);
    at.given(tensor)
}
fn fixed(at: &mut Grower, shape: &[usize]) -> String {
    let tensor = at.draw.tensor(DType::F32, shape);
    at.constant(tensor)
}

#[test]
fn what_was_found_stays_right() {
    let Some(device) = test_device() else { return };
    let mut wrong = vec![];
    for (shows, write) in FOUND {
        let mut at = Grower::new(Draw(SplitMix64(7)));
        assert!(write(&mut at).is_some(), "{shows}: {:?}", at.refused);
        let graph: Random = at.finished();
        for precision in [Precision::F32, Precision::F16] {
            let judge = Judge { device: device.clone(), precision, fault: None };
            let judged = judge.verdict(&graph, &mut Tally::default());
            wrong.extend(judged.err().map(|problem| format!("{shows} ({precision:?}):\n{problem}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
