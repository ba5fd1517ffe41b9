//! Figures for Prometheus, in its text format: what runs, what is open, how requests are answered, what the process takes.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use relight_engine::{Engine, Result};

/// The upper bounds of the histogram of durations, in seconds.
const BOUNDS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5, 10.0];

/// How requests were answered since the service began.
#[derive(Debug, Default)]
pub(super) struct Metrics(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    answers: BTreeMap<(&'static str, u16), u64>,
    durations: BTreeMap<&'static str, Durations>,
}

#[derive(Debug, Default)]
struct Durations {
    /// How many were at most as long as each bound.
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

impl Metrics {
    /// Counts an answer.
    pub(super) fn count(&self, endpoint: &'static str, status: u16, took: Duration) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counted.answers.entry((endpoint, status)).or_default() += 1;
        let durations = counted.durations.entry(endpoint).or_default();
        let seconds = took.as_secs_f64();
        for (bucket, bound) in durations.buckets.iter_mut().zip(BOUNDS) {
            *bucket += u64::from(seconds <= bound);
        }
        durations.count += 1;
        durations.sum += seconds;
    }

    /// Writes everything in the text format of Prometheus.
    ///
    /// # Errors
    /// `Storage`.
    pub(super) async fn text(&self, engine: &Engine) -> Result<String> {
        let mut page = Page::default();
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        page.head("relight_build_info", "gauge", "The program.").line("relight_build_info", &version, 1);
        let tally = engine.journal().tally().await?;
        page.head("relight_runs", "gauge", "Runs in each state, without branches.");
        for (status, count) in tally {
            page.line("relight_runs", &[("state", status.as_str())], count);
        }
        let leases = engine.leases().await?;
        let late = leases.iter().filter(|open| open.is_late).count();
        page.head("relight_leases_open", "gauge", "What is open.").line(
            "relight_leases_open",
            &[],
            leases.len(),
        );
        page.head("relight_leases_late", "gauge", "What should have been closed by now.").line(
            "relight_leases_late",
            &[],
            late,
        );
        let queue = engine.queue().await?.len();
        page.head("relight_runs_queued", "gauge", "Runs that wait for others to end before they begin.")
            .line("relight_runs_queued", &[], queue);
        let now = engine.clock().now();
        let schedules = engine.journal().schedules().await?;
        let due = schedules.iter().filter(|one| one.wakes().is_some_and(|wakes| wakes <= now)).count();
        let paused = schedules.iter().filter(|schedule| schedule.standing.paused.is_some()).count();
        page.head("relight_schedules", "gauge", "Schedules.").line("relight_schedules", &[], schedules.len());
        page.head("relight_schedules_due", "gauge", "Schedules whose time has come and that have not begun.")
            .line("relight_schedules_due", &[], due);
        page.head(
            "relight_schedules_paused",
            "gauge",
            "Schedules that a person or their failures have paused.",
        )
        .line("relight_schedules_paused", &[], paused);
        page.head(
            "relight_notifications",
            "gauge",
            "Notifications that are kept, of each receiver and state.",
        );
        for (receiver, state, count) in engine.journal().outbox().delivery_tally().await? {
            page.line("relight_notifications", &[("receiver", &receiver), ("state", state.as_str())], count);
        }
        self.answers(&mut page);
        process(&mut page);
        Ok(page.0)
    }

    fn answers(&self, page: &mut Page) {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let name = "relight_http_requests_total";
        page.head(name, "counter", "Requests that were answered, also those that were refused.");
        for ((endpoint, status), count) in &counted.answers {
            page.line(name, &[("endpoint", endpoint), ("status", &status.to_string())], count);
        }
        let name = "relight_http_request_duration_seconds";
        page.head(name, "histogram", "How long it took until an answer began.");
        for (endpoint, durations) in &counted.durations {
            let bucket = format!("{name}_bucket");
            for (bound, count) in BOUNDS.iter().zip(&durations.buckets) {
                page.line(&bucket, &[("endpoint", endpoint), ("le", &bound.to_string())], count);
            }
            page.line(&bucket, &[("endpoint", endpoint), ("le", "+Inf")], durations.count);
            page.line(&format!("{name}_sum"), &[("endpoint", endpoint)], durations.sum);
            page.line(&format!("{name}_count"), &[("endpoint", endpoint)], durations.count);
        }
    }
}

/// Text in the format of Prometheus.
#[derive(Debug, Default)]
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) -> &mut Self {
        // Writing to a text cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
        self
    }

    /// Adds a value. Labels come from this program alone, and hold nothing that would have to be escaped.
    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

/// Says what the process takes, as far as the operating system tells.
fn process(page: &mut Page) {
    if let Some(bytes) = resident() {
        page.head("process_resident_memory_bytes", "gauge", "Resident memory.").line(
            "process_resident_memory_bytes",
            &[],
            bytes,
        );
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        page.head("process_open_fds", "gauge", "Open file descriptors.").line(
            "process_open_fds",
            &[],
            // One of them is the folder that is read.
            open.count().saturating_sub(1),
        );
    }
}

/// Returns the resident memory in bytes, where `/proc` says it.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_counted_in_every_bucket_that_holds_them() {
        let metrics = Metrics::default();
        metrics.count("list_runs", 200, Duration::from_millis(2));
        metrics.count("list_runs", 401, Duration::from_millis(200));
        let mut page = Page::default();
        metrics.answers(&mut page);
        for line in [
            "relight_http_requests_total{endpoint=\"list_runs\",status=\"401\"} 1",
            "relight_http_request_duration_seconds_bucket{endpoint=\"list_runs\",le=\"0.001\"} 0",
            "relight_http_request_duration_seconds_bucket{endpoint=\"list_runs\",le=\"0.0025\"} 1",
            "relight_http_request_duration_seconds_bucket{endpoint=\"list_runs\",le=\"0.5\"} 2",
            "relight_http_request_duration_seconds_bucket{endpoint=\"list_runs\",le=\"+Inf\"} 2",
            "relight_http_request_duration_seconds_count{endpoint=\"list_runs\"} 2",
        ] {
            assert!(page.0.lines().any(|own| own == line), "{line} is missing in\n{}", page.0);
        }
    }
}
