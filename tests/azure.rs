//! Virtual machines in Azure: a port that is let open for a while, whoever else edits the rules, and the way in.

use std::sync::{Arc, Mutex};

use relight_engine::ErrorCode;
use relight_engine::clock::Clock;
use relight_engine::event::Lease;
use relight_stdlib::Dialer;
use relight_stdlib::net::Route;
use relight_stdlib::ssh::KnownHosts;
use serde_json::{Value, json};

use crate::support::sealed::Sealed;
use crate::support::world::{Ran, World, azure, minutes, told};

/// A VM whose port 22 a rule of its network interface keeps shut.
const API: &str = r#"let vm = compute::vm("api-01", #{ group: "rg-cloud" });"#;

async fn script(world: &World, text: &str) -> Value {
    let ran = world.run_script(&["azure:write", "net:probe"], &format!("{API} {text}")).await;
    ran.value().clone()
}

async fn is_open(world: &World, source: &str) -> bool {
    script(world, &format!(r#"network::port_check(vm, #{{ source: "{source}" }}).open"#)).await == json!(true)
}

/// The priorities of the rules of a security group, as the lab has them.
fn priorities(world: &World, group: &str) -> Vec<u64> {
    let snapshot = world.lab.snapshot();
    let groups = snapshot["security_groups"].as_array().expect("groups").clone();
    let group = groups.iter().find(|it| it["name"] == group).expect("the group");
    let rules = group["rules"].as_array().expect("rules").iter();
    let mut all: Vec<u64> = rules.filter_map(|rule| rule["is"]["priority"].as_u64()).collect();
    all.sort_unstable();
    all
}

async fn lease(world: &World) -> Lease {
    world.leases().await.remove(0)
}

#[tokio::test]
async fn an_open_port_is_shut_when_it_was_promised() {
    let world = World::new().await;
    let before = priorities(&world, "shut-nsg");
    let door = script(&world, r#"network::open_port(vm, #{ source: "203.0.113.7", open_for: "30m" })"#).await;
    assert_eq!(door["changed"], json!(true));
    assert!(is_open(&world, "203.0.113.7").await);
    assert!(!is_open(&world, "203.0.113.8").await, "only one address was let through");
    assert_eq!(priorities(&world, "shut-nsg"), [vec![100, 999], vec![1000]].concat());

    world.keep_until(lease(&world).await.deadline + minutes(10)).await;
    assert_eq!((world.leases().await, priorities(&world, "shut-nsg")), (vec![], before));
    assert!(!is_open(&world, "203.0.113.7").await);
}

/// Two who open the same port each have a rule of their own, and each goes at its own time.
#[tokio::test]
async fn two_owners_do_not_shut_the_port_of_each_other() {
    let world = World::new().await;
    script(&world, r#"network::open_port(vm, #{ source: "203.0.113.7", open_for: "30m" })"#).await;
    script(&world, r#"network::open_port(vm, #{ source: "203.0.113.8", open_for: "2h" })"#).await;
    let first = lease(&world).await;
    assert_eq!(priorities(&world, "shut-nsg"), [100, 998, 999, 1000]);
    world.keep_until(first.deadline + minutes(10)).await;
    assert_eq!(world.leases().await.len(), 1);
    assert!(!is_open(&world, "203.0.113.7").await && is_open(&world, "203.0.113.8").await);
}

/// Somebody takes the priority that was free, edits our rule, or removes it: none of that is ours to undo.
#[tokio::test]
async fn what_others_write_meanwhile_stays() {
    const PUT: &str = r#"
        let door = network::open_port(vm, #{ source: "203.0.113.7" });
        let put = |id, priority, description| arm::put(id, "2024-03-01", #{ properties: #{ protocol: "Tcp",
            access: "Allow", direction: "Inbound", priority: priority, description: description,
            sourceAddressPrefix: "198.51.100.1", sourcePortRange: "*",
            destinationAddressPrefix: "*", destinationPortRange: "8080" } });"#;
    let world = World::new().await;
    let edited = format!("{PUT} put.call(door.rules[0], 700, \"ours now\"); network::close_port(door)");
    let closed = script(&world, &edited).await;
    assert_eq!((&closed["closed"], closed["kept"].as_array().map(Vec::len)), (&json!(false), Some(1)));
    assert_eq!((world.leases().await.len(), priorities(&world, "shut-nsg")), (0, vec![100, 700, 1000]));

    let world = World::new().await;
    let removed =
        format!("{PUT} arm::delete(door.rules[0], \"2024-03-01\"); network::close_port(door).closed");
    assert_eq!(script(&world, &removed).await, json!(false));
    assert_eq!((world.leases().await.len(), priorities(&world, "shut-nsg")), (0, vec![100, 1000]));

    let world = World::new().await;
    let beside = r#"
        let group = vm.id.split("/providers/")[0] + "/providers/Microsoft.Network/networkSecurityGroups/shut-nsg";
        let rule = #{ properties: #{ protocol: "Tcp", access: "Deny", direction: "Inbound", priority: 999,
            sourceAddressPrefix: "198.51.100.1", sourcePortRange: "*", destinationAddressPrefix: "*",
            destinationPortRange: "8080" } };
        arm::put(group + "/securityRules/theirs", "2024-03-01", rule);
        network::open_port(vm, #{ source: "203.0.113.7" }).changed"#;
    assert_eq!(script(&world, beside).await, json!(true));
    assert_eq!(priorities(&world, "shut-nsg"), [100, 998, 999, 1000]);
}

/// A group that goes takes its rules along: nothing is left to close, and the lease ends and says so.
#[tokio::test]
async fn a_group_that_is_deleted_takes_its_rules_along() {
    let world = World::new().await;
    let door = script(&world, r#"network::open_port(vm, #{ source: "203.0.113.7", open_for: "30m" })"#).await;
    assert!(world.lab.remove_security_group("rg-cloud", "shut-nsg"));
    let closed = script(&world, "network::close_port(vm)").await;
    assert_eq!(closed, json!({"closed": false, "rules": [], "kept": [], "gone": door["rules"]}));
    assert!(world.leases().await.is_empty());

    // At its deadline, without anybody who asks.
    let world = World::new().await;
    script(&world, r#"network::open_port(vm, #{ source: "203.0.113.7", open_for: "30m" })"#).await;
    assert!(world.lab.remove_security_group("rg-cloud", "shut-nsg"));
    let troubles = world.keep_until(lease(&world).await.deadline + minutes(10)).await;
    assert_eq!((troubles, world.leases().await), (vec![], vec![]));
}

/// A group that goes while the port is being opened: the step fails, and what it had made elsewhere is removed.
#[tokio::test]
async fn a_group_that_is_deleted_meanwhile_leaves_nothing_open() {
    let world = World::new().await;
    // Nobody is let through to this port, neither by the group of the subnet nor by that of the interface.
    let text = format!(r#"{API} network::open_port(vm, #{{ port: 8080, source: "203.0.113.7" }})"#);
    let request = world.script(&["azure:write"], &text);
    let removing = async {
        while !world.lab.ledger().iter().any(|entry| entry.path.contains("subnet-nsg/securityRules")) {
            tokio::task::yield_now().await;
        }
        assert!(world.lab.remove_security_group("rg-cloud", "shut-nsg"));
    };
    let (ran, ()) = tokio::join!(world.carry(&request), removing);
    let failure = ran.failure();
    assert_eq!(failure.code.as_ref().map(ErrorCode::as_str), Some("NotFound"), "{failure:?}");
    assert!(told(failure).contains("`shut-nsg` was removed while port 8080 was being opened"), "{failure:?}");
    assert_eq!(priorities(&world, "subnet-nsg").len(), 3, "the first one was made");
    let troubles = world.keep_until(world.clock.now() + minutes(10)).await;
    assert_eq!((troubles, world.leases().await), (vec![], vec![]));
    assert_eq!(priorities(&world, "subnet-nsg"), [200, 210]);
}

/// Somebody takes the priority after we looked and before our request. Theirs stays as it is, and another one is found.
#[tokio::test]
async fn a_priority_that_is_taken_meanwhile_is_not_insisted_on() {
    let world = World::new().await;
    // Nobody is let through to this port by either group: the second rule waits until the first one is made, and that until theirs is.
    let (made, mut first) = tokio::sync::mpsc::unbounded_channel();
    let (release, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(Some(wait));
    world.lab.on_write(move |_| {
        let wait = wait.lock().expect("no panic while it is held").take();
        if let Some(wait) = wait {
            made.send(()).expect("somebody waits");
            let _ = wait.recv();
        }
    });
    let theirs = async {
        first.recv().await.expect("a rule is made");
        let put = r#"
            let group = vm.id.split("/providers/")[0] + "/providers/Microsoft.Network/networkSecurityGroups/shut-nsg";
            let rule = #{ properties: #{ protocol: "Tcp", access: "Allow", direction: "Inbound", priority: 4096,
                sourceAddressPrefix: "198.51.100.1", sourcePortRange: "*", destinationAddressPrefix: "*",
                destinationPortRange: "9090" } };
            arm::put(group + "/securityRules/theirs", "2024-03-01", rule).name"#;
        assert_eq!(script(&world, put).await, json!("theirs"));
        drop(release);
    };
    let ours =
        script(&world, r#"network::open_port(vm, #{ port: 8080, source: "203.0.113.7" }).rules.len()"#);
    assert_eq!(tokio::join!(ours, theirs).0, json!(2));

    let refused = world.lab.requests().iter().filter(|request| request.status == 400).count();
    assert_eq!(refused, 1, "nobody was in the way");
    assert_eq!(priorities(&world, "shut-nsg"), [100, 1000, 4095, 4096]);
    let snapshot = world.lab.snapshot();
    let groups = snapshot["security_groups"].as_array().expect("groups");
    let rules = groups.iter().find(|it| it["name"] == "shut-nsg").expect("the group")["rules"].clone();
    let theirs = rules.as_array().expect("rules").iter().find(|rule| rule["is"]["priority"] == 4096).cloned();
    let theirs = theirs.map(|rule| (rule["is"]["ports"].clone(), rule["writes"].clone()));
    assert_eq!(theirs, Some((json!(["9090"]), json!(1))));
}

/// What whoever manages all networks denies, no rule of a group opens; and that is said.
#[tokio::test]
async fn what_is_denied_above_is_not_called_open() {
    let world = World::with(&["port-blocked=jump-01"]).await;
    let params = [("vm", "jump-01"), ("group", "rg-cloud"), ("source", "203.0.113.7")];
    let ran = world.run("open-ssh-port", &params).await;
    let failure = ran.failure();
    assert!(failure.message.contains("deny-from-outside"), "{}", failure.message);
    assert!(world.leases().await.is_empty());
}

/// The address is lent: after each start it is another one, and what is read afterwards is what counts.
#[tokio::test]
async fn an_address_that_changes_is_read_anew() {
    let world = World::with(&["address-changes=jump-01", "vm-off=jump-01"]).await;
    let text = r#"
        let vm = compute::vm("jump-01", #{ group: "rg-cloud" });
        let seen = [compute::addresses(vm).len()];
        for n in 0..2 {
            compute::start(vm);
            seen.push(compute::addresses(vm)[0].address);
            compute::deallocate(vm);
        }
        [seen[0], seen[1] != seen[2]]"#;
    assert_eq!(script(&world, text).await, json!([1, true]));
}

#[tokio::test]
async fn why_a_vm_does_not_answer_is_told_apart() {
    for (faults, vm, code, words) in [
        (&[][..], "api-01", "OutOfTouch", "deny-admin"),
        (&[][..], "inner-01", "OutOfTouch", "no public address"),
        (&[][..], "batch-01", "Off", "is deallocated"),
        (&["sshd-down=jump-01"][..], "jump-01", "Off", "nothing listens"),
        (&["port-blocked=jump-01"][..], "jump-01", "OutOfTouch", "see what else stands in the way"),
    ] {
        let world = World::with(faults).await;
        let text = format!(r#"ssh::host_key("{vm}", #{{ group: "rg-cloud", within: "1s" }})"#);
        let ran = world.run_script(&["azure:read", "net:probe"], &text).await;
        let failure = ran.failure();
        let said = told(failure);
        assert_eq!(failure.code.as_ref().map(ErrorCode::as_str), Some(code), "{vm} {faults:?}: {said}");
        assert!(said.contains(words), "{vm} {faults:?}: {said}");
    }
}

/// The agent of a VM may never come up. It is waited for as long as was said, and not longer.
#[tokio::test]
async fn an_agent_that_is_never_ready_is_waited_for_until_the_deadline() {
    let world = World::with(&["agent-offline=batch-01"]).await;
    let began = world.clock.now();
    let params = [("vm", "batch-01"), ("group", "rg-cloud"), ("within", "20m")];
    let ran = world.run("start-and-wait", &params).await;
    let took = world.clock.now().duration_since(began);
    let said = told(ran.failure());
    assert!(took >= minutes(20).try_into().expect("a time") && took.as_mins() < 23, "{took:#}: {said}");
    assert!(said.contains("batch-01 was started, and its agent was Not Ready for 20m"), "{said}");
    assert!(said.contains("az vm boot-diagnostics enable") && said.contains("compute::redeploy"), "{said}");
    // It is not started twice.
    let vms = world.lab.snapshot()["azure_vms"].clone();
    let batch = vms.as_array().expect("VMs").iter().find(|vm| vm["name"] == "batch-01").cloned();
    assert_eq!(
        batch.map(|vm| (vm["power"].clone(), vm["starts"].clone())),
        Some((json!("running"), json!(1)))
    );
}

#[tokio::test]
async fn entra_id_asks_for_an_identity_and_for_linux() {
    for (machine, options, words) in [
        ("api-01", &[][..], "identity=true gives it one"),
        ("sql-01", &[][..], "takes no SSH certificates of Entra ID"),
        ("sql-01", &[][..], "For its desktop: desktop=true"),
        ("jump-01", &[("desktop", "true")][..], "is no Windows VM"),
    ] {
        let world = World::new().await;
        let params = [&[("machine", machine), ("group", "rg-cloud")], options].concat();
        let ran = world.run("enable-entra-ssh", &params).await;
        assert!(told(ran.failure()).contains(words), "{machine}: {}", told(ran.failure()));
        assert!(world.lab.ledger().is_empty(), "{machine}");
    }
    // By itself the operation looks before it sends anything, too.
    for (vm, kind, words) in [
        ("api-01", "AADSSHLoginForLinux", "az vm identity assign"),
        ("sql-01", "AADSSHLoginForLinux", "AADLoginForWindows lets people in at its desktop"),
        ("jump-01", "AADLoginForWindows", "AADSSHLoginForLinux lets people in by SSH"),
    ] {
        let world = World::new().await;
        let text = format!(
            r#"compute::extension_install("{vm}", "Microsoft.Azure.ActiveDirectory", "{kind}", #{{ group: "rg-cloud" }})"#
        );
        let ran = world.run_script(&["azure:write"], &text).await;
        assert!(told(ran.failure()).contains(words), "{vm} {kind}: {}", told(ran.failure()));
        assert!(world.lab.ledger().is_empty(), "{vm} {kind}");
    }
}

#[tokio::test]
async fn people_come_in_as_they_are_signed_in_to_azure() {
    let world = World::new().await;
    // With rules that let this machine in, as the other VM's do.
    script(&world, r#"network::open_port(vm, #{ source: "127.0.0.1" }).changed"#).await;
    let params = [("machine", "api-01"), ("group", "rg-cloud"), ("identity", "true")];
    assert!(world.run("enable-entra-ssh", &params).await.succeeded());
    let text = r#"
        ssh::trust(vm, [ssh::host_key(vm).key]);
        let session = ssh::connect_entra(vm);
        ssh::exec(session, "hostname", #{ repeatable: true }).stdout"#;
    let ran = world.run_script(&["azure:read", "net:probe", "ssh"], &format!("{API} {text}")).await;
    assert_eq!(*ran.value(), json!("api-01\n"));

    // It is there already: nothing more is sent.
    let sent = world.lab.ledger().len();
    assert!(world.run("enable-entra-ssh", &params).await.succeeded());
    assert_eq!(world.lab.ledger().len(), sent);

    let desktop = [("machine", "sql-01"), ("group", "rg-cloud"), ("desktop", "true")];
    let ran = world.run("enable-entra-ssh", &desktop).await;
    assert_eq!(
        (&ran.value()["extension"], &ran.value()["version"]),
        (&json!("AADLoginForWindows"), &json!("2.2.1.0"))
    );
}

/// As over a VPN: the private address is reached, and the public one is left alone.
#[tokio::test]
async fn a_private_address_is_taken_on_request() {
    let world = World::new().await;
    let public = script(&world, r#"compute::addresses("jump-01", #{ group: "rg-cloud" })[0].address"#).await;
    let public = public.as_str().expect("an address").to_owned();
    let about = world.lab.descriptor();
    let dialled = Arc::new(Mutex::new(Vec::new()));
    let (seen, port) = (dialled.clone(), 22 + about.low_ports);
    let mut azure = azure(&about, Arc::new(world.clock.clone()), KnownHosts::in_memory());
    azure.dial = Dialer::routed(move |host, _| {
        seen.lock().expect("no panic while dialling").push(host.to_owned());
        let at = format!("{public}:{port}").parse().expect("an address");
        if host == "10.1.0.4" { Route::Via(at) } else { Route::Nowhere }
    });
    let engine = world.builder_with(&azure).journal(world.journal.clone()).build().expect("an engine");
    for (text, expected) in [
        (
            r#"ssh::host_key("jump-01", #{ group: "rg-cloud", private_address: true }).standing"#,
            Ok("unknown"),
        ),
        (
            r#"ssh::host_key("inner-01", #{ group: "rg-cloud", private_address: true })"#,
            Err("such as over a VPN"),
        ),
        (
            r#"ssh::host_key("db-01", #{ private_address: true })"#,
            Err("through Azure Arc, and not by an address"),
        ),
    ] {
        let run = engine.prepare(&world.script(&["azure:read", "net:probe"], text)).await.expect("a run");
        let driven = world.passing(engine.run(&run)).await.expect("it is driven");
        let ran = Ran { run, driven };
        match expected {
            Ok(word) => assert_eq!(*ran.value(), json!(word)),
            Err(words) => assert!(format!("{:?}", ran.driven).contains(words), "{ran:?}"),
        }
    }
    assert_eq!(*dialled.lock().expect("no panic while dialling"), ["10.1.0.4", "10.1.0.8"]);
}

/// As somebody types it: from a VM that is off to a session, with a key that was made on the way.
#[test]
fn the_first_way_in_leads_there() {
    let world = Sealed::new();
    let key = world.path("first_key");
    let param = format!("key={}", key.display());
    let said = world
        .in_lab(["run", "first-linux-vm", "vm=batch-01", "group=rg-cloud", "source=127.0.0.1", &param])
        .run()
        .succeeds();
    assert!(said.contains(r#""hostname": "batch-01""#), "{said}");
    assert!(key.is_file() && key.with_extension("pub").is_file());

    // The key that is there is taken, the next time.
    let made = std::fs::read(&key).expect("the key");
    let vm = ["run", "first-linux-vm", "vm=jump-01", "group=rg-cloud", "source=127.0.0.1"];
    let said = world.in_lab(vm).args([&param]).run().succeeds();
    assert!(said.contains(r#""hostname": "jump-01""#), "{said}");
    assert_eq!(std::fs::read(&key).expect("the key"), made);

    // Nothing is begun without a key or a password, nor with both.
    for params in [&[][..], &[param.as_str(), "password=env:VM_PASSWORD"]] {
        let refused = world.in_lab(vm).args(params).env("VM_PASSWORD", "a password").run().to_string();
        assert!(refused.contains("name the file of a key, or a password, and not both"), "{refused}");
    }
}

/// A VM that was made with a password is signed in to with it; no key is made.
#[test]
fn the_first_way_in_may_be_a_password() {
    let world = Sealed::new();
    let said = world
        .in_lab(["run", "first-linux-vm", "vm=batch-01", "group=rg-cloud", "source=127.0.0.1"])
        .args(["password=env:VM_PASSWORD"])
        .env("VM_PASSWORD", relight_lab::GUEST_PASSWORD)
        .run()
        .succeeds();
    assert!(said.contains(r#""hostname": "batch-01""#) && !said.contains("fingerprint"), "{said}");
}
