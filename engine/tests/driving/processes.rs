//! Processes that sleep, die, or share a database; the program around the engine.

use super::*;

// A process that sleeps.

#[tokio::test]
async fn a_process_that_was_suspended_before_its_request_does_not_send_it_after_another_did() {
    let bench = Bench::new().standing().with("a", r#"box::find("x")"#);
    bench.world.hold("x");
    let (sleeper, other) = (bench.stranger(), bench.stranger());
    let run = bench.prepare(&sleeper, "a").await;
    let mut sleeping = Box::pin(sleeper.run(&run));
    until("the intent is recorded", || {
        assert!(sleeping.as_mut().now_or_never().is_none());
        async { bench.world.has_arrived("x") }
    })
    .await;
    // Its heartbeat is over. The other one takes the run, and first outwaits what may still be sent.
    bench.clock.advance(Duration::from_secs(181));
    let sent_before = bench.events(&run).await.into_iter().find_map(|event| match event {
        Event::StepStarted { send_before, .. } => send_before,
        _ => None,
    });
    assert!(sent_before.is_some_and(|until| until < bench.clock.now()));
    let taking = tokio::spawn({
        let (other, run) = (other.clone(), run.clone());
        async move { other.run(&run).await }
    });
    until("the run has changed hands", || async { bench.claims(&run).await == 2 }).await;
    // The sleeper wakes up: it is late, asks, and is refused.
    bench.world.release("x");
    let woken = sleeping.await;
    assert!(bench.world.sent().is_empty(), "{woken:?}");
    bench.world.release("x");
    assert!(ended_well(&taking.await.unwrap().unwrap()));
    assert_eq!(bench.world.sent(), ["x"]);
}

#[tokio::test]
async fn who_takes_over_outwaits_what_the_other_may_still_send() {
    let bench = Bench::new().standing().with("a", r#"box::find("x")"#);
    bench.world.hold("x");
    bench.world.hold("x on its way");
    let (sleeper, other) = (bench.stranger(), bench.stranger());
    let run = bench.prepare(&sleeper, "a").await;
    let drive = |engine: Engine| tokio::spawn(alone(engine, run.clone()));
    let sleeping = drive(sleeper);
    until("the intent is recorded", || async { bench.world.has_arrived("x") }).await;
    // Its heartbeat is over when it asks for more time to send, and is given it: nobody else has the run yet.
    bench.clock.advance(Duration::from_secs(181));
    bench.world.release("x");
    until("it may send", || async { bench.world.has_arrived("x on its way") }).await;
    let taking = drive(other);
    until("the run has changed hands", || async { bench.claims(&run).await == 2 }).await;
    let some_time = async |seconds: u64| {
        for _ in 0..seconds {
            bench.clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    // Half a minute in which it may send, and a minute for what is on its way.
    some_time(85).await;
    bench.world.release("x");
    bench.world.release("x on its way");
    let _ = sleeping.await;
    some_time(30).await;
    bench.world.release("x on its way");
    assert!(ended_well(&taking.await.unwrap().unwrap()));
    assert_eq!(bench.world.sent(), ["x"]);
}

// The program around the engine.

#[test]
fn a_runtime_that_is_torn_down_ends_the_scripts_without_a_panic() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        before(panic);
    }));
    let bench = Bench::new().standing().with("waits", r#"wait("5m")"#).with("busy", r#"box::post("x")"#);
    bench.world.hold("x");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let engine = bench.engine();
        for runbook in ["waits", "busy"] {
            let run = bench.prepare(&engine, runbook).await;
            let engine = engine.clone();
            tokio::spawn(async move { engine.run(&run).await });
        }
        until("both are under way", || async {
            let runs = bench.journal.runs(&RunFilter::default()).await.unwrap();
            bench.world.has_arrived("x") && runs.iter().all(|run| run.step == 1)
        })
        .await;
    });
    drop(runtime);
    // The operations of the engine go with the last thread that has a part of it.
    let patience = std::time::Instant::now() + Duration::from_secs(20);
    while Arc::strong_count(&bench.world.0) > 1 {
        assert!(std::time::Instant::now() < patience, "a script's thread does not end");
        std::thread::yield_now();
    }
    assert_eq!(PANICS.load(Ordering::SeqCst), 0);
}

// Processes over one database.

#[tokio::test]
async fn a_closing_waits_for_no_place() {
    let bench =
        Bench::new().standing().with("opens", r#"door::open("cellar")"#).with("busy", r#"box::post("x")"#);
    let engine = bench.engine();
    let opens = bench.prepare(&engine, "opens").await;
    assert!(ended_well(&engine.run(&opens).await.unwrap()));
    bench.world.hold("x");
    for _ in 0..300 {
        bench.prepare(&engine, "busy").await;
    }
    let mut worker = Worker::new(&engine, |_, _| {});
    worker.tick().await.unwrap();
    let at_work = || bench.world.0.arrived.lock().unwrap().len();
    until("all places are taken", || async { at_work() == 256 }).await;
    bench.clock.advance(Duration::from_secs(3600));
    worker.tick().await.unwrap();
    let closed = || async { bench.world.sent().contains(&"close cellar".to_owned()) };
    until("the door is closed", closed).await;
    assert_eq!(at_work(), 256);
    bench.world.0.held.lock().unwrap()["x"].add_permits(300);
    worker.settle().await;
}

#[tokio::test]
async fn an_embedding_program_takes_over_at_once_from_one_that_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("runs.db");
    let mut bench = Bench::new().standing().with("a", r#"box::put("x"); wait("1h"); box::put("y")"#);
    bench.journal = Arc::new(SqliteJournal::open(&database).unwrap());
    let dying = bench.stranger();
    let run = bench.prepare(&dying, "a").await;
    let mut driving = Box::pin(alone(dying, run.clone()));
    until("it waits", || {
        assert!(driving.as_mut().now_or_never().is_none());
        async { bench.journal.run(&run).await.unwrap().unwrap().step == 2 }
    })
    .await;
    // The same database, seen by another process: the first one holds its lock, so it keeps its run.
    let seen = Arc::new(SqliteJournal::open(&database).unwrap());
    let other = Bench {
        journal: seen,
        world: bench.world.clone(),
        clock: bench.clock.clone(),
        library: Library::new(),
    };
    bench.clock.advance(Duration::from_secs(600));
    let next = other.stranger();
    assert!(matches!(next.run(&run).await.unwrap(), Driven::Held { .. }), "alive past its heartbeat");
    // Its locks are gone: it died.
    let owner = bench.journal.run(&run).await.unwrap().unwrap().owner.unwrap();
    bench.journal.leave(&owner);
    std::mem::forget(driving);
    keep(&next).await;
    assert!(bench.claims(&run).await >= 2, "taken over at once");
}

/// A journal that cannot be read for signals while a request is on its way, and lets it go after a while.
struct Unread(Arc<dyn Journal>, World, Mutex<u32>);

#[async_trait]
impl Around for Unread {
    fn behind(&self) -> &dyn Journal {
        &*self.0
    }

    async fn signals(&self, run: &RunId) -> Result<Vec<Signal>> {
        if !self.1.has_arrived("x on its way") || self.1.sent().contains(&"x".to_owned()) {
            return self.0.signals(run).await;
        }
        let mut failed = self.2.lock().unwrap();
        *failed += 1;
        if *failed == 2 {
            self.1.release("x on its way");
        }
        Err(Error::storage("the disk does not answer"))
    }
}

#[tokio::test]
async fn a_journal_that_cannot_be_read_for_a_while_cuts_no_request_off() {
    let mut bench = Bench::new().with("a", r#"box::post("x"); "done""#);
    bench.world.hold("x on its way");
    let unread = Arc::new(Unread(bench.journal.clone(), bench.world.clone(), Mutex::default()));
    bench.journal = unread.clone();
    let engine = bench.engine();
    let run = bench.prepare(&engine, "a").await;
    assert!(ended_well(&engine.run(&run).await.unwrap()));
    assert_eq!(*unread.2.lock().unwrap(), 2);
    assert_eq!(bench.world.sent(), ["x"]);
}
