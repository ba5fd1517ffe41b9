//! A shell at a terminal: every key goes to the machine as it is pressed, and the terminal is given back as it was.

use std::time::Duration;

use relight_engine::Error;
use relight_stdlib::ssh::{Ended, Input, Session};
use tokio::io::AsyncReadExt;

use super::keys::hear;
use crate::environment::variable;
use crate::exit::Result;
use crate::platform::RawTerminal;
use crate::{platform, terminal};

/// How often the size of the terminal is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Runs a shell, or a command with a terminal, until it ends or is left.
pub(super) async fn carry(session: &Session, command: Option<&str>) -> Result<Ended> {
    if !terminal::can_ask() {
        return Err(Error::invalid("a shell needs a terminal")
            .hint("name a command behind `--`, such as: relight connect MACHINE -- uptime")
            .into());
    }
    let kind = variable("TERM").unwrap_or_else(|| "xterm".to_owned());
    let mut running = session.shell(&kind, size(), command).await?;
    let input = running.input();
    let left = {
        let _raw = RawTerminal::enter()
            .map_err(|e| Error::rejected("the terminal cannot be given to the machine").because(e))?;
        tokio::select! {
            () = hear(&mut running) => None,
            why = typing(&input) => Some(why),
            () = resizing(&input) => None,
            _ = platform::interrupted() => Some("the terminal went away"),
        }
    };
    match left {
        None => Ok(running.ended().clone()),
        Some(why) => {
            terminal::say(format!("\nLeft the shell on `{}`: {why}.", session.machine()));
            Err(Error::rejected(format!("the shell on `{}` was left", session.machine())).into())
        }
    }
}

fn size() -> (u32, u32) {
    let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    (narrow(terminal::columns()), narrow(terminal::rows()))
}

/// Passes on every new size. Where the system does not tell, and between two of its signals, it is looked at.
async fn resizing(input: &Input) {
    let mut known = size();
    loop {
        let _ = tokio::time::timeout(LOOK, platform::resized()).await;
        let now = size();
        if now != known {
            known = now;
            input.resize(now).await;
        }
    }
}

/// Passes on what is typed, until the person leaves.
async fn typing(input: &Input) -> &'static str {
    let mut typed = tokio::io::stdin();
    let mut bytes = vec![0; 4096];
    let mut escape = Escape::default();
    while let Ok(count @ 1..) = typed.read(&mut bytes).await {
        let (keys, is_left) = escape.take(&bytes[..count]);
        if is_left {
            return "~. was typed";
        }
        if !keys.is_empty() && !input.send(keys).await {
            break;
        }
    }
    input.end().await;
    std::future::pending().await
}

/// Finds `~.` at the beginning of a line, which leaves a shell that does not answer, and `~~`, which is one `~`.
#[derive(Default)]
struct Escape {
    state: At,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum At {
    #[default]
    LineStart,
    Tilde,
    Within,
}

impl Escape {
    /// Returns the keys that go on, and whether the person leaves.
    fn take(&mut self, keys: &[u8]) -> (Vec<u8>, bool) {
        let mut on = Vec::with_capacity(keys.len());
        for &key in keys {
            self.state = match (self.state, key) {
                (At::LineStart, b'~') => At::Tilde,
                (At::Tilde, b'.') => return (on, true),
                (state, key) => {
                    if state == At::Tilde && key != b'~' {
                        on.push(b'~');
                    }
                    on.push(key);
                    if matches!(key, b'\r' | b'\n') { At::LineStart } else { At::Within }
                }
            };
        }
        (on, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(pieces: &[&str]) -> (String, bool) {
        let mut escape = Escape::default();
        let mut all = Vec::new();
        for piece in pieces {
            let (keys, is_left) = escape.take(piece.as_bytes());
            all.extend(keys);
            if is_left {
                return (String::from_utf8(all).unwrap(), true);
            }
        }
        (String::from_utf8(all).unwrap(), false)
    }

    #[test]
    fn a_shell_is_left_at_the_beginning_of_a_line_alone() {
        assert_eq!(typed(&["ls\r", "~", "."]), ("ls\r".to_owned(), true));
        assert_eq!(typed(&["~."]), (String::new(), true));
        assert_eq!(typed(&["cd ~./x\r"]), ("cd ~./x\r".to_owned(), false));
        assert_eq!(typed(&["~~.\r"]), ("~.\r".to_owned(), false));
        assert_eq!(typed(&["~", "x"]), ("~x".to_owned(), false));
    }
}
