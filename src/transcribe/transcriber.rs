//! A model of speech with all that lies beside it.

use super::speech::SpeechConfig;
use crate::audio::{LogMel, MelOptions};
use crate::error::{Error, Result};
use crate::generate::{
    self, CrossDecoder, Encoder, Finish, Generator, ModelConfig, Overflow, Parts, Reader, States,
};
use crate::session::SessionBuilder;
use crate::text::{ModelFiles, Tokenizer};
use std::path::Path;

/// What is to be done with a sound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// The language that is spoken, by its code, such as `en`; the model's own guess, unless said.
    pub language: Option<String>,
    /// `transcribe`, unless said, or `translate`.
    pub task: Option<String>,
    /// The most tokens of a piece.
    pub max_tokens: Option<usize>,
}

/// The same in the model's tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Task {
    /// The language's code, once it is known.
    pub language: Option<String>,
    language_id: Option<u32>,
    task_id: Option<u32>,
    max_tokens: Option<usize>,
}

/// What is said in a piece of a sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The text, without tokens that aren't text.
    pub text: String,
    /// All tokens behind those that say what is to be done.
    pub tokens: Vec<u32>,
    /// The language's code, if the model knows several.
    pub language: Option<String>,
    /// Why it ended.
    pub finish: Option<Finish>,
}

/// An encoder of sound and the decoder of its states.
pub struct Transcriber {
    encoder: Encoder,
    decoder: CrossDecoder,
    tokenizer: Tokenizer,
    config: ModelConfig,
    speech: SpeechConfig,
    mel: LogMel,
    start: u32,
    file: std::path::PathBuf,
}

impl Transcriber {
    /// Loads a model by its folder, for sessions that are made so.
    ///
    /// Errors: those of loading; a file that is missing, unreadable or another model's, by name; an encoder
    /// that doesn't take the features that its `preprocessor_config.json` makes, or whose states aren't what
    /// the decoder takes.
    pub fn load(path: impl AsRef<Path>, builder: SessionBuilder) -> Result<Self> {
        let path = path.as_ref();
        let pair = ModelFiles::find_pair(path)?.ok_or_else(|| {
            Error::file(path, "holds no encoder_model.onnx")
                .remedy("name a folder with encoder_model.onnx and its decoder, as optimum exports them")
        })?;
        let files = &pair.files;
        let config = ModelConfig::read(files)?;
        let tokenizer = Tokenizer::beside(files)?;
        let (from, said) = files.json("preprocessor_config.json")?.ok_or_else(|| {
            Error::file(
                &files.model,
                "has no preprocessor_config.json beside it, which says how sound is read",
            )
            .remedy("put the model's preprocessor_config.json into its folder")
        })?;
        let options = MelOptions::of(&from, &said)?;
        let speech = SpeechConfig::read(files, &tokenizer)?;
        let start = config.decoder_start.ok_or_else(|| {
            Error::file(&pair.decoder, "no file beside it says decoder_start_token_id")
                .remedy("put the model's generation_config.json beside it")
        })?;
        let encoder = Encoder::open(&files.model, builder.clone())?;
        check_features(&encoder, &from, &options)?;
        let decoder = CrossDecoder::open(&pair, &builder)?;
        decoder.check_states(encoder.file(), encoder.output())?;
        if let Some(scores) = decoder.vocabulary().or(config.vocabulary) {
            tokenizer.check(scores)?;
        }
        let file = pair.decoder.clone();
        Ok(Self { encoder, decoder, tokenizer, config, speech, mel: LogMel::new(options), start, file })
    }

    /// Samples a second of the sounds that it takes.
    pub fn rate(&self) -> u32 {
        u32::try_from(self.mel.options().rate).unwrap_or(u32::MAX)
    }
    /// The most samples of a piece.
    pub fn samples(&self) -> usize {
        self.mel.options().samples
    }
    /// What makes its features.
    pub fn mel(&self) -> &LogMel {
        &self.mel
    }
    /// What runs the decoder.
    pub fn decoder(&self) -> &CrossDecoder {
        &self.decoder
    }
    /// What runs the encoder.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }
    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }
    /// What the files beside it say.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// What is to be done, in the model's tokens.
    ///
    /// Errors: a language or a task that the model doesn't have, with those that it has.
    pub fn task(&self, options: &Options) -> Result<Task> {
        let SpeechConfig { languages, tasks, path, .. } = &self.speech;
        let of = |what: &str, name: &str, known: &std::collections::BTreeMap<String, u32>| {
            known.get(name).copied().ok_or_else(|| {
                let names = known.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
                let found = if known.is_empty() {
                    "it has none to choose".into()
                } else {
                    format!("there are: {names}")
                };
                let error = Error::usage(format!("the model has no {what} '{name}'; {found}"));
                error.in_file(path.as_deref().unwrap_or(&self.file)).remedy("name one of them, or none")
            })
        };
        let language_id =
            options.language.as_deref().map(|name| of("language", name, languages)).transpose()?;
        let task_id = match options.task.as_deref() {
            Some(name) => Some(of("task", name, tasks)?),
            None => tasks.get("transcribe").copied(),
        };
        Ok(Task { language: options.language.clone(), language_id, task_id, max_tokens: options.max_tokens })
    }

    /// What is said in a piece of a sound of [`Transcriber::rate`] samples a second, at most
    /// [`Transcriber::samples`] of them. Where the language isn't said the model guesses it.
    ///
    /// Errors: a longer piece, memory, those of a run.
    pub fn piece(&mut self, sound: &[f32], task: &Task) -> Result<Piece> {
        let states = self.encoder.hear(self.mel.apply(sound)?)?;
        let mut task = task.clone();
        let context = self.config.context.unwrap_or(generate::DEFAULT_TOKENS);
        if task.language_id.is_none() && !self.speech.languages.is_empty() {
            self.decoder.begin(States { states: states.clone(), mask: None }, context);
            let scores = self.decoder.feed(&[self.start])?;
            let score = |id: u32| scores.get(id as usize).copied().unwrap_or(f32::NEG_INFINITY);
            let likeliest = self.speech.languages.iter().max_by(|a, b| {
                // Of equal ones that with the lower number.
                score(*a.1).total_cmp(&score(*b.1)).then(b.1.cmp(a.1))
            });
            (task.language, task.language_id) = likeliest.map(|(name, id)| (name.clone(), *id)).unzip();
        }
        let mut prompt = vec![self.start];
        if self.speech.languages.is_empty() && !self.speech.forced.is_empty() {
            prompt.extend(&self.speech.forced);
        } else {
            prompt.extend(task.language_id);
            prompt.extend(task.task_id);
            prompt.extend(self.speech.no_times);
        }
        if prompt.len() >= context {
            return Err(Error::model(format!("the context of {context} tokens leaves none for text"))
                .in_file(&self.file)
                .remedy("take the configuration that came with the model"));
        }
        self.decoder.begin(States { states, mask: None }, context);
        let parts = Parts {
            reader: &mut self.decoder,
            tokenizer: &self.tokenizer,
            eos: &self.config.eos,
            overflow: Overflow::Error,
        };
        let options = generate::Options { max_tokens: task.max_tokens, ..generate::Options::default() };
        let generator = Generator::new(parts, prompt, options);
        let mut generator = generator.adjusting(self.speech.suppressed.clone());
        let tokens = generator.by_ref().map(|token| Ok(token?.id)).collect::<Result<Vec<u32>>>()?;
        let finish = generator.finish().cloned();
        let times = self.speech.no_times;
        let words: Vec<u32> =
            tokens.iter().copied().filter(|id| times.is_none_or(|times| *id <= times)).collect();
        let text = self.tokenizer.decode(&words)?;
        Ok(Piece { text, tokens, language: task.language, finish })
    }
}

/// Errors where an encoder doesn't take the features that a file makes, with both shapes.
fn check_features(encoder: &Encoder, from: &Path, options: &MelOptions) -> Result<()> {
    let port = encoder.features()?;
    let made = [1, options.filters, options.frames()];
    let fits = port.sizes.is_empty()
        || port.sizes.len() == 3
            && port.sizes.iter().zip(made).all(|(size, made)| size.is_none_or(|size| size == made));
    if fits {
        return Ok(());
    }
    let shown: Vec<String> =
        port.sizes.iter().map(|size| size.map_or("?".into(), |size| size.to_string())).collect();
    Err(Error::model(format!(
        "takes [{}], but by {} features are {made:?}",
        shown.join(", "),
        from.display()
    ))
    .in_file(encoder.file())
    .at_tensor(&port.name)
    .remedy("take the preprocessor_config.json that came with the model"))
}
