//! What is opened is closed when it was promised: one closing, whoever asks, and never given up.
#![allow(clippy::unwrap_used, missing_docs)]

mod bench;
mod extend;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use relight_engine::clock::{Clock, SteppedClock};
use relight_engine::event::{Cause, Event, Park, Record, RunEnd};
use relight_engine::journal::{
    Appended, Around, Journal, MemoryJournal, RunFilter, Settlement, Status, Sync, Tenure,
};
use relight_engine::{Driven, Engine, ErrorKind, Result, RunId, RunRequest};
use serde_json::json;

use crate::bench::{Bench, HOUR, Held, MINUTE};

#[tokio::test]
async fn whoever_asks_at_the_same_time_there_is_one_request() {
    for round in 0..10 {
        let bench = Bench::new().await;
        bench.clock.advance(Duration::from_secs(1));
        let (serve, one, two) = (bench.beside(false), bench.beside(false), bench.beside(false));
        let mut worker = bench.worker(&serve);
        let lease = bench.journal.leases().await.unwrap().remove(0);
        let by_hand = async |engine: &Engine| {
            let run = engine.close_lease(&lease.id).await.unwrap();
            engine.run(&run).await.unwrap()
        };
        let (_, left, right, by_one, by_two) = tokio::join!(
            worker.tick(),
            bench.carry(&one, r#"door::close("front")"#),
            bench.carry(&two, r#"door::close("front")"#),
            by_hand(&one),
            by_hand(&two),
        );
        worker.settle().await;
        bench.keep(&mut worker, HOUR, MINUTE).await;
        assert_eq!(bench.doors.closed(), 1, "round {round}: {left:?} {right:?} {by_one:?} {by_two:?}");
        assert_eq!(bench.closings().await.len(), 1, "round {round}");
        assert!(bench.is_closed().await, "round {round}");
    }
}

/// A person closes a door while the request that opens it is held back, and stops the run that opens it.
/// Returns what was sent in the end.
async fn closed_while_it_opens(place: Held, beside: bool) -> Vec<String> {
    let mut bench = Bench::before();
    bench.clock = SteppedClock::new(bench.clock.now());
    bench.doors.hold(place);
    let (opener, other) = (bench.beside(false), bench.beside(false));
    let other = if beside { other } else { opener.clone() };
    let run = opener.prepare(&Bench::request(r#"door::open("front")"#)).await.unwrap();
    let opening = tokio::spawn({
        let (opener, run) = (opener.clone(), run.clone());
        async move { opener.run(&run).await }
    });
    while bench.doors.0.lock().unwrap().waits.is_none() {
        tokio::task::yield_now().await;
    }
    let lease = bench.journal.leases().await.unwrap().remove(0);
    let closing = other.close_lease(&lease.id).await.unwrap();
    other.stop(&run, "ann").await.unwrap();
    let closing = tokio::spawn(async move { other.run(&closing).await });
    match place {
        Held::OnItsWay => bench.ticking(tokio::time::sleep(Duration::from_millis(40))).await,
        // Nobody hears of the opener until the door is closed.
        Held::BeforePermit => {
            let closed = async {
                while !bench.is_closed().await {
                    tokio::task::yield_now().await;
                }
            };
            bench.ticking(closed).await;
        }
    }
    bench.doors.release();
    bench.ticking(opening).await.unwrap().unwrap();
    bench.ticking(closing).await.unwrap().unwrap();
    assert!(bench.is_closed().await, "{:?}", bench.closings().await);
    bench.doors.sent()
}

#[tokio::test]
async fn a_closing_outwaits_the_request_that_opens() {
    for beside in [true, false] {
        let sent = closed_while_it_opens(Held::OnItsWay, beside).await;
        assert_eq!(sent, ["open front", "close front"], "in another process: {beside}");
    }
}

#[tokio::test]
async fn what_opens_is_not_sent_once_its_lease_is_over() {
    for beside in [true, false] {
        let sent = closed_while_it_opens(Held::BeforePermit, beside).await;
        assert_eq!(sent, ["close front"], "in another process: {beside}");
    }
}

#[tokio::test]
async fn a_schedule_and_a_deadline_in_the_same_second_close_once() {
    for round in 0..10 {
        let bench = Bench::new().await;
        let due = bench.clock.now() + SignedDuration::from_secs(1);
        let schedule = relight_engine::event::Schedule::new("s", "close", due);
        bench.journal.settle(&Settlement::add(schedule), bench.clock.now()).await.unwrap();
        bench.clock.set(due);
        // Two services at once, half of the time.
        let (engine, other) = (bench.beside(false), bench.beside(false));
        let (mut worker, mut second) = (bench.worker(&engine), bench.worker(&other));
        if round % 2 == 0 {
            let (one, two) = tokio::join!(worker.tick(), second.tick());
            assert_eq!(one.unwrap().closing.len() + two.unwrap().closing.len(), 1);
            second.settle().await;
        }
        bench.keep(&mut worker, HOUR, MINUTE).await;
        assert_eq!((bench.doors.closed(), bench.closings().await.len()), (1, 1), "round {round}");
        let runs = bench.journal.runs(&RunFilter::open()).await.unwrap();
        bench.clock.advance(MINUTE);
        worker.tick().await.unwrap();
        worker.settle().await;
        let open = bench.journal.runs(&RunFilter::open()).await.unwrap();
        assert!(open.is_empty(), "round {round}: {runs:?}");
    }
}

#[tokio::test]
async fn a_closing_comes_back_whatever_it_is_parked_for() {
    use ErrorKind::{Denied, Invalid, Rejected, Transient, Unsent};
    let cases: [(&str, Vec<ErrorKind>); 6] = [
        ("rejected", vec![Rejected]),
        ("invalid", vec![Invalid]),
        ("denied", vec![Denied, Denied]),
        ("exhausted", vec![Unsent; 7]),
        ("undecided", vec![Transient]),
        ("all of it", vec![Rejected, Denied, Transient, Unsent, Unsent, Unsent, Denied]),
    ];
    for (why, errors) in cases {
        let bench = Bench::new().await;
        let engine = bench.engine();
        let mut worker = bench.worker(&engine);
        bench.clock.advance(MINUTE);
        bench.doors.fail_with(&errors);
        bench.keep(&mut worker, 2 * HOUR, Duration::from_secs(15)).await;
        assert!(bench.is_closed().await, "{why}: {:?}", bench.closings().await);
        assert_eq!(bench.closings().await.len(), 1, "{why}: one run does it");
        assert_eq!(*bench.troubles.lock().unwrap(), Vec::<String>::new(), "{why}");
    }
}

#[tokio::test]
async fn a_closing_that_a_person_interrupted_or_stopped_is_taken_up_again() {
    let bench = Bench::new().await;
    let engine = bench.engine();
    let lease = bench.journal.leases().await.unwrap().remove(0);
    let run = engine.close_lease(&lease.id).await.unwrap();
    engine.interrupt();
    engine.run(&run).await.unwrap();
    assert!(!bench.is_closed().await);

    let engine = bench.engine();
    engine.stop(&run, "ann").await.unwrap();
    assert!(matches!(engine.run(&run).await.unwrap(), Driven::Ended(RunEnd::Stopped { .. })));
    let mut worker = bench.worker(&engine);
    bench.clock.advance(MINUTE);
    bench.keep(&mut worker, HOUR, Duration::from_secs(15)).await;
    assert!(bench.is_closed().await);
    assert_eq!((bench.doors.closed(), bench.closings().await.len()), (1, 2));
}

#[tokio::test]
async fn a_week_of_outage_costs_one_run_and_an_attempt_every_quarter_of_an_hour() {
    let bench = Bench::new().await;
    let engine = bench.engine();
    let mut worker = bench.worker(&engine);
    bench.doors.outage(Some(ErrorKind::Unsent));
    bench.clock.advance(MINUTE);
    bench.keep(&mut worker, 7 * 24 * HOUR, 5 * MINUTE).await;
    let (runs, tries) = (bench.closings().await.len(), bench.doors.tries());
    println!("a week of outage: {runs} run, {tries} attempts");
    assert_eq!(runs, 1);
    // Four an hour, and the few before the pauses are that long.
    assert!((660..=690).contains(&tries), "{tries} attempts in a week");

    let state = engine.leases().await.unwrap().remove(0);
    assert!(state.is_late);
    let closing = state.closing.unwrap();
    assert!(closing.failed > 650 && closing.again.is_some());
    let (at, why) = closing.trouble.unwrap();
    assert!(bench.clock.now().duration_since(at) <= SignedDuration::from_mins(16));
    assert_eq!(why.message, "the cloud is away");

    bench.doors.outage(None);
    let back = bench.clock.now();
    bench.keep(&mut worker, HOUR, MINUTE).await;
    assert!(bench.is_closed().await);
    let late = bench.clock.now().duration_since(back);
    assert!(late <= SignedDuration::from_mins(17), "closed {late} after the cloud came back");
}

#[tokio::test]
async fn a_scheduled_closing_that_meets_an_outage_is_done_once_it_is_over() {
    let bench = Bench::new().await;
    let engine = bench.engine();
    let mut worker = bench.worker(&engine);
    let run = engine.prepare(&RunRequest::new("close")).await.unwrap();
    bench.doors.outage(Some(ErrorKind::Unsent));
    // Hours before its deadline nobody else asks for it.
    bench.keep(&mut worker, 5 * HOUR, MINUTE).await;
    assert!(!bench.is_closed().await);
    bench.doors.outage(None);
    for _ in 0..40 {
        bench.clock.advance(MINUTE);
        worker.tick().await.unwrap();
        worker.settle().await;
    }
    assert!(bench.is_closed().await);
    assert_eq!((bench.doors.closed(), bench.closings().await.len()), (1, 1));
    let asked = bench.journal.run(&run).await.unwrap().unwrap();
    assert_eq!(asked.status, Status::Succeeded, "{asked:?}");
}

#[tokio::test]
async fn whoever_asks_learns_why_it_is_not_closed_and_may_leave() {
    let bench = Bench::new().await;
    let engine = bench.engine();
    bench.doors.outage(Some(ErrorKind::Denied));
    let run = engine.prepare(&Bench::request(r#"door::close("front")"#)).await.unwrap();
    let driven = engine.run(&run).await.unwrap();
    let Driven::Parked(Park::Denied { failure }, Some(again)) = &driven else { panic!("{driven:?}") };
    assert_eq!(failure.message, "the cloud is away");
    assert!(*again <= bench.clock.now() + SignedDuration::from_secs(30));

    engine.stop(&run, "ann").await.unwrap();
    assert!(matches!(engine.run(&run).await.unwrap(), Driven::Ended(RunEnd::Stopped { .. })));
    let closing = bench.closings().await.remove(0);
    assert_eq!(closing.status, Status::Parked, "the duty stays: {closing:?}");
    bench.doors.outage(None);
    let mut worker = bench.worker(&engine);
    bench.keep(&mut worker, HOUR, Duration::from_secs(15)).await;
    assert!(bench.is_closed().await, "before its deadline, since somebody asked for it");
}

#[tokio::test]
async fn what_is_forgotten_is_left_alone_and_told() {
    let bench = Bench::new().await;
    let engine = bench.engine();
    let lease = bench.journal.leases().await.unwrap().remove(0);
    assert_eq!(engine.forget_lease(&lease.id, "ann", " ").await.unwrap_err().kind(), ErrorKind::Invalid);
    engine.forget_lease(&lease.id, "ann", "the node is gone").await.unwrap();
    assert_eq!(engine.close_lease(&lease.id).await.unwrap_err().kind(), ErrorKind::Invalid);
    bench.clock.advance(HOUR);
    let mut worker = bench.worker(&engine);
    assert!(worker.tick().await.unwrap().closing.is_empty());
    assert_eq!(bench.doors.closed(), 0);
    let told = engine.forgotten_leases().await.unwrap().remove(0);
    assert_eq!((told.by.as_str(), told.because.as_str()), ("ann", "the node is gone"));
}

#[tokio::test]
async fn whoever_closes_what_is_forgotten_stops() {
    let bench = Bench::new().await;
    let engine = bench.engine();
    let mut worker = bench.worker(&engine);
    bench.doors.outage(Some(ErrorKind::Unsent));
    let asks = engine.prepare(&RunRequest::new("close")).await.unwrap();
    bench.keep(&mut worker, HOUR, MINUTE).await;
    let lease = bench.journal.leases().await.unwrap().remove(0);
    engine.forget_lease(&lease.id, "ann", "the node is gone").await.unwrap();
    bench.doors.outage(None);
    for _ in 0..40 {
        bench.clock.advance(MINUTE);
        worker.tick().await.unwrap();
        worker.settle().await;
    }
    assert_eq!(bench.doors.closed(), 0);
    let closing = bench.closings().await.remove(0);
    assert_eq!(closing.status, Status::Stopped, "{closing:?}");
    let asks = bench.journal.run(&asks).await.unwrap().unwrap();
    assert_eq!(asks.status, Status::Succeeded, "{asks:?}");
}

/// A journal whose last record of a run is an event that only a newer version knows.
struct Newer(Arc<MemoryJournal>);

#[async_trait]
impl Around for Newer {
    fn behind(&self) -> &dyn Journal {
        &*self.0
    }

    async fn records(&self, run: &RunId, after: u64) -> Result<Vec<Record>> {
        let mut records = self.0.records(run, after).await?;
        if let Some(last) = records.last_mut() {
            last.body = json!({ "event": "teleported" }).to_string();
        }
        Ok(records)
    }
}

#[tokio::test]
async fn what_a_newer_version_closes_is_listed_all_the_same() {
    let bench = Bench::new().await;
    let lease = bench.journal.leases().await.unwrap().remove(0);
    let run = bench.engine().close_lease(&lease.id).await.unwrap();
    bench.doors.outage(Some(ErrorKind::Denied));
    bench.engine().run(&run).await.unwrap();
    bench.clock.advance(HOUR);
    let older = bench.over(Arc::new(Newer(bench.journal.clone())), true);
    let open = older.leases().await.unwrap().remove(0);
    let (_, why) = open.closing.unwrap().trouble.unwrap();
    assert!(open.is_late && why.message.contains("unknown event type in record"), "{why:?}");
}

/// A journal that takes a moment, in which somebody sets the clock back by an hour: just when it is on
/// record that an operation is looked at again in two seconds.
struct SetsBack {
    journal: Arc<MemoryJournal>,
    clock: SteppedClock,
    was_set_back: AtomicBool,
}

#[async_trait]
impl Around for SetsBack {
    fn behind(&self) -> &dyn Journal {
        &*self.journal
    }

    async fn append(&self, by: &Tenure, events: &[Event], at: Timestamp, sync: Sync) -> Result<Appended> {
        let appended = self.journal.append(by, events, at, sync).await?;
        let waits = events.iter().any(|event| matches!(event, Event::StepAccepted { .. }));
        if waits && !self.was_set_back.swap(true, Ordering::Relaxed) {
            self.clock.set(self.clock.now() - SignedDuration::from_hours(1));
        }
        Ok(appended)
    }
}

#[tokio::test]
async fn a_closing_goes_on_though_the_clock_is_set_back() {
    let bench = Bench::new().await;
    let sets_back = Arc::new(SetsBack {
        journal: bench.journal.clone(),
        clock: bench.clock.clone(),
        was_set_back: AtomicBool::new(false),
    });
    let engine = bench.over(sets_back.clone(), true);
    let lease = bench.journal.leases().await.unwrap().remove(0);
    let run = engine.close_lease(&lease.id).await.unwrap();
    let before = bench.clock.elapsed();
    let driven = engine.run(&run).await.unwrap();
    assert!(matches!(driven, Driven::Ended(RunEnd::Succeeded { .. })), "{driven:?}");
    assert!(bench.is_closed().await && sets_back.was_set_back.load(Ordering::Relaxed));
    let took = bench.clock.elapsed() - before;
    assert!(took < MINUTE, "it waited for the hour: {took:?}");
}

#[tokio::test]
async fn looks_that_fail_keep_their_pauses_though_the_clock_is_set_back() {
    let mut bench = Bench::before();
    bench.clock = SteppedClock::new(bench.clock.now());
    bench.doors.outage(Some(ErrorKind::Unsent));
    let engine = bench.engine();
    let run = engine.prepare(&Bench::request(r#"door::open("front")"#)).await.unwrap();
    let opening = tokio::spawn(async move { engine.run(&run).await });
    while bench.doors.tries() == 0 {
        tokio::task::yield_now().await;
    }
    bench.clock.set(bench.clock.now() - SignedDuration::from_hours(1));
    bench.ticking(tokio::time::sleep(Duration::from_millis(60))).await;
    // Pauses grow, and time stands still.
    tokio::time::sleep(Duration::from_millis(40)).await;
    let tries = bench.doors.tries();
    assert!((1..=12).contains(&tries), "{tries} attempts in a minute");
    opening.abort();
}

#[tokio::test]
async fn a_closing_says_for_which_lease_it_is() {
    let bench = Bench::new().await;
    let engine = bench.engine();
    let lease = bench.journal.leases().await.unwrap().remove(0);
    assert_eq!(engine.leases().await.unwrap()[0].closing, None, "nobody asked yet");
    let run = engine.close_lease(&lease.id).await.unwrap();
    assert_eq!(engine.close_lease(&lease.id).await.unwrap(), run);
    let history = engine.history(&run).await.unwrap();
    assert_eq!(history.prepared.cause, Cause::Lease { id: lease.id });
    assert_eq!(engine.leases().await.unwrap()[0].closing.as_ref().unwrap().run, run);
}

#[tokio::test]
async fn a_closing_is_a_call_on_record_and_no_text() {
    // What would end a comment, a text or a template of a script, and what looks like a secret.
    let name = r#"the "front" */ ${door} {"$secret":"x"}"#;
    let bench = Bench::before();
    let engine = bench.engine();
    let opened = bench.carry(&engine, &format!("door::open({name:?})")).await;
    assert!(matches!(opened, Driven::Ended(RunEnd::Succeeded { .. })), "{opened:?}");
    let lease = bench.journal.leases().await.unwrap().remove(0);

    let run = engine.close_lease(&lease.id).await.unwrap();
    assert_eq!(engine.journal().sources(&run).await.unwrap(), []);
    let prepared = engine.history(&run).await.unwrap().prepared;
    assert_eq!(prepared.call(), Some(&lease.close));
    assert_eq!(prepared.sources, []);
    let planned: Vec<String> =
        engine.planned(&run).await.unwrap().into_iter().map(|it| it.operation).collect();
    assert_eq!(planned, ["door::close"]);

    let driven = engine.run(&run).await.unwrap();
    assert_eq!(driven, Driven::Ended(RunEnd::Succeeded { value: json!(format!("closed {name}")) }));
    let history = engine.history(&run).await.unwrap();
    assert_eq!(history.steps.len(), 1);
    assert_eq!((&*history.steps[0].operation, &*history.steps[0].args), ("door::close", &lease.close.args));
    assert_eq!(bench.doors.sent(), [format!("open {name}"), format!("close {name}")]);
    assert!(bench.is_closed().await);
    let error = engine.rerun(&run).await.unwrap_err();
    assert!(error.message().contains("has no runbook"), "{error}");
}

#[tokio::test]
async fn a_closing_that_is_parked_has_no_text_to_mend() {
    let bench = Bench::new().await;
    let engine = bench.engine();
    bench.doors.outage(Some(ErrorKind::Denied));
    let lease = bench.journal.leases().await.unwrap().remove(0);
    let run = engine.close_lease(&lease.id).await.unwrap();
    let driven = engine.run(&run).await.unwrap();
    assert!(matches!(driven, Driven::Parked(Park::Denied { .. }, Some(_))), "{driven:?}");
    let text = "/*---\ntitle = \"s\"\neffects = [\"azure:write\"]\n---*/\ndoor::close(\"back\")";
    for text in [None, Some(text.to_owned())] {
        let error = engine.mend(&run, text, "ann").await.unwrap_err();
        assert!(error.message().contains("has no text to mend"), "{error}");
    }
}
