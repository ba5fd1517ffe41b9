//! The flagship under each named fault of the lab: it ends right, or parks with a reason and a next step.

use relight_engine::Driven;
use relight_engine::clock::Clock;
use relight_engine::event::{Event, Park, RunEnd};
use serde_json::json;

use crate::support::world::{FLAGSHIP, Ran, World, differences, minutes, purposes, repeated, told};

/// What every recovery that went right has in common.
async fn assert_recovered(world: &World, ran: &Ran, node: &str) {
    let value = ran.value();
    assert_eq!(value["host"], json!(node), "{value}");
    assert_eq!(world.open_ports(), [node], "the port of the host is open and no other");
    let files = world.rdp_files();
    assert_eq!(files.len(), 1, "{files:?}");
    assert_eq!(files[0].0, "web-01.rdp");
    assert_eq!(repeated(&world.lab.ledger()), Vec::<String>::new());
    let leases = world.leases().await;
    assert_eq!(leases.len(), 1, "{leases:?}");
    assert!(leases[0].title.ends_with(node), "{}", leases[0].title);
}

/// Lets the time pass over every deadline and asserts that nothing stays open.
async fn assert_closed_in_time(world: &World) {
    let leases = world.leases().await;
    let last = leases.iter().map(|lease| lease.deadline).max().unwrap_or(world.clock.now());
    let troubles = world.keep_until(last + minutes(60)).await;
    assert_eq!(world.leases().await, [], "a lease outlived its deadline {last}; {troubles:?}");
    assert_eq!(world.open_ports(), Vec::<String>::new(), "a port is open after {last}; {troubles:?}");
}

fn assert_tells(told: &str, words: &[&str]) {
    let missing: Vec<&&str> = words.iter().filter(|word| !told.contains(**word)).collect();
    assert!(missing.is_empty(), "{missing:?} is missing in:\n{told}");
}

/// Why a run is parked, in words.
fn parked(ran: &Ran) -> (&'static str, String) {
    match ran.park() {
        Park::Undecided { failure } => ("undecided", told(failure)),
        Park::Exhausted { failure } => ("exhausted", told(failure)),
        Park::Denied { failure } => ("denied", told(failure)),
        Park::Halted { failure } => ("halted", told(failure)),
        other => panic!("parked for another reason: {other:?}"),
    }
}

#[tokio::test]
async fn nothing_is_wrong() {
    let world = World::new().await;
    let ran = world.recover().await;
    assert_recovered(&world, &ran, "hq-node2").await;
    assert_eq!(ran.value()["reachable"], json!(true));
    assert_closed_in_time(&world).await;
}

/// Faults that cost time and nothing else: the same end, each request once, closed in time.
#[tokio::test]
async fn what_only_costs_time_changes_nothing() {
    let calm = {
        let world = World::new().await;
        world.recover().await;
        (world.lab.snapshot(), world.rdp_files(), purposes(&world.lab.ledger()))
    };
    let faults: &[&[&str]] = &[
        &["slow"],
        &["flaps"],
        &["throttled"],
        &["throttled=3"],
        &["throttled=2,no-header"],
        &["throttled=2,writes"],
        &["throttled=1,no-header,writes"],
        &["token-expires"],
        &["cae-challenge"],
        &["succeeded-but-updating"],
        &["other-spelling"],
        &["long-poll-url"],
        &["old-api"],
        &["location-only"],
        &["async-only"],
        &["conflict=10"],
        &["never-ends"],
        &["status-gone"],
        &["reply-lost"],
        &["reset-before"],
        &["garbage=1,html"],
        &["garbage=2,truncated"],
        &["garbage=3,null"],
        &["garbage=4"],
        &["garbage=5,truncated"],
        &["garbage=6,null"],
        &["garbage=7"],
        &["garbage=8,truncated"],
        &["slow", "flaps", "other-spelling", "long-poll-url"],
        &["old-api", "reply-lost", "token-expires"],
        &["throttled=3", "conflict=10", "cae-challenge"],
        &["succeeded-but-updating", "location-only", "reset-before"],
    ];
    let mut offenders = Vec::new();
    for set in faults {
        let world = World::with(set).await;
        let ran = world.recover().await;
        let mut offends = |what: String| offenders.push(format!("{}: {what}", set.join(" + ")));
        let is_slow = set.contains(&"slow");
        match &ran.driven {
            Driven::Ended(RunEnd::Succeeded { .. }) => {}
            // Forty minutes of work do not fit into fifteen: a person is asked, and the run goes on.
            Driven::Parked(Park::Exhausted { .. }, None) if is_slow => {
                let mut again = world.resume(&ran.run).await;
                for _ in 0..3 {
                    if again.succeeded() {
                        break;
                    }
                    again = world.resume(&ran.run).await;
                }
                if !again.succeeded() {
                    offends(format!("did not end after resuming: {:?}", again.driven));
                }
            }
            other => offends(format!("{other:?}")),
        }
        let other = differences(&calm.0, &world.lab.snapshot());
        if !other.is_empty() {
            offends(format!("another world: {}", other.join("; ")));
        }
        if world.rdp_files() != calm.1 {
            offends(format!("another file: {:?}", world.rdp_files()));
        }
        if purposes(&world.lab.ledger()) != calm.2 {
            offends(format!("other requests: {:#?}", world.writes()));
        }
        if !world.complaints().is_empty() {
            offends(format!("the lab complains: {}", world.complaints().join("; ")));
            std::mem::forget(world);
            continue;
        }
        world.lab.clear_faults();
        let deadline = world.leases().await.iter().map(|lease| lease.deadline).max();
        let troubles = world.keep_until(deadline.unwrap_or(world.clock.now()) + minutes(60)).await;
        if !(world.leases().await.is_empty() && world.open_ports().is_empty()) {
            offends(format!("{:?} is open after its deadline; {troubles:?}", world.open_ports()));
        }
    }
    println!("faults: {} sets of faults", faults.len());
    assert!(offenders.is_empty(), "{} offenders:\n{}", offenders.len(), offenders.join("\n"));
}

#[tokio::test]
async fn a_vm_in_another_resource_group() {
    let world = World::new().await;
    let ran = world.run(FLAGSHIP, &[("vm", "app-01"), ("group", "rg-apps")]).await;
    assert_eq!(ran.value()["host"], json!("hq-node3"));
    assert_eq!(world.rdp_files().len(), 1);
    let sent = world.lab.ledger();
    let job = sent.iter().find(|entry| entry.effect).expect("a request");
    assert_eq!(
        job.body["properties"]["vmConnectProvisionJobDetails"][0]["vmResourceGroupName"],
        json!("rg-apps")
    );
    assert_closed_in_time(&world).await;
    // A VM that is nowhere: whoever looked is told what was looked for, and what to do next.
    let lost = world.run(FLAGSHIP, &[("vm", "app-02")]).await;
    assert_tells(&told(lost.failure()), &["app-02"]);
    assert!(!lost.failure().to_error().hints().is_empty(), "no next step: {}", told(lost.failure()));
}

#[tokio::test]
async fn a_cluster_before_2601_says_so_and_sends_nothing() {
    let world = World::new().await;
    let ran = world.run(FLAGSHIP, &[("vm", "pos-01")]).await;
    assert_tells(
        &told(ran.failure()),
        &["branch", "release 2411", "2601", "solution update", "Hyper-V Manager"],
    );
    assert_eq!(world.lab.ledger(), [], "nothing was sent");
    assert_eq!(world.leases().await, [], "nothing is owed");
    assert!(world.rdp_files().is_empty());
}

#[tokio::test]
async fn a_vm_that_is_off_says_how_to_start_it() {
    let world = World::new().await;
    let ran = world.run(FLAGSHIP, &[("vm", "file-01")]).await;
    assert_tells(&told(ran.failure()), &["`file-01` is stopped", "local::start(\"file-01\")"]);
    assert_eq!(world.lab.ledger(), []);
    assert_eq!(world.leases().await, []);
}

#[tokio::test]
async fn a_missing_role_parks_and_is_mended() {
    let world = World::with(&["role-missing"]).await;
    let ran = world.recover().await;
    let (why, told) = parked(&ran);
    assert_eq!(why, "denied");
    assert_tells(&told, &["Azure Stack HCI Administrator", "jobs/write"]);
    let records = world.records(&ran.run).await;
    let error = records.iter().rev().find_map(|record| match record.event().expect("an event") {
        Event::Parked { park: Park::Denied { failure }, .. } => Some(failure.to_error()),
        _ => None,
    });
    let error = error.expect("the park is recorded");
    assert_eq!(error.service_code(), Some("AuthorizationFailed"));
    assert!(
        error.service_error().is_some_and(|service| service.request_id.is_some()),
        "no request id: {error:?}"
    );
    // The duty was taken on before the request was refused; it stays until it is given back.
    assert_eq!(world.leases().await.len(), 1);
    assert_eq!(world.open_ports(), Vec::<String>::new());
    // As long as nobody gives the role, resuming parks again.
    assert_eq!(parked(&world.resume(&ran.run).await).0, "denied");
    world.lab.clear_faults();
    let ran = world.resume(&ran.run).await;
    assert_recovered(&world, &ran, "hq-node2").await;
    assert_closed_in_time(&world).await;
}

#[tokio::test]
async fn a_role_that_nobody_gives_leaves_nothing_open() {
    let world = World::with(&["role-missing"]).await;
    let ran = world.recover().await;
    assert_eq!(parked(&ran).0, "denied");
    // The closing run lacks the role too and comes back; once it has it, the lease is gone.
    let deadline = world.leases().await[0].deadline;
    world.keep_until(deadline + minutes(20)).await;
    assert_eq!(world.open_ports(), Vec::<String>::new());
    world.lab.clear_faults();
    world.keep_until(deadline + minutes(60)).await;
    assert_eq!(world.leases().await, [], "the lease is given back once the role is there");
}

#[tokio::test]
async fn a_host_that_cannot_be_reached_from_here() {
    for fault in ["host-unreachable"] {
        let world = World::with(&[fault]).await;
        let ran = world.recover().await;
        assert_recovered(&world, &ran, "hq-node2").await;
        assert_eq!(ran.value()["reachable"], json!(false), "{fault}");
        let notes: Vec<String> = world
            .records(&ran.run)
            .await
            .iter()
            .filter_map(|record| match record.event().expect("an event") {
                Event::StepStarted { operation, args, .. } if operation == "note" => {
                    args["text"].as_str().map(str::to_owned)
                }
                _ => None,
            })
            .collect();
        let notes = notes.join("\n");
        assert_tells(&notes, &["port 2179 answers on no address", "VPN", "names the first address"]);
        // The first address of the host, as the file's reader will need it.
        assert!(world.rdp_files()[0].1.contains("127.*.*.12"), "{:?}", world.rdp_files());
        assert_closed_in_time(&world).await;
    }
}

#[tokio::test]
async fn an_address_that_does_not_answer_is_passed_over() {
    let world = World::with(&["wrong-address"]).await;
    let ran = world.run(FLAGSHIP, &[("vm", "db-01")]).await;
    assert_eq!(ran.value()["reachable"], json!(true));
    assert!(world.rdp_files()[0].1.contains("127.*.*.111"), "the second address: {:?}", world.rdp_files());
    assert_closed_in_time(&world).await;
}

#[tokio::test]
async fn a_vm_that_moves_while_its_port_is_opened() {
    let world = World::with(&["host-moves"]).await;
    let ran = world.recover().await;
    assert_recovered(&world, &ran, "hq-node3").await;
    let file = &world.rdp_files()[0].1;
    assert!(
        file.contains("127.*.*.13") || file.contains("127.*.*.113"),
        "the file names the new node: {file}"
    );
    let sent = world.lab.ledger();
    let jobs: Vec<(&str, &str)> = sent
        .iter()
        .filter(|entry| entry.effect && entry.method == "PUT")
        .map(|entry| {
            let properties = &entry.body["properties"];
            let details = properties["vmConnectProvisionJobDetails"]
                .as_array()
                .or(properties["vmConnectRemoveJobDetails"].as_array());
            let node = details.and_then(|details| details[0]["nodeName"].as_str());
            (properties["jobType"].as_str().expect("a type"), node.expect("a node"))
        })
        .collect();
    assert_eq!(
        jobs,
        [
            ("VmConnectProvision", "hq-node2"),
            ("VmConnectRemove", "hq-node2"),
            ("VmConnectProvision", "hq-node3")
        ]
    );
    assert_closed_in_time(&world).await;
}

#[tokio::test]
async fn a_vm_that_moves_after_its_port_was_opened_is_closed_where_it_was_opened() {
    let world = World::new().await;
    let ran = world.recover().await;
    assert_recovered(&world, &ran, "hq-node2").await;
    assert!(world.lab.move_vm("rg-edge", "web-01", "hq-node1"));
    assert_closed_in_time(&world).await;
}

#[tokio::test]
async fn a_job_that_fails_shows_what_azure_recommends() {
    let world = World::with(&["job-fails"]).await;
    let ran = world.recover().await;
    let failure = ran.failure();
    let error = failure.to_error();
    assert_tells(&told(failure), &["failed in step"]);
    assert!(!error.hints().is_empty(), "the recommended steps are hints: {error:?}");
    // The lab's job says what it recommends; the same words must reach the person.
    let advice = advice(&world).await;
    assert!(!advice.is_empty(), "the lab recommends something");
    for step in &advice {
        assert!(told(failure).contains(step.as_str()), "{step} is missing in:\n{}", told(failure));
    }
    assert!(world.rdp_files().is_empty(), "no file for a console that is not open");
    world.lab.clear_faults();
    assert_closed_in_time(&world).await;
}

/// What the failed job in the lab recommends, read over the wire.
async fn advice(world: &World) -> Vec<String> {
    let entry = world.lab.ledger().into_iter().find(|entry| entry.effect).expect("a job");
    let script = format!("arm::get({:?}, {:?})", entry.path, entry.api_version);
    let ran = world.run_script(&["azure:read"], &script).await;
    fn collect(value: &serde_json::Value, out: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(map) => {
                for (name, value) in map {
                    if name == "recommendedSteps" {
                        out.extend(
                            value
                                .as_array()
                                .into_iter()
                                .flatten()
                                .filter_map(|v| v.as_str().map(str::to_owned)),
                        );
                    } else {
                        collect(value, out);
                    }
                }
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, out)),
            _ => {}
        }
    }
    let mut out = Vec::new();
    collect(ran.value(), &mut out);
    out
}

#[tokio::test]
async fn an_old_api_is_negotiated_and_an_unknown_one_is_named() {
    let world = World::with(&["old-api"]).await;
    let ran = world.recover().await;
    assert_recovered(&world, &ran, "hq-node2").await;
    let sent = world.lab.ledger();
    let used: Vec<&str> =
        sent.iter().filter(|entry| entry.effect).map(|entry| entry.api_version.as_str()).collect();
    assert_eq!(used, ["2026-05-01-preview"], "the newest that both know");
    assert_closed_in_time(&world).await;

    let world = World::with(&["old-api=2019-01-01"]).await;
    let ran = world.recover().await;
    let text = told(ran.failure());
    assert_tells(&text, &["2019-01-01", "preview"]);
    world.lab.clear_faults();
    assert_closed_in_time(&world).await;
}

/// A job that stays in progress for ever: a person is asked after a quarter of an hour, and it was not given up.
#[tokio::test]
async fn a_job_that_is_stuck_parks_after_a_quarter_of_an_hour() {
    let world = World::with(&["stuck"]).await;
    let began = world.clock.now();
    let ran = world.recover().await;
    let (why, text) = parked(&ran);
    assert_eq!(why, "exhausted");
    assert_tells(&text, &["vmconnect::enable", "still under way", "resume", "not given up"]);
    let waited = world.clock.now().duration_since(began);
    assert!(waited.as_mins() >= 15 && waited.as_mins() < 17, "it waited {waited:#}");
    // Whoever resumes it gives it as long again; the request is not repeated.
    let again = world.resume(&ran.run).await;
    assert_eq!(parked(&again).0, "exhausted");
    assert_eq!(repeated(&world.lab.ledger()), Vec::<String>::new());
    assert_eq!(world.writes().len(), 1, "{:?}", world.writes());
    let deadline = world.leases().await[0].deadline;
    world.lab.clear_faults();
    world.keep_until(deadline + minutes(60)).await;
    assert_eq!(world.open_ports(), Vec::<String>::new());
    assert_eq!(world.leases().await, [], "what was leased for a stuck job is given back");
}

/// Work that takes ten times as long: parked as overdue, and resuming it goes on to the right end.
#[tokio::test]
async fn a_slow_job_parks_and_ends_when_it_is_resumed() {
    let world = World::with(&["slow"]).await;
    let mut ran = world.recover().await;
    let mut parks = 0;
    while !ran.succeeded() {
        assert_eq!(parked(&ran).0, "exhausted");
        parks += 1;
        assert!(parks < 5, "40 minutes are over by now");
        ran = world.resume(&ran.run).await;
    }
    assert!(parks >= 1, "a slow job was not waited for longer than its limit");
    assert_recovered(&world, &ran, "hq-node2").await;
    world.lab.clear_faults();
    assert_closed_in_time(&world).await;
}

/// The status address never tells the end, but the job itself does.
#[tokio::test]
async fn a_status_that_never_ends_does_not_hold_up_the_run() {
    let world = World::with(&["never-ends"]).await;
    let began = world.clock.now();
    let ran = world.recover().await;
    assert_recovered(&world, &ran, "hq-node2").await;
    assert!(world.clock.now().duration_since(began).as_mins() < 10);
    world.lab.clear_faults();
    assert_closed_in_time(&world).await;
}

/// The signed address of a status is three kilobytes long: it is used whole, and shown nowhere whole.
#[tokio::test]
async fn a_long_status_address_is_followed() {
    let world = World::with(&["long-poll-url"]).await;
    let ran = world.recover().await;
    assert_recovered(&world, &ran, "hq-node2").await;
    let longest = world.records(&ran.run).await.iter().map(|record| record.body.len()).max();
    assert!(longest > Some(3000), "the whole address is recorded, for whoever resumes");
    assert_closed_in_time(&world).await;
}

/// Throttling that names no pause and never ends: parked as exhausted, and the run goes on once it is over.
#[tokio::test]
async fn throttling_without_end_parks() {
    let world = World::with(&["throttled=500,no-header"]).await;
    let ran = world.recover().await;
    let (why, text) = parked(&ran);
    assert_eq!(why, "exhausted");
    assert_tells(&text, &["429"]);
    world.lab.clear_faults();
    let ran = world.resume(&ran.run).await;
    assert_recovered(&world, &ran, "hq-node2").await;
    assert_closed_in_time(&world).await;
}

/// A conflict that lasts longer than our patience: parked with Azure's words, and the run goes on afterwards.
#[tokio::test]
async fn a_conflict_that_lasts_parks_or_is_waited_out() {
    let world = World::with(&["conflict=900"]).await;
    let ran = world.recover().await;
    let (why, text) = parked(&ran);
    assert_eq!(why, "exhausted");
    assert_tells(&text, &["409", "ConflictingOperation", "previous"]);
    world.clock.advance(minutes(15));
    let ran = world.resume(&ran.run).await;
    assert_recovered(&world, &ran, "hq-node2").await;
    assert_closed_in_time(&world).await;
}

/// A challenge that only a token with its claims answers: answered, or parked with what to do.
#[tokio::test]
async fn a_claims_challenge_is_answered_or_parks_with_a_hint() {
    let world = World::with(&["cae-challenge=claims"]).await;
    let mut ran = world.recover().await;
    if !ran.succeeded() {
        let (why, text) = parked(&ran);
        assert_eq!(why, "denied");
        assert_tells(&text, &["continuous access evaluation", "AZURE_CLIENT_SECRET"]);
        assert!(!text.contains("sign in with `az login`"), "a service principal signs in otherwise: {text}");
        world.lab.clear_faults();
        ran = world.resume(&ran.run).await;
    }
    assert_recovered(&world, &ran, "hq-node2").await;
    assert_closed_in_time(&world).await;
}

/// Azure says when to come back, and we do not come earlier.
#[tokio::test]
async fn a_throttled_request_waits_as_long_as_it_was_told() {
    let world = World::with(&["throttled=1"]).await;
    let ran = world.recover().await;
    assert_recovered(&world, &ran, "hq-node2").await;
    let requests = world.lab.requests();
    let refused = requests.iter().position(|entry| entry.status == 429).expect("a refusal");
    let next = requests[refused + 1].at.duration_since(requests[refused].at);
    assert!(next.as_secs() >= 6, "the next request came after {next:#}");
    assert_closed_in_time(&world).await;
}

/// Every end of the flagship, whatever went wrong, leaves nothing open past the deadline of its lease.
#[tokio::test]
async fn no_lease_outlives_its_deadline() {
    let histories: &[(&str, &[&str])] = &[
        ("web-01", &[]),
        ("web-01", &["host-moves"]),
        ("web-01", &["job-fails"]),
        ("web-01", &["host-unreachable"]),
        ("web-01", &["wrong-address", "flaps"]),
        ("web-01", &["reply-lost"]),
        ("web-01", &["reply-lost=2"]),
        ("web-01", &["reset-before=2"]),
        ("web-01", &["succeeded-but-updating", "other-spelling"]),
        ("web-01", &["token-expires", "throttled=2"]),
        ("web-01", &["role-missing"]),
        ("web-01", &["stuck"]),
        ("web-01", &["slow"]),
        ("web-01", &["throttled=500,no-header"]),
        ("web-01", &["never-ends", "old-api"]),
        ("db-01", &["host-moves", "conflict=120"]),
        ("pos-01", &[]),
        ("file-01", &[]),
    ];
    let mut offenders = Vec::new();
    for (vm, faults) in histories {
        let world = World::with(faults).await;
        let ran = world.run(FLAGSHIP, &[("vm", vm)]).await;
        let deadline = world.leases().await.iter().map(|lease| lease.deadline).max();
        let end = deadline.unwrap_or(world.clock.now());
        // The faults go on until the deadline and while it is closed, but for a job that would never end.
        if faults.contains(&"stuck") {
            world.lab.clear_faults();
        }
        world.keep_until(end).await;
        world.lab.clear_faults();
        let troubles = world.keep_until(end + minutes(90)).await;
        let (leases, ports) = (world.leases().await, world.open_ports());
        if !(leases.is_empty() && ports.is_empty()) {
            offenders.push(format!("{vm} {faults:?} ({:?}): {leases:?} {ports:?} {troubles:?}", ran.driven));
        }
    }
    println!("faults: {} histories, nothing open after the deadline", histories.len());
    assert!(offenders.is_empty(), "{} offenders:\n{}", offenders.len(), offenders.join("\n"));
}

/// Two VMs on one host share its port: it closes with the second lease.
#[tokio::test]
async fn a_shared_port_closes_with_the_last_lease() {
    let world = World::new().await;
    let first = world.run(FLAGSHIP, &[("vm", "db-01"), ("disable_after", "30m")]).await;
    let second = world.run(FLAGSHIP, &[("vm", "lin-02"), ("disable_after", "3h")]).await;
    assert!(first.succeeded() && second.succeeded());
    assert_eq!(world.leases().await.len(), 2);
    world.keep_until(world.clock.now() + minutes(45)).await;
    assert_eq!(world.leases().await.len(), 1, "the first lease is given back");
    assert_eq!(world.open_ports(), ["hq-node1"], "the port stays open for the second");
    world.keep_until(world.clock.now() + minutes(200)).await;
    assert_eq!(world.leases().await, []);
    assert_eq!(world.open_ports(), Vec::<String>::new());
}

/// Once a token was refused although it was new, nobody tries it again, not a run that goes on in the same process either.
#[tokio::test]
async fn a_token_that_was_refused_twice_is_not_used_again() {
    let world = World::with(&["token-expires", "token-expires"]).await;
    let engine = world.engine();
    let run = engine.prepare(&world.request(FLAGSHIP, &[("vm", "web-01")])).await.expect("a run");
    let refused = world.passing(engine.run(&run)).await.expect("it is driven");
    assert!(matches!(refused, Driven::Parked(Park::Denied { .. }, _)), "{refused:?}");
    world.clock.advance(minutes(1));
    let ended = world.passing(engine.run(&run)).await.expect("it is driven");
    assert!(matches!(ended, Driven::Ended(RunEnd::Succeeded { .. })), "{ended:?}");
    assert_eq!(world.complaints(), Vec::<String>::new());
}
