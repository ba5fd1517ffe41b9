//! Who may come in with what: passwords as the system keeps them, and what the configuration of the SSH server says about them.

use super::Computer;
use crate::machine::{GUEST_PASSWORD, GUEST_USER, Os, User, hashed, kept_password, passwords};

/// The configuration of the SSH server on Linux.
pub(super) const SSHD_CONFIG: &str = "/etc/ssh/sshd_config";

impl Computer {
    /// Returns where the system keeps its passwords.
    fn passwords(&self) -> &'static str {
        passwords(if self.is_windows { Os::Windows } else { Os::Linux })
    }

    /// Returns what is in a file, as the one who may read everything.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let files = self.disk.files();
        files.read(&User::root(), path).ok().map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// Returns whether a user signs in with this password.
    pub(super) fn takes_password(&self, user: &str, password: &str) -> bool {
        let Some(kept) = self.text(self.passwords()) else {
            // A machine that was saved before there were any.
            return user == GUEST_USER && password == GUEST_PASSWORD;
        };
        let mut lines = kept.lines().filter_map(|line| line.split_once(':'));
        let line = lines.find(|(name, _)| *name == user);
        line.is_some_and(|(_, rest)| rest.split(':').next() == Some(hashed(user, password).as_str()))
    }

    /// Keeps what is kept of a password in place of what was there.
    pub(in crate::guest) fn keep_password(&self, user: &str, hash: &str) {
        let path = self.passwords();
        let kept = self.text(path).unwrap_or_default();
        let others = kept.lines().filter(|line| line.split(':').next() != Some(user));
        let mut lines: Vec<String> = others.map(str::to_owned).collect();
        lines.push(kept_password(user, hash));
        self.disk.files().place(path, Some(&(lines.join("\n") + "\n")), 0o640, User::ROOT);
    }

    /// Forgets a user's password.
    pub(super) fn forget_password(&self, user: &str) {
        let path = self.passwords();
        let kept = self.text(path).unwrap_or_default();
        let others = kept.lines().filter(|line| line.split(':').next() != Some(user));
        let text: String = others.map(|line| format!("{line}\n")).collect();
        self.disk.files().place(path, Some(&text), 0o640, User::ROOT);
    }

    /// Returns whether the SSH server has something switched on that it has by itself. The first line about it counts, as with OpenSSH.
    pub(super) fn sshd_allows(&self, what: &str) -> bool {
        let config = self.text(SSHD_CONFIG).unwrap_or_default();
        let word = config.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            words.next().filter(|name| name.eq_ignore_ascii_case(what))?;
            words.next().map(str::to_ascii_lowercase)
        });
        word.is_none_or(|word| word != "no")
    }

    /// Returns whether the SSH server takes a user at all.
    pub(super) fn sshd_takes(&self, user: &str) -> bool {
        let config = self.text(SSHD_CONFIG).unwrap_or_default();
        let mut lists = config.lines().filter_map(|line| line.trim().strip_prefix("AllowUsers")).peekable();
        lists.peek().is_none() || lists.any(|list| list.split_whitespace().any(|name| name == user))
    }
}
