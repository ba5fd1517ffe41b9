//! A terminal: what is typed is shown, edited and handed on line by line.

use std::{pin::pin, sync::Arc};

use tokio::sync::Notify;

use super::{
    cmd,
    place::Place,
    shell::{Input, Lost, Output, Queue, Shell, Sink, Streams},
};
use crate::machine::User;

/// Writes as a terminal does: each line ends with both characters.
struct Screen(Arc<dyn Sink>);

impl Sink for Screen {
    fn take(&self, bytes: Vec<u8>) -> std::pin::Pin<Box<dyn Future<Output = Result<(), Lost>> + Send + '_>> {
        let mut shown = Vec::with_capacity(bytes.len());
        for (n, byte) in bytes.iter().enumerate() {
            let has_return = n > 0 && bytes[n - 1] == b'\r';
            shown.extend((*byte == b'\n' && !has_return).then_some(b'\r'));
            shown.push(*byte);
        }
        self.0.take(shown)
    }
}

/// Runs one command, or a shell until it is left. Returns the status.
pub(super) async fn run(
    typed: &Queue,
    output: Arc<dyn Sink>,
    place: &Place,
    user: &User,
    script: Option<String>,
) -> u32 {
    let screen: Arc<dyn Sink> = Arc::new(Screen(output));
    let lines = Arc::new(Queue::default());
    let output = Output::Stream(Arc::clone(&screen));
    let streams = Streams { input: Input::from(Arc::clone(&lines)), output: output.clone(), errors: output };
    let interrupted = Notify::new();
    let typing = edit(typed, screen, &lines, &interrupted);
    let working = async {
        match (script, place.computer.is_windows) {
            (Some(script), true) => cmd::run(&place.computer, user, Some(script), &streams).await,
            (Some(script), false) => {
                let mut shell = Shell::new(&place.computer, user);
                tokio::select! {
                    status = shell.run(&script, &streams) => status,
                    () = interrupted.notified() => 130,
                }
            }
            (None, true) => tokio::select! {
                status = cmd::run(&place.computer, user, None, &streams) => status,
                () = interrupted.notified() => 1,
            },
            (None, false) => converse(place, user, &streams, &interrupted).await,
        }
    };
    let mut working = pin!(working);
    tokio::select! {
        status = &mut working => status,
        // Nothing more is typed; what was is still worked off.
        () = typing => working.await,
    }
}

/// Runs one command after another until the shell is left.
async fn converse(place: &Place, user: &User, streams: &Streams, interrupted: &Notify) -> u32 {
    let mut shell = Shell::new(&place.computer, user);
    let _ = streams.output.write(b"Relight lab: this machine is not real.\n").await;
    loop {
        let _ = streams.output.write(shell.prompt().as_bytes()).await;
        let before = place.changes();
        let line = tokio::select! {
            // What was typed behind it is the next command.
            biased;
            () = interrupted.notified() => continue,
            line = streams.input.line() => line,
        };
        if line.is_empty() {
            let _ = streams.output.write(b"\n").await;
            return shell.status();
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        let ended = tokio::select! {
            biased;
            () = interrupted.notified() => None,
            ended = shell.enter(&line, streams) => ended,
        };
        place.save(before);
        if let Some(status) = ended {
            return status;
        }
    }
}

/// Shows what is typed and hands on each line. An empty piece is the end that Ctrl-D means.
async fn edit(typed: &Queue, screen: Arc<dyn Sink>, lines: &Queue, interrupted: &Notify) {
    let mut line: Vec<u8> = Vec::new();
    while let Some(bytes) = typed.pop().await {
        let mut echo = Vec::new();
        for byte in bytes {
            match byte {
                b'\r' | b'\n' => {
                    echo.push(b'\n');
                    line.push(b'\n');
                    lines.push(std::mem::take(&mut line));
                }
                // Backspace, in either of its two codes.
                0x7f | 0x08 => {
                    // All bytes of a character.
                    while line.pop().is_some_and(|last| last & 0xc0 == 0x80) {}
                    echo.extend_from_slice(b"\x08 \x08");
                }
                0x03 => {
                    // With what was typed before it, as a terminal does.
                    line.clear();
                    lines.clear();
                    echo.extend_from_slice(b"^C\n");
                    interrupted.notify_one();
                }
                0x04 if line.is_empty() => lines.push(Vec::new()),
                0x15 => line.clear(),
                0x00..=0x1f => {}
                byte => {
                    line.push(byte);
                    echo.push(byte);
                }
            }
        }
        if screen.take(echo).await.is_err() {
            break;
        }
    }
    lines.close();
}
