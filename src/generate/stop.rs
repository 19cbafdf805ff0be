//! Strings that end an answer.

/// Watches a text that comes in pieces for strings that end it, also across pieces: what may be the beginning
/// of one is held back until it is known.
#[derive(Debug, Clone, Default)]
pub struct StopStrings {
    strings: Vec<String>,
    held: String,
}

impl StopStrings {
    /// Watches for these. Empty ones are left out.
    pub fn new(strings: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let strings = strings.into_iter().map(Into::into).filter(|string: &String| !string.is_empty());
        Self { strings: strings.collect(), held: String::new() }
    }

    /// The next piece: what of the text so far can be shown, and the string that ended it, if one did. Nothing
    /// behind that is shown, nor itself.
    pub fn push(&mut self, piece: &str) -> (String, Option<&str>) {
        self.held += piece;
        let found = self.strings.iter().filter_map(|string| Some((self.held.find(&**string)?, string)));
        if let Some((at, string)) = found.min_by_key(|(at, _)| *at) {
            let shown = self.held[..at].to_string();
            self.held.clear();
            return (shown, Some(string));
        }
        let unsure = |start: &usize| {
            let tail = &self.held[*start..];
            self.strings.iter().any(|string| string.starts_with(tail))
        };
        let keep = self.held.char_indices().map(|(start, _)| start).find(unsure);
        let rest = self.held.split_off(keep.unwrap_or(self.held.len()));
        (std::mem::replace(&mut self.held, rest), None)
    }

    /// What was held back, where the text ends otherwise.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown of a text in pieces of `size` characters.
    fn shown(text: &str, size: usize, stops: &[&str]) -> (String, Option<String>) {
        let mut watch = StopStrings::new(stops.iter().copied());
        let chars: Vec<char> = text.chars().collect();
        let mut all = String::new();
        for piece in chars.chunks(size) {
            let (more, stop) = watch.push(&piece.iter().collect::<String>());
            all += &more;
            if let Some(stop) = stop {
                return (all, Some(stop.to_string()));
            }
        }
        all += &watch.finish();
        (all, None)
    }

    #[test]
    fn strings_are_found_across_pieces() {
        for size in 1..=8 {
            assert_eq!(shown("Hello\nUser: x", size, &["\nUser:"]), ("Hello".into(), Some("\nUser:".into())));
            assert_eq!(shown("aaab", size, &["aab"]), ("a".into(), Some("aab".into())));
            assert_eq!(shown("überall ende", size, &["ü!", "ll e"]), ("übera".into(), Some("ll e".into())));
            assert_eq!(shown("nothing here\n", size, &["\n\n"]), ("nothing here\n".into(), None));
            assert_eq!(shown("text", size, &[""]), ("text".into(), None));
        }
        // The first of two in the text, whichever is named first.
        assert_eq!(shown("xaybz", 9, &["b", "a"]), ("x".into(), Some("a".into())));
    }

    #[test]
    fn no_more_is_held_back_than_must_be() {
        let mut watch = StopStrings::new(["END"]);
        assert_eq!(watch.push("the E"), ("the ".into(), None));
        assert_eq!(watch.push("x"), ("Ex".into(), None));
    }
}
