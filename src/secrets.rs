//! Where the values behind secret references are kept: the environment, files, the keyring, Azure Key Vault.

use async_trait::async_trait;
use relight_engine::{Error, ErrorKind, Result, Secret, SecretSource};
use relight_stdlib::azure::Arm;

use crate::environment::variable;
use crate::keyring::{self, Trouble};

/// What a person is told about how a secret is named.
const WHERE: &str = "a secret is kept in env:NAME, file:PATH, keyring:SERVICE/NAME or keyvault:VAULT/NAME";

/// The secrets of whoever drives the run. Azure is asked as whoever signs in there.
pub(crate) struct Secrets(pub(crate) Arm);

#[async_trait]
impl SecretSource for Secrets {
    async fn reveal(&self, name: &str) -> Result<Secret> {
        let secret = match name.split_once(':') {
            Some(("env", named)) => variable(named)
                .map(Secret::new)
                .ok_or_else(|| missing(name).hint(format!("set the variable {named}")))?,
            Some(("file", path)) => read_file(name, path)?,
            Some(("keyring", entry)) => read_keyring(name, entry).await?,
            Some(("keyvault", secret)) => {
                let secret = secret
                    .parse()
                    .map_err(|e: Error| missing(name).because(e.message().to_owned()).hint(WHERE))?;
                self.0.vault_secret(&secret).await?
            }
            _ => return Err(missing(name).hint(WHERE)),
        };
        match secret.expose().is_empty() {
            true => Err(missing(name).hint("it is empty")),
            false => Ok(secret),
        }
    }
}

fn read_file(name: &str, path: &str) -> Result<Secret> {
    let mut value = std::fs::read_to_string(path).map_err(|e| {
        missing(name).because(e).hint(format!("put the secret into {path}, readable for you alone"))
    })?;
    // An editor ends a file with a line break that nobody meant.
    let line = value.strip_suffix('\n').unwrap_or(&value);
    value.truncate(line.strip_suffix('\r').unwrap_or(line).len());
    Ok(Secret::new(value))
}

async fn read_keyring(name: &str, entry: &str) -> Result<Secret> {
    let (service, user) = entry
        .split_once('/')
        .filter(|(service, user)| !service.is_empty() && !user.is_empty())
        .ok_or_else(|| missing(name).hint(WHERE))?;
    keyring::read(service, user).await.map_err(|trouble| match trouble {
        Trouble::Absent => missing(name)
            .hint(format!("put it into the keyring, as the password of `{user}` for `{service}`")),
        Trouble::Unusable(why) => {
            missing(name).because(why).hint("unlock the keyring, or keep the secret elsewhere").hint(WHERE)
        }
    })
}

fn missing(name: &str) -> Error {
    Error::new(ErrorKind::Denied, format!("there is no secret `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reveal(name: &str) -> Result<Secret> {
        let secrets = Secrets(crate::azure::nowhere().unwrap().arm);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(secrets.reveal(name))
    }

    #[test]
    fn one_line_break_at_the_end_of_a_file_is_not_the_secret() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "pass word\n\n").unwrap();
        assert_eq!(reveal(&format!("file:{}", file.path().display())).unwrap().expose(), "pass word\n");
    }

    #[test]
    fn a_missing_secret_is_for_a_person_to_provide() {
        for name in [
            "env:RELIGHT_TEST_NOT_SET",
            "file:/nowhere/at/all",
            "keyring:nothing",
            "keyvault:x",
            "keyvault:kv.evil.example/x",
            "vault:x",
            "plain",
        ] {
            let error = reveal(name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied, "{name}");
            assert!(!error.hints().is_empty(), "{name}");
        }
    }
}
