//! Where the values behind `env:NAME` and `file:PATH` are kept.

use async_trait::async_trait;
use relight_engine::{Error, ErrorKind, Result, Secret, SecretSource};

/// The environment and the files of whoever drives the run.
#[derive(Debug)]
pub(crate) struct Here;

#[async_trait]
impl SecretSource for Here {
    async fn reveal(&self, name: &str) -> Result<Secret> {
        let mut value = match name.split_once(':') {
            Some(("env", variable)) => std::env::var(variable).map_err(|e| {
                missing(name).because(e).hint(format!("set the variable {variable}, then resume the run"))
            })?,
            Some(("file", path)) => std::fs::read_to_string(path).map_err(|e| {
                missing(name)
                    .because(e)
                    .hint(format!("put the secret into {path}, readable for you alone, then resume the run"))
            })?,
            _ => return Err(missing(name).hint("a secret is kept in env:NAME or file:PATH")),
        };
        // An editor ends a file with a line break that nobody meant.
        let line = value.strip_suffix('\n').unwrap_or(&value);
        value.truncate(line.strip_suffix('\r').unwrap_or(line).len());
        if value.is_empty() {
            return Err(missing(name).hint("it is empty"));
        }
        Ok(Secret::new(value))
    }
}

fn missing(name: &str) -> Error {
    Error::new(ErrorKind::Denied, format!("there is no secret `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reveal(name: &str) -> Result<Secret> {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(Here.reveal(name))
    }

    #[test]
    fn one_line_break_at_the_end_of_a_file_is_not_the_secret() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "pass word\n\n").unwrap();
        assert_eq!(reveal(&format!("file:{}", file.path().display())).unwrap().expose(), "pass word\n");
    }

    #[test]
    fn a_missing_secret_is_for_a_person_to_provide() {
        for name in ["env:RELIGHT_TEST_NOT_SET", "file:/nowhere/at/all", "vault:x", "plain"] {
            let error = reveal(name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied, "{name}");
            assert!(!error.hints().is_empty(), "{name}");
        }
    }
}
