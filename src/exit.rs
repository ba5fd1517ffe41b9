//! The exit codes. Scripts rely on them: a code never changes its meaning.
//!
//! | Code | Means |
//! |---|---|
//! | 0 | done |
//! | 1 | failed: Azure said no, or the run ended with an error |
//! | 2 | invalid: the runbook or the arguments are wrong; nothing was sent |
//! | 3 | not over: the run is parked (also on a mistake in the runbook), was stopped, or misses an identity or a role; or a lease is late |
//! | 4 | diverged: a replay did not meet what was recorded; nothing was sent |
//! | 5 | storage: the journal cannot be read or written |
//! | 130 | left at once, at the second Ctrl-C |
//!
//! `relight connect` ends as OpenSSH's `ssh` does: with the code of what ran on the machine, or 255.

use std::io;
use std::process::ExitCode;

use relight_engine::event::RunEnd;
use relight_engine::{Error, ErrorKind};

use crate::{platform, terminal};

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything that was asked for is done.
    Done,
    /// Azure said no, or the run ended with an error.
    Failed,
    /// The runbook or the arguments are wrong; nothing was sent.
    Invalid,
    /// The run is parked, was stopped, or misses an identity or a role; or a lease is late.
    Parked,
    /// A replay did not meet what was recorded; nothing was sent.
    Diverged,
    /// The journal cannot be read or written.
    Storage,
    /// A person did not want to wait for the run to park.
    Left,
    /// What ran on a machine ended with this code.
    OnMachine(u8),
}

/// What keeps a command from going on.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something that is told to a person. Boxed errors stay small on the way up.
    Error(Error),
    /// Standard output cannot be written.
    Output(io::Error),
}

/// The result of a command.
pub(crate) type Result<T = Exit> = std::result::Result<T, Failure>;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Error(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Output(error)
    }
}

impl Exit {
    /// Returns the code of the process.
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Invalid => 2,
            Exit::Parked => 3,
            Exit::Diverged => 4,
            Exit::Storage => 5,
            Exit::Left => 130,
            Exit::OnMachine(code) => code,
        }
    }

    /// Returns the code of a command's result, after telling a person what went wrong.
    pub(crate) fn of(ended: Result) -> Self {
        match ended {
            Ok(exit) => exit,
            Err(Failure::Error(error)) => {
                terminal::complain(&error);
                error.kind().into()
            }
            // Whoever read our output has seen enough.
            Err(Failure::Output(error)) if platform::is_reader_gone(&error) => Exit::Done,
            Err(Failure::Output(error)) => {
                terminal::complain(&Error::rejected("failed to write to standard output").because(error));
                Exit::Failed
            }
        }
    }
}

impl From<ErrorKind> for Exit {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Unsent | ErrorKind::Transient | ErrorKind::Rejected => Exit::Failed,
            ErrorKind::Invalid => Exit::Invalid,
            ErrorKind::Denied | ErrorKind::Script | ErrorKind::Stopped => Exit::Parked,
            ErrorKind::Diverged => Exit::Diverged,
            ErrorKind::Storage => Exit::Storage,
        }
    }
}

impl From<&RunEnd> for Exit {
    fn from(end: &RunEnd) -> Self {
        match end {
            RunEnd::Succeeded { .. } => Exit::Done,
            RunEnd::Failed { failure, .. } => failure.kind.into(),
            RunEnd::Stopped { .. } | RunEnd::Abandoned { .. } => Exit::Parked,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_has_its_documented_code() {
        for (kind, code) in [
            (ErrorKind::Unsent, 1),
            (ErrorKind::Transient, 1),
            (ErrorKind::Rejected, 1),
            (ErrorKind::Invalid, 2),
            (ErrorKind::Denied, 3),
            (ErrorKind::Script, 3),
            (ErrorKind::Stopped, 3),
            (ErrorKind::Diverged, 4),
            (ErrorKind::Storage, 5),
        ] {
            assert_eq!(Exit::from(kind).code(), code, "{kind:?}");
        }
    }

    #[test]
    fn a_reader_that_went_away_is_a_polite_end() {
        assert_eq!(Exit::of(Err(io::Error::from(io::ErrorKind::BrokenPipe).into())), Exit::Done);
    }
}
