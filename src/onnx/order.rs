//! Topological order: each node after those that make what it reads, otherwise as the model lists them.

use super::functions::{Versioned, node_name};
use crate::error::{Error, Result};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// Sorts nodes; `given` says which names need no node. Errors name a value that nothing makes, one made
/// twice, and a cycle.
pub fn sort(nodes: Vec<Versioned>, given: impl Fn(&str) -> bool) -> Result<Vec<Versioned>> {
    let at = |error: Error, index: usize| match nodes.get(index) {
        Some(Versioned { node, .. }) => error.at_node(node_name(node)).at_operator(&node.op_type),
        None => error,
    };
    let mut makers: HashMap<&str, usize> = HashMap::new();
    for (index, Versioned { node, .. }) in nodes.iter().enumerate() {
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            if given(name) || makers.insert(name, index).is_some() {
                return Err(at(
                    Error::model("made twice, or made though it is an input or an initializer")
                        .at_tensor(name),
                    index,
                ));
            }
        }
    }
    let mut readers: Vec<Vec<usize>> = vec![vec![]; nodes.len()];
    let mut waiting = vec![0usize; nodes.len()];
    for (index, (Versioned { node, captures, .. }, waits)) in nodes.iter().zip(&mut waiting).enumerate() {
        for name in node.input.iter().chain(captures).filter(|name| !name.is_empty() && !given(name)) {
            let maker = makers.get(name.as_str()).and_then(|&maker| readers.get_mut(maker));
            let Some(list) = maker else {
                return Err(at(
                    Error::model("is read, but no node, input or initializer makes it").at_tensor(name),
                    index,
                ));
            };
            list.push(index);
            *waits += 1;
        }
    }
    let mut ready: BinaryHeap<_> = waiting
        .iter()
        .enumerate()
        .filter(|(_, waits)| **waits == 0)
        .map(|(index, _)| Reverse(index))
        .collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(Reverse(index)) = ready.pop() {
        order.push(index);
        for &reader in readers.get(index).into_iter().flatten() {
            if let Some(waits) = waiting.get_mut(reader) {
                *waits -= 1;
                if *waits == 0 {
                    ready.push(Reverse(reader));
                }
            }
        }
    }
    if let Some(stuck) = waiting.iter().position(|&waits| waits > 0) {
        return Err(at(
            Error::model("reads, through other nodes, what it makes itself")
                .remedy("an ONNX graph must have no cycle"),
            stuck,
        ));
    }
    let mut slots: Vec<Option<Versioned>> = nodes.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|index| slots.get_mut(index).and_then(Option::take)).collect())
}
