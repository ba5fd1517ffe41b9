//! Receivers are told what needs a person: at least once, under one id, whatever dies in between, and without a secret in anything
//! that is left behind.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use relight_engine::clock::Clock;
use serde_json::Value;

use crate::support::receiver::{Fate, Receiver, TAKEN, Told};
use crate::support::stage::{Ended, Stage, ended, files_below, signal};
use crate::support::world::FLAGSHIP;

/// A key of 24 bytes.
const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// A part of an address that is known to whoever may write there.
const PART: &str = "canary-T0123-B4567-x89";

const PATIENCE: Duration = Duration::from_secs(60);

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn configure(stage: &Stage, receivers: &str) {
    stage.sealed.write("home/.config/relight/relight.toml", receivers);
}

fn signed(name: &str, receiver: &Receiver, more: &str) -> String {
    let url = receiver.url(&format!("/{name}"));
    format!(
        "[[receiver]]\nname = \"{name}\"\nform = \"signed\"\nurl = \"{url}\"\nsecret = \"env:KEY\"\n{more}\n"
    )
}

fn serve(stage: &Stage) -> Child {
    stage.command(&["serve"]).env("KEY", KEY).spawn().expect("relight starts")
}

/// Whether a service has begun with a receiver.
fn is_subscribed(stage: &Stage, receiver: &str) -> bool {
    let doctor = || stage.relight(&["doctor"]).out;
    stage.sealed.path("state").exists()
        && doctor().contains(&format!("{receiver}: nothing was delivered yet"))
}

fn stop(serve: Child) -> Ended {
    signal(serve.id(), "TERM");
    let served = ended(serve);
    assert!(matches!(served.code, Some(0 | 3)), "{served:?}");
    served
}

fn runbook(stage: &Stage, name: &str, script: &str) {
    stage
        .sealed
        .runbook(name, &format!("/*---\ntitle = \"{name}\"\neffects = [\"azure:write\"]\n---*/\n{script}\n"));
}

fn detach(stage: &Stage, name: &str) {
    let ran = stage.relight(&["run", name, "--detach"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

fn id(stage: &Stage, runbook: &str) -> String {
    stage.newest(runbook).expect("the run")["id"].as_str().expect("an id").to_owned()
}

fn of_type(all: &[Told], name: &str) -> Vec<Value> {
    all.iter().map(Told::json).filter(|told| told["type"] == format!("relight.{name}")).collect()
}

/// Returns the signature of a request as Python's own library computes it.
fn signature_by_python(told: &Told) -> String {
    let script = "import sys,hmac,hashlib,base64\n\
                  key=base64.b64decode(sys.argv[1][len('whsec_'):])\n\
                  print('v1,'+base64.b64encode(hmac.new(key,sys.stdin.buffer.read(),hashlib.sha256).digest()).decode())";
    let mut python = Command::new("python3")
        .args(["-c", script, KEY])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let content = format!("{}.{}.{}", told.header("webhook-id"), told.header("webhook-timestamp"), told.body);
    std::io::Write::write_all(&mut python.stdin.take().expect("piped"), content.as_bytes()).expect("written");
    let said = python.wait_with_output().expect("python3 ends");
    String::from_utf8(said.stdout).expect("text").trim().to_owned()
}

/// Every form at once: the same happening under the same id, and no secret in what is left behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_form_is_told_and_no_secret_stays_behind() {
    let stage = Stage::new(30).await;
    tokio::task::block_in_place(|| {
        let web = Receiver::start([]);
        let file = stage.sealed.path("told");
        let config = format!(
            "{}\n[[receiver]]\nname = \"ops\"\nform = \"teams\"\nurl = \"env:TEAMS\"\n\
             [[receiver]]\nname = \"chat\"\nform = \"slack\"\nurl = \"env:SLACK\"\non = [\"question\"]\n\
             [[receiver]]\nname = \"pager\"\ncommand = [\"/bin/sh\", \"-c\", \"cat >> '{}'; echo >> '{}'\"]\n\
             [[receiver]]\nname = \"shut\"\nform = \"slack\"\nurl = \"env:SHUT\"\n",
            signed("hook", &web, ""),
            file.display(),
            file.display(),
        );
        configure(&stage, &config);
        let shut =
            Receiver::start(std::iter::repeat_n(Fate::Answer("403 Forbidden\r\n\r\ninvalid_token"), 50));
        let variables = [
            ("KEY", KEY.to_owned()),
            ("TEAMS", web.url(&format!("/teams/{PART}"))),
            ("SLACK", web.url(&format!("/slack/{PART}"))),
            ("SHUT", shut.url(&format!("/shut/{PART}"))),
        ];
        let mut command = stage.command(&["-vv", "serve"]);
        let serve = command.envs(variables.clone()).spawn().expect("relight starts");
        runbook(&stage, "asks", "ask(\"Go <on> & *on*?\", #{ choices: [\"yes\", \"no\"] })");
        runbook(&stage, "fails", "throw \"it broke\";");
        until("it serves", || is_subscribed(&stage, "ops (teams)"));
        detach(&stage, "asks");
        let told = web.until("the question is told in three forms", |told| told.len() == 3);
        detach(&stage, "fails");
        let all = web.until("the failure is told to two of them", |told| told.len() == 5);

        let by = |told: &[Told], path: &str| -> Vec<Told> {
            told.iter().filter(|told| told.path.starts_with(path)).cloned().collect()
        };
        let hooks = by(&all, "/hook");
        assert_eq!(hooks.len(), 2);
        for hook in &hooks {
            assert_eq!(hook.header("webhook-signature"), signature_by_python(hook), "{hook:?}");
            assert_eq!(hook.header("webhook-id"), hook.json()["id"]);
            assert_eq!(hook.header("content-type"), "application/json");
            let at: i64 = hook.header("webhook-timestamp").parse().expect("seconds");
            assert!(
                (jiff::Timestamp::now().as_second() - at).abs() < 120,
                "the time of the attempt, not the lab's"
            );
        }
        let question = &of_type(&hooks, "question")[0];
        let run = id(&stage, "asks");
        assert_eq!(question["data"]["run"], run.as_str());
        assert_eq!(question["data"]["text"], "Go <on> & *on*?");
        assert_eq!(question["data"]["choices"], serde_json::json!(["yes", "no"]));
        let next = question["data"]["next"].as_str().expect("a command");
        assert!(next.starts_with(&format!("relight runs answer {run} --lab=")), "{next}");
        assert_eq!(of_type(&hooks, "failed")[0]["data"]["runbook"], "fails");

        let slack = by(&told, "/slack")[0].json();
        assert_eq!(slack["text"], "[lab] asks asks");
        assert_eq!(slack["blocks"][1]["text"]["text"], "Go &lt;on&gt; &amp; *on*?\nAnswers: yes, no");
        let teams = by(&told, "/teams")[0].json();
        let card = &teams["attachments"][0]["content"];
        assert_eq!(card["body"][1]["inlines"][0]["text"], "Go <on> & *on*?\nAnswers: yes, no");
        let same = question["id"].as_str().expect("an id");
        assert!(slack.to_string().contains(same) && teams.to_string().contains(same));

        let lines = || std::fs::read_to_string(&file).unwrap_or_default().lines().count();
        until("the program was told of both", || lines() == 2);
        let pager = std::fs::read_to_string(&file).expect("a file");
        assert!(pager.contains(same), "{pager}");

        // What the one that refuses has said, and nothing of where it is.
        until("the refusal is known", || {
            stage.relight(&["doctor"]).out.contains("it answered 403 invalid_token")
        });
        let doctor = stage.relight(&["doctor"]);
        assert!(doctor.out.contains("hook (signed): last delivered"), "{}", doctor.out);
        assert!(doctor.out.contains("relight notifications test shut"), "{}", doctor.out);
        let list = stage.relight(&["notifications"]);
        assert!(list.out.contains("asks asks") && list.out.contains("delivered"), "{}", list.out);
        let json =
            stage.lines(&["notifications", "list", "--receiver", "hook", "--state", "delivered", "--json"]);
        assert_eq!(json.len(), 2, "{json:#?}");
        let mut command = stage.command(&["notifications", "test", "chat"]);
        let tried = ended(command.envs(variables.clone()).spawn().expect("relight starts"));
        assert_eq!(tried.code, Some(0), "{tried:?}");
        assert!(web.told().last().expect("a test").body.contains("A test of the receiver chat"));
        let mut command = stage.command(&["notifications", "test", "shut"]);
        let refused = ended(command.envs(variables).spawn().expect("relight starts"));
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(refused.err.contains("invalid_token"), "{refused:?}");

        let served = stop(serve);
        assert_eq!(served.err.matches("shut cannot be notified").count(), 1, "said once: {}", served.err);
        let mut left: Vec<(String, Vec<u8>)> = [doctor, list, tried, refused, served]
            .into_iter()
            .map(|ended| ("a command".to_owned(), format!("{}{}", ended.out, ended.err).into_bytes()))
            .collect();
        for path in files_below(&stage.sealed.path("state")) {
            left.push((path.display().to_string(), std::fs::read(&path).unwrap_or_default()));
        }
        assert!(left.iter().any(|(name, _)| name.ends_with("relight.db")), "the journal is looked at");
        for (name, bytes) in left {
            for secret in [PART, KEY, &KEY[6..]] {
                let holds = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!holds, "{name} has {secret}");
            }
        }
    });
}

/// 500, a connection that ends, 429 with a pause: then it is taken, each time under the same id. Another receiver that says nothing
/// at all holds up nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_receiver_that_fails_is_told_again_under_the_same_id() {
    let stage = Stage::new(30).await;
    tokio::task::block_in_place(|| {
        let fates = [
            Fate::Answer("500 Internal Server Error\r\n"),
            Fate::Close,
            Fate::Answer("429 Too Many Requests\r\nretry-after: 3\r\n"),
        ];
        let (weak, dead) = (Receiver::start(fates), Receiver::start(std::iter::repeat_n(Fate::Silence, 99)));
        let picky = Receiver::start([Fate::Answer("400 Bad Request\r\n\r\ninvalid_payload")]);
        let config =
            [signed("weak", &weak, ""), signed("dead", &dead, ""), signed("picky", &picky, "")].concat();
        configure(&stage, &config);
        runbook(&stage, "asks", "ask(\"Go on?\")");
        let serve = serve(&stage);
        until("it serves", || is_subscribed(&stage, "dead (signed)"));
        detach(&stage, "asks");
        let told = weak.until("it is taken", |told| told.len() == 4);
        let ids: Vec<&str> = told.iter().map(|told| told.header("webhook-id")).collect();
        assert!(ids.iter().all(|id| *id == ids[0] && !id.is_empty()), "{ids:?}");
        let pause = told[3].at.duration_since(told[2].at);
        assert!(pause >= Duration::from_secs(3), "it asked for three seconds: {pause:?}");
        until("it is delivered", || {
            stage.lines(&["notifications", "--receiver", "weak", "--state", "delivered", "--json"]).len() == 1
        });
        let row = &stage.lines(&["notifications", "--receiver", "weak", "--json"])[0];
        assert_eq!(row["attempts"], 4, "{row:#}");
        until("the other one has given it up", || {
            stage.lines(&["notifications", "--receiver", "picky", "--state", "given-up", "--json"]).len() == 1
        });
        assert_eq!(picky.told().len(), 1, "what is wrong is not sent again");
        // The next one arrives at once, whatever became of those before.
        detach(&stage, "asks");
        weak.until("the next one is told", |told| told.len() == 5);
        picky.until("the next one is told", |told| told.len() == 2);
        assert_eq!(dead.told().len(), 1, "it is waited for, and nobody else is");
        let began = Instant::now();
        let served = stop(serve);
        assert!(began.elapsed() < Duration::from_secs(20), "a dead receiver does not keep the service");
        assert!(
            served.err.contains("picky is not notified of \"asks asks\": it answered 400 invalid_payload"),
            "{}",
            served.err
        );
        assert!(served.err.contains("weak is notified again"), "{}", served.err);
    });
}

/// Killed with the notification taken and not sent, and killed with it sent and not written down: the next service tells it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_service_that_is_killed_at_a_delivery_is_followed_by_one_that_delivers() {
    for before_it_arrives in [true, false] {
        let stage = Stage::new(30).await;
        tokio::task::block_in_place(|| {
            let pid = Arc::new(AtomicU32::new(0));
            let killed = pid.clone();
            let kill = Arc::new(move || signal(killed.load(Ordering::SeqCst), "KILL"));
            let fate = if before_it_arrives { Fate::AtConnection(kill) } else { Fate::AtRequest(kill) };
            let web = Receiver::start([fate]);
            configure(&stage, &signed("hook", &web, ""));
            runbook(&stage, "asks", "ask(\"Go on?\")");
            let first = serve(&stage);
            pid.store(first.id(), Ordering::SeqCst);
            until("it serves", || is_subscribed(&stage, "hook (signed)"));
            detach(&stage, "asks");
            let first = ended(first);
            assert_eq!(first.code, None, "it was killed: {first:?}");
            let taken = &stage.lines(&["notifications", "--json"])[0];
            assert_eq!(
                (taken["state"].as_str(), taken["attempts"].as_u64()),
                (Some("waiting"), Some(1)),
                "{taken:#}"
            );
            let began = Instant::now();
            let next = serve(&stage);
            let arrived = usize::from(!before_it_arrives);
            let told = web.until("it is told again", |told| told.len() == arrived + 1);
            println!("notifications: told again {:?} after the next start", began.elapsed());
            assert!(
                told.iter().all(|told| told.header("webhook-id") == taken["notification"]["id"]),
                "{told:#?}"
            );
            until("it is delivered", || {
                stage.lines(&["notifications", "--state", "delivered", "--json"]).len() == 1
            });
            stop(next);
            assert_eq!(web.told().len(), arrived + 1, "and not once more");
        });
    }
}

/// Two services on one database, and a person who runs something beside them.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_services_one_tells() {
    let stage = Stage::new(30).await;
    tokio::task::block_in_place(|| {
        let web = Receiver::start([TAKEN]);
        configure(&stage, &signed("hook", &web, ""));
        runbook(&stage, "asks", "ask(\"Go on?\")");
        let both = [serve(&stage), serve(&stage)];
        until("they serve", || is_subscribed(&stage, "hook (signed)"));
        for _ in 0..6 {
            detach(&stage, "asks");
        }
        let by_hand = stage.relight(&["run", "asks"]);
        assert_eq!(by_hand.code, Some(3), "nobody is there to answer: {by_hand:?}");
        web.until("all are told", |told| told.len() >= 7);
        until("all are delivered", || {
            stage.lines(&["notifications", "--state", "delivered", "--json"]).len() == 7
        });
        let told = web.told();
        let mut ids: Vec<&str> = told.iter().map(|told| told.header("webhook-id")).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!((ids.len(), told.len()), (7, 7), "each once");
        for service in both {
            stop(service);
        }
    });
}

/// A lease that is late, a firing that was missed, a schedule that is paused.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn time_calls_too() {
    let stage = Stage::new(600).await;
    tokio::task::block_in_place(|| {
        let web = Receiver::start([]);
        let on = "on = [\"late-lease\", \"missed-tick\", \"schedule-paused\"]";
        configure(&stage, &signed("hook", &web, on));
        runbook(&stage, "fails", "throw \"it broke\";");
        let opened = stage.relight(&["run", FLAGSHIP, "vm=web-01", "disable_after=1h"]);
        assert_eq!(opened.code, Some(0), "{opened:?}");
        stage.lab.inject("role-missing".parse().expect("a fault"));
        let add = |name: &str, more: &[&str]| {
            let mut args = vec!["schedule", "add", "fails", "--name", name, "--every", "1h"];
            args.extend(more);
            let added = stage.relight(&args);
            assert_eq!(added.code, Some(0), "{added:?}");
        };
        // Nobody serves for some hours: those firings are missed.
        add("nightly", &["--catch-up", "1m"]);
        let (made, hours) = (stage.clock.now(), 3 * 3600);
        until("hours are over", || stage.clock.now().duration_since(made).as_secs() > hours);
        add("broken", &["--pause-after", "1"]);
        let serve = serve(&stage);
        let told = web.until("all three are told", |told| {
            ["late_lease", "missed_tick", "schedule_paused"]
                .into_iter()
                .all(|name| !of_type(told, name).is_empty())
        });
        let late = &of_type(&told, "late_lease")[0]["data"];
        assert_eq!(late["runbook"], FLAGSHIP);
        assert!(late["title"].as_str().expect("a title").contains("LATE: VM Connect to web-01"), "{late}");
        assert_eq!(of_type(&told, "late_lease").len(), 1, "once for a deadline");
        let missed = &of_type(&told, "missed_tick")[0]["data"];
        assert_eq!(
            (missed["schedule"].as_str(), missed["runbook"].as_str()),
            (Some("nightly"), Some("fails"))
        );
        let paused = &of_type(&told, "schedule_paused")[0]["data"];
        assert_eq!(paused["schedule"], "broken");
        let served = stop(serve);
        assert!(served.err.contains("schedule nightly missed"), "{}", served.err);
        assert!(served.err.contains("schedule broken is paused"), "{}", served.err);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_is_no_receiver_any_more_is_told_nothing() {
    let stage = Stage::new(30).await;
    tokio::task::block_in_place(|| {
        let (web, dead) = (Receiver::start([]), Receiver::start(std::iter::repeat_n(Fate::Silence, 99)));
        configure(&stage, &[signed("hook", &web, ""), signed("gone", &dead, "")].concat());
        runbook(&stage, "asks", "ask(\"Go on?\")");
        let first = serve(&stage);
        until("it serves", || is_subscribed(&stage, "gone (signed)"));
        detach(&stage, "asks");
        web.until("it is told", |told| told.len() == 1);
        dead.until("it is asked", |told| told.len() == 1);
        stop(first);
        configure(&stage, &signed("hook", &web, ""));
        let next = serve(&stage);
        until("nothing waits for it", || {
            stage.lines(&["notifications", "--receiver", "gone", "--json"]).is_empty()
        });
        let served = stop(next);
        assert!(served.err.contains("gone is no receiver any more: 1 notifications"), "{}", served.err);
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_wrong_receiver_is_underlined_before_anything_starts() {
    let stage = Stage::new(30).await;
    tokio::task::block_in_place(|| {
        configure(
            &stage,
            "[[receiver]]\nname = \"ops\"\nform = \"slack\"\nurl = \"http://hooks.example/T1\"\n",
        );
        let refused = stage.relight(&["serve"]);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.err.contains("keep it as a secret") && refused.err.contains("url = "), "{refused:?}");
        assert!(!refused.err.contains("T1"), "what may be a secret is not repeated: {refused:?}");
        assert!(!stage.sealed.path("state").exists(), "nothing was opened");
        configure(&stage, "[[receiver]]\nname = \"ops\"\nform = \"slack\"\nurl = \"env:SLACK\"\n");
        let unknown = stage.relight(&["notifications", "test", "opps"]);
        assert_eq!(unknown.code, Some(2), "{unknown:?}");
        assert!(unknown.err.contains("relight.toml has ops"), "{unknown:?}");
        let unset = stage.relight(&["notifications", "test", "ops"]);
        assert_eq!(unset.code, Some(1), "{unset:?}");
        assert!(unset.err.contains("there is no secret `env:SLACK`"), "{unset:?}");
        assert!(unset.err.contains("set the variable SLACK\n"), "{unset:?}");
    });
}
