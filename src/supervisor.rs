//! The operating system's supervisor of services, as far as it wants to hear of this process: systemd, for a unit with `Type=notify`.
//! Where nobody supervises nothing is said.

/// Says that the service does its work from now on.
pub(crate) fn ready() {
    tell(State::Ready);
}

/// Says that it still does.
pub(crate) fn alive() {
    tell(State::Alive);
}

/// Says that it is about to end.
pub(crate) fn stopping() {
    tell(State::Stopping);
}

#[derive(Clone, Copy)]
enum State {
    Ready,
    Alive,
    Stopping,
}

#[cfg(target_os = "linux")]
fn tell(state: State) {
    use sd_notify::NotifyState;

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

#[cfg(not(target_os = "linux"))]
fn tell(_: State) {}
