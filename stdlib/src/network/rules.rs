//! The rules of security groups, and which of them decides about a connection.

use std::net::{IpAddr, Ipv4Addr};

use crate::prelude::*;

/// A rule about who may connect.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Name.
    pub(crate) name: String,
    /// Where it stands: the resource id of a security group, or of a network manager.
    pub(crate) place: String,
    /// What the place is before: a subnet, a network interface, or all networks.
    pub(crate) before: String,
    /// Allow, AlwaysAllow or Deny.
    pub(crate) access: String,
    /// Priority: the lowest one decides.
    pub(crate) priority: u64,
    /// From where: addresses, prefixes and service tags.
    pub(crate) sources: Vec<String>,
    /// To which ports: numbers and ranges, or `*`.
    pub(crate) ports: Vec<String>,
}

/// The rules of one place, in the order of their priority.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Layer {
    /// Resource id of the security group, or of the network manager.
    pub(crate) place: String,
    pub(crate) before: String,
    pub(crate) rules: Vec<Rule>,
    /// The priorities that are taken.
    pub(crate) taken: Vec<u64>,
}

impl Layer {
    /// Reads the rules of a security group: the inbound ones, those that every group has among them.
    pub(crate) fn of_group(group: &Value, before: &str) -> Self {
        let own = items(group, "/properties/securityRules");
        let all = own.chain(items(group, "/properties/defaultSecurityRules"));
        Self::read(text(group, "/id").unwrap_or_default(), before, all.map(|rule| (rule, "/properties")))
    }

    /// Reads the effective rules before a network interface, one layer for each place.
    ///
    /// # Errors
    /// `Transient` when the answer is none.
    pub(crate) fn of_effective(answer: &Value) -> Result<Vec<Self>> {
        if !answer.pointer("/value").is_some_and(Value::is_array) {
            return Err(Error::new(ErrorKind::Transient, "Azure did not tell the rules that are in effect"));
        }
        let read = |it: &Value| {
            let before = ["networkManager", "subnet", "networkInterface"]
                .into_iter()
                .find(|name| it.pointer(&format!("/association/{name}/id")).is_some());
            let (before, own) = match before {
                Some("networkManager") => ("all networks", "/association/networkManager/id"),
                Some("subnet") => ("the subnet", "/networkSecurityGroup/id"),
                _ => ("the network interface", "/networkSecurityGroup/id"),
            };
            let place = text(it, own).unwrap_or_default().to_owned();
            Self::read(&place, before, items(it, "/effectiveSecurityRules").map(|rule| (rule, "")))
        };
        Ok(items(answer, "/value").map(read).collect())
    }

    fn read<'a>(place: &str, before: &str, rules: impl Iterator<Item = (&'a Value, &'a str)>) -> Self {
        let is = |rule: &Value, at: String, word: &str| {
            text(rule, &at).is_some_and(|it| it.eq_ignore_ascii_case(word))
        };
        let mut layer = Layer {
            place: place.to_owned(),
            before: before.to_owned(),
            rules: Vec::new(),
            taken: Vec::new(),
        };
        for (rule, at) in rules.filter(|(rule, at)| is(rule, format!("{at}/direction"), "Inbound")) {
            let priority = rule.pointer(&format!("{at}/priority"));
            let priority = priority.and_then(|it| it.as_u64().or_else(|| it.as_str()?.parse().ok()));
            let Some(priority) = priority else { continue };
            layer.taken.push(priority);
            // One that is on its way out holds no longer.
            let is_going = is(rule, format!("{at}/provisioningState"), "Deleting");
            let is_tcp = ["Tcp", "*", "All"].iter().any(|it| is(rule, format!("{at}/protocol"), it));
            if is_going || !is_tcp {
                continue;
            }
            // Service tags are spelled out there, where Azure does so.
            let expanded = list(rule, at, ["", "expandedSourceAddressPrefix"]);
            let sources = list(rule, at, ["sourceAddressPrefix", "sourceAddressPrefixes"]);
            layer.rules.push(Rule {
                name: text(rule, &format!("{at}/name"))
                    .or_else(|| text(rule, "/name"))
                    .map(|name| name.rsplit('/').next().unwrap_or(name).to_owned())
                    .unwrap_or_default(),
                place: place.to_owned(),
                before: before.to_owned(),
                access: text(rule, &format!("{at}/access")).unwrap_or_default().to_owned(),
                priority,
                sources: sources.into_iter().chain(expanded).collect(),
                ports: list(rule, at, ["destinationPortRange", "destinationPortRanges"]),
            });
        }
        layer.rules.sort_by_key(|rule| rule.priority);
        layer
    }

    /// Returns the rule that decides about a connection, if one is about it.
    pub(crate) fn decides(&self, from: &Source, port: u16) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.is_about(from, port))
    }

    /// Returns a priority that is free and comes before another one.
    ///
    /// # Errors
    /// `Rejected` when none is.
    pub(crate) fn free_before(&self, before: u64) -> Result<u64> {
        // The nearest one, so that rules that others make before ours still come before it.
        let mut free = (100..before.min(4097)).rev().filter(|priority| !self.taken.contains(priority));
        free.next().ok_or_else(|| {
            Error::rejected(format!("no priority below {before} is free in {}", self.place))
                .hint("remove a rule there that nobody needs, or give one a higher number")
        })
    }
}

/// Returns the values of a rule that may stand alone or in a list.
fn list(rule: &Value, at: &str, [one, many]: [&str; 2]) -> Vec<String> {
    let single = text(rule, &format!("{at}/{one}")).filter(|_| !one.is_empty());
    let mut all: Vec<String> =
        items(rule, &format!("{at}/{many}")).filter_map(Value::as_str).map(str::to_owned).collect();
    all.extend(single.map(str::to_owned).filter(|it| !all.contains(it)));
    all
}

/// From where a connection comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// One address.
    Address(IpAddr),
    /// Any address of the internet.
    Anywhere,
}

impl Source {
    /// Reads an address, `*` or `Internet`.
    ///
    /// # Errors
    /// `Invalid` when it is none of these.
    pub(crate) fn read(source: &str) -> Result<Self> {
        match source {
            "*" | "Internet" | "internet" => Ok(Source::Anywhere),
            _ => source.trim_end_matches("/32").parse().map(Source::Address).map_err(|_| {
                Error::invalid(format!("`{}` is no address", crate::azure::wire::shortened(source, 80)))
                    .hint("one address, such as 203.0.113.7; or \"Internet\" for everybody")
            }),
        }
    }

    /// Returns how a rule names it.
    pub(crate) fn prefix(&self) -> String {
        match self {
            Source::Address(address) if address.is_ipv4() => format!("{address}/32"),
            Source::Address(address) => format!("{address}/128"),
            Source::Anywhere => "Internet".to_owned(),
        }
    }
}

impl Rule {
    pub(crate) fn allows(&self) -> bool {
        self.access.to_ascii_lowercase().ends_with("allow")
    }

    fn is_about(&self, from: &Source, port: u16) -> bool {
        let from = |it: &String| match (it.as_str(), from) {
            ("*" | "0.0.0.0/0" | "0.0.0.0/0,::/0" | "Internet" | "internet", _) => true,
            // A rule about some addresses neither lets everybody in nor keeps everybody out.
            (_, Source::Anywhere) => false,
            (prefix, Source::Address(IpAddr::V4(address))) => holds(prefix, *address),
            (prefix, Source::Address(address)) => prefix.trim_end_matches("/128").parse() == Ok(*address),
        };
        let to = |it: &String| match it.split_once('-') {
            _ if it == "*" => true,
            Some((low, high)) => {
                low.parse().is_ok_and(|low: u16| low <= port)
                    && high.parse().is_ok_and(|high: u16| port <= high)
            }
            None => it.parse() == Ok(port),
        };
        self.sources.iter().any(from) && self.ports.iter().any(to)
    }
}

/// Returns whether an address lies in `a.b.c.d/n`, or is the one that is named. A service tag holds nothing here.
fn holds(prefix: &str, address: Ipv4Addr) -> bool {
    let (network, bits) = prefix.split_once('/').unwrap_or((prefix, "32"));
    let (Ok(network), Ok(bits @ 0..=32)) = (network.parse::<Ipv4Addr>(), bits.parse::<u32>()) else {
        return false;
    };
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    u32::from(network) & mask == u32::from(address) & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(name: &str, priority: u64, access: &str, source: &str, ports: &str) -> Value {
        json!({"name": name, "properties": {"direction": "Inbound", "priority": priority, "access": access,
            "protocol": "Tcp", "sourceAddressPrefix": source, "destinationPortRange": ports}})
    }

    fn group(rules: &[Value]) -> Layer {
        let defaults = [rule("DenyAllInBound", 65500, "Deny", "*", "*")];
        let group =
            json!({"id": "/nsg", "properties": {"securityRules": rules, "defaultSecurityRules": defaults}});
        Layer::of_group(&group, "the subnet")
    }

    #[test]
    fn the_rule_with_the_lowest_priority_decides() {
        let layer = group(&[
            rule("deny", 300, "Deny", "*", "0-1023"),
            rule("ours", 200, "Allow", "203.0.113.0/24", "22"),
            rule("web", 100, "Allow", "Internet", "443"),
        ]);
        let decides = |source: &str, port| {
            let source = Source::read(source).unwrap();
            layer.decides(&source, port).map(|rule| (rule.name.as_str(), rule.allows())).unwrap()
        };
        assert_eq!(decides("203.0.113.9", 22), ("ours", true));
        assert_eq!(decides("203.0.114.9", 22), ("deny", false));
        assert_eq!(decides("Internet", 22), ("deny", false));
        assert_eq!(decides("Internet", 443), ("web", true));
        assert_eq!(decides("203.0.113.9", 3389), ("DenyAllInBound", false));
        assert_eq!(layer.free_before(300).unwrap(), 299);
        assert_eq!(layer.free_before(201).unwrap(), 199);
        assert!(layer.free_before(100).is_err());
    }

    #[test]
    fn effective_rules_are_read_by_where_they_stand() {
        let answer = json!({"value": [
            {"association": {"networkManager": {"id": "/m"}}, "effectiveSecurityRules": [
                {"name": "deny", "direction": "Inbound", "priority": 10, "access": "Deny", "protocol": "Tcp",
                 "sourceAddressPrefixes": ["*"], "destinationPortRanges": ["22-22"]}]},
            {"networkSecurityGroup": {"id": "/nsg"}, "association": {"subnet": {"id": "/s"}}, "effectiveSecurityRules": [
                {"name": "securityRules/ssh", "direction": "Inbound", "priority": 300, "access": "Allow", "protocol": "All",
                 "sourceAddressPrefix": "MyTag", "expandedSourceAddressPrefix": ["203.0.113.0/24"], "destinationPortRange": "0-65535"},
                {"name": "securityRules/out", "direction": "Outbound", "priority": 100, "access": "Deny", "protocol": "All"}]},
        ]});
        let layers = Layer::of_effective(&answer).unwrap();
        let source = Source::read("203.0.113.9").unwrap();
        let decided: Vec<_> = layers.iter().map(|it| it.decides(&source, 22).unwrap()).collect();
        assert_eq!(
            (decided[0].before.as_str(), decided[0].place.as_str(), decided[0].allows()),
            ("all networks", "/m", false)
        );
        assert_eq!(
            (decided[1].name.as_str(), decided[1].place.as_str(), decided[1].allows()),
            ("ssh", "/nsg", true)
        );
        assert!(Layer::of_effective(&json!(null)).is_err());
        for odd in [
            json!({"value": [{}]}),
            json!({"value": [{"effectiveSecurityRules": [{"direction": "Inbound"}]}]}),
        ] {
            assert!(Layer::of_effective(&odd).unwrap().iter().all(|layer| layer.rules.is_empty()), "{odd}");
        }
    }
}
