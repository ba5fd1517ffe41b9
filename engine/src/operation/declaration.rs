//! What is known about an operation without running it, read off its types.

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::Value;

use super::{Operation, Redo};
use crate::code::ErrorCode;
use crate::effect::Effect;

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
        let args = schema(O::Args::json_schema);
        Declaration {
            name: O::NAME,
            summary: O::SUMMARY,
            effects: O::EFFECTS,
            redo: O::REDO,
            shown: O::SHOWN,
            codes: O::CODES,
            terminal: O::TERMINAL,
            params: fields(&args),
            output: schema(O::Output::json_schema),
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

/// Returns the schema of a type, with those of its fields in their places.
fn schema(of_type: fn(&mut SchemaGenerator) -> Schema) -> Schema {
    of_type(&mut SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true).into_generator())
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
    let (required, optional): (Vec<_>, Vec<_>) = properties.iter().map(field).partition(|f| f.required);
    [required, optional].concat()
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
