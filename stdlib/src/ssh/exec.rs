//! `ssh::exec`: runs a command on a machine.

use relight_engine::Handle;
use relight_engine::event::Stream;

use super::line::Line;
use super::session::{Ended, Running, Said, Session};
use crate::agent::COMMAND_FAILED;
use crate::prelude::*;

/// How much of what a command says becomes part of its value: the end of it. The rest is kept beside the run.
const KEPT: usize = 64 * 1024;

/// Runs a command in a session, and waits for its end. What it says is shown as it comes. A command whose end nobody saw is not
/// run again without a person's word, unless it is `repeatable`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// Session that `ssh::connect` opened.
    session: Handle,
    /// Command, as the user's shell on the machine takes it.
    command: String,
    /// Text that the command reads.
    #[serde(default)]
    input: Option<String>,
    /// Whether an exit code other than 0 is a value rather than an error; no when left out.
    #[serde(default)]
    may_fail: bool,
    /// Whether running it twice does no harm: then it is run again when its end was not seen; no when left out.
    #[serde(default)]
    repeatable: bool,
}

/// What a command came to.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Executed {
    /// Exit code; none when a signal ended it.
    exit_code: Option<u32>,
    /// Signal that ended it, such as TERM.
    signal: Option<String>,
    /// What it wrote to its standard output: the last 64 KiB.
    stdout: String,
    /// What it wrote to its standard error: the last 64 KiB.
    stderr: String,
}

/// `ssh::exec`.
pub(crate) struct Exec;

impl Operation for Exec {
    type Args = Args;
    type Output = Executed;

    const NAME: &'static str = "ssh::exec";
    const SUMMARY: &'static str = "Runs a command on a machine.";
    const EFFECTS: &'static [Effect] = &[Effect::Ssh];
    const REDO: Redo = Redo::Probe;
    const CODES: &'static [ErrorCode] = &[COMMAND_FAILED];

    fn examples() -> Vec<Example> {
        let script = r#"
            let app = arc::machine("app-01", #{ group: "rg-apps" });
            arm::register("Microsoft.HybridConnectivity");
            arc::endpoint_create(app);
            arc::service_configure(app);
            ssh::trust(app, [ssh::host_key(app).key]);
            let session = ssh::connect(app, "azureuser", #{ password: secret("env:APP_PASSWORD") });
            let ended = ssh::exec(session, "cat; exit 3", #{ input: "hello", may_fail: true });
            [ended.stdout, ended.exit_code]
        "#;
        vec![Example::new("Look at how a command ends.", script).on("edge").gives(json!(["hello", 3]))]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<Executed>> {
        let session = cx.live::<Line>(&args.session).await?.session().await?;
        let mut running = session.start_if(&args.command, cx.may_send()).await?;
        let (out, err) = tokio::select! {
            said = hear(cx, &mut running, args.input.as_deref()) => said?,
            () = cx.cancelled() => {
                running.input().terminate().await;
                return Err(unseen(&session).hint("it was asked to end, because the run was stopped or put away"));
            }
        };
        let Ended { code, signal } = running.ended().clone();
        if code.is_none() && signal.is_none() {
            return Err(unseen(&session));
        }
        let ended = Executed { exit_code: code, signal, stdout: out.text(), stderr: err.text() };
        match ended.exit_code == Some(0) || args.may_fail {
            true => Ok(Outcome::done(ended)),
            false => Err(failed(session.machine(), &ended)),
        }
    }

    async fn probe(&self, _: &Cx, args: &Args) -> Result<Probe<Executed>> {
        Ok(match args.repeatable {
            true => Probe::Absent,
            false => Probe::Unclear("nobody saw whether the command ran to its end".to_owned()),
        })
    }
}

/// Hears all that a command says.
async fn hear(cx: &Cx, running: &mut Running, input: Option<&str>) -> Result<(Tail, Tail)> {
    let (mut out, mut err) = (Tail::default(), Tail::default());
    let typing = running.input();
    let typed = input.unwrap_or_default().as_bytes().to_vec();
    let typing = async move {
        // A command that reads nothing closes its input, and that is its right.
        if typed.is_empty() || typing.send(typed).await {
            typing.end().await;
        }
    };
    let hearing = async {
        while let Some(said) = running.next().await {
            match said {
                Said::Out(bytes) => out.take(cx, Stream::Stdout, &bytes),
                Said::Err(bytes) => err.take(cx, Stream::Stderr, &bytes),
                Said::Started => {}
                Said::Refused => {
                    return Err(Error::rejected("the SSH server runs no commands for this user"));
                }
            }
        }
        Ok(())
    };
    let (_, heard) = tokio::join!(typing, hearing);
    heard.map(|()| (out, err))
}

/// The end of what was said.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn take(&mut self, cx: &Cx, stream: Stream, bytes: &[u8]) {
        cx.output(stream, bytes);
        self.0.extend_from_slice(bytes);
        // Twice as much is held, so that it is moved now and then rather than always.
        if self.0.len() > 2 * KEPT {
            self.0.drain(..self.0.len() - KEPT);
        }
    }

    fn text(&self) -> String {
        let from = self.0.len().saturating_sub(KEPT);
        String::from_utf8_lossy(&self.0[from..]).into_owned()
    }
}

fn unseen(session: &Session) -> Error {
    Error::new(ErrorKind::Transient, format!("nobody saw the end of the command on `{}`", session.machine()))
        .because(session.cut_off())
}

fn failed(machine: &str, ended: &Executed) -> Error {
    let how = match (&ended.signal, ended.exit_code) {
        (Some(signal), _) => format!("was ended by SIG{signal}"),
        (None, code) => format!("failed with exit code {}", code.unwrap_or_default()),
    };
    let said = if ended.stderr.trim().is_empty() { &ended.stdout } else { &ended.stderr };
    let error = Error::rejected(format!("the command on `{machine}` {how}")).code(COMMAND_FAILED);
    match said.trim().lines().next_back() {
        Some(last) => error.because(last.to_owned()),
        None => error,
    }
}
