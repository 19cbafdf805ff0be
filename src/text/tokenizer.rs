//! Text to tokens and back: `tokenizer.json`, by the crate `tokenizers`.

use super::files::ModelFiles;
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};
use tokenizers::{PostProcessor, TruncationDirection};

/// A model's tokenizer.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    path: PathBuf,
    /// One more than the largest number of a token that isn't special.
    vocabulary: usize,
    /// How many tokens of a text the file says to keep.
    most: Option<usize>,
    /// Where a text is cut that is longer.
    side: TruncationDirection,
    /// The token that the file says to fill up with.
    filling: Option<u32>,
}

/// A text's tokens, with those that the tokenizer puts around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The tokens' numbers.
    pub ids: Vec<u32>,
    /// Which of a pair of texts each belongs to: 0 where there is one.
    pub types: Vec<u32>,
    /// How many tokens the whole text has.
    pub whole: usize,
}

/// How many rows a model may have beyond its tokens: embeddings are padded to round sizes.
const PADDING: usize = 1024;

impl Tokenizer {
    /// The tokenizer beside a model.
    ///
    /// Errors: there is none, and those of [`Tokenizer::read`].
    pub fn beside(files: &ModelFiles) -> Result<Self> {
        let path = files.beside("tokenizer.json").ok_or_else(|| {
            let other = ["tokenizer.model", "vocab.json", "vocab.txt"];
            let other = other.iter().find(|name| files.beside(name).is_some());
            let found =
                other.map_or(String::new(), |name| format!(" ({name} is there, which is another form)"));
            Error::file(&files.model, format!("has no tokenizer.json beside it{found}"))
                .remedy("put the model's tokenizer.json into its folder")
        })?;
        Self::read(path)
    }

    /// Reads a `tokenizer.json`. What it says of cutting texts off and of padding them is left out.
    ///
    /// Errors name the file: unreadable, or no tokenizer.
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path)
            .map_err(|problem| Error::file(path, format!("can't be read: {problem}")).caused_by(problem))?;
        let unusable = |problem: tokenizers::Error| {
            Error::file(path, format!("is no tokenizer: {problem}")).remedy("download it again")
        };
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(unusable)?;
        let cut = inner.get_truncation().map(|cut| (cut.max_length, cut.direction));
        let filling = inner.get_padding().map(|padding| padding.pad_id);
        // A prompt that is too long is an error elsewhere, and never cut off in silence.
        inner.with_truncation(None).map_err(unusable)?;
        inner.with_padding(None);
        let added = inner.get_added_tokens_decoder();
        let special = |id: u32| added.get(&id).is_some_and(|token| token.special);
        let ids = inner.get_vocab(true).into_values().filter(|id| !special(*id));
        let vocabulary = ids.max().map_or(0, |id| id as usize + 1);
        let (most, side) = cut.map_or((None, TruncationDirection::Right), |(most, side)| (Some(most), side));
        Ok(Self { inner, path: path.to_path_buf(), vocabulary, most, side, filling })
    }

    /// Errors where the tokens aren't those that a model has scores for: more of them, or far fewer.
    pub fn check(&self, scores: usize) -> Result<()> {
        let (own, room) = (self.vocabulary, self.vocabulary / 16 + PADDING);
        let whole = self.inner.get_vocab_size(true).max(own);
        if own <= scores && scores <= whole.saturating_add(room) {
            return Ok(());
        }
        Err(Error::file(
            &self.path,
            format!("has {own} tokens, but the model's scores are for {scores}: it is another model's"),
        )
        .remedy("take the tokenizer.json that came with the model"))
    }

    /// The tokens of a text. `special`: with those that the tokenizer puts around a text of its own accord.
    ///
    /// Errors: a text that it can't take.
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>> {
        let encoding = self.inner.encode(text, special).map_err(|problem| self.failed(&problem))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The tokens of a text with those that the tokenizer puts around it, all together at most so many: the
    /// text is cut off where `tokenizer.json` says, at its end unless it says so.
    ///
    /// Errors: a text that it can't take; a limit that leaves no token of the text.
    pub fn encode_within(&self, text: &str, most: Option<usize>) -> Result<Encoded> {
        let failed = |problem: tokenizers::Error| self.failed(&problem);
        let mut encoding = self.inner.encode(text, false).map_err(failed)?;
        let around = self.inner.get_post_processor().map_or(0, |around| around.added_tokens(false));
        let whole = encoding.len() + around;
        if let Some(most) = most.filter(|most| *most < whole) {
            let room = most.checked_sub(around).filter(|room| *room > 0).ok_or_else(|| {
                Error::usage(format!(
                    "a limit of {most} tokens leaves none of the text beside {around} special ones"
                ))
                .in_file(&self.path)
                .remedy("give a larger limit")
            })?;
            encoding.truncate(room, 0, self.side);
            // What was cut off isn't wanted.
            encoding.take_overflowing();
        }
        let encoding = self.inner.post_process(encoding, None, true).map_err(failed)?;
        Ok(Encoded { ids: encoding.get_ids().to_vec(), types: encoding.get_type_ids().to_vec(), whole })
    }

    /// How many tokens of a text `tokenizer.json` says to keep.
    pub fn most(&self) -> Option<usize> {
        self.most
    }

    /// The token that `tokenizer.json` says to fill shorter texts up with.
    pub fn filling(&self) -> Option<u32> {
        self.filling
    }

    /// The text of tokens, special ones left out. Bytes that make no character become U+FFFD.
    ///
    /// Errors: a decoder that fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.inner.decode(ids, true).map_err(|problem| self.failed(&problem))
    }

    /// A token as the vocabulary has it.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// A token's number.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    fn failed(&self, problem: &tokenizers::Error) -> Error {
        Error::input(format!("the tokenizer fails: {problem}")).in_file(&self.path)
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({}, {} tokens)", self.path.display(), self.vocabulary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/text/genai/tokenizer.json");

    #[test]
    fn text_comes_back() {
        let tokenizer = Tokenizer::read(TINY).unwrap();
        for text in ["", "Once upon a time", "naïve 🙂 東京\n\ttab  two spaces", "0123"] {
            let ids = tokenizer.encode(text, false).unwrap();
            assert_eq!(tokenizer.decode(&ids).unwrap(), text);
        }
        assert_eq!(
            tokenizer.encode("<|im_end|>", false).unwrap().len(),
            1,
            "special tokens are read as such"
        );
    }

    #[test]
    fn another_models_tokenizer_is_named_with_both_sizes() {
        let tokenizer = Tokenizer::read(TINY).unwrap();
        let own = tokenizer.vocabulary;
        tokenizer.check(own).unwrap();
        tokenizer.check(own + 20).unwrap();
        for wrong in [own - 1, own * 20] {
            let told = tokenizer.check(wrong).unwrap_err().to_string();
            assert!(
                told.contains(&format!("{own} tokens")) && told.contains(&format!("for {wrong}:")),
                "{told}"
            );
        }
    }

    #[test]
    fn what_is_no_tokenizer_is_an_error() {
        let model = concat!(env!("CARGO_MANIFEST_DIR"), "/models/text/genai/model.onnx");
        assert!(Tokenizer::read(model).unwrap_err().to_string().contains("is no tokenizer"));
        assert!(Tokenizer::read("no/such").unwrap_err().to_string().contains("can't be read"));
    }
}
