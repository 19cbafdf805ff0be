//! How the CPU runs an operator fast.

use crate::base::{EvalPrecision, Operands};
use crate::cpu_kernels::panels::Packed;
use crate::error::{Error, Result};
use crate::ops::Operator;
use crate::tensor::Tensor;

/// An operator's forms for float32 on the CPU. Each answers as `eval` does, within the operator's error
/// bound: tests/cpu_float32.rs holds one to the other.
pub trait Engine {
    /// The inputs that [`Engine::pack`] is about: it is asked where all are constant, and nothing but them
    /// and the operator decides what it makes.
    fn weights(&self) -> &'static [usize] {
        &[1]
    }

    /// What a run would make of constant inputs every time, made once for all: weights in panels. `inputs`
    /// has those that are constant. `None`: there is nothing to make ready.
    fn pack(&self, _inputs: Operands<'_, Tensor>) -> Result<Option<Packed>> {
        Ok(None)
    }

    /// The first `wanted` outputs, or more of them. `packed`: what [`Engine::pack`] made of the same
    /// constants; the results are the same to the bit without. `None`: there is no form for these inputs, and
    /// `eval` serves.
    fn run(
        &self,
        _inputs: Operands<'_, Tensor>,
        _packed: Option<&Packed>,
        _wanted: usize,
        _mode: EvalPrecision,
    ) -> Result<Option<Vec<Tensor>>> {
        Ok(None)
    }

    /// Whether [`Engine::run_over`] makes the output in the memory of input 0.
    fn writes_over(&self) -> bool {
        false
    }

    /// The outputs, the first of them in the memory of input 0 where nobody else holds it: that is given here, and
    /// is missing among the others.
    fn run_over(&self, _first: Tensor, _inputs: Operands<'_, Tensor>) -> Result<Vec<Tensor>> {
        Err(Error::internal("an operator that writes over none of its inputs"))
    }

    /// The same of images whose channels lie innermost: the inputs that [`Engine::takes_image`], and the
    /// result, are `[n, h, w, c]` where `eval` has `[n, c, h, w]`. `None`: there is no such form for these
    /// inputs.
    fn run_channels_last(
        &self,
        _inputs: Operands<'_, Tensor>,
        _packed: Option<&Packed>,
        _mode: EvalPrecision,
    ) -> Result<Option<Vec<Tensor>>> {
        Ok(None)
    }

    /// Which images the engine takes with their channels innermost. `weights`: the shape of the first of its
    /// [`Engine::weights`], where it is constant.
    fn channels_last(&self, _weights: Option<&[usize]>) -> ChannelsLast {
        ChannelsLast::Never
    }

    /// Whether an input is an image, whose channels lie innermost for [`Engine::run_channels_last`].
    fn takes_image(&self, index: usize) -> bool {
        index == 0 || index > 2
    }
}

/// Whether an engine takes images with their channels innermost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelsLast {
    Never,
    /// Those that lie so already.
    Given,
    /// Also those that are brought into that order for it.
    Asked,
}

impl dyn Operator {
    /// The operator's first `wanted` outputs, or more of them, by its engine where that serves.
    pub fn run(
        &self,
        inputs: Operands<'_, Tensor>,
        packed: Option<&Packed>,
        wanted: usize,
        mode: EvalPrecision,
    ) -> Result<Vec<Tensor>> {
        let by_engine = self.engine().map(|engine| engine.run(inputs, packed, wanted, mode)).transpose()?;
        by_engine.flatten().map_or_else(|| self.eval(inputs, mode), Ok)
    }
}
