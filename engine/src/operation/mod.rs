//! What a script can call: one typed declaration yields the function, its docs, its check and its
//! journal form.

mod declaration;
mod outcome;
mod registered;

use std::future::Future;

use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use declaration::FUNCTION;
pub use declaration::{Declaration, Example, Field, Shown};
pub use outcome::{Done, HandedBack, Outcome, Pending, Probe};
pub(crate) use registered::Opens;
pub use registered::Registered;

use crate::code::ErrorCode;
use crate::cx::Cx;
pub(crate) use crate::effect::Effect;
use crate::error::{Error, Result};

/// What to do with a step that was started and whose outcome nobody recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redo {
    /// Begin again: a read, or a write that is the same when done twice.
    Resend,
    /// Look for the step's own trace with [`Operation::probe`] first.
    Probe,
    /// Park and ask a person.
    Ask,
}

/// A thing that scripts can call and that touches the world.
///
/// Implementations never sleep, retry or record; they say what to send and read what came back.
///
/// A [`Value`] among the arguments may hold secrets: it goes out only through [`Cx::reveal`]. A value that is
/// returned is data, whatever stands in it, unless `Output` itself is a [`SecretRef`].
/// The required fields of `Args` become positional arguments in their order, the others go into one
/// trailing map: `vmconnect::enable(vm, #{ cluster: "hq" })`. Doc comments on the fields of `Args`
/// and `Output` become the documentation of the function.
pub trait Operation: Send + Sync + 'static {
    /// The arguments.
    type Args: DeserializeOwned + JsonSchema + Send + Sync + 'static;
    /// The value. It must read back from JSON as the script sees it.
    type Output: Serialize + JsonSchema + Send + 'static;

    /// The name in scripts: `area::verb`, or a bare word for a built-in.
    const NAME: &'static str;
    /// One sentence that says what is true afterwards.
    const SUMMARY: &'static str;
    /// What it may do. None for what touches nothing outside, such as a wait.
    const EFFECTS: &'static [Effect];
    /// What to do when a crash leaves it unclear whether it happened. Anything but [`Redo::Resend`] says
    /// that it changes something, whatever its effects are called.
    const REDO: Redo;
    /// Which codes its errors may have that a script can decide on.
    const CODES: &'static [ErrorCode] = &[];

    /// Whether it needs a person's terminal. Where there is none, the run is parked before the operation is
    /// asked; what a worker drives it leaves alone.
    const TERMINAL: bool = false;

    /// How its steps are shown to people.
    const SHOWN: Shown = Shown::Step;

    /// The version of the states that it waits with, which is stored with each of them. Raise it when
    /// this code cannot read, or would misread, what the code before has stored.
    const STATE_VERSION: u32 = 1;

    /// Turns a state that an older version stored into one of this version. When there is none, the
    /// run is left to the version that stored it.
    fn upgrade(_version: u64, _at: &Value) -> Option<Value> {
        None
    }

    /// Returns examples; each runs as a test.
    fn examples() -> Vec<Example> {
        Vec::new()
    }

    /// Starts the operation. The intent is durable when this is called.
    fn begin(&self, cx: &Cx, args: &Self::Args)
    -> impl Future<Output = Result<Outcome<Self::Output>>> + Send;

    /// Looks at an operation under way. `at` is the state of the last [`Outcome::pending`].
    ///
    /// A state that stands before a request (rather than after it) must first look whether the
    /// request was already made: this may be the second process that stands here.
    fn resume(
        &self,
        _cx: &Cx,
        _args: &Self::Args,
        _at: &Value,
    ) -> impl Future<Output = Result<Outcome<Self::Output>>> + Send {
        async { Err(Error::invalid(format!("`{}` never waits and cannot be resumed", Self::NAME))) }
    }

    /// Looks for the step's own trace after an unclear outcome: always for [`Redo::Probe`], and for the
    /// others once a person has said that it happened, to see what it came to.
    fn probe(
        &self,
        _cx: &Cx,
        _args: &Self::Args,
    ) -> impl Future<Output = Result<Probe<Self::Output>>> + Send {
        async { Ok(Probe::Unclear("the operation has no way to look".into())) }
    }
}
