//! What a record may hold: whatever is written can be read back.
//!
//! A result that is too large or too deep becomes the error of its step, before anything is recorded;
//! a large one lies out of line, and its record holds the fingerprint. Whatever else would not read
//! back is refused at the border of every journal.

use serde_json::Value;

use crate::error::{Error, Result};

/// A result with more JSON than this lies out of line.
pub const INLINE: usize = 64 << 10;

/// The largest value that a step takes or gives, as JSON.
pub const VALUE: usize = 8 << 20;

/// How much of a step's output is kept from its beginning.
pub const OUTPUT_BEGINNING: usize = 768 << 10;

/// How much is kept from the end of an output that goes on behind its beginning.
pub const OUTPUT_END: usize = 256 << 10;

/// The largest record.
pub const RECORD: usize = 16 << 20;

/// How deep a value that a step takes or gives may be nested.
pub const DEPTH: usize = 64;

/// The most parts of a value that a script reads: the items of lists, the entries of maps.
pub const PARTS: usize = 250_000;

/// How deep the JSON of a record may be nested: less than what its reader takes, which is 128.
const RECORD_DEPTH: usize = 120;

/// Where a result goes.
#[derive(Debug, PartialEq)]
pub(crate) enum Fit {
    /// Into its record.
    Inline,
    /// Out of line, as this text.
    OutOfLine(String),
}

/// Returns where a result goes.
///
/// # Errors
/// `Rejected` when it is too large or too deep to be recorded.
pub(crate) fn fit(value: &Value) -> Result<Fit> {
    if is_small(value, &mut { INLINE }, DEPTH) {
        return Ok(Fit::Inline);
    }
    let text =
        serde_json::to_string(value).map_err(|e| Error::rejected("the result is no JSON").because(e))?;
    if depth(&text) > DEPTH {
        return Err(Error::rejected(format!("the result is nested more than {DEPTH} deep")));
    }
    if text.len() > VALUE {
        let (size, most) = (text.len() >> 20, VALUE >> 20);
        return Err(Error::rejected(format!("the result has {size} MiB, and at most {most} MiB are kept"))
            .hint("ask for less, such as with a filter or a page size"));
    }
    Ok(if text.len() > INLINE { Fit::OutOfLine(text) } else { Fit::Inline })
}

/// Reads a text that [`fit`] put out of line.
pub(crate) fn read_large(sha256: &str, text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|e| Error::storage(format!("the text {sha256} is no JSON")).because(e))
}

/// Checks that the JSON text of an event can be read back.
///
/// # Errors
/// `Invalid` when it is too large or too deep.
pub(crate) fn check(body: &str) -> Result<()> {
    if body.len() > RECORD {
        return Err(Error::invalid(format!(
            "a record of {} MiB is too large, at most {} MiB are kept",
            body.len() >> 20,
            RECORD >> 20
        )));
    }
    // Most records have fewer brackets than may be nested, which is faster to see.
    let brackets = body.bytes().filter(|byte| matches!(byte, b'[' | b'{')).count();
    if brackets > RECORD_DEPTH && depth(body) > RECORD_DEPTH {
        return Err(Error::invalid(format!("a value that is nested more than {DEPTH} deep is not recorded")));
    }
    Ok(())
}

/// Returns whether a value certainly takes less room than is left. Looks no further than that.
fn is_small(value: &Value, left: &mut usize, depth: usize) -> bool {
    let takes = match value {
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 24,
        // Each byte may be written as six.
        Value::String(text) => 2 + 6 * text.len(),
        Value::Array(_) | Value::Object(_) => 2,
    };
    let Some(rest) = left.checked_sub(takes + 1) else { return false };
    *left = rest;
    match value {
        Value::Array(items) => depth > 0 && items.iter().all(|item| is_small(item, left, depth - 1)),
        Value::Object(fields) => {
            depth > 0
                && fields.iter().all(|(name, item)| {
                    let Some(rest) = left.checked_sub(3 + 6 * name.len()) else { return false };
                    *left = rest;
                    is_small(item, left, depth - 1)
                })
        }
        _ => true,
    }
}

/// Returns how deep a JSON text is nested.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut quoted, mut escaped) = (false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::ErrorKind;

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!(1), |inner, _| json!([inner]))
    }

    #[test]
    fn a_result_lies_where_it_fits() {
        assert_eq!(fit(&json!({"name": "x\"[{\\", "list": [1, 2.5, null, true]})).unwrap(), Fit::Inline);
        assert_eq!(fit(&nested(DEPTH)).unwrap(), Fit::Inline);
        assert_eq!(fit(&json!("x".repeat(INLINE - 2))).unwrap(), Fit::Inline);
        let Fit::OutOfLine(text) = fit(&json!(vec!["machine"; 7_000])).unwrap() else {
            panic!("out of line")
        };
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), json!(vec!["machine"; 7_000]));
        assert_eq!(fit(&nested(DEPTH + 1)).unwrap_err().kind(), ErrorKind::Rejected);
        assert_eq!(fit(&json!("x".repeat(VALUE))).unwrap_err().kind(), ErrorKind::Rejected);
    }

    #[test]
    fn what_a_reader_would_refuse_is_refused() {
        for levels in [1, 119, 120, 121, 127, 128, 500] {
            let body = nested(levels).to_string();
            let reads_back = serde_json::from_str::<Value>(&body).is_ok();
            assert_eq!(check(&body).is_ok(), levels <= RECORD_DEPTH, "{levels}");
            assert!(check(&body).is_err() || reads_back, "{levels}");
        }
        assert!(check(r#"{"text":"[[[[ \" [[["}"#).is_ok());
        assert_eq!(depth(r#"{"a":["\"[[[",[{}]]}"#), 4);
        assert!(check(&"x".repeat(RECORD + 1)).is_err());
    }
}
