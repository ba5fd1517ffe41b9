//! One import for whoever writes an operation.

pub(crate) use std::time::Duration;

pub(crate) use jiff::Timestamp;
pub(crate) use relight_engine::event::{Call, Effected, Lease};
pub(crate) use relight_engine::{
    Cx, Effect, Error, ErrorCode, ErrorKind, Example, HandedBack, Operation, Outcome, Probe, Redo, Result,
    Span,
};
pub(crate) use schemars::JsonSchema;
pub(crate) use serde::{Deserialize, Serialize};
pub(crate) use serde_json::{Value, json};

pub(crate) use crate::azure::wire::Method;
pub(crate) use crate::azure::{Advance, Api, FinalState, Lro, ResourceId, Started, Write};
pub(crate) use crate::{Azure, Ref};

/// Returns the text at a path of names such as `/properties/status/powerState`. An empty text counts as none.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str().map(str::trim).filter(|text| !text.is_empty())
}

/// Returns the list at a path of names; empty when there is none.
pub(crate) fn items<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// Reads back what an operation stored before it waited.
///
/// # Errors
/// `Storage` when it was stored by a version that this one does not understand.
pub(crate) fn restored<T: serde::de::DeserializeOwned>(name: &str, at: &Value) -> Result<T> {
    serde_json::from_value(at.clone())
        .map_err(|e| Error::unreadable(format!("the stored state of `{name}` cannot be read")).because(e))
}
