//! The Azure Resource Manager peer: how to say things to Azure, and how to read what comes back.
//!
//! Decisions stand in values that do no I/O and own no clock ([`lro`], [`pacer`], [`error`], [`id`]); one thin
//! driver ([`client`]) owns the socket. Nothing here retries or waits for long: an error says what it means, and
//! the engine decides.

mod arc;
pub(crate) mod auth;
pub mod client;
pub mod cloud;
pub mod credential;
pub mod entra;
pub mod error;
mod http;
pub mod id;
mod identity;
mod inner;
pub mod key_vault;
pub mod lro;
pub mod pacer;
pub mod recording;
mod transport;
pub mod wire;

pub use arc::{ArcAgent, CliOrArc};
pub use client::{Advance, Api, Arm, ArmBuilder, Exchange, Origin, SentRequest, Started, Write};
pub use cloud::Cloud;
pub use credential::{Chosen, Credential};
pub use entra::{Account, Claims, DeviceLogin, Person, SignIns, SshPass};
pub use id::ResourceId;
pub use identity::Identity;
pub use key_vault::VaultSecret;
pub use lro::{FinalState, Lro};
