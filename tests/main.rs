//! Everything together: the one test binary over engine, operations, lab and command.
#![allow(clippy::unwrap_used, missing_docs)]

mod access;
mod accounts;
mod api;
mod azure;
mod canaries;
mod cli;
mod clients;
mod codes;
mod dependencies;
mod doctor;
mod drills;
mod examples;
mod faults;
mod installed;
mod journals;
mod large;
mod layers;
mod leases;
mod live;
mod plan;
mod race;
mod recordings;
mod registry;
mod rescue;
mod retention;
#[path = "../src/runbooks.rs"]
mod runbooks;
mod schedules;
mod service;
mod simulation;
mod specs;
mod storage;
mod support;
mod terminal;
mod wire;
