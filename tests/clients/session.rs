//! Sessions of our own on a real SSH server behind the lab's relay: by `relight connect`, and in runbooks.

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use super::openssh::{Machine, bulk, digest, user};
use super::{LOOK, PATIENCE, Running, program};

impl Machine {
    /// Describes a call of our own command.
    pub(super) fn relight(&self, args: &[&str]) -> Command {
        let mut call = Command::new(env!("CARGO_BIN_EXE_relight"));
        call.args(args)
            .current_dir(self.site.sealed.work())
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.site.sealed.path("home"))
            .env("RELIGHT_STATE", self.site.sealed.path("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        call
    }

    pub(super) fn place(&self) -> String {
        format!("--lab={}", self.site.card.display())
    }

    /// Describes a call of `relight connect` with the user's key.
    pub(super) fn connect(&self, command: &[&str]) -> Command {
        let mut call = self.relight(&["connect", &self.place(), "-i"]);
        call.arg(self.folder.join("user_key")).arg(format!("{}@db-01", user()));
        if !command.is_empty() {
            call.arg("--").args(command);
        }
        call
    }

    /// Makes the server's host key known, as a person does who has seen it elsewhere.
    pub(super) fn trust(&self, key: &str) {
        let key = fs::read_to_string(self.folder.join(key)).unwrap();
        let text = format!("ssh::trust(\"db-01\", [\"{}\"])", key.trim());
        self.script("trust", &["ssh", "azure:read"], &text, &[]);
    }

    /// Runs a script, which must succeed, and returns what it prints.
    pub(super) fn script(&self, name: &str, effects: &[&str], text: &str, env: &[(&str, &str)]) -> String {
        let output = self.run_script(name, effects, text, env);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    pub(super) fn run_script(
        &self,
        name: &str,
        effects: &[&str],
        text: &str,
        env: &[(&str, &str)],
    ) -> Output {
        let whole = format!("/*---\ntitle = \"{name}\"\neffects = {effects:?}\n---*/\n{text}\n");
        let file = self.site.sealed.write(&format!("work/{name}.rhai"), &whole);
        let mut call = self.relight(&["run", &self.place()]);
        call.arg(file).envs(env.iter().copied()).output().unwrap()
    }
}

#[track_caller]
pub(super) fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_runs_on_a_machine_that_is_known() {
    let Some(machine) = Machine::start().await else { return };
    machine.enable();
    // Nobody can be asked, so who is not known is refused, before anything is said about the user.
    let (code, out, err) = said(&machine.connect(&["true"]).output().unwrap());
    assert_eq!((code, out.as_str()), (Some(255), ""), "{err}");
    let shown =
        Command::new("ssh-keygen").arg("-lf").arg(machine.folder.join("host_key.pub")).output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let fingerprint = shown.split(' ').nth(1).unwrap();
    for words in [
        "the host key of `db-01` is not known",
        fingerprint,
        "relight run verify-host-keys machine=/subscriptions/",
    ] {
        assert!(err.contains(words), "{words}: {err}");
    }

    machine.trust("host_key.pub");
    let ended = machine.connect(&["echo hello; echo so >&2; exit 7"]).output().unwrap();
    assert_eq!(said(&ended), (Some(7), "hello\n".to_owned(), "so\n".to_owned()));
    let (code, _, err) = said(&machine.connect(&["kill -KILL $$"]).output().unwrap());
    assert!(code == Some(255) && err.contains("ended by SIGKILL"), "{code:?} {err}");

    // Eight megabytes each way come through whole.
    let bytes = bulk(8 << 20);
    let mut call = machine.connect(&["cat"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = call.stdin.take().unwrap();
    let sent = bytes.clone();
    let writing = std::thread::spawn(move || input.write_all(&sent).unwrap());
    let output = call.wait_with_output().unwrap();
    writing.join().unwrap();
    assert_eq!(digest(&output.stdout), digest(&bytes));

    // Another host key is a change, whoever asks.
    fs::remove_file(machine.site.sealed.path("state/known_hosts")).ok();
    let known = find(&machine.site.sealed.path("state"), "known_hosts");
    known.iter().for_each(|file| fs::remove_file(file).unwrap());
    machine.trust("user_key.pub");
    let (code, _, err) = said(&machine.connect(&["true"]).output().unwrap());
    assert!(code == Some(255) && err.contains("another host key than it has"), "{code:?} {err}");
    machine.site.is_content();
}

/// Returns all files of a name below a folder.
fn find(folder: &std::path::Path, name: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(find(&entry.path(), name)),
            false if entry.file_name() == name => found.push(entry.path()),
            false => {}
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_not_let_in_hears_what_was_tried() {
    let Some(machine) = Machine::start().await else { return };
    machine.enable();
    machine.trust("host_key.pub");
    let place = machine.place();
    let who = format!("{}@db-01", user());
    // No agent, no key of one's own: nothing to sign in by.
    let (code, _, err) = said(&machine.relight(&["connect", &place, &who, "--", "true"]).output().unwrap());
    assert_eq!(code, Some(255));
    for words in ["does not let", "the keys of the SSH agent: none runs", "SSH_AUTH_SOCK"] {
        assert!(err.contains(words), "{words}: {err}");
    }
    let socket = machine.folder.join("agent");
    let agent =
        Command::new("ssh-agent").args(["-D", "-a"]).arg(&socket).stdout(Stdio::null()).spawn().unwrap();
    let _agent = Running(agent);
    let deadline = Instant::now() + PATIENCE;
    while !socket.exists() {
        assert!(Instant::now() < deadline, "ssh-agent does not listen");
        std::thread::sleep(LOOK);
    }
    let with_agent = || {
        let mut call = machine.relight(&["connect", &place, &who, "--", "echo in"]);
        said(&call.env("SSH_AUTH_SOCK", &socket).output().unwrap())
    };
    let (code, _, err) = with_agent();
    assert!(code == Some(255) && err.contains("the keys of the SSH agent: it has none"), "{err}");
    let added = Command::new("ssh-add")
        .arg(machine.folder.join("user_key"))
        .env("SSH_AUTH_SOCK", &socket)
        .stderr(Stdio::null())
        .status();
    assert!(added.unwrap().success());
    assert_eq!(with_agent(), (Some(0), "in\n".to_owned(), String::new()));

    // A key that the server does not know, and a wrong passphrase.
    let make = |name: &str, kind: &str, passphrase: &str| {
        let made = Command::new("ssh-keygen")
            .args(["-q", "-N", passphrase, "-t", kind, "-f"])
            .arg(machine.folder.join(name))
            .status();
        assert!(made.unwrap().success());
        machine.folder.join(name).display().to_string()
    };
    let other = make("other", "ed25519", "");
    let (code, _, err) =
        said(&machine.relight(&["connect", &place, "-i", &other, &who, "--", "true"]).output().unwrap());
    assert!(
        code == Some(255) && err.contains("refused") && err.contains("the server takes: publickey"),
        "{err}"
    );
    let locked = make("locked", "ed25519", "correct horse");
    let (code, _, err) =
        said(&machine.relight(&["connect", &place, "-i", &locked, &who, "--", "true"]).output().unwrap());
    assert!(code == Some(255) && err.contains("encrypted") && err.contains("passphrase"), "{err}");

    // RSA, signed by what a modern server takes; with a passphrase, in a runbook.
    let rsa = make("rsa", "rsa", "correct horse");
    let mut keys = fs::OpenOptions::new().append(true).open(machine.folder.join("user_key.pub")).unwrap();
    keys.write_all(&fs::read(format!("{rsa}.pub")).unwrap()).unwrap();
    let text = format!(
        "let db = ssh::connect(\"db-01\", \"{}\", #{{ key: secret(\"file:{rsa}\"), passphrase: secret(\"env:PHRASE\") }});\n\
         ssh::exec(db, \"echo by rsa\").stdout",
        user()
    );
    let out =
        machine.script("by-rsa", &["azure:read", "ssh", "secret"], &text, &[("PHRASE", "correct horse")]);
    assert!(out.contains("by rsa"), "{out}");
    machine.site.is_content();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runbook_runs_commands_and_hears_how_they_end() {
    let Some(machine) = Machine::start().await else { return };
    machine.enable();
    machine.trust("host_key.pub");
    let key = machine.folder.join("user_key").display().to_string();
    let effects = ["azure:read", "ssh", "secret"];
    let session =
        format!("let db = ssh::connect(\"db-01\", \"{}\", #{{ key: secret(\"file:{key}\") }});\n", user());
    let text = format!(
        "{session}
         let one = ssh::exec(db, \"echo out; echo err >&2; exit 3\", #{{ may_fail: true }});
         let two = ssh::exec(db, \"tr a-z A-Z\", #{{ input: \"shout\" }});
         let three = ();
         try {{ ssh::exec(db, \"echo no such thing >&2; exit 9\"); }} catch (e) {{ three = e.code; }}
         let big = ssh::exec(db, \"head -c 300000 /dev/zero | tr '\\\\0' x; echo end\").stdout;
         #{{ one: `${{one.exit_code}} ${{one.stdout}} ${{one.stderr}}`, two: two.stdout, three: three,
            big: [big.len(), big.ends_with(\"xend\\n\")] }}"
    );
    let out = machine.script("several", &effects, &text, &[]);
    let value: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|e| panic!("{e}: {out}"));
    assert_eq!(
        value,
        serde_json::json!({"one": "3 out\n err\n", "two": "SHOUT", "three": "CommandFailed", "big": [65536, true]})
    );
    // The key stands nowhere.
    let secret = fs::read_to_string(&key).unwrap();
    let line = secret.lines().nth(2).unwrap().to_owned();
    for file in all_files(&machine.site.sealed.path("state")) {
        let bytes = fs::read(&file).unwrap();
        assert!(!bytes.windows(line.len()).any(|it| it == line.as_bytes()), "{}", file.display());
    }

    // A connection that breaks off in the middle: nobody saw the end, so a person is asked, and only then.
    let marker = machine.folder.join("ran");
    let text = format!("{session}ssh::exec(db, \"echo ran >> {}; sleep 600\")", marker.display());
    let whole = format!("/*---\ntitle = \"cut\"\neffects = {effects:?}\n---*/\n{text}\n");
    let file = machine.site.sealed.write("work/cut.rhai", &whole);
    let run = machine.relight(&["run", &machine.place()]).arg(file).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !marker.exists() {
        assert!(Instant::now() < deadline, "the command does not begin");
        tokio::time::sleep(LOOK).await;
    }
    machine.site.lab.drop_connections();
    let (code, _, err) = said(&run.wait_with_output().unwrap());
    assert!(code == Some(3) && err.contains("nobody saw"), "{code:?} {err}");
    assert_eq!(fs::read_to_string(&marker).unwrap(), "ran\n", "it ran once");
    machine.site.is_content();
}

/// Returns the script that signs in on the machine.
pub(super) fn signing_in(machine: &Machine) -> String {
    let key = machine.folder.join("user_key").display().to_string();
    format!("let db = ssh::connect(\"db-01\", \"{}\", #{{ key: secret(\"file:{key}\") }});\n", user())
}

pub(super) const EFFECTS: [&str; 6] =
    ["azure:read", "ssh", "secret", "file:read", "file:write", "net:forward"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_carried_both_ways_also_over_a_connection_that_breaks() {
    let Some(machine) = Machine::start().await else { return };
    machine.enable();
    machine.trust("host_key.pub");
    let session = signing_in(&machine);
    let far = machine.folder.display();
    let bytes = bulk(48 << 20);
    fs::write(machine.site.sealed.work().join("big"), &bytes).unwrap();
    fs::write(machine.folder.join("there"), "something else").unwrap();
    let text = format!(
        "{session}
         let up = ssh::upload(db, \"big\", \"{far}/there\", #{{ mode: \"0640\" }});
         let down = ssh::download(db, \"{far}/there\", \"again\");
         let code = ();
         try {{ ssh::download(db, \"{far}/nothing\", \"x\"); }} catch (e) {{ code = e.code; }}
         #{{ same: up.sha256 == down.sha256, bytes: down.bytes, resumed: up.resumed_at, code: code }}"
    );
    let out = machine.script("files", &EFFECTS, &text, &[]);
    // The files that a run made come before its value.
    let value = out.strip_prefix("again\n").unwrap_or_else(|| panic!("{out}"));
    let value: serde_json::Value = serde_json::from_str(value).unwrap_or_else(|e| panic!("{e}: {out}"));
    let expected = serde_json::json!({"same": true, "bytes": bytes.len(), "resumed": 0, "code": "NotFound"});
    assert_eq!(value, expected);
    assert_eq!(digest(&fs::read(machine.folder.join("there")).unwrap()), digest(&bytes));
    assert_eq!(digest(&fs::read(machine.site.sealed.work().join("again")).unwrap()), digest(&bytes));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(machine.folder.join("there")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o640);

    // The connection breaks off in the middle, both ways: the step goes on where it was, by itself.
    let part = |folder: &std::path::Path| {
        let parts = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        let mut parts = parts.filter(|entry| entry.file_name().to_string_lossy().ends_with(".part"));
        parts.next().map_or(0, |entry| entry.metadata().map_or(0, |found| found.len()))
    };
    let upload = format!("{session}ssh::upload(db, \"big\", \"{far}/other\").resumed_at");
    let download = format!("{session}ssh::download(db, \"{far}/there\", \"third\").resumed_at");
    for (name, text, folder) in
        [("upload", upload, machine.folder.clone()), ("download", download, machine.site.sealed.work())]
    {
        let whole = format!("/*---\ntitle = \"{name}\"\neffects = {EFFECTS:?}\n---*/\n{text}\n");
        let file = machine.site.sealed.write(&format!("work/{name}.rhai"), &whole);
        let run = machine.relight(&["run", &machine.place()]).arg(file).spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while part(&folder) < 1 << 20 {
            assert!(Instant::now() < deadline, "nothing is carried");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        machine.site.lab.drop_connections();
        let (code, out, err) = said(&run.wait_with_output().unwrap());
        assert_eq!(code, Some(0), "{name}: {err}");
        let resumed: u64 =
            out.lines().last().unwrap_or_default().parse().unwrap_or_else(|e| panic!("{e}: {out}"));
        assert!(resumed > 0 && resumed < bytes.len() as u64, "{name}: {resumed}");
        assert_eq!(part(&folder), 0, "{name} leaves no part behind");
    }
    assert_eq!(digest(&fs::read(machine.folder.join("other")).unwrap()), digest(&bytes));
    assert_eq!(digest(&fs::read(machine.site.sealed.work().join("third")).unwrap()), digest(&bytes));
    machine.site.is_content();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forward_leads_to_what_the_machine_can_reach() {
    let Some(machine) = Machine::start().await else { return };
    machine.enable();
    machine.trust("host_key.pub");
    let session = signing_in(&machine);
    // A server that answers each line, as the machine sees it.
    let echo = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = echo.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for visitor in echo.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut &visitor, &mut &visitor));
        }
    });
    let text = format!(
        "{session}
         let code = ();
         try {{ ssh::forward(db, 1); }} catch (e) {{ code = e.code; }}
         let forward = ssh::forward(db, {port});
         note(`port ${{forward.port}} code ${{code}}`);
         ssh::exec(db, \"while ! test -e {}/done; do sleep 0.1; done\");
         \"done\"",
        machine.folder.display()
    );
    let whole = format!("/*---\ntitle = \"forward\"\neffects = {EFFECTS:?}\n---*/\n{text}\n");
    let file = machine.site.sealed.write("work/forward.rhai", &whole);
    let mut run = machine.relight(&["run", &machine.place()]).arg(file).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(run.stderr.take().unwrap()));
    let noted = lines.find_map(|line| line.ok().filter(|line| line.contains("code Off"))).unwrap();
    let local: u16 = noted.split("port ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    let talk = |text: &[u8]| {
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", local)).unwrap();
        stream.write_all(text).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut back = Vec::new();
        std::io::Read::read_to_end(&mut stream, &mut back).unwrap();
        back
    };
    let several: Vec<_> = (0..4).map(|n| bulk(200_000 + n)).collect();
    std::thread::scope(|scope| {
        let calls: Vec<_> = several.iter().map(|bytes| scope.spawn(|| talk(bytes) == *bytes)).collect();
        assert!(calls.into_iter().all(|call| call.join().unwrap()));
    });
    fs::write(machine.folder.join("done"), "").unwrap();
    for _ in lines {}
    assert_eq!(run.wait().unwrap().code(), Some(0));
    assert!(std::net::TcpStream::connect(("127.0.0.1", local)).is_err(), "it is closed with the run");
    machine.site.is_content();
}

pub(super) fn all_files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { all_files(&path) } else { vec![path] }).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_printed_for_openssh_is_all_that_it_needs() {
    let Some(machine) = Machine::start().await else { return };
    let Some(_) = program("OpenSSH's client", &["ssh"]) else { return };
    machine.enable();
    machine.trust("host_key.pub");
    let place = machine.place();
    let who = format!("{}@db-01", user());
    let (code, config, err) =
        said(&machine.relight(&["connect", &place, &who, "--print-config"]).output().unwrap());
    assert_eq!(code, Some(0), "{err}");
    let file = machine.folder.join("printed");
    fs::write(
        &file,
        format!("{config}    IdentityFile {}/user_key\n    IdentitiesOnly yes\n", machine.folder.display()),
    )
    .unwrap();
    let mut call = Command::new("ssh");
    // Strictly: the host key is known because it was known to us.
    call.arg("-F").arg(&file).args([
        "-o",
        "BatchMode=yes",
        "-o",
        "StrictHostKeyChecking=yes",
        "db-01",
        "echo same",
    ]);
    call.env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", machine.site.sealed.path("home"))
        .env("RELIGHT_STATE", machine.site.sealed.path("state"));
    let output = call.stdin(Stdio::null()).output().unwrap();
    assert_eq!(said(&output), (Some(0), "same\n".to_owned(), String::new()));
}
