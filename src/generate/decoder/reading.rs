//! The runs of a decoder: a text in pieces, and the scores behind it.

use super::{CacheKind, Decoder, LENGTHS};
use crate::error::{Error, Result, Setting};
use crate::session::{AnyTensor, Bindings};
use crate::tensor::{self, DType, Tensor};

/// Prompts up to this length are read at once, scores and all: that takes little longer than one token does.
const AT_ONCE: usize = 8;

/// The scores that a run is read for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scores {
    None,
    /// For what comes behind the last token.
    Last,
    /// For what comes behind each.
    All,
}

impl Decoder {
    /// Reads tokens; the scores `[vocabulary]` for what comes behind the last of them.
    ///
    /// Errors: no tokens, more than there is room for, and those of a run. What was read stays read.
    pub fn feed(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.read(tokens, Scores::Last)
    }

    /// Reads tokens; the scores `[tokens, vocabulary]` for what comes behind each of them.
    ///
    /// Errors: those of [`Decoder::feed`], and a model that gives none but for the last token.
    pub fn feed_for_all(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        if self.ports.last_alone && tokens.len() > 1 {
            let rows: Result<Vec<_>> =
                tokens.iter().map(|token| self.read(&[*token], Scores::Last)).collect();
            return Ok(rows?.concat());
        }
        self.read(tokens, Scores::All)
    }

    fn read(&mut self, tokens: &[u32], wanted: Scores) -> Result<Vec<f32>> {
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
        let at_once = wanted == Scores::All || self.kind == CacheKind::None || tokens.len() <= AT_ONCE;
        let unscored = if at_once { 0 } else { tokens.len() - 1 };
        let (unscored, scored) = tokens.split_at(unscored);
        self.read_part(unscored, Scores::None)?;
        self.read_part(scored, wanted)
    }

    /// Reads tokens in pieces.
    fn read_part(&mut self, tokens: &[u32], wanted: Scores) -> Result<Vec<f32>> {
        let mut scores = vec![];
        let mut rest = tokens;
        while !rest.is_empty() {
            let length = self.length_of_piece(rest.len(), wanted != Scores::None);
            let (piece, behind) = rest.split_at(length.min(rest.len()));
            rest = behind;
            let all = wanted == Scores::All;
            let scored = all || wanted == Scores::Last && rest.is_empty();
            let logits = self.step(piece, length, scored)?;
            if let Some(logits) = logits {
                scores.extend_from_slice(&rows(&logits, piece.len(), length, all)?);
            }
            self.tokens.extend_from_slice(piece);
        }
        Ok(scores)
    }

    /// How long the next piece is made of what is left to read.
    pub(super) fn length_of_piece(&self, left: usize, scored: bool) -> usize {
        if self.kind != CacheKind::Fixed {
            return left;
        }
        let room = self.rows.saturating_sub(self.tokens.len());
        // Where there are scores for the last token alone, that must be the text's, not the filling.
        let text_ends = scored && self.ports.last_alone;
        let fits = |length: &usize| *length <= room && !(text_ends && *length > left);
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

    /// One run over a piece, filled up to a length; the scores as the model gives them, where they are wanted.
    pub(super) fn step(&mut self, piece: &[u32], length: usize, scored: bool) -> Result<Option<Tensor>> {
        let inputs = self.own_inputs(piece, length)?.into_iter();
        let mut bindings = inputs.fold(Bindings::new(), |all, (name, tensor)| all.input(name, tensor));
        // Given away, so that new rows are written where the caches lie; what fails leaves none.
        let caches = std::mem::take(&mut self.caches);
        self.caches.resize_with(caches.len(), || AnyTensor::Host(Tensor::int64s([])));
        for (cache, value) in self.ports.caches.iter().zip(caches) {
            bindings = bindings.input(&cache.past.name, value).keep(&cache.present);
        }
        if !scored {
            bindings = bindings.leave_out(&self.ports.logits);
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
        match logits.is_none() && scored {
            true => Err(Error::internal("the scores were not made").at_tensor(&self.ports.logits)),
            false => Ok(logits),
        }
    }
}

/// The scores of the last of `count` tokens, or of all of them, of a run over `length`.
pub(in crate::generate) fn rows(logits: &Tensor, count: usize, length: usize, all: bool) -> Result<Vec<f32>> {
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
