//! `now`, `random` and `note`: what would differ between a first run and a replay, recorded.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cx::Cx;
use crate::error::Result;
use crate::event::digest;
use crate::operation::{Effect, Example, Operation, Outcome, Redo, Shown};

/// Takes no arguments.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// `now()`.
pub(super) struct Now;

impl Operation for Now {
    type Args = Nothing;
    type Output = Timestamp;
    const NAME: &'static str = "now";
    const SUMMARY: &'static str = "Gives the current time, the same one whenever the run is replayed.";
    const EFFECTS: &'static [Effect] = &[];
    const REDO: Redo = Redo::Resend;
    const SHOWN: Shown = Shown::Silent;

    fn examples() -> Vec<Example> {
        vec![
            Example::new("Tell the time.", "now() == now() || now() < now()").gives(json!(true)),
            Example::new("Measure.", r#"let t0 = now(); now() - t0 < duration("1m")"#).gives(json!(true)),
        ]
    }

    async fn begin(&self, cx: &Cx, _: &Nothing) -> Result<Outcome<Timestamp>> {
        // Whole seconds: what is shown is what is compared.
        Ok(Outcome::done(Timestamp::from_second(cx.now().as_second()).unwrap_or(Timestamp::MIN)))
    }
}

/// `random()`.
pub(super) struct Random;

impl Operation for Random {
    type Args = Nothing;
    type Output = f64;
    const NAME: &'static str = "random";
    const SUMMARY: &'static str =
        "Gives a number from 0.0 up to but not including 1.0, the same one on replay.";
    const EFFECTS: &'static [Effect] = &[];
    const REDO: Redo = Redo::Resend;
    const SHOWN: Shown = Shown::Silent;

    fn examples() -> Vec<Example> {
        vec![Example::new("Draw a number.", "let x = random(); x >= 0.0 && x < 1.0").gives(json!(true))]
    }

    async fn begin(&self, cx: &Cx, _: &Nothing) -> Result<Outcome<f64>> {
        let digits = digest(&["random", &cx.key(64)]);
        let number = u64::from_str_radix(&digits[..13], 16).unwrap_or(0);
        Ok(Outcome::done(number as f64 / (1u64 << 52) as f64))
    }
}

/// The text of a note.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Text {
    /// What to say.
    text: Value,
}

/// `note(text)`.
pub(super) struct Note;

impl Operation for Note {
    type Args = Text;
    type Output = ();
    const NAME: &'static str = "note";
    const SUMMARY: &'static str = "Shows a line to whoever watches, and keeps it with the run.";
    const EFFECTS: &'static [Effect] = &[];
    const REDO: Redo = Redo::Resend;
    const SHOWN: Shown = Shown::Text;

    fn examples() -> Vec<Example> {
        vec![Example::new("Say what was found.", r#"note("web-01 is on hq-node2")"#).gives(Value::Null)]
    }

    async fn begin(&self, _: &Cx, _: &Text) -> Result<Outcome<()>> {
        Ok(Outcome::done(()))
    }
}
