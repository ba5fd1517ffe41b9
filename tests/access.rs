//! Getting back in on virtual machines in Azure: keys, passwords and the SSH server's configuration, each with a way back.

use relight_engine::Driven;
use relight_engine::event::{Event, Park, RunEnd};
use serde_json::json;

use crate::support::world::{Ran, World, told};

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
const NEW: &str = "Another-1-then";
/// What the machines keep of their users' passwords, and how the SSH server is set.
const SHADOW: &str = "/etc/shadow";
const CONFIG: &str = "/etc/ssh/sshd_config";
const KEYS: &str = "/home/azureuser/.ssh/authorized_keys";

async fn start(faults: &[&str]) -> World {
    World::with(faults).await.secret("env:OLD", relight_lab::GUEST_PASSWORD).secret("env:NEW", NEW)
}

async fn script(world: &World, text: &str) -> Ran {
    world.run_script(&["azure:write", "net:probe", "ssh", "secret"], text).await
}

/// Whether a user comes in with one of the passwords.
async fn comes_in(world: &World, vm: &str, user: &str, password: &str) -> bool {
    let text = format!(
        r#"let vm = compute::vm("{vm}", #{{ group: "rg-cloud" }});
           ssh::trust(vm, [ssh::host_key(vm).key]);
           ssh::connect(vm, "{user}", #{{ password: secret("env:{password}") }})"#
    );
    match script(world, &text).await.driven {
        Driven::Ended(end) => matches!(end, RunEnd::Succeeded { .. }),
        // A refused password is for a person.
        Driven::Parked(Park::Denied { .. }, _) => false,
        other => panic!("{other:?}"),
    }
}

async fn reset(world: &World, params: &[(&str, &str)]) -> Ran {
    let always = [("vm", "jump-01"), ("group", "rg-cloud"), ("ask", "false")];
    world.run("reset-access", &[&always, params].concat()).await
}

fn file(world: &World, path: &str) -> Option<String> {
    world.lab.guest_file("jump-01", path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

async fn on_machine(world: &World, script: &str) {
    let params = [("machine", "jump-01"), ("group", "rg-cloud"), ("script", script)];
    assert!(world.run("run-on-machine", &params).await.succeeded(), "{script}");
}

#[tokio::test]
async fn a_password_is_set_and_what_was_there_comes_back() {
    let world = start(&[]).await;
    assert!(comes_in(&world, "jump-01", "azureuser", "OLD").await);
    let before = [SHADOW, CONFIG].map(|path| file(&world, path));
    on_machine(&world, "printf 'PasswordAuthentication no\\n' >> /etc/ssh/sshd_config").await;
    assert!(!comes_in(&world, "jump-01", "azureuser", "OLD").await, "passwords are switched off");

    let ran = reset(&world, &[("user", "azureuser"), ("password", "env:NEW")]).await;
    assert_eq!(ran.value()["by"], "vmaccess");
    assert!(comes_in(&world, "jump-01", "azureuser", "NEW").await);
    assert!(!comes_in(&world, "jump-01", "azureuser", "OLD").await);

    // What the run says to type, typed. The first that was kept is what it goes back to, however often it is done.
    let again = reset(&world, &[("user", "azureuser"), ("password", "env:NEW")]).await;
    let notes = notes(&world, &again).await;
    let back: Vec<&str> = notes.iter().filter_map(|note| note.split("script='").nth(1)).collect();
    assert_eq!(back.len(), 2, "{notes:?}");
    for command in back {
        on_machine(&world, command.trim_end_matches('\'')).await;
    }
    assert!(!comes_in(&world, "jump-01", "azureuser", "OLD").await, "passwords are switched off again");
    assert_eq!(file(&world, SHADOW), before[0]);
    let config = before[1].clone().map(|it| it + "PasswordAuthentication no\n");
    assert_eq!(file(&world, CONFIG), config);
}

/// What a run noted.
async fn notes(world: &World, ran: &Ran) -> Vec<String> {
    let records = world.records(&ran.run).await;
    let noted = records.iter().filter_map(|record| match record.event().expect("an event") {
        Event::StepStarted { operation, args, .. } if operation == "note" => {
            args["text"].as_str().map(str::to_owned)
        }
        _ => None,
    });
    noted.collect()
}

/// The key that is let in, the configuration that is set back, and a user who becomes one.
#[tokio::test]
async fn a_key_and_the_configuration_are_reset_by_either_way() {
    const BROKEN: &str = "printf 'PubkeyAuthentication no\nAllowUsers nobody\n' > /etc/ssh/sshd_config; \
                          mkdir -p ~azureuser/.ssh; echo theirs > ~azureuser/.ssh/authorized_keys";
    for by in ["vmaccess", "run_command"] {
        let world = start(&[]).await;
        on_machine(&world, BROKEN).await;
        let asked = [("user", "azureuser"), ("key", KEY), ("reset_sshd", "true"), ("by", by)];
        let ran = reset(&world, &asked).await;
        assert_eq!(ran.value()["by"], by);
        let keys = file(&world, KEYS).expect("keys");
        assert_eq!(keys.split_whitespace().collect::<Vec<_>>().join(" "), format!("theirs {KEY}"), "{by}");
        let config = file(&world, CONFIG).expect("a configuration");
        assert!(
            config.contains("PubkeyAuthentication yes") && !config.contains("AllowUsers"),
            "{by}: {config}"
        );
        // Doing it again changes nothing that was kept.
        reset(&world, &asked).await;
        for (path, text) in [(KEYS, "theirs\n"), (CONFIG, "PubkeyAuthentication no\nAllowUsers nobody\n")] {
            assert_eq!(file(&world, &format!("{path}.before-relight")).as_deref(), Some(text), "{by}");
        }
        assert!(comes_in(&world, "jump-01", "azureuser", "OLD").await, "{by}");
        // Only the extension makes its user an administrator.
        assert_eq!(file(&world, "/etc/sudoers.d/waagent").is_some(), by == "vmaccess");
    }
}

#[tokio::test]
async fn a_user_who_is_not_there_is_made_by_vmaccess() {
    let world = start(&[]).await;
    reset(&world, &[("user", "ada"), ("password", "env:NEW")]).await;
    assert!(comes_in(&world, "jump-01", "ada", "NEW").await);
    assert!(comes_in(&world, "jump-01", "azureuser", "OLD").await);
}

#[tokio::test]
async fn windows_gets_a_password() {
    let world = start(&[]).await;
    let text = r#"
        let vm = compute::vm("sql-01", #{ group: "rg-cloud" });
        compute::extension_install(vm, "Microsoft.Azure.OpenSSH", "WindowsOpenSSH").version;
        network::open_port(vm, #{ source: "127.0.0.1" }).changed"#;
    assert_eq!(*script(&world, text).await.value(), json!(true));
    assert!(comes_in(&world, "sql-01", "azureuser", "OLD").await);
    let params = [("vm", "sql-01"), ("group", "rg-cloud"), ("ask", "false"), ("user", "azureuser")];
    let ran = world.run("reset-access", &[&params[..], &[("password", "env:NEW")]].concat()).await;
    assert!(ran.succeeded(), "{ran:?}");
    assert!(notes(&world, &ran).await.iter().any(|note| note.contains("no way back")));
    assert!(comes_in(&world, "sql-01", "azureuser", "NEW").await);
    assert!(!comes_in(&world, "sql-01", "azureuser", "OLD").await);
}

/// It says first what it will change, and who says no has changed nothing.
#[tokio::test]
async fn it_is_asked_first() {
    let world = start(&[]).await;
    let params = [("vm", "jump-01"), ("group", "rg-cloud"), ("user", "azureuser"), ("password", "env:NEW")];
    let ran = world.run("reset-access", &params).await;
    assert!(matches!(ran.park(), Park::Question { .. }), "{ran:?}");
    let notes = notes(&world, &ran).await.join("\n");
    for words in ["azureuser gets a new password", "PasswordAuthentication yes", "sudo", "kept beside it"] {
        assert!(notes.contains(words), "{notes}");
    }
    world.engine().answer(&ran.run, "no", "ada").await.expect("an answer");
    let ran = world.resume(&ran.run).await;
    assert!(told(ran.failure()).contains("nothing was changed"), "{ran:?}");
    assert!(world.lab.ledger().is_empty());
}

#[tokio::test]
async fn what_cannot_be_done_is_said_before_anything_is() {
    const EC: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAI";
    let user = ("user", "azureuser");
    let (password, windows) = (("password", "env:NEW"), ("vm", "sql-01"));
    for (params, words) in [
        (&[user][..], "nothing is asked for"),
        (&[password][..], "whose key or password"),
        (&[user, password, ("by", "run_command")][..], "by VMAccess alone"),
        (&[user, ("key", EC)][..], "by=run_command adds any"),
        (&[windows, user, ("key", KEY)][..], "add-ssh-key"),
        (&[windows, ("reset_sshd", "true")][..], "runs Windows"),
    ] {
        let world = start(&[]).await;
        let vm = if params.contains(&windows) { &[][..] } else { &[("vm", "jump-01")][..] };
        let always = [("group", "rg-cloud"), ("ask", "false")];
        let ran = world.run("reset-access", &[&always, vm, params].concat()).await;
        assert!(told(ran.failure()).contains(words), "{params:?}: {}", told(ran.failure()));
        assert!(world.lab.ledger().is_empty(), "{params:?}");
    }
    // Any key, by a script.
    let world = start(&[]).await;
    reset(&world, &[user, ("key", EC), ("by", "run_command")]).await;
    assert!(file(&world, KEYS).is_some_and(|keys| keys.contains(EC)));
}

/// What an extension is given wrongly fails there, or is refused by Azure, and it is said which.
#[tokio::test]
async fn a_wrong_use_of_vmaccess_is_said() {
    for (vm, publisher, kind, options, words) in [
        (
            "jump-01",
            "Microsoft.OSTCExtensions",
            "VMAccessForLinux",
            r#"protected_settings: #{ username: "ada" }"#,
            "No password or ssh_key",
        ),
        (
            "jump-01",
            "Microsoft.OSTCExtensions",
            "VMAccessForLinux",
            r#"protected_settings: #{ reset_ssh: true, remove_user: "ada" }"#,
            "in one operation",
        ),
        (
            "jump-01",
            "Microsoft.OSTCExtensions",
            "VMAccessForLinux",
            r#"version: "1.5.20.1""#,
            "the first two parts",
        ),
        ("jump-01", "Microsoft.OSTCExtensions", "VMAccessForLinux", r#"version: "9.0""#, "ArtifactNotFound"),
        ("jump-01", "Microsoft.OSTCExtensions", "VMAccess", "", "has no extension `VMAccess`"),
        ("sql-01", "Microsoft.OSTCExtensions", "VMAccessForLinux", r#"version: "1.5""#, "does not support"),
        (
            "sql-01",
            "Microsoft.Compute",
            "VMAccessAgent",
            r#"secrets: #{ Password: secret("env:NEW") }"#,
            "belong together",
        ),
        (
            "jump-01",
            "Microsoft.OSTCExtensions",
            "VMAccessForLinux",
            r#"secrets: #{ password: secret("env:NEW") }, protected_settings: #{ password: "x" }"#,
            "among the secrets and beside them",
        ),
    ] {
        let world = start(&[]).await;
        let text = format!(
            r#"compute::extension_install("{vm}", "{publisher}", "{kind}", #{{ group: "rg-cloud", {options} }})"#
        );
        let ran = script(&world, &text).await;
        let said = match &ran.driven {
            Driven::Parked(park, _) => format!("{park:?}"),
            _ => told(ran.failure()),
        };
        assert!(said.contains(words), "{vm} {kind} {options}: {said}");
        assert!(!said.contains(NEW));
    }
}
