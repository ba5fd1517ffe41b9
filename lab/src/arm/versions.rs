//! Which resource types exist and which api-versions they are registered for.

use crate::arm_error::ArmError;

/// One resource type.
pub(crate) struct ResourceType {
    pub(crate) namespace: &'static str,
    /// The type below its namespace.
    pub(crate) name: &'static str,
    pub(crate) versions: &'static [&'static str],
}

/// Clusters and what hangs directly on them.
const CLUSTER: &[&str] = &[
    "2026-10-15-preview",
    "2026-10-01",
    "2026-05-01-preview",
    "2026-04-30",
    "2026-02-01",
    "2025-10-01",
    "2024-09-01-preview",
    "2024-04-01",
    "2024-01-01",
    "2023-08-01",
];

const JOBS: &[&str] = &[
    "2026-10-15-preview",
    "2026-10-01",
    "2026-06-01-preview",
    "2026-05-01-preview",
    "2026-04-01-preview",
    "2026-03-01-preview",
    "2026-02-15-preview",
];

/// Those of [`JOBS`] whose job types include VM Connect. The two oldest are inferred: the service listed no others when
/// VM Connect was already in use.
const VM_CONNECT: &[&str] = &[
    "2026-10-15-preview",
    "2026-06-01-preview",
    "2026-05-01-preview",
    "2026-03-01-preview",
    "2026-02-15-preview",
];

const EDGE_DEVICES: &[&str] = &[
    "2026-10-15-preview",
    "2026-10-01",
    "2026-05-01-preview",
    "2026-04-30",
    "2026-02-01",
    "2025-10-01",
    "2024-09-01-preview",
    "2024-04-01",
];

const VM_INSTANCES: &[&str] = &[
    "2026-04-01-preview",
    "2026-02-01-preview",
    "2025-09-01-preview",
    "2025-06-01-preview",
    "2025-04-01-preview",
    "2025-02-01-preview",
    "2024-10-01-preview",
    "2024-08-01-preview",
    "2024-05-01-preview",
    "2024-02-01-preview",
    "2024-01-01",
];

const MACHINES: &[&str] = &["2026-07-15", "2025-06-01", "2025-01-13", "2024-07-10", "2022-11-10"];

/// Not among them is 2024-07-10, the stable version of the machines for long.
const RUN_COMMANDS: &[&str] = &[
    "2026-07-15",
    "2025-06-01",
    "2025-01-13",
    "2024-09-10-preview",
    "2024-07-31-preview",
    "2024-03-31-preview",
    "2023-10-03-preview",
];

/// What `Microsoft.Resources` itself understands.
const RESOURCES: &[&str] = &[
    "2025-04-01",
    "2025-03-01",
    "2024-11-01",
    "2024-07-01",
    "2024-03-01",
    "2023-07-01",
    "2022-12-01",
    "2022-09-01",
    "2021-04-01",
    "2021-01-01",
    "2020-10-01",
    "2020-06-01",
    "2020-01-01",
    "2019-11-01",
    "2019-06-01",
    "2016-06-01",
    "2016-02-01",
];

/// The same paths and bodies in all of them.
const CONNECTIVITY: &[&str] = &["2027-01-01", "2024-12-01", "2023-03-15"];

/// Of virtual machines in Azure and all that is a part of them.
const COMPUTE: &[&str] = &[
    "2026-04-01",
    "2025-11-01",
    "2025-04-01",
    "2024-11-01",
    "2024-07-01",
    "2024-03-01",
    "2023-09-01",
    "2023-07-01",
    "2022-11-01",
    "2022-08-01",
    "2022-03-01",
    "2021-11-01",
    "2021-07-01",
    "2020-12-01",
    "2020-06-01",
];

const NETWORK: &[&str] = &[
    "2026-03-01",
    "2025-05-01",
    "2025-03-01",
    "2025-01-01",
    "2024-10-01",
    "2024-07-01",
    "2024-05-01",
    "2024-03-01",
    "2024-01-01",
    "2023-11-01",
    "2023-09-01",
    "2022-11-01",
    "2022-01-01",
    "2021-08-01",
    "2021-02-01",
    "2018-11-01",
    "2017-10-01",
    "2015-06-15",
];

const AZURE_LOCAL: &str = "Microsoft.AzureStackHCI";
const HYBRID_CONNECTIVITY: &str = "Microsoft.HybridConnectivity";

/// Every resource type of the lab.
pub(crate) const TYPES: &[ResourceType] = &[
    ResourceType { namespace: AZURE_LOCAL, name: "clusters", versions: CLUSTER },
    ResourceType { namespace: AZURE_LOCAL, name: "clusters/arcSettings", versions: CLUSTER },
    ResourceType { namespace: AZURE_LOCAL, name: "clusters/deploymentSettings", versions: CLUSTER },
    ResourceType { namespace: AZURE_LOCAL, name: "clusters/jobs", versions: JOBS },
    ResourceType { namespace: AZURE_LOCAL, name: "edgeDevices", versions: EDGE_DEVICES },
    ResourceType { namespace: AZURE_LOCAL, name: "virtualMachineInstances", versions: VM_INSTANCES },
    ResourceType { namespace: AZURE_LOCAL, name: "logicalNetworks", versions: VM_INSTANCES },
    ResourceType { namespace: AZURE_LOCAL, name: "networkInterfaces", versions: VM_INSTANCES },
    ResourceType { namespace: AZURE_LOCAL, name: "virtualHardDisks", versions: VM_INSTANCES },
    ResourceType { namespace: "Microsoft.HybridCompute", name: "machines", versions: MACHINES },
    ResourceType { namespace: "Microsoft.HybridCompute", name: "machines/extensions", versions: MACHINES },
    ResourceType {
        namespace: "Microsoft.HybridCompute",
        name: "machines/runCommands",
        versions: RUN_COMMANDS,
    },
    ResourceType { namespace: HYBRID_CONNECTIVITY, name: "endpoints", versions: CONNECTIVITY },
    ResourceType {
        namespace: HYBRID_CONNECTIVITY,
        name: "endpoints/serviceConfigurations",
        versions: CONNECTIVITY,
    },
    ResourceType { namespace: "Microsoft.Compute", name: "virtualMachines", versions: COMPUTE },
    ResourceType { namespace: "Microsoft.Compute", name: "locations/publishers", versions: COMPUTE },
    ResourceType {
        namespace: "Microsoft.Compute",
        name: "locations/publishers/artifacttypes/types",
        versions: COMPUTE,
    },
    ResourceType {
        namespace: "Microsoft.Compute",
        name: "locations/publishers/artifacttypes/types/versions",
        versions: COMPUTE,
    },
    ResourceType { namespace: "Microsoft.Compute", name: "virtualMachines/instanceView", versions: COMPUTE },
    ResourceType { namespace: "Microsoft.Compute", name: "virtualMachines/extensions", versions: COMPUTE },
    ResourceType { namespace: "Microsoft.Compute", name: "virtualMachines/runCommands", versions: COMPUTE },
    ResourceType { namespace: "Microsoft.Network", name: "networkInterfaces", versions: NETWORK },
    ResourceType { namespace: "Microsoft.Network", name: "publicIPAddresses", versions: NETWORK },
    ResourceType { namespace: "Microsoft.Network", name: "virtualNetworks", versions: NETWORK },
    ResourceType { namespace: "Microsoft.Network", name: "virtualNetworks/subnets", versions: NETWORK },
    ResourceType { namespace: "Microsoft.Network", name: "networkSecurityGroups", versions: NETWORK },
    ResourceType {
        namespace: "Microsoft.Network",
        name: "networkSecurityGroups/securityRules",
        versions: NETWORK,
    },
    ResourceType {
        namespace: "Microsoft.Network",
        name: "networkSecurityGroups/defaultSecurityRules",
        versions: NETWORK,
    },
    ResourceType { namespace: "Microsoft.Resources", name: "resourceGroups", versions: RESOURCES },
    ResourceType { namespace: "Microsoft.Resources", name: "subscriptions", versions: RESOURCES },
];

/// The regions of `clusters/jobs`, as the service lists them.
const LOCATIONS: &str = "australiaeast, southcentralus, eastus, uksouth, germanywestcentral, westeurope, \
                         southeastasia, canadacentral, japaneast, centralindia";

/// Returns whether an api-version has the VM Connect job types.
pub(crate) fn has_vm_connect(version: &str) -> bool {
    VM_CONNECT.contains(&version)
}

/// Returns the version of a call on `Microsoft.Resources` itself, or ARM's complaint.
pub(crate) fn check_resources(version: Option<&str>) -> Result<String, ArmError> {
    let version = required(version)?;
    if RESOURCES.contains(&version) {
        return Ok(version.to_owned());
    }
    let message = format!(
        "The api-version '{version}' is invalid. The supported versions are '{}'.",
        RESOURCES.join(",")
    );
    Err(ArmError::gateway(400, "InvalidApiVersionParameter", message))
}

/// Finds a type by its lower-case namespace and name and checks the version, or returns ARM's complaint. `limit` replaces
/// the registered versions of `clusters/jobs`.
pub(crate) fn check_type(
    namespace: &str,
    name: &str,
    version: Option<&str>,
    location: &str,
    limit: Option<&[String]>,
) -> Result<(&'static ResourceType, String), ArmError> {
    let version = required(version)?;
    let mut family = TYPES.iter().filter(|t| t.namespace.eq_ignore_ascii_case(namespace)).peekable();
    let Some(first) = family.peek() else {
        let message = format!("The resource namespace '{namespace}' is invalid.");
        return Err(ArmError::gateway(404, "InvalidResourceNamespace", message));
    };
    let (namespace, known) = (first.namespace, first.versions.join(","));
    // An action is checked against the type it acts on.
    let Some(found) = family.find(|t| t.name.eq_ignore_ascii_case(name)) else {
        let message = format!(
            "The resource type '{name}' could not be found in the namespace '{namespace}' for api version \
             '{version}'. The supported api-versions are '{known}'."
        );
        return Err(ArmError::gateway(404, "InvalidResourceType", message));
    };
    let limit = limit.filter(|_| found.name == "clusters/jobs");
    let registered: Vec<&str> = match limit {
        Some(versions) => versions.iter().map(String::as_str).collect(),
        None => found.versions.to_vec(),
    };
    if registered.contains(&version) {
        return Ok((found, version.to_owned()));
    }
    let message = format!(
        "No registered resource provider found for location '{location}' and API version '{version}' for type \
         '{}'. The supported api-versions are '{}'. The supported locations are '{LOCATIONS}'.",
        found.name,
        registered.join(", "),
    );
    Err(ArmError::gateway(400, "NoRegisteredProviderFound", message))
}

fn required(version: Option<&str>) -> Result<&str, ArmError> {
    version.filter(|v| !v.is_empty()).ok_or_else(|| {
        ArmError::gateway(
            400,
            "MissingApiVersionParameter",
            "The api-version query parameter (?api-version=) is required for all requests.",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_name_what_is_supported() {
        let check = |name: &str, version: Option<&str>| {
            check_type("microsoft.azurestackhci", name, version, "eastus", None).map(|(t, _)| t.name)
        };
        assert_eq!(check("clusters", Some("2026-04-30")).ok(), Some("clusters"));
        let code = |result: Result<&str, ArmError>| result.err().map(|e| (e.status, e.code));
        assert_eq!(code(check("clusters", None)), Some((400, "MissingApiVersionParameter")));
        assert_eq!(
            code(check("clusters/jobs", Some("2023-12-01-preview"))),
            Some((400, "NoRegisteredProviderFound"))
        );
        assert_eq!(code(check("moons", Some("2026-04-30"))), Some((404, "InvalidResourceType")));
        assert!(VM_CONNECT.iter().all(|version| JOBS.contains(version)));
    }
}
