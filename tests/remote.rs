//! Commands with `--server`: they say of a service's runs what they say of those here, and keep nothing here.

use crate::support::api::{Served, token};
use crate::support::sealed::{Output, Relight, Sealed};

fn world() -> Sealed {
    let world = Sealed::new();
    world.runbook("quick", "/*---\ntitle = \"Quick\"\n[params.n]\ntype = \"int\"\n---*/\nnote(`number ${params.n}`); params.n * 2\n");
    world.runbook(
        "asks",
        "/*---\ntitle = \"Ask\"\n---*/\nlet said = ask(\"Really?\", #{ choices: [\"yes\", \"no\"] }); note(said); said\n",
    );
    world.runbook("fails", "/*---\ntitle = \"Fail\"\n---*/\nthrow \"no way\"\n");
    world
}

/// A call that asks a service, by somebody who has no runs of their own.
fn afar<'a>(world: &'a Sealed, served: &Served<'_>, token: &str, args: &[&str]) -> Relight<'a> {
    let call = world.relight(args).args(["--server", &served.url]).env("RELIGHT_TOKEN", token);
    call.env("RELIGHT_STATE", world.path("elsewhere"))
}

/// Returns what was said, in words that are the same from here and from afar, and a second later: how wide a table is
/// depends on what stands in it.
fn said(world: &Sealed, served: &Served<'_>, text: &str) -> String {
    let stable = world.stable(&text.replace(&format!(" --server {}", served.url), " --lab"));
    stable.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_afar_reads_as_one_here() {
    let world = world();
    let ops = token(&world, &["ops", "--role", "run"]);
    let runs = [
        &["run", "quick", "n=21"][..],
        &["run", "quick", "n=x"],
        &["run", "quick"],
        &["run", "nothing-like-it"],
        &["run", "fails"],
        &["run", "asks"],
        &["run", "asks", "--yes"],
    ];
    let here = |args: &[&str]| world.in_lab(args).run();
    let before: Vec<Output<'_>> = runs.iter().map(|args| here(args)).collect();
    let served = Served::start(&world);
    tokio::task::block_in_place(|| {
        let afar = |args: &[&str]| afar(&world, &served, &ops, args).run();
        let strip = |text: String| said(&world, &served, &text);
        for (args, one) in runs.iter().zip(before) {
            let other = afar(args);
            assert_eq!(one.out(), other.out(), "{args:?}");
            assert_eq!(one.code(), other.code(), "{args:?}: {} {}", one.raw(), other.raw());
            if one.code() == Some(2) {
                // What is wrong is said in fewer words: nothing can be underlined that was typed elsewhere.
                assert!(other.raw().contains("help:"), "{}", other.raw());
                continue;
            }
            // The names of runs and how long steps took differ.
            let told = |output: &Output<'_>| {
                let said = strip(output.raw());
                let lines = said.lines().filter(|line| !line.starts_with("done ") && !line.contains("run"));
                lines.map(str::to_owned).collect::<Vec<_>>()
            };
            assert_eq!(told(&one), told(&other), "{args:?}");
        }
        // Looking at the same runs, from here and from afar.
        for args in [
            &["runs"][..],
            &["runs", "list", "--limit", "3"],
            &["runs", "list", "--state", "failed"],
            &["runs", "list", "--runbook", "quick"],
            &["runs", "list", "--sort", "updated", "--limit", "2"],
            &["runs", "list", "--sort", "runbook"],
            &["notifications"],
            &["runs", "show", "@last"],
            &["runs", "show", "@last", "--json"],
            &["runs", "output", "@last"],
            &["leases"],
        ] {
            let (one, other) = (here(args), afar(args));
            assert_eq!(strip(one.out().to_owned()), strip(other.out().to_owned()), "{args:?}");
            assert_eq!(one.code(), other.code(), "{args:?}");
        }
        assert!(!world.path("elsewhere").exists(), "nothing is kept where the command runs");
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_and_stops_reach_a_run_afar() {
    let world = world();
    let ops = token(&world, &["ops", "--role", "run"]);
    let eye = token(&world, &["eye", "--role", "view"]);
    let served = Served::start(&world);
    tokio::task::block_in_place(|| {
        let afar = |args: &[&str]| afar(&world, &served, &ops, args).run();
        let parked = afar(&["run", "asks"]);
        let said = parked.raw();
        assert!(said.contains(&format!("yes --server {}", served.url)), "{said}");
        parked.ends_with(3);
        assert_eq!(afar(&["runs", "answer", "@last", "yes"]).succeeds(), "yes\n");
        let detached = afar(&["run", "asks", "--detach"]).succeeds().trim().to_owned();
        afar(&["runs", "watch", &detached]).ends_with(3);
        afar(&["runs", "stop", &detached]).succeeds();
        // The service does it in its own time; until then the run asks.
        let stopped = ["runs", "show", &detached];
        while !afar(&stopped).raw().contains("stopped by ops") {}
        let watched = afar(&["runs", "watch", &detached]);
        assert!(watched.raw().contains("stopped by ops"), "{}", watched.raw());
        watched.ends_with(3);
        // What is not done through a service says so, and does nothing.
        for args in [
            &["runs", "export", "@last"][..],
            &["runs", "rerun", "@last"],
            &["runs", "abandon", "@last", "--because", "x"],
            &["runs", "resume", "@last", "--with-current-text"],
            &["run", "quick", "n=1", "--plan"],
            &["run", "quick", "n=1", "--require-clean"],
            &["leases", "forget", "x", "--because", "x"],
            &["schedule", "apply", "schedules.toml"],
            &["notifications", "test", "ops"],
        ] {
            let refused = afar(args);
            assert!(refused.raw().contains("through a service"), "{args:?}: {}", refused.raw());
            refused.ends_with(2);
        }
    });
    let refused = afar(&world, &served, &eye, &["run", "quick", "n=1"]).run();
    assert!(refused.raw().contains("this needs a token of the role `run`"), "{}", refused.raw());
    refused.ends_with(3);
    let nobody = afar(&world, &served, "", &["runs"]).run();
    assert!(nobody.raw().contains("RELIGHT_TOKEN"), "{}", nobody.raw());
    nobody.ends_with(3);
    // The token may also lie in a file that the configuration names.
    let file = world.write("token", &format!("{ops}\n"));
    let config =
        world.write("relight.toml", &format!("[remote]\ntoken_file = {:?}\n", file.to_str().unwrap()));
    let config = config.to_str().unwrap();
    afar(&world, &served, "", &["runs", "--config", config]).run().succeeds();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_afar_are_called_by_labels_and_found_by_all_of_them() {
    let world = world();
    let ops = token(&world, &["ops", "--role", "run"]);
    let served = Served::start(&world);
    tokio::task::block_in_place(|| {
        let afar = |args: &[&str]| afar(&world, &served, &ops, args).run();
        let begin = |n: &str, labels: &[&str]| {
            afar(&[&["run", "quick", n, "--detach"], labels].concat()).succeeds().trim().to_owned()
        };
        begin("n=1", &["--label", "site=hq"]);
        let both = begin("n=2", &["--label", "site=hq", "--label", "why=drill"]);
        let found =
            afar(&["runs", "--json", "--label", "why=drill", "--label", "site=hq"]).succeeds().to_owned();
        assert!(found.lines().count() == 1 && found.contains(&both), "{found}");
        assert_eq!(afar(&["runs", "--json", "--label", "site=hq"]).succeeds().lines().count(), 2);
    });
    // Page by page in each order: each once, whatever moves meanwhile.
    for sort in ["created", "updated", "runbook"] {
        let mut seen = Vec::new();
        let mut after = String::new();
        loop {
            let page = served.get(&ops, &format!("/v1/runs?limit=1&sort={sort}{after}")).await.is(200);
            seen.extend(page["runs"].as_array().unwrap().iter().map(|run| run["id"].to_string()));
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        seen.sort();
        assert!(seen.len() == 2 && seen[0] != seen[1], "{sort}: {seen:?}");
    }
    for wrong in ["sort=size", "label=x", "after=none", "after=none@never"] {
        let answer = served.get(&ops, &format!("/v1/runs?{wrong}")).await;
        assert!([400, 404].contains(&answer.status), "{wrong}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schedules_afar_read_as_those_here() {
    let world = world();
    let boss = token(&world, &["boss", "--role", "admin"]);
    let ops = token(&world, &["ops", "--role", "run"]);
    let served = Served::start(&world);
    tokio::task::block_in_place(|| {
        let afar_as = |token: &str, args: &[&str]| afar(&world, &served, token, args).run();
        let afar = |args: &[&str]| afar_as(&boss, args);
        let here = |args: &[&str]| world.in_lab(args).run();
        let rule = ["--cron", "30 6 * * MON-FRI", "--zone", "Europe/Oslo"];
        let add = |runbook: &str, n: &str, name: &str| {
            afar(&[&["schedule", "add", runbook, n, "--name", name][..], &rule].concat())
        };
        let terms = ["--overlap", "buffer-one", "--catch-up", "1h", "--pause-after", "3", "--pin"];
        let add_pinned =
            [&["schedule", "add", "quick", "n=21", "--name", "nightly"], &rule[..], &terms].concat();
        let added = afar(&add_pinned);
        assert!(added.raw().contains("The service runs quick "), "{}", added.raw());
        assert_eq!(added.succeeds(), "nightly\n");
        for (wrong, why) in [
            (add("quick", "n=1", "nightly"), "there is a schedule `nightly` already"),
            (add("quick", "n=x", "other"), "`n`"),
            (add("nothing", "n=1", "other"), "there is no runbook `nothing`"),
            (add("quick.rhai", "n=1", "other"), "is a file"),
        ] {
            assert!(wrong.raw().contains(why), "{why}: {}", wrong.raw());
            wrong.ends_with(2);
        }
        // The same again is the same: somebody did not hear the answer.
        let again = afar(&add_pinned);
        assert_eq!((again.code(), again.out()), (Some(0), "nightly\n"), "{}", again.raw());
        // Who may start runs may not have them start for ever.
        let refused = afar_as(&ops, &add_pinned);
        assert!(refused.raw().contains("role `admin`"), "{}", refused.raw());
        refused.ends_with(3);

        assert_eq!(add("quick", "n=4", "other").succeeds(), "other\n");
        let run = afar_as(&ops, &["schedule", "trigger", "nightly"]).succeeds().trim().to_owned();
        assert!(afar(&["runs", "watch", &run]).raw().contains("number 21"));
        let made_up = afar(&[
            "schedule",
            "backfill",
            "other",
            "--from",
            "2026-01-05T00:00:00Z",
            "--to",
            "2026-01-06T12:00:00Z",
        ]);
        assert!(made_up.raw().contains("2 to make up for; the service drives them"), "{}", made_up.raw());
        made_up.succeeds();
        afar(&["schedule", "pause", "nightly", "--because", "closed"]).succeeds();
        // The runbook of the one goes; the other keeps to its text.
        std::fs::remove_file(world.path("home/.config/relight/runbooks/quick.rhai")).unwrap();
        let strip = |text: String| said(&world, &served, &text);
        for args in [
            &["schedule"][..],
            &["schedule", "--json"],
            &["schedule", "show", "nightly"],
            &["schedule", "show", "other", "--json"],
            &["schedule", "next", "nightly", "--count", "3"],
            &["schedule", "history", "nightly"],
        ] {
            let (one, other) = (here(args), afar(args));
            assert_eq!(strip(one.raw()), strip(other.raw()), "{args:?}");
            assert_eq!(one.code(), other.code(), "{args:?}");
        }
        let listed = afar(&["schedule"]).raw();
        assert!(listed.contains("paused: closed"), "{listed}");
        assert!(listed.contains("other cannot run as it is: there is no runbook `quick`"), "{listed}");
        assert!(!listed.contains("nightly cannot run"), "{listed}");
        afar_as(&ops, &["schedule", "resume", "nightly"]).succeeds();
        afar_as(&ops, &["schedule", "remove", "nightly"]).ends_with(3);
        afar(&["schedule", "remove", "nightly"]).succeeds();
        // Its history outlives it.
        assert!(afar(&["schedule", "history", "nightly"]).succeeds().contains(&run));
        assert!(afar(&["schedule", "history"]).succeeds().contains("nightly"));
        assert!(!world.path("elsewhere").exists(), "nothing is kept where the command runs");
    });
}

/// Who follows a run while its service is started anew goes on where it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_outlives_the_service() {
    let world = world();
    let ops = token(&world, &["ops", "--role", "run"]);
    let served = Served::start(&world);
    let address = served.url.strip_prefix("http://").unwrap().to_owned();
    world.runbook(
        "slow",
        "/*---\ntitle = \"Slow\"\n---*/\nnote(\"begun\"); wait(\"20m\"); note(\"woken\"); \"over\"\n",
    );
    let mut watching = afar(&world, &served, &ops, &["run", "slow"]).spawn();
    watching.wait_for("begun");
    served.running.signal("KILL");
    drop(served.running.end());
    let mut next = world.in_lab(["serve", "--listen", &address]).spawn();
    next.wait_for("listening at");
    let ended = tokio::task::block_in_place(|| watching.end());
    let said = ended.raw();
    assert!(said.contains("woken") && said.matches("begun").count() == 1, "{said}");
    assert_eq!(ended.succeeds(), "over\n");
    next.signal("TERM");
    next.end().succeeds();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_files_of_a_run_afar_come_to_who_started_it() {
    let world = world();
    let writes = "file::create_folder(\"out\"); file::write(\"out/said.txt\", \"said\"); file::write(\"mine.txt\", \"theirs\"); 7";
    world.runbook(
        "writes",
        &format!("/*---\ntitle = \"Write\"\neffects = [\"file:write\"]\n---*/\n{writes}\n"),
    );
    let ops = token(&world, &["ops", "--role", "run"]);
    let other = token(&world, &["other", "--role", "run"]);
    let boss = token(&world, &["boss", "--role", "admin"]);
    let served = Served::start(&world);
    world.write("work/mine.txt", "mine");
    let ran = tokio::task::block_in_place(|| afar(&world, &served, &ops, &["run", "writes"]).run());
    assert_eq!(ran.code(), Some(0), "{ran}");
    assert_eq!(std::fs::read_to_string(world.path("work/out/said.txt")).unwrap(), "said");
    assert!(ran.out().lines().any(|line| line == "out/said.txt"), "{ran}");
    // What is here stays, and that is said.
    assert_eq!(std::fs::read_to_string(world.path("work/mine.txt")).unwrap(), "mine");
    assert!(ran.raw().contains("mine.txt is not brought here: another file"), "{ran}");

    let runs = served.get(&ops, "/v1/runs").await.is(200);
    let run = runs["runs"][0]["id"].as_str().expect("an id").to_owned();
    let path = |path: &str| format!("/v1/runs/{run}/file?path={path}");
    assert_eq!(served.get(&boss, &path("out/said.txt")).await.text, "said");
    served.get(&other, &path("out/said.txt")).await.is(403);
    for elsewhere in ["/etc/passwd", "../../relight.db", "out/../mine.txt", ""] {
        served.get(&ops, &path(elsewhere)).await.is(404);
    }
    let files = world.path("state/lab/files").join(&run);
    std::fs::write(files.join("mine.txt"), "changed").unwrap();
    served.get(&ops, &path("mine.txt")).await.is(409);
    #[cfg(unix)]
    {
        std::fs::write(world.path("state/secret"), "said").unwrap();
        std::fs::remove_file(files.join("out/said.txt")).unwrap();
        std::os::unix::fs::symlink(world.path("state/secret"), files.join("out/said.txt")).unwrap();
        let refused = served.get(&ops, &path("out/said.txt")).await.is(409).to_string();
        assert!(refused.contains("outside"), "{refused}");
    }
}
