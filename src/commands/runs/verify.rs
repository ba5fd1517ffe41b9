//! `relight runs verify`: whether an exported run is what was recorded.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use relight_engine::Error;
use relight_engine::event::{GENESIS, fingerprint, verify};
use relight_engine::replay::History;
use serde_json::json;

use crate::exit::{Exit, Result};
use crate::exported::{Exported, FORMAT, out_of_line};
use crate::report;
use crate::terminal;

/// Check an exported run: no record is changed, missing or out of order, and the texts are those that ran
///
/// Compare the printed seal with the one that whoever handed the file over gave you by another way: it names
/// this history and no other.
#[derive(Args, Debug)]
pub(super) struct Verify {
    /// The file that `relight runs export` printed
    file: PathBuf,

    /// Print what it is as one JSON object
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) fn run(self) -> Result {
        let shown = self.file.display();
        let text = std::fs::read(&self.file)
            .map_err(|e| Error::invalid(format!("failed to read {shown}")).because(e))?;
        let exported: Exported = serde_json::from_slice(&text)
            .map_err(|e| Error::invalid(format!("{shown} is no exported run")).because(e))?;
        if exported.relight_export != FORMAT {
            return Err(Error::invalid(format!(
                "{shown} has format {}, this program reads {FORMAT}",
                exported.relight_export
            ))
            .hint("use the version of relight that wrote it, or a newer one")
            .into());
        }
        verify(GENESIS, 1, &exported.records).map_err(|e| changed(e.message()))?;
        let history = History::read(&exported.records)?;
        let pins = &history.prepared.sources;
        let fits = pins.len() == exported.sources.len()
            && pins
                .iter()
                .zip(&exported.sources)
                .all(|(pin, source)| pin.name == source.name && pin.fingerprint == fingerprint(&source.text));
        if !fits {
            return Err(changed("a runbook's text is not the one that the run pinned").into());
        }
        let results: Vec<String> = exported.results.iter().map(|text| fingerprint(text)).collect();
        if let Some(lost) = out_of_line(&exported.records)?.into_iter().find(|print| !results.contains(print))
        {
            return Err(changed(&format!(
                "the text {lost}, a large result or an output, is not the one that was recorded"
            ))
            .into());
        }
        let state = history.end.as_ref().map_or_else(|| "not over".to_owned(), report::outcome);
        let seal = exported.records.last().map(|record| record.hash.as_str()).unwrap_or_default();
        let mut out = terminal::out();
        if self.json {
            let runbook = &history.prepared.runbook;
            let Exported { run, records, .. } = &exported;
            let intact = json!({ "run": run, "runbook": runbook, "records": records.len(), "end": history.end, "seal": seal });
            writeln!(out, "{intact}")?;
            return Ok(Exit::Done);
        }
        writeln!(
            out,
            "intact: run {} of {}, {} records, {state}",
            exported.run,
            history.prepared.runbook,
            exported.records.len()
        )?;
        writeln!(out, "seal:   {seal}")?;
        Ok(Exit::Done)
    }
}

/// Returns the error of a file that is not what was exported. The journal has no part in it.
fn changed(how: &str) -> Error {
    Error::storage(how).hint("the file was changed; nothing in it can be trusted")
}
