//! What is expected of each file, and what its outputs count for.

use super::classes::Classes;
use super::samples::Sample;
use super::scores::Guess;
use super::{Eval, Task, measures};
use measures::Rows;
use sardonyx::error::{Error, Result};
use sardonyx::image::{self, Preprocess};

/// Classes kept of each picture: those of Top-5.
const TOP: usize = 5;

/// What is expected of a sample.
pub enum Expected {
    Class(usize),
    Numbers(Vec<f64>),
    Tokens(Vec<i64>),
}

/// All that was counted while the files ran.
#[derive(Default)]
pub struct Counted {
    /// A list for each session.
    pub guesses: [Vec<Guess>; 2],
    pub rows: Rows,
    pub sequences: Vec<(Vec<i64>, Vec<i64>)>,
}

impl Counted {
    /// Pictures that the two sessions put into different classes.
    pub fn disagreements(&self) -> Vec<(&Guess, &Guess)> {
        let [own, other] = &self.guesses;
        own.iter().zip(other).filter(|(a, b)| a.best() != b.best()).collect()
    }
}

impl Eval {
    /// What is expected of each sample, as the task has it.
    pub fn expected(&self, list: &[Sample], classes: &Classes) -> Result<Vec<Expected>> {
        let csv = self.labels.as_deref().unwrap_or(&self.folder);
        if self.task == Task::Class {
            let first = |sample: &'_ Sample| sample.expected.first().map_or("", String::as_str).to_string();
            let labels: Vec<String> = list.iter().map(first).collect();
            let numbers =
                classes.numbers(labels.iter().map(String::as_str)).map_err(|error| error.in_file(csv))?;
            let class = |label: &String| Expected::Class(numbers.get(label).copied().unwrap_or(usize::MAX));
            return Ok(labels.iter().map(class).collect());
        }
        let wrong = |sample: &Sample, text: &str, what: &str| {
            Error::file(csv, format!("'{text}' of '{}' is no {what}", sample.path.display()))
                .remedy("the columns beside file hold what is expected: see `sardonyx eval --help`")
        };
        let one = |sample: &Sample| -> Result<Expected> {
            if self.task == Task::Tokens {
                let words = sample.expected.iter().flat_map(|text| text.split_whitespace());
                let token = |word: &str| word.parse().map_err(|_| wrong(sample, word, "token"));
                return Ok(Expected::Tokens(words.map(token).collect::<Result<_>>()?));
            }
            let number = |text: &String| {
                let found = text.parse::<f64>().ok().filter(|number| number.is_finite());
                found.ok_or_else(|| wrong(sample, text, "number"))
            };
            Ok(Expected::Numbers(sample.expected.iter().map(number).collect::<Result<_>>()?))
        };
        list.iter().map(one).collect()
    }

    pub fn count(
        &self,
        index: usize,
        expected: &Expected,
        outputs: &[sardonyx::Tensor],
        preprocess: &Preprocess,
        counted: &mut Counted,
    ) -> Result<()> {
        match expected {
            Expected::Class(class) => {
                for (output, list) in outputs.iter().zip(&mut counted.guesses) {
                    let top = image::top_k(output, TOP, preprocess.softmax)?;
                    list.push(Guess { sample: index, expected: *class, top });
                }
            }
            Expected::Tokens(tokens) => {
                for output in outputs.iter().take(1) {
                    counted.sequences.push((tokens.clone(), measures::sequence(output, self.end_token)?));
                }
            }
            Expected::Numbers(numbers) => {
                for output in outputs.iter().take(1) {
                    let found = if self.task == Task::Distribution {
                        // All classes, in their order.
                        let mut all = image::top_k(output, usize::MAX, preprocess.softmax)?;
                        all.sort_by_key(|(class, _)| *class);
                        all.into_iter().map(|(_, probability)| f64::from(probability)).collect()
                    } else {
                        output.to_f64s()?
                    };
                    if found.len() != numbers.len() {
                        let message = format!(
                            "the output has {} numbers, the CSV file {} columns",
                            found.len(),
                            numbers.len()
                        );
                        return Err(
                            Error::input(message).remedy("name another with --output, or mend the CSV file")
                        );
                    }
                    counted.rows.push((numbers.clone(), found));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_devices_classify_differently_is_found() {
        let guess = |sample: usize, top: (usize, f32)| Guess { sample, expected: 1, top: vec![top] };
        let counted = Counted {
            guesses: [
                vec![guess(0, (1, 0.9)), guess(1, (1, 0.5)), guess(2, (4, 0.6))],
                vec![guess(0, (1, 0.2)), guess(1, (2, 0.5)), guess(2, (4, 0.6))],
            ],
            ..Counted::default()
        };
        let found: Vec<_> =
            counted.disagreements().iter().map(|(a, b)| (a.sample, a.best(), b.best())).collect();
        assert_eq!(found, [(1, 1, 2)]);
    }
}
