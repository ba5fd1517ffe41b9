//! What is on the disk of a machine that nobody has touched.

use super::{Files, GUEST_PASSWORD, GUEST_USER, Os, User, hashed, kept_password, passwords};

const OS_RELEASE: &str = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\n\
                          VERSION_ID=\"12\"\nVERSION=\"12 (bookworm)\"\nVERSION_CODENAME=bookworm\nID=debian\n";

const SSHD_CONFIG: &str = "Include /etc/ssh/sshd_config.d/*.conf\nKbdInteractiveAuthentication no\nUsePAM yes\n\
                           X11Forwarding yes\nSubsystem sftp /usr/lib/openssh/sftp-server\n";

/// Returns a new disk.
pub(super) fn fresh(os: Os, machine: &str) -> Files {
    let mut files = Files::new(os == Os::Windows);
    let (root, user) = (User::ROOT, GUEST_USER);
    let password = kept_password(user, &hashed(user, GUEST_PASSWORD)) + "\n";
    files.place(passwords(os), Some(&password), 0o640, root);
    match os {
        Os::Linux => {
            files.place("/etc/hostname", Some(&format!("{machine}\n")), 0o644, root);
            files.place("/etc/os-release", Some(OS_RELEASE), 0o644, root);
            files.place("/etc/ssh/sshd_config", Some(SSHD_CONFIG), 0o644, root);
            files.place("/home", None, 0o755, root);
            files.place(&format!("/home/{user}"), None, 0o755, user);
            files.place("/root", None, 0o700, root);
            files.place("/tmp", None, 0o777, root);
            files.place("/var/log", None, 0o755, root);
            files.place("/dev", None, 0o755, root);
        }
        Os::Windows => {
            files.place(&format!("/C:/Users/{user}"), None, 0o700, user);
            files.place("/C:/ProgramData/ssh", None, 0o755, root);
            files.place("/C:/Windows/System32", None, 0o755, root);
            files.place("/C:/Windows/Temp", None, 0o777, root);
        }
    }
    files
}

/// Writes what follows from elsewhere: the public halves of the host keys, by their kinds.
pub(crate) fn refresh(files: &mut Files, os: Os, keys: &[(&str, String)]) {
    for (kind, line) in keys {
        files.place(&host_key(os, kind), Some(line), 0o644, User::ROOT);
    }
}

fn host_key(os: Os, kind: &str) -> String {
    let folder = match os {
        Os::Linux => "/etc/ssh",
        Os::Windows => "/C:/ProgramData/ssh",
    };
    format!("{folder}/ssh_host_{kind}_key.pub")
}

/// Returns whether a file is one that `refresh` writes.
pub(super) fn is_host_key(path: &str) -> bool {
    path.rsplit('/').next().is_some_and(|name| name.starts_with("ssh_host_") && name.ends_with("_key.pub"))
}
