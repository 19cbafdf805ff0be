//! The text of tokens that come one by one.

use crate::error::Result;
use crate::text::Tokenizer;

/// Makes text of tokens as they come, and never shows a part of a character: what begins one is held back
/// until the rest is there.
#[derive(Debug, Clone, Default)]
pub struct TextStream {
    /// Tokens from which the text goes on: decoders look at neighbours, so that those of the piece before are
    /// decoded again.
    window: Vec<u32>,
    /// Of the window, the tokens that are shown already, and their text's length in bytes.
    shown: (usize, usize),
}

/// Tokens after which an incomplete character is no character: UTF-8's have four bytes, and a token has one
/// at least.
const MOST_HELD: usize = 4;

impl TextStream {
    /// What a token adds to the text that can be shown.
    ///
    /// Errors: a decoder that fails.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> Result<String> {
        self.window.push(id);
        let text = tokenizer.decode(&self.window)?;
        let whole = text.trim_end_matches('\u{fffd}').len() == text.len();
        if !whole && self.window.len() - self.shown.0 < MOST_HELD {
            return Ok(String::new());
        }
        self.take(tokenizer, &text)
    }

    /// What is held back at the end: bytes that make no character, as U+FFFD.
    ///
    /// Errors: a decoder that fails.
    pub fn finish(&mut self, tokenizer: &Tokenizer) -> Result<String> {
        let text = tokenizer.decode(&self.window)?;
        let more = self.take(tokenizer, &text)?;
        *self = Self::default();
        Ok(more)
    }

    fn take(&mut self, tokenizer: &Tokenizer, text: &str) -> Result<String> {
        // A decoder may change what it said before (blanks that it cleans up): that stays as it was shown.
        let more = text.get(self.shown.1..).unwrap_or_default().to_string();
        self.window.drain(..self.shown.0);
        self.shown = (self.window.len(), tokenizer.decode(&self.window)?.len());
        Ok(more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TINY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/text/genai/tokenizer.json");

    fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<String> {
        let mut stream = TextStream::default();
        let mut pieces: Vec<String> = ids.iter().map(|id| stream.push(tokenizer, *id).unwrap()).collect();
        pieces.push(stream.finish(tokenizer).unwrap());
        pieces
    }

    #[test]
    fn characters_come_whole() {
        let tokenizer = Tokenizer::read(TINY).unwrap();
        for text in ["Once upon a time", "a 🙂 b", "東京", "naïve\n\n  end", "🙂"] {
            let ids = tokenizer.encode(text, false).unwrap();
            let pieces = streamed(&tokenizer, &ids);
            assert_eq!(pieces.concat(), text);
            assert!(pieces.iter().all(|piece| !piece.contains('\u{fffd}')), "{pieces:?}");
        }
        // A byte a token: four of them come as one.
        let ids = tokenizer.encode("🙂", false).unwrap();
        assert_eq!(ids.len(), 4);
        assert_eq!(streamed(&tokenizer, &ids), ["", "", "", "🙂", ""]);
    }

    #[test]
    fn what_makes_no_character_is_shown_all_the_same() {
        let tokenizer = Tokenizer::read(TINY).unwrap();
        let smile = tokenizer.encode("🙂", false).unwrap();
        assert_eq!(streamed(&tokenizer, &smile[..2]).concat(), "\u{fffd}");
        let lost = [smile[1]; 9];
        let pieces = streamed(&tokenizer, &lost);
        assert_eq!(pieces.concat(), "\u{fffd}".repeat(9));
        assert!(!pieces[3].is_empty(), "{pieces:?}");
    }
}
