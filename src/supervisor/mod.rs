//! The operating system's supervisor of services, as far as it wants to hear of this process: systemd, for a unit with `Type=notify`, and
//! the Service Control Manager of Windows. Where nobody supervises nothing is said.

#[cfg(target_os = "linux")]
mod systemd;
#[cfg(windows)]
mod windows;

#[cfg(target_os = "linux")]
use systemd::tell;
#[cfg(windows)]
use windows::tell;
#[cfg(windows)]
pub(crate) use windows::{asked_to_stop, run};

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

#[cfg(not(any(target_os = "linux", windows)))]
fn tell(_: State) {}
