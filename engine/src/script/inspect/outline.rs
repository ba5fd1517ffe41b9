//! One text as read without running it: its calls and imports, in the order of the text.

use std::collections::HashSet;
use std::sync::Arc;

use rhai::{ASTFlags, ASTNode, Expr, FnCallExpr, Position, Stmt};

use crate::error::{Result, Snippet};
use crate::event::Source;
use crate::script::Language;
use crate::script::texts::Text;

/// Names that are bound to the interpreter rather than to an operation.
const NATIVES: &[&str] = &["defer", "progress", "fail"];

/// What makes a function of a name.
const FUNCTION: &str = "Fn";

/// A text with its calls and imports.
pub(crate) struct Outline {
    pub(super) text: Arc<Text>,
    pub(super) calls: Vec<Call>,
    pub(super) imports: Vec<Import>,
    /// Where a branch changes a copy of a variable, and which one.
    pub(super) lost: Vec<(String, Position)>,
}

/// A call in a text.
pub(super) struct Call {
    /// The name with its area.
    pub(super) name: String,
    /// The arguments, the one before a dot first. Nothing when the call goes through a function pointer.
    pub(super) args: Option<Vec<Expr>>,
    pub(super) at: Position,
    /// Whether it may happen never or often.
    pub(super) conditional: bool,
    /// Whether it stands behind a dot.
    pub(super) is_method: bool,
}

/// An import in a text.
pub(super) struct Import {
    /// The text that it names; nothing when only the run can tell.
    pub(super) name: Option<String>,
    /// The name under which the text uses it.
    pub(super) alias: String,
    pub(super) at: Position,
}

impl Language {
    /// Reads one text.
    ///
    /// # Errors
    /// `Invalid`, with the place underlined.
    pub(crate) fn outline(&self, source: &Source) -> Result<Outline> {
        Ok(Outline::read(self.text(source)?))
    }
}

impl Outline {
    fn read(text: Arc<Text>) -> Self {
        let ast = &text.ast;
        let own: HashSet<(String, usize)> =
            ast.iter_functions().map(|function| (function.name.to_owned(), function.params.len())).collect();
        let top: Vec<Position> = ast.statements().iter().map(Stmt::position).collect();
        let (mut calls, mut imports, mut leaves) = (Vec::new(), Vec::new(), None);
        ast.walk(&mut |path| {
            let Some((node, above)) = path.split_last() else { return true };
            let in_function = !top.contains(&path.first().map_or(Position::NONE, ASTNode::position));
            let conditional = in_function || above.iter().any(is_branch);
            match node {
                ASTNode::Stmt(Stmt::Import(import, at)) => imports.push(Import {
                    name: constant(&import.0).map(|name| plain_name(name).to_owned()),
                    alias: import.1.name.to_string(),
                    at: *at,
                }),
                // What stands behind an early return happens only perhaps.
                ASTNode::Stmt(Stmt::Return(_, how, at)) if !how.contains(ASTFlags::BREAK) && !in_function => {
                    leaves = leaves.or(Some(*at));
                }
                _ => {}
            }
            if let Some(call) = Call::read(node, above.last(), conditional)
                && !call.args.as_ref().is_some_and(|args| own.contains(&(call.name.clone(), args.len())))
            {
                calls.push(call);
            }
            true
        });
        for call in &mut calls {
            call.conditional |= leaves.is_some_and(|leaves| leaves < call.at);
        }
        calls.sort_by_key(|call| call.at.line());
        let lost = super::branches::lost(ast, &calls);
        Outline { text, calls, imports, lost }
    }

    /// Returns the text as it was read.
    pub(super) fn source(&self) -> &Source {
        &self.text.source
    }

    /// Returns whether it has front matter: a module may do without.
    pub(super) fn is_runbook(&self) -> bool {
        self.source().text.trim_start_matches('\u{feff}').trim_start().starts_with("/*---")
    }

    /// Underlines a place of the text.
    pub(super) fn here(&self, at: Position, label: &str) -> Snippet {
        let text = self.source().text.as_str().into();
        let (line, column) = (at.line().unwrap_or(1), at.position().unwrap_or(1));
        Snippet::at(&self.source().name, &text, line, column).label(label)
    }
}

impl Call {
    fn read(node: &ASTNode<'_>, above: Option<&ASTNode<'_>>, conditional: bool) -> Option<Self> {
        let (call, at, receiver) = match node {
            ASTNode::Expr(Expr::FnCall(call, at)) | ASTNode::Stmt(Stmt::FnCall(call, at)) => (call, at, None),
            // `name.run()` is `run(name)`.
            ASTNode::Expr(Expr::MethodCall(call, at)) => match above {
                Some(ASTNode::Expr(Expr::Dot(pair, ..))) => (call, at, Some(&pair.lhs)),
                _ => (call, at, Some(&Expr::Unit(Position::NONE))),
            },
            _ => return None,
        };
        if call.op_token.is_some() || NATIVES.contains(&call.name.as_str()) {
            return None;
        }
        let args = receiver.into_iter().chain(&call.args).cloned().collect();
        let (name, at) = named(call, *at);
        if name == FUNCTION
            && let Some(name) = call.args.first().and_then(constant)
        {
            return Some(Call { name: name.to_owned(), args: None, at, conditional: true, is_method: false });
        }
        Some(Call { name, args: Some(args), at, conditional, is_method: receiver.is_some() })
    }

    /// Returns whether it makes a function of a name that only the run can tell.
    pub(super) fn is_computed(&self) -> bool {
        self.name == FUNCTION
    }

    pub(super) fn line(&self) -> usize {
        self.at.line().unwrap_or(0)
    }
}

/// Returns the name of a call with its area, and where it begins.
fn named(call: &FnCallExpr, at: Position) -> (String, Position) {
    match call.namespace.is_empty() {
        true => (call.name.to_string(), at),
        false => (format!("{}::{}", call.namespace, call.name), call.namespace.position()),
    }
}

/// Returns whether what stands below a node may happen never or often.
fn is_branch(node: &ASTNode<'_>) -> bool {
    match node {
        ASTNode::Stmt(stmt) => matches!(
            stmt,
            Stmt::If(..)
                | Stmt::Switch(..)
                | Stmt::While(..)
                | Stmt::Do(..)
                | Stmt::For(..)
                | Stmt::TryCatch(..)
        ),
        ASTNode::Expr(expr) => matches!(expr, Expr::And(..) | Expr::Or(..) | Expr::Coalesce(..)),
        _ => false,
    }
}

fn constant(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::StringConstant(text, _) => Some(text),
        _ => None,
    }
}

/// Returns the name under which the library knows a text.
pub(super) fn plain_name(name: &str) -> &str {
    name.strip_suffix(".rhai").unwrap_or(name)
}
