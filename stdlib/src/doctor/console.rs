//! What the facts say about the console of a VM of Azure Local.

use super::check::{Judged, Next, Verdict, said};
use super::fact::Fact;
use super::facts::{Facts, Sight};
use super::run;
use crate::Azure;
use crate::vmconnect::{NOT_OFFERED, OPEN, PORT, ROLE, check_cluster, check_node};

impl Facts {
    /// Judges what VM Connect needs.
    pub(super) fn judge_console(&self, azure: &Azure, judged: &mut Judged) {
        judged.add("host", &["machine", "power"], self.host());
        judged.add("instance", &["host"], self.instance());
        judged.add("node", &["instance"], self.node());
        judged.add("VM Connect", &["instance"], self.offered());
        judged.add("right to open", &["instance"], self.right_to_open());
        judged.add("line of sight", &["node"], self.line_of_sight(azure));
    }

    fn host(&self) -> Verdict {
        match self.vm() {
            Some(vm) => match &vm.host {
                Some(host) => Verdict::ok(format!("it runs on {host}")),
                None => Verdict::blocked(
                    format!("Azure does not say on which host `{}` runs", vm.name),
                    Next::you("it may be moving: look again in a minute"),
                ),
            },
            None => self.on.unseen(&self.local.vm, "its host", "Azure Stack HCI VM Reader", &self.on.id),
        }
    }

    fn instance(&self) -> Verdict {
        match &self.local.cluster {
            Fact::Known(cluster) => match check_cluster(cluster) {
                Ok(()) => Verdict::ok(format!(
                    "{} runs release {}",
                    cluster.name,
                    cluster.release().map_or_else(|| "unknown".to_owned(), |release| release.to_string())
                )),
                Err(error) => Verdict::blocked(said(&error), Next::of(&error)),
            },
            fact => self.on.unseen(fact, "its instance", "Reader", &self.subscription()),
        }
    }

    fn node(&self) -> Verdict {
        match (&self.local.node, self.vm()) {
            (Fact::Known(node), Some(vm)) => match check_node(vm, node) {
                Ok(()) => Verdict::ok(format!("{} is {}", node.name, node.state)),
                Err(error) => Verdict::blocked(said(&error), Next::of(&error)),
            },
            (fact, _) => self.on.unseen(fact, "the node", "Reader", &self.subscription()),
        }
    }

    /// Whether the service has VM Connect where the instance is.
    fn offered(&self) -> Verdict {
        match &self.local.jobs {
            Fact::Known(()) => Verdict::ok("the region offers it"),
            Fact::Refused(error) if error.service_code() == Some("NoRegisteredProviderFound") => {
                Verdict::blocked(said(error), Next::you(NOT_OFFERED))
            }
            fact => self.on.unseen(fact, "its jobs", ROLE, &self.subscription()),
        }
    }

    fn right_to_open(&self) -> Verdict {
        let Some(cluster) = self.local.cluster.known() else {
            return Verdict::unknown("the instance is not known", None);
        };
        match &self.local.rights {
            Fact::Known(rights) if rights.hold(OPEN) => Verdict::ok(OPEN),
            Fact::Known(_) => self.on.lacking(OPEN, ROLE, &cluster.id),
            fact => self.on.unseen(fact, "what you may do at the instance", "Reader", &cluster.id),
        }
    }

    fn line_of_sight(&self, azure: &Azure) -> Verdict {
        match &self.local.sight {
            Fact::Known(Sight::Open(address)) => Verdict::ok(format!("{address} answers on port {PORT}")),
            Fact::Known(Sight::Closed(address)) => {
                Verdict::ok(format!("{address} can be reached; its port {PORT} opens with the console"))
            }
            Fact::Known(Sight::Silent(all)) if all.is_empty() => {
                Verdict::unknown("Azure knows no address of the host", None)
            }
            Fact::Known(Sight::Silent(all)) => Verdict::unknown(
                format!(
                    "no answer from {} on port {PORT}: closed until the console is opened, or not to be reached from here",
                    all.join(", ")
                ),
                Next::you(run(azure, "recover-unbootable-vm", ("vm", &self.on.id), &[])),
            ),
            fact => self.on.unseen(fact, "the addresses of the host", "Reader", &self.subscription()),
        }
    }

    fn subscription(&self) -> String {
        format!("/subscriptions/{}", self.on.id.subscription().unwrap_or_default())
    }
}
