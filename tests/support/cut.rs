//! A journal whose process dies between any two records, without a process.
//!
//! The engine over it sees nothing but errors from the cut on, so it can write nothing more and send nothing more.
//! What a real crash leaves behind is then read from the journal underneath.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jiff::Timestamp;
use relight_engine::event::Event;
use relight_engine::journal::{
    Appended, Around, Claim, ClaimRequest, Journal, MemoryJournal, NewRun, Settlement, Sync, Tenure,
};
use relight_engine::{EngineBuilder, Error, Result, RunRequest};
use tokio::sync::Notify;

/// Which side of the record the process dies on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Before it reaches the journal: whatever it tells of has happened, and nobody wrote it down.
    Before,
    /// Right after it reached the journal, before anybody heard of it.
    After,
}

/// A journal in memory that fails for good at its n-th record.
pub(crate) struct Cut {
    inner: Arc<MemoryJournal>,
    at: u64,
    side: Side,
    written: AtomicU64,
    died: Notify,
}

impl Cut {
    pub(crate) fn new(inner: Arc<MemoryJournal>, at: u64, side: Side) -> Arc<Self> {
        Arc::new(Cut { inner, at, side, written: AtomicU64::new(0), died: Notify::new() })
    }

    /// Does what is asked for in a process of its own, over this journal, until that ends or dies. Nothing of the
    /// process is left then.
    pub(crate) async fn while_alive(self: &Arc<Self>, builder: EngineBuilder, request: RunRequest) {
        let cut = self.clone();
        let process = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let engine = builder.journal(cut.clone()).build().expect("an engine");
                tokio::select! {
                    biased;
                    () = cut.died.notified() => {}
                    _ = async { engine.run(&engine.prepare(&request).await?).await } => {}
                }
                engine.hand_back();
                drop(engine);
                // Its scripts have threads of their own, which hold the journal while they last.
                let began = Instant::now();
                while Arc::strong_count(&cut) > 2 && began.elapsed() < Duration::from_secs(5) {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
        });
        process.await.expect("the process does not panic");
    }

    /// Whether the process has died.
    pub(crate) fn is_dead(&self) -> bool {
        self.written.load(Ordering::SeqCst) >= self.at
    }

    fn alive(&self) -> Result<()> {
        if !self.is_dead() {
            return Ok(());
        }
        self.died.notify_one();
        Err(Error::storage("the process is dead"))
    }

    /// Counts records; fails when the process dies on this side of them.
    fn count(&self, records: usize, side: Side) -> Result<()> {
        if side == Side::Before {
            let reaches = self.written.load(Ordering::SeqCst) + records as u64 >= self.at;
            if reaches && self.side == Side::Before {
                self.written.store(self.at, Ordering::SeqCst);
            }
        } else {
            self.written.fetch_add(records as u64, Ordering::SeqCst);
        }
        self.alive()
    }
}

#[async_trait]
impl Around for Cut {
    fn behind(&self) -> &dyn Journal {
        &*self.inner
    }

    fn allow(&self) -> Result<()> {
        self.alive()
    }

    async fn prepare(&self, run: NewRun, at: Timestamp) -> Result<bool> {
        self.count(1, Side::Before)?;
        let created = self.inner.prepare(run, at).await?;
        self.count(usize::from(created), Side::After)?;
        Ok(created)
    }

    async fn claim(&self, request: &ClaimRequest) -> Result<Claim> {
        self.count(1, Side::Before)?;
        let claim = self.inner.claim(request).await?;
        self.count(usize::from(matches!(claim, Claim::Granted(_))), Side::After)?;
        Ok(claim)
    }

    async fn append(&self, tenure: &Tenure, events: &[Event], at: Timestamp, sync: Sync) -> Result<Appended> {
        self.count(events.len(), Side::Before)?;
        let appended = self.inner.append(tenure, events, at, sync).await?;
        self.count(events.len(), Side::After)?;
        Ok(appended)
    }

    async fn settle(&self, settlement: &Settlement, at: Timestamp) -> Result<bool> {
        self.count(settlement.starts.len(), Side::Before)?;
        let settled = self.inner.settle(settlement, at).await?;
        self.count(if settled { settlement.starts.len() } else { 0 }, Side::After)?;
        Ok(settled)
    }
}
