//! `all`: the same for many things at once.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::code::ErrorCode;
use crate::cx::Cx;
use crate::error::{Error, Result};
use crate::event::Function;
use crate::operation::{Effect, Example, Operation, Outcome, Redo, Shown};

/// The most branches of one step: each is a run of its own.
const MOST: usize = 1000;

/// How many branches are under way at once unless the call says it.
const AT_ONCE: u32 = 8;

/// Does the same for each of many items, several at once, and gives what came of each in the order of
/// the items. Each branch has a log of its own and goes on by itself after a crash. It takes copies of
/// the variables that it names; its value is the only thing that comes out of it. A branch that needs
/// a person does not hold up the others: the run parks when all others are over.
#[derive(Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Branches {
    /// What there is a branch for each of.
    pub(crate) items: Vec<Value>,
    /// What is done with an item: `|item| ..`.
    #[schemars(extend("format" = "function"))]
    pub(crate) each: Function,
    /// How many branches are under way at once; 8 unless set.
    #[serde(default)]
    pub(crate) at_once: Option<u32>,
    /// What a failed branch means. `"stop"`, unless set: the others are stopped, and the step fails as that
    /// branch did. `"collect"`: the others go on, and each gives a map with its `value` or its `error`.
    #[serde(default)]
    pub(crate) on_error: Option<OnError>,
}

/// What a failed branch means for the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OnError {
    /// They are stopped.
    #[default]
    Stop,
    /// They go on.
    Collect,
}

impl Branches {
    /// Reads the recorded arguments of a step.
    pub(crate) fn read(args: &Value) -> Result<Self> {
        let args = serde_json::from_value(args.clone());
        args.map_err(|e| Error::unreadable("the recorded arguments of `all` cannot be read").because(e))
    }

    /// Returns how many branches may be under way.
    pub(crate) fn at_once(&self) -> usize {
        self.at_once.unwrap_or(AT_ONCE).max(1) as usize
    }
}

/// The name of the operation that begins branches.
pub(crate) const ALL: &str = "all";

/// `all(items, |item| .., #{ at_once, on_error })`.
pub(super) struct All;

impl Operation for All {
    type Args = Branches;
    type Output = Vec<Value>;
    const NAME: &'static str = ALL;
    const SUMMARY: &'static str =
        "Does the same for many items, several at once, and gives the results in order.";
    const EFFECTS: &'static [Effect] = &[];
    const SHOWN: Shown = Shown::Branches;
    // A branch's id is derived from this step: a second attempt finds the first one's branches.
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::FAILED];

    fn examples() -> Vec<Example> {
        vec![
            Example::new("Wait for several things at once.", r#"all([1, 2], |n| { wait("1s"); n * 10 })"#)
                .gives(serde_json::json!([10, 20])),
        ]
    }

    async fn begin(&self, cx: &Cx, args: &Branches) -> Result<Outcome<Vec<Value>>> {
        if args.items.len() > MOST {
            return Err(Error::invalid(format!(
                "`all` takes {MOST} items at most, not {}",
                args.items.len()
            ))
            .hint("take them in parts: `items.chunks(100)`"));
        }
        if args.at_once == Some(0) {
            return Err(Error::invalid("`at_once` of `all` is at least 1"));
        }
        if cx.run().nesting() > 1 {
            return Err(Error::invalid("a branch of a branch cannot have branches")
                .hint("make one list of all items first"));
        }
        match args.items.is_empty() {
            true => Ok(Outcome::done(Vec::new())),
            false => Ok(Outcome::Branches),
        }
    }
}
