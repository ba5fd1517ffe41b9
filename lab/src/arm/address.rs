//! The path of a request to a resource, split into its parts. Names keep their spelling; comparing is without case.

/// A resource, a collection or an action.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) subscription: Option<String>,
    pub(crate) group: Option<String>,
    /// `providers/..` parts; an extension resource has two.
    pub(crate) links: Vec<Link>,
}

/// One `providers/{namespace}/{type}/{name}/..` part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) namespace: String,
    pub(crate) types: Vec<String>,
    pub(crate) names: Vec<String>,
}

impl Address {
    /// Reads decoded path segments, or returns `None` when they are no address below a provider.
    pub(crate) fn parse(segments: &[String]) -> Option<Self> {
        let mut address = Self::default();
        let mut rest = segments;
        if let [word, id, tail @ ..] = rest
            && word.eq_ignore_ascii_case("subscriptions")
        {
            address.subscription = Some(id.clone());
            rest = tail;
        }
        if let [word, name, tail @ ..] = rest
            && word.eq_ignore_ascii_case("resourceGroups")
        {
            address.group = Some(name.clone());
            rest = tail;
        }
        while let [word, namespace, tail @ ..] = rest {
            if !word.eq_ignore_ascii_case("providers") {
                return None;
            }
            let mut link = Link { namespace: namespace.clone(), ..Link::default() };
            rest = tail;
            while let [kind, tail @ ..] = rest {
                if kind.eq_ignore_ascii_case("providers") {
                    break;
                }
                link.types.push(kind.clone());
                rest = tail;
                if let [name, tail @ ..] = rest {
                    link.names.push(name.clone());
                    rest = tail;
                }
            }
            address.links.push(link);
        }
        let has_type = address.links.iter().all(|link| !link.types.is_empty());
        (rest.is_empty() && has_type && !address.links.is_empty()).then_some(address)
    }

    /// Returns the last type in lower case without its namespace, and the namespace in lower case.
    pub(crate) fn kind(&self) -> (String, String) {
        let last = self.links.last().cloned().unwrap_or_default();
        (last.namespace.to_ascii_lowercase(), last.types.join("/").to_ascii_lowercase())
    }

    /// Returns the n-th name of a link, or nothing.
    pub(crate) fn name(&self, link: usize, nth: usize) -> &str {
        self.links.get(link).and_then(|link| link.names.get(nth)).map_or("", String::as_str)
    }

    /// Returns whether the path ends in a type: a collection, or for POST an action.
    pub(crate) fn is_collection(&self) -> bool {
        self.links.last().is_some_and(|link| link.types.len() > link.names.len())
    }

    /// Returns the group's name, empty at subscription level.
    pub(crate) fn group(&self) -> &str {
        self.group.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(path: &str) -> Option<Address> {
        Address::parse(&path.split('/').filter(|s| !s.is_empty()).map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn extension_resources_have_two_links() {
        let address = parse(
            "/subscriptions/s/resourcegroups/g/providers/Microsoft.HybridCompute/machines/m/providers/Microsoft.AzureStackHCI/virtualMachineInstances/default/start",
        );
        let address = address.expect("an address");
        assert_eq!(
            address.kind(),
            ("microsoft.azurestackhci".into(), "virtualmachineinstances/start".into())
        );
        assert_eq!((address.name(0, 0), address.name(1, 0)), ("m", "default"));
        assert!(address.is_collection());
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for path in ["/", "/subscriptions/s", "/subscriptions/s/providers/NS", "/subscriptions/s/things/x"] {
            assert_eq!(parse(path), None, "{path}");
        }
    }
}
