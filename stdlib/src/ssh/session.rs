//! A session on a machine: the handshake, whom the machine is taken for, and what runs in it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use relight_engine::{Error, ErrorCode, ErrorKind, Result};
use russh::client::{self, Handle, Msg};
use russh::keys::{Algorithm, HashAlg, PublicKey};
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Disconnect, Preferred, Sig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Bytes;

use super::known_hosts::{Standing, fingerprint};
use super::login::Login;
use super::peer::{Peer, Seen, Trust};
use crate::relay::Lost;
use crate::road::Connection;

/// The host key of a machine is not known, and nobody answers for it.
pub const HOST_KEY_UNKNOWN: ErrorCode = ErrorCode::new("HostKeyUnknown");
/// The host key of a machine is another one than it was.
pub const HOST_KEY_CHANGED: ErrorCode = ErrorCode::new("HostKeyChanged");

/// How long the handshake and the sign-in may take.
const HANDSHAKE: Duration = Duration::from_secs(60);
/// How long a server may take to open a channel, or to say that it does not.
const CHANNEL: Duration = Duration::from_secs(60);
/// How long a machine may take to connect to a port on behalf of somebody: systems give up after some two minutes themselves.
const DIAL: Duration = Duration::from_secs(150);
/// How long nothing may be heard before the other end is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How much may be on its way here before it is acknowledged: at 80 ms, 100 MB a second.
const WINDOW: u32 = 8 * 1024 * 1024;

/// A session on a machine. Dropping it ends it, and what runs in it.
pub struct Session {
    handle: Handle<Peer>,
    machine: String,
    lost: Lost,
}

impl Session {
    /// Signs in on a machine at the other end of a tunnel, if it is the one that it is taken for.
    ///
    /// # Errors
    /// [`HOST_KEY_UNKNOWN`] and [`HOST_KEY_CHANGED`], before anything about the user was sent. `Denied` when the user
    /// is not let in. `Unsent` when the connection broke off.
    pub async fn open(tunnel: Connection, machine: &str, login: &Login, trust: Trust) -> Result<Session> {
        let lost = tunnel.lost_later();
        let silent = || {
            let seconds = HANDSHAKE.as_secs();
            Error::new(
                ErrorKind::Unsent,
                format!("the SSH server of `{machine}` said nothing that could be used within {seconds} s"),
            )
        };
        let shaken = timeout(HANDSHAKE, handshake(tunnel, machine, &lost, trust)).await;
        let mut handle = shaken.unwrap_or_else(|_| Err(silent()))?;
        // A person may have to type: the server bounds that, and its end is heard.
        login.sign_in(&mut handle, machine).await?;
        Ok(Session { handle, machine: machine.to_owned(), lost })
    }

    /// Returns the host key that a machine shows. Nothing is sent that says who asks.
    ///
    /// # Errors
    /// `Unsent` when there is none because the connection broke off.
    pub async fn look_at_host_key(
        tunnel: Connection,
        machine: &str,
        first: &[PublicKey],
    ) -> Result<PublicKey> {
        let lost = tunnel.lost_later();
        let seen = Seen::default();
        let peer = Peer { trust: Trust::LookOnly, seen: seen.clone() };
        let shown = timeout(HANDSHAKE, client::connect_stream(config(first), tunnel, peer)).await;
        match (seen.get(), shown) {
            (Some((key, _)), _) => Ok(key),
            (None, Ok(Err(error))) => Err(broken(machine, &lost, &error)),
            (None, _) => Err(broken(machine, &lost, &russh::Error::ConnectionTimeout)),
        }
    }

    /// Returns the machine's name.
    pub fn machine(&self) -> &str {
        &self.machine
    }

    /// Returns whether the connection is gone.
    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Starts a command. Its output comes through [`Running::next`].
    ///
    /// # Errors
    /// `Unsent` when the connection is gone or the server starts nothing: the command certainly does not run.
    pub async fn start(&self, command: &str) -> Result<Running> {
        self.start_if(command, async { Ok(()) }).await
    }

    /// Starts a command if it may still be started once there is a channel for it, which may take its time.
    pub(super) async fn start_if(
        &self,
        command: &str,
        permitted: impl Future<Output = Result<()>>,
    ) -> Result<Running> {
        let channel = self.channel().await?;
        permitted.await?;
        // Once the request is on its way the command may run, whatever becomes of the answer.
        channel.exec(true, command).await.map_err(|e| self.broken(&e))?;
        Ok(Running::over(channel))
    }

    /// Starts the user's shell, or a command, on a terminal of that many columns and rows.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn shell(
        &self,
        terminal: &str,
        (columns, rows): (u32, u32),
        command: Option<&str>,
    ) -> Result<Running> {
        let channel = self.channel().await?;
        let asked = async {
            channel.request_pty(false, terminal, columns, rows, 0, 0, &[]).await?;
            match command {
                Some(command) => channel.exec(true, command).await,
                None => channel.request_shell(true).await,
            }
        };
        asked.await.map_err(|e| self.broken(&e))?;
        Ok(Running::over(channel))
    }

    /// Opens a channel for SFTP.
    pub(super) async fn sftp(&self) -> Result<Channel<Msg>> {
        let mut channel = self.channel().await?;
        channel.request_subsystem(true, "sftp").await.map_err(|e| self.broken(&e))?;
        let answered = async {
            loop {
                match channel.wait().await {
                    Some(ChannelMsg::Success) => return Some(true),
                    Some(ChannelMsg::Failure) => return Some(false),
                    Some(_) => {}
                    None => return None,
                }
            }
        };
        match timeout(CHANNEL, answered).await {
            Ok(Some(true)) => Ok(channel),
            Ok(None) => Err(self.cut_off()),
            Ok(Some(false)) => {
                Err(Error::rejected(format!("the SSH server of `{}` has no SFTP", self.machine))
                    .hint("its sshd_config needs a line such as `Subsystem sftp internal-sftp`"))
            }
            Err(_) => Err(self.silent("whether it has SFTP", CHANNEL)),
        }
    }

    /// Connects to a port as the machine sees it.
    ///
    /// # Errors
    /// `Rejected` with the code `Off` when nobody listens there, `Denied` when the server forwards nothing.
    pub async fn dial(
        &self,
        host: &str,
        port: u16,
    ) -> Result<impl AsyncRead + AsyncWrite + Send + Unpin + use<>> {
        let opening = self.handle.channel_open_direct_tcpip(host, port.into(), "127.0.0.1", 0);
        match timeout(DIAL, opening).await {
            Ok(Ok(channel)) => Ok(channel.into_stream()),
            Ok(Err(russh::Error::ChannelOpenFailure(why))) => Err(self.not_dialled(host, port, why)),
            Ok(Err(error)) => Err(self.broken(&error)),
            Err(_) => Err(self.silent(&format!("whether it reaches port {port} of {host}"), DIAL)),
        }
    }

    fn not_dialled(&self, host: &str, port: u16, why: russh::ChannelOpenFailure) -> Error {
        let machine = &self.machine;
        match why {
            russh::ChannelOpenFailure::AdministrativelyProhibited => Error::new(
                ErrorKind::Denied,
                format!("the SSH server of `{machine}` does not forward to port {port}"),
            )
            .hint("its sshd_config must allow it: AllowTcpForwarding, PermitOpen"),
            _ => Error::rejected(format!("nothing listens on port {port} of {host}, seen from `{machine}`"))
                .code(ErrorCode::OFF),
        }
    }

    /// Ends the session in good order.
    pub async fn close(&self) {
        // Whoever is gone already need not be told.
        let _ = self.handle.disconnect(Disconnect::ByApplication, "", "").await;
    }

    async fn channel(&self) -> Result<Channel<Msg>> {
        match timeout(CHANNEL, self.handle.channel_open_session()).await {
            Ok(opened) => opened.map_err(|e| self.broken(&e)),
            Err(_) => Err(self.silent("whether it opens a channel", CHANNEL)),
        }
    }

    /// Says what the server does not say. Nothing was asked for that it could have done meanwhile.
    fn silent(&self, what: &str, waited: Duration) -> Error {
        let (machine, seconds) = (&self.machine, waited.as_secs());
        Error::new(
            ErrorKind::Unsent,
            format!("the SSH server of `{machine}` did not say {what} within {seconds} s"),
        )
    }

    fn broken(&self, error: &russh::Error) -> Error {
        broken(&self.machine, &self.lost, error)
    }

    /// Says that the connection is gone while a command was under way.
    pub fn cut_off(&self) -> Error {
        broken(&self.machine, &self.lost, &russh::Error::Disconnect)
    }
}

async fn handshake(tunnel: Connection, machine: &str, lost: &Lost, trust: Trust) -> Result<Handle<Peer>> {
    let first = trust.keys()?;
    let seen = Seen::default();
    let peer = Peer { trust, seen: seen.clone() };
    client::connect_stream(config(&first), tunnel, peer).await.map_err(|error| match seen.get() {
        Some((key, Ok(Standing::Unknown))) => unknown(machine, &key),
        Some((key, Ok(Standing::Changed { known }))) => changed(machine, &key, &known),
        Some((_, Err(why))) => Error::rejected(why),
        _ => broken(machine, lost, &error),
    })
}

fn unknown(machine: &str, key: &PublicKey) -> Error {
    Error::rejected(format!("the host key of `{machine}` is not known: {}", described(key)))
        .code(HOST_KEY_UNKNOWN)
        .hint("compare it with what the machine itself says, on a way that does not lead through this connection; \
               then ssh::trust makes it known")
}

fn changed(machine: &str, key: &PublicKey, known: &[String]) -> Error {
    let was = match known {
        [] => "it was revoked".to_owned(),
        known => format!("it was {}", known.join(" or ")),
    };
    Error::rejected(format!("`{machine}` shows another host key than it has: {}, {was}", described(key)))
        .code(HOST_KEY_CHANGED)
        .hint("somebody may stand between; or the machine was set up anew: find out which, before ssh::trust")
}

/// Says which key it is.
pub(super) fn described(key: &PublicKey) -> String {
    format!("{} ({})", fingerprint(key), key.algorithm())
}

fn broken(machine: &str, lost: &Lost, error: &russh::Error) -> Error {
    let error = match error {
        russh::Error::NoCommonAlgo { kind, theirs, .. } => {
            return Error::rejected(format!(
                "the SSH server of `{machine}` and Relight have no {kind:?} in common"
            ))
            .because(format!("it offers {}", theirs.join(", ")))
            .hint("it is old, or hardened beyond what is common: update it, or allow one more");
        }
        russh::Error::WrongServerSig => {
            return Error::rejected(format!("`{machine}` cannot prove its host key"));
        }
        other => other,
    };
    let said = Error::new(ErrorKind::Unsent, format!("the SSH connection to `{machine}` broke off"));
    match lost.get() {
        Some(why) => said.because(why.to_owned()),
        None => said.because(error.to_string()),
    }
}

fn config(first: &[PublicKey]) -> Arc<client::Config> {
    let known: Vec<Algorithm> = first.iter().map(PublicKey::algorithm).collect();
    let is_known = |offered: &Algorithm| match offered {
        Algorithm::Rsa { .. } => known.iter().any(|it| matches!(it, Algorithm::Rsa { .. })),
        other => known.contains(other),
    };
    // SHA-1 proves nothing any more.
    let modern = Preferred::DEFAULT.key.iter().filter(|it| !matches!(it, Algorithm::Rsa { hash: None }));
    let (mut keys, others): (Vec<Algorithm>, Vec<Algorithm>) = modern.cloned().partition(is_known);
    keys.extend(others);
    debug_assert!(keys.contains(&Algorithm::Rsa { hash: Some(HashAlg::Sha512) }));
    Arc::new(client::Config {
        window_size: WINDOW,
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: 2,
        // What waits here is bounded by the window; fewer messages could stall files on their way.
        channel_buffer_size: 4096,
        preferred: Preferred { key: Cow::Owned(keys), ..Preferred::DEFAULT },
        ..client::Config::default()
    })
}

/// Something that runs on the machine.
pub struct Running {
    said: ChannelReadHalf,
    input: Input,
    ended: Ended,
}

/// Where what is typed goes, and what else whoever types can do.
#[derive(Clone)]
pub struct Input(Arc<ChannelWriteHalf<Msg>>);

/// What something that runs says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// To its standard output.
    Out(Vec<u8>),
    /// To its standard error.
    Err(Vec<u8>),
    /// That it runs.
    Started,
    /// That the server refuses to run it.
    Refused,
}

/// How something ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code; none when a signal ended it, or when the connection broke off before it came.
    pub code: Option<u32>,
    /// The signal that ended it, such as `TERM`.
    pub signal: Option<String>,
}

impl Running {
    fn over(channel: Channel<Msg>) -> Self {
        let (said, input) = channel.split();
        Running { said, input: Input(Arc::new(input)), ended: Ended::default() }
    }

    /// Returns what is said next; nothing once it has ended, or the connection has.
    pub async fn next(&mut self) -> Option<Said> {
        loop {
            match self.said.wait().await? {
                ChannelMsg::Data { data } => return Some(Said::Out(data.to_vec())),
                ChannelMsg::ExtendedData { data, ext: 1 } => return Some(Said::Err(data.to_vec())),
                ChannelMsg::Success => return Some(Said::Started),
                ChannelMsg::Failure => return Some(Said::Refused),
                ChannelMsg::ExitStatus { exit_status } => self.ended.code = Some(exit_status),
                ChannelMsg::ExitSignal { signal_name, .. } => self.ended.signal = Some(signal(&signal_name)),
                ChannelMsg::Close => return None,
                _ => {}
            }
        }
    }

    /// Returns how it ended, once [`next`](Self::next) has nothing more.
    pub fn ended(&self) -> &Ended {
        &self.ended
    }

    /// Returns where what is typed goes.
    pub fn input(&self) -> Input {
        self.input.clone()
    }
}

impl Input {
    /// Types something. Returns whether anybody still reads.
    pub async fn send(&self, bytes: impl Into<Bytes>) -> bool {
        self.0.data_bytes(bytes).await.is_ok()
    }

    /// Tells that nothing more is typed.
    pub async fn end(&self) {
        // Whoever is gone needs not be told; so with the others below.
        let _ = self.0.eof().await;
    }

    /// Tells that the terminal has that many columns and rows now.
    pub async fn resize(&self, (columns, rows): (u32, u32)) {
        let _ = self.0.window_change(columns, rows, 0, 0).await;
    }

    /// Asks what runs to end. A server before OpenSSH 7.9 does not pass that on.
    pub async fn terminate(&self) {
        let _ = self.0.signal(Sig::TERM).await;
        let _ = self.0.close().await;
    }
}

fn signal(signal: &Sig) -> String {
    match signal {
        Sig::Custom(name) => name.clone(),
        named => format!("{named:?}"),
    }
}

#[cfg(test)]
mod tests {
    use relight_engine::Secret;
    use russh::server;
    use tokio::time::Instant;

    use super::super::testing::{Served, connect};
    use super::super::{Login, Proof};
    use super::*;

    /// A server that shows its key, lets `friend` in, and says nothing else.
    struct Mute;

    impl server::Handler for Mute {
        type Error = russh::Error;

        async fn auth_password(&mut self, user: &str, _: &str) -> Result<server::Auth, russh::Error> {
            match user {
                "friend" => Ok(server::Auth::Accept),
                _ => std::future::pending().await,
            }
        }

        async fn channel_open_session(
            &mut self,
            _: Channel<server::Msg>,
            _: server::ChannelOpenHandle,
            _: &mut server::Session,
        ) -> Result<(), russh::Error> {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_says_nothing_about_a_password_is_given_up() {
        let Served { tunnel, trust, serving: _serving } = connect(Mute).await;
        let login = Login { user: "me".into(), by: vec![Proof::Password(Secret::new("correct horse"))] };
        let began = Instant::now();
        let error = Session::open(tunnel, "db-01", &login, trust).await.err().expect("nobody is let in");
        assert_eq!(error.kind(), ErrorKind::Denied);
        let hints: Vec<String> = error.hints().iter().map(ToString::to_string).collect();
        assert!(hints[0].starts_with("tried a password: "), "{hints:?}");
        assert!((60..70).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_never_opens_a_channel_is_given_up() {
        let served = connect(Mute).await;
        let session = served.session("friend").await;
        let began = Instant::now();
        let error = session.start("true").await.err().expect("nothing runs");
        // Certainly nothing runs there, so that it may be tried again.
        assert_eq!(error.kind(), ErrorKind::Unsent);
        assert!(error.message().contains("did not say whether it opens a channel within 60 s"), "{error}");
        assert!((60..70).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    }
}
