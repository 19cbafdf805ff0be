//! What is drawn: numbers, lists, shapes and tensors.

use sardonyx::random::SplitMix64;
use sardonyx::tensor::cast;
use sardonyx::{DType, Tensor};

pub struct Draw(pub SplitMix64);

/// The types that most operators take.
pub const INTEGERS: [DType; 8] =
    [DType::I8, DType::I16, DType::I32, DType::I64, DType::U8, DType::U16, DType::U32, DType::U64];

impl Draw {
    pub fn below(&mut self, count: usize) -> usize {
        ((self.0.next() >> 11) % count.max(1) as u64) as usize
    }
    pub fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }
    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1).max(1) as usize) as i64
    }
    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())]
    }
    pub fn real(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.0.unit()
    }
    pub fn size(&mut self) -> usize {
        self.pick(&[1, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9, 13])
    }
    pub fn shape(&mut self, rank: usize) -> Vec<usize> {
        let mut shape: Vec<usize> = (0..rank).map(|_| self.size()).collect();
        while shape.iter().product::<usize>() > 600 {
            let at = self.below(rank);
            shape[at] = shape[at].div_ceil(2);
        }
        if rank > 0 && self.one_in(30) {
            let at = self.below(rank);
            shape[at] = 0;
        }
        shape
    }
    pub fn rank(&mut self) -> usize {
        self.pick(&[0, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 5])
    }
    /// An order of `count` things.
    pub fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for at in (1..count).rev() {
            order.swap(at, self.below(at + 1));
        }
        order
    }
    /// An axis, from the front or from the end.
    pub fn axis(&mut self, rank: usize) -> (usize, i64) {
        let axis = self.below(rank);
        (axis, self.signed(axis, rank))
    }
    pub fn signed(&mut self, axis: usize, rank: usize) -> i64 {
        axis as i64 - if self.one_in(2) { rank as i64 } else { 0 }
    }
    /// Some axes, in any order, each from the front or from the end.
    pub fn axes(&mut self, rank: usize) -> Vec<i64> {
        let count = self.below(rank + 1);
        let order = self.order(rank);
        order[..count].iter().map(|&axis| self.signed(axis, rank)).collect()
    }
    /// A type: float32 mostly.
    pub fn dtype(&mut self) -> DType {
        match self.below(20) {
            0..=9 => DType::F32,
            10 | 11 => DType::F16,
            12 => DType::F64,
            13 => DType::Bool,
            14 | 15 => DType::I64,
            _ => self.pick(&INTEGERS),
        }
    }
    /// Elements of ordinary size; of integers now and then some of all bits.
    pub fn tensor(&mut self, dtype: DType, shape: &[usize]) -> Tensor {
        let count: usize = shape.iter().product();
        if dtype.is_float() || dtype.is_small_float() {
            let list: Vec<f64> = match self.below(8) {
                // Equal ones, and whole ones.
                0 => (0..count).map(|_| self.between(-3, 3) as f64).collect(),
                1 => (0..count).map(|_| self.real(0.1, 1.0)).collect(),
                _ => (0..count).map(|_| self.real(-2.0, 2.0)).collect(),
            };
            return cast(&Tensor::new(shape, list).unwrap(), dtype, true).unwrap();
        }
        let wide = self.one_in(8);
        let list: Vec<i64> = (0..count)
            .map(|_| match dtype {
                DType::Bool => self.between(0, 1),
                _ if wide => self.0.next() as i64,
                _ => self.between(-6, 9),
            })
            .collect();
        cast(&Tensor::new(shape, list).unwrap(), dtype, true).unwrap()
    }
    /// Sizes that broadcast to a shape: some 1, some leading ones left out.
    pub fn narrower(&mut self, shape: &[usize]) -> Vec<usize> {
        let skip = if self.one_in(2) { self.below(shape.len() + 1) } else { 0 };
        let thin = self.one_in(2);
        shape[skip..].iter().map(|&size| if thin && self.one_in(2) { 1 } else { size }).collect()
    }
}

/// A 1-D tensor of int64.
pub fn list(values: &[i64]) -> Tensor {
    Tensor::int64s(values.iter().copied())
}
