//! What the tests of journals are made of: small runs, events and times.
#![cfg_attr(not(test), allow(dead_code, reason = "some are for the tests of our own journals"))]

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::error::{Error, ErrorKind};
use crate::event::{
    Call, Cause, Effected, Event, FORMAT, Lease, Park, Pin, Place, Prepared, Provenance, RunEnd, Schedule,
    Signal, Source, StepEnd, fingerprint,
};
use crate::journal::{Claim, ClaimRequest, Journal, NewRun, OwnerId, Tenure};

pub(in crate::journal) fn t(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::new(seconds, 7)
}

pub(in crate::journal) fn owner(name: &str) -> OwnerId {
    OwnerId::from(name.to_owned())
}

pub(in crate::journal) fn kind<T: std::fmt::Debug>(result: Result<T, Error>) -> ErrorKind {
    result.expect_err("an error").kind()
}

pub(in crate::journal) async fn due(journal: &dyn Journal, now: i64) -> Vec<String> {
    journal.due(t(now), 100).await.unwrap().into_iter().map(|id| id.to_string()).collect()
}

pub(in crate::journal) fn request(run: &str, by: &str, at: i64) -> ClaimRequest {
    ClaimRequest::new(&run.into(), &owner(by), t(at))
}

/// Claims a run for a process that lives until 1000.
pub(in crate::journal) async fn claim(journal: &dyn Journal, run: &str, by: &str, at: i64) -> Tenure {
    journal.heartbeat(&owner(by), t(1000)).await.unwrap();
    match journal.claim(&request(run, by, at)).await.unwrap() {
        Claim::Granted(tenure) => tenure,
        other => panic!("the claim is granted, not {other:?}"),
    }
}

pub(in crate::journal) fn new_run(id: &str) -> NewRun {
    let source = |name: &str, text: &str| Source { name: name.into(), text: text.into() };
    let sources = vec![source("book", "util::say(params.x);"), source("util", "fn say(x) { note(x) }")];
    let pins =
        sources.iter().map(|s| Pin { name: s.name.clone(), fingerprint: fingerprint(&s.text) }).collect();
    let prepared = Prepared {
        format: FORMAT,
        engine: "0".into(),
        runbook: "book".into(),
        sources: pins,
        provenance: Provenance::default(),
        params: json!({"x": id, "n": 1}),
        cause: Cause::Person,
        workdir: "/work".into(),
        paths: vec![],
        depth: 0,
        granted: None,
        entry: None,
        who: None,
        labels: BTreeMap::new(),
    };
    NewRun::new(id.into(), prepared, sources)
}

pub(in crate::journal) fn started(step: u32) -> Event {
    let at = Place { source: None, line: 3, column: 5 };
    Event::StepStarted {
        step,
        operation: "note".into(),
        args: json!({"text": "hello"}),
        at,
        attempt: 1,
        send_before: None,
    }
}

pub(in crate::journal) fn finished(step: u32, effected: Vec<Effected>) -> Event {
    Event::StepFinished { step, end: StepEnd::Ok(json!({"done": step}).into()), effected }
}

pub(in crate::journal) fn note(step: u32) -> Event {
    finished(step, vec![])
}

pub(in crate::journal) fn both(step: u32) -> [Event; 2] {
    [started(step), note(step)]
}

pub(in crate::journal) fn parked(until: Option<i64>) -> Event {
    let park = Park::Question { text: "Go on?".into(), choices: vec!["yes".into(), "no".into()] };
    Event::Parked { park, until: until.map(t) }
}

pub(in crate::journal) fn succeeded() -> Event {
    Event::Finished { end: RunEnd::Succeeded { value: Value::Null }, parent: None }
}

pub(in crate::journal) fn answer(step: u32) -> Signal {
    Signal::Answer { step, value: json!("yes"), by: "ann".into() }
}

pub(in crate::journal) fn lease(id: &str, deadline: i64) -> Lease {
    Lease {
        id: id.into(),
        run: "a".into(),
        subject: "/subscriptions/1/vm".into(),
        door: "node1:2179".into(),
        title: "VM Connect".into(),
        opened: t(0),
        deadline: t(deadline),
        latest: None,
        close: Call { operation: "vmconnect::disable".into(), args: json!({"vm": 1}) },
    }
}

pub(in crate::journal) fn schedule(id: &str, due: i64) -> Schedule {
    let mut schedule = Schedule::new(id, "book", t(due)).params(json!({"x": 1}));
    schedule.workdir = "/work".into();
    schedule
}
