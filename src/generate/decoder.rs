//! The loop over a session: tokens in, scores out, the cache from each run to the next.
//!
//! **A cache that is written into** (GroupQueryAttention, TensorScatter) has its whole capacity from the
//! start, and on a GPU is written where it lies ([`Session::set_state`]). The mask says how much of it
//! counts, so that every decode step has the same shapes, and one plan. A prompt goes in pieces of a few
//! lengths, each with a plan of its own; the last piece is filled up on the right: what is written for the
//! filling lies behind the text, where nothing sees it before it is written over.
//!
//! **A cache that grows** (Concat) takes the prompt at once, and is longer after every run. Its length is a
//! size with a capacity ([`Session::set_capacity`]), so that all runs share memory.

use super::generator::Reader;
use super::ports::{Cache, Ports};
use crate::base::Precision;
use crate::compiled;
use crate::error::{Error, Result, Setting};
use crate::onnx;
use crate::session::{AnyTensor, Bindings, Prepared, Session, SessionBuilder};
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

    /// Reads tokens; the scores `[vocabulary]` for what comes behind the last of them.
    ///
    /// Errors: no tokens, more than there is room for, and those of a run. What was read stays read.
    pub fn feed(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.read(tokens, false)
    }

    /// Reads tokens; the scores `[tokens, vocabulary]` for what comes behind each of them.
    ///
    /// Errors: those of [`Decoder::feed`], and a model that gives none but for the last token.
    pub fn feed_for_all(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        if self.ports.last_alone && tokens.len() > 1 {
            let rows: Result<Vec<_>> = tokens.iter().map(|token| self.read(&[*token], false)).collect();
            return Ok(rows?.concat());
        }
        self.read(tokens, true)
    }

    fn read(&mut self, tokens: &[u32], all: bool) -> Result<Vec<f32>> {
        if tokens.is_empty() {
            return Err(Error::input("there are no tokens to read").remedy("give a prompt that isn't empty"));
        }
        let room = self.context.saturating_sub(self.tokens.len());
        if tokens.len() > room {
            return Err(Error::input(format!(
                "{} tokens are beyond the context of {}, of which {room} are free",
                tokens.len(),
                self.context
            ))
            .remedy_by("give a larger {} or a shorter prompt, or {}", &[Setting::Context, Setting::Window]));
        }
        let mut scores = vec![];
        let mut rest = tokens;
        while !rest.is_empty() {
            let length = self.length_of_piece(rest.len());
            let (piece, behind) = rest.split_at(length.min(rest.len()));
            rest = behind;
            let logits = self.step(piece, length)?;
            if all || rest.is_empty() {
                scores.extend_from_slice(&rows(&logits, piece.len(), length, all)?);
            }
            self.tokens.extend_from_slice(piece);
        }
        Ok(scores)
    }

    /// How long the next piece is made of what is left to read.
    fn length_of_piece(&self, left: usize) -> usize {
        if self.kind != CacheKind::Fixed {
            return left;
        }
        let room = self.rows.saturating_sub(self.tokens.len());
        // Where there are scores for the last token alone, that must be the text's, not the filling.
        let fits = |length: &usize| *length <= room && !(self.ports.last_alone && *length > left);
        let enough = LENGTHS.iter().rev().copied().find(|length| *length >= left && fits(length));
        enough.or_else(|| LENGTHS.iter().copied().find(fits)).unwrap_or(1)
    }

    /// What a run over these tokens would take, on the host: for a comparison of that run. They are read as
    /// one piece, with nothing to fill it up.
    ///
    /// Errors: no tokens, those of a copy to the host.
    pub fn inputs_for(&self, tokens: &[u32]) -> Result<Vec<(String, Tensor)>> {
        if tokens.is_empty() {
            return Err(Error::input("there are no tokens to read").remedy("name one at least"));
        }
        let own = self.own_inputs(tokens, tokens.len())?;
        let caches = self.ports.caches.iter().zip(&self.caches);
        let caches = caches.map(|(cache, value)| Ok((cache.past.name.clone(), value.clone().into_tensor()?)));
        own.into_iter().map(Ok).chain(caches).collect()
    }

    /// The inputs of a run over a piece but for the caches.
    fn own_inputs(&self, piece: &[u32], length: usize) -> Result<Vec<(String, Tensor)>> {
        let past = if self.kind == CacheKind::None { 0 } else { self.tokens.len() };
        let whole;
        let (piece, length) = match self.kind {
            CacheKind::None => {
                whole = [self.tokens.as_slice(), piece].concat();
                (whole.as_slice(), whole.len())
            }
            _ => (piece, length),
        };
        let ids = piece.iter().map(|id| i64::from(*id)).chain(std::iter::repeat(0)).take(length);
        let mut inputs = vec![(self.ports.ids.name.clone(), self.ports.ids.integers([1, length], ids)?)];
        if let Some(mask) = &self.ports.mask {
            let end = past + length;
            let total = if self.kind == CacheKind::Fixed { self.rows } else { end };
            let ones = (0..total).map(|at| i64::from(at < end));
            inputs.push((mask.name.clone(), mask.integers([1, total], ones)?));
        }
        if let Some(port) = &self.ports.positions {
            let last = past + piece.len() - 1;
            let places = (past..past + length).map(|at| at.min(last) as i64);
            inputs.push((port.name.clone(), port.integers([1, length], places)?));
        }
        Ok(inputs)
    }

    /// One run over a piece, filled up to a length; the scores as the model gives them.
    fn step(&mut self, piece: &[u32], length: usize) -> Result<Tensor> {
        let inputs = self.own_inputs(piece, length)?.into_iter();
        let mut bindings = inputs.fold(Bindings::new(), |all, (name, tensor)| all.input(name, tensor));
        // Given away, so that new rows are written where the caches lie; what fails leaves none.
        let caches = std::mem::take(&mut self.caches);
        self.caches.resize_with(caches.len(), || AnyTensor::Host(Tensor::int64s([])));
        for (cache, value) in self.ports.caches.iter().zip(caches) {
            bindings = bindings.input(&cache.past.name, value).keep(&cache.present);
        }
        let ran = self.session.prepare_with(&bindings).and_then(|prepared| {
            let outputs = self.session.run_taking(&prepared, bindings)?;
            Ok((prepared, outputs))
        });
        let (prepared, outputs) = match ran {
            Ok(ran) => ran,
            Err(error) => {
                self.clear()?;
                return Err(error);
            }
        };
        self.prepared = Some(prepared);
        let mut logits = None;
        for (name, value) in outputs {
            if name == self.ports.logits {
                logits = Some(value.into_tensor()?);
            } else if let Some(at) = self.ports.caches.iter().position(|cache| cache.present == name) {
                self.caches[at] = value;
            }
        }
        logits.ok_or_else(|| Error::internal("the scores were not made").at_tensor(&self.ports.logits))
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

/// The scores of the last of `count` tokens, or of all of them, of a run over `length`.
pub(super) fn rows(logits: &Tensor, count: usize, length: usize, all: bool) -> Result<Vec<f32>> {
    let shape = logits.shape();
    let width = shape.last().copied().unwrap_or(0);
    let found = logits.len().checked_div(width).unwrap_or(0);
    let wrong = || {
        Error::model(format!("the scores have shape {shape:?} after a run over {length} tokens"))
            .remedy("generation takes scores [1, tokens, vocabulary], or of the last token alone")
    };
    // The last of the tokens may lie behind others that were read again.
    let (first, last) = match found {
        1 if count == length && !all => (0, 1),
        _ if found == length => (if all { 0 } else { count - 1 }, count),
        _ if found > length && count == length => (found - if all { count } else { 1 }, found),
        _ => return Err(wrong()),
    };
    let floats;
    let scores = match logits.dtype() {
        DType::F32 => logits,
        _ => {
            floats = tensor::cast(logits, DType::F32, true)?;
            &floats
        }
    };
    let scores = scores.as_slice::<f32>()?.get(first * width..last * width);
    scores.map(<[f32]>::to_vec).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::ModelConfig;

    fn decoder(form: &str, context: usize) -> Decoder {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/text").join(form).join("model.onnx");
        let mut decoder = Decoder::open(&path, Session::builder(), &ModelConfig::default()).unwrap();
        decoder.reserve(context).unwrap();
        decoder
    }
    fn some(count: usize) -> Vec<u32> {
        (0..count).map(|at| 20 + (at * 37 % 200) as u32).collect()
    }
    fn near(a: &[f32], b: &[f32]) -> bool {
        let scale = a.iter().fold(1.0f32, |most, x| most.max(x.abs()));
        // Sums of 64 to 140 terms in another order, eight of them in a row through two layers.
        a.len() == b.len()
            && a.iter().zip(b).all(|(a, b)| (a - b).abs() <= scale * f32::EPSILON * 140.0 * 8.0)
    }

    /// In pieces of any length, filled up or not, the scores are those of one run over all tokens.
    #[test]
    fn pieces_are_as_good_as_the_whole() {
        let tokens = some(140);
        for form in ["plain", "genai"] {
            let mut once = decoder(form, 160);
            let whole = once.feed_for_all(&tokens).unwrap();
            let last = once.feed(&some(1)).unwrap();
            for piece in [1, 3, 8, 50, 129] {
                let mut decoder = decoder(form, 160);
                let mut scores = vec![];
                for part in tokens.chunks(piece) {
                    scores.extend(decoder.feed_for_all(part).unwrap());
                }
                assert!(near(&whole, &scores), "{form} by {piece}");
                assert!(near(&last, &decoder.feed(&some(1)).unwrap()), "{form} by {piece}");
            }
        }
    }

    #[test]
    fn a_cache_is_cut_where_it_can_be() {
        let tokens = some(40);
        for (form, left) in [("genai", 25), ("plain", 0)] {
            let mut decoder = decoder(form, 64);
            let first = decoder.feed(&tokens).unwrap();
            assert_eq!(decoder.truncate(25).unwrap(), left, "{form}");
            let again = decoder.feed(&tokens[left..]).unwrap();
            assert!(near(&first, &again), "{form}");
        }
    }

    #[test]
    fn the_contexts_end_is_no_panic() {
        for form in ["genai", "plain"] {
            let mut decoder = decoder(form, 20);
            assert!(decoder.feed(&[]).unwrap_err().to_string().contains("no tokens"));
            let told = decoder.feed(&some(21)).unwrap_err().to_string();
            assert!(told.contains("21 tokens are beyond the context of 20"), "{told}");
            decoder.feed(&some(19)).unwrap();
            decoder.feed(&some(1)).unwrap();
            assert!(decoder.feed(&some(1)).is_err());
        }
    }

    /// All decode steps of a cache with a capacity are one plan's, and memory doesn't depend on how many.
    #[test]
    fn a_decode_step_is_one_plan() {
        let mut decoder = decoder("genai", 64);
        decoder.feed(&some(9)).unwrap();
        decoder.feed(&some(1)).unwrap();
        let first = decoder.prepared().unwrap().clone();
        for _ in 0..20 {
            decoder.feed(&some(1)).unwrap();
            assert!(Arc::ptr_eq(&first, decoder.prepared().unwrap()));
        }
    }

    #[test]
    fn a_piece_is_no_longer_than_the_cache() {
        let mut decoder = decoder("genai", 100);
        decoder.most = Some(100);
        decoder.reserve(100).unwrap();
        assert_eq!(decoder.rows, 100);
        assert_eq!([1, 2, 8, 9, 33].map(|left| decoder.length_of_piece(left)), [1, 8, 8, 32, 32]);
        decoder.feed(&some(97)).unwrap();
        assert_eq!(decoder.length_of_piece(3), 1);
        decoder.feed(&some(3)).unwrap();
    }
}
