//! How long `relight` takes to start, and how large it is.
//!
//! Starts the release binary again and again, in turn with `/bin/true`: what that costs is the
//! price of a process on this machine and no fault of ours.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use common::{Table, Times, folder, is_quick, runtime, show, size, time};
use futures::future::join_all;
use relight_engine::journal::SqliteJournal;
use relight_engine::{Engine, RunRequest};

const GOAL: Duration = Duration::from_millis(10);
const GOAL_SIZE: f64 = 20.0;

fn main() {
    let relight = PathBuf::from(env!("CARGO_BIN_EXE_relight"));
    let rounds = if is_quick() { 3 } else { 30 };
    let place = folder();
    let (fresh, used) = (place.path().join("fresh"), place.path().join("used"));
    let runs = fill(&used);
    // A copy of our own, so that taking it out of the page cache disturbs nobody.
    let copy = place.path().join("relight");
    std::fs::copy(&relight, &copy).unwrap();

    let plan: &[&str] = &["run", "restart-vm", "vm=web-01", "group=hq", "--plan"];
    let mut programs = [
        Program::new("/bin/true", Path::new("/bin/true"), &fresh, &[]),
        Program::new("relight list", &relight, &fresh, &["list"]),
        Program::new("relight list, binary read from the disk", &copy, &fresh, &["list"]).uncached(),
        Program::new("relight run restart-vm --plan", &relight, &fresh, plan),
        Program::new("relight docs local::vm", &relight, &fresh, &["docs", "local::vm"]),
        Program::new("relight runs list, new journal", &relight, &fresh, &["runs", "list"]),
        Program::new("relight runs list, large journal", &relight, &used, &["runs", "list"]),
    ];
    for round in 0..rounds + 2 {
        for program in &mut programs {
            let took = program.start();
            // The first two rounds fill caches and make folders.
            if let (true, Some(took)) = (round >= 2, took) {
                program.times.push(took);
            }
        }
    }

    let mut table = Table::new("Start");
    let price = programs[0].times.median();
    for program in &programs {
        let (half, most) = (program.times.median(), program.times.at(90));
        let ratio = half.as_secs_f64() / price.as_secs_f64();
        let measured = match &program.refused {
            Some(why) => format!("n/a: {why}"),
            None => format!("p50 {}, p90 {} ({ratio:.1} x true)", show(half), show(most)),
        };
        match program.title {
            "relight list" => table.goal(program.title, measured, "p50 <= 10 ms", half <= GOAL),
            title => table.note(title, measured),
        }
    }
    table.note("  that journal", format!("{runs} runs, {:.1} MB", size(&used.join("relight.db"))));
    let stripped = strip(&relight, &place.path().join("stripped"));
    let size = size(&stripped);
    table.goal("size of the stripped binary", format!("{size:.1} MB"), "<= 20 MB", size <= GOAL_SIZE);
    table.print();
}

struct Program {
    title: &'static str,
    path: PathBuf,
    state: PathBuf,
    args: &'static [&'static str],
    uncached: bool,
    refused: Option<String>,
    times: Times,
}

impl Program {
    fn new(title: &'static str, path: &Path, state: &Path, args: &'static [&'static str]) -> Self {
        Program {
            title,
            path: path.to_owned(),
            state: state.to_owned(),
            args,
            uncached: false,
            refused: None,
            times: Times::default(),
        }
    }

    /// Takes the binary out of the page cache before each start.
    fn uncached(mut self) -> Self {
        self.uncached = true;
        self
    }

    /// Starts it once, and returns the time until it was gone.
    fn start(&mut self) -> Option<Duration> {
        if self.refused.is_some() {
            return None;
        }
        if self.uncached && !forget(&self.path) {
            self.refused = Some("no `dd` with iflag=nocache".into());
            return None;
        }
        let mut command = Command::new(&self.path);
        command
            .args(self.args)
            .env_clear()
            .env("HOME", &self.state)
            .env("RELIGHT_STATE", &self.state)
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let (ended, took) = time(|| command.status());
        match ended {
            Ok(status) if status.success() => Some(took),
            Ok(status) => {
                self.refused = Some(status.to_string());
                None
            }
            Err(error) => {
                self.refused = Some(error.to_string());
                None
            }
        }
    }
}

/// Takes a file out of the page cache. GNU's `dd` can say so to the kernel; we cannot, being safe Rust.
fn forget(path: &Path) -> bool {
    let mut input = std::ffi::OsString::from("if=");
    input.push(path);
    let dd = |args: &[&str]| {
        let status =
            Command::new("dd").arg(&input).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    dd(&["iflag=nocache", "count=0"])
}

/// Returns a binary without symbols: a copy if it has any.
fn strip(binary: &Path, to: &Path) -> PathBuf {
    let done = Command::new("strip").arg("-o").arg(to).arg(binary).status();
    if done.is_ok_and(|status| status.success()) { to.to_owned() } else { binary.to_owned() }
}

/// Writes a journal that is as large as one which is checked whenever it is opened (up to 32 MB).
fn fill(state: &Path) -> u32 {
    const TEXT: &str = "/*---\ntitle = \"Note\"\n[params.text]\n---*/\nnote(params.text)\n";
    let count = if is_quick() { 200 } else { 3_000 };
    let journal = Arc::new(SqliteJournal::open(&state.join("relight.db")).unwrap());
    let engine = Engine::builder().journal(journal).build().unwrap();
    let long = "A line of evidence. ".repeat(350);
    runtime().block_on(async {
        join_all((0..count).map(|_| async {
            let request = RunRequest::new("note").text(TEXT).param("text", &long);
            engine.prepare(&request).await.unwrap();
        }))
        .await;
    });
    count
}
