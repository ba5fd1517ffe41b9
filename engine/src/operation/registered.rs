//! Operations with their types erased: one adapter between typed values and recorded ones.

use std::any::type_name;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures::FutureExt;
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
        let inner = Arc::new(Typed { operation, declaration: declaration.clone() });
        Registered { declaration, inner, opens: None }
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
        state.map_or(Ok(()), |state| self.inner.restored(state).map(drop))
    }

    pub(crate) fn begin<'a>(&'a self, cx: &'a Cx, args: &'a Value) -> Boxed<'a, Outcome<Value>> {
        self.guarded(self.inner.begin(cx, args))
    }

    pub(crate) fn resume<'a>(
        &'a self,
        cx: &'a Cx,
        args: &'a Value,
        at: &'a Value,
    ) -> Boxed<'a, Outcome<Value>> {
        self.guarded(self.inner.resume(cx, args, at))
    }

    pub(crate) fn probe<'a>(&'a self, cx: &'a Cx, args: &'a Value) -> Boxed<'a, Probe<Value>> {
        self.guarded(self.inner.probe(cx, args))
    }

    /// Turns a panic of the operation into an error of its own: whether it had an effect is unclear.
    fn guarded<'a, T: 'a>(&self, call: Boxed<'a, T>) -> Boxed<'a, T> {
        let name = self.declaration.name;
        Box::pin(async move {
            AssertUnwindSafe(call).catch_unwind().await.unwrap_or_else(|panic| {
                let said = panic_message(panic.as_ref());
                Err(Error::new(ErrorKind::Transient, format!("`{name}` panicked: {said}"))
                    .hint("please report it together with the run"))
            })
        })
    }
}

impl std::fmt::Debug for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Registered").field(&self.declaration.name).finish()
    }
}

trait Erased: Send + Sync {
    fn check(&self, args: &Value) -> Result<()>;
    fn restored(&self, stored: &Value) -> Result<Value>;
    fn begin<'a>(&'a self, cx: &'a Cx, args: &'a Value) -> Boxed<'a, Outcome<Value>>;
    fn resume<'a>(&'a self, cx: &'a Cx, args: &'a Value, at: &'a Value) -> Boxed<'a, Outcome<Value>>;
    fn probe<'a>(&'a self, cx: &'a Cx, args: &'a Value) -> Boxed<'a, Probe<Value>>;
}

/// The one adapter between typed operations and recorded values.
struct Typed<O> {
    operation: O,
    declaration: Arc<Declaration>,
}

impl<O: Operation> Erased for Typed<O> {
    fn check(&self, args: &Value) -> Result<()> {
        self.read(args).map(drop)
    }

    fn restored(&self, stored: &Value) -> Result<Value> {
        restored::<O>(stored)
    }

    fn begin<'a>(&'a self, cx: &'a Cx, args: &'a Value) -> Boxed<'a, Outcome<Value>> {
        Box::pin(async move { self.written(self.operation.begin(cx, &self.read(args)?).await?) })
    }

    fn resume<'a>(&'a self, cx: &'a Cx, args: &'a Value, at: &'a Value) -> Boxed<'a, Outcome<Value>> {
        Box::pin(async move {
            let at = restored::<O>(at)?;
            self.written(self.operation.resume(cx, &self.read(args)?, &at).await?)
        })
    }

    fn probe<'a>(&'a self, cx: &'a Cx, args: &'a Value) -> Boxed<'a, Probe<Value>> {
        Box::pin(async move {
            Ok(match self.operation.probe(cx, &self.read(args)?).await? {
                Probe::Found(outcome) => Probe::Found(self.written(outcome)?),
                Probe::Absent => Probe::Absent,
                Probe::Unclear(seen) => Probe::Unclear(seen),
            })
        })
    }
}

impl<O: Operation> Typed<O> {
    fn read(&self, args: &Value) -> Result<O::Args> {
        serde_json::from_value(recorded::argument(args)).map_err(|e| {
            Error::invalid(format!("wrong argument of `{}`: {e}", O::NAME))
                .hint(NextStep::ReadAbout { operation: O::NAME.to_owned() })
        })
    }

    /// Returns a value in the recorded form. What a script could not read back is refused before it is
    /// recorded. A state carries the version of the operation that reads it.
    fn written(&self, outcome: Outcome<O::Output>) -> Result<Outcome<Value>> {
        let done = match outcome {
            Outcome::Done(done) => done,
            Outcome::Pending(pending) => {
                let continuation = json!({ "v": O::STATE_VERSION, "at": pending.continuation });
                return Ok(Outcome::Pending(Pending { continuation, ..pending }));
            }
            Outcome::Close { lease, then } => {
                return Ok(Outcome::Close { lease, then: json!({ "v": O::STATE_VERSION, "at": then }) });
            }
            other => return Ok(other.map(|_| Value::Null)),
        };
        let value = serde_json::to_value(&done.value).map_err(|e| {
            let output = type_name::<O::Output>();
            Error::rejected(format!("failed to write the value of `{}` ({output})", O::NAME)).because(e)
        })?;
        measure::check(&value)
            .map_err(|why| Error::rejected(format!("the answer to `{}` cannot be kept: {why}", O::NAME)))?;
        let value = recorded::typed(value, self.declaration.output.as_value());
        Ok(Outcome::Done(Done { value, effected: done.effected }))
    }
}

/// Returns the state of this version that a stored one stands for.
fn restored<O: Operation>(stored: &Value) -> Result<Value> {
    let (version, at) = (stored.get("v").and_then(Value::as_u64), stored.get("at"));
    let restored = match (version, at) {
        (Some(version), Some(at)) if version == u64::from(O::STATE_VERSION) => Some(at.clone()),
        (Some(version), Some(at)) if version < u64::from(O::STATE_VERSION) => O::upgrade(version, at),
        _ => None,
    };
    restored.ok_or_else(|| {
        let stored = version.map_or_else(|| "of no version".to_owned(), |v| format!("of version {v}"));
        Error::unreadable(format!(
            "`{}` waits with a state {stored}, and this program has version {}",
            O::NAME,
            O::STATE_VERSION
        ))
    })
}
