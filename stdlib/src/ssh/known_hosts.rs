//! Which machines are known by which host keys: a file in OpenSSH's own format, so that OpenSSH reads it, too.
//!
//! A machine is known by its resource id and port, in lower case: `/subscriptions/../machines/db-01:22`. Names and
//! addresses may be given to another machine tomorrow, and through the relay every machine has the same address.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind as Io, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use relight_engine::{Error, Result};
use russh::keys::ssh_key::known_hosts::{Entry, HostPatterns, KnownHosts as Lines, Marker};
use russh::keys::{HashAlg, PublicKey};

use crate::azure::ResourceId;

/// The name under which a port of a machine is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName(String);

impl HostName {
    /// Returns the name of a port of a machine.
    pub fn of(machine: &ResourceId, port: u16) -> Self {
        HostName(format!("{machine}:{port}").to_ascii_lowercase())
    }

    /// Returns the name as it stands in the file, and as OpenSSH's `HostKeyAlias` takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is known about a host key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the machine's.
    Known,
    /// Nobody has said yet whose it is.
    Unknown,
    /// The machine is known by other keys, or somebody has revoked this one.
    Changed {
        /// The fingerprints by which it is known; empty when the key was revoked.
        known: Vec<String>,
    },
}

/// The host keys that are trusted. Clones share one list.
#[derive(Clone, Debug)]
pub struct KnownHosts(Arc<Place>);

#[derive(Debug)]
enum Place {
    File(PathBuf),
    Memory(Mutex<String>),
}

impl KnownHosts {
    /// Returns the list in a file, which is made with the first entry.
    pub fn at(file: impl Into<PathBuf>) -> Self {
        KnownHosts(Arc::new(Place::File(file.into())))
    }

    /// Returns a list that is forgotten with the process.
    pub fn in_memory() -> Self {
        KnownHosts(Arc::new(Place::Memory(Mutex::default())))
    }

    /// Returns the file, when there is one.
    pub fn file(&self) -> Option<&Path> {
        match &*self.0 {
            Place::File(file) => Some(file),
            Place::Memory(_) => None,
        }
    }

    /// Returns what is known about a key that a machine shows.
    ///
    /// # Errors
    /// `Rejected` when the list cannot be read: then nobody is trusted.
    pub fn check(&self, host: &HostName, key: &PublicKey) -> Result<Standing> {
        let (mut known, mut is_revoked) = (Vec::new(), false);
        for entry in self.entries(host)? {
            let is_same = entry.public_key().key_data() == key.key_data();
            match entry.marker() {
                None => known.push((fingerprint(entry.public_key()), is_same)),
                Some(Marker::Revoked) => is_revoked |= is_same,
                Some(Marker::CertAuthority) => {}
            }
        }
        Ok(match (is_revoked, known.iter().any(|(_, is_same)| *is_same), known.is_empty()) {
            (true, ..) => Standing::Changed { known: Vec::new() },
            (false, true, _) => Standing::Known,
            (false, false, true) => Standing::Unknown,
            (false, false, false) => {
                Standing::Changed { known: known.into_iter().map(|(print, _)| print).collect() }
            }
        })
    }

    /// Returns the keys by which a machine is known.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn keys(&self, host: &HostName) -> Result<Vec<PublicKey>> {
        let entries = self.entries(host)?.into_iter();
        Ok(entries.filter(|entry| entry.marker().is_none()).map(|entry| entry.public_key().clone()).collect())
    }

    /// Trusts a machine by these keys from now on, and by no others.
    ///
    /// # Errors
    /// `Rejected` when the list cannot be written.
    pub fn trust(&self, host: &HostName, keys: &[PublicKey]) -> Result<()> {
        let failed = |e: io::Error| self.failed("write").because(e);
        let mut lines = String::new();
        for key in keys {
            let key = PublicKey::new(key.key_data().clone(), "");
            let key = key.to_openssh().map_err(|e| self.failed("write").because(e))?;
            lines.push_str(&format!("{} {}\n", host.as_str(), key.trim_end()));
        }
        match &*self.0 {
            Place::Memory(held) => {
                let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
                *held = format!("{}{lines}", without(&held, host));
                Ok(())
            }
            Place::File(file) => self.rewrite(file, host, &lines).map_err(failed),
        }
    }

    /// Puts lines about a host in the place of those that are there. Whoever else does so at the same time waits, so that
    /// nothing that either of them adds is lost.
    fn rewrite(&self, file: &Path, host: &HostName, lines: &str) -> io::Result<()> {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut beside = file.as_os_str().to_owned();
        beside.push(".lock");
        // The list itself is replaced, so that a lock on it would hold nobody off. It is let go of with its value.
        let lock = owner_only(OpenOptions::new().write(true).create(true).truncate(false)).open(beside)?;
        lock.lock()?;
        let text = self.text()?;
        let others = without(&text, host);
        match others.strip_prefix(&text) {
            // OpenSSH appends to the same list without a lock: what is only added cannot lose that.
            Some(end) => append(file, &format!("{end}{lines}")),
            None => replace(file, &format!("{others}{lines}")),
        }
    }

    fn entries(&self, host: &HostName) -> Result<Vec<Entry>> {
        let text = self.text().map_err(|e| self.failed("read").because(e))?;
        let mut entries = Vec::new();
        for line in text.lines().filter(|line| is_about(line, host)) {
            for entry in Lines::new(line) {
                entries.push(entry.map_err(|e| {
                    self.failed("read").because(e).hint(format!("mend or remove its line about {}", host.0))
                })?);
            }
        }
        Ok(entries)
    }

    fn text(&self) -> io::Result<String> {
        match &*self.0 {
            Place::Memory(held) => Ok(held.lock().unwrap_or_else(PoisonError::into_inner).clone()),
            Place::File(file) => match std::fs::read_to_string(file) {
                Err(e) if e.kind() == Io::NotFound => Ok(String::new()),
                other => other,
            },
        }
    }

    fn failed(&self, what: &str) -> Error {
        let file = self.file().map_or_else(|| "in memory".to_owned(), |file| file.display().to_string());
        Error::rejected(format!("failed to {what} the known host keys {file}"))
    }
}

/// Returns the fingerprint as OpenSSH shows it.
pub fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// Returns whether a line of the file is about a host. A pattern is compared as a name: no machine has one.
fn is_about(line: &str, host: &HostName) -> bool {
    let line = line.trim_start();
    if line.starts_with('#') {
        return false;
    }
    let mut fields = line.split_ascii_whitespace();
    let first = fields.next().unwrap_or_default();
    let names = if first.starts_with('@') { fields.next().unwrap_or_default() } else { first };
    match names.parse() {
        Ok(HostPatterns::Patterns(names)) => names.iter().any(|name| name.eq_ignore_ascii_case(&host.0)),
        _ => false,
    }
}

/// Returns a list without what it says about a host, comments and all. Its last line ends.
fn without(text: &str, host: &HostName) -> String {
    let mut others: String = text.split_inclusive('\n').filter(|line| !is_about(line, host)).collect();
    if !others.is_empty() && !others.ends_with('\n') {
        others.push('\n');
    }
    others
}

/// Appends lines in one write.
fn append(file: &Path, lines: &str) -> io::Result<()> {
    let mut file = owner_only(OpenOptions::new().append(true).create(true)).open(file)?;
    file.write_all(lines.as_bytes())?;
    file.sync_all()
}

/// Replaces the whole file, or nothing of it.
fn replace(file: &Path, text: &str) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(folder)?;
    new.write_all(text.as_bytes())?;
    new.as_file().sync_all()?;
    new.persist(file)?;
    #[cfg(unix)]
    std::fs::File::open(folder)?.sync_all()?;
    Ok(())
}

#[cfg(unix)]
fn owner_only(options: &mut OpenOptions) -> &mut OpenOptions {
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600)
}

#[cfg(not(unix))]
fn owner_only(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
    const TWO: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn key(text: &str) -> PublicKey {
        PublicKey::from_openssh(text).unwrap()
    }

    fn host(name: &str) -> HostName {
        let id =
            format!("/subscriptions/s/resourceGroups/RG/providers/Microsoft.HybridCompute/machines/{name}");
        HostName::of(&ResourceId::parse(&id).unwrap(), 22)
    }

    fn both() -> [(KnownHosts, Option<tempfile::TempDir>); 2] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("deep/known_hosts");
        [(KnownHosts::in_memory(), None), (KnownHosts::at(file), Some(folder))]
    }

    #[test]
    fn a_machine_is_known_by_what_was_trusted_last() {
        for (known, _folder) in both() {
            let (one, two) = (key(ONE), key(TWO));
            assert_eq!(known.check(&host("db"), &one).unwrap(), Standing::Unknown);
            known.trust(&host("DB"), std::slice::from_ref(&one)).unwrap();
            known.trust(&host("web"), std::slice::from_ref(&two)).unwrap();
            assert_eq!(known.check(&host("db"), &one).unwrap(), Standing::Known);
            let Standing::Changed { known: prints } = known.check(&host("db"), &two).unwrap() else {
                panic!("another key is a change");
            };
            assert_eq!(prints, [fingerprint(&one)]);
            known.trust(&host("db"), std::slice::from_ref(&two)).unwrap();
            assert_eq!(known.check(&host("db"), &two).unwrap(), Standing::Known);
            assert_eq!(known.keys(&host("web")).unwrap().len(), 1, "others are left alone");
        }
    }

    #[test]
    fn what_others_wrote_stays_and_what_was_revoked_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known_hosts");
        let name = host("db");
        let before = format!("# mine\n@revoked {} {TWO}\nweb-01,10.0.0.1 {TWO}\nnot a line", name.as_str());
        std::fs::write(&file, &before).unwrap();
        let known = KnownHosts::at(&file);
        assert_eq!(known.check(&name, &key(TWO)).unwrap(), Standing::Changed { known: vec![] });
        assert_eq!(known.check(&name, &key(ONE)).unwrap(), Standing::Unknown);
        known.trust(&host("other"), &[key(ONE)]).unwrap();
        assert!(std::fs::read_to_string(&file).unwrap().starts_with(&before));
        assert_eq!(known.check(&host("other"), &key(ONE)).unwrap(), Standing::Known);
        std::fs::write(&file, format!("{} ssh-ed25519 rubbish\n", name.as_str())).unwrap();
        assert!(known.check(&name, &key(ONE)).is_err(), "who cannot be read is not trusted");
    }

    #[test]
    fn what_is_trusted_at_the_same_time_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known_hosts");
        let rounds = 0..40;
        std::thread::scope(|scope| {
            for name in ["a", "b", "c", "d"] {
                let (file, rounds) = (file.clone(), rounds.clone());
                scope.spawn(move || {
                    // As other processes, which share nothing but the file.
                    let known = KnownHosts::at(file);
                    for round in rounds {
                        let keys = if round % 2 == 0 { [key(ONE)] } else { [key(TWO)] };
                        known.trust(&host(name), &keys).unwrap();
                        known.trust(&host(&format!("{name}-{round}")), &keys).unwrap();
                    }
                });
            }
        });
        let known = KnownHosts::at(file);
        for name in ["a", "b", "c", "d"] {
            assert_eq!(known.check(&host(name), &key(TWO)).unwrap(), Standing::Known, "{name}");
            let lost = rounds
                .clone()
                .filter(|round| known.keys(&host(&format!("{name}-{round}"))).unwrap().is_empty());
            assert_eq!(lost.count(), 0, "{name}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_file_is_its_owners() {
        use std::os::unix::fs::PermissionsExt;
        for (known, folder) in both() {
            let Some(_folder) = folder else { continue };
            for text in [ONE, TWO] {
                known.trust(&host("db"), &[key(text)]).unwrap();
                let mode = std::fs::metadata(known.file().unwrap()).unwrap().permissions().mode();
                assert_eq!(mode & 0o777, 0o600);
            }
        }
    }
}
