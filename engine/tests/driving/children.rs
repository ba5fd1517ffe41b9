//! A parent and its child, and places among those at work.

use super::*;

#[tokio::test]
async fn a_runbook_that_runs_itself_comes_to_an_end() {
    let bench = Bench::new().with("again", r#"let name = "ag" + "ain"; run(name)"#);
    let engine = bench.engine();
    let run = bench.prepare(&engine, "again").await;
    let driven = engine.run(&run).await.unwrap();
    assert!(!ended_well(&driven), "{driven:?}");
    let runs = bench.journal.runs(&Default::default()).await.unwrap();
    assert!(runs.len() <= 10, "{} runs", runs.len());
}

#[tokio::test]
async fn a_stop_reaches_the_child_first() {
    let bench = Bench::new()
        .standing()
        .with("parent", r#"defer(|| box::put("parent cleans up")); run("child"); box::put("never")"#)
        .with("child", r#"defer(|| box::put("child cleans up")); wait("1h")"#);
    let engine = bench.engine();
    let parent = bench.prepare(&engine, "parent").await;
    let (driven, ()) = tokio::join!(engine.run(&parent), async {
        until("the child waits", || async {
            bench.journal.runs(&Default::default()).await.unwrap().len() == 2
        })
        .await;
        engine.stop(&parent, "ada").await.unwrap();
        for _ in 0..2000 {
            bench.clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(1)).await;
            if bench.status(&parent).await.is_over() {
                break;
            }
        }
    });
    assert_eq!(driven.unwrap(), Driven::Ended(RunEnd::Stopped { by: "ada".into(), unreplayed: None }));
    assert_eq!(bench.world.sent(), ["child cleans up", "parent cleans up"]);
}

/// Says yes to everything.
struct Yes(Mutex<Vec<String>>);

#[async_trait]
impl Answers for Yes {
    async fn answer(&self, _: &RunId, question: &str, _: &[String]) -> Option<(String, String)> {
        self.0.lock().unwrap().push(question.to_owned());
        Some(("yes".into(), "ada".into()))
    }
}

#[tokio::test]
async fn the_question_of_a_child_reaches_whoever_answers_for_the_parent() {
    let bench = Bench::new().with("parent", r#"run("child")"#).with("child", r#"ask("go on?"); "went on""#);
    let engine = bench.engine();
    let yes = Arc::new(Yes(Mutex::default()));
    engine.answer_with(yes.clone());
    let run = bench.prepare(&engine, "parent").await;
    let driven = engine.run(&run).await.unwrap();
    assert_eq!(driven, Driven::Ended(RunEnd::Succeeded { value: json!("went on") }));
    assert_eq!(*yes.0.lock().unwrap(), ["go on?"]);
}

#[tokio::test]
async fn a_child_that_is_lost_to_another_process_is_still_waited_for() {
    let bench = Bench::new()
        .with("parent", r#"run("child", #{}) + " and " + box::put("after")"#)
        .with("child", r#"box::put("x"); "child""#);
    let (one, other) = (bench.stranger(), bench.engine());
    let run = bench.prepare(&one, "parent").await;
    bench.world.hold("x");
    let mut driving = Box::pin(one.run(&run));
    until("the request of the child is on its way", || {
        assert!(driving.as_mut().now_or_never().is_none());
        async { bench.world.has_arrived("x") }
    })
    .await;
    // The other takes the first for dead.
    let runs = bench.journal.runs(&RunFilter::default()).await.unwrap();
    let child = runs.into_iter().map(|run| run.id).find(|id| *id != run).unwrap();
    let driven = tokio::join!(driving, other.run(&child), async {
        until("the child is taken over", || async { bench.claims(&child).await == 2 }).await;
        bench.world.release("x");
        bench.world.release("x");
    });
    assert!(ended_well(driven.0.as_ref().unwrap()), "{driven:?}");
    assert!(ended_well(driven.1.as_ref().unwrap()), "{driven:?}");
}

#[tokio::test]
async fn the_end_of_a_child_wakes_its_parent_in_the_same_transaction() {
    let bench = Bench::new().with("parent", r#"run("child")"#).with("child", r#"ask("go on?"); 7"#);
    let engine = bench.engine();
    let parent = bench.prepare(&engine, "parent").await;
    let driven = engine.drive(&parent, Duration::from_secs(60)).await.unwrap();
    let Driven::Parked(Park::Child { run: child }, Some(_)) = driven else { panic!("{driven:?}") };
    let wake = bench.journal.run(&parent).await.unwrap().unwrap().wake;
    assert!(wake.is_some_and(|wake| wake > bench.clock.now()));
    engine.answer(&child, "yes", "ada").await.unwrap();
    engine.run(&child).await.unwrap();
    let wake = bench.journal.run(&parent).await.unwrap().unwrap().wake;
    assert!(wake.is_some_and(|wake| wake <= bench.clock.now()), "due at once");
}

// Places.

#[tokio::test]
async fn a_run_that_waits_takes_no_place() {
    let bench = Bench::new()
        .standing()
        .with("ticks", r#"for n in 0..100 { wait("5s"); }"#)
        .with("line", r#"box::put("line")"#);
    let engine = bench.engine();
    for _ in 0..300 {
        bench.prepare(&engine, "ticks").await;
    }
    let mut service = Worker::new(&engine, |what, error| panic!("{what}: {error:?}"));
    tokio::join!(service.run(), async {
        until("all of them wait", || async {
            let runs = bench.journal.runs(&Default::default()).await.unwrap();
            runs.iter().filter(|run| run.step >= 1).count() == 300
        })
        .await;
        bench.prepare(&engine, "line").await;
        bench.clock.advance(Duration::from_secs(1));
        until("the line ran", || async { !bench.world.sent().is_empty() }).await;
        engine.hand_back();
    });
}
