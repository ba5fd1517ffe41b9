//! A span, and how OTLP 1.x writes it as JSON: names in lower-case hexadecimal, times and whole numbers as strings, enumerations as numbers.

use jiff::Timestamp;
use serde_json::{Value, json};

/// How many attributes and events a span has at most, as OpenTelemetry's own libraries have it.
const MOST: usize = 128;
/// How many characters of a text are sent.
const TEXT: usize = 1024;
/// `SPAN_KIND_INTERNAL`.
const INTERNAL: u8 = 1;
/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;

/// Something that took time: a run, or a step of one.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) trace: String,
    pub(super) id: String,
    pub(super) parent: Option<String>,
    pub(super) name: String,
    pub(super) began: Timestamp,
    pub(super) ended: Timestamp,
    pub(super) attributes: Attributes,
    pub(super) events: Bounded,
    pub(super) links: Vec<Link>,
    /// What went wrong, if something did.
    pub(super) failure: Option<String>,
}

/// Another span that has to do with one and is not its parent.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) trace: String,
    pub(super) span: String,
    pub(super) attributes: Attributes,
}

/// Parts of a span, up to a number; the others are counted.
#[derive(Clone, Debug, Default)]
pub(super) struct Bounded {
    kept: Vec<Value>,
    dropped: u32,
}

impl Bounded {
    fn push(&mut self, part: Value) {
        match self.kept.len() < MOST {
            true => self.kept.push(part),
            false => self.dropped = self.dropped.saturating_add(1),
        }
    }

    /// Adds what happened at a time.
    pub(super) fn happened(&mut self, at: Timestamp, name: &str, attributes: Attributes) {
        let mut event = json!({ "timeUnixNano": nanoseconds(at), "name": name });
        attributes.0.write(&mut event, "attributes", "droppedAttributesCount");
        self.push(event);
    }

    /// Writes the parts, if there are any.
    fn write(self, into: &mut Value, name: &str, dropped: &str) {
        if !self.kept.is_empty() {
            into[name] = Value::Array(self.kept);
        }
        if self.dropped > 0 {
            into[dropped] = self.dropped.into();
        }
    }
}

/// What is known about a span, by name.
#[derive(Clone, Debug, Default)]
pub(super) struct Attributes(Bounded);

impl Attributes {
    /// Adds a text, cut where it is long.
    #[must_use]
    pub(super) fn text(mut self, name: &str, value: &str) -> Self {
        self.0.push(json!({ "key": name, "value": { "stringValue": cut(value) } }));
        self
    }

    /// Adds a text that is there perhaps.
    #[must_use]
    pub(super) fn perhaps(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.text(name, value),
            None => self,
        }
    }

    /// Adds a whole number.
    #[must_use]
    pub(super) fn number(mut self, name: &str, value: u64) -> Self {
        self.0.push(json!({ "key": name, "value": { "intValue": value.to_string() } }));
        self
    }
}

impl Span {
    fn json(self) -> Value {
        let mut span = json!({
            "traceId": self.trace,
            "spanId": self.id,
            "name": cut(&self.name),
            "kind": INTERNAL,
            "startTimeUnixNano": nanoseconds(self.began),
            "endTimeUnixNano": nanoseconds(self.ended.max(self.began)),
        });
        if let Some(parent) = self.parent {
            span["parentSpanId"] = parent.into();
        }
        self.attributes.0.write(&mut span, "attributes", "droppedAttributesCount");
        self.events.write(&mut span, "events", "droppedEventsCount");
        if !self.links.is_empty() {
            span["links"] = self.links.into_iter().map(Link::json).collect();
        }
        if let Some(failure) = &self.failure {
            span["status"] = json!({ "code": ERROR, "message": cut(failure) });
        }
        span
    }
}

impl Link {
    fn json(self) -> Value {
        let mut link = json!({ "traceId": self.trace, "spanId": self.span });
        self.attributes.0.write(&mut link, "attributes", "droppedAttributesCount");
        link
    }
}

/// Returns the body of a request: an `ExportTraceServiceRequest` of spans, all from `resource`.
pub(super) fn request(resource: &Attributes, spans: impl IntoIterator<Item = Span>) -> String {
    let mut from = json!({});
    resource.clone().0.write(&mut from, "attributes", "droppedAttributesCount");
    let spans: Value = spans.into_iter().map(Span::json).collect();
    let scope = json!({ "name": "relight", "version": env!("CARGO_PKG_VERSION") });
    let whole = json!({ "resourceSpans": [{ "resource": from, "scopeSpans": [{ "scope": scope, "spans": spans }] }] });
    whole.to_string()
}

/// Returns a time as OTLP has it. What is before 1970 is no time of a run.
fn nanoseconds(at: Timestamp) -> String {
    at.as_nanosecond().max(0).to_string()
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds).unwrap()
    }

    fn span() -> Span {
        Span {
            trace: "5b8efff798038103d269b633813fc60c".into(),
            id: "eee19b7ec3c1b174".into(),
            parent: None,
            name: "vmconnect::enable".into(),
            began: at(0),
            ended: at(2),
            attributes: Attributes::default().text("relight.run", "a1").number("relight.step", 3),
            events: Bounded::default(),
            links: Vec::new(),
            failure: None,
        }
    }

    #[test]
    fn a_span_is_written_as_the_protocol_has_it() {
        let mut span = span();
        span.parent = Some("eee19b7ec3c1b173".into());
        span.failure = Some("it broke".into());
        span.events.happened(at(1), "retrying", Attributes::default().number("relight.attempt", 1));
        let link = Link { trace: "aa".repeat(16), span: "bb".repeat(8), attributes: Attributes::default() };
        span.links.push(link);
        let resource = Attributes::default().text("service.name", "relight");
        let written: Value = serde_json::from_str(&request(&resource, [span])).unwrap();
        let expected = json!({ "resourceSpans": [{
            "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": "relight" } }] },
            "scopeSpans": [{
                "scope": { "name": "relight", "version": env!("CARGO_PKG_VERSION") },
                "spans": [{
                    "traceId": "5b8efff798038103d269b633813fc60c",
                    "spanId": "eee19b7ec3c1b174",
                    "parentSpanId": "eee19b7ec3c1b173",
                    "name": "vmconnect::enable",
                    "kind": 1,
                    "startTimeUnixNano": "1800000000000000000",
                    "endTimeUnixNano": "1800000002000000000",
                    "attributes": [
                        { "key": "relight.run", "value": { "stringValue": "a1" } },
                        { "key": "relight.step", "value": { "intValue": "3" } },
                    ],
                    "events": [{
                        "timeUnixNano": "1800000001000000000",
                        "name": "retrying",
                        "attributes": [{ "key": "relight.attempt", "value": { "intValue": "1" } }],
                    }],
                    "links": [{ "traceId": "aa".repeat(16), "spanId": "bb".repeat(8) }],
                    "status": { "code": 2, "message": "it broke" },
                }],
            }],
        }] });
        assert_eq!(written, expected);
    }

    #[test]
    fn what_is_empty_is_left_out_and_no_span_ends_before_it_begins() {
        let mut span = span();
        span.ended = at(-5);
        let written = span.json();
        assert_eq!(written["endTimeUnixNano"], written["startTimeUnixNano"]);
        for name in
            ["parentSpanId", "events", "links", "status", "droppedEventsCount", "droppedAttributesCount"]
        {
            assert!(written.get(name).is_none(), "{name}: {written}");
        }
    }

    #[test]
    fn long_texts_are_cut_and_what_is_too_many_is_counted() {
        let mut span = span();
        span.failure = Some("ä".repeat(5000));
        for second in 0..200 {
            span.events.happened(at(second), "parked", Attributes::default());
        }
        let written = span.json();
        assert_eq!(written["status"]["message"].as_str().unwrap().chars().count(), TEXT + 2);
        assert_eq!(written["events"].as_array().unwrap().len(), MOST);
        assert_eq!(written["droppedEventsCount"], 72);
    }
}
