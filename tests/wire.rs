//! `relight doctor --wire`: what was inferred about Azure, held against worlds that answer so and against worlds that do not.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use relight_lab::Fault;
use relight_stdlib::azure::recording::Recording;
use relight_stdlib::doctor::wire::{CheckedFact, Standing};
use relight_stdlib::ssh::KnownHosts;
use relight_stdlib::{Azure, Ref};

use crate::support::stage::Stage;
use crate::support::world::{World, azure};

/// How long a look may take: much longer than one does.
const WITHIN: Duration = Duration::from_secs(120);

fn readable() -> BTreeSet<&'static str> {
    Azure::wire_facts().iter().filter(|fact| fact.is_readable()).map(|fact| fact.id).collect()
}

#[test]
fn every_inferred_row_of_the_page_is_a_fact_and_every_fact_has_its_row() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/wire.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let (_, rows) = page.split_once("\n## ").expect("sections");
    let (rows, _) = rows.split_once("\n## Open doubts").expect("the doubts");
    let facts: BTreeSet<&str> = Azure::wire_facts().iter().map(|fact| fact.id).collect();
    assert_eq!(facts.len(), Azure::wire_facts().len(), "each name once");
    let named = |text: &str| -> Vec<String> {
        let parts = text.split('`').skip(1).step_by(2);
        parts.filter(|part| facts.contains(part)).map(str::to_owned).collect()
    };
    // A paragraph or an item goes on over several lines; a row of a table is one.
    let mut items: Vec<String> = Vec::new();
    for line in rows.lines() {
        match items.last_mut() {
            Some(item) if line.starts_with("  ") => *item += line,
            Some(item) if !line.is_empty() && !line.starts_with(['|', '-', '#']) && !item.is_empty() => {
                *item += line
            }
            _ => items.push(line.to_owned()),
        }
    }
    let unnamed: Vec<&String> =
        items.iter().filter(|item| item.contains("inferred") && named(item).is_empty()).collect();
    assert!(unnamed.is_empty(), "inferred, and no fact is named:\n{unnamed:#?}");
    let mut all: Vec<String> = items.iter().flat_map(|item| named(item)).collect();
    all.sort();
    let twice: Vec<_> = all.windows(2).filter(|two| two[0] == two[1]).collect();
    assert!(twice.is_empty(), "named twice: {twice:?}");
    let missing: Vec<_> = facts.iter().filter(|id| !all.iter().any(|named| named == **id)).collect();
    assert!(missing.is_empty(), "facts without a row: {missing:?}");
}

#[test]
fn the_lab_can_differ_in_every_fact_that_a_read_shows() {
    assert_eq!(readable(), Fault::DIFFERENCES.into_iter().collect());
}

/// What happens in a tenant that is used: every fact but one has something that shows it. (Nobody denies anything.)
const HISTORY: &str = r#"
    arm::register("Microsoft.HybridConnectivity");
    let app = arc::machine("app-01", #{ group: "rg-apps" });
    arc::endpoint_create(app);
    arc::service_configure(app);
    arc::endpoint_create("db-01");
    vmconnect::enable(local::vm("db-01"));
    let line = "0123456789012345678901234567890123456789012345678901234567890123456789";
    let script = "for a in 1 2 3 4 5 6 7 8; do for b in 1 2 3 4 5 6 7 8 9; do echo " + line + "; done; done; exit 3";
    arm::put(app.id + "/runCommands/said", "2026-07-15",
        #{ location: app.location, properties: #{ source: #{ script: script } } });
    arm::put(app.id + "/runCommands/runs", "2026-07-15",
        #{ location: app.location, properties: #{ source: #{ script: "sleep 100000" }, asyncExecution: true,
            timeoutInSeconds: 200000 } });
"#;

async fn used() -> World {
    let world = World::new().await;
    let ran = world.run_script(&["azure:write", "azure:read"], HISTORY).await;
    ran.value();
    world
}

fn looker(world: &World) -> Azure {
    azure(&world.lab.descriptor(), Arc::new(world.clock.clone()), KnownHosts::in_memory())
}

async fn checked(azure: &Azure) -> Vec<CheckedFact> {
    azure.check_wire(None, None, WITHIN).await.expect("a look")
}

fn ids(facts: &[CheckedFact], is: fn(&Standing) -> bool) -> BTreeSet<&str> {
    facts.iter().filter(|fact| is(&fact.standing)).map(|fact| fact.id).collect()
}

fn different(facts: &[CheckedFact]) -> BTreeSet<&str> {
    ids(facts, |it| matches!(it, Standing::Different { .. }))
}

fn confirmed(facts: &[CheckedFact]) -> BTreeSet<&str> {
    ids(facts, |it| matches!(it, Standing::Confirmed { .. }))
}

#[tokio::test]
async fn each_difference_is_found_and_no_other() {
    let world = used().await;
    let azure = looker(&world);
    let before = world.lab.snapshot();
    let facts = checked(&azure).await;
    assert_eq!(facts.len(), Azure::wire_facts().len());
    assert_eq!(different(&facts), BTreeSet::new(), "{facts:#?}");
    let mut expected = readable();
    expected.remove("permissions-deny");
    assert_eq!(confirmed(&facts), expected, "{facts:#?}");

    for thing in Fault::DIFFERENCES {
        world.lab.inject(Fault::WireDiffers(vec![thing.to_owned()]));
        let facts = checked(&azure).await;
        world.lab.clear_faults();
        assert_eq!(different(&facts), BTreeSet::from([thing]), "{facts:#?}");
        let fact = facts.iter().find(|fact| fact.id == thing).expect("the fact");
        println!("{:22} {:?}", fact.id, fact.standing);
    }
    world.lab.inject("wire-differs".parse().expect("a fault"));
    let facts = checked(&azure).await;
    let mut found = different(&facts);
    // Without its view nobody knows what ran on a machine, and whether a VM is off.
    found.extend(["run-command-exit-code", "run-command-async", "effective-rules-off"]);
    assert_eq!(found, readable(), "{facts:#?}");
    assert_eq!(world.lab.snapshot(), before, "something was changed");
}

#[tokio::test]
async fn two_differences_are_both_found() {
    let world = used().await;
    let azure = looker(&world);
    for pair in [
        ["vm-connect-versions", "versions-azure-local"],
        ["job-words", "job-vm-name"],
        ["extension-words", "host-addresses"],
        ["credentials-refused", "service-answers"],
        ["vm-view", "group-answers"],
        ["machine-words", "permissions-deny"],
    ] {
        world.lab.inject(Fault::WireDiffers(pair.map(str::to_owned).to_vec()));
        let facts = checked(&azure).await;
        world.lab.clear_faults();
        assert_eq!(different(&facts), BTreeSet::from(pair), "{facts:#?}");
    }
}

/// Nothing is written, and nothing is given out that somebody could use.
#[tokio::test]
async fn a_look_only_reads() {
    let world = used().await;
    let azure = looker(&world);
    let before = world.lab.requests().len();
    checked(&azure).await;
    let asked = world.lab.requests().split_off(before);
    assert!(asked.len() > 50, "{}", asked.len());
    for request in asked {
        let is_refused = request.method == "POST" && request.status >= 400;
        let is_sign_in = request.path.contains("/oauth2/");
        assert!(request.method == "GET" || is_refused || is_sign_in, "{request:?}");
    }
    assert_eq!(world.lab.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn who_may_read_little_is_told_what_could_not_be_read() {
    let world =
        World::with(&["denied=Microsoft.HybridCompute/machines/extensions/read", "denied=*/register/action"])
            .await;
    let azure = looker(&world);
    world.lab.inject("denied=Microsoft.Resources/subscriptions/providers/read".parse().expect("a fault"));
    let facts = checked(&azure).await;
    for id in ["versions-arc", "vm-connect-versions"] {
        let fact = facts.iter().find(|fact| fact.id == id).expect("the fact");
        let Standing::NotReachable { why, shown_by } = &fact.standing else { panic!("{fact:?}") };
        assert!(why.contains("may not be read") && why.contains("AuthorizationFailed"), "{why}");
        assert!(!why.contains(&world.lab.descriptor().subscription), "{why}");
        assert!(shown_by.is_some());
    }
    assert!(confirmed(&facts).contains("machine-words"), "{facts:#?}");
    assert_eq!(different(&facts), BTreeSet::new());
}

#[tokio::test]
async fn one_machine_is_looked_at_when_it_is_named() {
    let world = World::new().await;
    let azure = looker(&world);
    let look =
        async |name: &str, group| azure.check_wire(Some(&Ref::parse(name).unwrap()), group, WITHIN).await;
    let facts = look("jump-01", Some("rg-cloud")).await.expect("a look");
    assert!(
        confirmed(&facts).contains("vm-view") && !confirmed(&facts).contains("machine-words"),
        "{facts:#?}"
    );
    let facts = look("db-01", None).await.expect("a look");
    assert!(
        !confirmed(&facts).contains("vm-view") && confirmed(&facts).contains("machine-words"),
        "{facts:#?}"
    );
    let error = look("moon-01", None).await.expect_err("no such machine");
    assert!(error.message().contains("moon-01"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_command_tells_what_differs_first() {
    let stage = Stage::with(300, &["wire-differs=vm-view,machine-words"]).await;
    tokio::task::block_in_place(|| {
        let looked = stage.relight(&["doctor", "--wire", "--record", "wire.json"]);
        assert_eq!(looked.code, Some(1), "{looked:?}");
        let lines: Vec<&str> = looked.out.lines().take(2).collect();
        assert!(
            lines[0].starts_with("different     machine-words ") && lines[0].ends_with("; here: Online"),
            "{}",
            looked.out
        );
        assert!(
            lines[1].starts_with("different     vm-view ") && lines[1].ends_with("; here: Power/on"),
            "{}",
            looked.out
        );
        assert!(looked.out.contains("2 different, "), "{}", looked.out);
        let text = std::fs::read_to_string(stage.sealed.work().join("wire.json")).expect("the recording");
        let recording: Recording = serde_json::from_str(&text).expect("a recording");
        assert!(recording.exchanges.len() > 50, "{}", recording.exchanges.len());
        let lab = stage.lab.descriptor();
        for own in ["jump-01", "hq-node1", "rg-edge", &lab.subscription, &lab.tenant] {
            assert!(!looked.out.contains(own) && !text.contains(own), "{own}");
        }

        let json = stage.relight(&["doctor", "--wire", "--json", "db-01"]);
        let told: serde_json::Value = serde_json::from_str(&json.out).expect("JSON");
        assert_eq!((json.code, &told["format"]), (Some(1), &serde_json::json!(1)), "{json:?}");
        let fact =
            |id: &str| told["facts"].as_array().unwrap().iter().find(|it| it["id"] == id).unwrap().clone();
        assert_eq!(fact("machine-words")["standing"], "different");
        assert_eq!(fact("machine-words")["seen"], "Online");
        assert_eq!(fact("vm-view")["standing"], "not_reachable");
        assert!(fact("port-eight-hours")["shown_by"].is_string(), "{told}");

        for wrong in [&["doctor", "--wire", "--port", "22", "db-01"][..], &["doctor", "--group", "x"]] {
            assert_eq!(stage.relight(wrong).code, Some(2), "{wrong:?}");
        }
        assert_eq!(stage.relight(&["doctor", "--wire", "moon-01"]).code, Some(1));
    });
}
