//! Errors while a run is driven: a disk that is full, a panic, a text that no longer compiles.

use super::*;

/// A journal whose disk is full while a switch is on, and how often it said so.
struct FullDisk(Arc<dyn Journal>, AtomicBool, AtomicUsize);

impl Around for FullDisk {
    fn behind(&self) -> &dyn Journal {
        &*self.0
    }

    fn allow(&self) -> Result<()> {
        match self.1.load(Ordering::SeqCst) {
            true => {
                self.2.fetch_add(1, Ordering::SeqCst);
                Err(Error::storage("the disk is full"))
            }
            false => Ok(()),
        }
    }
}

#[tokio::test]
async fn a_disk_that_is_full_for_a_while_ends_neither_the_service_nor_its_runs() {
    let mut bench = Bench::new().standing().with("a", r#"for n in 0..3 { box::find(`p${n}`) } "done""#);
    let disk = Arc::new(FullDisk(bench.journal.clone(), AtomicBool::new(false), AtomicUsize::new(0)));
    let below = std::mem::replace(&mut bench.journal, disk.clone());
    let engine = bench.engine();
    let run = bench.prepare(&engine, "a").await;
    let full = disk.clone();
    bench.world.when_sent("p1", move || full.1.store(true, Ordering::SeqCst));
    let told = Arc::new(Mutex::new(Vec::new()));
    let log = told.clone();
    let mut service =
        Worker::new(&engine, move |what, error| log.lock().unwrap().push(format!("{what}: {error}")));
    tokio::join!(service.run(), async {
        until("the disk is full", || async { disk.1.load(Ordering::SeqCst) }).await;
        for second in 0..600 {
            if second == 4 {
                disk.1.store(false, Ordering::SeqCst);
            }
            bench.clock.advance(Duration::from_secs(1));
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            if below.run(&run).await.unwrap().unwrap().status.is_over() {
                break;
            }
        }
        engine.hand_back();
    });
    assert_eq!(below.run(&run).await.unwrap().unwrap().status, Status::Succeeded);
    assert_eq!(
        bench.world.sent(),
        ["p0", "p1", "p2"],
        "what was sent before the disk filled was found again"
    );
    assert!(told.lock().unwrap().iter().any(|line| line.contains("the disk is full")));
}

#[tokio::test]
async fn what_a_branch_has_under_way_comes_to_its_record_though_another_cannot_write() {
    let mut bench = Bench::new()
        .standing()
        .with("a", r#"all(["x", "y"], |name| if name == "x" { box::post(name) } else { box::find(name) })"#);
    let disk = Arc::new(FullDisk(bench.journal.clone(), AtomicBool::new(false), AtomicUsize::new(0)));
    let below = std::mem::replace(&mut bench.journal, disk.clone());
    let engine = bench.engine();
    let run = bench.prepare(&engine, "a").await;
    bench.world.hold("x on its way");
    bench.world.hold("y");
    let full = disk.clone();
    bench.world.when_sent("y", move || full.1.store(true, Ordering::SeqCst));
    let (driven, ()) = tokio::join!(engine.run(&run), async {
        until("x is on its way", || async { bench.world.has_arrived("x on its way") }).await;
        bench.world.release("y");
    });
    assert_eq!(driven.unwrap_err().kind(), relight_engine::ErrorKind::Storage);
    // The disk is full for a while, and nobody may ask for x once more.
    disk.1.store(false, Ordering::SeqCst);
    engine.hand_back();
    let settled = tokio::spawn(async move { engine.settle().await });
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert!(!settled.is_finished(), "x is under way");
    bench.world.release("x on its way");
    tokio::time::timeout(Duration::from_secs(20), settled).await.unwrap().unwrap();
    let records = below.records(&run.branch(1, 0), 0).await.unwrap();
    let is_recorded = |event: Event| matches!(event, Event::StepFinished { .. });
    assert!(records.iter().any(|record| is_recorded(record.event().unwrap())), "{records:?}");
    let driven = bench.engine().run(&run).await.unwrap();
    assert!(ended_well(&driven), "{driven:?}");
    assert_eq!(bench.world.sent(), ["y", "x"]);
}

#[tokio::test]
async fn a_disk_that_stays_full_holds_up_nobody_who_ends() {
    let mut bench = Bench::new().standing().with("a", r#"all(["x", "y"], |name| box::find(name))"#);
    let disk = Arc::new(FullDisk(bench.journal.clone(), AtomicBool::new(false), AtomicUsize::new(0)));
    bench.journal = disk.clone();
    let engine = bench.builder().grace(Duration::from_millis(100)).build().unwrap();
    let run = bench.prepare(&engine, "a").await;
    bench.world.hold("x on its way");
    bench.world.hold("y");
    bench.world.when_sent("y", move || disk.1.store(true, Ordering::SeqCst));
    let (driven, ()) = tokio::join!(engine.run(&run), async {
        until("x is on its way", || async { bench.world.has_arrived("x on its way") }).await;
        bench.world.release("y");
    });
    assert_eq!(driven.unwrap_err().kind(), relight_engine::ErrorKind::Storage);
    engine.hand_back();
    // Neither the disk nor the answer to x ever comes.
    tokio::time::timeout(Duration::from_secs(20), engine.settle()).await.unwrap();
}

#[tokio::test]
async fn a_dropped_call_that_cannot_be_put_down_is_put_down_when_the_disk_works_again() {
    // Nobody waits for it and no worker stands here: its own process has to come back to it.
    let mut bench = Bench::new().standing().with("a", r#"box::find("p0"); box::find("never")"#);
    let disk = Arc::new(FullDisk(bench.journal.clone(), AtomicBool::new(false), AtomicUsize::new(0)));
    let below = std::mem::replace(&mut bench.journal, disk.clone());
    let engine = bench.engine();
    let run = bench.prepare(&engine, "a").await;
    bench.world.hold("p0");
    {
        let mut driving = Box::pin(engine.run(&run));
        until("the request is on its way", || {
            assert!(driving.as_mut().now_or_never().is_none());
            async { bench.world.has_arrived("p0") }
        })
        .await;
        disk.1.store(true, Ordering::SeqCst);
    }
    bench.world.release("p0");
    until("the disk is asked in vain", || async { disk.2.load(Ordering::SeqCst) > 0 }).await;
    disk.1.store(false, Ordering::SeqCst);
    until("the run is put away", || {
        bench.clock.advance(Duration::from_secs(1));
        async { below.run(&run).await.unwrap().unwrap().status == Status::Parked }
    })
    .await;
    assert_eq!(below.run(&run).await.unwrap().unwrap().park, Some(Park::Interrupted));
    assert_eq!(bench.world.sent(), ["p0"]);
}

#[tokio::test]
async fn an_operation_that_panics_is_an_error_of_its_own() {
    let bench = Bench::new().with("a", r#"box::post("panic")"#).with("b", r#"box::put("y")"#);
    let engine = bench.engine();
    let run = bench.prepare(&engine, "a").await;
    let driven = engine.run(&run).await.unwrap();
    let Driven::Parked(Park::Undecided { failure }, None) = &driven else { panic!("{driven:?}") };
    assert!(format!("{failure:?}").contains("the operation went wrong"), "{failure:?}");
    let other = bench.prepare(&engine, "b").await;
    assert!(ended_well(&engine.run(&other).await.unwrap()), "the engine goes on");
}

/// A journal with a bug: whoever claims this run for the first time panics.
struct Buggy(Arc<dyn Journal>, RunId, AtomicBool);

#[async_trait]
impl Around for Buggy {
    fn behind(&self) -> &dyn Journal {
        &*self.0
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        assert!(request.run != self.1 || self.2.swap(true, Ordering::SeqCst), "the journal went wrong");
        self.0.claim(request).await
    }
}

#[tokio::test]
async fn a_panic_while_driving_is_told_and_tried_again_and_keeps_nobody_else() {
    let bench = Bench::new().standing().with("a", r#"box::put("x")"#).with("b", r#"box::put("y")"#);
    let run = bench.prepare(&bench.stranger(), "a").await;
    let other = bench.prepare(&bench.stranger(), "b").await;
    let buggy = Buggy(bench.journal.clone(), run.clone(), AtomicBool::new(false));
    let engine = bench.builder().journal(Arc::new(buggy)).build().unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let mut worker = Worker::new(&engine, {
        let told = told.clone();
        move |what, error| told.lock().unwrap().push(format!("{what}: {error}"))
    });
    worker.tick().await.unwrap();
    worker.settle().await;
    assert_eq!(
        *told.lock().unwrap(),
        [format!("run {run}: driving run {run} failed: the journal went wrong")]
    );
    assert_eq!(bench.status(&other).await, Status::Succeeded);
    // The same service comes back to it.
    bench.clock.advance(Duration::from_secs(2));
    worker.tick().await.unwrap();
    worker.settle().await;
    assert_eq!(bench.status(&run).await, Status::Succeeded);
    assert_eq!(told.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_text_that_no_longer_compiles_parks_its_run() {
    let bench = Bench::new().with("a", r#"ask("go on?"); old::thing("y")"#);
    let engine = bench.engine();
    let run = bench.prepare(&engine, "a").await;
    engine.run(&run).await.unwrap();
    engine.answer(&run, "yes", "ada").await.unwrap();
    // A version with narrower limits cannot read the text any more.
    let mut limits = relight_engine::Limits::default();
    limits.expression_depth = 1;
    let newer = bench.builder().limits(limits).owner(OwnerId::fresh(), Arc::new(|_| true)).build().unwrap();
    keep(&newer).await;
    assert!(matches!(bench.park(&run).await, Some(Park::Halted { .. })), "{:?}", bench.park(&run).await);
}

#[tokio::test]
async fn a_run_whose_driving_ended_three_processes_is_parked() {
    let bench = Bench::new().with("a", r#"box::put("killer")"#);
    bench.world.hold("killer");
    let run = bench.prepare(&bench.engine(), "a").await;
    for death in 1..=3 {
        let engine = bench.engine();
        let mut driving = Box::pin(alone(engine, run.clone()));
        until("the run is driven", || {
            assert!(driving.as_mut().now_or_never().is_none());
            async { bench.claims(&run).await == death }
        })
        .await;
        // The process dies: nobody parks, nobody hears of it.
        std::mem::forget(driving);
    }
    let driven = bench.engine().run(&run).await.unwrap();
    let Driven::Parked(Park::Halted { failure }, None) = &driven else { panic!("{driven:?}") };
    assert!(failure.message.contains("3 times in a row"), "{failure:?}");
}
