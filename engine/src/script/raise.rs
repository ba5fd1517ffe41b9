//! How an error comes to a script: to be caught, or as an end that nothing catches.

use rhai::{EvalAltResult, NativeCallContext};
use serde_json::Value;

use super::context::of_call;
use super::convert;
use super::ending::{place, terminated};
use crate::error::{Error, ErrorKind, Failure};
use crate::hint::Hint;
use crate::recorded;

/// Raises an error as the script sees it: a map to catch, or, when it is about the runbook itself,
/// an end that nothing catches.
pub(super) fn raised(error: &Error, context: &NativeCallContext<'_>) -> Box<EvalAltResult> {
    let (at, failure) = (context.call_position(), error.to_failure());
    if matches!(failure.kind, ErrorKind::Invalid | ErrorKind::Script) {
        if let Ok(tag) = of_call(context) {
            let failure = Failure { kind: ErrorKind::Script, ..failure };
            tag.over.end(Some((failure, place(context.call_source(), at))));
        }
        return terminated(at);
    }
    let map = convert::from_json(&thrown(&failure)).unwrap_or_else(|_| failure.message.into());
    EvalAltResult::ErrorRuntime(map, at).into()
}

/// Returns what a script that catches an error finds.
pub(crate) fn thrown(failure: &Failure) -> Value {
    let hints: Vec<String> = failure.hints.iter().map(Hint::to_string).collect();
    serde_json::json!({
        "kind": failure.kind.as_str(),
        "message": failure.message,
        "code": failure.code,
        "service_code": failure.service.as_ref().and_then(|s| s.code.clone()),
        "status": failure.service.as_ref().and_then(|s| s.status),
        "target": failure.service.as_ref().and_then(|s| s.target.clone()),
        // What a service says is data, also when it looks like a secret.
        "details": recorded::data(failure.service.as_ref().map(|s| s.details.clone()).unwrap_or_default().into()),
        "request_id": failure.service.as_ref().and_then(|s| s.request_id.clone()),
        "hint": hints.join("\n"),
        "causes": failure.causes,
    })
}
