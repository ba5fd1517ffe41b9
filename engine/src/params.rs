//! Binding: what a person wrote becomes typed parameters, or an error that underlines it.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value};

use crate::error::{Error, Result, Snippet};
use crate::hint::Hint;
use crate::measure;
use crate::recorded::{self, Special};
use crate::runbook::{Param, ParamKind, Runbook, whole};
use crate::value::{SecretRef, Span};

/// A parameter as it was given.
#[derive(Clone, Debug)]
pub enum Given {
    /// Text, from a command line or a file.
    Text(String),
    /// A value, from a program: plain data, in which nothing is a secret.
    Value(Value),
    /// A value as a run recorded it: what a script passes on. Secrets in it are secrets, and no text is.
    Recorded(Value),
}

/// Reads a kind of parameter that the engine does not know, such as a resource id.
pub type ParamReader = Arc<dyn Fn(&str) -> Result<Value, String> + Send + Sync>;

/// What binding needs from around it. The engine reads no environment itself.
pub(crate) struct Surroundings<'a> {
    /// Returns the value of an environment variable.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// Returns how to read a kind of parameter.
    pub reader: &'a dyn Fn(&str) -> Option<ParamReader>,
}

/// Typed, complete parameters.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bound {
    /// The values by name; a parameter that is not given is null.
    pub values: Value,
    /// What was given for `path` parameters. A default names nothing: it is the runbook's word, not a person's.
    pub paths: Vec<String>,
}

/// Binds what was given to the parameters of a runbook.
///
/// # Errors
/// `Invalid`: unknown names, missing and wrong values, all of them at once and with the parameters' help.
pub(crate) fn bind(runbook: &Runbook, given: &[(String, Given)], around: &Surroundings<'_>) -> Result<Bound> {
    let mut wrongs = Vec::new();
    for (position, (name, _)) in given.iter().enumerate() {
        if !runbook.params.iter().any(|p| p.name == *name) {
            wrongs.push(unknown(runbook, name));
        } else if given[..position].iter().any(|(earlier, _)| earlier == name) {
            let twice = Error::invalid(format!("the parameter `{name}` is given twice"));
            wrongs.push(underline(twice, name.clone(), 0, "this name"));
        }
    }
    let mut values = Map::new();
    let mut paths = Vec::new();
    for param in &runbook.params {
        let given = given.iter().find(|(name, _)| *name == param.name);
        let value = match given {
            Some((_, value)) => read(param, value, around)
                .and_then(|read| within_bounds(param, &read).map(|()| read))
                .map_err(|why| wrong(param, value, &why)),
            None => default(runbook, param, &values, around),
        };
        let value = match value {
            Ok(value) => value,
            Err(error) => {
                wrongs.push(error);
                continue;
            }
        };
        if let (Some(_), ParamKind::Path, Value::String(path)) = (given, &param.kind, &value) {
            paths.push(path.clone());
        }
        values.insert(param.name.clone(), value);
    }
    match wrongs.len() {
        0 => Ok(Bound { values: Value::Object(values), paths }),
        1 => Err(wrongs.remove(0)),
        _ => Err(several(runbook, &wrongs)),
    }
}

/// Tells several errors as one, a line each.
fn several(runbook: &Runbook, wrongs: &[Error]) -> Error {
    let all = Error::invalid(format!("{} mistakes in the parameters of `{}`", wrongs.len(), runbook.name));
    wrongs.iter().fold(all, |all, wrong| {
        let hints: Vec<String> = wrong.hints().iter().map(Hint::to_string).collect();
        all.hint(format!("{}; {}", wrong.message(), hints.join("; ")))
    })
}

/// Reads one value as the parameter's kind, into the recorded form.
fn read(param: &Param, given: &Given, around: &Surroundings<'_>) -> Result<Value, String> {
    let text = match given {
        // Whatever text a script has may come from anywhere: it would choose which secret is used.
        Given::Recorded(Value::String(_)) if param.kind == ParamKind::Secret => {
            return Err(
                "a script passes a secret on as secret(\"..\") or as a parameter of its own, never as text"
                    .into(),
            );
        }
        Given::Recorded(Value::String(text)) | Given::Value(Value::String(text)) | Given::Text(text) => text,
        Given::Recorded(value) => return read_value(param, value.clone()),
        Given::Value(value) => return read_value(param, recorded::data(value.clone())),
    };
    let json = |what: &str| {
        let value = serde_json::from_str::<Value>(text).map_err(|e| format!("this is no {what}: {e}"))?;
        measure::check(&value)?;
        read_value(param, recorded::data(value))
    };
    match &param.kind {
        ParamKind::String | ParamKind::Choice => Ok(Value::String(text.clone())),
        ParamKind::Path if text.is_empty() => Err("a path is needed".into()),
        ParamKind::Path => Ok(Value::String(text.clone())),
        ParamKind::Int => text.parse::<i64>().map(Value::from).map_err(|_| "this is no whole number".into()),
        ParamKind::Float => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(Value::from(number)),
            _ => Err("this is no number".into()),
        },
        ParamKind::Bool => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Ok(Value::Bool(true)),
            "false" | "no" | "off" => Ok(Value::Bool(false)),
            _ => Err("write true or false".into()),
        },
        ParamKind::Duration => duration(text).map(|duration| Special::Duration(duration).write()),
        ParamKind::Time => text
            .parse::<Timestamp>()
            .map(|time| Special::Time(time).write())
            .map_err(|_| "this is no point in time; write for example 2026-11-20T22:00:00Z".into()),
        ParamKind::List if text.trim_start().starts_with('[') => json("list"),
        ParamKind::List => Ok(text.split(',').map(|item| Value::from(item.trim())).collect()),
        ParamKind::Map => json("map"),
        ParamKind::Secret => read_secret(text),
        ParamKind::Other(kind) => match (around.reader)(kind) {
            Some(reader) => reader(text).map(recorded::data),
            None => Err(format!("nobody here knows how to read a `{kind}`")),
        },
    }
}

/// Checks a recorded value that came as JSON rather than text.
fn read_value(param: &Param, value: Value) -> Result<Value, String> {
    let special = value.as_object().and_then(Special::read);
    let fits = match (&param.kind, &special) {
        (ParamKind::Duration, Some(Special::Duration(duration))) => !duration.is_negative(),
        (ParamKind::Time, Some(Special::Time(_))) | (ParamKind::Secret, Some(Special::Secret(_))) => true,
        (_, Some(_)) => false,
        (ParamKind::Int, None) => value.is_i64(),
        (ParamKind::Float, None) => value.is_number(),
        (ParamKind::Bool, None) => value.is_boolean(),
        (ParamKind::List, None) => value.is_array(),
        (ParamKind::Map, None) => value.is_object(),
        _ => false,
    };
    if fits { Ok(value) } else { Err(format!("a {} is needed", param.kind)) }
}

fn duration(text: &str) -> Result<SignedDuration, String> {
    let span: Span = text.parse()?;
    SignedDuration::try_from(span.get()).map_err(|_| format!("`{text}` is too long"))
}

/// A secret is named, never written down: the value would stand in a process list and in histories.
fn read_secret(text: &str) -> Result<Value, String> {
    match text.split_once(':') {
        Some((source, name)) if source.chars().all(|c| c.is_ascii_lowercase()) && !name.is_empty() => {
            Ok(Special::Secret(SecretRef { name: text.to_owned() }).write())
        }
        _ => Err("name where the secret is kept, such as env:WEB01_PASSWORD, rather than the secret".into()),
    }
}

fn within_bounds(param: &Param, value: &Value) -> Result<(), String> {
    if !param.one_of.is_empty() && !param.one_of.contains(&recorded::plain(value)) {
        let words: Vec<String> = param.one_of.iter().map(plain).collect();
        return Err(format!("choose one of {}", words.join(", ")));
    }
    if let (Some(pattern), Some(text)) = (&param.pattern, value.as_str())
        && !whole(pattern).map_err(|e| e.to_string())?.is_match(text)
    {
        return Err(format!("this must look like {pattern}"));
    }
    let size = |value: &Value| -> Option<f64> {
        match (&param.kind, value) {
            (ParamKind::Duration, Value::String(text)) => duration(text).ok().map(|d| d.as_secs_f64()),
            (ParamKind::Time, Value::String(text)) => text.parse::<Timestamp>().ok().map(since_epoch),
            (_, Value::Object(map)) => match Special::read(map)? {
                Special::Duration(duration) => Some(duration.as_secs_f64()),
                Special::Time(time) => Some(since_epoch(time)),
                Special::Secret(_) => None,
            },
            (_, Value::Number(number)) => number.as_f64(),
            (ParamKind::String, Value::String(text)) => Some(text.chars().count() as f64),
            (_, Value::Array(items)) => Some(items.len() as f64),
            _ => None,
        }
    };
    let own = size(value);
    let beyond = |bound: &Option<Value>, over: fn(f64, f64) -> bool| {
        bound
            .as_ref()
            .filter(|b| own.zip(size(b).or_else(|| b.as_f64())).is_some_and(|(own, b)| over(own, b)))
            .map(plain)
    };
    if let Some(min) = beyond(&param.min, |own, min| own < min) {
        return Err(format!("at least {min}"));
    }
    if let Some(max) = beyond(&param.max, |own, max| own > max) {
        return Err(format!("at most {max}"));
    }
    Ok(())
}

fn since_epoch(time: Timestamp) -> f64 {
    time.duration_since(Timestamp::UNIX_EPOCH).as_secs_f64()
}

fn default(
    runbook: &Runbook,
    param: &Param,
    earlier: &Map<String, Value>,
    around: &Surroundings<'_>,
) -> Result<Value> {
    let (given, origin) = match &param.default {
        None if param.required => return Err(missing(runbook, param, None)),
        None => return Ok(Value::Null),
        Some(Value::String(text)) => {
            match text.strip_prefix("env:").filter(|_| param.kind != ParamKind::Secret) {
                Some(name) => match (around.environment)(name).filter(|value| !value.is_empty()) {
                    Some(value) => (Given::Text(value), format!("from the environment variable {name}")),
                    None if param.required => return Err(missing(runbook, param, Some(name))),
                    None => return Ok(Value::Null),
                },
                None => (Given::Text(filled(text, param, earlier)), "its default".to_owned()),
            }
        }
        Some(value) => (Given::Value(value.clone()), "its default".to_owned()),
    };
    read(param, &given, around)
        .and_then(|read| within_bounds(param, &read).map(|()| read))
        .map_err(|why| wrong(param, &given, &why).hint(format!("the value is {origin}")))
}

/// Fills `{other}` with an earlier parameter; in a path, with its last segment only.
fn filled(template: &str, param: &Param, earlier: &Map<String, Value>) -> String {
    let mut out = template.to_owned();
    for (name, value) in earlier {
        let text = plain(value);
        let part = if param.kind == ParamKind::Path {
            text.rsplit(['/', '\\']).next().unwrap_or_default()
        } else {
            &text
        };
        out = out.replace(&format!("{{{name}}}"), part);
    }
    out
}

/// Returns a value as a person would write it.
fn plain(value: &Value) -> String {
    let value = recorded::plain(value);
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn missing(runbook: &Runbook, param: &Param, variable: Option<&str>) -> Error {
    let error = Error::invalid(format!("`{}` needs the parameter `{}`", runbook.name, param.name));
    let error =
        if param.help.is_empty() { error } else { error.hint(format!("{}: {}", param.name, param.help)) };
    match variable {
        Some(variable) => error.hint(format!("write {}=..., or set the variable {variable}", param.name)),
        None => error.hint(format!("write {}=...", param.name)),
    }
}

fn wrong(param: &Param, given: &Given, why: &str) -> Error {
    let value = match given {
        _ if param.kind == ParamKind::Secret => "...".to_owned(),
        Given::Text(text) => text.clone(),
        Given::Value(value) | Given::Recorded(value) => plain(value),
    };
    let shown = if value.chars().count() > 200 { "..." } else { &value };
    let error = Error::invalid(format!("wrong value for the parameter `{}`", param.name));
    let start = param.name.len() + 1;
    let error = underline(error, format!("{}={shown}", param.name), start, "this value").hint(why.to_owned());
    if param.help.is_empty() {
        error
    } else {
        error.hint(format!("{} ({}): {}", param.name, param.kind, param.help))
    }
}

/// The value of an unknown parameter is not shown: it may be a secret under a misspelt name.
fn unknown(runbook: &Runbook, name: &str) -> Error {
    let names: Vec<&str> = runbook.params.iter().map(|p| p.name.as_str()).collect();
    let error = Error::invalid(format!("`{}` has no parameter `{name}`", runbook.name));
    let error = underline(error, name.to_owned(), 0, "this name");
    match names.is_empty() {
        true => error.hint("it takes none"),
        false => error.hint(format!("its parameters are {}", names.join(", "))),
    }
}

/// Underlines what was written from a byte on.
fn underline(error: Error, text: String, start: usize, label: &str) -> Error {
    let offset = start.min(text.len().saturating_sub(1));
    error.snippet(Snippet {
        name: "arguments".into(),
        offset,
        len: (text.len() - offset).max(1),
        text: text.into(),
        label: label.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Source;
    use serde_json::json;

    const DEMO: &str = r#"/*---
title = "Demo"
[params.vm]
help = "the machine"
[params.group]
default = "env:GROUP"
[params.after]
type = "duration"
default = "2h"
max = "8h"
[params.rdp]
type = "path"
default = "{vm}.rdp"
[params.size]
type = "int"
required = false
min = 1
[params.password]
type = "secret"
required = false
[params.tags]
type = "list"
required = false
[params.where]
one_of = ["here", "there"]
default = "here"
[params.code]
pattern = "A-[0-9]{2,}"
required = false
---*/"#;

    fn demo(given: &[(&str, &str)]) -> Result<Bound> {
        let runbook = Runbook::parse(&Source { name: "demo".into(), text: DEMO.into() }).expect("parses");
        let given: Vec<_> =
            given.iter().map(|(n, v)| ((*n).to_owned(), Given::Text((*v).to_owned()))).collect();
        let around = Surroundings {
            environment: &|name| (name == "GROUP").then(|| "rg".to_owned()),
            reader: &|_| None,
        };
        bind(&runbook, &given, &around)
    }

    #[test]
    fn defaults_are_filled_looked_up_and_typed() {
        let bound = demo(&[("vm", "/subscriptions/s/machines/web-01")]).expect("binds");
        assert_eq!(bound.values["group"], "rg");
        assert_eq!(bound.values["after"], json!({ "$duration": "2h" }));
        assert_eq!(bound.values["rdp"], "web-01.rdp");
        assert_eq!(bound.values["size"], Value::Null);
        assert_eq!(bound.paths, [""; 0]);
        let bound = demo(&[("vm", "web-01"), ("rdp", "/tmp/x.rdp")]).expect("binds");
        assert_eq!(bound.paths, ["/tmp/x.rdp"]);
    }

    #[test]
    fn wrong_values_are_refused_with_the_help() {
        for (given, says) in [
            (vec![("vm", "a"), ("after", "9h")], "at most 8h"),
            (vec![("vm", "a"), ("after", "soon")], "is not a duration"),
            (vec![("vm", "a"), ("size", "many")], "no whole number"),
            (vec![("vm", "a"), ("size", "0")], "at least 1"),
            (vec![("vm", "a"), ("where", "away")], "choose one of here, there"),
            (vec![("vm", "a"), ("code", "B-12")], "must look like"),
            (vec![("vm", "a"), ("code", "XA-12")], "must look like"),
            (vec![("vm", "a"), ("vmm", "b")], "its parameters are vm"),
            (vec![("vm", "a"), ("vm", "b")], "twice"),
            (vec![], "write vm="),
        ] {
            let error = demo(&given).expect_err(says);
            assert!(format!("{error:?}").contains(says), "{error:?}");
        }
    }

    #[test]
    fn a_literal_secret_is_refused_and_not_repeated() {
        let error = demo(&[("vm", "a"), ("password", "hunter2")]).expect_err("refused");
        let shown = format!("{error:?} {:?}", error.points_at());
        assert!(!shown.contains("hunter2"), "{shown}");
        let bound = demo(&[("vm", "a"), ("password", "env:PW")]).expect("binds");
        assert_eq!(bound.values["password"], json!({ "$secret": "env:PW" }));
    }

    #[test]
    fn a_pattern_is_a_regular_expression_for_the_whole_text() {
        for (pattern, text, fits) in [
            ("[a-z]+-[0-9]{2}", "web-01", true),
            ("[a-z]+-[0-9]{2}", "web-01 ", false),
            ("web|db", "web2", false),
            ("(?i)WEB.*", "web2", true),
        ] {
            assert_eq!(whole(pattern).unwrap().is_match(text), fits, "{pattern} {text:?}");
        }
    }
}
