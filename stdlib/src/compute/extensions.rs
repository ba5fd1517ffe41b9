//! Extensions of virtual machines in Azure: in which version they are asked for, and what they ask of a VM.

use crate::agent::{Extension, Located, Wanted};
use crate::azure::Origin;
use crate::prelude::*;

/// The versions of an extension that a region has.
const EXTENSION_VERSIONS: Api<'static> = Api {
    kind: "Microsoft.Compute/locations/publishers/artifacttypes/types/versions",
    versions: &["2026-04-01", "2024-07-01", "2023-09-01", "2022-03-01"],
};

/// What lets people in as they are signed in to Azure: by SSH on Linux, at the desktop of Windows.
const ENTRA_ON_LINUX: &str = "AADSSHLoginForLinux";
const ENTRA_ON_WINDOWS: &str = "AADLoginForWindows";

/// Returns the version that a VM in Azure is told, and refuses what cannot work there.
pub(super) async fn version(
    azure: &Azure,
    cx: &Cx,
    on: &Located,
    wanted: &Wanted<'_>,
    found: Option<&Extension>,
) -> Result<String> {
    fits(on, wanted.kind)?;
    if let Some(version) = wanted.version {
        return match parts(version).as_deref() {
            Some([_, _]) => Ok(version.to_owned()),
            _ => Err(Error::invalid(format!("`{version}` is no version for a virtual machine in Azure"))
                .hint("it is told the first two parts and chooses the rest, such as 1.5")),
        };
    }
    // The one that is there goes on within the version that somebody chose.
    if let Some(known) = found.and_then(|found| parts(&found.version)) {
        return Ok(first_two(&known));
    }
    azure.newest_extension(&cx.into(), on, wanted).await
}

/// Refuses what a VM lacks.
///
/// Confirmed that both extensions for Entra ID fail without an identity of the VM's own, and that they are for one system each.
fn fits(on: &Located, kind: &str) -> Result<()> {
    let (name, is_windows) = (on.id.name(), on.os.as_deref() == Some("windows"));
    let is = |known: &str| kind.eq_ignore_ascii_case(known);
    if is(ENTRA_ON_LINUX) && is_windows {
        let message = format!("`{name}` runs Windows, which takes no SSH certificates of Entra ID");
        return Err(Error::rejected(message)
            .hint(format!("{ENTRA_ON_WINDOWS} lets people in at its desktop, by Remote Desktop")));
    }
    if is(ENTRA_ON_WINDOWS) && on.os.as_deref() == Some("linux") {
        return Err(Error::rejected(format!("`{name}` runs Linux, and {ENTRA_ON_WINDOWS} is for Windows"))
            .hint(format!("{ENTRA_ON_LINUX} lets people in by SSH")));
    }
    if (is(ENTRA_ON_LINUX) || is(ENTRA_ON_WINDOWS)) && !on.has_identity {
        return Err(Error::rejected(format!(
            "`{name}` has no identity of its own, without which {kind} fails"
        ))
        .hint(format!("give it a system-assigned one: az vm identity assign --ids {}", on.id)));
    }
    Ok(())
}

impl Azure {
    /// Asks for the newest version of an extension.
    async fn newest_extension(&self, origin: &Origin, on: &Located, wanted: &Wanted<'_>) -> Result<String> {
        let Wanted { publisher, kind, .. } = wanted;
        let subscription = on.id.subscription().unwrap_or_default();
        let region = &on.location;
        for part in [publisher, kind] {
            if part.is_empty()
                || !part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
            {
                return Err(Error::invalid(format!("`{part}` is no name of an extension or its publisher")));
            }
        }
        let path = format!(
            "/subscriptions/{subscription}/providers/Microsoft.Compute/locations/{region}/publishers/{publisher}/artifacttypes/vmextension/types/{kind}/versions"
        );
        let none = || {
            Error::rejected(format!("{region} has no extension `{kind}` of `{publisher}`"))
                .code(ErrorCode::NOT_FOUND)
                .hint(format!("see what there is: az vm extension image list -l {region} -p {publisher}"))
        };
        let all = self.arm.find_as(origin, &path, EXTENSION_VERSIONS).await?.ok_or_else(none)?;
        let versions = items(&all, "").filter_map(|it| parts(text(it, "/name")?));
        versions.max().map(|newest| first_two(&newest)).ok_or_else(none)
    }
}

/// Reads a version of two parts or more.
fn parts(version: &str) -> Option<Vec<u32>> {
    let parts: Option<Vec<u32>> = version.split('.').map(|part| part.parse().ok()).collect();
    parts.filter(|parts| parts.len() >= 2)
}

fn first_two(version: &[u32]) -> String {
    version.iter().take(2).map(u32::to_string).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_found_by_its_numbers() {
        let all = ["1.9.0.0", "1.10.3", "1.2", "odd", "7"];
        let newest = all.iter().filter_map(|it| parts(it)).max().map(|it| first_two(&it));
        assert_eq!(newest.as_deref(), Some("1.10"));
    }
}
