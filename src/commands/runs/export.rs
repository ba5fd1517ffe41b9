//! `relight runs export`: a run as one file that anybody can verify without us.

use std::collections::BTreeSet;
use std::io::Write;

use clap::Args;
use relight_engine::event::{Event, Record, Source, StepEnd};
use relight_engine::{Error, RunId};
use serde::{Deserialize, Serialize};

use crate::args::Global;
use crate::commands::which::Which;
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
    /// The large results and the kept output that its records name by their fingerprints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) results: Vec<String>,
    /// Its records, from the first.
    pub(super) records: Vec<Record>,
}

/// Returns the fingerprints of the texts that a run's records name: large results and kept output, each once.
pub(super) fn out_of_line(records: &[Record]) -> relight_engine::Result<BTreeSet<String>> {
    let mut texts = BTreeSet::new();
    for record in records {
        match record.event()? {
            Event::StepFinished { end: StepEnd::Large { sha256, .. }, .. } => texts.insert(sha256),
            Event::OutputKept { output, .. } => texts.insert(output.sha256),
            _ => continue,
        };
    }
    Ok(texts)
}

impl Export {
    pub(super) async fn run(self, global: &Global) -> Result {
        let engine = Home::find(global)?.offline_engine()?;
        let run = self.which.find(&engine).await?.id;
        let journal = engine.journal();
        let records = journal.records(&run, 0).await?;
        let mut results = Vec::new();
        for print in out_of_line(&records)? {
            results.push(journal.kept(&print).await?);
        }
        let sources = journal.sources(&run).await?;
        let exported = Exported { relight_export: FORMAT, run, sources, results, records };
        let text = serde_json::to_string_pretty(&exported)
            .map_err(|e| Error::storage("failed to write the run as JSON").because(e))?;
        writeln!(terminal::out(), "{text}")?;
        Ok(Exit::Done)
    }
}
