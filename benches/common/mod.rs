//! What all benches share: the table they print, percentiles, what Linux says about a process, and
//! the operation that their scripts call.
#![allow(dead_code, reason = "every bench uses a part of it")]

/// As in the command.
#[cfg(not(windows))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use relight_engine::{Cx, Effect, Operation, Outcome, Redo, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Returns whether only a smoke test is wanted: a few rounds, no figures worth keeping.
pub(crate) fn is_quick() -> bool {
    std::env::args().any(|arg| arg == "--quick")
}

/// Returns the value behind `name` on the command line, for what a bench tells its own children.
pub(crate) fn option(name: &str) -> Option<String> {
    let mut args = std::env::args().skip_while(|arg| arg != name);
    args.nth(1)
}

/// Returns this bench's program, to start it once more for a measurement of its own.
pub(crate) fn this_program() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// Makes a folder on the disk that is measured: `RELIGHT_BENCH_DIR`, else the system's.
pub(crate) fn folder() -> TempDir {
    let place = std::env::var_os("RELIGHT_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    tempfile::Builder::new().prefix("relight-bench-").tempdir_in(place).unwrap()
}

/// Makes a runtime as the command has it.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

// ---- figures ------------------------------------------------------------------------------------

/// What was measured several times.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(crate) fn extend(&mut self, other: &Times) {
        self.0.extend_from_slice(&other.0);
    }

    /// Returns the time below which `percent` of all lie.
    pub(crate) fn at(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(index).copied().unwrap_or_default()
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn median(&self) -> Duration {
        self.at(50)
    }

    pub(crate) fn min(&self) -> Duration {
        self.0.iter().min().copied().unwrap_or_default()
    }

    pub(crate) fn max(&self) -> Duration {
        self.0.iter().max().copied().unwrap_or_default()
    }

    pub(crate) fn sum(&self) -> Duration {
        self.0.iter().sum()
    }

    /// Returns how many there were per second.
    pub(crate) fn rate(&self) -> f64 {
        self.0.len() as f64 / self.sum().as_secs_f64()
    }
}

/// Returns the times between moments that follow each other.
pub(crate) fn between(moments: &[Instant]) -> Times {
    Times(moments.windows(2).map(|pair| pair[1] - pair[0]).collect())
}

/// Runs something and returns how long it took.
pub(crate) fn time<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let value = work();
    (value, began.elapsed())
}

/// Returns the middle one of some numbers.
pub(crate) fn middle(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Writes a time with three digits that count.
pub(crate) fn show(time: Duration) -> String {
    let micros = time.as_secs_f64() * 1e6;
    match micros {
        m if m < 1e3 => format!("{m:.0} us"),
        m if m < 1e4 => format!("{:.2} ms", m / 1e3),
        m if m < 1e5 => format!("{:.1} ms", m / 1e3),
        m if m < 1e6 => format!("{:.0} ms", m / 1e3),
        m => format!("{:.2} s", m / 1e6),
    }
}

/// Writes the median and the range of some numbers.
pub(crate) fn spread(numbers: &[f64]) -> String {
    let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let high = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{:.2} ({low:.2} to {high:.2})", middle(numbers))
}

// ---- the table ----------------------------------------------------------------------------------

/// A table of what was measured, printed as it grows.
pub(crate) struct Table {
    rows: Vec<[String; 4]>,
    title: &'static str,
}

impl Table {
    pub(crate) fn new(title: &'static str) -> Self {
        Table { rows: Vec::new(), title }
    }

    /// Adds a figure that has no goal.
    pub(crate) fn note(&mut self, what: impl Into<String>, measured: impl Into<String>) {
        self.rows.push([what.into(), measured.into(), String::new(), String::new()]);
    }

    /// Adds a figure that has one.
    pub(crate) fn goal(
        &mut self,
        what: impl Into<String>,
        measured: impl Into<String>,
        goal: impl Into<String>,
        met: bool,
    ) {
        let met = if met { "yes" } else { "NO" };
        self.rows.push([what.into(), measured.into(), goal.into(), met.to_owned()]);
    }

    /// Prints it.
    pub(crate) fn print(self) {
        let head = ["what", "measured", "goal", "met?"].map(str::to_owned);
        let rows: Vec<[String; 4]> = std::iter::once(head).chain(self.rows).collect();
        let width = |n: usize| rows.iter().map(|row| row[n].chars().count()).max().unwrap_or(0);
        let widths = [0, 1, 2, 3].map(width);
        let mut text = String::new();
        for (n, row) in rows.iter().enumerate() {
            let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
            let line: Vec<String> = cells.collect();
            let _ = writeln!(text, "{}", line.join("  ").trim_end());
            if n == 0 {
                let rules = widths.map(|width| "-".repeat(width));
                let _ = writeln!(text, "{}", rules.join("  "));
            }
        }
        let quick = if is_quick() { " (--quick: a smoke test, not a measurement)" } else { "" };
        println!("\n{}{quick}\n\n{text}", self.title);
    }
}

// ---- what the system says about a process ---------------------------------------------------------

/// Returns a field of `/proc/self/status` in KB, such as `VmRSS` or `VmHWM`.
pub(crate) fn memory(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Returns the processor time that this process has used, its threads that are gone included.
pub(crate) fn cpu() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // After the name in brackets, which may hold anything: fields 3 and on; 14 and 15 are the times.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

/// Writes a size in MB, or that this system does not tell.
pub(crate) fn megabytes(kilobytes: Option<u64>) -> String {
    kilobytes.map_or_else(|| "n/a".to_owned(), |kb| format!("{:.1} MB", kb as f64 / 1024.0))
}

/// Returns the size of a file in MB.
pub(crate) fn size(path: &Path) -> f64 {
    std::fs::metadata(path).map_or(f64::NAN, |file| file.len() as f64 / f64::from(1 << 20))
}

// ---- the operation --------------------------------------------------------------------------------

/// What `bench::put` is given.
#[derive(Deserialize, JsonSchema)]
pub(crate) struct Target {
    /// The number of the call.
    pub(crate) n: u32,
}

/// What `bench::put` gives: about as much as a resource's short form.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Resource {
    id: String,
    name: String,
    state: &'static str,
    etag: String,
}

/// A request that changes the world and is answered at once. Notes the moment of each.
#[derive(Clone, Default)]
pub(crate) struct Put {
    sent: Arc<Mutex<Vec<Instant>>>,
}

impl Put {
    /// Returns the moments at which requests left, and forgets them.
    pub(crate) fn take(&self) -> Vec<Instant> {
        std::mem::take(&mut self.sent.lock().unwrap())
    }

    /// Returns the value of a call.
    pub(crate) fn answer(n: u32) -> Resource {
        let name = format!("vm-{n:05}");
        Resource {
            id: format!(
                "/subscriptions/0000/resourceGroups/bench/providers/Microsoft.AzureStackHCI/virtualMachineInstances/{name}"
            ),
            name,
            state: "Succeeded",
            etag: format!("\"{n:08x}\""),
        }
    }
}

impl Operation for Put {
    type Args = Target;
    type Output = Resource;
    const NAME: &'static str = "bench::put";
    const SUMMARY: &'static str = "Sends a request that is answered at once.";
    const EFFECTS: &'static [Effect] = &[Effect::AzureWrite];
    const REDO: Redo = Redo::Resend;

    async fn begin(&self, _: &Cx, args: &Target) -> Result<Outcome<Resource>> {
        self.sent.lock().unwrap().push(Instant::now());
        Ok(Outcome::done(Put::answer(args.n)))
    }
}

/// Returns the text of a runbook that makes `count` such requests.
pub(crate) fn puts(count: u32) -> String {
    format!(
        r#"/*---
title = "Put"
effects = ["azure:write"]
---*/
let last = "";
for n in 0..{count} {{
    let made = bench::put(n);
    if made.state != "Succeeded" {{ fail(made.name); }}
    last = made.name;
}}
last
"#
    )
}
