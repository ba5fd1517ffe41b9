//! The lab seen from outside, over its real sockets.

mod support;

mod arm;
mod console;
mod entra;
mod extensions;
mod faults;
mod jobs;
mod persistence;
mod power;
mod run_commands;
mod shapes;
mod signin;
mod strict;
