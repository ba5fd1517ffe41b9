//! What the extension VMAccess does on a machine, from what it is given where nobody can read it back.
//!
//! As its source has it (Azure/azure-linux-extensions): it makes the user where there is none, makes it an administrator, adds a key, sets a
//! password and lets passwords in, or copies its own configuration of the SSH server over what is there.

use serde_json::Value;

use super::{Computer, accounts::SSHD_CONFIG};
use crate::machine::{User, hashed};

/// Where it keeps the configuration that it found first.
const BACKUP: &str = "/var/cache/vmaccess/backup";
const SUDOERS: &str = "/etc/sudoers.d/waagent";
/// The configuration that it brings along.
const PLAIN: &str = "# What VMAccess brings along\nPort 22\nPermitRootLogin no\nPubkeyAuthentication yes\n\
                     ChallengeResponseAuthentication no\nUsePAM yes\nSubsystem sftp /usr/lib/openssh/sftp-server\n";

/// What it may be given on Linux.
const LINUX: [&str; 9] = [
    "username",
    "password",
    "ssh_key",
    "reset_ssh",
    "remove_user",
    "expiration",
    "remove_prior_keys",
    "restore_backup_ssh",
    "enable_passwordless_access",
];

/// Does it on Linux.
///
/// # Errors
/// What it says about what it cannot do.
pub(crate) fn on_linux(computer: &Computer, given: &Value) -> Result<(), String> {
    let word = |name: &str| given[name].as_str().filter(|text| !text.is_empty());
    let is_set = |name: &str| {
        given[name] == true || given[name].as_str().is_some_and(|it| it.eq_ignore_ascii_case("true"))
    };
    let odd = given.as_object().into_iter().flatten().map(|(name, _)| name);
    if let Some(odd) = odd.into_iter().find(|name| !LINUX.contains(&name.as_str())) {
        // It passes over what it does not know; whoever sent it meant something.
        return Err(format!("the lab does not know the setting {odd}"));
    }
    let (password, reset) = (word("password"), is_set("reset_ssh"));
    if let Some(user) = word("remove_user") {
        if reset || password.is_some() {
            return Err("Cannot reset sshd_config and remove a user in one operation.".to_owned());
        }
        let removed = computer.disk.files().remove_all(&User::root(), &format!("/home/{user}"));
        removed.map_err(|_| format!("Failed to remove user {user}"))?;
        computer.forget_password(user);
    }
    configure(computer, "ChallengeResponseAuthentication", "no");
    if reset {
        keep_config(computer);
        let before = computer.text(BACKUP).filter(|_| is_set("restore_backup_ssh"));
        computer.disk.files().place(SSHD_CONFIG, Some(before.as_deref().unwrap_or(PLAIN)), 0o644, User::ROOT);
    }
    let Some(user) = word("username") else { return Ok(()) };
    let key = word("ssh_key").map(str::trim);
    if password.is_none() && key.is_none() {
        return Err("No password or ssh_key is specified.".to_owned());
    }
    computer.welcome(&User::new(user));
    let line = format!("{user} ALL = (ALL) ALL");
    add_line(computer, SUDOERS, &line, 0o440, User::ROOT);
    if let Some(password) = password {
        computer.keep_password(user, &hashed(user, password));
        configure(computer, "PasswordAuthentication", "yes");
    }
    let Some(key) = key else { return Ok(()) };
    if !["ssh-rsa ", "ssh-ed25519 "].iter().any(|kind| key.starts_with(kind)) {
        return Err("Failed to generate public key file.".to_owned());
    }
    let folder = format!("/home/{user}/.ssh");
    let file = format!("{folder}/authorized_keys");
    computer.disk.files().place(&folder, None, 0o700, user);
    if is_set("remove_prior_keys") {
        computer.disk.files().place(&file, Some(""), 0o600, user);
    }
    // As it is, also where it is there already.
    let before = computer.text(&file).unwrap_or_default();
    computer.disk.files().place(&file, Some(&format!("{before}{key}\n")), 0o600, user);
    Ok(())
}

/// Does it on Windows, where it sets the password of a user who is there, or switches Remote Desktop on.
///
/// # Errors
/// What it says about what it cannot do.
pub(crate) fn on_windows(computer: &Computer, settings: &Value, given: &Value) -> Result<(), String> {
    match (settings["UserName"].as_str(), given["Password"].as_str()) {
        (Some(user), Some(password)) if computer.users().iter().any(|known| known == user) => {
            computer.keep_password(user, &hashed(user, password));
            Ok(())
        }
        // Inferred: in Azure the administrator takes on another name. Whoever misspells theirs is told here.
        (Some(user), Some(_)) => Err(format!("there is no user {user}")),
        (None, None) => Ok(()),
        _ => Err("a user name and a password belong together".to_owned()),
    }
}

/// Keeps the configuration that is there, if none is kept.
fn keep_config(computer: &Computer) {
    let config = computer.text(SSHD_CONFIG).filter(|_| computer.text(BACKUP).is_none());
    if let Some(config) = config {
        computer.disk.files().place(BACKUP, Some(&config), 0o600, User::ROOT);
    }
}

/// Sets one word of the configuration of the SSH server.
fn configure(computer: &Computer, name: &str, word: &str) {
    let config = computer.text(SSHD_CONFIG).unwrap_or_default();
    let wanted = format!("{name} {word}");
    if config.lines().any(|line| line == wanted) {
        return;
    }
    keep_config(computer);
    let mut lines: Vec<&str> = config.lines().filter(|line| !line.starts_with(name)).collect();
    lines.push(&wanted);
    computer.disk.files().place(SSHD_CONFIG, Some(&(lines.join("\n") + "\n")), 0o644, User::ROOT);
}

fn add_line(computer: &Computer, path: &str, line: &str, mode: u32, owner: &str) {
    let before = computer.text(path).unwrap_or_default();
    if !before.lines().any(|known| known == line) {
        computer.disk.files().place(path, Some(&format!("{before}{line}\n")), mode, owner);
    }
}
