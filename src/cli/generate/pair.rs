//! An answer of a model in two parts: the encoder reads the prompt, the decoder writes.

use super::answer::Facts;
use super::{Generate, Outcome, document, interrupt};
use crate::cli::emit::say;
use crate::cli::options::{fallbacks, say_newer};
use sardonyx::error::{Error, Result};
use sardonyx::generate::{CacheKind, Overflow, PairFiles, Seq2Seq};

pub fn run(verb: &Generate, files: PairFiles, text: Option<&str>) -> Result<Outcome> {
    let limits = verb.limits();
    let alone = |option: &str| {
        Err(Error::usage(format!(
            "{option} takes a decoder that stands alone, and this model has an encoder"
        ))
        .in_file(&verb.model)
        .remedy("give --prompt or --prompt-file"))
    };
    let text = match text {
        Some(text) if !verb.chat => text,
        _ => return alone("--chat"),
    };
    if limits.overflow == Overflow::Window {
        return alone("--window");
    }
    if text.trim().is_empty() {
        return Err(Error::input("the prompt is empty: an encoder would have nothing to read")
            .remedy("give a prompt that isn't empty"));
    }
    let builder = verb.options.builder(verb.options.device.open_aloud()?)?;
    let mut model = Seq2Seq::load(files, builder, &limits)?;
    interrupt::hear();
    say_newer(model.encoder().session());
    model.config().notes.iter().for_each(|note| say(format_args!("note: {note}")));
    verb.sampling.note(model.config()).into_iter().for_each(say);
    let source = model.tokenizer().encode(text, true)?;
    let options = verb.choosing(model.config());
    let context = model.context_for(verb.most());
    if model.decoder().kind() != CacheKind::None {
        let bytes = document::size(model.kv_bytes(context));
        say(format_args!("note: keys and values take {bytes} for {context} tokens"));
    }
    let mut answer = verb.stream(model.generate(&source, &options)?, !verb.json.to_stdout())?;
    answer.fallbacks = model.decoder().prepared().map_or(vec![], |prepared| fallbacks(prepared));
    verb.told(&answer, &Facts::of_pair(&model, source.len(), context))
}
