//! What is to be done next for a step. It follows from the run's records and from nothing else, so that
//! whoever reads them comes to the same: the next process, and another kind of log.
//!
//! ```text
//!  Started, just now ──► Begin               Clean ────► Again
//!  Started earlier ────► Clear, by a Doubt   Accepted ─► Look, or wait for other runs
//! ```

use jiff::Timestamp;
use serde_json::Value;

use super::branches::is_branching;
use super::child::child_of;
use super::closing::Closer;
use crate::event::{RunId, StepEnd};
use crate::operation::Redo;
use crate::replay::{PastStep, StepState};

/// What is to be done next for a step.
#[derive(Debug)]
pub(super) enum Todo<'a> {
    /// Nothing: it has a result.
    Over(&'a StepEnd),
    /// Carry out the intent that this drive has recorded a moment ago: nothing can have been sent yet.
    Begin,
    /// Record the intent of one more attempt. The last one certainly had no effect.
    Again { due: Timestamp },
    /// Find out about a request that may or may not have left, once its maker cannot send it any more.
    Clear { doubt: Doubt, due: Option<Timestamp> },
    /// See how far it has come elsewhere.
    Look { state: &'a Value, due: Timestamp, deadline: Timestamp },
    /// Wait for the run that closes a lease, and hand the operation what came of it.
    Close { closer: Closer, due: Timestamp, deadline: Timestamp },
    /// Wait for the end of another run.
    Child { run: RunId, due: Timestamp },
    /// Wait for the ends of the branches.
    Branches { due: Timestamp },
}

/// How it is found out whether a request has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// Not at all: a second request does no harm, or a person wants it.
    Resend,
    /// The operation looks for its trace.
    Probe,
    /// A person says that it happened; the operation looks at what it came to.
    Happened,
    /// A person says that it failed.
    Failed,
    /// Only a person can tell.
    Ask,
}

/// What is known of a step beside its own records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// This drive has recorded its intent a moment ago.
    pub(super) fresh: bool,
    /// What its operation says about a second request.
    pub(super) redo: Redo,
    /// The run was parked to ask a person about it.
    pub(super) was_asked: bool,
    /// The run closes a lease: nobody is there to be asked, and a look does no harm.
    pub(super) closes_a_lease: bool,
}

/// Returns what is to be done next for a step.
pub(super) fn todo(past: &PastStep, known: Known) -> Todo<'_> {
    match &past.state {
        StepState::Finished(end) => Todo::Over(end),
        StepState::Started { .. } if known.fresh => Todo::Begin,
        StepState::Started { until, .. } => Todo::Clear { doubt: doubt(past, known), due: *until },
        StepState::Clean { until, .. } => Todo::Again { due: *until },
        StepState::Accepted { continuation, check_at, deadline } => {
            let (due, deadline) = (*check_at, *deadline);
            if let Some(closer) = Closer::of(continuation) {
                return Todo::Close { closer, due, deadline };
            }
            match child_of(past) {
                Some(run) => Todo::Child { run, due },
                None if is_branching(past) => Todo::Branches { due },
                None => Todo::Look { state: continuation, due, deadline },
            }
        }
    }
}

fn doubt(past: &PastStep, known: Known) -> Doubt {
    let answer = past.answer.as_ref().filter(|_| known.was_asked);
    match (answer.map(|answer| answer.as_str()), known.redo) {
        (Some(Some("again")), _) => Doubt::Resend,
        (Some(Some("done")), _) => Doubt::Happened,
        (Some(_), _) => Doubt::Failed,
        (None, Redo::Resend) => Doubt::Resend,
        (None, Redo::Probe) => Doubt::Probe,
        (None, Redo::Ask) if known.closes_a_lease => Doubt::Probe,
        (None, Redo::Ask) => Doubt::Ask,
    }
}

impl Todo<'_> {
    /// Returns when it is due, if it is not so at once.
    pub(super) fn due(&self) -> Option<Timestamp> {
        match self {
            Todo::Over(_) | Todo::Begin => None,
            Todo::Clear { due, .. } => *due,
            Todo::Again { due }
            | Todo::Look { due, .. }
            | Todo::Close { due, .. }
            | Todo::Child { due, .. }
            | Todo::Branches { due } => Some(*due),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::error::Error;
    use crate::event::Place;

    const T: Timestamp = Timestamp::UNIX_EPOCH;

    fn step(state: StepState) -> PastStep {
        PastStep {
            operation: "box::put".into(),
            args: json!({}).into(),
            at: Place::default(),
            state,
            attempt: 1,
            answer: None,
            failed: 0,
            since: T,
            output: 0,
            send_before: None,
        }
    }

    fn started() -> PastStep {
        step(StepState::Started { attempt: 1, until: None, failure: None })
    }

    fn accepted(continuation: Value) -> PastStep {
        step(StepState::Accepted { continuation, check_at: T, deadline: T })
    }

    const KNOWN: Known = Known { fresh: false, redo: Redo::Ask, was_asked: false, closes_a_lease: false };

    #[test]
    fn only_who_has_just_recorded_an_intent_carries_it_out() {
        let past = started();
        assert!(matches!(todo(&past, Known { fresh: true, ..KNOWN }), Todo::Begin));
        assert!(matches!(todo(&past, KNOWN), Todo::Clear { doubt: Doubt::Ask, due: None }));
    }

    #[test]
    fn what_failed_before_it_had_an_effect_begins_anew() {
        let failure = Error::rejected("no connection").to_failure();
        let past = step(StepState::Clean { attempt: 1, until: T, failure });
        assert!(matches!(todo(&past, KNOWN), Todo::Again { due } if due == T));
    }

    #[test]
    fn a_doubt_is_settled_by_a_person_before_the_operation() {
        for (redo, closes_a_lease, answer, doubt) in [
            (Redo::Resend, false, None, Doubt::Resend),
            (Redo::Probe, false, None, Doubt::Probe),
            (Redo::Ask, false, None, Doubt::Ask),
            (Redo::Ask, true, None, Doubt::Probe),
            (Redo::Ask, false, Some("again"), Doubt::Resend),
            (Redo::Ask, false, Some("done"), Doubt::Happened),
            (Redo::Resend, false, Some("failed"), Doubt::Failed),
            (Redo::Probe, false, Some("what?"), Doubt::Failed),
        ] {
            let known = Known { redo, closes_a_lease, was_asked: true, ..KNOWN };
            let past = PastStep { answer: answer.map(Value::from), ..started() };
            assert!(
                matches!(todo(&past, known), Todo::Clear { doubt: found, .. } if found == doubt),
                "{redo:?}, {answer:?}"
            );
        }
        // An answer to another question decides nothing.
        let past = PastStep { answer: Some("again".into()), ..started() };
        assert!(matches!(todo(&past, KNOWN), Todo::Clear { doubt: Doubt::Ask, .. }));
    }

    #[test]
    fn who_carries_a_step_on_is_read_from_its_state() {
        assert!(matches!(todo(&accepted(json!({ "v": 1, "at": {} })), KNOWN), Todo::Look { .. }));
        let past = accepted(json!({ "$closing": "d1", "then": {} }));
        assert!(matches!(todo(&past, KNOWN), Todo::Close { .. }));
        let past = accepted(json!({ "$child": "d1" }));
        assert!(matches!(todo(&past, KNOWN), Todo::Child { run, .. } if run.as_str() == "d1"));
        assert!(matches!(todo(&accepted(json!({ "$branches": true })), KNOWN), Todo::Branches { .. }));
        let past = step(StepState::Finished(StepEnd::Ok(Value::Null.into())));
        assert!(matches!(todo(&past, KNOWN), Todo::Over(StepEnd::Ok(_))));
    }
}
