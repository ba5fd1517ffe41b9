//! One JSON object per line: the format that programs read.
//!
//! | Field | Is |
//! |---|---|
//! | `run` | the run's id |
//! | `seq` | the number of the record; null for what the journal does not keep |
//! | `time` | when it happened, RFC 3339 in UTC |
//! | `event` | `prepared`, `claimed`, `step_started`, `step_retrying`, `step_accepted`, `progress`, `output`, `output_kept`, `file_written`, `step_finished`, `signalled`, `parked` or `finished` |
//!
//! The other fields are the event's own, as the journal keeps them, but for a step's `continuation`: it
//! may hold a signed address, which is nobody's but the journal's. Fields are added, never renamed.

use std::io::Write;

use jiff::Timestamp;
use relight_engine::{Event, Notice, RunId};
use serde::Serialize;
use serde_json::Value;

use crate::terminal;

#[derive(Serialize)]
struct Line<'a> {
    run: &'a RunId,
    seq: Option<u64>,
    time: Timestamp,
    #[serde(flatten)]
    event: &'a Event,
}

/// Returns an event as one line.
pub(crate) fn line(notice: &Notice) -> String {
    let mut event = notice.event.clone();
    if let Event::StepAccepted { continuation, .. } = &mut event {
        *continuation = Value::Null;
    }
    let line = Line { run: &notice.run, seq: notice.seq, time: notice.at, event: &event };
    // Every event was written as JSON by the journal before it came here.
    serde_json::to_string(&line).unwrap_or_else(|e| format!("{{\"error\":{:?}}}", e.to_string()))
}

/// Prints an event. A reader that went away is no reason to stop the run.
pub(super) fn print(notice: &Notice) {
    let _ = writeln!(terminal::out(), "{}", line(notice));
}

#[cfg(test)]
mod tests {
    use super::*;
    use relight_engine::event::{Park, Progress};

    fn notice(seq: Option<u64>, event: Event) -> Notice {
        Notice::new(RunId::from("r1"), seq, Timestamp::UNIX_EPOCH, event)
    }

    #[test]
    fn a_signed_address_is_not_shown() {
        let accepted = Event::StepAccepted {
            step: 1,
            continuation: Value::from("https://management.azure.com/x?s=signature"),
            check_at: Timestamp::UNIX_EPOCH,
            send_before: None,
            deadline: Timestamp::UNIX_EPOCH,
            effected: Vec::new(),
        };
        assert!(!line(&notice(Some(3), accepted)).contains("signature"));
    }

    #[test]
    fn the_field_names_are_stable() {
        let parked = Event::Parked { park: Park::Interrupted, until: None };
        assert_eq!(
            line(&notice(Some(7), parked)),
            r#"{"run":"r1","seq":7,"time":"1970-01-01T00:00:00Z","event":"parked","why":"interrupted"}"#
        );
        let progress = Progress::new("opening", Some(40.0));
        assert_eq!(
            line(&notice(None, Event::Progress { step: 2, progress })),
            r#"{"run":"r1","seq":null,"time":"1970-01-01T00:00:00Z","event":"progress","step":2,"message":"opening","percent":40.0}"#
        );
    }
}
