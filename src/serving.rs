//! Whether a `relight serve` keeps a state folder going, and what it says when something is open too long.
//!
//! Every serve holds a lock on one file of the folder. The operating system lets go of it when the
//! process ends, however it ends.

use std::collections::HashMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use relight_engine::clock::Interval;
use relight_engine::journal::Notification;
use relight_engine::{Engine, Error, Failure, OpenLease, Result};

use crate::format::{WHOLE, brief, relative};

/// How often the leases are looked at.
const LOOK: Duration = Duration::from_secs(30);
/// How often the same late lease is named again.
const AGAIN: Duration = Duration::from_secs(15 * 60);

/// This process as one that keeps a folder going. Dropping it says that it does so no more.
#[derive(Debug)]
pub(crate) struct Serving {
    _lock: File,
}

impl Serving {
    /// Says that this process keeps the folder going.
    ///
    /// # Errors
    /// `Storage` when the folder cannot be used.
    pub(crate) fn announce(state: &Path) -> Result<Self> {
        let path = file(state);
        let opened = OpenOptions::new().create(true).append(true).read(true).open(&path);
        let lock = opened
            .and_then(|file| file.lock_shared().map(|()| file))
            .map_err(|e| Error::storage(format!("failed to lock the file {}", path.display())).because(e))?;
        Ok(Serving { _lock: lock })
    }
}

/// Returns whether some process keeps the folder going.
pub(crate) fn is_served(state: &Path) -> bool {
    let Ok(file) = File::open(file(state)) else { return false };
    matches!(file.try_lock(), Err(TryLockError::WouldBlock))
}

fn file(state: &Path) -> PathBuf {
    state.join("serve.lock")
}

/// Names every lease that is late, at once and then from time to time, for as long as it is polled.
pub(crate) async fn watch_leases(engine: &Engine) {
    let clock = &**engine.clock();
    let mut named: HashMap<String, Interval> = HashMap::new();
    loop {
        match engine.leases().await {
            Ok(leases) => {
                let late: Vec<OpenLease> = leases.into_iter().filter(|open| open.is_late).collect();
                named.retain(|id, silence| {
                    !silence.is_over(clock) && late.iter().any(|open| open.lease.id == *id)
                });
                for open in late {
                    if named.contains_key(&open.lease.id) {
                        continue;
                    }
                    tracing::error!("{}", lateness(engine, &open));
                    match notify(engine, &open).await {
                        Ok(()) => drop(named.insert(open.lease.id, Interval::of(clock, AGAIN))),
                        Err(error) => tracing::warn!("nobody can be notified of it: {error}"),
                    }
                }
            }
            Err(error) => tracing::warn!("the leases cannot be read: {error}"),
        }
        clock.sleep(LOOK).await;
    }
}

/// Tells the receivers of a late lease. Who has heard of it is not told again until its deadline is another.
async fn notify(engine: &Engine, open: &OpenLease) -> Result<()> {
    let journal = engine.journal();
    let opener = journal.run(&open.lease.run.whole()).await?;
    let late = Notification::late_lease(&open.lease, opener.map(|run| run.runbook), engine.clock().now());
    journal.outbox().notify(&late).await.map(drop)
}

/// Says how late a lease is and why, in one line.
fn lateness(engine: &Engine, open: &OpenLease) -> String {
    let now = engine.clock().now();
    let due = relative(now, open.lease.deadline);
    format!("LATE: {} was due {due} and is still open{}", open.lease.title, attempts(engine, open))
}

/// Says when a lease was last tried, why that failed, and when it is tried again.
pub(crate) fn attempts(engine: &Engine, open: &OpenLease) -> String {
    let now = engine.clock().now();
    let Some(closing) = &open.closing else { return String::new() };
    let last = closing.trouble.as_ref().map_or_else(String::new, |(at, failure)| {
        let times =
            if closing.failed > 1 { format!(", {} times so far", closing.failed) } else { String::new() };
        format!("; last tried {}{times}: {}", relative(now, *at), why(failure))
    });
    let next = match (closing.is_driven, closing.again) {
        (true, _) => "; being closed now".to_owned(),
        (false, Some(again)) if again > now => format!("; tried again {}", relative(now, again)),
        (false, _) => "; its closing was begun and put down, and `relight serve` goes on with it".to_owned(),
    };
    format!("{last}{next}")
}

/// Says why something failed in a line that a person may look up.
fn why(failure: &Failure) -> String {
    let message = brief(&failure.message, WHOLE);
    match failure.to_error().service_code() {
        Some(code) if !message.contains(code) => format!("{message} ({code})"),
        _ => message,
    }
}
