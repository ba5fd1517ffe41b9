//! Resource ids, parsed once and compared the way Azure compares them.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

use relight_engine::{Error, Result};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};

use super::wire::shortened;

/// The id of a subscription, a resource group, a resource or an extension of a resource.
///
/// Azure changes the letter case of ids freely, so two ids are equal when they differ only in case. The spelling
/// is kept for showing and sending.
#[derive(Clone)]
pub struct ResourceId(String);

impl ResourceId {
    /// Reads an id.
    ///
    /// # Errors
    /// `Invalid`, saying what is wrong with the text.
    pub fn parse(text: &str) -> Result<Self> {
        let text = text.trim().trim_end_matches('/');
        let wrong = |why: &str| {
            Error::invalid(format!("`{}` is not a resource id: {why}", shortened(text, 200)))
                .hint("copy the id from the portal (JSON view) or from `az resource show --query id`")
        };
        let Some(rest) = text.strip_prefix('/') else {
            return Err(wrong("it must start with `/subscriptions/` or `/providers/`"));
        };
        let parts: Vec<&str> = rest.split('/').collect();
        if let Some(part) = parts.iter().find(|part| !is_name(part)) {
            return Err(wrong(&format!("`{}` cannot be a part of one", shortened(part, 80))));
        }
        check_shape(&parts).map_err(|why| wrong(&why))?;
        Ok(ResourceId(text.to_owned()))
    }

    /// Returns the id of a resource group.
    ///
    /// # Errors
    /// `Invalid` when a name cannot stand in an id.
    pub fn of_group(subscription: &str, group: &str) -> Result<Self> {
        ResourceId::parse(&format!("/subscriptions/{subscription}/resourceGroups/{group}"))
    }

    /// Returns the id of a resource of a type such as `Microsoft.HybridCompute/machines`, below this scope. Below a
    /// resource that makes an extension.
    ///
    /// # Errors
    /// `Invalid` when the name cannot stand in an id.
    pub fn resource(&self, kind: &str, name: &str) -> Result<Self> {
        ResourceId::parse(&format!("{}/providers/{kind}/{name}", self.0))
    }

    /// Returns the id of a child such as `jobs/x`.
    ///
    /// # Errors
    /// `Invalid` when the name cannot stand in an id.
    pub fn child(&self, kind: &str, name: &str) -> Result<Self> {
        ResourceId::parse(&format!("{}/{kind}/{name}", self.0))
    }

    /// Returns the id as text, in its own spelling.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the id in lower case, as a key.
    pub fn key(&self) -> String {
        self.0.to_ascii_lowercase()
    }

    /// Returns the parts between the slashes.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').skip(1)
    }

    /// Returns the subscription.
    pub fn subscription(&self) -> Option<&str> {
        self.after("subscriptions")
    }

    /// Returns the resource group.
    pub fn group(&self) -> Option<&str> {
        self.after("resourceGroups")
    }

    /// Returns the last name: of the resource, the group or the subscription.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// Returns the full type, such as `Microsoft.AzureStackHCI/clusters/jobs`. Empty for a scope without a provider.
    ///
    /// For an extension this is the type of the extension.
    pub fn kind(&self) -> String {
        let parts: Vec<&str> = self.segments().collect();
        let Some(at) = parts.iter().rposition(|part| part.eq_ignore_ascii_case("providers")) else {
            return String::new();
        };
        let mut kind = parts.get(at + 1).copied().unwrap_or_default().to_owned();
        for part in parts.iter().skip(at + 2).step_by(2) {
            kind.push('/');
            kind.push_str(part);
        }
        kind
    }

    /// Returns whether the id is of a type, compared without case.
    pub fn is(&self, kind: &str) -> bool {
        self.kind().eq_ignore_ascii_case(kind)
    }

    /// Returns the id above: the parent resource, the resource that is extended, the group, the subscription.
    pub fn parent(&self) -> Option<ResourceId> {
        let parts: Vec<&str> = self.segments().collect();
        let mut end = parts.len().checked_sub(2).filter(|end| *end > 0)?;
        // The namespace belongs to the type that follows it.
        let at = parts[..end].len().checked_sub(2);
        if at.is_some_and(|at| parts[at].eq_ignore_ascii_case("providers")) {
            end -= 2;
        }
        (end > 0).then(|| ResourceId(format!("/{}", parts[..end].join("/"))))
    }

    fn after(&self, word: &str) -> Option<&str> {
        let mut parts = self.segments();
        while let Some(part) = parts.next() {
            if part.eq_ignore_ascii_case("providers") {
                return None;
            }
            if part.eq_ignore_ascii_case(word) {
                return parts.next();
            }
        }
        None
    }
}

/// Returns whether a text can stand between two slashes of an id, and so in the path of a request.
pub fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.trim() == text
        && text != "."
        && text != ".."
        && text
            .chars()
            .all(|c| !c.is_control() && !matches!(c, '/' | '\\' | '?' | '#' | '%' | '<' | '>' | '"'))
}

/// Checks that parts pair up: scopes first, then providers with at least one type and name.
fn check_shape(parts: &[&str]) -> Result<(), String> {
    let mut rest = parts;
    for word in ["subscriptions", "resourceGroups"] {
        match rest {
            [first, tail @ ..] if first.eq_ignore_ascii_case(word) => match tail {
                [_, tail @ ..] => rest = tail,
                [] => return Err(format!("nothing follows `{first}`")),
            },
            _ if word == "subscriptions" && !rest[0].eq_ignore_ascii_case("providers") => {
                return Err("it must start with `/subscriptions/` or `/providers/`".into());
            }
            _ => {}
        }
    }
    while let [word, tail @ ..] = rest {
        if !word.eq_ignore_ascii_case("providers") {
            return Err(format!("`{word}` stands where `providers` should"));
        }
        let end = tail.iter().position(|part| part.eq_ignore_ascii_case("providers")).unwrap_or(tail.len());
        let (link, after) = tail.split_at(end);
        if link.len() < 3 || link.len() % 2 == 0 {
            return Err("a provider must be followed by its types, each with a name".into());
        }
        rest = after;
    }
    Ok(())
}

impl FromStr for ResourceId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        ResourceId::parse(text)
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ResourceId").field(&self.0).finish()
    }
}

impl PartialEq for ResourceId {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for ResourceId {}

impl Hash for ResourceId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl Serialize for ResourceId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ResourceId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ResourceId::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl JsonSchema for ResourceId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "resource-id".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "resource-id" })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INSTANCE: &str = "/subscriptions/s/resourceGroups/rg-edge/providers/Microsoft.HybridCompute/machines/web-01/providers/Microsoft.AzureStackHCI/virtualMachineInstances/default";

    #[test]
    fn an_extension_knows_its_parts() {
        let id = ResourceId::parse(INSTANCE).unwrap();
        assert_eq!((id.subscription(), id.group(), id.name()), (Some("s"), Some("rg-edge"), "default"));
        assert_eq!(id.kind(), "Microsoft.AzureStackHCI/virtualMachineInstances");
        let machine = id.parent().unwrap();
        assert_eq!((machine.name(), machine.kind().as_str()), ("web-01", "Microsoft.HybridCompute/machines"));
        let group = machine.parent().unwrap();
        assert_eq!((group.as_str(), group.kind().as_str()), ("/subscriptions/s/resourceGroups/rg-edge", ""));
        assert_eq!(group.parent().unwrap().as_str(), "/subscriptions/s");
        assert_eq!(group.parent().unwrap().parent(), None);
    }

    #[test]
    fn children_have_long_types() {
        let cluster = ResourceId::of_group("s", "g")
            .unwrap()
            .resource("Microsoft.AzureStackHCI/clusters", "hq")
            .unwrap();
        let job = cluster.child("jobs", "vmc-p-0").unwrap();
        assert_eq!(job.kind(), "Microsoft.AzureStackHCI/clusters/jobs");
        assert_eq!(job.parent(), Some(cluster));
        let tenant = ResourceId::parse("/providers/Microsoft.Management/managementGroups/m").unwrap();
        assert_eq!((tenant.subscription(), tenant.parent()), (None, None));
    }

    #[test]
    fn ids_compare_without_case_and_keep_their_spelling() {
        let one = ResourceId::parse(INSTANCE).unwrap();
        let other = ResourceId::parse(&INSTANCE.to_ascii_uppercase()).unwrap();
        assert_eq!(one, other);
        assert_ne!(one.to_string(), other.to_string());
        assert!(other.is("microsoft.azurestackhci/virtualmachineinstances"));
    }

    #[test]
    fn wrong_ids_say_why() {
        for (text, why) in [
            ("", "must start"),
            ("web-01", "must start"),
            ("/subscriptions", "nothing follows"),
            ("/resourceGroups/x", "must start"),
            ("/subscriptions/s/things/x", "should"),
            ("/subscriptions/s/providers/NS", "types"),
            ("/subscriptions/s/providers/NS/type", "types"),
            ("/subscriptions/s/providers/NS/type/name/sub", "types"),
            ("/subscriptions/s/resourceGroups/../providers/NS/type/name", "cannot be a part"),
            ("/subscriptions/s//resourceGroups/g", "cannot be a part"),
            ("/subscriptions/s/resourceGroups/g?x=1", "cannot be a part"),
            ("/subscriptions/s/resourceGroups/%2e%2e", "cannot be a part"),
        ] {
            let error = ResourceId::parse(text).expect_err(text);
            assert!(error.message().contains(why), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_reads_back(text in "(/[a-z.%? ]{0,6}){0,9}") {
            if let Ok(id) = ResourceId::parse(&text) {
                prop_assert_eq!(&ResourceId::parse(id.as_str()).unwrap(), &id);
                let mut above = id.parent();
                while let Some(parent) = above {
                    prop_assert_eq!(&ResourceId::parse(parent.as_str()).unwrap(), &parent);
                    above = parent.parent();
                }
            }
        }

        #[test]
        fn built_ids_come_apart_again(group in "[A-Za-z0-9_()-]{1,20}", name in "[A-Za-z0-9-]{1,20}") {
            prop_assume!(!group.eq_ignore_ascii_case("providers") && !name.eq_ignore_ascii_case("providers"));
            let scope = ResourceId::of_group("s", &group).unwrap();
            let id = scope.resource("Microsoft.HybridCompute/machines", &name).unwrap();
            prop_assert_eq!(id.group(), Some(group.as_str()));
            prop_assert_eq!(id.name(), name.as_str());
            prop_assert_eq!(id.parent(), Some(scope));
            let json = serde_json::to_string(&id).unwrap();
            prop_assert_eq!(serde_json::from_str::<ResourceId>(&json).unwrap().to_string(), id.to_string());
        }
    }
}
