//! What a run leaves open, who closes it when, and what somebody can do so that it is closed.

use std::env::consts::OS;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use relight_engine::event::{Cause, Lease};
use relight_engine::{Engine, RunId};

use super::which;
use crate::exit::Result;
use crate::format::{between, in_powershell, quoted, when};
use crate::setup::Home;
use crate::terminal;

/// Says what a run and its children left open, and who closes it when.
pub(super) async fn tell(engine: &Engine, home: &Home, run: &RunId) -> Result<()> {
    let now = engine.clock().now();
    let mut leases = Vec::new();
    for lease in engine.journal().leases().await? {
        if is_of(engine, &lease.run, run).await? {
            leases.push(lease);
        }
    }
    let mut planned = Vec::new();
    for schedule in engine.journal().schedules().await? {
        if let Some(maker) = &schedule.run
            && is_of(engine, maker, run).await?
        {
            planned.push(schedule);
        }
    }
    if leases.is_empty() && planned.is_empty() {
        return Ok(());
    }
    for planned in &planned {
        terminal::say(format!("{} runs {}", planned.runbook, when(now, planned.due)));
    }
    for lease in &leases {
        terminal::say(format!("{} stays open until {}", lease.title, when(now, lease.deadline)));
    }
    tell_who_closes(engine, home, &leases).await
}

/// Says who closes leases, and what somebody can do so that they are closed.
pub(super) async fn tell_who_closes(engine: &Engine, home: &Home, leases: &[Lease]) -> Result<()> {
    let (now, place) = (engine.clock().now(), home.same_place());
    let is_served = home.is_served()?;
    if home.remote().is_some() {
        terminal::say("The service sees to it.");
    } else if is_served {
        terminal::say(format!("A running `relight serve{place}` sees to it."));
    } else {
        terminal::say(format!(
            "Nobody sees to it: no `relight serve{place}` runs here. Have it done by one of these:"
        ));
        terminal::say(format!("  relight serve{place} --until-closed    # stays here until nothing is open"));
        if !home.is_lab() {
            terminal::say("  relight serve --install    # the system runs it from now on");
        }
    }
    for lease in leases {
        let id = which::short(engine, lease).await?;
        if !is_served && !home.is_lab() {
            terminal::say(format!("  {}    # once", timer(now, lease, &id)));
        }
        terminal::say(format!("Close it now: relight leases close {id}{place}"));
    }
    Ok(())
}

/// Returns whether a run is this one, or one that it started, or one that one of those started.
async fn is_of(engine: &Engine, run: &RunId, ancestor: &RunId) -> Result<bool> {
    let mut at = run.clone();
    while at != *ancestor {
        match engine.history(&at).await?.prepared.cause {
            Cause::Run { id, .. } => at = id,
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// Returns the command with which this system closes a lease once, at its deadline.
fn timer(now: Timestamp, lease: &Lease, id: &str) -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| "relight".into());
    let program = program.to_string_lossy();
    let local = lease.deadline.to_zoned(TimeZone::system());
    if OS == "windows" {
        return task(&program, local.datetime(), id);
    }
    let program = quoted(&program);
    match OS {
        "macos" => format!("echo '{program} leases close {id}' | at -t {}", local.strftime("%Y%m%d%H%M")),
        _ => {
            let seconds = between(now, lease.deadline).as_secs();
            format!("systemd-run --user --on-active={seconds} {program} leases close {id}")
        }
    }
}

/// Returns the command for PowerShell: how `schtasks` reads a date follows from the user's language.
fn task(program: &str, at: jiff::civil::DateTime, id: &str) -> String {
    format!(
        "Register-ScheduledTask relight-{id} -Trigger (New-ScheduledTaskTrigger -Once -At {}) \
         -Action (New-ScheduledTaskAction -Execute {} -Argument 'leases close {id}')",
        at.strftime("%Y-%m-%dT%H:%M"),
        in_powershell(program),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_of_windows_is_one_command() {
        let at = jiff::civil::date(2026, 11, 3).at(4, 5, 0, 0);
        assert_eq!(
            task(r"C:\Program Files\relight.exe", at, "3-1"),
            "Register-ScheduledTask relight-3-1 -Trigger (New-ScheduledTaskTrigger -Once -At 2026-11-03T04:05) \
             -Action (New-ScheduledTaskAction -Execute 'C:\\Program Files\\relight.exe' -Argument 'leases close 3-1')",
        );
    }
}
