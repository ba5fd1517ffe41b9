//! From the name of a resource to its id, with an answer that helps when there is none.

use crate::azure::Origin;
use crate::prelude::*;
use crate::reference::near;

/// Which resources a name may mean.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    /// What people call one.
    pub(crate) word: &'static str,
    /// The type, and the api-versions that list it.
    pub(crate) api: Api<'static>,
    /// Whether a resource of a list is one.
    pub(crate) matches: fn(&Value) -> bool,
    /// Returns the resource that an id means, if it can mean one.
    pub(crate) id: fn(&ResourceId) -> Result<ResourceId>,
}

impl Azure {
    /// Returns the id of the resource that is named. Whether it is there shows when it is read.
    pub(crate) async fn named(
        &self,
        origin: &Origin,
        kind: Kind,
        named: &Ref,
        group: Option<&str>,
    ) -> Result<ResourceId> {
        match named {
            Ref::Id(id) => (kind.id)(id),
            Ref::Name(name) => match self.group(group) {
                Some(group) => {
                    ResourceId::of_group(self.subscription()?, group)?.resource(kind.api.kind, name)
                }
                None => self.search(origin, kind, name).await,
            },
        }
    }

    /// Lists the resources of a type in a group, or in the subscription.
    pub(crate) async fn list_of(
        &self,
        origin: &Origin,
        api: Api<'static>,
        group: Option<&str>,
    ) -> Result<Vec<Value>> {
        let subscription = self.subscription()?;
        let scope = match group {
            Some(group) => ResourceId::of_group(subscription, group)?.to_string(),
            None => format!("/subscriptions/{subscription}"),
        };
        self.arm.list_as(origin, &format!("{scope}/providers/{}", api.kind), api).await
    }

    /// Finds the one resource of a name in the subscription.
    async fn search(&self, origin: &Origin, kind: Kind, name: &str) -> Result<ResourceId> {
        let all = self.ids_of(origin, kind).await?;
        let mut same: Vec<&ResourceId> =
            all.iter().filter(|id| id.name().eq_ignore_ascii_case(name)).collect();
        match (same.pop(), same.is_empty()) {
            (Some(one), true) => Ok(one.clone()),
            (Some(one), false) => {
                same.push(one);
                let groups: Vec<&str> = same.iter().filter_map(|id| id.group()).collect();
                Err(Error::rejected(format!("{} {}s are called `{name}`", same.len(), kind.word))
                    .hint(format!("say which resource group is meant: {}", groups.join(", "))))
            }
            (None, _) => Err(not_found(kind, name, "in the subscription", all.iter())),
        }
    }

    async fn ids_of(&self, origin: &Origin, kind: Kind) -> Result<Vec<ResourceId>> {
        let all = self.list_of(origin, kind.api, None).await?;
        Ok(all.iter().filter(|it| (kind.matches)(it)).filter_map(id_of).collect())
    }

    /// Says that a resource is not there, with what was perhaps meant.
    pub(crate) async fn no_such(&self, origin: &Origin, kind: Kind, id: &ResourceId) -> Error {
        let (name, group) = (id.name(), id.group().unwrap_or_default());
        // Only to help: whoever may not list gets the plain answer.
        let all = self.ids_of(origin, kind).await.unwrap_or_default();
        let elsewhere: Vec<&str> = all
            .iter()
            .filter(|id| id.name().eq_ignore_ascii_case(name))
            .filter_map(|id| id.group())
            .collect();
        if !elsewhere.is_empty() {
            return Error::rejected(format!(
                "there is no {} `{name}` in resource group `{group}`",
                kind.word
            ))
            .code(ErrorCode::NOT_FOUND)
            .hint(format!("there is one in {}: name that group", elsewhere.join(", ")));
        }
        not_found(kind, name, &format!("in resource group `{group}`"), all.iter())
    }
}

fn not_found<'a>(
    kind: Kind,
    name: &str,
    place: &str,
    all: impl Iterator<Item = &'a ResourceId> + Clone,
) -> Error {
    let word = kind.word;
    let error = Error::rejected(format!("there is no {word} `{name}` {place}")).code(ErrorCode::NOT_FOUND);
    let close = near(name, all.clone().map(ResourceId::name));
    if !close.is_empty() {
        return error.hint(format!("did you mean {}?", close.join(" or ")));
    }
    let some: Vec<&str> = all.map(ResourceId::name).take(5).collect();
    if some.is_empty() {
        return error
            .hint(format!("no {word} is visible there: check the subscription and the role (Reader)"));
    }
    error.hint(format!("there are for example {}", some.join(", ")))
}

/// Returns the id of a resource as Azure tells it.
pub(crate) fn id_of(resource: &Value) -> Option<ResourceId> {
    ResourceId::parse(text(resource, "/id")?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::api::MACHINE;
    use crate::local::find::VM;

    #[test]
    fn a_missing_vm_comes_with_a_proposal() {
        let ids: Vec<ResourceId> = ["web-01", "db-01"]
            .iter()
            .map(|name| ResourceId::of_group("s", "g").unwrap().resource(MACHINE, name).unwrap())
            .collect();
        assert_eq!(not_found(VM, "web-1", "here", ids.iter()).hints(), ["did you mean web-01?"]);
        assert_eq!(
            not_found(VM, "zzzzzzzz", "here", ids.iter()).hints(),
            ["there are for example web-01, db-01"]
        );
    }
}
