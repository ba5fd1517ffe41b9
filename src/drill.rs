//! Crash points, so that tests can kill a real process between any two records.
//!
//! `RELIGHT_CRASH_AFTER_RECORD=5` ends this process the hard way right after the fifth record that
//! it wrote is on the disk. A test that runs a runbook with 1, 2, 3 .. and resumes it each time has
//! crashed it everywhere. Compiled into debug builds only: a release cannot be told to do this.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use jiff::Timestamp;
use relight_engine::event::{Event, ExtendedLease};
use relight_engine::journal::{
    Appended, Around, Claim, ClaimRequest, ExtendRequest, Journal, NewRun, Settlement, Sync, Tenure,
};
use relight_engine::{Error, Result, RunId};

use crate::environment::variable;
use crate::platform;

const VARIABLE: &str = "RELIGHT_CRASH_AFTER_RECORD";

/// Wraps a journal when the environment asks for a crash.
///
/// # Errors
/// `Invalid` when the variable is no number.
pub(crate) fn wrap(journal: Arc<dyn Journal>) -> Result<Arc<dyn Journal>> {
    let Some(after) = variable(VARIABLE) else { return Ok(journal) };
    let after =
        after.parse().map_err(|_| Error::invalid(format!("{VARIABLE} must be a number, not `{after}`")))?;
    Ok(Arc::new(Doomed { inner: journal, after, written: AtomicU64::new(0) }))
}

/// A journal whose process dies after so many records.
struct Doomed {
    inner: Arc<dyn Journal>,
    after: u64,
    written: AtomicU64,
}

impl Doomed {
    /// Returns whether the next `records` reach the crash point.
    fn is_near(&self, records: usize) -> bool {
        self.written.load(Ordering::SeqCst) + records as u64 >= self.after
    }

    /// Counts records that are written, and dies when it was the last of them.
    fn count(&self, records: usize) {
        let written = self.written.fetch_add(records as u64, Ordering::SeqCst) + records as u64;
        if written >= self.after {
            platform::die();
        }
    }
}

#[async_trait]
impl Around for Doomed {
    fn behind(&self) -> &dyn Journal {
        &*self.inner
    }

    async fn prepare(&self, run: NewRun, at: Timestamp) -> Result<bool> {
        let created = self.inner.prepare(run, at).await?;
        self.count(usize::from(created));
        Ok(created)
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        let claim = self.inner.claim(request).await?;
        self.count(usize::from(matches!(claim, Claim::Granted(_))));
        Ok(claim)
    }

    async fn append(&self, tenure: &Tenure, events: &[Event], at: Timestamp, sync: Sync) -> Result<Appended> {
        // The last record must be on the disk before the crash, or the crash point would not be one.
        let sync = if self.is_near(events.len()) { Sync::Now } else { sync };
        let appended = self.inner.append(tenure, events, at, sync).await?;
        self.count(events.len());
        Ok(appended)
    }

    async fn settle(&self, settlement: &Settlement, at: Timestamp) -> Result<bool> {
        let settled = self.inner.settle(settlement, at).await?;
        self.count(if settled { settlement.starts.len() } else { 0 });
        Ok(settled)
    }

    async fn extend_lease(&self, request: &ExtendRequest) -> Result<Option<ExtendedLease>> {
        let extended = self.inner.extend_lease(request).await?;
        self.count(usize::from(extended.is_some()));
        Ok(extended)
    }

    async fn prune(&self, runs: &[RunId], at: Timestamp) -> Result<Vec<RunId>> {
        let gone = self.inner.prune(runs, at).await?;
        self.count(gone.len());
        Ok(gone)
    }
}
