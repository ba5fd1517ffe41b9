//! `relight runs export`: a run as one file that anybody can verify without us.

use std::collections::BTreeSet;
use std::io::Write;

use clap::Args;
use relight_engine::event::{Record, Source, StepEnd};
use relight_engine::replay::{History, PastStep, StepState};
use relight_engine::{Error, RunId};
use serde::{Deserialize, Serialize};

use super::Which;
use crate::cli::Global;
use crate::exit::{Exit, Result};
use crate::setup::Home;
use crate::terminal;

/// The version of the format.
pub(super) const FORMAT: u32 = 1;

/// Print a run as one JSON document: its texts and its chain of records
///
/// `relight runs verify FILE` checks it. It holds no secret: the journal keeps references to secrets only.
#[derive(Args, Debug)]
pub(super) struct Export {
    #[command(flatten)]
    which: Which,
}

/// A run as one document.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Exported {
    /// The version of the format.
    pub(super) relight_export: u32,
    /// The run.
    pub(super) run: RunId,
    /// The texts that it ran, the runbook itself first.
    pub(super) sources: Vec<Source>,
    /// The large results that its records name by their fingerprints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) results: Vec<String>,
    /// Its records, from the first.
    pub(super) records: Vec<Record>,
}

/// Returns the fingerprints of a run's large results, each once.
pub(super) fn large(history: &History) -> BTreeSet<&str> {
    fn of(step: &PastStep) -> Option<&str> {
        match &step.state {
            StepState::Finished(StepEnd::Large { sha256, .. }) => Some(sha256),
            _ => None,
        }
    }
    history.steps.iter().filter_map(of).collect()
}

impl Export {
    pub(super) async fn run(self, global: &Global) -> Result {
        let engine = Home::find(global)?.offline_engine()?;
        let run = self.which.find(&engine).await?.id;
        let journal = engine.journal();
        let records = journal.records(&run, 0).await?;
        let mut results = Vec::new();
        for print in large(&History::read(&records)?) {
            results.push(journal.kept(print).await?);
        }
        let sources = journal.sources(&run).await?;
        let exported = Exported { relight_export: FORMAT, run, sources, results, records };
        let text = serde_json::to_string_pretty(&exported)
            .map_err(|e| Error::storage("failed to write the run as JSON").because(e))?;
        writeln!(terminal::out(), "{text}")?;
        Ok(Exit::Done)
    }
}
