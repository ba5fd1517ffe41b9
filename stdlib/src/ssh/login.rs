//! Who signs in on a machine, and by what.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use relight_engine::{Error, ErrorKind, Result, Secret};
use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse as Asked};
use russh::keys::agent::AgentIdentity;
use russh::keys::agent::client::{AgentClient, AgentStream};
use russh::keys::signature::Signer as _;
use russh::keys::ssh_encoding::Encode;
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg};
use russh::{MethodKind, SendError, Signer};
use tokio::time::timeout;

use super::known_hosts::fingerprint;
use super::peer::Peer;
use crate::azure::{Arm, SshPass};

/// How often a server may ask for something before it is given up.
const ROUNDS: usize = 5;
/// How long a server may take to say whether it takes one proof.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a person may type a password.
const ATTEMPTS: usize = 3;

/// Who signs in, and by what, in the order in which it is tried.
#[derive(Clone, Debug)]
pub struct Login {
    /// The user on the machine.
    pub user: String,
    /// What is tried.
    pub by: Vec<Proof>,
}

/// By whose word somebody signs in.
#[derive(Clone, Debug)]
pub enum By {
    /// That of somebody known beforehand.
    Login(Login),
    /// Entra ID's, by a certificate that is asked for each time: it is good for an hour.
    Entra {
        /// The user on the machine, where that is another than the certificate names.
        user: Option<String>,
    },
}

impl By {
    /// Returns who signs in, right now.
    ///
    /// # Errors
    /// As [`Arm::ssh_pass`].
    pub async fn login(&self, arm: &Arm) -> Result<Login> {
        match self {
            By::Login(login) => Ok(login.clone()),
            By::Entra { user } => {
                let pass = arm.ssh_pass().await?;
                let user = user.clone().unwrap_or_else(|| pass.principal());
                Ok(Login { user, by: vec![Proof::Pass(pass)] })
            }
        }
    }
}

/// What a user signs in by.
#[derive(Clone)]
#[non_exhaustive]
pub enum Proof {
    /// A password, also where the server asks for it in a dialogue.
    Password(Secret),
    /// A private key. It never leaves the memory.
    Key(Arc<PrivateKey>),
    /// The keys of the SSH agent of whoever drives the run.
    Agent,
    /// A certificate of Entra ID.
    Pass(SshPass),
    /// What a person answers when nothing before was taken, a few times; nothing ends that.
    Asked(Arc<dyn Fn() -> BoxFuture<'static, Option<Secret>> + Send + Sync>),
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name())
    }
}

impl Proof {
    /// Reads a private key in OpenSSH's format.
    ///
    /// # Errors
    /// `Denied` when it is none, or when its passphrase is missing or wrong.
    pub fn key(text: &Secret, passphrase: Option<&Secret>) -> Result<Self> {
        let refused = |what: &str| Error::new(ErrorKind::Denied, format!("the private key {what}"));
        // Whoever kept it in a variable may have lost the line break at its end.
        let whole = Secret::new(format!("{}\n", text.expose().trim()));
        let key = PrivateKey::from_openssh(whole.expose()).map_err(|e| {
            refused("cannot be read").because(e).hint("give one that `ssh-keygen` made, whole")
        })?;
        let key = match (key.is_encrypted(), passphrase) {
            (false, _) => key,
            (true, None) => return Err(refused("is encrypted").hint("give its passphrase, too")),
            (true, Some(passphrase)) => key
                .decrypt(passphrase.expose())
                .map_err(|_| refused("cannot be decrypted").hint("is the passphrase right?"))?,
        };
        Ok(Proof::Key(Arc::new(key)))
    }

    /// Says what it is. No secret is in it.
    fn name(&self) -> String {
        match self {
            Proof::Password(_) => "a password".to_owned(),
            Proof::Key(key) => format!("the key {}", fingerprint(key.public_key())),
            Proof::Agent => "the keys of the SSH agent".to_owned(),
            Proof::Pass(pass) => format!("the certificate of {}", pass.principal()),
            Proof::Asked(_) => "what was typed".to_owned(),
        }
    }
}

/// What one proof came to.
enum Tried {
    In,
    Refused { offers: Vec<&'static str>, is_part: bool },
    Unusable(String),
}

impl From<AuthResult> for Tried {
    fn from(result: AuthResult) -> Self {
        match result {
            AuthResult::Success => Tried::In,
            AuthResult::Failure { remaining_methods, partial_success } => Tried::Refused {
                offers: remaining_methods.iter().map(<&'static str>::from).collect(),
                is_part: partial_success,
            },
        }
    }
}

impl Login {
    /// Signs in with the first proof that is taken.
    ///
    /// # Errors
    /// `Denied`, with what was tried and what the server would take.
    pub(super) async fn sign_in(&self, handle: &mut Handle<Peer>, machine: &str) -> Result<()> {
        let mut tried = Vec::new();
        let mut offers = Vec::new();
        for proof in &self.by {
            let attempt = self.attempt(handle, proof);
            let ended = match proof {
                // The server bounds how long a person may take.
                Proof::Asked(_) => attempt.await,
                _ => timeout(PATIENCE, attempt).await.unwrap_or(Err(russh::Error::ConnectionTimeout)),
            };
            match ended {
                Ok(Tried::In) => return Ok(()),
                Ok(Tried::Refused { offers: now, is_part }) => {
                    tried.push(match is_part {
                        true => format!("{}: taken, and not enough", proof.name()),
                        false => format!("{}: refused", proof.name()),
                    });
                    offers = now;
                }
                Ok(Tried::Unusable(why)) => tried.push(format!("{}: {why}", proof.name())),
                Err(error) => {
                    tried.push(format!("{}: {error}", proof.name()));
                    break;
                }
            }
        }
        let user = &self.user;
        let mut error = Error::new(ErrorKind::Denied, format!("`{machine}` does not let `{user}` in"));
        if self.by.iter().any(|proof| matches!(proof, Proof::Pass(_))) {
            error = error
                .hint("the machine takes it when its extension AADSSHLoginForLinux works")
                .hint("and when you have the role Virtual Machine Administrator Login, or Virtual Machine User Login, there");
        }
        if tried.is_empty() {
            error = error.hint("give a password, a key or an agent to sign in by");
        }
        for attempt in tried {
            error = error.hint(format!("tried {attempt}"));
        }
        if !offers.is_empty() {
            error = error.hint(format!("the server takes: {}", offers.join(", ")));
        }
        Err(error)
    }

    async fn attempt(&self, handle: &mut Handle<Peer>, proof: &Proof) -> Result<Tried, russh::Error> {
        let user = self.user.as_str();
        match proof {
            Proof::Password(password) => {
                let first = handle.authenticate_password(user, password.expose()).await?;
                let asks = matches!(&first, AuthResult::Failure { remaining_methods, .. }
                    if remaining_methods.contains(&MethodKind::KeyboardInteractive));
                if first.success() || !asks {
                    return Ok(first.into());
                }
                dialogue(handle, user, password).await
            }
            Proof::Asked(ask) => {
                let mut last = Tried::Unusable("nothing".to_owned());
                for _ in 0..ATTEMPTS {
                    let Some(password) = ask().await else { break };
                    last = Box::pin(self.attempt(handle, &Proof::Password(password))).await?;
                    if matches!(last, Tried::In) {
                        break;
                    }
                }
                Ok(last)
            }
            Proof::Key(key) => {
                let hash = match key.algorithm().is_rsa() {
                    true => handle.best_supported_rsa_hash().await?.flatten(),
                    false => None,
                };
                let key = PrivateKeyWithHashAlg::new(key.clone(), hash);
                Ok(handle.authenticate_publickey(user, key).await?.into())
            }
            Proof::Pass(pass) => by_certificate(handle, user, pass).await,
            Proof::Agent => match agent().await {
                Ok(agent) => by_agent(handle, user, agent).await,
                Err(why) => Ok(Tried::Unusable(why)),
            },
        }
    }
}

/// Answers what a server asks with the password, once: what it asks more is not ours to know.
async fn dialogue(handle: &mut Handle<Peer>, user: &str, password: &Secret) -> Result<Tried, russh::Error> {
    let mut said = handle.authenticate_keyboard_interactive_start(user, None).await?;
    let mut is_given = false;
    for _ in 0..ROUNDS {
        let prompts = match said {
            Asked::Success => return Ok(Tried::In),
            Asked::Failure { remaining_methods, partial_success } => {
                return Ok(AuthResult::Failure { remaining_methods, partial_success }.into());
            }
            Asked::InfoRequest { prompts, .. } => prompts,
        };
        let answers = match prompts.as_slice() {
            [] => Vec::new(),
            [one] if !one.echo && !is_given => {
                is_given = true;
                vec![password.expose().to_owned()]
            }
            [other, ..] => {
                let asked = other.prompt.trim();
                return Ok(Tried::Unusable(format!("the server asks for more: {}", asked.escape_debug())));
            }
        };
        said = handle.authenticate_keyboard_interactive_respond(answers).await?;
    }
    Ok(Tried::Unusable("the server does not stop asking".to_owned()))
}

/// Signs what a server wants signed by the key of a certificate.
struct ByKey<'a>(&'a PrivateKey);

/// Nothing was signed.
struct Unsigned;

impl From<SendError> for Unsigned {
    fn from(_: SendError) -> Self {
        Unsigned
    }
}

impl Signer for ByKey<'_> {
    type Error = Unsigned;

    async fn auth_sign(
        &mut self,
        _: &AgentIdentity,
        hash: Option<HashAlg>,
        mut to_sign: Vec<u8>,
    ) -> Result<Vec<u8>, Unsigned> {
        let pair = self.0.key_data().rsa().ok_or(Unsigned)?;
        let signature = (pair, hash).try_sign(&to_sign).map_err(|_| Unsigned)?;
        let mut encoded = Vec::new();
        signature.encode_prefixed(&mut encoded).map_err(|_| Unsigned)?;
        to_sign.extend_from_slice(&encoded);
        Ok(to_sign)
    }
}

/// Shows a certificate. Measured against OpenSSH 9.2: one offered without naming a hash counts as an old `ssh-rsa` one and
/// is refused, so a hash is named unless the server is so old (before OpenSSH 7.8) that it knows none.
async fn by_certificate(
    handle: &mut Handle<Peer>,
    user: &str,
    pass: &SshPass,
) -> Result<Tried, russh::Error> {
    let certificate = pass.certificate().clone();
    let hash = match handle.best_supported_rsa_hash().await? {
        Some(None) => {
            let old = handle.authenticate_openssh_cert(user, pass.key().clone(), certificate).await?;
            return Ok(match old.success() {
                true => Tried::In,
                false => Tried::Unusable("the server is too old for it (before OpenSSH 7.8)".to_owned()),
            });
        }
        Some(named) => named,
        None => Some(HashAlg::Sha256),
    };
    let mut signer = ByKey(pass.key());
    let shown = handle.authenticate_certificate_with(user, certificate, hash, &mut signer).await;
    shown.map(Tried::from).map_err(|Unsigned| russh::Error::Disconnect)
}

type Agent = AgentClient<Box<dyn AgentStream + Send + Unpin>>;

/// Connects to the agent of whoever drives the run.
#[cfg(unix)]
async fn agent() -> Result<Agent, String> {
    let agent = AgentClient::connect_env().await;
    agent.map(AgentClient::dynamic).map_err(|_| "none runs (SSH_AUTH_SOCK)".to_owned())
}

/// Connects to the agent that Windows has.
#[cfg(windows)]
async fn agent() -> Result<Agent, String> {
    let agent = AgentClient::connect_named_pipe(r"\\.\pipe\openssh-ssh-agent").await;
    agent.map(AgentClient::dynamic).map_err(|_| "none runs (the service ssh-agent)".to_owned())
}

async fn by_agent(handle: &mut Handle<Peer>, user: &str, mut agent: Agent) -> Result<Tried, russh::Error> {
    let identities = match agent.request_identities().await {
        Ok(identities) => identities,
        Err(error) => return Ok(Tried::Unusable(format!("it does not answer: {error}"))),
    };
    let hash = handle.best_supported_rsa_hash().await?.flatten();
    let mut last = Tried::Unusable("it has none".to_owned());
    for identity in identities {
        let AgentIdentity::PublicKey { key, .. } = identity else { continue };
        let hash = if key.algorithm().is_rsa() { hash } else { None };
        last = match handle.authenticate_publickey_with(user, key, hash, &mut agent).await {
            Ok(AuthResult::Success) => return Ok(Tried::In),
            Ok(refused) => refused.into(),
            Err(error) => Tried::Unusable(format!("it does not sign: {error}")),
        };
    }
    Ok(last)
}
