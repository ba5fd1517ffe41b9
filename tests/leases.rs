//! A door closes when it was promised: one request, whoever asks, after any outage, and loudly when it is late.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use relight_engine::clock::Clock;
use relight_engine::event::{Park, RunEnd};
use relight_engine::journal::{OwnerId, RunFilter};
use relight_engine::worker::Worker;
use relight_engine::{Driven, Engine};
use relight_lab::LedgerEntry;

use crate::support::cut::{Cut, Side};
use crate::support::stage::{Stage, ended, signal};
use crate::support::world::{FLAGSHIP, World, minutes};

/// The requests to close a port that the lab took.
fn removes(ledger: &[LedgerEntry]) -> usize {
    ledger.iter().filter(|entry| entry.method == "PUT" && entry.path.contains("/jobs/vmc-r-")).count()
}

/// A process beside others that are alive.
fn beside(world: &World) -> Engine {
    let builder = world.builder().journal(world.journal.clone());
    builder.owner(OwnerId::fresh(), Arc::new(|_| false)).build().expect("an engine")
}

async fn script(world: &World, engine: &Engine, script: &str) -> Driven {
    let run = engine.prepare(&world.script(&["azure:write"], script)).await.expect("a run");
    engine.run(&run).await.expect("it is driven")
}

async fn closings(world: &World) -> usize {
    let runs = world.journal.runs(&RunFilter::default()).await.expect("runs");
    runs.iter().filter(|run| run.runbook.starts_with("close/")).count()
}

#[tokio::test]
async fn the_lease_ends_when_the_schedule_is_due() {
    let world = World::new().await;
    let before = world.clock.now();
    let ran = world.run(FLAGSHIP, &[("vm", "web-01"), ("disable_after", "30m")]).await;
    assert!(ran.succeeded());
    let lease = world.leases().await.remove(0);
    let schedule = world.journal.schedules().await.expect("schedules").remove(0);
    let apart = schedule.due.duration_since(lease.deadline);
    assert!(apart.abs() < SignedDuration::from_secs(5), "{} and {}", lease.deadline, schedule.due);
    // What it took to open does not count.
    assert!(lease.deadline > before + SignedDuration::from_mins(30), "{}", lease.deadline);
    assert_eq!(ran.value()["closes_at"], serde_json::json!({ "$time": format!("{:.0}", lease.deadline) }));

    world.keep_until(lease.deadline + SignedDuration::from_mins(20)).await;
    assert_eq!((world.leases().await, world.open_ports()), (vec![], vec![]));
    assert_eq!((removes(&world.lab.ledger()), closings(&world).await), (1, 1));
    let runs = world.journal.runs(&RunFilter::open()).await.expect("runs");
    assert_eq!(runs, [], "the scheduled run is over, too");
}

#[tokio::test]
async fn a_scheduled_disable_that_meets_hours_of_outage_closes_once_they_are_over() {
    for fault in ["throttled=1000000,no-header", "role-missing", "stuck", "slow"] {
        let world = World::new().await;
        let ran = world.run(FLAGSHIP, &[("vm", "web-01"), ("disable_after", "30m")]).await;
        assert!(ran.succeeded());
        world.lab.inject(fault.parse().expect("a fault"));
        let due = world.leases().await[0].deadline;
        // In pieces, each a service that looks a bounded number of times. Where jobs are stuck, one attempt takes an hour.
        while world.clock.now() <= due + SignedDuration::from_hours(3) {
            let before = world.clock.now();
            world.keep_until(before.max(due) + SignedDuration::from_mins(25)).await;
            assert!(world.clock.now() > before, "{fault}: the service stands still");
        }
        if fault == "slow" {
            assert_eq!((world.leases().await, world.open_ports()), (vec![], vec![]), "slow is not away");
            continue;
        }
        assert_eq!(world.open_ports(), ["hq-node2"], "{fault}");
        let engine = world.engine();
        let open = engine.leases().await.expect("leases").remove(0);
        assert!(open.is_late, "{fault}");
        let again = open.closing.expect("a closing").again;
        assert!(
            again.is_some_and(|at| at <= world.clock.now() + SignedDuration::from_mins(15)),
            "{fault}: {again:?}"
        );
        world.lab.clear_faults();
        let back = world.clock.now();
        // One retry, and what closing itself takes.
        world.keep_until(back + SignedDuration::from_mins(15 + 10)).await;
        assert_eq!((world.leases().await, world.open_ports()), (vec![], vec![]), "{fault}");
        assert_eq!(closings(&world).await, 1, "{fault}");
        let runs = world.journal.runs(&RunFilter::open()).await.expect("runs");
        assert_eq!(runs, [], "{fault}: whoever asked for the closing is over, too");
    }
}

/// The process dies before it writes down that it has handed the closing over, and the port is closed meanwhile.
#[tokio::test]
async fn a_disable_that_begins_again_finds_what_was_closed_meanwhile() {
    for record in 1.. {
        let world = World::new().await;
        assert!(world.run(FLAGSHIP, &[("vm", "web-01"), ("disable_after", "30m")]).await.succeeded());
        let lease = world.leases().await.remove(0);
        let request = world.script(&["azure:write"], r#"vmconnect::disable("web-01")"#);
        let memory = world.memory.clone().expect("a journal in memory");
        let cut = Cut::new(memory.clone(), record, Side::After);
        cut.while_alive(world.builder(), request.clone()).await;
        if !cut.is_dead() {
            assert!(record > 4, "the process must have had something to lose: {record}");
            break;
        }
        world.restarts_at_once();
        let engine = world.engine();
        if let Ok(closing) = engine.close_lease(&lease.id).await {
            assert!(matches!(engine.run(&closing).await, Ok(Driven::Ended(RunEnd::Succeeded { .. }))));
        }
        assert_eq!((world.leases().await, world.open_ports()), (vec![], vec![]), "record {record}");
        let ran = world.resume(&request.id).await;
        assert!(ran.succeeded(), "record {record}: {ran:?}");
        assert_eq!(removes(&world.lab.ledger()), 1, "record {record}");
    }
}

#[tokio::test]
async fn whoever_asks_at_once_the_port_is_closed_by_one_request() {
    for round in 0..10 {
        let world = World::new().await;
        assert!(world.run(FLAGSHIP, &[("vm", "web-01"), ("disable_after", "30m")]).await.succeeded());
        let lease = world.leases().await.remove(0);
        let schedule = world.journal.schedules().await.expect("schedules").remove(0);
        world.clock.set(lease.deadline.max(schedule.due));
        let (serve, one, two) = (beside(&world), beside(&world), beside(&world));
        let mut worker = Worker::new(&serve, |what, error| panic!("{what}: {error:?}"));
        let by_hand = async |engine: &Engine| {
            let run = engine.close_lease(&lease.id).await.expect("a closing");
            engine.run(&run).await.expect("it is driven")
        };
        let disable = r#"vmconnect::disable("web-01")"#;
        let (_, left, right, by_one, by_two) = tokio::join!(
            worker.tick(),
            script(&world, &one, disable),
            script(&world, &two, disable),
            by_hand(&one),
            by_hand(&two),
        );
        worker.settle().await;
        world.keep_until(world.clock.now() + minutes(30)).await;
        let sent = removes(&world.lab.ledger());
        assert_eq!(sent, 1, "round {round}: {left:?} {right:?} {by_one:?} {by_two:?}");
        assert_eq!((world.leases().await, world.open_ports()), (vec![], vec![]), "round {round}");
        let open = world.journal.runs(&RunFilter::open()).await.expect("runs");
        assert_eq!(open, [], "round {round}");
    }
}

#[tokio::test]
async fn two_leases_on_one_host_that_end_together_close_its_port_once() {
    for round in 0..10 {
        let world = World::new().await;
        assert!(world.run(FLAGSHIP, &[("vm", "db-01"), ("disable_after", "30m")]).await.succeeded());
        assert!(world.run(FLAGSHIP, &[("vm", "lin-02"), ("disable_after", "30m")]).await.succeeded());
        let last = world.leases().await.iter().map(|lease| lease.deadline).max().expect("two leases");
        world.clock.set(last);
        let engines = [beside(&world), beside(&world)];
        let mut workers =
            engines.each_ref().map(|engine| Worker::new(engine, |what, error| panic!("{what}: {error:?}")));
        let [one, two] = &mut workers;
        let (first, second) = tokio::join!(one.tick(), two.tick());
        first.and(second).expect("the journal is read");
        for worker in &mut workers {
            worker.settle().await;
        }
        world.keep_until(last + SignedDuration::from_mins(40)).await;
        assert_eq!((world.leases().await, world.open_ports()), (vec![], vec![]), "round {round}");
        assert_eq!(removes(&world.lab.ledger()), 1, "round {round}");
    }
}

#[tokio::test]
async fn a_closing_job_that_fails_is_sent_anew_under_another_name() {
    let world = World::new().await;
    assert!(world.run(FLAGSHIP, &[("vm", "web-01"), ("disable_after", "30m")]).await.succeeded());
    world.lab.inject("stuck".parse().expect("a fault"));
    let due = world.leases().await[0].deadline;
    let stuck = world.run_script(&["azure:write"], r#"vmconnect::disable("web-01")"#).await;
    let (Park::Exhausted { .. }, Driven::Parked(_, Some(_))) = (stuck.park(), &stuck.driven) else {
        panic!("{stuck:?}")
    };
    world.lab.clear_faults();
    world.keep_until(due + SignedDuration::from_mins(40)).await;
    assert_eq!((world.leases().await, world.open_ports()), (vec![], vec![]));
    let ran = world.resume(&stuck.run).await;
    assert!(matches!(ran.driven, Driven::Ended(RunEnd::Succeeded { .. })), "{ran:?}");
}

/// The longest that a state of a real process is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited too long until {what}");
        std::thread::yield_now();
    }
}

fn has_open_ports(stage: &Stage) -> bool {
    !crate::support::world::open_ports(&stage.lab.snapshot()).is_empty()
}

/// Stops, with a signal, a process that is closing a port; the next service must close it, with no second request.
async fn stopped_while_it_closes(name: &str, open: &str, closer: impl Fn(&str) -> Vec<String>) {
    // A closing takes eight seconds.
    let stage = Stage::new(30).await;
    tokio::task::block_in_place(|| {
        let text = crate::support::world::runbook(&["azure:write"], open);
        let file = stage.sealed.write("work/open.rhai", &text).to_string_lossy().into_owned();
        let opened = stage.relight(&["run", &file]);
        assert_eq!(opened.code, Some(0), "{opened:?}");
        let listed = stage.relight(&["leases", "--json"]);
        let lease: serde_json::Value = serde_json::from_str(listed.out.trim()).expect("one open lease");
        let args = closer(lease["id"].as_str().expect("an id"));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let closer = stage.command(&args).spawn().expect("relight starts");
        until("the port is being closed", || removes(&stage.lab.ledger()) == 1);
        signal(closer.id(), name);
        let stopped = ended(closer);
        assert!(has_open_ports(&stage), "it was stopped too late: {stopped:?}");
        println!("leases: SIG{name} ended {args:?} with {:?}", stopped.code);
        let between = stage.relight(&["leases"]);
        assert!(between.out.contains("its closing was begun and put down"), "{between:?}");
        assert!(between.err.contains("Nobody closes it"), "{between:?}");

        let serve = stage.command(&["serve"]).spawn().expect("relight starts");
        until("nothing is open", || {
            !has_open_ports(&stage) && stage.relight(&["leases", "--json"]).out.is_empty()
        });
        until("every run is over", || stage.relight(&["runs", "list", "--open", "--json"]).out.is_empty());
        signal(serve.id(), "TERM");
        let served = ended(serve);
        assert_eq!(served.code, Some(0), "{served:?}");
        assert_eq!(removes(&stage.lab.ledger()), 1);
        assert_eq!(stage.complaints(), Vec::<String>::new());
    });
}

fn serve(_lease: &str) -> Vec<String> {
    vec!["serve".to_owned()]
}

/// Open for one minute, and nobody planned to close it.
const LEASED: &str = r#"vmconnect::enable("web-01", #{ open_for: "1m" })"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_service_that_is_stopped_during_a_scheduled_disable_leaves_it_to_the_next() {
    let scheduled = r#"
        let console = vmconnect::enable("web-01");
        schedule::after("1m", "disable-vm-connect", #{ vm: console.vm })
    "#;
    stopped_while_it_closes("TERM", scheduled, serve).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_service_that_is_stopped_during_the_closing_of_a_lease_leaves_it_to_the_next() {
    stopped_while_it_closes("TERM", LEASED, serve).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_service_that_is_hung_up_on_while_it_closes_leaves_that_to_the_next() {
    stopped_while_it_closes("HUP", LEASED, serve).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_service_that_is_killed_while_it_closes_leaves_that_to_the_next() {
    stopped_while_it_closes("KILL", LEASED, serve).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_person_who_interrupts_a_closing_leaves_it_to_the_service() {
    let close = |lease: &str| ["leases", "close", lease].map(str::to_owned).to_vec();
    stopped_while_it_closes("INT", LEASED, close).await;
}

/// What is open too long is told by every command that is asked, and by the service unasked.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_late_is_told_loudly() {
    let stage = Stage::new(600).await;
    tokio::task::block_in_place(|| {
        let opened = stage.relight(&["run", FLAGSHIP, "vm=web-01", "disable_after=2h"]);
        assert_eq!(opened.code, Some(0), "{opened:?}");
        let run = stage.newest(FLAGSHIP).expect("the run")["id"].as_str().expect("an id").to_owned();
        let lease = format!("{run}-3");
        let open = stage.relight(&["leases"]);
        assert_eq!(open.code, Some(0), "{open:?}");
        assert!(open.err.contains("Nobody closes it"), "{open:?}");
        assert!(open.err.contains(&format!("relight leases close {}-3", &run[..4])), "{open:?}");

        stage.lab.inject("role-missing".parse().expect("a fault"));
        let serve = stage.command(&["serve"]).spawn().expect("relight starts");
        until("it is late, and somebody has tried to close it", || {
            let leases = stage.relight(&["leases"]);
            leases.code == Some(3) && leases.out.contains("last tried")
        });
        let late = stage.relight(&["leases"]);
        assert!(late.out.contains("LATE: ") && late.out.contains("last tried"), "{late:?}");
        // What is not allowed, and where more is told.
        let action = "Microsoft.AzureStackHCI/clusters/jobs/write";
        assert!(late.out.contains(action) && late.err.contains("relight runs show "), "{late:?}");
        assert!(
            late.err.contains("LATE: 1 of 1") && late.err.contains("A running `relight serve"),
            "{late:?}"
        );
        let json = stage.relight(&["leases", "--json"]);
        assert_eq!(json.code, Some(3));
        assert!(json.out.contains(r#""late":true"#) && json.out.contains(r#""served":true"#), "{json:?}");
        let doctor = stage.relight(&["doctor"]);
        assert_eq!(doctor.code, Some(1), "{doctor:?}");
        assert!(doctor.out.contains("LATE: VM Connect to web-01"), "{doctor:?}");
        signal(serve.id(), "TERM");
        let served = ended(serve);
        assert_eq!(served.code, Some(3), "{served:?}");
        let loud = served.err.lines().find(|line| line.contains("LATE: VM Connect to web-01 on hq-node2"));
        assert!(loud.is_some_and(|line| line.contains("was due") && line.contains(action)), "{served:?}");

        // Somebody closed it by other means.
        let empty = stage.relight(&["leases", "forget", &lease, "--because", " "]);
        assert_eq!(empty.code, Some(2), "{empty:?}");
        let gone = stage.relight(&["leases", "forget", &lease, "--because", "closed by hand on the host"]);
        assert_eq!(gone.code, Some(0), "{gone:?}");
        assert_eq!(stage.relight(&["leases"]).code, Some(0));
        let all = stage.relight(&["leases", "--all"]);
        assert!(
            all.out.contains("forgotten by ada") && all.out.contains("closed by hand on the host"),
            "{all:?}"
        );

        // Whoever was at it ends, and sends nothing more.
        stage.lab.clear_faults();
        let serve = stage.command(&["serve"]).spawn().expect("relight starts");
        until("every run is over", || stage.relight(&["runs", "list", "--open", "--json"]).out.is_empty());
        signal(serve.id(), "TERM");
        let served = ended(serve);
        let took_effect: Vec<LedgerEntry> = stage.lab.ledger().into_iter().filter(|it| it.effect).collect();
        assert_eq!(removes(&took_effect), 0, "{served:?}");
    });
}

/// What cannot be is said; what can is shown; a service that runs meanwhile closes at the new time, and the scheduled run with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_lease_is_extended_while_a_service_waits_for_it() {
    let stage = Stage::new(600).await;
    tokio::task::block_in_place(|| {
        let opened = stage.relight(&["run", FLAGSHIP, "vm=web-01", "disable_after=2h"]);
        assert_eq!(opened.code, Some(0), "{opened:?}");
        let lease = || stage.lines(&["leases", "--json"]).pop().expect("one open lease");
        let schedule = || stage.lines(&["schedule", "--json"]).pop().expect("one schedule");
        let time = |of: &serde_json::Value, name: &str| -> Timestamp {
            of[name].as_str().expect("a time").parse().expect("a time")
        };
        let before = lease();
        assert_eq!(before["extended"], serde_json::json!([]));
        assert_eq!(schedule()["closes"], before["id"]);
        let latest = time(&before, "latest");
        assert!(latest.duration_since(time(&before, "opened")) == SignedDuration::from_hours(8), "{before}");

        let serve = stage.command(&["serve"]).spawn().expect("relight starts");
        for (args, words) in [
            (&["@last", "9h"][..], "may stay open until"),
            (&["@last", "1m"], "is open until"),
            (&["@last", "--until", "2026-11-20T00:00:00Z"], "is open until"),
            (&["nothing-3", "3h"], "there is no open lease `nothing-3`"),
            (&["@last"], "required"),
            (&["@last", "3h", "--until", "2026-11-20T00:00:00Z"], "cannot be used"),
            (&["@last", "soon"], "soon"),
        ] {
            let refused = stage.relight(&[&["leases", "extend"], args].concat());
            assert_eq!(refused.code, Some(2), "{args:?}: {refused:?}");
            assert!(refused.err.contains(words), "{args:?}: {refused:?}");
        }
        assert_eq!(lease(), {
            let mut same = before.clone();
            same["served"] = true.into();
            same
        });

        let extended = stage.relight(&["leases", "extend", "@last", "5h"]);
        assert_eq!(extended.code, Some(0), "{extended:?}");
        assert!(
            extended.err.contains("stays open until") && extended.err.contains("(in 5h)"),
            "{extended:?}"
        );
        let schedule_id = schedule()["id"].as_str().expect("an id").to_owned();
        assert!(extended.err.contains(&format!("Schedule {schedule_id}, which closes it")), "{extended:?}");
        assert!(extended.err.contains("A running `relight serve"), "{extended:?}");
        let (after, planned) = (lease(), schedule());
        let to = time(&after, "deadline");
        assert_eq!(time(&planned, "due"), to);
        let moved = &after["extended"][0];
        assert_eq!((time(moved, "from"), time(moved, "to")), (time(&before, "deadline"), to));
        assert_eq!(moved["by"], "ada");
        let listed = stage.relight(&["leases"]);
        assert!(listed.out.contains("extended by ada"), "{listed:?}");

        // The old deadline goes by.
        let old = time(&before, "deadline") + SignedDuration::from_mins(20);
        until("the old deadline is over", || stage.clock.now() > old);
        assert!(has_open_ports(&stage), "it was closed at the old deadline");
        assert_eq!(removes(&stage.lab.ledger()), 0);
        until("nothing is open", || stage.relight(&["leases", "--json"]).out.is_empty());
        assert!(stage.clock.now() > to, "it was closed early");
        until("every run is over", || stage.relight(&["runs", "list", "--open", "--json"]).out.is_empty());
        signal(serve.id(), "TERM");
        assert_eq!(ended(serve).code, Some(0));
        assert_eq!(removes(&stage.lab.ledger()), 1);
        assert_eq!(stage.complaints(), Vec::<String>::new());

        // What is closed is not extended, and who extended it is still known.
        let gone = stage.relight(&["leases", "extend", before["id"].as_str().expect("an id"), "1h"]);
        assert!(gone.code == Some(2) && gone.err.contains("there is no open lease"), "{gone:?}");
        let all = stage.relight(&["leases", "--all"]);
        assert!(all.out.contains("extended by ada"), "{all:?}");
        let all = stage.lines(&["leases", "--all", "--json"]);
        assert_eq!(all[0]["extended"]["lease"]["id"], before["id"]);
    });
}

/// The command is killed when the new deadline is on the disk, and before it has said so.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_extension_that_is_killed_has_happened_as_a_whole() {
    let stage = Stage::new(60).await;
    tokio::task::block_in_place(|| {
        let opened = stage.relight(&["run", FLAGSHIP, "vm=web-01", "disable_after=2h"]);
        assert_eq!(opened.code, Some(0), "{opened:?}");
        let died = stage.crashes_after(1, &["leases", "extend", "@last", "4h"]);
        assert!(died.code.is_none() && died.err.is_empty(), "{died:?}");
        let lease = stage.lines(&["leases", "--json"]).pop().expect("one open lease");
        let schedule = stage.lines(&["schedule", "--json"]).pop().expect("one schedule");
        assert_eq!(lease["deadline"], schedule["due"]);
        assert_eq!(lease["extended"][0]["to"], lease["deadline"]);
        // Whoever types it again is told that it is so.
        let to = lease["deadline"].as_str().expect("a time");
        let again = stage.relight(&["leases", "extend", "@last", "--until", to]);
        assert!(again.code == Some(2) && again.err.contains("already"), "{again:?}");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_being_closed_is_not_extended() {
    let stage = Stage::new(60).await;
    tokio::task::block_in_place(|| {
        let opened = stage.relight(&["run", FLAGSHIP, "vm=web-01", "disable_after=2h"]);
        assert_eq!(opened.code, Some(0), "{opened:?}");
        stage.lab.inject("role-missing".parse().expect("a fault"));
        let closed = stage.relight(&["leases", "close", "@last"]);
        assert_eq!(closed.code, Some(3), "{closed:?}");
        let refused = stage.relight(&["leases", "extend", "@last", "4h"]);
        assert!(refused.code == Some(2) && refused.err.contains("is being closed"), "{refused:?}");
        assert!(refused.err.contains("relight runs show"), "{refused:?}");
    });
}
