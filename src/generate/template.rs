//! Chat templates: messages as the text that a model was trained on. They are Jinja's, run by the crate
//! `minijinja` with Python's methods of strings, lists and maps, as transformers runs them.

use crate::error::{Error, ErrorKind, Result};
use crate::text::{self, ModelFiles};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{Environment, Value};
use serde::{Deserialize, Serialize};
use serde_json::ser::{CompactFormatter, Formatter};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`; what else the template knows.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// What somebody says.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// A model's chat template.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    source: String,
    path: PathBuf,
    /// `bos_token` and the like, which templates write.
    special: Vec<(String, String)>,
}

/// Steps that a template may take: one that never ends is an error.
const MOST_STEPS: u64 = 50_000_000;

/// The name that errors have for it.
const NAME: &str = "chat template";

impl ChatTemplate {
    /// The template beside a model, if there is one: `chat_template.jinja`, or the entry of
    /// `tokenizer_config.json` (of several, that named `default`).
    ///
    /// Errors: a file that can't be read, a template that isn't well-formed.
    pub fn beside(files: &ModelFiles) -> Result<Option<Self>> {
        let config = files.json("tokenizer_config.json")?;
        let special = config.as_ref().map_or(vec![], |(_, config)| special_tokens(config));
        if let Some(path) = files.beside("chat_template.jinja") {
            return Self::new(text::text(&path)?, path, special).map(Some);
        }
        let Some((path, config)) = config else { return Ok(None) };
        let source = match config.get("chat_template") {
            Some(serde_json::Value::String(source)) => Some(source.clone()),
            Some(serde_json::Value::Array(several)) => {
                let default = several.iter().find(|one| one["name"] == "default").or(several.first());
                default.and_then(|one| one["template"].as_str()).map(str::to_string)
            }
            _ => None,
        };
        source.map(|source| Self::new(source, path, special)).transpose()
    }

    /// A template of this text; `path` is where it comes from.
    ///
    /// Errors: it isn't well-formed, with its line.
    pub fn new(
        source: impl Into<String>,
        path: impl Into<PathBuf>,
        special: Vec<(String, String)>,
    ) -> Result<Self> {
        let template = Self { source: source.into(), path: path.into(), special };
        let made = environment()?;
        let parsed = made.template_from_named_str(NAME, &template.source).map(|_| ());
        parsed.map_err(|problem| told(&template.path, &problem))?;
        Ok(template)
    }

    /// The messages as the model's text; with `answer` followed by what an answer begins with.
    ///
    /// Errors: the template refuses them (`raise_exception`), or fails, with its line.
    pub fn render(&self, messages: &[Message], answer: bool) -> Result<String> {
        let env = environment()?;
        let failed = |problem: minijinja::Error| told(&self.path, &problem);
        let template = env.template_from_named_str(NAME, &self.source).map_err(failed)?;
        let message = |message: &Message| {
            let (role, content) = (message.role.as_str(), message.content.as_str());
            Value::from_pairs([("role", Value::from(role)), ("content", Value::from(content))])
        };
        let messages: Vec<Value> = messages.iter().map(message).collect();
        let mut values = vec![
            ("messages", Value::from(messages)),
            ("add_generation_prompt", Value::from(answer)),
            ("tools", Value::from(())),
            ("documents", Value::from(())),
        ];
        let special = self.special.iter();
        values.extend(special.map(|(name, token)| (name.as_str(), Value::from(token.as_str()))));
        template.render(Value::from_pairs(values)).map_err(failed)
    }
}

/// The special tokens that a configuration names: `"bos_token": "<s>"`, or with the text as `content`.
fn special_tokens(config: &serde_json::Value) -> Vec<(String, String)> {
    let entries = config.as_object().into_iter().flatten().filter(|(name, _)| name.ends_with("_token"));
    let text = |value: &serde_json::Value| {
        value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_string)
    };
    entries.filter_map(|(name, value)| Some((name.clone(), text(value)?))).collect()
}

/// What transformers gives to templates.
fn environment() -> Result<Environment<'static>> {
    let mut env = Environment::new();
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    env.set_syntax(syntax.map_err(|problem| Error::internal(problem.to_string()))?);
    env.set_fuel(Some(MOST_STEPS));
    env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    env.add_function("raise_exception", |message: String| -> std::result::Result<Value, minijinja::Error> {
        Err(minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, message))
    });
    env.add_function("strftime_now", strftime_now);
    env.add_filter("tojson", to_json);
    Ok(env)
}

/// An error of a template, with its line.
fn told(path: &Path, problem: &minijinja::Error) -> Error {
    let line = problem.line().filter(|line| *line > 0);
    let at = line.map_or(String::new(), |line| format!("line {line} of "));
    let what = problem.detail().map_or_else(|| problem.kind().to_string(), str::to_string);
    Error::new(ErrorKind::Input, format!("{at}the chat template: {what}"))
        .in_file(path)
        .remedy("correct the template, or give a prompt without one")
}

/// The date and time of the world, in the form of C's strftime as far as templates ask for it.
fn strftime_now(format: String) -> std::result::Result<String, minijinja::Error> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    strftime(&format, now.map_or(0, |now| now.as_secs()))
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];

fn strftime(format: &str, seconds: u64) -> std::result::Result<String, minijinja::Error> {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (month_name, day_name) = (MONTHS[month - 1], DAYS[(days % 7) as usize]);
    let mut text = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        match chars.next() {
            Some('Y') => text += &year.to_string(),
            Some('y') => text += &format!("{:02}", year % 100),
            Some('m') => text += &format!("{month:02}"),
            Some('d') => text += &format!("{day:02}"),
            Some('B') => text += month_name,
            Some('b') => text += &month_name[..3],
            Some('A') => text += day_name,
            Some('a') => text += &day_name[..3],
            Some('H') => text += &format!("{:02}", rest / 3600),
            Some('M') => text += &format!("{:02}", rest / 60 % 60),
            Some('S') => text += &format!("{:02}", rest % 60),
            Some('%') => text.push('%'),
            other => {
                let what = format!("strftime_now doesn't know %{}", other.unwrap_or(' '));
                return Err(minijinja::Error::new(minijinja::ErrorKind::InvalidOperation, what));
            }
        }
    }
    Ok(text)
}

/// Year, month and day of a number of days since 1970: by
/// [Hinnant's civil_from_days](https://howardhinnant.github.io/date_algorithms.html), whose years begin in March.
fn date(days: u64) -> (u64, usize, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month as usize, day)
}

/// JSON as Python's `json.dumps` writes it: a blank behind colons and commas, and nothing escaped for HTML.
fn to_json(value: &Value, options: Kwargs) -> std::result::Result<Value, minijinja::Error> {
    let failed = |problem: serde_json::Error| {
        minijinja::Error::new(minijinja::ErrorKind::BadSerialization, problem.to_string())
    };
    let indent: Option<usize> = options.get("indent")?;
    for unused in ["ensure_ascii", "separators", "sort_keys"] {
        let _: Option<Value> = options.get(unused)?;
    }
    options.assert_all_used()?;
    let mut out = vec![];
    match indent.map(|indent| " ".repeat(indent.min(16))) {
        Some(indent) => {
            let formatter = serde_json::ser::PrettyFormatter::with_indent(indent.as_bytes());
            value
                .serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter))
                .map_err(failed)?;
        }
        None => {
            value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, Spaced)).map_err(failed)?;
        }
    }
    Ok(Value::from_safe_string(String::from_utf8_lossy(&out).into_owned()))
}

struct Spaced;
impl Formatter for Spaced {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }
    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }
    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
    fn write_null<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        CompactFormatter.write_null(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(source: &str) -> Result<ChatTemplate> {
        ChatTemplate::new(source, "t", vec![("bos_token".into(), "<s>".into())])
    }
    fn rendered(source: &str) -> Result<String> {
        template(source)?.render(&[Message::new("user", "Say <it> \"ü\"")], true)
    }

    #[test]
    fn templates_do_what_jinja_does_for_transformers() {
        let told = rendered(
            "{{ bos_token }}{% for m in messages %}\n  {% if loop.first %}[{{ m['role'].upper() }}]\n  {% endif %}\
             {{ m.content.strip() }}{% endfor %}{% if add_generation_prompt %}>{% endif %}",
        );
        assert_eq!(told.unwrap(), "<s>[USER]\nSay <it> \"ü\">");
        assert_eq!(
            rendered("{{ {'a': [1, 2], 'b': none} | tojson }}").unwrap(),
            r#"{"a": [1, 2], "b": null}"#
        );
        assert_eq!(rendered("{{ messages[0].content | tojson }}").unwrap(), r#""Say <it> \"ü\"""#);
        let split = "{{ 'a/b'.split('/')[-1] }}{% set ns = namespace(x=1) %}{% set ns.x = 2 %}{{ ns.x }}";
        assert_eq!(rendered(split).unwrap(), "b2");
        assert_eq!(rendered("{{ tools is none }} {{ missing is defined }}").unwrap(), "True False");
        assert_eq!(rendered("{{ messages[::-1] | length }}").unwrap(), "1");
    }

    #[test]
    fn errors_name_the_line() {
        let told = rendered("a\nb\n{{ raise_exception('roles must alternate') }}").unwrap_err().to_string();
        assert!(told.starts_with("t: line 3 of the chat template: roles must alternate"), "{told}");
        let told = template("a\n{% for %}").unwrap_err().to_string();
        assert!(told.contains("line 2 of the chat template"), "{told}");
        let endless =
            "{% for a in range(9999) %}{% for b in range(9999) %}{% set c = b * 2 %}{% endfor %}{% endfor %}";
        assert!(rendered(endless).unwrap_err().to_string().contains("fuel"));
        assert!(rendered("{{ strftime_now('%Q') }}").unwrap_err().to_string().contains("%Q"));
    }

    #[test]
    fn dates_are_the_calendars() {
        let at = |seconds| strftime("%A, %d %B %Y %H:%M:%S %y-%m %b %a %%", seconds).unwrap();
        assert_eq!(at(0), "Thursday, 01 January 1970 00:00:00 70-01 Jan Thu %");
        assert_eq!(at(951_782_400), "Tuesday, 29 February 2000 00:00:00 00-02 Feb Tue %");
        assert_eq!(at(1_735_689_599), "Tuesday, 31 December 2024 23:59:59 24-12 Dec Tue %");
    }
}
