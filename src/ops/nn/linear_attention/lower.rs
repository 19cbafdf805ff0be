//! Linear attention on the GPU.

use super::{LinearAttention, Sizes};
use crate::base::{Fact, Layout, Unsupported};
use crate::kernels::{Lowering, linear_attention as kernel};
use crate::ops::Lower;

impl Lower for LinearAttention {
    fn lower(&self, at: &mut dyn Lowering) -> Result<(), Unsupported> {
        let storage = at.float_storage(0)?;
        let fact = at.fact(0)?.clone();
        let held = if at.has_input(3) { at.fact(3)?.dtype } else { fact.dtype };
        let states = at.storage(held)?;
        if !states.is_float() || held.is_small_float() {
            return Err(Unsupported::new(format!("a state of {held}")));
        }
        for index in [1, 2, 4, 5].into_iter().filter(|&index| at.has_input(index)) {
            if at.fact(index)?.dtype != fact.dtype {
                return Err(Unsupported::new("inputs of several types"));
            }
        }
        let shape = |index: usize| at.fact(index).ok().map(|fact| &fact.shape[..]);
        let sizes = self.sizes(std::array::from_fn(shape))?;
        let last = |index: usize| shape(index).and_then(|shape| shape.last().copied()).unwrap_or(1);
        let (decays, rates) = (last(4), last(5));
        let Sizes { batch, rows, depth, value_depth } = sizes;
        if [batch, rows, depth, value_depth].contains(&0) {
            return Err(Unsupported::new("linear attention without elements"));
        }
        let mut input = |index: usize| at.input(index, Layout::Dense);
        let (queries, keys, values) = (input(0)?, input(1)?, input(2)?);
        let mut optional = |index: usize| at.optional_input(index, Layout::Dense);
        let (past, decay, rate) = (optional(3)?, optional(4)?, optional(5)?);
        let made = Fact::new(fact.dtype, [batch, rows, self.heads, value_depth]);
        let output = at.scratch(&made, Layout::Rows4)?;
        let state = if at.has_output(1) { Some(at.output(1, Layout::Dense)?) } else { None };
        let kv_heads = self.kv_heads;
        let sizes =
            kernel::Sizes { batch, steps: rows, heads: self.heads, kv_heads, depth, values: value_depth };
        let given = kernel::LinearAttention {
            sizes,
            queries,
            keys,
            values,
            past,
            decay: decay.map(|decay| (decay, decays != kv_heads)),
            rate: rate.map(|rate| (rate, rates)),
            scale: self.factor(depth) as f32,
            output: output.clone(),
            state,
        };
        kernel::emit(at, [storage, states], &given)?;
        let shape = at.output_fact(0)?.shape.clone();
        at.alias_reshaped(output, &shape)
    }
}
