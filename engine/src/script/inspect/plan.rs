//! What a run would do, as far as it is known before it runs.

use std::collections::BTreeMap;

use rhai::Expr;
use serde::Serialize;
use serde_json::{Map, Value};

use super::check::Argument;
use super::known::{known, parameter};
use super::{Bundle, Call, Outline, Target};
use crate::effect::Effect;
use crate::operation::Shown;
use crate::runbook::{Param, Runbook};
use crate::script::Language;

/// How many calls a plan shows at most. Runbooks that start each other can unfold without end.
const MOST: usize = 1000;

/// A call as it stands in the script.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PlannedCall {
    /// The operation.
    pub operation: String,
    /// One sentence about it.
    pub summary: &'static str,
    /// What it may do.
    pub effects: &'static [Effect],
    /// How its step is shown to people.
    #[serde(skip)]
    pub shown: Shown,
    /// Whether the call itself changes something, apart from what it starts.
    pub changes: bool,
    /// The arguments as far as they are known, in their order; `unknown` where only the run can tell.
    pub args: Vec<String>,
    /// Whether it stands in a branch, a loop or a function, and so may happen never or often.
    pub conditional: bool,
    /// The text in which it stands: the runbook's own, or one that it imports.
    pub source: String,
    /// The line.
    pub line: usize,
    /// What it starts.
    pub nested: Nested,
}

/// What a call starts, now or later.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Nested {
    /// No runbook.
    Nothing,
    /// A runbook, which makes these calls.
    Calls {
        /// Its name.
        runbook: String,
        /// Its calls.
        calls: Vec<PlannedCall>,
    },
    /// A runbook that is under way above, or that is left out because the plan is long enough.
    Cut {
        /// Its name.
        runbook: String,
    },
    /// Something that only the run can tell.
    Unknown,
}

/// How many calls change something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Changes {
    /// How many are known to, where they happen.
    pub calls: usize,
    /// Whether there may be others, which only the run can tell.
    pub or_more: bool,
}

impl Changes {
    /// Counts the calls and what they start.
    pub fn of(calls: &[PlannedCall]) -> Self {
        let mut changes = Changes::default();
        for call in calls {
            changes.calls += usize::from(call.changes);
            match &call.nested {
                Nested::Nothing => {}
                Nested::Calls { calls, .. } => {
                    let inner = Changes::of(calls);
                    changes.calls += inner.calls;
                    changes.or_more |= inner.or_more;
                }
                Nested::Cut { .. } | Nested::Unknown => changes.or_more = true,
            }
        }
        changes
    }
}

impl Language {
    /// Returns the calls of operations in the order of the text, with `params` filled in. Without parameters
    /// (null), each stands as the text names it.
    pub(crate) fn planned(&self, bundle: &Bundle, params: &Value) -> Vec<PlannedCall> {
        let mut planner = Planner { language: self, bundle, under_way: Vec::new(), left: MOST };
        planner.runbook(bundle.main(), params)
    }
}

struct Planner<'a> {
    language: &'a Language,
    bundle: &'a Bundle,
    /// The runbooks in which the planner stands.
    under_way: Vec<&'a str>,
    /// How many more calls may be shown.
    left: usize,
}

impl<'a> Planner<'a> {
    fn runbook(&mut self, text: &'a Outline, params: &Value) -> Vec<PlannedCall> {
        self.under_way.push(&text.source().name);
        let mut calls = Vec::new();
        for text in self.bundle.with_imports(text) {
            let is_import = self.under_way.last() != Some(&text.source().name.as_str());
            for call in &text.calls {
                let planned = self.call(text, call, params, is_import);
                calls.extend(planned);
            }
        }
        self.under_way.pop();
        calls
    }

    fn call(
        &mut self,
        text: &Outline,
        call: &'a Call,
        params: &Value,
        is_import: bool,
    ) -> Option<PlannedCall> {
        let declaration = self.language.operation(&call.name).map(|operation| operation.declaration.clone());
        if declaration.is_none() && !call.is_computed() {
            return None;
        }
        self.left = self.left.saturating_sub(1);
        let nested = match self.language.target(call) {
            Target::Nothing => Nested::Nothing,
            Target::Computed => Nested::Unknown,
            Target::Named(name) => {
                let given = declaration.as_ref().map(|declaration| call.argument(declaration, "params"));
                self.nested(name, given.unwrap_or(Argument::Unknown), params)
            }
        };
        let args = match &call.args {
            Some(args) => args.iter().map(|arg| rendered(arg, params)).collect(),
            None => vec!["unknown".to_owned()],
        };
        Some(PlannedCall {
            operation: call.name.clone(),
            summary: declaration.as_ref().map_or("Calls what only the run can tell.", |d| d.summary),
            effects: declaration.as_ref().map_or(&[], |d| d.effects),
            shown: declaration.as_ref().map_or_else(Shown::default, |d| d.shown),
            changes: declaration.is_some_and(|d| !d.is_read_only()),
            args,
            // Which functions of an import are called, and when, is not followed.
            conditional: call.conditional || is_import,
            source: text.source().name.clone(),
            line: call.line(),
            nested,
        })
    }

    fn nested(&mut self, name: String, given: Argument<'_>, params: &Value) -> Nested {
        let Some(text) = self.bundle.get(&name) else { return Nested::Unknown };
        if self.left == 0 || self.under_way.contains(&text.source().name.as_str()) {
            return Nested::Cut { runbook: name };
        }
        let Ok(runbook) = Runbook::parse(text.source()) else { return Nested::Unknown };
        let foreseen = foreseen(&runbook, given, params);
        Nested::Calls { runbook: name, calls: self.runbook(text, &foreseen) }
    }
}

impl Language {
    /// Returns the only call of a run that has no script.
    pub(crate) fn planned_call(&self, run: &str, call: &crate::event::Call) -> Option<PlannedCall> {
        let declaration = &self.operation(&call.operation)?.declaration;
        let given = declaration.params.iter().filter_map(|param| call.args.get(&param.name));
        Some(PlannedCall {
            operation: call.operation.clone(),
            summary: declaration.summary,
            effects: declaration.effects,
            shown: declaration.shown,
            changes: !declaration.is_read_only(),
            args: given.map(Value::to_string).collect(),
            conditional: false,
            source: run.to_owned(),
            line: 0,
            nested: Nested::Nothing,
        })
    }
}

/// Returns what is known about the parameters of a runbook that a call starts; the others are left out.
fn foreseen(runbook: &Runbook, given: Argument<'_>, params: &Value) -> Value {
    let given: BTreeMap<&str, Option<Value>> = match given {
        Argument::Absent | Argument::Given(Expr::Unit(_)) => BTreeMap::new(),
        Argument::Given(Expr::Map(map, _)) => {
            map.0.iter().map(|(name, value)| (name.name.as_str(), known(value, params))).collect()
        }
        Argument::Given(_) | Argument::Unknown => return Value::Object(Map::new()),
    };
    let of = |param: &Param| match (given.get(param.name.as_str()), &param.default) {
        // What is given as null counts as left out.
        (Some(value), _) if *value != Some(Value::Null) => value.clone(),
        (_, None) => Some(Value::Null),
        (_, Some(Value::String(text))) if text.starts_with("env:") || text.contains('{') => None,
        (_, Some(default)) => Some(default.clone()),
    };
    runbook.params.iter().filter_map(|param| Some((param.name.clone(), of(param)?))).collect()
}

/// Shows an argument as Rhai writes it: a literal, a parameter's value, or `unknown`.
fn rendered(expr: &Expr, params: &Value) -> String {
    if let Expr::Map(map, _) = expr {
        let entries = map.0.iter().map(|(name, value)| format!("{}: {}", name.name, rendered(value, params)));
        return format!("#{{ {} }}", entries.collect::<Vec<_>>().join(", "));
    }
    match (known(expr, params), parameter(expr)) {
        (Some(Value::Null), _) => "()".to_owned(),
        (Some(value), _) => value.to_string(),
        (None, Some(name)) if params.is_null() => format!("params.{name}"),
        (None, _) => "unknown".to_owned(),
    }
}
