//! A real desktop behind the lab's relay: xrdp on the machine, FreeRDP here, and `relight connect --rdp` between.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::openssh::{Machine, free_port, user};
use super::session::said;
use super::{LOOK, PATIENCE, Running, Screen, program};

/// A server of desktops, without what would start a session in it: the handshake is what is looked at.
pub(super) struct Xrdp {
    pub(super) at: SocketAddr,
    log: std::path::PathBuf,
    _server: Running,
}

impl Xrdp {
    pub(super) fn start(xrdp: &Path, folder: &Path) -> Self {
        let place = folder.join("xrdp");
        let copied = Command::new("cp").args(["-rL", "/etc/xrdp"]).arg(&place).status().unwrap();
        assert!(copied.success());
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=db-01",
                "-keyout",
            ])
            .arg(place.join("own-key.pem"))
            .arg("-out")
            .arg(place.join("own-cert.pem"))
            .stderr(Stdio::null())
            .status();
        assert!(made.unwrap().success());
        let (at, log) = (free_port(), place.join("xrdp.log"));
        let config: String = fs::read_to_string("/etc/xrdp/xrdp.ini")
            .unwrap()
            .lines()
            .map(|line| match line.split_once('=').map_or("", |(name, _)| name.trim()) {
                "port" if line.trim() == "port=3389" => format!("port=tcp://{at}\n"),
                "certificate" => format!("certificate={}/own-cert.pem\n", place.display()),
                "key_file" => format!("key_file={}/own-key.pem\n", place.display()),
                "LogFile" => format!("LogFile={}\n", log.display()),
                "LogLevel" => "LogLevel=DEBUG\n".to_owned(),
                _ => format!("{line}\n"),
            })
            .collect();
        fs::write(place.join("xrdp.ini"), config).unwrap();
        let server = Command::new(xrdp)
            .args(["--nodaemon", "--config"])
            .arg(place.join("xrdp.ini"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Running(server);
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(at).is_err() {
            assert!(Instant::now() < deadline, "xrdp does not listen");
            std::thread::sleep(LOOK);
        }
        Xrdp { at, log, _server: server }
    }

    /// Waits until it has written a text into its log.
    pub(super) fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            if log.contains(text) {
                return;
            }
            let told = fs::read_to_string(self.log.with_extension("told")).unwrap_or_default();
            assert!(Instant::now() < deadline, "`{text}` does not come: {told}\n{log}");
            std::thread::sleep(LOOK);
        }
    }
}

/// What xrdp says once the handshake, TLS and the sequence of the connection are over, and it wants to begin a session.
pub(super) const WANTS_A_SESSION: &str = "sesman";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn freerdp_comes_to_a_desktop_through_ssh_and_the_relay() {
    let (Some(xrdp), Some(freerdp), Some(xvfb)) = (
        program("xrdp", &["xrdp", "/usr/sbin/xrdp"]),
        program("FreeRDP", &["xfreerdp", "xfreerdp3"]),
        program("Xvfb", &["Xvfb"]),
    ) else {
        return;
    };
    let Some(machine) = Machine::start().await else { return };
    machine.enable();
    machine.trust("host_key.pub");
    let place = machine.place();
    let key = machine.folder.join("user_key").display().to_string();
    let who = format!("{}@db-01", user());

    // Nobody listens: found before a viewer starts.
    let nobody = free_port().port().to_string();
    let refused = machine.relight(&["connect", &place, "-i", &key, &who, "--rdp", "--rdp-port", &nobody]);
    let (code, _, err) = said(&{ refused }.output().unwrap());
    assert!(code == Some(255) && err.contains("nothing listens") && err.contains("Remote Desktop"), "{err}");

    // The way there, for a viewer of one's own.
    let screen = Screen::start(&xvfb);
    let desktop = Xrdp::start(&xrdp, &machine.folder);
    let port = desktop.at.port().to_string();
    let mut held =
        machine.relight(&["connect", &place, "-i", &key, &who, "--rdp", "--rdp-port", &port, "--no-viewer"]);
    let mut held = Running(held.spawn().unwrap());
    let mut lines = BufReader::new(held.0.stderr.take().unwrap()).lines();
    let line = lines.find_map(|line| line.ok().filter(|line| line.contains("is at 127.0.0.1:"))).unwrap();
    let at = line.split("is at ").nth(1).unwrap().split(':').take(2).collect::<Vec<_>>().join(":");
    let home = machine.site.sealed.path("home");
    let viewer = |args: &[&str]| {
        let mut command = Command::new(&freerdp);
        command.args(args).env_clear().env("PATH", "/usr/bin:/bin").env("HOME", &home);
        command
            .env("DISPLAY", &screen.display)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Running(command.spawn().unwrap())
    };
    let seen = viewer(&[&format!("/v:{at}"), "/cert:ignore", "/u:x", "/p:y"]);
    desktop.wait_for(WANTS_A_SESSION);
    drop(seen);
    drop(held);
    assert!(TcpStream::connect(&at).is_err(), "it is closed with the command");
}

/// Puts a program into a folder, under the name of the viewer that is looked for first.
fn viewer(machine: &Machine, script: &str) -> String {
    let folder = machine.folder.join("bin");
    fs::create_dir_all(&folder).unwrap();
    let program = folder.join("xfreerdp3");
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    format!("{}:/usr/bin:/bin", folder.display())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_to_a_desktop_closes_behind_the_viewer() {
    let Some(machine) = Machine::start().await else { return };
    machine.enable();
    machine.trust("host_key.pub");
    let (place, who) = (machine.place(), format!("{}@db-01", user()));
    let key = machine.folder.join("user_key").display().to_string();
    // Nothing more than something that listens: what is shown is the viewer's affair.
    let desktop = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = desktop.local_addr().unwrap().port();
    // It keeps the file that it is given, and stays until somebody closes it.
    let at = machine.folder.display();
    let stays = format!(
        "cp \"$1\" {at}/part && mv {at}/part {at}/shown\nwhile ! test -e {at}/close; do sleep 0.1; done"
    );
    let path = viewer(&machine, &stays);
    let by_connect =
        ["connect", &place, "-i", &key, &who, "--rdp", "--rdp-port", &port.to_string()].map(str::to_owned);
    let by_runbook = [
        "run".to_owned(),
        place.clone(),
        "rdp-over-ssh".to_owned(),
        "machine=db-01".to_owned(),
        format!("user={}", user()),
        format!("key=file:{key}"),
        format!("rdp_port={port}"),
    ];
    for args in [&by_connect[..], &by_runbook[..]] {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut call = machine.relight(&args);
        let run = call.env("PATH", &path).env("DISPLAY", ":none").spawn().unwrap();
        let shown = machine.folder.join("shown");
        let deadline = Instant::now() + PATIENCE;
        while !shown.exists() {
            assert!(Instant::now() < deadline, "no viewer is started: {args:?}");
            std::thread::sleep(LOOK);
        }
        let text = fs::read_to_string(&shown).unwrap();
        assert!(text.contains(&format!("username:s:{}\r\n", user())), "{text}");
        let at = text.lines().find_map(|line| line.strip_prefix("full address:s:")).unwrap().to_owned();
        // Several connections, as a viewer opens them, all come there; the first one was the look before.
        let visits: Vec<_> = (0..3).map(|_| TcpStream::connect(&at).unwrap()).collect();
        for _ in 0..=visits.len() {
            desktop.accept().unwrap();
        }
        fs::write(machine.folder.join("close"), "").unwrap();
        let (code, _, err) = said(&run.wait_with_output().unwrap());
        assert_eq!(code, Some(0), "{err}");
        assert!(TcpStream::connect(&at).is_err(), "the way is open still");
        for name in ["shown", "close"] {
            fs::remove_file(machine.folder.join(name)).unwrap();
        }
    }
    machine.site.is_content();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn freerdp_is_started_by_the_command_and_by_the_runbook() {
    let (Some(xrdp), Some(freerdp), Some(xvfb)) = (
        program("xrdp", &["xrdp", "/usr/sbin/xrdp"]),
        program("FreeRDP", &["xfreerdp", "xfreerdp3"]),
        program("Xvfb", &["Xvfb"]),
    ) else {
        return;
    };
    let Some(machine) = Machine::start().await else { return };
    machine.enable();
    machine.trust("host_key.pub");
    let (place, who) = (machine.place(), format!("{}@db-01", user()));
    let key = machine.folder.join("user_key").display().to_string();
    let screen = Screen::start(&xvfb);
    // The password is what a person would type.
    let path = viewer(&machine, &format!("exec {} \"$@\" /u:x /p:y", freerdp.display()));
    let secret = format!("key=file:{key}");
    let named = format!("user={}", user());
    for is_runbook in [false, true] {
        let desktop = Xrdp::start(&xrdp, &machine.folder);
        let port = desktop.at.port().to_string();
        let rdp_port = format!("rdp_port={port}");
        let args: &[&str] = match is_runbook {
            false => &["connect", &place, "-i", &key, &who, "--rdp", "--rdp-port", &port],
            true => &["run", &place, "rdp-over-ssh", "machine=db-01", &named, &secret, &rdp_port],
        };
        let mut call = machine.relight(args);
        let told = fs::File::create(desktop.log.with_extension("told")).unwrap();
        call.stderr(told).stdout(Stdio::null());
        let run = Running(call.env("DISPLAY", &screen.display).env("PATH", &path).spawn().unwrap());
        desktop.wait_for(WANTS_A_SESSION);
        drop(run);
        drop(desktop);
        fs::remove_dir_all(machine.folder.join("xrdp")).unwrap();
    }
}
