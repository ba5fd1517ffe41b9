//! `relight runs resume`.

use std::path::{Path, PathBuf};

use clap::Args;
use relight_engine::event::Cause;
use relight_engine::journal::RunFilter;
use relight_engine::{Engine, Error, RunId};

use crate::args::Recorded;
use crate::commands::afar;
use crate::commands::foreground::{self, Answers};
use crate::commands::which::find;
use crate::exit::Result;

use crate::platform;
use crate::report::Audience;
use crate::setup::Home;
use serde_json::json;

/// Go on with a run where it stands
///
/// Recorded steps are not done again. An operation that is under way is waited for, not sent again. Use it after
/// an interrupt or a crash, and after mending what a run was parked for.
#[derive(Args, Debug)]
pub(super) struct Resume {
    /// Id of the run, or enough of its beginning; `@last` is the newest. May be left out when one run is open
    run: Option<String>,

    /// Go on with the text that the runbook has now, or with a .rhai file, once it is mended
    ///
    /// The new text must take the way that is recorded; it is compared first, and refused when it does not.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    with_current_text: Option<Option<PathBuf>>,

    /// Answer every yes-or-no question with yes
    #[arg(long)]
    yes: bool,

    /// Print every event as one JSON object per line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    recorded: Recorded,
}

impl Resume {
    pub(super) async fn run(self, home: Home) -> Result {
        let answers = Answers { yes: self.yes, program: self.json };
        if self.with_current_text.is_some() {
            home.refuse_remote("a text cannot be mended")?;
        }
        if self.recorded.file.is_some() {
            home.refuse_remote("nothing can be recorded")?;
        }
        let home = home.recorded(&self.recorded)?;
        if let Some(file) = &self.with_current_text {
            let text = file.as_deref().map(read).transpose()?;
            // Its operations must be known, and nothing is reached.
            let engine = home.offline_engine()?;
            let run = meant(&engine, self.run.as_deref(), &home).await?;
            engine.mend(&run, text, &platform::user()).await?;
        }
        let run = meant(&home.offline_engine()?, self.run.as_deref(), &home).await?;
        if let Some(client) = home.remote() {
            let seen = home.offline_engine()?.resumable(&run).await?.seq;
            client.post(&["v1", "runs", run.as_str(), "resume"], &json!({})).await?;
            return afar::carry(&home, client, &run, afar::From::Behind(seen), answers).await;
        }
        go_on(home, &run, answers).await
    }
}

/// Of more open runs than this nobody means the only one.
const MANY: usize = 50;

/// Returns the run that is named, else the only one that is open.
async fn meant(engine: &Engine, named: Option<&str>, home: &Home) -> relight_engine::Result<RunId> {
    if let Some(named) = named {
        // A branch has its text from its run.
        return Ok(find(engine, named).await?.id.whole());
    }
    let mut open = engine.journal().runs(&RunFilter::open()).await?;
    if open.len() <= MANY {
        // Who goes on with a parent goes on with its child.
        let all: Vec<RunId> = open.iter().map(|run| run.id.clone()).collect();
        let mut children = Vec::new();
        for run in &all {
            if let Cause::Run { id, .. } = engine.history(run).await?.prepared.cause
                && all.contains(&id)
            {
                children.push(run.clone());
            }
        }
        open.retain(|run| !children.contains(&run.id));
    }
    let mut ids = Vec::new();
    for run in &open {
        ids.push(engine.shortest(&run.id).await?);
    }
    match open.as_slice() {
        [one] => Ok(one.id.clone()),
        [] => Err(Error::invalid("no run is open")),
        _ => Err(Error::invalid(format!("{} runs are open; say which one goes on", open.len())).hint(
            format!("they are {}; see them with `relight runs --open{}`", ids.join(", "), home.same_place()),
        )),
    }
}

fn read(path: &Path) -> Result<String> {
    let read = std::fs::read_to_string(path);
    Ok(read.map_err(|e| Error::invalid(format!("failed to read {}", path.display())).because(e))?)
}

/// Carries a run on in the foreground; for a branch the whole of it.
pub(super) async fn go_on(home: Home, run: &RunId, answers: Answers) -> Result {
    // Before anything is reached: whether it can go on.
    let run = home.offline_engine()?.resumable(&run.whole()).await?.id;
    let audience = if answers.program { Audience::Program } else { Audience::Person };
    let session = home.connect(audience).await?;
    let ended = foreground::carry(&session, &run, answers).await;
    session.close().await;
    ended
}
