//! The ids of virtual machines in Azure and of what lies before them.

use super::Cx;
use crate::world::{AzureVm, Nic, SecurityGroup};

pub(super) const VMS: &str = "Microsoft.Compute/virtualMachines";
pub(super) const NICS: &str = "Microsoft.Network/networkInterfaces";
pub(super) const GROUPS: &str = "Microsoft.Network/networkSecurityGroups";

/// Returns the id of a resource.
pub(super) fn id(cx: &Cx<'_>, group: &str, kind: &str, name: &str) -> String {
    format!("{}/providers/{kind}/{name}", cx.group_id(group))
}

pub(super) fn vm(cx: &Cx<'_>, it: &AzureVm) -> String {
    id(cx, &it.group, VMS, &it.name)
}

pub(super) fn nic(cx: &Cx<'_>, it: &Nic) -> String {
    id(cx, &it.group, NICS, &it.name)
}

pub(super) fn security_group(cx: &Cx<'_>, it: &SecurityGroup) -> String {
    id(cx, &it.group, GROUPS, &it.name)
}
