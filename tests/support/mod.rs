//! What the tests share.

pub(crate) mod sealed;
pub(crate) mod world;
