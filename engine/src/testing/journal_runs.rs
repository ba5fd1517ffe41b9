//! The logs of the runs that a journal keeps, opened one after the other as by processes that die.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;

use super::Runs;
use crate::builder::EngineBuilder;
use crate::drive::{Drive, Way};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::event::{RunId, Signal};
use crate::journal::{Claim, ClaimRequest, Journal, NewRun, OwnerId, Tenure};
use crate::journal_log::JournalLog;
use crate::log::RunLog;

/// Runs in a journal.
pub struct JournalRuns {
    journal: Arc<dyn Journal>,
    /// Who opened a log last: dead as soon as the next one comes.
    last: Mutex<Option<OwnerId>>,
}

impl JournalRuns {
    /// Keeps runs in a journal.
    pub fn new(journal: Arc<dyn Journal>) -> Self {
        JournalRuns { journal, last: Mutex::default() }
    }
}

#[async_trait]
impl Runs for JournalRuns {
    fn engine(&self, builder: EngineBuilder) -> Result<Engine> {
        builder.journal(self.journal.clone()).build()
    }

    async fn open(&self, engine: &Engine, run: &NewRun) -> Result<Arc<dyn RunLog>> {
        let core = &engine.0;
        core.write_down(run.clone()).await?;
        core.enter().await?;
        let mut request = ClaimRequest::new(&run.id, &core.owner, core.clock.now());
        request.dead = self.last.lock().expect("no panic while it is held").replace(core.owner.clone());
        let tenure = match core.journal.claim(&request).await? {
            Claim::Granted(tenure) => tenure,
            // One that is over is read, and never written.
            Claim::Over => Tenure { run: run.id.clone(), owner: core.owner.clone(), epoch: 0 },
            other => return Err(Error::storage(format!("run {} is not ours: {other:?}", run.id))),
        };
        let past = core.journal.records(&run.id, 0).await?;
        let way = Way::patient(std::time::Duration::MAX);
        Ok(JournalLog::new(core.clone(), Arc::<Drive>::default(), way, None, tenure, past))
    }

    async fn signal(&self, run: &RunId, signal: &Signal) -> Result<()> {
        self.journal.signal(run, signal, jiff::Timestamp::now()).await
    }
}
