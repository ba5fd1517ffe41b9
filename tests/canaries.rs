//! Secrets are planted and then searched for in everything that a run leaves behind.

use std::path::PathBuf;

use relight_engine::clock::Clock;

use crate::support::stage::{Ended, Stage, ended, files_below};
use crate::support::world::{FLAGSHIP, World};

const SPEED: u32 = 300;
/// What only the environment and the request may hold.
const CANARY: &str = "canary-7f3a9c51e2";
const FILE_CANARY: &str = "canary-in-a-file-51b0";

/// Uses a secret in every way in which a script can lay hands on one.
const RUNBOOK: &str = r#"/*---
title   = "Use a secret"
effects = ["azure:write", "secret", "file:write"]

[params.token]
help = "A secret"
type = "secret"

[params.kept]
help = "Another one"
type = "secret"
---*/
let group = "/subscriptions/" + local::vm("web-01").id.split("/")[2] + "/resourceGroups/rg-edge";
note(`the token is ${params.token}`);
let put = arm::put(group, "2022-09-01", #{ location: "eastus", tags: #{ token: params.token } });
note(`azure says ${put}`);
arm::patch(group, "2022-09-01", #{ tags: #{ token: params.kept } });
try {
    arm::put(group + "/providers/Microsoft.AzureStackHCI/clusters/hq", "2026-04-30", #{ password: params.token });
} catch (e) {
    note(`refused: ${e.message} ${e.details}`);
}
try {
    arm::post("/subscriptions/nothing/" + secret("env:CANARY").to_string(), "2022-09-01", #{ body: #{ x: params.kept } });
} catch (e) {
    note(`refused: ${e.message}`);
}
[params.token, put]
"#;

/// Everything in which a needle must not be found, by name.
struct Haystack(Vec<(String, Vec<u8>)>);

impl Haystack {
    fn new() -> Self {
        Haystack(Vec::new())
    }

    fn said(&mut self, by: &str, ended: &Ended) {
        self.0.push((format!("{by}: standard output"), ended.out.clone().into_bytes()));
        self.0.push((format!("{by}: standard error"), ended.err.clone().into_bytes()));
    }

    fn files(&mut self, files: impl IntoIterator<Item = PathBuf>) {
        for file in files {
            // A file that is gone by now has nothing to tell.
            if let Ok(bytes) = std::fs::read(&file) {
                self.0.push((file.display().to_string(), bytes));
            }
        }
    }

    /// Where a needle is found, with what stands around it.
    fn find(&self, what: &str, needle: &str) -> Vec<String> {
        let needle = needle.as_bytes();
        assert!(needle.len() >= 8, "{what} is too short to be looked for");
        let hits = self.0.iter().filter_map(|(name, hay)| {
            let at = hay.windows(needle.len()).position(|window| window == needle)?;
            let around = &hay[at.saturating_sub(60)..(at + needle.len()).min(hay.len())];
            Some(format!("{what} in {name}: ..{}", String::from_utf8_lossy(around).replace('\n', " ")))
        });
        hits.collect()
    }

    /// Where something that looks like a token is found.
    fn tokens(&self) -> Vec<String> {
        let is_part = |b: &u8| b.is_ascii_alphanumeric() || *b == b'-' || *b == b'_';
        let mut found = Vec::new();
        for (name, hay) in &self.0 {
            for at in 0..hay.len().saturating_sub(3) {
                if &hay[at..at + 3] != b"eyJ" || (at > 0 && is_part(&hay[at - 1])) {
                    continue;
                }
                let rest = &hay[at..];
                let header = rest.iter().take_while(|b| is_part(b)).count();
                let body =
                    rest.get(header + 1..).map_or(0, |rest| rest.iter().take_while(|b| is_part(b)).count());
                if rest.get(header) == Some(&b'.') && header >= 16 && body >= 16 {
                    found.push(format!("a token in {name}: {}..", String::from_utf8_lossy(&rest[..24])));
                }
            }
        }
        found
    }
}

/// Needles that somebody else could use, each with its name.
fn needles(stage: &Stage) -> Vec<(&'static str, String)> {
    let secret = stage.lab.descriptor().client_secret;
    vec![
        ("the client secret", secret.clone()),
        ("the client secret, encoded", secret.replace('~', "%7E")),
        ("the parameter", CANARY.to_owned()),
        ("the parameter in base64", "Y2FuYXJ5LTdmM2E5YzUxZT".to_owned()),
        ("the parameter in base64, moved by one", "NhbmFyeS03ZjNhOWM1MWUy".to_owned()),
        ("the parameter in base64, moved by two", "jYW5hcnktN2YzYTljNTFlM".to_owned()),
        ("the parameter in hexadecimal", CANARY.bytes().map(|byte| format!("{byte:02x}")).collect()),
        ("the parameter behind percent signs", CANARY.bytes().map(|byte| format!("%{byte:02X}")).collect()),
        ("the parameter from a file", FILE_CANARY.to_owned()),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_secret_is_left_anywhere() {
    let stage = Stage::with(SPEED, &["cae-challenge", "reset-before"]).await;
    tokio::task::block_in_place(|| {
        let book = stage.sealed.write("work/secretly.rhai", RUNBOOK);
        let book = book.to_string_lossy().into_owned();
        let kept = stage.sealed.path("kept");
        std::fs::write(&kept, format!("{FILE_CANARY}\n")).expect("a secret in a file");
        let kept_param = format!("kept=file:{}", kept.display());
        let mut hay = Haystack::new();
        let logged = |args: &[&str]| {
            ended(
                stage
                    .command(args)
                    .env("RELIGHT_LOG", "trace")
                    .env("CANARY", CANARY)
                    .spawn()
                    .expect("relight starts"),
            )
        };
        let run = logged(&["run", &book, "token=env:CANARY", &kept_param, "--record", "said.json"]);
        assert_eq!(
            run.code,
            Some(0),
            "{}\n{}",
            run.out,
            run.err.lines().rev().take(30).collect::<Vec<_>>().join("\n")
        );
        assert!(run.err.len() > 10_000, "nothing was logged: {}", run.err);
        hay.said("run", &run);
        let json = logged(&["run", &book, "token=env:CANARY", &kept_param, "--json"]);
        assert_eq!(json.code, Some(0));
        hay.said("run --json", &json);
        hay.said("run --plan", &logged(&["run", &book, "token=env:CANARY", &kept_param, "--plan"]));
        // One that is refused, and one whose secret is not there.
        hay.said("wrong parameter", &logged(&["run", &book, "token=env:CANARY", &kept_param, "tokn=1"]));
        let parked = stage.relight(&["run", &book, "token=env:NOT_THERE", &kept_param]);
        assert_eq!(parked.code, Some(3), "{parked:?}");
        hay.said("a missing secret", &parked);
        let id = stage.newest("secretly").expect("the run")["id"].as_str().expect("an id").to_owned();
        for args in [
            &["runs", "show", &id][..],
            &["runs", "show", &id, "--json"],
            &["runs", "export", &id],
            &["runs", "list", "--json"],
        ] {
            hay.said(&args.join(" "), &logged(args));
        }
        hay.said("doctor", &logged(&["doctor"]));
        hay.said("recover", &logged(&["run", FLAGSHIP, "vm=web-01", "--record", "recovered.json"]));
        hay.said("recover --json", &logged(&["run", FLAGSHIP, "vm=db-01", "--json"]));
        // The request did carry the secrets, or there was nothing to lose.
        let sent = serde_json::to_string(&stage.lab.ledger()).expect("JSON");
        assert!(sent.contains(CANARY) && sent.contains(FILE_CANARY), "the secrets were never sent");
        hay.files(files_below(&stage.sealed.path("state")));
        hay.files(files_below(&stage.sealed.path("home")));
        hay.files(files_below(&stage.sealed.path("tmp")));
        hay.files(files_below(&stage.sealed.work()));
        assert!(hay.0.iter().any(|(name, _)| name.ends_with("relight.db")), "the database is searched");
        assert!(hay.0.iter().any(|(name, _)| name.ends_with(".rdp")), "the RDP file is searched");
        for file in ["said.json", "recovered.json"] {
            let recording = hay.0.iter().find(|(name, _)| name.ends_with(file)).map(|(_, text)| text.len());
            assert!(recording.is_some_and(|length| length > 3000), "a recording is searched: {recording:?}");
        }
        let mut found: Vec<String> =
            needles(&stage).iter().flat_map(|(what, needle)| hay.find(what, needle)).collect();
        found.extend(hay.tokens());
        let bytes: usize = hay.0.iter().map(|(_, hay)| hay.len()).sum();
        println!("canaries: {} places, {bytes} bytes searched", hay.0.len());
        assert!(found.is_empty(), "{} found:\n{}", found.len(), found.join("\n"));
    });
}

/// A crash leaves a log that is not settled: it holds no more than the database does.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_secret_is_left_by_a_crash() {
    let stage = Stage::new(SPEED).await;
    tokio::task::block_in_place(|| {
        let book = stage.sealed.write("work/secretly.rhai", RUNBOOK);
        let book = book.to_string_lossy().into_owned();
        let kept = stage.sealed.write("kept", FILE_CANARY);
        let kept_param = format!("kept=file:{}", kept.display());
        let mut hay = Haystack::new();
        for record in [5, 9, 12, 16] {
            let file = format!("{record}.json");
            let mut command =
                stage.command(&["run", &book, "token=env:CANARY", &kept_param, "--record", &file]);
            command.env("RELIGHT_CRASH_AFTER_RECORD", record.to_string()).env("CANARY", CANARY);
            hay.said("a crash", &ended(command.spawn().expect("relight starts")));
            let files = files_below(&stage.sealed.path("state"));
            assert!(
                files.iter().any(|file| file.to_string_lossy().ends_with("-wal")),
                "the log is searched: {files:?}"
            );
            hay.files(files);
        }
        let recordings = files_below(&stage.sealed.work())
            .into_iter()
            .filter(|it| it.extension().is_some_and(|it| it == "json"));
        let recordings: Vec<PathBuf> = recordings.collect();
        assert!(recordings.len() >= 3, "the recordings are searched: {recordings:?}");
        hay.files(recordings);
        let found: Vec<String> =
            needles(&stage).iter().flat_map(|(what, needle)| hay.find(what, needle)).collect();
        assert!(found.is_empty(), "{} found:\n{}", found.len(), found.join("\n"));
        assert_eq!(hay.tokens(), Vec::<String>::new());
    });
}

/// A password that is set on a VM is in the request alone, also when the extension fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_password_that_is_set_is_left_anywhere() {
    let stage = Stage::new(SPEED).await;
    tokio::task::block_in_place(|| {
        let mut hay = Haystack::new();
        let mut logged = |args: &[&str], code: i32| {
            let mut command = stage.command(args);
            let ran = ended(
                command.env("RELIGHT_LOG", "trace").env("CANARY", CANARY).spawn().expect("relight starts"),
            );
            assert_eq!(ran.code, Some(code), "{args:?}: {}", ran.out);
            hay.said(&args.join(" "), &ran);
        };
        let reset = |vm| {
            [
                "run",
                "reset-access",
                "group=rg-cloud",
                "ask=false",
                vm,
                "user=azureuser",
                "password=env:CANARY",
            ]
        };
        logged(&reset("vm=jump-01"), 0);
        logged(&reset("vm=sql-01"), 0);
        logged(&[&reset("vm=jump-01")[..], &["--plan"]].concat(), 0);
        stage.lab.inject("extension-fails".parse().expect("a fault"));
        logged(&reset("vm=jump-01"), 1);
        let id = stage.newest("reset-access").expect("the run")["id"].as_str().expect("an id").to_owned();
        logged(&["runs", "show", &id, "--json"], 0);
        logged(&["runs", "export", &id], 0);
        let sent = stage.lab.ledger().iter().filter(|entry| entry.body.to_string().contains(CANARY)).count();
        assert_eq!(sent, 3, "the password was to be in a request of each");
        hay.files(files_below(&stage.sealed.path("state")));
        hay.files(files_below(&stage.sealed.work()));
        let found: Vec<String> =
            needles(&stage).iter().flat_map(|(what, needle)| hay.find(what, needle)).collect();
        assert!(found.is_empty(), "{} found:\n{}", found.len(), found.join("\n"));
    });
}

/// A tag that looks like a secret: whoever can write tags would choose what the runner gives away.
#[tokio::test]
async fn a_tag_that_looks_like_a_secret_is_written_back_as_it_was() {
    let world = World::new().await.secret("env:X", CANARY);
    let script = r#"
        let group = "/subscriptions/" + local::vm("web-01").id.split("/")[2] + "/resourceGroups/rg-edge";
        arm::put(group, "2022-09-01", #{ location: "eastus", tags: #{ "$secret": "env:X" } });
        let read = arm::get(group, "2022-09-01");
        arm::put(group, "2022-09-01", #{ location: read.location, tags: read.tags });
        arm::get(group, "2022-09-01").tags["$secret"]
    "#;
    let ran = world.run_script(&["azure:write", "secret"], script).await;
    assert_eq!(*ran.value(), serde_json::json!("env:X"));
    let lab = world.lab.snapshot().to_string();
    assert!(lab.contains(r#""tags":{"$secret":"env:X"}"#) && !lab.contains(CANARY), "{lab}");
}

/// Uses a secret, asks, and then hears it again: in a process that never used it, and in a child.
const RESUMED: &str = r#"/*---
title   = "Use a secret before a question"
effects = ["azure:write", "secret"]
[params.token]
type = "secret"
---*/
let vm = local::vm("web-01");
let group = "/subscriptions/" + vm.id.split("/")[2] + "/resourceGroups/rg-edge";
arm::patch(group, "2022-09-01", #{ tags: #{ token: params.token } });
vmconnect::enable(vm);
ask("go on?");
let seen = arm::get(group, "2022-09-01").tags;
note(`azure says ${seen}`);
[seen, run("reader")]
"#;

const READER: &str = r#"/*---
title   = "Read the tags"
effects = ["azure:read"]
---*/
arm::get("/subscriptions/" + local::vm("web-01").id.split("/")[2] + "/resourceGroups/rg-edge", "2022-09-01").tags
"#;

/// A process that takes a run up knows none of its secrets, until it asks for them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_secret_is_left_by_a_resumed_run() {
    let stage = Stage::new(SPEED).await;
    tokio::task::block_in_place(|| {
        let book = stage.sealed.write("work/resumed.rhai", RESUMED);
        let book = book.to_string_lossy().into_owned();
        stage.sealed.runbook("reader", READER);
        let mut hay = Haystack::new();
        let knowing =
            |args: &[&str]| ended(stage.command(args).env("CANARY", CANARY).spawn().expect("relight starts"));
        let asked = knowing(&["run", &book, "token=env:CANARY"]);
        assert_eq!(asked.code, Some(3), "{asked:?}");
        let id = stage.newest("resumed").expect("the run")["id"].as_str().expect("an id").to_owned();
        let without = stage.relight(&["runs", "answer", &id, "yes"]);
        assert_eq!(without.code, Some(3), "{without:?}");
        assert!(without.err.contains("there is no secret `env:CANARY`"), "{without:?}");
        let done = knowing(&["runs", "resume", &id]);
        assert_eq!(done.code, Some(0), "{done:?}");
        // It was said and heard again, or there was nothing to lose.
        assert_eq!(done.out.matches("secret(env:CANARY)").count(), 2, "{done:?}");
        // The door is closed by a process that knows nothing of it.
        let leases = stage.relight(&["leases", "--json"]);
        let lease: serde_json::Value = serde_json::from_str(leases.out.trim()).expect("one lease");
        let closed = stage.relight(&["leases", "close", lease["id"].as_str().expect("an id")]);
        assert_eq!(closed.code, Some(0), "{closed:?}");
        for (by, said) in [("asked", &asked), ("without", &without), ("done", &done), ("closed", &closed)] {
            hay.said(by, said);
        }
        for run in ["resumed", "reader"] {
            let id = stage.newest(run).expect("the run")["id"].as_str().expect("an id").to_owned();
            hay.said(run, &stage.relight(&["runs", "export", &id]));
            hay.said(run, &stage.relight(&["runs", "show", &id, "--json"]));
        }
        hay.files(files_below(&stage.sealed.path("state")));
        let found: Vec<String> =
            needles(&stage).iter().flat_map(|(what, needle)| hay.find(what, needle)).collect();
        assert!(found.is_empty(), "{} found:\n{}", found.len(), found.join("\n"));
    });
}

/// The address of a status is signed. It is kept, because whoever resumes needs it; nobody else is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_signature_is_told() {
    let stage = Stage::with(SPEED, &["long-poll-url"]).await;
    tokio::task::block_in_place(|| {
        let mut hay = Haystack::new();
        let run = ended(
            stage
                .command(&["run", FLAGSHIP, "vm=web-01"])
                .env("RELIGHT_LOG", "relight=trace,relight_engine=trace,relight_stdlib=trace")
                .spawn()
                .expect("relight starts"),
        );
        assert_eq!(run.code, Some(0), "{run:?}");
        hay.said("run", &run);
        let id = stage.newest(FLAGSHIP).expect("the run")["id"].as_str().expect("an id").to_owned();
        hay.said("runs show", &stage.relight(&["runs", "show", &id]));
        hay.said("runs list", &stage.relight(&["runs", "list"]));
        let exported = stage.relight(&["runs", "export", &id]);
        let signatures = signatures(&exported.out);
        assert!(!signatures.is_empty(), "the lab signs the addresses of its operations");
        let found: Vec<String> =
            signatures.iter().flat_map(|signature| hay.find("a signature", signature)).collect();
        assert!(found.is_empty(), "{}", found.join("\n"));
    });
}

/// The signatures of the status addresses in a text: the values of their long query parameters.
fn signatures(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in text.split(['?', '&']) {
        let Some((name, value)) = part.split_once('=') else { continue };
        let value: String =
            value.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_%.".contains(*c)).collect();
        if ["t", "c", "s", "h"].contains(&name) && value.len() >= 20 {
            found.push(value);
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The search finds what is there: a secret that a script gives away on purpose.
#[tokio::test]
async fn a_secret_that_is_given_away_is_found() {
    let world = World::new().await.on_disk().secret("env:CANARY", CANARY);
    let ran = world.run_script(&[], &format!("note(\"{CANARY}\")")).await;
    assert!(ran.succeeded());
    let mut hay = Haystack::new();
    hay.files(files_below(world.folder.path()));
    assert!(!hay.find("the canary", CANARY).is_empty());
    hay.0.push((
        "a header".to_owned(),
        b"Bearer eyJ0eXAiOiJKV1QiLCJh.eyJhdWQiOiJodHRwczov.c2lnbmF0dXJl".to_vec(),
    ));
    assert_eq!(hay.tokens().len(), 1);
    assert!(world.clock.now() >= crate::support::world::morning());
}
