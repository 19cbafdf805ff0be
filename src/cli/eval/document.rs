//! An evaluation as a JSON document, and its pictures as HTML.

use super::super::emit::{SCHEMA, say};
use super::super::options::{DeviceFields, Precision};
use super::classes::Classes;
use super::samples::Sample;
use super::scores::{self, Guess, Scores};
use super::tasks::Counted;
use super::{Eval, Task, html, measures, print};
use sardonyx::error::Result;
use sardonyx::replace::write_whole;
use serde::Serialize;

/// Disagreements that the JSON document lists.
const LISTED: usize = 1000;

#[derive(Serialize)]
pub struct Document {
    pub schema: u32,
    pub model: String,
    pub folder: String,
    pub task: Task,
    #[serde(flatten)]
    pub device: DeviceFields,
    pub precision: Precision,
    pub batch: usize,
    pub evaluated: usize,
    pub skipped: Vec<Skipped>,
    pub per_second: Option<f64>,
    pub classification: Option<Scores>,
    pub regression: Option<measures::Regression>,
    pub distribution: Option<measures::Distribution>,
    pub tokens: Option<measures::Tokens>,
    pub against: Option<Against>,
}

#[derive(Serialize)]
pub struct Skipped {
    pub file: String,
    pub reason: String,
}

/// What the other device said.
#[derive(Serialize)]
pub struct Against {
    #[serde(flatten)]
    pub device: DeviceFields,
    pub top1: f64,
    pub top5: f64,
    /// The share of pictures that both put into the same class.
    pub agreement: f64,
    /// How many they don't.
    pub disagreements: usize,
    /// The first of them.
    pub listed: Vec<Disagreement>,
}

#[derive(Serialize)]
pub struct Disagreement {
    pub file: String,
    pub label: String,
    pub predicted: String,
    pub probability: f32,
    pub against: String,
    pub against_probability: f32,
}

/// How it went, apart from what was counted.
pub struct Course {
    pub batch: usize,
    pub per_second: Option<f64>,
    pub skipped: Vec<Skipped>,
    /// Of each session.
    pub devices: Vec<DeviceFields>,
}

impl Eval {
    pub fn document(
        &self,
        counted: &Counted,
        classes: &Classes,
        list: &[Sample],
        course: Course,
    ) -> Document {
        let mut devices = course.devices.into_iter();
        let (device, against) = (devices.next(), devices.next());
        let name = |class: usize| classes.name(class);
        let [own, other] = &counted.guesses;
        let against = against.map(|device| {
            let scores = scores::scores(other, name);
            let differ = counted.disagreements();
            let listed = differ.iter().take(LISTED).filter_map(|(a, b)| {
                Some(Disagreement {
                    file: list.get(a.sample)?.path.display().to_string(),
                    label: name(a.expected),
                    predicted: name(a.best()),
                    probability: a.confidence() as f32,
                    against: name(b.best()),
                    against_probability: b.confidence() as f32,
                })
            });
            Against {
                device,
                top1: scores.top1,
                top5: scores.top5,
                agreement: 1.0 - differ.len() as f64 / own.len().max(1) as f64,
                disagreements: differ.len(),
                listed: listed.collect(),
            }
        });
        Document {
            schema: SCHEMA,
            model: self.model.display().to_string(),
            folder: self.folder.display().to_string(),
            task: self.task,
            device: device.unwrap_or_else(|| DeviceFields::of(None)),
            precision: self.options.precision.clone(),
            batch: course.batch,
            evaluated: list.len() - course.skipped.len(),
            skipped: course.skipped,
            per_second: course.per_second,
            classification: (self.task == Task::Class).then(|| scores::scores(own, name)),
            regression: (self.task == Task::Number).then(|| measures::regression(&counted.rows)),
            distribution: (self.task == Task::Distribution).then(|| measures::distribution(&counted.rows)),
            tokens: (self.task == Task::Tokens).then(|| measures::tokens(&counted.sequences)),
            against,
        }
    }

    pub fn write_html(
        &self,
        path: &std::path::Path,
        document: &Document,
        counted: &Counted,
        classes: &Classes,
        list: &[Sample],
    ) -> Result<()> {
        let [own, other] = &counted.guesses;
        let names = [Some(&document.device), document.against.as_ref().map(|against| &against.device)]
            .map(|fields| fields.map_or(String::new(), print::device));
        let [first, second] = names;
        let said = |device: &str, guess: &Guess| {
            (device.to_string(), classes.name(guess.best()), guess.confidence() as f32)
        };
        let most = usize::from(self.max_pictures);
        let mut lists = vec![];
        if document.against.is_some() {
            let differ = counted.disagreements();
            let shown = differ.iter().take(most).filter_map(|(a, b)| {
                let (sample, expected) = (list.get(a.sample)?, classes.name(a.expected));
                Some(html::Shown { sample, expected, said: vec![said(&first, a), said(&second, b)] })
            });
            lists.push(("Classified differently".to_string(), differ.len(), shown.collect()));
        }
        let wrong: Vec<(usize, &Guess)> =
            own.iter().enumerate().filter(|(_, guess)| !guess.is_in(1)).collect();
        let shown = wrong.iter().take(most).filter_map(|(index, guess)| {
            let (sample, expected) = (list.get(guess.sample)?, classes.name(guess.expected));
            let also = other.get(*index).map(|guess| said(&second, guess));
            let said = std::iter::once(said(&first, guess)).chain(also).collect();
            Some(html::Shown { sample, expected, said })
        });
        lists.push(("Classified wrongly".to_string(), wrong.len(), shown.collect()));
        let title = format!("{} over {}", document.model, document.folder);
        write_whole(path, html::page(&title, &print::facts(document), &lists).as_bytes())?;
        say(format_args!("pictures: {}", path.display()));
        Ok(())
    }
}
