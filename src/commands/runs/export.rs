//! `relight runs export`: a run as one file that anybody can verify without us.

use std::io::Write;

use clap::Args;
use relight_engine::event::{Record, Source};
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
    /// Its records, from the first.
    pub(super) records: Vec<Record>,
}

impl Export {
    pub(super) async fn run(self, global: &Global) -> Result {
        let engine = Home::find(global)?.desk()?;
        let run = engine.find(&self.which.run).await?.id;
        let exported = Exported {
            relight_export: FORMAT,
            sources: engine.journal().sources(&run).await?,
            records: engine.journal().records(&run, 0).await?,
            run,
        };
        let text = serde_json::to_string_pretty(&exported)
            .map_err(|e| Error::storage("failed to write the run as JSON").because(e))?;
        writeln!(terminal::out(), "{text}")?;
        Ok(Exit::Done)
    }
}
