//! One driver a run, and a stop in good order.

use super::*;

#[tokio::test]
async fn two_calls_for_one_run_are_one_drive() {
    let bench = Bench::new().with("a", r#"for n in 0..5 { box::post(`p${n}`) } "done""#);
    let engine = bench.engine();
    let run = bench.prepare(&engine, "a").await;
    let (one, two) = tokio::join!(engine.run(&run), engine.run(&run));
    assert!(ended_well(&one.unwrap()) && ended_well(&two.unwrap()));
    assert_eq!(bench.world.sent(), ["p0", "p1", "p2", "p3", "p4"]);
    assert_eq!(bench.claims(&run).await, 1);
}

#[tokio::test]
async fn a_worker_drives_parent_and_child_and_each_step_once() {
    let bench = Bench::new()
        .standing()
        .with("parent", r#"run("child")"#)
        .with("child", r#"wait("100m"); box::post("x"); "child""#);
    let engine = bench.engine();
    let mut parents = Vec::new();
    for _ in 0..8 {
        parents.push(bench.prepare(&engine, "parent").await);
    }
    for _ in 0..12 {
        keep(&engine).await;
        bench.clock.advance(Duration::from_secs(600));
    }
    for parent in &parents {
        assert_eq!(bench.status(parent).await, Status::Succeeded);
    }
    assert_eq!(bench.world.sent().len(), 8, "eight children, one request each");
}

#[tokio::test]
async fn a_worker_does_not_replay_a_run_for_each_of_its_waits() {
    let bench = Bench::new().with("a", r#"for n in 0..20 { wait("30m") } wait("2h"); "done""#);
    let engine = bench.engine();
    let run = bench.prepare(&engine, "a").await;
    keep(&engine).await;
    assert_eq!(bench.claims(&run).await, 1, "twenty waits, and one drive");
    assert_eq!(bench.status(&run).await, Status::Parked, "two hours are too long");
    bench.clock.advance(Duration::from_secs(2 * 3600));
    keep(&engine).await;
    assert_eq!(bench.status(&run).await, Status::Succeeded);
}

#[tokio::test]
async fn a_run_that_waits_under_a_worker_hears_a_stop_at_its_next_look() {
    let bench = Bench::new().standing().with("a", r#"wait("30m"); box::put("x")"#);
    let (engine, beside) = (bench.engine(), bench.engine());
    let run = bench.prepare(&engine, "a").await;
    let mut worker = Worker::new(&engine, |_, _| {});
    worker.tick().await.unwrap();
    until("the run waits", || async {
        bench.events(&run).await.iter().any(|event| matches!(event, Event::StepAccepted { .. }))
    })
    .await;
    beside.stop(&run, "ada").await.unwrap();
    worker.tick().await.unwrap();
    worker.settle().await;
    assert_eq!(bench.status(&run).await, Status::Stopped, "the clock has not moved");
    assert!(bench.world.sent().is_empty());
}

#[tokio::test]
async fn a_wait_is_as_long_as_it_says_though_the_clock_is_set_back() {
    let bench = Bench::new().standing().with("a", r#"wait("10m"); "done""#);
    let engine = bench.engine();
    let run = bench.prepare(&engine, "a").await;
    let driving = tokio::spawn({
        let run = run.clone();
        async move { engine.run(&run).await.unwrap() }
    });
    until("the run waits", || async {
        bench.events(&run).await.iter().any(|event| matches!(event, Event::StepAccepted { .. }))
    })
    .await;
    bench.clock.set(bench.clock.now() - Duration::from_secs(3600));
    for _ in 0..11 {
        bench.clock.advance(Duration::from_secs(60));
    }
    until("it is over", || async { driving.is_finished() }).await;
    assert!(ended_well(&driving.await.unwrap()));
}

#[tokio::test]
async fn what_is_driven_in_the_foreground_is_left_alone_by_a_worker_beside_it() {
    let bench = Bench::new().standing().with("a", r#"box::put("x")"#);
    let (mine, beside) = (bench.engine(), bench.engine());
    let run = mine.prepare_to_drive(&RunRequest::new("a")).await.unwrap();
    keep(&beside).await;
    assert!(bench.world.sent().is_empty());
    assert!(ended_well(&mine.run(&run).await.unwrap()));
}

#[tokio::test]
async fn a_call_that_is_dropped_parks_the_run_before_its_next_step() {
    let bench = Bench::new().with("a", r#"for n in 0..100 { box::put(`p${n}`) } "done""#);
    bench.world.hold("p3");
    let engine = bench.engine();
    let run = bench.prepare(&engine, "a").await;
    {
        let mut driving = Box::pin(engine.run(&run));
        until("the request is on its way", || {
            assert!(driving.as_mut().now_or_never().is_none());
            async { bench.world.has_arrived("p3") }
        })
        .await;
    }
    bench.world.release("p3");
    until("the run is put away", || async { bench.status(&run).await == Status::Parked }).await;
    assert_eq!(bench.world.sent(), ["p0", "p1", "p2", "p3"], "what was under way comes to its record");
    assert_eq!(bench.park(&run).await, Some(Park::Interrupted));
    assert!(ended_well(&engine.run(&run).await.unwrap()));
    assert_eq!(bench.world.sent().len(), 100);
}

// A stop in good order.

#[tokio::test]
async fn a_service_that_ends_hands_its_runs_to_the_next() {
    let bench = Bench::new().standing().with("a", r#"wait("20s"); box::post("x"); "done""#);
    let first = bench.engine();
    let run = bench.prepare(&first, "a").await;
    let mut service = Worker::new(&first, |_, _| {});
    tokio::join!(service.run(), async {
        until("it waits", || async {
            bench.events(&run).await.iter().any(|event| matches!(event, Event::StepAccepted { .. }))
        })
        .await;
        first.hand_back();
    });
    assert_eq!(bench.park(&run).await, Some(Park::HandedBack));
    let wake = bench.journal.run(&run).await.unwrap().unwrap().wake;
    assert!(wake.is_some_and(|wake| wake <= bench.clock.now()), "due at once");
    bench.clock.advance(Duration::from_secs(20));
    keep(&bench.engine()).await;
    assert_eq!(bench.status(&run).await, Status::Succeeded);
    assert_eq!(bench.world.sent(), ["x"]);
}

#[tokio::test]
async fn an_intent_whose_request_has_not_left_is_carried_out_before_a_stop_in_good_order() {
    let bench = Bench::new().with("a", r#"box::post("x"); box::post("y")"#);
    bench.world.hold("x");
    let engine = bench.engine();
    let run = bench.prepare(&engine, "a").await;
    let (driven, ()) = tokio::join!(engine.run(&run), async {
        until("the request is on its way", || async { bench.world.has_arrived("x") }).await;
        engine.hand_back();
        bench.world.release("x");
    });
    assert!(matches!(driven.unwrap(), Driven::Parked(Park::HandedBack, Some(_))));
    keep(&bench.engine()).await;
    assert_eq!(
        (bench.status(&run).await, bench.world.sent()),
        (Status::Succeeded, vec!["x".into(), "y".into()])
    );
}

#[tokio::test]
async fn a_person_who_interrupts_a_closing_leaves_it_to_the_worker() {
    let bench = Bench::new().with("a", r#"door::open("front")"#);
    let engine = bench.engine();
    let run = bench.prepare(&engine, "a").await;
    engine.run(&run).await.unwrap();
    let lease = bench.journal.leases().await.unwrap().remove(0);
    bench.world.hold("close front");
    bench.clock.advance(Duration::from_secs(3600));
    let closer = bench.engine();
    let mut service = Worker::new(&closer, |_, _| {});
    tokio::join!(service.run(), async {
        until("the closing is on its way", || async { bench.world.has_arrived("close front") }).await;
        // Ctrl-C, and the answer is lost.
        closer.interrupt();
        bench.world.release("close front");
    });
    keep(&bench.engine()).await;
    assert!(bench.journal.leases().await.unwrap().is_empty(), "{} stays open", lease.title);
}
