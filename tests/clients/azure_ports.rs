//! A real SSH server and a real desktop behind the port of a VM in Azure, which the rules of the lab's networks open and close.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use super::desktop::{WANTS_A_SESSION, Xrdp};
use super::openssh::{Machine, user};
use super::session::said;
use super::{LOOK, PATIENCE, Running, Screen, program};

impl Machine {
    /// Makes the server known by the name of a VM in Azure.
    fn trust_in_azure(&self, vm: &str) {
        let key = fs::read_to_string(self.folder.join("host_key.pub")).unwrap();
        let text =
            format!(r#"ssh::trust(compute::vm("{vm}", #{{ group: "rg-cloud" }}), ["{}"]);"#, key.trim());
        self.script("trust", &["ssh", "azure:read"], &text, &[]);
    }

    /// Describes a call of `relight connect` to a VM in Azure.
    fn connect_in_azure(&self, vm: &str, more: &[&str]) -> Command {
        let mut call = self.relight(&["connect", &self.place(), "--group", "rg-cloud", "--wait", "20", "-i"]);
        call.arg(self.folder.join("user_key")).arg(format!("{}@{vm}", user())).args(more);
        call
    }

    /// Runs a shipped runbook for a VM in Azure.
    fn run_in_azure(&self, words: &[&str]) -> String {
        let output =
            self.relight(&[&["run", &self.place()], words, &["group=rg-cloud"]].concat()).output().unwrap();
        let (code, _, err) = said(&output);
        assert_eq!(code, Some(0), "{err}");
        err
    }

    /// Describes a call of OpenSSH's client, straight to the address of a VM.
    fn ssh_straight(&self, vm: &str, command: &str) -> Command {
        let text = format!(r#"compute::addresses("{vm}", #{{ group: "rg-cloud" }})[0].address"#);
        let address = self.script("address", &["azure:read"], &text, &[]);
        let port = 22 + self.site.lab.descriptor().low_ports;
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "ConnectTimeout=2", "-o", "LogLevel=ERROR"])
            .args(["-o", "StrictHostKeyChecking=accept-new", "-o"])
            .arg(format!("UserKnownHostsFile={}", self.folder.join("known_straight").display()))
            .arg("-i")
            .arg(self.folder.join("user_key"))
            .args(["-p", &port.to_string(), "-l", &user(), address.trim().trim_matches('"'), command])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        ssh
    }

    /// Waits until OpenSSH's client comes through, or does not any more.
    fn ssh_until(&self, vm: &str, comes_through: bool) -> Output {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = self.ssh_straight(vm, "echo there").output().unwrap();
            if output.status.success() == comes_through {
                return output;
            }
            assert!(Instant::now() < deadline, "{output:?}");
            std::thread::sleep(LOOK);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_lets_openssh_through_while_the_rules_do() {
    let Some(machine) = Machine::start().await else { return };
    machine.behind("jump-01");
    machine.behind("api-01");
    machine.trust_in_azure("jump-01");
    machine.trust_in_azure("api-01");

    // Where the rules let everybody in, nothing more is needed.
    let ended = machine.connect_in_azure("jump-01", &["--", "echo there; exit 7"]).output().unwrap();
    assert_eq!((said(&ended).0, said(&ended).1.as_str()), (Some(7), "there\n"), "{ended:?}");

    // Where one keeps us out it is named, with what lets us in.
    let ended = machine.connect_in_azure("api-01", &["--", "echo there"]).output().unwrap();
    let (code, out, err) = said(&ended);
    assert_eq!((code, out.as_str()), (Some(255), ""), "{err}");
    assert!(err.contains("shut by the rule deny-admin (priority 1000)"), "{err}");
    assert!(err.contains("relight run open-ssh-port vm=/subscriptions/"), "{err}");
    assert!(!machine.ssh_straight("api-01", "echo there").output().unwrap().status.success());

    let noted = machine.run_in_azure(&["open-ssh-port", "vm=api-01", "source=127.0.0.1"]);
    assert!(noted.contains("lets 127.0.0.1/32 through until"), "{noted}");
    let ended = machine.ssh_until("api-01", true);
    assert_eq!(said(&ended).1, "there\n", "{ended:?}");
    let ended = machine.connect_in_azure("api-01", &["--", "echo there"]).output().unwrap();
    assert_eq!((said(&ended).0, said(&ended).1.as_str()), (Some(0), "there\n"), "{ended:?}");

    // It is shut for who comes; who is in stays in, as with the security groups of Azure.
    let mut held = machine.ssh_straight("api-01", "cat").spawn().unwrap();
    let (mut input, mut output) = (held.stdin.take().unwrap(), held.stdout.take().unwrap());
    let mut echo = |text: &[u8]| {
        input.write_all(text).unwrap();
        let mut seen = vec![0; text.len()];
        output.read_exact(&mut seen).unwrap();
        assert_eq!(seen, text);
    };
    echo(b"before\n");
    let shut = machine.script(
        "shut",
        &["azure:write"],
        r#"network::close_port("api-01", #{ group: "rg-cloud" }).closed"#,
        &[],
    );
    assert_eq!(shut.trim(), "true");
    machine.ssh_until("api-01", false);
    echo(b"after\n");
    drop(Running(held));
    machine.site.is_content();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn freerdp_comes_to_a_desktop_through_a_port_that_is_let_open() {
    let (Some(xrdp), Some(freerdp), Some(xvfb)) = (
        program("xrdp", &["xrdp", "/usr/sbin/xrdp"]),
        program("FreeRDP", &["xfreerdp", "xfreerdp3"]),
        program("Xvfb", &["Xvfb"]),
    ) else {
        return;
    };
    let Some(machine) = Machine::start().await else { return };
    machine.behind("sql-01");
    machine.trust_in_azure("sql-01");
    machine.run_in_azure(&["open-ssh-port", "vm=sql-01", "source=127.0.0.1"]);

    let screen = Screen::start(&xvfb);
    let desktop = Xrdp::start(&xrdp, &machine.folder);
    let port = desktop.at.port().to_string();
    let mut held = machine.connect_in_azure("sql-01", &["--rdp", "--rdp-port", &port, "--no-viewer"]);
    let mut held = Running(held.spawn().unwrap());
    let mut lines = BufReader::new(held.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    let line = lines.find(|line| line.contains("is at 127.0.0.1:")).expect("an address");
    let at = line.split("is at ").nth(1).unwrap().split_whitespace().next().unwrap();
    let at = at.trim_end_matches(|c: char| !c.is_ascii_digit()).to_owned();
    let viewer = Command::new(&freerdp)
        .args([&format!("/v:{at}"), "/cert:ignore", "/u:x", "/p:y"])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", machine.site.sealed.path("home"))
        .env("DISPLAY", &screen.display)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let viewer = Running(viewer.unwrap());
    desktop.wait_for(WANTS_A_SESSION);
    drop(viewer);
    drop(held);
    assert!(TcpStream::connect(&at).is_err(), "it is closed with the command");
}
