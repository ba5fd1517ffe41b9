//! Runs that are put away in good order at every record: by Ctrl-C, by a service that ends, and by a stop.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::Timestamp;
use relight_engine::clock::Clock;
use relight_engine::event::{Event, RunEnd, Signal};
use relight_engine::journal::{Appended, Around, Journal, Sync, Tenure};
use relight_engine::{Driven, Engine, Result, RunId};

use super::{Drill, Traces, ideal, judge, stage, to_the_end, unleased};
use crate::support::world::{Ran, World, minutes, repeated};

/// How somebody puts a run away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// A person's Ctrl-C: it stays where it is until it is resumed.
    Interrupt,
    /// A service ends: the next one goes on with it.
    HandBack,
    /// A person does not want it any more.
    ForGood,
}

/// A journal beside which somebody puts a run away when so many records are written.
struct Beside {
    behind: Arc<dyn Journal>,
    left: AtomicU64,
    stop: Stop,
    run: RunId,
    engine: Mutex<Option<Engine>>,
}

#[async_trait]
impl Around for Beside {
    fn behind(&self) -> &dyn Journal {
        &*self.behind
    }

    async fn append(&self, tenure: &Tenure, events: &[Event], at: Timestamp, sync: Sync) -> Result<Appended> {
        let appended = self.behind.append(tenure, events, at, sync).await?;
        let written = events.len() as u64;
        let left = self.left.fetch_sub(written, Ordering::SeqCst);
        if (1..=written).contains(&left) {
            let engine = self.engine.lock().expect("no panic while it is held").take().expect("an engine");
            match self.stop {
                Stop::Interrupt => engine.interrupt(),
                Stop::HandBack => engine.hand_back(),
                Stop::ForGood => {
                    let stop = Signal::Stop { by: "ada".to_owned() };
                    // A run that is over hears nothing any more.
                    let _ = self.behind.signal(&self.run, &stop, at).await;
                }
            }
        }
        Ok(appended)
    }
}

/// Puts a run of the drill away after one of its records, or of its branches'. Returns it and how far it came.
async fn put_away(drill: &Drill, record: u64, stop: Stop) -> (World, Result<Ran>) {
    let (world, request) = stage(drill, &[]).await;
    let run = world.engine().prepare(&request).await.expect("a run is written down");
    let beside = Arc::new(Beside {
        behind: world.journal.clone(),
        left: AtomicU64::new(record),
        stop,
        run: run.clone(),
        engine: Mutex::default(),
    });
    let engine = world.engine_over(beside.clone());
    *beside.engine.lock().expect("no panic while it is held") = Some(engine.clone());
    let driven = world.passing(engine.run(&run)).await;
    beside.engine.lock().expect("no panic while it is held").take();
    (world, driven.map(|driven| Ran { run, driven }))
}

/// Stops a run for good. Returns whether it was stopped before it was over, and what is wrong.
pub(super) async fn stopped_at(drill: &Drill, record: u64) -> (bool, Vec<String>) {
    let (world, ran) = put_away(drill, record, Stop::ForGood).await;
    let mut wrong = repeated(&world.lab.ledger());
    let was_stopped = match &ran {
        Ok(Ran { driven: Driven::Ended(RunEnd::Stopped { .. }), .. }) => true,
        Ok(Ran { driven: Driven::Ended(RunEnd::Succeeded { .. }), .. }) => false,
        driven => {
            wrong.push(format!("{driven:?}"));
            false
        }
    };
    if let Ok(ran) = &ran {
        for branch in world.branches(&ran.run).await {
            if !branch.status.is_over() {
                wrong.push(format!("branch {} is {}", branch.id, branch.status.as_str()));
            }
        }
    }
    let leases = world.leases().await;
    wrong.extend(unleased(&world, &leases));
    if let Some(deadline) = leases.iter().map(|lease| lease.deadline).max() {
        world.keep_until(deadline + minutes(30)).await;
    }
    if !(world.leases().await.is_empty() && world.open_ports().is_empty()) {
        wrong.push(format!("{:?} is open at {}", world.open_ports(), world.clock.now()));
    }
    (was_stopped, wrong)
}

/// Puts a run away and goes on with it in another process. Returns whether it was put away before it was over, and
/// what is wrong.
async fn resumed_at(drill: &Drill, ideal: &Traces, record: u64, stop: Stop) -> (bool, Vec<String>) {
    let (world, ran) = put_away(drill, record, stop).await;
    let ran = match ran {
        Ok(ran) => ran,
        Err(error) => return (false, vec![format!("it is not put away: {error:?}")]),
    };
    if ran.succeeded() {
        return (false, judge(drill, &world, &ran, ideal, false));
    }
    let resumed = world.resume(&ran.run).await;
    match to_the_end(drill, &world, resumed).await {
        Ok((ran, asked)) => (true, judge(drill, &world, &ran, ideal, asked)),
        Err(wrong) => (true, vec![wrong]),
    }
}

/// Puts a run away at every record, in each way in turn.
pub(super) async fn stopped_everywhere(drill: Drill) {
    let (ideal, records, ..) = ideal(&drill).await;
    let (mut put_away, mut offenders) = (0, Vec::new());
    // The first two are the run's own, before anybody drives it.
    for record in 1..records - 2 {
        for stop in [Stop::Interrupt, Stop::HandBack, Stop::ForGood] {
            let (was_put_away, wrong) = match stop {
                Stop::ForGood => stopped_at(&drill, record).await,
                stop => resumed_at(&drill, &ideal, record, stop).await,
            };
            put_away += u64::from(was_put_away);
            offenders
                .extend(wrong.into_iter().map(|wrong| format!("{stop:?} after record {record}: {wrong}")));
        }
    }
    println!("drill {}: put away in good order at {put_away} points, {records} records", drill.name);
    assert!(put_away >= records * 2, "only {put_away} points for {records} records");
    assert!(offenders.is_empty(), "{} offenders:\n{}", offenders.len(), offenders.join("\n"));
}
