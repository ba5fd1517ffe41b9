//! The SSH server of a machine: who is let in, and what is opened.

use std::sync::Arc;
use std::time::Duration;

use russh::{
    Channel, ChannelId, ChannelOpenFailure, Disconnect, MethodKind, MethodSet, Pty, SshId,
    keys::{Certificate, PublicKey},
    server::{
        self, Auth, ChannelOpenHandle, Config, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey,
    },
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Notify,
};

use super::{Computer, RDP, SSH, keys, place::Place, rdp, session, sftp};
use crate::{
    machine::User,
    state::{Site, State},
};

/// How often somebody may try, as with OpenSSH.
const TRIES: u32 = 6;

/// How many messages wait for somebody who is busy. A transfer that sends far ahead must not stop the connection.
const BUFFERED: usize = 4096;

/// Serves one connection to a machine until it ends.
pub(crate) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    site: Arc<Site>,
    group: &str,
    machine: &str,
) {
    let found = {
        let mut state = site.state();
        let keys = keys::host_keys(&state.world, &state.faults, group, machine);
        let State { world, faults, now, authority, .. } = &mut *state;
        // Certificates are for Linux machines with the extension that checks them.
        let has_check = world.has_extension(group, machine, "AADSSHLoginForLinux");
        let authority = has_check.then(|| authority.public(world.seed())).flatten();
        let computer = Computer::of(world, faults, now.clone(), group, machine);
        computer.map(|computer| (computer, keys, authority))
    };
    let Some((computer, keys, authority)) = found else { return };
    let config = Arc::new(Config {
        server_id: SshId::Standard("SSH-2.0-OpenSSH_9.2p1 Lab".into()),
        methods: MethodSet::from(&[MethodKind::PublicKey, MethodKind::Password][..]),
        auth_rejection_time: Duration::from_millis(20),
        auth_rejection_time_initial: Some(Duration::ZERO),
        // One more than the tries that count, for the look at what is offered.
        max_auth_attempts: TRIES as usize + 1,
        inactivity_timeout: None,
        channel_buffer_size: BUFFERED,
        event_buffer_size: BUFFERED,
        keys,
        ..Config::default()
    });
    let place = Place { site, computer: Arc::new(computer), authority };
    Box::pin(connection(stream, config, place)).await;
}

async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    config: Arc<Config>,
    place: Place,
) {
    let spent = Arc::new(Notify::new());
    let handler =
        Visitor { place, config: Arc::clone(&config), user: None, failures: 0, spent: Arc::clone(&spent) };
    // An error is a client that went away, or one that speaks something else.
    let Ok(mut session) = server::run_stream(config, stream, handler).await else { return };
    let handle = session.handle();
    tokio::select! {
        _ = &mut session => return,
        () = spent.notified() => {}
    }
    let reason = "Too many authentication failures".to_owned();
    let _ = handle.disconnect(Disconnect::ProtocolError, reason, String::new()).await;
    let _ = session.await;
}

/// Somebody at the other end.
struct Visitor {
    place: Place,
    config: Arc<Config>,
    /// Who it is, once that is known.
    user: Option<User>,
    failures: u32,
    /// Told when there were too many tries.
    spent: Arc<Notify>,
}

impl Visitor {
    fn admit(&mut self, user: &str, is_good: bool) -> Auth {
        if is_good && self.failures < TRIES {
            self.user = Some(User::new(user));
            return Auth::Accept;
        }
        self.failures += 1;
        if self.failures >= TRIES {
            self.spent.notify_one();
        }
        Auth::reject()
    }

    fn is_known(&self, user: &str) -> bool {
        let is_root = user == User::ROOT;
        // Root has no password, and no keys unless somebody puts them there.
        (is_root && !self.place.computer.is_windows)
            || self.place.computer.users().iter().any(|known| known == user)
    }

    /// Returns whether a key is one of those that a user may come in with.
    fn has_key(&self, user: &str, key: &PublicKey) -> bool {
        let computer = &self.place.computer;
        if !(self.is_known(user) && computer.sshd_takes(user) && computer.sshd_allows("PubkeyAuthentication"))
        {
            return false;
        }
        let known = self.place.computer.authorized_keys(&User::new(user));
        let mut lines =
            known.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.any(|line| {
            // Options may stand in front of the key.
            let whole = PublicKey::from_openssh(line).ok();
            let known = whole.or_else(|| PublicKey::from_openssh(line.split_once(' ')?.1.trim()).ok());
            known.is_some_and(|known| known.key_data() == key.key_data())
        })
    }

    /// Returns whether a name is one that the machine has for itself.
    fn is_here(&self, host: &str) -> bool {
        ["localhost", "127.0.0.1", "::1", &self.place.computer.name]
            .iter()
            .any(|name| name.eq_ignore_ascii_case(host))
    }
}

impl Handler for Visitor {
    type Error = russh::Error;

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        let computer = &self.place.computer;
        let is_taken = computer.sshd_takes(user) && computer.sshd_allows("PasswordAuthentication");
        let is_good = is_taken && computer.takes_password(user, password);
        Ok(self.admit(user, is_good))
    }

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        // Of a certificate only the key is shown here.
        let may_be_signed = self.place.authority.is_some() && offer.public_key.key_data().is_rsa();
        if may_be_signed || self.has_key(user, offer.public_key) {
            return Ok(Auth::Accept);
        }
        Ok(self.admit(user, false))
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        let is_good = self.has_key(user, key.public_key);
        Ok(self.admit(user, is_good))
    }

    async fn auth_openssh_certificate(
        &mut self,
        user: &str,
        certificate: &Certificate,
    ) -> Result<Auth, Self::Error> {
        let is_ours = self.place.authority.as_ref() == Some(certificate.signature_key());
        let names = certificate.valid_principals().iter();
        let is_good = is_ours && names.clone().any(|name| name.eq_ignore_ascii_case(user));
        if is_good {
            self.place.computer.welcome(&User::new(user));
        }
        Ok(self.admit(user, is_good))
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some(user) = &self.user {
            reply.accept().await;
            tokio::spawn(session::serve(channel, self.place.clone(), user.clone()));
        }
        Ok(())
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        channel: Channel<Msg>,
        host: &str,
        port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        let port = u16::try_from(port).unwrap_or_default();
        match port {
            SSH if self.is_here(host) => {
                reply.accept().await;
                let (place, config) = (self.place.clone(), Arc::clone(&self.config));
                tokio::spawn(async move { Box::pin(connection(channel.into_stream(), config, place)).await });
            }
            RDP if self.is_here(host) && self.place.computer.is_windows => {
                reply.accept().await;
                tokio::spawn(rdp::answer(channel.into_stream()));
            }
            _ => reply.reject(ChannelOpenFailure::ConnectFailed).await,
        }
        Ok(())
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _: &str,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        _: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        _: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        // What Debian's server takes; nothing here looks at it.
        match name == "LANG" || name.starts_with("LC_") {
            true => session.channel_success(channel),
            false => session.channel_failure(channel),
        }
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        session.channel_success(channel)
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        match name == sftp::NAME {
            true => session.channel_success(channel),
            false => session.channel_failure(channel),
        }
    }

    async fn window_change_request(
        &mut self,
        channel: ChannelId,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)
    }
}
