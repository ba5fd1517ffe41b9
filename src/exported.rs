//! A run as a document of its own, which anybody can verify without us.

use std::collections::BTreeSet;
use std::path::Path;

use relight_engine::event::{Record, Source};
use relight_engine::{Engine, Error, Result, RunId};
use serde::{Deserialize, Serialize};

use crate::platform;

/// The version of the format.
pub(crate) const FORMAT: u32 = 1;

/// A run as one document.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Exported {
    /// The version of the format.
    pub(crate) relight_export: u32,
    /// The run.
    pub(crate) run: RunId,
    /// The texts that it ran, the runbook itself first.
    pub(crate) sources: Vec<Source>,
    /// The large results and the kept output that its records name by their fingerprints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) results: Vec<String>,
    /// Its records, from the first.
    pub(crate) records: Vec<Record>,
}

/// Returns the fingerprints of the texts that a run's records name: large results and kept output, each once.
pub(crate) fn out_of_line(records: &[Record]) -> Result<BTreeSet<String>> {
    let mut texts = BTreeSet::new();
    for record in records {
        texts.extend(record.event()?.text().map(str::to_owned));
    }
    Ok(texts)
}

impl Exported {
    /// Takes a run out of a journal.
    pub(crate) async fn read(engine: &Engine, run: RunId) -> Result<Exported> {
        let journal = engine.journal();
        let records = journal.records(&run, 0).await?;
        let mut results = Vec::new();
        for print in out_of_line(&records)? {
            results.push(journal.kept(&print).await?);
        }
        let sources = journal.sources(&run).await?;
        Ok(Exported { relight_export: FORMAT, run, sources, results, records })
    }

    /// Returns the document.
    pub(crate) fn text(&self) -> Result<String> {
        serde_json::to_string_pretty(self)
            .map_err(|e| Error::storage("failed to write the run as JSON").because(e))
    }
}

/// Writes a run and its branches into a folder, a file for each. Afterwards they are on the disk. A file that is there
/// already is written anew.
pub(crate) async fn export_into(folder: &Path, engine: &Engine, run: &RunId) -> Result<()> {
    let mut left = vec![run.clone()];
    while let Some(run) = left.pop() {
        let steps = engine.journal().run(&run).await?.map_or(0, |summary| summary.step);
        for step in 1..=steps {
            left.extend(engine.branches(&run, step).await?.into_iter().map(|branch| branch.id));
        }
        let text = Exported::read(engine, run.clone()).await?.text()?;
        let path = folder.join(format!("{run}.json"));
        platform::write_durably(&path, &text).map_err(|e| {
            Error::rejected(format!("failed to export run {run} into {}", path.display()))
                .because(e)
                .hint("nothing of it was pruned: free some space there, or name another folder")
        })?;
    }
    Ok(())
}
