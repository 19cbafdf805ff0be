//! What a steady run allocates on the host: its outputs and a handful of lists, nothing for each dispatch but
//! what wgpu's own encoding takes.

use sardonyx::bench::families;
use sardonyx::gpu::test_device;
use sardonyx::graph::{Graph, Node};
use sardonyx::onnx::{Model, ModelInfo};
use sardonyx::{Session, Tensor};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;
static COUNT: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The graph's one node `count` times over, each fed with the one before.
fn chain(graph: &Graph, count: usize) -> Graph {
    let mut long = graph.clone();
    let node = graph.nodes[0].clone();
    for index in 1..count {
        let from = long.nodes[index - 1].outputs[0];
        let to = long.add_value(format!("z{index}"), None, None);
        let inputs = std::iter::once(from).chain(node.inputs.iter().skip(1).copied()).collect();
        long.nodes.push(Node { name: format!("n{index}"), inputs, outputs: vec![Some(to)], ..node.clone() });
    }
    long.outputs = long.nodes.last().unwrap().outputs.iter().flatten().copied().collect();
    long
}

/// The least allocations of a run after some that warm up.
fn allocations(graph: Graph, input: &Tensor, dispatches: usize) -> usize {
    let session =
        Session::builder().device(test_device()).build(Model { graph, info: ModelInfo::default() }).unwrap();
    let name = session.inputs()[0].name.clone();
    let values = session.bind(&[(&name, input.clone())]).unwrap();
    let prepared = session.prepare(&values).unwrap();
    assert_eq!(prepared.plan.as_ref().unwrap().dispatches().count(), dispatches);
    let run = || {
        let before = COUNT.load(Ordering::Relaxed);
        session.run_prepared(&prepared, &values).unwrap();
        COUNT.load(Ordering::Relaxed) - before
    };
    (0..8).map(|_| run()).min().unwrap()
}

#[test]
fn a_dispatch_of_a_steady_run_allocates_next_to_nothing() {
    if test_device().is_none() {
        return;
    }
    let (graph, inputs) = families::find("matmul").unwrap().graph(&[4, 32, 32], 1).unwrap();
    let input = inputs.values().next().unwrap();
    let (few, many) =
        (allocations(chain(&graph, 10), input, 10), allocations(chain(&graph, 110), input, 110));
    let each = many.saturating_sub(few) as f64 / 100.0;
    eprintln!("a run of 10 dispatches: {few} allocations; each further dispatch: {each}");
    assert!(few < 1000 && each < 2.0, "{few}, and {each} a dispatch");
}
