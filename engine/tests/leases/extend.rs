//! A lease is extended by a person: to a time, with all that would close it before, and never while it is being closed.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use relight_engine::clock::{Clock, SteppedClock};
use relight_engine::event::{ExtendedLease, Lease, Schedule};
use relight_engine::journal::{Around, ExtendRequest, Journal, LeaseFilter, MemoryJournal, Settlement};
use relight_engine::{Error, ErrorKind, Result, RunId};
use tokio::sync::Mutex;

use crate::bench::{Bench, HOUR, Held, LONGEST, MINUTE};

/// A door that closes in a second, and a run that is scheduled to close it in two.
async fn planned() -> (Bench, Lease) {
    let bench = Bench::new().await;
    let lease = bench.journal.leases().await.unwrap().remove(0);
    let due = lease.deadline + SignedDuration::from_secs(1);
    let plan = Schedule::new("plan", "close", due).closes(&lease.id);
    assert!(bench.journal.settle(&Settlement::add(plan), bench.clock.now()).await.unwrap());
    (bench, lease)
}

fn hours(hours: i64) -> SignedDuration {
    SignedDuration::from_hours(hours)
}

#[tokio::test]
async fn what_is_extended_closes_at_its_new_time_and_not_before() {
    let (bench, lease) = planned().await;
    let engine = bench.engine();
    let to = lease.deadline + hours(2);
    let extended = engine.extend_lease(&lease.id, to, "ann").await.unwrap();
    assert_eq!((extended.from, extended.lease.deadline), (lease.deadline, to));
    assert_eq!((extended.by.as_str(), &extended.schedules[..]), ("ann", &["plan".to_owned()][..]));
    assert_eq!(engine.extended_leases().await.unwrap(), [extended]);

    let mut worker = bench.worker(&engine);
    while bench.clock.now() < to {
        let found = worker.tick().await.unwrap();
        worker.settle().await;
        assert!(found.closing.is_empty() && found.fired.is_empty(), "{found:?} at {}", bench.clock.now());
        bench.clock.advance(MINUTE);
    }
    assert_eq!(bench.doors.closed(), 0);
    bench.keep(&mut worker, HOUR, MINUTE).await;
    assert!(bench.is_closed().await);
    assert_eq!((bench.doors.closed(), bench.closings().await.len()), (1, 1));
}

#[tokio::test]
async fn a_service_that_waits_for_the_deadline_hears_of_the_later_one() {
    let (mut bench, lease) = planned().await;
    bench.clock = SteppedClock::new(bench.clock.now());
    let engine = bench.engine();
    let service = tokio::spawn({
        let mut worker = bench.worker(&engine);
        async move { worker.run().await }
    });
    // In real time it asks every second whether others wrote.
    let waits_until = async |time: Timestamp| {
        let left = || time.duration_since(bench.clock.now()).unsigned_abs();
        while bench.clock.first_wait() != Some(left()) {
            tokio::task::yield_now().await;
        }
    };
    waits_until(lease.deadline).await;
    let to = lease.deadline + hours(1);
    engine.extend_lease(&lease.id, to, "ann").await.unwrap();
    waits_until(to).await;
    bench.clock.advance(2 * MINUTE);
    waits_until(to).await;
    assert_eq!((bench.doors.closed(), bench.closings().await.len()), (0, 0));
    bench.clock.set(to);
    bench
        .ticking(async {
            while !bench.is_closed().await {
                tokio::task::yield_now().await
            }
        })
        .await;
    engine.hand_back();
    service.await.unwrap();
    assert_eq!((bench.doors.closed(), bench.closings().await.len()), (1, 1));
}

#[tokio::test]
async fn what_cannot_be_extended_says_why_and_stays_as_it_is() {
    let (bench, lease) = planned().await;
    let engine = bench.engine();
    let before = (bench.journal.leases().await.unwrap(), bench.journal.schedules().await.unwrap());
    let most = lease.opened + SignedDuration::try_from(LONGEST).unwrap();
    let second = SignedDuration::from_secs(1);
    for (id, to, words) in [
        ("nothing", lease.deadline + hours(1), "there is no open lease `nothing`"),
        (&*lease.id, lease.deadline, "is open until"),
        (&lease.id, lease.deadline - second, "is open until"),
        (&lease.id, most + second, "may stay open until"),
        (&lease.id, Timestamp::MAX, "may stay open until"),
    ] {
        let error = engine.extend_lease(id, to, "ann").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains(words) && !error.hints().is_empty(), "{error:?}");
    }
    assert_eq!((bench.journal.leases().await.unwrap(), bench.journal.schedules().await.unwrap()), before);
    assert_eq!(bench.journal.extended_leases().await.unwrap(), []);

    // As far as it goes, and then no further.
    engine.extend_lease(&lease.id, most, "ann").await.unwrap();
    let error = engine.extend_lease(&lease.id, most + second, "ann").await.unwrap_err();
    assert!(error.message().contains("may stay open until"), "{error}");
    // Once its time has come it is to be closed, whether or not anybody does.
    bench.clock.set(most);
    let error = engine.extend_lease(&lease.id, most + hours(1), "ann").await.unwrap_err();
    assert!(error.message().contains("is to be closed"), "{error}");
}

#[tokio::test]
async fn a_lease_that_says_nothing_of_it_is_not_extended() {
    let (bench, mut lease) = planned().await;
    lease.latest = None;
    let older = Older(bench.journal.clone(), lease.clone());
    let engine = bench.over(Arc::new(older), true);
    let error = engine.extend_lease(&lease.id, lease.deadline + hours(1), "ann").await.unwrap_err();
    assert!(error.message().contains("cannot be extended"), "{error}");
}

/// A journal whose lease was written by a version that knew no extension.
struct Older(Arc<MemoryJournal>, Lease);

#[async_trait]
impl Around for Older {
    fn behind(&self) -> &dyn Journal {
        &*self.0
    }

    async fn leases_where(&self, _: &LeaseFilter) -> Result<Vec<Lease>> {
        Ok(vec![self.1.clone()])
    }
}

#[tokio::test]
async fn what_is_being_closed_is_not_extended() {
    let bench = Bench::before();
    let engine = bench.engine();
    bench.carry(&engine, r#"door::open("front")"#).await;
    let lease = bench.journal.leases().await.unwrap().remove(0);
    bench.doors.outage(Some(ErrorKind::Unsent));
    let run = engine.close_lease(&lease.id).await.unwrap();
    let error = engine.extend_lease(&lease.id, lease.deadline + hours(1), "ann").await.unwrap_err();
    assert!(error.message().contains("is being closed"), "{error}");
    engine.run(&run).await.unwrap();
    // It failed, and is tried again.
    let error = engine.extend_lease(&lease.id, lease.deadline + hours(1), "ann").await.unwrap_err();
    assert!(error.message().contains("is being closed"), "{error}");
    assert_eq!(bench.journal.leases().await.unwrap()[0].deadline, lease.deadline);
}

#[tokio::test]
async fn what_is_being_opened_is_extended_when_it_is_open() {
    let bench = Bench::before();
    bench.doors.hold(Held::OnItsWay);
    let engine = bench.beside(false);
    let run = engine.prepare(&Bench::request(r#"door::open("front")"#)).await.unwrap();
    let opening = tokio::spawn({
        let (engine, run) = (engine.clone(), run.clone());
        async move { engine.run(&run).await }
    });
    while bench.doors.0.lock().unwrap().waits.is_none() {
        tokio::task::yield_now().await;
    }
    let lease = bench.journal.leases().await.unwrap().remove(0);
    let other = bench.beside(false);
    let to = lease.deadline + hours(1);
    let error = other.extend_lease(&lease.id, to, "ann").await.unwrap_err();
    assert!(error.message().contains("still being opened"), "{error}");
    bench.doors.release();
    opening.await.unwrap().unwrap();
    other.extend_lease(&lease.id, to, "ann").await.unwrap();
    assert_eq!(bench.journal.leases().await.unwrap()[0].deadline, to);
}

/// What somebody else does just before a call reaches the journal.
enum Before {
    /// Reads which leases are due, and then extends them.
    Close(ExtendRequest),
    /// Extends a lease, and before that closes it.
    Extend,
}

struct Meanwhile {
    journal: Arc<MemoryJournal>,
    other: relight_engine::Engine,
    before: Mutex<Option<Before>>,
}

#[async_trait]
impl Around for Meanwhile {
    fn behind(&self) -> &dyn Journal {
        &*self.journal
    }

    async fn leases_where(&self, filter: &LeaseFilter) -> Result<Vec<Lease>> {
        let read = self.journal.leases_where(filter).await?;
        let mut before = self.before.lock().await;
        if let (LeaseFilter::Due(_), false) = (filter, read.is_empty())
            && let Some(Before::Close(request)) = before.take_if(|it| matches!(it, Before::Close(_)))
        {
            self.journal.extend_lease(&request).await?.ok_or_else(|| Error::storage("it is extended"))?;
        }
        Ok(read)
    }

    async fn extend_lease(&self, request: &ExtendRequest) -> Result<Option<ExtendedLease>> {
        if let Some(Before::Extend) = self.before.lock().await.take() {
            self.other.close_lease(&request.lease).await?;
        }
        self.journal.extend_lease(request).await
    }
}

fn meanwhile(bench: &Bench, before: Before) -> Arc<Meanwhile> {
    let (journal, other) = (bench.journal.clone(), bench.beside(false));
    Arc::new(Meanwhile { journal, other, before: Mutex::new(Some(before)) })
}

#[tokio::test]
async fn a_service_that_found_it_due_a_moment_before_leaves_it_open() {
    let (bench, lease) = planned().await;
    let to = lease.deadline + hours(1);
    // Asked for before the deadline, written down after it.
    let request = ExtendRequest::new(&lease, to, "ann", bench.clock.now(), RunId::from("closing"));
    let engine = bench.over(meanwhile(&bench, Before::Close(request)), true);
    bench.clock.advance(2 * MINUTE);
    let mut worker = bench.worker(&engine);
    let found = worker.tick().await.unwrap();
    worker.settle().await;
    assert!(found.closing.is_empty() && found.fired.is_empty(), "{found:?}");
    assert_eq!((bench.doors.closed(), bench.closings().await.len()), (0, 0));
    bench.keep(&mut worker, 2 * HOUR, MINUTE).await;
    assert!(bench.is_closed().await && bench.clock.now() >= to);
    assert_eq!((bench.doors.closed(), bench.closings().await.len()), (1, 1));
    assert_eq!(*bench.troubles.lock().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_closing_that_begins_a_moment_before_goes_first() {
    let (bench, lease) = planned().await;
    let engine = bench.over(meanwhile(&bench, Before::Extend), true);
    let error = engine.extend_lease(&lease.id, lease.deadline + hours(1), "ann").await.unwrap_err();
    assert!(error.message().contains("is being closed"), "{error}");
    let mut worker = bench.worker(&engine);
    bench.keep(&mut worker, HOUR, Duration::from_secs(15)).await;
    assert_eq!((bench.is_closed().await, bench.doors.closed()), (true, 1));
    assert_eq!(bench.journal.extended_leases().await.unwrap(), []);
}
