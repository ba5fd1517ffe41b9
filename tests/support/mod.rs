//! What the tests share.

pub(crate) mod api;
pub(crate) mod cut;
pub(crate) mod receiver;
pub(crate) mod sealed;
pub(crate) mod stage;
pub(crate) mod world;
