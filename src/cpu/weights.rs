//! What the programs of a session make of its constants, once for all: packed weights, and 16-bit floats in
//! float32.

use super::conv_block::ConvBlock;
use crate::base::Operands;
use crate::cpu_kernels::panels::Packed;
use crate::error::Result;
use crate::graph::{Graph, Node};
use crate::ops::Operator;
use crate::tensor::{DType, Tensor};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Packed weights of a session, by constant and by the operator that reads it: programs for several shapes
/// share them.
#[derive(Default)]
pub struct Weights {
    kept: Mutex<HashMap<(usize, String), Weak<Packed>>>,
    /// Constants of 16-bit floats in float32.
    wide: Mutex<HashMap<(usize, DType), Tensor>>,
}

impl Weights {
    /// A constant of 16-bit floats in float32: cast once for all programs that hold it, when one reads it.
    pub(super) fn in_float32(&self, constant: &Tensor) -> Result<Tensor> {
        let mut kept = self.wide.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, wide| wide.is_shared());
        let key = (constant.identity(), constant.dtype());
        let wide = kept.entry(key).or_insert_with(|| Tensor::widened(constant));
        wide.reshape(constant.shape())
    }

    /// What the node's operator makes of its constant inputs; made once, and freed with the last program that
    /// holds it.
    pub(super) fn of(&self, graph: &Graph, node: &Node) -> Result<Option<Arc<Packed>>> {
        let constants: Vec<Option<&Tensor>> =
            node.inputs.iter().map(|id| id.and_then(|id| graph.constant(id))).collect();
        // By type: the step holds several operators, each with weights of its own.
        let Some(chain) = node.op.downcast::<ConvBlock>() else { return self.packed(&*node.op, &constants) };
        let parts = chain.with_inputs(Operands::new(&constants)).map(|(part, others)| {
            let constants: Vec<Option<&Tensor>> = std::iter::once(None).chain(others).collect();
            self.packed(part, &constants)
        });
        Ok(parts.collect::<Result<Option<Vec<_>>>>()?.map(|parts| Arc::new(Packed::ConvBlock(parts))))
    }

    fn packed(&self, op: &dyn Operator, constants: &[Option<&Tensor>]) -> Result<Option<Arc<Packed>>> {
        let Some(engine) = op.engine() else { return Ok(None) };
        let given = engine.weights().iter().map(|&index| constants.get(index).copied().flatten());
        let Some(given) = given.collect::<Option<Vec<_>>>() else { return Ok(None) };
        let Some((first, others)) = given.split_first() else { return Ok(None) };
        let others: Vec<usize> = others.iter().map(|other| other.identity()).collect();
        // The text of an operator is all that decides how it packs.
        let key = (first.identity(), format!("{op:?} {:?} {others:?}", first.shape()));
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = kept.get(&key).and_then(Weak::upgrade) {
            return Ok(Some(found));
        }
        // What is in float32 for this alone isn't kept.
        let unread: Vec<Option<Tensor>> =
            constants.iter().map(|constant| constant.map(Tensor::unread)).collect();
        let unread: Vec<Option<&Tensor>> = unread.iter().map(Option::as_ref).collect();
        let Some(packed) = engine.pack(Operands::new(&unread))?.map(Arc::new) else { return Ok(None) };
        given.iter().for_each(|tensor| tensor.release());
        kept.retain(|_, packed| packed.strong_count() > 0);
        kept.insert(key, Arc::downgrade(&packed));
        Ok(Some(packed))
    }
}
