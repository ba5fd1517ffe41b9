//! What Azure knows about the agent of a machine, when the relay has only said no.

use relight_engine::{Error, ErrorCode};
use serde_json::Value;

use crate::prelude::text;

/// The first version that takes connections as Azure says; those before it have a list of ports of their own.
const TAKES_CONNECTIONS: (u32, u32) = (1, 31);

/// An agent, as far as it is known.
pub(super) struct Agent {
    status: Option<String>,
    since: Option<String>,
    version: Option<String>,
}

impl Agent {
    /// Reads the body of a machine.
    pub(super) fn read(machine: &Value) -> Self {
        let owned = |pointer| text(machine, pointer).map(str::to_owned);
        Agent {
            status: owned("/properties/status"),
            since: owned("/properties/lastStatusChange"),
            version: owned("/properties/agentVersion"),
        }
    }

    /// Returns whether Azure knows that it has no connection.
    pub(super) fn is_out_of_touch(&self) -> bool {
        self.status.as_deref().is_some_and(|status| !status.eq_ignore_ascii_case("Connected"))
    }

    /// Returns whether it is too old to do as Azure says.
    fn is_old(&self) -> bool {
        self.version.as_deref().is_some_and(is_old)
    }

    /// Adds what is known to an error.
    pub(super) fn explain(&self, mut error: Error) -> Error {
        if let (true, Some(status)) = (self.is_out_of_touch(), &self.status) {
            let since = self.since.as_ref().map(|since| format!(" since {since}")).unwrap_or_default();
            error = Error::rejected(format!("its agent is {status}{since}: {}", error.message()))
                .code(ErrorCode::OUT_OF_TOUCH)
                .hint("is the machine on, and may it reach Azure? On the machine: azcmagent show, azcmagent check")
                .because(error);
        }
        if let (true, Some(version)) = (self.is_old(), &self.version) {
            error = error.hint(format!(
                "its agent is of version {version}: before 1.31 it lets in only what the machine's own list says \
                 (azcmagent config set incomingconnections.ports 22); update it"
            ));
        }
        error
    }
}

/// Returns whether an agent of a version is too old to do as Azure says.
pub(crate) fn is_old(version: &str) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().ok());
    // All of it counts: 2.0 is not older than 1.31.
    matches!((parts.next(), parts.next()), (Some(Some(major)), Some(Some(minor)))
        if (major, minor) < TAKES_CONNECTIONS)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn agent(status: &str, version: &str) -> Agent {
        Agent::read(&json!({"properties": {"status": status, "agentVersion": version,
            "lastStatusChange": "2026-11-20T08:00:00Z"}}))
    }

    #[test]
    fn versions_compare_as_a_whole() {
        for (version, is_old) in [
            ("1.30.2", true),
            ("1.31.0", false),
            ("1.4", true),
            ("2.0.1", false),
            ("0.99", true),
            ("x", false),
        ] {
            assert_eq!(agent("Connected", version).is_old(), is_old, "{version}");
        }
    }

    #[test]
    fn what_is_known_is_added_and_what_is_not_is_not() {
        let no = || Error::rejected("nobody listens for `db-01` at the relay").code(ErrorCode::OUT_OF_TOUCH);
        let error = agent("Disconnected", "1.29").explain(no());
        assert!(error.message().starts_with("its agent is Disconnected since 2026"), "{error}");
        assert!(error.hints().iter().any(|hint| hint.to_string().contains("1.29")), "{:?}", error.hints());
        assert_eq!(error.error_code(), Some(&ErrorCode::OUT_OF_TOUCH));
        assert_eq!(Agent::read(&Value::Null).explain(no()).message(), no().message());
    }
}
