//! The codes on which a script can decide: what an operation's docs name is what it gives, and nothing else.

use std::collections::BTreeSet;

use relight_engine::event::RunEnd;
use relight_engine::{Driven, ErrorCode};
use relight_lab::GUEST_PASSWORD;
use relight_stdlib::ssh::{COMMAND_FAILED, HOST_KEY_CHANGED, HOST_KEY_UNKNOWN};
use serde_json::{Value, json};

use crate::examples::every_effect;
use crate::support::world::{World, runbook, shipped};

/// A call that goes wrong in a way that a script can decide on.
struct Case {
    operation: &'static str,
    code: ErrorCode,
    /// The faults of the lab.
    faults: &'static [&'static str],
    script: &'static str,
}

const fn case(
    operation: &'static str,
    code: ErrorCode,
    faults: &'static [&'static str],
    script: &'static str,
) -> Case {
    Case { operation, code, faults, script }
}

const NOT_FOUND: ErrorCode = ErrorCode::NOT_FOUND;
const BUSY: ErrorCode = ErrorCode::BUSY;
const OFF: ErrorCode = ErrorCode::OFF;
const OUT_OF_TOUCH: ErrorCode = ErrorCode::OUT_OF_TOUCH;

/// Turned away so often that no attempt is left.
const THROTTLED: &[&str] = &["throttled=9"];
const WRITES_THROTTLED: &[&str] = &["throttled=9,writes"];

/// Every code of every operation that declares some. `RETRY` stands for options that let the script hear of it.
const CASES: &[Case] = &[
    case("local::vm", NOT_FOUND, &[], r#"local::vm("nope")"#),
    case("local::vm", BUSY, THROTTLED, r#"local::vm("web-01", RETRY)"#),
    case("local::vms", NOT_FOUND, &[], r#"local::vms(#{ group: "nope" })"#),
    case("local::vms", BUSY, THROTTLED, "local::vms(RETRY)"),
    case("local::cluster", NOT_FOUND, &[], r#"local::cluster("nope")"#),
    case("local::cluster", BUSY, THROTTLED, r#"local::cluster("hq", RETRY)"#),
    case("local::clusters", BUSY, THROTTLED, "local::clusters(RETRY)"),
    case("local::nodes", NOT_FOUND, &[], r#"local::nodes("nope")"#),
    case("local::nodes", BUSY, THROTTLED, r#"local::nodes("hq", RETRY)"#),
    case("local::start", NOT_FOUND, &[], r#"local::start("nope")"#),
    case("local::start", BUSY, WRITES_THROTTLED, r#"local::start("file-01", RETRY)"#),
    case("local::start", OUT_OF_TOUCH, &["agent-offline"], r#"local::start("file-01")"#),
    case("local::stop", NOT_FOUND, &[], r#"local::stop("nope")"#),
    case("local::stop", BUSY, WRITES_THROTTLED, r#"local::stop("db-01", RETRY)"#),
    case("local::stop", OUT_OF_TOUCH, &[], r#"local::stop("pos-01")"#),
    case("local::power_off", NOT_FOUND, &[], r#"local::power_off("nope")"#),
    case("local::power_off", BUSY, WRITES_THROTTLED, r#"local::power_off("db-01", RETRY)"#),
    case("local::power_off", OUT_OF_TOUCH, &[], r#"local::power_off("pos-01")"#),
    case("local::restart", NOT_FOUND, &[], r#"local::restart("nope")"#),
    case("local::restart", BUSY, WRITES_THROTTLED, r#"local::restart("db-01", RETRY)"#),
    case("local::restart", OFF, &[], r#"local::restart("file-01")"#),
    case("local::restart", OUT_OF_TOUCH, &[], r#"local::restart("pos-01")"#),
    case("machine::diagnose", NOT_FOUND, &[], r#"machine::diagnose("nope", #{ group: "" })"#),
    case("vmconnect::enable", NOT_FOUND, &[], r#"vmconnect::enable("nope")"#),
    case("vmconnect::enable", BUSY, THROTTLED, r#"vmconnect::enable("web-01", RETRY)"#),
    case("vmconnect::enable", OFF, &[], r#"vmconnect::enable("file-01")"#),
    case("vmconnect::enable", OUT_OF_TOUCH, &["agent-offline=hq-node2"], r#"vmconnect::enable("web-01")"#),
    case("vmconnect::disable", NOT_FOUND, &[], r#"vmconnect::disable("nope")"#),
    case("vmconnect::disable", BUSY, THROTTLED, r#"vmconnect::disable("web-01", RETRY)"#),
    case("vmconnect::status", NOT_FOUND, &[], r#"vmconnect::status("nope")"#),
    case("vmconnect::status", BUSY, THROTTLED, r#"vmconnect::status("web-01", RETRY)"#),
    case("compute::vm", NOT_FOUND, &[], r#"compute::vm("nope")"#),
    case("compute::vm", BUSY, THROTTLED, r#"compute::vm("jump-01", RETRY)"#),
    case("compute::vms", BUSY, THROTTLED, "compute::vms(RETRY)"),
    case("compute::addresses", NOT_FOUND, &[], r#"compute::addresses("nope")"#),
    case("compute::addresses", BUSY, THROTTLED, r#"compute::addresses("jump-01", RETRY)"#),
    case("compute::start", NOT_FOUND, &[], r#"compute::start("nope")"#),
    case("compute::start", BUSY, THROTTLED, r#"compute::start("jump-01", RETRY)"#),
    case("compute::restart", NOT_FOUND, &[], r#"compute::restart("nope")"#),
    case("compute::restart", BUSY, THROTTLED, r#"compute::restart("jump-01", RETRY)"#),
    case("compute::redeploy", NOT_FOUND, &[], r#"compute::redeploy("nope")"#),
    case("compute::redeploy", BUSY, THROTTLED, r#"compute::redeploy("jump-01", RETRY)"#),
    case("compute::power_off", NOT_FOUND, &[], r#"compute::power_off("nope")"#),
    case("compute::power_off", BUSY, THROTTLED, r#"compute::power_off("jump-01", RETRY)"#),
    case("compute::deallocate", NOT_FOUND, &[], r#"compute::deallocate("nope")"#),
    case("compute::deallocate", BUSY, THROTTLED, r#"compute::deallocate("jump-01", RETRY)"#),
    case("compute::restart", OFF, &[], r#"compute::restart("batch-01", CLOUD)"#),
    case("compute::redeploy", OFF, &[], r#"compute::redeploy("batch-01", CLOUD)"#),
    case("compute::invoke_command", NOT_FOUND, &[], r#"compute::invoke_command("nope", "true")"#),
    case("compute::invoke_command", BUSY, THROTTLED, r#"compute::invoke_command("jump-01", "true", RETRY)"#),
    case("compute::invoke_command", OFF, &[], r#"compute::invoke_command("batch-01", "true", CLOUD)"#),
    case(
        "compute::invoke_command",
        COMMAND_FAILED,
        &[],
        r#"compute::invoke_command("jump-01", "exit 3", CLOUD)"#,
    ),
    case(
        "compute::boot_diagnostics",
        NOT_FOUND,
        &["no-diagnostics"],
        r#"compute::boot_diagnostics("jump-01", CLOUD)"#,
    ),
    case("compute::boot_diagnostics", BUSY, THROTTLED, r#"compute::boot_diagnostics("jump-01", RETRY)"#),
    case(
        "compute::extension_status",
        NOT_FOUND,
        &[],
        r#"compute::extension_status("jump-01", "nope", CLOUD)"#,
    ),
    case(
        "compute::extension_status",
        BUSY,
        THROTTLED,
        r#"compute::extension_status("jump-01", "nope", RETRY)"#,
    ),
    case("compute::extension_install", NOT_FOUND, &[], r#"compute::extension_install("nope", "P", "T")"#),
    case(
        "compute::extension_install",
        BUSY,
        THROTTLED,
        r#"compute::extension_install("jump-01", "Microsoft.OSTCExtensions", "VMAccessForLinux", RETRY)"#,
    ),
    case(
        "compute::extension_install",
        OFF,
        &[],
        r#"compute::extension_install("batch-01", "Microsoft.OSTCExtensions", "VMAccessForLinux", CLOUD)"#,
    ),
    case(
        "compute::extension_install",
        OUT_OF_TOUCH,
        &["agent-offline=jump-01"],
        r#"compute::extension_install("jump-01", "Microsoft.OSTCExtensions", "VMAccessForLinux", CLOUD)"#,
    ),
    case("compute::identity_assign", NOT_FOUND, &[], r#"compute::identity_assign("nope")"#),
    case("compute::identity_assign", BUSY, THROTTLED, r#"compute::identity_assign("api-01", RETRY)"#),
    case("compute::extension_remove", NOT_FOUND, &[], r#"compute::extension_remove("nope", "T")"#),
    case("compute::extension_remove", BUSY, THROTTLED, r#"compute::extension_remove("jump-01", "T", RETRY)"#),
    case("compute::run_command", NOT_FOUND, &[], r#"compute::run_command("nope", "true")"#),
    case("compute::run_command", BUSY, THROTTLED, r#"compute::run_command("jump-01", "true", RETRY)"#),
    case("compute::run_command", OFF, &[], r#"compute::run_command("batch-01", "true", CLOUD)"#),
    case(
        "compute::run_command",
        OUT_OF_TOUCH,
        &["agent-offline=jump-01"],
        r#"compute::run_command("jump-01", "true", CLOUD)"#,
    ),
    case(
        "compute::run_command",
        COMMAND_FAILED,
        &["script-fails"],
        r#"compute::run_command("jump-01", "true", CLOUD)"#,
    ),
    case("network::port_check", NOT_FOUND, &[], r#"network::port_check("nope")"#),
    case("network::port_check", BUSY, THROTTLED, r#"network::port_check("jump-01", RETRY)"#),
    case("network::open_port", NOT_FOUND, &[], r#"network::open_port("nope", #{ source: "203.0.113.7" })"#),
    case(
        "network::open_port",
        BUSY,
        THROTTLED,
        r#"network::open_port("api-01", RETRY + #{ source: "203.0.113.7" })"#,
    ),
    case(
        "network::close_port",
        BUSY,
        THROTTLED,
        r#"network::close_port("api-01", RETRY + #{ rules: [GROUP + "/providers/Microsoft.Network/networkSecurityGroups/nsg/securityRules/relight-1"] })"#,
    ),
    case("machine::find", NOT_FOUND, &[], r#"machine::find("nope")"#),
    case("machine::find", BUSY, THROTTLED, r#"machine::find("jump-01", RETRY)"#),
    case("arc::machine", NOT_FOUND, &[], r#"arc::machine("nope")"#),
    case("arc::machine", BUSY, THROTTLED, r#"arc::machine("db-01", RETRY)"#),
    case("arc::extension_status", NOT_FOUND, &[], r#"arc::extension_status("db-01", "nope")"#),
    case("arc::extension_status", BUSY, THROTTLED, r#"arc::extension_status("db-01", "nope", RETRY)"#),
    case("arc::extension_install", NOT_FOUND, &[], r#"arc::extension_install("nope", "P", "T")"#),
    case(
        "arc::extension_install",
        BUSY,
        WRITES_THROTTLED,
        r#"arc::extension_install("db-01", "P", "T", RETRY)"#,
    ),
    case("arc::extension_install", OUT_OF_TOUCH, &[], r#"arc::extension_install("web-01", "P", "T")"#),
    case("arc::extension_remove", NOT_FOUND, &[], r#"arc::extension_remove("nope", "T")"#),
    case(
        "arc::extension_remove",
        BUSY,
        WRITES_THROTTLED,
        r#"arc::extension_remove("db-01", "AzureMonitorWindowsAgent", RETRY)"#,
    ),
    case("arc::run_command", NOT_FOUND, &[], r#"arc::run_command("nope", "true")"#),
    case("arc::run_command", BUSY, THROTTLED, r#"arc::run_command("db-01", "true", RETRY)"#),
    case("arc::run_command", OUT_OF_TOUCH, &[], r#"arc::run_command("web-01", "true")"#),
    case("arc::run_command", COMMAND_FAILED, &[], r#"THE_APP arc::run_command(app, "echo no >&2; exit 3")"#),
    case("arc::endpoint_create", NOT_FOUND, &[], r#"arc::endpoint_create("nope")"#),
    case("arc::endpoint_create", BUSY, THROTTLED, r#"arc::endpoint_create("db-01", RETRY)"#),
    case(
        "arc::service_configure",
        NOT_FOUND,
        &[],
        r#"arm::register("Microsoft.HybridConnectivity"); arc::service_configure("db-01")"#,
    ),
    case("arc::service_configure", BUSY, THROTTLED, r#"arc::service_configure("db-01", RETRY)"#),
    case("arc::service_remove", NOT_FOUND, &[], r#"arc::service_remove("nope")"#),
    case("arc::service_remove", BUSY, THROTTLED, r#"arc::service_remove("db-01", RETRY)"#),
    case("arm::register", NOT_FOUND, &[], r#"arm::register("Microsoft.Nowhere")"#),
    case("arm::register", BUSY, WRITES_THROTTLED, r#"arm::register("Microsoft.HybridConnectivity", RETRY)"#),
    case("arm::get", NOT_FOUND, &[], r#"arm::get(GROUP + "x", "2022-09-01")"#),
    case("arm::get", BUSY, THROTTLED, r#"arm::get(GROUP, "2022-09-01", RETRY)"#),
    case(
        "arm::put",
        NOT_FOUND,
        &[],
        r#"arm::put(JOBS_OF_NOBODY + "/j-1", "2026-10-15-preview", #{ properties: #{} })"#,
    ),
    case("arm::put", BUSY, THROTTLED, r#"arm::put(GROUP, "2022-09-01", #{ location: "eastus" }, RETRY)"#),
    case("arm::patch", NOT_FOUND, &[], r#"arm::patch(GROUP + "x", "2022-09-01", #{ tags: #{} })"#),
    case("arm::patch", BUSY, THROTTLED, r#"arm::patch(GROUP, "2022-09-01", #{ tags: #{} }, RETRY)"#),
    case("arm::post", NOT_FOUND, &[], r#"arm::post(VM_OF_NOBODY + "/start", "2026-04-01-preview")"#),
    case("arm::post", BUSY, THROTTLED, r#"arm::post(VM_OF_NOBODY + "/start", "2026-04-01-preview", RETRY)"#),
    case("arm::delete", BUSY, THROTTLED, r#"arm::delete(GROUP, "2022-09-01", RETRY)"#),
    case(
        "net::wait_for_port",
        ErrorCode::TIMED_OUT,
        &[],
        r#"net::wait_for_port("127.0.0.1", 1, #{ wait: "10s" })"#,
    ),
    case("net::first_reachable", ErrorCode::TIMED_OUT, &[], r#"net::first_reachable(["127.0.0.1"], 1)"#),
    case("ssh::connect", NOT_FOUND, &[], r#"ssh::connect("nope", "azureuser")"#),
    case("ssh::connect", BUSY, THROTTLED, r#"ssh::connect("db-01", "azureuser", RETRY)"#),
    case("ssh::connect", OFF, &[], r#"let db = "db-01"; LET_IN(db) ssh::connect(db, "azureuser")"#),
    case(
        "ssh::connect",
        OUT_OF_TOUCH,
        &["agent-offline=app-01"],
        r#"THE_APP LET_IN(app) ssh::connect(app, "azureuser")"#,
    ),
    case("ssh::connect", HOST_KEY_UNKNOWN, &[], r#"THE_APP LET_IN(app) ssh::connect(app, "azureuser")"#),
    case(
        "ssh::connect",
        HOST_KEY_CHANGED,
        &[],
        r#"THE_APP LET_IN(app) ssh::trust(app, [OTHER_KEY]); ssh::connect(app, "azureuser")"#,
    ),
    case("ssh::connect_entra", NOT_FOUND, &[], r#"ssh::connect_entra("nope")"#),
    case("ssh::connect_entra", BUSY, THROTTLED, r#"ssh::connect_entra("db-01", RETRY)"#),
    case(
        "ssh::connect_entra",
        OFF,
        &[],
        r#"THE_APP LET_IN(app) arc::service_configure(app, #{ port: 2222 }); ssh::connect_entra(app, #{ port: 2222 })"#,
    ),
    case(
        "ssh::connect_entra",
        OUT_OF_TOUCH,
        &["agent-offline=app-01"],
        r#"THE_APP LET_IN(app) ssh::connect_entra(app)"#,
    ),
    case("ssh::connect_entra", HOST_KEY_UNKNOWN, &[], r#"THE_APP LET_IN(app) ssh::connect_entra(app)"#),
    case(
        "ssh::connect_entra",
        HOST_KEY_CHANGED,
        &[],
        r#"THE_APP LET_IN(app) ssh::trust(app, [OTHER_KEY]); ssh::connect_entra(app)"#,
    ),
    case("ssh::host_key", NOT_FOUND, &[], r#"ssh::host_key("nope")"#),
    case("ssh::host_key", BUSY, THROTTLED, r#"ssh::host_key("db-01", RETRY)"#),
    case("ssh::host_key", OFF, &[], r#"let db = "db-01"; LET_IN(db) ssh::host_key(db)"#),
    case(
        "ssh::host_key",
        OUT_OF_TOUCH,
        &["agent-offline=app-01"],
        r#"THE_APP LET_IN(app) ssh::host_key(app)"#,
    ),
    case("ssh::trust", NOT_FOUND, &[], r#"ssh::trust("nope", [OTHER_KEY])"#),
    case("ssh::trust", BUSY, THROTTLED, r#"ssh::trust("db-01", [OTHER_KEY], RETRY)"#),
    case("ssh::exec", COMMAND_FAILED, &[], r#"SESSION ssh::exec(session, "exit 3")"#),
    case("ssh::upload", NOT_FOUND, &[], r#"SESSION ssh::upload(session, "nope", "/tmp/nope")"#),
    case("ssh::download", NOT_FOUND, &[], r#"SESSION ssh::download(session, "/nope", "nope")"#),
    case("ssh::forward", OFF, &[], r#"SESSION ssh::forward(session, 1)"#),
    case("ssh::config", NOT_FOUND, &[], r#"ssh::config("x", "nope", "me")"#),
    case("ssh::config", BUSY, THROTTLED, r#"ssh::config("x", "db-01", "me", RETRY)"#),
    case("ssh::public_key", NOT_FOUND, &[], r#"ssh::public_key("nope")"#),
    case("ssh::key_pair", BUSY, &[], r#"ssh::key_pair("id"); ssh::key_pair("id")"#),
    case("file::checksums", NOT_FOUND, &[], r#"file::checksums("nope")"#),
    case("rdp::read", NOT_FOUND, &[], r#"rdp::read("nope.rdp")"#),
    case("rdp::set_address", NOT_FOUND, &[], r#"rdp::set_address("nope.rdp", "192.0.2.1")"#),
    case("run", ErrorCode::FAILED, &[], r#"run("child")"#),
    case("all", ErrorCode::FAILED, &[], r#"all([1], |n| fail("no"))"#),
];

/// Lets SSH in on a machine.
const LET_IN: &str = r#"arm::register("Microsoft.HybridConnectivity"); arc::endpoint_create(MACHINE); arc::service_configure(MACHINE);"#;

/// A host key of nobody.
const OTHER_KEY: &str =
    r#""ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti""#;

/// Signs in on a machine.
const SESSION: &str = r#"THE_APP LET_IN(app) ssh::trust(app, [ssh::host_key(app).key]);
    let session = ssh::connect(app, "azureuser", #{ password: secret("env:APP_PASSWORD") });"#;

/// What a script that catches sees.
async fn caught(case: &Case) -> Value {
    let world = World::with(case.faults).await.secret("env:APP_PASSWORD", GUEST_PASSWORD);
    let group = format!("/subscriptions/{}/resourceGroups/rg-edge", world.lab.descriptor().subscription);
    let vm = format!(
        "{group}/providers/Microsoft.HybridCompute/machines/nope/providers/Microsoft.AzureStackHCI/virtualMachineInstances/default"
    );
    let jobs = format!("{group}/providers/Microsoft.AzureStackHCI/clusters/nope/jobs");
    let script = case
        .script
        .replace("SESSION", SESSION)
        .replace("THE_APP", r#"let app = arc::machine("app-01", #{ group: "rg-apps" });"#)
        .replace("OTHER_KEY", OTHER_KEY)
        .replace("LET_IN(app)", &LET_IN.replace("MACHINE", "app"))
        .replace("LET_IN(db)", &LET_IN.replace("MACHINE", "db"))
        .replace("CLOUD", r#"#{ group: "rg-cloud" }"#)
        .replace(
            "OPEN",
            r#"let port = network::open_port("api-01", #{ group: "rg-cloud", source: "203.0.113.7" });"#,
        )
        .replace("RETRY", r#"#{ retry: #{ attempts: 1, then: "throw" } }"#)
        .replace("VM_OF_NOBODY", &format!("{vm:?}"))
        .replace("JOBS_OF_NOBODY", &format!("{jobs:?}"))
        .replace("GROUP", &format!("{group:?}"));
    let script = format!("let seen = (); try {{ {script}; }} catch (e) {{ seen = e; }} seen");
    let library = shipped().ship("child", &runbook(&[], r#"fail("on purpose")"#));
    let engine = world.builder().library(library).build().expect("an engine");
    let run = engine.prepare(&world.script(&every_effect(), &script)).await.expect("a run");
    match engine.run(&run).await.expect("a run is driven") {
        Driven::Ended(RunEnd::Succeeded { value }) => value,
        other => json!(format!("{other:?}")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_docs_of_an_operation_name_is_what_it_gives() {
    let mut offenders = Vec::new();
    for case in CASES {
        let seen = caught(case).await;
        if seen["code"] != case.code.as_str() {
            offenders.push(format!("{}: {} gives {seen}", case.operation, case.script));
        }
    }
    let given: BTreeSet<(&str, &str)> =
        CASES.iter().map(|case| (case.operation, case.code.as_str())).collect();
    for operation in World::new().await.engine().operations() {
        for code in operation.codes {
            if !ErrorCode::ALL.iter().chain(&relight_stdlib::CODES).any(|(known, _)| known == code) {
                offenders.push(format!("{}: nobody knows the code `{code}`", operation.name));
            }
            if !given.contains(&(operation.name, code.as_str())) {
                offenders.push(format!("{}: nothing shows that it gives `{code}`", operation.name));
            }
        }
        let own: Vec<&str> = operation.codes.iter().map(ErrorCode::as_str).collect();
        let more = given.iter().filter(|(name, code)| *name == operation.name && !own.contains(code));
        offenders.extend(more.map(|(name, code)| format!("{name}: its docs do not name `{code}`")));
    }
    println!("codes: {} calls that go wrong, {} codes of operations", CASES.len(), given.len());
    assert!(offenders.is_empty(), "{} offenders:\n{}", offenders.len(), offenders.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn azures_own_code_and_status_stand_beside_ours() {
    let get = case("arm::get", NOT_FOUND, &[], r#"arm::get(GROUP + "x", "2022-09-01")"#);
    let seen = caught(&get).await;
    assert_eq!(
        [&seen["kind"], &seen["code"], &seen["service_code"], &seen["status"]],
        [&json!("rejected"), &json!("NotFound"), &json!("ResourceGroupNotFound"), &json!(404)]
    );
}

/// An author's own words reach whoever catches them, also in a parent and after being thrown on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_keeps_its_code_on_its_way() {
    for (script, code) in [
        (r#"fail("on purpose")"#, json!("Failed")),
        (r#"try { local::vm("nope") } catch (e) { throw e; }"#, json!("NotFound")),
        (r#"try { run("child") } catch (e) { throw e; }"#, json!("Failed")),
        (r#"throw #{ code: "TooOld", message: "too old" }"#, json!("TooOld")),
    ] {
        let seen = caught(&case("", ErrorCode::FAILED, &[], script)).await;
        assert_eq!(seen["code"], code, "{script}: {seen}");
    }
    let world = World::new().await;
    for (script, code) in [
        (r#"local::vm("nope")"#, "NotFound"),
        (r#"throw "enough""#, "Failed"),
        (r#"throw #{ code: "TooOld", message: "too old" }"#, "TooOld"),
    ] {
        let ran = world.run_script(&["azure:read"], script).await;
        assert_eq!(ran.failure().code.as_ref().map(ErrorCode::as_str), Some(code), "{script}");
    }
}
