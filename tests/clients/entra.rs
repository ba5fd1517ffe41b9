//! Entra ID's certificates on a real SSH server, by our own command and by OpenSSH's; and a real keyring.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use relight_lab::Guest;

use super::openssh::{Sshd, user};
use super::session::said;
use super::{LOOK, PATIENCE, Running, Site, program};

fn good(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The names in a certificate.
fn principals(certificate: &std::path::Path) -> String {
    let shown = good(&Command::new("ssh-keygen").arg("-Lf").arg(certificate).output().unwrap());
    let mut lines = shown.lines().skip_while(|line| !line.contains("Principals:")).skip(1);
    lines.next().unwrap().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_server_lets_in_whoever_is_signed_in_to_azure() {
    let Some(sshd) = program("OpenSSH's server", &["sshd", "/usr/sbin/sshd"]) else { return };
    if program("OpenSSH's client", &["ssh"]).is_none() {
        return;
    }
    let site = Site::start(240).await;
    let folder = site.sealed.path("ssh");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("ca.pub"), site.lab.ssh_authority().unwrap()).unwrap();
    fs::write(folder.join("principals"), "nobody\n").unwrap();
    let place = folder.display();
    let trusts = format!("TrustedUserCAKeys {place}/ca.pub\nAuthorizedPrincipalsFile {place}/principals\n");
    let server = Sshd::start_with(&sshd, &folder, &trusts);
    site.lab.serve_guest(Guest { machine: "app-01".into(), port: 22, at: server.at });
    let lab = format!("--lab={}", site.card.display());
    let relight = |args: &[&str]| site.sealed.relight(args.iter().chain([&lab.as_str()])).run();
    relight(&["run", "enable-entra-ssh", "machine=app-01", "group=rg-apps"]).succeeds();
    let key = fs::read_to_string(folder.join("host_key.pub")).unwrap();
    let trust = format!(
        "/*---\ntitle = \"Trust\"\neffects = [\"ssh\", \"azure:read\"]\n---*/\n\
         ssh::trust(arc::machine(\"app-01\", #{{ group: \"rg-apps\" }}), [\"{}\"])\n",
        key.trim()
    );
    let trust = site.sealed.write("work/trust.rhai", &trust);
    relight(&["run", &trust.to_string_lossy()]).succeeds();

    // Known to Azure, and without a role on the machine.
    let name = format!("{}@app-01", user());
    let call = |args: &[&str]| {
        let all = [&["connect", &lab, "--group", "rg-apps", "--entra", &name], args].concat();
        site.sealed.relight(all).run()
    };
    let refused = call(&["--", "true"]).to_string();
    for words in [
        "`app-01` does not let",
        "tried the certificate of",
        "AADSSHLoginForLinux",
        "Virtual Machine User Login",
        "relight run enable-entra-ssh machine=/subscriptions/",
        "--- exit 255",
    ] {
        assert!(refused.contains(words), "{words}: {refused}");
    }

    // The certificate says under which name one is known there.
    let file = relight(&["certificate"]).raw().trim().to_owned();
    let certificate = std::path::PathBuf::from(format!("{file}-cert.pub"));
    let principal = principals(&certificate);
    fs::write(folder.join("principals"), format!("{principal}\n")).unwrap();
    assert_eq!(call(&["--", "echo in"]).succeeds(), "in\n");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let before = fs::read(&certificate).unwrap();
    relight(&["certificate"]).succeeds();
    assert_eq!(fs::read(&certificate).unwrap(), before, "it is good for an hour");

    // OpenSSH's own client, by an entry that never expires: a certificate that is gone is asked for before it is read.
    let entry = call(&["--print-config"]).succeeds();
    let config = folder.join("config");
    fs::write(
        &config,
        format!("{entry}\nHost *\n  BatchMode yes\n  StrictHostKeyChecking yes\n  LogLevel ERROR\n"),
    )
    .unwrap();
    for round in ["there", "gone"] {
        if round == "gone" {
            fs::remove_file(&certificate).unwrap();
        }
        let mut ssh = Command::new("ssh");
        ssh.arg("-F").arg(&config).args(["app-01", "echo by ssh"]).current_dir(&folder).env_clear();
        ssh.env("PATH", "/usr/bin:/bin").env("HOME", site.sealed.path("home"));
        ssh.env("RELIGHT_STATE", site.sealed.path("state")).stdin(Stdio::null());
        assert_eq!(good(&ssh.output().unwrap()), "by ssh\n", "{round}");
    }
    site.is_content();
}

/// A desktop's session: a bus, and a keyring on it that is open.
struct Session {
    address: String,
    _keyring: Running,
    _bus: Running,
}

impl Session {
    fn start(home: &std::path::Path) -> Option<Self> {
        let bus = program("D-Bus", &["dbus-daemon"])?;
        let keyring = program("GNOME Keyring", &["gnome-keyring-daemon"])?;
        program("secret-tool", &["secret-tool"])?;
        // It starts nothing by itself: a keyring that it started would be closed.
        let config = home.join("bus.conf");
        let text = "<busconfig><type>session</type><listen>unix:tmpdir=/tmp</listen><auth>EXTERNAL</auth>\
                    <policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/><allow own=\"*\"/></policy></busconfig>";
        fs::write(&config, text).unwrap();
        let mut bus = Command::new(bus)
            .arg(format!("--config-file={}", config.display()))
            .args(["--nofork", "--print-address"])
            .env("HOME", home)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut address = String::new();
        BufReader::new(bus.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let address = address.trim().to_owned();
        let mut keyring = Command::new(keyring)
            .args(["--foreground", "--unlock", "--components=secrets"])
            .env_clear()
            .env("HOME", home)
            .env("XDG_RUNTIME_DIR", home)
            .env("DBUS_SESSION_BUS_ADDRESS", &address)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // The password of the keyring, which ends with the input.
        keyring.stdin.take().unwrap().write_all(b"open").unwrap();
        let session = Session { address, _keyring: Running(keyring), _bus: Running(bus) };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let probe = session.tool(&["store", "--label=probe", "probe", "probe"], "x");
            if probe.status.success() {
                return Some(session);
            }
            assert!(Instant::now() < deadline, "the keyring does not open: {}", said(&probe).2);
            std::thread::sleep(LOOK);
        }
    }

    /// Runs the desktop's own program for what is in the keyring.
    fn tool(&self, args: &[&str], input: &str) -> Output {
        let mut tool = Command::new("secret-tool")
            .args(args)
            .env("DBUS_SESSION_BUS_ADDRESS", &self.address)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _ = tool.stdin.take().unwrap().write_all(input.as_bytes());
        tool.wait_with_output().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sign_ins_and_secrets_are_kept_in_the_keyring_where_there_is_one() {
    let site = Site::start(20).await;
    let Some(session) = Session::start(&site.sealed.path("home")) else { return };
    let about = site.lab.descriptor();
    let authority = site.sealed.write("ca.pem", &about.ca_pem);
    let relight = |args: &[&str]| {
        let call = site.sealed.relight(args).env("DBUS_SESSION_BUS_ADDRESS", &session.address);
        call.env("RELIGHT_CLOUD_ARM", &about.url).env("RELIGHT_CLOUD_CA_BUNDLE", &authority)
    };
    let mut login = relight(&["login"]).spawn();
    login.wait_for("To sign in");
    assert_eq!(site.lab.confirm_devices(), 1);
    let said_at_login = login.end().to_string();
    assert!(said_at_login.contains("kept in the keyring"), "{said_at_login}");
    let accounts = fs::read_to_string(site.sealed.path("state/accounts.json")).unwrap();
    assert!(!accounts.contains("refresh_token"), "{accounts}");
    for _ in 0..2 {
        let who = relight(&["whoami"]).run().succeeds();
        assert!(who.contains("operator@lab.example") && who.contains("kept in the keyring"), "{who}");
    }

    // What somebody else put there is found by the names that the desktop uses.
    let stored =
        session.tool(&["store", "--label=app", "service", "edge", "username", "app"], "from the keyring");
    good(&stored);
    let script = "/*---\ntitle = \"Ask the keyring\"\neffects = [\"secret\", \"azure:write\"]\n---*/\n\
        let id = local::vm(\"web-01\", #{ group: \"rg-edge\" }).id;\n\
        arm::patch(id, \"2024-07-10\", #{ tags: #{ pw: secret(\"keyring:edge/app\") } }).id\n";
    let script = site.sealed.write("work/keyring.rhai", script);
    relight(&["run", &script.to_string_lossy()]).run().succeeds();
    assert!(site.lab.snapshot().to_string().contains("from the keyring"));

    relight(&["logout"]).run().succeeds();
    let left = session.tool(&["search", "--all", "service", "relight"], "");
    assert!(!said(&left).1.contains("secret = "), "{:?}", said(&left));
    site.is_content();
}
