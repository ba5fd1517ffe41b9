//! A VM extension: software that the Arc agent of a machine installs, and what became of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Failure, Tags};

/// An extension of an Arc machine.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Extension {
    pub(crate) name: String,
    pub(crate) machine: String,
    pub(crate) group: String,
    pub(crate) sent: Properties,
    pub(crate) tags: Tags,
    pub(crate) work: Option<Work>,
    /// What the last piece of work failed with.
    pub(crate) failure: Option<Failure>,
    /// How often it was installed, so that a repeated request shows in a snapshot.
    pub(crate) installs: u32,
    /// When the agent last reported.
    pub(crate) reported: Timestamp,
}

/// What was asked for; all of it but the secrets is read back.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Properties {
    pub(crate) publisher: String,
    pub(crate) kind: String,
    /// The version; the service picks one when none is asked for.
    pub(crate) version: Option<String>,
    pub(crate) minor_upgrades: bool,
    pub(crate) upgrades: Option<bool>,
    pub(crate) force_tag: Option<String>,
    pub(crate) settings: Option<Value>,
}

/// Work under way.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Work {
    /// Creating, Updating or Deleting.
    pub(crate) word: String,
    /// When it is done; never, when `None`.
    pub(crate) ends: Option<Timestamp>,
    /// What it will fail with, decided when it starts.
    pub(crate) failure: Option<Failure>,
}

impl Extension {
    pub(crate) fn is(&self, group: &str, machine: &str, name: &str) -> bool {
        self.is_on(group, machine) && self.name.eq_ignore_ascii_case(name)
    }

    pub(crate) fn is_on(&self, group: &str, machine: &str) -> bool {
        self.machine.eq_ignore_ascii_case(machine) && self.group.eq_ignore_ascii_case(group)
    }

    /// Ends the work under way. Returns whether the extension is still there.
    pub(super) fn settle(&mut self, at: Timestamp) -> bool {
        let Some(work) = self.work.take() else { return true };
        self.reported = at;
        let is_removal = work.word == "Deleting";
        self.installs += u32::from(!is_removal && work.failure.is_none());
        self.failure = work.failure;
        !is_removal || self.failure.is_some()
    }

    /// Returns whether it does its work: it is neither broken nor being removed.
    pub(crate) fn is_there(&self) -> bool {
        self.failure.is_none() && self.work.as_ref().is_none_or(|work| work.word != "Deleting")
    }

    /// Returns the word for `provisioningState`.
    pub(crate) fn state(&self) -> &str {
        match (&self.work, &self.failure) {
            (Some(work), _) => &work.word,
            (None, Some(_)) => "Failed",
            (None, None) => "Succeeded",
        }
    }

    /// Returns the version that runs.
    pub(crate) fn version(&self) -> String {
        let asked = self.sent.version.as_deref().unwrap_or("3.0");
        // A version of two parts is completed, as the service does.
        match asked.split('.').count() {
            1 | 2 => format!("{asked}.1.0"),
            _ => asked.to_owned(),
        }
    }
}
