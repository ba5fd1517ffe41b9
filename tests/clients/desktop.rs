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
struct Xrdp {
    at: SocketAddr,
    log: std::path::PathBuf,
    _server: Running,
}

impl Xrdp {
    fn start(xrdp: &Path, folder: &Path) -> Self {
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
    fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            if log.contains(text) {
                return;
            }
            assert!(Instant::now() < deadline, "`{text}` does not come: {log}");
            std::thread::sleep(LOOK);
        }
    }
}

/// What xrdp says once the handshake, TLS and the sequence of the connection are over, and it wants to begin a session.
const WANTS_A_SESSION: &str = "sesman";

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
