//! A local Azure for rehearsals and tests: it speaks the real wire protocols over TLS on loopback.
//!
//! Owns its own reading of Azure: Entra ID tokens, Azure Resource Manager with its manners, an Azure Local site with
//! clusters, nodes and virtual machines, and the console port of a Hyper-V host. It shares no code with the rest of
//! Relight, so that one misreading of Azure cannot hide on both sides, and it is stricter than Azure: unknown
//! api-versions, undocumented fields, early polls and writes to a busy resource are refused.
//!
//! Everything is a function of the seed, the requests and the clock that the caller supplies. The lab never sleeps
//! until something happens in its world: each request first moves the world forward to *now*.
//!
//! ```no_run
//! # async fn demo() -> Result<(), relight_lab::LabError> {
//! use relight_lab::{Lab, LabConfig, system_clock};
//!
//! let lab = Lab::start(LabConfig::new(system_clock())).await?;
//! println!("Azure is at {}", lab.descriptor().url);
//! lab.stop().await;
//! # Ok(())
//! # }
//! ```

mod arm;
mod arm_error;
mod certs;
mod chance;
mod config;
mod console;
mod dispatch;
mod entra;
mod error;
mod faults;
mod guest;
mod http;
mod lab;
mod ledger;
mod listeners;
mod machine;
mod ports;
mod relay;
mod relay_pass;
mod seed;
mod server;
mod signin;
mod state;
mod store;
mod throttle;
mod token;
mod vault;
mod world;

pub use config::{LabConfig, Now, WorldName, system_clock};
pub use console::{Pdu, PduError};
pub use error::LabError;
pub use faults::{Carried, Fault, FaultParseError, Garbage};
pub use lab::{Descriptor, Lab, Scope};
pub use ledger::{ConsoleVisit, LedgerEntry, NextBytes, RequestEntry};
pub use machine::{GUEST_PASSWORD, GUEST_USER};
pub use relay::Guest;
