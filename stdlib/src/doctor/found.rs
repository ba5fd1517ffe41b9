//! From what a person or a script names to all that is known about it.

use std::time::Duration;

use relight_engine::{Error, ErrorCode, Result};
use tokio::time::Instant;

use super::Patient;
use super::cloud::CloudFacts;
use super::fact::{Asking, Fact};
use super::facts::Facts;
use super::subject::Subject;
use crate::azure::{Origin, ResourceId};
use crate::compute::VM_TYPE;
use crate::local::find::ARC_MACHINE;
use crate::{Azure, Ref};

/// What is known about a machine, of whichever kind it is.
pub(super) enum Found {
    Arc(Box<Facts>),
    Azure(Box<CloudFacts>),
}

impl Found {
    /// Asks everything that is asked about a machine. A name may be that of an Arc machine, or of a VM in Azure; where there are
    /// both it is the Arc machine.
    ///
    /// # Errors
    /// What keeps a name from being looked up.
    pub(super) async fn gather(
        azure: &Azure,
        origin: &Origin,
        patient: &Patient<'_>,
        within: Duration,
    ) -> Result<Found> {
        let Patient { machine, group, port } = *patient;
        let asking = Asking { azure, origin, deadline: Instant::now() + within };
        let identity = asking.ask(|| azure.arm.identity()).await;
        let in_azure = |id| Subject { id, within, identity: Fact::NotAsked };
        if let Ref::Id(id) = machine
            && id.is(VM_TYPE)
        {
            let on = Subject { identity, ..in_azure(id.clone()) };
            let facts = match on.identity.known() {
                Some(_) => CloudFacts::gather(asking, on, port).await,
                None => CloudFacts::unknown(on, port),
            };
            return Ok(Found::Azure(Box::new(facts)));
        }
        if identity.known().is_none() && azure.group(group).is_none() && matches!(machine, Ref::Name(_)) {
            // Nobody is there to look it up for.
            return Err(match identity {
                Fact::Refused(error) => error,
                _ => late(within),
            });
        }
        let found = asking.ask(|| azure.named(origin, ARC_MACHINE, machine, group)).await;
        let id = match found {
            Fact::Known(id) => id,
            Fact::Refused(error) => match asking.other(machine, group, &error).await {
                Some(id) => {
                    let on = Subject { identity, ..in_azure(id) };
                    return Ok(Found::Azure(Box::new(CloudFacts::gather(asking, on, port).await)));
                }
                None => return Err(error),
            },
            Fact::Late | Fact::NotAsked => return Err(late(within)),
        };
        if identity.known().is_none() {
            return Ok(Found::Arc(Box::new(Facts::without_identity(Subject { id, within, identity }, port))));
        }
        let named = Ref::Id(id.clone());
        let machine_fact = asking.ask(|| azure.read_arc_machine(origin, &named, None)).await;
        if let Fact::Refused(error) = &machine_fact
            && let Some(id) = asking.other(machine, group, error).await
        {
            let on = Subject { identity, ..in_azure(id) };
            return Ok(Found::Azure(Box::new(CloudFacts::gather(asking, on, port).await)));
        }
        let (rights, arc, local) = tokio::join!(asking.rights(&id), asking.arc(&id, port), asking.local(&id));
        let on = Subject { id, within, identity };
        Ok(Found::Arc(Box::new(Facts { on, machine: machine_fact, rights, arc, local })))
    }
}

impl Asking<'_> {
    /// Returns the VM in Azure that a name means, when there is no Arc machine of that name.
    async fn other(&self, machine: &Ref, group: Option<&str>, missing: &Error) -> Option<ResourceId> {
        let is_missing = missing.error_code() == Some(&ErrorCode::NOT_FOUND);
        if !is_missing || matches!(machine, Ref::Id(_)) {
            return None;
        }
        let found = self.ask(|| self.azure.read_named_azure_vm(self.origin, machine, group)).await;
        found.known().map(|vm| vm.id.clone())
    }
}

fn late(within: Duration) -> Error {
    Error::rejected(format!("no answer within {} s", within.as_secs()))
        .hint("check the network, the proxy (HTTPS_PROXY) and the address of the cloud")
}
