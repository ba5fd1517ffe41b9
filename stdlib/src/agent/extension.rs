//! One extension of a machine: where it is, and what Azure says about it.

use std::collections::BTreeMap;
use std::fmt;

use relight_engine::SecretRef;
use serde_json::Map;

use super::{Host, Located, Wanted};
use crate::azure::Origin;
use crate::azure::wire::shortened;
use crate::prelude::*;

/// An extension of a machine.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Extension {
    /// Resource id.
    pub(crate) id: ResourceId,
    /// Name under which it was installed.
    pub(crate) name: String,
    /// Who publishes it.
    pub(crate) publisher: String,
    /// Which extension of the publisher it is.
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// Version that is installed.
    pub(crate) version: String,
    /// Azure's word for its state: Succeeded, Failed, Creating, Updating, Deleting and others.
    pub(crate) state: String,
    /// What the extension last said about itself.
    pub(crate) message: String,
    /// Its public settings.
    pub(crate) settings: Value,
    /// What was said last time to have it run again although nothing else changed.
    #[serde(skip)]
    pub(crate) tag: Option<String>,
}

impl Extension {
    /// Reads the answer of Azure.
    pub(super) fn read(id: ResourceId, body: &Value) -> Self {
        let owned = |pointer| text(body, pointer).unwrap_or_default().to_owned();
        // An Arc machine has one status, a VM in Azure a list of them.
        let said = ["/properties/instanceView/status/message", "/properties/instanceView/statuses/0/message"];
        let message = said.iter().find_map(|at| text(body, at)).unwrap_or_default();
        Extension {
            name: id.name().to_owned(),
            id,
            publisher: owned("/properties/publisher"),
            kind: owned("/properties/type"),
            version: owned("/properties/typeHandlerVersion"),
            state: owned("/properties/provisioningState"),
            message: shortened(message, 500),
            settings: body.pointer("/properties/settings").cloned().unwrap_or_else(|| json!({})),
            tag: text(body, "/properties/forceUpdateTag").map(str::to_owned),
        }
    }

    /// Returns whether its state is this word.
    pub(crate) fn is(&self, state: &str) -> bool {
        self.state.eq_ignore_ascii_case(state)
    }

    /// Returns whether its agent, or Azure, is at work on it.
    pub(super) fn is_changing(&self) -> bool {
        !["Succeeded", "Failed", "Canceled", "Cancelled"].iter().any(|state| self.is(state))
    }

    /// Returns whether this is what is desired.
    pub(super) fn meets(&self, desired: &Desired<'_>) -> bool {
        let version = |asked: &str| self.version == asked || self.version.starts_with(&format!("{asked}."));
        self.publisher.eq_ignore_ascii_case(desired.publisher)
            && self.kind.eq_ignore_ascii_case(desired.kind)
            && desired.version.is_none_or(version)
            && desired.settings.is_none_or(|settings| *settings == self.settings)
            && desired.tag.is_none_or(|tag| self.tag.as_deref() == Some(tag))
    }

    /// Returns the error of work that failed.
    pub(super) fn failure<H: Host>(&self) -> Error {
        let said = if self.message.is_empty() { "it does not say why" } else { &self.message };
        Error::rejected(format!("extension `{}` is {}: {said}", self.name, self.state)).hint(H::LOGS)
    }
}

impl fmt::Display for Extension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "extension {}: {}", self.name, self.state)
    }
}

/// What is asked for, as Azure's own names call it.
#[derive(Debug, Serialize)]
pub(super) struct Desired<'a> {
    pub(super) publisher: &'a str,
    #[serde(rename = "type")]
    pub(super) kind: &'a str,
    #[serde(rename = "typeHandlerVersion", skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) settings: Option<&'a Value>,
    #[serde(rename = "autoUpgradeMinorVersion", skip_serializing_if = "Option::is_none")]
    pub(super) upgrades: Option<bool>,
    #[serde(rename = "protectedSettings", skip_serializing_if = "Unseen::is_empty")]
    pub(super) unseen: Unseen<'a>,
    #[serde(rename = "forceUpdateTag", skip_serializing_if = "Option::is_none")]
    pub(super) tag: Option<&'a str>,
}

/// What Azure shows to nobody: what is secret, and what stands beside it.
#[derive(Debug, Serialize)]
pub(super) struct Unseen<'a> {
    #[serde(flatten)]
    pub(super) plain: &'a Map<String, Value>,
    #[serde(flatten)]
    pub(super) secrets: &'a BTreeMap<String, SecretRef>,
}

impl<'a> Unseen<'a> {
    /// Puts them side by side.
    ///
    /// # Errors
    /// `Invalid` when one name stands on both sides.
    pub(super) fn of(
        plain: &'a Map<String, Value>,
        secrets: &'a BTreeMap<String, SecretRef>,
    ) -> Result<Self> {
        match plain.keys().find(|name| secrets.contains_key(*name)) {
            Some(name) => Err(Error::invalid(format!("`{name}` stands among the secrets and beside them"))),
            None => Ok(Unseen { plain, secrets }),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.plain.is_empty() && self.secrets.is_empty()
    }
}

/// Where an extension is, or shall be.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OnMachine {
    pub(super) id: ResourceId,
    pub(super) machine: ResourceId,
    /// The machine's own, which an extension must name.
    pub(super) location: String,
    /// What has it run again although nothing else changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) tag: Option<String>,
    /// The version that is asked for although nobody named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
}

impl OnMachine {
    /// Returns whether a newer one within the version is taken by itself, where that is to be said.
    pub(super) fn upgrades(&self) -> Option<bool> {
        // Two parts of a version say nothing else.
        self.version.is_some().then_some(true)
    }
}

impl Located {
    /// Returns where the extension of this name is, or would be.
    pub(super) fn extension(self, name: &str) -> Result<OnMachine> {
        let id = self.id.child("extensions", name)?;
        Ok(OnMachine { id, machine: self.id, location: self.location, tag: None, version: None })
    }
}

impl Azure {
    /// Lists the extensions of a machine.
    pub(crate) async fn extensions<H: Host>(
        &self,
        origin: &Origin,
        machine: &ResourceId,
    ) -> Result<Vec<Extension>> {
        let all = self.arm.list_as(origin, &format!("{machine}/extensions"), H::EXTENSIONS).await?;
        let read = |body: &Value| Some(Extension::read(ResourceId::parse(text(body, "/id")?).ok()?, body));
        Ok(all.iter().filter_map(read).collect())
    }

    /// Returns where an extension is, or would be: under its name, or else under that of the one of its type that is there.
    pub(super) async fn place_of<H: Host>(
        &self,
        cx: &Cx,
        machine: Located,
        name: Option<&str>,
        wanted: &Wanted<'_>,
    ) -> Result<OnMachine> {
        let of_type = [wanted.publisher, wanted.kind];
        let found = self.extension_of_type::<H>(cx, &machine.id, of_type).await?;
        let version = H::version(self, cx, &machine, wanted, found.as_ref()).await?;
        let name = name.or(found.as_ref().map(|found| found.name.as_str())).unwrap_or(wanted.kind);
        Ok(OnMachine { version, ..machine.extension(name)? })
    }

    /// Reads an extension that may not be there.
    pub(crate) async fn find_extension<H: Host>(
        &self,
        cx: &Cx,
        id: &ResourceId,
    ) -> Result<Option<Extension>> {
        let body = self.arm.find(cx, &format!("{id}{}", H::WITH_VIEW), H::EXTENSIONS).await?;
        Ok(body.map(|body| Extension::read(id.clone(), &body)))
    }

    /// Reads the extension of a type, of which a machine has one at most, whatever that is called.
    pub(crate) async fn extension_of_type<H: Host>(
        &self,
        cx: &Cx,
        machine: &ResourceId,
        [publisher, kind]: [&str; 2],
    ) -> Result<Option<Extension>> {
        let all = self.extensions::<H>(&cx.into(), machine).await?;
        let is_it = |it: &Extension| {
            it.publisher.eq_ignore_ascii_case(publisher) && it.kind.eq_ignore_ascii_case(kind)
        };
        Ok(all.into_iter().find(is_it))
    }
}
