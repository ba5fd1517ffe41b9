//! What the caller may do, as Azure RBAC says it: lists of actions with `*` for anything, less what is excepted.

use serde_json::Value;

use crate::azure::Api;
use crate::prelude::items;

pub(super) const PERMISSIONS: Api<'static> =
    Api { kind: "Microsoft.Authorization/permissions", versions: &["2022-04-01"] };

/// What the roles of the caller hold, each with what it excepts.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rights(Vec<(Vec<String>, Vec<String>)>);

impl Rights {
    /// Reads what `Microsoft.Authorization/permissions` lists.
    pub(super) fn read(listed: &[Value]) -> Self {
        let texts = |role: &Value, name: &str| -> Vec<String> {
            items(role, name).filter_map(Value::as_str).map(str::to_ascii_lowercase).collect()
        };
        Rights(listed.iter().map(|role| (texts(role, "/actions"), texts(role, "/notActions"))).collect())
    }

    /// Returns whether one of the roles holds an action. What one excepts another may hold.
    pub(super) fn hold(&self, action: &str) -> bool {
        let action = action.to_ascii_lowercase();
        let any = |patterns: &[String]| patterns.iter().any(|pattern| is_like(&action, pattern));
        self.0.iter().any(|(actions, except)| any(actions) && !any(except))
    }

    /// Returns the first of these actions that no role holds.
    pub(super) fn lack<'a>(&self, actions: &[&'a str]) -> Option<&'a str> {
        actions.iter().copied().find(|action| !self.hold(action))
    }
}

/// Returns whether a text is one that a pattern means, both in lower case: `*` stands for anything, also for nothing.
fn is_like(text: &str, pattern: &str) -> bool {
    match pattern.split_once('*') {
        None => text == pattern,
        Some((before, after)) => text.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).any(|at| rest.get(at..).is_some_and(|rest| is_like(rest, after)))
        }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CONNECT: &str = "Microsoft.HybridConnectivity/endpoints/listCredentials/action";

    #[test]
    fn stars_exceptions_and_several_roles_count() {
        for (roles, holds) in [
            (json!([]), false),
            (json!([{"actions": ["*"], "notActions": []}]), true),
            (json!([{"actions": ["*/read"]}]), false),
            (json!([{"actions": ["microsoft.hybridconnectivity/ENDPOINTS/*/action"]}]), true),
            (json!([{"actions": ["*"], "notActions": ["Microsoft.HybridConnectivity/*"]}]), false),
            (
                json!([{"actions": ["*"], "notActions": ["Microsoft.HybridConnectivity/*"]}, {"actions": [CONNECT]}]),
                true,
            ),
            (json!([{"actions": ["Microsoft.HybridConnectivity/endpoints/listCredentials"]}]), false),
            (json!([{"actions": "all"}, 7]), false),
        ] {
            let listed = roles.as_array().unwrap();
            assert_eq!(Rights::read(listed).hold(CONNECT), holds, "{roles}");
        }
    }
}
