//! Closing what was opened: a lease's duty as a run of its own.

use crate::event::Lease;
use crate::operation::Declaration;

/// Returns the script that closes a lease: one call of its closing operation.
///
/// A run of it is recorded, retried and resumed like any other, and its id is derived from the
/// lease, so that two processes that find the same lease due start one run.
pub(crate) fn closing_script(operation: &Declaration, lease: &Lease) -> String {
    let literal = |value: &serde_json::Value| match value {
        serde_json::Value::Null => "()".to_owned(),
        // JSON's strings, numbers, lists and flags read the same in Rhai; maps want a #.
        serde_json::Value::Object(_) => format!("#{value}"),
        plain => plain.to_string(),
    };
    let arg = |name: &str| {
        lease
            .close
            .args
            .get(name)
            .map_or_else(|| "()".to_owned(), literal)
    };
    let mut args: Vec<String> = operation.positional().map(|p| arg(&p.name)).collect();
    let options: Vec<String> = operation
        .optional()
        .filter(|p| lease.close.args.get(&p.name).is_some_and(|v| !v.is_null()))
        .map(|p| format!("{}: {}", p.name, arg(&p.name)))
        .collect();
    if !options.is_empty() {
        args.push(format!("#{{ {} }}", options.join(", ")));
    }
    let effects: Vec<String> = operation
        .effects
        .iter()
        .map(|e| format!("{:?}", e.as_str()))
        .collect();
    let title = toml::Value::String(format!("Close {}", lease.title));
    format!(
        "/*---\ntitle = {title}\neffects = [{}]\n---*/\n{}({})\n",
        effects.join(", "),
        operation.name,
        args.join(", ")
    )
}
