//! From what a script names to a stream to the SSH server of a machine.

use crate::prelude::*;
use crate::relay::Target;
use crate::road::Connection;

/// The port of an SSH server, unless another one is named.
pub(super) const PORT: u16 = 22;
/// How long to wait for the machine's agent to listen: it takes up to 90 s after a change.
pub(super) const WITHIN: Duration = Duration::from_secs(120);

/// How the SSH server of a machine is reached.
#[derive(Clone, Copy)]
pub(super) struct Reach {
    pub(super) port: u16,
    pub(super) within: Option<Span>,
    /// Whether at its private addresses alone.
    pub(super) private: bool,
}

impl Azure {
    /// Connects to a port of a machine on behalf of a step, and says why that takes its time.
    pub(super) async fn ssh_connection(
        &self,
        cx: &Cx,
        machine: &ResourceId,
        reach: Reach,
    ) -> Result<Connection> {
        let to = Target {
            origin: &cx.into(),
            machine,
            port: reach.port,
            within: reach.within.map_or(WITHIN, |span| span.get()),
            private: reach.private,
            clock: &**cx.clock(),
        };
        let waiting = |why: &Error| cx.progress(why.message(), None);
        tokio::select! {
            connected = self.connect_to(&to, waiting) => connected,
            () = cx.cancelled() => Err(Error::new(ErrorKind::Unsent, "given up before the machine answered")),
        }
    }
}
