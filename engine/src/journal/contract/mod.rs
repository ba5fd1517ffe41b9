//! What every journal promises, checked against each of them.
#![allow(clippy::unwrap_used, reason = "a promise that is not kept panics")]

mod claims;
mod killed;
mod leases;
mod listing;
mod outbox;
mod prune;
mod queue;
pub(super) mod sample;
mod schedules;

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::json;

use self::claims::*;
pub use self::killed::{killed, prove_killed, write_until_killed};
use self::leases::*;
use self::listing::*;
use self::outbox::*;
use self::prune::{
    branches_go_with_their_run, texts_go_with_the_last_run_that_names_them,
    what_has_to_do_with_an_open_run_is_not_pruned, what_is_due_is_not_changed_by_pruning,
    what_is_over_is_pruned_by_age_and_number, what_something_due_needs_is_not_pruned,
    what_was_pruned_does_not_start_again,
};
use self::queue::*;
use self::sample::*;
use self::schedules::*;
use super::{
    Appended, Claim, ExtendRequest, Journal, LeaseFilter, NewRun, RunFilter, Settlement, Sort, Status, Sync,
    Tenure,
};
use crate::error::ErrorKind;
use crate::event::{
    self, Effected, Event, GENESIS, Lease, Park, Progress, RunId, Schedule, Signal, StepEnd, fingerprint,
};

/// One promise: panics when a journal does not keep it. The journal is empty.
pub type Promise = for<'a> fn(&'a dyn Journal) -> BoxFuture<'a, ()>;

/// Lists the promises, and makes each a test of each journal of this crate.
macro_rules! promises {
    ($($name:ident)*) => {
        /// What every journal promises, by name.
        pub const PROMISES: &[(&str, Promise)] = &[$((stringify!($name), |journal| $name(journal).boxed())),*];

        #[cfg(test)]
        mod memory {
            $(#[tokio::test] async fn $name() { super::$name(&crate::journal::MemoryJournal::new()).await; })*
        }
        #[cfg(all(test, feature = "sqlite"))]
        mod sqlite {
            $(#[tokio::test] async fn $name() {
                let folder = tempfile::tempdir().unwrap();
                let journal = crate::journal::SqliteJournal::open(&folder.path().join("journal.db")).unwrap();
                super::$name(&journal).await;
                drop(journal);
                // Whatever was done to it, what is on the disk is whole.
                crate::journal::SqliteJournal::open(&folder.path().join("journal.db")).unwrap();
            })*
        }
    };
}

/// Checks every promise, each against a journal that `fresh` makes.
///
/// # Panics
/// When a promise is not kept; names all that are not.
pub async fn prove<J: Journal>(fresh: impl AsyncFn() -> J) {
    let mut broken = Vec::new();
    for (name, promise) in PROMISES {
        let journal = fresh().await;
        if let Err(panic) = AssertUnwindSafe(promise(&journal)).catch_unwind().await {
            broken.push(format!("{name}: {}", crate::error::panic_message(panic.as_ref())));
        }
    }
    assert!(broken.is_empty(), "{} promises are not kept:\n{}", broken.len(), broken.join("\n"));
}

promises! {
    accounts_of_ticks_go_but_the_newest_of_each_schedule
    a_run_waits_until_there_is_room
    the_first_in_the_queue_for_which_there_is_room_is_next
    a_run_that_its_maker_drives_keeps_its_time
    who_is_stopped_in_the_queue_leaves_it
    a_run_that_is_wanted_at_once_waits_for_nobody
    runs_of_schedules_stand_in_the_queue
    places_are_given_back_in_every_group
    a_run_is_prepared_once
    a_prepared_run_wakes_when_it_says
    a_run_is_driven_by_one_process_at_a_time
    a_run_of_a_silent_process_is_taken_over
    a_run_of_a_process_known_to_be_dead_is_taken_over_at_once
    a_claim_wants_a_run_and_a_heartbeat
    a_run_that_went_on_is_not_claimed_by_who_has_not_read_it
    a_void_tenure_writes_nothing
    a_run_that_is_over_stays_so
    an_append_is_all_or_nothing
    only_claims_claim_and_progress_is_not_kept
    effects_are_written_with_their_event
    words_wake_a_parked_run_and_are_consumed
    a_word_is_not_lost_to_a_run_that_parks
    what_a_person_has_to_look_at_hears_only_a_stop
    a_word_to_nobody_is_refused
    who_drives_a_run_finds_that_a_word_waits
    what_is_longest_due_comes_first
    what_is_due_next_is_the_first_behind_a_time
    what_may_be_due_is_told
    leases_are_found_by_what_is_due_and_whose_they_are
    a_forgotten_lease_is_off_the_list_and_its_reason_kept
    a_lease_is_extended_together_with_what_closes_it
    an_extension_is_of_the_lease_that_was_read_and_whose_closing_has_not_begun
    a_closing_begins_only_while_its_lease_is_due
    schedules_are_replaced_and_removed
    schedules_are_found_by_what_is_due
    a_schedule_is_settled_by_who_has_read_it_last
    a_schedule_keeps_how_it_stands_when_its_step_is_done_again
    a_tick_has_one_account_and_those_that_say_the_same_are_one
    the_end_of_a_run_waits_until_its_schedule_has_heard_of_it
    a_run_that_takes_too_long_is_asked_to_stop_once
    sources_are_what_the_run_pinned
    records_are_chained_and_read_from_anywhere
    runs_are_listed_newest_first
    runs_are_listed_by_who_started_them_and_what_they_are_called
    runs_are_listed_in_the_order_that_is_asked_for
    a_run_is_found_by_the_beginning_of_its_id
    what_is_over_is_pruned_by_age_and_number
    what_was_pruned_does_not_start_again
    what_has_to_do_with_an_open_run_is_not_pruned
    what_something_due_needs_is_not_pruned
    branches_go_with_their_run
    texts_go_with_the_last_run_that_names_them
    what_is_due_is_not_changed_by_pruning
    a_text_is_kept_under_its_fingerprint
    what_would_not_read_back_is_not_written
    what_can_wait_is_in_order_with_what_cannot
    an_empty_append_asks_whether_the_tenure_holds
    nobody_is_told_who_does_not_want_to_hear
    who_is_not_told_any_more_has_nothing_waiting
    a_person_is_called_for_what_does_not_go_on_by_itself
    what_was_not_written_calls_nobody
    ticks_that_are_missed_and_pauses_call
    a_notification_is_told_once_under_its_id
    one_process_at_a_time_has_a_delivery
    a_delivery_waits_until_it_is_settled
    what_is_kept_for_a_receiver_is_bounded
    a_delivery_says_what_happened_and_nothing_more
}

async fn a_run_is_prepared_once(journal: &dyn Journal) {
    assert!(journal.prepare(new_run("a"), t(1)).await.unwrap());
    let first = journal.run(&"a".into()).await.unwrap().unwrap();
    assert_eq!((first.status, first.seq, first.epoch, first.created), (Status::Prepared, 1, 0, t(1)));

    let mut other = new_run("a");
    other.prepared.runbook = "other".into();
    assert!(!journal.prepare(other, t(2)).await.unwrap());
    assert_eq!(journal.run(&"a".into()).await.unwrap().unwrap(), first);
    assert_eq!(journal.records(&"a".into(), 0).await.unwrap().len(), 1);
    assert_eq!(journal.run(&"b".into()).await.unwrap(), None);
}

async fn a_prepared_run_wakes_when_it_says(journal: &dyn Journal) {
    journal.prepare(new_run("now"), t(5)).await.unwrap();
    journal.prepare(NewRun { wake: Some(t(9)), ..new_run("later") }, t(5)).await.unwrap();
    assert_eq!(due(journal, 4).await, Vec::<String>::new());
    assert_eq!(due(journal, 5).await, ["now"]);
    assert_eq!(due(journal, 9).await, ["now", "later"]);
}

async fn a_run_that_is_over_stays_so(journal: &dyn Journal) {
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    let tenure = claim(journal, "a", "one", 1).await;
    journal.append(&tenure, &[succeeded()], t(2), Sync::Now).await.unwrap();
    assert_eq!(kind(journal.append(&tenure, &[note(1)], t(3), Sync::Now).await), ErrorKind::Storage);
    assert_eq!(kind(journal.append(&tenure, &[note(1)], t(3), Sync::Soon).await), ErrorKind::Storage);
    assert_eq!(journal.claim(&request("a", "one", 4)).await.unwrap(), Claim::Over);
    let summary = journal.run(&"a".into()).await.unwrap().unwrap();
    assert_eq!(
        (summary.status, summary.seq, summary.owner, summary.wake),
        (Status::Succeeded, 3, None, None)
    );
    assert_eq!(due(journal, 9999).await, Vec::<String>::new());
}

async fn an_append_is_all_or_nothing(journal: &dyn Journal) {
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    let tenure = claim(journal, "a", "one", 1).await;
    let before = journal.run(&"a".into()).await.unwrap();
    let opened = finished(1, vec![Effected::LeaseOpened(lease("l", 5))]);
    for sync in [Sync::Now, Sync::Soon] {
        let events = [started(1), opened.clone(), parked(None), note(2)];
        assert_eq!(kind(journal.append(&tenure, &events, t(2), sync).await), ErrorKind::Storage);
        assert_eq!(journal.run(&"a".into()).await.unwrap(), before);
        assert_eq!(journal.leases().await.unwrap(), []);
    }
    // The tenure is as good as before.
    let done = journal.append(&tenure, &[started(1), opened], t(3), Sync::Now).await.unwrap();
    assert_eq!(done.last, 4);
    assert_eq!(journal.leases().await.unwrap().len(), 1);
}

async fn only_claims_claim_and_progress_is_not_kept(journal: &dyn Journal) {
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    let tenure = claim(journal, "a", "one", 1).await;
    let first = journal.records(&"a".into(), 0).await.unwrap()[0].event().unwrap();
    let claimed = Event::Claimed { owner: "one".into(), epoch: 7 };
    let progress = Event::Progress { step: 1, progress: Progress::default() };
    for event in [first, claimed, progress] {
        assert_eq!(kind(journal.append(&tenure, &[event], t(2), Sync::Now).await), ErrorKind::Storage);
    }
    assert_eq!(journal.run(&"a".into()).await.unwrap().unwrap().seq, 2);
}

async fn effects_are_written_with_their_event(journal: &dyn Journal) {
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    let tenure = claim(journal, "a", "one", 1).await;
    let accepted = Event::StepAccepted {
        step: 1,
        continuation: json!({"at": "https://example/1"}),
        check_at: t(5),
        send_before: None,
        deadline: t(50),
        effected: vec![
            Effected::LeaseOpened(lease("late", 90)),
            Effected::Scheduled(Box::new(schedule("s", 70))),
        ],
    };
    journal.append(&tenure, &[started(1), accepted], t(2), Sync::Now).await.unwrap();
    assert_eq!(journal.leases().await.unwrap(), [lease("late", 90)]);
    assert_eq!(journal.schedules().await.unwrap(), [schedule("s", 70)]);

    let effected = vec![
        Effected::LeaseOpened(lease("early", 20)),
        Effected::LeaseOpened(lease("late", 80)),
        Effected::LeaseClosed { id: "never opened".into() },
        Effected::Unscheduled { id: "s".into() },
        Effected::Unscheduled { id: "never made".into() },
    ];
    journal.append(&tenure, &[finished(1, effected)], t(3), Sync::Soon).await.unwrap();
    assert_eq!(journal.leases().await.unwrap(), [lease("early", 20), lease("late", 80)]);
    assert_eq!(journal.schedules().await.unwrap(), []);

    let closed = finished(2, vec![Effected::LeaseClosed { id: "early".into() }]);
    journal.append(&tenure, &[started(2), closed], t(4), Sync::Now).await.unwrap();
    assert_eq!(journal.leases().await.unwrap(), [lease("late", 80)]);
}

async fn words_wake_a_parked_run_and_are_consumed(journal: &dyn Journal) {
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    let tenure = claim(journal, "a", "one", 1).await;
    let appended = journal.append(&tenure, &[parked(None)], t(2), Sync::Now).await.unwrap();
    assert!(!appended.signalled);
    assert_eq!(due(journal, 9999).await, Vec::<String>::new());

    journal.signal(&"a".into(), &answer(1), t(3)).await.unwrap();
    journal.signal(&"a".into(), &answer(2), t(4)).await.unwrap();
    journal.signal(&"a".into(), &answer(1), t(5)).await.unwrap();
    assert_eq!(journal.signals(&"a".into()).await.unwrap(), [answer(1), answer(2), answer(1)]);
    assert_eq!(due(journal, 2).await, Vec::<String>::new());
    assert_eq!(due(journal, 3).await, ["a"]);

    let tenure = claim(journal, "a", "one", 6).await;
    assert_eq!(due(journal, 6).await, Vec::<String>::new());
    let signalled = |signal| Event::Signalled { signal };
    let appended = journal.append(&tenure, &[signalled(answer(1))], t(7), Sync::Now).await.unwrap();
    assert!(appended.signalled);
    assert_eq!(
        journal.signals(&"a".into()).await.unwrap(),
        [answer(2), answer(1)],
        "the oldest of its kind is gone"
    );
    let rest = [signalled(answer(1)), signalled(answer(2)), signalled(answer(3))];
    let appended = journal.append(&tenure, &rest, t(8), Sync::Now).await.unwrap();
    assert!(!appended.signalled);
    assert_eq!(journal.signals(&"a".into()).await.unwrap(), []);
}

async fn a_word_is_not_lost_to_a_run_that_parks(journal: &dyn Journal) {
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    let tenure = claim(journal, "a", "one", 1).await;
    let stop = Signal::Stop { by: "ann".into() };
    journal.signal(&"a".into(), &stop, t(2)).await.unwrap();
    assert_eq!(due(journal, 3).await, Vec::<String>::new(), "its process is told by the next append");
    let appended = journal.append(&tenure, &[parked(Some(100))], t(3), Sync::Now).await.unwrap();
    assert!(appended.signalled);
    assert_eq!(due(journal, 3).await, ["a"]);
    // A word never puts a run off that would wake before.
    let tenure = claim(journal, "a", "one", 4).await;
    journal
        .append(&tenure, &[Event::Signalled { signal: stop.clone() }, parked(Some(6))], t(5), Sync::Now)
        .await
        .unwrap();
    journal.signal(&"a".into(), &stop, t(8)).await.unwrap();
    assert_eq!(journal.run(&"a".into()).await.unwrap().unwrap().wake, Some(t(6)));
}

async fn what_a_person_has_to_look_at_hears_only_a_stop(journal: &dyn Journal) {
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    let tenure = claim(journal, "a", "one", 1).await;
    journal.signal(&"a".into(), &answer(1), t(2)).await.unwrap();
    let parked = Event::Parked { park: Park::Interrupted, until: None };
    journal.append(&tenure, &[parked], t(3), Sync::Now).await.unwrap();
    let child = Signal::ChildEnded { run: "b".into() };
    journal.signal(&"a".into(), &child, t(4)).await.unwrap();
    assert_eq!(due(journal, 9999).await, Vec::<String>::new());
    journal.signal(&"a".into(), &Signal::Stop { by: "ann".into() }, t(5)).await.unwrap();
    assert_eq!(due(journal, 5).await, ["a"]);
}

async fn who_drives_a_run_finds_that_a_word_waits(journal: &dyn Journal) {
    for run in ["a", "b", "c"] {
        journal.prepare(new_run(run), t(0)).await.unwrap();
    }
    let mine = claim(journal, "a", "one", 1).await;
    claim(journal, "b", "two", 1).await;
    let stop = Signal::Stop { by: "ann".into() };
    assert_eq!(journal.signalled(&owner("one")).await.unwrap(), []);
    for run in ["a", "a", "b", "c"] {
        journal.signal(&run.into(), &stop, t(2)).await.unwrap();
    }
    assert_eq!(journal.signalled(&owner("one")).await.unwrap(), ["a".into()]);
    let heard = || Event::Signalled { signal: stop.clone() };
    journal.append(&mine, &[heard(), heard()], t(3), Sync::Now).await.unwrap();
    assert_eq!(journal.signalled(&owner("one")).await.unwrap(), []);
}

async fn a_word_to_nobody_is_refused(journal: &dyn Journal) {
    assert_eq!(kind(journal.signal(&"a".into(), &answer(1), t(0)).await), ErrorKind::Invalid);
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    let tenure = claim(journal, "a", "one", 1).await;
    journal.append(&tenure, &[succeeded()], t(2), Sync::Now).await.unwrap();
    assert_eq!(kind(journal.signal(&"a".into(), &answer(1), t(3)).await), ErrorKind::Invalid);
    assert_eq!(journal.signals(&"a".into()).await.unwrap(), []);
    assert_eq!(journal.signals(&"b".into()).await.unwrap(), []);
}

async fn what_is_longest_due_comes_first(journal: &dyn Journal) {
    for (id, wake) in [("c", 30), ("a", 10), ("d", 40), ("e", 50)] {
        journal.prepare(NewRun { wake: Some(t(wake)), ..new_run(id) }, t(0)).await.unwrap();
    }
    journal.prepare(new_run("b"), t(0)).await.unwrap();
    claim(journal, "b", "one", 1).await;
    journal.prepare(new_run("alive"), t(0)).await.unwrap();
    claim(journal, "alive", "two", 1).await;
    journal.heartbeat(&owner("one"), t(20)).await.unwrap();
    assert_eq!(due(journal, 40).await, ["a", "b", "c", "d"]);
    let first = journal.due(t(40), 2).await.unwrap();
    assert_eq!(first, [RunId::from("a"), RunId::from("b")]);
    assert_eq!(journal.due(t(40), 0).await.unwrap(), []);
}

async fn what_is_due_next_is_the_first_behind_a_time(journal: &dyn Journal) {
    assert_eq!(journal.next_due(t(0)).await.unwrap(), None);
    for (id, wake) in [("a", 10), ("b", 20)] {
        journal.prepare(NewRun { wake: Some(t(wake)), ..new_run(id) }, t(0)).await.unwrap();
    }
    put(journal, schedule("s", 30), t(0)).await;
    journal.prepare(new_run("c"), t(0)).await.unwrap();
    let tenure = claim(journal, "c", "one", 1).await;
    let opened = vec![Effected::LeaseOpened(lease("l", 40))];
    journal.append(&tenure, &[started(1), finished(1, opened)], t(2), Sync::Now).await.unwrap();
    // Who drives nothing is nobody's business.
    journal.heartbeat(&owner("two"), t(15)).await.unwrap();
    journal.heartbeat(&owner("one"), t(50)).await.unwrap();
    let mut next = Vec::new();
    let mut at = t(0);
    while let Some(due) = journal.next_due(at).await.unwrap() {
        next.push(due);
        at = due;
    }
    assert_eq!(next, [10, 20, 30, 40, 50].map(t));
}

async fn what_may_be_due_is_told(journal: &dyn Journal) {
    let mut news = journal.news().listen();
    let mut told = async || {
        let mut is_told = false;
        while let Ok(()) = tokio::time::timeout(std::time::Duration::ZERO, news.hear()).await {
            is_told = true;
        }
        is_told
    };
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    assert!(told().await, "a new run");
    let tenure = claim(journal, "a", "one", 1).await;
    told().await;
    journal.append(&tenure, &[started(1)], t(2), Sync::Now).await.unwrap();
    assert!(!told().await, "a step changes nothing for others");
    journal.signal(&"a".into(), &answer(1), t(3)).await.unwrap();
    assert!(told().await, "a signal");
    let opened = vec![Effected::LeaseOpened(lease("l", 9))];
    journal.append(&tenure, &[finished(1, opened)], t(4), Sync::Now).await.unwrap();
    assert!(told().await, "a lease");
    journal.append(&tenure, &[parked(Some(6))], t(5), Sync::Now).await.unwrap();
    assert!(told().await, "a run that is put away");
    put(journal, schedule("s", 9), t(0)).await;
    assert!(told().await, "a schedule");
    let request = ExtendRequest::new(&lease("l", 9), t(20), "ann", t(6), "closing".into());
    journal.extend_lease(&request).await.unwrap();
    assert!(told().await, "a lease that was extended");
}

async fn sources_are_what_the_run_pinned(journal: &dyn Journal) {
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    let mut other = new_run("b");
    other.sources.reverse();
    other.prepared.sources.reverse();
    journal.prepare(other.clone(), t(0)).await.unwrap();
    assert_eq!(journal.sources(&"a".into()).await.unwrap(), new_run("a").sources);
    assert_eq!(journal.sources(&"b".into()).await.unwrap(), other.sources);
    assert_eq!(kind(journal.sources(&"c".into()).await), ErrorKind::Invalid);

    let mut changed = new_run("c");
    changed.sources[1].text.push(' ');
    let mut missing = new_run("c");
    missing.sources.pop();
    let mut renamed = new_run("c");
    renamed.sources[0].name = "other".into();
    for wrong in [changed, missing, renamed] {
        assert_eq!(kind(journal.prepare(wrong, t(1)).await), ErrorKind::Storage);
    }
    assert_eq!(journal.run(&"c".into()).await.unwrap(), None);
}

async fn records_are_chained_and_read_from_anywhere(journal: &dyn Journal) {
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    let tenure = claim(journal, "a", "one", 1).await;
    for step in 1..=5 {
        let appended = journal.append(&tenure, &both(step), t(1), Sync::Now).await.unwrap();
        assert_eq!(appended.last, 2 + 2 * u64::from(step));
    }
    let written = journal.records(&"a".into(), 0).await.unwrap();
    assert_eq!(written.last().unwrap().seq, 12);
    event::verify(GENESIS, 1, &written).unwrap();
    for after in 0..=13 {
        let rest: Vec<_> = written.iter().filter(|record| record.seq > after).cloned().collect();
        assert_eq!(journal.records(&"a".into(), after).await.unwrap(), rest);
    }
    assert_eq!(kind(journal.records(&"b".into(), 0).await), ErrorKind::Invalid);
}

async fn a_text_is_kept_under_its_fingerprint(journal: &dyn Journal) {
    let text = "[1, 2, 3]".repeat(100_000);
    assert_eq!(kind(journal.kept(&fingerprint(&text)).await), ErrorKind::Storage);
    for _ in 0..2 {
        journal.keep(&text).await.unwrap();
    }
    assert_eq!(journal.kept(&fingerprint(&text)).await.unwrap(), text);
}

async fn what_would_not_read_back_is_not_written(journal: &dyn Journal) {
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    let tenure = claim(journal, "a", "one", 1).await;
    journal.append(&tenure, &[started(1)], t(2), Sync::Now).await.unwrap();
    let deep = (0..130).fold(json!(1), |inner, _| json!([inner]));
    let large = json!("x".repeat(crate::limits::RECORD));
    for value in [deep, large] {
        for sync in [Sync::Soon, Sync::Now] {
            let end = StepEnd::Ok(value.clone().into());
            let finished = Event::StepFinished { step: 1, end, effected: vec![] };
            assert_eq!(kind(journal.append(&tenure, &[finished], t(3), sync).await), ErrorKind::Invalid);
        }
    }
    // The run goes on from where it was.
    journal.append(&tenure, &[note(1)], t(3), Sync::Now).await.unwrap();
    assert_eq!(journal.records(&"a".into(), 0).await.unwrap().len(), 4);
}

async fn what_can_wait_is_in_order_with_what_cannot(journal: &dyn Journal) {
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    let tenure = claim(journal, "a", "one", 1).await;
    let mut written = Vec::new();
    for step in 1..=20 {
        for (event, sync) in [(started(step), Sync::Now), (note(step), Sync::Soon)] {
            let appended = journal.append(&tenure, std::slice::from_ref(&event), t(2), sync).await.unwrap();
            written.push((appended.last, event));
        }
    }
    // A read sees it, on the disk or not.
    let read = journal.records(&"a".into(), 2).await.unwrap();
    let read: Vec<_> = read.iter().map(|record| (record.seq, record.event().unwrap())).collect();
    assert_eq!(read, written);
    assert_eq!(journal.run(&"a".into()).await.unwrap().unwrap().seq, 42);
}

async fn an_empty_append_asks_whether_the_tenure_holds(journal: &dyn Journal) {
    journal.prepare(new_run("a"), t(0)).await.unwrap();
    let tenure = claim(journal, "a", "one", 1).await;
    let before = journal.run(&"a".into()).await.unwrap();
    let nothing = journal.append(&tenure, &[], t(2), Sync::Now).await.unwrap();
    assert_eq!(nothing, Appended { last: 2, signalled: false });
    journal.signal(&"a".into(), &answer(1), t(3)).await.unwrap();
    assert!(journal.append(&tenure, &[], t(4), Sync::Now).await.unwrap().signalled);
    assert_eq!(journal.run(&"a".into()).await.unwrap(), before);
    claim(journal, "a", "one", 5).await;
    assert_eq!(kind(journal.append(&tenure, &[], t(6), Sync::Now).await), ErrorKind::Stopped);
}
