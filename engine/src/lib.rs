//! Durable runbooks: Rhai scripts whose every step is recorded before it touches the world.
//!
//! An [`Engine`] runs [`Runbook`]s. Whatever a script does to the world is an [`Operation`], and
//! every call of one is a *step*: its intent is durable before the request leaves, where it went is
//! durable before the wait begins, and its result is durable before the next step. After `kill -9`
//! at any moment another process goes on with the operation that is already under way.
//!
//! This crate knows nothing of Azure. It reads no environment, no home directory and no terminal:
//! it is what an embedding program takes.
//!
//! ```
#![doc = include_str!("../examples/embed.rs")]
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod attached;
mod bridge;
mod builder;
mod builtin;
pub mod clock;
mod closing;
mod code;
mod concurrency;
mod core;
mod cx;
mod drive;
mod effect;
mod engine;
mod error;
pub mod event;
mod file;
mod folder;
#[cfg(all(feature = "sqlite", any(test, feature = "fuzzing")))]
#[doc(hidden)]
pub mod fuzzing;
mod handles;
mod hash;
mod hint;
pub mod journal;
mod journal_log;
mod lease;
mod library;
pub mod limits;
pub mod log;
mod machine;
mod measure;
mod mend;
mod operation;
mod params;
mod prepare;
pub mod recorded;
mod redact;
pub mod replay;
mod retry;
mod run;
mod run_id;
mod runbook;
pub mod schedule;
mod scheduling;
mod script;
mod step;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod unrecorded;
mod value;
mod versions;
pub mod worker;

pub use attached::Attached;
pub use builder::EngineBuilder;
pub use code::ErrorCode;
pub use concurrency::Concurrency;
pub use core::{Answers, Environment, Liveness, Notice, Observer};
pub use cx::{Cx, SecretSource};
pub use drive::Driven;
pub use effect::{Effect, Effects};
pub use engine::{Backfill, ClosingState, Engine, OpenLease, Plan};
pub use error::{Error, ErrorKind, Failure, Result, ServiceError, Snippet};
pub use event::{Event, RunId};
pub use file::{Found, PartFile, RunFile};
pub use folder::{ListedFile, Listing, RunFolder};
pub use handles::{Handle, Reopen};
pub use hint::{Hint, NextStep};
pub use library::Library;
pub use operation::{
    Declaration, Done, Example, Field, HandedBack, Operation, Outcome, Pending, Probe, Redo, Registered,
    Shown,
};
pub use params::{Given, ParamReader};
pub use prepare::{Draft, RunRequest};
pub use redact::RedactStream;
pub use retry::{Exhausted, RetryOptions, RetryPolicy};
pub use runbook::{Param, ParamKind, Runbook};
pub use script::{Changes, Finding, Limits, MemoryMeter, Nested, PlannedCall};
pub use value::{Secret, SecretRef, Span};
