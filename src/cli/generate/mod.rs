//! `generate`: text from a language model.

mod answer;
mod chat;
mod document;
mod interrupt;
mod options;
mod pair;

use super::Outcome;
use super::emit::{JsonOption, say, stdout};
use super::options::{RunOptions, fallbacks, say_fallbacks, say_newer};
use clap::Args;
use sardonyx::error::{Error, Result, Setting};
use sardonyx::generate::{
    CacheKind, Generator, LanguageModel, Limits, Message, ModelConfig, ModelFiles, Options, Overflow,
};
use std::io::Read;
use std::path::{Path, PathBuf};

pub use self::document::size;

use self::answer::{Answer, Facts};
use self::document::Document;
use self::options::SamplingOptions;

/// Text from a language model: what comes behind a prompt, or a conversation
#[derive(Args)]
#[command(after_help = "Examples:\n  sardonyx generate models/text/genai --prompt 'Once upon a time'\n  \
sardonyx generate SmolLM2 --chat --system 'Answer briefly.'\n\n\
MODEL is a folder, or an ONNX file with tokenizer.json beside it; or a folder with encoder_model.onnx and its \
decoder, to which the prompt is what the encoder reads. --chat reads a line for each turn; /reset begins \
anew, /exit ends, Ctrl-C ends an answer. docs/generate.md says what models are taken.")]
pub struct Generate {
    /// The model's folder, or its ONNX file
    model: PathBuf,
    /// What to go on from; with --chat a single turn
    #[arg(long, value_name = "TEXT", conflicts_with = "prompt_file")]
    prompt: Option<String>,
    /// The same from a file; - is standard input
    #[arg(long, value_name = "FILE")]
    prompt_file: Option<PathBuf>,
    /// Talk by the model's chat template: a line of standard input for each turn, or a single one with
    /// --prompt
    #[arg(long)]
    chat: bool,
    /// With --chat: what the model is told before all
    #[arg(long, value_name = "TEXT", requires = "chat")]
    system: Option<String>,
    /// The most tokens of an answer [default: 256; with --chat 1024]
    #[arg(long, value_name = "N")]
    max_tokens: Option<u32>,
    /// The most tokens of prompt and answer together [default: what they need; with --chat 4096 or the
    /// model's]
    #[arg(long, value_name = "N")]
    context: Option<usize>,
    /// Where the context is full, forget its older half, rather than end
    #[arg(long)]
    window: bool,
    #[command(flatten)]
    sampling: SamplingOptions,
    #[command(flatten)]
    options: RunOptions,
    #[command(flatten)]
    json: JsonOption,
}

/// The context of a conversation, unless one is asked for.
const CHAT_CONTEXT: usize = 4096;

impl Generate {
    pub fn run(&self) -> Result<Outcome> {
        let text = self.text()?;
        if text.is_none() && !self.chat {
            return Err(Error::usage("no prompt is given").remedy("give --prompt, --prompt-file or --chat"));
        }
        if text.is_none() && self.json.is_wanted() {
            return Err(Error::usage("--json takes a single answer").remedy("give --prompt with --chat"));
        }
        if let Some(files) = ModelFiles::find_pair(&self.model)? {
            return pair::run(self, files, text.as_deref());
        }
        let mut model = self.load()?;
        interrupt::hear();
        let Some(text) = text else { return chat::run(self, &mut model) };
        let prompt = match self.chat {
            true => model.chat(&self.messages(&text))?,
            false => model.tokenizer().encode(&text, true)?,
        };
        let context = model.context_for(prompt.len(), self.most());
        self.reserve(&mut model, context)?;
        let answer = self.answer(&mut model, &prompt, !self.json.to_stdout())?;
        self.told(&answer, &Facts::of(&model))
    }

    /// What is said of an answer when it is there.
    fn told(&self, answer: &Answer, facts: &Facts) -> Result<Outcome> {
        say_fallbacks(&answer.fallbacks);
        say(answer.summary(facts));
        if self.json.is_wanted() {
            // What is streamed already isn't written again.
            self.json.emit(&Document::of(self, facts, answer), String::new)?;
        }
        Ok(Outcome::Good)
    }

    /// The prompt, if one is given.
    fn text(&self) -> Result<Option<String>> {
        let Some(path) = &self.prompt_file else { return Ok(self.prompt.clone()) };
        let unreadable = |problem: std::io::Error| {
            Error::file(path, format!("can't be read: {problem}")).caused_by(problem)
        };
        let bytes = if path.as_path() == Path::new("-") {
            let mut bytes = vec![];
            std::io::stdin().read_to_end(&mut bytes).map_err(unreadable)?;
            bytes
        } else {
            std::fs::read(path).map_err(unreadable)?
        };
        let text = String::from_utf8(bytes).map_err(|problem| {
            let at = problem.utf8_error().valid_up_to();
            Error::file(path, format!("is not UTF-8: byte {at} can't be decoded"))
                .remedy("convert the prompt to UTF-8")
        })?;
        Ok(Some(text))
    }

    /// A conversation's beginning.
    fn messages(&self, user: &str) -> Vec<Message> {
        let system = self.system.iter().map(|text| Message::new("system", text));
        system.chain([Message::new("user", user)]).collect()
    }

    fn limits(&self) -> Limits {
        let mut system = sysinfo::System::new();
        system.refresh_memory();
        let overflow = if self.window { Overflow::Window } else { Overflow::Error };
        let half = Some(system.total_memory() / 2).filter(|bytes| *bytes > 0);
        Limits { context: self.context, overflow, kv_bytes: half }
    }

    fn load(&self) -> Result<LanguageModel> {
        // A device is opened for a model that is there.
        std::fs::metadata(&self.model).map_err(|problem| {
            Error::file(&self.model, format!("can't be read: {problem}")).remedy("check the path")
        })?;
        let builder = self.options.builder(self.options.device.open_aloud()?)?;
        let model = LanguageModel::load(&self.model, builder, &self.limits())?;
        say_newer(model.decoder().session());
        model.config().notes.iter().for_each(|note| say(format_args!("note: {note}")));
        if let Some(note) = self.sampling.note(model.config()) {
            say(note);
        }
        Ok(model)
    }

    /// Takes the memory for a context, and says before how much it is.
    fn reserve(&self, model: &mut LanguageModel, context: usize) -> Result<()> {
        let (bytes, of) = (model.kv_bytes(context), model.decoder().kind());
        if of != CacheKind::None {
            say(format_args!("note: keys and values take {} for {context} tokens", document::size(bytes)));
        }
        let told = |error: Error| error.remedy_by("give a smaller {}", &[Setting::Context]);
        model.reserve(context).map_err(|error| told(error.in_file(&self.model)))
    }

    fn most(&self) -> usize {
        self.max_tokens.map_or(if self.chat { 1024 } else { 256 }, |count| count as usize)
    }

    /// One answer, streamed to standard output where that is wanted.
    fn answer(&self, model: &mut LanguageModel, prompt: &[u32], shown: bool) -> Result<Answer> {
        let options = self.choosing(model.config());
        let mut answer = self.stream(model.generate(prompt, &options)?, shown)?;
        answer.fallbacks = model.decoder().prepared().map_or(vec![], |prepared| fallbacks(prepared));
        Ok(answer)
    }

    fn choosing(&self, config: &ModelConfig) -> Options {
        Options { max_tokens: Some(self.most()), ..self.sampling.options(config) }
    }

    /// An answer's tokens as they come, streamed to standard output where that is wanted.
    fn stream(&self, mut generator: Generator, shown: bool) -> Result<Answer> {
        let mut answer = Answer::default();
        let _answering = interrupt::answering();
        for token in generator.by_ref() {
            let token = token.map_err(|error| error.in_file(&self.model))?;
            if shown && !token.text.is_empty() {
                stdout(&token.text)?;
            }
            answer.text += &token.text;
            answer.tokens.push(token);
            if interrupt::wanted() {
                break;
            }
        }
        answer.finish = generator.finish().cloned();
        answer.timings = generator.timings();
        if shown && !answer.text.ends_with('\n') {
            stdout("\n")?;
        }
        Ok(answer)
    }
}
