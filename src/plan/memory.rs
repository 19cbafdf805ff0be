//! Which activations share a buffer: buffers by lifetime into a pool of whole buffers.
//!
//! wgpu refuses one buffer bound read-only and read-write in one dispatch, so a buffer holds one buffer at a
//! time. Places are taken from the largest down and put into the first buffer that is free for their whole
//! life (Pisarchyk and Lee, *Efficient Memory Management for Deep Neural Net Inference*, 2020: greedy by
//! size).

/// When a buffer's contents matter: from the step that writes it to the last that reads it, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    pub bytes: u64,
    pub first: usize,
    pub last: usize,
}

impl Lifetime {
    fn overlaps(&self, other: &Lifetime) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// The buffer of each buffer, and the size of each buffer.
pub fn assign(lifetimes: &[Lifetime]) -> (Vec<usize>, Vec<u64>) {
    let mut order: Vec<usize> = (0..lifetimes.len()).collect();
    order.sort_by_key(|&index| (std::cmp::Reverse(lifetimes[index].bytes), lifetimes[index].first));
    let mut tenants: Vec<Vec<usize>> = vec![];
    let mut sizes: Vec<u64> = vec![];
    let mut result = vec![0; lifetimes.len()];
    for index in order {
        let free = tenants
            .iter()
            .position(|list| list.iter().all(|&other| !lifetimes[other].overlaps(&lifetimes[index])));
        let slot = free.unwrap_or_else(|| {
            tenants.push(vec![]);
            sizes.push(0);
            tenants.len() - 1
        });
        tenants[slot].push(index);
        sizes[slot] = sizes[slot].max(lifetimes[index].bytes);
        result[index] = slot;
    }
    (result, sizes)
}

/// The most bytes that live at once.
pub fn live(lifetimes: &[Lifetime]) -> u64 {
    let at = |step: usize| {
        lifetimes.iter().filter(|life| life.first <= step && step <= life.last).map(|life| life.bytes).sum()
    };
    // Only where one begins can there be more than before.
    lifetimes.iter().map(|life| at(life.first)).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_two_live_places_share_a_buffer(raw in prop::collection::vec((1u64..1000, 0usize..40, 0usize..10), 0..60)) {
            let lifetimes: Vec<Lifetime> = raw.iter().map(|&(bytes, first, length)| Lifetime { bytes, first, last: first + length }).collect();
            let (slots, sizes) = assign(&lifetimes);
            for (a, x) in lifetimes.iter().enumerate() {
                prop_assert!(x.bytes <= sizes[slots[a]]);
                for (b, y) in lifetimes.iter().enumerate().skip(a + 1) {
                    prop_assert!(slots[a] != slots[b] || x.last < y.first || y.last < x.first);
                }
            }
            prop_assert!(sizes.iter().sum::<u64>() <= lifetimes.iter().map(|l| l.bytes).sum());
        }
    }

    #[test]
    fn a_chain_takes_two_buffers() {
        let chain: Vec<Lifetime> =
            (0..10).map(|step| Lifetime { bytes: 100, first: step, last: step + 1 }).collect();
        assert_eq!(assign(&chain).1, [100, 100]);
    }
}
