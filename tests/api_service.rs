//! The service as people and programs talk to it: who may, what is kept of it, and that nothing happens twice.
//!
//! Rules that hold for every endpoint are looked at over the table, by the description that the service gives of itself.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::api::{Answered, Served, events, operations, token};
use crate::support::sealed::Sealed;
use crate::support::stage::files_below;
use crate::support::world::speak_tls;

const CANARY: &str = "canary-4c1d88e07b";

/// A world with runbooks: one that is soon over, one that asks, one that waits.
fn world() -> Sealed {
    let world = Sealed::new();
    world
        .runbook("quick", "/*---\ntitle = \"Quick\"\n---*/\nfor n in 0..5 { note(`number ${n}`); }\n6 * 7\n");
    let ask = r#"ask("Really?", #{ choices: ["yes", "no"] })"#;
    world.runbook("asks", &format!("/*---\ntitle = \"Ask\"\n---*/\n{ask}\n"));
    world.runbook("waits", "/*---\ntitle = \"Wait\"\n---*/\nwait(\"8000h\");\n");
    world.runbook(
        "writes",
        "/*---\ntitle = \"Write\"\neffects = [\"file:write\"]\n---*/\nfile::write(\"said.txt\", \"said\")\n",
    );
    world
}

/// A path of the table with something in its places.
fn filled(path: &str, run: &str) -> String {
    let path = path.replace("{run}", run).replace("{runbook}", "quick");
    path.replace("{lease}", "none").replace("{schedule}", "none")
}

/// Asks an endpoint of the table, with a body where it takes one. An endless answer is not read to its end.
async fn ask(served: &Served<'_>, token: &str, (method, path): (&str, &str), about: &Value) -> Answered {
    // What has to be asked for is asked for.
    let parameters = about["parameters"].as_array().into_iter().flatten();
    let needed = parameters.filter(|it| it["in"] == "query" && it["required"] == true);
    let query: Vec<String> = needed.map(|it| format!("{}=x", it["name"].as_str().unwrap())).collect();
    let path = &if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) };
    let mut request = served.request(token, method, path);
    let fields = &about["requestBody"]["content"]["application/json"]["schema"]["required"];
    let body: serde_json::Map<String, Value> = fields
        .as_array()
        .into_iter()
        .flatten()
        .map(|field| (field.as_str().unwrap().to_owned(), json!("quick")))
        .collect();
    if !body.is_empty() {
        request = request.json(&body);
    }
    let response = request.send().await.expect("an answer");
    match response.headers().get("content-type").is_some_and(|media| media == "text/event-stream") {
        true => Answered { status: response.status().as_u16(), text: String::new() },
        false => Answered::read(response).await,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_learns_anything_without_a_token() {
    let world = world();
    let admin = token(&world, &["admin", "--role", "admin"]);
    let revoked = token(&world, &["gone", "--role", "admin"]);
    world.in_lab(["token", "revoke", "gone"]).run().succeeds();
    let served = Served::start(&world);
    let description = served.description(&admin).await;
    let mut open = Vec::new();
    let operations = operations(&description);
    assert!(operations.len() > 20, "{}", operations.len());
    for (method, path, about) in operations {
        let path = filled(&path, "none");
        for worthless in ["", "rlt_0", &revoked, &admin[..admin.len() - 1], &format!("{admin}0")] {
            let answer = ask(&served, worthless, (&method, &path), about).await;
            if about["security"] == json!([]) {
                assert_eq!(answer.status, 200, "{path}");
                open.push(path.clone());
                break;
            }
            let refusal = answer.is(401);
            assert_eq!(refusal["error"]["kind"], "unauthorized", "{path}");
        }
    }
    assert_eq!(open, ["/live", "/ready"]);
    // What there is not, and what no method knows, is said to nobody either.
    for (method, path) in [("GET", "/"), ("GET", "/v1/other"), ("PATCH", "/v1/runs")] {
        ask(&served, "", (method, path), &Value::Null).await.is(401);
    }
    ask(&served, &admin, ("GET", "/v1/other"), &Value::Null).await.is(404);
    ask(&served, &admin, ("PATCH", "/v1/runs"), &Value::Null).await.is(405);
    let basic = served.request("", "GET", "/v1/runs").header("authorization", format!("Basic {admin}"));
    Answered::read(basic.send().await.unwrap()).await.is(401);
    // A token counts from when it was made, and no more from when it is revoked, while the service runs.
    let late = token(&world, &["late", "--role", "view"]);
    served.get(&late, "/v1/runs").await.is(200);
    world.in_lab(["token", "revoke", "late"]).run().succeeds();
    served.get(&late, "/v1/runs").await.is(401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_hold_over_the_whole_table() {
    let world = world();
    let roles = ["view", "run", "admin"];
    let tokens = roles.map(|role| token(&world, &[role, "--role", role]));
    let limited = token(&world, &["limited", "--role", "admin", "--runbook", "quick"]);
    let served = Served::start(&world);
    let description = served.description(&tokens[0]).await;
    let (mut granted, mut refused) = (0, 0);
    let documented = include_str!("../docs/api.md");
    for (method, path, about) in operations(&description) {
        let role = about["x-role"].as_str().map_or("none".to_owned(), |role| format!("`{role}`"));
        let row = format!("| `{method} {path}` | {role} |");
        assert!(documented.contains(&row), "docs/api.md does not say {row}");
        let Some(needed) = roles.iter().position(|role| about["x-role"] == *role) else { continue };
        let path = filled(&path, "none");
        let changes = method != "GET";
        assert_eq!(about["x-changes"], changes, "{method} {path} says what it does");
        assert!(needed > 0 || !changes, "{method} {path} changes something and needs no role");
        for (has, token) in tokens.iter().enumerate() {
            let answer = ask(&served, token, (&method, &path), about).await;
            match has < needed {
                true => assert_eq!(answer.is(403)["error"]["kind"], "forbidden"),
                false => assert!(![401, 403, 500].contains(&answer.status), "{method} {path}: {answer:?}"),
            }
            (granted, refused) = (granted + usize::from(has >= needed), refused + usize::from(has < needed));
        }
        if about["x-whole"] == true {
            ask(&served, &limited, (&method, &path), about).await.is(403);
        }
    }
    println!("api: {granted} granted, {refused} refused");
    assert!(granted > 30 && refused > 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_some_runbooks_sees_and_does_nothing_about_others() {
    let world = world();
    let admin = token(&world, &["admin", "--role", "admin"]);
    world.runbook("parent", "/*---\ntitle = \"Parent\"\n---*/\nrun(\"asks\")\n");
    let limited = token(&world, &["limited", "--role", "admin", "--runbook", "quick", "--runbook", "parent"]);
    let served = Served::start(&world);
    let description = served.description(&limited).await;
    let theirs = served.begin(&admin, "asks").await;
    let own = served.begin(&limited, "quick").await;
    let parent = served.begin(&limited, "parent").await;
    served.until(&admin, &theirs, "parked").await;
    let listed = served.get(&limited, "/v1/runs").await.is(200);
    let runbooks: Vec<&Value> =
        listed["runs"].as_array().unwrap().iter().map(|run| &run["runbook"]).collect();
    assert_eq!(runbooks, ["parent", "quick"]);
    let found = served.get(&limited, &format!("/v1/runs?id={theirs}")).await.is(200);
    assert_eq!(found["runs"], json!([]));
    served.get(&limited, &format!("/v1/runs?after={theirs}")).await.is(404);
    let mut looked = 0;
    for (method, path, about) in operations(&description).into_iter().filter(|it| it.1.contains("{run}")) {
        let nobody = ask(&served, &limited, (&method, &filled(&path, "none")), about).await.is(404);
        let others = ask(&served, &limited, (&method, &filled(&path, &theirs)), about).await.is(404);
        // It is not even said that there is such a run.
        let said = |refusal: &Value| refusal["error"]["message"].as_str().unwrap().to_owned();
        assert_eq!(said(&others).replace(&theirs, "none"), said(&nobody), "{path}");
        looked += 1;
    }
    assert!(looked >= 8, "{looked}");
    assert_eq!(served.get(&admin, &format!("/v1/runs/{theirs}")).await.is(200)["status"], "parked");
    served.post(&limited, "/v1/runs", json!({ "runbook": "asks" })).await.is(404);
    served.get(&limited, "/v1/runbooks/asks").await.is(404);
    let books = served.get(&limited, "/v1/runbooks").await.is(200);
    let names: Vec<&Value> = books["runbooks"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["parent", "quick"]);
    served.until(&limited, &own, "succeeded").await;
    // What its runs start is its own as well, or it could not answer for them.
    let child = served.until(&limited, &parent, "parked").await["park"]["run"].as_str().unwrap().to_owned();
    served.post(&limited, &format!("/v1/runs/{child}/answer"), json!({ "answer": "yes" })).await.is(202);
    served.until(&limited, &parent, "succeeded").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_are_answered_stopped_and_resumed() {
    let world = world();
    let ops = token(&world, &["ops", "--role", "run"]);
    // What a person interrupted stays where it is until somebody says otherwise.
    world.runbook("slow", "/*---\ntitle = \"Slow\"\n---*/\nnote(\"begun\"); wait(\"10m\"); \"done\"\n");
    let mut person = world.in_lab(["run", "slow"]).spawn();
    person.wait_for("begun");
    person.signal("INT");
    person.end().ends_with(3);
    let served = Served::start(&world);
    let run = served.begin(&ops, "asks").await;
    let parked = served.until(&ops, &run, "parked").await;
    assert_eq!(parked["park"]["text"], "Really?");
    let path = format!("/v1/runs/{run}/answer");
    served.post(&ops, &path, json!({ "answer": "maybe" })).await.is(409);
    served.post(&ops, &path, json!({ "answer": "yes" })).await.is(202);
    let over = served.until(&ops, &run, "succeeded").await;
    assert_eq!(over["end"]["value"], "yes");
    let records = served.get(&ops, &format!("/v1/runs/{run}/records")).await.is(200);
    let answered = records["events"].as_array().unwrap().iter().find(|event| event["event"] == "signalled");
    assert_eq!(answered.expect("the answer")["by"], "ops");
    for what in ["answer", "stop", "resume"] {
        served.post(&ops, &format!("/v1/runs/{run}/{what}"), json!({ "answer": "yes" })).await.is(409);
    }
    let waits = served.begin(&ops, "waits").await;
    served.until(&ops, &waits, "parked").await;
    let stopped = served.request(&ops, "POST", &format!("/v1/runs/{waits}/stop")).send().await.unwrap();
    Answered::read(stopped).await.is(202);
    let stopped = served.until(&ops, &waits, "stopped").await;
    assert_eq!(stopped["end"]["by"], "ops");
    let runs = served.get(&ops, "/v1/runs?state=parked&runbook=slow").await.is(200);
    let slow = runs["runs"][0]["id"].as_str().expect("the run").to_owned();
    assert_eq!(runs["runs"][0]["park"]["why"], "interrupted");
    let resumed = served.request(&ops, "POST", &format!("/v1/runs/{slow}/resume")).send().await.unwrap();
    Answered::read(resumed).await.is(202);
    assert_eq!(served.until(&ops, &slow, "succeeded").await["end"]["value"], "done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_open_is_closed_and_what_is_scheduled_removed() {
    let world = world();
    let admin = token(&world, &["admin", "--role", "admin"]);
    let other = token(&world, &["other", "--role", "admin", "--runbook", "quick"]);
    world.in_lab(["schedule", "add", "waits", "--name", "nightly", "--cron", "0 3 * * *"]).run().succeeds();
    let served = Served::start(&world);
    let start = json!({ "runbook": "recover-unbootable-vm", "params": { "vm": "web-01" } });
    let run = served.post(&admin, "/v1/runs", start).await.is(201)["id"].as_str().unwrap().to_owned();
    served.until(&admin, &run, "succeeded").await;
    let delete = async |token: &str, name: &str| {
        let request = served.request(token, "DELETE", &format!("/v1/schedules/{name}"));
        Answered::read(request.send().await.unwrap()).await
    };
    // Of what belongs to other runbooks a limited token sees and does nothing.
    for (path, field) in [("/v1/leases", "leases"), ("/v1/schedules", "schedules")] {
        assert_eq!(served.get(&other, path).await.is(200)[field], json!([]), "{path}");
    }
    let leases = served.get(&admin, "/v1/leases").await.is(200);
    let lease = leases["leases"][0]["id"].as_str().expect("a lease").to_owned();
    assert_eq!(leases["leases"][0]["run"], run.as_str());
    served.post(&other, &format!("/v1/leases/{lease}/close"), json!({})).await.is(404);
    delete(&other, "nightly").await.is(404);
    let closing = served.post(&admin, &format!("/v1/leases/{lease}/close"), json!({})).await.is(202);
    served.until(&admin, closing["id"].as_str().unwrap(), "succeeded").await;
    assert_eq!(served.get(&admin, "/v1/leases").await.is(200)["leases"], json!([]));
    served.post(&admin, &format!("/v1/leases/{lease}/close"), json!({})).await.is(404);
    let named =
        |schedules: &Value| schedules["schedules"].as_array().unwrap().iter().any(|it| it["id"] == "nightly");
    assert!(named(&served.get(&admin, "/v1/schedules").await.is(200)));
    assert_eq!(delete(&admin, "nightly").await.status, 204);
    assert!(!named(&served.get(&admin, "/v1/schedules").await.is(200)));
    delete(&admin, "nightly").await.is(404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_go_on_where_they_were_left() {
    let world = world();
    let ops = token(&world, &["ops", "--role", "run"]);
    let served = Served::start(&world);
    let run = served.begin(&ops, "asks").await;
    let path = format!("/v1/runs/{run}/events");
    // While it runs: up to the question.
    let first =
        events(served.request(&ops, "GET", &path).send().await.unwrap(), |sent| sent.event == "parked");
    let first = first.await;
    let seen = first.last().expect("events").id.expect("an id");
    assert_eq!(first.iter().map(|sent| sent.id.unwrap()).collect::<Vec<_>>(), (1..=seen).collect::<Vec<_>>());
    served.post(&ops, &format!("/v1/runs/{run}/answer"), json!({ "answer": "yes" })).await.is(202);
    // From there on, until it is over.
    let rest = served.request(&ops, "GET", &path).header("last-event-id", seen.to_string());
    let rest = events(rest.send().await.unwrap(), |_| false).await;
    let (end, rest) = rest.split_last().expect("events");
    assert_eq!((end.event.as_str(), &end.data), ("end", &json!({ "status": "succeeded" })));
    let last = rest.last().expect("more").id.unwrap();
    assert_eq!(
        rest.iter().map(|sent| sent.id.unwrap()).collect::<Vec<_>>(),
        (seen + 1..=last).collect::<Vec<_>>()
    );
    // From every event on, as all at once.
    let all = events(served.request(&ops, "GET", &path).send().await.unwrap(), |_| false).await;
    for after in 0..=last {
        let request = served.request(&ops, "GET", &format!("{path}?after={after}"));
        let rest = events(request.send().await.unwrap(), |_| false).await;
        assert_eq!(rest, all[usize::try_from(after).unwrap()..], "after {after}");
    }
    let wrong = served.request(&ops, "GET", &path).header("last-event-id", "x").send().await.unwrap();
    Answered::read(wrong).await.is(400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_ends_lets_nobody_hang() {
    let world = world();
    let ops = token(&world, &["ops", "--role", "run"]);
    let served = Served::start(&world);
    let run = served.begin(&ops, "waits").await;
    served.until(&ops, &run, "parked").await;
    let following = served.request(&ops, "GET", &format!("/v1/runs/{run}/events")).send().await.unwrap();
    let idle = TcpStream::connect(served.url.strip_prefix("http://").unwrap()).unwrap();
    served.running.signal("TERM");
    let seen = events(following, |_| false).await;
    assert!(seen.iter().any(|sent| sent.event == "step_started"), "{seen:?}");
    assert!(seen.iter().all(|sent| sent.event != "end"), "the run is not over: {seen:?}");
    served.running.end().succeeds();
    drop(idle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_counted_and_end_with_their_token() {
    let world = world();
    let ops = token(&world, &["ops", "--role", "run"]);
    let gone = token(&world, &["gone", "--role", "view"]);
    let served = Served::start(&world);
    let run = served.begin(&ops, "waits").await;
    served.until(&ops, &run, "parked").await;
    let path = format!("/v1/runs/{run}/events");
    let mut open = Vec::new();
    for _ in 0..128 {
        let response = served.request(&gone, "GET", &path).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        open.push(response);
    }
    let refused = Answered::read(served.request(&ops, "GET", &path).send().await.unwrap()).await;
    assert_eq!(refused.is(429)["error"]["kind"], "too_many");
    served.get(&ops, "/v1/runs").await.is(200);
    world.in_lab(["token", "revoke", "gone"]).run().succeeds();
    for response in open {
        let seen = events(response, |_| false).await;
        assert!(seen.iter().all(|sent| sent.event != "end"), "the run is not over");
    }
    // Their places are free again.
    assert_eq!(served.request(&ops, "GET", &path).send().await.unwrap().status().as_u16(), 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn asking_again_is_asking_for_the_same_run_also_after_a_restart() {
    let world = world();
    let ops = token(&world, &["ops", "--role", "run"]);
    let other = token(&world, &["other", "--role", "run"]);
    let mut ids = Vec::new();
    for _ in 0..2 {
        let served = Served::start(&world);
        for body in [json!({ "runbook": "quick" }), json!({ "runbook": "quick" })] {
            let request =
                served.request(&ops, "POST", "/v1/runs").header("idempotency-key", "k1").json(&body);
            let answer = Answered::read(request.send().await.unwrap()).await;
            assert_eq!(answer.status, if ids.is_empty() { 201 } else { 200 }, "{answer:?}");
            ids.push(answer.json()["id"].clone());
        }
        let differs = served.request(&ops, "POST", "/v1/runs").header("idempotency-key", "k1");
        Answered::read(differs.json(&json!({ "runbook": "asks" })).send().await.unwrap()).await.is(409);
        let named = json!({ "runbook": "quick", "id": "mine-1" });
        let status = served.post(&ops, "/v1/runs", named.clone()).await.status;
        assert_eq!(status, if ids.len() == 2 { 201 } else { 200 });
        served.post(&ops, "/v1/runs", named).await.is(200);
        served.running.signal("KILL");
        drop(served.running.end());
    }
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let served = Served::start(&world);
    // The key of another token is another key.
    let theirs = served.request(&other, "POST", "/v1/runs").header("idempotency-key", "k1");
    let theirs = Answered::read(theirs.json(&json!({ "runbook": "quick" })).send().await.unwrap()).await;
    assert_ne!(theirs.is(201)["id"], ids[0]);
    // A run that was not started here cannot be taken for one that was.
    let local = world.in_lab(["run", "quick", "--detach"]).run().succeeds().trim().to_owned();
    served.post(&ops, "/v1/runs", json!({ "runbook": "quick", "id": local })).await.is(409);
    let runs = served.get(&ops, "/v1/runs?runbook=quick").await.is(200);
    assert_eq!(runs["runs"].as_array().unwrap().len(), 4, "{runs:#}");
}

/// Who did not hear what became of a trigger asks again, and nothing runs twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_that_is_asked_for_again_is_the_same() {
    let world = world();
    let [ops, other] = ["ops", "other"].map(|name| token(&world, &[name, "--role", "run"]));
    let rule = ["--cron", "30 6 1 1 *", "--overlap", "allow-all"];
    world.in_lab([&["schedule", "add", "quick", "--name", "yearly"], &rule[..]].concat()).run().succeeds();
    let mut came_of = Vec::new();
    for _ in 0..2 {
        let served = Served::start(&world);
        for (token, key) in [(&ops, "k1"), (&ops, "k1"), (&ops, "k2"), (&other, "k1")] {
            let request = served.request(token, "POST", "/v1/schedules/yearly/trigger");
            let answer = request.header("idempotency-key", key).send().await.unwrap();
            came_of.push(Answered::read(answer).await.is(200)["fate"]["run"].to_string());
        }
        let wrong = served.request(&ops, "POST", "/v1/schedules/yearly/trigger");
        Answered::read(wrong.header("idempotency-key", "k 1").send().await.unwrap()).await.is(400);
        served.running.signal("KILL");
        drop(served.running.end());
    }
    assert_eq!(came_of[..4], came_of[4..]);
    assert_eq!(came_of[0], came_of[1]);
    let different: std::collections::BTreeSet<_> = came_of.iter().collect();
    assert_eq!(different.len(), 3, "{came_of:?}");
}

#[tokio::test]
async fn what_was_pruned_is_not_started_again_and_its_files_are_gone() {
    let world = world();
    let ops = token(&world, &["ops", "--role", "admin"]);
    let served = Served::start(&world);
    let begin = async || {
        let body = json!({ "runbook": "writes" });
        let asked = served.request(&ops, "POST", "/v1/runs").header("idempotency-key", "once").json(&body);
        Answered::read(asked.send().await.expect("an answer")).await
    };
    let run = begin().await.is(201)["id"].as_str().expect("an id").to_owned();
    served.until(&ops, &run, "succeeded").await;
    let files = world.path("state/lab/files").join(&run);
    assert!(files.join("said.txt").is_file());
    world.relight(["runs", "prune", "--lab", "--keep", "0"]).run().succeeds();
    assert!(!files.exists(), "the files of a run go with it");
    let again = begin().await.is(409).to_string();
    assert!(again.contains("was pruned"), "{again}");
    served.get(&ops, &format!("/v1/runs/{run}")).await.is(404);
}

/// The service dies when the run is on the disk and nobody has been told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_was_cut_short_is_asked_for_again_and_happens_once() {
    let world = world();
    let ops = token(&world, &["ops", "--role", "run"]);
    let start = |served: &Served<'_>| {
        let request = served.request(&ops, "POST", "/v1/runs").header("idempotency-key", "k1");
        request.json(&json!({ "runbook": "quick" }))
    };
    let served = Served::with(&world, &[], &[("RELIGHT_CRASH_AFTER_RECORD", "1")]);
    assert!(start(&served).send().await.is_err(), "the service dies before it answers");
    drop(served.running.end());
    let written = world.in_lab(["audit", "--json"]).run().json();
    assert_eq!(
        (&written[0]["status"], &written[0]["runbook"]),
        (&Value::Null, &json!("quick")),
        "{written:?}"
    );
    let served = Served::start(&world);
    let run = Answered::read(start(&served).send().await.unwrap()).await.is(200);
    served.until(&ops, run["id"].as_str().unwrap(), "succeeded").await;
    let runs = served.get(&ops, "/v1/runs").await.is(200);
    assert_eq!(runs["runs"].as_array().unwrap().len(), 1, "{runs:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_badly_is_told_so_and_disturbs_nobody() {
    let world = world();
    let ops = token(&world, &["ops", "--role", "run"]);
    let served = Served::start(&world);
    let post = |media: &'static str, body: String| {
        let request = served.request(&ops, "POST", "/v1/runs").header("content-type", media).body(body);
        async move { Answered::read(request.send().await.unwrap()).await }
    };
    for (media, body, status) in [
        ("application/json", "{".to_owned(), 400),
        ("application/json", String::new(), 400),
        ("application/json", "[".repeat(100_000), 400),
        ("application/json", "\u{0}".to_owned(), 400),
        ("application/json", "[]".to_owned(), 422),
        ("application/json", "{}".to_owned(), 422),
        ("application/json", r#"{"runbook": 5}"#.to_owned(), 422),
        ("application/json", r#"{"runbook": "quick", "more": 1}"#.to_owned(), 422),
        ("application/json", r#"{"runbook": "quick", "params": {"none": 1}}"#.to_owned(), 422),
        ("application/json", r#"{"runbook": "quick", "id": "a.b"}"#.to_owned(), 422),
        ("application/json", r#"{"runbook": "../../etc/passwd"}"#.to_owned(), 404),
        ("application/json", format!(r#"{{"runbook": "{}"}}"#, "x".repeat(2 << 20)), 413),
        ("text/plain", r#"{"runbook": "quick"}"#.to_owned(), 415),
    ] {
        let refusal = post(media, body.clone()).await.is(status);
        let error = &refusal["error"];
        for field in ["kind", "message", "request"] {
            assert!(error[field].as_str().is_some_and(|text| !text.is_empty()), "{refusal}");
        }
        assert!(error["hints"].is_array(), "{refusal}");
    }
    for path in
        ["/v1/runs?limit=0", "/v1/runs?limit=x", "/v1/runs?none=1", "/v1/runs?state=odd", "/v1/runs/%ff"]
    {
        let status = served.get(&ops, path).await.status;
        assert!(matches!(status, 400 | 404), "{path}: {status}");
    }
    let address = served.url.strip_prefix("http://").unwrap().to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        // A head without an end, and a body that never comes.
        // Nothing, a head without an end, and silence behind an answer.
        let heads: [&[u8]; 3] =
            [b"", b"GET /live HTTP/1.1\r\nHost: x\r\nX-", b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n"];
        let mut slow: Vec<TcpStream> = (0..21)
            .map(|n| {
                let mut stream = TcpStream::connect(&address).unwrap();
                stream.write_all(heads[n % heads.len()]).unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(50))).unwrap();
                stream
            })
            .collect();
        let mut large = TcpStream::connect(&address).unwrap();
        large.write_all(b"GET /live HTTP/1.1\r\nHost: x\r\nX-Long: ").unwrap();
        // The service may hang up while this is still written.
        let _ = large.write_all(&vec![b'a'; 200_000]);
        let mut said = String::new();
        let _ = large.read_to_string(&mut said);
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 431"), "{said}");
        slow.iter_mut().all(|stream| {
            let mut said = Vec::new();
            // Every one of them is hung up on.
            stream.read_to_end(&mut said).is_ok()
        })
    });
    served.get("", "/live").await;
    assert!(asked.await.unwrap());
    served.get(&ops, "/v1/runs").await.is(200);
}

/// Uses a secret and writes what it can of it into everything that the service shows.
const SECRETLY: &str = r#"/*---
title = "Use a secret"
effects = ["azure:write", "secret", "file:write"]
[params.token]
type = "secret"
[params.file]
type = "path"
default = "a.txt"
---*/
let group = "/subscriptions/" + local::vm("web-01").id.split("/")[2] + "/resourceGroups/rg-edge";
note(`the token is ${params.token}`);
let put = arm::put(group, "2022-09-01", #{ location: "eastus", tags: #{ token: params.token } });
note(`azure says ${put}`);
[params.token, put]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_holds_a_secret() {
    let world = world();
    world.runbook("secretly", SECRETLY);
    let admin = token(&world, &["admin", "--role", "admin"]);
    let ops = token(&world, &["ops", "--role", "run"]);
    let config = world.write("relight.toml", "[service]\nsecrets = [\"env:CAN*\"]\n");
    let served = Served::with(
        &world,
        &["--config", config.to_str().unwrap()],
        &[("CANARY", CANARY), ("OTHER", CANARY)],
    );
    let start = |params: Value| json!({ "runbook": "secretly", "params": params });
    // The value itself, and what only looks like a name, are refused and not repeated.
    for value in
        [json!(CANARY), json!(format!("abc:{CANARY}")), json!([CANARY]), json!({ "$secret": CANARY })]
    {
        let refused = served.post(&admin, "/v1/runs", start(json!({ "token": value }))).await;
        refused.is(422);
        assert!(!refused.text.contains(CANARY), "{refused:?}");
    }
    let misspelt = served.post(&admin, "/v1/runs", start(json!({ "tokken": CANARY }))).await;
    misspelt.is(422);
    assert!(!misspelt.text.contains(CANARY), "{misspelt:?}");
    // Who may start a run may not have it send any secret, or write any file, of this machine.
    for params in [
        json!({ "token": "env:OTHER" }),
        json!({ "token": "file:/etc/passwd" }),
        json!({ "token": "env:CANARY", "file": "/etc/passwd" }),
        json!({ "token": "env:CANARY", "file": "../other" }),
    ] {
        served.post(&ops, "/v1/runs", start(params)).await.is(403);
    }
    let run = served.post(&ops, "/v1/runs", start(json!({ "token": "env:CANARY" }))).await.is(201);
    let run = run["id"].as_str().unwrap().to_owned();
    let other = served.post(&admin, "/v1/runs", start(json!({ "token": "env:OTHER" }))).await.is(201);
    let other = other["id"].as_str().unwrap().to_owned();
    served.until(&ops, &run, "succeeded").await;
    served.until(&ops, &other, "succeeded").await;
    let description = served.description(&admin).await;
    let mut bytes = 0;
    for (method, path, _) in operations(&description) {
        if method == "GET" {
            let answer = served.get(&admin, &filled(&path, &run)).await;
            assert!(!answer.text.contains(CANARY), "{path}: {}", answer.text);
            assert!(!answer.text.contains(&admin) && !answer.text.contains(&ops), "{path}: a token");
            bytes += answer.text.len();
        }
    }
    println!("api: {bytes} bytes searched");
    assert!(bytes > 30_000, "{bytes}");
    served.running.signal("TERM");
    let said = served.running.end().raw();
    assert!(!said.contains(CANARY) && !said.contains(&ops), "{said}");
    for file in files_below(&world.path("state")) {
        let content = std::fs::read(&file).unwrap();
        // The lab is Azure here: it was sent the secret.
        if !file.components().any(|part| part.as_os_str() == "world") {
            for needle in [CANARY, &ops, &admin] {
                let found = content.windows(needle.len()).any(|part| part == needle.as_bytes());
                assert!(!found, "{}", file.display());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_is_in_the_audit_journal() {
    let world = world();
    let admin = token(&world, &["admin", "--role", "admin"]);
    let eye = token(&world, &["eye", "--role", "view"]);
    let served = Served::start(&world);
    let run = served.begin(&admin, "quick").await;
    served.get("", "/v1/runs?secret=in-a-query").await.is(401);
    served.post(&eye, "/v1/runs", json!({ "runbook": "quick" })).await.is(403);
    served.get(&admin, "/v1/runs?limit=1").await.is(200);
    served.get(&admin, "/v1/nothing").await.is(404);
    served
        .post(&admin, "/v1/runs", json!({ "runbook": "none", "params": { "a": "in-a-parameter" } }))
        .await
        .is(404);
    served.get("", "/live").await;
    let listed = served.get(&admin, "/v1/audit").await;
    assert!(!listed.text.contains("in-a-query") && !listed.text.contains("in-a-parameter"), "{listed:?}");
    let brief = |entry: &Value| {
        let word = |name: &str| entry[name].as_str().unwrap_or("-").to_owned();
        format!(
            "{} {} {} {} {} {}",
            word("token"),
            entry["status"],
            word("method"),
            word("path"),
            word("runbook"),
            if entry["run"] == run.as_str() { "RUN" } else { "-" }
        )
    };
    let entries: Vec<String> = listed.json()["requests"].as_array().unwrap().iter().map(brief).collect();
    assert_eq!(
        entries,
        [
            "admin 404 POST /v1/runs none -",
            "admin 404 GET /v1/nothing - -",
            "admin 200 GET /v1/runs - -",
            "eye 403 POST /v1/runs - -",
            "- 401 GET /v1/runs - -",
            "admin 201 POST /v1/runs quick RUN",
        ]
    );
    // The command reads the same, beside the service.
    let printed = world.in_lab(["audit", "--json", "--limit", "0"]).run().json();
    assert_eq!(printed.len(), entries.len() + 1, "and that the journal was read: {printed:?}");
    let told = world.in_lab(["audit", "--limit", "1"]).run().succeeds();
    assert!(told.contains("GET /v1/audit"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_others_reach_needs_a_certificate() {
    let world = world();
    let eye = token(&world, &["eye", "--role", "view"]);
    let refused = world.in_lab(["serve", "--listen", "0.0.0.0:0"]).run();
    let said = refused.to_string();
    assert!(
        said.contains("tokens would cross the network in the clear") && said.contains("--tls-cert"),
        "{said}"
    );
    refused.ends_with(2);
    world.in_lab(["serve", "--listen", "nowhere"]).run().ends_with(2);
    let installed = world.relight(["serve", "--install", "--print", "--listen", "127.0.0.1:7411"]).run();
    assert!(installed.raw().contains("below [service] in relight.toml"), "{}", installed.raw());
    installed.ends_with(2);

    speak_tls();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let cert = world.write("cert.pem", &made.cert.pem());
    let key = world.write("key.pem", &made.signing_key.serialize_pem());
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let mut serve =
        world.in_lab(["serve", "--listen", "0.0.0.0:0", "--tls-cert", cert, "--tls-key", key]).spawn();
    let line = serve.wait_for("listening at https://0.0.0.0:");
    let port = line.rsplit(':').next().unwrap().trim().to_owned();
    let authority = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let http = reqwest::Client::builder().tls_certs_only([authority]).build().unwrap();
    let ask = || http.get(format!("https://localhost:{port}/v1/runs")).bearer_auth(&eye).send();
    assert_eq!(ask().await.unwrap().status().as_u16(), 200);
    let plain = reqwest::Client::new().get(format!("http://localhost:{port}/live")).send().await;
    assert!(plain.is_err(), "{plain:?}");
    // A certificate lasts for less than the service does.
    let next = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(cert, next.cert.pem()).unwrap();
    std::fs::write(key, next.signing_key.serialize_pem()).unwrap();
    let authority = reqwest::Certificate::from_pem(next.cert.pem().as_bytes()).unwrap();
    let http = reqwest::Client::builder().tls_certs_only([authority]).build().unwrap();
    let live = http.get(format!("https://localhost:{port}/live")).send().await.unwrap();
    assert_eq!(live.status().as_u16(), 200);
    serve.signal("TERM");
    serve.end().succeeds();
}
