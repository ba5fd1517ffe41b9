//! Closing what was opened: a lease's duty as a run of its own.

use std::time::Duration;

use jiff::Timestamp;

use crate::core::Core;
use crate::error::{Error, Result};
use crate::event::{Cause, Lease, RunId};
use crate::operation::Declaration;
use crate::prepare::RunRequest;

/// When a lease that could not be closed is tried again.
pub(crate) const CLOSE_AGAIN: Duration = Duration::from_secs(5 * 60);

/// How the closing of a lease stands.
pub(crate) enum Closing {
    /// A run has to be prepared for it.
    Begin(RunRequest),
    /// A run is at it, or has just failed to.
    UnderWay(RunId),
}

impl Core {
    /// Returns the run that closes a lease: the one that is at it, or the next one after those that
    /// failed. `now` asks for the next one at once, without the pause after a failure.
    ///
    /// Run ids are derived from the lease, so that two processes that find it due start one run.
    pub(crate) async fn closing(&self, lease: &Lease, now: bool) -> Result<Closing> {
        let operation = self.language.operation(&lease.close.operation).ok_or_else(|| {
            let name = &lease.close.operation;
            Error::invalid(format!("this program has no operation `{name}`, which closes {}", lease.title))
        })?;
        let opened = lease.opened.to_string();
        let mut attempt = 0u32;
        let id = loop {
            let id = RunId::derived(&["close", &lease.id, &opened, &lease.door, &attempt.to_string()]);
            match self.journal.run(&id).await? {
                None => break id,
                Some(run) if !run.status.is_over() => return Ok(Closing::UnderWay(id)),
                Some(run) => {
                    let again = run.updated.saturating_add(CLOSE_AGAIN).unwrap_or(Timestamp::MAX);
                    if !now && again > self.clock.now() {
                        return Ok(Closing::UnderWay(id));
                    }
                    attempt += 1;
                }
            }
        };
        let request = RunRequest::new(format!("close/{}", lease.id))
            .text(closing_script(&operation.declaration, lease));
        Ok(Closing::Begin(RunRequest { cause: Cause::Lease { id: lease.id.clone() }, id, ..request }))
    }
}

/// Writes a value as Rhai reads it. JSON's strings, numbers and flags read the same; maps want a #.
fn literal(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::Null => "()".to_owned(),
        Value::Array(items) => format!("[{}]", items.iter().map(literal).collect::<Vec<_>>().join(",")),
        Value::Object(map) => {
            let entries =
                map.iter().map(|(name, item)| format!("{}:{}", Value::from(name.as_str()), literal(item)));
            format!("#{{{}}}", entries.collect::<Vec<_>>().join(","))
        }
        plain => plain.to_string(),
    }
}

/// Returns the script that closes a lease: one call of its closing operation.
///
/// A run of it is recorded, retried and resumed like any other.
fn closing_script(operation: &Declaration, lease: &Lease) -> String {
    let arg = |name: &str| lease.close.args.get(name).map_or_else(|| "()".to_owned(), literal);
    let mut args: Vec<String> = operation.positional().map(|p| arg(&p.name)).collect();
    let options: Vec<String> = operation
        .optional()
        .filter(|p| lease.close.args.get(&p.name).is_some_and(|v| !v.is_null()))
        .map(|p| format!("{}: {}", p.name, arg(&p.name)))
        .collect();
    if !options.is_empty() {
        args.push(format!("#{{ {} }}", options.join(", ")));
    }
    let effects: Vec<String> = operation.effects.iter().map(|e| format!("{:?}", e.as_str())).collect();
    // The front matter is a comment: nothing in it may end the comment.
    let title = toml::Value::String(format!("Close {}", lease.title.replace("*/", "* /")));
    format!(
        "/*---\ntitle = {title}\neffects = [{}]\n---*/\n{}({})\n",
        effects.join(", "),
        operation.name,
        args.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Call;
    use crate::operation::{Effect, Field, Redo};
    use schemars::Schema;
    use serde_json::json;

    #[test]
    fn names_and_values_stay_what_they_are() {
        let field = |name: &str, required| Field {
            name: name.into(),
            kind: "string".into(),
            help: String::new(),
            required,
        };
        let operation = Declaration {
            name: "door::close",
            summary: "Closes a door.",
            effects: &[Effect::AzureWrite],
            redo: Redo::Resend,
            codes: &[],
            params: vec![field("door", true), field("node", false), field("group", false)],
            output: Schema::default(),
            notes: None,
            examples: Vec::new(),
        };
        let lease = Lease {
            id: "r-1".into(),
            run: RunId::from("r"),
            subject: "s".into(),
            door: "d".into(),
            title: "the \"front\" door\n*/".into(),
            opened: Timestamp::UNIX_EPOCH,
            deadline: Timestamp::UNIX_EPOCH,
            close: Call {
                operation: "door::close".into(),
                args: json!({ "door": "a \"quoted\" ${name}", "node": { "n": [1, true] }, "group": null }),
            },
        };
        let script = closing_script(&operation, &lease);
        assert!(
            script.ends_with("door::close(\"a \\\"quoted\\\" ${name}\", #{ node: #{\"n\":[1,true]} })\n"),
            "{script}"
        );
        assert!(script.contains("effects = [\"azure:write\"]"), "{script}");
        let source = crate::event::Source { name: "close".into(), text: script };
        assert!(crate::runbook::Runbook::parse(&source).is_ok(), "{source:?}");
    }
}
