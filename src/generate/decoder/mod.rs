//! The loop over a session: tokens in, scores out, the cache from each run to the next.
//!
//! **A cache that is written into** (GroupQueryAttention, TensorScatter) has its whole capacity from the
//! start, and on a GPU is written where it lies ([`Session::set_state`]). The mask says how much of it
//! counts, so that every decode step has the same shapes, and one plan. A prompt goes in pieces of a few
//! lengths, each with a plan of its own; a piece that is too short is filled up on the right: what is written
//! for the filling lies behind the text, where nothing sees it before it is written over.
//!
//! **A cache that grows** (Concat) takes the prompt at once, and is longer after every run. Its length is a
//! size with a capacity ([`Session::set_capacity`]), so that all runs share memory.
//!
//! **Scores** are what a prompt's last token alone is read for. All others are read without them: with a
//! vocabulary of 49,152, a fifth of the arithmetic of a model of 135 million weights.

mod reading;
#[cfg(test)]
mod tests;

pub(super) use reading::rows;

use super::generator::Reader;
use super::ports::{Cache, Ports};
use crate::base::Precision;
use crate::compiled;
use crate::error::{Error, Result};
use crate::onnx;
use crate::session::{AnyTensor, Prepared, Session, SessionBuilder};
use crate::tensor::{self, DType, Tensor};
use std::path::Path;
use std::sync::Arc;

/// How a model keeps what it has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheKind {
    /// Not at all: every run reads the whole text.
    None,
    /// In caches of a fixed capacity, which new tokens are written into.
    Fixed,
    /// In caches that are longer after every run.
    Growing,
}

/// What to do with a text that is longer than the context.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Overflow {
    /// A prompt that is too long is an error, and an answer ends where the context does.
    #[default]
    Error,
    /// The older half is forgotten, and the other read anew.
    Window,
}

/// The lengths of a prompt's pieces, where the cache has a capacity.
const LENGTHS: [usize; 4] = [128, 32, 8, 1];

/// A session of a decoder, and what it has read.
pub struct Decoder {
    session: Session,
    ports: Ports,
    kind: CacheKind,
    /// Tokens that there may be.
    context: usize,
    /// Rows of a cache of fixed capacity.
    rows: usize,
    /// What the model can look back on at all, where that is known.
    most: Option<usize>,
    caches: Vec<AnyTensor>,
    /// The tokens that were read.
    tokens: Vec<u32>,
    prepared: Option<Arc<Prepared>>,
}

impl Decoder {
    /// Makes a session of a model for generation. What the model leaves open is said by `config`.
    ///
    /// Errors: those of loading; inputs and outputs that aren't a decoder's, by name.
    pub fn open(path: &Path, builder: SessionBuilder, config: &super::ModelConfig) -> Result<Self> {
        let sizes = [config.kv_heads, config.head_size];
        let (mut session, ports) = if compiled::is_compiled(path) {
            let session = builder.load(path)?;
            let ports = Ports::of(session.original(), sizes).map_err(|error| error.in_file(path))?;
            (session, ports)
        } else {
            let model = onnx::read(path)?;
            let ports = Ports::of(&model.graph, sizes).map_err(|error| error.in_file(path))?;
            (builder.build(model).map_err(|error| error.in_file(path))?, ports)
        };
        let kind = match (ports.caches.is_empty(), ports.growing) {
            (true, _) => CacheKind::None,
            (false, true) => CacheKind::Growing,
            (false, false) => CacheKind::Fixed,
        };
        if kind == CacheKind::Fixed {
            // New rows are written where the cache lies.
            ports.caches.iter().try_for_each(|cache| session.set_state(&cache.past.name, &cache.present))?;
        }
        let most = config.context;
        let (caches, tokens) = (vec![], vec![]);
        Ok(Self { session, ports, kind, context: 0, rows: 0, most, caches, tokens, prepared: None })
    }

    /// The session.
    pub fn session(&self) -> &Session {
        &self.session
    }
    /// How the model keeps what it has read.
    pub fn kind(&self) -> CacheKind {
        self.kind
    }
    /// The tokens that there is memory for.
    pub fn context(&self) -> usize {
        self.context
    }
    /// What was read, and is in the cache.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }
    /// What the last run was prepared as.
    pub fn prepared(&self) -> Option<&Arc<Prepared>> {
        self.prepared.as_ref()
    }
    /// How many tokens the model gives scores for, if it says so.
    pub fn vocabulary(&self) -> Option<usize> {
        self.ports.vocabulary
    }
    /// How many rows its embedding has, if it has one that is seen.
    pub fn embedding(&self) -> Option<usize> {
        self.ports.embedding
    }
    /// The caches' sizes for one sequence, 0 along the axis of the tokens.
    pub fn cache_shapes(&self) -> impl Iterator<Item = &[usize]> {
        self.ports.caches.iter().map(|cache| cache.shape.as_slice())
    }

    /// Bytes that the caches take where the session runs, for a context of so many tokens.
    pub fn kv_bytes(&self, context: usize) -> u64 {
        let rows = if self.kind == CacheKind::Fixed { self.rows_for(context) } else { context };
        let narrow = self.session.precision() == Precision::F16;
        let bytes = |cache: &Cache| {
            let row = cache.shape.iter().enumerate().filter(|(axis, _)| *axis != cache.axis);
            let row = row.fold(1u64, |row, (_, size)| row.saturating_mul(*size as u64));
            let wide = if narrow && cache.past.dtype == DType::F32 { 2 } else { cache.past.dtype.size() };
            row.saturating_mul(wide as u64).saturating_mul(rows as u64)
        };
        self.ports.caches.iter().fold(0, |sum, cache| sum.saturating_add(bytes(cache)))
    }

    /// Room for the filling of a prompt's last piece, where the model has it.
    fn rows_for(&self, context: usize) -> usize {
        let wanted = context.saturating_add(LENGTHS[0]);
        let wanted = wanted.checked_next_multiple_of(32).unwrap_or(wanted);
        self.most.map_or(wanted, |most| wanted.min(most).max(context))
    }

    /// Takes the memory for a context of so many tokens. What was read is forgotten.
    ///
    /// Errors: memory that isn't there.
    pub fn reserve(&mut self, context: usize) -> Result<()> {
        self.caches.clear();
        (self.context, self.rows) = (context, self.rows_for(context));
        if self.kind == CacheKind::Growing {
            let caches =
                self.ports.caches.iter().filter_map(|cache| cache.past.symbols.get(cache.axis)?.clone());
            let mask = self.ports.mask.iter().filter_map(|mask| mask.symbols.get(1)?.clone());
            let symbols: std::collections::BTreeSet<String> = caches.chain(mask).collect();
            for symbol in symbols {
                self.session.set_capacity(symbol, context);
            }
        }
        self.clear()
    }

    /// Forgets what was read.
    ///
    /// Errors: memory that isn't there.
    pub fn clear(&mut self) -> Result<()> {
        self.tokens.clear();
        let rows = if self.kind == CacheKind::Fixed { self.rows } else { 0 };
        // Of a cache that is written into nothing is seen but what was written since.
        if self.kind == CacheKind::Fixed && self.caches.len() == self.ports.caches.len() {
            return Ok(());
        }
        self.caches.clear();
        for cache in &self.ports.caches {
            let empty = empty(cache, rows).map_err(|error| error.at_tensor(&cache.past.name))?;
            self.caches.push(self.session.upload(&empty)?.into());
        }
        Ok(())
    }

    /// Forgets what was read behind the first `count` tokens; how many are left: fewer, where the cache can't
    /// be cut.
    ///
    /// Errors: memory that isn't there.
    pub fn truncate(&mut self, count: usize) -> Result<usize> {
        if count < self.tokens.len() {
            match self.kind {
                CacheKind::Growing => self.clear()?,
                CacheKind::Fixed | CacheKind::None => self.tokens.truncate(count),
            }
        }
        Ok(self.tokens.len())
    }
}

impl Reader for Decoder {
    fn context(&self) -> usize {
        self.context
    }
    fn tokens(&self) -> &[u32] {
        &self.tokens
    }
    fn truncate(&mut self, count: usize) -> Result<usize> {
        Decoder::truncate(self, count)
    }
    fn feed(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        Decoder::feed(self, tokens)
    }
}

/// An empty cache of so many rows.
fn empty(cache: &Cache, rows: usize) -> Result<Tensor> {
    let mut shape = cache.shape.clone();
    shape[cache.axis] = rows;
    let dtype = cache.past.dtype;
    let bytes = tensor::element_count(&shape)?.checked_mul(dtype.size());
    let bytes = bytes.ok_or_else(|| Error::memory(format!("a cache of shape {shape:?} is too large")))?;
    Tensor::from_byte_vector(dtype, shape, tensor::zeros::<u8>(bytes)?)
}
