//! A program that is told by JSON on its standard input: no shell, nothing in its arguments, for a bounded time.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::answer::Answer;
use super::message::Message;

/// How long a program may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A program with its arguments.
pub(super) struct Program {
    pub(super) program: String,
    pub(super) args: Vec<String>,
    /// How long it may take.
    pub(super) patience: Duration,
}

impl Program {
    /// Runs it. It has taken the message when it ends with 0.
    ///
    /// What it prints goes nowhere: it can neither fill a pipe nor this service's log.
    pub(super) async fn tell(&self, message: &Message) -> Answer {
        let started = Command::new(&self.program)
            .args(&self.args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Also when this attempt is given up half way.
            .kill_on_drop(true)
            .spawn();
        let mut child = match started {
            Ok(child) => child,
            Err(error) => {
                return Answer::not_now(format!("{} does not start: {}", self.program, error.kind()));
            }
        };
        let input = message.payload().to_string();
        let told = async {
            if let Some(mut stdin) = child.stdin.take() {
                // Whoever ends without having read it says by its exit code what that means.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
            child.wait().await
        };
        match tokio::time::timeout(self.patience, told).await {
            Ok(Ok(status)) if status.success() => Answer::Taken,
            Ok(Ok(status)) => Answer::not_now(format!("{} {}", self.program, ended(status))),
            Ok(Err(error)) => Answer::not_now(format!("{}: {}", self.program, error.kind())),
            Err(_) => {
                let _ = child.start_kill();
                Answer::not_now(format!(
                    "{} took longer than {} s, and was ended",
                    self.program,
                    self.patience.as_secs()
                ))
            }
        }
    }
}

fn ended(status: ExitStatus) -> String {
    match status.code() {
        Some(code) => format!("ended with {code}"),
        None => "was ended by a signal".to_owned(),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use jiff::Timestamp;

    use super::*;

    async fn tell(script: &str) -> Answer {
        let program = Program {
            program: "/bin/sh".to_owned(),
            args: vec!["-c".to_owned(), script.to_owned()],
            patience: PATIENCE,
        };
        program.tell(&Message::test("pager", "ann@edge-1", "", Timestamp::UNIX_EPOCH, "1")).await
    }

    #[tokio::test]
    async fn a_program_reads_what_happened_from_its_input() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("told");
        assert_eq!(tell(&format!("cat > '{}'", file.display())).await, Answer::Taken);
        let told: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        assert_eq!(told["type"], "relight.test");
    }

    #[tokio::test]
    async fn a_program_that_fails_floods_or_does_not_listen_is_no_harm() {
        let fails = Answer::not_now("/bin/sh ended with 7");
        assert_eq!(tell("exit 7").await, fails);
        assert_eq!(
            tell("cat > /dev/null; head -c 50000000 /dev/zero; head -c 50000000 /dev/zero >&2; exit 7").await,
            fails
        );
        assert_eq!(tell("exec < /dev/null; exit 0").await, Answer::Taken);
        let absent = Program { program: "/nowhere/at/all".to_owned(), args: Vec::new(), patience: PATIENCE };
        let message = Message::test("pager", "ann@edge-1", "", Timestamp::UNIX_EPOCH, "1");
        assert_eq!(
            absent.tell(&message).await,
            Answer::not_now("/nowhere/at/all does not start: entity not found")
        );
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pid");
        let script = format!("echo $$ > '{}'; exec sleep 600", file.display());
        let args = vec!["-c".to_owned(), script];
        let program = Program { program: "/bin/sh".to_owned(), args, patience: Duration::from_secs(1) };
        let message = Message::test("pager", "ann@edge-1", "", Timestamp::UNIX_EPOCH, "1");
        assert_eq!(
            program.tell(&message).await,
            Answer::not_now("/bin/sh took longer than 1 s, and was ended")
        );
        let pid = std::fs::read_to_string(file).unwrap();
        // A process that was ended and not waited for yet is a zombie: it runs no more.
        loop {
            let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
            if !state.contains("(sleep) S") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
