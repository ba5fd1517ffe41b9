//! From what a script or a person names to a machine that can be reached, of whichever kind it is.

use relight_engine::{Error, ErrorCode, ErrorKind, Result};
use schemars::JsonSchema;
use serde::Serialize;

use crate::azure::{Origin, ResourceId};
use crate::compute::VM_TYPE;
use crate::{Azure, Ref};

/// A machine that can be reached: of Azure Arc, or in Azure.
#[derive(Clone, Debug)]
pub struct Reached {
    /// Resource id.
    pub id: ResourceId,
    /// The kind of operating system, windows or linux, where Azure knows it.
    pub os: Option<String>,
}

/// Whose agent a machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Arc,
    Azure,
}

impl Reached {
    pub(super) fn kind(&self) -> Kind {
        if self.id.is(VM_TYPE) { Kind::Azure } else { Kind::Arc }
    }

    /// Returns the id of a machine on which Entra ID's SSH certificates can be good.
    ///
    /// # Errors
    /// `Denied` when they cannot. Confirmed that there is no such sign-in on Windows (the `ssh` extension of the Azure CLI).
    pub fn for_entra(self) -> Result<ResourceId> {
        if self.os.as_deref() != Some("windows") {
            return Ok(self.id);
        }
        let name = self.id.name();
        let message = format!("`{name}` runs Windows, which takes no SSH certificates of Entra ID");
        Err(Error::new(ErrorKind::Denied, message)
            .hint("sign in as a user of the machine: by a password or a key"))
    }
}

impl Azure {
    /// Finds a machine, and makes sure that it is there. A name may be that of an Arc machine, or of a virtual machine in Azure; where there are both it
    /// is the Arc machine.
    ///
    /// # Errors
    /// `NotFound`, with what was perhaps meant, and whatever Azure says.
    pub async fn locate(&self, origin: &Origin, machine: &Ref, group: Option<&str>) -> Result<Reached> {
        let in_azure = async || {
            let vm = self.read_named_azure_vm(origin, machine, group).await?;
            Ok(Reached { id: vm.id, os: vm.os })
        };
        if matches!(machine, Ref::Id(id) if id.is(VM_TYPE)) {
            return in_azure().await;
        }
        match self.read_arc_machine(origin, machine, group).await {
            Ok(machine) => Ok(Reached { id: machine.id, os: machine.os }),
            Err(error)
                if error.error_code() == Some(&ErrorCode::NOT_FOUND) && matches!(machine, Ref::Name(_)) =>
            {
                // What is said of the first kind holds where there is none of the other.
                let is_missing = |other: &Error| other.error_code() == Some(&ErrorCode::NOT_FOUND);
                in_azure().await.map_err(|other| if is_missing(&other) { error } else { other })
            }
            Err(error) => Err(error),
        }
    }
}
