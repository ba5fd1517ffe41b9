//! What a script can call: one typed declaration yields the function, its docs, its check and its
//! journal form.

use std::any::type_name;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::code::ErrorCode;
use crate::cx::Cx;
pub(crate) use crate::effect::Effect;
use crate::error::panic_message;
use crate::error::{Error, ErrorKind, Result};
use crate::event::{Effected, Progress};
use crate::handles::Recipe;
use crate::hint::NextStep;
use crate::measure;
use crate::recorded;

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

/// What beginning or resuming an operation led to.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome<T> {
    /// It is done.
    Done(Done<T>),
    /// It is under way elsewhere.
    Pending(Pending),
    /// A person must answer before the step has a value. Answers become the step's value.
    Ask {
        /// The question.
        question: String,
        /// The answers that are understood; any text when empty. For an operation that gives a flag,
        /// `yes` means true.
        choices: Vec<String>,
    },
    /// The one run that closes a lease does the work: it is begun if need be and waited for. When it
    /// is over, or the lease is gone, the operation is resumed with [`HandedBack`], and says this again
    /// while there is more to close.
    Close {
        /// The lease.
        lease: String,
        /// The operation's own state meanwhile.
        then: Value,
    },
    /// The step's branches must end before it has a value: one for each item of the arguments.
    Branches,
    /// Another run must end before the step has a value.
    Child {
        /// The runbook to run.
        runbook: String,
        /// Its parameters, as the arguments of the step have them.
        params: Value,
    },
}

/// A value, and what became true together with it.
#[derive(Debug)]
pub struct Done<T> {
    /// The step's value.
    pub value: T,
    /// What the journal records in the same transaction.
    pub effected: Vec<Effected>,
}

/// An operation under way: enough to go on waiting after a restart.
#[derive(Debug)]
#[non_exhaustive]
pub struct Pending {
    /// The operation's own state, handed back to [`Operation::resume`].
    pub continuation: Value,
    /// How long to wait before looking.
    pub check_after: Duration,
    /// The longest wait from the first acceptance on; the run parks for a person when it is over.
    pub within: Duration,
    /// What the service last said.
    pub progress: Option<Progress>,
    /// What the journal records in the same transaction.
    pub effected: Vec<Effected>,
}

impl<T> Outcome<T> {
    /// Returns a finished outcome.
    pub fn done(value: T) -> Self {
        Outcome::Done(Done { value, effected: Vec::new() })
    }

    /// Returns an outcome that is looked at again after `check_after`.
    ///
    /// # Errors
    /// `Invalid` when the state cannot be written as JSON.
    pub fn pending(state: &impl Serialize, check_after: Duration) -> Result<Self> {
        let continuation = serde_json::to_value(state)
            .map_err(|e| Error::invalid("failed to write the state of a waiting operation").because(e))?;
        Ok(Outcome::Pending(Pending {
            continuation,
            check_after,
            within: Duration::from_secs(3600),
            progress: None,
            effected: Vec::new(),
        }))
    }

    /// Sets the longest wait, counted from the first acceptance. One hour unless set.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        if let Outcome::Pending(pending) = &mut self {
            pending.within = limit;
        }
        self
    }

    /// Says what the service last said.
    #[must_use]
    pub fn saying(mut self, message: impl Into<String>, percent: Option<f64>) -> Self {
        if let Outcome::Pending(pending) = &mut self {
            pending.progress = Some(Progress { message: message.into(), percent });
        }
        self
    }

    /// Adds something that becomes true in the same transaction as this outcome.
    #[must_use]
    pub fn with(mut self, effect: Effected) -> Self {
        match &mut self {
            Outcome::Done(done) => done.effected.push(effect),
            Outcome::Pending(pending) => pending.effected.push(effect),
            Outcome::Ask { .. } | Outcome::Close { .. } | Outcome::Branches | Outcome::Child { .. } => {}
        }
        self
    }

    /// Returns what becomes true in the same transaction.
    pub(crate) fn effected_mut(&mut self) -> &mut [Effected] {
        match self {
            Outcome::Done(done) => &mut done.effected,
            Outcome::Pending(pending) => &mut pending.effected,
            Outcome::Ask { .. } | Outcome::Close { .. } | Outcome::Branches | Outcome::Child { .. } => {
                &mut []
            }
        }
    }

    /// Turns a finished value into another type.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Outcome<U> {
        match self {
            Outcome::Done(done) => Outcome::Done(Done { value: f(done.value), effected: done.effected }),
            Outcome::Pending(pending) => Outcome::Pending(pending),
            Outcome::Ask { question, choices } => Outcome::Ask { question, choices },
            Outcome::Close { lease, then } => Outcome::Close { lease, then },
            Outcome::Branches => Outcome::Branches,
            Outcome::Child { runbook, params } => Outcome::Child { runbook, params },
        }
    }
}

/// What an operation that handed a closing over ([`Outcome::Close`]) is resumed with.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct HandedBack {
    /// The operation's own state.
    pub then: Value,
    /// The value of the closing run, when one ran and came to a value. It may have closed another lease
    /// on the same door.
    pub closed: Option<Value>,
}

/// What looking for a step's own trace found.
#[derive(Debug)]
pub enum Probe<T> {
    /// The request took effect; go on from here.
    Found(Outcome<T>),
    /// The request certainly had no effect; it may be sent again.
    Absent,
    /// It cannot be told; a person must decide. The text says what was seen.
    Unclear(String),
}

/// A line of documentation that is also a test: a script, the world it runs on, and its value.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Example {
    /// What the script shows, as a sentence.
    pub title: &'static str,
    /// The script.
    pub script: &'static str,
    /// The named world of the simulator on which it runs.
    pub world: Option<&'static str>,
    /// The value that the script gives; compared by the tests.
    pub gives: Option<Value>,
}

impl Example {
    /// Makes an example.
    pub fn new(title: &'static str, script: &'static str) -> Self {
        Example { title, script, world: None, gives: None }
    }

    /// Names the world on which it runs.
    #[must_use]
    pub fn on(mut self, world: &'static str) -> Self {
        self.world = Some(world);
        self
    }

    /// Says what it gives.
    #[must_use]
    pub fn gives(mut self, value: Value) -> Self {
        self.gives = Some(value);
        self
    }
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

/// How the steps of an operation are shown to people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shown {
    /// By its name, how far it is, and how long it took.
    #[default]
    Step,
    /// As what its argument `text` says.
    Text,
    /// As a question, with the answer.
    Question,
    /// As a step whose branches are shown with it.
    Branches,
    /// Not at all: it is over at once and says nothing by itself.
    Silent,
}

impl Shown {
    /// Returns whether it has a line of its own, in a plan and while it is under way.
    pub fn has_line(self) -> bool {
        matches!(self, Shown::Step | Shown::Question | Shown::Branches)
    }
}

/// What is known about an operation without running it: the source of docs, checks and completions.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Declaration {
    /// The name in scripts.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// What it may do.
    pub effects: &'static [Effect],
    /// What to do when a crash leaves it unclear whether it happened.
    pub redo: Redo,
    /// How its steps are shown to people.
    pub shown: Shown,
    /// Which codes its errors may have.
    pub codes: &'static [ErrorCode],
    /// Whether it needs a person's terminal.
    pub terminal: bool,
    /// The arguments, positional ones first.
    pub params: Vec<Field>,
    /// The value.
    pub output: Schema,
    /// More about the operation: its notes on wire facts, from the doc comment of `Args`.
    pub notes: Option<String>,
    /// Examples; each runs as a test.
    pub examples: Vec<Example>,
}

/// One argument or one field of a value.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Field {
    /// The name.
    pub name: String,
    /// The type in a reader's words.
    pub kind: String,
    /// What it is.
    pub help: String,
    /// Whether it must be given; required ones are positional.
    pub required: bool,
}

impl Declaration {
    /// Derives the declaration of an operation from its types.
    pub fn of<O: Operation>() -> Self {
        let mut generator =
            SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true).into_generator();
        let args = generator.root_schema_for::<O::Args>();
        Declaration {
            name: O::NAME,
            summary: O::SUMMARY,
            effects: O::EFFECTS,
            redo: O::REDO,
            shown: O::SHOWN,
            codes: O::CODES,
            terminal: O::TERMINAL,
            params: fields(&args),
            output: output_schema::<O::Output>(&mut generator),
            notes: args.get("description").and_then(Value::as_str).map(str::to_owned),
            examples: O::examples(),
        }
    }

    /// Returns the area and the verb. The area of a built-in is empty.
    pub fn split_name(&self) -> (&'static str, &'static str) {
        self.name.split_once("::").unwrap_or(("", self.name))
    }

    /// Returns the positional arguments in order.
    pub fn positional(&self) -> impl Iterator<Item = &Field> {
        self.params.iter().filter(|p| p.required)
    }

    /// Returns the arguments of the trailing map.
    pub fn optional(&self) -> impl Iterator<Item = &Field> {
        self.params.iter().filter(|p| !p.required)
    }

    /// Returns the call as a reader would write it: `vmconnect::enable(vm, #{ cluster })`.
    pub fn signature(&self) -> String {
        let mut parts: Vec<String> = self.positional().map(|p| p.name.clone()).collect();
        let options: Vec<&str> = self.optional().map(|p| p.name.as_str()).collect();
        if !options.is_empty() {
            parts.push(format!("#{{ {} }}", options.join(", ")));
        }
        format!("{}({})", self.name, parts.join(", "))
    }

    /// Returns whether the operation leaves the world as it was: it may be repeated at will, and none of
    /// its effects changes anything.
    ///
    /// Having no effect is not enough. What must not be sent twice changes something, whether or not its
    /// author found a word for it.
    pub fn is_read_only(&self) -> bool {
        self.redo == Redo::Resend && self.effects.iter().all(|e| e.is_read_only())
    }

    /// Returns the name of the runbook that a call starts, now or later, if it starts one.
    pub(crate) fn runbook_in<'a>(&self, args: &'a Value) -> Option<&'a str> {
        let field = self.positional().find(|field| field.kind == RUNBOOK)?;
        args.get(&field.name)?.as_str()
    }

    /// Returns the position of the argument that names a runbook to run, now or later, if there is one.
    pub fn runbook_argument(&self) -> Option<usize> {
        self.positional().position(|field| field.kind == RUNBOOK)
    }

    /// Returns the fields of the value, when the value is a map.
    pub fn output_fields(&self) -> Vec<Field> {
        fields(&self.output)
    }
}

/// The format of an argument that is a function of the script: it is recorded as a [`Function`](crate::event::Function).
pub(crate) const FUNCTION: &str = "function";

/// The format of an argument that names a runbook: what that runbook does is done by whoever calls.
///
/// `#[schemars(extend("format" = "runbook"))]` on a field of `Args` says so.
const RUNBOOK: &str = "runbook";

fn output_schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.root_schema_for::<T>()
}

/// Reads fields off an object schema, required ones first, both in declared order.
fn fields(schema: &Schema) -> Vec<Field> {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return Vec::new();
    };
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let field = |(name, schema): (&String, &Value)| Field {
        name: name.clone(),
        kind: kind_of(schema),
        help: schema.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " "),
        required: required.contains(&name.as_str()),
    };
    let mut all: Vec<Field> = properties.iter().map(field).collect();
    all.sort_by_key(|f| !f.required);
    all
}

/// Returns a type in a reader's words: `string`, `int`, `duration`, `list of string`, `map`.
fn kind_of(schema: &Value) -> String {
    if let Some(format) = schema.get("format").and_then(Value::as_str) {
        match format {
            "duration" | "path" | "date-time" | "resource-id" | "handle" | FUNCTION | RUNBOOK => {
                return format.to_owned();
            }
            _ => {}
        }
    }
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        let words: Vec<String> = words.iter().filter(|w| !w.is_null()).map(Value::to_string).collect();
        return words.join(" | ");
    }
    if let Some(either) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
        let mut kinds: Vec<String> = either.iter().map(kind_of).filter(|k| k != "null").collect();
        kinds.dedup();
        return kinds.join(" | ");
    }
    let word = match schema.get("type") {
        Some(Value::String(word)) => word.as_str(),
        Some(Value::Array(words)) => {
            words.iter().filter_map(Value::as_str).find(|w| *w != "null").unwrap_or("any")
        }
        _ => schema.get("const").and_then(Value::as_str).unwrap_or("any"),
    };
    match word {
        "integer" => "int".to_owned(),
        "number" => "float".to_owned(),
        "boolean" => "bool".to_owned(),
        "object" => "map".to_owned(),
        "array" => {
            let items = schema.get("items").map(kind_of);
            items.map_or_else(|| "list".to_owned(), |kind| format!("list of {kind}"))
        }
        other => other.to_owned(),
    }
}

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
