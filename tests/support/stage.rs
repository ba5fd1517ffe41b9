//! A stage: a lab in this process, whose time runs fast, and the real command beside it, attached by its card.
//!
//! The card is the `lab.json` that `relight --lab=FILE` reads (`src/lab.rs`): the lab's descriptor, its clock as
//! `origin`, `began`, `speed` and `until`, and `serves`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::channel;

use jiff::Timestamp;
use relight_engine::clock::{Clock, ScaledClock};
use relight_lab::{GUEST_PASSWORD, Lab, LabConfig, LedgerEntry};
use serde_json::{Value, json};

use super::sealed::Sealed;
use super::world::{morning, rdp_files, speak_tls};

/// The site, the folder and the clock that several processes share.
pub(crate) struct Stage {
    pub(crate) lab: Lab,
    pub(crate) sealed: Sealed,
    pub(crate) clock: ScaledClock,
    card: PathBuf,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Nothing when it was killed.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Stage {
    /// Starts a lab whose time passes `speed` times faster than the wall clock's.
    pub(crate) async fn new(speed: u32) -> Self {
        Stage::with(speed, &[]).await
    }

    /// Such a lab with faults.
    pub(crate) async fn with(speed: u32, faults: &[&str]) -> Self {
        speak_tls();
        let clock = ScaledClock { origin: morning(), began: Timestamp::now(), speed };
        let mut config = LabConfig::new(Arc::new(move || clock.now()));
        config.faults = faults.iter().map(|name| name.parse().expect("a fault that the lab knows")).collect();
        // Every process signs in for itself.
        config.token_requests = 1000;
        let lab = Lab::start(config).await.expect("a lab");
        let sealed = Sealed::new();
        let card = json!({
            "descriptor": lab.descriptor(),
            "clock": { "origin": clock.origin, "began": clock.began, "speed": speed, "until": clock.origin },
            "serves": true,
        });
        let card = sealed.write("lab.json", &card.to_string());
        Stage { lab, sealed, clock, card }
    }

    /// The command with arguments, in the sealed world and attached to the lab.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relight"));
        command
            .args(args)
            .arg(format!("--lab={}", self.card.display()))
            .current_dir(self.sealed.work())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.sealed.path("home"))
            .env("TMPDIR", self.sealed.path("tmp"))
            .env("RELIGHT_STATE", self.sealed.path("state"))
            .env("USER", "ada")
            .env("HOSTNAME", "desk-7")
            .env("APP_PASSWORD", GUEST_PASSWORD)
            .env("NO_COLOR", "1")
            .env("COLUMNS", "100")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the command to its end.
    pub(crate) fn relight(&self, args: &[&str]) -> Ended {
        ended(self.command(args).spawn().expect("relight starts"))
    }

    /// Runs a command that prints one JSON object per line, and reads them.
    pub(crate) fn lines(&self, args: &[&str]) -> Vec<Value> {
        let said = self.relight(args);
        let line =
            |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{args:?}: {e}: {said:?}"));
        said.out.lines().map(line).collect()
    }

    /// Runs the command and kills it after it has written so many records.
    pub(crate) fn crashes_after(&self, record: u64, args: &[&str]) -> Ended {
        let child = self.command(args).env("RELIGHT_CRASH_AFTER_RECORD", record.to_string()).spawn();
        ended(child.expect("relight starts"))
    }

    /// Runs the command and kills it when its n-th request has taken effect, before the answer leaves.
    pub(crate) fn killed_at_write(&self, nth: u64, args: &[&str]) -> Ended {
        let (tell_pid, pid) = channel::<u32>();
        let (tell_dead, dead) = channel::<()>();
        let told = std::sync::Mutex::new((pid, dead));
        let before = self.lab.ledger().iter().filter(|entry| entry.effect).count() as u64;
        let effects = std::sync::atomic::AtomicU64::new(before);
        self.lab.on_write(move |_: &LedgerEntry| {
            if effects.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1 != before + nth {
                return;
            }
            let told = told.lock().expect("one kill");
            let Ok(pid) = told.0.recv() else { return };
            signal(pid, "KILL");
            // The answer waits until nobody is there to read it. The sender is gone when the process is.
            let _ = told.1.recv();
        });
        let child = self.command(args).spawn().expect("relight starts");
        tell_pid.send(child.id()).expect("the hook lives");
        let ended = ended(child);
        drop(tell_dead);
        ended
    }

    /// Every run, the newest first.
    fn runs(&self) -> Vec<Value> {
        let listed = self.relight(&["runs", "list", "--json", "--limit", "0"]);
        assert_eq!(listed.code, Some(0), "{listed:?}");
        listed.out.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// The newest run of a runbook, if there is any.
    pub(crate) fn newest(&self, runbook: &str) -> Option<Value> {
        self.runs().into_iter().find(|run| run["runbook"] == runbook)
    }

    /// How many records all runs have: a process that drives one run may write those of others, too.
    pub(crate) fn written(&self) -> u64 {
        // In the database, since a list of runs leaves out their branches.
        if !self.sealed.path("state").exists() {
            return 0;
        }
        let database = rusqlite::Connection::open(self.database()).expect("the database");
        let all = "SELECT coalesce(sum(seq), 0) FROM heads";
        database.query_row(all, [], |row| row.get::<_, i64>(0)).expect("a number").cast_unsigned()
    }

    /// The folder in which this lab's runs are kept.
    pub(crate) fn state(&self) -> PathBuf {
        let state = self.sealed.path("state");
        let mut folders =
            std::fs::read_dir(&state).expect("the state folder").map(|it| it.expect("an entry").path());
        folders.find(|path| path.is_dir()).expect("the folder of the lab's runs")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.state().join("relight.db")
    }

    pub(crate) fn rdp_files(&self) -> Vec<(String, String)> {
        rdp_files(&self.sealed.work())
    }

    /// What the lab complained about. A process that was killed could not tell the next one how long to wait.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let is_early =
            |text: &String| text.starts_with("poll of ") && text.contains("before the Retry-After");
        self.lab.violations().into_iter().filter(|complaint| !is_early(complaint)).collect()
    }
}

/// Reads everything that a process says until it ends.
pub(crate) fn ended(child: Child) -> Ended {
    let output = child.wait_with_output().expect("relight ends");
    Ended {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Sends a signal to a process that this test started.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("/bin/sh").args(["-c", &format!("kill -{name} {pid}")]).status();
    assert!(sent.expect("a shell").success(), "kill -{name} {pid}");
}

/// Stops a process where it stands, but not while it writes: then nobody else could.
pub(crate) fn stand_still(stage: &Stage, pid: u32) {
    for _ in 0..10_000 {
        signal(pid, "STOP");
        let database = rusqlite::Connection::open(stage.database()).expect("the database");
        if database.execute_batch("PRAGMA busy_timeout = 0; BEGIN IMMEDIATE; ROLLBACK").is_ok() {
            return;
        }
        signal(pid, "CONT");
    }
    panic!("process {pid} writes without end");
}

/// Every file below a folder.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match path.is_dir() {
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    files
}
