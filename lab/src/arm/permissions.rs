//! What the caller may do, action by action: asked of every request, and told to whoever asks for it.
//!
//! The caller has a role for everything, less what the faults `denied` and `role-missing` take away.

use serde_json::{Value, json};

use super::{Address, Cx};
use crate::{arm_error::ArmError, http::Reply};

/// The versions of what `Microsoft.Authorization` tells here.
const VERSIONS: [&str; 3] = ["2022-04-01", "2018-07-01", "2015-07-01"];

/// Refuses what the caller may not do.
pub(super) fn check(cx: &Cx<'_>, segments: &[String]) -> Result<(), ArmError> {
    let Some(action) = action(&cx.call.method, segments) else { return Ok(()) };
    let path = cx.call.path.to_ascii_lowercase();
    let mut denied = cx.faults.denied();
    let mut read_only = cx.faults.read_only();
    let is_denied = denied
        .any(|(pattern, scope)| is_like(&action, pattern) && path.contains(&scope.to_ascii_lowercase()))
        || !cx.call.is_read() && read_only.any(|part| path.contains(&part.to_ascii_lowercase()));
    if !is_denied {
        return Ok(());
    }
    let oid = &cx.world.object_id;
    let message = format!(
        "The client '{}' with object id '{oid}' does not have authorization to perform action '{action}' over scope \
         '{}' or the scope is invalid. If access was recently granted, please refresh your credentials.",
        cx.world.client_id, cx.call.path,
    );
    Err(ArmError::gateway(403, "AuthorizationFailed", message))
}

/// Tells what the caller may do in a subscription, a group or at a resource.
pub(super) fn list(cx: &mut Cx<'_>, segments: &[String]) -> Result<Reply, ArmError> {
    check_version(cx, "permissions")?;
    cx.read_only()?;
    cx.only_query(&["$filter"])?;
    let scope = segments[..segments.len() - 3].join("/").to_ascii_lowercase();
    let is_here = |part: &str| scope.contains(&part.trim_matches('/').to_ascii_lowercase());
    let taken: Vec<&str> =
        cx.faults.denied().filter(|(_, part)| is_here(part)).map(|(pattern, _)| pattern).collect();
    let actions: Value = match cx.faults.read_only().any(is_here) {
        true => json!(["*/read"]),
        false => json!(["*"]),
    };
    let role = json!({"actions": actions, "notActions": taken, "dataActions": [], "notDataActions": []});
    Ok(Reply::json(200, json!({"value": [role]})))
}

/// Lists what is denied whatever roles give: nothing in the lab.
pub(super) fn denials(cx: &mut Cx<'_>) -> Result<Reply, ArmError> {
    check_version(cx, "denyAssignments")?;
    cx.read_only()?;
    cx.only_query(&["$filter"])?;
    Ok(Reply::json(200, json!({"value": []})))
}

fn check_version(cx: &Cx<'_>, kind: &str) -> Result<(), ArmError> {
    let version = cx.call.query("api-version").unwrap_or_default();
    if VERSIONS.contains(&version) {
        return Ok(());
    }
    let known = VERSIONS.join(", ");
    let message = format!(
        "No registered resource provider found for location 'global' and API version '{version}' for type \
         '{kind}'. The supported api-versions are '{known}'. The supported locations are ''."
    );
    Err(ArmError::gateway(400, "NoRegisteredProviderFound", message))
}

/// Returns what Azure RBAC calls a request. Nothing when everybody may make it.
fn action(method: &str, segments: &[String]) -> Option<String> {
    let lower: Vec<String> = segments.iter().map(|it| it.to_ascii_lowercase()).collect();
    let lower: Vec<&str> = lower.iter().map(String::as_str).collect();
    let verb = match method {
        "GET" | "HEAD" => "read",
        "DELETE" => "delete",
        "POST" => "action",
        _ => "write",
    };
    Some(match lower.as_slice() {
        // Lists of what the caller may see.
        ["tenants" | "subscriptions"] => return None,
        [.., "providers", "microsoft.authorization", "permissions"] => {
            format!("Microsoft.Authorization/permissions/{verb}")
        }
        [.., "providers", "microsoft.authorization", "denyassignments"] => {
            format!("Microsoft.Authorization/denyAssignments/{verb}")
        }
        ["subscriptions", _] => format!("Microsoft.Resources/subscriptions/{verb}"),
        ["subscriptions", _, "locations"] => format!("Microsoft.Resources/subscriptions/locations/{verb}"),
        ["subscriptions", _, "providers"] | ["subscriptions", _, "providers", _] => {
            format!("Microsoft.Resources/subscriptions/providers/{verb}")
        }
        ["subscriptions", _, "providers", _, "register"] => format!("{}/register/action", segments[3]),
        ["subscriptions", _, "resources"] => format!("Microsoft.Resources/subscriptions/resources/{verb}"),
        ["subscriptions", _, "resourcegroups", _, "resources"] => {
            format!("Microsoft.Resources/subscriptions/resourceGroups/resources/{verb}")
        }
        _ => match Address::parse(segments).and_then(|address| address.links.last().cloned()) {
            Some(link) => format!("{}/{}/{verb}", link.namespace, link.types.join("/")),
            None => format!("Microsoft.Resources/subscriptions/resourceGroups/{verb}"),
        },
    })
}

/// Returns whether an action is one that a pattern means: `*` stands for anything.
fn is_like(action: &str, pattern: &str) -> bool {
    let (action, pattern) = (action.to_ascii_lowercase(), pattern.to_ascii_lowercase());
    let mut parts = pattern.split('*');
    let Some(mut rest) = action.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut is_open = false;
    for part in parts {
        is_open = true;
        match part {
            "" => rest = "",
            part => match rest.rfind(part) {
                Some(at) if pattern.ends_with(part) => rest = &rest[at + part.len()..],
                Some(_) => rest = &rest[rest.find(part).unwrap_or_default() + part.len()..],
                None => return false,
            },
        }
    }
    rest.is_empty() || is_open && pattern.ends_with('*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(method: &str, path: &str) -> Option<String> {
        let segments: Vec<String> = path.split('/').filter(|it| !it.is_empty()).map(str::to_owned).collect();
        action(method, &segments)
    }

    #[test]
    fn requests_have_the_names_of_their_actions() {
        let machine = "/subscriptions/s/resourceGroups/g/providers/Microsoft.HybridCompute/machines/m";
        for (method, path, name) in [
            ("GET", "/subscriptions".to_owned(), None),
            ("GET", "/subscriptions/s".to_owned(), Some("Microsoft.Resources/subscriptions/read")),
            ("HEAD", machine.to_owned(), Some("Microsoft.HybridCompute/machines/read")),
            (
                "PUT",
                format!("{machine}/extensions/x"),
                Some("Microsoft.HybridCompute/machines/extensions/write"),
            ),
            (
                "POST",
                format!("{machine}/providers/Microsoft.HybridConnectivity/endpoints/default/listCredentials"),
                Some("Microsoft.HybridConnectivity/endpoints/listCredentials/action"),
            ),
            (
                "POST",
                "/subscriptions/s/providers/Microsoft.Compute/register".to_owned(),
                Some("Microsoft.Compute/register/action"),
            ),
            (
                "DELETE",
                "/subscriptions/s/resourceGroups/g".to_owned(),
                Some("Microsoft.Resources/subscriptions/resourceGroups/delete"),
            ),
            (
                "GET",
                format!("{machine}/providers/Microsoft.Authorization/permissions"),
                Some("Microsoft.Authorization/permissions/read"),
            ),
        ] {
            assert_eq!(named(method, &path).as_deref(), name, "{method} {path}");
        }
    }

    #[test]
    fn a_star_stands_for_anything() {
        let action = "Microsoft.HybridConnectivity/endpoints/listCredentials/action";
        for pattern in [
            "*",
            "*/action",
            "microsoft.hybridconnectivity/*",
            "Microsoft.*/endpoints/*/action",
            "*/endpoints/*",
            action,
        ] {
            assert!(is_like(action, pattern), "{pattern}");
        }
        for pattern in ["*/read", "Microsoft.HybridConnectivity", "Microsoft.Compute/*", "*/endpoints", ""] {
            assert!(!is_like(action, pattern), "{pattern}");
        }
    }
}
