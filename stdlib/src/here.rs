//! What the machine that drives runs has for whoever sits there.

use crate::rdp::Viewer;

/// What the machine that drives runs has: nothing, unless the embedding program says so.
#[derive(Clone, Debug, Default)]
pub struct Here {
    /// The command by which OpenSSH comes to a machine. The resource id of the machine and a port follow it.
    pub proxy: Option<String>,
    /// What shows a desktop.
    pub viewer: Option<Viewer>,
}
