//! Keys that we make, and files that we write for OpenSSH: its own programs take both.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use super::openssh::{Machine, user};
use super::program;
use super::session::{EFFECTS, all_files, said};

const MAKES: [&str; 2] = ["file:write", "secret"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssh_takes_the_keys_and_the_file_that_we_write() {
    let Some(machine) = Machine::start().await else { return };
    let Some(_) = program("OpenSSH's client", &["ssh-keygen"]) else { return };
    machine.enable();
    machine.trust("host_key.pub");
    let work = machine.site.sealed.work();
    let env = [("PHRASE", "correct horse battery")];
    let text = "
        let plain = ssh::key_pair(\"id\", #{ comment: \"for db-01\" });
        let rsa = ssh::key_pair(\"rsa\", #{ kind: \"rsa\", passphrase: secret(\"env:PHRASE\") });
        let code = ();
        try { ssh::key_pair(\"id\"); } catch (e) { code = e.code; }
        #{ id: plain.fingerprint, rsa: rsa.fingerprint, code: code }";
    let out = machine.script("keys", &MAKES, text, &env);
    let value: serde_json::Value = serde_json::from_str(&out[out.find("\n{").unwrap()..]).unwrap();
    assert_eq!(value["code"], "Busy");
    for (name, bits) in [("id", "256"), ("rsa", "3072")] {
        let file = work.join(name);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        for shown in [format!("{name}.pub"), name.to_owned()] {
            let listed = Command::new("ssh-keygen").arg("-lf").arg(work.join(shown)).output().unwrap();
            let listed = String::from_utf8(listed.stdout).unwrap();
            let expected = format!("{bits} {} ", value[name].as_str().unwrap());
            assert!(listed.starts_with(&expected), "{listed} {expected}");
        }
    }
    // Nothing of the private keys is in the record, and nothing is left beside them.
    let secret = fs::read_to_string(work.join("id")).unwrap();
    let line = secret.lines().nth(2).unwrap().to_owned();
    for file in all_files(&machine.site.sealed.path("state")) {
        let bytes = fs::read(&file).unwrap();
        assert!(!bytes.windows(line.len()).any(|it| it == line.as_bytes()), "{}", file.display());
    }
    let left = fs::read_dir(&work)
        .unwrap()
        .flatten()
        .filter(|it| it.file_name().to_string_lossy().ends_with(".part"));
    assert_eq!(left.count(), 0);

    // Both are let in: in our own session with a passphrase, and by OpenSSH with the file that we write.
    let keys: String =
        ["id.pub", "rsa.pub"].iter().map(|name| fs::read_to_string(work.join(name)).unwrap()).collect();
    fs::write(machine.folder.join("user_key.pub"), keys).unwrap();
    let text = format!(
        "let db = ssh::connect(\"db-01\", \"{0}\", #{{ key: secret(\"file:{1}/rsa\"), passphrase: secret(\"env:PHRASE\") }});
         let file = ssh::config(\"db.ssh\", \"db-01\", \"{0}\", #{{ name: \"db\", key: \"{1}/id\" }});
         ssh::config(\"db.ssh\", \"db-01\", \"{0}\", #{{ name: \"db\", key: \"{1}/id\" }});
         ssh::exec(db, \"echo by rsa\").stdout",
        user(),
        work.display()
    );
    assert!(machine.script("both", &EFFECTS, &text, &env).contains("by rsa"));
    let mut call = Command::new("ssh");
    call.arg("-F").arg(work.join("db.ssh"));
    call.args([
        "-o",
        "BatchMode=yes",
        "-o",
        "IdentitiesOnly=yes",
        "-o",
        "StrictHostKeyChecking=yes",
        "db",
        "echo same",
    ]);
    call.env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", machine.site.sealed.path("home"))
        .env("RELIGHT_STATE", machine.site.sealed.path("state"));
    let output = call.stdin(Stdio::null()).output().unwrap();
    assert_eq!(said(&output), (Some(0), "same\n".to_owned(), String::new()));
    // The same as what is printed, but for what only the file says.
    let who = format!("{}@db-01", user());
    let printed =
        said(&machine.relight(&["connect", &machine.place(), &who, "--print-config"]).output().unwrap()).1;
    let written = fs::read_to_string(work.join("db.ssh")).unwrap();
    let without: String = written
        .lines()
        .filter(|line| !line.contains("IdentityFile"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert_eq!(without.replace("Host db\n", "Host db-01\n"), printed);

    // Somebody's own file is not replaced without a word.
    fs::write(work.join("db.ssh"), "# mine\nHost x\n").unwrap();
    let output = machine.run_script("mine", &EFFECTS, "ssh::config(\"db.ssh\", \"db-01\", \"me\")", &[]);
    assert!(said(&output).2.contains("is there already"), "{output:?}");
    machine.site.is_content();
}
