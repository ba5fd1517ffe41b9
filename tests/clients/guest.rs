//! OpenSSH's own clients on the machines of the lab, by `relight proxy`: what answers is the lab's own server.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use relight_lab::{GUEST_PASSWORD, GUEST_USER, Guest};
use serde_json::{Value, json};

use super::openssh::{Sshd, bulk, digest, good, user};
use super::{LOOK, Site, program};

/// The lab with OpenSSH's client configured for its machines. SSH is let in to none yet.
struct Visitor {
    site: Site,
    folder: PathBuf,
}

impl Visitor {
    async fn start() -> Option<Self> {
        program("OpenSSH's client", &["ssh"])?;
        let site = Site::start(240).await;
        let folder = site.sealed.path("ssh");
        fs::create_dir(&folder).unwrap();
        let visitor = Visitor { site, folder };
        let key = visitor.folder.join("key");
        let made = Command::new("ssh-keygen").args(["-q", "-N", "", "-t", "ed25519", "-f"]).arg(key).status();
        assert!(made.unwrap().success());
        let ask = visitor.folder.join("ask");
        fs::write(&ask, format!("#!/bin/sh\necho {GUEST_PASSWORD}\n")).unwrap();
        fs::set_permissions(&ask, fs::Permissions::from_mode(0o700)).unwrap();
        let about = visitor.site.lab.descriptor();
        let place = visitor.folder.display();
        let mut config = String::new();
        for (name, group) in [("app-01", "rg-apps"), ("db-01", "rg-edge")] {
            config.push_str(&format!(
                "Host {name}\n  HostName /subscriptions/{}/resourceGroups/{group}/providers/Microsoft.HybridCompute/machines/{name}\n  HostKeyAlias {name}\n",
                about.subscription
            ));
        }
        config.push_str(&format!(
            "Host *\n  User {GUEST_USER}\n  IdentityFile {place}/key\n  IdentitiesOnly yes\n  \
             StrictHostKeyChecking accept-new\n  UserKnownHostsFile {place}/known_hosts\n  LogLevel ERROR\n  \
             NumberOfPasswordPrompts 1\n  ProxyCommand {} proxy --lab={} %h %p\n",
            env!("CARGO_BIN_EXE_relight"),
            visitor.site.card.display(),
        ));
        fs::write(visitor.folder.join("config"), config).unwrap();
        Some(visitor)
    }

    fn run(&self, words: &[&str]) {
        let place = format!("--lab={}", self.site.card.display());
        self.site.sealed.relight([words, &[&place]].concat()).run().succeeds();
    }

    /// Describes a call of one of OpenSSH's programs. The password is given when it is asked for.
    fn call(&self, name: &str, args: &[&str]) -> Command {
        let mut command = Command::new(name);
        command
            .arg("-F")
            .arg(self.folder.join("config"))
            .args(args)
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.site.sealed.path("home"))
            .env("RELIGHT_STATE", self.site.sealed.path("state"))
            .env("SSH_ASKPASS", self.folder.join("ask"))
            .env("SSH_ASKPASS_REQUIRE", "force")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn install(&self, machine: &str, group: &str, publisher: &str, kind: &str) {
        let script = format!(
            "/*---\ntitle = \"Install it\"\neffects = [\"azure:write\", \"azure:read\"]\n---*/\n\
             let machine = arc::machine({machine:?}, #{{ group: {group:?} }});\n\
             arc::extension_install(machine, {publisher:?}, {kind:?});\n"
        );
        let script = self.site.sealed.write("work/install.rhai", &script);
        self.run(&["run", &script.to_string_lossy()]);
    }

    /// Asks for an SSH certificate for `id.pub`, as a program does, and writes it beside. Returns its principal.
    fn certify(&self) -> String {
        let id = self.folder.join("id");
        let made = Command::new("ssh-keygen")
            .args(["-q", "-N", "", "-t", "rsa", "-b", "2048", "-f"])
            .arg(&id)
            .status();
        assert!(made.unwrap().success());
        let line = fs::read_to_string(id.with_extension("pub")).unwrap();
        let blob = decoded(line.split(' ').nth(1).unwrap());
        let mut parts = Vec::new();
        let mut rest = blob.as_slice();
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let (part, after) = after.split_at(u32::from_be_bytes(*length) as usize);
            parts.push(part);
            rest = after;
        }
        let key = json!({"kty": "RSA", "e": encoded(parts[1]), "n": encoded(parts[2]), "kid": "one"});
        let about = self.site.lab.descriptor();
        let authority = self.site.sealed.write("ca.pem", &about.ca_pem);
        let mut call = Command::new("curl");
        call.arg("-s")
            .arg("--cacert")
            .arg(authority)
            .arg(format!("{}/{}/oauth2/v2.0/token", about.url, about.tenant));
        for (name, value) in [
            ("grant_type", "client_credentials"),
            ("client_id", &about.client_id),
            ("client_secret", &about.client_secret),
            ("scope", "https://pas.windows.net/CheckMyAccess/Linux/.default"),
            ("token_type", "ssh-cert"),
            ("req_cnf", &key.to_string()),
            ("key_id", "one"),
        ] {
            call.arg("--data-urlencode").arg(format!("{name}={value}"));
        }
        let answer: Value = serde_json::from_slice(&call.output().unwrap().stdout).unwrap();
        let blob = answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}"));
        let path = self.folder.join("id-cert.pub");
        fs::write(&path, format!("ssh-rsa-cert-v01@openssh.com {blob}\n")).unwrap();
        let shown = good(&Command::new("ssh-keygen").arg("-L").arg("-f").arg(path).output().unwrap());
        let principals = shown.lines().skip_while(|line| !line.contains("Principals:"));
        principals.skip(1).map(|line| line.trim().to_owned()).next().unwrap()
    }

    /// Puts the key where it lets its owner in.
    fn admit(&self, name: &str) {
        let key = fs::read(self.folder.join("key.pub")).unwrap();
        good(&self.fed(&[name, "umask 077; mkdir -p .ssh; cat >> .ssh/authorized_keys"], &key));
    }

    fn ssh(&self, args: &[&str]) -> Output {
        self.call("ssh", args).output().unwrap()
    }

    /// Runs a program with this as its input.
    fn fed(&self, args: &[&str], input: &[u8]) -> Output {
        let mut ssh = self.call("ssh", args).stdin(Stdio::piped()).spawn().unwrap();
        let mut pipe = ssh.stdin.take().unwrap();
        let input = input.to_vec();
        let writing = std::thread::spawn(move || pipe.write_all(&input));
        let output = ssh.wait_with_output().unwrap();
        let _ = writing.join().unwrap();
        output
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lab_has_an_ssh_server_of_its_own() {
    let Some(visitor) = Visitor::start().await else { return };
    visitor.run(&["run", "enable-arc-ssh", "machine=app-01", "group=rg-apps"]);
    let ended = visitor.ssh(&["app-01", "echo out; echo err >&2; hostname; exit 7"]);
    assert_eq!(
        (ended.status.code(), &*ended.stdout, &*ended.stderr),
        (Some(7), &b"out\napp-01\n"[..], &b"err\n"[..]),
        "{ended:?}"
    );

    // A key that is put there lets its owner in without a password, if nobody else could have put it there.
    let by_key = ["-o", "PasswordAuthentication=no", "app-01", "whoami"];
    assert_eq!(visitor.ssh(&by_key).status.code(), Some(255));
    visitor.admit("app-01");
    assert_eq!(good(&visitor.ssh(&by_key)), format!("{GUEST_USER}\n"));
    good(&visitor.ssh(&["app-01", "chmod 666 .ssh/authorized_keys"]));
    assert_eq!(visitor.ssh(&by_key).status.code(), Some(255));
    let nobody = visitor.ssh(&["-l", "nobody", "app-01", "true"]);
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("Permission denied"), "{nobody:?}");

    // What a terminal does: prompts, echo, lines, an end.
    let typed = b"echo on $(hostname)\nexit 3\n";
    let ended = visitor.fed(&["-tt", "app-01"], typed);
    let seen = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert_eq!(ended.status.code(), Some(3), "{seen}");
    assert!(seen.contains("azureuser@app-01:~$ ") && seen.contains("on app-01\r\n"), "{seen}");
    let mut ssh = visitor.call("ssh", &["-tt", "app-01"]).stdin(Stdio::piped()).spawn().unwrap();
    let (mut input, mut output) = (ssh.stdin.take().unwrap(), ssh.stdout.take().unwrap());
    input.write_all(b"cat; sleep 600\nhere\n").unwrap();
    // Once it is shown for the second time the command has read it.
    let mut seen = String::new();
    while seen.matches("here\r\n").count() < 2 {
        let mut some = [0; 512];
        let count = output.read(&mut some).unwrap();
        assert!(count > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&some[..count]));
    }
    input.write_all(b"\x03echo aft\x7fter\n\x04").unwrap();
    output.read_to_string(&mut seen).unwrap();
    assert!(seen.contains("^C") && seen.contains("after\r\n"), "{seen}");
    assert_eq!(ssh.wait().unwrap().code(), Some(0), "{seen}");
    visitor.site.is_content();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_come_through_whole_and_bigger_ones_than_the_disk_do_not() {
    let Some(visitor) = Visitor::start().await else { return };
    visitor.run(&["run", "enable-arc-ssh", "machine=app-01", "group=rg-apps"]);
    let bytes = bulk(6 << 20);
    fs::write(visitor.folder.join("there"), &bytes).unwrap();
    let echoed = visitor.fed(&["app-01", "cat"], &bytes);
    assert_eq!(digest(&echoed.stdout), digest(&bytes));

    good(&visitor.call("scp", &["there", "app-01:far"]).output().unwrap());
    assert_eq!(good(&visitor.ssh(&["app-01", "sha256sum < far"])), format!("{}  -\n", digest(&bytes)));
    good(&visitor.call("scp", &["app-01:far", "back"]).output().unwrap());
    assert_eq!(digest(&fs::read(visitor.folder.join("back")).unwrap()), digest(&bytes));

    visitor.admit("app-01");
    let batch = "mkdir d\nput there d/one\nrename d/one d/two\nchmod 600 d/two\nls -l d\nget d/two again\n\
                 rm d/two\nrmdir d\n-get /root/x\n-mkdir /etc/d\n-rm none\n";
    fs::write(visitor.folder.join("batch"), batch).unwrap();
    let ended = visitor.call("sftp", &["-b", "batch", "app-01"]).output().unwrap();
    let (seen, said) = (good(&ended), String::from_utf8_lossy(&ended.stderr).into_owned());
    assert!(seen.contains("-rw-------"), "{seen}");
    assert!(said.contains("Permission denied") && said.contains("No such file"), "{said}");
    assert_eq!(digest(&fs::read(visitor.folder.join("again")).unwrap()), digest(&bytes));

    fs::write(visitor.folder.join("huge"), vec![7; 17 << 20]).unwrap();
    let ended = visitor.call("scp", &["huge", "app-01:huge"]).output().unwrap();
    assert!(!ended.status.success(), "{ended:?}");
    visitor.site.is_content();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_has_a_server_once_the_extension_is_there() {
    let Some(visitor) = Visitor::start().await else { return };
    visitor.run(&["run", "enable-arc-ssh", "machine=db-01"]);
    let refused = visitor.ssh(&["db-01", "hostname"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("nothing listens on port 22"), "{refused:?}");
    visitor.install("db-01", "rg-edge", "Microsoft.Azure.OpenSSH", "WindowsOpenSSH");
    assert_eq!(good(&visitor.ssh(&["db-01", "hostname & whoami"])), "db-01\r\ndb-01\\azureuser\r\n");

    // Its desktop answers behind a forwarded port; other ports do not.
    let rdp = b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x03\0\0\0";
    let said = visitor.fed(&["-W", "localhost:3389", "db-01"], rdp);
    assert_eq!(said.stdout.get(..6), Some(&[3, 0, 0, 19, 14, 0xd0][..]), "{said:?}");
    let refused = visitor.ssh(&["-W", "localhost:80", "db-01"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("forwarding failed"), "{refused:?}");
    let again = visitor.fed(&["-W", "localhost:22", "db-01"], b"");
    assert!(again.stdout.starts_with(b"SSH-2.0-"), "{again:?}");
    visitor.site.is_content();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_host_key_stops_the_client_and_a_cut_is_told() {
    let Some(visitor) = Visitor::start().await else { return };
    visitor.run(&["run", "enable-arc-ssh", "machine=app-01", "group=rg-apps"]);
    good(&visitor.ssh(&["app-01", "true"]));
    let keys = good(&visitor.ssh(&["app-01", "cat /etc/ssh/ssh_host_*_key.pub"]));
    let known = fs::read_to_string(visitor.folder.join("known_hosts")).unwrap();
    let known = known.split_whitespace().find(|word| word.starts_with("AAAA")).unwrap();
    assert!(keys.contains(known), "{known} is not among {keys}");

    let faults = |text: &str| visitor.site.lab.inject(text.parse().unwrap());
    faults("host-key-changed=app-01");
    let ended = visitor.ssh(&["app-01", "true"]);
    assert!(String::from_utf8_lossy(&ended.stderr).contains("Host key verification failed"), "{ended:?}");
    visitor.site.lab.clear_faults();
    good(&visitor.ssh(&["app-01", "true"]));

    faults("relay-drops=app-01,300000");
    let bytes = bulk(2 << 20);
    let cut = visitor.fed(&["app-01", "cat > cut"], &bytes);
    assert_eq!(cut.status.code(), Some(255), "{cut:?}");
    good(&visitor.fed(&["app-01", "cat > whole"], &bytes));
    visitor.site.lab.clear_faults();

    faults("relay-drops=2s");
    let began = Instant::now();
    let mut ssh = visitor.call("ssh", &["app-01", "sleep 600"]).spawn().unwrap();
    while ssh.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < Duration::from_secs(20), "ssh hangs");
        tokio::time::sleep(LOOK).await;
    }
    assert_eq!(ssh.wait().unwrap().code(), Some(255));
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Reads base64.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for digit in text.bytes().filter_map(|byte| DIGITS.iter().position(|digit| *digit == byte)) {
        bits = bits << 6 | digit as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

/// Writes base64 for addresses, filled up.
fn encoded(bytes: &[u8]) -> String {
    let digits = bytes.chunks(3).flat_map(|chunk| {
        let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(*chunk.get(at).unwrap_or(&0)));
        (0..4).map(move |at| match at <= chunk.len() {
            true => char::from(DIGITS[(bits >> (18 - 6 * at) & 63) as usize]),
            false => '=',
        })
    });
    digits
        .map(|digit| {
            if digit == '+' {
                '-'
            } else if digit == '/' {
                '_'
            } else {
                digit
            }
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_open_the_labs_machines_and_real_ones() {
    let Some(visitor) = Visitor::start().await else { return };
    let Some(sshd) = program("OpenSSH's server", &["sshd", "/usr/sbin/sshd"]) else { return };
    if program("curl", &["curl"]).is_none() {
        return;
    }
    visitor.run(&["run", "enable-arc-ssh", "machine=app-01", "group=rg-apps"]);
    let principal = visitor.certify();
    let certificate = format!("CertificateFile={}", visitor.folder.join("id-cert.pub").display());
    let id = visitor.folder.join("id").display().to_string();
    let with = |user: &str, command: &str| {
        let only = ["-o", "PasswordAuthentication=no", "-o", "UserKnownHostsFile=/dev/null"];
        visitor.ssh(&[&only[..], &["-i", &id, "-o", &certificate, "-l", user, "app-01", command]].concat())
    };
    assert_eq!(with(&principal, "whoami").status.code(), Some(255), "nothing there reads certificates yet");
    visitor.install("app-01", "rg-apps", "Microsoft.Azure.ActiveDirectory", "AADSSHLoginForLinux");
    assert_eq!(good(&with(&principal, "whoami; sudo whoami")), format!("{principal}\nroot\n"));
    assert_eq!(with("somebody", "whoami").status.code(), Some(255));

    let place = visitor.folder.join("real");
    fs::create_dir(&place).unwrap();
    fs::write(place.join("ca.pub"), visitor.site.lab.ssh_authority().unwrap()).unwrap();
    fs::write(place.join("principals"), format!("{principal}\n")).unwrap();
    let trusts =
        format!("TrustedUserCAKeys {0}/ca.pub\nAuthorizedPrincipalsFile {0}/principals\n", place.display());
    let real = Sshd::start_with(&sshd, &place, &trusts);
    visitor.site.lab.serve_guest(Guest { machine: "app-01".into(), port: 22, at: real.at });
    assert_eq!(good(&with(&user(), "echo in")), "in\n");
}
