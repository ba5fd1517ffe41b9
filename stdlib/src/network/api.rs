//! The resource types of networks with the api-versions that are known to work, newest first.

use crate::azure::Api;

const VERSIONS: &[&str] = &["2026-03-01", "2024-03-01", "2022-01-01", "2021-08-01"];

pub(super) const SUBNETS: Api<'static> =
    Api { kind: "Microsoft.Network/virtualNetworks/subnets", versions: VERSIONS };
pub(crate) const SECURITY_GROUPS: Api<'static> =
    Api { kind: "Microsoft.Network/networkSecurityGroups", versions: VERSIONS };
pub(crate) const RULES: Api<'static> =
    Api { kind: "Microsoft.Network/networkSecurityGroups/securityRules", versions: VERSIONS };
