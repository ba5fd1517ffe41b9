//! `ssh::public_key`: the public half of a key that is here.

use russh::keys::{PrivateKey, PublicKey};

use super::key_pair::{KeyPair, LARGEST};
use super::known_hosts::fingerprint;
use crate::file::unread;
use crate::prelude::*;

/// Reads the public half of a private key in OpenSSH's form, which stands in it unencrypted: no passphrase is needed. Of a key in another form
/// the file beside it, with the ending `.pub`, is read. The private half is not looked at.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Args {
    /// File of the private key, below the run's folder or named by a `path` parameter.
    #[schemars(extend("format" = "path"))]
    path: String,
}

/// `ssh::public_key`.
pub(crate) struct ReadPublicKey;

impl Operation for ReadPublicKey {
    type Args = Args;
    type Output = KeyPair;

    const NAME: &'static str = "ssh::public_key";
    const SUMMARY: &'static str = "Reads the public half of a key that is in a file here.";
    const EFFECTS: &'static [Effect] = &[Effect::FileRead];
    const REDO: Redo = Redo::Resend;
    const CODES: &'static [ErrorCode] = &[ErrorCode::NOT_FOUND];

    fn examples() -> Vec<Example> {
        let script = r#"
            let made = ssh::key_pair("id_app");
            ssh::public_key("id_app").key == made.key
        "#;
        vec![Example::new("Take a key that is there.", script).on("edge").gives(json!(true))]
    }

    async fn begin(&self, cx: &Cx, args: &Args) -> Result<Outcome<KeyPair>> {
        let (path, file) = (&args.path, cx.file(&args.path)?);
        let private = file.read(LARGEST).map_err(|e| unread(path, e))?;
        let public = match PrivateKey::from_openssh(&private) {
            Ok(key) => key.public_key().clone(),
            Err(_) => {
                let beside = file.beside(".pub").and_then(|it| it.read(LARGEST));
                let line = beside.map_err(|e| {
                    Error::rejected(format!("`{path}` is no private key in OpenSSH's form, and nothing beside it says its public half"))
                        .because(e)
                        .hint(format!("write it there: ssh-keygen -y -f {path} > {path}.pub"))
                })?;
                PublicKey::from_openssh(&String::from_utf8_lossy(&line))
                    .map_err(|e| Error::rejected(format!("`{path}.pub` is no public key")).because(e))?
            }
        };
        let key = public.to_openssh().map_err(|e| Error::rejected("the key cannot be written").because(e))?;
        let fingerprint = fingerprint(&public);
        Ok(Outcome::done(KeyPair { path: path.clone(), key: key.trim_end().to_owned(), fingerprint }))
    }
}
