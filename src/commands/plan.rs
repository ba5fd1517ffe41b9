//! How the calls of a runbook read: in the order of the text, those of the runbooks it starts below.

use relight_engine::{Changes, Nested, PlannedCall};

use crate::format::Table;

/// Returns one line for each call, and one more about it where it is `explained`.
pub(super) fn lines(runbook: &str, calls: &[PlannedCall], explained: bool) -> Vec<String> {
    let mut table = Table::default();
    rows(&mut table, runbook, calls, "", explained);
    table.lines(0)
}

/// Says how many calls change something, as far as that is known.
pub(super) fn changes(calls: &[PlannedCall]) -> String {
    let Changes { calls, or_more, .. } = Changes::of(calls);
    let change = if calls == 1 { "call changes" } else { "calls change" };
    match (calls, or_more) {
        (_, false) => format!("{calls} {change} something"),
        (0, true) => "Whether anything changes is unknown".to_owned(),
        (_, true) => format!("At least {calls} {change} something"),
    }
}

/// `above` is the number of the call that starts the runbook, with a full stop behind it.
fn rows(table: &mut Table, runbook: &str, calls: &[PlannedCall], above: &str, explained: bool) {
    let indent = "  ".repeat(above.matches('.').count());
    let shown = calls.iter().filter(|call| call.shown.has_line());
    for (call, number) in shown.zip(1..) {
        let number = format!("{above}{number}.");
        let perhaps = if call.conditional { "perhaps " } else { "" };
        let text = format!("{indent}{}({})", call.operation, call.args.join(", "));
        table.row([format!("{number:>4}"), format!("{perhaps}{}", does(call)), text]);
        if explained {
            let place = match call.source == runbook {
                true => format!("line {}", call.line),
                false => format!("line {} of {}", call.line, call.source),
            };
            table.row([String::new(), place, format!("{indent}  {}", call.summary)]);
        }
        let remark = match &call.nested {
            Nested::Nothing => continue,
            Nested::Calls { runbook, calls } => {
                rows(table, runbook, calls, &number, explained);
                continue;
            }
            Nested::Cut { runbook } => format!("{runbook} again, as above"),
            Nested::Unknown => "unknown: only the run can tell".to_owned(),
        };
        table.row([String::new(), String::new(), format!("{indent}  {remark}")]);
    }
}

/// Returns what a call does, in a word.
fn does(call: &PlannedCall) -> &'static str {
    match call.operation.split_once("::").map_or(call.operation.as_str(), |(area, _)| area) {
        "ask" | "confirm" => "asks",
        "wait" | "wait_until" => "waits",
        "run" => "runs",
        "schedule" => "schedules",
        "Fn" => "calls",
        _ if call.changes => "changes",
        _ => "reads",
    }
}
