//! A script that the Arc agent runs: at once, whatever it waits for, and what it did.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use futures::FutureExt;

use super::{
    Computer, powershell,
    shell::{Input, Output, Shell, Streams, taken},
};
use crate::machine::User;

/// What a script did.
pub(crate) struct Ran {
    pub(crate) status: u32,
    pub(crate) output: String,
    pub(crate) error: String,
    /// How many seconds it slept.
    pub(crate) seconds: u64,
}

/// Runs a script as a user, by default as the one who may do anything.
pub(crate) fn run(
    computer: Computer,
    user: Option<&str>,
    script: &str,
    parameters: &[(String, String)],
) -> Ran {
    let user = user.map_or_else(User::root, User::new);
    if computer.is_windows {
        let powershell::Ran { status, output, error } = powershell::run(&computer, &user, script, parameters);
        return Ran { status, output, error, seconds: 0 };
    }
    let slept = Arc::new(AtomicU64::new(0));
    let mut shell = Shell::new(&Arc::new(computer), &user).dreaming(&slept, parameters);
    let (output, out) = Output::buffer();
    let (errors, err) = Output::buffer();
    let streams = Streams { input: Input::of(Vec::new()), output, errors };
    // It waits for nothing: nobody types, and sleep is only counted.
    let ran = tokio::task::unconstrained(shell.run(script, &streams)).now_or_never();
    let text = |buffer| String::from_utf8_lossy(&taken(buffer)).into_owned();
    Ran {
        status: ran.unwrap_or(255),
        output: text(&out),
        error: text(&err),
        seconds: slept.load(Ordering::Relaxed) / 1000,
    }
}
