//! systemd, through the socket that it names.

use sd_notify::NotifyState;

use super::State;

pub(super) fn tell(state: State) {
    let state = match state {
        State::Ready => NotifyState::Ready,
        State::Alive => NotifyState::Watchdog,
        State::Stopping => NotifyState::Stopping,
    };
    // Who cannot be told restarts the service, which loses nothing.
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!("the supervisor cannot be told: {error}");
    }
}
