//! What has an agent that installs extensions and runs scripts: a machine of Azure Arc, or a virtual machine in Azure.
//!
//! Both are asked in the same words, and answer a little differently; the differences stand here.

use super::{Cx, address::Address, machines, names};
use crate::{arm_error::ArmError, world::Shape};

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Host {
    Arc,
    Azure,
}

impl Host {
    /// Returns whose part an address is.
    pub(super) fn of(at: &Address) -> Self {
        let namespace = at.links.first().map(|link| link.namespace.as_str()).unwrap_or_default();
        if namespace.eq_ignore_ascii_case("Microsoft.Compute") { Host::Azure } else { Host::Arc }
    }

    /// Returns the type of the machine.
    pub(super) fn machine_type(self) -> &'static str {
        match self {
            Host::Arc => "Microsoft.HybridCompute/machines",
            Host::Azure => names::VMS,
        }
    }

    /// Returns the type of a part of it.
    pub(super) fn part_type(self, part: &str) -> String {
        format!("{}/{part}", self.machine_type())
    }

    /// Returns the id of the machine of this name, when there is one.
    pub(super) fn id(self, cx: &Cx<'_>, group: &str, name: &str) -> Option<String> {
        match self {
            Host::Arc => machines::id_of(cx, group, name),
            Host::Azure => cx.world.azure_vm(group, name).map(|vm| names::vm(cx, vm)),
        }
    }

    /// Returns the id of the machine that owns what is asked for.
    pub(super) fn owner(self, cx: &Cx<'_>, group: &str, name: &str, part: &str) -> Result<String, ArmError> {
        self.id(cx, group, name).ok_or_else(|| {
            let action = if cx.call.is_read() { "read" } else { "write" };
            let id = format!("{}/providers/{}/{name}", cx.group_id(group), self.machine_type());
            ArmError::parent_not_found(action, &self.part_type(part), &id)
        })
    }

    /// Refuses work that the machine cannot be given. An Arc machine keeps it until its agent is back.
    pub(super) fn check_takes_work(
        self,
        cx: &Cx<'_>,
        group: &str,
        name: &str,
        part: &str,
    ) -> Result<(), ArmError> {
        match self {
            Host::Arc => Ok(()),
            Host::Azure => match cx.world.azure_vm(group, name).is_some_and(|vm| vm.is_up()) {
                true => Ok(()),
                false if part == "extensions" => {
                    let message = "Cannot modify extensions in the VM when the VM is not running.";
                    Err(ArmError::service(409, "OperationNotAllowed", message))
                }
                false => {
                    let message = "The operation requires the VM to be running (or set to run).";
                    Err(ArmError::service(409, "OperationNotAllowed", message))
                }
            },
        }
    }

    /// Returns whether its agent takes up what it is told.
    pub(super) fn is_in_touch(self, cx: &Cx<'_>, group: &str, name: &str) -> bool {
        match self {
            Host::Arc => machines::is_connected(cx, group, name),
            Host::Azure => {
                cx.world.azure_vm(group, name).is_some_and(|vm| vm.is_up())
                    && !cx.faults.is_named_offline(name)
            }
        }
    }

    /// Returns how its operations look.
    pub(super) fn shape(self) -> Shape {
        match self {
            Host::Arc => Shape::Extension,
            Host::Azure => Shape::Compute,
        }
    }
}
