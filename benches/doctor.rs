//! `relight doctor MACHINE` beside the same checks made with `az`, and how long a rescue takes until the console is open.
//!
//! Both look at the same virtual machine of one lab. `az` is the one in RELIGHT_AZ, or the one that `./test` installed; without one
//! only the other half is measured. The checks of `az` run one after the other, as a shell script has them. A rescue
//! is told in the lab's time, which passes 60 times faster there.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use common::{Table, Times, folder, is_quick, runtime, show, time};
use jiff::Timestamp;
use relight_engine::clock::{Clock, ScaledClock};
use relight_lab::{Lab, LabConfig};
use serde_json::json;

const SPEED: u32 = 60;
/// What `az` is asked for the checks of a virtual machine in Azure, but for its address and its SSH server: sign-in, the machine with its power and its
/// agent, rights, addresses, the rules before it, boot diagnostics.
const CHECKS: [&str; 7] = [
    "account get-access-token",
    "vm get-instance-view -g rg-cloud -n jump-01",
    "rest --method get --url URL/subscriptions/SUBSCRIPTION/resourceGroups/rg-cloud/providers/Microsoft.Compute/virtualMachines/jump-01/providers/Microsoft.Authorization/permissions?api-version=2022-04-01",
    "vm list-ip-addresses -g rg-cloud -n jump-01",
    "network nsg rule list -g rg-cloud --nsg-name subnet-nsg",
    "network nsg rule list -g rg-cloud --nsg-name open-nsg",
    "vm boot-diagnostics get-boot-log-uris -g rg-cloud -n jump-01",
];

fn main() {
    let runtime = runtime();
    let site = runtime.block_on(Site::start(1));
    let rounds = if is_quick() { 1 } else { 5 };
    let mut table = Table::new("Doctor and rescue");
    let own = site.measure(rounds, || {
        // Who is known by no host key yet is a verdict too.
        let code = site.relight(&["doctor", "jump-01", "--group", "rg-cloud"]).status().unwrap().code();
        assert!(matches!(code, Some(0 | 1)), "relight doctor ended with {code:?}");
    });
    table.note("relight doctor jump-01", own.to_string());
    match az() {
        None => table.note("the same with az", "n/a: there is no Azure CLI here"),
        Some(program) => {
            site.sign_in(&program);
            let theirs = site.measure(rounds, || {
                for check in CHECKS {
                    site.az(&program, check);
                }
            });
            table.note(format!("the same with az, {} commands", CHECKS.len()), theirs.to_string());
            let ratio = |own: Duration, theirs: Duration| theirs.as_secs_f64() / own.as_secs_f64();
            table.note(
                "  az beside relight",
                format!(
                    "{:.1} x the time, {:.1} x the processor",
                    ratio(own.times.median(), theirs.times.median()),
                    ratio(own.cpu, theirs.cpu)
                ),
            );
        }
    }
    for (what, runbook) in
        [("rescue, to the open console", "rescue"), ("recover-unbootable-vm", "recover-unbootable-vm")]
    {
        let site = runtime.block_on(Site::start(SPEED));
        let took = time(|| {
            assert!(site.relight(&["run", runbook, "vm=web-01", "--yes"]).status().unwrap().success())
        })
        .1;
        table.note(what, format!("{:.1} min of the lab's time", (took * SPEED).as_secs_f64() / 60.0));
    }
    table.print();
}

/// What something took.
struct Cost {
    times: Times,
    /// Of the processor, each time.
    cpu: Duration,
    /// Requests to Azure, each time.
    requests: usize,
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}, {} of processor, {} requests",
            show(self.times.median()),
            show(self.cpu),
            self.requests
        )
    }
}

/// Returns the processor time of the programs that were started and have ended.
fn spent() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |n: usize| fields.get(n).and_then(|it| it.parse::<u64>().ok()).unwrap_or_default();
    Duration::from_millis((ticks(13) + ticks(14)) * 10)
}

/// Returns the Azure CLI.
fn az() -> Option<PathBuf> {
    let installed = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("azure-cli").join("bin/az");
    std::env::var_os("RELIGHT_AZ").map(PathBuf::from).or(Some(installed)).filter(|path| path.is_file())
}

/// A lab in this process, with a card by which the command finds it.
struct Site {
    lab: Lab,
    place: tempfile::TempDir,
}

impl Site {
    async fn start(speed: u32) -> Self {
        let now = Timestamp::now();
        let clock = ScaledClock { origin: now, began: now, speed };
        let config = LabConfig { speed, ..LabConfig::new(Arc::new(move || clock.now())) };
        let lab = Lab::start(config).await.unwrap();
        let place = folder();
        let card = json!({
            "descriptor": lab.descriptor(),
            "clock": {"origin": now, "began": now, "speed": speed, "until": now},
            "serves": true,
        });
        std::fs::write(place.path().join("lab.json"), card.to_string()).unwrap();
        std::fs::write(place.path().join("ca.pem"), &lab.descriptor().ca_pem).unwrap();
        Site { lab, place }
    }

    /// Does something several times.
    fn measure(&self, rounds: u32, work: impl Fn()) -> Cost {
        // Once to fill caches.
        work();
        let (requests, cpu) = (self.lab.requests().len(), spent());
        let mut times = Times::default();
        for _ in 0..rounds {
            times.push(time(&work).1);
        }
        let requests = (self.lab.requests().len() - requests) / rounds as usize;
        Cost { times, cpu: (spent() - cpu) / rounds, requests }
    }

    fn relight(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_relight"));
        command
            .args(args)
            .arg(format!("--lab={}", self.place.path().join("lab.json").display()))
            .current_dir(self.place.path())
            .env("RELIGHT_STATE", self.place.path().join("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// Makes the lab the cloud of `az`, and signs in.
    fn sign_in(&self, program: &Path) {
        let about = self.lab.descriptor();
        self.az(program, &format!("cloud register --name lab --endpoint-resource-manager {}", about.url));
        self.az(program, "cloud set --name lab");
        let (tenant, user, secret) = (&about.tenant, &about.client_id, &about.client_secret);
        self.az(
            program,
            &format!("login --service-principal --tenant {tenant} --username {user} --password {secret}"),
        );
    }

    fn az(&self, program: &Path, words: &str) {
        let about = self.lab.descriptor();
        let words = words.replace("URL", &about.url).replace("SUBSCRIPTION", &about.subscription);
        let output = Command::new(program)
            .args(words.split(' '))
            .env("AZURE_CONFIG_DIR", self.place.path().join("azure"))
            .env("REQUESTS_CA_BUNDLE", self.place.path().join("ca.pem"))
            .env("AZURE_CORE_INSTANCE_DISCOVERY", "false")
            .env("AZURE_CORE_COLLECT_TELEMETRY", "0")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "az {words}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
