//! Everything together: the one test binary over engine, operations, lab and command.
#![allow(clippy::unwrap_used, missing_docs)]

mod cli;
mod clients;
mod examples;
mod registry;
mod specs;
mod support;
