//! Every inferred fact, once: its name in the page about the wire, what it says, and what shows it.

use serde_json::Value;

use super::answers::{Answers, Asked};
use super::look;

/// Something about Azure's wire that was inferred, and not yet seen by whoever wrote it down.
#[derive(Clone, Copy, Debug)]
pub struct WireFact {
    /// Its name, as the page about the wire has it.
    pub id: &'static str,
    /// What was inferred.
    pub says: &'static str,
    pub(super) shown: Shown,
}

/// What an answer says about a fact: nothing, that it is so, or that it is otherwise; with the words that were seen.
pub(super) type Look = fn(&Answers, &Value) -> Option<Result<String, String>>;

/// What shows a fact.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shown {
    /// Answers to a question.
    By {
        asked: Asked,
        look: Look,
        /// Why nothing shows it, when none of the answers says anything.
        without: &'static str,
        /// What there must be for a read to show it.
        shown_by: &'static str,
    },
    /// No read shows it.
    Never {
        why: &'static str,
        /// What does, where that is worth its while.
        shown_by: Option<&'static str>,
    },
}

impl WireFact {
    /// Returns whether a read can show it.
    pub fn is_readable(&self) -> bool {
        matches!(self.shown, Shown::By { .. })
    }
}

const fn read(
    id: &'static str,
    says: &'static str,
    (asked, look): (Asked, Look),
    without: &'static str,
    shown_by: &'static str,
) -> WireFact {
    WireFact { id, says, shown: Shown::By { asked, look, without, shown_by } }
}

const fn never(
    id: &'static str,
    says: &'static str,
    why: &'static str,
    shown_by: Option<&'static str>,
) -> WireFact {
    WireFact { id, says, shown: Shown::Never { why, shown_by } }
}

const REGISTER: &str = "a subscription in which the provider can be read";
const NO_PROVIDER: &str = "the provider was not read";
const CONSOLE: &str = "a recorded run of `recover-unbootable-vm`";
const COMMANDS: &str = "a recorded run of `run-on-machine`, or a look while its run command is kept";
const EXTENSIONS: &str = "a machine with an extension";
const NO_EXTENSION: &str = "none of the machines that were looked at has an extension";
const NO_COMMAND: &str = "no run command is kept on the machines that were looked at";
const OFF: &str = "a virtual machine in Azure that is off";

pub(super) static FACTS: [WireFact; 41] = [
    // What the providers offer.
    read(
        "vm-connect-versions",
        "cluster jobs are offered under a version that knows VM Connect",
        (Asked::Provider("Microsoft.AzureStackHCI"), look::job_versions),
        NO_PROVIDER,
        REGISTER,
    ),
    read(
        "versions-azure-local",
        "every other type of Azure Local is offered under a version that we know, in the region",
        (Asked::Provider("Microsoft.AzureStackHCI"), look::azure_local_versions),
        NO_PROVIDER,
        REGISTER,
    ),
    read(
        "versions-arc",
        "machines, extensions and run commands of Azure Arc are offered under versions that we know",
        (Asked::Provider("Microsoft.HybridCompute"), look::arc_versions),
        NO_PROVIDER,
        REGISTER,
    ),
    read(
        "versions-connectivity",
        "endpoints and service configurations are offered under versions that we know",
        (Asked::Provider("Microsoft.HybridConnectivity"), look::connectivity_versions),
        NO_PROVIDER,
        REGISTER,
    ),
    read(
        "versions-compute",
        "virtual machines in Azure and their parts are offered under versions that we know",
        (Asked::Provider("Microsoft.Compute"), look::compute_versions),
        NO_PROVIDER,
        REGISTER,
    ),
    read(
        "versions-network",
        "network interfaces and security groups are offered under versions that we know",
        (Asked::Provider("Microsoft.Network"), look::network_versions),
        NO_PROVIDER,
        REGISTER,
    ),
    // VM Connect.
    read(
        "job-words",
        "a job says its `jobType`, and in `provisioningState` one of the words that we know",
        (Asked::Job, look::job_words),
        "no instance that was looked at keeps a job",
        CONSOLE,
    ),
    read(
        "job-vm-name",
        "`vmName` of a VM Connect job is the name of the VM in Azure, not that in Hyper-V",
        (Asked::Job, look::job_vm_name),
        "no instance that was looked at keeps a job of VM Connect",
        CONSOLE,
    ),
    read(
        "host-addresses",
        "the address of a VM's host is one of those that its node reports about itself",
        (Asked::Instance, look::host_address),
        "no VM of Azure Local names the address of its host, or no node reports one",
        "a VM of Azure Local that runs",
    ),
    never(
        "job-deleted-first",
        "a finished job must be deleted before another one for the same VM",
        "only a second job shows it",
        Some("a recorded run of `recover-unbootable-vm` for a VM whose console was open before"),
    ),
    never(
        "port-eight-hours",
        "the service closes the console port after eight hours",
        "only an open console shows it",
        Some("port 2179 of the host, nine hours after it was opened and not closed"),
    ),
    never(
        "port-host-wide",
        "port 2179 is open for a whole host: closing it for one VM may cut another's console",
        "only two open consoles show it",
        Some("two consoles on one host, one of them closed"),
    ),
    // Arc machines.
    read(
        "machine-words",
        "`status` of an Arc machine is one of the words that we know",
        (Asked::Machine, look::machine_words),
        "no Arc machine was read",
        "an Arc machine that you may read",
    ),
    read(
        "extension-words",
        "`provisioningState` of an extension is one of the words that we know",
        (Asked::Extension, look::extension_words),
        NO_EXTENSION,
        EXTENSIONS,
    ),
    read(
        "extension-version",
        "the version of an extension is read back whole, and its protected settings never",
        (Asked::Extension, look::extension_version),
        NO_EXTENSION,
        EXTENSIONS,
    ),
    never(
        "extension-location",
        "an extension with another location than its machine is refused",
        "only a write that we never make shows it",
        None,
    ),
    never(
        "extension-busy",
        "409 `HCRP409` counts for each type of extension apart",
        "only two installations at once show it",
        Some("recorded runs that install two extensions on one machine at once"),
    ),
    never(
        "work-kept",
        "work for a machine that is out of touch is kept for six hours and fails then",
        "only a write to a machine that is out of touch shows it",
        None,
    ),
    // The relay.
    read(
        "service-answers",
        "a service configuration says its `serviceName` and, as a number, its `port`",
        (Asked::Service, look::service_answers),
        "none of the machines that were looked at lets SSH in",
        "a machine after `enable-arc-ssh`",
    ),
    read(
        "credentials-refused",
        "without a service configuration credentials are refused with 412",
        (Asked::NoCredentials, look::credentials_refused),
        "no machine that was looked at has an endpoint and no service configuration",
        "a machine whose service configuration for SSH was removed (`disable-arc-ssh`)",
    ),
    never(
        "agent-refuses-port",
        "an agent that does not let a port in says so with 403",
        "only credentials and a connection show it",
        Some("a connection to a port that `azcmagent config` does not list"),
    ),
    never(
        "connection-outlives",
        "an open connection outlives its credentials",
        "only a connection of more than an hour shows it",
        Some("a session that is open for two hours"),
    ),
    never(
        "vault-refusals",
        "how a key vault words its refusals",
        "no vault is named, and none is asked",
        Some("a runbook with a secret `keyvault:VAULT/NAME` that you may not read"),
    ),
    // Azure Resource Manager.
    never(
        "status-missing",
        "a status address that nobody knows yet is known some seconds later",
        "only an operation that has just begun shows it",
        Some("any recorded run that changes something"),
    ),
    read(
        "permissions-answer",
        "permissions are lists of `actions` and `notActions`",
        (Asked::Permission, look::permissions_answer),
        "no permissions were read",
        "an Arc machine on which you have a role",
    ),
    read(
        "permissions-deny",
        "what deny assignments take is not taken out of permissions",
        (Asked::Denial, look::permissions_deny),
        "no deny assignment holds for the machines that were looked at",
        "a machine on which a deny assignment holds",
    ),
    // Run commands.
    read(
        "run-command-view",
        "a run command says in `instanceView.executionState` one of the words that we know",
        (Asked::RunCommand, look::run_command_view),
        NO_COMMAND,
        COMMANDS,
    ),
    read(
        "run-command-exit-code",
        "a run command that came to its end has an `exitCode`, whatever its state says",
        (Asked::RunCommand, look::run_command_exit_code),
        "no run command that came to its end is kept on the machines that were looked at",
        COMMANDS,
    ),
    read(
        "run-command-async",
        "with `asyncExecution` the request has succeeded while the script still runs",
        (Asked::RunCommand, look::run_command_async),
        "no run command with `asyncExecution` runs on the machines that were looked at",
        "a look while one runs",
    ),
    read(
        "run-command-output",
        "`output` and `error` hold the last 4 KiB of what a script said",
        (Asked::RunCommand, look::run_command_output),
        "no run command that is kept said so much",
        "a run command that says more than 4 KiB",
    ),
    // Virtual machines in Azure.
    read(
        "vm-view",
        "the view of a VM says its power as `PowerState/..` and its agent as `Ready` or `Not Ready`",
        (Asked::Vm, look::vm_view),
        "no virtual machine in Azure was read",
        "a virtual machine in Azure that you may read",
    ),
    never(
        "vm-restart-off",
        "a restart of a VM that is off is refused",
        "only a restart that we never ask for shows it",
        None,
    ),
    never(
        "vm-extension-refused",
        "an extension of a VM without a version is refused with `InvalidParameter`, one for another system with `OperationNotAllowed`",
        "only a write that we never make shows it",
        None,
    ),
    never(
        "vm-identity-patch",
        "a change of the identity that does not name assigned ones takes them away",
        "only a write that we never make shows it",
        None,
    ),
    never(
        "vm-work-off",
        "extensions and run commands of a VM that is off are refused with `OperationNotAllowed`",
        "only a write that we never make shows it",
        None,
    ),
    read(
        "diagnostics-refused",
        "where boot diagnostics are off, asking for them is refused",
        (Asked::NoDiagnostics, look::is_refused),
        "no virtual machine in Azure that was looked at has boot diagnostics switched off",
        "a virtual machine in Azure without boot diagnostics",
    ),
    // Networks in Azure.
    read(
        "group-answers",
        "a security group says its rules and default rules, each with priority, direction and access",
        (Asked::SecurityGroup, look::group_answers),
        "no virtual machine that was looked at has a security group at its network interface",
        "a virtual machine in Azure with a security group at its network interface",
    ),
    read(
        "effective-rules-off",
        "the effective rules of a network interface are refused while its VM is off",
        (Asked::NoRules, look::is_refused),
        "no virtual machine in Azure that was looked at is off",
        OFF,
    ),
    never(
        "rule-conflict",
        "a priority that another rule has is refused with `SecurityRuleConflict`",
        "only a second rule of the same priority shows it",
        Some("recorded runs of `open-ssh-port` by two people at once"),
    ),
    never(
        "no-group-shut",
        "without a security group a standard public address lets nobody in",
        "only a connection to such a VM shows it",
        Some("a virtual machine with a standard public address and no security group"),
    ),
    never(
        "rdp-file",
        "the lines of an RDP file for a console",
        "Azure gives out no such file to read",
        Some("an RDP file that Azure's own command wrote"),
    ),
];
