//! A conversation: a line for each turn.

use super::answer::Facts;
use super::{CHAT_CONTEXT, Generate, Outcome};
use crate::cli::emit::{say, told};
use crate::cli::options::say_fallbacks;
use sardonyx::ErrorKind;
use sardonyx::error::{Error, Result};
use sardonyx::generate::{LanguageModel, Message};
use std::io::{BufRead, IsTerminal, Write};

/// Reads turns until the input or the patience ends.
pub fn run(verb: &Generate, model: &mut LanguageModel) -> Result<Outcome> {
    if model.template().is_none() {
        // The error that the first turn would have.
        model.chat(&[])?;
    }
    let default = model.config().context.map_or(CHAT_CONTEXT, |most| most.min(CHAT_CONTEXT));
    model.limit_context(default);
    verb.reserve(model, verb.context.unwrap_or(default))?;
    let terminal = std::io::stdin().is_terminal();
    if terminal {
        say("/exit ends, /reset begins anew, Ctrl-C ends an answer");
    }
    let begin: Vec<Message> = verb.system.iter().map(|text| Message::new("system", text)).collect();
    let mut messages = begin.clone();
    let mut first = true;
    while let Some(line) = read_line(terminal)? {
        match line.trim() {
            "" => continue,
            "/exit" => break,
            "/reset" => {
                messages = begin.clone();
                continue;
            }
            text => messages.push(Message::new("user", text)),
        }
        let answer = model.chat(&messages).and_then(|prompt| verb.answer(model, &prompt, true));
        let answer = match answer {
            Ok(answer) => answer,
            // What one turn can't do, another can; a device that is lost can't.
            Err(error) if terminal && error.kind() == ErrorKind::Input => {
                say(format_args!("error: {}", told(&error)));
                messages.pop();
                continue;
            }
            Err(error) => return Err(error),
        };
        if std::mem::take(&mut first) {
            say_fallbacks(&answer.fallbacks);
        }
        say(answer.summary(&Facts::of(model)));
        messages.push(Message::new("assistant", answer.text));
    }
    Ok(Outcome::Good)
}

/// A line of standard input; `None` at its end.
fn read_line(terminal: bool) -> Result<Option<String>> {
    if terminal {
        let mut out = std::io::stderr();
        let _ = write!(out, "> ").and_then(|()| out.flush());
    }
    let mut line = vec![];
    let read = std::io::stdin().lock().read_until(b'\n', &mut line);
    let count = read.map_err(|problem| {
        Error::new(ErrorKind::File, format!("standard input can't be read: {problem}")).caused_by(problem)
    })?;
    if count == 0 {
        return Ok(None);
    }
    String::from_utf8(line).map(Some).map_err(|problem| {
        let at = problem.utf8_error().valid_up_to();
        Error::input(format!("standard input is not UTF-8: byte {at} of a line can't be decoded"))
            .remedy("set the terminal to UTF-8")
    })
}
