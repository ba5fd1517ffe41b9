//! What the records of a run are as spans: one for the run, one for each of its steps.
//!
//! Arguments, results and answers are in none of them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use relight_engine::event::{Cause, Event, Park, Place, Prepared, RunEnd, Signal, StepEnd};
use relight_engine::{ErrorKind, Failure, RunId};

use super::ids;
use super::span::{Attributes, Bounded, Link, Span};

/// A run as far as it is known.
pub(super) struct Fold {
    run: RunId,
    trace: String,
    parent: Option<String>,
    links: Vec<Link>,
    name: String,
    began: Timestamp,
    attributes: Attributes,
    events: Bounded,
    /// The steps that have begun and not ended.
    steps: BTreeMap<u32, Open>,
    /// The number of the last record that is in it.
    pub(super) seq: u64,
}

/// A step that has begun.
struct Open {
    operation: String,
    at: Place,
    began: Timestamp,
    attempt: u32,
    /// Whether this attempt is under way elsewhere: each look at it is recorded, and the first one is told.
    is_accepted: bool,
    events: Bounded,
}

impl Fold {
    /// Begins with the first record of a run. It is part of the trace of `root`; `link` is the run that it came from and is no part of.
    pub(super) fn new(
        run: &RunId,
        prepared: &Prepared,
        began: Timestamp,
        root: &RunId,
        link: Option<(RunId, RunId)>,
    ) -> Self {
        let parent = match &prepared.cause {
            Cause::Run { id, step, .. } => Some(ids::step(id, *step)),
            _ => None,
        };
        let links = link.map(|(of, root_of)| Link {
            trace: ids::trace(&root_of),
            span: ids::run(&of),
            attributes: Attributes::default().text("relight.run", of.as_str()),
        });
        Fold {
            run: run.clone(),
            trace: ids::trace(root),
            parent,
            links: links.into_iter().collect(),
            name: prepared.runbook.clone(),
            began,
            attributes: described(run, prepared),
            events: Bounded::default(),
            steps: BTreeMap::new(),
            seq: 1,
        }
    }

    /// Takes in the next record. Returns what ended with it.
    pub(super) fn apply(&mut self, seq: u64, at: Timestamp, event: Event) -> Vec<Span> {
        self.seq = seq;
        match event {
            Event::Claimed { epoch, .. } => {
                self.events.happened(at, "claimed", Attributes::default().number("relight.epoch", epoch));
            }
            Event::StepStarted { step, operation, at: place, attempt, .. } => {
                let open = self.steps.entry(step).or_insert_with(|| Open {
                    operation,
                    at: place,
                    began: at,
                    attempt,
                    is_accepted: false,
                    events: Bounded::default(),
                });
                (open.attempt, open.is_accepted) = (attempt, false);
            }
            Event::StepExtended { step, .. } => {
                self.step_happened(step, at, "extended", Attributes::default())
            }
            Event::StepAccepted { step, .. } => {
                let is_new = self
                    .steps
                    .get_mut(&step)
                    .is_some_and(|open| !std::mem::replace(&mut open.is_accepted, true));
                if is_new {
                    self.step_happened(step, at, "accepted", Attributes::default());
                }
            }
            Event::StepRetrying { step, attempt, failure, until, .. } => {
                let about = Attributes::default()
                    .number("relight.attempt", attempt.into())
                    .text("relight.until", &until.to_string())
                    .text("error.type", &kind_of(&failure))
                    .text("error.message", &said(&failure));
                self.step_happened(step, at, "retrying", about);
            }
            Event::StepFinished { step, end, .. } => {
                return self.step_ended(step, at, &end).into_iter().collect();
            }
            Event::Signalled { signal } => self.signalled(at, &signal),
            Event::Mended { by, .. } => {
                self.events.happened(at, "mended", Attributes::default().text("relight.by", &by));
            }
            Event::Parked { park, .. } => {
                let (why, failure) = reason(&park);
                let about = Attributes::default().text("relight.park", why);
                let about = about.perhaps("error.message", failure.map(said).as_deref());
                self.events.happened(at, "parked", about);
            }
            Event::Finished { end, .. } => return self.ended(at, &end),
            // What a step says and writes is in the run's record.
            _ => {}
        }
        Vec::new()
    }

    fn step_happened(&mut self, step: u32, at: Timestamp, name: &str, about: Attributes) {
        if let Some(open) = self.steps.get_mut(&step) {
            open.events.happened(at, name, about);
        }
    }

    fn signalled(&mut self, at: Timestamp, signal: &Signal) {
        let (name, by) = match signal {
            Signal::Answer { by, .. } => ("answered", by),
            Signal::Stop { by } => ("stopping", by),
            _ => return,
        };
        self.events.happened(at, name, Attributes::default().text("relight.by", by));
    }

    fn step_ended(&mut self, step: u32, at: Timestamp, end: &StepEnd) -> Option<Span> {
        let open = self.steps.remove(&step)?;
        match end {
            // The call itself was wrong. Nothing was done, and the call that is made in its place has its number.
            StepEnd::Err(failure) if failure.kind == ErrorKind::Script => {
                let about = Attributes::default()
                    .number("relight.line", open.at.line as u64)
                    .text("error.message", &said(failure));
                self.events.happened(at, "mistake", about);
                None
            }
            StepEnd::Err(failure) => Some(self.step(step, open, at, Some(failure))),
            StepEnd::Ok(_) | StepEnd::Large { .. } => Some(self.step(step, open, at, None)),
        }
    }

    fn step(&self, step: u32, open: Open, ended: Timestamp, failure: Option<&Failure>) -> Span {
        let attributes = Attributes::default()
            .text("relight.run", self.run.as_str())
            .text("relight.runbook", &self.name)
            .number("relight.step", step.into())
            .number("relight.attempts", open.attempt.into())
            .number("relight.line", open.at.line as u64)
            .perhaps("relight.source", open.at.source.as_deref())
            .perhaps("error.type", failure.map(kind_of).as_deref());
        Span {
            trace: self.trace.clone(),
            id: ids::step(&self.run, step),
            parent: Some(ids::run(&self.run)),
            name: open.operation,
            began: open.began,
            ended,
            attributes,
            events: open.events,
            links: Vec::new(),
            failure: failure.map(said),
        }
    }

    /// Ends the run, and with it what it had under way.
    fn ended(&mut self, at: Timestamp, end: &RunEnd) -> Vec<Span> {
        let (word, by, failure, kind) = match end {
            RunEnd::Succeeded { .. } => ("succeeded", None, None, None),
            RunEnd::Failed { failure, .. } => ("failed", None, Some(said(failure)), Some(kind_of(failure))),
            RunEnd::Stopped { by, unreplayed } => ("stopped", Some(by), unreplayed.as_ref().map(said), None),
            RunEnd::Abandoned { by, because } => {
                ("abandoned", Some(by), Some(format!("abandoned: {because}")), None)
            }
        };
        let mut spans = Vec::new();
        for (step, open) in std::mem::take(&mut self.steps) {
            let mut span = self.step(step, open, at, None);
            span.failure = Some(format!("the run {word} before it had a result"));
            spans.push(span);
        }
        let attributes = std::mem::take(&mut self.attributes)
            .text("relight.end", word)
            .perhaps("relight.by", by.map(String::as_str))
            .perhaps("error.type", kind.as_deref());
        spans.push(Span {
            trace: self.trace.clone(),
            id: ids::run(&self.run),
            parent: self.parent.clone(),
            name: self.name.clone(),
            began: self.began,
            ended: at,
            attributes,
            events: std::mem::take(&mut self.events),
            links: std::mem::take(&mut self.links),
            failure,
        });
        spans
    }
}

/// Returns what is known about a run from its first record on.
fn described(run: &RunId, prepared: &Prepared) -> Attributes {
    let about = Attributes::default()
        .text("relight.run", run.as_str())
        .text("relight.runbook", &prepared.runbook)
        .perhaps("relight.who", prepared.who.as_deref());
    let about = match &prepared.cause {
        Cause::Person => about.text("relight.cause", "person"),
        Cause::Schedule { id, due } => about
            .text("relight.cause", "schedule")
            .text("relight.schedule", id)
            .text("relight.due", &due.to_string()),
        Cause::Lease { id } => about.text("relight.cause", "lease").text("relight.lease", id),
        Cause::Run { id, .. } => about.text("relight.cause", "run").text("relight.parent", id.as_str()),
        Cause::Rerun { of } => about.text("relight.cause", "rerun").text("relight.rerun_of", of.as_str()),
        _ => about,
    };
    let name = |label: &str| format!("relight.label.{label}");
    prepared.labels.iter().fold(about, |about, (label, value)| about.text(&name(label), value))
}

/// Returns the word for why a run is put away, and what failed.
fn reason(park: &Park) -> (&'static str, Option<&Failure>) {
    match park {
        Park::Waiting => ("waiting", None),
        Park::Question { .. } => ("question", None),
        Park::Undecided { failure } => ("undecided", Some(failure)),
        Park::Exhausted { failure } => ("exhausted", Some(failure)),
        Park::Denied { failure } => ("denied", Some(failure)),
        Park::Halted { failure } => ("halted", Some(failure)),
        Park::Mistake { failure, .. } => ("mistake", Some(failure)),
        Park::Interrupted => ("interrupted", None),
        Park::HandedBack => ("handed_back", None),
        Park::Terminal { .. } => ("terminal", None),
        Park::Child { .. } => ("child", None),
        _ => ("other", None),
    }
}

fn kind_of(failure: &Failure) -> String {
    match &failure.code {
        Some(code) => code.to_string(),
        None => failure.kind.as_str().to_owned(),
    }
}

/// Returns what a failure says, with its causes.
fn said(failure: &Failure) -> String {
    let causes = failure.causes.iter().map(String::as_str);
    std::iter::once(failure.message.as_str()).chain(causes).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use relight_engine::event::Place;
    use serde_json::{Value, json};

    use super::super::span::request;
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + seconds.cast_signed()).unwrap()
    }

    fn failure(kind: &str, message: &str) -> Failure {
        serde_json::from_value(json!({ "kind": kind, "message": message, "causes": ["because"] })).unwrap()
    }

    fn started(step: u32, attempt: u32) -> Event {
        Event::StepStarted {
            step,
            operation: "arm::put".into(),
            args: json!({ "body": "given" }),
            at: Place { source: None, line: 7, column: 1 },
            attempt,
            send_before: None,
        }
    }

    fn accepted(step: u32) -> Event {
        let (continuation, check_at, deadline) = (json!("given"), at(50), at(99));
        Event::StepAccepted {
            step,
            continuation,
            check_at,
            deadline,
            send_before: None,
            effected: Vec::new(),
        }
    }

    fn finished(step: u32, end: StepEnd) -> Event {
        Event::StepFinished { step, end, effected: Vec::new() }
    }

    /// Folds events, one a second, into spans as they are sent.
    fn told(cause: Value, events: Vec<Event>) -> Vec<Value> {
        let run = RunId::from("a1");
        let prepared: Prepared = serde_json::from_value(json!({
            "format": 1, "engine": "0.1.0", "runbook": "mend", "sources": [], "params": { "name": "given" },
            "cause": cause, "workdir": "/home/ada", "who": "ada@desk-7", "labels": { "ticket": "INC7" },
        }))
        .unwrap();
        let is_part = matches!(prepared.cause, Cause::Run { .. });
        let link = prepared.came_from().filter(|_| !is_part).map(|of| (of.clone(), of));
        let mut fold = Fold::new(&run, &prepared, at(0), &run, link);
        let spans: Vec<Span> =
            (2..).zip(events).flat_map(|(seq, event)| fold.apply(seq, at(seq - 1), event)).collect();
        let body: Value = serde_json::from_str(&request(&Attributes::default(), spans)).unwrap();
        body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone()
    }

    fn events(span: &Value) -> Vec<&str> {
        span["events"].as_array().unwrap().iter().map(|event| event["name"].as_str().unwrap()).collect()
    }

    #[test]
    fn a_step_is_one_span_however_often_it_was_tried_and_values_are_not_told() {
        let all = told(
            json!({ "by": "schedule", "id": "nightly", "due": at(0) }),
            vec![
                Event::Claimed { owner: "x".into(), epoch: 1 },
                started(1, 1),
                accepted(1),
                accepted(1),
                Event::StepRetrying {
                    step: 1,
                    attempt: 1,
                    failure: failure("transient", "it is busy"),
                    clean: true,
                    until: at(9),
                },
                started(1, 2),
                accepted(1),
                Event::StepExtended { step: 1, send_before: at(99) },
                finished(1, StepEnd::Err(failure("rejected", "no"))),
                started(2, 1),
                Event::Parked {
                    park: Park::Question { text: "is it given?".into(), choices: Vec::new() },
                    until: None,
                },
                Event::Signalled {
                    signal: Signal::Answer { step: 2, value: json!("given"), by: "ada".into() },
                },
                finished(2, StepEnd::Ok(json!("given").into())),
                Event::Finished { end: RunEnd::Succeeded { value: json!("given") }, parent: None },
            ],
        );
        let [first, second, run] = &all[..] else { panic!("{all:#?}") };
        assert_eq!(events(first), ["accepted", "retrying", "accepted", "extended"]);
        assert_eq!(first["status"]["message"], "no: because");
        assert_eq!(first["startTimeUnixNano"], "1800000002000000000", "when the first attempt began");
        assert!(
            first["attributes"]
                .to_string()
                .contains(r#"{"key":"relight.attempts","value":{"intValue":"2"}}"#)
        );
        assert!(first["events"].to_string().contains("it is busy: because"));
        assert_eq!(second["parentSpanId"], run["spanId"]);
        assert!(second.get("status").is_none() && run.get("status").is_none());
        assert_eq!(events(run), ["claimed", "parked", "answered"]);
        let about = run["attributes"].to_string();
        for part in ["nightly", "ada@desk-7", "relight.label.ticket", "INC7", "succeeded"] {
            assert!(about.contains(part), "{part}: {about}");
        }
        assert!(!json!(all).to_string().contains("given"), "{all:#?}");
    }

    #[test]
    fn a_call_that_was_wrong_is_no_step_and_what_is_under_way_ends_with_the_run() {
        let stopped = RunEnd::Stopped { by: "ada".into(), unreplayed: None };
        let all = told(
            json!({ "by": "rerun", "of": "b2" }),
            vec![
                started(1, 1),
                finished(1, StepEnd::Err(failure("script", "no such option"))),
                started(1, 1),
                Event::Signalled { signal: Signal::Stop { by: "ada".into() } },
                Event::Finished { end: stopped, parent: None },
            ],
        );
        let [step, run] = &all[..] else { panic!("{all:#?}") };
        assert_eq!(step["status"]["message"], "the run stopped before it had a result");
        assert_eq!(step["startTimeUnixNano"], "1800000003000000000", "the call in its place");
        assert_eq!(events(run), ["mistake", "stopping"]);
        assert_eq!(run["links"][0]["spanId"], ids::run(&RunId::from("b2")));
        assert_eq!(run["links"][0]["traceId"], ids::trace(&RunId::from("b2")));
    }

    #[test]
    fn a_child_stands_below_the_step_that_began_it() {
        let end = Event::Finished { end: RunEnd::Succeeded { value: Value::Null }, parent: None };
        let all = told(json!({ "by": "run", "id": "b2", "step": 3 }), vec![end]);
        assert_eq!(all[0]["parentSpanId"], ids::step(&RunId::from("b2"), 3));
        assert!(all[0].get("links").is_none(), "{all:#?}");
    }
}
