//! From a label's name to the number of its class.

use sardonyx::error::{Error, Result};
use std::collections::HashMap;
use std::path::Path;

/// The most bytes of a file of classes.
const MAX_BYTES: u64 = 16 << 20;

/// Names of classes, and which class each is. Without a file a name is the class's number.
#[derive(Debug, Default)]
pub struct Classes {
    names: Vec<String>,
    numbers: HashMap<String, Option<usize>>,
}

impl Classes {
    /// Reads a file with a class a line. A class goes by its whole line, by its WordNet number if that comes
    /// first, and by each of the names between commas; a name of several classes is none.
    pub fn read(path: &Path) -> Result<Self> {
        let unreadable = |problem: std::io::Error| {
            Error::file(path, format!("the names of classes can't be read: {problem}"))
                .remedy("give a UTF-8 text file with a class a line")
                .caused_by(problem)
        };
        if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_BYTES {
            return Err(
                Error::file(path, "a file of classes takes 16 MiB at most").remedy("give a text file")
            );
        }
        Ok(Self::parse(&std::fs::read_to_string(path).map_err(unreadable)?))
    }

    fn parse(text: &str) -> Self {
        let mut classes = Self::default();
        for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let line = line.trim();
            let (synset, name) = match line.split_once(char::is_whitespace) {
                Some((first, rest)) if is_synset(first) => (Some(first), rest.trim()),
                _ => (None, line),
            };
            classes.names.push(name.to_string());
            let parts = name.split(',').map(str::trim).chain([line, name]).chain(synset);
            for part in parts.filter(|part| !part.is_empty()) {
                let known = classes.numbers.entry(part.to_lowercase()).or_insert(Some(number));
                if *known != Some(number) {
                    *known = None;
                }
            }
        }
        classes
    }

    /// The class of a label.
    pub fn number(&self, label: &str) -> Option<usize> {
        match self.numbers.get(&label.to_lowercase()) {
            Some(found) => *found,
            None => label.parse().ok().filter(|number| self.names.is_empty() || *number < self.names.len()),
        }
    }

    /// A class by name, else by number.
    pub fn name(&self, number: usize) -> String {
        self.names.get(number).filter(|name| !name.is_empty()).cloned().unwrap_or_else(|| number.to_string())
    }

    /// The class of each label, or which labels are of none.
    pub fn numbers<'a>(&self, labels: impl Iterator<Item = &'a str>) -> Result<HashMap<String, usize>> {
        let (mut known, mut unknown) = (HashMap::new(), vec![]);
        for label in labels {
            if known.contains_key(label) || unknown.contains(&label) {
                continue;
            }
            match self.number(label) {
                Some(number) => {
                    known.insert(label.to_string(), number);
                }
                None => unknown.push(label),
            }
        }
        let Some(first) = unknown.first() else { return Ok(known) };
        let more =
            if unknown.len() > 1 { format!(" (nor are {} more)", unknown.len() - 1) } else { String::new() };
        Err(Error::usage(format!("'{first}' is no class of this model{more}")).remedy(if self.names.is_empty() {
            "name the classes with --classes FILE, a class a line in the model's order, or use their numbers as labels"
        } else {
            "use the names in the file of classes, or the classes' numbers from 0"
        }))
    }
}

fn is_synset(word: &str) -> bool {
    word.len() == 9 && word.starts_with('n') && word.bytes().skip(1).all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_goes_by_its_names() {
        let classes = Classes::parse("n01440764 tench, Tinca tinca\ncrane\nCRANE\ncat\n");
        assert_eq!(
            ["n01440764", "Tench", "tinca tinca", "CAT", "2"].map(|name| classes.number(name)),
            [Some(0), Some(0), Some(0), Some(3), Some(2)]
        );
        // Of two classes, or of none.
        assert_eq!(["crane", "4", "dog"].map(|name| classes.number(name)), [None; 3]);
        assert_eq!((classes.name(0), classes.name(9)), ("tench, Tinca tinca".into(), "9".into()));
        let numbers = Classes::default();
        assert_eq!((numbers.number("17"), numbers.number("cat")), (Some(17), None));
        let error = classes.numbers(["cat", "dog", "cow", "dog"].into_iter()).unwrap_err().to_string();
        assert!(error.contains("'dog'") && error.contains("1 more"), "{error}");
    }
}
