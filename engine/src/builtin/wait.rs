//! `wait` and `wait_until`: durable timers.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::operation::{Effect, Example, Operation, Outcome, Redo};
use crate::value::Span;

/// How much later than its end a timer may be looked at before somebody is asked.
const GRACE: Duration = Duration::from_secs(365 * 24 * 3600);

/// How long to wait.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct For {
    /// How long: a duration, or a text such as `"10m"`.
    duration: Span,
}

/// `wait(duration)`.
pub(super) struct Wait;

impl Operation for Wait {
    type Args = For;
    type Output = ();
    const NAME: &'static str = "wait";
    const SUMMARY: &'static str = "Waits; the time goes on while the run is parked or the machine is off.";
    const EFFECTS: &'static [Effect] = &[];
    const REDO: Redo = Redo::Resend;

    fn examples() -> Vec<Example> {
        vec![Example::new("Give the service a minute.", r#"wait("1m")"#).gives(Value::Null)]
    }

    async fn begin(&self, cx: &Cx, args: &For) -> Result<Outcome<()>> {
        timer(cx, cx.after(args.duration.get()))
    }

    async fn resume(&self, _: &Cx, _: &For, _: &Value) -> Result<Outcome<()>> {
        // The engine has waited, by a clock that nobody sets where one process could. Looked at again here, the
        // wall clock would make the wait as much longer as it was set back.
        Ok(Outcome::done(()))
    }
}

/// Until when to wait.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Until {
    /// When: a time, or a text such as `"2026-11-20T22:00:00Z"`.
    #[schemars(extend("format" = "date-time"))]
    time: String,
}

/// `wait_until(time)`.
pub(super) struct WaitUntil;

impl Operation for WaitUntil {
    type Args = Until;
    type Output = ();
    const NAME: &'static str = "wait_until";
    const SUMMARY: &'static str = "Waits until a point in time; does not wait when it has passed.";
    const EFFECTS: &'static [Effect] = &[];
    const REDO: Redo = Redo::Resend;

    fn examples() -> Vec<Example> {
        vec![
            Example::new("A time that has passed.", r#"wait_until("2020-01-01T00:00:00Z")"#)
                .gives(json!(null)),
        ]
    }

    async fn begin(&self, cx: &Cx, args: &Until) -> Result<Outcome<()>> {
        timer(cx, parse(&args.time)?)
    }

    async fn resume(&self, cx: &Cx, args: &Until, _: &Value) -> Result<Outcome<()>> {
        timer(cx, parse(&args.time)?)
    }
}

fn parse(text: &str) -> Result<Timestamp> {
    text.parse().map_err(|_| {
        Error::invalid(format!("`{text}` is not a point in time"))
            .hint("write for example 2026-11-20T22:00:00Z")
    })
}

fn timer(cx: &Cx, until: Timestamp) -> Result<Outcome<()>> {
    let left = Duration::try_from(until.duration_since(cx.now())).unwrap_or_default();
    if left.is_zero() {
        return Ok(Outcome::done(()));
    }
    let outcome = Outcome::pending(&until.to_string(), left)?;
    Ok(outcome.within(left.saturating_add(GRACE)).saying(format!("waiting until {until:.0}"), None))
}
