//! The extensions that Azure has for its virtual machines: who publishes them, for which system, and in which versions.

use std::collections::BTreeSet;

use serde_json::json;

use super::{Cx, address::Address};
use crate::{arm_error::ArmError, http::Reply, machine::Os, world::Properties};

/// An extension that a VM in Azure can be given.
pub(super) struct Known {
    publisher: &'static str,
    kind: &'static str,
    os: Os,
    /// Oldest first.
    versions: &'static [&'static str],
    /// Whether its installer fails on a VM that cannot sign in to Azure by itself.
    needs_identity: bool,
}

const fn known(
    [publisher, kind]: [&'static str; 2],
    os: Os,
    versions: &'static [&'static str],
    needs_identity: bool,
) -> Known {
    Known { publisher, kind, os, versions, needs_identity }
}

const KNOWN: [Known; 9] = {
    use Os::{Linux, Windows};
    const ENTRA: &str = "Microsoft.Azure.ActiveDirectory";
    const MONITOR: &str = "Microsoft.Azure.Monitor";
    [
        known([ENTRA, "AADSSHLoginForLinux"], Linux, &["1.0.2644.1", "1.0.3154.1"], true),
        known([ENTRA, "AADLoginForWindows"], Windows, &["1.0.0.1", "2.1.0.0", "2.2.0.0"], true),
        known(["Microsoft.OSTCExtensions", "VMAccessForLinux"], Linux, &["1.4.3.0", "1.5.20.1"], false),
        known(["Microsoft.Compute", "VMAccessAgent"], Windows, &["2.0.2", "2.4.11"], false),
        known(["Microsoft.Azure.OpenSSH", "WindowsOpenSSH"], Windows, &["3.0.1.0"], false),
        known([MONITOR, "AzureMonitorLinuxAgent"], Linux, &["1.9.0", "1.33.1"], false),
        known([MONITOR, "AzureMonitorWindowsAgent"], Windows, &["1.9.0", "1.31.0"], false),
        known(["Microsoft.Azure.Extensions", "CustomScript"], Linux, &["2.0.7", "2.1.10"], false),
        known(["Microsoft.Compute", "CustomScriptExtension"], Windows, &["1.9.5", "1.10.18"], false),
    ]
};

fn find(publisher: &str, kind: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|it| it.publisher.eq_ignore_ascii_case(publisher) && it.kind.eq_ignore_ascii_case(kind))
}

/// Lists publishers, the extensions of one, or the versions of one extension: each as a bare list.
pub(super) fn answer(cx: &mut Cx<'_>, at: &Address) -> Result<Reply, ArmError> {
    cx.read_only()?;
    cx.only_query(&["$filter", "$top", "$orderby"])?;
    let [location, publisher, artifact, kind] = [0, 1, 2, 3].map(|nth| at.name(0, nth));
    let missing = || ArmError::service(404, "NotFound", "Artifact: VMExtension was not found.");
    let is_known = artifact.is_empty() || artifact.eq_ignore_ascii_case("vmextension");
    if !(is_known && at.is_collection() && location.eq_ignore_ascii_case(&cx.world.location)) {
        return Err(missing());
    }
    let mut path = format!(
        "/Subscriptions/{}/Providers/Microsoft.Compute/Locations/{location}/Publishers",
        cx.world.subscription
    );
    let names: Vec<&str> = if publisher.is_empty() {
        KNOWN.iter().map(|it| it.publisher).collect::<BTreeSet<_>>().into_iter().collect()
    } else if kind.is_empty() {
        path.push_str(&format!("/{publisher}/ArtifactTypes/VMExtension/Types"));
        let of_them = KNOWN.iter().filter(|it| it.publisher.eq_ignore_ascii_case(publisher));
        of_them.map(|it| it.kind).collect()
    } else {
        let found = find(publisher, kind).ok_or_else(missing)?;
        let Known { publisher, kind, .. } = found;
        path.push_str(&format!("/{publisher}/ArtifactTypes/VMExtension/Types/{kind}/Versions"));
        found.versions.to_vec()
    };
    let show = |name: &&str| json!({"id": format!("{path}/{name}"), "location": location, "name": name});
    Ok(Reply::json(200, names.iter().map(show).collect()))
}

/// Refuses what no VM in Azure can be given. Returns what is known about the rest.
pub(super) fn check(sent: &Properties, os: Os) -> Result<&'static Known, ArmError> {
    // Recorded by others, as are the two about the version.
    let found = find(&sent.publisher, &sent.kind).ok_or_else(|| {
        let (publisher, kind) = (&sent.publisher, &sent.kind);
        let message =
            format!("The VM extension with publisher '{publisher}' and type '{kind}' could not be found.");
        ArmError::service(404, "ArtifactNotFound", message)
    })?;
    // Inferred: the documents have it among what is required.
    let version = sent.version.as_deref().ok_or_else(|| {
        let message = "Required parameter 'typeHandlerVersion' is missing (null).";
        ArmError::service(400, "InvalidParameter", message).at("typeHandlerVersion")
    })?;
    if version.split('.').count() != 2 {
        let message = "The value of parameter typeHandlerVersion is invalid.";
        return Err(ArmError::service(400, "InvalidParameter", message).at("typeHandlerVersion"));
    }
    if !found.versions.iter().any(|it| it.starts_with(&format!("{version}."))) {
        let message = format!(
            "Extension with publisher '{}', type '{}', and type handler version '{version}' could not be found in the \
             extension repository.",
            found.publisher, found.kind
        );
        return Err(ArmError::service(404, "ArtifactNotFound", message));
    }
    // Inferred: the words of Azure are not recorded.
    if found.os != os {
        let message =
            format!("The extension '{}' does not support the operating system of the VM.", found.kind);
        return Err(ArmError::service(409, "OperationNotAllowed", message));
    }
    Ok(found)
}

impl Known {
    /// Returns why its installer fails on a VM, if it does. Confirmed: both ask the VM's own identity for the tenant; the one for
    /// Linux ends with 22.
    pub(super) fn failure(&self, has_identity: bool) -> Option<&'static str> {
        let fails = self.needs_identity && !has_identity;
        fails.then_some(match self.os {
            Os::Linux => "Enable failed: exit status 22: the VM has no system-assigned managed identity.",
            Os::Windows => "AADLoginForWindowsHandler.exe has exited with Exit code: -2145648574",
        })
    }
}
