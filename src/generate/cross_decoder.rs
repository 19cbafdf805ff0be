//! The decoder of an encoder's states, token by token.
//!
//! The encoder's states, and the keys and values that the first run makes of them, stay where the session
//! runs; so do the keys and values of the tokens, which are longer after every run. The runs behind the
//! first are those of a graph of their own (`decoder_with_past_model.onnx`), of the other branch of one
//! graph (`use_cache_branch`), or, where there is neither, the first one over the whole text again.

use super::cross_ports::{CrossPorts, Past, TOKENS};
use super::decoder::{CacheKind, rows};
use super::generator::Reader;
use crate::error::{Error, Result};
use crate::onnx;
use crate::session::{AnyTensor, Bindings, Prepared, Session, SessionBuilder};
use crate::tensor::{Boolean, Tensor};
use crate::text::{PairFiles, Port};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One of the decoder's graphs.
struct Part {
    session: Session,
    ports: CrossPorts,
    file: PathBuf,
}

/// What runs behind the first run.
#[derive(PartialEq, Eq)]
enum Next {
    /// A graph of its own.
    Own,
    /// The same graph's other branch.
    Branch,
    /// The same again, over the whole text.
    Whole,
}

/// What the encoder made of its input.
pub(crate) struct States {
    /// `[1, tokens, width]`.
    pub states: AnyTensor,
    /// Which of the tokens count: all of them unless said.
    pub mask: Option<Vec<i64>>,
}

/// A decoder of an encoder's states.
pub struct CrossDecoder {
    first: Part,
    own: Option<Part>,
    next: Next,
    source: Option<States>,
    /// Keys and values, by the names of the outputs that they were.
    caches: HashMap<String, AnyTensor>,
    tokens: Vec<u32>,
    context: usize,
    prepared: Option<Arc<Prepared>>,
}

impl CrossDecoder {
    /// Makes sessions of a decoder's files.
    ///
    /// Errors: those of loading; inputs and outputs that aren't such a decoder's, by name.
    pub fn open(files: &PairFiles, builder: &SessionBuilder) -> Result<Self> {
        let first = Part::open(&files.decoder, builder)?;
        let own = files.next.as_deref().map(|next| Part::open(next, builder)).transpose()?;
        if first.ports.states.is_none() {
            return Err(Error::unsupported("has no input encoder_hidden_states")
                .in_file(&first.file)
                .remedy("export the decoder of an encoder's states"));
        }
        let next = match (&own, &first.ports.switch) {
            (Some(_), _) => Next::Own,
            (None, Some(_)) => Next::Branch,
            (None, None) => Next::Whole,
        };
        let decoder = Self {
            first,
            own,
            next,
            source: None,
            caches: HashMap::new(),
            tokens: vec![],
            context: 0,
            prepared: None,
        };
        decoder.check()?;
        Ok(decoder)
    }

    /// Errors where one graph takes what the other doesn't make.
    fn check(&self) -> Result<()> {
        let later = self.later();
        let missing = |past: &&Past| !self.first.ports.presents.contains(&past.present);
        match later.ports.pasts.iter().find(missing).filter(|_| self.next != Next::Whole) {
            None => Ok(()),
            Some(past) => Err(Error::unsupported(format!(
                "{} has no output '{}' that goes with this input",
                self.first.file.display(),
                past.present
            ))
            .in_file(&later.file)
            .at_tensor(&past.port.name)
            .remedy("export both decoders of one model, with their caches as outputs")),
        }
    }

    /// Errors where the encoder's states aren't what this decoder takes, by the names and shapes of both.
    pub(crate) fn check_states(&self, encoder: &Path, made: &Port) -> Result<()> {
        let Some(taken) = &self.first.ports.states else { return Ok(()) };
        let differs = made.sizes.len() != taken.sizes.len()
            || made.sizes.iter().zip(&taken.sizes).any(|(a, b)| a.is_some() && b.is_some() && a != b);
        if made.dtype == taken.dtype && !(differs && !made.sizes.is_empty() && !taken.sizes.is_empty()) {
            return Ok(());
        }
        let shown = |port: &Port| {
            let sizes = port.sizes.iter().map(|size| size.map_or("?".to_string(), |size| size.to_string()));
            format!("{} [{}]", port.dtype, sizes.collect::<Vec<_>>().join(", "))
        };
        Err(Error::model(format!(
            "takes {}, but {} gives '{}' as {}",
            shown(taken),
            encoder.display(),
            made.name,
            shown(made)
        ))
        .in_file(&self.first.file)
        .at_tensor(&taken.name)
        .remedy("take encoder and decoder of one model"))
    }

    /// The graph of the runs behind the first.
    fn later(&self) -> &Part {
        self.own.as_ref().unwrap_or(&self.first)
    }
    /// The session of the first run.
    pub fn session(&self) -> &Session {
        &self.first.session
    }
    /// How the model keeps what it has read.
    pub fn kind(&self) -> CacheKind {
        if self.next == Next::Whole { CacheKind::None } else { CacheKind::Growing }
    }
    /// How many tokens the model gives scores for, if it says so.
    pub fn vocabulary(&self) -> Option<usize> {
        self.first.ports.vocabulary
    }
    /// What the last run was prepared as.
    pub fn prepared(&self) -> Option<&Arc<Prepared>> {
        self.prepared.as_ref()
    }
    /// Bytes of the keys and values of so many tokens.
    pub fn kv_bytes(&self, context: usize) -> u64 {
        let own = self.later().ports.pasts.iter().filter(|past| !past.cross);
        own.fold(0, |sum, past| {
            let row = [1, 3].map(|axis| past.port.sizes.get(axis).copied().flatten().unwrap_or(1) as u64);
            let row = row[0].saturating_mul(row[1]).saturating_mul(past.port.dtype.size() as u64);
            sum.saturating_add(row.saturating_mul(context as u64))
        })
    }

    /// Goes on from an encoder's states, for a text of so many tokens. What was read is forgotten.
    pub(crate) fn begin(&mut self, source: States, context: usize) {
        self.clear();
        self.source = Some(source);
        self.context = context;
        let part = self.own.as_mut().unwrap_or(&mut self.first);
        let own = part.ports.pasts.iter().filter(|past| !past.cross);
        let symbols: BTreeSet<String> =
            own.filter_map(|past| past.port.symbols.get(TOKENS)?.clone()).collect();
        symbols.into_iter().for_each(|symbol| part.session.set_capacity(symbol, context));
    }

    fn clear(&mut self) {
        self.caches.clear();
        self.tokens.clear();
    }

    /// One run over tokens behind those that were read; the scores as the model gives them.
    fn step(&mut self, tokens: &[u32]) -> Result<Tensor> {
        let start = self.tokens.is_empty() || self.next == Next::Whole;
        let whole;
        let (past, tokens) = match self.next {
            Next::Whole => {
                whole = [self.tokens.as_slice(), tokens].concat();
                (0, whole.as_slice())
            }
            _ => (self.tokens.len(), tokens),
        };
        let source = self.source.as_ref();
        let source = source.ok_or_else(|| Error::internal("the decoder was given no encoder's states"))?;
        let part = if start { &self.first } else { self.own.as_ref().unwrap_or(&self.first) };
        let ports = &part.ports;
        let count = tokens.len();
        let ids = ports.ids.integers([1, count], tokens.iter().map(|id| i64::from(*id)))?;
        let mut bindings = Bindings::new().input(&ports.ids.name, ids);
        let length = source.states.shape().get(1).copied().unwrap_or(0);
        if let Some(port) = &ports.states {
            bindings = bindings.input(&port.name, source.states.clone());
        }
        if let Some(port) = &ports.mask {
            let all = || vec![1; length];
            let mask = source.mask.clone().unwrap_or_else(all);
            bindings = bindings.input(&port.name, port.integers([1, mask.len()], mask.into_iter())?);
        }
        if let Some(port) = &ports.places {
            bindings =
                bindings.input(&port.name, port.integers([count], (past..past + count).map(|at| at as i64))?);
        }
        if let Some(name) = &ports.switch {
            bindings = bindings.input(name, Tensor::new([1], vec![Boolean::from(!start)])?);
        }
        for cache in &ports.pasts {
            let value = match self.caches.get(&cache.present) {
                Some(value) if !start => value.clone(),
                // The branch of the first run doesn't look at them, but they are inputs.
                _ => cache.zeros(nothing(cache, ports, length))?.into(),
            };
            bindings = bindings.input(&cache.port.name, value);
        }
        bindings = ports.presents.iter().fold(bindings, |all, name| all.keep(name));
        let prepared = part.session.prepare_with(&bindings).map_err(|error| part.told(error))?;
        let outputs = part.session.run_with(&prepared, &bindings).map_err(|error| part.told(error))?;
        let cross: BTreeSet<&String> =
            self.later().ports.pasts.iter().filter(|past| past.cross).map(|past| &past.present).collect();
        let mut made = vec![];
        let mut logits = None;
        for (name, value) in outputs {
            if name == ports.logits {
                logits = Some(value.into_tensor()?);
            } else if self.next != Next::Whole && (start || !cross.contains(&name)) {
                // Those of the encoder's states are made once.
                made.push((name, value));
            }
        }
        let told = || Error::internal("the scores were not made").at_tensor(&ports.logits);
        let logits = logits.ok_or_else(told)?;
        self.caches.extend(made);
        self.prepared = Some(prepared);
        Ok(logits)
    }
}

/// How long a cache is that nothing looks at: none, but for one of the encoder's states whose length must be
/// theirs.
fn nothing(cache: &Past, ports: &CrossPorts, length: usize) -> usize {
    let own = cache.port.symbols.get(TOKENS).and_then(Option::as_ref);
    let states = ports.states.as_ref().and_then(|port| port.symbols.get(1)?.as_ref());
    let fixed = cache.port.sizes.get(TOKENS).copied().flatten();
    fixed.unwrap_or(if own.is_some() && own == states { length } else { 0 })
}

impl Part {
    fn open(file: &Path, builder: &SessionBuilder) -> Result<Self> {
        let model = onnx::read(file)?;
        let ports = CrossPorts::of(&model.graph).map_err(|error| error.in_file(file))?;
        let session = builder.clone().build(model).map_err(|error| error.in_file(file))?;
        Ok(Self { session, ports, file: file.to_path_buf() })
    }
    fn told(&self, error: Error) -> Error {
        if error.path().is_some() { error } else { error.in_file(&self.file) }
    }
}

impl Reader for CrossDecoder {
    fn context(&self) -> usize {
        self.context
    }
    fn tokens(&self) -> &[u32] {
        &self.tokens
    }
    fn truncate(&mut self, count: usize) -> Result<usize> {
        // Caches that grew can't be cut.
        if count < self.tokens.len() {
            self.clear();
        }
        Ok(self.tokens.len())
    }
    fn feed(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        let mut scores = vec![];
        // A graph with a cache takes one token at a time; without one it takes all there are.
        let size = if self.tokens.is_empty() || self.next == Next::Whole { tokens.len() } else { 1 };
        for piece in tokens.chunks(size.max(1)) {
            let logits = match self.step(piece) {
                Ok(logits) => logits,
                Err(error) => {
                    self.clear();
                    return Err(error);
                }
            };
            self.tokens.extend_from_slice(piece);
            let count = if self.next == Next::Whole { self.tokens.len() } else { piece.len() };
            scores = rows(&logits, count, count, false)?;
        }
        Ok(scores)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DType;
    use crate::text::ModelFiles;

    #[test]
    fn states_that_do_not_fit_are_named_with_their_shapes() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/models/t5/merged");
        let files = ModelFiles::find_pair(folder).unwrap().unwrap();
        let decoder = CrossDecoder::open(&files, &Session::builder()).unwrap();
        let made = |width| Port {
            name: "last_hidden_state".into(),
            dtype: DType::F32,
            symbols: vec![None; 3],
            sizes: vec![None, None, Some(width)],
        };
        decoder.check_states(Path::new("encoder.onnx"), &made(32)).unwrap();
        let told = decoder.check_states(Path::new("encoder.onnx"), &made(48)).unwrap_err().to_string();
        for part in ["encoder_hidden_states", "[?, ?, 32]", "encoder.onnx", "last_hidden_state", "[?, ?, 48]"]
        {
            assert!(told.contains(part), "{part}: {told}");
        }
    }
}
