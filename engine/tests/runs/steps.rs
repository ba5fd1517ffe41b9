//! Steps: from their intent to their result, whatever happens in between.

use super::*;

#[tokio::test]
async fn a_run_goes_from_top_to_end() {
    let bench = Bench::new().with("a", r#"let x = box::put("one"); note(x); [x, box::long("two")]"#);
    let (_, driven) = bench.run("a").await;
    assert_eq!(value(&driven), &json!(["one is done", 3]));
    assert_eq!(bench.world.sent(), ["one", "two"]);
    assert!(bench.clock.now() >= start() + Duration::from_secs(30), "the three looks took their time");
}

#[tokio::test]
async fn a_run_cut_after_every_record_ends_the_same_and_sends_nothing_twice() {
    let script = r#"let a = box::look("a"); let t = now(); let b = box::long("b"); wait("1h"); box::look("c"); [a, b]"#;
    let bench = Bench::new().with("cut", script);
    let (run, driven) = bench.run("cut").await;
    let whole = value(&driven).clone();
    let records = bench.journal.records(&run, 0).await.unwrap();
    assert!(records.len() >= 14, "{}", records.len());
    let mut points = 0;
    for cut in 1..records.len() as u64 {
        // The world as it was when the record was written: every request of later steps is undone.
        let kept: Vec<Event> = records[..cut as usize].iter().map(|r| r.event().unwrap()).collect();
        // A request whose acceptance or result is on record has reached the world; an intent has not.
        let started = |name: &str| {
            kept.iter().find_map(|e| match e {
                Event::StepStarted { step, args, .. } if args["name"] == name => Some(*step),
                _ => None,
            })
        };
        let reached = |name: &str| {
            started(name).is_some_and(|number| {
                kept.iter().any(|e| match e {
                    Event::StepAccepted { step, .. } | Event::StepFinished { step, .. } => *step == number,
                    _ => false,
                })
            })
        };
        let bench = Bench {
            world: World::default(),
            clock: SteppedClock::jumping(start()),
            journal: Arc::new(bench.journal.truncated(&run, cut)),
            notices: Arc::default(),
            library: bench.library.clone(),
            alone: true,
        };
        for name in ["a", "b", "c"] {
            if reached(name) {
                bench.world.0.lock().unwrap().done.insert(name.into(), true);
            }
        }
        let driven = bench.engine().run(&run).await.unwrap();
        match &driven {
            Driven::Ended(RunEnd::Succeeded { value }) => {
                assert_eq!(
                    value.as_array().unwrap().len(),
                    whole.as_array().unwrap().len(),
                    "cut after {cut}"
                );
            }
            // The POST of `b` between intent and acceptance: nobody can tell.
            Driven::Parked(Park::Undecided { .. }, None) => {
                let last = kept.last().unwrap();
                assert!(
                    matches!(last, Event::StepStarted { args, .. } if args["name"] == "b"),
                    "cut after {cut}: {last:?}"
                );
            }
            other => panic!("cut after {cut}: {other:?}"),
        }
        let mut sent = bench.world.sent();
        sent.dedup();
        assert_eq!(sent, bench.world.sent(), "cut after {cut}: twice");
        points += 1;
    }
    println!("cut at {points} points");
}

#[tokio::test]
async fn a_lost_reply_is_decided_by_redo() {
    let bench = Bench::new()
        .with("put", r#"box::put("x")"#)
        .with("look", r#"box::look("y")"#)
        .with("post", r#"box::post("z")"#);
    bench.world.fail_with(&[ErrorKind::Transient]);
    let (_, driven) = bench.run("put").await;
    assert_eq!(value(&driven), "x is done");
    assert_eq!(bench.world.sent(), ["x", "x"], "a PUT is sent again");
    bench.world.fail_with(&[ErrorKind::Transient]);
    let (_, driven) = bench.run("look").await;
    assert_eq!(value(&driven), "y was done", "its trace was found");
    bench.world.fail_with(&[ErrorKind::Transient]);
    let (run, driven) = bench.run("post").await;
    assert!(matches!(driven, Driven::Parked(Park::Undecided { .. }, None)), "{driven:?}");
    assert_eq!(bench.world.sent().iter().filter(|s| *s == "z").count(), 1);
    // Resuming without an answer asks again; an answer decides.
    let engine = bench.engine();
    assert!(matches!(engine.run(&run).await.unwrap(), Driven::Parked(Park::Undecided { .. }, None)));
    assert!(engine.answer(&run, "perhaps", "ada").await.is_err());
    engine.answer(&run, "done", "ada").await.unwrap();
    assert!(matches!(engine.run(&run).await.unwrap(), Driven::Ended(RunEnd::Succeeded { .. })));
    assert_eq!(bench.world.sent().iter().filter(|s| *s == "z").count(), 1);
}

#[tokio::test]
async fn a_look_that_brings_no_answer_is_tried_again_after_a_pause() {
    let bench = Bench::new().with("look", r#"box::look("y")"#);
    bench.world.fail_with(&[ErrorKind::Transient]);
    bench.world.0.lock().unwrap().blind = 4;
    let (_, driven) = bench.run("look").await;
    assert_eq!(value(&driven), "y was done");
    let looks = bench.world.0.lock().unwrap().looks.clone();
    assert_eq!(looks.len(), 5);
    assert!(looks.windows(2).all(|pair| pair[0] < pair[1]), "{looks:?}");
}

#[tokio::test]
async fn an_answer_again_sends_it_again_once() {
    let bench = Bench::new().with("post", r#"box::post("z")"#);
    bench.world.fail_with(&[ErrorKind::Transient]);
    let (run, _) = bench.run("post").await;
    let engine = bench.engine();
    engine.answer(&run, "again", "ada").await.unwrap();
    assert_eq!(value(&engine.run(&run).await.unwrap()), "z is done");
    assert_eq!(bench.world.sent(), ["z", "z"]);
}

#[tokio::test]
async fn unsent_requests_are_retried_for_any_operation() {
    let bench = Bench::new().with("post", r#"box::post("z")"#);
    bench.world.fail_with(&[ErrorKind::Unsent, ErrorKind::Unsent]);
    let (_, driven) = bench.run("post").await;
    assert_eq!(value(&driven), "z is done");
    assert_eq!(bench.world.sent(), ["z"]);
}

#[tokio::test]
async fn when_retries_run_out_the_run_parks_and_resumes() {
    let bench = Bench::new().with("post", r#"box::post("z", #{ retry: #{ attempts: 2 } })"#);
    bench.world.fail_with(&[ErrorKind::Unsent; 3]);
    let (run, driven) = bench.run("post").await;
    assert!(matches!(driven, Driven::Parked(Park::Exhausted { .. }, None)), "{driven:?}");
    let driven = bench.engine().run(&run).await.unwrap();
    assert_eq!(value(&driven), "z is done");
    assert_eq!(bench.world.sent(), ["z"]);
}

#[tokio::test]
async fn a_script_may_want_the_error_instead() {
    let script = r#"let r = ""; try { box::post("z", #{ retry: #{ attempts: 1, then: "throw" } }) } catch (e) { r = `${e.kind}: ${e.message}` } r"#;
    let bench = Bench::new().with("post", script);
    bench.world.fail_with(&[ErrorKind::Unsent]);
    let (_, driven) = bench.run("post").await;
    assert_eq!(value(&driven), "unsent: no connection");
}

#[tokio::test]
async fn a_missing_role_parks_and_a_refusal_is_caught() {
    let bench = Bench::new().with("a", r#"let r = ""; try { box::post("z") } catch (e) { r = e.message } r"#);
    bench.world.fail_with(&[ErrorKind::Denied]);
    let (run, driven) = bench.run("a").await;
    assert!(matches!(driven, Driven::Parked(Park::Denied { .. }, None)), "{driven:?}");
    bench.world.fail_with(&[ErrorKind::Rejected]);
    let driven = bench.engine().run(&run).await.unwrap();
    assert_eq!(value(&driven), "refused");
    assert!(bench.world.sent().is_empty());
}

#[tokio::test]
async fn no_script_swallows_a_stop_a_park_or_a_wrong_call() {
    let bench =
        Bench::new().with("a", r#"let r = ""; try { box::long("never") } catch (e) { r = "swallowed" } r"#);
    let (run, driven) = bench.run("a").await;
    assert!(
        matches!(&driven, Driven::Parked(Park::Exhausted { failure }, None) if failure.message.contains("still under way")),
        "{driven:?}"
    );
    let engine = bench.engine();
    engine.stop(&run, "ada").await.unwrap();
    let driven = engine.run(&run).await.unwrap();
    assert_eq!(driven, Driven::Ended(RunEnd::Stopped { by: "ada".into(), unreplayed: None }));
    let bench = Bench::new().with("b", r#"let r = ""; try { box::put(1) } catch (e) { r = "swallowed" } r"#);
    let (_, driven) = bench.run("b").await;
    assert_eq!(failure(&driven).kind, ErrorKind::Invalid);
    assert!(bench.world.sent().is_empty());
}

#[tokio::test]
async fn an_overdue_step_gets_more_time_once_for_every_resume() {
    let bench = Bench::new().with("a", r#"box::long("never")"#);
    let (run, first) = bench.run("a").await;
    let Driven::Parked(Park::Exhausted { failure }, None) = &first else { panic!("{first:?}") };
    assert_eq!(failure.code, Some(ErrorCode::TIMED_OUT), "{failure:?}");
    let engine = bench.engine();
    for round in 1..=3 {
        let before = bench.clock.now();
        let driven = engine.run(&run).await.unwrap();
        assert!(matches!(driven, Driven::Parked(Park::Exhausted { .. }, None)), "{driven:?} after {first:?}");
        let waited = bench.clock.now().duration_since(before).as_secs();
        assert!((900..930).contains(&waited), "round {round} took {waited} s");
    }
    assert_eq!(bench.world.sent(), ["never"]);
}

#[tokio::test]
async fn what_is_not_among_the_effects_is_refused_before_anything_is_sent() {
    let mut bench = Bench::new();
    // Called through a function pointer, so that reading the script does not find it.
    let text = "/*---\ntitle = \"sneaky\"\n---*/\nlet f = || box::put(\"x\"); f.call()";
    bench.library = Library::new().ship("sneaky", text);
    let engine = bench.engine();
    let refused = engine.prepare(&RunRequest::new("sneaky")).await;
    let error = match refused {
        Err(error) => error,
        Ok(run) => failure(&engine.run(&run).await.unwrap()).to_error(),
    };
    assert!(error.message().contains("requires the effect"), "{error}");
    assert!(bench.world.sent().is_empty());
}
