//! `relight doctor`: what is missing before something can run, or before a machine can be reached, and what to do about it.

mod machine;
mod receivers;
mod told;
mod traces;
mod wire;

use std::io::{self, Write};
use std::time::Duration;

use clap::{ArgGroup, Args};
use relight_engine::{Error, Result as EngineResult};
use serde_json::json;

use crate::args::{Global, Recorded};
use crate::azure::{self, SUBSCRIPTION};
use crate::exit::{Exit, Result};
use crate::format::{brief, moment, when};
use crate::report::Audience;
use crate::serving::is_served;
use crate::setup::{self, Home};
use crate::{next_step, platform, terminal};
use machine::Machine;
use told::Layout;

/// How long signing in and reaching the cloud may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// How wide the words and the names of what is here are.
const HERE: Layout = Layout { word: 5, what: 10, next: 17 };

const EXIT: &str = "\
Ends with 0 when nothing is in the way, and with 1 when something is: with MACHINE, when a road into it is blocked; with --wire, \
when Azure answers otherwise than was inferred. What could not be looked at is said, and does not count";

/// Check that everything is in place, and say what to do where it is not
///
/// Looks at the state folder, the journal, what is open, the library, the identity and the cloud. With MACHINE it walks every road
/// into a VM of Azure Local, an Arc machine or a VM in Azure: which work now, what blocks the others, and the command that mends it. With
/// --wire it reads what this program only infers about Azure, and says what is otherwise here. Changes nothing in Azure.
#[derive(Args, Debug)]
#[command(after_long_help = EXIT, group = ArgGroup::new("subject").args(["name", "wire"]).multiple(true))]
pub(crate) struct Doctor {
    #[command(flatten)]
    machine: Machine,

    /// Read what is inferred about Azure: of MACHINE, or of a few machines of the group or the subscription
    #[arg(long, conflicts_with_all = ["port", "all"])]
    wire: bool,

    #[command(flatten)]
    recorded: Recorded,
}

/// What looking at one thing found.
enum Found {
    Ok(String),
    Warn(String, String),
    Fail(Error),
}

impl Doctor {
    pub(crate) async fn run(self, global: &Global) -> Result {
        if self.wire {
            let Machine { name, group, json, .. } = &self.machine;
            let home = Home::find(global)?.recorded(&self.recorded)?;
            return wire::look(home, name.as_deref(), group.as_deref(), *json).await;
        }
        if let Some(named) = &self.machine.name {
            return self.machine.look(&Home::find(global)?.recorded(&self.recorded)?, named).await;
        }
        let mut sick = false;
        let mut tell = |what: &str, found: Found| -> Result<()> {
            let (word, said, next) = match found {
                Found::Ok(said) => ("ok", said, Vec::new()),
                Found::Warn(said, next) => ("warn", said, vec![next]),
                Found::Fail(error) => {
                    sick = true;
                    ("fail", line(&error), error.hints().iter().map(next_step::told).collect())
                }
            };
            match self.machine.json {
                true => writeln!(
                    terminal::out(),
                    "{}",
                    json!({ "check": what, "verdict": word, "said": said, "next": next })
                )?,
                false => HERE.tell(word, what, &said, &next)?,
            }
            Ok(())
        };
        let home = match Home::find(global) {
            Ok(home) => home,
            Err(error) => {
                tell("config", Found::Fail(error))?;
                return Ok(Exit::Failed);
            }
        };
        let home = home.recorded(&self.recorded)?;
        tell("state", state(&home))?;
        tell("journal", journal(&home))?;
        tell("leases", leases(&home).await)?;
        for found in receivers::look(&home).await {
            tell("receiver", found)?;
        }
        if let Some(found) = traces::look(&home).await {
            tell("traces", found)?;
        }
        tell("library", library(&home))?;
        tell("clock", clock())?;
        if home.is_lab() {
            tell("lab", lab(home).await)?;
        } else {
            tell("cloud", cloud(&home).await)?;
            let signed_in = sign_in(&home).await;
            let can_ask = matches!(signed_in, Found::Ok(_));
            tell("sign-in", signed_in)?;
            if can_ask {
                tell("azure", ask_azure(&home).await)?;
            }
            home.tell_recorded();
        }
        Ok(if sick { Exit::Failed } else { Exit::Done })
    }
}

/// Returns an error with its innermost cause, on one line.
fn line(error: &Error) -> String {
    let failure = error.to_failure();
    let cause = failure.causes.last().map(|cause| format!(": {cause}")).unwrap_or_default();
    brief(&format!("{}{cause}", failure.message), 300)
}

fn found(result: EngineResult<Found>) -> Found {
    result.unwrap_or_else(Found::Fail)
}

fn state(home: &Home) -> Found {
    found(home.state().and_then(|state| {
        let failed = |e: io::Error| {
            Error::storage(format!("{} cannot be used", state.display()))
                .because(e)
                .hint("set RELIGHT_STATE to a folder that you can write to")
        };
        platform::make_private_folder(&state).map_err(failed)?;
        let probe = state.join(format!("doctor.{}", std::process::id()));
        platform::write_private(&probe, b"").and_then(|()| std::fs::remove_file(&probe)).map_err(failed)?;
        let shown = state.display().to_string();
        Ok(match platform::is_open_to_others(&state).unwrap_or(false) {
            true => Found::Warn(
                format!("{shown} can be entered by others"),
                format!("chmod 700 {}", crate::format::quoted(&shown)),
            ),
            false => Found::Ok(shown),
        })
    }))
}

fn journal(home: &Home) -> Found {
    found(home.state().and_then(|state| {
        setup::open(&state)?;
        Ok(Found::Ok(setup::database(&state).display().to_string()))
    }))
}

/// Looks for what is open too long, and for somebody who closes it.
async fn leases(home: &Home) -> Found {
    let looked = async {
        let engine = home.offline_engine()?;
        let (open, now) = (engine.leases().await?, engine.clock().now());
        let Some(first) = open.first() else { return Ok(Found::Ok("nothing is open".to_owned())) };
        let place = home.same_place();
        if let Some(late) = open.iter().find(|open| open.is_late) {
            let due = when(now, late.lease.deadline);
            let said = format!("LATE: {} was due {due} and is still open", late.lease.title);
            let close = format!("close it now: relight leases close {}{place}", late.lease.id);
            return Ok(Found::Fail(
                Error::rejected(said).hint(close).hint(format!("see why: relight leases{place}")),
            ));
        }
        let said = format!("{} open, the first until {}", open.len(), when(now, first.lease.deadline));
        Ok(match is_served(&home.state()?) {
            true => Found::Ok(format!("{said}; `relight serve` closes it")),
            false => Found::Warn(
                format!("{said}, and nobody closes it: no `relight serve` runs"),
                format!("relight serve{place}"),
            ),
        })
    };
    found(looked.await)
}

fn library(home: &Home) -> Found {
    let library = home.library();
    found(library.names().map(|names| {
        let all = names.iter().filter(|name| !library.is_module(name)).count();
        match home.library_folder() {
            Some(folder) => Found::Ok(format!("{all} runbooks, your own in {}", folder.display())),
            None => {
                Found::Ok(format!("{all} runbooks, all of them shipped; `relight new NAME` makes your own"))
            }
        }
    }))
}

fn clock() -> Found {
    let now = jiff::Timestamp::now();
    // A clock before this program was written makes every token look unborn.
    let written = jiff::civil::date(2026, 1, 1).to_zoned(jiff::tz::TimeZone::UTC);
    match written.is_ok_and(|written| now < written.timestamp()) {
        true => Found::Fail(
            Error::invalid(format!("the clock says {}", moment(now)))
                .hint("set the clock, or let it be set from the network"),
        ),
        false => Found::Ok(moment(now)),
    }
}

async fn cloud(home: &Home) -> Found {
    found(
        azure::cloud(home.config()).await.map(|cloud| Found::Ok(format!("{} at {}", cloud.name, cloud.arm))),
    )
}

async fn sign_in(home: &Home) -> Found {
    let reached = async { azure::reach(home.config(), &home.accounts()?, home.record()).await };
    let arm = match reached.await {
        Ok(azure) => azure.arm,
        Err(error) => return Found::Fail(error),
    };
    let who = arm.credential().describe();
    match tokio::time::timeout(PATIENCE, arm.sign_in()).await {
        Ok(Ok(())) => Found::Ok(who),
        Ok(Err(error)) => Found::Fail(error),
        Err(_) => Found::Fail(
            Error::rejected(format!("{who}: no token came within {} s", PATIENCE.as_secs()))
                .hint("check the network, the proxy (HTTPS_PROXY) and the sign-in address"),
        ),
    }
}

/// Asks Azure something that everybody may ask.
async fn ask_azure(home: &Home) -> Found {
    let asked = async {
        let chosen = azure::reach(home.config(), &home.accounts()?, home.record()).await?;
        let all = azure::subscriptions(&chosen).await?;
        Ok(match (chosen.subscription, all.as_slice()) {
            (Some(chosen), all) if all.contains(&chosen) => Found::Ok(format!("subscription {chosen}")),
            (Some(chosen), _) => Found::Warn(
                format!("subscription {chosen} cannot be seen"),
                format!("set {SUBSCRIPTION} to another one, or ask for a role in it"),
            ),
            (None, [only]) => Found::Ok(format!("subscription {only}, the only one")),
            (None, []) => Found::Warn("no subscription can be seen".into(), "ask for a role in one".into()),
            (None, many) => Found::Warn(
                format!("{} subscriptions, none of them chosen", many.len()),
                format!("set {SUBSCRIPTION}, or name resources by their whole id"),
            ),
        })
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(result) => found(result),
        Err(_) => Found::Fail(
            Error::rejected(format!("no answer within {} s", PATIENCE.as_secs()))
                .hint("check the network, the proxy (HTTPS_PROXY) and the address of the cloud"),
        ),
    }
}

async fn lab(home: Home) -> Found {
    if home.is_lab_in_use() {
        home.tell_recorded();
        return Found::Ok("another process runs it".to_owned());
    }
    match home.connect(Audience::Log).await {
        Ok(session) => {
            session.close().await;
            Found::Ok("it starts and can be used".to_owned())
        }
        Err(error) => Found::Fail(error),
    }
}
