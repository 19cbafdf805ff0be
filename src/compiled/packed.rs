//! Packed weights in a mapped file, and which constants of a plan they are.

use super::{Header, Key, SMALL};
use crate::graph::Graph;
use crate::plan::{Constant, PackedConstants};
use memmap2::Mmap;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// The packed constants that a compiled file holds.
pub struct Packed {
    map: Arc<Mmap>,
    entries: HashMap<Key, Range<usize>>,
    /// The identity of each named constant's elements in the session's graph.
    sources: HashMap<String, usize>,
    /// Whether what the file holds was packed by another version, and is left alone.
    pub outdated: bool,
}

impl Packed {
    /// Entries that reach beyond the file are left out.
    pub(super) fn new(map: Arc<Mmap>, header: Header, outdated: bool) -> Self {
        let inside = |start: u64, bytes: u64| {
            let start = usize::try_from(start).ok()?;
            let end = start.checked_add(usize::try_from(bytes).ok()?)?;
            (end <= map.len()).then_some(start..end)
        };
        let known = if outdated { vec![] } else { header.packed };
        let entries = known
            .into_iter()
            .filter_map(|entry| Some((entry.key, inside(entry.blob.start, entry.blob.bytes)?)))
            .collect();
        Self { map, entries, sources: HashMap::new(), outdated }
    }

    /// Learns which constants the names stand for, after the rewrites at load.
    pub(crate) fn bind(&mut self, graph: &Graph) {
        self.sources = sources(graph);
    }

    /// How many of some constants would be found in a file made for them, and how many are.
    pub(crate) fn found(&self, constants: &[Constant]) -> (usize, usize) {
        let kept = constants.iter().filter(|constant| is_kept(constant, &self.sources));
        kept.fold((0, 0), |(all, found), constant| (all + 1, found + self.find(constant).is_some() as usize))
    }
}

impl PackedConstants for Packed {
    fn find(&self, constant: &Constant) -> Option<&[u8]> {
        if !is_kept(constant, &self.sources) {
            return None;
        }
        let key = Key::new(constant);
        let range = self.entries.get(&key).filter(|range| range.len() as u64 == key.bytes())?;
        self.map.get(range.clone())
    }
}

/// The identity of each constant's elements, by the name of its value.
pub(super) fn sources(graph: &Graph) -> HashMap<String, usize> {
    graph
        .values
        .iter()
        .filter_map(|value| Some((value.name.clone(), value.constant.as_ref()?.identity())))
        .collect()
}

/// Whether files keep a constant packed: it is large, and the elements are those of the graph's constant of
/// that name. Only floats: no file may say where a kernel reads.
pub(super) fn is_kept(constant: &Constant, sources: &HashMap<String, usize>) -> bool {
    constant.storage.is_float()
        && constant.tensor.bytes().len() >= SMALL
        && sources.get(&constant.label) == Some(&constant.tensor.identity())
}
