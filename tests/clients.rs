//! Other people's programs against the lab: what we write and serve must be good for more than ourselves.
//!
//! FreeRDP opens the RDP file that the real command wrote, and the lab says whether a Hyper-V host would have shown
//! the VM's console. The unmodified Azure CLI signs in at the lab and works there, and our command borrows its sign-in.
//!
//! `./test` installs the programs. A test whose program is missing says so and is skipped, unless
//! RELIGHT_REQUIRE_CLIENTS is set.

#[cfg(unix)]
mod ansible;
#[cfg(target_os = "linux")]
mod api;
#[cfg(target_os = "linux")]
mod azure_ports;
mod azure_vms;
mod desktop;
#[cfg(target_os = "linux")]
mod entra;
#[cfg(unix)]
mod expiry;
#[cfg(unix)]
mod files;
#[cfg(unix)]
mod guest;
#[cfg(unix)]
mod keys;
mod openssh;
mod sdk;
mod session;
mod shell;
mod traces;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use relight_engine::clock::{Clock, ScaledClock};
use relight_lab::{ConsoleVisit, Descriptor, Lab, LabConfig, NextBytes};
use serde_json::{Value, json};

use crate::support::sealed::Sealed;

/// How long a program may take for what it is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long to wait between two looks.
const LOOK: Duration = Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn freerdp_reaches_the_console_that_the_rdp_file_names() {
    let Some(freerdp) = program("FreeRDP", &["xfreerdp", "xfreerdp3"]) else {
        return;
    };
    let Some(xvfb) = program("Xvfb", &["Xvfb"]) else {
        return;
    };
    let site = Site::start(240).await;
    let screen = Screen::start(&xvfb);
    let open = |file: &Path| screen.open(&freerdp, file, &site.sealed.path("home"));

    for vm in ["web-01", "db-01"] {
        let file = site.recover(vm);
        let visit = site.visit_of(|| open(&file)).await;
        let text = fs::read_to_string(&file).unwrap();
        assert!(visit.valid, "{vm}: {visit:?}");
        assert!(visit.vm.is_some_and(|id| id.ends_with(&format!("/machines/{vm}"))));
        assert_eq!(visit.next, NextBytes::TlsClientHello);
        assert_eq!(visit.blob.as_deref(), Some(line(&text, "pcb:s:")));
        assert_eq!(visit.address.to_string(), address(&text));
    }

    // The lab would notice a wrong file: that of a VM that is nowhere, and that of a VM on another host.
    let (web, db) = (site.text("web-01"), site.text("db-01"));
    let nobody = web.replace(line(&web, "pcb:s:"), "00000000-0000-4000-8000-000000000000;EnhancedMode=0");
    let astray = web.replace(line(&web, "full address:s:"), line(&db, "full address:s:"));
    for (name, text, has_vm) in [("nobody", nobody, false), ("astray", astray, true)] {
        let file = site.sealed.write(&format!("work/{name}.rdp"), &text);
        let visit = site.visit_of(|| open(&file)).await;
        assert!(!visit.valid && visit.problem.is_some(), "{name}: {visit:?}");
        assert_eq!(visit.vm.is_some(), has_vm, "{name}: {visit:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_azure_cli_works_in_the_lab() {
    let Some(az) = azure_cli() else { return };
    let site = Site::start(20).await;
    let about = site.lab.descriptor();
    let az = Az::new(&az, &site);
    az.sign_in(&about);

    let url = &about.url;
    let subscriptions = az.get(&format!("{url}/subscriptions?api-version=2022-12-01"));
    assert_eq!(subscriptions["value"][0]["subscriptionId"], about.subscription.as_str());
    let groups = az.json(&["group", "list"]);
    assert_eq!(names(&groups), ["rg-apps", "rg-cloud", "rg-edge"]);
    let everything = names(&az.json(&["resource", "list"]));
    for name in ["web-01", "app-01", "hq", "branch", "jump-01", "shut-nsg"] {
        assert!(everything.iter().any(|n| n == name), "{name} is missing in {everything:?}");
    }
    let edge = names(&az.json(&["resource", "list", "--resource-group", "rg-edge"]));
    assert!(edge.contains(&"hq".to_owned()) && !edge.contains(&"app-01".to_owned()), "{edge:?}");

    let scope = format!("{url}/subscriptions/{}/resourceGroups/rg-edge/providers", about.subscription);
    let vm = az.get(&format!(
        "{scope}/Microsoft.HybridCompute/machines/web-01/providers/Microsoft.AzureStackHCI\
         /virtualMachineInstances/default?api-version=2026-04-01-preview"
    ));
    let node = vm["properties"]["hostNodeName"].as_str().unwrap();
    let job =
        format!("{scope}/Microsoft.AzureStackHCI/clusters/hq/jobs/by-hand?api-version=2026-10-15-preview");
    let body = json!({"properties": {"jobType": "VmConnectProvision", "deploymentMode": "Deploy",
        "vmConnectProvisionJobDetails": [{"vmName": "web-01", "nodeName": node}]}});
    az.json(&["rest", "--method", "put", "--url", &job, "--body", &body.to_string()]);
    let deadline = Instant::now() + PATIENCE;
    loop {
        let state = az.get(&job)["properties"]["provisioningState"].clone();
        if state == "Succeeded" {
            break;
        }
        assert!(Instant::now() < deadline, "the job is still {state}");
    }
    let ports = site.lab.snapshot();
    assert!(crate::support::world::open_ports(&ports).contains(&node.to_owned()), "{ports}");
    site.is_content();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relight_borrows_the_sign_in_of_the_azure_cli() {
    let Some(az) = azure_cli() else { return };
    let site = Site::start(20).await;
    let about = site.lab.descriptor();
    let az = Az::new(&az, &site);
    az.sign_in(&about);

    let config = site
        .sealed
        .write("relight.toml", &format!("[cloud]\narm = {:?}\nca_bundle = {:?}\n", about.url, az.authority));
    let mut relight = site.sealed.relight(["run", "site-report", "--config"]).args([&config]);
    for (name, value) in az.environment() {
        relight = relight.env(name, value);
    }
    let report: Value = serde_json::from_str(&relight.run().succeeds()).unwrap();
    assert_eq!(report["instances"], 2);
    assert_eq!(report["vms"], 6);
    site.is_content();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_azure_cli_stays_signed_in_however_fast_the_labs_time_passes() {
    let Some(az) = azure_cli() else { return };
    // An hour of the lab's, as long as a token says it lasts, in every second.
    let site = Site::start(3600).await;
    let az = Az::new(&az, &site);
    az.sign_in(&site.lab.descriptor());
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        assert_eq!(names(&az.json(&["group", "list"])), ["rg-apps", "rg-cloud", "rg-edge"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_people_do_with_the_azure_cli_works_in_the_lab() {
    let Some(az) = azure_cli() else { return };
    let site = Site::start(20).await;
    let about = site.lab.descriptor();
    let az = Az::new(&az, &site);
    az.sign_in(&about);

    assert!(names(&az.json(&["account", "list-locations"])).contains(&"eastus".to_owned()));
    assert_eq!(az.json(&["group", "exists", "--name", "rg-edge"]), true);
    assert_eq!(az.json(&["group", "exists", "--name", "none"]), false);
    let below = format!("/subscriptions/{}/resourceGroups/rg-edge/providers", about.subscription);
    let machine = format!("{below}/Microsoft.HybridCompute/machines/web-01");
    let tagged = az.json(&["resource", "tag", "--ids", &machine, "--tags", "owner=edge"]);
    assert_eq!(tagged["tags"], json!({"owner": "edge"}));
    let more = az.json(&["resource", "tag", "--is-incremental", "--ids", &machine, "--tags", "watched=yes"]);
    assert_eq!(more["tags"], json!({"owner": "edge", "watched": "yes"}));
    let cluster = format!("{below}/Microsoft.AzureStackHCI/clusters/hq");
    let updated = az.json(&["resource", "update", "--ids", &cluster, "--set", "tags.owner=edge"]);
    assert_eq!(updated["tags"], json!({"owner": "edge"}));
    assert_eq!(az.json(&["resource", "show", "--ids", &cluster])["tags"], updated["tags"]);
    let page = az.get(&format!(
        "{}{}?api-version=2022-09-01&$top=2",
        about.url,
        format_args!("/subscriptions/{}/resources", about.subscription)
    ));
    assert_eq!(page["value"].as_array().map(Vec::len), Some(2));
    site.is_content();
}

#[test]
fn what_relight_lab_says_about_the_azure_cli_is_true() {
    let Some(program) = azure_cli() else { return };
    let sealed = Sealed::new();
    let mut lab = sealed.relight(["lab", "--dir", "lab", "--speed", "20"]).spawn();
    let said = [
        "export REQUESTS_CA_BUNDLE",
        "export AZURE_CORE_INSTANCE_DISCOVERY",
        "az cloud register",
        "az cloud set",
        "az login",
        "az rest",
    ];
    let script = said.map(|start| lab.wait_for(start)).join("\n");
    let az = Az { program, home: sealed.path("azure"), authority: sealed.path("none") };
    let mut shell = Command::new("bash");
    let exported = ["REQUESTS_CA_BUNDLE", "AZURE_CONFIG_DIR", "AZURE_CORE_INSTANCE_DISCOVERY"];
    let environment = az.environment().into_iter().filter(|(name, _)| !exported.contains(name));
    shell.args(["-euc", &script]).env_clear().envs(environment).env("HOME", &az.home).stdin(Stdio::null());
    let output = shell.output().unwrap();
    lab.signal("INT");
    lab.end().succeeds();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"subscriptionId\""));
}

/// A lab in this process, with a card by which the real command finds it.
struct Site {
    lab: Lab,
    sealed: Sealed,
    card: PathBuf,
}

impl Site {
    /// Starts a lab whose time passes so many times faster.
    async fn start(speed: u32) -> Self {
        let sealed = Sealed::new();
        let now = Timestamp::now();
        let clock = ScaledClock { origin: now, began: now, speed };
        let config = LabConfig { speed, ..LabConfig::new(Arc::new(move || clock.now())) };
        let lab = Lab::start(config).await.unwrap();
        let card = json!({
            "descriptor": lab.descriptor(),
            "clock": {"origin": now, "began": now, "speed": speed, "until": now},
            "serves": true,
        });
        let card = sealed.write("lab/lab.json", &card.to_string());
        Site { lab, sealed, card }
    }

    /// Opens the console of a VM with our own runbook, and returns the RDP file.
    fn recover(&self, vm: &str) -> PathBuf {
        let place = format!("--lab={}", self.card.display());
        self.sealed.relight(["run", "recover-unbootable-vm", &format!("vm={vm}"), &place]).run().succeeds();
        self.sealed.work().join(format!("{vm}.rdp"))
    }

    /// Returns the RDP file of a VM.
    fn text(&self, vm: &str) -> String {
        fs::read_to_string(self.sealed.work().join(format!("{vm}.rdp"))).unwrap()
    }

    /// Waits until somebody who says what it wants is at a console port. Bare probes say nothing.
    async fn visit_of(&self, start: impl FnOnce() -> Running) -> ConsoleVisit {
        let before = self.lab.consoles().len();
        let mut client = start();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut visits = self.lab.consoles().into_iter().skip(before);
            if let Some(visit) = visits.find(|visit| visit.next != NextBytes::Nothing) {
                return visit;
            }
            assert!(Instant::now() < deadline, "nobody came: {}", client.last_words());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Asserts that the lab has nothing to complain about.
    fn is_content(&self) {
        assert_eq!(self.lab.violations(), Vec::<String>::new());
    }
}

/// A program that ends with its value.
struct Running(Child);

impl Running {
    /// Ends the program and returns what it said.
    fn last_words(&mut self) -> String {
        let _ = self.0.kill();
        let stderr = self.0.stderr.take().map(BufReader::new);
        stderr
            .into_iter()
            .flat_map(|lines| lines.lines().map_while(Result::ok))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A screen that nobody sees.
struct Screen {
    display: String,
    _server: Running,
}

impl Screen {
    /// Starts one under a free number.
    fn start(xvfb: &Path) -> Self {
        let mut server = Command::new(xvfb)
            .args(["-displayfd", "1", "-screen", "0", "1024x768x24", "-nolisten", "tcp"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // It prints the number once it accepts connections.
        let mut number = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut number).unwrap();
        assert!(!number.is_empty(), "Xvfb found no display");
        Screen { display: format!(":{}", number.trim()), _server: Running(server) }
    }

    /// Opens an RDP file.
    fn open(&self, freerdp: &Path, file: &Path, home: &Path) -> Running {
        let child = Command::new(freerdp)
            .arg(file)
            .args(["/cert:ignore", "/u:admin", "/p:none"])
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", home)
            .env("DISPLAY", &self.display)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        Running(child.unwrap())
    }
}

/// The Azure CLI with a home of its own, which trusts the lab.
struct Az {
    program: PathBuf,
    home: PathBuf,
    /// The file with the certificate to trust.
    authority: PathBuf,
}

impl Az {
    fn new(program: &Path, site: &Site) -> Self {
        Az {
            program: program.to_owned(),
            home: site.sealed.path("azure"),
            authority: site.sealed.write("ca.pem", &site.lab.descriptor().ca_pem),
        }
    }

    /// Everything that makes it use the lab and nothing else.
    fn environment(&self) -> [(&'static str, String); 5] {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let programs = self.program.parent().map(text).unwrap_or_default();
        [
            ("PATH", format!("{programs}:/usr/bin:/bin")),
            ("AZURE_CONFIG_DIR", text(&self.home)),
            ("REQUESTS_CA_BUNDLE", text(&self.authority)),
            // Without this the public login host is asked about the lab.
            ("AZURE_CORE_INSTANCE_DISCOVERY", "false".to_owned()),
            ("AZURE_CORE_COLLECT_TELEMETRY", "0".to_owned()),
        ]
    }

    /// Makes the lab its cloud and signs in. Every other step asserts that the lab is meant, not Azure.
    fn sign_in(&self, about: &Descriptor) {
        self.json(&["cloud", "register", "--name", "lab", "--endpoint-resource-manager", &about.url]);
        let cloud = self.json(&["cloud", "show", "--name", "lab"]);
        let endpoint = |name: &str| {
            cloud["endpoints"][name].as_str().unwrap_or_default().trim_end_matches('/').to_owned()
        };
        assert_eq!(endpoint("resourceManager"), about.url);
        assert_eq!(endpoint("activeDirectory"), about.url);
        self.json(&["cloud", "set", "--name", "lab"]);
        let (tenant, user, secret) = (&about.tenant, &about.client_id, &about.client_secret);
        let accounts = self.json(&[
            "login",
            "--service-principal",
            "--tenant",
            tenant,
            "--username",
            user,
            "--password",
            secret,
        ]);
        assert_eq!(accounts[0]["id"], about.subscription.as_str());
        assert_eq!(accounts[0]["cloudName"], "lab");
    }

    fn get(&self, url: &str) -> Value {
        self.json(&["rest", "--method", "get", "--url", url])
    }

    /// Runs a command that must succeed, and returns what it printed.
    fn json(&self, arguments: &[&str]) -> Value {
        let output = Command::new(&self.program)
            .args(arguments)
            .args(["--output", "json"])
            .env_clear()
            .envs(self.environment())
            .env("HOME", &self.home)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "az {arguments:?}: {said}");
        match output.stdout.as_slice() {
            [] => Value::Null,
            text => serde_json::from_slice(text).unwrap(),
        }
    }
}

/// Returns the values of `name`, in order.
fn names(list: &Value) -> Vec<String> {
    let names = list.as_array().into_iter().flatten().filter_map(|item| item["name"].as_str());
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort();
    names
}

/// Returns what stands in an RDP file behind a key.
fn line<'a>(text: &'a str, key: &str) -> &'a str {
    let value = text.lines().find_map(|line| line.trim_end().strip_prefix(key));
    value.unwrap_or_else(|| panic!("no {key} in\n{text}"))
}

/// Returns the address and port of an RDP file.
fn address(text: &str) -> String {
    format!("{}:{}", line(text, "full address:s:"), line(text, "server port:i:"))
}

/// Returns the Azure CLI: the one in RELIGHT_AZ, the one that `./test` installed, or any.
fn azure_cli() -> Option<PathBuf> {
    let installed = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("azure-cli").join("bin/az");
    let chosen = std::env::var_os("RELIGHT_AZ").map(PathBuf::from);
    chosen.or(Some(installed)).filter(|path| path.is_file()).or_else(|| program("Azure CLI", &["az"]))
}

/// Returns a program of the Python packages that `./test` installed: Ansible, or Python with Azure's SDKs.
fn python(name: &str) -> Option<PathBuf> {
    let installed = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("python").join("bin").join(name);
    if !installed.is_file() {
        assert!(
            std::env::var_os("RELIGHT_REQUIRE_CLIENTS").is_none(),
            "{name} with its packages is required and not installed"
        );
        println!("skipped: {name} with its packages is not installed");
        return None;
    }
    Some(installed)
}

/// Returns a program by any of its names, or says that the test is skipped.
///
/// # Panics
/// When it is missing and RELIGHT_REQUIRE_CLIENTS is set.
fn program(what: &str, names: &[&str]) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let all =
        std::env::split_paths(&folders).flat_map(|folder| names.iter().map(move |name| folder.join(name)));
    let found = all.into_iter().find(|path| path.is_file());
    if found.is_none() {
        assert!(
            std::env::var_os("RELIGHT_REQUIRE_CLIENTS").is_none(),
            "{what} is required and not installed"
        );
        println!("skipped: {what} is not installed");
    }
    found
}
