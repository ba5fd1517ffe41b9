//! `relight check`: what is wrong with runbooks, as far as it can be seen without running them.

use std::io::Write;
use std::path::Path;

use clap::Args;
use relight_engine::{Engine, Error, Failure, Library};
use serde_json::json;

use crate::args::Global;
use crate::exit::{Exit, Result};
use crate::setup::Home;
use crate::terminal;

/// Check runbooks without running them
///
/// Finds wrong front matter, syntax errors, operations that do not exist or take other arguments, effects that
/// the front matter does not name, and runbooks that are started and may do more. Sends nothing.
#[derive(Args, Debug)]
pub(crate) struct Check {
    /// Names of runbooks, or files; all of the library when left out
    #[arg(value_name = "RUNBOOK|FILE")]
    runbooks: Vec<String>,

    /// Print one JSON object per line and runbook
    #[arg(long)]
    json: bool,
}

impl Check {
    pub(crate) fn run(self, global: &Global) -> Result {
        let home = Home::find(global)?;
        let engine = home.engine()?;
        let names = match self.runbooks.is_empty() {
            // A module is checked with whatever imports it.
            true => engine
                .library()
                .names()?
                .into_iter()
                .filter(|name| !engine.library().is_module(name))
                .collect(),
            false => self.runbooks,
        };
        let mut wrong = 0;
        for name in &names {
            let findings = match file(&home, name) {
                Some((folder, stem)) => engine.check_text(Library::new().folder(folder).source(&stem)?),
                None => Engine::check(&engine, name)?,
            };
            wrong += usize::from(!findings.is_empty());
            if self.json {
                let findings: Vec<Failure> = findings.iter().map(Error::to_failure).collect();
                writeln!(terminal::out(), "{}", json!({ "runbook": name, "findings": findings }))?;
                continue;
            }
            for finding in &findings {
                terminal::complain(finding);
                terminal::say("");
            }
        }
        if self.json {
            return Ok(if wrong > 0 { Exit::Invalid } else { Exit::Done });
        }
        let all = names.len();
        let runbooks = if all == 1 { "runbook" } else { "runbooks" };
        if wrong > 0 {
            terminal::say(format!("{wrong} of {all} {runbooks} cannot run."));
            return Ok(Exit::Invalid);
        }
        writeln!(terminal::out(), "{all} {runbooks} checked, nothing found.")?;
        Ok(Exit::Done)
    }
}

/// Returns the folder and the name of a file that is meant rather than a runbook of the library.
fn file<'a>(home: &Home, name: &'a str) -> Option<(&'a Path, String)> {
    let path = Path::new(name);
    let is_file = path.extension().is_some_and(|ending| ending == "rhai") && path.is_file();
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // An absolute path is no name below the library.
    let is_own =
        path.is_relative() && home.library_folder().is_some_and(|library| library.join(name).is_file());
    (is_file && !is_own)
        .then(|| (folder, path.file_stem().unwrap_or_default().to_string_lossy().into_owned()))
}
