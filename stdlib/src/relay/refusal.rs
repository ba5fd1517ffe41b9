//! Why there is no connection. The relay and the agent behind it say it in the reason phrase of the answer, and the
//! same status means different things from each of them.

use relight_engine::{Error, ErrorCode, ErrorKind};

/// Why there is no connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Nobody listens for the machine: not yet, or its agent has no connection.
    NobodyListens(String),
    /// The agent listens, and nothing listens on the machine.
    NothingThere(String),
    /// The agent does not let this port in, or not with this token. How it says so is inferred.
    NotAllowed(String),
    /// The signature is over, or was never good.
    Credentials(String),
    /// The relay itself has a trouble that may pass.
    Trouble(String),
    /// Anything else, with its status.
    Other(u16, String),
    /// There was no answer.
    Unanswered(String),
}

impl Refusal {
    /// Reads an answer that is no upgrade.
    pub(super) fn read(status: u16, reason: &str) -> Self {
        let said = reason.trim().to_owned();
        let lower = said.to_ascii_lowercase();
        match status {
            404 => Refusal::NobodyListens(said),
            503 if lower.contains("connection to ") || lower.contains("refused") => {
                Refusal::NothingThere(said)
            }
            401 => Refusal::Credentials(said),
            403 => Refusal::NotAllowed(said),
            500 | 502 | 503 | 504 => Refusal::Trouble(said),
            _ => Refusal::Other(status, said),
        }
    }

    /// Returns whether the same may go well a little later.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self, Refusal::NobodyListens(_) | Refusal::Trouble(_) | Refusal::Unanswered(_))
    }

    /// Returns whether the agent had a part in it, or should have had.
    pub(super) fn is_by_the_agent(&self) -> bool {
        matches!(self, Refusal::NobodyListens(_) | Refusal::NotAllowed(_) | Refusal::Other(..))
    }

    /// Returns the error, with what to do about it.
    pub(crate) fn error(&self, machine: &str, port: u16) -> Error {
        let (error, said) = match self {
            Refusal::NobodyListens(said) => (
                Error::rejected(format!("nobody listens for `{machine}` at the relay"))
                    .code(ErrorCode::OUT_OF_TOUCH)
                    .hint("its agent registers there within 90 s after SSH was let in, and has a connection to Azure")
                    .hint("see whether it has: arc::machine(..).status; on the machine: azcmagent show"),
                said,
            ),
            Refusal::NothingThere(said) => (
                Error::rejected(format!("nothing listens on port {port} of `{machine}`"))
                    .code(ErrorCode::OFF)
                    .hint("its agent answers: start the SSH service there, such as `Start-Service sshd` or \
                           `systemctl start ssh`"),
                said,
            ),
            Refusal::NotAllowed(said) => (
                Error::new(ErrorKind::Denied, format!("the agent of `{machine}` does not let port {port} in"))
                    .hint("the port of the machine's SSH service configuration is the one that is let in")
                    .hint("on the machine: azcmagent config get incomingconnections.ports"),
                said,
            ),
            Refusal::Credentials(said) => (
                Error::new(ErrorKind::Denied, format!("the relay refuses the credentials for `{machine}`"))
                    .hint("does the clock of this machine show the right time?"),
                said,
            ),
            Refusal::Trouble(said) => {
                (Error::new(ErrorKind::Unsent, format!("the relay of `{machine}` has a trouble of its own")), said)
            }
            Refusal::Other(status, said) => {
                (Error::rejected(format!("the relay of `{machine}` answered {status}")), said)
            }
            Refusal::Unanswered(said) => (
                Error::new(ErrorKind::Unsent, format!("the relay of `{machine}` gives no answer"))
                    .hint("a firewall must let *.servicebus.windows.net through, port 443"),
                said,
            ),
        };
        match said.is_empty() {
            true => error,
            // With it Microsoft's support finds the connection.
            false => error.because(said.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_status_means_two_things() {
        let text =
            "connection to localhost:22 failed: dial tcp [::1]:22: connect: connection refused. TrackingId:1";
        let refused = Refusal::read(503, text);
        assert!(matches!(refused, Refusal::NothingThere(_)) && !refused.may_pass());
        let error = refused.error("db-01", 22);
        assert_eq!(error.error_code(), Some(&ErrorCode::OFF));
        assert!(format!("{error:?}").contains("TrackingId:1"), "{error:?}");
        assert!(matches!(Refusal::read(503, "Service Unavailable"), Refusal::Trouble(_)));
    }

    #[test]
    fn what_may_pass_is_told_from_what_does_not() {
        for (status, passes) in [(404, true), (502, true), (401, false), (403, false), (400, false)] {
            assert_eq!(Refusal::read(status, "x").may_pass(), passes, "{status}");
        }
    }
}
