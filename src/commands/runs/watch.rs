//! `relight runs watch`.

use std::time::Duration;

use clap::Args;
use relight_engine::journal::Status;
use relight_engine::replay::History;
use relight_engine::{Engine, Event, Notice, RunId};

use crate::commands::advice::next;
use crate::commands::afar;
use crate::commands::which::Which;
use crate::exit::{Exit, Result};
use crate::report::{self, Audience, Reporter};
use crate::setup::Home;
use crate::terminal;

/// How often the journal is looked at.
const LOOK: Duration = Duration::from_millis(300);

/// Follow a run that another process drives, until it is over or needs a person
#[derive(Args, Debug)]
pub(super) struct Watch {
    #[command(flatten)]
    which: Which,

    /// Print every event as one JSON object per line
    #[arg(long)]
    json: bool,
}

impl Watch {
    pub(super) async fn run(self, home: &Home) -> Result {
        let engine = home.offline_engine()?;
        let run = self.which.find(&engine).await?.id;
        let audience = if self.json { Audience::Program } else { Audience::Person };
        let reporter = Reporter::new(audience, engine.clock().clone());
        reporter.learn(&engine);
        let id = engine.shortest(&run).await?;
        match home.remote() {
            Some(client) => afar::watch(&engine, client, &run, &reporter).await?,
            None => follow(&engine, &run, &id, &reporter).await?,
        }
        reporter.clear();
        let summary = engine.find(run.as_str()).await?;
        let end = engine.history(&run).await?.end;
        let parked = || format!("is parked: {}", summary.park.as_ref().map(report::why).unwrap_or_default());
        terminal::say(format!("run {id} {}", end.as_ref().map_or_else(parked, report::outcome)));
        if let Some(command) = next(&engine, &summary, &id, home).await? {
            terminal::say(format!("Go on with: {command}"));
        }
        Ok(match (end, summary.status) {
            (Some(end), _) => Exit::from(&end),
            (None, Status::Succeeded) => Exit::Done,
            (None, _) => Exit::Parked,
        })
    }
}

/// Tells what happens in a run of this machine, until it is over or needs a person.
async fn follow(engine: &Engine, run: &RunId, id: &str, reporter: &Reporter) -> relight_engine::Result<()> {
    let first = engine.journal().records(run, 0).await?;
    reporter.begin(engine, run, id, &History::read(&first[..1.min(first.len())])?).await;
    let mut seen = 0;
    loop {
        let records = engine.journal().records(run, seen).await?;
        for record in records {
            seen = record.seq;
            let event = record.event()?;
            if let Event::OutputKept { step, output } = &event {
                // Nobody hears here what is said, but reads it a moment later.
                let text = engine.journal().kept(&output.sha256).await?;
                let event = Event::Output { step: *step, stream: output.stream, text };
                reporter.notice(&Notice::new(run.clone(), None, record.at, event));
            }
            reporter.notice(&Notice::new(run.clone(), Some(record.seq), record.at, event));
        }
        let summary = engine.find(run.as_str()).await?;
        let needs_a_person = summary.park.as_ref().is_some_and(|park| !park.is_waiting());
        if summary.seq == seen && (summary.status.is_over() || needs_a_person) {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}
