//! `ssh::key_pair`: makes a key to sign in with.

use relight_engine::{PartFile, RunFile, Secret, SecretRef};
use russh::keys::key::safe_rng;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::{KeypairData, RsaKeypair};
use russh::keys::{Algorithm, PrivateKey, PublicKey};

use super::known_hosts::fingerprint;
use crate::prelude::*;

/// How long an RSA key is, in bits: what is asked of keys until 2030 and after.
const RSA_BITS: usize = 3072;
/// The largest key file that is looked at.
pub(super) const LARGEST: u64 = 64 * 1024;

/// Makes a key pair: the private key in a file that only its owner can read, the public key beside it with the ending `.pub`. The private
/// key is nowhere else, not in the record of the run either, and a file that is there already is never replaced.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// File of the private key, below the run's folder or named by a `path` parameter.
    #[schemars(extend("format" = "path"))]
    path: String,
    /// Kind of key; ed25519 when left out. Entra ID takes RSA alone.
    #[serde(default)]
    kind: Option<Kind>,
    /// Passphrase that the private key is encrypted with; none when left out.
    #[serde(default)]
    passphrase: Option<SecretRef>,
    /// Comment that stands behind the public key.
    #[serde(default)]
    comment: Option<String>,
}

/// A kind of key.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// Ed25519.
    Ed25519,
    /// RSA of 3072 bits.
    Rsa,
}

/// A key pair.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct KeyPair {
    /// File of the private key.
    pub(super) path: String,
    /// Public key, as a line of `authorized_keys`.
    pub(super) key: String,
    /// Its fingerprint, as OpenSSH shows it.
    pub(super) fingerprint: String,
}

/// What is on record while the files are put in their places: nothing that is a secret.
#[derive(Debug, Serialize, Deserialize)]
struct Made {
    key: String,
}

/// `ssh::key_pair`.
pub(crate) struct MakeKeyPair;

impl Operation for MakeKeyPair {
    type Args = Args;
    type Output = KeyPair;

    const NAME: &'static str = "ssh::key_pair";
    const SUMMARY: &'static str =
        "Makes a key pair: the private key in a file of its owner's, the public key beside it.";
    const EFFECTS: &'static [Effect] = &[Effect::FileWrite];
    // Until it is on record which key it is, the key has no place that anybody looks at.
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::BUSY];

    fn examples() -> Vec<Example> {
        let script = r#"
            let pair = ssh::key_pair("id_app", #{ comment: "for app-01" });
            pair.key.starts_with("ssh-ed25519 ") && pair.key.ends_with(" for app-01")
        "#;
        vec![Example::new("Make a key for one machine.", script).on("edge").gives(json!(true))]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<KeyPair>> {
        let passphrase = match &args.passphrase {
            Some(passphrase) => Some(cx.secret(passphrase).await?),
            None => None,
        };
        let comment = args.comment.clone().unwrap_or_default();
        if comment.contains(char::is_control) {
            return Err(Error::invalid("a comment is one line"));
        }
        let place = Place { cx, path: &args.path };
        place.is_free()?;
        let kind = args.kind.unwrap_or(Kind::Ed25519);
        // RSA takes seconds, in which others go on.
        let made = tokio::task::spawn_blocking(move || make(kind, &comment, passphrase.as_ref())).await;
        let (private, public) = made.map_err(|e| Error::rejected("the key cannot be made").because(e))??;
        // What an attempt before has left is of no use: nobody knows which key it is.
        place.part()?.discard();
        let mut part = place.part()?;
        let written = part.append(private.expose().as_bytes()).and_then(|()| part.sync());
        written.map_err(|e| place.unwritten(e))?;
        Outcome::pending(&Made { key: public }, Duration::ZERO)
    }

    async fn resume(&self, cx: &Cx, args: &Args, at: &Value) -> Result<Outcome<KeyPair>> {
        let made: Made = restored(Self::NAME, at)?;
        let public = PublicKey::from_openssh(&made.key)
            .map_err(|e| Error::rejected("the key that was made cannot be read again").because(e))?;
        let place = Place { cx, path: &args.path };
        let unwritten = |e| place.unwritten(e);
        let file = place.file()?;
        match file.look().map_err(unwritten)? {
            // A process before this one put it there, and could not say so any more.
            Some(_) if place.holds(&public)? => place.part()?.discard(),
            Some(_) => return Err(place.taken(&args.path)),
            None => {
                let part = place.part()?;
                if part.written() == 0 {
                    // The machine lost it. It had no place yet, so that nobody uses it.
                    part.discard();
                    return self.begin(cx, args).await;
                }
                part.finish_new().map_err(|e| match e.kind() {
                    std::io::ErrorKind::AlreadyExists => place.taken(&args.path),
                    _ => place.unwritten(e),
                })?;
            }
        }
        let beside = place.public()?;
        let line = format!("{}\n", made.key);
        match beside.look().map_err(unwritten)? {
            Some(_) if beside.read(LARGEST).map_err(unwritten)? != line.as_bytes() => {
                return Err(place.taken(&format!("{}.pub", args.path)));
            }
            _ => beside.replace(line.as_bytes()).map_err(unwritten)?,
        }
        let fingerprint = fingerprint(&public);
        Ok(Outcome::done(KeyPair { path: args.path.clone(), key: made.key, fingerprint }))
    }
}

/// Where a key pair belongs.
struct Place<'a> {
    cx: &'a Cx,
    path: &'a str,
}

impl Place<'_> {
    fn file(&self) -> Result<RunFile> {
        self.cx.file(self.path)
    }

    fn public(&self) -> Result<RunFile> {
        let file = self.file()?;
        file.beside(".pub").map_err(|e| self.unwritten(e))
    }

    /// Where the private key is until it is on record which key it is.
    fn part(&self) -> Result<PartFile> {
        self.file()?.part(&self.cx.key(12)).map_err(|e| self.unwritten(e))
    }

    fn is_free(&self) -> Result<()> {
        for (file, name) in
            [(self.file()?, self.path.to_owned()), (self.public()?, format!("{}.pub", self.path))]
        {
            if file.look().map_err(|e| self.unwritten(e))?.is_some() {
                return Err(self.taken(&name));
            }
        }
        Ok(())
    }

    /// Returns whether the file is the private half of a key. That is told without its passphrase.
    fn holds(&self, public: &PublicKey) -> Result<bool> {
        let text = self.file()?.read(LARGEST).map_err(|e| self.unwritten(e))?;
        let found = PrivateKey::from_openssh(&text);
        Ok(found.is_ok_and(|it| it.public_key().key_data() == public.key_data()))
    }

    fn taken(&self, name: &str) -> Error {
        Error::rejected(format!("`{name}` is there already"))
            .code(ErrorCode::BUSY)
            .hint("a key is never replaced: name another file, or take that one away")
    }

    fn unwritten(&self, error: std::io::Error) -> Error {
        Error::rejected(format!("the key `{}` cannot be written here", self.path)).because(error)
    }
}

/// Makes a key. Returns the private half as a file has it, and the public one as a line.
fn make(kind: Kind, comment: &str, passphrase: Option<&Secret>) -> Result<(Secret, String)> {
    let failed = |e: russh::keys::ssh_key::Error| Error::rejected("the key cannot be made").because(e);
    let mut rng = safe_rng();
    let mut key = match kind {
        Kind::Ed25519 => PrivateKey::random(&mut rng, Algorithm::Ed25519).map_err(failed)?,
        Kind::Rsa => {
            let pair = RsaKeypair::random(&mut rng, RSA_BITS).map_err(failed)?;
            PrivateKey::new(KeypairData::from(pair), "").map_err(failed)?
        }
    };
    key.set_comment(comment);
    let public = key.public_key().to_openssh().map_err(failed)?;
    let key = match passphrase {
        Some(passphrase) => key.encrypt(&mut rng, passphrase.expose()).map_err(failed)?,
        None => key,
    };
    let private = key.to_openssh(LineEnding::LF).map_err(failed)?;
    Ok((Secret::new(private.as_str()), public.trim_end().to_owned()))
}
