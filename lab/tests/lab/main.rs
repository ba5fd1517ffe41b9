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
mod shapes;
mod strict;
