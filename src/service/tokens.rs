//! Who may come in: tokens with a name, a role, and perhaps a few runbooks to which they are limited.
//!
//! A token is 256 random bits. Kept is its SHA-256: a slow hash guards what people choose, because that can be guessed; nobody guesses 256
//! bits, however fast the hash. It is found by its hash, so that no comparison takes longer the more of it is right.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use clap::ValueEnum;
use jiff::Timestamp;
use relight_engine::event::hex;
use relight_engine::{Error, Result};
use rusqlite::{Connection, OptionalExtension, Row, params};
use schemars::JsonSchema;
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::store::{self, broken, text};

/// With what every token begins, so that people and scanners know one when they see it.
pub(crate) const BEGINNING: &str = "rlt_";

/// What a token is for. Each may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// See what runs, ran and is open
    View,
    /// Start, stop, resume and answer runs, and close what is open
    Run,
    /// Change schedules, name any secret and path, read the audit journal
    Admin,
}

impl Role {
    /// Returns the word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Role::View => "view",
            Role::Run => "run",
            Role::Admin => "admin",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Role::View, Role::Run, Role::Admin].into_iter().find(|role| role.as_str() == word)
    }
}

/// A token, without the token itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Grant {
    /// Whose it is, or what for.
    pub(crate) name: String,
    /// What it is for.
    pub(crate) role: Role,
    /// The runbooks of which alone it sees and does anything; nothing when it is not limited.
    pub(crate) runbooks: Option<Vec<String>>,
    /// When it was made.
    pub(crate) created: Timestamp,
    /// From when on it is worth nothing.
    pub(crate) expires: Option<Timestamp>,
    /// When it was revoked.
    pub(crate) revoked: Option<Timestamp>,
}

impl Grant {
    /// Returns whether it is worth anything at a time.
    pub(crate) fn holds(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|expires| now < expires)
    }

    /// Returns whether it reaches a runbook.
    pub(crate) fn reaches(&self, runbook: &str) -> bool {
        self.runbooks.as_ref().is_none_or(|runbooks| runbooks.iter().any(|one| one == runbook))
    }
}

/// The tokens of one state folder.
#[derive(Debug)]
pub(crate) struct Tokens(Mutex<Connection>);

const COLUMNS: &str = "name, role, runbooks, created, expires, revoked";

impl Tokens {
    /// Opens the tokens of a state folder.
    ///
    /// # Errors
    /// `Storage`.
    pub(crate) fn open(state: &Path) -> Result<Self> {
        Ok(Tokens(Mutex::new(store::open(state)?)))
    }

    /// Makes a token and returns it: this once.
    ///
    /// # Errors
    /// `Invalid` when there is, or was, one of that name; `Storage`.
    pub(crate) fn create(&self, grant: &Grant) -> Result<String> {
        let token = fresh()?;
        let runbooks = grant.runbooks.as_ref().map(|names| serde_json::json!(names).to_string());
        let added = self.db().execute(
            "INSERT INTO tokens (name, hash, role, runbooks, created, expires) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (name) DO NOTHING",
            params![
                grant.name,
                hash(&token),
                grant.role.as_str(),
                runbooks,
                text(grant.created),
                grant.expires.map(text)
            ],
        );
        match added.map_err(|e| broken("the token was not kept", e))? {
            0 => Err(Error::invalid(format!("there is, or was, a token `{}`", grant.name))
                .hint("choose another name: one that was used stays in the audit journal")),
            _ => Ok(token),
        }
    }

    /// Returns every token, the oldest first, also those that are worth nothing any more.
    ///
    /// # Errors
    /// `Storage`.
    pub(crate) fn list(&self) -> Result<Vec<Grant>> {
        let read = |db: &Connection| {
            let mut statement =
                db.prepare(&format!("SELECT {COLUMNS} FROM tokens ORDER BY created, name"))?;
            statement.query_map([], grant)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        read(&self.db()).map_err(|e| broken("the tokens cannot be read", e))
    }

    /// Revokes a token. Afterwards no request with it is granted.
    ///
    /// # Errors
    /// `Invalid` when there is none, or it is revoked already; `Storage`.
    pub(crate) fn revoke(&self, name: &str, now: Timestamp) -> Result<()> {
        let changed = self.db().execute(
            "UPDATE tokens SET revoked = ?2 WHERE name = ?1 AND revoked IS NULL",
            params![name, text(now)],
        );
        match changed.map_err(|e| broken("the token was not revoked", e))? {
            0 => Err(Error::invalid(format!("there is no token `{name}` that is not revoked"))),
            _ => Ok(()),
        }
    }

    /// Returns what a token grants at a time, if it grants anything.
    ///
    /// # Errors
    /// `Storage`.
    pub(crate) fn find(&self, token: &str, now: Timestamp) -> Result<Option<Grant>> {
        let read = |db: &Connection| {
            let mut statement =
                db.prepare_cached(&format!("SELECT {COLUMNS} FROM tokens WHERE hash = ?1"))?;
            statement.query_row([hash(token)], grant).optional()
        };
        let found = read(&self.db()).map_err(|e| broken("the tokens cannot be read", e))?;
        Ok(found.filter(|grant| grant.holds(now)))
    }

    /// Fixes what was asked for under a run's id: the first to ask decides. Returns whether this is the same.
    ///
    /// # Errors
    /// `Storage`.
    pub(super) fn is_same_start(&self, run: &str, asked: &[u8]) -> Result<bool> {
        let write = |db: &Connection| {
            db.execute(
                "INSERT INTO starts (run, asked, at) VALUES (?1, ?2, ?3) ON CONFLICT (run) DO NOTHING",
                params![run, asked, text(Timestamp::now())],
            )?;
            db.query_row("SELECT asked FROM starts WHERE run = ?1", [run], |row| row.get::<_, Vec<u8>>(0))
        };
        let first = write(&self.db()).map_err(|e| broken("the start was not kept", e))?;
        Ok(first == asked)
    }

    /// Returns whether a run was asked for here.
    ///
    /// # Errors
    /// `Storage`.
    pub(super) fn was_started(&self, run: &str) -> Result<bool> {
        let read = |db: &Connection| db.prepare_cached("SELECT 1 FROM starts WHERE run = ?1")?.exists([run]);
        read(&self.db()).map_err(|e| broken("the starts cannot be read", e))
    }

    fn db(&self) -> std::sync::MutexGuard<'_, Connection> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn grant(row: &Row<'_>) -> rusqlite::Result<Grant> {
    let wrong = |n: usize| rusqlite::Error::InvalidColumnType(n, "text".into(), rusqlite::types::Type::Text);
    let time = |n: usize| -> rusqlite::Result<Option<Timestamp>> {
        let text: Option<String> = row.get(n)?;
        text.map(|text| text.parse().map_err(|_| wrong(n))).transpose()
    };
    let runbooks: Option<String> = row.get(2)?;
    Ok(Grant {
        name: row.get(0)?,
        role: Role::parse(&row.get::<_, String>(1)?).ok_or_else(|| wrong(1))?,
        runbooks: runbooks.map(|names| serde_json::from_str(&names).map_err(|_| wrong(2))).transpose()?,
        created: time(3)?.ok_or_else(|| wrong(3))?,
        expires: time(4)?,
        revoked: time(5)?,
    })
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

fn fresh() -> Result<String> {
    let mut random = [0; 32];
    rustls::crypto::ring::default_provider()
        .secure_random
        .fill(&mut random)
        .map_err(|_| Error::storage("the operating system gives no random numbers"))?;
    Ok(format!("{BEGINNING}{}", hex(&random)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(name: &str) -> Grant {
        Grant {
            name: name.to_owned(),
            role: Role::Run,
            runbooks: Some(vec!["a/b".to_owned()]),
            created: Timestamp::UNIX_EPOCH,
            expires: Some("1970-01-02T00:00:00Z".parse().unwrap()),
            revoked: None,
        }
    }

    #[test]
    fn a_token_grants_until_it_expires_or_is_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(folder.path()).unwrap();
        let (one, other) = (tokens.create(&grant("one")).unwrap(), tokens.create(&grant("other")).unwrap());
        assert!(one.starts_with(BEGINNING) && one.len() == BEGINNING.len() + 64 && one != other);
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(tokens.find(&one, now).unwrap(), Some(grant("one")));
        assert_eq!(tokens.find(&one, "1970-01-02T00:00:00Z".parse().unwrap()).unwrap(), None);
        for wrong in ["", BEGINNING, &one[..one.len() - 1], &one.to_uppercase()] {
            assert_eq!(tokens.find(wrong, now).unwrap(), None, "{wrong}");
        }
        tokens.revoke("one", now).unwrap();
        assert_eq!(tokens.find(&one, now).unwrap(), None);
        assert!(tokens.revoke("one", now).is_err() && tokens.revoke("none", now).is_err());
        assert!(tokens.create(&grant("one")).is_err(), "its name stands in the audit journal");
        assert_eq!(tokens.find(&other, now).unwrap(), Some(grant("other")));
    }

    #[test]
    fn the_token_is_nowhere_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(folder.path()).unwrap();
        let token = tokens.create(&grant("one")).unwrap();
        let secret = token.strip_prefix(BEGINNING).unwrap();
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let path = file.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(16).any(|part| part == &secret.as_bytes()[..16]), "{}", path.display());
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt;
                let mode = std::fs::metadata(&path).unwrap().permissions().mode();
                assert_eq!(mode & 0o077, 0, "{} is {mode:o}", path.display());
            }
        }
    }

    #[test]
    fn the_first_to_ask_decides_what_a_start_is() {
        let folder = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(folder.path()).unwrap();
        assert!(tokens.is_same_start("r1", b"one").unwrap());
        drop(tokens);
        let tokens = Tokens::open(folder.path()).unwrap();
        assert!(tokens.is_same_start("r1", b"one").unwrap());
        assert!(!tokens.is_same_start("r1", b"other").unwrap());
    }
}
