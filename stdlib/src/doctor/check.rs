//! One thing that was looked at, and what to do where it is in the way.

use relight_engine::{Error, Hint};
use schemars::JsonSchema;
use serde::Serialize;

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Check {
    /// Its name.
    pub name: &'static str,
    /// What came of it.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What came of looking at something.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// It is as it should be.
    Ok {
        /// What was found.
        why: String,
    },
    /// It is in the way.
    Blocked {
        /// What is wrong.
        why: String,
        /// What mends it.
        next: Option<Next>,
    },
    /// It could not be looked at.
    Unknown {
        /// Why not.
        why: String,
        /// What would show it.
        next: Option<Next>,
    },
    /// It was not looked at, or says nothing, because of something else that is in the way.
    Behind {
        /// The check that found the cause.
        cause: &'static str,
    },
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Next {
    /// The step, in words or as one that the program offers.
    #[schemars(with = "serde_json::Value")]
    pub step: Hint,
    /// Who takes it.
    pub by: By,
}

/// Who takes a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// Whoever asked.
    You,
    /// Somebody who may give roles away.
    Administrator,
    /// Somebody at the machine.
    OnMachine,
}

impl Next {
    pub(super) fn you(step: impl Into<Hint>) -> Option<Next> {
        Some(Next { step: step.into(), by: By::You })
    }

    pub(super) fn administrator(step: impl Into<Hint>) -> Option<Next> {
        Some(Next { step: step.into(), by: By::Administrator })
    }

    pub(super) fn on_machine(step: impl Into<Hint>) -> Option<Next> {
        Some(Next { step: step.into(), by: By::OnMachine })
    }

    /// Returns the first thing that an error says to do.
    pub(super) fn of(error: &Error) -> Option<Next> {
        error.hints().first().and_then(|hint| Next::you(hint.clone()))
    }
}

impl Verdict {
    pub(super) fn ok(why: impl Into<String>) -> Self {
        Verdict::Ok { why: why.into() }
    }

    pub(super) fn blocked(why: impl Into<String>, next: Option<Next>) -> Self {
        Verdict::Blocked { why: why.into(), next }
    }

    pub(super) fn unknown(why: impl Into<String>, next: Option<Next>) -> Self {
        Verdict::Unknown { why: why.into(), next }
    }

    pub(super) fn is_ok(&self) -> bool {
        matches!(self, Verdict::Ok { .. })
    }

    pub(super) fn is_blocked(&self) -> bool {
        matches!(self, Verdict::Blocked { .. })
    }

    pub(super) fn is_unknown(&self) -> bool {
        matches!(self, Verdict::Unknown { .. })
    }
}

/// Returns what an error says with its innermost cause, on one line.
pub(super) fn said(error: &Error) -> String {
    let failure = error.to_failure();
    match failure.causes.last() {
        Some(cause) if !failure.message.contains(cause.as_str()) => format!("{}: {cause}", failure.message),
        _ => failure.message,
    }
}

/// The checks of a machine, each judged after what it needs.
#[derive(Default)]
pub(super) struct Judged(Vec<Check>);

impl Judged {
    /// Adds a check that needs others, all of them judged before. What they found in the way is the cause of what is
    /// wrong here; only what works in spite of them speaks for itself.
    pub(super) fn add(&mut self, name: &'static str, needs: &[&'static str], verdict: Verdict) {
        let cause = needs.iter().find_map(|need| match self.find(need)? {
            Verdict::Blocked { .. } => Some(*need),
            Verdict::Behind { cause } => Some(*cause),
            // What could not be looked at explains why the next could not.
            Verdict::Unknown { .. } if verdict.is_unknown() => Some(*need),
            _ => None,
        });
        let verdict = match cause {
            Some(cause) if !verdict.is_ok() => Verdict::Behind { cause },
            _ => verdict,
        };
        self.0.push(Check { name, verdict });
    }

    pub(super) fn find(&self, name: &str) -> Option<&Verdict> {
        self.0.iter().find(|check| check.name == name).map(|check| &check.verdict)
    }

    pub(super) fn get(&self, name: &str) -> Option<Check> {
        self.0.iter().find(|check| check.name == name).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong() -> Verdict {
        Verdict::blocked("wrong", None)
    }

    #[test]
    fn the_cause_is_named_and_never_its_consequence() {
        let mut judged = Judged::default();
        judged.add("power", &[], wrong());
        judged.add("agent", &["power"], wrong());
        judged.add("relay", &["agent"], Verdict::unknown("no answer", None));
        assert_eq!(judged.find("agent"), Some(&Verdict::Behind { cause: "power" }));
        assert_eq!(judged.find("relay"), Some(&Verdict::Behind { cause: "power" }));
    }

    #[test]
    fn what_works_speaks_for_itself() {
        let mut judged = Judged::default();
        judged.add("right", &[], Verdict::unknown("may not be read", None));
        judged.add("relay", &["right"], Verdict::ok("somebody listens"));
        judged.add("server", &["right"], wrong());
        judged.add("key", &["right"], Verdict::unknown("not seen", None));
        assert!(judged.find("relay").is_some_and(Verdict::is_ok));
        assert!(judged.find("server").is_some_and(Verdict::is_blocked));
        assert_eq!(judged.find("key"), Some(&Verdict::Behind { cause: "right" }));
    }
}
