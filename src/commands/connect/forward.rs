//! Ports of this machine that lead to what a machine can reach: `-L`, and its desktop.

use std::str::FromStr;
use std::sync::Arc;

use relight_engine::{Error, Result as EngineResult};
use relight_stdlib::azure::ResourceId;
use relight_stdlib::net::{Carrier, Far};
use relight_stdlib::rdp::Viewer;
use relight_stdlib::ssh::{Behind, Line};

use crate::exit::{Exit, Result};
use crate::{platform, terminal as screen};

/// A port of this machine, and where it leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Forward {
    local: u16,
    host: String,
    port: u16,
}

/// Reads `port:host:port`, or `host:port` for a free port of this machine.
impl FromStr for Forward {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let read = || {
            let (rest, port) = text.rsplit_once(':')?;
            let (local, host) = match rest.split_once(':') {
                // A colon in brackets belongs to an address.
                Some((local, host)) if !rest.starts_with('[') => (local.parse().ok()?, host),
                _ => (0, rest),
            };
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let is_whole = !host.is_empty() && (!host.contains(':') || rest.ends_with(']'));
            is_whole.then_some(Forward { local, host: host.to_owned(), port: port.parse().ok()? })
        };
        read()
            .ok_or_else(|| "it is such as 8080:localhost:80, or localhost:80 for a free port here".to_owned())
    }
}

/// Opens the ports, and says where they are.
pub(super) async fn open(
    line: &Arc<Line>,
    machine: &ResourceId,
    forwards: &[Forward],
) -> EngineResult<Vec<Carrier>> {
    let mut carriers = Vec::new();
    for Forward { local, host, port } in forwards {
        let far = Behind {
            line: line.clone(),
            machine: machine.name().to_owned(),
            host: host.clone(),
            port: *port,
        };
        let to = far.name();
        let carrier = Carrier::open(*local, far, |said| tracing::info!("{said}")).await?;
        screen::say(format!("{} leads to {to}", carrier.at()));
        carriers.push(carrier);
    }
    Ok(carriers)
}

/// Waits until somebody has seen enough.
pub(super) async fn hold() -> Exit {
    screen::say("Open until Ctrl-C.");
    platform::interrupted().await;
    Exit::Done
}

/// Opens the desktop of a machine with a viewer and for a user, or only the way there when there is none.
pub(super) async fn desktop(
    line: &Arc<Line>,
    machine: &ResourceId,
    port: u16,
    viewer: Option<(&Viewer, &str)>,
) -> Result {
    let far =
        Behind { line: line.clone(), machine: machine.name().to_owned(), host: "localhost".to_owned(), port };
    // A viewer would only say that it could not connect.
    let dialled = far.dial().await.map(drop).map_err(|error| advised(error, machine));
    dialled?;
    let carrier = Carrier::open(0, far, |said| tracing::info!("{said}")).await?;
    let (at, name) = (carrier.at().to_string(), machine.name());
    match viewer {
        Some((viewer, user)) => {
            screen::say(format!("The desktop of `{name}` is at {at}; opening it with {}.", viewer.name()));
            tokio::select! {
                ended = viewer.open(&at, Some(user), name) => ended?,
                _ = platform::interrupted() => {}
            }
        }
        None => {
            screen::say(format!("The desktop of `{name}` is at {at}: open it with your viewer."));
            hold().await;
        }
    }
    carrier.close().await;
    Ok(Exit::Done)
}

fn advised(error: Error, machine: &ResourceId) -> Error {
    error.hint(format!(
        "is Remote Desktop switched on on `{}`, and not only for its own network?",
        machine.name()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwards_are_written_as_openssh_has_them() {
        for (text, local, host, port) in [
            ("8080:localhost:80", 8080, "localhost", 80),
            ("localhost:80", 0, "localhost", 80),
            ("5432:db.internal:5432", 5432, "db.internal", 5432),
            ("8080:[fe80::1]:80", 8080, "fe80::1", 80),
            ("[::1]:80", 0, "::1", 80),
        ] {
            assert_eq!(text.parse(), Ok(Forward { local, host: host.to_owned(), port }), "{text}");
        }
        for wrong in ["80", ":80", "x:localhost:80", "8080:localhost", "8080::80", "fe80::1:80", "70000:a:1"]
        {
            assert!(wrong.parse::<Forward>().is_err(), "{wrong}");
        }
    }
}
