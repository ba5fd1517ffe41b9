//! `relight doctor MACHINE`: the roads into a machine.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use relight_engine::Hint;
use relight_stdlib::Ref;
use relight_stdlib::doctor::{By, Check, Diagnosis, Next, Patient, Road, Verdict};
use serde_json::{Value, json};

use super::told::Layout;
use crate::exit::{Exit, Result};
use crate::format::quoted;
use crate::setup::Home;
use crate::{next_step, terminal};

/// How long all of it may take.
const WITHIN: Duration = Duration::from_secs(15);
const ROADS: Layout = Layout { word: 8, what: 13, next: 9 };
const CHECKS: Layout = Layout { word: 10, what: 22, next: 11 };

/// A machine, and how its roads are told.
#[derive(Args, Debug)]
pub(super) struct Machine {
    /// VM of Azure Local, Arc machine or VM in Azure: its name or its resource id
    #[arg(value_name = "MACHINE")]
    pub(super) name: Option<String>,

    /// Resource group of the machine, or of what --wire looks at
    #[arg(long, requires = "subject")]
    pub(super) group: Option<String>,

    /// Port of its SSH server; the one that is let in when left out
    #[arg(long, requires = "name")]
    port: Option<u16>,

    /// Tell every check, also what is as it should be
    #[arg(long, requires = "name")]
    all: bool,

    /// Print it as JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Machine {
    pub(super) async fn look(&self, home: &Home, named: &str) -> Result {
        let azure = home.reach().await?;
        let patient = Patient { machine: &Ref::parse(named)?, group: self.group.as_deref(), port: self.port };
        let diagnosis = azure.diagnose(&patient, WITHIN).await;
        home.tell_recorded();
        let diagnosis = diagnosis?;
        let place = home.same_place();
        match self.json {
            true => writeln!(terminal::out(), "{:#}", as_json(&diagnosis, &place))?,
            false => self.tell(&diagnosis, named, &place)?,
        }
        Ok(if diagnosis.is_open() { Exit::Done } else { Exit::Failed })
    }

    fn tell(&self, diagnosis: &Diagnosis, named: &str, place: &str) -> Result<()> {
        writeln!(terminal::out(), "{}\n", diagnosis.about)?;
        let mut told: Vec<(&Verdict, &str)> = Vec::new();
        for road in &diagnosis.roads {
            let same = told
                .iter()
                .find(|(verdict, _)| **verdict == road.verdict && !matches!(verdict, Verdict::Ok { .. }));
            match same {
                Some((_, title)) => {
                    ROADS.tell(word(&road.verdict), road.title, &format!("as {title}"), &[])?
                }
                None => {
                    let (why, next) = said(&road.verdict, place);
                    let next = next.or_else(|| self.takes(road, named, place));
                    ROADS.tell(word(&road.verdict), road.title, &why, next.as_slice())?;
                    told.push((&road.verdict, road.title));
                }
            }
        }
        if self.all {
            self.tell_checks(diagnosis, place)?;
        }
        Ok(())
    }

    /// Tells every check once, whichever roads it is part of.
    fn tell_checks(&self, diagnosis: &Diagnosis, place: &str) -> Result<()> {
        writeln!(terminal::out())?;
        let mut told: Vec<&str> = Vec::new();
        let all: Vec<&Check> = diagnosis.roads.iter().flat_map(|road| &road.checks).collect();
        for check in all {
            if told.contains(&check.name) {
                continue;
            }
            told.push(check.name);
            let (why, next) = said(&check.verdict, place);
            let word = match &check.verdict {
                Verdict::Ok { .. } => "ok",
                verdict => word(verdict),
            };
            CHECKS.tell(word, check.name, &why, next.as_slice())?;
        }
        Ok(())
    }

    /// Returns the command that takes a road, unless the road is blocked.
    fn takes(&self, road: &Road, named: &str, place: &str) -> Option<String> {
        if matches!(road.verdict, Verdict::Blocked { .. } | Verdict::Behind { .. }) {
            return None;
        }
        let group =
            self.group.as_ref().map(|group| format!(" --group {}", quoted(group))).unwrap_or_default();
        let of_run = self.group.as_ref().map(|group| format!(" group={}", quoted(group))).unwrap_or_default();
        let port =
            self.port.filter(|port| *port != 22).map(|port| format!(" --port {port}")).unwrap_or_default();
        let named = quoted(named);
        Some(match road.name {
            "ssh" => format!("relight connect USER@{named}{group}{port}{place}"),
            "rdp" => format!("relight connect USER@{named} --rdp{group}{port}{place}"),
            "run_command" => {
                format!("relight run run-on-machine machine={named}{of_run} script=hostname{place}")
            }
            "vm_connect" => format!("relight run recover-unbootable-vm vm={named}{of_run}{place}"),
            _ => return None,
        })
    }
}

fn word(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Ok { .. } => "works",
        Verdict::Blocked { .. } => "blocked",
        Verdict::Unknown { .. } => "unknown",
        Verdict::Behind { .. } => "not asked",
    }
}

/// Returns what was found, and what to do about it.
fn said(verdict: &Verdict, place: &str) -> (String, Option<String>) {
    match verdict {
        Verdict::Ok { why } => (why.clone(), None),
        Verdict::Blocked { why, next } | Verdict::Unknown { why, next } => {
            (why.clone(), next.as_ref().map(|next| step(next, place)))
        }
        Verdict::Behind { cause } => (format!("because of: {cause}"), None),
    }
}

fn step(next: &Next, place: &str) -> String {
    let step = next_step::command(&next.step, place).unwrap_or_else(|| next_step::told(&next.step));
    match next.by {
        By::You => step,
        By::Administrator => format!("{step}    # by somebody who may give roles away"),
        By::OnMachine => format!("on the machine: {}", step.trim_start_matches("on the machine: ")),
    }
}

/// Returns the diagnosis with the commands that take its steps here.
fn as_json(diagnosis: &Diagnosis, place: &str) -> Value {
    let mut value = json!(diagnosis);
    add_commands(&mut value, place);
    value["format"] = json!(1);
    value
}

fn add_commands(value: &mut Value, place: &str) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| add_commands(item, place)),
        Value::Object(map) => {
            if let Some(step) = map.get("step").cloned()
                && map.contains_key("by")
                && let Ok(hint) = serde_json::from_value::<Hint>(step)
            {
                if let Some(command) = next_step::command(&hint, place) {
                    map.insert("command".to_owned(), json!(command));
                }
                map.insert("step".to_owned(), json!(next_step::told(&hint)));
                return;
            }
            map.values_mut().for_each(|item| add_commands(item, place));
        }
        _ => {}
    }
}

/// The steps that a diagnosis may name are commands here.
#[cfg(test)]
mod tests {
    use relight_engine::NextStep;

    use super::*;

    #[test]
    fn a_step_is_a_command_where_there_is_one() {
        let params =
            vec![("machine".to_owned(), "db-01".to_owned()), ("script".to_owned(), "a b".to_owned())];
        let run = NextStep::RunWith { runbook: "run-on-machine".to_owned(), params };
        let next = |step: Hint, by| Next { step, by };
        let told = |next| step(&next, " --lab");
        assert_eq!(
            told(next(run.into(), By::You)),
            format!("relight run run-on-machine machine=db-01 script={} --lab", quoted("a b"))
        );
        assert_eq!(told(next(NextStep::SignIn.into(), By::You)), "relight login");
        assert_eq!(told(next("azcmagent show".into(), By::OnMachine)), "on the machine: azcmagent show");
    }
}
