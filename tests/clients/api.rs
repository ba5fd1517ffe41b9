//! Other people's programs against the service's API: one that tries everything that its description allows and forbids, and one that scrapes
//! its figures.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{PATIENCE, program, python};
use crate::support::api::{Served, token};
use crate::support::sealed::Sealed;

/// Where parameters are, only the runbook can tell whether they are right; and of a rule, only the calendar.
const CONFIG: &str = r#"
[[operations]]
include-operation-id = "start_run"
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422"]

[[operations]]
include-operation-id = "add_schedule"
checks.positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "422"]
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_nothing_that_is_not_as_described() {
    let Some(schemathesis) = python("schemathesis") else { return };
    let world = Sealed::new();
    world.runbook("quick", "/*---\ntitle = \"Quick\"\n---*/\nnote(\"hello\"); 42\n");
    world.runbook(
        "asks",
        "/*---\ntitle = \"Ask\"\n---*/\nask(\"Really?\", #{ choices: [\"yes\", \"no\"] })\n",
    );
    let admin = token(&world, &["admin", "--role", "admin"]);
    let served = Served::start(&world);
    let over = served.begin(&admin, "quick").await;
    served.until(&admin, &over, "succeeded").await;
    let mut tried = 0;
    for (name, more) in [
        ("everything", &[][..]),
        ("about-one", &["--include-path-regex", "\\{run\\}", "--exclude-operation-id", "follow_run"]),
    ] {
        let mut config = CONFIG.to_owned();
        if name == "about-one" {
            // One that asks something: its events have no end, so it is there only now.
            world.runbook(
                "asks",
                "/*---\ntitle = \"Ask\"\n---*/\nask(\"Really?\", #{ choices: [\"yes\", \"no\"] })\n",
            );
            let asked = served.begin(&admin, "asks").await;
            served.until(&admin, &asked, "parked").await;
            config = format!("[parameters]\n\"path.run\" = \"{asked}\"\n{CONFIG}");
        }
        let folder = world.path(name);
        fs::create_dir(&folder).unwrap();
        let config_file = folder.join("schemathesis.toml");
        fs::write(&config_file, config).unwrap();
        let output = Command::new(&schemathesis)
            .arg("--config-file")
            .arg(&config_file)
            .args(["run", &format!("{}/v1/openapi.json", served.url)])
            .args(["-H", &format!("Authorization: Bearer {admin}")])
            .args(["--max-examples", "25", "--seed", "1", "--request-timeout", "20", "--continue-on-failure"])
            .args(more)
            .current_dir(&folder)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", &folder)
            .env("LC_ALL", "C.UTF-8")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{name}:\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
        let cases = said.lines().find_map(|line| line.trim().split_once(" generated,"));
        let cases: usize = cases.map_or(0, |(cases, _)| cases.trim().parse().unwrap_or(0));
        println!("api: schemathesis tried {cases} requests, {name}");
        tried += cases;
    }
    assert!(tried > 500, "{tried}");
    served.get(&admin, "/ready").await;
    served.running.signal("TERM");
    let said = served.running.end().raw();
    assert!(!said.contains("panicked"), "{said}");
}

/// A program that ends with the test.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns a program of Prometheus: from its package, which `./test` unpacks below `target`, or the system's.
fn of_prometheus(name: &'static str) -> Option<PathBuf> {
    let unpacked =
        Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("prometheus").join("usr/bin").join(name);
    Some(unpacked).filter(|path| path.is_file()).or_else(|| program("Prometheus", &[name]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_scrapes_the_figures() {
    let (Some(prometheus), Some(promtool)) = (of_prometheus("prometheus"), of_prometheus("promtool")) else {
        return;
    };
    let world = Sealed::new();
    world.runbook("quick", "/*---\ntitle = \"Quick\"\n---*/\n42\n");
    let ops = token(&world, &["ops", "--role", "run"]);
    let eye = token(&world, &["prometheus", "--role", "view"]);
    let served = Served::start(&world);
    let run = served.begin(&ops, "quick").await;
    served.until(&ops, &run, "succeeded").await;

    let page = served.get(&eye, "/metrics").await;
    let file = world.write("metrics.txt", &page.text);
    let mut check = Command::new(promtool);
    check.args(["check", "metrics"]).stdin(fs::File::open(file).unwrap());
    let checked = check.output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && said.is_empty(), "{said}\n{}", page.text);

    // Somebody else may take the port in between; then nothing is found there, and that is said.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let credentials = world.write("token", &eye);
    let config = world.write(
        "prometheus.yml",
        &format!(
            "scrape_configs:\n- job_name: relight\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  authorization:\n    credentials_file: {}\n  \
             static_configs:\n  - targets: [{:?}]\n",
            credentials.display(),
            served.url.strip_prefix("http://").unwrap()
        ),
    );
    let log = fs::File::create(world.path("prometheus.log")).unwrap();
    let started = Command::new(prometheus)
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", world.path("tsdb").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn();
    let _running = Ending(started.unwrap());
    let http = reqwest::Client::new();
    let ask = async |query: &str| -> Option<Value> {
        let url = format!("http://127.0.0.1:{port}/api/v1/query");
        let mut url = reqwest::Url::parse(&url).unwrap();
        url.query_pairs_mut().append_pair("query", query);
        let answer: Value = http.get(url).send().await.ok()?.json().await.ok()?;
        Some(answer["data"]["result"][0]["value"][1].clone())
    };
    for (query, expected) in [
        ("up{job=\"relight\"}", "1"),
        ("relight_runs{state=\"succeeded\"}", "1"),
        ("relight_leases_late", "0"),
        ("relight_http_requests_total{endpoint=\"start_run\",status=\"201\"}", "1"),
        (
            "histogram_quantile(0.99, relight_http_request_duration_seconds_bucket{endpoint=\"metrics\"}) < bool 10",
            "1",
        ),
        ("process_resident_memory_bytes > bool 1e6", "1"),
        ("process_open_fds > bool 5", "1"),
    ] {
        let began = Instant::now();
        loop {
            let found = ask(query).await;
            if found == Some(json!(expected)) {
                break;
            }
            let log = fs::read_to_string(world.path("prometheus.log")).unwrap_or_default();
            assert!(began.elapsed() < PATIENCE, "{query}: {found:?}\n{log}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
    served.running.signal("TERM");
    served.running.end().succeeds();
}
