//! The runbooks that ship with the command. The tests read this file too.

use relight_engine::Library;

/// Each with the name under which it is run.
pub(crate) const SHIPPED: [(&str, &str); 22] = [
    ("add-ssh-key", include_str!("../runbooks/add-ssh-key.rhai")),
    ("collect-diagnostics", include_str!("../runbooks/collect-diagnostics.rhai")),
    ("connect-azure-vm", include_str!("../runbooks/connect-azure-vm.rhai")),
    ("connect-over-arc", include_str!("../runbooks/connect-over-arc.rhai")),
    ("copy-files", include_str!("../runbooks/copy-files.rhai")),
    ("disable-arc-ssh", include_str!("../runbooks/disable-arc-ssh.rhai")),
    ("disable-vm-connect", include_str!("../runbooks/disable-vm-connect.rhai")),
    ("enable-arc-ssh", include_str!("../runbooks/enable-arc-ssh.rhai")),
    ("enable-entra-ssh", include_str!("../runbooks/enable-entra-ssh.rhai")),
    ("enable-openssh", include_str!("../runbooks/enable-openssh.rhai")),
    ("first-linux-vm", include_str!("../runbooks/first-linux-vm.rhai")),
    ("open-ssh-port", include_str!("../runbooks/open-ssh-port.rhai")),
    ("rdp-over-ssh", include_str!("../runbooks/rdp-over-ssh.rhai")),
    ("recover-unbootable-vm", include_str!("../runbooks/recover-unbootable-vm.rhai")),
    ("rescue", include_str!("../runbooks/rescue.rhai")),
    ("reset-access", include_str!("../runbooks/reset-access.rhai")),
    ("restart-vm", include_str!("../runbooks/restart-vm.rhai")),
    ("run-on-machine", include_str!("../runbooks/run-on-machine.rhai")),
    ("site-report", include_str!("../runbooks/site-report.rhai")),
    ("start-and-wait", include_str!("../runbooks/start-and-wait.rhai")),
    ("troubleshoot-ssh", include_str!("../runbooks/troubleshoot-ssh.rhai")),
    ("verify-host-keys", include_str!("../runbooks/verify-host-keys.rhai")),
];

/// Returns a library of what ships.
pub(crate) fn shipped() -> Library {
    SHIPPED.iter().fold(Library::new(), |library, (name, text)| library.ship(name, text))
}
