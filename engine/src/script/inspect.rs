//! Reading a script without running it: what it calls, imports and may not say.

use std::sync::Arc;

use rhai::{ASTNode, Expr, Position, Stmt};
use serde_json::Value;

use super::{Language, Program};
use crate::error::{Error, Result, Snippet};
use crate::event::Source;
use crate::library::near;
use crate::operation::Effect;
use crate::runbook::Runbook;

/// What Rhai brings, with how many arguments, and what a runbook uses instead.
pub(super) const REPLACED: &[(&str, usize, &str)] = &[
    ("sleep", 1, "wait(\"10s\"), which survives a restart"),
    ("timestamp", 0, "now(), which is recorded"),
    ("print", 1, "note(\"...\"), which is recorded"),
    ("debug", 1, "note(\"...\"), which is recorded"),
];

/// Names that are bound to the interpreter rather than to an operation.
const NATIVES: &[&str] = &["defer", "progress", "fail"];

/// Something wrong with a runbook that can be seen without running it.
pub type Finding = Error;

/// A call as it stands in the script.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedCall {
    /// The operation.
    pub operation: String,
    /// One sentence about it.
    pub summary: &'static str,
    /// What it may do.
    pub effects: &'static [Effect],
    /// The arguments as far as they are known, in their order; `unknown` where only the run can tell.
    pub args: Vec<String>,
    /// Whether it stands in a branch, a loop or a function, and so may happen never or often.
    pub conditional: bool,
    /// The line.
    pub line: usize,
}

impl Language {
    /// Checks that a script can name its parameters: some words are the language's own.
    ///
    /// # Errors
    /// `Invalid`, naming the first parameter that it cannot.
    pub(crate) fn check_params(&self, runbook: &Runbook) -> Result<()> {
        let engine = self.engine();
        for param in &runbook.params {
            let name = &param.name;
            if engine.compile_expression(format!("#{{}}.{name}")).is_err() {
                return Err(Error::invalid(format!(
                    "a parameter of `{}` cannot be called `{name}`: the language keeps that word",
                    runbook.name
                ))
                .hint(format!("rename it, for example to `{name}_`")));
            }
        }
        Ok(())
    }

    /// Returns what is wrong with a runbook: unknown operations, effects that it does not name,
    /// wrong numbers of arguments, names that a runbook must not use.
    pub(crate) fn findings(&self, runbook: &Runbook, program: &Program) -> Vec<Finding> {
        let mut findings = Vec::new();
        each_source(program, &mut |source, node, _| {
            if let Some(call) = Call::read(node)
                && let Some(finding) = self.finding(runbook, source, &call)
            {
                findings.push(finding);
            }
        });
        findings
    }

    /// Returns the calls of operations in the order of the text, with `params` filled in.
    pub(crate) fn planned(&self, program: &Program, params: &Value) -> Vec<PlannedCall> {
        let mut calls = Vec::new();
        each_source(program, &mut |_, node, conditional| {
            let Some(call) = Call::read(node) else { return };
            let Some(operation) = self.operation(&call.name) else {
                return;
            };
            calls.push(PlannedCall {
                operation: call.name,
                summary: operation.declaration.summary,
                effects: operation.declaration.effects,
                args: call.args.iter().map(|arg| rendered(arg, params)).collect(),
                conditional,
                line: call.at.line().unwrap_or(0),
            });
        });
        calls.sort_by_key(|call| call.line);
        calls
    }

    fn finding(&self, runbook: &Runbook, source: &Source, call: &Call<'_>) -> Option<Finding> {
        let name = call.name.as_str();
        let text: Arc<str> = source.text.as_str().into();
        let here = |label: &str| {
            let (line, column) = (call.at.line().unwrap_or(1), call.at.position().unwrap_or(1));
            Snippet::at(&source.name, &text, line, column).label(label)
        };
        if let Some((_, _, instead)) = REPLACED.iter().find(|(replaced, ..)| *replaced == name) {
            let error = Error::invalid(format!("a runbook has no `{name}`"));
            return Some(error.snippet(here("not in a runbook")).hint(format!("use {instead}")));
        }
        let Some(operation) = self.operation(name) else {
            let is_area = |area: &str| self.areas.iter().any(|(known, _)| known == area);
            let (area, _) = name.split_once("::")?;
            let error = Error::invalid(format!("there is no operation `{name}`")).snippet(here("not known"));
            let names: Vec<&str> =
                self.operations.keys().copied().filter(|other| near(name, other)).collect();
            return match (names.is_empty(), is_area(area)) {
                (false, _) => Some(error.hint(format!("did you mean {}?", names.join(" or ")))),
                (true, true) => {
                    let all = self.operations.keys().filter(|n| n.starts_with(&format!("{area}::")));
                    Some(error.hint(format!("`{area}` has {}", all.copied().collect::<Vec<_>>().join(", "))))
                }
                // An imported module may be called the same way.
                (true, false) if source.text.contains("import") => None,
                (true, false) => Some(error.hint("list the operations with `relight docs`")),
            };
        };
        let declaration = &operation.declaration;
        if let Some(effect) = declaration.effects.iter().find(|e| !runbook.allows(**e)) {
            let error = Error::invalid(format!("`{name}` is not among the effects of `{}`", runbook.name));
            let label = format!("needs {}", effect.as_str());
            return Some(error.snippet(here(&label)).hint(format!("add \"{}\" to effects", effect.as_str())));
        }
        let positional = declaration.positional().count();
        if !(positional..=positional + 1).contains(&call.args.len()) {
            let error = Error::invalid(format!("`{name}` takes {positional} arguments and an optional map"));
            let label = format!("{} given", call.args.len());
            return Some(error.snippet(here(&label)).hint(declaration.signature()));
        }
        if let Some(Expr::Map(map, _)) = call.args.get(positional) {
            for (option, _) in &map.0 {
                if option.name != "retry" && !declaration.optional().any(|p| p.name == option.name.as_str()) {
                    let error = Error::invalid(format!("`{name}` has no option `{}`", option.name));
                    return Some(error.snippet(here("in this call")).hint(declaration.signature()));
                }
            }
        }
        None
    }
}

impl Program {
    /// Returns the names that the sources import.
    ///
    /// # Errors
    /// `Invalid` when a name is computed: what a run uses must be pinned before it starts.
    pub(crate) fn imports(&self) -> Result<Vec<String>> {
        let mut imports = Vec::new();
        let mut computed = None;
        each_source(self, &mut |source, node, _| {
            if let ASTNode::Stmt(Stmt::Import(import, at)) = node {
                match &import.0 {
                    Expr::StringConstant(name, _) => imports.push(name.to_string()),
                    _ => computed = Some((source.clone(), *at)),
                }
            }
        });
        match computed {
            None => Ok(imports),
            Some((source, at)) => {
                let text: Arc<str> = source.text.as_str().into();
                let snippet =
                    Snippet::at(&source.name, &text, at.line().unwrap_or(1), at.position().unwrap_or(1));
                Err(Error::invalid("an import must name its runbook as plain text")
                    .snippet(snippet.label("computed"))
                    .hint("what a run uses is pinned before it starts"))
            }
        }
    }
}

/// A call in the syntax tree.
struct Call<'a> {
    name: String,
    args: &'a [Expr],
    at: Position,
}

impl<'a> Call<'a> {
    fn read(node: &ASTNode<'a>) -> Option<Self> {
        let (call, at) = match node {
            ASTNode::Expr(Expr::FnCall(call, at)) => (call, at),
            ASTNode::Stmt(Stmt::FnCall(call, at)) => (call, at),
            _ => return None,
        };
        if call.op_token.is_some() || NATIVES.contains(&call.name.as_str()) {
            return None;
        }
        let (name, at) = match call.namespace.is_empty() {
            true => (call.name.to_string(), *at),
            false => (format!("{}::{}", call.namespace, call.name), call.namespace.position()),
        };
        Some(Call { name, args: &call.args, at })
    }
}

/// Visits every node of the main source. Imported texts are visited when they are checked themselves.
fn each_source(program: &Program, visit: &mut dyn FnMut(&Source, &ASTNode<'_>, bool)) {
    let Some(main) = program.sources.first() else {
        return;
    };
    let top: Vec<Position> = program.ast.statements().iter().map(Stmt::position).collect();
    program.ast.walk(&mut |path| {
        if let Some((node, above)) = path.split_last() {
            let in_branch = above.iter().any(|parent| match parent {
                ASTNode::Stmt(stmt) => matches!(
                    stmt,
                    Stmt::If(..)
                        | Stmt::Switch(..)
                        | Stmt::While(..)
                        | Stmt::Do(..)
                        | Stmt::For(..)
                        | Stmt::TryCatch(..)
                ),
                ASTNode::Expr(expr) => {
                    matches!(expr, Expr::And(..) | Expr::Or(..) | Expr::Coalesce(..))
                }
                _ => false,
            });
            let in_function = !top.contains(&path.first().map_or(Position::NONE, ASTNode::position));
            visit(main, node, in_branch || in_function);
        }
        true
    });
}

/// Shows an argument as Rhai writes it: a literal, a parameter's value, or `unknown`.
fn rendered(expr: &Expr, params: &Value) -> String {
    if let Expr::Map(map, _) = expr {
        let entries = map.0.iter().map(|(name, value)| format!("{}: {}", name.name, rendered(value, params)));
        return format!("#{{ {} }}", entries.collect::<Vec<_>>().join(", "));
    }
    match known(expr, params) {
        Some(Value::Null) => "()".to_owned(),
        Some(value) => value.to_string(),
        None => "unknown".to_owned(),
    }
}

/// Returns what is known about an expression before the script runs.
fn known(expr: &Expr, params: &Value) -> Option<Value> {
    match expr {
        Expr::StringConstant(text, _) => Some(Value::from(text.as_str())),
        Expr::IntegerConstant(number, _) => Some(Value::from(*number)),
        Expr::FloatConstant(number, _) => serde_json::Number::from_f64(**number).map(Value::Number),
        Expr::BoolConstant(flag, _) => Some(Value::Bool(*flag)),
        Expr::Unit(_) => Some(Value::Null),
        Expr::Array(items, _) => items.iter().map(|item| known(item, params)).collect(),
        Expr::Map(map, _) => {
            let entries =
                map.0.iter().map(|(name, value)| Some((name.name.to_string(), known(value, params)?)));
            entries.collect::<Option<serde_json::Map<_, _>>>().map(Value::Object)
        }
        Expr::Dot(pair, ..) => match (&pair.lhs, &pair.rhs) {
            (Expr::Variable(variable, ..), Expr::Property(property, _)) if variable.1 == "params" => {
                params.get(property.2.as_str()).cloned()
            }
            _ => None,
        },
        _ => None,
    }
}
