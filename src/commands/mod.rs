//! One file per command: its arguments, whose doc comments are the help page, and what it does.

mod advice;
pub(crate) mod certificate;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod connect;
pub(crate) mod docs;
pub(crate) mod doctor;
mod files;
mod foreground;
pub(crate) mod lab;
pub(crate) mod leases;
mod left_open;
pub(crate) mod list;
pub(crate) mod login;
pub(crate) mod logout;
mod machine;
pub(crate) mod new;
mod plan;
pub(crate) mod proxy;
mod request;
pub(crate) mod run;
pub(crate) mod runs;
pub(crate) mod schedule;
pub(crate) mod serve;
pub(crate) mod show;
mod which;
pub(crate) mod whoami;
