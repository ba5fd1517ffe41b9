//! A runbook: TOML front matter in the first block comment, then plain Rhai.
//!
//! The front matter is read without running anything, so that listing, showing and completing are
//! safe whatever the script says.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use regex::Regex;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use toml::Spanned;

use crate::effect::{Effect, Effects};
use crate::error::{Error, Result, Snippet};
use crate::event::{Source, fingerprint};
use crate::value::Span;

/// A script with its title, parameters and permissions.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Runbook {
    /// The name inside the library, with `/` between folders and without the ending.
    pub name: String,
    /// The whole text, front matter included.
    pub text: Arc<str>,
    /// SHA-256 of the text.
    pub fingerprint: String,
    /// A few words.
    pub title: String,
    /// One or two sentences.
    pub summary: String,
    /// The roles that whoever runs it needs.
    pub roles: Vec<String>,
    /// What the script may do.
    pub effects: Effects,
    /// How long a run that is parked on a mistake waits for a mended text, before it is stopped and what
    /// it deferred runs.
    pub mend_within: Duration,
    /// How many of its runs may be under way at once; any number unless set.
    pub concurrency: Option<NonZeroU32>,
    /// The parameters whose values together name what a run acts on: a machine on which one works at a time.
    pub target: Vec<String>,
    /// The parameters, in the order of the file.
    pub params: Vec<Param>,
    /// Where the words of `effects` stand in the text.
    places: Vec<Range<usize>>,
}

/// How long a run waits for its mistake to be mended unless the runbook says otherwise.
pub(crate) const MEND_WITHIN: Duration = Duration::from_secs(24 * 3600);
/// The longest that a runbook may say.
const LONGEST_MENDING: Duration = Duration::from_secs(366 * 24 * 3600);

/// One parameter of a runbook.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Param {
    /// The name.
    pub name: String,
    /// What it is, for whoever runs the runbook.
    pub help: String,
    /// What kind of value it takes.
    pub kind: ParamKind,
    /// Whether it must be given.
    pub required: bool,
    /// The value when it is not given. `env:NAME` is looked up, `{other}` is filled in.
    pub default: Option<Value>,
    /// The smallest value.
    pub min: Option<Value>,
    /// The largest value.
    pub max: Option<Value>,
    /// The values that are allowed.
    pub one_of: Vec<Value>,
    /// A regular expression that the whole text must match.
    pub pattern: Option<String>,
}

/// What kind of value a parameter takes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParamKind {
    /// Any text.
    String,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// `true` or `false`.
    Bool,
    /// A length of time, such as `2h`.
    Duration,
    /// A point in time, such as `2026-11-20T22:00:00Z`.
    Time,
    /// A file. The run may touch it even outside its folder.
    Path,
    /// One of a few texts.
    Choice,
    /// A list, written `a,b,c` or as JSON.
    List,
    /// A map, written as JSON.
    Map,
    /// The name of a secret, such as `env:WEB01_PASSWORD`. Never the secret itself.
    Secret,
    /// A kind that the embedding program knows how to read.
    Other(String),
}

impl ParamKind {
    fn parse(word: &str) -> Self {
        match word {
            "string" => ParamKind::String,
            "int" => ParamKind::Int,
            "float" => ParamKind::Float,
            "bool" => ParamKind::Bool,
            "duration" => ParamKind::Duration,
            "time" => ParamKind::Time,
            "path" => ParamKind::Path,
            "choice" => ParamKind::Choice,
            "list" => ParamKind::List,
            "map" => ParamKind::Map,
            "secret" => ParamKind::Secret,
            other => ParamKind::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for ParamKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ParamKind::String => "string",
            ParamKind::Int => "int",
            ParamKind::Float => "float",
            ParamKind::Bool => "bool",
            ParamKind::Duration => "duration",
            ParamKind::Time => "time",
            ParamKind::Path => "path",
            ParamKind::Choice => "choice",
            ParamKind::List => "list",
            ParamKind::Map => "map",
            ParamKind::Secret => "secret",
            ParamKind::Other(name) => name,
        })
    }
}

impl Runbook {
    /// Returns whether a text begins with front matter, right or wrong.
    pub fn has_front_matter(text: &str) -> bool {
        text[beginning(text)..].starts_with(OPEN)
    }

    /// Reads a runbook's front matter. The script itself is not compiled.
    ///
    /// # Errors
    /// `Invalid`, with the wrong line of the front matter underlined.
    pub fn parse(source: &Source) -> Result<Self> {
        let text: Arc<str> = source.text.as_str().into();
        let matter = FrontMatter { name: &source.name, text: &text, range: front_matter(source, &text)? };
        let header: Header = toml::from_str(&text[matter.range.clone()]).map_err(|e| {
            matter.error(e.span().unwrap_or(0..0), "the front matter is not right", e.message().to_owned())
        })?;
        let places = header.effects.iter().map(|word| {
            let span = word.span();
            matter.range.start + span.start..matter.range.start + span.end
        });
        let places = places.collect();
        let mut params = Vec::new();
        for (name, spec) in header.params.0 {
            params.push(spec.into_inner_param(name, &matter)?);
        }
        let mend_within = match &header.mend_within {
            Some(text) => matter.mend_within(text)?,
            None => MEND_WITHIN,
        };
        let target = matter.target(header.target, &params)?;
        Ok(Runbook {
            mend_within,
            concurrency: header.concurrency,
            target,
            name: source.name.clone(),
            fingerprint: fingerprint(&text),
            title: header.title,
            summary: header.summary,
            roles: header.roles,
            effects: header.effects.into_iter().map(Spanned::into_inner).collect(),
            params,
            text,
            places,
        })
    }

    /// Returns what stands for the runbook of a run that has none: it may make calls of these effects.
    pub(crate) fn without_text(name: &str, effects: Effects) -> Self {
        let text: Arc<str> = "".into();
        Runbook {
            name: name.to_owned(),
            fingerprint: fingerprint(&text),
            text,
            title: String::new(),
            summary: String::new(),
            roles: Vec::new(),
            effects,
            mend_within: MEND_WITHIN,
            concurrency: None,
            target: Vec::new(),
            params: Vec::new(),
            places: Vec::new(),
        }
    }

    /// Returns whether a step of the runbook may have an effect.
    pub fn allows(&self, effect: Effect) -> bool {
        self.effects.allow(effect)
    }

    /// Returns all that whoever starts the runbook lets happen: its effects, and the use of a secret when a
    /// parameter is one.
    pub fn reach(&self) -> Effects {
        let takes_secret = self.params.iter().any(|param| param.kind == ParamKind::Secret);
        match takes_secret {
            true => self.effects.clone().with(Effect::Secret),
            false => self.effects.clone(),
        }
    }

    /// Checks that it does no more than what was granted by whatever starts or imports it.
    ///
    /// # Errors
    /// `Invalid`, with the words that are missing.
    pub(crate) fn check_granted(&self, granted: &Effects, by: &str) -> Result<()> {
        let reach = self.reach();
        let lacking: Vec<String> = granted.lacking(&reach).iter().map(|word| format!("{word:?}")).collect();
        match lacking.is_empty() {
            true => Ok(()),
            false => Err(Error::invalid(format!("`{}` may do more than {by}", self.name))
                .hint(format!("add {} to the effects of {by}", lacking.join(", ")))),
        }
    }

    /// Checks that its effects are among those that the program knows.
    ///
    /// # Errors
    /// `Invalid`, with the first that is not underlined.
    pub(crate) fn check_effects(&self, known: &[&str]) -> Result<()> {
        let mut words = self.effects.words().zip(&self.places);
        let Some((word, place)) = words.find(|(word, _)| !known.contains(word)) else { return Ok(()) };
        let error = Error::invalid(format!("there is no effect `{word}` in `{}`", self.name));
        Err(error
            .snippet(Snippet {
                name: self.name.clone(),
                text: self.text.clone(),
                offset: place.start,
                len: place.len(),
                label: "unknown effect".to_owned(),
            })
            .hint(format!("the effects are {}", known.join(", "))))
    }

    /// Returns the source text under its name.
    pub fn source(&self) -> Source {
        Source { name: self.name.clone(), text: self.text.to_string() }
    }
}

/// Returns a pattern as the expression that matches nothing less than the whole of a text.
pub(crate) fn whole(pattern: &str) -> std::result::Result<Regex, regex::Error> {
    Regex::new(&format!("^(?:{pattern})$"))
}

const OPEN: &str = "/*---";
const CLOSE: &str = "---*/";

/// Returns where a text begins, behind a byte-order mark and blanks.
fn beginning(text: &str) -> usize {
    text.len() - text.trim_start_matches('\u{feff}').trim_start().len()
}

/// Finds the TOML between `/*---` and `---*/` at the start of the text.
fn front_matter(source: &Source, text: &Arc<str>) -> Result<Range<usize>> {
    let start = beginning(text);
    let missing = |label: &str, offset: usize| {
        Error::invalid(format!("`{}` has no front matter", source.name))
            .snippet(Snippet {
                name: source.name.clone(),
                text: text.clone(),
                offset,
                len: 1.min(text.len() - offset),
                label: label.to_owned(),
            })
            .hint("begin the file with /*---, TOML lines such as title = \"...\", and ---*/")
    };
    if !text[start..].starts_with(OPEN) {
        return Err(missing("a runbook begins with /*---", start.min(text.len().saturating_sub(1))));
    }
    let open = start + OPEN.len();
    let close = text[open..].find(CLOSE).ok_or_else(|| missing("this is never closed by ---*/", start))?;
    Ok(open..open + close)
}

/// Where the front matter stands, for errors that underline a part of it.
struct FrontMatter<'a> {
    name: &'a str,
    text: &'a Arc<str>,
    range: Range<usize>,
}

impl FrontMatter<'_> {
    fn error(&self, span: Range<usize>, message: &str, label: impl Into<String>) -> Error {
        let offset = (self.range.start + span.start).min(self.text.len().saturating_sub(1));
        Error::invalid(format!("{message} in `{}`", self.name)).snippet(Snippet {
            name: self.name.to_owned(),
            text: self.text.clone(),
            offset,
            len: span.len().clamp(1, self.text.len() - offset),
            label: label.into(),
        })
    }
}

impl FrontMatter<'_> {
    fn mend_within(&self, text: &Spanned<String>) -> Result<Duration> {
        let wrong = |why: String| self.error(text.span(), "`mend_within` is not right", why);
        let span: Span = text.get_ref().parse().map_err(|why: String| wrong(why))?;
        match span.get() {
            length if length > LONGEST_MENDING => Err(wrong("at most 366 days".to_owned())),
            length => Ok(length),
        }
    }

    /// Checks that a target is named by parameters that every run has and that name something.
    fn target(&self, names: Vec<Spanned<String>>, params: &[Param]) -> Result<Vec<String>> {
        let mut target = Vec::with_capacity(names.len());
        for name in names {
            let wrong = |why: &str| Err(self.error(name.span(), "`target` is not right", why));
            match params.iter().find(|param| param.name == *name.get_ref()).map(|param| &param.kind) {
                Some(ParamKind::String | ParamKind::Choice | ParamKind::Int | ParamKind::Other(_)) => {}
                Some(_) => return wrong("a parameter of this type names no target"),
                None => return wrong("there is no such parameter"),
            }
            target.push(name.into_inner());
        }
        Ok(target)
    }
}

/// The front matter as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    title: String,
    #[serde(default)]
    summary: String,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    effects: Vec<Spanned<String>>,
    mend_within: Option<Spanned<String>>,
    concurrency: Option<NonZeroU32>,
    #[serde(default)]
    target: Vec<Spanned<String>>,
    #[serde(default)]
    params: InOrder,
}

/// The parameters in the order of the file.
#[derive(Default)]
struct InOrder(Vec<(Spanned<String>, ParamSpec)>);

impl<'de> Deserialize<'de> for InOrder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = InOrder;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of parameters")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<InOrder, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(InOrder(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ParamSpec {
    #[serde(default)]
    help: String,
    #[serde(rename = "type")]
    kind: Option<Spanned<String>>,
    required: Option<bool>,
    default: Option<Spanned<toml::Value>>,
    min: Option<Spanned<toml::Value>>,
    max: Option<Spanned<toml::Value>>,
    #[serde(default)]
    one_of: Vec<toml::Value>,
    pattern: Option<Spanned<String>>,
}

impl ParamSpec {
    fn into_inner_param(self, name: Spanned<String>, matter: &FrontMatter<'_>) -> Result<Param> {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !name.get_ref().starts_with(|c: char| c.is_ascii_lowercase())
            || !name.get_ref().chars().all(is_word)
        {
            return Err(matter.error(
                name.span(),
                &format!("`{}` cannot be the name of a parameter", name.get_ref()),
                "lower-case letters, digits and _",
            ));
        }
        let span = name.span();
        let kind = match &self.kind {
            Some(word) => ParamKind::parse(word.get_ref()),
            None if !self.one_of.is_empty() => ParamKind::Choice,
            None => ParamKind::String,
        };
        if kind == ParamKind::Choice && self.one_of.is_empty() {
            return Err(matter.error(span, "a choice needs `one_of`", "this parameter"));
        }
        if let Some(pattern) = &self.pattern
            && let Err(error) = whole(pattern.get_ref())
        {
            let why =
                error.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            return Err(matter.error(pattern.span(), "this is no regular expression", why));
        }
        let json = |value: Option<Spanned<toml::Value>>| {
            value.map(|v| serde_json::to_value(v.get_ref()).unwrap_or(Value::Null))
        };
        Ok(Param {
            required: self.required.unwrap_or(self.default.is_none()),
            help: self.help,
            kind,
            default: json(self.default),
            min: json(self.min),
            max: json(self.max),
            one_of: self.one_of.iter().filter_map(|v| serde_json::to_value(v).ok()).collect(),
            pattern: self.pattern.map(Spanned::into_inner),
            name: name.into_inner(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Runbook> {
        Runbook::parse(&Source { name: "demo".into(), text: text.into() })
    }

    #[test]
    fn parameters_keep_their_order_and_types() {
        let text = r#"/*---
title = "Demo"
effects = ["azure:read"]
[params.zone]
one_of = ["a", "b"]
[params.after]
type = "duration"
default = "2h"
[params.vm]
help = "the machine"
---*/
1"#;
        let runbook = parse(text).expect("parses");
        let names: Vec<_> =
            runbook.params.iter().map(|p| (p.name.as_str(), p.kind.to_string(), p.required)).collect();
        assert_eq!(
            names,
            [
                ("zone", "choice".into(), true),
                ("after", "duration".into(), false),
                ("vm", "string".into(), true)
            ]
        );
        assert!(runbook.allows(Effect::AzureRead) && !runbook.allows(Effect::AzureWrite));
    }

    #[test]
    fn wrong_front_matter_is_underlined() {
        for (text, part) in [
            ("/*---\ntitle = \"x\"\neffects = [\"azure:fly\"]\n---*/", "\"azure:fly\""),
            ("/*---\ntitle = \"x\"\nsize = 3\n---*/", "size"),
            ("/*---\ntitle = \"x\"\nconcurrency = 0\n---*/", "0"),
            ("/*---\ntitle = \"x\"\ntarget = [\"vm\"]\n---*/", "\"vm\""),
            ("/*---\ntitle = \"x\"\ntarget = [\"on\"]\n[params.on]\ntype = \"bool\"\n---*/", "\"on\""),
            ("/*---\ntitle = \n---*/", "\n"),
            ("/*---\ntitle = \"x\"\n[params.Vm]\n---*/", "Vm"),
            ("let x = 1;", "l"),
            ("/*---\ntitle = \"x\"\n", "/"),
            ("", ""),
        ] {
            let known = ["azure:read"];
            let error = parse(text).and_then(|runbook| runbook.check_effects(&known)).expect_err(text);
            let snippet = error.points_at().expect("a snippet");
            let seen = &text[snippet.offset..snippet.offset + snippet.len];
            assert!(seen.starts_with(part) || part.starts_with(seen), "{text:?}: underlined {seen:?}");
        }
    }
}
