//! Seeded numbers, the same on every machine: for noise, planted faults, cases and weights drawn anew.

/// [SplitMix64](https://prng.di.unimi.it/splitmix64.c) (Steele, Lea and Flood, 2014): small, and any seed
/// will do.
#[derive(Debug, Clone)]
pub struct SplitMix64(pub u64);

impl SplitMix64 {
    /// The next 64 bits.
    #[allow(clippy::should_implement_trait, reason = "the sequence has no end")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
    /// Uniform in 0 to `count` - 1; 0 of none.
    pub fn below(&mut self, count: usize) -> usize {
        ((self.unit() * count as f64) as usize).min(count.saturating_sub(1))
    }
}

/// [MT19937](https://doi.org/10.1145/272991.272995) (Matsumoto and Nishimura, 1998), seeded and read as numpy
/// does it: what ONNX's reference evaluator draws.
pub struct MersenneTwister {
    state: Vec<u32>,
    at: usize,
}

const WORDS: usize = 624;
const APART: usize = 397;

impl MersenneTwister {
    pub fn new(seed: u32) -> Self {
        let mut state = Vec::with_capacity(WORDS);
        let mut last = seed;
        state.push(last);
        for index in 1..WORDS as u32 {
            last = (last ^ last >> 30).wrapping_mul(1_812_433_253).wrapping_add(index);
            state.push(last);
        }
        Self { state, at: WORDS }
    }

    fn renew(&mut self) {
        for index in 0..WORDS {
            let next = self.state[(index + 1) % WORDS];
            let mixed = self.state[index] & 0x8000_0000 | next & 0x7fff_ffff;
            let odd = if mixed & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[index] = self.state[(index + APART) % WORDS] ^ mixed >> 1 ^ odd;
        }
        self.at = 0;
    }

    fn word(&mut self) -> u32 {
        if self.at == WORDS {
            self.renew();
        }
        let mut y = self.state[self.at];
        self.at += 1;
        y ^= y >> 11;
        y ^= y << 7 & 0x9d2c_5680;
        y ^= y << 15 & 0xefc6_0000;
        y ^ y >> 18
    }

    /// Uniform in [0, 1), of 53 bits.
    pub fn unit(&mut self) -> f64 {
        let (high, low) = (self.word() >> 5, self.word() >> 6);
        (high as f64 * (1u64 << 26) as f64 + low as f64) / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// numpy.random.RandomState(seed).random_sample(3).
    #[test]
    fn the_twister_draws_what_numpy_draws() {
        let draws = |seed: u32| {
            let mut twister = MersenneTwister::new(seed);
            [twister.unit(), twister.unit(), twister.unit()]
        };
        assert_eq!(draws(0), [0.5488135039273248, 0.7151893663724195, 0.6027633760716439]);
        assert_eq!(draws(12345), [0.9296160928171479, 0.3163755545817859, 0.18391881167709445]);
    }
}
