//! What an operation says of a resource that it has removed.

use crate::prelude::*;

/// A resource that is gone.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Removed {
    /// Resource id that it had.
    pub(crate) id: ResourceId,
    /// Whether a request was sent. False when it was gone already.
    pub(crate) changed: bool,
}
