//! The resource types of Azure Local with the api-versions that are known to work, newest first.

use crate::azure::Api;

/// The type of an Arc machine; an Azure Local VM is one of kind `HCI`.
pub(crate) const MACHINE: &str = "Microsoft.HybridCompute/machines";
/// The type of an Azure Local VM, an extension of its Arc machine.
pub(crate) const INSTANCE: &str = "Microsoft.AzureStackHCI/virtualMachineInstances";
/// The type of an Azure Local instance.
pub(crate) const CLUSTER: &str = "Microsoft.AzureStackHCI/clusters";
/// The type of what a node reports about itself, an extension of its Arc machine.
pub(crate) const EDGE_DEVICE: &str = "Microsoft.AzureStackHCI/edgeDevices";

pub(crate) const MACHINES: Api<'static> =
    Api { kind: MACHINE, versions: &["2026-07-15", "2025-06-01", "2025-01-13", "2024-07-10"] };

/// Versions that know the host of a VM; its address came with 2025-06-01-preview.
pub(crate) const INSTANCES: Api<'static> = Api {
    kind: INSTANCE,
    versions: &[
        "2026-04-01-preview",
        "2026-02-01-preview",
        "2025-09-01-preview",
        "2025-06-01-preview",
        "2025-04-01-preview",
    ],
};

/// Versions with start, stop and restart.
pub(crate) const POWER: Api<'static> = Api {
    kind: INSTANCE,
    versions: &[
        "2026-04-01-preview",
        "2026-02-01-preview",
        "2025-09-01-preview",
        "2025-06-01-preview",
        "2024-01-01",
    ],
};

/// Versions with `powerOff`.
pub(crate) const POWER_OFF: Api<'static> = Api { kind: INSTANCE, versions: &["2026-04-01-preview"] };

pub(crate) const CLUSTERS: Api<'static> =
    Api { kind: CLUSTER, versions: &["2026-10-01", "2026-04-30", "2026-02-01", "2024-04-01", "2024-01-01"] };

pub(crate) const ARC_SETTINGS: Api<'static> = Api {
    kind: "Microsoft.AzureStackHCI/clusters/arcSettings",
    versions: &["2026-10-01", "2026-04-30", "2026-02-01", "2024-04-01", "2024-01-01"],
};

pub(crate) const EDGE_DEVICES: Api<'static> =
    Api { kind: EDGE_DEVICE, versions: &["2026-10-01", "2026-04-30", "2026-02-01", "2024-04-01"] };

/// Versions of cluster jobs that have VM Connect. For the two oldest this is inferred: the service offered only them
/// at a time when VM Connect was in use.
pub(crate) const VM_CONNECT_JOBS: Api<'static> = Api {
    kind: "Microsoft.AzureStackHCI/clusters/jobs",
    versions: &[
        "2026-10-15-preview",
        "2026-06-01-preview",
        "2026-05-01-preview",
        "2026-03-01-preview",
        "2026-02-15-preview",
    ],
};
