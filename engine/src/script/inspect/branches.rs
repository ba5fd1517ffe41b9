//! What a branch changes although nobody would see it: the copies of what it names.

use rhai::{AST, ASTNode, Expr, FnPtr, Position, Stmt};

use super::Call;
use crate::builtin::ALL;
use crate::script::branch::NAMELESS;

/// What changes the value before its dot.
const CHANGING: &[&str] = &[
    "append",
    "chop",
    "clear",
    "crop",
    "dedup",
    "drain",
    "extend",
    "fill_with",
    "insert",
    "mixin",
    "pad",
    "pop",
    "push",
    "remove",
    "replace",
    "retain",
    "reverse",
    "set",
    "shift",
    "sort",
    "splice",
    "split",
    "trim",
    "truncate",
];

/// Returns the variables of their surroundings that functions of branches change, and where.
pub(super) fn lost(ast: &AST, calls: &[Call]) -> Vec<(String, Position)> {
    let mut lost = Vec::new();
    let begun = calls.iter().filter(|call| call.name == ALL && !call.is_method);
    for name in begun.filter_map(|call| function(call.args.as_ref()?.get(1)?)) {
        let mut functions = ast.shared_lib().iter_script_fn_info();
        let Some((.., function)) = functions.find(|(_, _, known, ..)| *known == name) else {
            continue;
        };
        // What it captures comes before its item.
        let captured = &function.params[..function.params.len().saturating_sub(1)];
        let body = function.body.start_position()..=function.body.end_position();
        ast.walk(&mut |path| {
            // What is no block has no end: then it is one expression, which begins where the body does.
            let alone = path.first().is_some_and(|first| first.position() == *body.start());
            let changed = path.last().and_then(changed);
            let inside = changed
                .filter(|(name, at)| (alone || body.contains(at)) && captured.iter().any(|c| c == name));
            lost.extend(inside.map(|(name, at)| (name.to_owned(), at)));
            true
        });
    }
    lost
}

/// Returns the variable that a statement or an expression changes.
fn changed<'a>(node: &ASTNode<'a>) -> Option<(&'a str, Position)> {
    match node {
        ASTNode::Stmt(Stmt::Assignment(assignment)) => variable(&assignment.1.lhs),
        ASTNode::Expr(Expr::Dot(pair, ..)) => match &pair.rhs {
            Expr::MethodCall(call, _) if CHANGING.contains(&call.name.as_str()) => variable(&pair.lhs),
            _ => None,
        },
        _ => None,
    }
}

/// Returns the variable to which an expression leads: `a` for `a.b[c]`.
fn variable(expr: &Expr) -> Option<(&str, Position)> {
    match expr {
        Expr::Variable(variable, _, at) => Some((variable.1.as_str(), *at)),
        Expr::Dot(pair, ..) | Expr::Index(pair, ..) => variable(&pair.lhs),
        _ => None,
    }
}

/// Returns the name that the interpreter gave to a function that stands in a call.
fn function(expr: &Expr) -> Option<String> {
    let mut found = None;
    expr.walk(&mut Vec::new(), &mut |path| {
        if let Some(ASTNode::Expr(Expr::DynamicConstant(value, _))) = path.last()
            && let Some(function) = value.read_lock::<FnPtr>()
            && function.fn_name().starts_with(NAMELESS)
        {
            found = Some(function.fn_name().to_owned());
        }
        found.is_none()
    });
    found
}
