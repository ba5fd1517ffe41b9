//! OpenTelemetry's own types read the traces that the command tells.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::python;
use crate::support::receiver::{Fate, Receiver};
use crate::support::stage::Stage;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn opentelemetry_reads_the_traces_of_runs() {
    let Some(python) = python("python3") else { return };
    let stage = Stage::new(30).await;
    tokio::task::block_in_place(|| {
        let success = Fate::Answer("200 OK\r\ncontent-type: application/json\r\n\r\n{}");
        let collector = Receiver::start(std::iter::repeat_n(success, 9));
        let section = format!("[traces]\nendpoint = \"{}\"\n", collector.url(""));
        stage.sealed.write("home/.config/relight/relight.toml", &section);
        stage.sealed.runbook("fails", "/*---\ntitle = \"Fail\"\n---*/\nnow(); throw \"it broke\";\n");
        let ran = stage.relight(&["run", "fails"]);
        assert_eq!(ran.code, Some(1), "{ran:?}");
        let run = stage.newest("fails").expect("the run")["id"].clone();
        let again = stage.relight(&["runs", "rerun", run.as_str().expect("an id")]);
        assert_eq!(again.code, Some(1), "{again:?}");

        let read: Vec<Value> = collector
            .told()
            .iter()
            .map(|told| {
                let mut child = Command::new(&python)
                    .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/traces.py"))
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .expect("python3 starts");
                child.stdin.take().expect("piped").write_all(told.body.as_bytes()).expect("written");
                let said = child.wait_with_output().expect("python3 ends");
                assert!(said.status.success(), "{}: {}", String::from_utf8_lossy(&said.stderr), told.body);
                serde_json::from_slice(&said.stdout).expect("JSON")
            })
            .collect();
        let [first, second] = &read[..] else { panic!("{read:#?}") };
        assert_eq!((&first["service"], &first["scope"]), (&json!("relight"), &json!("relight")));
        let (step, whole) = (&first["spans"][0], &first["spans"][1]);
        assert_eq!((&whole["run"], &whole["name"], &whole["kind"]), (&run, &json!("fails"), &json!(1)));
        assert_eq!((&whole["parent"], &whole["status"][0]), (&json!(""), &json!(2)));
        assert!(whole["status"][1].as_str().expect("why").contains("it broke"), "{whole:#}");
        assert_eq!((&step["parent"], &step["trace"]), (&whole["span"], &whole["trace"]));
        assert_eq!((&step["name"], &step["step"], &step["status"][0]), (&json!("now"), &json!(1), &json!(0)));
        assert!(step["nanoseconds"].as_u64() <= whole["nanoseconds"].as_u64(), "{first:#}");
        assert_eq!(whole["events"], json!(["claimed"]));
        assert_eq!(second["spans"][1]["links"], json!([whole["span"]]));
        assert_ne!(second["spans"][1]["trace"], whole["trace"]);
    });
}
