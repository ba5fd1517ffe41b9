//! What every journal promises of notifications.

use serde_json::json;

use super::sample::*;
use super::schedules::put;
use crate::error::{Error, ErrorKind};
use crate::event::{Event, Fate, Park, Pause, RunEnd, Signal, Tick, TickCause};
use crate::journal::outbox::{
    Bounds, CameTo, Delivery, DeliveryFilter, DeliveryState, Notification, Occasion, Subscription, Taking,
};
use crate::journal::{Journal, Settlement, Sync};

fn all() -> DeliveryFilter {
    DeliveryFilter::default()
}

async fn subscribe(journal: &dyn Journal, receivers: &[&str]) {
    let all: Vec<Subscription> = receivers.iter().map(|name| Subscription::new(*name)).collect();
    journal.outbox().subscribe(&all).await.unwrap();
}

async fn told(journal: &dyn Journal) -> Vec<(String, &'static str)> {
    let all = journal.outbox().deliveries(&all()).await.unwrap();
    all.into_iter().rev().map(|it| (it.receiver, it.notification.occasion.as_str())).collect()
}

async fn append(journal: &dyn Journal, run: &str, event: Event, at: i64) {
    journal.prepare(new_run(run), t(at)).await.unwrap();
    let tenure = claim(journal, run, "one", at).await;
    journal.append(&tenure, &[event], t(at), Sync::Now).await.unwrap();
}

fn failed(parent: Option<&str>) -> Event {
    let failure = Error::rejected("it did not work").to_failure();
    Event::Finished { end: RunEnd::Failed { failure, at: None }, parent: parent.map(Into::into) }
}

fn halted(until: Option<i64>) -> Event {
    let failure = Error::new(ErrorKind::Denied, "no role").to_failure();
    Event::Parked { park: Park::Denied { failure }, until: until.map(t) }
}

async fn take(journal: &dyn Journal, receiver: &str, by: &str, at: i64) -> Option<Delivery> {
    journal.outbox().take(&Taking::new(receiver, &owner(by), t(at), t(at + 10))).await.unwrap()
}

async fn settle(journal: &dyn Journal, taken: &Delivery, came_to: CameTo, at: i64) -> bool {
    journal.outbox().settle_delivery(taken, &came_to, t(at)).await.unwrap()
}

fn later(until: i64) -> CameTo {
    CameTo::Later { until: t(until), because: "503".into() }
}

pub(super) async fn nobody_is_told_who_does_not_want_to_hear(journal: &dyn Journal) {
    append(journal, "a", parked(None), 1).await;
    assert_eq!(told(journal).await, []);
    let questions = Subscription::new("asked").on([Occasion::Question]);
    let others = Subscription::new("others").of(["another".to_owned()]);
    let book = Subscription::new("book").of(["another".to_owned(), "book".to_owned()]);
    journal.outbox().subscribe(&[questions.clone(), others.clone(), book.clone()]).await.unwrap();
    assert_eq!(journal.outbox().subscriptions().await.unwrap(), [questions, book, others]);
    append(journal, "b", parked(None), 2).await;
    append(journal, "c", failed(None), 3).await;
    let own = |receiver: &str, word| (receiver.to_owned(), word);
    assert_eq!(
        told(journal).await,
        [own("asked", "question"), own("book", "question"), own("book", "failed")]
    );
}

pub(super) async fn who_is_not_told_any_more_has_nothing_waiting(journal: &dyn Journal) {
    subscribe(journal, &["one", "two"]).await;
    append(journal, "a", parked(None), 1).await;
    append(journal, "b", failed(None), 2).await;
    let first = take(journal, "one", "p", 3).await.unwrap();
    assert!(settle(journal, &first, CameTo::Delivered, 4).await);
    let gone = journal.outbox().subscribe(&[Subscription::new("two")]).await.unwrap();
    assert_eq!(gone, [("one".to_owned(), 1)]);
    assert_eq!(told(journal).await.len(), 2);
    assert_eq!(journal.outbox().deliveries(&all().to("one")).await.unwrap(), []);
    // Whoever comes back begins anew, and who stays has lost nothing.
    subscribe(journal, &["one", "two"]).await;
    assert_eq!(journal.outbox().deliveries(&all().to("one")).await.unwrap(), []);
    assert_eq!(journal.outbox().deliveries(&all().to("two")).await.unwrap().len(), 2);
}

pub(super) async fn a_person_is_called_for_what_does_not_go_on_by_itself(journal: &dyn Journal) {
    subscribe(journal, &["one"]).await;
    let wait = Event::Parked { park: Park::Waiting, until: Some(t(99)) };
    let child = Event::Parked { park: Park::Child { run: "x".into() }, until: None };
    let back = Event::Parked { park: Park::HandedBack, until: Some(t(1)) };
    let interrupted = Event::Parked { park: Park::Interrupted, until: None };
    for (n, event) in [wait, child, back, interrupted, halted(Some(50)), succeeded(), failed(Some("p"))]
        .into_iter()
        .enumerate()
    {
        append(journal, &format!("quiet{n}"), event, 1).await;
    }
    assert_eq!(told(journal).await, []);
    append(journal, "a", halted(None), 2).await;
    append(journal, "b", parked(Some(70)), 3).await;
    append(journal, "c", failed(None), 4).await;
    // An answer that was there before: it goes on at once.
    journal.prepare(new_run("d"), t(5)).await.unwrap();
    let tenure = claim(journal, "d", "one", 5).await;
    journal.signal(&"d".into(), &answer(1), t(6)).await.unwrap();
    journal.append(&tenure, &[parked(None)], t(7), Sync::Now).await.unwrap();
    let found = journal.outbox().deliveries(&all()).await.unwrap();
    let said: Vec<_> = found
        .iter()
        .rev()
        .map(|it| {
            (it.notification.occasion, it.notification.run.clone().unwrap().to_string(), it.notification.at)
        })
        .collect();
    assert_eq!(
        said,
        [
            (Occasion::Parked, "a".into(), t(2)),
            (Occasion::Question, "b".into(), t(3)),
            (Occasion::Failed, "c".into(), t(4))
        ]
    );
    let question = &found[1].notification;
    assert_eq!(question.text.as_deref(), Some("Go on?"));
    assert_eq!(question.choices, ["yes", "no"]);
    assert_eq!(question.runbook.as_deref(), Some("book"));
    assert_eq!(
        question.id,
        Notification::new(Occasion::Question, &["b", "3"], t(0), "").id,
        "it follows from run and record"
    );
}

pub(super) async fn what_was_not_written_calls_nobody(journal: &dyn Journal) {
    subscribe(journal, &["one"]).await;
    journal.prepare(new_run("a"), t(1)).await.unwrap();
    let old = claim(journal, "a", "one", 2).await;
    let next = claim(journal, "a", "one", 3).await;
    assert_eq!(kind(journal.append(&old, &[parked(None)], t(4), Sync::Now).await), ErrorKind::Stopped);
    assert!(journal.append(&next, &[parked(None), note(1)], t(5), Sync::Now).await.is_err());
    assert_eq!(told(journal).await, []);
    // Each time it is parked is a time of its own.
    journal.append(&next, &[parked(None)], t(6), Sync::Now).await.unwrap();
    let again = claim(journal, "a", "one", 7).await;
    journal.append(&again, &[parked(None)], t(8), Sync::Now).await.unwrap();
    let found = journal.outbox().deliveries(&all()).await.unwrap();
    assert_eq!(found.len(), 2);
    assert_ne!(found[0].notification.id, found[1].notification.id);
}

pub(super) async fn ticks_that_are_missed_and_pauses_call(journal: &dyn Journal) {
    subscribe(journal, &["one"]).await;
    let mut before = schedule("s", 10);
    before.terms.pause_after = Some(2);
    put(journal, before.clone(), t(1)).await;
    let missed = |due: i64, after: i64| {
        let fate = Fate::Missed { because: "nobody was there".into() };
        Tick::new("s", t(due), TickCause::Due, fate, t(90)).after(Some(t(after)))
    };
    let skipped = Tick::new("s", t(40), TickCause::Due, Fate::Skipped { because: "busy".into() }, t(90));
    let mut after = before.clone();
    after.due = t(100);
    after.standing.failures = 2;
    after.standing.paused = Some(Pause::new("relight", "2 runs in a row failed", t(90)));
    let ticks = vec![missed(10, 0), missed(20, 10), missed(30, 20), skipped, missed(50, 40)];
    let settlement = Settlement { ticks, ..Settlement::of(&before).to(after.clone()) };
    assert!(journal.settle(&settlement, t(90)).await.unwrap());
    assert!(!journal.settle(&settlement, t(91)).await.unwrap(), "it is not as it was read any more");
    let found = journal.outbox().deliveries(&all()).await.unwrap();
    let said: Vec<_> = found.iter().rev().map(|it| it.notification.clone()).collect();
    assert_eq!(said.len(), 3, "{said:#?}");
    assert!(said[0].title.contains("missed 3 runs"), "{}", said[0].title);
    assert!(said[1].title.contains("missed its run of"), "{}", said[1].title);
    assert_eq!(said[2].occasion, Occasion::SchedulePaused);
    assert!(
        said.iter().all(|one| one.schedule.as_deref() == Some("s") && one.runbook.as_deref() == Some("book"))
    );
    // Who goes on as it was, or is paused by a person, says nothing.
    let mut goes = after.clone();
    (goes.standing.paused, goes.standing.failures) = (None, 0);
    assert!(journal.settle(&Settlement::of(&after).to(goes.clone()), t(92)).await.unwrap());
    let mut held = goes.clone();
    held.standing.paused = Some(Pause::new("ann", "not tonight", t(93)));
    assert!(journal.settle(&Settlement::of(&goes).to(held), t(93)).await.unwrap());
    assert_eq!(told(journal).await.len(), 3);
}

pub(super) async fn a_notification_is_told_once_under_its_id(journal: &dyn Journal) {
    subscribe(journal, &["one", "two"]).await;
    let late = Notification::late_lease(&lease("l", 50), Some("book".into()), t(60));
    assert_eq!(journal.outbox().notify(&late).await.unwrap(), 2);
    let again = Notification::late_lease(&lease("l", 50), Some("book".into()), t(99));
    assert_eq!(journal.outbox().notify(&again).await.unwrap(), 0);
    let taken = take(journal, "one", "p", 61).await.unwrap();
    assert!(settle(journal, &taken, CameTo::Delivered, 62).await);
    assert_eq!(journal.outbox().notify(&again).await.unwrap(), 0, "also when it was delivered");
    let moved = Notification::late_lease(&lease("l", 80), Some("book".into()), t(99));
    assert_eq!(journal.outbox().notify(&moved).await.unwrap(), 2);
}

pub(super) async fn one_process_at_a_time_has_a_delivery(journal: &dyn Journal) {
    subscribe(journal, &["one", "two"]).await;
    for (run, at) in [("a", 1), ("b", 2)] {
        append(journal, run, parked(None), at).await;
    }
    let first = take(journal, "one", "p", 20).await.unwrap();
    assert_eq!((first.attempts, first.first, first.due), (1, Some(t(20)), Some(t(30))));
    let second = take(journal, "one", "q", 20).await.unwrap();
    assert_ne!(first.notification.id, second.notification.id);
    assert_eq!(take(journal, "one", "q", 29).await, None);
    assert!(take(journal, "two", "q", 29).await.is_some(), "receivers do not wait for each other");
    assert_eq!(journal.outbox().next_delivery("one").await.unwrap(), Some(t(30)));
    // Nobody heard of it again: it is tried by another, under the same id.
    let again = take(journal, "one", "q", 30).await.unwrap();
    assert_eq!((again.notification.id.as_str(), again.attempts), (first.notification.id.as_str(), 2));
    assert!(!settle(journal, &first, later(99), 31).await, "it has it no more");
    assert!(settle(journal, &first, CameTo::Delivered, 32).await, "what arrived has arrived");
    assert!(!settle(journal, &again, CameTo::GivenUp { because: "gone".into() }, 33).await);
    assert!(!settle(journal, &again, CameTo::Delivered, 33).await);
    let tally = journal.outbox().delivery_tally().await.unwrap();
    let count = |receiver: &str, state, count| (receiver.to_owned(), state, count);
    use DeliveryState::{Delivered, Waiting};
    assert_eq!(tally, [count("one", Delivered, 1), count("one", Waiting, 1), count("two", Waiting, 2)]);
}

pub(super) async fn a_delivery_waits_until_it_is_settled(journal: &dyn Journal) {
    subscribe(journal, &["one"]).await;
    for (run, at) in [("a", 1), ("b", 2), ("c", 3)] {
        append(journal, run, parked(None), at).await;
    }
    let [a, b, c] = [10, 11, 12].map(|at| take(journal, "one", "p", at));
    let (a, b, c) = (a.await.unwrap(), b.await.unwrap(), c.await.unwrap());
    assert!(settle(journal, &a, later(50), 13).await);
    assert!(settle(journal, &b, CameTo::PutBack, 14).await);
    assert!(settle(journal, &c, CameTo::GivenUp { because: "400".into() }, 15).await);
    let found = journal.outbox().deliveries(&all()).await.unwrap();
    let states: Vec<_> =
        found.iter().rev().map(|it| (it.state, it.trouble.as_ref().map(|it| it.because.as_str()))).collect();
    use DeliveryState::{Delivered, GivenUp, Waiting};
    assert_eq!(states, [(Waiting, Some("503")), (Waiting, None), (GivenUp, Some("400"))]);
    assert_eq!(take(journal, "one", "p", 16).await.unwrap().notification.id, b.notification.id, "at once");
    let again = take(journal, "one", "p", 50).await;
    assert_eq!(
        again.map(|it| it.notification.id),
        Some(b.notification.id.clone()),
        "the longest due is first"
    );
    let again = take(journal, "one", "p", 50).await.unwrap();
    assert_eq!((again.notification.id.clone(), again.first), (a.notification.id.clone(), Some(t(10))));
    assert!(settle(journal, &again, CameTo::Delivered, 51).await);
    let delivered = journal.outbox().deliveries(&all().state(Delivered)).await.unwrap();
    assert_eq!(delivered.len(), 1);
    assert_eq!((delivered[0].settled, delivered[0].due), (Some(t(51)), None));
    assert_eq!(
        journal.outbox().deliveries(&all().state(Waiting).to("one").at_most(1)).await.unwrap().len(),
        1
    );
    assert_eq!(journal.outbox().deliveries(&all().at_most(2)).await.unwrap().len(), 2);
}

pub(super) async fn what_is_kept_for_a_receiver_is_bounded(journal: &dyn Journal) {
    subscribe(journal, &["one", "two"]).await;
    for n in 0..6 {
        append(journal, &format!("r{n}"), parked(None), n + 1).await;
    }
    for at in 0..3 {
        let taken = take(journal, "one", "p", 20 + at).await.unwrap();
        assert!(settle(journal, &taken, CameTo::Delivered, 20 + at).await);
    }
    let bound =
        async |bounds: Bounds| journal.outbox().bound_deliveries("one", &bounds, t(40)).await.unwrap();
    let count = async |receiver: &str, state| {
        journal.outbox().deliveries(&all().to(receiver).state(state)).await.unwrap().len()
    };
    use DeliveryState::{Delivered, GivenUp, Waiting};
    assert_eq!(bound(Bounds::new(t(0), 10, 10)).await, 0);
    assert_eq!((count("one", Delivered).await, count("one", Waiting).await), (3, 3));
    assert_eq!(bound(Bounds::new(t(21), 10, 2)).await, 1, "the oldest that waits");
    assert_eq!(count("one", Delivered).await, 2);
    assert_eq!((count("one", Waiting).await, count("one", GivenUp).await), (2, 1));
    assert_eq!(bound(Bounds::new(t(0), 2, 2)).await, 0);
    assert_eq!((count("one", Delivered).await, count("one", GivenUp).await), (1, 1), "the newest stay");
    assert_eq!(count("two", Waiting).await, 6, "others are left alone");
}

pub(super) async fn a_delivery_says_what_happened_and_nothing_more(journal: &dyn Journal) {
    subscribe(journal, &["one"]).await;
    let text = "ä".repeat(100_000);
    let park = Park::Question { text, choices: vec!["yes".into(); 50] };
    append(journal, "a", Event::Parked { park, until: None }, 1).await;
    journal.signal(&"a".into(), &Signal::Stop { by: "ann".into() }, t(2)).await.unwrap();
    let found = journal.outbox().deliveries(&all()).await.unwrap();
    let written = json!(found[0]).to_string();
    assert!(written.len() < 8_000, "{}", written.len());
    let read: Delivery = serde_json::from_str(&written).unwrap();
    assert_eq!(read, found[0]);
}
