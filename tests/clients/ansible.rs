//! Ansible through the lab's relay, by `relight proxy`, with OpenSSH as it comes.

use std::fs;
use std::process::{Command, Stdio};

use super::openssh::{Machine, bulk, digest, good};
use super::{program, python};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ansible_works_through_the_relay() {
    let Some(ansible) = python("ansible") else { return };
    let Some(interpreter) = program("Python", &["python3"]) else { return };
    let Some(machine) = Machine::start().await else { return };
    machine.enable();
    // Three names of one machine, so that several connections are made at once.
    let config = fs::read_to_string(machine.folder.join("config")).unwrap();
    let config = config.replace("Host db\n", "Host one two three\n");
    let file = machine.folder.join("ansible_config");
    fs::write(&file, config).unwrap();
    let inventory = machine.folder.join("inventory");
    fs::write(
        &inventory,
        format!(
            "one\ntwo\nthree\n[all:vars]\nansible_python_interpreter={}\nansible_ssh_common_args='-F {}'\n",
            interpreter.display(),
            file.display()
        ),
    )
    .unwrap();
    let call = |args: &[&str]| {
        let programs = ansible.parent().unwrap().display();
        let output = Command::new(&ansible)
            .args(["all", "-i"])
            .arg(&inventory)
            .args(args)
            .current_dir(&machine.folder)
            .env_clear()
            .env("PATH", format!("{programs}:/usr/bin:/bin"))
            .env("HOME", machine.site.sealed.path("home"))
            .env("RELIGHT_STATE", machine.site.sealed.path("state"))
            .env("ANSIBLE_HOME", machine.folder.join("ansible"))
            .env("ANSIBLE_NOCOLOR", "1")
            .env("LC_ALL", "C.UTF-8")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        good(&output)
    };
    let said = call(&["-m", "ping"]);
    assert_eq!(said.matches("\"ping\": \"pong\"").count(), 3, "{said}");
    // A file goes there by SFTP, over the connection that the ping has left open.
    let bytes = bulk(1 << 20);
    fs::write(machine.folder.join("here"), &bytes).unwrap();
    let there = machine.folder.join("there");
    call(&["--limit", "one", "-m", "copy", "-a", &format!("src=here dest={}", there.display())]);
    assert_eq!(digest(&fs::read(there).unwrap()), digest(&bytes));
    machine.site.is_content();
}
