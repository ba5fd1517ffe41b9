//! What a run begins with: its texts, its parameters, and who wanted it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Call, Lease, RunId};
use crate::effect::Effects;

/// One source text that a run uses: the runbook itself, something it imports, or a child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The name inside the library, with `/` between folders and without the ending.
    pub name: String,
    /// The whole text.
    pub text: String,
}

/// A source text as the journal's chain names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Pin {
    /// The name inside the library.
    pub name: String,
    /// SHA-256 of the text, in hexadecimal. The text itself is stored once, under this key.
    pub fingerprint: String,
}

/// Where the runbook library stood when the run was prepared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Provenance {
    /// The git commit of the library, when it is a checkout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// Whether the checkout had changes that the commit does not hold.
    #[serde(default)]
    pub dirty: bool,
}

/// Why a run exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// Somebody asked for it.
    Person,
    /// A schedule fired.
    Schedule {
        /// The schedule.
        id: String,
        /// The time for which it was due.
        due: Timestamp,
    },
    /// A lease reached its deadline, or somebody closed it early.
    Lease {
        /// The lease.
        id: String,
    },
    /// Another run started it as its child.
    Run {
        /// The parent.
        id: RunId,
        /// The parent's step.
        step: u32,
        /// Which branch of that step it is, from 0, if it is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        branch: Option<u32>,
    },
    /// Somebody ran an earlier run's runbook again, with the same parameters.
    Rerun {
        /// The run that it follows.
        of: RunId,
    },
}

/// A function of a script as it is written down: which one it is, with copies of what it captures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Function {
    /// The text in which it stands; nothing for the runbook itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Which of that text's functions without a name it is, from 1 in the order of the text.
    pub number: u32,
    /// The values of the variables that it names, in the order in which it takes them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub captured: Vec<Value>,
}

/// Where a run begins that does not begin at the top of its runbook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Entry {
    /// A branch: at a function of its run's text.
    Branch(Branch),
    /// The closing of a lease: with its only call. Such a run has no text.
    Call(Call),
}

/// What a branch evaluates instead of the whole runbook.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Branch {
    /// The function that is called.
    pub function: Function,
    /// What it is called with.
    pub item: Value,
}

/// Everything that is fixed about a run before it starts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Prepared {
    /// The version of the event format.
    pub format: u32,
    /// The version of the program that prepared the run.
    pub engine: String,
    /// The name of the runbook.
    pub runbook: String,
    /// Every source text, the runbook itself first, if it has one: what it imports, and the runbooks that it runs by a name
    /// in its text, with theirs.
    pub sources: Vec<Pin>,
    /// Where the library stood.
    #[serde(default)]
    pub provenance: Provenance,
    /// The parameters, typed and complete. Secrets are references.
    pub params: Value,
    /// Why the run exists.
    pub cause: Cause,
    /// The folder below which the run may touch files.
    pub workdir: String,
    /// What whoever started the run gave for `path` parameters, also outside that folder. A default gives no such right.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paths: Vec<String>,
    /// How many runs stand above this one, each the child of the next.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub depth: u32,
    /// What whatever caused the run may do: the run may do no more. Nothing limits a run that a person starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granted: Option<Effects>,
    /// Where the run begins, unless it does so at the top of its runbook.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<Entry>,
    /// Who started it, as the program that did calls them: `ann@desk-7`. A child has that of its parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// What whoever started it calls it by, such as the number of a ticket. A child has those of its parent.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Prepared {
    /// Returns the run that this one came from: its parent, the one that it does again, the one that opened what it closes.
    pub fn came_from(&self) -> Option<RunId> {
        match &self.cause {
            Cause::Run { id, .. } => Some(id.clone()),
            Cause::Rerun { of } => Some(of.clone()),
            Cause::Lease { id } => Lease::opener_of(id),
            Cause::Person | Cause::Schedule { .. } => None,
        }
    }

    /// Returns what a branch begins with.
    pub fn branch(&self) -> Option<&Branch> {
        match &self.entry {
            Some(Entry::Branch(branch)) => Some(branch),
            _ => None,
        }
    }

    /// Returns the only call of a run without a runbook.
    pub fn call(&self) -> Option<&Call> {
        match &self.entry {
            Some(Entry::Call(call)) => Some(call),
            _ => None,
        }
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}
