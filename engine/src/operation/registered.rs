//! Operations with their types erased: one adapter between typed values and recorded ones.

use std::any::type_name;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures::FutureExt;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Declaration, Done, Operation, Outcome, Pending, Probe};
use crate::cx::Cx;
use crate::error::{Error, ErrorKind, Result, panic_message};
use crate::handles::Recipe;
use crate::hint::NextStep;
use crate::{measure, recorded};

type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// What opens again what a recorded step opened.
pub(crate) trait Opens: Send + Sync {
    /// Returns the recipe of a recorded step.
    fn recipe(&self, cx: Cx, args: Value, value: Value) -> Recipe;
}

/// An operation with its types erased: JSON in, JSON out.
#[derive(Clone)]
pub struct Registered {
    /// What is known about it.
    pub declaration: Arc<Declaration>,
    inner: Arc<dyn Erased>,
    /// What opens again what it opened, when it holds something open.
    pub(crate) opens: Option<Arc<dyn Opens>>,
}

impl Registered {
    /// Registers an operation.
    pub fn new<O: Operation>(operation: O) -> Self {
        let declaration = Arc::new(Declaration::of::<O>());
        Registered { declaration, inner: Arc::new(Typed(operation)), opens: None }
    }

    /// Checks that arguments read as the operation's types, without calling it.
    ///
    /// # Errors
    /// `Invalid`, naming the argument.
    pub fn check(&self, args: &Value) -> Result<()> {
        self.inner.check(args)
    }

    /// Returns the value that a person's answer gives the step, in the recorded form.
    pub(crate) fn answered(&self, answer: &Value) -> Value {
        match self.declaration.output.get("type").and_then(Value::as_str) {
            Some("boolean") => Value::Bool(answer == "yes"),
            _ => recorded::data(answer.clone()),
        }
    }

    /// Checks that what was recorded of a call reads as this version's: its arguments, and the state
    /// with which it waits.
    ///
    /// # Errors
    /// `Storage` when another version has to go on with it.
    pub(crate) fn understands(&self, args: &Value, state: Option<&Value>) -> Result<()> {
        self.inner.check(args).map_err(|e| {
            let name = self.declaration.name;
            Error::unreadable(format!("the recorded arguments of `{name}` cannot be read")).because(e)
        })?;
        state.map_or(Ok(()), |state| self.restored(state).map(drop))
    }

    pub(crate) fn begin<'a>(&'a self, cx: &'a Cx, args: &'a Value) -> Boxed<'a, Outcome<Value>> {
        self.guarded(async move { self.recorded(self.inner.begin(cx, args).await?) })
    }

    pub(crate) fn resume<'a>(
        &'a self,
        cx: &'a Cx,
        args: &'a Value,
        at: &'a Value,
    ) -> Boxed<'a, Outcome<Value>> {
        self.guarded(async move {
            let at = self.restored(at)?;
            self.recorded(self.inner.resume(cx, args, &at).await?)
        })
    }

    pub(crate) fn probe<'a>(&'a self, cx: &'a Cx, args: &'a Value) -> Boxed<'a, Probe<Value>> {
        self.guarded(async move {
            Ok(match self.inner.probe(cx, args).await? {
                Probe::Found(outcome) => Probe::Found(self.recorded(outcome)?),
                other => other,
            })
        })
    }

    /// Turns a panic of the operation into an error of its own: whether it had an effect is unclear.
    fn guarded<'a, T: 'a>(&self, call: impl Future<Output = Result<T>> + Send + 'a) -> Boxed<'a, T> {
        let name = self.declaration.name;
        Box::pin(async move {
            AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(|panic| {
                let said = panic_message(panic.as_ref());
                Err(Error::new(ErrorKind::Transient, format!("`{name}` panicked: {said}"))
                    .hint("please report it together with the run"))
            })
        })
    }

    /// Returns an outcome in the recorded form. What a script could not read back is refused before it is
    /// recorded. A state carries the version of the operation that reads it.
    fn recorded(&self, outcome: Outcome<Value>) -> Result<Outcome<Value>> {
        let Declaration { name, ref output, .. } = *self.declaration;
        let version = self.inner.version();
        Ok(match outcome {
            Outcome::Done(Done { value, effected }) => {
                measure::check(&value).map_err(|why| {
                    Error::rejected(format!("the answer to `{name}` cannot be kept: {why}"))
                })?;
                Outcome::Done(Done { value: recorded::typed(value, output.as_value()), effected })
            }
            Outcome::Pending(pending) => {
                let continuation = json!({ "v": version, "at": pending.continuation });
                Outcome::Pending(Pending { continuation, ..pending })
            }
            Outcome::Close { lease, then } => {
                Outcome::Close { lease, then: json!({ "v": version, "at": then }) }
            }
            other => other,
        })
    }

    /// Returns the state of this version that a stored one stands for.
    fn restored(&self, stored: &Value) -> Result<Value> {
        let current = self.inner.version();
        let (version, at) = (stored.get("v").and_then(Value::as_u64), stored.get("at"));
        let restored = match (version, at) {
            (Some(version), Some(at)) if version == u64::from(current) => Some(at.clone()),
            (Some(version), Some(at)) if version < u64::from(current) => self.inner.upgrade(version, at),
            _ => None,
        };
        restored.ok_or_else(|| {
            let stored = version.map_or_else(|| "of no version".to_owned(), |v| format!("of version {v}"));
            Error::unreadable(format!(
                "`{}` waits with a state {stored}, and this program has version {current}",
                self.declaration.name
            ))
        })
    }
}

impl std::fmt::Debug for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Registered").field(&self.declaration.name).finish()
    }
}

/// An operation over plain JSON. Compiled once for each operation, so whatever does not depend on its types is
/// in [`Registered`].
trait Erased: Send + Sync {
    fn version(&self) -> u32;
    fn upgrade(&self, version: u64, at: &Value) -> Option<Value>;
    fn check(&self, args: &Value) -> Result<()>;
    fn begin<'a>(&'a self, cx: &'a Cx, args: &'a Value) -> Boxed<'a, Outcome<Value>>;
    fn resume<'a>(&'a self, cx: &'a Cx, args: &'a Value, at: &'a Value) -> Boxed<'a, Outcome<Value>>;
    fn probe<'a>(&'a self, cx: &'a Cx, args: &'a Value) -> Boxed<'a, Probe<Value>>;
}

/// The one adapter between typed operations and plain JSON.
struct Typed<O>(O);

impl<O: Operation> Erased for Typed<O> {
    fn version(&self) -> u32 {
        O::STATE_VERSION
    }

    fn upgrade(&self, version: u64, at: &Value) -> Option<Value> {
        O::upgrade(version, at)
    }

    fn check(&self, args: &Value) -> Result<()> {
        read::<O>(args).map(drop)
    }

    fn begin<'a>(&'a self, cx: &'a Cx, args: &'a Value) -> Boxed<'a, Outcome<Value>> {
        Box::pin(async move { written::<O>(self.0.begin(cx, &read::<O>(args)?).await?) })
    }

    fn resume<'a>(&'a self, cx: &'a Cx, args: &'a Value, at: &'a Value) -> Boxed<'a, Outcome<Value>> {
        Box::pin(async move { written::<O>(self.0.resume(cx, &read::<O>(args)?, at).await?) })
    }

    fn probe<'a>(&'a self, cx: &'a Cx, args: &'a Value) -> Boxed<'a, Probe<Value>> {
        Box::pin(async move {
            Ok(match self.0.probe(cx, &read::<O>(args)?).await? {
                Probe::Found(outcome) => Probe::Found(written::<O>(outcome)?),
                Probe::Absent => Probe::Absent,
                Probe::Unclear(seen) => Probe::Unclear(seen),
            })
        })
    }
}

fn read<O: Operation>(args: &Value) -> Result<O::Args> {
    O::Args::deserialize(&*recorded::argument(args)).map_err(|e| unreadable(O::NAME, &e))
}

fn unreadable(name: &str, error: &serde_json::Error) -> Error {
    Error::invalid(format!("wrong argument of `{name}`: {error}"))
        .hint(NextStep::ReadAbout { operation: name.to_owned() })
}

fn written<O: Operation>(outcome: Outcome<O::Output>) -> Result<Outcome<Value>> {
    outcome.try_map(|value| {
        serde_json::to_value(value).map_err(|e| unwritable(O::NAME, type_name::<O::Output>(), e))
    })
}

fn unwritable(name: &str, output: &str, error: serde_json::Error) -> Error {
    Error::rejected(format!("failed to write the value of `{name}` ({output})")).because(error)
}
