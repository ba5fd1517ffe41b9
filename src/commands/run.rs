//! `relight run`: starts a runbook and carries it to its end, or says what it would do.

use std::io::Write;

use clap::Args;
use relight_engine::{Changes, Plan, RunRequest};
use serde_json::json;

use super::afar;
use super::foreground::{self, Answers};
use super::plan;
use super::request::{by_name, params, request};
use crate::args::{Assignment, Global, Place, Recorded};
use crate::exit::{Exit, Result};
use crate::format::assignments;
use crate::remote::Client;
use crate::report::Audience;
use crate::setup::Home;
use crate::terminal;

/// Run a runbook
///
/// Prints what the run made (files, and the script's last value) on standard output and everything else on
/// standard error. The first Ctrl-C parks the run, to be resumed with `relight runs resume`; the second leaves
/// at once, which loses nothing either.
#[derive(Args, Debug)]
pub(crate) struct Run {
    /// Name of the runbook, or a .rhai file
    runbook: String,

    /// Parameters of the runbook; see `relight show RUNBOOK`
    #[arg(value_name = "NAME=VALUE")]
    params: Vec<Assignment>,

    /// Call the run by this too, such as `ticket=INC123`; once for each label
    #[arg(long = "label", value_name = "NAME=VALUE")]
    labels: Vec<Assignment>,

    /// Print what would be read and changed, in order, and send nothing
    #[arg(long, conflicts_with_all = ["detach", "yes", "file"])]
    plan: bool,

    /// Write the run down and leave it to `relight serve`; print its id
    #[arg(long, conflicts_with = "file")]
    detach: bool,

    /// Begin although as many runs of this runbook, on this target or in all are under way as may be
    #[arg(long)]
    at_once: bool,

    /// Answer every yes-or-no question with yes
    #[arg(long)]
    yes: bool,

    /// Print every event as one JSON object per line, or a plan as one
    #[arg(long)]
    json: bool,

    /// Refuse a runbook that no git commit holds
    #[arg(long)]
    require_clean: bool,

    #[command(flatten)]
    recorded: Recorded,

    #[command(flatten)]
    at: Place,
}

impl Run {
    pub(crate) async fn run(self, global: &Global) -> Result {
        let home = Home::at(global, &self.at).await?;
        if let Some(client) = home.remote() {
            return self.afar(&home, client).await;
        }
        let mut request = request(&self.runbook, &self.params)?;
        request.require_clean = self.require_clean;
        request.labels = by_name(&self.labels);
        request.at_once = self.at_once;
        if self.plan {
            return print_plan(&home.planner()?.plan(&request)?, self.json);
        }
        if self.detach {
            return detach(&home, &request).await;
        }
        // What is wrong with the request is known before anything is opened or reached.
        let draft = home.planner()?.draft(&request)?;
        let audience = if self.json { Audience::Program } else { Audience::Person };
        let session = home.recorded(&self.recorded)?.connect(audience).await?;
        let run = session.engine.write_down(draft).await?;
        let answers = Answers { yes: self.yes, program: self.json };
        let ended = foreground::carry(&session, &run, answers).await;
        foreground::leave_queue(&session.engine, &run).await?;
        session.close().await;
        ended
    }
}

impl Run {
    /// Has a service run it, and follows.
    async fn afar(&self, home: &Home, client: &Client) -> Result {
        for (is_given, what) in [
            (self.plan, "a plan cannot be made"),
            (self.require_clean, "--require-clean cannot be asked for"),
            (self.recorded.file.is_some(), "nothing can be recorded"),
            (self.runbook.ends_with(".rhai"), "a file cannot be run"),
        ] {
            if is_given {
                home.refuse_remote(what)?;
            }
        }
        let request = json!({
            "runbook": self.runbook,
            "params": params(&self.params)?,
            "labels": by_name(&self.labels),
            "at_once": self.at_once,
        });
        let run = client.start(request).await?;
        if self.detach {
            writeln!(terminal::out(), "{run}")?;
            let place = home.same_place();
            terminal::say(format!("The service drives it; look with `relight runs show {run}{place}`"));
            return Ok(Exit::Done);
        }
        afar::carry(home, client, &run, afar::From::Beginning, Answers { yes: self.yes, program: self.json })
            .await
    }
}

/// Leaves a run to whoever serves.
async fn detach(home: &Home, request: &RunRequest) -> Result {
    let engine = home.offline_engine_for_new_runs()?;
    let run = engine.prepare(request).await?;
    writeln!(terminal::out(), "{run}")?;
    let place = home.same_place();
    terminal::say(format!("`relight serve{place}` drives it; look with `relight runs show {run}{place}`"));
    foreground::tell_queue(&engine, home, &run, &engine.shortest(&run).await?).await?;
    Ok(Exit::Done)
}

fn print_plan(plan: &Plan, json: bool) -> Result {
    let mut out = terminal::out();
    if json {
        let plan = json!({
            "runbook": plan.runbook.name,
            "params": plan.params,
            "calls": plan.calls,
            "changes": Changes::of(&plan.calls),
        });
        writeln!(out, "{plan}")?;
        return Ok(Exit::Done);
    }
    writeln!(out, "{}: {}", plan.runbook.name, plan.runbook.title)?;
    let params = assignments(&plan.params);
    if !params.is_empty() {
        writeln!(out, "with {params}")?;
    }
    writeln!(out)?;
    for line in plan::lines(&plan.runbook.name, &plan.calls, true) {
        writeln!(out, "{line}")?;
    }
    let changes = plan::changes(&plan.calls);
    writeln!(out, "\n{changes}; `unknown` is what only the run can tell. Nothing was sent.")?;
    Ok(Exit::Done)
}
