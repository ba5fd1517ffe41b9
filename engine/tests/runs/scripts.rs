//! What a script meets: questions, deferred blocks, time, limits, and refusals before anything is sent.

use super::*;

#[tokio::test]
async fn what_was_deferred_runs_newest_first_however_the_run_ends() {
    let script = r#"defer(|| box::put("first in")); defer(|| box::put("last in")); box::put("work"); if params.x == "fail" { fail("no") } box::long("never")"#;
    let bench = Bench::new().with("a", script);
    let engine = bench.engine();
    let run = engine.prepare(&RunRequest::new("a").param("x", "fail")).await.unwrap();
    assert_eq!(failure(&engine.run(&run).await.unwrap()).message, "no");
    assert_eq!(bench.world.sent(), ["work", "last in", "first in"]);
    let run = engine.prepare(&RunRequest::new("a")).await.unwrap();
    engine.run(&run).await.unwrap();
    engine.stop(&run, "ada").await.unwrap();
    assert!(matches!(engine.run(&run).await.unwrap(), Driven::Ended(RunEnd::Stopped { .. })));
    assert_eq!(bench.world.sent()[3..], ["work", "never", "last in", "first in"]);
}

#[tokio::test]
async fn a_question_waits_for_its_answer_in_any_process() {
    let bench = Bench::new()
        .with("a", r#"let a = ask("which?", #{ choices: ["x", "y"] }); let b = confirm("sure?"); [a, b]"#);
    let (run, driven) = bench.run("a").await;
    assert!(matches!(&driven, Driven::Parked(Park::Question { text, .. }, None) if text == "which?"));
    let engine = bench.engine();
    assert!(engine.answer(&run, "z", "ada").await.is_err());
    engine.answer(&run, "y", "ada").await.unwrap();
    assert!(matches!(engine.run(&run).await.unwrap(), Driven::Parked(Park::Question { .. }, None)));
    engine.answer(&run, "yes", "ada").await.unwrap();
    assert_eq!(value(&engine.run(&run).await.unwrap()), &json!(["y", true]));
}

#[tokio::test]
async fn now_and_random_are_the_same_on_replay() {
    let bench = Bench::new().with("a", r#"let t = now(); let r = random(); wait("1d"); [t, r, t == now()]"#);
    let (_, driven) = bench.run("a").await;
    let items = value(&driven).as_array().unwrap();
    assert_eq!(items[0], json!({ "$time": "2026-11-20T22:00:00Z" }));
    assert_eq!(items[2], false);
}

#[tokio::test]
async fn a_script_that_takes_another_way_on_replay_is_halted() {
    let bench = Bench::new().with("a", r#"box::put("x"); ask("go on?")"#);
    let (run, _) = bench.run("a").await;
    // The pinned text is what counts: another text in the library changes nothing.
    let other =
        Bench { library: Library::new(), ..Bench::new() }.with("a", r#"box::put("y"); ask("go on?")"#);
    let other = Bench { journal: bench.journal.clone(), world: bench.world.clone(), ..other };
    let engine = other.engine();
    engine.answer(&run, "sure", "ada").await.unwrap();
    assert!(matches!(engine.run(&run).await.unwrap(), Driven::Ended(RunEnd::Succeeded { .. })));
    assert_eq!(bench.world.sent(), ["x"]);
}

#[tokio::test]
async fn progress_is_shown_live_and_silent_in_replay() {
    let bench =
        Bench::new().with("a", r#"progress("looking", 10); note("found"); ask("go on?"); progress("done")"#);
    let (run, _) = bench.run("a").await;
    let engine = bench.engine();
    engine.answer(&run, "sure", "ada").await.unwrap();
    engine.run(&run).await.unwrap();
    let shown: Vec<String> = bench
        .notices
        .lock()
        .unwrap()
        .iter()
        .filter_map(|n| match &n.event {
            Event::Progress { progress, .. } => Some(progress.message.clone()),
            Event::StepStarted { operation, .. } if operation == "note" => Some("note".into()),
            _ => None,
        })
        .collect();
    assert_eq!(shown, ["looking", "note", "done"]);
}

#[tokio::test]
async fn wrong_runbooks_are_found_by_reading_them() {
    let cases = [
        (r#"box::putt("x")"#, "box::put?"),
        (r#"box::put()"#, "takes 1 arguments"),
        (r#"box::put("x", #{ size: 1 })"#, "no option `size`"),
        (r#"print("x")"#, "note("),
        (r#"eval("1")"#, "cannot be read"),
        ("let x = ;", "cannot be read"),
        ("unknown + 1", "cannot be read"),
        (r#"import "nowhere" as n; 1"#, "no runbook `nowhere`"),
        (r#"let n = "a"; import n as m; 1"#, "plain text"),
    ];
    for (script, says) in cases {
        let bench = Bench::new().with("a", script);
        let findings = bench.engine().check("a").unwrap();
        let shown = format!("{findings:?}");
        assert!(shown.contains(says), "{script}: {shown}");
        assert!(bench.engine().prepare(&RunRequest::new("a")).await.is_err(), "{script}");
    }
}

#[tokio::test]
async fn a_parameter_that_the_script_could_not_name_is_refused() {
    let text = "/*---\ntitle = \"a\"\n[params.until]\n---*/\nparams.until";
    let bench = Bench { library: Library::new().ship("a", text), ..Bench::new() };
    let shown = format!("{:?}", bench.engine().check("a").unwrap());
    assert!(shown.contains("cannot be called `until`"), "{shown}");
}

#[tokio::test]
async fn an_id_that_could_be_taken_for_something_else_is_refused() {
    let bench = Bench::new().with("a", "1");
    let engine = bench.engine();
    for id in ["", "one.1.0", "a b", "\u{1b}[2J", "ö", &"x".repeat(129)] {
        let refused = engine.prepare(&RunRequest::new("a").id(id)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{id:?}: {refused}");
    }
    assert_eq!(engine.prepare(&RunRequest::new("a").id("order-1_A")).await.unwrap().as_str(), "order-1_A");
}

#[tokio::test]
async fn a_script_cannot_use_up_the_machine() {
    for script in [
        "loop { }",
        "fn f(n) { f(n + 1) } f(0)",
        r#"let s = "x"; loop { s += s; }"#,
        "let a = [1]; loop { a += a; }",
        r#"let s = "x"; s.pad(1000000, "x"); let m = #{}; let n = 0; loop { m[`${n}`] = s + n; n += 1; }"#,
        r#"let s = "x"; s.pad(1000000, "x"); s.replace("x", s);"#,
    ] {
        let bench = Bench::new().with("a", script);
        let (_, driven) = bench.run("a").await;
        assert_eq!(failure(&driven).kind, ErrorKind::Invalid, "{script}");
    }
}
