//! One extension of an Arc machine: where it is, and what Azure says about it.

use std::fmt;

use super::find::Machine;
use crate::azure::wire::shortened;
use crate::prelude::*;

/// Known versions; all have extensions in the shape of the oldest.
pub(super) const EXTENSIONS: Api<'static> = Api {
    kind: "Microsoft.HybridCompute/machines/extensions",
    versions: &["2026-07-15", "2025-06-01", "2025-01-13", "2024-07-10"],
};

/// An extension of an Arc machine.
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
}

impl Extension {
    /// Reads the answer of Azure.
    pub(super) fn read(id: ResourceId, body: &Value) -> Self {
        let owned = |pointer| text(body, pointer).unwrap_or_default().to_owned();
        let message = text(body, "/properties/instanceView/status/message").unwrap_or_default();
        Extension {
            name: id.name().to_owned(),
            id,
            publisher: owned("/properties/publisher"),
            kind: owned("/properties/type"),
            version: owned("/properties/typeHandlerVersion"),
            state: owned("/properties/provisioningState"),
            message: shortened(message, 500),
            settings: body.pointer("/properties/settings").cloned().unwrap_or_else(|| json!({})),
        }
    }

    /// Returns whether its state is this word.
    pub(super) fn is(&self, state: &str) -> bool {
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
    }

    /// Returns the error of work that failed.
    pub(super) fn failure(&self) -> Error {
        let said = if self.message.is_empty() { "it does not say why" } else { &self.message };
        Error::rejected(format!("extension `{}` is {}: {said}", self.name, self.state))
            .hint("on the machine: `azcmagent logs` collects what the extension wrote")
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
}

/// Where an extension is, or shall be.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OnMachine {
    pub(super) id: ResourceId,
    pub(super) machine: ResourceId,
    /// The machine's own, which an extension must name.
    pub(super) location: String,
}

impl Machine {
    /// Returns where the extension of this name is, or would be.
    pub(super) fn extension(self, name: &str) -> Result<OnMachine> {
        Ok(OnMachine { id: self.id.child("extensions", name)?, machine: self.id, location: self.location })
    }
}

impl Azure {
    /// Reads an extension that may not be there.
    pub(super) async fn find_extension(&self, cx: &Cx, id: &ResourceId) -> Result<Option<Extension>> {
        let body = self.arm.find(cx, id.as_str(), EXTENSIONS).await?;
        Ok(body.map(|body| Extension::read(id.clone(), &body)))
    }
}
