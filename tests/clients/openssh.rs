//! OpenSSH's own programs through the lab's relay, by `relight proxy`: a real server, and real clients.

use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use relight_lab::Guest;
use sha2::{Digest, Sha256};

use super::{LOOK, PATIENCE, Running, Site, program};

/// An SSH server for whoever runs the tests, on a port of its own.
pub(super) struct Sshd {
    pub(super) at: SocketAddr,
    _server: Running,
}

impl Sshd {
    fn start(sshd: &Path, folder: &Path) -> Self {
        Self::start_with(sshd, folder, "")
    }

    /// The same with more lines in its configuration.
    pub(super) fn start_with(sshd: &Path, folder: &Path, more: &str) -> Self {
        let at = free_port();
        for (kind, name) in [("ed25519", "host_key"), ("ed25519", "user_key")] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-N", "", "-t", kind, "-f"])
                .arg(folder.join(name))
                .status()
                .unwrap();
            assert!(made.success());
        }
        let place = folder.display();
        let config = format!(
            "ListenAddress {at}\nHostKey {place}/host_key\nPidFile none\nStrictModes no\nUsePAM no\n\
             AuthorizedKeysFile {place}/user_key.pub\nPasswordAuthentication no\nMaxStartups 50\n\
             Subsystem sftp internal-sftp\n{more}"
        );
        fs::write(folder.join("sshd_config"), config).unwrap();
        // Where it runs as root, it wants this folder to be there.
        let _ = fs::create_dir_all("/run/sshd");
        let server = Command::new(sshd)
            .args(["-D", "-e", "-f"])
            .arg(folder.join("sshd_config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Running(server);
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(at).is_err() {
            assert!(Instant::now() < deadline, "sshd does not listen");
            std::thread::sleep(LOOK);
        }
        Sshd { at, _server: server }
    }
}

pub(super) fn free_port() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// A machine in the lab with a real SSH server behind it.
pub(super) struct Machine {
    pub(super) site: Site,
    sshd: Sshd,
    pub(super) folder: PathBuf,
}

impl Machine {
    /// Starts everything. SSH is not let in yet.
    pub(super) async fn start() -> Option<Self> {
        let sshd = program("OpenSSH's server", &["sshd", "/usr/sbin/sshd"])?;
        program("OpenSSH's client", &["ssh"])?;
        let site = Site::start(240).await;
        let folder = site.sealed.path("ssh");
        fs::create_dir(&folder).unwrap();
        let sshd = Sshd::start(&sshd, &folder);
        site.lab.serve_guest(Guest { machine: "db-01".into(), port: 22, at: sshd.at });
        let machine = Machine { site, sshd, folder };
        machine.write_config();
        Some(machine)
    }

    /// Writes what a person would write into `~/.ssh/config`. Nothing in it ever expires.
    fn write_config(&self) {
        let about = self.site.lab.descriptor();
        let place = self.folder.display();
        let config = format!(
            "Host db\n  HostName /subscriptions/{}/resourceGroups/rg-edge/providers/Microsoft.HybridCompute/machines/db-01\n  \
             HostKeyAlias db-01\n  User {}\n  IdentityFile {place}/user_key\n  IdentitiesOnly yes\n  BatchMode yes\n  \
             StrictHostKeyChecking accept-new\n  UserKnownHostsFile {place}/known_hosts\n  LogLevel ERROR\n  \
             ProxyCommand {} proxy --lab={} %h %p\n",
            about.subscription,
            user(),
            env!("CARGO_BIN_EXE_relight"),
            self.site.card.display(),
        );
        fs::write(self.folder.join("config"), config).unwrap();
    }

    /// Puts the same server behind the port of another machine.
    pub(super) fn behind(&self, machine: &str) {
        self.site.lab.serve_guest(Guest { machine: machine.to_owned(), port: 22, at: self.sshd.at });
    }

    pub(super) fn enable(&self) {
        let place = format!("--lab={}", self.site.card.display());
        self.site.sealed.relight(["run", "enable-arc-ssh", "machine=db-01", &place]).run().succeeds();
    }

    /// Describes a call of one of OpenSSH's programs.
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
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn ssh(&self, args: &[&str]) -> Output {
        self.call("ssh", args).output().unwrap()
    }

    /// Calls `relight proxy` as OpenSSH does. Returns its exit code and what it says.
    fn proxy(&self, args: &[&str]) -> (Option<i32>, String) {
        let mut call = Command::new(env!("CARGO_BIN_EXE_relight"));
        let output = call
            .arg("proxy")
            .arg(format!("--lab={}", self.site.card.display()))
            .args(args)
            .env_clear()
            .env("HOME", self.site.sealed.path("home"))
            .env("RELIGHT_STATE", self.site.sealed.path("state"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

pub(super) fn user() -> String {
    String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap().trim().to_owned()
}

#[track_caller]
pub(super) fn good(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(super) fn digest(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// Bytes that no compression makes small and no line ends.
pub(super) fn bulk(length: usize) -> Vec<u8> {
    let block = |n: usize| Sha256::digest(n.to_be_bytes());
    (0..length.div_ceil(32)).flat_map(block).take(length).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ssh_scp_sftp_and_rsync_work_through_the_relay() {
    let Some(machine) = Machine::start().await else { return };
    machine.enable();
    let ended = machine.ssh(&["db", "echo hello; exit 7"]);
    assert_eq!((ended.status.code(), &*ended.stdout), (Some(7), &b"hello\n"[..]), "{ended:?}");

    // Eight megabytes each way come through whole.
    let bytes = bulk(8 << 20);
    let mut ssh = machine.call("ssh", &["db", "cat"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = ssh.stdin.take().unwrap();
    let sent = bytes.clone();
    let writing = std::thread::spawn(move || input.write_all(&sent).unwrap());
    let output = ssh.wait_with_output().unwrap();
    writing.join().unwrap();
    assert_eq!(digest(&output.stdout), digest(&bytes));

    fs::write(machine.folder.join("there"), &bytes).unwrap();
    let far = machine.folder.join("far");
    let remote = |path: &Path| format!("db:{}", path.display());
    good(&machine.call("scp", &["there", &remote(&far)]).output().unwrap());
    good(&machine.call("scp", &[&remote(&far), "back"]).output().unwrap());
    assert_eq!(digest(&fs::read(machine.folder.join("back")).unwrap()), digest(&bytes));

    let batch = machine.folder.join("batch");
    fs::write(&batch, format!("put there {}\nget {0} again\n", far.with_file_name("by-sftp").display()))
        .unwrap();
    good(&machine.call("sftp", &["-b", &batch.to_string_lossy(), "db"]).output().unwrap());
    assert_eq!(digest(&fs::read(machine.folder.join("again")).unwrap()), digest(&bytes));

    if let Some(rsync) = program("rsync", &["rsync"]) {
        let shell = format!("ssh -F {}/config", machine.folder.display());
        let mut call = machine.call(&rsync.to_string_lossy(), &[]);
        // Its own options: what `call` gives is for OpenSSH.
        call = {
            let mut plain = Command::new(call.get_program());
            plain.env_clear().envs(call.get_envs().filter_map(|(name, value)| Some((name, value?))));
            plain
        };
        let to = far.with_file_name("by-rsync");
        call.args(["-a", "-e", &shell, "there", &remote(&to)]).current_dir(&machine.folder);
        good(&call.output().unwrap());
        assert_eq!(digest(&fs::read(to).unwrap()), digest(&bytes));
    }
    machine.site.is_content();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_connect_at_once_and_some_share_one_connection() {
    let Some(machine) = Machine::start().await else { return };
    machine.enable();
    let calls: Vec<_> =
        (0..6).map(|n| machine.call("ssh", &["db", &format!("echo {n}")]).spawn().unwrap()).collect();
    for (n, call) in calls.into_iter().enumerate() {
        assert_eq!(good(&call.wait_with_output().unwrap()), format!("{n}\n"));
    }
    let upgrades = || machine.site.lab.requests().iter().filter(|it| it.path.starts_with("/$hc/")).count();
    let before = upgrades();
    let control = format!("ControlPath={}/control", machine.folder.display());
    let shared = ["-o", &control, "-o", "ControlMaster=auto", "-o", "ControlPersist=30", "db"];
    for _ in 0..3 {
        // The one that stays keeps what it inherits open.
        let mut call = machine.call("ssh", &[&shared[..], &["true"]].concat());
        assert!(call.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    }
    assert_eq!(upgrades() - before, 1, "one connection for three calls");
    good(&machine.ssh(&["-o", &control, "-O", "exit", "db"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_not_let_in_hears_what_to_do() {
    let Some(machine) = Machine::start().await else { return };
    let hears = |args: &[&str], words: &[&str]| {
        let (code, said) = machine.proxy(args);
        assert!(code.is_some_and(|code| code != 0), "{said}");
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
        assert!(!said.contains("SharedAccessSignature"), "{said}");
    };
    hears(&["db-01"], &["does not let SSH in through Azure Arc", "relight run enable-arc-ssh machine=db-01"]);
    hears(&["nope"], &["nope"]);
    machine.enable();
    hears(&["db-01", "2222"], &["does not let port 2222 in", "the port is 22"]);

    let nobody = free_port();
    machine.site.lab.serve_guest(Guest { machine: "db-01".into(), port: 22, at: nobody });
    hears(&["db-01"], &["nothing listens on port 22 of `db-01`", "Start-Service sshd", "TrackingId:"]);
    machine.site.lab.serve_guest(Guest { machine: "db-01".into(), port: 22, at: machine.sshd.at });

    machine.site.lab.inject("agent-offline=db-01".parse().unwrap());
    hears(
        &["db-01", "--wait", "2"],
        &["nobody listens for `db-01` at the relay", "azcmagent show", "TrackingId:"],
    );
    machine.site.lab.clear_faults();
    assert_eq!(good(&machine.ssh(&["db", "echo back"])), "back\n");

    let place = format!("--lab={}", machine.site.card.display());
    machine.site.sealed.relight(["run", "disable-arc-ssh", "machine=db-01", &place]).run().succeeds();
    hears(&["db-01"], &["does not let SSH in through Azure Arc"]);
    machine.site.is_content();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_off_is_told_and_nothing_hangs() {
    let Some(machine) = Machine::start().await else { return };
    machine.enable();
    let mut ssh = machine.call("ssh", &["db", "echo begun; sleep 600"]).spawn().unwrap();
    let mut begun = [0; 6];
    std::io::Read::read_exact(ssh.stdout.as_mut().unwrap(), &mut begun).unwrap();
    machine.site.lab.drop_connections();
    let deadline = Instant::now() + Duration::from_secs(20);
    while ssh.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "ssh hangs");
        tokio::time::sleep(LOOK).await;
    }
    let ended = ssh.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(255), "{said}");
    assert!(said.contains("the connection to `db-01` broke off"), "{said}");
}
