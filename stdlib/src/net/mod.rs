//! `net`: ports of hosts, as they are reached from here.

pub(crate) mod carrier;
mod counted;
mod dial;
mod first_reachable;
pub(crate) mod forward;
mod read;
mod tcp_probe;
mod wait_for_port;

use relight_engine::Registered;

pub use carrier::{Carrier, Far};
pub use dial::{Dialer, Route};

use crate::Azure;
use crate::prelude::*;

/// How long one attempt to connect may take, in real time.
const ATTEMPT: Duration = Duration::from_secs(3);
/// How long to pause between attempts.
const PAUSE: Duration = Duration::from_secs(5);

/// Returns the operations of this area.
pub(crate) fn all(azure: &Azure) -> Vec<Registered> {
    vec![
        Registered::new(tcp_probe::TcpProbe(azure.dial.clone())),
        Registered::new(first_reachable::FirstReachable(azure.dial.clone())),
        Registered::attached(forward::Forward(azure.dial.clone())),
        Registered::new(read::Read(azure.dial.clone())),
        Registered::new(wait_for_port::WaitForPort(azure.dial.clone())),
    ]
}

/// What is stored between attempts.
#[derive(Serialize, Deserialize)]
struct Waiting {
    until: Timestamp,
}

/// Goes on waiting, or gives up with `error` when the time is over.
fn wait_on<T>(cx: &Cx, until: Timestamp, said: &str, error: impl FnOnce() -> Error) -> Result<Outcome<T>> {
    let left = Duration::try_from(until.duration_since(cx.now())).unwrap_or_default();
    if left.is_zero() {
        return Err(error());
    }
    // The operation ends by itself at `until`; the engine's limit only has to be later.
    let limit = left.saturating_add(Duration::from_secs(600));
    Ok(Outcome::pending(&Waiting { until }, left.min(PAUSE))?.within(limit).saying(said, None))
}
