//! What lies between a VM in Azure and everybody else: network interfaces, public addresses, and the rules of security groups.

use std::net::Ipv4Addr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Tags, World};

/// What a world has of networks.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Networks {
    pub(crate) nics: Vec<Nic>,
    pub(crate) addresses: Vec<PublicAddress>,
    pub(crate) subnets: Vec<Subnet>,
    pub(crate) groups: Vec<SecurityGroup>,
}

/// A network interface, which a VM of the same resource group has.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Nic {
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) vm: String,
    pub(crate) private: Ipv4Addr,
    /// The name of its public address.
    pub(crate) public: Option<String>,
    /// The name of its subnet.
    pub(crate) subnet: String,
    /// The name of its own security group.
    pub(crate) rules: Option<String>,
}

/// A public address.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct PublicAddress {
    pub(crate) name: String,
    pub(crate) group: String,
    /// Counts the addresses of a world, and decides which one it is.
    pub(crate) index: u8,
    /// Whether it is given back when its VM is deallocated, and another one comes with the next start.
    pub(crate) is_dynamic: bool,
}

/// The one subnet of a virtual network.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Subnet {
    pub(crate) network: String,
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) prefix: String,
    /// The name of its security group.
    pub(crate) rules: Option<String>,
}

/// A network security group.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct SecurityGroup {
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) rules: Vec<Rule>,
    /// Until when it takes no other change.
    pub(crate) busy: Option<Timestamp>,
    /// How often it was changed, which its etag tells.
    pub(crate) edits: u32,
    pub(crate) tags: Tags,
}

/// A rule that somebody made.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Rule {
    pub(crate) name: String,
    pub(crate) is: RuleProperties,
    /// When it holds, after it was made or changed.
    pub(crate) holds: Option<Timestamp>,
    /// When it will be gone, once its deletion was accepted.
    pub(crate) gone: Option<Timestamp>,
    pub(crate) writes: u32,
}

/// What a rule says, in Azure's words.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct RuleProperties {
    pub(crate) description: Option<String>,
    /// Tcp, Udp, Icmp, Esp, Ah or `*`.
    pub(crate) protocol: String,
    pub(crate) allows: bool,
    pub(crate) inbound: bool,
    pub(crate) priority: u32,
    pub(crate) sources: Vec<String>,
    pub(crate) source_ports: Vec<String>,
    pub(crate) destinations: Vec<String>,
    pub(crate) ports: Vec<String>,
    /// Which of the lists above were sent as lists, in that order.
    pub(crate) is_list: [bool; 4],
}

impl RuleProperties {
    /// Returns the three inbound rules that every group has.
    pub(crate) fn defaults() -> [(&'static str, Self); 3] {
        let rule = |priority, allows, from: &str, to: &str| RuleProperties {
            protocol: "*".to_owned(),
            allows,
            inbound: true,
            priority,
            sources: vec![from.to_owned()],
            source_ports: vec!["*".to_owned()],
            destinations: vec![to.to_owned()],
            ports: vec!["*".to_owned()],
            ..Self::default()
        };
        [
            ("AllowVnetInBound", rule(65000, true, "VirtualNetwork", "VirtualNetwork")),
            ("AllowAzureLoadBalancerInBound", rule(65001, true, "AzureLoadBalancer", "*")),
            ("DenyAllInBound", rule(65500, false, "*", "*")),
        ]
    }

    /// Returns whether it is about a connection from outside to a port.
    fn is_about(&self, source: Ipv4Addr, port: u16) -> bool {
        let from = |it: &String| match it.as_str() {
            "*" | "Internet" | "0.0.0.0/0" => true,
            prefix => holds(prefix, source),
        };
        let to = |it: &String| match it.split_once('-') {
            _ if it == "*" => true,
            Some((low, high)) => {
                low.parse().is_ok_and(|low: u16| low <= port)
                    && high.parse().is_ok_and(|high: u16| port <= high)
            }
            None => it.parse() == Ok(port),
        };
        let is_tcp = self.protocol == "*" || self.protocol.eq_ignore_ascii_case("tcp");
        self.inbound && is_tcp && self.sources.iter().any(from) && self.ports.iter().any(to)
    }
}

/// Returns whether an address lies in `a.b.c.d/n`, or is the one that is named.
fn holds(prefix: &str, address: Ipv4Addr) -> bool {
    let (network, bits) = prefix.split_once('/').unwrap_or((prefix, "32"));
    let (Ok(network), Ok(bits @ 0..=32)) = (network.parse::<Ipv4Addr>(), bits.parse::<u32>()) else {
        return false;
    };
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    u32::from(network) & mask == u32::from(address) & mask
}

impl SecurityGroup {
    pub(crate) fn is(&self, group: &str, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name) && self.group.eq_ignore_ascii_case(group)
    }

    pub(crate) fn rule(&self, name: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.name.eq_ignore_ascii_case(name))
    }

    /// Returns whether a connection from outside may pass, by the first rule that is about it.
    fn lets_in(&self, source: Ipv4Addr, port: u16, now: Timestamp) -> bool {
        let held = self.rules.iter().filter(|rule| rule.holds.is_some_and(|at| at <= now));
        let mut rules: Vec<&RuleProperties> = held.map(|rule| &rule.is).collect();
        let defaults = RuleProperties::defaults();
        rules.extend(defaults.iter().map(|(_, is)| is));
        rules.sort_by_key(|rule| rule.priority);
        rules.iter().find(|rule| rule.is_about(source, port)).is_some_and(|rule| rule.allows)
    }
}

impl World {
    /// Returns the network interface of a VM.
    pub(crate) fn nic_of(&self, group: &str, vm: &str) -> Option<&Nic> {
        let mut all = self.networks.nics.iter();
        all.find(|nic| nic.vm.eq_ignore_ascii_case(vm) && nic.group.eq_ignore_ascii_case(group))
    }

    pub(crate) fn security_group(&self, group: &str, name: &str) -> Option<&SecurityGroup> {
        self.networks.groups.iter().find(|it| it.is(group, name))
    }

    /// Removes a security group from before everything that it stands before, and then itself. Returns whether it was there.
    pub(crate) fn remove_security_group(&mut self, group: &str, name: &str) -> bool {
        let networks = &mut self.networks;
        let is_it = |rules: &Option<String>, of: &str| {
            of.eq_ignore_ascii_case(group) && rules.as_ref().is_some_and(|it| it.eq_ignore_ascii_case(name))
        };
        networks.nics.iter_mut().filter(|it| is_it(&it.rules, &it.group)).for_each(|it| it.rules = None);
        networks.subnets.iter_mut().filter(|it| is_it(&it.rules, &it.group)).for_each(|it| it.rules = None);
        let before = networks.groups.len();
        networks.groups.retain(|it| !it.is(group, name));
        networks.groups.len() < before
    }

    /// Returns the security groups in the way to a network interface: its subnet's, and its own.
    pub(crate) fn rules_before(&self, nic: &Nic) -> Vec<&SecurityGroup> {
        let subnet = self.networks.subnets.iter().find(|it| it.name == nic.subnet && it.group == nic.group);
        let names = [subnet.and_then(|subnet| subnet.rules.as_ref()), nic.rules.as_ref()];
        names.into_iter().flatten().filter_map(|name| self.security_group(&nic.group, name)).collect()
    }

    /// Returns whether the networks let a connection from outside through to a port of a VM. Where no security group
    /// stands in the way the public address itself lets nobody in, as those of the standard kind do.
    pub(crate) fn lets_in(&self, nic: &Nic, source: Ipv4Addr, port: u16, now: Timestamp) -> bool {
        let groups = self.rules_before(nic);
        !groups.is_empty() && groups.iter().all(|group| group.lets_in(source, port, now))
    }

    /// Returns the public address of a network interface, when it has one now.
    pub(crate) fn public_address(&self, nic: &Nic) -> Option<Ipv4Addr> {
        let name = nic.public.as_ref()?;
        let address = self.networks.addresses.iter().find(|it| &it.name == name && it.group == nic.group)?;
        let vm = self.azure_vms.iter().find(|vm| vm.is(&nic.group, &nic.vm))?;
        let is_away = vm.power == super::AzurePower::Deallocated && vm.change.is_none();
        if address.is_dynamic && is_away {
            return None;
        }
        // Another one after each time that it was given back.
        let turn = if address.is_dynamic { (vm.starts % 8) as u8 } else { 0 };
        let last = 160 + address.index * 8 + turn;
        Some(match self.network {
            Some([x, y]) => Ipv4Addr::new(127, x, y, last),
            // For documentation: where loopback addresses cannot be had, nobody answers there.
            None => Ipv4Addr::new(203, 0, 113, last),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_is_about_it_decides() {
        let rule = |name: &str, priority, allows, source: &str, port: &str| Rule {
            name: name.to_owned(),
            is: RuleProperties {
                protocol: "Tcp".to_owned(),
                allows,
                inbound: true,
                priority,
                sources: vec![source.to_owned()],
                ports: vec![port.to_owned()],
                ..RuleProperties::default()
            },
            holds: Some(Timestamp::UNIX_EPOCH),
            gone: None,
            writes: 1,
        };
        let mut group = SecurityGroup {
            name: "nsg".to_owned(),
            group: "g".to_owned(),
            rules: vec![
                rule("deny", 200, false, "*", "0-1023"),
                rule("one", 100, true, "198.51.100.0/24", "22"),
            ],
            busy: None,
            edits: 0,
            tags: Tags::new(),
        };
        let now = Timestamp::UNIX_EPOCH;
        let (inside, outside) = (Ipv4Addr::new(198, 51, 100, 7), Ipv4Addr::new(198, 51, 101, 7));
        assert!(group.lets_in(inside, 22, now));
        assert!(!group.lets_in(outside, 22, now));
        assert!(!group.lets_in(inside, 23, now));
        assert!(!group.lets_in(inside, 3389, now), "what nothing is said about is shut");
        group.rules.push(rule("late", 150, true, "Internet", "3389"));
        group.rules[2].holds = None;
        assert!(!group.lets_in(inside, 3389, now), "a rule holds once it was carried out");
    }
}
