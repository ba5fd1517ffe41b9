//! What a run has to do with others: children, leases, workers and other processes.

use super::*;

#[tokio::test]
async fn a_child_run_is_one_step_and_starts_once() {
    let bench = Bench::new()
        .with("parent", r#"let a = run("child", #{ params: #{ x: "1" } }); wait("1h"); [a, run("child")]"#)
        .with("child", r#"box::put(`child ${params.x}`)"#);
    let (run, driven) = bench.run("parent").await;
    assert_eq!(value(&driven), &json!(["child 1 is done", "child  is done"]));
    assert_eq!(bench.world.sent(), ["child 1", "child "]);
    let records = bench.journal.records(&run, 0).await.unwrap().len() as u64;
    for cut in 1..records {
        let again = Bench { journal: Arc::new(bench.journal.truncated(&run, cut)), ..Bench::new() };
        let again = Bench { library: bench.library.clone(), ..again };
        again.engine().run(&run).await.unwrap();
        assert!(again.world.sent().is_empty(), "cut after {cut}: the children had ended");
    }
}

#[tokio::test]
async fn a_child_that_waits_for_a_person_wakes_its_parent_when_it_is_over() {
    let bench = Bench::new().with("parent", r#"run("child")"#).with("child", r#"ask("go on?")"#);
    let engine = bench.engine();
    let parent = engine.prepare(&RunRequest::new("parent")).await.unwrap();
    let driven = engine.drive(&parent, Duration::from_secs(60)).await.unwrap();
    let Driven::Parked(Park::Child { run: child }, Some(_)) = driven else { panic!("{driven:?}") };
    engine.answer(&child, "yes", "ada").await.unwrap();
    let mut worker = Worker::new(&engine, |what, error| panic!("{what}: {error:?}"));
    assert_eq!(worker.tick().await.unwrap().runs, [child]);
    worker.settle().await;
    assert_eq!(
        worker.tick().await.unwrap().runs,
        std::slice::from_ref(&parent),
        "at once, not at the next look"
    );
    worker.settle().await;
    assert_eq!(value(&engine.run(&parent).await.unwrap()), "yes");
}

#[tokio::test]
async fn a_lease_that_could_not_be_closed_is_tried_again_after_a_pause() {
    let bench = Bench::new().with("a", r#"door::open("front")"#);
    bench.run("a").await;
    let engine = bench.engine();
    let mut worker = Worker::new(&engine, |what, error| panic!("{what}: {error:?}"));
    bench.clock.advance(Duration::from_secs(3600));
    bench.world.fail_with(&[ErrorKind::Rejected, ErrorKind::Denied]);
    for (pause, sent) in [(0, 1), (29, 1), (1, 1), (59, 1), (1, 2)] {
        bench.clock.advance(Duration::from_secs(pause));
        worker.tick().await.unwrap();
        worker.settle().await;
        assert_eq!(bench.world.sent().len(), sent, "after another {pause} s");
    }
    assert_eq!(bench.world.sent(), ["open front", "close front"]);
    assert!(bench.journal.leases().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_lease_is_there_with_the_intent_and_is_closed_at_its_deadline() {
    let bench = Bench::new().with("a", r#"door::open("front"); ask("keep it open?")"#);
    let (run, _) = bench.run("a").await;
    let records = bench.journal.records(&run, 0).await.unwrap();
    let accepted =
        records.iter().position(|r| matches!(r.event().unwrap(), Event::StepAccepted { .. })).unwrap() as u64
            + 1;
    let cut = bench.journal.truncated(&run, accepted);
    assert_eq!(cut.leases().await.unwrap().len(), 1, "the duty is as durable as the intent");
    assert!(bench.journal.truncated(&run, accepted - 1).leases().await.unwrap().is_empty());

    let engine = bench.engine();
    let mut worker = Worker::new(&engine, |what, error| panic!("{what}: {error:?}"));
    assert!(worker.tick().await.unwrap().closing.is_empty(), "not yet");
    bench.clock.advance(Duration::from_secs(3600));
    assert_eq!(worker.tick().await.unwrap().closing.len(), 1);
    worker.settle().await;
    assert_eq!(bench.world.sent(), ["open front", "close front"]);
    assert!(bench.journal.leases().await.unwrap().is_empty());
    worker.tick().await.unwrap();
    worker.settle().await;
    assert_eq!(bench.world.sent().len(), 2, "closed once");
}

#[tokio::test]
async fn what_failed_half_way_is_closed_at_once() {
    let bench = Bench::new().with("a", r#"door::open("front")"#);
    bench.world.fail_with(&[ErrorKind::Rejected]);
    let (_, driven) = bench.run("a").await;
    assert_eq!(failure(&driven).message, "refused");
    let engine = bench.engine();
    let mut worker = Worker::new(&engine, |what, error| panic!("{what}: {error:?}"));
    assert_eq!(worker.tick().await.unwrap().closing.len(), 1);
    worker.settle().await;
    assert_eq!(bench.world.sent(), ["close front"]);
    assert!(bench.journal.leases().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_worker_wakes_what_is_due_and_nothing_else() {
    let bench = Bench::new().with("a", r#"wait("3h"); box::put("late")"#);
    let clock = SteppedClock::new(start());
    let bench = Bench { clock, ..bench };
    let engine = bench.engine();
    let run = engine.prepare(&RunRequest::new("a")).await.unwrap();
    let mut worker = Worker::new(&engine, |what, error| panic!("{what}: {error:?}"));
    assert_eq!(worker.tick().await.unwrap().runs, std::slice::from_ref(&run));
    worker.settle().await;
    assert_eq!(engine.find(run.as_str()).await.unwrap().status, Status::Parked);
    bench.clock.advance(Duration::from_secs(3 * 3600 - 1));
    assert!(worker.tick().await.unwrap().runs.is_empty());
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(worker.tick().await.unwrap().runs, std::slice::from_ref(&run));
    worker.settle().await;
    assert_eq!(bench.world.sent(), ["late"]);
}

#[tokio::test]
async fn two_processes_never_drive_one_run() {
    let bench = Bench::new().with("a", r#"wait("1h"); box::put("x")"#);
    let bench = Bench { clock: SteppedClock::new(start()), alone: false, ..bench };
    let (one, two) = (bench.engine(), bench.engine());
    let run = one.prepare(&RunRequest::new("a")).await.unwrap();
    let first = {
        let (one, run) = (one.clone(), run.clone());
        tokio::spawn(async move { one.run(&run).await })
    };
    // Until the first waits for its hour, which a stepped clock does not let pass.
    let waits = |record: &relight_engine::event::Record| {
        matches!(record.event().unwrap(), Event::StepAccepted { .. })
    };
    while !bench.journal.records(&run, 0).await.unwrap().iter().any(waits) {
        tokio::task::yield_now().await;
    }
    assert!(matches!(two.run(&run).await.unwrap(), Driven::Held { .. }));
    // The first process is suspended past its heartbeat; the second takes the run over.
    bench.clock.advance(Duration::from_secs(3601));
    let theirs = two.run(&run).await;
    let ours = first.await.unwrap();
    assert_eq!(bench.world.sent(), ["x"], "theirs {theirs:?}, ours {ours:?}");
}
