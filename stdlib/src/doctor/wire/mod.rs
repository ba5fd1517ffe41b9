//! What was inferred about Azure's wire, held against what Azure answers here. Nothing is changed.
//!
//! ```text
//! subjects (three lists) ──► answers (everything about them, at once) ──► facts (each looks at the answers that show it)
//! ```
//!
//! Every fact stands once, in `facts`, under the name that it has in the project's page about the wire. One that no read can
//! show says so, and what would show it.

mod answers;
mod facts;
mod look;

use std::time::Duration;

use relight_engine::{Error, Result};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::Instant;

use super::fact::{Asking, Fact};
use crate::azure::Origin;
use crate::azure::recording::Scrubber;
use crate::{Azure, Ref};
use answers::Answers;
pub use facts::WireFact;
use facts::{FACTS, Shown};

/// What is said about one fact.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct CheckedFact {
    /// Its name.
    pub id: &'static str,
    /// What was inferred.
    pub says: &'static str,
    /// How it stands here.
    #[serde(flatten)]
    pub standing: Standing,
}

/// How an inferred fact stands. What was seen is without names and ids.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "standing", rename_all = "snake_case")]
pub enum Standing {
    /// Azure answers so.
    Confirmed {
        /// What it answered.
        seen: String,
    },
    /// Azure answers otherwise.
    Different {
        /// What it answered.
        seen: String,
    },
    /// Nothing that was read shows it.
    NotReachable {
        /// Why not.
        why: String,
        /// What would show it, where that is worth its while.
        #[serde(skip_serializing_if = "Option::is_none")]
        shown_by: Option<String>,
    },
}

impl Azure {
    /// Returns every inferred fact.
    pub fn wire_facts() -> &'static [WireFact] {
        &FACTS
    }

    /// Reads what the inferred facts rest on: of a machine, or of a few machines and instances of a group or of the subscription.
    /// All of it takes `within` at most.
    ///
    /// # Errors
    /// What keeps anybody from asking: no sign-in, no subscription, no such machine.
    pub async fn check_wire(
        &self,
        machine: Option<&Ref>,
        group: Option<&str>,
        within: Duration,
    ) -> Result<Vec<CheckedFact>> {
        let origin = Origin::outside_runs();
        let asking = Asking { azure: self, origin: &origin, deadline: Instant::now() + within };
        match asking.ask(|| self.arm.sign_in()).await {
            Fact::Known(()) => {}
            Fact::Refused(error) => return Err(error),
            Fact::Late | Fact::NotAsked => {
                return Err(Error::rejected(format!("no token came within {} s", within.as_secs()))
                    .hint("check the network, the proxy (HTTPS_PROXY) and the sign-in address"));
            }
        }
        let answers = Answers::gather(asking, machine, group).await?;
        let mut scrubber = Scrubber::default();
        Ok(FACTS.iter().map(|fact| fact.checked(&answers, &mut scrubber)).collect())
    }
}

impl WireFact {
    /// Judges the fact by what was answered: one answer that differs outweighs all that do not.
    fn checked(&self, answers: &Answers, scrubber: &mut Scrubber) -> CheckedFact {
        let standing = match &self.shown {
            Shown::Never { why, shown_by } => {
                Standing::NotReachable { why: (*why).to_owned(), shown_by: shown_by.map(str::to_owned) }
            }
            Shown::By { asked, look, without, shown_by } => {
                let looks: Vec<_> = answers.of(asked).filter_map(|value| look(answers, value)).collect();
                let said = |seen: Vec<&String>, scrubber: &mut Scrubber| scrubber.sentence(&some_of(seen));
                let others: Vec<&String> = looks.iter().filter_map(|it| it.as_ref().err()).collect();
                let same: Vec<&String> = looks.iter().filter_map(|it| it.as_ref().ok()).collect();
                match (others.is_empty(), same.is_empty()) {
                    (false, _) => Standing::Different { seen: said(others, scrubber) },
                    (true, false) => Standing::Confirmed { seen: said(same, scrubber) },
                    (true, true) => Standing::NotReachable {
                        why: match answers.unread(asked) {
                            Some(why) => scrubber.sentence(&why),
                            None => (*without).to_owned(),
                        },
                        shown_by: Some((*shown_by).to_owned()),
                    },
                }
            }
        };
        CheckedFact { id: self.id, says: self.says, standing }
    }
}

/// Returns what was seen, each thing once and the first three of them.
fn some_of(seen: Vec<&String>) -> String {
    let mut some: Vec<&str> = Vec::new();
    for one in &seen {
        if !some.contains(&one.as_str()) {
            some.push(one);
        }
    }
    let more = some.len().saturating_sub(3);
    some.truncate(3);
    match more {
        0 => some.join("; "),
        more => format!("{}; and {more} more", some.join("; ")),
    }
}
